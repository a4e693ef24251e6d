"""The real program with an engine that repeats all marks it has been given: ``python echo_app.py ARGUMENTS…``.

The arguments are gradio_app.py's. Nothing but the model is replaced, so that a reply tells whose words were in its
prompt.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(PROJECT))

from benchmarks.soak.ledger import MARK  # noqa: E402

PIECE_SECONDS = 0.03
MOST_WORDS = 12
SYLLABLES = ("lo", "ra", "min", "te", "sol", "kar", "ne", "bu", "dis", "fen")
CHANCE = random.Random(7)  # noqa: S311


class MarkEngine:
    """Says which mark it answers, then all others in the prompt, then some words, no hurry."""

    def reply(self, messages: Sequence[Any], sampling: Any) -> Iterator[str]:
        found = [mark[0] for message in messages for mark in MARK.finditer(message["content"])]
        last = MARK.search(messages[-1]["content"].rpartition("\n")[2])  # others may have spoken before it
        yield f"I hear {last[0] if last else 'nothing'}"
        yield f" after {' '.join(dict.fromkeys(found))}"
        for _ in range(CHANCE.randrange(2, MOST_WORDS)):
            time.sleep(PIECE_SECONDS)
            yield " " + "".join(CHANCE.choices(SYLLABLES, k=3))
        yield "."


def main(arguments: Sequence[str]) -> int:
    """gradio_app.py's own, with another engine."""
    import gradio_app

    build = gradio_app.build_service

    def build_service(*given: Any, **more: Any) -> Any:
        from dataclasses import replace

        service = build(*given, **more)
        find = service._find
        engine = MarkEngine()
        service._find = lambda *known: replace(find(*known), rung="base", label="echo", engine=lambda character: engine)
        return service

    gradio_app.build_service = build_service  # type: ignore[assignment]
    return gradio_app.main(arguments)


if __name__ == "__main__":
    from utils.command_line import run_command

    sys.exit(run_command(main))
