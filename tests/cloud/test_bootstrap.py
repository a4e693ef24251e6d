"""The first step on an instance: any Python from 3.10 on, an environment, or a line that says why not."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from doubles.commands import Commands, system

from aws.instance import bootstrap

SCRIPT = Path(str(bootstrap.__file__))
JOB: dict[str, Any] = {"job": {"name": "run-1", "torch_index": "", "keep_on_failure": True}, "attempt": 2}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As SSH leaves it: code and job are there, the runner says how it was started."""
    folder = tmp_path / "stranger"
    (folder / "code" / "aws" / "instance").mkdir(parents=True)
    for package in ("aws", "aws/instance"):
        (folder / "code" / package / "__init__.py").touch()
    (folder / "code" / "aws" / "instance" / "runner.py").write_text(
        "import os, sys\nprint('runner', sys.argv[1], sys.prefix, os.getcwd(), os.environ['PYTHONPATH'])\n"
    )
    (folder / "code" / "requirements.txt").write_text("boto3==9.9  # what the runner needs\ntorch==2.13.0\n")
    (folder / "job.json").write_text(json.dumps(JOB))
    return folder


def make_wheel(folder: Path) -> Path:
    """A folder with a small boto3, as the wheelhouse of a machine without network."""
    (folder / "wheels").mkdir()
    with zipfile.ZipFile(folder / "wheels" / "boto3-9.9-py3-none-any.whl", "w") as wheel:
        wheel.writestr("boto3.py", "")
        wheel.writestr("boto3-9.9.dist-info/METADATA", "Metadata-Version: 2.1\nName: boto3\nVersion: 9.9\n")
        wheel.writestr("boto3-9.9.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("boto3-9.9.dist-info/RECORD", "")
    return folder / "wheels"


def start(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), str(folder)]
    environment = {**os.environ, "PIP_NO_INDEX": "1", **variables}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_it_is_python_3_10_of_the_standard_library() -> None:
    tree = ast.parse(SCRIPT.read_text(encoding="utf-8"), feature_version=(3, 10))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names
    assert not names & {"tomllib", "datetime"}  # new in 3.11, or with names that are


def test_no_module_beside_it_hides_one_of_the_standard_library() -> None:
    assert not {file.stem for file in SCRIPT.parent.glob("*.py")} & sys.stdlib_module_names


def test_an_environment_is_made_once_and_the_runner_started_in_it(folder: Path) -> None:
    name = bootstrap.venv_name(folder / "code" / "requirements.txt", "")
    wheels = make_wheel(folder.parent)
    first = start(folder, PIP_FIND_LINKS=str(wheels))
    code = folder / "code"
    assert f"runner {folder} {folder / name} {code} {code}" in first.stdout
    assert "making venv-" in first.stdout
    assert json.loads((folder / "state.json").read_text())["stage"] == "environment"
    second = start(folder)
    assert "runner" in second.stdout
    assert "making" not in second.stdout


def test_an_environment_that_is_half_made_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(bootstrap, "run", commands.append)
    (tmp_path / "venv-1" / "bin").mkdir(parents=True)
    (tmp_path / "venv-1" / "half").touch()
    bootstrap.make_venv(tmp_path / "venv-1")
    assert commands[0][1:] == ["-m", "venv", str(tmp_path / "venv-1")]
    assert not (tmp_path / "venv-1" / "half").exists()


def test_other_requirements_are_another_environment(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text("boto3==1\n")
    first = bootstrap.venv_name(file, "")
    assert bootstrap.venv_name(file, "https://example.org/cpu") != first
    file.write_text("boto3==2\n")
    assert bootstrap.venv_name(file, "") != first
    file.write_text("boto3==1\n")
    (tmp_path / "requirements-gpu.txt").write_text("bitsandbytes==1\n")
    assert bootstrap.venv_name(file, "") != first


def test_a_package_that_does_not_exist_is_an_end_with_its_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (folder / "code" / "requirements.txt").write_text("boto3==0.0.0.1  # there is none\ntorch==2.13.0\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    venv = folder / bootstrap.venv_name(folder / "code" / "requirements.txt", "")
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (venv / "bin" / "python").chmod(0o755)
    assert bootstrap.main(folder) == 78
    end = json.loads((folder / "exit.json").read_text())
    assert end["failing_line"] == "ERROR: No matching distribution found for boto3==0.0.0.1"
    assert (end["stage"], end["kept"], end["saved"], end["attempt"]) == ("failed", True, False, 2)
    assert "ERROR: No matching distribution" in (folder / "log").read_text()
    assert "installing boto3==0.0.0.1\n" in capfd.readouterr().out  # torch is the runner's


def test_what_was_said_comes_into_the_log(folder: Path) -> None:
    (folder / "bootstrap.log").write_text("all that was said\n")
    bootstrap.fail(folder, "why")
    assert (folder / "log").read_text() == "all that was said\n"


@pytest.mark.parametrize("content", ["", "{}", '{"job": 1}', "[]"])
def test_a_job_that_is_none_is_an_end(folder: Path, content: str) -> None:
    (folder / "job.json").write_text(content)
    assert start(folder).returncode == 78
    assert json.loads((folder / "exit.json").read_text())["stage"] == "failed"


# a system without a fitting Python


def python(version: str, ready: str) -> str:
    """The code of a Python that is new enough, or can make environments if ``ready``."""
    return f'case "$2" in *assert*) exit {version};; *ensurepip*) {ready};; *print*) echo python3.12;; esac\n'


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Commands:
    made = system(tmp_path)
    made.fake("sudo", 'shift 2\nexec "$@"\n')
    monkeypatch.setenv("PATH", f"{tmp_path / 'programs'}:{os.environ['PATH']}")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    for name in bootstrap.PYTHONS:
        made.fake(name, "exit 1\n")
    return made


def test_venv_is_installed_where_the_system_left_it_out(commands: Commands, tmp_path: Path) -> None:
    commands.fake("python3", python("0", f"test -e {tmp_path / 'installed'}; exit $?"))
    commands.fake("apt-get", f'case "$*" in *install*) touch {tmp_path / "installed"};; esac\n')
    assert bootstrap.find_python() == "python3"
    install = next(call for call in commands.calls() if call.startswith("apt-get") and "install" in call)
    assert install.endswith("python3.12-venv")
    assert "DPkg::Lock::Timeout=300" in install


def test_a_newer_python_is_installed_beside_an_old_one(commands: Commands) -> None:
    new = commands.folder / "programs" / "python3.11"
    commands.fake("new", python("0", "exit 0"))
    commands.fake(
        "apt-get", f'case "$*" in *python3.12*) exit 100;; *install*) mv {new.with_name("new")} {new};; esac\n'
    )
    assert bootstrap.find_python() == "python3.11"


def test_without_any_python_it_says_so(commands: Commands, capsys: pytest.CaptureFixture[str]) -> None:
    commands.fake("apt-get", "echo 'E: Unable to locate package'; exit 100\n")
    with pytest.raises(bootstrap.Failure, match=r"no Python 3\.11 to 3\.13"):
        bootstrap.find_python()
    assert "E: Unable to locate package" in capsys.readouterr().out
