"""The two jobs as an instance gets them: commands that exist, places, and nothing that is secret."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

import gradio_app
import training_pipeline
from aws.config import Names
from aws.operations.jobs import build_serving_job, build_training_job, job_environment
from aws.places import Job, Link
from config import AwsSettings, Settings, load_settings
from utils.errors import UsageError

RUN = "llama-20261121-101530-3f2a"
NAMES = Names(AwsSettings(), "123456789012")
TOKEN, PASSWORD = "hf_thisIsNoRealToken0123456789", "correct-horse-battery"


def settings_of(text: str = "", tmp_path: Path | None = None, **environment: str) -> Settings:
    file = None
    if tmp_path:
        file = tmp_path / "settings.yaml"
        file.write_text(text)
    return load_settings(config_file=file, env_file=Path("/none"), environment=environment)


def training_job(settings: Settings | None = None, **words: object) -> Job:
    given = {"hf_token": NAMES.hf_token, "by": "ann@laptop"} | words
    return build_training_job(settings or settings_of(), RUN, "llama", **given)  # type: ignore[arg-type]


def test_a_training_is_the_program_of_the_laptop_with_its_places() -> None:
    job = training_job(characters=("Pip", "Judge Hale"), base="nano", max_steps=5, seed=9, max_hours=2.5, max_usd=1.0)
    assert job.command == (
        "training_pipeline.py", "train", "llama", "--data", "{work}/data", "--registry", "{bucket}", "--json",
        "--progress", "{work}/progress.json", "--by", "ann@laptop", "--character", "Pip", "--character", "Judge Hale",
        "--base", "nano", "--max-steps", "5", "--seed", "9", "--export",
    )  # fmt: skip
    assert job.inputs == (Link("data", "data/training"),)
    assert job.outputs == (
        Link("runs", f"checkpoints/llama/{RUN}/runs", "complete.json"),
        Link("cache/bases", f"checkpoints/llama/{RUN}/cache/bases", "config.json"),
    )
    assert (job.name, job.purpose, job.log_key) == (RUN, "training", f"logs/llama/{RUN}.log")
    assert (job.max_hours, job.max_usd, job.restart, job.torch_index) == (2.5, 1.0, False, "")
    assert job.secrets == {"HF_TOKEN": "/stranger-things/hf-token"}
    assert Job.from_dict(json.loads(json.dumps(job.to_dict()))) == job


def test_the_training_program_understands_its_command() -> None:
    job = training_job(characters=("Pip",), base="owner/name", max_steps=5, seed=0)
    given = training_pipeline.build_parser().parse_args(job.command[1:])
    assert (given.family, given.character, given.base, given.max_steps) == ("llama", ["Pip"], "owner/name", 5)
    assert (given.seed, given.by, given.json, given.export) == (0, "ann@laptop", True, True)
    assert "--export" not in training_job(settings_of(STRANGER_AWS__TRAINING__EXPORT="false")).command
    assert given.progress == Path("{work}/progress.json")


def test_what_is_not_asked_for_is_not_in_the_command() -> None:
    job = training_job(hf_token="")
    assert job.command[-3:] == ("--by", "ann@laptop", "--export")
    assert job.secrets == {}


@pytest.mark.parametrize(
    ("base", "why"), [("model", "a folder"), ("own/model", "a folder"), ("/no/where", "not a repository"), ("x", "not")]
)
def test_a_base_that_an_instance_cannot_have_is_refused(base: str, why: str) -> None:
    for name in ("model", "own/model"):
        Path(name).mkdir(parents=True)
        (Path(name) / "config.json").write_text("{}")
    with pytest.raises(UsageError, match=why) as caught:
        training_job(base=base)
    assert f"python training_pipeline.py train llama --base {base}" in str(caught.value)


def test_a_name_cannot_be_a_placeholder() -> None:
    with pytest.raises(UsageError, match="cannot be a name"):
        training_job(characters=("{bucket}x",))


# serving


def test_a_page_stays_and_is_started_again() -> None:
    job = build_serving_job(settings_of(), NAMES, "app-20261121-101530-3f2a", "qwen")
    assert job.command == (
        "gradio_app.py", "--data", "{work}/data", "--registry", "{bucket}", "--family", "qwen",
        "--host", "0.0.0.0", "--port", "7860", "--require-password",  # noqa: S104
        "--status-file", "{work}/progress.json",
    )  # fmt: skip
    assert (job.purpose, job.restart, job.max_hours, job.outputs) == ("serving", True, 0.0, ())
    assert job.inputs == (Link("data", "data/training"),)
    assert job.secrets == {"APP_PASSWORD": "/stranger-things/app-password", "HF_TOKEN": "/stranger-things/hf-token"}
    assert job.torch_index == "https://download.pytorch.org/whl/cpu"
    assert job.log_key == "logs/qwen/app-20261121-101530-3f2a.log"
    given = gradio_app.build_parser().parse_args(job.command[1:])
    assert (given.version, given.status_file) == (None, Path("{work}/progress.json"))


def test_a_version_is_pinned_only_if_asked_for_and_a_domain_hides_the_port() -> None:
    def command(**words: str) -> tuple[str, ...]:
        return build_serving_job(settings_of(STRANGER_AWS__SERVING__PORT="8080"), NAMES, RUN, "llama", **words).command

    assert "--version" not in command(version="latest")
    pinned = command(version="20261121-101530", domain="talk.example.org")
    given = gradio_app.build_parser().parse_args(pinned[1:])
    assert (given.version, given.host, given.port) == ("20261121-101530", "127.0.0.1", 8080)
    assert given.require_password  # the loopback alone would let everybody in through Caddy


# settings that go along


def test_settings_go_along_where_they_are_not_the_default(tmp_path: Path) -> None:
    text = """
