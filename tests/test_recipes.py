"""Recipes: settings for a purpose, between aws_config.yaml and the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from aws.operations.jobs import build_training_job
from character_chatbot.bases import NANO, Base
from character_chatbot.training.preparation import choose_numbers
from config import RECIPE_FOLDER, ConfigError, Settings, list_recipes, load_settings
from training_pipeline import _flags, build_parser

NONE = Path("/none")


def load(recipe: str, **more: object) -> Settings:
    return load_settings(env_file=NONE, environment=more.pop("environment", {}), recipe=recipe, **more)  # type: ignore[arg-type]


def test_there_is_one_for_each_purpose() -> None:
    assert list_recipes() == ["g4dn", "gpus", "laptop", "original"]


@pytest.mark.parametrize("name", list_recipes())
def test_each_recipe_is_loaded_and_each_number_says_why(name: str) -> None:
    settings = load(name)
    changed = [key for key in dict(settings.items()) if settings.origin(key) == f"recipe {name}"]
    lines = (RECIPE_FOLDER / f"{name}.yaml").read_text(encoding="utf-8").splitlines()
    numbers = [line for line in lines if line.startswith("  ") and not line.lstrip().startswith("#")]
    assert len(numbers) == len(changed) >= 5
    assert all(len(line.partition("# ")[2]) > 5 for line in numbers)


def test_the_numbers_of_the_original_are_reachable() -> None:
    training = load("original").training
    assert (training.lora_rank, training.lora_alpha, training.sequences_per_step) == (64, 16, 1)
    assert (training.max_steps, training.max_length, training.keep) == (1000, 256, "last")


def test_a_recipe_stands_between_the_file_and_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("training: {epochs: 9, max_length: 99, seed: 5}\n", encoding="utf-8")
    config = tmp_path / "config.yaml"
    config.write_text("training: {epochs: 1, lora_rank: 2}\n", encoding="utf-8")
    environment, flags = {"STRANGER_TRAINING__MAX_LENGTH": "77"}, {"training.seed": 6}
    settings = load(str(file), config_file=config, environment=environment, flags=flags)
    training = settings.training
    assert (training.lora_rank, training.epochs, training.max_length, training.seed) == (2, 9.0, 77, 6)
    assert settings.origin("training.epochs") == f"recipe {file}"
    assert load("").training == load_settings(env_file=NONE, environment={}).training


@pytest.mark.parametrize(
    ("recipe", "parts"),
    [
        ("laptopp", ["no recipe 'laptopp'", "Did you mean laptop?", "g4dn, gpus, laptop, original"]),
        ("training: {epoch: 3}", ["unknown setting 'training.epoch'", "training.epochs"]),
        ("app: {port: 1}", ["app.port does not belong into a recipe", "training, dialogues, evaluation"]),
        ("training: {epochs: 0}", ["training.epochs is 0"]),
        ("training: {keep: worst}", ["training.keep is 'worst'", "best, last"]),
    ],
)
def test_a_wrong_recipe_says_what_is_right(tmp_path: Path, recipe: str, parts: list[str]) -> None:
    if ":" in recipe:
        (tmp_path / "mine.yaml").write_text(recipe, encoding="utf-8")
        recipe = str(tmp_path / "mine.yaml")
    with pytest.raises(ConfigError) as caught:
        load(recipe)
    for part in parts:
        assert part in str(caught.value)


def test_a_recipe_travels_with_a_job_to_the_cloud() -> None:
    job = build_training_job(load("g4dn"), "llama-1", "llama", hf_token="", by="ann")
    assert job.environment["STRANGER_TRAINING__SEQUENCES_PER_STEP"] == "16"
    assert job.environment["STRANGER_EVALUATION__MAX_REPLIES"] == "400"


def test_a_nano_base_has_its_own_numbers_unless_a_flag_or_a_recipe_gives_them() -> None:
    nano = Base(NANO, "nano-llama", "somewhere")
    words = ["train", "llama", "--learning-rate", "0.01", "--epochs", "5", "--max-steps", "3", "--patience", "0"]
    asked = load("", flags=_flags(build_parser().parse_args(words)))
    own, flagged = choose_numbers(load(""), nano), choose_numbers(asked, nano)
    assert (own.learning_rate, own.epochs, own.lora_dropout) == (2e-3, 2.0, 0.0)
    assert (flagged.learning_rate, flagged.epochs, flagged.lora_dropout) == (0.01, 5.0, 0.0)
    assert (flagged.max_steps, flagged.patience) == (3, 0)
    assert choose_numbers(load("gpus"), nano).learning_rate == 4e-4
    assert choose_numbers(load(""), Base("hub", "x", "x")).learning_rate == 2e-4
