"""The network of one of many series, as a job that any worker can do: plain arguments in, plain values out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any


def make_network(folder: str, out: str, plain: Mapping[str, object]) -> dict[str, Any]:
    """Write the network of the series in ``folder`` to ``out``, and give its summary.

    Raises:
        DataError: the folder cannot be read.
    """
    from character_network.__main__ import write_all
    from character_network.network import CharacterNetworkGenerator
    from character_network.summary import build_summary
    from utils.announcements import Announcements
    from utils.series_jobs import settings_of

    announcements = Announcements(quiet=True)
    network = CharacterNetworkGenerator(settings_of(plain).network, announcements).generate_for(Path(folder))
    summary = build_summary(network, write_all(network, Path(out)), announcements)
    line = f"{summary['people']} people, {summary['ties']} ties, {summary['scenes']} scenes: {out}"
    return {"line": line, "said": [str(each) for each in announcements], "result": summary}