training: {epochs: 5.5, seed: 7}
nano: {max_steps: 9}
families: {llama: {fine_tuned: ann/pirate}}
paths: {runs: /home/ann/runs, cache: /home/ann/cache}
aws: {region: eu-central-1, profile: work, vpc: vpc-1, open_to: [1.2.3.4/32], training: {volume_gb: 50}}
app: {host: 127.0.0.9, user: visitor}
"""
    given = job_environment(settings_of(text, tmp_path))
    assert given["STRANGER_TRAINING__EPOCHS"] == "5.5"
    assert given["STRANGER_NANO__MAX_STEPS"] == "9"
    assert given["STRANGER_FAMILIES__LLAMA__FINE_TUNED"] == "ann/pirate"
    assert given["STRANGER_APP__USER"] == "visitor"
    assert given["STRANGER_AWS__REGION"] == "eu-central-1"
    assert given["STRANGER_TRAINING__SEED"] == "7"  # the default, but somebody has set it
    assert "STRANGER_CHAT__TOP_P" not in given
    assert [name for name in given if "__AWS__" in name or name.startswith("STRANGER_AWS__")] == [
        "STRANGER_AWS__REGION"
    ]
    assert not any("PATHS" in name or "HOST" in name for name in given)
    assert "/home/ann" not in json.dumps(given)


def test_the_instance_reads_the_same_settings_from_them(tmp_path: Path) -> None:
    text = "training: {epochs: 5.5, learning_rate: 3.0e-7}\ndialogues: {held_out_share: 0.0}\n"
    wanted = settings_of(text, tmp_path)
    there = load_settings(env_file=Path("/none"), environment=job_environment(wanted))  # with its aws_config.yaml
    for section in ("families", "dialogues", "training", "nano", "evaluation", "chat", "hub"):
        assert getattr(there, section) == getattr(wanted, section)


def test_a_page_keeps_conversations_and_answers_to_names_as_it_was_told_here() -> None:
    asked = {
        "STRANGER_CHATS__KEEP": "false",
        "STRANGER_API__REQUESTS_PER_MINUTE": "5",
        "STRANGER_APP__HOSTS": "talk.example.org,characters.example",
        "STRANGER_RECALL__SCENES": "0",
    }
    files = {"STRANGER_CHATS__FILE": "/home/ann/chats.sqlite", "STRANGER_API__KEYS_FILE": "keys"}
    given = job_environment(settings_of(**asked, **files, STRANGER_APP__HOST="0.0.0.0", STRANGER_APP__PORT="1"))  # noqa: S104
    there = load_settings(env_file=Path("/none"), environment=given)
    assert (there.chats.keep, there.api.requests_per_minute, there.recall.scenes) == (False, 5, 0)
    assert there.app.hosts == ("talk.example.org", "characters.example")
    assert not any(name in given for name in ("STRANGER_CHATS__FILE", "STRANGER_API__KEYS_FILE", "STRANGER_APP__PORT"))
    assert "/home/ann" not in json.dumps(given)


def test_every_setting_goes_along_but_those_of_this_machine_and_of_the_cloud() -> None:
    settings = replace(settings_of(), origins=dict.fromkeys((key for key, _ in Settings().items()), "set"))
    given = job_environment(settings)
    stay = {key for key, _ in settings.items() if f"STRANGER_{key.upper().replace('.', '__')}" not in given}
    assert {key for key in stay if not key.startswith(("paths.", "secrets.", "aws."))} == {
        "app.host", "app.port", "chats.file", "api.keys_file",
    }  # fmt: skip
    assert {"paths.data", "secrets.hf_token", "aws.profile"} <= stay


def test_what_the_file_of_the_project_says_is_overridden_by_another_file(tmp_path: Path) -> None:
    own = load_settings(env_file=Path("/none"), environment={})
    key = next(key for key in own.origins if key.startswith("chat."))
    assert "STRANGER_" + key.upper().replace(".", "__") in job_environment(settings_of("paths: {data: x}", tmp_path))


def test_no_secret_is_in_a_job() -> None:
    settings = settings_of(HF_TOKEN=TOKEN, APP_PASSWORD=PASSWORD)
    jobs = [training_job(settings), build_serving_job(settings, NAMES, RUN, "llama")]
    text = json.dumps([job.to_dict() for job in jobs])
    assert TOKEN not in text
    assert PASSWORD not in text
