"""The network of a series: a summary here, and a page, pictures and tables in a folder. Names that it suggests.

python -m character_network --data data/sample_series --out results/network
python -m character_network --data data/sample_series --out results/network --pair Kit Grell --json
python -m character_network --series FOLDER --out results/networks --engine ray        # every series folder in FOLDER
python -m character_network --data data/sample_series --accept Mumbles --alias-of Grell      # or without: somebody new
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from utils.command_line import DONE, Parser, add_common_arguments, build_settings, run_command
from utils.errors import UsageError
from utils.retyping import retype
from utils.series_jobs import add_series_arguments, one_folder, run_series, several_folders

if TYPE_CHECKING:
    from character_network.network import Network

COMMAND = "python -m character_network"


def build_parser() -> Parser:
    parser = Parser(prog=COMMAND, description="Who belongs with whom in a series.")
    add_series_arguments(parser)
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="folder for the page, pictures and tables (needed without --accept)"
    )
    parser.add_argument(
        "--pair", nargs=2, action="append", default=[], metavar="NAME", help="also the timeline of two people"
    )
    parser.add_argument("--people", type=int, metavar="N", help="people in the picture and, at first, on the page")
    parser.add_argument(
        "--accept", metavar="NAME", help="write a suggested name into characters.jsonl, and nothing else"
    )
    parser.add_argument("--alias-of", metavar="CHARACTER", help="with --accept: whose name it is (default: a new one)")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    add_common_arguments(parser)
    return parser


def main(given: Sequence[str]) -> int:
    arguments = build_parser().parse_args(given)
    flags = {"paths.data": one_folder(arguments), "network.shown_people": arguments.people}
    settings, folders = build_settings(arguments, "network", flags), several_folders(arguments)
    if folders and (arguments.accept or arguments.pair):
        raise UsageError(f"{'--accept' if arguments.accept else '--pair'} is for one series.")
    if arguments.accept:
        return accept(settings.paths.data, arguments)
    if arguments.out is None or arguments.alias_of:
        raise UsageError(
            "--alias-of goes with --accept." if arguments.alias_of else "a network needs a folder.",
            remedies=[
                ("Accept a name", "--accept NAME") if arguments.alias_of else ("Name it", "--out results/network")
            ],
        )
    if folders:
        from character_network.series_job import make_network

        return run_series(make_network, folders, arguments, settings)
    from character_network.network import CharacterNetworkGenerator
    from character_network.summary import build_summary, print_summary
    from utils.announcements import Announcements

    announcements = Announcements(quiet=True)
    network = CharacterNetworkGenerator(settings.network, announcements).generate_for(settings.paths.data)
    files = write_all(network, arguments.out, arguments.pair)
    summary = build_summary(network, files, announcements)
    if arguments.json:
        print(json.dumps(summary, ensure_ascii=False, indent=2))
    else:
        print_summary(summary, retype(COMMAND, ["--data", str(settings.paths.data)], ["--accept"]))
    return DONE


def accept(folder: Path, arguments: argparse.Namespace) -> int:
    """Write one suggested name into ``characters.jsonl`` and tell what changed."""
    from character_network.acceptance import accept_suggestion

    owner = arguments.alias_of or ""
    done = accept_suggestion(folder, arguments.accept, as_alias_of=owner, as_new=not owner)
    if arguments.json:
        print(json.dumps(done.to_dict(), ensure_ascii=False, indent=2))
    else:
        what = "is a character now" if done.is_new else f"is {done.character.name} now"
        print(f"{done.name} {what}: {done.file}")
    return DONE


def write_all(network: Network, folder: Path, pairs: Sequence[Sequence[str]] = ()) -> list[Path]:
    """The page, the pictures, the tables, and a timeline for each pair, in a folder that is made.

    Raises:
        UnknownCharacter: somebody of a pair is not in the network; nothing has been written then.
    """
    from character_network.export import export_network
    from character_network.page import write_page
    from character_network.picture import write_pictures
    from character_network.timelines import central_svg, timeline_svg

    timelines = [timeline_svg(network, first, second) for first, second in pairs]
    tables = export_network(network, folder)
    files = [write_page(network, folder / "network.html"), *write_pictures(network, folder), *tables]
    named = {f"pair_{number}.svg": text for number, text in enumerate(timelines, start=1)}
    for name, text in {"central.svg": central_svg(network), **named}.items():
        files.append(folder / name)
        files[-1].write_text(text, encoding="utf-8")
    return files


if __name__ == "__main__":
    raise SystemExit(run_command(main))
