"""What all tests share: an environment of their own, the sample series, and tiny series to order."""

from __future__ import annotations

import gc
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

# huggingface_hub reads these once, when it is imported.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as utils/command_line.py does, before torch is imported
os.environ.pop("HF_TOKEN", None)
os.environ.pop("HF_ENDPOINT", None)

import pytest

# Some hundred programs are started, and all test modules rewritten: what is compiled is compiled once.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
gc.disable()  # until all is collected: the libraries make objects by the million, and none of them goes
YOUNG_OBJECTS = 50_000  # so many new ones make the collector look; with Python's 700 it takes a sixth of the time

PROJECT = Path(__file__).resolve().parent.parent
SAMPLE = PROJECT / "data" / "sample_series"

# An original scene, told once an episode with other words. Ada and Bo reply to each other; a voice is nobody.
SCENE = (
    ("Ada", "The clock in the {thing} stopped at noon, and nobody wound it."),
    ("Bo", "Then the {thing} wants a new spring, and I want my lunch."),
    ("Unknown", "Who left the {thing} open?"),
    ("ada lock", "I did, to let the {thing} breathe."),
    ("Bo", "A {thing} does not breathe, Ada."),
    ("Ada", "This {thing} snores, so it must breathe as well."),
)
THINGS = ("cupboard", "boathouse", "chimney", "wardrobe", "pantry", "tower", "cellar", "kiosk", "henhouse", "barn")
CHARACTERS = (
    {"name": "Ada", "aliases": ["Ada Lock", "Miss Lock"], "persona": "You are Ada, who mends clocks."},
    {"name": "Bo", "aliases": ["Bo Ferry"], "persona": "You are Bo, who is always hungry."},
)

MANY_MODULES = 100
known_modules: list[int] = []  # how many there were whenever the collector was told that they stay


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """What libraries have made stays: with all of them loaded, each full collection walks over it for half a second."""
    known_modules.append(len(sys.modules))
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS)
    gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """The same for what has been imported since, without what tests have left behind."""
    if len(sys.modules) > known_modules[-1] + MANY_MODULES:
        known_modules.append(len(sys.modules))
        gc.collect()
        gc.freeze()


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """No setting, secret or proxy from outside, no hub, no ``.env``; what is written goes into a folder of the test.

    The test runs in an empty working folder; the fixture is the folder in which ``runs``, ``logs`` and so on are made.
    """
    foreign = ("STRANGER_", "HF_", "HUGGING_FACE_", "TRANSFORMERS_", "AWS_", "PYTHONUNBUFFERED")
    for name in list(os.environ):
        if name.startswith(foreign) or name == "APP_PASSWORD" or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    folder = tmp_path_factory.mktemp("own")
    (folder / "working").mkdir()
    monkeypatch.chdir(folder / "working")
    for name in ("runs", "logs", "cache"):
        monkeypatch.setenv(f"STRANGER_PATHS__{name.upper()}", str(folder / name))
    monkeypatch.setenv("STRANGER_PATHS__REGISTRY", str(folder / "registry"))
    monkeypatch.setenv("HF_HOME", str(folder / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("NO_PROXY", "*")
    return folder


@pytest.fixture
def sample_series() -> Path:
    """The folder of the bundled sample series."""
    return SAMPLE


@pytest.fixture
def series_folder(tmp_path: Path) -> Callable[..., Path]:
    """Makes a tiny series: ``series_folder("name", episodes=3, scenes=2, files={"S09E01.csv": "name,line…"})``."""

    def make(name: str = "tiny", *, episodes: int = 3, scenes: int = 2, files: Mapping[str, str] | None = None) -> Path:
        folder = tmp_path / name
        (folder / "transcripts").mkdir(parents=True)
        (folder / "series.json").write_text(json.dumps({"title": "The Slow Clock"}), encoding="utf-8")
        rows = "\n".join(json.dumps(row) for row in CHARACTERS)
        (folder / "characters.jsonl").write_text(rows + "\n", encoding="utf-8")
        for episode in range(1, episodes + 1):
            text = transcript(
                f"{THINGS[(episode * scenes + scene) % len(THINGS)]} {episode}" for scene in range(scenes)
            )
            (folder / "transcripts" / f"S01E{episode:02d}.csv").write_text(text, encoding="utf-8")
        for file, content in (files or {}).items():
            (folder / "transcripts" / file).write_text(content, encoding="utf-8")
        return folder

    return make


def transcript(things: Iterable[str]) -> str:
    """The CSV text of one episode: the scene once for each thing."""
    rows = [
        f'{number},{speaker},"{line.format(thing=thing)}"'
        for number, thing in enumerate(things, 1)
        for speaker, line in SCENE
    ]
    return "\n".join(["scene,name,line", *rows]) + "\n"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A Chromium for the tests of a module, which are skipped where there is none."""
    from doubles.browsers import open_browser

    with open_browser() as found:
        yield found


@pytest.fixture
def run_program() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs ``python training_pipeline.py …`` (or another program of the project) to its end."""

    def run(
        *words: str | Path, program: str = "training_pipeline.py", **options: Any
    ) -> subprocess.CompletedProcess[str]:
        given: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        command = [sys.executable, str(PROJECT / program), *map(str, words)]
        return subprocess.run(command, text=True, timeout=60, check=False, **given | options)

    return run


@pytest.fixture
def start_program() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts ``python training_pipeline.py …`` with pipes; the test ends it. Ctrl-C reaches it in any shell."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str | Path) -> subprocess.Popen[str]:
        command = [sys.executable, str(PROJECT / "training_pipeline.py"), *map(str, words)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's "&" makes children ignore it
        try:
            process = subprocess.Popen(command, text=True, **pipes)
        finally:
            signal.signal(signal.SIGINT, before)
        started.append(process)
        return process

    yield start
    for process in started:
        with process:
            process.kill()


@pytest.fixture(scope="session")
def nano_tokenizers() -> dict[str, Any]:
    """A tokenizer for each family as the nano base has it, learnt from the tiny scene."""
    from character_chatbot.nano import FAMILIES, build_tokenizer
    from character_chatbot.prompts import Turn

    scene = [Turn(speaker, line.format(thing=thing)) for thing in THINGS for speaker, line in SCENE]
    return {name: build_tokenizer(family, [scene], 400) for name, family in FAMILIES.items()}


@pytest.fixture
def nano_folder(tmp_path: Path, nano_tokenizers: dict[str, Any]) -> Callable[..., Path]:
    """Saves an untrained model of a family with its tokenizer: ``nano_folder("qwen")``. Always the same weights."""
    import torch

    from character_chatbot.nano import build_model
    from config import NanoSettings

    def make(family: str = "llama", name: str = "base") -> Path:
        settings = NanoSettings(vocabulary=400, hidden_size=32, layers=1, heads=2)
        torch.manual_seed(11)  # of which held-out losses are known to rise again
        build_model(family, nano_tokenizers[family], settings).save_pretrained(tmp_path / name)
        nano_tokenizers[family].save_pretrained(tmp_path / name)
        return tmp_path / name

    return make
