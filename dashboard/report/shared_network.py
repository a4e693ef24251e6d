"""What two sections of a report are made from: the network, and the scenes that were found on the way to it, once.

shared = SharedNetwork(source, settings.network)
shared.network, shared.announcements
shared.lines_with_scenes          # the lines frame with a scene for every line, and the episodes that mark theirs
"""

from __future__ import annotations

from functools import cached_property
from itertools import chain, repeat
from typing import TYPE_CHECKING

from config import NetworkSettings
from dashboard.source import AnalysisSource
from utils.announcements import Announcement
from utils.errors import SuiteError

if TYPE_CHECKING:
    import pandas as pd

    from character_network.network import Network


class SharedNetwork:
    """Computed when first asked for; what fails is raised to everybody who asks. For one thread.

    Args:
        with_network: whether the network is asked for anyway; else scenes are found without it.
    """

    def __init__(self, source: AnalysisSource, settings: NetworkSettings, with_network: bool = True) -> None:
        self._source, self._settings, self._with_network = source, settings, with_network

    @cached_property
    def _counted(self) -> tuple[Network, list[Announcement]]:
        from dashboard.pages.network_view import count_network

        return count_network(self._source, self._settings)

    @property
    def network(self) -> Network:
        """Raises DataError: a file of names is not valid."""
        return self._counted[0]

    @property
    def announcements(self) -> list[Announcement]:
        return self._counted[1]

    @cached_property
    def lines_with_scenes(self) -> tuple[pd.DataFrame, frozenset[tuple[int, int]]]:
        """The lines, every one with the scene that the network has; found here where there is no network."""
        lines = self._source.lines
        try:
            network = self.network if self._with_network else None
        except SuiteError:  # the section of the network tells it
            network = None
        if network is None:
            from character_network.scene_finding import add_scenes

            return add_scenes(lines.assign(person=lines["speaker"]))
        numbers = chain.from_iterable(repeat(scene.number, len(scene.speakers)) for scene in network.scenes)
        return lines.assign(scene=list(numbers)), network.marked
