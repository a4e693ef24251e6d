"""The network of a series: from lines to people, scenes, edges and measures.

generator = CharacterNetworkGenerator(load_settings().network)
network = generator.generate_for(Path("data/sample_series"))
network.people.head(), network.graph, network.timeline("Kit", "Grell")
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from character_network import measures
from character_network.places import load_place_names
from character_network.recognizer import NamedEntityRecognizer
from character_network.scene_finding import add_scenes
from character_network.suggestions import Suggestion
from character_network.ties import KINDS, MENTIONS, SPEAKS, TOGETHER, Scene, build_scenes, build_ties, weigh
from config import NetworkSettings
from utils.announcements import Announcements
from utils.collecting import no_collection
from utils.errors import UnknownCharacter
from utils.lines import UNKNOWN
from utils.series import load_lines, open_series, spoken_lines

if TYPE_CHECKING:
    import networkx as nx

Episode = tuple[int, int]


@dataclass
class Network:
    """A series' network.

    ``ties``: edges by kind and episode (see ``ties.build_ties``). ``lines``: turns by person. ``marked``: episodes
    whose scenes the file marks; those of the others were found. ``suggestions``: names for the user to accept.
    """

    title: str
    ties: pd.DataFrame
    lines: pd.Series
    episodes: list[Episode]
    scenes: list[Scene]
    marked: frozenset[Episode]
    settings: NetworkSettings
    recognizer: NamedEntityRecognizer
    suggestions: list[Suggestion] = field(default_factory=list)

    @property
    def weights(self) -> Mapping[str, float]:
        """What one count of each kind adds to an edge's weight."""
        chosen = (self.settings.speaks_weight, self.settings.together_weight, self.settings.mentions_weight)
        return dict(zip((SPEAKS, TOGETHER, MENTIONS), chosen, strict=True))

    @cached_property
    def graph(self) -> nx.Graph:
        """Undirected; edges with the three counts and ``weight``, nodes with their measures and ``lines``."""
        graph = measures.build_graph(self.ties, self.weights, list(self.lines.index))
        rows = measures.measure(graph, self.settings.seed).to_dict("records")
        for row in rows:
            graph.nodes[row["person"]].update({key: row[key] for key in measures.MEASURES})
            graph.nodes[row["person"]]["lines"] = int(self.lines.get(row["person"], 0))
        return graph

    @cached_property
    def people(self) -> pd.DataFrame:
        """``person, strength, betweenness, pagerank, community, lines``, the strongest first."""
        rows = [{"person": name, **values} for name, values in self.graph.nodes(data=True)]
        frame = pd.DataFrame(rows, columns=["person", *measures.MEASURES, "lines"])
        return frame.sort_values(["strength", "person"], ascending=[False, True], ignore_index=True)

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """``source, target, speaks, together, mentions, weight``, the strongest first."""
        return weigh(self.ties, self.weights)

    @cached_property
    def central_by_episode(self) -> pd.DataFrame:
        """Who is central when: ``season, episode, person, strength, pagerank``."""
        return measures.measure_episodes(self.ties, self.weights)

    @cached_property
    def central_by_season(self) -> pd.DataFrame:
        """All measures within each season, with its own communities."""
        return measures.measure_seasons(self.ties, self.weights, self.settings.seed)

    def find_person(self, name: str) -> str:
        """The person of the network with this name or alias.

        Raises:
            UnknownCharacter: there is none; the message names the nearest.
        """
        found = self.recognizer.person(name)
        if found not in self.lines.index:
            raise UnknownCharacter(name, self.people["person"])
        return found

    def directed(self, kind: str) -> nx.DiGraph:
        """The edges of one kind with their directions."""
        return measures.build_directed_graph(self.ties, kind)

    def changes(self, by: str = "season") -> pd.DataFrame:
        """How relations change from one season (or ``episode``) to the next: see ``measures.relation_changes``."""
        return measures.relation_changes(self.ties, self.weights, by, self.episodes)

    def timeline(self, first: str, second: str) -> pd.DataFrame:
        """How the relation of two people changes: the three counts for every episode."""
        return measures.pair_timeline(self.ties, first, second, self.episodes)


class CharacterNetworkGenerator:
    """Makes networks. ``announcements`` collects what was wanted and could not be had."""

    def __init__(self, settings: NetworkSettings | None = None, announcements: Announcements | None = None) -> None:
        self._settings = settings or NetworkSettings()
        self._announcements = announcements if announcements is not None else Announcements()

    def generate_for(self, folder: Path) -> Network:
        """The network of a series folder.

        Raises:
            DataError: no such folder, nothing said in it, or a file of names that is not valid.
        """
        series = open_series(folder)
        lines, _ = load_lines(series)
        spoken = spoken_lines(lines)
        cast = series.characters.with_speakers(spoken["speaker"].value_counts())
        places = load_place_names(series.folder / "locations.jsonl")
        return self.generate(spoken, NamedEntityRecognizer(cast, places, spoken["line"].tolist()), series.title)

    @no_collection()
    def generate(self, spoken: pd.DataFrame, recognizer: NamedEntityRecognizer, title: str = "") -> Network:
        """The network of a lines frame in which every episode stands once (``utils.series.spoken_lines``)."""
        people = spoken["speaker"].map({name: recognizer.person(name) for name in spoken["speaker"].unique()})
        counts = people[people != UNKNOWN].value_counts()
        people = people.where(people.map(counts).fillna(0) >= self._settings.minimum_lines, UNKNOWN)
        frame, marked = add_scenes(spoken.assign(person=people))
        scenes = build_scenes(frame, recognizer.find_all(frame["line"].tolist()))
        return Network(
            title,
            build_ties(scenes),
            counts[counts >= self._settings.minimum_lines],
            list(spoken[["season", "episode"]].drop_duplicates().itertuples(index=False, name=None)),
            scenes,
            marked,
            self._settings,
            recognizer,
            recognizer.suggest_names(spoken, self._settings.suggestions, self._announcements),
        )


def build_network_of(folder: Path, settings: NetworkSettings | None = None) -> Network:
    """The network of one series folder: all that a job for one of many series needs. Same input, same network.

    Raises:
        DataError: see ``CharacterNetworkGenerator.generate_for``.
    """
    return CharacterNetworkGenerator(settings).generate_for(Path(folder))


__all__ = ["KINDS", "CharacterNetworkGenerator", "Network", "build_network_of"]
