"""What the account needs, and its end: init, upload-data, destroy."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from aws.commands.output import open_cloud_at, print_json
from config import CONFIG_FILE_NAME, PROJECT_FOLDER, Secret, Settings
from utils.command_line import DONE, FAILED
from utils.terminal import Terminal

if TYPE_CHECKING:
    from aws.config import Names
    from aws.destroy import Removal
    from aws.sessions import Sessions
    from aws.setup import Step


def run_init(arguments: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    from aws.config import Names
    from aws.quotas import gpu_quota
    from aws.sessions import Sessions
    from aws.setup import SetUp

    settings, chosen = _ask_settings(arguments, settings, terminal)
    sessions = Sessions(settings.aws)
    names = Names(settings.aws, sessions.account())
    terminal.line(f"Account {names.account} as {sessions.caller()}, region {settings.aws.region}")
    for market in ("on-demand", "spot"):
        terminal.line(str(gpu_quota(sessions, market)))
    token = settings.secrets.hf_token or _ask_token(arguments, terminal, sessions, names)
    steps = SetUp(sessions, names).apply(
        dry_run=arguments.dry_run,
        hf_token=token,
        open_to=arguments.open_to,
        say=lambda step: terminal.line(f"{step.action:<11} {step.what} {step.name}  {step.detail}".rstrip()),
    )
    written = False if arguments.dry_run else _write_settings(arguments, {**chosen, "aws.bucket": names.bucket})
    return _tell_set_up(arguments, steps, written, names.bucket)


def _ask_settings(
    arguments: argparse.Namespace, settings: Settings, terminal: Terminal
) -> tuple[Settings, dict[str, object]]:
    """The settings with what was chosen, and what was chosen, by key."""
    asked = not arguments.yes and terminal.is_interactive
    region = terminal.text("Region?", settings.aws.region) if asked else settings.aws.region
    project = terminal.text("First word of all names?", settings.aws.project) if asked else settings.aws.project
    chosen: dict[str, object] = {"aws.region": region, "aws.project": project}
    if arguments.profile:
        chosen["aws.profile"] = arguments.profile
    if arguments.open_to:
        chosen["aws.open_to"] = list(arguments.open_to)
    return replace(settings, aws=replace(settings.aws, region=region, project=project)), chosen


def _ask_token(arguments: argparse.Namespace, terminal: Terminal, sessions: Sessions, names: Names) -> Secret:
    from aws.parameters import parameter_exists

    if arguments.dry_run or parameter_exists(sessions, names.hf_token):
        return Secret("")
    return terminal.secret("Token of the Hugging Face hub, for gated bases (empty: none; it is not shown):")


def _write_settings(arguments: argparse.Namespace, chosen: dict[str, object]) -> bool:
    from aws.settings_file import update_settings

    return update_settings(arguments.config or PROJECT_FOLDER / CONFIG_FILE_NAME, chosen)


def _tell_set_up(arguments: argparse.Namespace, steps: Sequence[Step], written: bool, bucket: str) -> int:
    changed = [step for step in steps if step.action in ("made", "completed")]
    if arguments.json:
        print_json({"steps": [asdict(step) for step in steps], "settings_written": written, "bucket": bucket})
    elif arguments.dry_run:
        print("Nothing was made. What init makes costs nothing by itself; the bucket costs what lies in it.")
    elif not changed:
        print("Everything was there already; nothing was changed.")
    else:
        print(f"{len(changed)} things made or completed.")
        print("  Next:  python deploy_aws.py upload-data --data data")
    return DONE


def run_upload(arguments: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    from tqdm import tqdm

    from aws.training_data import plan_upload, upload

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
    return DONE


def run_destroy(arguments: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    from aws.destroy import destroy, plan_destroy

    cloud = open_cloud_at(settings, terminal)
    plan = plan_destroy(cloud.sessions, cloud.names, with_data=arguments.with_data)
    for each in plan:
        verb = "stays  " if each.stays else "remove "
        terminal.line(f"{verb} {each.kind} {each.name}  {each.region}  {each.detail}".rstrip())
    going = [each for each in plan if not each.stays]
    if arguments.dry_run or not going:
        print_json([asdict(each) for each in plan]) if arguments.json else print("Nothing was removed.")
        return DONE
    warning = " Data and models too: they cannot be had back." if arguments.with_data else ""
    if not terminal.typed(f"{len(going)} things will be removed.{warning}", settings.aws.project):
        print("Nothing was removed.")
        return FAILED

    def tell(removal: Removal) -> None:
        terminal.line(f"{'removed' if removal.gone else 'LEFT   '} {removal.resource.kind} {removal.resource.name}")

    removals = destroy(cloud.sessions, cloud.names, plan, say=tell)
    left = [each for each in removals if not each.gone]
    if arguments.json:
        print_json([asdict(each) for each in removals])
    else:
        print(f"{len(removals) - len(left)} things removed, {len(left)} left.")
        for removal in left:
            print(f"  {removal.resource.kind} {removal.resource.name}: {removal.problem}")
    return FAILED if left else DONE
