"""deploy-gradio: plan, ask, launch, wait for the page, tell."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from aws.commands.output import commands_for_bucket, open_cloud_at, print_json, tell_plan, whole
from aws.commands.watcher import TerminalWatcher
from config import Settings
from utils.command_line import DONE
from utils.terminal import Terminal

if TYPE_CHECKING:
    from aws.operations.deploy import Deployed


def run_deploy(arguments: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    from aws.operations.deploy import DeployOrder, deploy, plan_deployment, serving_password

    cloud = open_cloud_at(settings, terminal)
    order = DeployOrder(
        arguments.family,
        arguments.version,
        arguments.instance_type,
        tuple(arguments.open_to),
        arguments.domain,
        arguments.max_hours,
    )
    with commands_for_bucket(deploying=True):
        plan = plan_deployment(cloud, order)
    refused = tell_plan(arguments, terminal, plan.lines())
    if refused is not None:
        return refused
    password, made = serving_password(cloud)
    watcher = TerminalWatcher(terminal, "the page", plan.price.usd_per_hour)
    done = deploy(cloud, order, plan, password, watcher)
    terminal.clear()
    if arguments.json:
        about = {"user": settings.app.user, "password_made": made, "replaced": done.replaced}
        print_json({"run": done.record.run, "url": done.url, "address": done.address, **about})
    else:
        _tell(arguments, settings, cloud.names.app_password, done, made)
    return DONE


def _tell(arguments: argparse.Namespace, settings: Settings, password_name: str, done: Deployed, made: bool) -> None:
    """Where the page is and how to get in; the password itself is shown to whoever may read the parameter."""
    aws = settings.aws
    profile = f" --profile {aws.profile}" if aws.profile else ""
    see = f"aws ssm get-parameter --with-decryption --query Parameter.Value --output text --region {aws.region}"
    if done.address:
        print(f"The page is ready. It answers at {done.url} once that name has an A record for {done.address}.")
    else:
        print(f"The page answers at {done.url}.")
    print(f"  Log in:        as {settings.app.user}, with the password{' that was made for it' if made else ''}")
    print(f"  The password:  {see}{profile} --name {password_name}")
    print(whole(arguments, f"  End it:        python deploy_aws.py terminate --run {done.record.run}"))
