"""status, list-instances, logs, ssh, cost: they change nothing."""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aws.commands.output import OVERDUE, LogStream, open_cloud_at, print_json, whole
from config import Settings, SuiteError
from utils.command_line import DONE, FAILED
from utils.errors import UsageError
from utils.terminal import Terminal

if TYPE_CHECKING:
    from aws.cloud import Cloud
    from aws.places import PlaceStatus

WATCH_SECONDS = 10.0
# What list-instances shows, with title and width of each column.
LISTED = {
    "id": ("instance", 19), "region": ("region", 14), "purpose": ("for", 8), "state": ("state", 13),
    "type": ("type", 12), "market": ("market", 9), "address": ("address", 15), "launched_at": ("launched", 20),
    "deadline": ("ends by", 20), "run": ("run", 28),
}  # fmt: skip


def run_status(arguments: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    from aws.books.status import build_report, render_report

    cloud = open_cloud_at(settings, terminal)
    while True:
        report = build_report(cloud, arguments.source)
        if arguments.logs:
            runs = dict.fromkeys(row["run"] for row in report["instances"] if row["run"])
            report["logs"] = {run: _last_lines(cloud, run, arguments.lines) for run in runs}
        if arguments.json:
            print_json(report, one_line=arguments.watch)
        else:
            text = whole(arguments, render_report(report, terminal.red))
            text += "".join(f"\n\nLog of {run}:\n{lines}" for run, lines in report.get("logs", {}).items())
            print(f"\x1b[2J\x1b[H{text}" if arguments.watch and sys.stdout.isatty() else text, flush=True)
        if not arguments.watch:
            return OVERDUE if report["overdue"] else DONE
        time.sleep(WATCH_SECONDS)


def _last_lines(cloud: Cloud, run: str, lines: int) -> str:
    from aws.operations.logs import last_lines

    try:
        return last_lines(cloud, run, lines)
    except SuiteError as error:
        return error.what


def run_list(arguments: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    from aws.books.status import list_instances
    from aws.ec2_manager import find_everywhere

    cloud = open_cloud_at(settings, terminal)
    found, unreadable = find_everywhere(cloud.sessions)
    rows = list_instances(found, cloud.now())
    if arguments.json:
        print_json(rows)
    elif not rows:
        print(f"Nothing of {settings.aws.project} runs in account {cloud.names.account}.")
    else:
        print(_line({key: title for key, (title, _) in LISTED.items()}))
    for row in [] if arguments.json else rows:
        print(terminal.red(f"{_line(row)}  PAST ITS DEADLINE") if row["overdue"] else _line(row))
    for region, error in unreadable.items():
        print(f"{region} could not be read: {error.what}", file=sys.stderr)
    return OVERDUE if any(row["overdue"] for row in rows) else DONE


def _line(row: Mapping[str, object]) -> str:
    return "  ".join(f"{row[key]!s:<{width}}" for key, (_, width) in LISTED.items()).rstrip()


def run_logs(arguments: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    from aws.operations.logs import last_lines, whole_log

    cloud, run = open_cloud_at(settings, terminal), arguments.name
    if arguments.follow:
        return _follow(arguments, cloud, terminal)
    text = (last_lines(cloud, run, arguments.lines) if arguments.lines else whole_log(cloud, run)).rstrip("\n")
    if arguments.json:
        print_json({"run": run, "log": text})
    elif text:
        print(text)
    else:
        print(f"{run} has said nothing yet.", file=sys.stderr)
    return DONE


def _follow(arguments: argparse.Namespace, cloud: Cloud, terminal: Terminal) -> int:
    """The log as it grows, until the run ends."""
    from aws.ec2_orchestrator import EC2Place
    from aws.operations.follow import follow

    stream = LogStream(sys.stderr if arguments.json else sys.stdout)

    def write(content: bytes) -> None:
        if content:
            terminal.clear()
            stream.write(content)

    def show(status: PlaceStatus) -> None:
        if stream.at_line_start:
            terminal.move(f"{arguments.name}: {status.stage}")

    with contextlib.closing(EC2Place(cloud)) as place:
        status = follow(place, arguments.name, write=write, show=show, sleep=cloud.sleep)
    terminal.clear()
    if arguments.json:
        print_json({"run": arguments.name, "stage": status.stage, "message": status.message})
    else:
        terminal.line(f"{arguments.name}: {status.stage}" + (f": {status.message}" if status.message else ""))
    return DONE if status.stage == "done" else FAILED


def run_ssh(arguments: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    from aws.machines.login import build_login

    if arguments.json and not arguments.words:
        raise UsageError("ssh --json needs a command: what a person types there is no JSON.")
    cloud = open_cloud_at(settings, terminal)
    with build_login(cloud, arguments.id) as words:
        if not arguments.json:
            return _status(subprocess.run([*words, *arguments.words], check=False).returncode)
        done = subprocess.run([*words, *arguments.words], check=False, capture_output=True, text=True, errors="replace")
    print_json({"exit_status": done.returncode, "stdout": done.stdout, "stderr": done.stderr})
    return _status(done.returncode)


def _status(returncode: int) -> int:
    """As a shell has it: 128 and the number of the signal that ended the program."""
    return 128 - returncode if returncode < 0 else returncode


def run_cost(arguments: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    from aws.books.cost import UNSEEN, by_resource, by_run, costs, running_usd_per_hour, storage_cost, total_usd
    from aws.ec2_manager import find_everywhere

    since = _day(arguments.since) if arguments.since else None
    cloud = open_cloud_at(settings, terminal)
    found, unreadable = find_everywhere(cloud.sessions)
    rows = costs(cloud.journal, found, cloud.prices, since, cloud.now(), settings=settings.aws)
    storage = storage_cost(cloud.store)
    unseen = [*UNSEEN, *(f"What runs in {region}: {error.what}" for region, error in unreadable.items())]
    if arguments.json:
        print_json(
            {
                "rows": [asdict(row) for row in rows],
                "total_usd": total_usd(rows),
                "storage": asdict(storage),
                "unseen": unseen,
            }
        )
        return DONE
    for row in rows:
        goes_on = "  runs" if row.running else ""
        what = f"{row.run or '(no run)':<28}  {row.resource:<14}  {row.what:<24}"
        print(f"{what}  {row.hours:8.2f} h  {row.usd:9.4f} USD{goes_on}")
    for title, sums in (("run", by_run(rows)), ("resource", by_resource(rows))) if rows else ():
        print(f"\nBy {title}:")
        for name, usd in sums.items():
            print(f"  {name or '(no run)':<28}  {usd:9.4f} USD")
    if rows:
        print()
    print(f"In all {total_usd(rows):.4f} USD; what runs costs {running_usd_per_hour(rows):.4f} USD an hour.")
    print(f"The bucket holds {storage.size_bytes / 1e9:.3f} GB: {storage.usd_per_month:.4f} USD a month.")
    print("Not seen:\n" + "\n".join(f"  {sentence}" for sentence in unseen))
    return DONE


def _day(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise UsageError(f"--since {text} is no day.", instead="One looks like 2026-11-21.") from None
