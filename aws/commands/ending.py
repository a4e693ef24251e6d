"""terminate and doctor: what runs or is left over comes to its end."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

from aws.commands.output import OVERDUE, open_cloud_at, print_json, teller, whole
from config import Settings
from utils.command_line import DONE, FAILED
from utils.errors import UsageError
from utils.terminal import Terminal

if TYPE_CHECKING:
    from aws.books.doctor import Finding, Reaped
    from aws.machines.ending import Chosen, Ended


def run_terminate(arguments: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    from aws.machines.ending import choose_instances, terminate_instances

    if not (arguments.ids or arguments.name or arguments.all):
        raise UsageError(
            "nothing is named to be ended.",
            remedies=[
                ("See what runs", "python deploy_aws.py list-instances"),
                ("End everything", "python deploy_aws.py terminate --all"),
            ],
        )
    cloud = open_cloud_at(settings, terminal)
    chosen = choose_instances(cloud, arguments.ids, arguments.name, arguments.all)
    for problem in chosen.unknown:
        print(f"Error: {problem}", file=sys.stderr)
    tell = teller(arguments, terminal)
    for line in chosen.lines(cloud.now()):
        tell(line)
    found = bool(chosen.instances or chosen.runs)
    if found and not arguments.dry_run and not terminal.confirm("End them?", default=not chosen.busy):
        terminal.line("Nothing was ended.")
        return FAILED
    ended = terminate_instances(cloud, chosen) if found and not arguments.dry_run else []
    _tell_ended(arguments, chosen, ended)
    return DONE if all(each.proof for each in ended) and not chosen.unknown else FAILED


def _tell_ended(arguments: argparse.Namespace, chosen: Chosen, ended: list[Ended]) -> None:
    if arguments.json and arguments.dry_run:
        would = [{"id": each.id, "region": each.region, "run": each.run} for each in chosen.instances]
        print_json({"dry_run": True, "would_end": would, "would_close": chosen.idle, "unknown": chosen.unknown})
    elif arguments.json:
        print_json([each.to_dict() for each in ended])
    elif arguments.dry_run:
        print("Nothing was ended.")
    elif not chosen.instances and not chosen.runs:
        print("Nothing runs there that is ours." if not chosen.unknown else "Nothing was ended.")
    else:
        for each in ended:
            print(str(each))
        for run in chosen.idle:
            print(f"{run}  closed")


def run_doctor(arguments: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    from aws.books.doctor import examine
    from aws.books.reaping import reap

    cloud = open_cloud_at(settings, terminal)
    account = (cloud.sessions, cloud.names, cloud.journal, cloud.registry)
    findings = examine(*account, cloud.now())
    results = reap(*account, findings) if arguments.reap and not arguments.dry_run else []
    if arguments.json:
        print_json({"findings": [asdict(each) for each in findings], "reaped": [asdict(each) for each in results]})
    else:
        _tell_findings(arguments, findings, results, terminal)
    left = [each for each in findings if each.overdue and not any(r.finding == each and r.done for r in results)]
    return OVERDUE if left else DONE


def _tell_findings(
    arguments: argparse.Namespace, findings: list[Finding], results: list[Reaped], terminal: Terminal
) -> None:
    from aws.books.reaping import LEFT_ALONE

    for each in findings:
        told = whole(arguments, str(each))
        print(terminal.red(told) if each.overdue else told)
    for result in results:
        print(str(result))
    mended = [each.id for each in findings if each.kind not in LEFT_ALONE]
    if not findings:
        print("Nothing is left over, in any enabled region.")
    elif arguments.dry_run and arguments.reap:
        print(f"--reap would end or remove {', '.join(mended)}. Nothing was changed." if mended else "Nothing to reap.")
    elif mended and not arguments.reap:
        print(whole(arguments, "  End and remove what can be:  python deploy_aws.py doctor --reap"))
