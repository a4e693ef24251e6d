"""From a series folder to a published version and a reply, in real processes: training, killing, resuming."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from doubles.forked_program import Program

PROJECT = Path(__file__).resolve().parent.parent
SAMPLE = PROJECT / "data" / "sample_series"
STEPS = 20  # the second epoch starts at step 15

# A nano base that is made in seconds.
TINY = {
    "STRANGER_NANO__HIDDEN_SIZE": "32",
    "STRANGER_NANO__LAYERS": "2",
    "STRANGER_NANO__HEADS": "2",
    "STRANGER_NANO__VOCABULARY": "600",
    "STRANGER_NANO__EPOCHS": "2",
    "STRANGER_NANO__LORA_LEARNING_RATE": "0.005",
    "STRANGER_TRAINING__CHECKPOINT_STEPS": "3",
    "STRANGER_EVALUATION__MAX_REPLIES": "40",
    "HF_HUB_OFFLINE": "1",
}


class Project:
    """Commands of the project in a folder of their own."""

    def __init__(self, folder: Path, cache: Path) -> None:
        self.folder = folder
        places = {"RUNS": folder / "runs", "LOGS": folder / "logs", "REGISTRY": folder / "registry", "CACHE": cache}
        self.environment = os.environ | TINY | {f"STRANGER_PATHS__{name}": str(path) for name, path in places.items()}

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.start(*words).done(300)

    def run_from_a_shell(self, *words: str) -> subprocess.CompletedProcess[str]:
        """In a new interpreter, which takes seconds to start."""
        return subprocess.run(
            [sys.executable, str(PROJECT / "training_pipeline.py"), *words],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def start(self, *words: str) -> Program:
        return Program(words, self.environment, self.folder)

    def train(self, family: str = "llama") -> tuple[str, ...]:
        return ("train", family, "--data", str(SAMPLE), "--character", "Pip", "--max-steps", str(STEPS))

    def metrics(self) -> dict:
        shown = self.run("models", "show", "llama", "--json")
        assert shown.returncode == 0, shown.stderr
        return json.loads(shown.stdout)

    def steps_kept(self) -> list[int]:
        """The steps of the checkpoints that are complete."""
        marks = (self.folder / "runs").glob("*/*/checkpoints/checkpoint-*/complete.json")
        return sorted(int(mark.parent.name.rpartition("-")[2]) for mark in marks)

    def start_and_wait(self, step: int, *words: str) -> Program:
        """A training that has a checkpoint of this step or a later one."""
        running = self.start(*self.train(), *words)
        until = time.monotonic() + 120
        while max(self.steps_kept(), default=0) < step and running.poll() is None and time.monotonic() < until:
            time.sleep(0.005)
        return running


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Project:
    """A project that has trained one version without being stopped."""
    project = Project(tmp_path_factory.mktemp("uninterrupted"), cache)
    done = project.run_from_a_shell(*project.train())
    assert done.returncode == 0, done.stderr
    return project


@pytest.fixture
def project(tmp_path: Path, cache: Path) -> Project:
    return Project(tmp_path, cache)


def final_losses(shown: dict) -> list[float]:
    held_out = shown["metrics"]["held_out"]
    return [shown["metrics"]["training"]["last_loss"], held_out["adapter_perplexity"], held_out["base_perplexity"]]


def test_run_records_what_made_the_version(uninterrupted: Project) -> None:
    shown = uninterrupted.metrics()
    run = shown["run"]
    assert run["characters"] == ["Pip"]
    assert run["base"]["kind"] == "nano"
    assert run["held_out_episodes"] == ["S01E03", "S01E06"]
    assert run["packages"]["torch"].startswith("2.")
    assert run["settings"]["training.seed"] == 7
    assert [step for step, _ in shown["metrics"]["training"]["losses"]] == list(range(1, STEPS + 1))
    assert run["announcements"][0]["got"].startswith("the nano base")
    assert "hf_token" not in json.dumps(run)
    assert {"adapter_model.safetensors", "base/model.safetensors", "README.md", "loss.png"} <= set(shown["files"])


def test_adapter_expects_held_out_replies_better_than_its_base(uninterrupted: Project) -> None:
    held_out = uninterrupted.metrics()["metrics"]["held_out"]
    assert held_out["adapter_perplexity"] < held_out["base_perplexity"]
    assert held_out["replies"] > 20


def test_same_command_again_uses_what_is_there(uninterrupted: Project) -> None:
    done = uninterrupted.run(*uninterrupted.train(), "--json")
    assert json.loads(done.stdout)["reused"] is True


@pytest.mark.parametrize(
    ("number", "step"),
    [
        (signal.SIGKILL, 3),
        pytest.param(signal.SIGKILL, 15, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, 3, marks=pytest.mark.slow),
        (signal.SIGTERM, 3),
    ],
)
def test_stopped_run_goes_on_to_the_same_end(
    uninterrupted: Project, project: Project, number: signal.Signals, step: int
) -> None:
    running = project.start_and_wait(step)
    running.send_signal(number)
    code = running.wait(timeout=60)
    assert code == {signal.SIGKILL: -signal.SIGKILL, signal.SIGINT: 130, signal.SIGTERM: 143}[number]
    assert project.steps_kept()[-1] >= step

    done = project.run(*project.train())
    assert done.returncode == 0, done.stderr
    assert "going on from step" in done.stderr
    assert final_losses(project.metrics()) == pytest.approx(final_losses(uninterrupted.metrics()), abs=1e-4)


@pytest.mark.slow
def test_run_goes_on_from_a_store_on_a_new_machine(uninterrupted: Project, project: Project, tmp_path: Path) -> None:
    words = ("--checkpoint-store", str(tmp_path / "bucket"))
    running = project.start_and_wait(6, *words)
    running.send_signal(signal.SIGTERM)
    assert running.wait(timeout=60) == 143
    newest = project.steps_kept()[-1]
    assert list((tmp_path / "bucket").glob(f"checkpoints/llama/*/checkpoint-{newest}/complete.json"))
    shutil.rmtree(project.folder / "runs")

    done = project.run(*project.train(), *words)
    assert done.returncode == 0, done.stderr
    assert f"checkpoint-{newest} comes from {tmp_path / 'bucket'}" in done.stderr
    assert f"going on from step {newest} " in done.stderr
    assert final_losses(project.metrics()) == pytest.approx(final_losses(uninterrupted.metrics()), abs=1e-4)
    (metrics,) = (project.folder / "runs").glob("llama/*/metrics.jsonl")
    assert [json.loads(line)["step"] for line in metrics.read_text().splitlines()] == list(range(1, STEPS + 1))


@pytest.mark.slow
def test_half_written_checkpoint_is_not_taken(uninterrupted: Project, project: Project) -> None:
    running = project.start_and_wait(6)
    running.kill()
    running.wait(timeout=60)
    newest = project.steps_kept()[-1]
    (folder,) = (project.folder / "runs").glob(f"*/*/checkpoints/checkpoint-{newest}")
    with (folder / "optimizer.pt").open("r+b") as file:
        file.truncate(100)

    done = project.run(*project.train())
    assert done.returncode == 0, done.stderr
    assert f"going on from step {newest - 3} " in done.stderr
    assert final_losses(project.metrics()) == pytest.approx(final_losses(uninterrupted.metrics()), abs=1e-4)


def test_two_processes_do_not_train_the_same_run(project: Project) -> None:
    running = project.start_and_wait(3)
    running.send_signal(signal.SIGSTOP)  # it holds the lock, however long the second one takes to start
    second = project.run(*project.train())
    running.kill()
    running.wait(timeout=60)
    assert second.returncode == 1
    assert "being trained by another process" in second.stderr


def test_chat_speaks_with_the_version(uninterrupted: Project) -> None:
    words = ("chat", "--character", "pippa", "--message", "Where is Judge Hale?", "--data", str(SAMPLE), "--seed", "3")
    first, second = uninterrupted.run(*words), uninterrupted.run(*words)
    assert first.returncode == 0, first.stderr
    assert "adapter on nano-llama" in first.stderr
    assert first.stdout.startswith("Pip: ")
    assert len(first.stdout) > len("Pip: ")
    assert first.stdout == second.stdout


def test_chat_without_version_says_why_and_quotes(project: Project) -> None:
    project.environment["STRANGER_PATHS__CACHE"] = str(project.folder / "no-nano-made-here")
    done = project.run("chat", "--character", "Pip", "--message", "Where is Judge Hale?", "--data", str(SAMPLE))
    assert done.returncode == 0, done.stderr
    for reason in ("no version of llama", "none is set", "HF_HUB_OFFLINE is set", "none has been made yet"):
        assert reason in done.stderr
    assert "(S0" in done.stdout


def test_qwen_trains_the_same_way(project: Project) -> None:
    done = project.run(*project.train("qwen"), "--json")
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert outcome["metrics"]["held_out"]["adapter_perplexity"] < outcome["metrics"]["held_out"]["base_perplexity"]


@pytest.mark.slow
def test_pairs_are_learnt_the_same_way(uninterrupted: Project, project: Project) -> None:
    done = project.run(*project.train(), "--format", "pairs", "--json")
    assert done.returncode == 0, done.stderr
    assert " pieces of scenes" not in done.stderr
    metrics, scenes = json.loads(done.stdout)["metrics"], uninterrupted.metrics()["metrics"]
    assert metrics["held_out"]["adapter_perplexity"] < metrics["held_out"]["base_perplexity"]
    assert metrics["held_out"]["base_perplexity"] == pytest.approx(scenes["held_out"]["base_perplexity"])
    assert project.metrics()["run"]["settings"]["training.format"] == "pairs"


@pytest.mark.slow
def test_another_format_is_another_run(project: Project) -> None:
    project.environment["STRANGER_TRAINING__EPOCHS"] = "1"
    words = ("train", "llama", "--data", str(SAMPLE), "--character", "Pip", "--max-steps", "1", "--json")
    outcomes = [json.loads(project.run(*words, "--format", name).stdout) for name in ("pairs", "scenes", "scenes")]
    assert [outcome["reused"] for outcome in outcomes] == [False, False, True]
    assert len(list((project.folder / "runs" / "llama").glob("*/published.json"))) == 2


def test_unknown_character_names_the_nearest(project: Project) -> None:
    done = project.run("train", "llama", "--data", str(SAMPLE), "--character", "Pipp")
    assert done.returncode == 1
    assert "Did you mean Pip?" in done.stderr
