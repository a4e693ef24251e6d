"""The ``models`` command, for a folder and for a bucket: list, show, verify, promote, rollback."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from typing import TYPE_CHECKING

from config import FAMILIES
from utils.command_line import DONE, FAILED
from utils.errors import UsageError

if TYPE_CHECKING:
    from utils.registry import Registry

ACTIONS = ("list", "show", "verify", "promote", "rollback")


def add_model_arguments(parser: argparse.ArgumentParser, more_actions: tuple[str, ...] = ()) -> None:
    """Action, family, version and reason."""
    parser.add_argument("action", choices=(*ACTIONS, *more_actions))
    parser.add_argument("family", nargs="?", choices=FAMILIES)
    parser.add_argument("version", nargs="?", help="a version, or latest (default)")
    parser.add_argument("--reason", default="", help="for the history")


def check_model_arguments(arguments: argparse.Namespace) -> None:
    """Raises UsageError: the action needs a family or a version that is not given."""
    if arguments.family is None and arguments.action != "list":
        raise UsageError(f"models {arguments.action} needs a family: {' or '.join(FAMILIES)}")
    if arguments.version is None and arguments.action == "promote":
        raise UsageError("models promote needs a version; models list shows them")


def run_model_action(arguments: argparse.Namespace, registry: Registry, actor: str, program: str) -> int:
    """Do one of :data:`ACTIONS` and print what came of it; the exit code. Raises RegistryError, StoreError.

    Args:
        actor: who does it, for the history.
        program: whose command it is, for the next one to type.
    """
    actions: dict[str, Callable[[], int]] = {
        "list": lambda: _list(arguments, registry, program),
        "show": lambda: _show(arguments, registry),
        "verify": lambda: _verify(arguments, registry),
        "promote": lambda: _move(arguments, registry, actor),
        "rollback": lambda: _move(arguments, registry, actor),
    }
    return actions[arguments.action]()


def _list(arguments: argparse.Namespace, registry: Registry, program: str) -> int:
    versions = registry.list(arguments.family)
    if arguments.json:
        _print_json([version.to_dict() for version in versions])
    elif not versions:
        print(f"No versions in {registry.store.url}.\n  Train one:  python {program}.py train llama")
    else:
        for version in versions:
            latest = "  latest" if version.is_latest else ""
            size = f"{version.size_bytes / 1e6:8.1f} MB  {version.files} files"
            print(f"{version.family:<6} {version.version}  {size}{latest}")
    return DONE


def _show(arguments: argparse.Namespace, registry: Registry) -> int:
    shown = registry.show(arguments.family, arguments.version)
    if arguments.json:
        _print_json(shown)
        return DONE
    run, held_out = shown["run"], shown["metrics"].get("held_out")
    print(f"{shown['family']} {shown['version']}" + (" (latest)" if shown["is_latest"] else ""))
    print(f"  series      {run.get('title')}\n  characters  {', '.join(run.get('characters', []))}")
    print(
        f"  base        {run.get('base', {}).get('name')}\n  held out    {', '.join(run.get('held_out_episodes', []))}"
    )
    if held_out:
        base, adapter = held_out["base_perplexity"], held_out["adapter_perplexity"]
        print(f"  perplexity  base {base:.2f}, adapter {adapter:.2f} on {held_out['replies']} held-out replies")
    for name, file in shown["files"].items():
        print(f"  {file['size_bytes']:>12,}  {file['sha256'][:12]}  {name}")
    for event in shown["history"]:
        print(
            f"  {event['at']}  {event['event']} by {event['actor']}: {event['from']} -> {event['to']} {event['reason']}"
        )
    return DONE


def _verify(arguments: argparse.Namespace, registry: Registry) -> int:
    from utils.fetching import fetch_bar

    with fetch_bar(f"{arguments.family} {arguments.version or 'latest'}") as on_fetch:
        problems = registry.verify(arguments.family, arguments.version, on_fetch)
    if arguments.json:
        _print_json({"problems": problems})
    else:
        print("\n".join(problems) or "Every file matches the manifest.")
    return FAILED if problems else DONE


def _move(arguments: argparse.Namespace, registry: Registry, actor: str) -> int:
    if arguments.action == "promote":
        event = registry.promote(arguments.family, arguments.version, actor=actor, reason=arguments.reason)
    else:
        event = registry.rollback(arguments.family, actor=actor, reason=arguments.reason)
    if arguments.json:
        _print_json(event.to_dict())
    else:
        print(f"latest of {arguments.family}: {event.moved_from} -> {event.moved_to}")
    return DONE


def _print_json(content: object) -> None:
    print(json.dumps(content, indent=2, ensure_ascii=False, default=str))
