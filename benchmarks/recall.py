"""How often the scene memory finds the scene that a line was said in, and whether a nano base can use what it finds.

    python benchmarks/recall.py [--data DIR ...] [--nano] [--embedding MODEL]

About one turn in ten that is said to somebody is taken out of the series. It is the message; the scene it was in is
what should be found, by the other turns of that scene. Printed: the share of messages for which one of the first 1, 2
or 3 memories is of that scene, for several ways of searching, and what chance would give. A data folder may have a
scenes.csv (episode,row,scene) beside its transcripts, where they mark no scenes.

--nano: perplexity of held-out replies under a nano base of the series (made on first use), with and without memory.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import random
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402

from character_chatbot.corpus import Corpus, load_corpus  # noqa: E402
from character_chatbot.dialogues import build_turns  # noqa: E402
from character_chatbot.recall.memory import SceneMemory  # noqa: E402
from character_chatbot.recall.words import WordIndex, content_words  # noqa: E402
from config import Settings, load_settings  # noqa: E402

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from character_chatbot.dialogues import DialogueSet
    from character_chatbot.training.examples import Example

LEAST_WORDS = 5  # of a message
DEPTHS = (1, 2, 3)
SHARE = 0.1


@dataclass(frozen=True)
class Query:
    """What was said to ``character``, and in which scene."""

    character: str
    message: str
    scene: tuple[int, int, int]


@dataclass(frozen=True)
class Way:
    """A way of searching: of the line alone, of the line with neighbours, or of both; all words or content words."""

    name: str
    neighbours: int
    line: bool
    around: bool
    split: Callable[[str], list[str]] | None = None


class SumIndex:
    """The sum of what several indexes score."""

    def __init__(self, indexes: Sequence[WordIndex]) -> None:
        self._indexes = indexes

    def score(self, text: str) -> np.ndarray:
        return np.sum([index.score(text) for index in self._indexes], axis=0)


WAYS = (
    Way("the line alone", 2, True, False),
    Way("± 1 turn", 1, False, True),
    Way("± 2 turns", 2, False, True),
    Way("± 3 turns", 3, False, True),
    Way("line and ± 2 turns", 2, True, True),
    Way("line and ± 3 turns", 3, True, True),
    Way("the line alone, no stop words", 2, True, False, content_words),
    Way("± 2 turns, no stop words", 2, False, True, content_words),
    Way("line and ± 2 turns, no stop words", 2, True, True, content_words),
)


def main() -> int:
    arguments = build_parser().parse_args()
    totals: dict[str, list[np.ndarray]] = {}
    for folder in arguments.data:
        corpus = load_corpus(Path(folder))
        spoken, queries = hold_out(mark_scenes(corpus.spoken, Path(folder) / "scenes.csv"), corpus, arguments.seed)
        print(f"{folder}: {len(spoken)} lines, {len(queries)} messages")
        for name, rates in evaluate(spoken, corpus, queries, arguments.embedding):
            totals.setdefault(name, []).append(rates)
        time_queries(spoken, corpus, queries)
    print(f"\n{'mean of the series':<38}" + "".join(f"{f'hit@{depth}':>8}" for depth in DEPTHS))
    for name, rates in totals.items():
        print(f"{name:<38}" + "".join(f"{rate:>8.3f}" for rate in np.mean(rates, axis=0)))
    if arguments.nano:
        measure_nano(load_settings(flags={"paths.data": arguments.data[0], "paths.cache": arguments.cache}))
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    sample = str(PROJECT / "data" / "sample_series")
    parser.add_argument("--data", nargs="+", default=[sample], metavar="DIR", help="series folders")
    parser.add_argument("--embedding", default="", metavar="MODEL", help="a sentence-embedding model to compare")
    parser.add_argument("--nano", action="store_true", help="perplexity with and without memory")
    parser.add_argument("--cache", default=None, metavar="DIR", help="where nano bases are kept")
    parser.add_argument("--seed", type=int, default=7)
    return parser


def mark_scenes(spoken: pd.DataFrame, file: Path) -> pd.DataFrame:
    """The lines with the scenes of ``scenes.csv``, if there is one."""
    if not file.is_file():
        return spoken
    with file.open(encoding="utf-8", newline="") as rows:
        scenes = {
            (int(re.findall(r"\d+", row["episode"])[-1]), int(row["row"])): int(row["scene"])
            for row in csv.DictReader(rows)
        }
    places = zip(spoken["episode"], spoken["position"], strict=True)
    return spoken.assign(scene=pd.array([scenes.get(place) for place in places], dtype="Int64"))


def hold_out(spoken: pd.DataFrame, corpus: Corpus, seed: int) -> tuple[pd.DataFrame, list[Query]]:
    """The series without the turns that are messages, and the messages. Episodes that mark no scenes are left alone."""
    draw = random.Random(seed)  # noqa: S311
    queries: list[Query] = []
    out: set[tuple[int, int, int]] = set()
    scenes = {(r.season, r.episode, r.position): r.scene for r in spoken.itertuples()}
    for turns in build_turns(spoken, corpus.cast):
        last = -5
        for at, (each, following) in enumerate(itertools.pairwise(turns)):
            place = (each.season, each.episode, each.position)
            apart = at - last > 4 and following.turn.speaker not in ("Unknown", each.turn.speaker)
            if pd.isna(scenes[place]) or not apart or len(each.turn.text.split()) < LEAST_WORDS:
                continue
            if draw.random() < SHARE * 3.5:  # not every turn may be taken, so that one in ten is
                queries.append(Query(following.turn.speaker, each.turn.text, (*place[:2], int(scenes[place]))))
                ends = following.position
                out |= {(*place[:2], position) for position in range(each.position, ends)}
                last = at
    places = zip(spoken["season"], spoken["episode"], spoken["position"], strict=True)
    return spoken[[place not in out for place in places]], queries


def evaluate(
    spoken: pd.DataFrame, corpus: Corpus, queries: Sequence[Query], embedding: str
) -> list[tuple[str, np.ndarray]]:
    """Name and hit rates, shape (depths,), of each way."""
    results = []
    for way in WAYS:
        memory = SceneMemory(spoken, corpus.cast, way.neighbours)
        passages, lines = memory.passages, SceneMemory(spoken, corpus.cast, 0).passages
        texts = [each for each, wanted in ((lines, way.line), (passages, way.around)) if wanted]
        memory.search_with(SumIndex([WordIndex(each, way.split) for each in texts]), by_words=True)
        results.append((way.name, rate(memory, spoken, queries)))
    results.append(("as it is served", rate(SceneMemory(spoken, corpus.cast), spoken, queries)))
    if embedding:
        from character_chatbot.recall.embeddings import EmbeddingIndex, load_encoder

        memory = SceneMemory(spoken, corpus.cast)
        memory.search_with(EmbeddingIndex(load_encoder(embedding), memory.passages))
        results.append((f"embeddings of {embedding}", rate(memory, spoken, queries)))
    results.append(("chance", chance(spoken, corpus, queries)))
    return results


def rate(memory: SceneMemory, spoken: pd.DataFrame, queries: Sequence[Query]) -> np.ndarray:
    scenes = {(r.season, r.episode, r.position): r.scene for r in spoken.itertuples()}
    hits = np.zeros(len(DEPTHS))
    for query in queries:
        found = memory.find(query.character, query.message, count=max(DEPTHS))
        places = [(m.season, m.episode, m.position) for m in found]
        right = [(*place[:2], scenes[place]) == query.scene for place in places]
        hits += [any(right[:depth]) for depth in DEPTHS]
    return hits / max(1, len(queries))


def chance(spoken: pd.DataFrame, corpus: Corpus, queries: Sequence[Query]) -> np.ndarray:
    """Hit rates of places drawn among the character's own lines."""
    own = spoken["speaker"].map(corpus.cast.resolve)
    shares = []
    for query in queries:
        heard = spoken[own == query.character]
        there = (heard["season"] == query.scene[0]) & (heard["episode"] == query.scene[1])
        shares.append(float((there & (heard["scene"] == query.scene[2]).fillna(False)).mean()) if len(heard) else 0.0)
    return np.array([np.mean([1 - (1 - share) ** depth for share in shares]) for depth in DEPTHS])


