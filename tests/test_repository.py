"""The repository: pinned versions, nothing private in it, and a README whose commands exist."""

from __future__ import annotations

import ast
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
FOLDERS = (
    "utils",
    "aws",
    "character_chatbot",
    "theme_classifier",
    "character_network",
    "text_classification",
    "dashboard",
    "scripts",
)


def requirements(name: str) -> list[str]:
    lines = (line.partition("#")[0].strip() for line in (PROJECT / name).read_text(encoding="utf-8").splitlines())
    return [line for line in lines if line]


def documents() -> list[Path]:
    return [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]


def code(document: Path) -> str:
    """Fenced blocks and code spans of a document, one command a line."""
    text = document.read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    return "\n".join([*blocks, *spans]).replace("\\\n", " ")


# Versions


@pytest.mark.parametrize(
    "name", ["requirements.txt", "requirements-dev.txt", "requirements-gpu.txt", "requirements-ray.txt"]
)
def test_every_version_is_pinned(name: str) -> None:
    lines = [line for line in requirements(name) if line != "-r requirements.txt"]
    assert len(lines) > (5 if name in ("requirements.txt", "requirements-dev.txt") else 0)
    assert [line for line in lines if not re.fullmatch(r"[A-Za-z0-9_.-]+(\[[\w,]+\])?==[0-9][\w.]*", line)] == []
    packages = [re.split(r"[\[=]", line)[0].lower() for line in lines]
    assert len(set(packages)) == len(packages)


def test_torch_is_the_version_it_was_run_with() -> None:
    assert "torch==2.13.0" in requirements("requirements.txt")


def test_development_builds_on_the_same_versions() -> None:
    assert "-r requirements.txt" in (PROJECT / "requirements-dev.txt").read_text(encoding="utf-8").splitlines()


OPTIONAL = {"spacy", "gliclass", "ray"}  # whoever wants them is told how to have them


def test_whatever_the_product_imports_is_pinned() -> None:
    """Not only what brings it along: another version of that may bring another one, or none."""
    files = [*PROJECT.glob("*.py"), *(file for folder in FOLDERS for file in (PROJECT / folder).rglob("*.py"))]
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in files]
    names = {
        alias.name for tree in trees for each in ast.walk(tree) if isinstance(each, ast.Import) for alias in each.names
    }
    names |= {each.module or "" for tree in trees for each in ast.walk(tree) if isinstance(each, ast.ImportFrom)}
    own = {*FOLDERS, *(file.stem for file in PROJECT.glob("*.py")), ""}
    packages = {name.partition(".")[0] for name in names} - own - sys.stdlib_module_names - OPTIONAL
    pinned = {re.split(r"[\[=]", line)[0].lower().replace("_", "-") for line in requirements("requirements.txt")}
    sources = packages_distributions()
    assert {name for name in packages if not {_plain(each) for each in sources.get(name, [name])} & pinned} == set()
    assert {"torch", "numpy", "yaml", "fastapi"} <= packages


def _plain(name: str) -> str:
    return name.lower().replace("_", "-")


# What git may have


@pytest.fixture(scope="module")
def ignored(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Which of these paths the project's .gitignore keeps out: asked in an empty repository."""
    folder = tmp_path_factory.mktemp("repository")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    shutil.copy(PROJECT / ".gitignore", folder)
    options = {"cwd": folder, "env": environment, "text": True, "capture_output": True}
    subprocess.run(["git", "init", "--quiet"], check=True, **options)  # type: ignore[call-overload]
    command = ["git", "check-ignore", "--stdin"]
    done = subprocess.run(command, input="\n".join([*PRIVATE, *PUBLIC]), check=False, **options)  # type: ignore[call-overload]
    return set(done.stdout.splitlines())


PRIVATE = (
    ".env",
    "data/transcripts/S01E01.csv",
    "data/transcripts/season 1/S01E01.csv",
    "data/subtitles/S01E01.srt",
    "runs/registry/models/trained/llama/latest.json",
    "logs/training_pipeline.log",
    "results/themes/lines.csv",
    ".venv/bin/python",
    "utils/__pycache__/errors.cpython-311.pyc",
)
PUBLIC = (
    ".env.example",
    "config.py",
    "data/transcripts/README.md",
    "data/subtitles/README.md",
    "data/characters.jsonl",
    "data/sample_series/transcripts/S01E01.csv",
    "data/sample_series/subtitles/S01E01.srt",
)


@pytest.mark.parametrize("path", PRIVATE)
def test_what_is_private_stays_out_of_git(ignored: set[str], path: str) -> None:
    assert path in ignored


@pytest.mark.parametrize("path", PUBLIC)
def test_what_belongs_to_the_project_is_kept(ignored: set[str], path: str) -> None:
    assert path not in ignored
    assert (PROJECT / path).is_file()


# Documents


def make_targets() -> set[str]:
    text = (PROJECT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z][\w-]*):", text, re.MULTILINE))


