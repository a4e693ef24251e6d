"""The network of a series: a summary here, and a page, pictures and tables in a folder.

python -m character_network --data data/sample_series --out runs/network
python -m character_network --data data/sample_series --out runs/network --pair Kit Grell --json
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from utils.command_line import DONE, Parser, add_common_arguments, build_settings, run_command

if TYPE_CHECKING:
    from character_network.network import Network


def build_parser() -> Parser:
    parser = Parser(prog="python -m character_network", description="Who belongs with whom in a series.")
    parser.add_argument("--data", type=Path, metavar="DIR", help="series folder (default: the setting paths.data)")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder for the page, pictures and tables"
    )
    parser.add_argument(
        "--pair", nargs=2, action="append", default=[], metavar="NAME", help="also the timeline of two people"
    )
    parser.add_argument("--people", type=int, metavar="N", help="people in the picture and, at first, on the page")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    add_common_arguments(parser)
    return parser


def main(given: Sequence[str]) -> int:
    arguments = build_parser().parse_args(given)
    flags = {"paths.data": arguments.data, "network.shown_people": arguments.people}
    settings = build_settings(arguments, "network", flags)
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
        print_summary(summary)
    return DONE


def write_all(network: Network, folder: Path, pairs: Sequence[Sequence[str]] = ()) -> list[Path]:
    """The page, the pictures, the tables, and a timeline for each pair, in a folder that is made.

    Raises:
        UnknownCharacter: somebody of a pair is not in the network; nothing has been written then.
    """
    from character_network.export import export_network
    from character_network.page import write_page
    from character_network.picture import timeline_svg, write_pictures

    timelines = [timeline_svg(network, first, second) for first, second in pairs]
    tables = export_network(network, folder)
    files = [write_page(network, folder / "network.html"), *write_pictures(network, folder), *tables]
    for number, text in enumerate(timelines, start=1):
        files.append(folder / f"pair_{number}.svg")
        files[-1].write_text(text, encoding="utf-8")
    return files


if __name__ == "__main__":
    raise SystemExit(run_command(main))
