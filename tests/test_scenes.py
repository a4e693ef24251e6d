"""Scenes as sequences: the same replies as with one sequence each, seen as serving shows them."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from character_chatbot.corpus import load_corpus
from character_chatbot.dialogues import Dialogue, DialogueSet
from character_chatbot.nano import FAMILIES, build_model, build_tokenizer
from character_chatbot.prompts import Turn, build_messages, encode_prompt, encode_reply, end_of_turn
from character_chatbot.training import encoding
from character_chatbot.training.adapter import count_sequences
from character_chatbot.training.encoding import encode_training
from character_chatbot.training.examples import IGNORED, Example, are_learnable, check_labels, encode_dialogues
from character_chatbot.training.packing import PackingCollator
from character_chatbot.training.reply_trainer import reply_nats
from character_chatbot.training.scenes import build_stretches, encode_scenes
from config import NanoSettings, Settings, TrainingSettings
from utils.announcements import Announcements
from utils.characters import Cast, Character
from utils.errors import TrainingError

SAMPLE = Path(__file__).resolve().parent.parent / "data" / "sample_series"
CONTEXT_TURNS = 3
LONG = 10_000


def make(*scenes: str, skip: tuple[str, ...] = ()) -> DialogueSet:
    """``make("BABCA")``: the first letters of who speaks in turn; Ada's turns are learnt, but for those to ``skip``."""
    names = {"A": "Ada", "B": "Bo", "C": "Cy", "u": "Unknown"}
    turns = tuple(
        tuple(Turn(names[who], f"{number}-{at} is what {names[who]} says.") for at, who in enumerate(scene))
        for number, scene in enumerate(scenes)
    )
    training = tuple(
        Dialogue("Ada", 1, number, at, scene[max(0, at - 1) : at], turn.text, number, at)
        for number, scene in enumerate(turns)
        for at, turn in enumerate(scene)
        if turn.speaker == "Ada" and at and turn.text.split()[0] not in skip
    )
    cast = Cast([Character("Ada", (), "You are Ada, who mends clocks.")])
    return DialogueSet("The Slow Clock", cast, ("Ada",), training, (), ((1, 1),), (), {}, turns)


@pytest.fixture(params=sorted(FAMILIES))
def tokenizer(request: pytest.FixtureRequest, nano_tokenizers: dict[str, Any]) -> Any:
    return nano_tokenizers[request.param]


def stretches(dialogues: DialogueSet) -> list[str]:
    """Who speaks in each stretch; small letters are context only."""
    return [
        "".join(
            turn.speaker[0] if at in stretch.learnt else turn.speaker[0].lower()
            for at, turn in enumerate(stretch.turns)
        )
        for stretch in build_stretches(dialogues.training, dialogues, CONTEXT_TURNS)
    ]


def encode(tokenizer: Any, dialogues: DialogueSet, limit: int = LONG) -> list[Example]:
    return encode_scenes(tokenizer, dialogues.training, dialogues, limit, CONTEXT_TURNS)


def learnt(tokenizer: Any, examples: list[Example]) -> list[str]:
    return [
        tokenizer.decode(each.labels[start : over - 1]).split()[0]
        for each in examples
        for start, over in each.replies()
    ]


@pytest.mark.parametrize(
    ("scene", "wanted"),
    [
        ("BABA", ["bAbA"]),
        ("ABA", ["bA"]),  # nobody has spoken to Ada before her first turn
        ("BACuBA", ["bAcubA"]),
        ("CBCBCBA", ["bcbA"]),  # no more in front than a reply by itself would see
        ("BABCBCBA", ["bA", "bcbA"]),  # more than that between two: nothing lost by a cut
        ("BABCBA", ["bAbcbA"]),
        ("BABB", ["bA"]),
        ("BCB", []),
    ],
)
def test_a_stretch_holds_what_the_replies_need(scene: str, wanted: list[str]) -> None:
    assert stretches(make(scene)) == wanted


def test_no_stretch_crosses_a_scene() -> None:
    assert stretches(make("BA", "BA", "CA")) == ["bA", "bA", "cA"]