def test_there_are_targets_and_each_is_declared() -> None:
    assert {"setup", "demo", "test", "lint"} <= make_targets()
    phony = re.findall(r"^\.PHONY:(.*)$", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert set(" ".join(phony).split()) == make_targets()


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "LICENSE"])
def test_the_document_is_there(name: str) -> None:
    assert len((PROJECT / name).read_text(encoding="utf-8")) > 200


def test_every_make_target_of_the_documents_exists() -> None:
    named = {name for file in documents() for name in re.findall(r"\bmake ([a-z][\w-]*)", code(file))}
    assert "demo" in named
    assert named - make_targets() == set()


def test_every_program_of_the_documents_exists() -> None:
    named = {name for file in documents() for name in re.findall(r"\bpython3? ([\w/]+\.py)\b", code(file))}
    assert "training_pipeline.py" in named
    assert [name for name in sorted(named) if not (PROJECT / name).is_file()] == []


@pytest.mark.parametrize("program", ["training_pipeline", "deploy_aws"])
def test_every_command_of_the_documents_is_understood(program: str) -> None:
    build_parser = importlib.import_module(program).build_parser
    found = [
        words
        for file in documents()
        for words in re.findall(rf"\bpython3? {program}\.py +([^\n#|>&]*)", code(file))
        if words.strip() and "…" not in words and "..." not in words
    ]
    assert len(found) > 5
    for words in found:
        try:
            build_parser().parse_args(shlex.split(words))
        except SystemExit as ended:
            assert ended.code == 0, f"python {program}.py {words}"


def test_every_command_of_deploy_aws_is_in_its_document() -> None:
    import deploy_aws

    text = (PROJECT / "docs" / "aws.md").read_text(encoding="utf-8")
    (subparsers,) = [each for each in deploy_aws.build_parser()._actions if isinstance(each.choices, dict)]
    assert len(subparsers.choices) >= 13
    assert [name for name in subparsers.choices if not re.search(rf"[ `]{name}[ `\n]", text)] == []


def test_the_document_lists_the_actions_that_have_no_narrower_form() -> None:
    from aws.account.policies import NO_NARROWER_FORM

    text = (PROJECT / "docs" / "aws.md").read_text(encoding="utf-8")
    table = text.partition("<!-- no-narrower-form -->")[2].partition("<!-- end -->")[0]
    assert dict(re.findall(r"^\| `([\w:]+)` \| (.+) \|$", table, re.MULTILINE)) == dict(NO_NARROWER_FORM)


def test_links_of_the_documents_lead_to_files() -> None:
    for file in documents():
        for link in re.findall(r"\]\(([^)#\s]+)", file.read_text(encoding="utf-8")):
            if not link.startswith(("http://", "https://", "mailto:")):
                assert (file.parent / link).exists(), f"{file.name}: {link}"


# Code


def test_every_python_file_says_what_it_is() -> None:
    files = [*PROJECT.glob("*.py"), *(PROJECT / "tests").glob("*.py")]
    files += [file for folder in FOLDERS for file in (PROJECT / folder).rglob("*.py")]
    assert len(files) > 40
    silent = [file for file in files if not ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))]
    assert silent == []
