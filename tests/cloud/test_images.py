"""The image: pinned, by parameter, by name; and who logs in."""

from __future__ import annotations

import pytest
from doubles.account import Account

from aws.errors import CredentialsError, ImageError
from aws.machines.images import login_user, resolve_image
from aws.sessions import Sessions
from config import AwsSettings


def test_training_takes_the_newest_base_image(account: Account, sessions: Sessions) -> None:
    image = resolve_image(sessions, "training")
    assert image.id == account.image("Ubuntu 24.04) 20261106")
    assert (image.user, image.root_device, image.minimum_gb) == ("ubuntu", "/dev/sda1", 65)
    assert "base-oss-nvidia-driver-gpu-ubuntu-24.04" in image.origin


def test_training_goes_down_the_list(account: Account, sessions: Sessions) -> None:
    account.forget_parameter("ubuntu-24.04")
    assert "Base OSS Nvidia Driver GPU AMI (Ubuntu 22.04)" in resolve_image(sessions, "training").name
    account.forget_parameter("base-oss")
    assert "PyTorch 2.7" in resolve_image(sessions, "training").name


def test_serving_takes_ubuntu(sessions: Sessions) -> None:
    image = resolve_image(sessions, "serving")
    assert image.name.startswith("ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-amd64-server")
    assert (image.user, image.minimum_gb) == ("ubuntu", 8)


@pytest.mark.parametrize(
    ("purpose", "part"), [("training", "Nvidia Driver GPU AMI (Ubuntu 24.04)"), ("serving", "noble")]
)
def test_without_parameters_the_newest_by_name(account: Account, purpose: str, part: str) -> None:
    account.add_images("eu-west-1", parameters=False)
    image = resolve_image(Sessions(AwsSettings(region="eu-west-1")), purpose)
    assert part in image.name
    assert "named" in image.origin


def test_denied_parameters_do_not_matter(account: Account, sessions: Sessions) -> None:
    account.fail("GetParameter", "AccessDeniedException", times=9)
    assert "named" in resolve_image(sessions, "training").origin


def test_no_image_at_all(account: Account) -> None:
    with pytest.raises(ImageError, match="STRANGER_AWS__TRAINING__IMAGE=ami-"):
        resolve_image(Sessions(AwsSettings(region="eu-west-1")), "training")


def test_pin_is_taken_as_it_is(account: Account, sessions: Sessions) -> None:
    image = resolve_image(sessions, "training", account.image("noble"))
    assert image.id == account.image("noble")
    assert image.origin == "pinned in the settings"
    assert not account.calls_of("GetParameter")


def test_wrong_pin(sessions: Sessions) -> None:
    with pytest.raises(ImageError, match="ami-0c02fb55956c7d316"):
        resolve_image(sessions, "training", "ami-0c02fb55956c7d316")


def test_pin_that_was_withdrawn(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions.client("ec2"), "describe_images", lambda **_: {"Images": []})
    with pytest.raises(ImageError, match="no image ami-12345678"):
        resolve_image(sessions, "training", "ami-12345678")


def test_pin_for_another_processor(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    image = {"ImageId": "ami-12345678", "Architecture": "arm64"}
    monkeypatch.setattr(sessions.client("ec2"), "describe_images", lambda **_: {"Images": [image]})
    with pytest.raises(ImageError, match="arm64"):
        resolve_image(sessions, "training", "ami-12345678")


def test_bad_credentials_are_not_taken_for_a_missing_image(account: Account, sessions: Sessions) -> None:
    account.fail("GetParameter", "ExpiredTokenException", times=9)
    with pytest.raises(CredentialsError):
        resolve_image(sessions, "training")


@pytest.mark.parametrize(
    ("name", "user"),
    [
        ("Deep Learning Base OSS Nvidia Driver GPU AMI (Ubuntu 22.04) 20261106", "ubuntu"),
        ("ubuntu/images/hvm-ssd/ubuntu-jammy-22.04-amd64-server-20261015", "ubuntu"),
        ("amzn2-ami-hvm-2.0.20220121.0-x86_64-gp2", "ec2-user"),
        ("al2023-ami-2023.9.20261027.0-kernel-6.1-x86_64", "ec2-user"),
        ("Deep Learning Base OSS Nvidia Driver GPU AMI (Amazon Linux 2023) 20261106", "ec2-user"),
        ("debian-12-amd64-20261103-2286", "admin"),
        ("my-own-image", "ec2-user"),
    ],
)
def test_who_logs_in(name: str, user: str) -> None:
    assert login_user(name) == user
