"""The two jobs: a training and a page, as an instance gets them. No secret is in them, only where one lies."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from aws.config import CHECKPOINTS, DATA, LOGS, SERVING, TRAINING, Names
from aws.places import Job, Link
from config import ENVIRONMENT_PREFIX, Secret, Settings, load_settings
from utils.errors import UsageError

# Of this machine, of the cloud from outside, or in the command of the job; files (chats.file) stay as well. All else
# shapes a training or a page, and goes along.
SECTIONS_THAT_STAY = ("paths.", "aws.", "secrets.")
KEYS_THAT_STAY = ("app.host", "app.port")
KEYS_THAT_GO = ("aws.region",)
BASES = "cache/bases"  # character_chatbot/nano.py, aws/instance/program.py
MARK = "complete.json"  # character_chatbot/recovery/checkpoints.py writes it last
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", re.ASCII)


def build_training_job(
    settings: Settings,
    run: str,
    family: str,
    *,
    hf_token: str,
    by: str,
    characters: Sequence[str] = (),
    base: str = "",
    max_steps: int = 0,
    seed: int | None = None,
    max_hours: float = 4.0,
    max_usd: float = 0.0,
    keep_on_failure: bool = False,
) -> Job:
    """A training: the same program as on a laptop.

    Args:
        settings: of the program; those that shape a training go along.
        run: its name.
        family: such as ``llama``.
        hf_token: name of the SSM parameter; empty: the training goes without a token.
        by: who asks, for the registry's history.
        characters: to be trained; none: all.
        base: a repository of the hub or ``nano``; empty: the family's.
        max_steps: 0: as the epochs say.
        seed: None: as the settings say.
        max_hours, max_usd, keep_on_failure: see :class:`aws.places.Job`.

    Raises:
        UsageError: ``base`` is a folder, which the instance does not have.
    """
    command = [*("training_pipeline.py", "train", family), "--data", "{work}/data", "--registry", "{bucket}", "--json"]
    command += ["--progress", "{work}/progress.json", "--by", by]
    command += [word for name in characters for word in ("--character", name)]
    command += ["--base", check_base(base, family)] if base else []
    command += ["--max-steps", str(max_steps)] if max_steps else []
    command += ["--seed", str(seed)] if seed is not None else []
    command += ["--export"] if settings.aws.training.export else []
    kept = f"{CHECKPOINTS}/{family}/{run}"
    return Job(
        run,
        TRAINING,
        tuple(_no_placeholder(command)),
        inputs=(Link("data", DATA),),
        # Of the cache the nano base alone: gigabytes of versions and exports lie there as well, on their way elsewhere.
        outputs=(Link("runs", f"{kept}/runs", MARK), Link(BASES, f"{kept}/{BASES}", "config.json")),
        environment=job_environment(settings),
        secrets={"HF_TOKEN": hf_token} if hf_token else {},
        max_hours=max_hours,
        max_usd=max_usd,
        keep_on_failure=keep_on_failure,
        log_key=f"{LOGS}/{family}/{run}.log",
    )


def build_serving_job(
    settings: Settings,
    names: Names,
    run: str,
    family: str,
    *,
    version: str = "",
    domain: str = "",
    max_hours: float = 0.0,
) -> Job:
    """A page that is started again whenever it ends.

    Args:
        settings: of the program; those that shape what a page says go along.
        names: where the secrets lie.
        run: its name.
        family: such as ``llama``.
        version: empty: the latest at each start, stepping down where it cannot be loaded.
        domain: not empty: Caddy stands in front, and only this machine itself reaches the page.
        max_hours: 0: until it is ended.
    """
    host = "127.0.0.1" if domain else "0.0.0.0"  # noqa: S104 - never without a password
    command = [*("gradio_app.py", "--data", "{work}/data", "--registry", "{bucket}", "--family", family)]
    command += ["--version", version] if version not in ("", "latest") else []
    command += ["--host", host, "--port", str(settings.aws.serving.port), "--require-password"]
    command += ["--status-file", "{work}/progress.json"]
    return Job(
        run,
        SERVING,
        tuple(command),
        inputs=(Link("data", DATA),),
        environment=job_environment(settings),
        secrets={"APP_PASSWORD": names.app_password, "HF_TOKEN": names.hf_token},
        torch_index=settings.aws.serving.torch_index,
        max_hours=max_hours,
        restart=True,
        log_key=f"{LOGS}/{family}/{run}.log",
    )


def job_environment(settings: Settings) -> dict[str, str]:
    """The settings that an instance cannot know by itself, as ``STRANGER_…`` variables; no secret, no path.

    Those that are not the default, and those that somebody has set to it: the ``aws_config.yaml`` that travels with
    the code may say otherwise.
    """
    own = load_settings(env_file=Path(os.devnull), environment={})
    default = dict(Settings().items())
    return {
        _variable(key): _text(value)
        for key, value in settings.items()
        if _goes_along(key, value) and (value != default[key] or key in settings.origins or key in own.origins)
    }


def _goes_along(key: str, value: object) -> bool:
    """Whether a setting means the same on an instance, and may be seen there."""
    if key in KEYS_THAT_GO:
        return True
    stays = key.startswith(SECTIONS_THAT_STAY) or key in KEYS_THAT_STAY
    return not (stays or isinstance(value, Path | Secret))


def check_base(base: str, family: str) -> str:
    """The base itself, if an instance can have it. Raises UsageError."""
    local = (Path(base) / "config.json").is_file()
    if base == "nano" or (REPOSITORY.fullmatch(base) and not local):
        return base
    raise UsageError(
        f"--base {base} is {'a folder of this machine' if local else 'not a repository of the hub'}; "
        "an instance cannot have it.",
        instead="It takes a repository of the hub (owner/name), or nano.",
        remedies=[("Train on this machine", f"python training_pipeline.py train {family} --base {base}")],
    )


def _variable(key: str) -> str:
    return ENVIRONMENT_PREFIX + key.upper().replace(".", "__")


def _text(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _no_placeholder(command: Sequence[str]) -> list[str]:
    """The command, if nothing that somebody typed looks like a placeholder. Raises UsageError."""
    ours = {"{work}/data", "{bucket}", "{work}/progress.json"}
    for word in command:
        if word not in ours and ("{work}" in word or "{bucket}" in word):
            raise UsageError(f"'{word}' cannot be a name: {{work}} and {{bucket}} stand for places of a job.")
    return list(command)
