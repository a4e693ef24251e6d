"""deploy-gradio: plan, ask, launch, wait for the page, tell."""

from __future__ import annotations

import argparse

from aws.commands.output import open_cloud_at, print_json
from aws.commands.watcher import TerminalWatcher
from config import Settings
from utils.command_line import DONE, FAILED
from utils.terminal import Terminal


def run_deploy(arguments: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    from aws.deploy import DeployOrder, deploy, plan_deployment, serving_password

    cloud = open_cloud_at(settings, terminal)
    order = DeployOrder(
        arguments.family,
        arguments.version,
        arguments.instance_type,
        tuple(arguments.open_to),
        arguments.domain,
        arguments.max_hours,
    )
    plan = plan_deployment(cloud, order)
    for line in plan.lines():
        terminal.line(line)
    if arguments.dry_run:
        print_json({"dry_run": True, "plan": plan.lines()}) if arguments.json else print("Nothing was made.")
        return DONE
    if not terminal.confirm("Launch it?"):
        print("Nothing was made.")
        return FAILED
    password, made = serving_password(cloud)
    watcher = TerminalWatcher(terminal, "the page", plan.price.usd_per_hour)
    done = deploy(cloud, order, plan, password, watcher)
    terminal.clear()
    see = "aws ssm get-parameter --with-decryption --query Parameter.Value --output text --name"
    if arguments.json:
        print_json({"run": done.record.run, "url": done.url, "user": settings.app.user, "replaced": done.replaced})
    else:
        print(f"The page answers at {done.url}, as {settings.app.user} with the password.")
        print(f"  {'A password was made. ' if made else ''}See it:  {see} {cloud.names.app_password}")
        print(f"  End it:  python deploy_aws.py terminate --run {done.record.run}")
    return DONE
