"""What every command has in common: flags, settings, logs, and errors as sentences with an exit code.

0 done, 1 failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import getpass
import logging
import os
import socket
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from config import ConfigError, Secret, Settings, SuiteError, list_recipes, load_settings
from utils.errors import UsageError
from utils.retyping import complete_remedies, program_of, retype

DONE, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are sentences that end with the next command to type."""

    def error(self, message: str) -> None:  # type: ignore[override]
        print(f"Error: {message}\n  See what there is:  {self.prog} --help", file=sys.stderr)
        raise SystemExit(WRONG_USAGE)


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """``--config`` and ``--debug``, which every command has."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings file (default: aws_config.yaml)")
    parser.add_argument("--debug", action="store_true", help="show tracebacks and what libraries log")


def add_recipe_argument(parser: argparse.ArgumentParser) -> None:
    """``--recipe``: settings of a training for a purpose."""
    parser.add_argument(
        "--recipe",
        default="",
        metavar="NAME|FILE",
        help=f"settings for a purpose: {', '.join(list_recipes())}, or a YAML file",
    )


def build_settings(arguments: argparse.Namespace, program: str, flags: Mapping[str, object]) -> Settings:
    """Settings from all layers, with logging set up as they say. ``flags``: dotted key to value, None: not given."""
    from utils.logs import set_up_logging

    settings = load_settings(arguments.config, flags=flags, recipe=getattr(arguments, "recipe", ""))
    secrets = [value.reveal() for _, value in settings.items() if isinstance(value, Secret) and value]
    set_up_logging(settings.paths.logs, program, secrets, arguments.debug)
    return settings


def actor() -> str:
    """Who types, for tags and histories: ``user@host``."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container without a name for its user
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


def run_command(main: Callable[[Sequence[str]], int], arguments: Sequence[str] | None = None) -> int:
    """Run ``main`` and turn what a user can cause into a sentence on standard error and an exit code."""
    # Threads of torch that wait in a busy loop take the cores from whoever else computes: see docs/training.md.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    given = sys.argv[1:] if arguments is None else arguments
    try:
        try:
            return main(given)
        finally:
            sys.stdout.flush()  # here, where a closed pipe is no error, and not when the interpreter ends
    except SuiteError as error:
        complete_remedies(error, program_of(main), given)
        return _fail(error, str(error), given, WRONG_USAGE if isinstance(error, UsageError | ConfigError) else FAILED)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of a pipe has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except OSError as error:
        return _fail(error, str(error), given, FAILED)
    except Exception as error:
        told = retype(program_of(main), given, ["--debug"])
        text = f"{type(error).__name__}: {error}\n  This is a fault of the program. See where:  {told}"
        return _fail(error, text, given, FAILED)


def _fail(error: Exception, text: str, given: Sequence[str], code: int) -> int:
    from utils.logs import hide_secrets

    if "--debug" in given:
        print(hide_secrets("".join(traceback.format_exception(error))), end="", file=sys.stderr)
    logging.getLogger(__name__).debug("failed", exc_info=error)
    print(f"Error: {hide_secrets(text)}", file=sys.stderr)
    return code
