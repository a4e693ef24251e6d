"""From a running instance to a job that works on it alone: host keys, SSH, code, start.

    line = HandOver(cloud, job, instance).hand_over()

Until the job is handed over the instance has nothing to do and ends itself; afterwards it needs nobody.
"""

from __future__ import annotations

import json
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aws.cloud import Cloud
from aws.errors import PlaceError
from aws.journal import Attempt
from aws.places import CONNECTING, UPLOADING, Job
from config import PROJECT_FOLDER

if TYPE_CHECKING:
    from aws.ec2_manager import Instance
    from aws.machines.bundle import Bundle
    from aws.ssh import Address, Connection

logger = logging.getLogger(__name__)

SSH_TIMEOUT_SECONDS = 600.0  # a new machine boots, and its user-data runs
LOOK = "aws ec2 get-console-output --latest"
CONSOLE_TIMEOUT_SECONDS = 420.0  # EC2 posts a console's output within minutes of the boot
PAUSE_SECONDS = 2.0
SYNC_SECONDS = 30
NAMED_FILES = 5


@dataclass(frozen=True)
class HandOver:
    """The way of one job onto its running instance."""

    cloud: Cloud
    job: Job
    instance: Instance

    def hand_over(self, confirm: bool = True) -> Connection:
        """Bring code and job there and start it; the connection stays open.

        Args:
            confirm: whether the machine is wanted from here on; if not, it ends itself at the end of its set-up time.

        Raises:
            PlaceError, SshError, CloudError: the machine cannot be set up.
        """
        attempt = self._learn_host_keys()
        line = self._connect(attempt)
        try:
            self._wait_ready(line)
            self._upload(line, attempt)
            self._start(line, attempt, confirm)
        except BaseException:
            line.close()
            raise
        self.cloud.journal.change_attempt(self.job.name, handed_over=True)
        self.cloud.say(UPLOADING, f"{self.job.name} works on {self.instance.id} on its own")
        return line

    def _learn_host_keys(self) -> Attempt:
        """The machine's own host keys, from its console: nobody on the way can change what stands there."""
        from aws.ssh import host_keys_of

        attempt = self.cloud.journal.read(self.job.name).attempts[-1]
        if attempt.host_keys:
            return attempt
        self.cloud.say(CONNECTING, f"reading the host keys on the console of {self.instance.id}")
        end = self.cloud.clock() + CONSOLE_TIMEOUT_SECONDS
        while not (keys := host_keys_of(self.cloud.manager().console(self.instance.id))):
            if self.cloud.clock() > end:
                raise PlaceError(
                    f"the console of {self.instance.id} shows no SSH host keys after {CONSOLE_TIMEOUT_SECONDS:.0f} s.",
                    instead="Without them nobody can tell whether it is the right machine that answers.",
                    remedies=[("Look", f"{LOOK} --instance-id {self.instance.id} --region {self.instance.region}")],
                )
            self._still_there()
            self.cloud.sleep(PAUSE_SECONDS)
        return self.cloud.journal.change_attempt(self.job.name, host_keys=tuple(keys)).attempts[-1]

    def _connect(self, attempt: Attempt) -> Connection:
        from aws.ssh import wait_for_ssh

        self.cloud.say(CONNECTING, f"connecting to {self.instance.address}")
        return wait_for_ssh(
            address_of(self.cloud, self.instance, attempt),
            SSH_TIMEOUT_SECONDS,
            still_there=self._still_there,
            sleep=self.cloud.sleep,
            clock=self.cloud.clock,
        )

    def _wait_ready(self, line: Connection) -> None:
        """Until user-data has run to its end."""
        end = self.cloud.clock() + SSH_TIMEOUT_SECONDS
        while (answer := self._ask_ready(line, patient=self.cloud.clock() < end)) != "ready":
            if answer or self.cloud.clock() > end:
                log = line.run("sudo -n tail -n 15 /var/log/cloud-init-output.log", check=False).text.strip()
                raise PlaceError(
                    f"setting up {self.instance.id} failed: {answer or 'user-data did not end'}.", instead=log[-1500:]
                )
            self._still_there()
            self.cloud.sleep(PAUSE_SECONDS)

    def _ask_ready(self, line: Connection, patient: bool) -> str:
        """``ready``, the reason of a failure, or nothing yet; also where the line is cut and may come back."""
        from aws.ssh import LineCut

        folder = self.cloud.folder
        try:
            test = f"cat {folder}/failed 2>/dev/null || {{ [ -e {folder}/ready ] && echo ready; }}"
            return line.run(test, check=False).text.strip()
        except LineCut:
            if not patient:
                raise
            return ""

    def _upload(self, line: Connection, attempt: Attempt) -> None:
        from aws.machines.bundle import build_bundle

        with tempfile.TemporaryDirectory() as folder:
            bundle = build_bundle(PROJECT_FOLDER, Path(folder) / "code.tar.gz")
            self.cloud.say(UPLOADING, f"{bundle.files} files, {bundle.size_bytes / 1e6:.1f} MB{_changes(bundle)}")
            line.upload(bundle.file, f"{self.cloud.folder}/code.tar.gz")
            description = Path(folder) / "job.json"
            description.write_text(json.dumps(self._describe(attempt)), encoding="utf-8")
            line.run(_UNPACK.format(folder=self.cloud.folder), timeout_seconds=120)
            line.upload(description, f"{self.cloud.folder}/job.json")

    def _start(self, line: Connection, attempt: Attempt, confirm: bool) -> None:
        from aws.machines.userdata import start_command

        if confirm:
            confirm_machine(self.cloud, line)
        line.run(start_command(self.cloud.folder, restart=self.job.restart, user=attempt.user), timeout_seconds=60)

    def _describe(self, attempt: Attempt) -> dict[str, Any]:
        return {
            "job": self.job.to_dict(),
            "bucket_url": self.cloud.store.url,
            "region": self.cloud.settings.aws.region,
            "attempt": attempt.number,
            "price_usd_per_hour": attempt.price_usd_per_hour,
            "sync_seconds": SYNC_SECONDS,
        }

    def _still_there(self) -> None:
        """Raises PlaceError: the instance has ended meanwhile."""
        found = self.cloud.manager().describe(self.instance.id, patient=True)
        if found.state not in ("pending", "running"):
            raise PlaceError(f"{self.instance.id} is {found.state}: it ended before it could be set up.")


