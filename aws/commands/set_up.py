"""What the account needs, and its end: init, upload-data, destroy."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from aws.commands.output import open_cloud_at, print_json, teller, whole
from config import CONFIG_FILE_NAME, PROJECT_FOLDER, Secret, Settings, SuiteError
from utils.command_line import DONE, FAILED
from utils.errors import UsageError
from utils.terminal import Terminal

if TYPE_CHECKING:
    from aws.account.destroy import Removal
    from aws.account.setup import Step
    from aws.config import Names
    from aws.sessions import Sessions


EXAMPLE_ACCOUNT = "123456789012"
PROJECT_NAME = re.compile(r"[a-z][a-z0-9-]{1,29}[a-z0-9]")  # with account and region it must fit into a bucket's name


def run_init(arguments: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    from aws.account.setup import SetUp
    from aws.config import Names
    from aws.machines.quotas import tell_gpu_quota
    from aws.sessions import Sessions

    if arguments.policy:
        return _print_policy(settings)
    settings, chosen = _ask_settings(arguments, settings, terminal)
    sessions = Sessions(settings.aws)
    names = Names(settings.aws, sessions.account())
    terminal.line(f"Account {names.account} as {sessions.caller()}, region {settings.aws.region}")
    for market in ("on-demand", "spot"):
        terminal.line(tell_gpu_quota(sessions, market))
    tell = teller(arguments, terminal)
    token = settings.secrets.hf_token or _ask_token(arguments, terminal, sessions, names)
    steps = SetUp(sessions, names).apply(
        dry_run=arguments.dry_run,
        hf_token=token,
        open_to=arguments.open_to,
        say=lambda step: tell(f"{step.action:<11} {step.what} {step.name}  {step.detail}".rstrip()),
    )
    written = "" if arguments.dry_run else _write_settings(arguments, chosen)
    return _tell_set_up(arguments, steps, written, names.bucket)


def _print_policy(settings: Settings) -> int:
    """What whoever types the commands must be allowed to do; for somebody who may do nothing yet as well."""
    from aws.account.policies import caller_policy
    from aws.config import Names
    from aws.sessions import Sessions

    try:
        account = Sessions(settings.aws).account()
    except SuiteError as error:
        account = EXAMPLE_ACCOUNT
        print(f"{error.what}\n  {account} stands for the number of the account.", file=sys.stderr)
    print_json(caller_policy(Names(settings.aws, account)))
    return DONE


def _ask_settings(
    arguments: argparse.Namespace, settings: Settings, terminal: Terminal
) -> tuple[Settings, dict[str, object]]:
    """The settings with what was chosen, and what was chosen, by key. Raises UsageError: nobody can be asked."""
    asked = not (arguments.yes or arguments.dry_run)
    region = terminal.text("Region?", settings.aws.region) if asked else settings.aws.region
    project = terminal.text("First word of all names?", settings.aws.project) if asked else settings.aws.project
    if not PROJECT_NAME.fullmatch(project):
        raise UsageError(
            f"'{project}' cannot be the first word of all names.",
            instead="It takes 3 to 31 small letters, digits and hyphens, such as stranger-things.",
        )
    chosen: dict[str, object] = {"aws.region": region, "aws.project": project}
    if arguments.profile:
        chosen["aws.profile"] = arguments.profile
    if arguments.open_to:
        chosen["aws.open_to"] = list(arguments.open_to)
    return replace(settings, aws=replace(settings.aws, region=region, project=project)), chosen


def _ask_token(arguments: argparse.Namespace, terminal: Terminal, sessions: Sessions, names: Names) -> Secret:
    from aws.account.parameters import parameter_exists

    if arguments.dry_run or parameter_exists(sessions, names.hf_token):
        return Secret("")
    return terminal.secret("Token of the Hugging Face hub, for gated bases (empty: none; it is not shown):")


def _write_settings(arguments: argparse.Namespace, chosen: dict[str, object]) -> str:
    """The file that was written; empty: it says all this already."""
    from aws.account.settings_file import update_settings

    file = arguments.config or PROJECT_FOLDER / CONFIG_FILE_NAME
    return str(file) if update_settings(file, chosen) else ""


def _tell_set_up(arguments: argparse.Namespace, steps: Sequence[Step], written: str, bucket: str) -> int:
    changed = [step for step in steps if step.action in ("made", "completed")]
    if arguments.json:
        settings_file = {"settings_written": bool(written), "bucket": bucket, "dry_run": arguments.dry_run}
        print_json({"steps": [asdict(step) for step in steps], **settings_file})
        return DONE
    if arguments.dry_run:
        print("Nothing was made. What init makes costs nothing by itself; the bucket costs what lies in it.")
        return DONE
    if written:
        print(f"The settings are in {written}.")
    if changed:
        print(f"Made or completed: {len(changed)} of {len(steps)} things.")
        print(whole(arguments, "  Next:  python deploy_aws.py upload-data --data data"))
    elif not written:
        print("Everything was there already; nothing was changed.")
    else:
        print("Everything else was there already.")
    return DONE


def run_upload(arguments: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    from tqdm import tqdm

    from aws.data.training_data import plan_upload, upload

    cloud = open_cloud_at(settings, terminal)
    plan = plan_upload(settings.paths.data, cloud.store)
    for warning in (*plan.warnings, *plan.flagged()):
        terminal.line(warning)
    if not plan.is_done and not arguments.dry_run:
        with tqdm(total=plan.size_bytes, unit="B", unit_scale=True, desc="uploading", disable=None) as bar:
            upload(plan, lambda done, _: bar.update(done - bar.n))
    if arguments.json:
        print_json(plan.to_dict() | {"dry_run": arguments.dry_run})
        return DONE
    counts = f"{len(plan.new)} new, {len(plan.changed)} changed, {len(plan.same)} the same, {len(plan.removed)} removed"
    print(f"{counts}; {plan.size_bytes / 1e6:.1f} MB {'would be sent' if arguments.dry_run else 'sent'}.")
    if plan.is_done:
        print("The bucket held all of it already; nothing was changed.")
    elif not arguments.dry_run:
        print(whole(arguments, "  Next:  python deploy_aws.py train llama --dry-run"))
    return DONE


def run_destroy(arguments: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    from aws.account.destroy import destroy, plan_destroy

    cloud = open_cloud_at(settings, terminal)
    plan = plan_destroy(cloud.sessions, cloud.names, with_data=arguments.with_data)
    tell_plan = teller(arguments, terminal)
    for each in plan:
        verb = "stays  " if each.stays else "remove "
        tell_plan("  ".join(part for part in (f"{verb} {each.kind} {each.name}", each.region, each.detail) if part))
    going = [each for each in plan if not each.stays]
    if arguments.dry_run or not going:
        nothing = "Nothing was removed." if going else "There is nothing to remove."
        print_json([asdict(each) for each in plan if arguments.dry_run]) if arguments.json else print(nothing)
        return DONE
    warning = " Data and models too: they cannot be had back." if arguments.with_data else ""
    if not terminal.typed(f"{len(going)} things will be removed.{warning}", settings.aws.project):
        terminal.line("Nothing was removed.")
        return FAILED

    def tell(removal: Removal) -> None:
        terminal.line(f"{'removed' if removal.gone else 'LEFT   '} {removal.resource.kind} {removal.resource.name}")

    removals = destroy(cloud.sessions, cloud.names, plan, say=tell)
    left = [each for each in removals if not each.gone]
    if arguments.json:
        print_json([asdict(each) for each in removals])
    else:
        print(f"Removed: {len(removals) - len(left)}; left: {len(left)}.")
        for removal in left:
            print(f"  {removal.resource.kind} {removal.resource.name}: {removal.problem}")
    return FAILED if left else DONE