def test_what_is_not_among_the_dialogues_is_context_only() -> None:
    assert stretches(make("BABABA", skip=("0-3",))) == ["bAbabA"]
    assert stretches(make("BABABA", skip=("0-5",))) == ["bAbA"]


def test_every_reply_is_learnt_behind_what_serving_would_show(tokenizer: Any) -> None:
    dialogues = make("BACABA", skip=("0-3",))
    (example,) = encode(tokenizer, dialogues)
    check_labels(tokenizer, [{"input_ids": list(example.input_ids), "labels": list(example.labels)}], [example])
    places = iter(example.replies())
    for at in (1, 5):
        turns = dialogues.scenes[0]
        prompt = encode_prompt(tokenizer, build_messages(dialogues.cast.get("Ada"), dialogues.title, turns[:at]))
        start, over = next(places)
        assert list(example.input_ids[:start]) == prompt
        assert list(example.labels[start:over]) == encode_reply(tokenizer, turns[at].text)
    assert sum(label != IGNORED for label in example.labels) == sum(
        len(encode_reply(tokenizer, dialogue.reply)) for dialogue in dialogues.training
    )


def test_a_long_scene_is_cut_between_turns_and_overlaps_as_context(tokenizer: Any) -> None:
    dialogues = make("BA" * 12)
    (whole,) = encode(tokenizer, dialogues)
    limit = len(whole.input_ids) // 2
    pieces = encode(tokenizer, dialogues, limit)
    assert len(pieces) > 2
    assert all(len(each.input_ids) <= limit for each in pieces)
    assert learnt(tokenizer, pieces) == learnt(tokenizer, [whole]) == [f"0-{at}" for at in range(1, 24, 2)]
    for piece in pieces[1:]:
        text = tokenizer.decode(piece.input_ids)
        first = int(learnt(tokenizer, [piece])[0].removeprefix("0-"))
        assert f"0-{first - 2} is" not in tokenizer.decode(piece.reply_ids)
        assert f"0-{first - 2} is" in text  # Ada's turn before, seen and not learnt again
        assert f"0-{first - 4} is" not in text
        assert text.count("You are Ada") == 1


def test_a_reply_that_fits_only_with_less_context_gets_less(tokenizer: Any) -> None:
    dialogues = make("BCBA")
    (whole,) = encode(tokenizer, dialogues)
    (shorter,) = encode(tokenizer, dialogues, len(whole.input_ids) - 1)
    assert shorter.reply_ids == whole.reply_ids
    assert "0-1 is" not in tokenizer.decode(shorter.input_ids) or "0-0 is" not in tokenizer.decode(shorter.input_ids)
    assert encode(tokenizer, dialogues, 20) == []


def test_the_persona_is_what_all_have_in_common(tokenizer: Any) -> None:
    one, other = encode(tokenizer, make("BABA", "CA"))
    assert one.shared == other.shared > 5
    assert one.input_ids[: one.shared] == other.input_ids[: other.shared]
    assert "who mends clocks" in tokenizer.decode(one.input_ids[: one.shared])


def test_a_template_that_rewrites_the_history_is_refused(tokenizer: Any) -> None:
    (example,) = encode(tokenizer, make("BABA"))
    start, _ = example.replies()[0]
    moved = replace(example, input_ids=(*example.input_ids[: start - 1], 7, *example.input_ids[start:]))
    with pytest.raises(TrainingError, match="--format pairs"):
        check_labels(tokenizer, [{"input_ids": list(moved.input_ids), "labels": list(moved.labels)}], [moved])


@pytest.mark.parametrize(("wanted", "sequences"), [("auto", 1), ("scenes", 1), ("pairs", 2)])
def test_scenes_are_taken_unless_pairs_are_asked_for(tokenizer: Any, wanted: str, sequences: int) -> None:
    settings, announcements = settings_for(wanted), Announcements()
    assert len(encode_training(tokenizer, make("BABA"), settings, announcements)) == sequences
    assert not len(announcements)


