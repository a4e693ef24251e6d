"""terminate and doctor: what runs or is left over comes to its end."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict

from aws.commands.output import OVERDUE, open_cloud_at, print_json
from config import Settings
from utils.command_line import DONE, FAILED
from utils.errors import UsageError
from utils.terminal import Terminal


def run_terminate(arguments: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    from aws.ending import choose_instances, terminate_instances

    if not (arguments.ids or arguments.name or arguments.all):
        raise UsageError(
            "nothing is named to be ended.",
            remedies=[("See what runs", "python deploy_aws.py list-instances"), ("End everything", "terminate --all")],
        )
    cloud = open_cloud_at(settings, terminal)
    chosen = choose_instances(cloud, arguments.ids, arguments.name, arguments.all)
    for problem in chosen.unknown:
        print(f"Error: {problem}", file=sys.stderr)
    if not chosen.instances and not chosen.runs:
        if not chosen.unknown:
            print("Nothing of ours runs there.")
        return FAILED if chosen.unknown else DONE
    for line in chosen.lines(cloud.now()):
        terminal.line(line)
    if arguments.dry_run:
        print("Nothing was ended.")
        return DONE
    if not terminal.confirm("End them?", default=not chosen.busy):
        print("Nothing was ended.")
        return FAILED
    ended = terminate_instances(cloud, chosen)
    if arguments.json:
        print_json([each.to_dict() for each in ended])
    for each in [] if arguments.json else ended:
        print(str(each))
    return DONE if all(each.proof for each in ended) and not chosen.unknown else FAILED


def run_doctor(arguments: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    from aws.doctor import examine
    from aws.reaping import reap

    cloud = open_cloud_at(settings, terminal)
    account = (cloud.sessions, cloud.names, cloud.journal, cloud.registry)
    findings = examine(*account, cloud.now())
    results = reap(*account, findings) if arguments.reap and not arguments.dry_run else []
    if arguments.json:
        print_json({"findings": [asdict(each) for each in findings], "reaped": [asdict(each) for each in results]})
    else:
        for each in findings:
            print(terminal.red(str(each)) if each.overdue else str(each))
        for result in results:
            print(str(result))
        if not findings:
            print("Nothing is left over, in any enabled region.")
    left = [each for each in findings if each.overdue and not any(r.finding == each and r.done for r in results)]
    return OVERDUE if left else DONE
