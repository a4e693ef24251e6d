"""What the subject works on: a series with its lines, and the cast that speaks them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from character_chatbot.dialogues import DialogueSet, Episode, build_dialogues, build_turns
from character_chatbot.prompts import Turn
from config import Settings
from utils.characters import Cast
from utils.errors import DataError
from utils.lines import UNKNOWN, LoadReport
from utils.series import Series, load_lines, open_series, spoken_lines


@dataclass(frozen=True)
class Corpus:
    """A loaded series. ``spoken``: lines frame with every episode once. ``cast``: knows all who speak."""

    series: Series
    spoken: pd.DataFrame
    cast: Cast
    report: LoadReport

    def build_dialogues(self, settings: Settings, characters: tuple[str, ...] = ()) -> DialogueSet:
        """Dialogues with the held-out episodes that ``settings.training.seed`` chooses."""
        return build_dialogues(
            self.spoken,
            self.cast,
            self.series.title,
            settings=settings.dialogues,
            seed=settings.training.seed,
            characters=characters,
        )

    def scenes(self, episodes: tuple[Episode, ...]) -> list[list[Turn]]:
        """The turns of these episodes, scene by scene."""
        wanted = set(episodes)
        found = build_turns(self.spoken, self.cast)
        scenes = [[each.turn for each in turns if (each.season, each.episode) in wanted] for turns in found]
        return [scene for scene in scenes if scene]

    def speakers(self, minimum_lines: int) -> tuple[str, ...]:
        """Characters with at least so many lines, most talkative first; Unknown is nobody."""
        counts = self.spoken["speaker"].map(self.cast.resolve).value_counts()
        return tuple(str(name) for name, count in counts.items() if count >= minimum_lines and name != UNKNOWN)


def read_corpus(folder: Path) -> tuple[Corpus | None, str]:
    """The corpus of a folder; where there is none, None and why: serving a version needs no transcripts."""
    try:
        return load_corpus(folder), ""
    except DataError as error:
        return None, error.what.rstrip(".")


def load_corpus(folder: Path) -> Corpus:
    """Load a series folder. Raises DataError."""
    series = open_series(folder)
    lines, report = load_lines(series)
    spoken = spoken_lines(lines)
    return Corpus(series, spoken, series.characters.with_speakers(spoken["speaker"].value_counts()), report)
