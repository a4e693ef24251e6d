"""deploy_aws.py as a user types it: init, upload-data, and train as far as its plan."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from doubles.console import RUN, Console

import deploy_aws
from aws.account.policies import caller_policy
from aws.commands.training import _tell_training
from aws.config import TRAINING
from aws.journal import Record
from aws.operations.train import TrainingResult
from aws.places import Outcome
from utils.command_line import FAILED, WRONG_USAGE

TOKEN = "hf_" + "Q7x" * 10
NO_CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN")

Series = Callable[..., Path]


def no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NO_CREDENTIALS:
        monkeypatch.delenv(name, raising=False)


# init


def test_init_makes_everything_and_writes_the_settings_once(console: Console) -> None:
    before = console.config.read_text()
    done = console("init", "--yes")
    assert done.code == 0, done.err
    assert f"The settings are in {console.config}." in done.out
    assert "Made or completed: 13 of 14 things.\n  Next:  python deploy_aws.py upload-data" in done.out
    assert "Running On-Demand G and VT instances (L-DB2E81BA): 8 vCPUs." in done.err
    assert "made        bucket stranger-things-123456789012-us-east-1" in done.err
    after = console.config.read_text()
    assert [line for line in before.splitlines() if line not in after.splitlines()] == []  # comments and all
    assert "project: stranger-things" in after and "bucket:" not in after

    again = console("init", "--yes")
    assert (again.code, again.changes) == (0, [])
    assert again.out == "Everything was there already; nothing was changed.\n"
    assert console.config.read_text() == after


def test_init_asks_for_region_and_name_and_hides_the_token(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    console.answers("", "our-show")
    monkeypatch.setattr("getpass.getpass", lambda prompt, stream: TOKEN)
    done = console("init")
    assert done.code == 0, done.err
    assert "Region? [us-east-1]" in done.err and "First word of all names? [stranger-things]" in done.err
    assert "bucket our-show-123456789012-us-east-1" in done.err
    assert "project: our-show" in console.config.read_text()
    kept = console.world.client("ssm").get_parameter(Name="/our-show/hf-token", WithDecryption=True)["Parameter"]
    assert (kept["Value"], kept["Type"]) == (TOKEN, "SecureString")
    assert TOKEN not in done.out + done.err


def test_init_with_nobody_to_ask_says_so(console: Console) -> None:
    done = console("init")
    assert (done.code, done.changes) == (WRONG_USAGE, [])
    assert "nobody is there to answer" in done.err
    assert "Answer beforehand:  python deploy_aws.py init " in done.err and " --yes\n" in done.err


@pytest.mark.parametrize("name", ["A", "Our Show", "-x-", "x" * 32, "show_1"])
def test_init_refuses_names_that_no_bucket_can_have(console: Console, name: str) -> None:
    console.answers("", name)
    done = console("init")
    assert (done.code, done.changes) == (WRONG_USAGE, [])
    assert "cannot be the first word" in done.err


def test_init_with_a_quota_of_0_tells_how_to_ask_for_more(console: Console) -> None:
    console.account.quotas["L-DB2E81BA"] = 0.0
    console.account.quotas["L-3819A6DF"] = None
    done = console("init", "--dry-run")
    assert "(L-DB2E81BA): 0 vCPUs; g4dn.xlarge takes 4.\n  Ask for more:  aws service-quotas request" in done.err
    assert "--quota-code L-DB2E81BA --desired-value 4 --region us-east-1" in done.err
    assert "All G and VT Spot Instance Requests (L-3819A6DF): cannot be read." in done.err


def test_init_completes_what_is_half_made(console: Console) -> None:
    console("init", "--yes")
    console.world.client("s3").delete_bucket_lifecycle(Bucket=console.world.names.bucket)
    done = console("init", "--yes", "--json")
    assert done.code == 0
    changed = [step for step in done.json["steps"] if step["action"] == "completed"]
    assert [(step["what"], step["detail"]) for step in changed] == [("bucket", "lifecycle")]
    assert done.json["settings_written"] is False


def test_init_prints_the_policy_of_the_caller(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    done = console("init", "--policy")
    assert (done.code, done.changes, done.err) == (0, [], "")
    assert done.json == caller_policy(console.world.names)
    no_credentials(monkeypatch)
    done = console("init", "--policy", "--region", "eu-west-1")
    assert done.code == 0
    assert "123456789012 stands for the number of the account" in done.err
    assert "arn:aws:ec2:eu-west-1:123456789012:" in done.out


def test_region_profile_and_config_are_honoured(
    console: Console, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = console("init", "--yes", "--region", "eu-west-1")
    assert done.code == 0, done.err
    assert "stranger-things-123456789012-eu-west-1" in done.err
    assert "region: eu-west-1" in console.config.read_text()
    assert {call.region for call in console.account.calls if call.service == "ec2"} == {"eu-west-1"}
    aws_file = tmp_path / "aws-config"
    aws_file.write_text("[profile other]\naws_access_key_id = a\naws_secret_access_key = b\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(aws_file))
    assert console("list-instances", "--profile", "other").code == 0
    done = console("list-instances", "--profile", "nobody")
    assert done.code == FAILED
    assert "nobody" in done.err and "Traceback" not in done.err and "aws configure" in done.err


# upload-data


def test_upload_sends_only_what_changed(console: Console, series_folder: Series) -> None:
    console.set_up()
    folder = series_folder()
    done = console("upload-data", "--data", folder, "--dry-run")
    assert (done.code, done.changes) == (0, [])
    assert done.out.startswith("5 new, 0 changed, 0 the same, 0 removed; 0.0 MB would be sent.")
    done = console("upload-data", "--data", folder)
    assert done.code == 0, done.err
    assert done.out.startswith("5 new, 0 changed, 0 the same") and "Next:  python deploy_aws.py train" in done.out
    (folder / "transcripts" / "S01E01.csv").write_text("scene,name,line\n1,Ada,Hello there Bo.\n")
    (folder / "transcripts" / "S01E02.csv").unlink()
    done = console("upload-data", "--data", folder, "--json")
    assert (done.json["changed"], done.json["removed"]) == (["transcripts/S01E01.csv"], ["transcripts/S01E02.csv"])
    assert len(done.json["same"]) == 3
    done = console("upload-data", "--data", folder)
    assert "0 new, 0 changed, 4 the same, 0 removed" in done.out and done.changes == []
    assert "nothing was changed" in done.out


def test_upload_before_init_names_init(console: Console, series_folder: Series) -> None:
    done = console("upload-data", "--data", series_folder())
    assert done.code == FAILED
    assert "there is no bucket stranger-things-123456789012-us-east-1" in done.err
    assert "python deploy_aws.py init" in done.err


# train, as far as its plan


def test_train_dry_run_tells_machine_and_price_and_changes_nothing(console: Console, series_folder: Series) -> None:
    console.set_up(series_folder())
    done = console("train", "llama", "--dry-run")
    assert (done.code, done.err, done.changes) == (0, "", [])
    assert done.out.startswith("Launch one g4dn.xlarge or g4dn.2xlarge (on-demand), 100 GB disk")
    assert "0.542 USD an hour (AWS price list), at most 4.0 h: 2.17 USD at most" in done.out
    assert "Data: 5 files" in done.out and "Image: Deep Learning Base OSS Nvidia" in done.out
    assert done.out.endswith("\nNothing was made.\n")
    done = console("train", "llama", "--dry-run", "--json", "--max-usd", "1")
    assert done.json["dry_run"] is True
    assert any("1.00 USD at most" in line for line in done.json["plan"])


def test_train_with_spot_and_other_types(console: Console, series_folder: Series) -> None:
    console.set_up(series_folder())
    words = ("--spot", "--or-on-demand", "--instance-type", "g4dn.2xlarge", "--max-hours", "2")
    done = console("train", "qwen", "--dry-run", *words)
    assert done.code == 0, done.err
    assert "Launch one g4dn.2xlarge (spot or on-demand)" in done.out and "at most 2.0 h" in done.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--max-steps", "0"], "0 is less than 1"),
        (["--max-hours", "0"], "aws.training.max_hours is 0"),
        (["--max-hours", "nan"], "aws.training.max_hours is nan"),
        (["--seed", "-1"], "training.seed is -1"),
        (["--retries", "-1"], "aws.training.retries is -1"),
        (["--or-on-demand"], "--or-on-demand goes with --spot"),
        (["--resume", "llama"], "'llama' is not the name of a run"),
        (["--resume", RUN], f"there is no run '{RUN}'"),
        (["--max-usd", "0.01"], "--max-usd 0.01 buys"),
        (["--base", "../models"], "an instance cannot have it"),
    ],
)
def test_wrong_words_of_train_are_told_before_anything_is_made(
    console: Console, series_folder: Series, words: list[str], message: str
) -> None:
    console.set_up(series_folder())
    done = console("train", "llama", "--yes", *words)
    assert (done.code, done.changes) == (WRONG_USAGE, [])
    assert message in done.err, done.err


def test_train_without_data_names_upload_data(console: Console) -> None:
    console.set_up()
    done = console("train", "llama", "--yes")
    assert (done.code, done.changes) == (FAILED, [])
    assert "there are no training data" in done.err and "python deploy_aws.py upload-data" in done.err


def test_train_with_a_quota_of_0_names_the_command(console: Console, series_folder: Series) -> None:
    console.set_up(series_folder())
    console.account.quotas["L-DB2E81BA"] = 0.0
    done = console("train", "llama", "--yes")
    assert (done.code, done.changes) == (FAILED, [])
    assert "g4dn.xlarge takes 4 vCPUs, and the account may run 0" in done.err
    assert "request-service-quota-increase" in done.err and "--quota-code L-DB2E81BA" in done.err


def test_train_without_credentials_is_a_sentence(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    no_credentials(monkeypatch)
    done = console("train", "llama", "--yes")
    assert done.code == FAILED
    assert "credentials of this machine do not work" in done.err and "aws configure" in done.err
    assert "Traceback" not in done.err


def test_train_with_nobody_to_ask_launches_nothing(console: Console, series_folder: Series) -> None:
    console.set_up(series_folder())
    done = console("train", "llama")
    assert (done.code, done.changes) == (WRONG_USAGE, [])
    assert "nobody is there to answer: Launch it?" in done.err and " llama --yes\n" in done.err


def test_train_takes_no_for_an_answer(console: Console, series_folder: Series) -> None:
    console.set_up(series_folder())
    console.answers("n")
    done = console("train", "llama", "--json")
    assert (done.code, done.changes, done.out) == (FAILED, [], "")
    assert "Nothing was made." in done.err


@pytest.mark.parametrize(("stage", "code"), [("done", 0), ("gone", FAILED)])
def test_what_comes_after_a_training_is_said_for_the_region_that_was_typed(
    capsys: pytest.CaptureFixture[str], stage: str, code: int
) -> None:
    arguments = deploy_aws.build_parser().parse_args(["train", "qwen", "--region", "eu-west-1"])
    record = Record("qwen-20261121-060000-3f2a", TRAINING, "words", "ann@desk", "2026-11-21T06:00:00Z", "", {})
    result = TrainingResult(record, Outcome(record.run, stage, None, {"version": "20261121-061500"}, ""))
    assert _tell_training(arguments, result) == code
    told = "".join(capsys.readouterr())
    next_one = "deploy-gradio --family qwen" if code == 0 else f"train qwen --resume {record.run}"
    assert f"  python deploy_aws.py {next_one} --region eu-west-1\n" in told
