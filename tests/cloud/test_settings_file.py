"""aws_config.yaml is changed where it must be, and nowhere else."""

from __future__ import annotations

import difflib
import shutil
from pathlib import Path

import pytest

from aws.account.settings_file import update_settings
from config import ConfigError, load_settings

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "aws_config.yaml"


def difference(before: str, after: str) -> list[str]:
    lines = difflib.unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    return [line for line in lines if not line.startswith(("---", "+++", "@@"))]


def test_the_projects_own_file_keeps_every_comment(file: Path) -> None:
    shutil.copy(PROJECT / "aws_config.yaml", file)
    before = file.read_text()
    values = {
        "aws.region": "eu-west-1", "aws.bucket": "my-bucket", "aws.open_to": ("203.0.113.7/32", "192.0.2.0/24"),
        "aws.serving.port": 8080, "training.epochs": 2.5,
    }  # fmt: skip
    assert update_settings(file, values) is True
    assert difference(before, file.read_text()) == [
        "-  epochs: 3",
        "+  epochs: 2.5",
        "-  region: us-east-1",
        "+  region: eu-west-1",
        "+  bucket: my-bucket",
        "+  open_to: [203.0.113.7/32, 192.0.2.0/24]",
        "+  serving:",
        "+    port: 8080",
    ]
    settings = load_settings(file, environment={})
    assert settings.aws.open_to == ("203.0.113.7/32", "192.0.2.0/24")
    assert (settings.aws.bucket, settings.aws.serving.port, settings.training.epochs) == ("my-bucket", 8080, 2.5)


def test_what_is_there_already_is_not_written_again(file: Path) -> None:
    file.write_text(
        'aws:   {region:   us-east-1, open_to: ["192.0.2.0/24"]}   # odd, and mine\ntraining:\n  epochs: 3\n'
    )
    before, changed = file.read_bytes(), file.stat().st_mtime_ns
    values = {"aws.region": "us-east-1", "aws.open_to": ("192.0.2.0/24",), "training.epochs": 3.0}
    assert update_settings(file, values) is False
    assert (file.read_bytes(), file.stat().st_mtime_ns) == (before, changed)


def test_a_missing_file_is_made(file: Path) -> None:
    assert update_settings(file, {"aws.region": "eu-west-1"}) is True
    assert file.read_text() == "aws:\n  region: eu-west-1\n"


@pytest.mark.parametrize(
    "before", ["", "aws:\n", "# of mine\n", "aws:\n  # one\n  # two\nchat:\n  max_new_tokens: 9\n", "---\naws: {}\n"]
)
def test_sections_are_made_and_comments_stay(file: Path, before: str) -> None:
    file.write_text(before)
    update_settings(file, {"aws.training.image": "ami-1", "aws.region": "eu-west-1"})
    after = file.read_text()
    settings = load_settings(file, environment={})
    assert (settings.aws.training.image, settings.aws.region) == ("ami-1", "eu-west-1")
    assert [line for line in before.splitlines() if "#" in line and line not in after] == []


@pytest.mark.parametrize("text", ["no", "1e3", "0x10", "null", "a: b", "- x", "12:30:45", "", "'quoted'", "a # b", "~"])
def test_a_text_stays_a_text(file: Path, text: str) -> None:
    update_settings(file, {"aws.key_name": text})
    assert load_settings(file, environment={}).aws.key_name == text
    assert update_settings(file, {"aws.key_name": text}) is False


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("aws:\n  region: us-east-1\n bad: [\n", r"line [34]"),
        ("aws:\n  region: a\n  region: b\n", "line 3"),
        ("aws:\n\tregion: a\n", "line 2"),
    ],
)
def test_broken_yaml_names_its_line_and_is_left_alone(file: Path, content: str, match: str) -> None:
    file.write_text(content)
    with pytest.raises(ConfigError, match=match) as caught:
        update_settings(file, {"aws.region": "eu-west-1"})
    assert "bad: [" not in str(caught.value)
    assert file.read_text() == content


@pytest.mark.parametrize("content", ["- a\n- b\n", "just text\n"])
def test_a_file_without_sections_is_refused(file: Path, content: str) -> None:
    file.write_text(content)
    with pytest.raises(ConfigError, match="no sections"):
        update_settings(file, {"aws.region": "eu-west-1"})


def test_a_key_below_a_value_is_refused(file: Path) -> None:
    file.write_text("aws: 5\n")
    with pytest.raises(ConfigError, match=r"aws is 5, and aws\.region belongs below it"):
        update_settings(file, {"aws.region": "eu-west-1"})
    assert file.read_text() == "aws: 5\n"


def test_a_file_that_is_not_text_is_refused(file: Path) -> None:
    file.write_bytes(b"aws: \xff\n")
    with pytest.raises(ConfigError, match="not UTF-8"):
        update_settings(file, {"aws.region": "eu-west-1"})


def test_secrets_are_refused(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"\.env") as caught:
        update_settings(file, {"secrets.hf_token": "hf_verysecret"})
    assert "hf_verysecret" not in str(caught.value)
    assert not file.exists()


def test_a_link_and_windows_lines_stay(file: Path, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles" / "aws_config.yaml"
    real.parent.mkdir()
    real.write_bytes(b"aws:\r\n  region: us-east-1 # here\r\n")
    file.symlink_to(real)
    update_settings(file, {"aws.region": "eu-west-1"})
    assert file.is_symlink()
    assert real.read_bytes() == b"aws:\r\n  region: eu-west-1 # here\r\n"


def test_a_path_is_written_as_text(file: Path) -> None:
    update_settings(file, {"aws.key_file": Path("~/.ssh/mine.pem")})
    assert load_settings(file, environment={}).aws.key_file == Path("~/.ssh/mine.pem")
