"""status, list-instances, logs, ssh, cost: they change nothing."""

from __future__ import annotations

import argparse
import contextlib
import subprocess
import sys
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aws.commands.output import OVERDUE, open_cloud_at, print_json
from config import Settings, SuiteError
from utils.command_line import DONE, FAILED
from utils.errors import UsageError
from utils.terminal import Terminal

if TYPE_CHECKING:
    from aws.cloud import Cloud

WATCH_SECONDS = 10.0
# What list-instances shows, with the width of each column.
LISTED = {
    "id": 19, "region": 12, "purpose": 8, "state": 13, "type": 12, "market": 9, "address": 15, "launched_at": 20,
    "deadline": 20, "run": 28,
}  # fmt: skip


def run_status(arguments: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    from aws.status import build_report, render_report

    cloud = open_cloud_at(settings, terminal)
    while True:
        report = build_report(cloud, arguments.source)
        if arguments.logs:
            report["logs"] = {
                row["run"]: _last_lines(cloud, row["run"], arguments.lines) for row in report["instances"]
            }
        if arguments.json:
            print_json(report)
        else:
            text = render_report(report, terminal.red)
            text += "".join(f"\n\n{name}:\n{lines}" for name, lines in report.get("logs", {}).items())
            print(f"\x1b[2J\x1b[H{text}" if arguments.watch and sys.stdout.isatty() else text, flush=True)
        if not arguments.watch:
            return OVERDUE if report["overdue"] else DONE
        time.sleep(WATCH_SECONDS)


def _last_lines(cloud: Cloud, run: str, lines: int) -> str:
    from aws.logs import last_lines

    try:
        return last_lines(cloud, run, lines)
    except SuiteError as error:
        return error.what


def run_list(arguments: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    from aws.ec2_manager import find_everywhere
    from aws.status import list_instances

    cloud = open_cloud_at(settings, terminal)
    found, unreadable = find_everywhere(cloud.sessions)
    rows = list_instances(found, cloud.now())
    if arguments.json:
        print_json(rows)
    elif not rows:
        print(f"Nothing of {settings.aws.project} is there.")
    for row in [] if arguments.json else rows:
        line = "  ".join(f"{row[key]!s:<{width}}" for key, width in LISTED.items()).rstrip()
        print(terminal.red(f"{line}  PAST ITS DEADLINE") if row["overdue"] else line)
    for region, error in unreadable.items():
        print(f"{region} could not be read: {error.what}", file=sys.stderr)
    return OVERDUE if any(row["overdue"] for row in rows) else DONE


def run_logs(arguments: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    from aws.ec2_orchestrator import EC2Place
    from aws.follow import follow
    from aws.logs import last_lines, whole_log

    cloud = open_cloud_at(settings, terminal)
    if not arguments.follow:
        run = arguments.name
        text = last_lines(cloud, run, arguments.lines) if arguments.lines else whole_log(cloud, run)
        print(text.rstrip("\n"))
        return DONE
    with contextlib.closing(EC2Place(cloud)) as place:
        status = follow(
            place,
            arguments.name,
            write=lambda content: (sys.stdout.write(content.decode("utf-8", "replace")), sys.stdout.flush())[1],
            show=lambda status: terminal.move(status.stage),
            sleep=time.sleep,
        )
    terminal.clear()
    return DONE if status.stage == "done" else FAILED


def run_ssh(arguments: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    from aws.login import build_login

    cloud = open_cloud_at(settings, terminal)
    with build_login(cloud, arguments.id) as words:
        return subprocess.run([*words, *arguments.words], check=False).returncode


def run_cost(arguments: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    from aws.cost import UNSEEN, by_resource, by_run, costs, running_usd_per_hour, storage_cost, total_usd
    from aws.ec2_manager import find_everywhere

    since = _day(arguments.since) if arguments.since else None
    cloud = open_cloud_at(settings, terminal)
    found, _ = find_everywhere(cloud.sessions)
    rows = costs(cloud.journal, found, cloud.prices, since, cloud.now(), settings=settings.aws)
    storage = storage_cost(cloud.store)
    if arguments.json:
        print_json(
            {
                "rows": [asdict(row) for row in rows],
                "total_usd": total_usd(rows),
                "storage": asdict(storage),
                "unseen": UNSEEN,
            }
        )
        return DONE
    for row in rows:
        goes_on = "  runs" if row.running else ""
        what = f"{row.run or '(no run)':<28}  {row.resource:<14}  {row.what:<24}"
        print(f"{what}  {row.hours:8.2f} h  {row.usd:9.4f} USD{goes_on}")
    for title, sums in (("run", by_run(rows)), ("resource", by_resource(rows))):
        print(f"\nBy {title}:")
        for name, usd in sums.items():
            print(f"  {name or '(no run)':<28}  {usd:9.4f} USD")
    print(f"\nIn all {total_usd(rows):.4f} USD; what runs costs {running_usd_per_hour(rows):.4f} USD an hour.")
    print(f"The bucket holds {storage.size_bytes / 1e9:.3f} GB: {storage.usd_per_month:.4f} USD a month.")
    print("Not seen:\n" + "\n".join(f"  {sentence}" for sentence in UNSEEN))
    return DONE


def _day(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise UsageError(f"--since {text} is no day.", instead="One looks like 2026-11-21.") from None
