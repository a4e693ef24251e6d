"""The quotes engine: the best line, no repeats, its place, and no text that it cannot take."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from character_chatbot.engines.base import Sampling
from character_chatbot.engines.quotes import QuotesEngine, last_words
from character_chatbot.prompts import Turn, build_messages
from utils.characters import Cast, Character
from utils.errors import DataError
from utils.lines import build_frame

CAST = Cast([Character("Ada", ("Miss Lock",)), Character("Bo"), Character("Cy")])
SAID = [  # season, episode, speaker, line
    (1, 1, "Bo", "Where did you hide the silver key?"),
    (1, 1, "Miss Lock", "Under the third flowerpot, as always."),
    (1, 1, "Bo", "And the boat?"),
    (1, 1, "Ada", "The boat sank in the storm last winter."),
    (1, 2, "Cy", "What time is it?"),
    (1, 2, "Ada", "Clocks  tell you the hour, never the time."),
    (1, 2, "Unknown", "Stop!"),
    (1, 2, "Ada", "No."),
    (1, 2, "Ada", "..."),
    (2, 7, "Ada", "Storms are honest; people call them weather."),
]
LINES = ["Under the third flowerpot, as always.", "The boat sank in the storm last winter."]


@pytest.fixture(scope="module")
def engine() -> QuotesEngine:
    rows = [
        (season, episode, None, position, speaker, line, None, None, f"S{season:02d}E{episode:02d}.csv")
        for position, (season, episode, speaker, line) in enumerate(SAID)
    ]
    return QuotesEngine(build_frame(rows), CAST, "Ada")


def reply(engine: QuotesEngine, *said: str) -> str:
    """The reply to ``"Bo: Hello.", "Ada: Hm.", "Bo: Well?"``."""
    turns = [Turn(*text.split(": ", 1)) for text in said]
    return "".join(engine.reply(build_messages(CAST.get("Ada"), "X", turns), Sampling()))


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("Tell me about the storm and the boat", LINES[1]),
        ("the third FLOWERPOT", LINES[0]),
        ("Who has hidden the silver keys?", LINES[0]),  # by what it answers
        ("is there a clock", "Clocks tell you the hour, never the time."),
        ("honest people", "Storms are honest; people call them weather."),
    ],
)
def test_the_best_fitting_line_is_the_reply(engine: QuotesEngine, text: str, line: str) -> None:
    assert reply(engine, f"Bo: {text}") == line


def test_the_last_thing_said_counts(engine: QuotesEngine) -> None:
    assert reply(engine, "Bo: The flowerpot!", "Cy: And the boat?") == LINES[1]
    assert last_words([{"role": "user", "content": "Bo: one\nCy: two: three"}]) == "two: three"
    assert last_words([{"role": "user", "content": "no name"}]) == "no name"


def test_no_line_twice_in_a_conversation_until_all_are_said(engine: QuotesEngine) -> None:
    said: list[str] = []
    for _ in range(6):
        history = [part for line in said for part in ("Bo: the boat, the storm, the clock", f"Ada: {line}")]
        said.append(reply(engine, *history, "Bo: the boat, the storm, the clock"))
    assert len(set(said[:5])) == 5
    assert said[0] == LINES[1]
    assert said[5] == said[0]


def test_best_lines_come_first_with_their_score(engine: QuotesEngine) -> None:
    found = engine.find("the storm", 3)
    assert len(found) == 3
    scores = [quote.score for quote in found]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > scores[-1]
    assert engine.find("the storm", 2, unlike=[found[0].text])[0] == found[1]
    assert len(engine.find("the storm", 100)) == 5


def test_a_line_knows_its_place_and_what_it_replies_to(engine: QuotesEngine) -> None:
    quote = engine.locate(reply(engine, "Bo: clock"))
    assert quote
    assert (quote.place, quote.said_before) == ("S01E02, line 6", "Cy: What time is it?")
    first = engine.locate(LINES[0])
    assert first
    assert (first.place, first.said_before) == ("S01E01, line 2", "Bo: Where did you hide the silver key?")
    opening = engine.locate("Storms are honest; people call them weather.")
    assert opening
    assert (opening.place, opening.said_before) == ("S02E07, line 10", "")
    assert engine.locate("This is none of her lines.") is None
    assert engine.locate("") is None


def test_a_character_without_lines_is_an_error() -> None:
    frame = build_frame([(1, 1, None, 0, "Bo", "Hello.", None, None, "a.csv")])
    with pytest.raises(DataError, match="Ada has no lines in this series"):
        QuotesEngine(frame, CAST, "Ada")


def test_a_single_line_without_words_is_a_voice() -> None:
    frame = build_frame([(1, 1, None, 0, "Ada", "...", None, None, "a.csv")])
    engine = QuotesEngine(frame, CAST, "Ada")
    assert [reply(engine, f"Bo: {text}") for text in ("Hm?", "...")] == ["...", "..."]


def test_where_nothing_fits_the_reply_is_of_a_middle_length(engine: QuotesEngine) -> None:
    for text in ("xylophone qwertz", "zzz", "日本語"):
        assert reply(engine, f"Bo: {text}") == "Storms are honest; people call them weather."
        assert engine.find(text, 1)[0].score == 0.0


@pytest.mark.parametrize(
    "text",
    [
        "storm " * 2000,
        "x" * 10_000,
        "?!… — “”",
        "",
        " ",
        "(((([[[[*+?{}|^$\\",
        r"(.*)+$ \1 [a-z",
        "'s 's n't ing ed",
        "ß ẞ İ ﬁ \u0301 👋🏽 \u202e",
        "<|eot_id|>",
        "a: b: c",
        "Ada: hello",
        "\x00\ud7ff",
    ],
)
def test_any_text_gets_a_line(engine: QuotesEngine, text: str) -> None:
    assert engine.locate(reply(engine, f"Bo: {text}"))


@hypothesis_settings(max_examples=60, deadline=None)
@given(st.text(max_size=60))
def test_any_random_text_gets_a_line(engine: QuotesEngine, text: str) -> None:
    assert engine.locate(reply(engine, f"Bo: {text}"))


def test_pieces_are_words(engine: QuotesEngine) -> None:
    pieces = list(engine.reply(build_messages(CAST.get("Ada"), "X", [Turn("Bo", "boat")]), Sampling()))
    assert pieces[:3] == ["The", " boat", " sank"]
