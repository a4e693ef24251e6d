"""Logging in with the system's ssh: which machine, which key, whose host key."""

from __future__ import annotations

from pathlib import Path

import pytest
from doubles.console import FAR, RUN, Console

from aws.cloud import Cloud, open_cloud
from aws.errors import PlaceError
from aws.machines.login import build_login
from config import load_settings

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43
KEYS = f"-----BEGIN SSH HOST KEY KEYS-----\n{KEY} root@ip\n-----END SSH HOST KEY KEYS-----\n"


@pytest.fixture
def cloud(console: Console, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    console.set_up()
    return open_cloud(load_settings(console.config))


def test_a_machine_that_the_journal_does_not_know_tells_its_host_key_on_its_console(
    console: Console, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    instance = console.launch("", region=FAR)
    monkeypatch.setattr("aws.ec2_manager.EC2Manager.console", lambda manager, wanted: KEYS)
    with build_login(cloud, instance) as words:
        known = next(word for word in words if word.startswith("UserKnownHostsFile="))
        assert Path(known.partition("=")[2]).read_text().split()[1:] == KEY.split()
    assert words[-1] == f"ubuntu@{console.account.instance(instance, FAR).public_ip}"


def test_without_host_keys_nobody_is_let_near(console: Console, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    instance = console.launch("")
    monkeypatch.setattr("aws.ec2_manager.EC2Manager.console", lambda manager, wanted: "booting")
    with pytest.raises(PlaceError, match="shows no SSH host keys yet"), build_login(cloud, instance):
        pass


def test_another_port_is_in_the_name_of_the_host(
    console: Console, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRANGER_AWS__SSH_PORT", "2222")
    instance = console.launch(RUN)
    console.begin(RUN, instance)
    console.journal.change_attempt(RUN, host_keys=("ssh-ed25519 AAAA",))
    with build_login(open_cloud(load_settings(console.config)), RUN) as words:
        known = next(word for word in words if word.startswith("UserKnownHostsFile="))
        address = console.account.instance(instance).public_ip
        assert Path(known.partition("=")[2]).read_text() == f"[{address}]:2222 ssh-ed25519 AAAA\n"
    assert words[words.index("-p") + 1] == "2222"


def test_without_ssh_it_says_what_to_install(console: Console, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(PlaceError, match="no ssh on this machine"), build_login(cloud, "i-1"):
        pass
