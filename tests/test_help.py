"""--help answers at once: nothing heavy is imported for it."""

from __future__ import annotations

import ast
import resource
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "transformers", "spacy", "gradio", "boto3", "botocore", "paramiko", "ruamel", "pandas")
WITH_SUBCOMMANDS = ("training_pipeline.py", "deploy_aws.py")
LONGEST_SECONDS = 0.5
TRIES = 3

# Runs a program as its own main module and says on standard error what it has imported.
WRAPPER = """
import runpy, sys
sys.argv = sys.argv[1:]
sys.path[0] = sys.argv[0].rpartition("/")[0]  # as `python program.py` does
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    print("\\n".join(sys.modules), file=sys.stderr)
"""


def commands() -> list[tuple[str, ...]]:
    """Every entry point that exists, and each of its subcommands."""
    names = [name for name in ("training_pipeline.py", "gradio_app.py", "deploy_aws.py") if (PROJECT / name).exists()]
    scripts = [str(file.relative_to(PROJECT)) for file in sorted((PROJECT / "scripts").glob("*.py"))]
    programs = [(name,) for name in (*names, *scripts) if not name.endswith("__init__.py")]
    return [*programs, *((program, name) for program in WITH_SUBCOMMANDS for name in subcommands(program))]


def subcommands(program: str) -> list[str]:
    """The names in the calls of ``_add_command``: read, not imported."""
    tree = ast.parse((PROJECT / program).read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    return [ast.literal_eval(call.args[1]) for call in calls if call.func.id == "_add_command"]  # type: ignore[attr-defined]


def test_the_subcommands_are_found() -> None:
    assert {"data", "train", "models", "chat", "status", "settings"} <= set(subcommands("training_pipeline.py"))
    assert set(subcommands("deploy_aws.py")) == {
        "init", "upload-data", "train", "deploy-gradio", "status", "list-instances", "logs", "ssh", "cost",
        "terminate", "doctor", "destroy", "models",
    }  # fmt: skip


def cpu_seconds() -> float:
    """Of all programs that were started here and have ended; how busy the machine is makes no difference."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_help_is_helpful_quick_and_imports_nothing_heavy(command: tuple[str, ...]) -> None:
    words = [sys.executable, "-c", WRAPPER, str(PROJECT / command[0]), *command[1:], "--help"]
    seconds = []
    while len(seconds) < TRIES and min(seconds, default=LONGEST_SECONDS) >= LONGEST_SECONDS:
        before = cpu_seconds()
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
        seconds.append(cpu_seconds() - before)
    imported = done.stderr.split()
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: ")
    assert "argparse" in imported  # the list is there
    assert [name for name in HEAVY if name in imported] == []
    assert min(seconds) < LONGEST_SECONDS
