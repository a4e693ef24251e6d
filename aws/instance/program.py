"""The command and the environment of a job's program."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from aws.instance.folder import WORK, Assignment
from aws.places import Job
from config import ConfigError, load_settings
from utils.files import write_atomic

AWS_CONFIG = "aws.ini"


def command_of(job: Job, python: str, folder: Path, bucket_url: str) -> list[str]:
    """The job's command with this Python in front and its placeholders filled in."""
    return [python, *(_fill(word, folder, bucket_url) for word in job.command)]


def child_environment(folder: Path, assignment: Assignment, outside: Mapping[str, str]) -> dict[str, str]:
    """What the program finds around it: everything it writes lies below the working folder."""
    work, job = folder / WORK, assignment.job
    for name in ("data", "runs", "cache", "logs", "hub"):
        (work / name).mkdir(parents=True, exist_ok=True)
    own = {
        "PYTHONUNBUFFERED": "1",  # its words reach the log at once
        "STRANGER_PATHS__RUNS": str(work / "runs"),
        "STRANGER_PATHS__CACHE": str(work / "cache"),
        "STRANGER_PATHS__LOGS": str(work / "logs"),
        "HF_HOME": str(work / "hub"),
    }
    if assignment.region:
        own |= {"AWS_DEFAULT_REGION": assignment.region, "STRANGER_AWS__REGION": assignment.region}
    if assignment.bucket_url.startswith("s3://"):
        own |= _profile_of_role(folder)
    asked = {name: _fill(value, folder, assignment.bucket_url) for name, value in job.environment.items()}
    return {**outside, **own, **asked}


def _profile_of_role(folder: Path) -> dict[str, str]:
    """The profile that the settings name is one of the machine they come from; here it stands for the role."""
    try:
        profile = load_settings().aws.profile
    except ConfigError:  # the program will say so
        return {}
    if not profile:
        return {}
    write_atomic(folder / AWS_CONFIG, f"[profile {profile}]\n# nothing: boto3 asks the instance for its role\n")
    return {"AWS_CONFIG_FILE": str(folder / AWS_CONFIG)}


def _fill(text: str, folder: Path, bucket_url: str) -> str:
    return text.replace("{work}", str(folder / WORK)).replace("{bucket}", bucket_url)
