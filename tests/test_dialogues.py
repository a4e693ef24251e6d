"""From lines to dialogues: who replies to whom, what is held out, and what is left out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from character_chatbot.corpus import load_corpus
from character_chatbot.dialogues import (
    LONGEST_TURN_CHARACTERS,
    Dialogue,
    DialogueSet,
    build_dialogues,
    build_turns,
    choose_held_out,
)
from character_chatbot.prompts import Turn
from config import DialogueSettings, Settings
from utils.characters import Cast, Character
from utils.errors import DataError, UnknownCharacter
from utils.lines import build_frame

CAST = Cast([Character("Ada", ("Miss Lock", "Addie")), Character("Bo", ("Bo Ferry",)), Character("Cy")])
SETTINGS = DialogueSettings(context_turns=3, minimum_replies=1, held_out_share=0.0)

Row = tuple[int, int, int | None, str, str]  # season, episode, scene, speaker, line


def frame(rows: Sequence[Row]) -> pd.DataFrame:
    """A lines frame; each episode is one file."""
    positions: Counter[tuple[int, int]] = Counter()
    full = []
    for season, episode, scene, speaker, line in rows:
        source = f"S{season:02d}E{episode:02d}.csv"
        full.append((season, episode, scene, positions[season, episode], speaker, line, None, None, source))
        positions[season, episode] += 1
    return build_frame(full)


def scene(*said: str, at: tuple[int, int, int | None] = (1, 1, 1)) -> list[Row]:
    """``scene("Ada: Hello.", "Bo: Hm.", at=(season, episode, scene))``"""
    return [(*at, *text.split(": ", 1)) for text in said]  # type: ignore[misc]


def build(rows: Sequence[Row], characters: Sequence[str] = (), seed: int = 7, **settings: float) -> DialogueSet:
    changed = replace(SETTINGS, **settings)  # type: ignore[arg-type]
    return build_dialogues(frame(rows), CAST, "X", settings=changed, seed=seed, characters=characters)


def shown(dialogues: Sequence[Dialogue]) -> list[str]:
    """``Bo: Hello. | Ada: Hm. > Bo: Well.``"""
    return [
        " | ".join(f"{turn.speaker}: {turn.text}" for turn in dialogue.context)
        + f" > {dialogue.character}: {dialogue.reply}"
        for dialogue in dialogues
    ]


# Who replies to whom


def test_each_reply_has_the_turns_before_it() -> None:
    found = build(scene("Ada: 1", "Bo: 2", "Ada: 3", "Bo: 4", "Ada: 5"))
    assert shown(found.training) == [
        "Ada: 1 > Bo: 2",
        "Bo: 2 > Ada: 3",
        "Ada: 1 | Bo: 2 | Ada: 3 > Bo: 4",
        "Bo: 2 | Ada: 3 | Bo: 4 > Ada: 5",
    ]
    assert [dialogue.position for dialogue in found.training] == [1, 2, 3, 4]


def test_the_context_never_starts_with_the_character_itself() -> None:
    found = build(scene("Ada: 1", "Bo: 2", "Cy: 3", "Ada: 4", "Bo: 5"), context_turns=2)
    assert "Cy: 3 | Ada: 4 > Bo: 5" in shown(found.training)
    assert "Bo: 2 | Cy: 3 > Ada: 4" in shown(found.training)
    assert "Ada: 1 > Bo: 2" in shown(found.training)


@pytest.mark.parametrize("at", [(1, 1, 2), (1, 2, 1), (2, 1, 1)])
def test_no_dialogue_crosses_a_scene_or_an_episode(at: tuple[int, int, int]) -> None:
    found = build(scene("Ada: 1", "Bo: 2") + scene("Ada: 3", "Bo: 4", at=at))
    assert shown(found.training) == ["Ada: 1 > Bo: 2", "Ada: 3 > Bo: 4"]


def test_without_scenes_an_episode_is_one() -> None:
    found = build(scene("Ada: 1", "Bo: 2", at=(1, 1, None)) + scene("Ada: 3", "Bo: 4", at=(1, 2, None)))
    assert shown(found.training) == ["Ada: 1 > Bo: 2", "Ada: 3 > Bo: 4"]


def test_a_scene_that_comes_back_and_rows_without_one_are_scenes_of_their_own() -> None:
    rows = scene("Ada: 1", "Bo: 2") + scene("Ada: 3", "Cy: 4", at=(1, 1, 2)) + scene("Bo: 5", "Ada: 6")
    assert shown(build(rows).training) == ["Ada: 1 > Bo: 2", "Ada: 3 > Cy: 4", "Bo: 5 > Ada: 6"]
    rows = scene("Ada: 1", at=(1, 1, None)) + scene("Ada: 2", "Cy: 3") + scene("Bo: 4", at=(1, 1, None))
    assert shown(build(rows).training) == ["Ada: 2 > Cy: 3"]


def test_two_files_of_one_episode_are_not_one_scene() -> None:
    spoken = frame(scene("Ada: 1", "Bo: 2", "Ada: 3", "Bo: 4"))
    spoken["source"] = ["a.csv", "a.csv", "b.csv", "b.csv"]
    found = build_dialogues(spoken, CAST, "X", settings=SETTINGS, seed=7)
    assert shown(found.training) == ["Ada: 1 > Bo: 2", "Ada: 3 > Bo: 4"]


def test_lines_in_a_row_by_one_speaker_are_one_turn_under_any_name() -> None:
    found = build(scene("ADDIE: 1", "Miss Lock: 2", "Ada: 3", "bo ferry: 4", "Bo: 5"))
    assert shown(found.training) == ["Ada: 1 2 3 > Bo: 4 5"]


def test_unknown_is_context_and_never_a_target() -> None:
    found = build(scene("Unknown: 1", "?: 2", "Ada: 3", "Unknown: 4", "Bo: 5"))
    assert shown(found.training) == [
        "Unknown: 1 | Unknown: 2 > Ada: 3",  # two strangers need not be one
        "Unknown: 2 | Ada: 3 | Unknown: 4 > Bo: 5",
    ]


def test_the_same_row_twice_is_one() -> None:
    found = build(scene("Ada: 1", "Ada: 1", "Bo: 2", "Bo: 2", "Unknown: 3", "Unknown: 3", "Ada: 4"))
    assert shown(found.training) == ["Ada: 1 > Bo: 2", "Bo: 2 | Unknown: 3 > Ada: 4"]


def test_the_same_words_later_are_said_again() -> None:
    assert shown(build(scene("Ada: No.", "Bo: Yes.", "Ada: No.")).training)[-1] == "Bo: Yes. > Ada: No."


def test_exact_duplicates_are_removed_and_counted() -> None:
    rows = scene("Ada: 1", "Bo: 2") + scene("Ada: 1", "Bo: 2", at=(1, 2, 1)) + scene("Cy: 1", "Bo: 2", at=(1, 3, 1))
    found = build(rows)
    assert shown(found.training) == ["Ada: 1 > Bo: 2", "Cy: 1 > Bo: 2"]
    assert found.dropped == {"exact duplicate": 1}


def test_a_row_in_which_turns_have_run_together_is_neither_context_nor_reply() -> None:
    long = "x" * (LONGEST_TURN_CHARACTERS + 1)
    found = build(scene("Ada: 1", f"Bo: {long}", "Ada: 3", "Bo: 4"))
    assert shown(found.training) == ["Ada: 3 > Bo: 4"]
    fits = "x" * LONGEST_TURN_CHARACTERS
    assert f"Ada: 1 > Bo: {fits}" in shown(build(scene("Ada: 1", f"Bo: {fits}")).training)


def test_a_run_together_row_does_not_join_its_speakers_other_turns() -> None:
    long = "x" * (LONGEST_TURN_CHARACTERS + 1)
    found = build(scene("Ada: 1", "Bo: 2", f"Bo: {long}", "Bo: 3", "Ada: 4"))
    assert shown(found.training) == ["Ada: 1 > Bo: 2", "Bo: 3 > Ada: 4"]


def test_turns_know_where_they_begin() -> None:
    [turns] = list(build_turns(frame(scene("Ada: 1", "Ada: 2", "Bo: 3", at=(2, 5, 1))), CAST))
    assert [(t.turn, t.season, t.episode, t.position) for t in turns] == [
        (Turn("Ada", "1 2"), 2, 5, 0),
        (Turn("Bo", "3"), 2, 5, 2),
    ]


# What is held out


def episodes(count: int, replies: int = 4) -> list[Row]:
    return [
        row
        for episode in range(1, count + 1)
        for number in range(replies)
        for row in scene(f"Ada: ask {episode}.{number}", f"Bo: answer {episode}.{number}", at=(1, episode, number))
    ]


@pytest.mark.parametrize(
    ("count", "share", "held_out"),
    [
        (1, 0.5, 0),
        (2, 0.15, 1),
        (2, 0.9, 1),
        (3, 0.01, 1),
        (10, 0.15, 2),
        (10, 0.3, 3),
        (10, 0.9, 9),
        (10, 0.0, 0),
        (0, 0.5, 0),
    ],
)
def test_a_share_of_the_episodes_is_held_out(count: int, share: float, held_out: int) -> None:
    assert len(choose_held_out([(1, number) for number in range(count)], share, 7)) == held_out


def test_held_out_episodes_are_whole_and_in_none_of_the_training() -> None:
    found = build(episodes(6), held_out_share=0.34)
    assert len(found.held_out_episodes) == 2
    assert sorted((*found.training_episodes, *found.held_out_episodes)) == [(1, number) for number in range(1, 7)]
    assert {(d.season, d.episode) for d in found.training} == set(found.training_episodes)
    assert {(d.season, d.episode) for d in found.held_out} == set(found.held_out_episodes)
    assert (len(found.training), len(found.held_out)) == (16, 8)


def test_the_seed_chooses_the_held_out_episodes() -> None:
    numbers = [(1, number) for number in range(20)]
    assert choose_held_out(numbers, 0.2, 7) == choose_held_out(numbers[::-1], 0.2, 7)
    assert len({choose_held_out(numbers, 0.2, seed) for seed in range(10)}) > 5
    assert build(episodes(6), held_out_share=0.34) == build(episodes(6), held_out_share=0.34)
    held_out = {build(episodes(6), seed=seed, held_out_share=0.34).held_out_episodes for seed in range(8)}
    assert len(held_out) > 2


def test_a_single_episode_is_for_training() -> None:
    found = build(episodes(1), held_out_share=0.5)
    assert (len(found.training), found.held_out, found.held_out_episodes) == (4, (), ())


def test_no_held_out_reply_is_in_the_training() -> None:
    rows = [
        row
        for n in (1, 2)
        for row in scene(f"Ada: {n}", "Bo: I SWEAR.", f"Ada: why {n}", f"Bo: because {n}", at=(1, n, 1))
    ]
    rows = [(*row[:4], row[4].lower() if row[1] == 1 else row[4]) for row in rows]
    found = build(rows, characters=["Bo"], held_out_share=0.5)
    [held_out] = found.held_out_episodes
    assert shown(found.held_out)[0].endswith(f"> Bo: because {held_out[1]}")
    assert len(found.held_out) == 1
    assert found.dropped == {"held-out reply also in training": 1}


# Whom it is about


def test_characters_are_chosen_by_any_of_their_names() -> None:
    rows = scene("Ada: 1", "Bo: 2", "Cy: 3", "Ada: 4")
    assert build(rows, characters=["bo ferry", "MISS LOCK", "Bo"]).characters == ("Bo", "Ada")
    assert {d.character for d in build(rows, characters=["bo ferry"]).training} == {"Bo"}


def test_without_a_choice_it_is_everybody_with_enough_replies() -> None:
    rows = scene("Ada: 1", "Bo: 2", "Ada: 3", "Bo: 4", "Cy: 5", "Bo: 6")
    assert build(rows, minimum_replies=1).characters == ("Bo", "Ada", "Cy")
    assert build(rows, minimum_replies=2).characters == ("Bo",)
    assert {d.character for d in build(rows, minimum_replies=2).training} == {"Bo"}


def test_an_unknown_character_names_the_nearest() -> None:
    with pytest.raises(UnknownCharacter, match=r"no character 'Adda'(.|\n)*Did you mean Ada"):
        build(scene("Ada: 1", "Bo: 2"), characters=["Adda"])


def test_too_few_replies_are_an_error_that_counts_them() -> None:
    rows = scene("Ada: 1", "Bo: 2", "Ada: 3")
    with pytest.raises(DataError, match=r"for anybody(.|\n)*Bo \(1\), Ada \(1\)"):
        build(rows, minimum_replies=2)
    with pytest.raises(DataError, match=r"no dialogues to train on for Cy \(0\)"):
        build(rows, characters=["Cy"])
    with pytest.raises(DataError, match="nobody replies to anybody"):
        build(scene("Ada: 1", "Ada: 2"))


def test_a_character_that_is_asked_for_and_has_nothing_to_learn_from_is_an_error() -> None:
    with pytest.raises(DataError, match=r"no dialogues to train on for Cy \(0\)"):
        build(scene("Ada: 1", "Bo: 2", "Ada: 3"), characters=["Ada", "Cy"])


def test_who_replies_only_in_held_out_episodes_is_not_trained() -> None:
    alone = next(iter(build(episodes(3), held_out_share=0.34).held_out_episodes))
    rows = episodes(3) + [row for n in range(9) for row in scene(f"Ada: q{n}", f"Cy: a{n}", at=(*alone, 90 + n))]
    found = build(sorted(rows, key=lambda row: row[:2]), held_out_share=0.34)
    assert found.held_out_episodes == (alone,)
    assert found.characters == ("Bo",)
    assert {d.character for d in found.held_out} == {"Bo"}


# The hash


def test_the_hash_changes_with_what_training_sees() -> None:
    rows = episodes(4)
    first = build(rows, held_out_share=0.25)
    assert build(rows, held_out_share=0.25).data_hash() == first.data_hash()
    assert re.fullmatch("[0-9a-f]{64}", first.data_hash())
    trained = first.training_episodes[0][1]
    other = [(*row[:4], row[4] + "!") if row[1] == trained and row[4].startswith("answer") else row for row in rows]
    assert build(other, held_out_share=0.25).data_hash() != first.data_hash()
    assert build(rows, held_out_share=0.25, context_turns=1, seed=8).data_hash() != first.data_hash()
    held_out = first.held_out_episodes[0][1]
    other = [(*row[:4], row[4] + "!") if row[1] == held_out else row for row in rows]
    assert build(other, held_out_share=0.25).data_hash() == first.data_hash()


def test_the_hash_changes_with_persona_and_title() -> None:
    spoken = frame(scene("Ada: 1", "Bo: 2"))

    def digest(persona: str, title: str) -> str:
        cast = Cast([Character("Bo", (), persona), Character("Ada")])
        return build_dialogues(spoken, cast, title, settings=SETTINGS, seed=7).data_hash()

    assert len({digest("You are Bo.", "X"), digest("You are not Bo.", "X"), digest("You are Bo.", "Y")}) == 3


def test_the_hash_does_not_change_with_folder_or_order_of_files(series_folder: Callable[..., Path]) -> None:
    first, second = series_folder("first", episodes=4), series_folder("second", episodes=0)
    for file in sorted((first / "transcripts").iterdir(), reverse=True):
        (second / "transcripts" / f"show {file.name.lower()}").write_bytes(file.read_bytes())
    one, two = (load_corpus(folder).build_dialogues(Settings(dialogues=SETTINGS)) for folder in (first, second))
    assert one.training == two.training
    assert one.data_hash() == two.data_hash()
    assert len(one.training) == 32


# A corpus


def test_a_corpus_knows_its_cast_scenes_and_speakers(series_folder: Callable[..., Path]) -> None:
    corpus = load_corpus(
        series_folder("tiny", episodes=3, scenes=2, files={"S02E01.csv": "name,line\nZed,Hm.\nAda,Oh.\n"})
    )
    assert corpus.series.title == "The Slow Clock"
    assert corpus.cast.get("zed") == Character("Zed")
    assert corpus.speakers(1) == ("Ada", "Bo", "Zed")
    assert corpus.speakers(2) == ("Ada", "Bo")
    assert corpus.scenes(((2, 1),)) == [[Turn("Zed", "Hm."), Turn("Ada", "Oh.")]]
    assert [len(scene) for scene in corpus.scenes(((1, 1), (1, 3)))] == [6, 6, 6, 6]


# Any frame

ROWS = st.lists(
    st.tuples(
        st.integers(1, 2),
        st.integers(1, 3),
        st.one_of(st.none(), st.integers(1, 3)),
        st.sampled_from(["Ada", "addie", "Bo", "Bo Ferry", "Cy", "Unknown", "?", "Zed"]),
        st.sampled_from(["yes", "no", "x" * (LONGEST_TURN_CHARACTERS + 1)]),
    ),
    max_size=40,
)


@given(ROWS, st.integers(1, 5), st.sampled_from([0.0, 0.2, 0.6]), st.integers(0, 3))
def test_any_frame_gives_sound_dialogues(rows: list[Row], context_turns: int, share: float, seed: int) -> None:
    ordered = sorted(rows, key=lambda row: row[:2])
    numbered, scenes, before = [], 0, None
    for number, (*place, speaker, line) in enumerate(ordered):
        scenes, before = scenes + (place != before), place
        numbered.append((*place, speaker, f"{line} s{scenes}n{number}"))
    cast = CAST.with_speakers(pd.Series({"Zed": 1}))
    settings = replace(SETTINGS, context_turns=context_turns, held_out_share=share)
    try:
        found = build_dialogues(frame(numbered), cast, "X", settings=settings, seed=seed)
    except DataError:
        return
    places = {re.findall(r"s(\d+)n", line)[-1]: (season, episode) for season, episode, _, _, line in numbered}
    assert found.training
    assert len({*found.training, *found.held_out}) == len(found.training) + len(found.held_out)
    for dialogue in (*found.training, *found.held_out):
        assert dialogue.character in {"Ada", "Bo", "Cy", "Zed"}
        assert dialogue.character in found.characters
        assert 1 <= len(dialogue.context) <= context_turns
        assert dialogue.character not in (dialogue.context[0].speaker, dialogue.context[-1].speaker)
        text = " ".join([*(turn.text for turn in dialogue.context), dialogue.reply])
        [one_scene] = set(re.findall(r"s(\d+)n", text))
        assert places[one_scene] == (dialogue.season, dialogue.episode)
        numbers = [int(number) for number in re.findall(r"n(\d+)", text)]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))  # nothing in between is left out
        assert "xx" not in text
    for dialogues, allowed in ((found.training, found.training_episodes), (found.held_out, found.held_out_episodes)):
        assert {(d.season, d.episode) for d in dialogues} <= set(allowed)
    assert {d.character for d in found.training} == set(found.characters)
    assert build_dialogues(frame(numbered), cast, "X", settings=settings, seed=seed) == found
