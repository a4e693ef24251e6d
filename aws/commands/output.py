"""What all commands have in common: the cloud that speaks at the terminal, JSON on standard output, exit code 3."""

from __future__ import annotations

import argparse
import codecs
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, TextIO

from config import Settings
from utils.command_line import DONE, FAILED
from utils.errors import RegistryError
from utils.terminal import Terminal

if TYPE_CHECKING:
    from aws.cloud import Cloud

PROGRAM = "deploy_aws"
PIPELINE = "python training_pipeline.py"  # works on the registry of this machine; its errors name its commands
OVERDUE = 3  # something billable lives past its deadline


def open_cloud_at(settings: Settings, terminal: Terminal) -> Cloud:
    """The cloud, whose stages are shown at the terminal. Raises CloudError: there are no usable credentials."""
    from aws.cloud import open_cloud

    return replace(open_cloud(settings), say=terminal.say)


def teller(arguments: argparse.Namespace, terminal: Terminal) -> Callable[[str], None]:
    """What a plan is told with: with --dry-run it is the result, else it is shown before the question."""
    return print if arguments.dry_run and not arguments.json else terminal.line


def whole(arguments: argparse.Namespace, text: str) -> str:
    """The text, whose commands of this program name the region, the profile and the settings that this one was told."""
    from utils.next_command import carry_account

    told = {"--region": arguments.region, "--profile": arguments.profile, "--config": arguments.config}
    return carry_account(text, [str(word) for flag, value in told.items() if value for word in (flag, value)])


@contextmanager
def commands_for_bucket(*, deploying: bool = False) -> Iterator[None]:
    """What a registry says that it is to be done is said with the commands for the one in the bucket."""
    try:
        yield
    except RegistryError as error:
        if "s3://" in error.what:
            error.remedies = [(label, _for_bucket(command, deploying)) for label, command in error.remedies]
        raise


def _for_bucket(command: str, deploying: bool) -> str:
    if deploying and command.startswith(f"{PIPELINE} models show "):
        return f"--version {command.rsplit(maxsplit=1)[-1]}"
    ours = command.startswith((f"{PIPELINE} models ", f"{PIPELINE} train "))
    return command.replace(PIPELINE, f"python {PROGRAM}.py", 1) if ours else command


def tell_plan(arguments: argparse.Namespace, terminal: Terminal, lines: Sequence[str]) -> int | None:
    """Tell a launch and ask for it; the exit code if it ends here: a dry run, or a no."""
    tell = teller(arguments, terminal)
    for line in lines:
        tell(whole(arguments, line))
    if arguments.dry_run:
        print_json({"dry_run": True, "plan": lines}) if arguments.json else print("Nothing was made.")
        return DONE
    if terminal.confirm("Launch it?"):
        return None
    terminal.line("Nothing was made.")
    return FAILED


def print_json(content: object, *, one_line: bool = False) -> None:
    print(json.dumps(content, indent=None if one_line else 2, ensure_ascii=False, default=str), flush=True)


class LogStream:
    """Bytes of a log as text; pieces may be cut anywhere, also within a character."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._decoder = stream, codecs.getincrementaldecoder("utf-8")("replace")
        self.at_line_start = True

    def write(self, content: bytes) -> None:
        text = self._decoder.decode(content)
        if text:
            self._stream.write(text)
            self._stream.flush()
            self.at_line_start = text.endswith(("\n", "\r"))
