"""The ladder: the highest source that can be had speaks, and each step down says why and what to do."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from aws.storage import open_registry
from character_chatbot.corpus import Corpus, load_corpus
from character_chatbot.nano import NanoRecipe, fetch_nano_base
from character_chatbot.sources import SourceFinder, announce_untrained
from character_chatbot.training.preparation import RunRequest
from character_chatbot.training.run import run_training
from config import Settings, load_settings
from utils.announcements import Announcements
from utils.errors import DataError, RegistryError

NANO = {"hidden_size": 32, "layers": 1, "heads": 2, "vocabulary": 400, "epochs": 1}


SAMPLE = Path(__file__).resolve().parent.parent / "data" / "sample_series"


def make_settings(changes: dict[str, object]) -> Settings:
    flags: dict[str, object] = {f"nano.{name}": value for name, value in NANO.items()}
    flags |= {"paths.data": str(SAMPLE), "evaluation.max_replies": 4, "training.max_steps": 1}
    return load_settings(flags=flags | changes)


@pytest.fixture
def settings() -> Settings:
    return make_settings({})


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return load_corpus(SAMPLE)


Find = Callable[..., SourceFinder]


@pytest.fixture
def finder(settings: Settings, corpus: Corpus) -> Find:
    def build(with_corpus: bool = True) -> SourceFinder:
        registry = open_registry(settings)
        return SourceFinder("llama", settings, registry, Announcements(), corpus if with_corpus else None, "no folder")

    return build


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A version on the nano base, and the folder with cache and registry as its training has left them."""
    folder = tmp_path_factory.mktemp("trained")
    settings = make_settings({f"paths.{name}": str(folder / name) for name in ("runs", "cache", "registry")})
    request = RunRequest("llama", ("Pip",), "nano", actor="test")
    return run_training(request, settings, open_registry(settings), Announcements()).version, folder


@pytest.fixture
def version(trained: tuple[str, Path], settings: Settings) -> str:
    """That version, in the registry of the test."""
    for name in ("cache", "registry"):
        shutil.copytree(trained[1] / name, Path(getattr(settings.paths, name)), dirs_exist_ok=True)
    return trained[0]


def test_nothing_there_ends_with_quotes_and_four_reasons(finder: Find) -> None:
    ladder = finder()
    source = ladder.find()
    assert source.rung == "quotes"
    wanted = [announcement.wanted for announcement in ladder.announcements]
    assert len(wanted) == 4
    assert all(announcement.got == source.label for announcement in ladder.announcements)
    assert next(iter(ladder.announcements)).remedy == "python training_pipeline.py train llama"


def test_nano_base_speaks_once_it_is_made(finder: Find, settings: Settings, corpus: Corpus) -> None:
    scenes = corpus.scenes(corpus.build_dialogues(settings).training_episodes)
    fetch_nano_base(NanoRecipe("llama", scenes, settings.nano, settings.training.seed), settings.paths.cache)
    source = finder().find()
    assert source.rung == "nano"
    assert "".join(source.engine("Pip").reply([{"role": "user", "content": "Ada: Hello."}], _sampling()))


def test_version_speaks_with_what_it_was_trained_with(finder: Find, version: str) -> None:
    ladder = finder()
    source = ladder.find()
    assert (source.rung, source.version, source.trained) == ("version", version, ("Pip",))
    assert source.characters[0] == "Pip"
    assert "Kit" in source.characters
    assert not len(ladder.announcements)
    announce_untrained(source, "Pip", ladder.announcements)
    assert not len(ladder.announcements)
    announce_untrained(source, "Kit", ladder.announcements)
    assert "has not learnt this character" in str(next(iter(ladder.announcements)))


@pytest.mark.usefixtures("version")
def test_version_needs_no_transcripts(finder: Find) -> None:
    source = finder(with_corpus=False).find()
    assert source.characters == ("Pip",)
    assert source.title == "The Pellan Light"
    assert source.cast.get("pippa").name == "Pip"


def test_version_on_the_nano_base_says_why(finder: Find, settings: Settings) -> None:
    registry = open_registry(settings)
    run_training(RunRequest("llama", ("Pip",), actor="test"), settings, registry, Announcements())
    ladder = finder()
    ladder.find()
    (announcement,) = ladder.announcements
    assert announcement.feature == "chat"  # so that the page shows it
    assert announcement.wanted == settings.families.llama.laptop
    assert announcement.why == "when it was trained, HF_HUB_OFFLINE is set"
    assert announcement.remedy == "python training_pipeline.py train llama"


def test_version_on_a_base_from_a_folder_speaks(finder: Find, settings: Settings, corpus: Corpus) -> None:
    scenes = corpus.scenes(corpus.build_dialogues(settings).training_episodes)
    base = fetch_nano_base(NanoRecipe("llama", scenes, settings.nano, 1), settings.paths.cache / "elsewhere")
    request = RunRequest("llama", ("Pip",), str(base), actor="test")
    run_training(request, settings, open_registry(settings), Announcements())
    source = finder().find()
    assert source.rung == "version"
    assert str(base) in source.label


def test_damaged_version_is_not_loaded_and_said(finder: Find, settings: Settings, version: str) -> None:
    adapter = Path(settings.paths.registry) / "models/trained/llama" / version / "adapter_model.safetensors"
    content = bytearray(adapter.read_bytes())
    content[-1] ^= 1
    adapter.write_bytes(content)
    ladder = finder()
    assert ladder.find().rung != "version"
    assert "adapter_model.safetensors" in next(iter(ladder.announcements)).why
    with pytest.raises(RegistryError, match="adapter_model"):
        finder().find(version=version)


def test_version_asked_for_by_name_is_not_stepped_down_from(finder: Find) -> None:
    with pytest.raises(RegistryError, match="no version of llama"):
        finder().find(version="20200101-000000")


def test_version_on_a_base_that_is_not_here_steps_down(finder: Find, settings: Settings, version: str) -> None:
    registry = open_registry(settings)
    folder = registry.fetch("llama", version, settings.paths.cache)
    copy = settings.paths.cache / "copy"
    copy.mkdir(parents=True)
    for file in folder.iterdir():
        if file.is_file() and file.name != "manifest.json":
            (copy / file.name).write_bytes(file.read_bytes())
    run = json.loads((copy / "run.json").read_text())
    run["base"] = {"kind": "hub", "name": "owner/nowhere"}
    (copy / "run.json").write_text(json.dumps(run))
    registry.publish("llama", copy, actor="test")
    ladder = finder()
    assert ladder.find().rung != "version"
    told = next(iter(ladder.announcements))
    assert "owner/nowhere is not on this machine, and HF_HUB_OFFLINE is set" in told.why
    assert told.remedy == "unset HF_HUB_OFFLINE"


def test_nobody_at_all_is_an_error(finder: Find) -> None:
    with pytest.raises(DataError, match="nobody can answer: no folder"):
        finder(with_corpus=False).find()


@pytest.mark.usefixtures("version")
def test_search_can_start_further_down(finder: Find) -> None:
    assert finder().find("quotes").rung == "quotes"


def test_quotes_let_everybody_speak(settings: Settings, corpus: Corpus) -> None:
    strict = dataclasses.replace(settings, dialogues=dataclasses.replace(settings.dialogues, minimum_replies=10_000))
    ladder = SourceFinder("llama", strict, open_registry(strict), Announcements(), corpus)
    assert "Pip" in ladder.find("quotes").characters


def _sampling():  # type: ignore[no-untyped-def]
    from character_chatbot.engines.base import Sampling

    return Sampling(max_new_tokens=5, seed=1)
