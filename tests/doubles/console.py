"""deploy_aws.py as a user types it, inside the test process, on the account of tests/doubles/account.py.

    console = Console(account, folder, capsys, monkeypatch)
    done = console("status", "--json")
    done.code, done.out, done.err, done.json

``console.world`` is the account as ``init`` makes it, ``console.launch`` puts an instance into it.
"""

from __future__ import annotations

import io
import json
import os
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from doubles.account import Account
from doubles.set_up import READS, World

import deploy_aws
from aws.config import RESULTS, SERVING, TRAINING, to_iso
from aws.journal import Attempt, Journal, Record
from aws.sessions import Sessions
from aws.storage import S3Store
from config import PROJECT_FOLDER
from utils.command_line import run_command
from utils.registry import Registry
from utils.terminal import Terminal

HOME, FAR = "us-east-1", "eu-west-1"
OPEN_TO = "203.0.113.7/32"
RUN, OTHER, PAGE = "llama-20261121-060000-3f2a", "qwen-20261121-070000-0001", "app-20261121-080000-00aa"
HOUR = timedelta(hours=1)
HEADER = b'{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'
WEIGHTS = len(HEADER).to_bytes(8, "little") + HEADER + bytes(4)  # a safetensors file with one tensor
# What a command asks for does not change anything, whatever it is called.
HARMLESS = (*READS, "Simulate")


make_session = boto3.session.Session


def open_session(profile_name: str | None = None, region_name: str | None = None, botocore_session: Any = None) -> Any:
    """One for all tests, where the credentials are the usual ones: to make it anew is most of a command's time."""
    if profile_name or "AWS_ACCESS_KEY_ID" not in os.environ:
        return make_session(profile_name=profile_name, region_name=region_name, botocore_session=botocore_session)
    kind = "as the program has it" if botocore_session else f"in {region_name}"
    if kind not in _shared_ones:
        keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
        _shared_ones[kind] = make_session(region_name=region_name, botocore_session=botocore_session, **keys)
    return _shared_ones[kind]


_shared_ones: dict[str, Any] = {}


@dataclass(frozen=True)
class Done:
    """What came of a command. ``changes``: the calls that changed something in the account."""

    code: int
    out: str
    err: str
    changes: list[str]

    @property
    def json(self) -> Any:
        """Standard output, all of it, as JSON."""
        return json.loads(self.out)


@dataclass
class Console:
    account: Account
    folder: Path
    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch
    config: Path = field(init=False)
    world: World = field(init=False)

    def __post_init__(self) -> None:
        self.world = World(self.account, self.folder)
        self.config = self.folder / "settings.yaml"
        self.config.write_text((PROJECT_FOLDER / "aws_config.yaml").read_text(encoding="utf-8"), encoding="utf-8")
        self.monkeypatch.setenv("STRANGER_AWS__KEY_FILE", str(self.world.names.settings.key_file))
        self.monkeypatch.setenv("STRANGER_AWS__OPEN_TO", OPEN_TO)
        self.monkeypatch.setattr(Sessions, "regions", lambda sessions: [HOME, FAR])
        self.monkeypatch.setattr("boto3.session.Session", open_session)

    def __call__(self, *words: str | Path) -> Done:
        """Type ``python deploy_aws.py WORDS``."""
        self.capsys.readouterr()
        before = len(self.account.calls)
        given = [str(word) for word in words]
        try:
            code = run_command(deploy_aws.main, [*given[:1], "--config", str(self.config), *given[1:]])
        except SystemExit as ended:
            code = int(ended.code or 0)
        told = self.capsys.readouterr()
        return Done(code, told.out, told.err, changing(self.account, before))

    def answers(self, *lines: str) -> None:
        """Somebody sits at the terminal and types these lines."""
        self.monkeypatch.setattr(Terminal, "is_interactive", property(lambda terminal: True))
        self.monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))

    # the account

    @property
    def store(self) -> S3Store:
        return S3Store(self.world.names.bucket_url, HOME)

    @property
    def journal(self) -> Journal:
        return Journal(self.store)

    @property
    def registry(self) -> Registry:
        return Registry(self.store)

    def set_up(self, series: Path | None = None) -> None:
        """What init, and with a series upload-data, would have made."""
        self.world.init()
        if series:
            from aws.data.training_data import plan_upload, upload

            upload(plan_upload(series, self.store))

    def launch(
        self, run: str = RUN, *, hours: float | None = 4, purpose: str = TRAINING, region: str = HOME, kind: str = ""
    ) -> str:
        """An instance that has been there for no time, and has so many hours to live."""
        names, ec2 = self.world.names, self.world.sessions.client("ec2", region)
        if region != HOME:
            self.account.add_images(region)
        deadline = datetime.now(UTC) + hours * HOUR if hours is not None else None
        tags = [{"Key": key, "Value": value} for key, value in names.tags(purpose, run=run, deadline=deadline).items()]
        reply = ec2.run_instances(
            ImageId=ec2.describe_images()["Images"][-1]["ImageId"],
            InstanceType=kind or ("t3.medium" if purpose == SERVING else "g4dn.xlarge"),
            MinCount=1,
            MaxCount=1,
            TagSpecifications=[{"ResourceType": "instance", "Tags": tags}],
        )
        return str(reply["Instances"][0]["InstanceId"])

    def begin(self, run: str, *instances: str, region: str = HOME, **changes: Any) -> Record:
        """An open run with these machines, each with its work."""
        at = to_iso(datetime.now(UTC) - HOUR)
        attempts = tuple(
            Attempt(number, region, at=at, instance=each, price_usd_per_hour=0.5, handed_over=True, user="ubuntu")
            for number, each in enumerate(instances, 1)
        )
        family = run.partition("-")[0]
        job = {"log_key": f"logs/{family}/{run}.log", "command": ["training_pipeline.py", "train", family]}
        deadline = to_iso(datetime.now(UTC) + 4 * HOUR)
        usual = Record(run, TRAINING, "words", "ann@desk", at, deadline, job, attempts=attempts)
        return self.journal.begin(replace(usual, **changes))

    def save(self, run: str, what: str, **content: Any) -> None:
        """What the machine of a run has saved: its ``state`` or its ``exit``."""
        self.store.put(f"{RESULTS}/{run}/{what}.json", json.dumps(content).encode())

    def publish(self, *versions: str, base: str = "HuggingFaceTB/SmolLM2-135M-Instruct") -> None:
        """Versions of llama in the bucket, the last of them the latest."""
        about = {"seed": 7, "title": "The Slow Clock", "characters": ["Ada"], "base": {"kind": "hub", "name": base}}
        for version in versions:
            folder = self.folder / version
            folder.mkdir()
            (folder / "adapter_model.safetensors").write_bytes(WEIGHTS)
            (folder / "adapter_config.json").write_text('{"r": 16}')
            (folder / "run.json").write_text(json.dumps(about))
            self.registry.publish("llama", folder, version=version, actor="ann@desk")


def changing(account: Account, before: int = 0) -> list[str]:
    """The calls that changed something; a launch that is only asked about (DryRun) does not."""
    return [
        each.operation
        for each in account.calls[before:]
        if not each.operation.startswith(HARMLESS) and each.parameters.get("DryRun") != "true"
    ]
