"""Imports point down only, and functions stay short: read from the source, nothing is run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
SUBJECTS = ("character_chatbot", "theme_classifier", "character_network", "text_classification")
LAYERS = {"config": 0, "utils": 1, **dict.fromkeys(SUBJECTS, 2), "aws": 3, "dashboard": 3}
ENTRY = 4
ENTRIES = ("deploy_aws", "gradio_app", "training_pipeline", "scripts")
AWS_MAY_IMPORT = ("utils", "config", "aws")
NOT_IN_UTILS = ("torch", "transformers", "boto3", "gradio", "spacy")
LONGEST_FUNCTION_LINES = 80


def source_files(root: Path) -> Iterator[Path]:
    """The Python files of the project itself: entries, layers, and whatever else lies at the top."""
    yield from sorted(root.glob("*.py"))
    for name in (*LAYERS, "scripts"):
        yield from sorted((root / name).rglob("*.py"))


def imports(file: Path, root: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of every import, wherever in the file it stands."""
    package = file.relative_to(root).parts[:-1]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package[: len(package) + 1 - node.level] if node.level else ()
            start = [*parts, *([node.module] if node.module else [])]
            names = [".".join(start)] if start else [alias.name for alias in node.names]
            yield from ((node.lineno, name) for name in names)
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in {"import_module", "__import__"}:
                yield node.lineno, str(node.args[0].value)


def faults(root: Path) -> list[str]:
    """Imports that point up or sideways, and files without a layer."""
    found = []
    for file in source_files(root):
        here = file.relative_to(root).parts[0].removesuffix(".py")
        layer = ENTRY if here in ENTRIES else LAYERS.get(here)
        if layer is None:
            found.append(f"{file.relative_to(root)}: in no layer")
            continue
        for line, name in imports(file, root):
            why = _fault(here, layer, name.partition(".")[0])
            if why:
                found.append(f"{file.relative_to(root)}:{line}: imports {name}: {why}")
    return found


def _fault(here: str, layer: int, there: str) -> str:
    """Why ``here`` must not import ``there``; empty if it may."""
    if there in ENTRIES:
        return "nobody imports an entry"
    if here == "utils" and there in NOT_IN_UTILS:
        return "too heavy for utils"
    if there not in LAYERS or here == there:
        return ""
    if here == "aws":
        return "" if there in AWS_MAY_IMPORT else "aws imports utils and config only"
    if LAYERS[there] == layer:
        return "sideways"
    return "upward" if LAYERS[there] > layer else ""


def test_imports_point_down_only() -> None:
    assert faults(PROJECT) == []


def test_there_is_something_to_look_at() -> None:
    seen = {file.relative_to(PROJECT).parts[0] for file in source_files(PROJECT)}
    assert {"config.py", "training_pipeline.py", "utils", "character_chatbot", "aws", "scripts"} <= seen
    found = {name for _, name in imports(PROJECT / "training_pipeline.py", PROJECT)}
    assert {"config", "utils.command_line", "character_chatbot.training.run", "aws.storage", "argparse"} <= found


@pytest.mark.parametrize(
    ("file", "text", "fault"),
    [
        ("utils/a.py", "import aws.storage", "utils/a.py:1: imports aws.storage: upward"),
        ("utils/a.py", "import json, character_chatbot", "utils/a.py:1: imports character_chatbot: upward"),
        ("utils/a.py", "def f():\n    from torch import nn", "utils/a.py:2: imports torch: too heavy for utils"),
        ("utils/a.py", "from gradio.blocks import Blocks", "utils/a.py:1: imports gradio.blocks: too heavy for utils"),
        ("config.py", "from utils.errors import x", "config.py:1: imports utils.errors: upward"),
        (
            "character_chatbot/deep/a.py",
            "if TYPE_CHECKING:\n    from theme_classifier import x",
            "character_chatbot/deep/a.py:2: imports theme_classifier: sideways",
        ),
        (
            "character_network/a.py",
            "import importlib\nimportlib.import_module('aws.storage')",
            "character_network/a.py:2: imports aws.storage: upward",
        ),
        ("character_network/a.py", "from .. import aws", "character_network/a.py:1: imports aws: upward"),
        (
            "aws/a.py",
            "from character_chatbot import run",
            "aws/a.py:1: imports character_chatbot: aws imports utils and config only",
        ),
        (
            "scripts/a.py",
            "import training_pipeline",
            "scripts/a.py:1: imports training_pipeline: nobody imports an entry",
        ),
        ("aws/a.py", "from scripts.demo import run", "aws/a.py:1: imports scripts.demo: nobody imports an entry"),
        ("extra.py", "import json", "extra.py: in no layer"),
    ],
)
def test_a_wrong_import_is_found(tmp_path: Path, file: str, text: str, fault: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_text(text)
    assert faults(tmp_path) == [fault]


def test_a_right_import_is_no_fault(tmp_path: Path) -> None:
    for file, text in {
        "config.py": "import os",
        "utils/a.py": "import pandas\nfrom config import x\nfrom utils.b import y\nfrom . import b\nfrom .c import d",
        "character_chatbot/a.py": "import torch\nfrom utils import x\nfrom character_chatbot.b import y",
        "aws/a.py": "import boto3\nfrom utils.b import y\nimport config",
        "training_pipeline.py": "import config, utils.x, aws.storage\nfrom theme_classifier import y",
        "scripts/a.py": "from character_chatbot.bases import x",
    }.items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)
    assert faults(tmp_path) == []


def long_functions(root: Path) -> list[str]:
    return [
        f"{file.relative_to(root)}:{node.lineno}: {node.name} has {node.end_lineno - node.lineno + 1} lines"
        for file in source_files(root)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno
        and node.end_lineno - node.lineno + 1 > LONGEST_FUNCTION_LINES
    ]


def test_no_function_is_long() -> None:
    assert long_functions(PROJECT) == []


def test_a_long_function_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("class A:\n    async def f(self):\n" + "        x = 1\n" * LONGEST_FUNCTION_LINES)
    (tmp_path / "b.py").write_text("def g():\n" + "    x = 1\n" * (LONGEST_FUNCTION_LINES - 1))
    assert long_functions(tmp_path) == ["a.py:2: f has 81 lines"]
