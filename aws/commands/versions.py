"""models: the versions in the bucket, and on their way to a folder and back."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from typing import TYPE_CHECKING

from aws.commands.output import PROGRAM, commands_for_bucket, open_cloud_at, print_json
from config import Settings
from utils.command_line import DONE, actor
from utils.registry_command import check_model_arguments, run_model_action
from utils.terminal import Terminal

if TYPE_CHECKING:
    from utils.registry import Registry


def run_models(arguments: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    check_model_arguments(arguments)
    with commands_for_bucket():
        return _run_action(arguments, settings, terminal)


def _run_action(arguments: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    if arguments.action in ("pull", "push"):
        return _copy_version(arguments, settings, terminal)
    registry = open_cloud_at(settings, terminal).registry
    if arguments.dry_run and arguments.action in ("promote", "rollback"):
        return _tell_move(arguments, registry)
    return run_model_action(arguments, registry, actor(), PROGRAM)


def _tell_move(arguments: argparse.Namespace, registry: Registry) -> int:
    """What promote or rollback would do. Raises RegistryError: they could not do it."""
    family, present = arguments.family, registry.latest(arguments.family)
    now = present.version if present else None
    if arguments.action == "rollback":
        then = registry.previous(family)
    else:
        then = registry.resolve(family, arguments.version).version
    if arguments.json:
        print_json({"dry_run": True, "family": family, "from": now, "to": then})
    else:
        print(f"latest of {family} would move: {now} -> {then}. Nothing was moved.")
    return DONE


def _copy_version(arguments: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    from tqdm import tqdm

    from aws.data.transfer import copy_version
    from aws.storage import open_registry

    cloud, here = open_cloud_at(settings, terminal), open_registry(settings)
    source, target = (cloud.registry, here) if arguments.action == "pull" else (here, cloud.registry)
    if arguments.dry_run:
        found = source.resolve(arguments.family, arguments.version)
        way = {"source": source.store.url, "target": target.store.url}
        if arguments.json:
            print_json({"dry_run": True, **found.to_dict(), **way})
        else:
            size = f"{found.size_bytes / 1e6:.1f} MB"
            print(f"{found.family} {found.version}, {size}, would go: {way['source']} -> {way['target']}")
        return DONE
    with tqdm(unit="B", unit_scale=True, desc=arguments.action, disable=None) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        moved = copy_version(
            source,
            target,
            arguments.family,
            arguments.version,
            actor=actor(),
            reason=arguments.reason,
            promote=True,
            progress=show,
        )
    if arguments.json:
        print_json(asdict(moved))
    else:
        print(moved)
    return DONE
