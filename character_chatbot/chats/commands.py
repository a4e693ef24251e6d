"""The ``chats`` command: list, show, export, import, delete, preferences. For whoever runs the server."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from config import Settings
from utils.command_line import DONE
from utils.errors import DataError, StoreError, UsageError

if TYPE_CHECKING:
    from character_chatbot.chats.preferences import BuildPrompt
    from character_chatbot.chats.records import Conversation, Found
    from character_chatbot.chats.store import ChatStore

ACTIONS = ("list", "show", "export", "import", "delete", "preferences")
FORMATS = ("json", "markdown", "sillytavern")  # as in chat_files.py, which is not imported for --help
SHORTEST_PREFIX = 4


def add_chats_arguments(parser: argparse.ArgumentParser) -> None:
    """Action, conversation or file, and the flags."""
    parser.add_argument("action", choices=ACTIONS)
    parser.add_argument(
        "conversation", nargs="?", metavar="ID|FILE", help="an id or its first letters; of import: the file"
    )
    parser.add_argument("--owner", metavar="NAME", help="only theirs; of import: whose it becomes (default: local)")
    parser.add_argument("--search", metavar="WORDS", default="", help="of list: where these words are said")
    parser.add_argument(
        "--format", dest="file_format", choices=FORMATS, default="json", help="of export (default: json)"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write there (default: standard output)")
    parser.add_argument("--all", action="store_true", help="of delete: everything of --owner")
    parser.add_argument("--chats", metavar="FILE", help="the store (default: runs/chats.sqlite)")
    parser.add_argument("--data", metavar="DIR", help="series folder, for the personas of preferences (default: data)")
    parser.add_argument("--json", action="store_true")


def run_chats_action(arguments: argparse.Namespace, settings: Settings) -> int:
    """Do one of :data:`ACTIONS`; the exit code. Raises SuiteError."""
    from character_chatbot.chats.store import ChatStore

    _check(arguments)
    file = settings.chats.file.expanduser()
    if arguments.action != "import" and not file.exists():
        raise DataError(
            f"no conversations are kept in {file}.", remedies=[("Talk to somebody", "python gradio_app.py")]
        )
    actions: dict[str, Callable[[ChatStore, argparse.Namespace, Settings], int]] = {
        "list": _list, "show": _show, "export": _export, "import": _import, "delete": _delete,
        "preferences": _preferences,
    }  # fmt: skip
    store = ChatStore(file, settings.chats)
    try:
        return actions[arguments.action](store, arguments, settings)
    finally:
        store.close()


def _check(arguments: argparse.Namespace) -> None:
    """Raises UsageError: something the action needs is not given."""
    action, given = arguments.action, arguments.conversation
    if action in ("show", "export") and not given:
        raise UsageError(f"chats {action} needs a conversation; chats list shows them")
    if action == "import" and not given:
        raise UsageError("chats import needs a file")
    if action == "delete" and bool(given) == arguments.all:
        raise UsageError("chats delete needs a conversation, or --all with --owner")
    if action == "delete" and arguments.all and not arguments.owner:
        raise UsageError("chats delete --all needs --owner; chats list shows who has conversations")


def _list(store: ChatStore, arguments: argparse.Namespace, settings: Settings) -> int:
    owners = [arguments.owner] if arguments.owner else list(store.owners())
    if arguments.search:
        found = {owner: store.search(owner, arguments.search) for owner in owners}
        _print_found(found, arguments.json)
        return DONE
    conversations = [each for owner in owners for each in store.list_of(owner)]
    if arguments.json:
        _print_json([_to_dict(each) for each in conversations])
    for each in [] if arguments.json else conversations:
        changed = time.strftime("%Y-%m-%d %H:%M", time.localtime(each.updated))
        print(f"{each.id[:8]}  {changed}  {each.messages:5,} messages  {each.owner:<12} {each.name}")
    if not conversations and not arguments.json:
        print(f"No conversations in {store.where}.")
    return DONE


def _show(store: ChatStore, arguments: argparse.Namespace, settings: Settings) -> int:
    from character_chatbot.chats.records import name_cast

    found = _find(store, arguments)
    path = store.path(found.owner, found.id)
    if arguments.json:
        shown = [{"speaker": each.speaker, "text": each.text, "rating": each.rating} for each in path]
        _print_json(_to_dict(found) | {"shown": shown})
        return DONE
    print(f"{found.name}: {found.speaker} with {name_cast(found.characters, found.departed)}")
    for each in path:
        marks = [f"{each.alternative + 1} of {each.alternatives}"] if each.alternatives > 1 else []
        marks += [each.rating] if each.rating != "none" else []
        marks += [each.state] if each.state != "done" else []
        print(f"{each.speaker}: {each.text}" + (f"  [{', '.join(marks)}]" if marks else ""))
    return DONE


def _export(store: ChatStore, arguments: argparse.Namespace, settings: Settings) -> int:
    from character_chatbot.chats.chat_files import write_chat

    found = _find(store, arguments)
    _write(arguments.out, write_chat(store.read_whole(found.owner, found.id), arguments.file_format))
    return DONE


def _import(store: ChatStore, arguments: argparse.Namespace, settings: Settings) -> int:
    from character_chatbot.acts.visit import LOCAL  # the owner that a page of this machine shows
    from character_chatbot.chats.chat_files import read_chat_file
    from character_chatbot.chats.fields import at

    file = Path(arguments.conversation)
    with at(str(file)):
        kept = store.write_whole(arguments.owner or LOCAL, read_chat_file(file))
    if arguments.json:
        _print_json(_to_dict(kept))
    else:
        print(f"{kept.id[:8]}  {kept.messages:,} messages  {kept.name}, now of {kept.owner}")
    return DONE


def _delete(store: ChatStore, arguments: argparse.Namespace, settings: Settings) -> int:
    if arguments.all:
        count = store.delete_all(arguments.owner)
        what = f"conversation{'' if count == 1 else 's'} of {arguments.owner}"
    else:
        found = _find(store, arguments)
        store.delete(found.owner, found.id)
        count, what = 1, f"conversation: {found.name}"
    _print_json({"deleted": count}) if arguments.json else print(f"Deleted {count} {what}")
    return DONE


def _preferences(store: ChatStore, arguments: argparse.Namespace, settings: Settings) -> int:
    from character_chatbot.chats.preferences import preference_pairs, to_jsonl

    owners = [arguments.owner] if arguments.owner else list(store.owners())
    build_prompt = _prompt_builder(settings)
    pairs = [pair for owner in owners for pair in preference_pairs(store, owner, build_prompt)]
    _write(arguments.out, to_jsonl(pairs))
    print(f"{len(pairs):,} pairs of a preferred and a rejected reply", file=sys.stderr)
    return DONE


def _prompt_builder(settings: Settings) -> BuildPrompt:
    """Prompts with personas where the series can be read, else without; says which."""
    from character_chatbot.chats.preferences import persona_prompt, plain_prompt
    from character_chatbot.corpus import read_corpus

    corpus, why = read_corpus(settings.paths.data)
    if corpus is None:
        print(f"Prompts are without personas: {why}", file=sys.stderr)
        return plain_prompt
    return persona_prompt(corpus.cast, corpus.series.title)


def _find(store: ChatStore, arguments: argparse.Namespace) -> Conversation:
    """The conversation with this id, or the only one whose id starts so. Raises DataError, UsageError."""
    prefix = arguments.conversation
    if len(prefix) < SHORTEST_PREFIX:
        raise UsageError(f"'{prefix}' is too short: at least {SHORTEST_PREFIX} letters of the id")
    owners = [arguments.owner] if arguments.owner else list(store.owners())
    found = [each for owner in owners for each in store.list_of(owner) if each.id.startswith(prefix)]
    if len(found) == 1:
        return found[0]
    what = f"{len(found)} conversations start with '{prefix}'" if found else f"there is no conversation '{prefix}'"
    raise DataError(f"{what} in {store.where}.", remedies=[("See them", "python training_pipeline.py chats list")])


def _write(file: Path | None, text: str) -> None:
    """To a file that only its owner can read, or to standard output. Raises StoreError."""
    if file is None:
        print(text, end="")
        return
    from utils.files import disk_errors, write_atomic

    if file.is_dir():
        raise StoreError(f"{file} is a folder.", remedies=[("Name a file in it", f"--out {file / 'chat.json'}")])
    with disk_errors(file, "written"):
        write_atomic(file, text)
        file.chmod(0o600)


def _print_found(found: dict[str, list[Found]], as_json: bool) -> None:
    if as_json:
        rows = [{"owner": owner, **vars(each)} for owner, places in found.items() for each in places]
        _print_json(rows)
        return
    for places in found.values():
        for each in places:
            print(f"{each.conversation[:8]}  {each.name}: {each.excerpt}")


def _to_dict(each: Conversation) -> dict[str, object]:
    return {
        "id": each.id, "owner": each.owner, "name": each.name, "characters": list(each.characters),
        "departed": list(each.departed),
        "speaker": each.speaker, "answered_by": each.answered_by, "created": each.created, "updated": each.updated,
        "messages": each.messages,
    }  # fmt: skip


def _print_json(content: object) -> None:
    print(json.dumps(content, indent=2, ensure_ascii=False))
