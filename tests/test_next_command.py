"""The next command names the series and the registry that are in use."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from config import load_settings
from training_pipeline import build_parser
from utils.announcements import Announcement, Announcements
from utils.next_command import CONFIG, PLACES, carry_account, carry_places, in_use, next_command

TRAIN = "python training_pipeline.py train llama"


def test_each_command_is_told_just_what_it_takes() -> None:
    choices = next(each for each in build_parser()._actions if isinstance(each, argparse._SubParsersAction)).choices
    wanted = {"--data", "--registry"}
    takes = {name: wanted & set(parser._option_string_actions) for name, parser in choices.items()}
    assert {name: set(flags) for name, flags in PLACES.items()} == {
        name: found for name, found in takes.items() if found
    }
    assert all(CONFIG in parser._option_string_actions for parser in choices.values())


def test_places_of_flags_are_named_again_and_others_are_not() -> None:
    by_flag = load_settings(environment={}, flags={"paths.data": Path("my show"), "paths.registry": "s3://b/r"})
    assert next_command(by_flag, "train", "llama") == f"{TRAIN} --data 'my show' --registry s3://b/r"
    assert next_command(by_flag, "models", "list") == "python training_pipeline.py models list --registry s3://b/r"
    assert next_command(by_flag, "keys", "new", "x") == "python training_pipeline.py keys new x"
    by_variable = load_settings(environment={"STRANGER_PATHS__DATA": "my show"})
    assert next_command(by_variable, "train", "llama") == TRAIN


@pytest.mark.parametrize(
    ("command", "given", "told"),
    [
        (TRAIN, ["status", "--data", "my show"], f"{TRAIN} --data 'my show'"),
        (TRAIN, ["status", "--data=a", "--registry", "b"], f"{TRAIN} --data a --registry b"),
        (TRAIN, ["chat", "--config", "c.yaml"], f"{TRAIN} --config c.yaml"),
        (f"{TRAIN} --data x", ["status", "--data", "y"], f"{TRAIN} --data x"),
        (f"{TRAIN} --data=x", ["status", "--data", "y"], f"{TRAIN} --data=x"),
        ("python training_pipeline.py keys new NAME", ["--data", "y"], "python training_pipeline.py keys new NAME"),
        ("python gradio_app.py", ["--data", "y"], "python gradio_app.py"),
        (f"{TRAIN} 'open", ["--data", "y"], f"{TRAIN} 'open"),
        (TRAIN, ["status", "--data"], TRAIN),
        (TRAIN, [], TRAIN),
        (
            "python deploy_aws.py init",
            ["train", "--region", "eu-west-1"],
            "python deploy_aws.py init --region eu-west-1",
        ),
        ("python deploy_aws.py init", ["train", "--data", "x"], "python deploy_aws.py init"),
    ],
)
def test_a_remedy_carries_what_was_typed(command: str, given: list[str], told: str) -> None:
    assert carry_places(command, given) == told


def test_an_announcement_tells_a_command_for_what_is_in_use() -> None:
    settings = load_settings(environment={}, flags={"paths.data": Path("my show")})
    announcements = Announcements(quiet=True, complete=in_use(settings))
    announcements.add(Announcement("chat", "a", "b", "none was trained", TRAIN))
    announcements.add(Announcement("chat", "a", "b", "no hub", "check the connection"))
    assert [each.remedy for each in announcements] == [f"{TRAIN} --data 'my show'", "check the connection"]


def test_commands_in_a_text_name_the_account_that_was_typed() -> None:
    text = "See:  python deploy_aws.py ssh RUN   (until 7)\n(or: python deploy_aws.py train llama --region us-east-1)"
    assert carry_account(text, ["status", "--region=eu-west-1", "--profile", "my own"]) == (
        "See:  python deploy_aws.py ssh RUN --region eu-west-1 --profile 'my own'   (until 7)\n"
        "(or: python deploy_aws.py train llama --region us-east-1 --profile 'my own')"
    )
    assert carry_account(text, ["status"]) == carry_account(text, []) == text
