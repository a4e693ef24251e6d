"""Who speaks next in a scene of several characters."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from character_chatbot.chats.records import CHARACTER, NOTE, USER, Message
from character_chatbot.chats.turn_order import RULES, find_addressed, next_speaker
from utils.characters import Character
from utils.errors import UsageError

ADA = Character("Ada Lock", aliases=("Miss Lock", "Clockwork"))
BO = Character("Bo")
CY = Character("Chief Cyrus Vane", aliases=("Cy",))
SCENE = (ADA, BO, CY)


def said(*rows: tuple[str, str]) -> list[Message]:
    """Messages of ``Visitor`` (the user) and of characters."""
    return [
        Message(number, number - 1 or None, USER if name == "Visitor" else CHARACTER, name, text)
        for number, (name, text) in enumerate(rows, 1)
    ]


def test_round_robin_goes_through_the_list() -> None:
    messages, order = said(("Visitor", "Hello")), []
    for _ in range(5):
        name = next_speaker(SCENE, messages, "round_robin")
        order.append(name)
        messages = [*messages, Message(9, 8, CHARACTER, str(name), "Hm.")]
    assert order == ["Ada Lock", "Bo", "Chief Cyrus Vane", "Ada Lock", "Bo"]


def test_round_robin_goes_on_behind_the_user_and_past_those_who_have_left() -> None:
    messages = said(("Ada Lock", "I"), ("Somebody", "gone"), ("Visitor", "Who?"))
    assert next_speaker(SCENE, messages, "round_robin") == "Bo"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Ask Bo about it", "Bo"),
        ("Bo told Ada that", "Ada Lock"),  # the last one named
        ("Ada, ask Bo", "Ada Lock"),  # but who is spoken to comes before who is named
        ("I know, Bo. Ada does not", "Bo"),
        ("What of it, miss lock?", "Ada Lock"),
        ("Tell VANE", "Chief Cyrus Vane"),
        ("Cy?", "Chief Cyrus Vane"),
        ("The clockwork stopped", "Ada Lock"),
        ("The boat, the adage and the cynic", None),  # no part of a word
        ("The chief knows", None),  # a title is nobody's name
        ("", None),
    ],
)
def test_who_is_spoken_to_or_named(text: str, name: str | None) -> None:
    assert find_addressed(SCENE, text) == name


def test_a_part_of_a_name_that_two_share_means_nobody() -> None:
    twins = (Character("Ada Lock"), Character("Eve Lock"))
    assert find_addressed(twins, "Lock knows") is None
    assert find_addressed(twins, "Eve knows") == "Eve Lock"


def test_signs_in_a_name_are_no_pattern() -> None:
    assert find_addressed((Character("Mr. (X"), BO), "Go, Mr. (X!") == "Mr. (X"


def test_where_nobody_is_named_the_one_silent_for_longest_speaks() -> None:
    messages = said(("Bo", "a"), ("Ada Lock", "b"), ("Chief Cyrus Vane", "c"), ("Ada Lock", "d"), ("Visitor", "Well?"))
    assert next_speaker(SCENE, messages) == "Bo"
    assert next_speaker(SCENE, said(("Ada Lock", "a"), ("Visitor", "Well?"))) == "Bo"  # who has said nothing at all


def test_nobody_answers_themselves_but_the_user_can_ask_again() -> None:
    assert next_speaker(SCENE, said(("Visitor", "Hello"), ("Bo", "I, Bo, say so"))) == "Ada Lock"
    assert next_speaker(SCENE, said(("Bo", "Yes"), ("Visitor", "Bo?"))) == "Bo"
    for rule in ("round_robin", "mentioned"):
        assert next_speaker((BO,), said(("Visitor", "Hello"), ("Bo", "Yes")), rule) is None
        assert next_speaker((BO,), said(("Visitor", "Hello")), rule) == "Bo"


def test_a_note_is_no_turn() -> None:
    messages = [*said(("Visitor", "Hello"), ("Bo", "Yes")), Message(3, 2, NOTE, "System", "They sit down")]
    assert next_speaker(SCENE, messages, "round_robin") == "Chief Cyrus Vane"


def test_a_chosen_order_is_kept_even_twice_in_a_row_and_then_the_user_speaks() -> None:
    order = ("Bo", "Bo", "Nobody", "Ada Lock")
    messages = said(("Ada Lock", "before"), ("Visitor", "Hello"))
    found = []
    for _ in range(4):
        found.append(next_speaker(SCENE, messages, "chosen", chosen=order))
        messages = [*messages, Message(9, 8, CHARACTER, str(found[-1]), "Hm.")]
    assert found == ["Bo", "Bo", "Ada Lock", None]


def test_the_same_seed_gives_the_same_order() -> None:
    def play(seed: int) -> list[str]:
        rng, messages = random.Random(seed), said(("Visitor", "Hello"))
        for _ in range(8):
            name = next_speaker(SCENE, messages, rng=rng)
            messages = [*messages, Message(9, 8, CHARACTER, str(name), "Hm.")]
        return [each.speaker for each in messages[1:]]

    assert play(3) == play(3)
    assert len({tuple(play(seed)) for seed in range(20)}) > 1
    assert all(a != b for seed in range(20) for a, b in pairwise(play(seed)))


def test_an_unknown_rule_is_a_sentence() -> None:
    with pytest.raises(UsageError, match="'loudest'") as error:
        next_speaker(SCENE, [], "loudest")
    assert all(rule in str(error.value) for rule in RULES)
    assert next_speaker(SCENE, []) == "Ada Lock"
