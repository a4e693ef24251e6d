"""How long a visitor waits for the first token of a reply, with the prompts that the page makes of a series.

    python benchmarks/first_token.py [--shape 0.5b|3b|tiny] [--data DIR] [--characters 4] [--models DIR]

cold           the first message to a character, of whom nothing has been read
chosen         the same, the persona read since the character was chosen
second         the second message, the first reply read since it came
… all scenes   the same with recall.later_share 1: scenes in their whole budget
… not ahead    the same, and nothing read ahead: only what the engine kept

Each with characters of its own, so that nothing is known of them. The model has random weights and a tokenizer of the
series. "tokens" are those of the prompt, "share" the seconds by those of the cold one. Nothing is asserted about times.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))
os.environ.setdefault("HF_HUB_OFFLINE", "1")

from benchmarks.serving import _workplace  # noqa: E402
from benchmarks.serving_models import SHAPES, make_base, make_export  # noqa: E402

VOCABULARY = 4096
FIRST, SECOND = "Good evening. Who are you?", "And what do you make of all that has happened here?"


def main() -> int:
    arguments = build_parser().parse_args()
    with _workplace(arguments.models) as folder:
        corpus = _read(Path(arguments.data))
        exported = _export(Path(folder), arguments.shape, corpus)
        print(render(measure(exported, corpus, arguments.characters), arguments.shape))
    return 0


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--shape", choices=tuple(SHAPES), default="0.5b")
    parser.add_argument("--data", default=str(PROJECT / "data" / "sample_series"), metavar="DIR")
    parser.add_argument("--characters", type=int, default=4, metavar="N", help="of whom medians are shown (default: 4)")
    parser.add_argument("--models", default=None, metavar="DIR", help="keep the model there, and use it again")
    return parser


def _read(folder: Path) -> Any:
    from character_chatbot.corpus import load_corpus

    return load_corpus(folder)


def _export(folder: Path, shape: str, corpus: Any) -> Path:
    """A model that reads and writes words of the series."""
    from character_chatbot.nano import FAMILIES, build_tokenizer

    made = folder / "first-token"
    if not (made / "openvino" / "openvino_model.xml").exists():
        make_base(made / "base", made / "adapter", SHAPES[shape] | {"vocab_size": VOCABULARY})
        from character_chatbot.prompts import Turn

        lines = [[Turn(each.speaker, each.line) for each in corpus.spoken.itertuples()]]
        build_tokenizer(FAMILIES["qwen"], lines, VOCABULARY).save_pretrained(made / "base")
        make_export("openvino", made)
    return made / "openvino"


class _Engine:
    """Counts the prompt's tokens; ``ahead``: whether it may read anything ahead."""

    def __init__(self, engine: Any, ahead: bool) -> None:
        self._engine, self.tokens = engine, 0
        self.queue, self.reader = engine.queue, engine.reader
        if ahead:
            self.read_ahead = engine.read_ahead

    def reply(self, messages: Sequence[Any], sampling: Any) -> Iterator[str]:
        self.tokens = len(self._engine._fit(messages, sampling))
        return self._engine.reply(messages, sampling)  # type: ignore[no-any-return]


def measure(exported: Path, corpus: Any, characters: int) -> dict[str, tuple[float, float]]:
    """Seconds to the first token and tokens of the prompt, medians."""
    found: dict[str, list[tuple[float, float]]] = {}
    for name, share, ahead in (("second", None, True), ("… all scenes", 1.0, True), ("… not ahead", 1.0, False)):
        with _service(exported, corpus, share, ahead) as (service, engine):
            for character in _cast(corpus, characters):
                first, reply = _say(service, engine, character, [], FIRST)
                found.setdefault("cold", []).append(first)
                found.setdefault(name, []).append(_say(service, engine, character, [(FIRST, reply)], SECOND)[0])
    with _service(exported, corpus, None, True) as (service, engine):
        for character in _cast(corpus, characters):
            service.expect_message(character)
            _wait_idle(engine)
            found.setdefault("chosen", []).append(_say(service, engine, character, [], FIRST)[0])
    order = ("cold", "chosen", "second", "… all scenes", "… not ahead")
    return {name: tuple(map(statistics.median, zip(*found[name], strict=True))) for name in order}  # type: ignore[misc]


def _cast(corpus: Any, count: int) -> Sequence[str]:
    return corpus.speakers(1)[:count]  # type: ignore[no-any-return]


@contextmanager
def _service(exported: Path, corpus: Any, share: float | None, ahead: bool) -> Iterator[tuple[Any, _Engine]]:
    """A page's service, of which nothing has been read; ``share``: recall.later_share, None: the default."""
    from character_chatbot.engines.openvino_engine import OpenVinoEngine
    from character_chatbot.recall.serving import with_recall
    from character_chatbot.service import Service
    from character_chatbot.sources import Source
    from config import RecallSettings, Settings
    from utils.announcements import Announcements

    engine = OpenVinoEngine(exported, parameters=10**9)
    engine.load()
    list(engine.generate(range(8), _sampling()))  # the first call sets up
    watched = _Engine(engine, ahead)
    names = corpus.speakers(1)
    recall = RecallSettings() if share is None else RecallSettings(later_share=share)
    source = Source("base", "random weights", corpus.series.title, corpus.cast, names, lambda character: watched)
    service = Service(Settings(recall=recall), lambda *_: with_recall(source, recall, corpus, Announcements()))
    service.load()
    yield service, watched
    engine.close()


def _sampling() -> Any:
    from character_chatbot.engines.base import Sampling

    return Sampling(max_new_tokens=24, temperature=0.0)


def _say(service: Any, engine: _Engine, character: str, said: Sequence[tuple[str, str]], text: str) -> Any:
    """Seconds to the first piece and tokens of the prompt; the reply, and the engine idle again."""
    from character_chatbot.prompts import Turn

    turns = [Turn(name, words) for asked, reply in said for name, words in (("Visitor", asked), (character, reply))]
    started = time.monotonic()
    reply = service.begin_answer(character, [*turns, Turn("Visitor", text)], _sampling())
    while not reply._pieces and not reply.wait(0.001):
        pass
    first = time.monotonic() - started
    reply.wait(600)
    tokens = engine.tokens
    _wait_idle(engine)
    return (first, tokens), reply.drain().strip() or "Well."


def _wait_idle(engine: _Engine) -> None:
    """What is read ahead tells nobody that it is read: until the engine's process uses no processor."""
    process, idle = engine._engine.process_id, 0
    while idle < 3:
        before = _cpu_seconds(process)
        time.sleep(0.2)
        idle = idle + 1 if _cpu_seconds(process) - before < 0.05 else 0


def _cpu_seconds(process: int) -> float:
    import psutil

    times = psutil.Process(process).cpu_times()
    return float(times.user + times.system)


def render(found: dict[str, tuple[float, float]], shape: str) -> str:
    cold = found["cold"][0]
    rows = [f"{name:<16}{tokens:>8.0f}{first:>10.2f}{first / cold:>8.2f}" for name, (first, tokens) in found.items()]
    return "\n".join([f"shape {shape}", f"{'':<16}{'tokens':>8}{'first s':>10}{'share':>8}", *rows])


if __name__ == "__main__":
    raise SystemExit(main())
