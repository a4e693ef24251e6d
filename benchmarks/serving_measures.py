"""What benchmarks/serving.py measures of one engine: first tokens, decode speed, several users, memory, the ceiling.

    found = measure(open_side("openvino", folder), tokens=64, rounds=3, users=(1, 4, 16))

Users come at once, in four ways: ``strangers`` with prompts that have nothing in common, ``visitors`` of one character
(its persona, two thirds of the prompt, is the same for all), ``expected`` ones, whose persona was read when they chose
the character, and in the ``turns`` that follow.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.serving_sides import Side

PROMPT_TOKENS, PERSONA_TOKENS, TURN_TOKENS, LONGEST_ID = 600, 400, 24, 1000
BANDWIDTH_BYTES = 512 * 2**20
Prompts = list[list[int]]


def measure(side: Side, tokens: int, rounds: int, users: Sequence[int]) -> dict[str, Any]:
    """Medians of so many rounds, in seconds and tokens a second."""
    draw = random.Random(3)  # noqa: S311
    list(side.reply(_prompt(draw, 8), 2))  # the first call sets up
    cold, warm, expected, decode, again, awaited, ceilings = [], [], [], [], [], [], []
    for _ in range(rounds):
        ceilings.append(measure_bandwidth() / side.weights)
        prompt = _prompt(draw, PROMPT_TOKENS)
        first, rate, said, _ = time_reply(side, prompt, tokens)
        cold.append(first)
        decode.append(rate)
        second, _, _, whole = time_reply(side, [*prompt, *said, *_prompt(draw, TURN_TOKENS)], tokens)
        warm.append(second)
        again.append(tokens / whole)
        persona = _read_persona(side, draw)
        first, _, _, whole = time_reply(side, _come_to(persona, draw), tokens)
        expected.append(first)
        awaited.append(tokens / whole)
    ceilings.append(measure_bandwidth() / side.weights)
    return {
        "first_cold_seconds": statistics.median(cold),
        "first_warm_seconds": statistics.median(warm),
        "first_expected_seconds": statistics.median(expected),
        "prefill_per_second": PROMPT_TOKENS / statistics.median(cold),
        "decode_per_second": statistics.median(decode),
        "ceiling_per_second": statistics.median(ceilings),
        "fresh_reply_per_second": tokens / (statistics.median(cold) + (tokens - 1) / statistics.median(decode)),
        "second_reply_per_second": statistics.median(again),
        "expected_reply_per_second": statistics.median(awaited),
        "users": {count: measure_users(side, count, tokens, draw) for count in users if count > 1},
        "estimate_mb": side.estimate / 2**20,
    }


def _prompt(draw: random.Random, tokens: int) -> list[int]:
    return [draw.randrange(10, LONGEST_ID) for _ in range(tokens)]


def _read_persona(side: Side, draw: random.Random) -> list[int]:
    """A new one, read as the page lets it be read when somebody chooses a character."""
    persona = _prompt(draw, PERSONA_TOKENS)
    list(side.reply(persona, 1))
    return persona


def _come_to(persona: list[int], draw: random.Random) -> list[int]:
    return [*persona, *_prompt(draw, PROMPT_TOKENS - PERSONA_TOKENS)]


def time_reply(side: Side, prompt: list[int], tokens: int) -> tuple[float, float, list[int], float]:
    """Seconds to the first token, tokens a second behind it, what was said, seconds in all."""
    started, times, said = time.monotonic(), [], []
    for ids in side.reply(prompt, tokens):
        times += [time.monotonic()] * len(ids)
        said += ids
    rate = (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 and times[-1] > times[0] else float("nan")
    return times[0] - started, rate, said, times[-1] - started


def measure_users(side: Side, users: int, tokens: int, draw: random.Random) -> dict[str, dict[str, float]]:
    """Each way of coming at once; ``turns`` goes on with the conversations of ``visitors``."""
    persona = _prompt(draw, PERSONA_TOKENS)
    strangers = [_prompt(draw, PROMPT_TOKENS) for _ in range(users)]
    visitors = [_come_to(persona, draw) for _ in range(users)]
    found = {"strangers": run_together(side, strangers, tokens)[0]}
    found["visitors"], said = run_together(side, visitors, tokens)
    turns = [[*before, *reply, *_prompt(draw, TURN_TOKENS)] for before, reply in zip(visitors, said, strict=True)]
    found["turns"] = run_together(side, turns, tokens)[0]
    persona = _read_persona(side, draw)
    found["expected"] = run_together(side, [_come_to(persona, draw) for _ in range(users)], tokens)[0]
    return found


def run_together(side: Side, prompts: Prompts, tokens: int) -> tuple[dict[str, float], Prompts]:
    """Tokens a second of all, the sum of all speeds behind the first token, seconds until the last has its first token;
    and what was said to each.
    """
    firsts: dict[int, float] = {}
    speeds: dict[int, float] = {}
    said: dict[int, list[int]] = {}

    def talk(number: int, prompt: list[int]) -> None:
        firsts[number], speeds[number], said[number], _ = time_reply(side, prompt, tokens)

    started = time.monotonic()
    threads = [threading.Thread(target=talk, args=each) for each in enumerate(prompts)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - started
    rates = {
        "per_second": len(prompts) * tokens / seconds,
        "decode_per_second": sum(speeds.values()),
        "worst_first_seconds": max(firsts.values()),
    }
    return rates, [said[number] for number in range(len(prompts))]


def measure_bandwidth() -> float:
    """Bytes a second that all cores read together; in a process of its own, whose memory is not this side's."""
    program = "from benchmarks.serving_measures import read_memory; print(read_memory())"
    project = Path(__file__).resolve().parent.parent
    done = subprocess.run([sys.executable, "-c", program], cwd=project, stdout=subprocess.PIPE, text=True, check=True)
    return float(done.stdout)


def read_memory() -> float:
    """Bytes a second that all cores read together from memory: the best of five."""
    from concurrent.futures import ThreadPoolExecutor

    import numpy as np

    cores = len(os.sched_getaffinity(0))
    parts = np.array_split(np.ones(BANDWIDTH_BYTES // 8, np.float64), cores)
    best = float("inf")
    with ThreadPoolExecutor(cores) as pool:
        for _ in range(5):
            started = time.perf_counter()
            list(pool.map(np.max, parts))
            best = min(best, time.perf_counter() - started)
    return BANDWIDTH_BYTES / best
