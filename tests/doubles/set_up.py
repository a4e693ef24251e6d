"""An account with what ``init`` makes in it, and the means to look at that."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
from doubles.account import ACCOUNT_NUMBER, Account

from aws.account.setup import SetUp, Step, find_security_group
from aws.config import Names
from aws.sessions import Sessions
from config import AwsSettings, Secret

HOME = "203.0.113.7"
TOKEN = Secret("hf_" + "a" * 30)
READS = ("Describe", "Get", "List", "Head")


@functools.cache
def shared_session() -> Any:
    """One for all tests: to read what the services are like takes longer than all that is done with them here."""
    return boto3.session.Session(aws_access_key_id="testing", aws_secret_access_key="testing")


class World:
    """An account, what init does in it, and what it is told."""

    def __init__(self, account: Account, folder: Path, **settings: Any) -> None:
        self.account = account
        settings = {"key_file": folder / "ssh" / "key.pem"} | settings
        self.names = Names(AwsSettings(**settings), ACCOUNT_NUMBER)
        self.sessions = Sessions(self.names.settings)
        self.sessions._session = shared_session()
        self.address = HOME
        self.slept: list[float] = []

    def init(self, **options: Any) -> list[Step]:
        set_up = SetUp(self.sessions, self.names, address=lambda: self.address, sleep=self.slept.append)
        return set_up.apply(**({"hf_token": TOKEN} | options))

    def with_settings(self, **settings: Any) -> World:
        other = World(self.account, Path(), **{**vars(self.names.settings), **settings})
        other.address = self.address
        return other

    def client(self, service: str) -> Any:
        return self.sessions.client(service)

    def changes(self, call: Callable[[], Any]) -> list[str]:
        """The operations that a call makes, but for those that only read."""
        before = len(self.account.calls)
        call()
        return [each.operation for each in self.account.calls[before:] if not each.operation.startswith(READS)]

    def open_to(self, purpose: str) -> set[tuple[int, str]]:
        group = find_security_group(self.sessions, self.names, purpose)
        found = self.client("ec2").describe_security_groups(GroupIds=[group])["SecurityGroups"][0]
        return {
            (permission["FromPort"], block["CidrIp"])
            for permission in found["IpPermissions"]
            for block in permission["IpRanges"]
        } | {
            (permission["FromPort"], block["CidrIpv6"])
            for permission in found["IpPermissions"]
            for block in permission["Ipv6Ranges"]
        }
