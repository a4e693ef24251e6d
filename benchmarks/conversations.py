"""Sixteen visitors against the real program: does it lose, mix or fail anything, and does its memory stay?

    python benchmarks/conversations.py [--conversations 1000] [--clients 16] [--restarts 5] [--minutes 0] [--json FILE]

Each visitor has a browser, of which this speaks gradio's own protocol, and a program that uses /v1. They talk in
conversations of four turns, and stop replies, leave in the middle, edit, take back, branch, swipe, copy and delete.
In the first half, of more than an hour in what comes before the last 65 minutes, the server is killed (SIGKILL and
SIGTERM by turns) and started again. At the end its store must have
all that any page has shown, each message where it was said, and nothing twice; and no error may have been seen but
those that were provoked. Exit status 1: something of that does not hold.

--minutes 75 spreads the conversations over that time, to see whether memory grows: the slope is a straight line
through the last hour of the longest life of the process (of a short one, through its second half), in percent an hour
of running: time in which this program was stopped does not count. A run of minutes tells it roughly.

The engine echoes (soak/echo_app.py), so that each reply tells whose words were in its prompt; --source quotes is
gradio_app.py as it stands.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import random
import signal
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from benchmarks.soak.ledger import KINDS, Fault, Ledger, check_store  # noqa: E402
from benchmarks.soak.server import ECHO, Sample, Server  # noqa: E402
from benchmarks.soak.steady_clock import SteadyLoop  # noqa: E402
from benchmarks.soak.visitor import Visitor  # noqa: E402

MOST_TOLD = 20  # faults and errors in full
SIGNALS = (signal.SIGKILL, signal.SIGTERM)
HOUR_SECONDS = 3600.0
WARM_UP_SECONDS = 300.0  # of a process, before the hour that is measured


def main() -> int:
    arguments = build_parser().parse_args()
    with contextlib.ExitStack() as stack:
        folder = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        found = stack.enter_context(asyncio.Runner(loop_factory=SteadyLoop)).run(run(arguments, folder))
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    print_table(found)
    return int(bool(found["errors"] or found["faults"] or found["log"]))


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--conversations", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=4, help="messages of the visitor in each")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--restarts", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=0, help="spread over so long; 0: as fast as it goes")
    parser.add_argument("--source", default=ECHO, help="echo, or one of gradio_app.py's (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--folder", type=Path, help="where the store and the log stay; default: nowhere")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser


async def run(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """The whole run; what came of it, ready for JSON."""
    from character_chatbot.api.keys import KeyFile

    server, ledger = Server(folder, arguments.source), Ledger()
    keys = [KeyFile(folder / "keys.jsonl").add(f"visitor-{number}") for number in range(arguments.clients)]
    await server.start()
    clock = asyncio.get_running_loop().time
    began = clock()
    characters = await server.characters(keys[0])
    every = arguments.minutes * 60 * arguments.clients / (arguments.conversations * arguments.turns)
    visitors = [
        Visitor(number, server, ledger, characters, keys[number], arguments.seed, every)
        for number in range(arguments.clients)
    ]
    talks = itertools.count()
    measuring = asyncio.create_task(server.measure(2.0 if arguments.minutes else 0.5, ledger.acts))
    restarting = asyncio.create_task(restart_at_times(server, ledger, arguments))
    try:
        await asyncio.gather(*(talk_on(each, talks, arguments) for each in visitors))
        restarting.cancel()
        seconds = clock() - began
    finally:
        measuring.cancel()
        for each in visitors:
            await each.leave()
        await server.stop()
    turns = [each for visitor in visitors for each in visitor.turn_seconds]
    return gather(server, ledger, turns, seconds)


async def talk_on(visitor: Visitor, talks: itertools.count[int], arguments: argparse.Namespace) -> None:
    """Conversations until all have been had."""
    while (number := next(talks)) < arguments.conversations:
        await visitor.talk(number, arguments.turns)
        visitor.ledger.talked += 1


async def restart_at_times(server: Server, ledger: Ledger, arguments: argparse.Namespace) -> None:
    """Kill the server when so many conversations have been had, at any moment; never in the last part."""
    chance, share = random.Random(arguments.seed), restart_share(arguments.minutes)  # noqa: S311
    for number in range(arguments.restarts):
        wanted = arguments.conversations * share * (number + 1) / (arguments.restarts + 1)
        while ledger.talked < wanted:
            await asyncio.sleep(0.1)
        await asyncio.sleep(chance.random())
        await server.restart(SIGNALS[number % len(SIGNALS)])


def restart_share(minutes: float) -> float:
    """In which part of a run restarts fall: the first half, or what comes before an hour to be measured."""
    before = minutes - (HOUR_SECONDS + WARM_UP_SECONDS) / 60
    return min(0.5, before / minutes) if before > 0 else 0.5


def gather(server: Server, ledger: Ledger, turns: Sequence[float], seconds: float) -> dict[str, Any]:
    """All that is to be told."""
    faults = [*ledger.seen, *check_store(server.store, ledger)] if server.source == ECHO else []
    life = longest_life(server.samples)
    window = last_hour(life)
    return {
        "seconds": seconds,
        "conversations": ledger.talked,
        "turns": len(turns),
        "turn_seconds": [statistics.median(turns), statistics.quantiles(turns, n=20)[-1]],
        "restarts": server.generation - 1,
        "acts": dict(ledger.acts),
        "provoked": dict(ledger.provoked),
        "messages_shown": sum(map(len, ledger.said.values())),
        "errors": ledger.errors + server.problems,
        "faults": [asdict(fault) for fault in faults],
        "log": server.faults_in_log(),
        "life_seconds": life[-1].seconds - life[0].seconds,
        "life_acts": life[-1].acts - life[0].acts,
        "first": asdict(life[0]),
        "last": asdict(life[-1]),
        "measured_seconds": window[-1].seconds - window[0].seconds,
        "measured_acts": window[-1].acts - window[0].acts,
        "rss_percent_an_hour": slope(window),
        "rss_bytes_a_turn": bytes_an_act(window) * sum(ledger.acts.values()) / max(1, len(turns)),
        "samples": [asdict(each) for each in server.samples],
    }


def longest_life(samples: Sequence[Sample]) -> list[Sample]:
    """The samples between two restarts that lie furthest apart."""
    lives = [list(group) for _, group in itertools.groupby(samples, key=lambda each: each.life)]
    return max(lives, key=lambda life: life[-1].seconds - life[0].seconds)


def last_hour(life: Sequence[Sample]) -> list[Sample]:
    """The last hour of a life, without its beginning; of a short one the second half."""
    begin, end = life[0].seconds, life[-1].seconds
    is_long = end - begin > HOUR_SECONDS
    start = max(end - HOUR_SECONDS, begin + WARM_UP_SECONDS) if is_long else (begin + end) / 2
    return [each for each in life if each.seconds >= start]


def slope(window: Sequence[Sample]) -> float:
    """Growth of the resident memory in percent an hour, by least squares; 0.0: too few samples."""
    if len(window) < 3:
        return 0.0
    line = statistics.linear_regression([each.seconds for each in window], [each.rss for each in window])
    return 100 * HOUR_SECONDS * line.slope / statistics.mean(each.rss for each in window)


def bytes_an_act(window: Sequence[Sample]) -> float:
    """Growth of the resident memory with what is done, by least squares; 0.0: nothing was done."""
    acts = [each.acts for each in window]
    if min(acts) == max(acts):
        return 0.0
    return float(statistics.linear_regression(acts, [each.rss for each in window]).slope)


def print_table(found: dict[str, Any]) -> None:
    counts = Counter(Fault(**each).kind for each in found["faults"])
    first, last = found["first"], found["last"]
    rows = [
        ("conversations", f"{found['conversations']:,} with {found['turns']:,} turns in {found['seconds']:.0f} s"),
        ("seconds a turn", "median {:.2f}, 95 % below {:.2f}".format(*found["turn_seconds"])),
        ("acts", ", ".join(f"{name} {count:,}" for name, count in sorted(found["acts"].items()))),
        ("restarts", f"{found['restarts']}"),
        ("provoked", ", ".join(f"{name} {count:,}" for name, count in found["provoked"].items()) or "nothing"),
        ("messages shown", f"{found['messages_shown']:,}"),
        ("errors", f"{len(found['errors']):,} that nothing provoked"),
        ("faults", ", ".join(f"{kind} {counts[kind]}" for kind in KINDS)),
        ("log", f"{len(found['log'])} complaints"),
        ("longest life", f"{found['life_seconds']:.0f} s, {found['life_acts']:,} acts"),
        ("memory", f"{first['rss'] / 2**20:.0f} -> {last['rss'] / 2**20:.0f} MiB in it"),
        (
            "its slope",
            f"{found['rss_percent_an_hour']:+.2f} % an hour, {found['rss_bytes_a_turn']:+,.0f} bytes a turn,"
            f" in the last {found['measured_seconds']:,.0f} s with {found['measured_acts']:,} acts",
        ),
        ("open files", f"{first['files']} -> {last['files']}"),
        ("threads", f"{first['threads']} -> {last['threads']}"),
        ("store", f"{first['store'] / 2**20:.1f} -> {last['store'] / 2**20:.1f} MiB"),
    ]
    for name, told in rows:
        print(f"{name:<16}{told}")
    told = [*found["errors"], *(f"{each['kind']}: {each['what']}" for each in found["faults"]), *found["log"]]
    for each in told[:MOST_TOLD]:
        print(f"  {each[:400]}")
    if len(told) > MOST_TOLD:
        print(f"  and {len(told) - MOST_TOLD:,} more (--json FILE has all)")


if __name__ == "__main__":
    sys.exit(main())
