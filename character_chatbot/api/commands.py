"""The ``keys`` command: who may use the endpoint from elsewhere."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from config import Settings
from utils.command_line import DONE
from utils.errors import UsageError

if TYPE_CHECKING:
    from character_chatbot.api.keys import Entry

ACTIONS = ("list", "new", "revoke")


def add_key_arguments(parser: argparse.ArgumentParser) -> None:
    """Action and name."""
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument("name", nargs="?", help="of the key: whom it is for")
    parser.add_argument("--json", action="store_true")


def run_key_action(arguments: argparse.Namespace, settings: Settings) -> int:
    """Do one of :data:`ACTIONS` and print what came of it. Raises DataError, UsageError."""
    from character_chatbot.api.keys import KeyFile

    if arguments.action != "list" and not arguments.name:
        raise UsageError(f"keys {arguments.action} needs a name: keys {arguments.action} tavern")
    keys = KeyFile(settings.api.keys_file)
    if arguments.action == "new":
        key = keys.add(arguments.name)
        print(json.dumps({"name": arguments.name, "key": key}) if arguments.json else key)
        print("It is shown only now.", file=sys.stderr)  # so that KEY=$(…) is the key
    elif arguments.action == "revoke":
        keys.revoke(arguments.name)
        print(json.dumps({"revoked": arguments.name}) if arguments.json else f"{arguments.name} is no key any more.")
    else:
        _list(keys.entries(), as_json=arguments.json)
    return DONE


def _list(entries: Sequence[Entry], *, as_json: bool) -> None:
    known = [{"name": each.name, "created": each.created} for each in entries]
    if as_json:
        print(json.dumps(known))
    elif not known:
        print("No keys.\n  Make one:  python training_pipeline.py keys new NAME")
    else:
        for each in known:
            print(f"{each['name']:<40} {each['created']}")
