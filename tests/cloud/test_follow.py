"""Following: no gap, no repetition, patience with a line that is cut, an end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from aws.errors import CredentialsError
from aws.operations.follow import UNREACHABLE_TRIES, describe_progress, follow, format_duration
from aws.places import DONE, RUNNING, LogPiece, PlaceStatus


class Scripted:
    """A place whose log grows by a piece a look; some looks fail."""

    def __init__(self, log: bytes, fails: tuple[int, ...] = (), ends_at: int = 4) -> None:
        self.log, self.fails, self.ends_at, self.looks = log, fails, ends_at, 0

    def status(self, name: str) -> PlaceStatus:
        self.looks += 1
        if self.looks in self.fails:
            raise CredentialsError("expired")
        return PlaceStatus(name, DONE if self.looks >= self.ends_at else RUNNING)

    def logs(self, name: str, offset: int = 0) -> LogPiece:
        shown = self.log if self.looks >= self.ends_at else self.log[: self.looks * 3]
        piece = shown[offset : offset + 4]
        return LogPiece(piece, offset + len(piece))


@pytest.mark.parametrize("fails", [(), (1,), (2, 3), (5, 6, 7)])
def test_every_byte_comes_once_and_the_end_is_seen(fails: tuple[int, ...]) -> None:
    heard, shown, slept = [], [], []
    place = Scripted(b"a log of twenty-odd bytes", fails)
    end = follow(place, "x", write=heard.append, show=shown.append, sleep=slept.append)  # type: ignore[arg-type]
    assert b"".join(heard) == b"a log of twenty-odd bytes"
    assert end.stage == DONE
    assert shown[0].stage in (RUNNING, DONE)


def test_it_goes_on_from_an_offset() -> None:
    heard: list[bytes] = []
    follow(Scripted(b"abcdefgh", ends_at=1), "x", write=heard.append, show=print, sleep=print, offset=5)  # type: ignore[arg-type]
    assert b"".join(heard) == b"fgh"


def test_it_gives_up_when_nothing_answers_for_minutes() -> None:
    slept: list[float] = []
    place = Scripted(b"", tuple(range(1, 1000)))
    with pytest.raises(CredentialsError):
        follow(place, "x", write=print, show=print, sleep=slept.append)  # type: ignore[arg-type]
    assert len(slept) == UNREACHABLE_TRIES - 1
    assert sum(slept) > 300


def test_progress_says_what_is_known_and_nothing_else() -> None:
    begun = datetime(2026, 11, 21, tzinfo=UTC)
    full = {"stage": "training", "step": 3, "steps": 9, "loss": 2.5, "seconds_left": 600}
    assert describe_progress(full, 0.5, begun, begun + timedelta(hours=2)) == (
        "training, step 3 of 9, loss 2.500, 10 min left, 1.00 USD so far"
    )
    assert describe_progress({}, 0.5, begun, begun) == "0.00 USD so far"


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "5 s"), (125, "2 min"), (3 * 3600 + 300, "3 h 05 min"), (50 * 3600, "2 d 02 h")]
)
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text
