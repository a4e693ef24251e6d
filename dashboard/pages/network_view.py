"""The network computed for the page: with the visitor's weights, all that is drawn of it, and the files to save."""

from __future__ import annotations

import hashlib
import tempfile
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from config import NetworkSettings
from dashboard.computing import Progress
from dashboard.source import AnalysisSource, read_places
from utils.announcements import Announcement, Announcements
from utils.errors import UsageError

if TYPE_CHECKING:
    import pandas as pd

    from character_network.network import Network

PAGE, SVG, PNG = "network.html", "network.svg", "network.png"
# What can be saved: the label, and the file's name as character_network writes it.
FILES = {
    "People and measures (CSV)": "nodes.csv",
    "Pairs (CSV)": "edges.csv",
    "Edges by kind and episode (CSV)": "ties.csv",
    "Who is central, by episode (CSV)": "central_by_episode.csv",
    "Changes by episode (CSV)": "changes_by_episode.csv",
    "GraphML": "network.graphml",
    "GEXF, for Gephi": "network.gexf",
    "JSON, node-link": "network.json",
    "Picture (SVG)": SVG,
    "Picture (PNG)": PNG,
    "Interactive page (HTML)": PAGE,
}
SHOWN_CENTRAL = 15  # rows of "who is central when"


@dataclass(frozen=True)
class NetworkView:
    """A network and what is drawn of it. ``page_data``: of the frame. ``announcements``: steps down."""

    source: AnalysisSource
    network: Network
    page_data: dict[str, object]
    central: pd.DataFrame
    announcements: list[Announcement] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """Everybody, the strongest first."""
        return [str(name) for name in self.network.people["person"]]


def weigh_settings(settings: NetworkSettings, weights: Sequence[float]) -> NetworkSettings:
    """The settings with what a visitor has chosen: speaks, together, mentions."""
    speaks, together, mentions = (max(0.0, float(weight or 0.0)) for weight in weights)
    return replace(settings, speaks_weight=speaks, together_weight=together, mentions_weight=mentions)


def name_key(source: AnalysisSource) -> str:
    """Changes with the lines, with any name of the cast, and with any place. Raises DataError."""
    names = [(each.name, each.aliases, bool(each.persona)) for each in source.cast]
    places = [place.names for place in read_places(source)]
    text = repr((source.key, names, places))
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


class Networks:
    """Makes views; the counts under them are kept, so that other weights cost the measures only.

    Used by one analysis at a time (``Analyses`` sees to that).
    """

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._counted: OrderedDict[str, tuple[Network, list[Announcement]]] = OrderedDict()

    def build_view(self, source: AnalysisSource, settings: NetworkSettings, progress: Progress) -> NetworkView:
        """Everything that the tab shows. Raises DataError: a file of names is not valid."""
        from character_network.page import build_page_data
        from character_network.timelines import central_shares

        network, told = self._count(source, settings, progress)
        progress(1, 3)
        weighed = replace(network, settings=settings)
        data = build_page_data(weighed)
        progress(2, 3)
        return NetworkView(source, weighed, data, central_shares(weighed, SHOWN_CENTRAL), told)

    def _count(
        self, source: AnalysisSource, settings: NetworkSettings, progress: Progress
    ) -> tuple[Network, list[Announcement]]:
        key = name_key(source)
        if key in self._counted:
            self._counted.move_to_end(key)
            return self._counted[key]
        found = count_network(source, settings)
        if source.folder is not None:  # nothing of an upload stays here
            self._counted[key] = found
            while len(self._counted) > self._kept:
                self._counted.popitem(last=False)
        return found


def count_network(source: AnalysisSource, settings: NetworkSettings) -> tuple[Network, list[Announcement]]:
    """The network of a source, and what was announced. Raises DataError: its locations.jsonl is not valid."""
    from character_network.network import CharacterNetworkGenerator
    from character_network.recognizer import NamedEntityRecognizer

    told = Announcements()
    places = [name for place in read_places(source) for name in place.names]
    recognizer = NamedEntityRecognizer(source.cast, places, source.lines["line"].tolist())
    network = CharacterNetworkGenerator(settings, told).generate(source.lines, recognizer, source.title)
    return network, list(told)


def save_network(view: NetworkView, label: str) -> tuple[str, bytes]:
    """One of ``FILES`` by its label: the name and the content. Raises UsageError: there is no such file."""
    name = FILES.get(label)
    if name is None:
        raise UsageError(f"no file '{label}'.", instead=f"There are: {', '.join(FILES)}")
    with tempfile.TemporaryDirectory() as folder:
        _write(view.network, name, Path(folder))
        return name, (Path(folder) / name).read_bytes()


def _write(network: Network, name: str, folder: Path) -> None:
    from character_network import export, page, picture

    if name == PAGE:
        page.write_page(network, folder / name)
    elif name == SVG:
        (folder / name).write_text(picture.network_svg(picture.draw(network)), encoding="utf-8")
    elif name == PNG:
        picture.write_png(picture.draw(network), folder / name)
    else:
        export.export_network(network, folder)
