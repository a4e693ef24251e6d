"""Logging in to an instance with the system's own ssh, which accepts the host key of the journal and no other."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from aws.cloud import Cloud
from aws.config import RUN_NAME
from aws.ec2_manager import find_everywhere
from aws.errors import PlaceError
from aws.journal import Attempt
from aws.machines.handover import address_of
from aws.ssh import host_keys_of

if TYPE_CHECKING:
    from aws.ec2_manager import Instance


@contextmanager
def build_login(cloud: Cloud, wanted: str) -> Iterator[list[str]]:
    """The words of an ssh command to an instance or to the machine of a run; valid within the block.

    Raises:
        PlaceError: no such machine, none that runs, or no ssh on this machine.
    """
    if shutil.which("ssh") is None:
        raise PlaceError("there is no ssh on this machine.", remedies=[("Install it", "apt install openssh-client")])
    instance = _instance(cloud, wanted)
    key_file = cloud.settings.aws.key_file.expanduser()
    if not key_file.is_file():
        raise PlaceError(
            f"the private key {key_file} is not on this machine.",
            instead=f"Only {instance.by or 'the machine that launched it'} has the key of {instance.id}.",
            remedies=[("Look without it", f"python deploy_aws.py logs {instance.run or 'RUN'}")],
        )
    address = address_of(cloud, instance, _attempt(cloud, instance))
    with tempfile.TemporaryDirectory() as folder:
        known = Path(folder) / "known_hosts"
        name = address.host if address.port == 22 else f"[{address.host}]:{address.port}"
        known.write_text("".join(f"{name} {key}\n" for key in address.host_keys), encoding="utf-8")
        options = {
            "UserKnownHostsFile": str(known),
            "GlobalKnownHostsFile": "/dev/null",
            "StrictHostKeyChecking": "yes",
            "IdentitiesOnly": "yes",
            "ServerAliveInterval": "10",
        }
        words = [part for key, value in options.items() for part in ("-o", f"{key}={value}")]
        yield ["ssh", *words, "-i", str(key_file), "-p", str(address.port), f"{address.user}@{address.host}"]


def _instance(cloud: Cloud, wanted: str) -> Instance:
    found, _ = find_everywhere(cloud.sessions)
    live = [each for each in found if each.state == "running" and wanted in (each.id, each.run)]
    if not live:
        running = ", ".join(each.id for each in found if each.state == "running")
        raise PlaceError(
            f"no running machine is called '{wanted}'.",
            instead=f"There are: {running}." if running else "None runs.",
            remedies=[("See them", "python deploy_aws.py list-instances")],
        )
    return max(live, key=lambda each: each.launched_at)


def _attempt(cloud: Cloud, instance: Instance) -> Attempt:
    """What the journal knows of a machine; where it knows nothing, its console tells the host keys."""
    record = cloud.journal.read(instance.run) if RUN_NAME.fullmatch(instance.run) else None
    known = next((each for each in record.attempts if each.instance == instance.id), None) if record else None
    if known and known.host_keys:
        return known
    keys = host_keys_of(cloud.manager(instance.region).console(instance.id))
    if not keys:
        raise PlaceError(
            f"the console of {instance.id} shows no SSH host keys yet.", remedies=[("Again", "in a minute")]
        )
    user = known.user if known and known.user else "ubuntu"
    return Attempt(number=1, region=instance.region, instance=instance.id, user=user, host_keys=keys)