# A job that has begun keeps the code that it began with.
_UNPACK = (
    "cd {folder} && if [ ! -e job.json ]; then rm -rf code.new && mkdir code.new"
    " && tar -xzf code.tar.gz -C code.new && rm -rf code && mv code.new code; fi"
)


def _changes(bundle: Bundle) -> str:
    """Which files go along as they lie here, and not as they were committed."""
    if not bundle.from_git:
        return ", all of the folder: there is no git here"
    if not bundle.changed:
        return ""
    for name in bundle.changed:
        logger.debug("not as it was committed: %s", name)
    more = f" and {len(bundle.changed) - NAMED_FILES} more" if len(bundle.changed) > NAMED_FILES else ""
    return f", with changes that are not committed: {', '.join(bundle.changed[:NAMED_FILES])}{more}"


def confirm_machine(cloud: Cloud, line: Connection) -> None:
    """The machine is wanted: it no longer ends itself for want of work. Raises SshError."""
    line.run(f"touch {cloud.folder}/confirmed")


def address_of(cloud: Cloud, instance: Instance, attempt: Attempt) -> Address:
    """Where to log in, as whom, and which machine must answer."""
    from aws.ssh import Address

    aws = cloud.settings.aws
    return Address(instance.address, aws.ssh_port, attempt.user, aws.key_file.expanduser(), attempt.host_keys)