def test_where_a_template_rewrites_the_history_pairs_are_taken_and_said(
    tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "are_learnable", lambda tokenizer, examples: False)
    announcements = Announcements()
    assert len(encode_training(tokenizer, make("BABA"), settings_for("auto"), announcements)) == 2
    assert [each.got for each in announcements] == ["a sequence for each reply"]
    assert len(encode_training(tokenizer, make("BABA"), settings_for("scenes"), announcements)) == 1


def test_what_can_be_learnt_starts_where_the_template_opens_a_reply(tokenizer: Any) -> None:
    (example,) = encode(tokenizer, make("BABA"))
    start, _ = example.replies()[0]
    moved = replace(example, input_ids=(*example.input_ids[: start - 1], 7, *example.input_ids[start:]))
    assert are_learnable(tokenizer, [example])
    assert not are_learnable(tokenizer, [example, moved])


def settings_for(wanted: str) -> Settings:
    return replace(Settings(), training=replace(TrainingSettings(), format=wanted))


def test_a_step_learns_as_many_replies_in_either_format(tokenizer: Any) -> None:
    dialogues = make("BA" * 10, "BA" * 6)
    settings = TrainingSettings(sequences_per_step=8)
    pairs = encode_dialogues(tokenizer, dialogues.training, dialogues, LONG)
    assert count_sequences(settings, pairs) == 8
    assert count_sequences(settings, encode(tokenizer, dialogues)) == 1
    assert count_sequences(replace(settings, sequences_per_step=16), encode(tokenizer, dialogues)) == 2


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_on_a_whole_series_scenes_and_pairs_learn_the_same_replies(
    family: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    corpus = load_corpus(SAMPLE)
    dialogues = corpus.build_dialogues(Settings())
    tokenizer = build_tokenizer(FAMILIES[family], corpus.scenes(dialogues.training_episodes), 1500)
    pairs = encode_dialogues(tokenizer, dialogues.training, dialogues, 512)
    scenes = encode_scenes(tokenizer, dialogues.training, dialogues, 512, 6)
    for examples in (pairs, scenes):
        check_labels(tokenizer, [{"input_ids": e.input_ids, "labels": e.labels} for e in examples], examples)
    one, other = (
        sorted(each.labels[start:over] for each in examples for start, over in each.replies())
        for examples in (pairs, scenes)
    )
    assert one == other
    replies = [encode_reply(tokenizer, dialogue.reply) for dialogue in dialogues.training]
    assert sum(len(reply) for reply in replies) == sum(len(each.reply_ids) for each in scenes)
    assert all(reply[-1] == end_of_turn(tokenizer) for reply in other)
    assert sum(len(each.input_ids) - each.shared for each in scenes) < 0.75 * sum(
        len(each.input_ids) - each.shared for each in pairs
    )


def test_losses_of_a_scene_are_those_of_its_replies_one_by_one(tokenizer: Any) -> None:
    dialogues = make("BABA", "CABA")
    torch.manual_seed(0)
    model = build_model("llama", tokenizer, NanoSettings(vocabulary=400, hidden_size=32, layers=2, heads=2))
    whole, apart = encode(tokenizer, dialogues), []
    for each in whole:
        for start, over in each.replies():
            labels = (*[IGNORED] * start, *each.labels[start:over])
            apart.append(Example(each.input_ids[:over], labels, each.shared))

    def nats(examples: list[Example]) -> float:
        rows = [{"input_ids": e.input_ids, "labels": e.labels, "shared": e.shared} for e in examples]
        return float(reply_nats(model, model, PackingCollator()(rows))[0].detach())

    assert nats(whole) == pytest.approx(nats(apart), rel=1e-6)


def test_the_hash_of_scenes_sees_what_no_dialogue_shows() -> None:
    one, other = make("CCCCBABA"), make("CCCCBABA")
    changed = replace(other, scenes=((Turn("Cy", "something else"), *other.scenes[0][1:]),))
    assert one.data_hash() == changed.data_hash()
    assert one.scene_hash() != changed.scene_hash()
