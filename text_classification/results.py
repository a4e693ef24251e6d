"""Where each scene takes place, how sure that is, who is where, and who goes from where to where."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from text_classification.scene_texts import Scene
from utils.files import write_atomic
from utils.lines import UNKNOWN

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from text_classification.evaluation import Evaluation

MARKED, LABELLED, PREDICTED = "marked", "labelled", "predicted"
CSV_FILE, JSON_FILE, EVALUATION_FILE = "locations.csv", "locations.json", "evaluation.json"
LINES_FILE = "lines.csv"
DECIMALS = 6
MOST_ROWS_SHOWN = 40
QUOTE = 48


@dataclass
class LocationResults:
    """The answer for every scene.

    ``frame``: a row for each scene: season, episode, scene, first_position, lines (their number), location (a place, or
    Unknown), source (marked, labelled or predicted), probability (of the likeliest place, whether told or not), guess
    (that place). ``probabilities``: shape (scenes, places), in the same order; 1 for the place of a scene that is
    marked or labelled. ``method``, ``notes``: how it was done, in sentences.
    """

    scenes: list[Scene]
    frame: pd.DataFrame
    probabilities: pd.DataFrame
    method: str
    threshold: float
    notes: list[str] = field(default_factory=list)
    evaluation: Evaluation | None = None

    @property
    def places(self) -> list[str]:
        return [str(name) for name in self.probabilities.columns]

    @property
    def coverage(self) -> float:
        """Share of the predicted scenes whose place is told; 1 where none is predicted."""
        predicted = self.frame[self.frame["source"] == PREDICTED]
        return float((predicted["location"] != UNKNOWN).mean()) if len(predicted) else 1.0

    def who_is_where(self, unknown: bool = False) -> pd.DataFrame:
        """speaker, location, lines, share (of the speaker's lines, 0 to 1); most lines first.

        Args:
            unknown: also the lines of scenes whose place is Unknown; the shares count them in any case.
        """
        import pandas as pd

        counts: Counter[tuple[str, str]] = Counter()
        for scene, location in zip(self.scenes, self.frame["location"], strict=True):
            counts.update((speaker, location) for speaker, _ in scene.turns)
        totals: Counter[str] = Counter()
        for (speaker, _), number in counts.items():
            totals[speaker] += number
        rows = [
            (who, place, number, number / totals[who])
            for (who, place), number in counts.items()
            if unknown or place != UNKNOWN
        ]
        rows.sort(key=lambda row: (-row[2], row[0], row[1]))
        return pd.DataFrame(rows, columns=["speaker", "location", "lines", "share"])

    def moves(self) -> pd.DataFrame:
        """from, to, count: scenes that follow each other within an episode and whose places are both told.

        A scene that stays where the one before was counts as a move from a place to itself.
        """
        import pandas as pd

        pairs: Counter[tuple[str, str]] = Counter()
        rows = list(zip(self.scenes, self.frame["location"], strict=True))
        for (before, there), (after, here) in itertools.pairwise(rows):
            together = (before.season, before.episode) == (after.season, after.episode)
            if together and UNKNOWN not in (there, here):
                pairs[there, here] += 1
        ordered = sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
        return pd.DataFrame([(*pair, number) for pair, number in ordered], columns=["from", "to", "count"])

    def by_line(self) -> pd.DataFrame:
        """season, episode, scene, speaker, line, location: every line, in the order of the scenes."""
        import pandas as pd

        pairs = zip(self.scenes, self.frame["location"], strict=True)
        rows = [(*scene.key, *turn, location) for scene, location in pairs for turn in scene.turns]
        return pd.DataFrame(rows, columns=["season", "episode", "scene", "speaker", "line", "location"])

    def to_dict(self) -> dict[str, object]:
        """Everything, ready for JSON."""
        return {
            "method": self.method,
            "notes": self.notes,
            "threshold": self.threshold,
            "coverage": round(self.coverage, DECIMALS),
            "places": self.places,
            "scenes": [
                {**row, "probability": round(row["probability"], DECIMALS), "probabilities": shares}
                for row, shares in zip(self.frame.to_dict("records"), self._told_shares(), strict=True)
            ],
            "who_is_where": self.who_is_where().round({"share": DECIMALS}).to_dict("records"),
            "moves": self.moves().to_dict("records"),
            "evaluation": self.evaluation.to_dict() if self.evaluation else None,
        }

    def save(self, folder: Path) -> list[Path]:
        """Write locations.csv, lines.csv, locations.json and, where there is one, evaluation.json. Raises OSError."""
        table = self.frame.assign(probability=self.frame["probability"].round(DECIMALS))
        contents = {
            CSV_FILE: table.to_csv(index=False),
            LINES_FILE: self.by_line().to_csv(index=False),
            JSON_FILE: json.dumps(self.to_dict(), ensure_ascii=False, indent=1) + "\n",
        }
        if self.evaluation:
            contents[EVALUATION_FILE] = json.dumps(self.evaluation.to_dict(), ensure_ascii=False, indent=1) + "\n"
        for name, content in contents.items():
            write_atomic(folder / name, content)
        return [folder / name for name in contents]

    def summary(self) -> str:
        """A table for people: scene, place, where that comes from, how sure."""
        rows = [("scene", "location", "from", "sure", "first line")]
        for scene, row in zip(self.scenes[:MOST_ROWS_SHOWN], self.frame.to_dict("records"), strict=False):
            told = row["location"] if row["location"] != UNKNOWN else _told_unknown(row["guess"])
            who, line = scene.turns[0]
            quote = f"{who}: {line}"
            quote = quote if len(quote) <= QUOTE else f"{quote[: QUOTE - 1]}…"
            rows.append((scene.code, told, row["source"], f"{row['probability']:.2f}", quote))
        widths = [max(len(row[at]) for row in rows) for at in range(4)]
        table = ["  ".join([*(row[at].ljust(widths[at]) for at in range(4)), row[4]]).rstrip() for row in rows]
        more = len(self.scenes) - MOST_ROWS_SHOWN
        return "\n".join([*table, *([f"and {more} more scenes"] if more > 0 else [])])

    def _told_shares(self) -> list[dict[str, float]]:
        """Places with a probability of a thousandth at least, the likeliest first."""
        told = []
        for row in self.probabilities.to_numpy():
            ordered = sorted(zip(row, self.places, strict=True), key=lambda pair: (-pair[0], pair[1]))
            told.append({place: round(float(share), DECIMALS) for share, place in ordered if share >= 0.001})
        return told


def build_results(
    scenes: list[Scene],
    known: dict[int, tuple[str, str]],
    probabilities: NDArray[np.float64],
    places: Sequence[str],
    *,
    threshold: float,
    method: str,
    notes: list[str],
) -> LocationResults:
    """Results from probabilities of shape (scenes, places).

    Args:
        known: place and source of the scenes that are marked or labelled, by their number in ``scenes``.
        threshold: least probability for a place to be told; a tie is never told.
    """
    import numpy as np
    import pandas as pd

    from text_classification.evaluation import is_known

    shares = probabilities.copy()
    columns = {place: at for at, place in enumerate(places)}
    for at, (place, _) in known.items():
        shares[at] = np.eye(1, len(places), columns[place])[0]
    told = is_known(shares, threshold)
    best = shares.argmax(axis=1) if len(places) else np.zeros(len(scenes), dtype=int)
    rows = []
    for at, scene in enumerate(scenes):
        sure = float(shares[at, best[at]]) if len(places) else 0.0
        guess = str(places[best[at]]) if sure > 0 and _is_ahead(shares[at]) else ""
        place, source = known.get(at, (guess if told[at] else UNKNOWN, PREDICTED))
        rows.append((*scene.key, scene.first_position, len(scene.turns), place, source, sure, guess))
    names = ["season", "episode", "scene", "first_position", "lines", "location", "source", "probability", "guess"]
    frame = pd.DataFrame(rows, columns=names)
    return LocationResults(scenes, frame, pd.DataFrame(shares, columns=list(places)), method, threshold, notes)


def _is_ahead(shares: NDArray[np.float64]) -> bool:
    """Whether one place is likelier than all others."""
    return bool((shares > shares.max() - 1e-9).sum() == 1)


def _told_unknown(guess: str) -> str:
    """Unknown, and what it may be, where anything speaks for a place."""
    return f"{UNKNOWN} ({guess}?)" if guess else UNKNOWN
