"""What a model learns: the reply and its end, nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from character_chatbot.dialogues import Dialogue, DialogueSet
from character_chatbot.prompts import Turn, encode_prompt, encode_reply, end_of_turn
from character_chatbot.training.examples import IGNORED, Example, check_labels, encode_dialogue, encode_dialogues
from utils.characters import Cast, Character
from utils.errors import TrainingError

FAMILIES = ("llama", "qwen")
CONTEXT = tuple(
    Turn(speaker, f"{number} says that the clock in the tower has stopped again.")
    for number, speaker in enumerate(("Bo", "Ada", "Cy", "Ada", "Bo"))
)
DIALOGUE = Dialogue("Ada", 1, 1, 5, CONTEXT, "Then I shall wind it <|eot_id|> again.")
DIALOGUES = DialogueSet(
    title="The Slow Clock",
    cast=Cast([Character("Ada", (), "You are Ada.")]),
    characters=("Ada",),
    training=(DIALOGUE,),
    held_out=(),
    training_episodes=((1, 1),),
    held_out_episodes=(),
)


@pytest.fixture(params=FAMILIES)
def tokenizer(request: pytest.FixtureRequest, nano_tokenizers: dict[str, Any]) -> Any:
    return nano_tokenizers[request.param]


@pytest.fixture
def example(tokenizer: Any) -> Example:
    found = encode_dialogue(tokenizer, DIALOGUE, DIALOGUES, 10_000)
    assert found
    return found


def rows(example: Example, **changes: list[int]) -> list[dict[str, list[int]]]:
    return [{"input_ids": list(example.input_ids), "labels": list(example.labels), **changes}]


def prompt_length(tokenizer: Any, dialogue: Dialogue) -> int:
    return len(encode_prompt(tokenizer, dialogue.messages(DIALOGUES.cast, DIALOGUES.title)))


def test_labels_are_the_reply_and_its_end_and_nothing_else(tokenizer: Any, example: Example) -> None:
    start = prompt_length(tokenizer, DIALOGUE)
    assert len(example.labels) == len(example.input_ids)
    assert set(example.labels[:start]) == {IGNORED}
    assert example.labels[start:] == example.input_ids[start:] == example.reply_ids
    assert list(example.reply_ids) == encode_reply(tokenizer, DIALOGUE.reply)
    assert example.reply_ids[-1] == end_of_turn(tokenizer)
    assert example.reply_ids.count(end_of_turn(tokenizer)) == 1
    assert tokenizer.decode(example.reply_ids[:-1]).replace("< |", "<|") == DIALOGUE.reply


def test_what_a_model_learns_from_is_what_it_is_asked_with(tokenizer: Any, example: Example) -> None:
    prompt = encode_prompt(tokenizer, DIALOGUE.messages(DIALOGUES.cast, DIALOGUES.title))
    assert list(example.input_ids[: len(prompt)]) == prompt


def test_the_oldest_turns_are_left_out_until_it_fits(tokenizer: Any, example: Example) -> None:
    assert encode_dialogue(tokenizer, DIALOGUE, DIALOGUES, len(example.input_ids)) == example
    shorter = encode_dialogue(tokenizer, DIALOGUE, DIALOGUES, len(example.input_ids) - 1)
    assert shorter
    text = tokenizer.decode(shorter.input_ids)
    assert [f"{number} says" in text for number in range(5)] == [False, False, True, True, True]
    assert shorter.reply_ids == example.reply_ids
    assert text.count("You are Ada.") == 1


@pytest.mark.parametrize("spare", [0, 1, 40])
def test_an_example_is_never_longer_than_it_may_be(tokenizer: Any, example: Example, spare: int) -> None:
    last_turn = prompt_length(tokenizer, replace(DIALOGUE, context=CONTEXT[-1:]))
    limit = last_turn + len(example.reply_ids) + spare
    found = encode_dialogue(tokenizer, DIALOGUE, DIALOGUES, limit)
    assert found
    assert len(found.input_ids) <= limit
    assert found.reply_ids == example.reply_ids


def test_what_cannot_fit_is_left_out(tokenizer: Any, example: Example) -> None:
    last_turn = prompt_length(tokenizer, replace(DIALOGUE, context=CONTEXT[-1:]))
    limit = last_turn + len(example.reply_ids) - 1
    assert encode_dialogue(tokenizer, DIALOGUE, DIALOGUES, limit) is None
    short = replace(DIALOGUE, reply="No.")
    assert len(encode_dialogues(tokenizer, [DIALOGUE, short, DIALOGUE], DIALOGUES, limit)) == 1
    assert encode_dialogues(tokenizer, [], DIALOGUES, limit) == []


def test_right_labels_pass(tokenizer: Any, example: Example) -> None:
    check_labels(tokenizer, rows(example), [example])
    check_labels(tokenizer, [], [])


def test_a_label_in_the_prompt_is_found(tokenizer: Any, example: Example) -> None:
    for at in (0, len(example.labels) - len(example.reply_ids) - 1):
        labels = list(example.labels)
        labels[at] = example.input_ids[at]
        with pytest.raises(TrainingError, match="dialogue 0"):
            check_labels(tokenizer, rows(example, labels=labels), [example])


def test_a_missing_end_is_found(tokenizer: Any, example: Example) -> None:
    endless = Example(example.input_ids[:-1], example.labels[:-1])
    with pytest.raises(TrainingError):
        check_labels(tokenizer, rows(endless), [endless])
    with pytest.raises(TrainingError):
        check_labels(tokenizer, rows(endless), [example])
    with pytest.raises(TrainingError):
        check_labels(tokenizer, rows(example, labels=[*example.labels[:-1], IGNORED]), [example])


def test_a_reply_that_was_cut_short_is_found(tokenizer: Any, example: Example) -> None:
    cut = {"input_ids": list(example.input_ids[:-3]), "labels": list(example.labels[:-3])}
    with pytest.raises(TrainingError):
        check_labels(tokenizer, [cut], [example])
    masked = list(example.labels)
    masked[-len(example.reply_ids)] = IGNORED
    with pytest.raises(TrainingError):
        check_labels(tokenizer, rows(example, labels=masked), [example])


def test_another_text_under_the_same_labels_is_found(tokenizer: Any, example: Example) -> None:
    with pytest.raises(TrainingError):
        check_labels(tokenizer, rows(example, input_ids=[example.input_ids[1], *example.input_ids[1:]]), [example])


def test_the_faulty_row_is_named_and_none_may_be_missing(tokenizer: Any, example: Example) -> None:
    good, bad = rows(example)[0], rows(example, labels=[IGNORED] * len(example.labels))[0]
    with pytest.raises(TrainingError, match="dialogue 1"):
        check_labels(tokenizer, [good, bad], [example, example])
    with pytest.raises(ValueError, match=r"longer|shorter"):
        check_labels(tokenizer, [good], [example, example])
