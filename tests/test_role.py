"""Staying in the role: nothing that must not be shown is shown, in whatever pieces it comes; and the measures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from character_chatbot.engines.base import Sampling
from character_chatbot.prompts import Message, Turn
from character_chatbot.replies.conversation import Conversation, list_names, stream_reply
from character_chatbot.replies.reply_stream import ReplyStream, Rules, vary
from character_chatbot.replies.role import RoleGuard, close_pieces
from character_chatbot.replies.role_measures import (
    MAYBE,
    NEW,
    REPEATED,
    compare_beginning,
    distinct_n,
    leaves_role,
    repetition_share,
    speaks_for_user,
)
from character_chatbot.replies.sentence_end import end_with_sentence
from character_chatbot.sources import Source
from utils.characters import Cast, Character

OWN, OTHERS = ("Kit", "Kit Barlow"), ("Visitor", "Rosa", "Dr Varga", "Varga")


def guard(pieces: Iterable[str], own: Iterable[str], others: Iterable[str]) -> Iterator[str]:
    """The pieces of a reply as they may be shown."""
    watch = RoleGuard(own, others)
    try:
        for piece in pieces:
            shown = watch.feed(piece)
            if shown:
                yield shown
            if watch.stopped:
                return
        rest = watch.finish()
        if rest:
            yield rest
    finally:
        close_pieces(pieces)


def shown(*pieces: str) -> str:
    return "".join(guard(iter(pieces), OWN, OTHERS))


REPLIES = [
    ("Hello there.", "Hello there."),
    ("Hello.\nVisitor: And you?", "Hello."),
    ("Hello.\n\nrosa : hi", "Hello."),
    ("Hello.\n**Dr Varga:** Hm.", "Hello."),
    ("Hello.\n*Rosa*: Hm.", "Hello."),
    ("Hello.\n[Varga]: Hm.", "Hello."),
    ("Hello.\nUser: Hm.", "Hello."),
    ("Hello.\nVisitor：Hm.", "Hello."),
    ("Visitor: And you?", ""),
    ("Kit: Hello.", "Hello."),
    ("  kit barlow :  Hello.", "Hello."),
    ("**Kit:** Hello.", "Hello."),
    ("Kit: *smiles* Hello.", "*smiles* Hello."),
    ("Kit: Visitor: Hello.", ""),
    ("Kit: One.\nKit: Two.\nRosa: No.", "One.\nTwo."),
    ("One.\nTwo.", "One.\nTwo."),
    ("Rosa is here, Visitor: come in.", "Rosa is here, Visitor: come in."),
    ("One.\nRosa said: no.", "One.\nRosa said: no."),
    ("One.\nRosalind: no.", "One.\nRosalind: no."),
    ("One.\nRosa", "One.\nRosa"),
    ("Listen: I mean it.", "Listen: I mean it."),
    ("Hello.<|eot_id|><|start_header_id|>user", "Hello."),
    ("Hello.<|im_end|>\n<|im_start|>user", "Hello."),
    ("Hello. [INST] More", "Hello. "),
    ("Hello.</s>", "Hello."),
    ("Hello.<end_of_turn>\n", "Hello."),
    ("<<SYS>> Hm", ""),
    ("I <3 you, a < b > c <|x", "I <3 you, a < b > c <|x"),
    ("[laughs] Well, [IN the end] <b>bold</b>", "[laughs] Well, [IN the end] <b>bold</b>"),
    ("One.\n  \n", "One."),
    ("\n\n  Hello.", "Hello."),
    ("", ""),
]


@pytest.mark.parametrize(("reply", "kept"), REPLIES)
def test_a_reply_ends_where_it_leaves_its_part(reply: str, kept: str) -> None:
    assert shown(reply) == kept


@pytest.mark.parametrize(("reply", "kept"), REPLIES)
def test_it_comes_out_the_same_sign_by_sign_and_is_never_taken_back(reply: str, kept: str) -> None:
    assert shown(*reply) == kept
    so_far = ""
    for piece in guard(iter(reply), OWN, OTHERS):
        so_far += piece
        assert kept.startswith(so_far)


TEXTS = st.lists(
    st.sampled_from(
        ["Kit", "Visitor", "Rosa", ":", " ", "\n", "*", "<|im_end|>", "<|", "<", "[INST]", "[", "yes", "."]
    ),
    max_size=14,
).map("".join)


@pytest.mark.parametrize(
    ("own", "other", "reply", "kept"),
    [
        ("Ann", "Anna", "Ann: Yes.\nAnna: No.", "Yes."),
        ("Anna", "Ann", "Anna: Yes.\nAnn: No.", "Yes."),
        ("Kit", "Dr Varga", "Yes.\nDr\u00a0Varga: No.", "Yes."),
        ("Kit", "Dr Varga", "Yes.\nDr  Varga : No.", "Yes."),
        ("Kit", "Zoé", "Yes.\nZoe\u0301: No.", "Yes."),
        ("Zoe\u0301", "Kit", "Zoé: Yes.", "Yes."),
        ("Kit", "Straße", "Yes.\nSTRASSE: No.", "Yes."),
        ("Kit", "Гралл", "Yes.\nГРАЛЛ: Нет.", "Yes."),
        ("Kit", "C.*+(?", "Yes.\nCat: is what I mean.\nC.*+(?: No.", "Yes.\nCat: is what I mean."),
    ],
)
def test_names_are_names_however_they_are_spelt(own: str, other: str, reply: str, kept: str) -> None:
    assert "".join(guard(iter(reply), [own], [other])) == kept  # sign by sign
    assert "".join(guard(iter([reply]), [own], [other])) == kept


@hypothesis_settings(max_examples=200, deadline=None)
@given(TEXTS, st.lists(st.integers(0, 60), max_size=6))
def test_pieces_do_not_matter(text: str, cuts: list[int]) -> None:
    places = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    pieces = [text[start:end] for start, end in pairwise(places)]
    whole = shown(text)
    assert shown(*pieces) == whole
    assert not any(token in whole for token in ("<|im_end|>", "[INST]"))
    assert not speaks_for_user(whole, OTHERS)


def test_the_engine_is_stopped_where_the_reply_ends() -> None:
    asked: list[str] = []

    def engine() -> Iterator[str]:
        try:
            for piece in ("One.", "\nVisi", "tor:", " never"):
                asked.append(piece)
                yield piece
        finally:
            asked.append("closed")

    assert list(guard(engine(), OWN, OTHERS)) == ["One."]
    assert asked == ["One.", "\nVisi", "tor:", "closed"]


def test_pieces_come_at_once_where_nothing_is_in_doubt() -> None:
    pieces = ["Well", ", I", " never", " said", " so."]
    assert list(guard(iter(pieces), OWN, OTHERS)) == pieces


def test_names_are_all_that_a_character_is_called() -> None:
    assert list_names(Character("Dr Ida Varga", ("Ida",))) == ("Dr Ida Varga", "Ida", "Varga")
    assert list_names(Character("Kit")) == ("Kit",)


# The end of a reply that is too long


def ended(text: str, tokens: int) -> str:
    words = [f" {word}" if at else word for at, word in enumerate(text.split(" "))]
    return "".join(end_with_sentence(iter(words[:tokens]), tokens, lambda piece: 1))


def test_a_reply_that_is_cut_ends_with_its_last_whole_sentence() -> None:
    assert ended("One two. Three four. Five six seven eight", 7) == "One two. Three four."
    assert ended('He said: "No." And then he', 6) == 'He said: "No."'
    assert ended("I asked Dr. Varga. She went to", 6) == "I asked Dr. Varga."


@pytest.mark.parametrize("text", ["One two. Three.", "One two. Three", "no end at all in this one", ""])
def test_other_replies_stay_as_they_are(text: str) -> None:
    assert ended(text, 7 if text.startswith("no") else 60) == text


def test_sentences_come_as_they_end_and_nothing_is_taken_back() -> None:
    words = [f" w{n}{'.' if n % 6 == 5 else ''}" for n in range(100)]
    pieces = list(end_with_sentence(iter(words), 100, lambda piece: 1))
    assert pieces[: 100 - 32 - 1] == words[: 100 - 32 - 1]  # far from the end at once
    assert "".join(pieces) == "".join(words[:96])


# Drawing again


class Drawer:
    """Says one text for each draw, word by word; the last one from then on."""

    def __init__(self, *texts: str) -> None:
        self.texts, self.drawn, self.closed = texts, [], 0  # type: ignore[var-annotated]

    def __call__(self, sampling: Sampling) -> Iterator[str]:
        self.drawn.append(sampling)
        text = self.texts[min(len(self.drawn), len(self.texts)) - 1]
        try:
            for at, word in enumerate(text.split(" ")):
                yield word if at == 0 else f" {word}"
        finally:
            self.closed += 1

    def reply(self, messages: Sequence[Message], sampling: Sampling) -> Iterator[str]:
        return self(sampling)


LONG = "The lamp went out at nine and nobody knows why it did."
OTHER = "I was asleep, as honest people are."


def stream(drawer: Drawer, *earlier: str, redraws: int = 1) -> ReplyStream:
    return ReplyStream(drawer, Sampling(seed=5), Rules(OWN, OTHERS, earlier, redraws))


@pytest.mark.parametrize(
    ("first", "earlier", "again"),
    [
        (LONG, LONG, True),
        ("the LAMP went out at nine, and nobody saw it!", LONG, True),
        ("I was asleep as honest people are!", OTHER, True),
        ("I was asleep, as honest people are. You were not.", OTHER, False),
        ("I was asleep.", "I was asleep.", False),  # three words may come again
        ("The lamp went out at ten.", LONG, False),
        ("Something else altogether, my friend.", LONG, False),
        ("Visitor: hello", LONG, True),
    ],
)
def test_a_reply_that_repeats_an_earlier_one_is_drawn_again_once(first: str, earlier: str, again: bool) -> None:
    drawer = Drawer(first, "Quite another reply.")
    pieces = stream(drawer, "Hm.", earlier)
    assert "".join(pieces) == ("Quite another reply." if again else first)
    assert (len(drawer.drawn), drawer.closed, pieces.redrawn) == (2, 2, 1) if again else (1, 1, 0)


def test_the_last_draw_is_taken_as_it_is() -> None:
    drawer = Drawer(LONG)
    assert "".join(stream(drawer, LONG)) == LONG
    assert len(drawer.drawn) == 2
    assert "".join(stream(Drawer(LONG), LONG, redraws=0)) == LONG
    assert drawer.drawn[0] == Sampling(seed=5)
    assert drawer.drawn[1] == vary(Sampling(seed=5), 1) != drawer.drawn[0]
    assert vary(Sampling(), 1).seed is None


def test_only_what_may_be_a_repetition_is_held_back() -> None:
    drawer = Drawer("The lamp went down. And up again.")
    pieces = stream(drawer, LONG)
    assert next(pieces) == "The lamp went down."
    assert next(pieces) == " And"
    assert next(stream(Drawer("Well b c."), LONG)) == "Well"


def test_closing_ends_the_engine() -> None:
    drawer = Drawer(LONG)
    pieces = stream(drawer)
    next(pieces)
    pieces.close()
    pieces.close()
    assert drawer.closed == 1
    assert list(pieces) == []


def source_of(drawer: Drawer, rung: str = "nano") -> Source:
    cast = Cast([Character("Kit", ("Kit Barlow",)), Character("Rosa Duke", ("Rosa",))])
    return Source(rung, "a fake", "X", cast, ("Kit",), lambda name: drawer)


def test_conversations_are_guarded() -> None:
    drawer = Drawer("Kit Barlow: Aye.\nDuke: No.", "Aye, aye.\nEve: No.")
    talk = Conversation(source_of(drawer), "Kit", "Eve", Sampling(), 6)
    assert "".join(talk.say("Well?")) == "Aye."
    assert "".join(talk.say("Well?")) == "Aye, aye."
    assert [turn.text for turn in talk.turns] == ["Well?", "Aye.", "Well?", "Aye, aye."]


def test_quotes_come_as_they_are() -> None:
    text = "Kit: this line is so.\nRosa: Quoted exactly, and"
    said = [Turn("Eve", "a"), Turn("Kit", text), Turn("Eve", "b")]
    assert "".join(stream_reply(source_of(Drawer(text), "quotes"), "Kit", said, Sampling(4), 6)) == text


# Measures


def test_distinct_counts_ngrams() -> None:
    assert distinct_n(["a b a b", "A, b!"], 1) == pytest.approx(2 / 6)
    assert distinct_n(["a b a b", "A, b!"], 2) == pytest.approx(2 / 4)
    assert distinct_n([], 2) == distinct_n(["one"], 2) == 1.0


def test_repetition_is_the_share_of_known_ngrams() -> None:
    assert repetition_share("one two three four", ["zero one two three"], 3) == 0.5
    assert repetition_share("one two three", [], 3) == 0.0
    assert repetition_share("one", ["one"], 3) == 0.0
    assert repetition_share("Don’t you go", ["don't you go!"], 3) == 1.0


@pytest.mark.parametrize(
    ("reply", "leaves"),
    [
        ("As an AI, I have no feelings.", True),
        ("I'm just a language model.", True),
        ("I’m an AI assistant.", True),
        ("I cannot assist with that.", True),
        ("OpenAI made me.", True),
        ("I am an aide to the judge.", False),
        ("A model ship, in a bottle.", False),
        ("I can't help it, love.", False),
        ("As an aid, it is worthless.", False),
    ],
)
def test_leaving_the_role_is_seen(reply: str, leaves: bool) -> None:
    assert leaves_role(reply) is leaves


def test_speaking_for_the_user_is_seen() -> None:
    assert speaks_for_user("Hm.\nVisitor: yes", OTHERS)
    assert speaks_for_user("Visitor: yes", OTHERS)
    assert not speaks_for_user("I told Visitor: yes", OTHERS)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", MAYBE),
        ("The la", MAYBE),
        ("The lamps ", NEW),
        ("The lamp went out at nine and nobody", MAYBE),
        (LONG, REPEATED),
    ],
)
def test_a_beginning_is_new_maybe_or_repeated(text: str, found: str) -> None:
    assert compare_beginning(text, [LONG]) == found
    assert compare_beginning(text, []) == NEW


def test_a_short_reply_that_has_ended_may_come_again() -> None:
    assert compare_beginning("I was asleep.", ["I was asleep."], ended=True) == NEW
    assert compare_beginning("I was fast asleep.", ["I was fast asleep!"], ended=True) == REPEATED