def time_queries(spoken: pd.DataFrame, corpus: Corpus, queries: Sequence[Query]) -> None:
    start = time.perf_counter()
    memory = SceneMemory(spoken, corpus.cast)
    built = time.perf_counter()
    for query in queries:
        memory.find(query.character, query.message)
    each = (time.perf_counter() - built) / max(1, len(queries))
    print(f"  index built in {built - start:.2f} s, {1000 * each:.2f} ms a message")


def measure_nano(settings: Settings) -> None:
    """Perplexity of held-out replies under the nano base, with 0, 1 and 2 memories from the training episodes."""
    from character_chatbot.bases import load_model, load_tokenizer, nano_base
    from character_chatbot.machine.devices import choose_device
    from character_chatbot.nano import NanoRecipe, fetch_nano_base
    from character_chatbot.training.evaluation import choose_replies, evaluate_perplexity

    corpus = load_corpus(settings.paths.data)
    dialogues = corpus.build_dialogues(settings)
    recipe = NanoRecipe("llama", corpus.scenes(dialogues.training_episodes), settings.nano, settings.training.seed)
    base = nano_base(fetch_nano_base(recipe, settings.paths.cache))
    model, tokenizer = load_model(base, choose_device()), load_tokenizer(base)
    known = set(dialogues.training_episodes)
    places = zip(corpus.spoken["season"], corpus.spoken["episode"], strict=True)
    memory = SceneMemory(corpus.spoken[[place in known for place in places]], corpus.cast)
    print(f"\nperplexity of held-out replies under {base.name}, {model.num_parameters():,} parameters")
    for count in (0, 1, 2):
        examples = choose_replies(encode_with_memory(tokenizer, dialogues, memory, count), 200, 7)
        found = evaluate_perplexity(model, examples, f"{count} memories")
        if found:
            print(f"  {count} memories: {found.value:.2f} ({found.replies} replies, {found.tokens} tokens)")


def encode_with_memory(
    tokenizer: PreTrainedTokenizerBase, dialogues: DialogueSet, memory: SceneMemory, count: int
) -> list[Example]:
    """Held-out dialogues as token ids, each with ``count`` memories in front of the newest message."""
    from character_chatbot.prompts import build_messages, encode_prompt, encode_reply
    from character_chatbot.recall.budget import to_passages
    from character_chatbot.training.examples import IGNORED
    from character_chatbot.training.examples import Example as Encoded

    examples = []
    for dialogue in dialogues.held_out:
        character = dialogues.cast.get(dialogue.character)
        found = memory.find(dialogue.character, dialogue.context[-1].text, count=count)
        messages = build_messages(character, dialogues.title, dialogue.context, passages=to_passages(found))
        prompt, reply = encode_prompt(tokenizer, messages), encode_reply(tokenizer, dialogue.reply)
        examples.append(Encoded((*prompt, *reply), (*[IGNORED] * len(prompt), *reply)))
    return examples


if __name__ == "__main__":
    raise SystemExit(main())
