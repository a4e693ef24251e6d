"""A conversation: what the engine sees of it, and which messages are taken."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import pytest

from character_chatbot.engines.base import EchoEngine, Sampling, build_sampling
from character_chatbot.prompts import Message, Turn, persona_prompt
from character_chatbot.replies.conversation import LONGEST_MESSAGE_CHARACTERS, Conversation, read_message, stream_reply
from character_chatbot.sources import Source
from config import ChatSettings
from utils.characters import Cast, Character
from utils.errors import UnknownCharacter, UsageError

ADA = Character("Ada", ("Miss Lock",), "You are Ada.")
SAMPLING = Sampling(seed=3)


class Recorder:
    """Notes what it is asked and says ``yes.`` in two pieces; ``closed`` counts how often it was ended."""

    def __init__(self) -> None:
        self.seen: list[tuple[list[Message], Sampling]] = []
        self.asked_for: list[str] = []
        self.closed = 0

    def reply(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[str]:
        self.seen.append((list(messages), sampling))
        try:
            yield "ye"
            yield "s. "
        finally:
            self.closed += 1

    def engine(self, character: str) -> Recorder:
        self.asked_for.append(character)
        return self


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def source(recorder: Recorder) -> Source:
    return Source("version", "a fake", "The Slow Clock", Cast([ADA, Character("Bo")]), ("Ada", "Bo"), recorder.engine)


def contents(recorder: Recorder) -> list[str]:
    return [message["content"] for message in recorder.seen[-1][0]]


# What the engine sees

TURNS = [
    Turn("Visitor", "one"),
    Turn("Ada", "two"),
    Turn("Visitor", "three"),
    Turn("Ada", "four"),
    Turn("Visitor", "five"),
]


def test_the_reply_comes_from_the_characters_engine(source: Source, recorder: Recorder) -> None:
    assert list(stream_reply(source, "Ada", TURNS, SAMPLING, 6)) == ["ye", "s. "]
    assert recorder.asked_for == ["Ada"]
    assert recorder.seen[0][1] == SAMPLING
    persona = persona_prompt(ADA, "The Slow Clock")
    assert contents(recorder) == [persona, "Visitor: one", "two", "Visitor: three", "four", "Visitor: five"]


def test_quotes_see_all_turns_so_that_none_comes_twice(source: Source, recorder: Recorder) -> None:
    list(stream_reply(dataclasses.replace(source, rung="quotes"), "Ada", TURNS, SAMPLING, 1))
    assert len(contents(recorder)) == 1 + len(TURNS)


@pytest.mark.parametrize(
    ("history_turns", "seen"),
    [
        (1, ["Visitor: five"]),
        (2, ["Visitor: five"]),  # would begin with the character's own turn
        (3, ["Visitor: three", "four", "Visitor: five"]),
        (5, ["Visitor: one", "two", "Visitor: three", "four", "Visitor: five"]),
        (100, ["Visitor: one", "two", "Visitor: three", "four", "Visitor: five"]),
    ],
)
def test_older_turns_are_left_out_whole(
    source: Source, recorder: Recorder, history_turns: int, seen: list[str]
) -> None:
    list(stream_reply(source, "Ada", TURNS, SAMPLING, history_turns))
    assert contents(recorder)[1:] == seen


@pytest.mark.parametrize("name", ["Miss Lock", "ADA", " miss  lock "])
def test_a_character_is_spoken_to_under_any_name(source: Source, recorder: Recorder, name: str) -> None:
    list(stream_reply(source, name, TURNS, SAMPLING, 6))
    assert recorder.asked_for == ["Ada"]
    assert contents(recorder)[2] == "two"


def test_an_unknown_character_names_the_nearest(source: Source) -> None:
    with pytest.raises(UnknownCharacter, match="Did you mean Ada"):
        list(stream_reply(source, "Adda", TURNS, SAMPLING, 6))


def test_nobody_talks_to_oneself(source: Source) -> None:
    with pytest.raises(UsageError, match="Ada cannot talk to Ada"):
        list(stream_reply(source, "Miss Lock", [Turn("Ada", "Hm.")], SAMPLING, 6))


# A conversation that is kept


def conversation(source: Source, character: str = "Ada", history_turns: int = 6) -> Conversation:
    return Conversation(source, character, "Visitor", SAMPLING, history_turns)


@pytest.mark.parametrize("name", ["Ada", "Miss Lock"])
def test_both_turns_are_kept(source: Source, recorder: Recorder, name: str) -> None:
    talk = conversation(source, name)
    assert "".join(talk.say("  one ")) == "yes. "
    assert talk.turns == (Turn("Visitor", "one"), Turn("Ada", "yes."))
    list(talk.say("two"))
    assert contents(recorder)[1:] == ["Visitor: one", "yes.", "Visitor: two"]
    assert len(talk.turns) == 4


def test_a_reply_that_is_stopped_is_kept_as_far_as_it_came(source: Source, recorder: Recorder) -> None:
    talk = conversation(source)
    pieces = talk.say("one")
    assert next(pieces) == "ye"
    pieces.close()  # type: ignore[attr-defined]
    assert talk.turns == (Turn("Visitor", "one"), Turn("Ada", "ye"))
    assert recorder.closed == 1


def test_a_message_that_is_refused_changes_nothing(source: Source, recorder: Recorder) -> None:
    talk = conversation(source)
    for text in ("", "x" * (LONGEST_MESSAGE_CHARACTERS + 1)):
        with pytest.raises(UsageError):
            list(talk.say(text))
    assert (talk.turns, recorder.seen) == ((), [])


def test_a_reply_of_nothing_leaves_no_turns() -> None:
    cast = Cast([ADA])
    silent = Source("quotes", "silent", "X", cast, ("Ada",), lambda character: EchoEngine())
    talk = Conversation(silent, "Ada", "Visitor", Sampling(max_new_tokens=0), 6)
    assert list(talk.say("one")) == []
    assert talk.turns == ()


# Messages


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("  Hello.  ", "Hello."),
        ("a\x00b\x07c\x1bd\x7fe", "a b c d e"),
        ("\x1b[31mred\x1b[0m", "[31mred [0m"),
        ("a\rb", "a b"),
        ("Grüße 👋 “quoted” 日本", "Grüße 👋 “quoted” 日本"),
        ("x" * LONGEST_MESSAGE_CHARACTERS, "x" * LONGEST_MESSAGE_CHARACTERS),
        (" " * 5000 + "x", "x"),
    ],
)
def test_a_message_is_cleaned(text: str, message: str) -> None:
    assert read_message(text) == message


@pytest.mark.parametrize("text", ["", "   ", "\n\t", "\x00\x1b", "\x7f "])
def test_an_empty_message_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="the message is empty"):
        read_message(text)


def test_a_long_message_is_refused_with_both_numbers() -> None:
    with pytest.raises(UsageError, match=r"has 4,001 characters; a turn has at most 4,000"):
        read_message("x" * (LONGEST_MESSAGE_CHARACTERS + 1))


# Sampling and the echo


def test_sampling_is_as_the_settings_say() -> None:
    settings = ChatSettings(max_new_tokens=5, temperature=0.1, top_p=0.2, repetition_penalty=1.3, history_turns=4)
    assert build_sampling(settings, 9) == Sampling(5, 0.1, 0.2, 1.3, 9)
    assert build_sampling(settings).seed is None
    assert build_sampling(ChatSettings()) == Sampling()


def test_the_echo_says_back_what_was_said_last() -> None:
    messages = [{"role": "user", "content": "Bo: one two three"}]
    assert "".join(EchoEngine().reply(messages, Sampling())) == "one two three"
    assert list(EchoEngine().reply(messages, Sampling(max_new_tokens=2))) == ["one", " two"]
