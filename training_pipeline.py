"""From transcripts to characters that answer, on the machine this is started on.

python training_pipeline.py data  --data data/sample_series      what the loader read, repaired and dropped
python training_pipeline.py train llama --data data/sample_series  train, evaluate, publish a version
python training_pipeline.py chat  --character Pip --data data/sample_series
python training_pipeline.py models list                          versions; also show, verify, promote, rollback
python training_pipeline.py cards import FILE                    character cards; also list, show, export, delete
python training_pipeline.py keys new NAME                         a key for programs that speak OpenAI's API
python training_pipeline.py chats list                           conversations; also show, export, import, delete
python training_pipeline.py report --out report.html             the whole series as one page that works offline
python training_pipeline.py status                               what speaks, and why
python training_pipeline.py settings                             every setting and where it came from
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from character_chatbot.api.commands import add_key_arguments, run_key_action
from character_chatbot.cards.commands import add_card_arguments, run_card_action
from character_chatbot.chats.commands import add_chats_arguments, run_chats_action
from character_chatbot.training.commands import add_train_arguments, render_outcome
from config import FAMILIES, RUNGS, Settings, SuiteError
from dashboard.report.commands import add_report_arguments, run_report_action
from utils.command_line import (
    DONE,
    Parser,
    actor,
    add_common_arguments,
    add_recipe_argument,
    build_settings,
    run_command,
)
from utils.next_command import in_use
from utils.registry_command import add_model_arguments, check_model_arguments, run_model_action

if TYPE_CHECKING:
    from character_chatbot.sources import Source
    from character_chatbot.training.preparation import RunRequest
    from utils.announcements import Announcements

PROGRAM = "training_pipeline"


def main(given: Sequence[str]) -> int:
    arguments = build_parser().parse_args(given)
    command: Callable[[argparse.Namespace, Settings], int] = arguments.run
    return command(arguments, build_settings(arguments, PROGRAM, _flags(arguments)))


def build_parser() -> Parser:
    """The command line; every subcommand sets ``run``, the function that does it."""
    parser = Parser(
        prog="python training_pipeline.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_data(commands)
    _add_train(commands)
    _add_models(commands)
    _add_export(commands)
    _add_chat(commands)
    _add_cards(commands)
    _add_chats(commands)
    _add_keys(commands)
    _add_report(commands)
    _add_status(commands)
    _add_settings(commands)
    return parser


def _add_command(commands: Any, name: str, run: Callable[..., int], text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(run=run)
    add_common_arguments(parser)
    return parser


def _add_places(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", metavar="DIR", help="series folder (default: data)")
    parser.add_argument("--registry", metavar="DIR|s3://…", help="where versions are (default: runs/registry)")


def _add_data(commands: Any) -> None:
    parser = _add_command(
        commands, "data", run_data, "Read a series folder and say what was repaired, flagged and dropped."
    )
    parser.add_argument("--data", metavar="DIR", help="series folder (default: data)")
    parser.add_argument("--json", action="store_true", help="the whole report, every row, as JSON")


def _add_train(commands: Any) -> None:
    parser = _add_command(
        commands, "train", run_train, "Train, evaluate and publish an adapter; goes on where it was stopped."
    )
    add_train_arguments(parser)
    _add_places(parser)


def _add_models(commands: Any) -> None:
    parser = _add_command(commands, "models", run_models, "Versions in the registry.")
    add_model_arguments(parser)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--registry", metavar="DIR|s3://…", help="where versions are (default: runs/registry)")


def _add_export(commands: Any) -> None:
    parser = _add_command(commands, "export", run_export, "Pack a version for a machine without a GPU, and check it.")
    parser.add_argument("family", choices=FAMILIES)
    parser.add_argument("--version", metavar="V", help="a version of the registry (default: latest)")
    parser.add_argument("--bits", type=int, choices=(4, 8), default=0, help="of the linear layers (default: by size)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="write it there instead of into the registry")
    parser.add_argument("--runtime-adapter", action="store_true", help="the base alone; adapters are put on later")
    parser.add_argument("--base", default="", metavar="NAME|DIR", help="a base or a fine-tuned model, no version")
    parser.add_argument("--again", action="store_true", help="in place of the export that is there")
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")
    _add_places(parser)


def _add_chat(commands: Any) -> None:
    parser = _add_command(commands, "chat", run_chat, "Talk to a character; without --message, line by line.")
    parser.add_argument("--character", required=True, metavar="NAME", help="a name or alias")
    parser.add_argument("--message", metavar="TEXT", help="one message, one reply")
    parser.add_argument(
        "--as", dest="speaker", default="Visitor", metavar="NAME", help="who you are (default: Visitor)"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="draw the same reply again")
    _add_source(parser)
    _add_places(parser)


def _add_cards(commands: Any) -> None:
    parser = _add_command(commands, "cards", run_cards, "Character cards of other programs: import and export.")
    add_card_arguments(parser)
    parser.add_argument("--data", metavar="DIR", help="series folder (default: data)")


def _add_keys(commands: Any) -> None:
    parser = _add_command(commands, "keys", run_key_action, "Keys for programs that talk to the page's process.")
    add_key_arguments(parser)


def _add_report(commands: Any) -> None:
    parser = _add_command(commands, "report", run_report_action, "The whole series as one page that works offline.")
    parser.add_argument("--data", metavar="DIR", help="series folder (default: data)")
    add_report_arguments(parser)


def _add_chats(commands: Any) -> None:
    add_chats_arguments(_add_command(commands, "chats", run_chats, "Conversations that are kept, and votes in them."))


def _add_status(commands: Any) -> None:
    parser = _add_command(commands, "status", run_status, "What speaks and why, versions, and the data report.")
    parser.add_argument("--json", action="store_true")
    _add_source(parser)
    _add_places(parser)


def _add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--family", choices=FAMILIES, default="llama")
    parser.add_argument("--version", metavar="V", help="a version of the registry (default: latest)")
    parser.add_argument("--source", choices=RUNGS, default=RUNGS[0], help="start the search for a voice here")


def _add_settings(commands: Any) -> None:
    parser = _add_command(commands, "settings", run_settings, "Every setting, its value and where it came from.")
    add_recipe_argument(parser)
    parser.add_argument("--json", action="store_true")


def _flags(arguments: argparse.Namespace) -> dict[str, object]:
    chat_seed = arguments.command == "chat"  # there it draws a reply, not a training run
    return {
        "paths.data": getattr(arguments, "data", None),
        "paths.registry": getattr(arguments, "registry", None),
        "chats.file": getattr(arguments, "chats", None),
        "themes.model": getattr(arguments, "theme_model", None),
        "training.format": getattr(arguments, "format", None),
        "training.quantise": getattr(arguments, "quantise", None),
        "training.learning_rate": getattr(arguments, "learning_rate", None),
        "training.epochs": getattr(arguments, "epochs", None),
        "training.max_steps": getattr(arguments, "max_steps", None),
        "training.patience": getattr(arguments, "patience", None),
        "training.seed": None if chat_seed else getattr(arguments, "seed", None),
    }


# data


def run_data(arguments: argparse.Namespace, settings: Settings) -> int:
    from utils.series import load_lines, open_series

    series = open_series(settings.paths.data)
    _, report = load_lines(series)
    if arguments.json:
        _print_json({"series": series.title} | report.to_dict())
        return DONE
    print(
        f"{series.title}: {len(report.files)} files, {report.rows_in:,} rows in, {report.rows_out:,} rows out, "
        f"{report.rows_dropped:,} dropped, {report.lines:,} lines"
    )
    for kind, reasons in report.counts().items():
        for reason, count in reasons.most_common():
            print(f"  {count:6,} {kind:<9} {reason}")
    for note in report.notes:
        print(f"{note.file}:{note.row}: {note.kind}: {note.reason}" + (f": {note.text}" if note.text else ""))
    for note in report.skipped:
        print(f"{note.file}: skipped: {note.reason}")
    return DONE


# train


def run_train(arguments: argparse.Namespace, settings: Settings) -> int:
    from aws.storage import open_registry, open_store
    from character_chatbot.monitoring.progress_file import Progress
    from character_chatbot.training import processes
    from character_chatbot.training.preparation import RunRequest
    from character_chatbot.training.run import run_training
    from utils.announcements import Announcements

    processes.quieten()
    by = arguments.by or actor()
    request = RunRequest(arguments.family, tuple(arguments.character), arguments.base, by, arguments.export)
    if arguments.find_lr:
        return _find_rate(request, settings, as_json=arguments.json)
    progress = Progress(arguments.progress)
    url, aws = arguments.checkpoint_store, settings.aws
    store = open_store(url, aws.region, aws.profile) if url else None
    registry = open_registry(settings)
    outcome = run_training(
        request, settings, registry, Announcements(complete=in_use(settings)), progress, checkpoint_store=store
    )
    if not processes.is_first():
        return DONE
    if arguments.json:
        _print_json({"family": arguments.family} | asdict(outcome))
    else:
        print(render_outcome(arguments.family, outcome, str(settings.paths.registry)))
    return DONE


def _find_rate(request: RunRequest, settings: Settings, *, as_json: bool) -> int:
    from character_chatbot.training import processes
    from character_chatbot.training.lr_finder import describe_search
    from character_chatbot.training.run import search_rate
    from utils.announcements import Announcements
    from utils.errors import UsageError

    if processes.count() > 1:
        raise UsageError("--find-lr takes one process, whatever the training will take.")
    search, picture = search_rate(request, settings, Announcements(complete=in_use(settings)))
    if as_json:
        _print_json(search.to_dict() | {"picture": picture})
    else:
        print("\n".join([*describe_search(search), f"Picture:     {picture}"]))
    return DONE


# models


def run_models(arguments: argparse.Namespace, settings: Settings) -> int:
    from aws.storage import open_registry

    check_model_arguments(arguments)
    return run_model_action(arguments, open_registry(settings), actor(), PROGRAM)


# export


def run_export(arguments: argparse.Namespace, settings: Settings) -> int:
    from aws.storage import open_registry
    from character_chatbot.export.exporting import ExportRequest, export_version
    from character_chatbot.export.rendering import render_export

    words = (arguments.bits, arguments.out, arguments.runtime_adapter, arguments.again, arguments.base)
    request = ExportRequest(arguments.family, arguments.version, *words)
    outcome = export_version(request, settings, open_registry(settings))
    if arguments.json:
        _print_json(asdict(outcome))
    else:
        print(render_export(request, outcome, str(settings.paths.registry)))
    return DONE


# chat


def run_chat(arguments: argparse.Namespace, settings: Settings) -> int:
    from character_chatbot.engines.base import build_sampling
    from character_chatbot.replies.conversation import Conversation
    from character_chatbot.replies.terminal_talk import converse, print_reply
    from character_chatbot.service import read_name
    from character_chatbot.sources import announce_untrained
    from utils.announcements import Announcements

    announcements = Announcements(complete=in_use(settings))
    source = _find_source(arguments, settings, announcements)
    character = source.cast.get(arguments.character).name
    announce_untrained(source, character, announcements)
    print(f"[{source.label}]", file=sys.stderr)
    sampling = build_sampling(settings.chat, arguments.seed)
    speaker = read_name(arguments.speaker, character, source)
    talk = Conversation(source, character, speaker, sampling, settings.chat.history_turns)
    if arguments.message is None:
        converse(talk)
    else:
        print_reply(talk, arguments.message)
    return DONE


def _find_source(arguments: argparse.Namespace, settings: Settings, announcements: Announcements) -> Source:
    from aws.storage import open_registry
    from character_chatbot.corpus import read_corpus
    from character_chatbot.load_progress import shown_in_terminal
    from character_chatbot.sources import SourceFinder

    corpus, why = read_corpus(settings.paths.data)
    finder = SourceFinder(arguments.family, settings, open_registry(settings), announcements, corpus, why)
    with shown_in_terminal(finder.progress):
        return finder.find(arguments.source, arguments.version)


# conversations and cards


def run_chats(arguments: argparse.Namespace, settings: Settings) -> int:
    return run_chats_action(arguments, settings)


def run_cards(arguments: argparse.Namespace, settings: Settings) -> int:
    return run_card_action(arguments, settings.paths.data, int(settings.cards.max_file_mb * 1e6))


# status and settings


def run_status(arguments: argparse.Namespace, settings: Settings) -> int:
    from aws.storage import open_registry
    from character_chatbot.corpus import read_corpus
    from character_chatbot.load_progress import shown_in_terminal
    from character_chatbot.sources import SourceFinder
    from character_chatbot.status import build_status, render_status
    from utils.announcements import Announcements

    registry, announcements = open_registry(settings), Announcements(quiet=True, complete=in_use(settings))
    corpus, no_corpus = read_corpus(settings.paths.data)
    finder = SourceFinder(arguments.family, settings, registry, announcements, corpus, no_corpus)
    try:
        with shown_in_terminal(finder.progress):
            source = finder.find(arguments.source, arguments.version)
    except SuiteError as error:
        source, problem = None, str(error)
        print(f"Nobody can answer: {problem}", file=sys.stderr)
    status = build_status(
        arguments.family, settings, registry, announcements, source=source, corpus=corpus, no_corpus=no_corpus
    )
    if arguments.json:
        _print_json(status)
    else:
        print(render_status(status))
    return DONE


def run_settings(arguments: argparse.Namespace, settings: Settings) -> int:
    rows = [(key, value, settings.origin(key)) for key, value in settings.items()]
    if arguments.json:
        _print_json({key: {"value": value, "origin": origin} for key, value, origin in rows})
    else:
        for key, value, origin in rows:
            print(f"{key:<32} {value!s:<48} {origin}")
    return DONE


def _print_json(content: object) -> None:
    print(json.dumps(content, indent=2, ensure_ascii=False, default=str))


if __name__ == "__main__":
    raise SystemExit(run_command(main))
