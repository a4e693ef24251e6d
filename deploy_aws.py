"""Train and serve in your own AWS account, and see to it that nothing is left running.

python deploy_aws.py init                          what the account needs, once; again changes nothing
python deploy_aws.py upload-data --data data       transcripts and characters into the bucket
python deploy_aws.py train llama                   launch, train, evaluate, publish, end
python deploy_aws.py deploy-gradio                 the page on a small machine
python deploy_aws.py status                        what runs, how far it is, what it costs
python deploy_aws.py logs RUN --follow             also: ssh, list-instances, models, cost
python deploy_aws.py terminate ID                  also: --run RUN, --all
python deploy_aws.py doctor --reap                 find and end what is left over
python deploy_aws.py destroy                       remove all that was made
"""

from __future__ import annotations

import argparse
import signal
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from aws.commands.ending import run_doctor, run_terminate
from aws.commands.looking import run_cost, run_list, run_logs, run_ssh, run_status
from aws.commands.output import PROGRAM
from aws.commands.serving import run_deploy
from aws.commands.set_up import run_destroy, run_init, run_upload
from aws.commands.training import run_train
from aws.commands.versions import run_models
from config import FAMILIES, Settings
from utils.command_line import Parser, add_common_arguments, add_recipe_argument, build_settings, run_command
from utils.registry_command import add_model_arguments
from utils.terminal import Terminal

MOST_HOURS = 8760  # a year


def main(given: Sequence[str]) -> int:
    given, words = _split(given)
    arguments = build_parser().parse_args(given)
    if words:
        arguments.words = [*arguments.words, *words]
    settings = build_settings(arguments, PROGRAM, _flags(arguments))
    command: Callable[[argparse.Namespace, Settings, Terminal], int] = arguments.run
    signal.signal(signal.SIGTERM, _as_interrupt)
    return command(arguments, settings, Terminal(yes=getattr(arguments, "yes", False)))


def _split(given: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Apart from ``ssh … -- WORDS`` everything is argparse's; it would not find them behind an option."""
    if "--" not in given or given[0] != "ssh":
        return given, []
    place = given.index("--")
    return given[:place], given[place + 1 :]


def _as_interrupt(number: int, frame: object) -> NoReturn:
    """SIGTERM cleans up as Ctrl-C does."""
    raise KeyboardInterrupt


def build_parser() -> Parser:
    """Every subcommand sets ``run``, the function that does it."""
    parser = Parser(prog="python deploy_aws.py", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_set_up(commands)
    _add_train(commands)
    _add_deploy(commands)
    _add_looking(commands)
    _add_ending(commands)
    _add_models(commands)
    return parser


def _add_command(commands: Any, name: str, run: Callable[..., int], text: str, *, changes: bool = False) -> Any:
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(run=run)
    add_common_arguments(parser)
    parser.add_argument("--region", metavar="R", help="AWS region (default: aws.region)")
    parser.add_argument("--profile", metavar="P", help="of ~/.aws (default: aws.profile)")
    parser.add_argument("--json", action="store_true", help="the result as JSON on standard output")
    if changes:
        parser.add_argument("--yes", action="store_true", help="ask nothing")
        parser.add_argument("--dry-run", action="store_true", help="say what would be done, change nothing")
    return parser


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is less than 1")
    return number


def _hours(text: str) -> float:
    number = float(text)
    if not 0.1 <= number <= MOST_HOURS:
        raise argparse.ArgumentTypeError(f"{text} hours; it goes from 0.1 to {MOST_HOURS}")
    return number


def _add_set_up(commands: Any) -> None:
    parser = _add_command(
        commands, "init", run_init, "Make what the account needs: bucket, roles, key, groups.", changes=True
    )
    parser.add_argument("--open-to", action="append", default=[], metavar="CIDR", help="who may connect")
    parser.add_argument("--policy", action="store_true", help="print the IAM policy that you need, and do nothing")
    parser = _add_command(
        commands, "upload-data", run_upload, "Bring a series into the bucket; only what changed.", changes=True
    )
    parser.add_argument("--data", metavar="DIR", help="series folder (default: data)")


def _add_train(commands: Any) -> None:
    parser = _add_command(
        commands, "train", run_train, "Train on a GPU instance; it ends with the run, whatever happens.", changes=True
    )
    parser.add_argument("family", choices=FAMILIES)
    parser.add_argument("--character", action="append", default=[], metavar="NAME", help="only these (default: all)")
    parser.add_argument("--base", default="", metavar="ID", help="a repository of the hub, or nano")
    add_recipe_argument(parser)
    parser.add_argument("--max-steps", type=_count, default=0, metavar="N", help="stop after N steps")
    parser.add_argument("--seed", type=int, metavar="N", help="for the held-out episodes, weights and order")
    parser.add_argument("--instance-type", action="append", default=[], metavar="T", help="tried in this order")
    parser.add_argument("--spot", action="store_true", help="cheaper; may be interrupted, goes on by itself")
    parser.add_argument("--or-on-demand", action="store_true", help="with --spot: on-demand where no spot is free")
    parser.add_argument("--max-hours", type=float, metavar="H", help="then it ends (default: aws.training.max_hours)")
    parser.add_argument("--max-usd", type=float, metavar="X", help="ends when this is spent")
    parser.add_argument("--retries", type=int, metavar="N", help="new machines after an interruption (default: 3)")
    parser.add_argument("--detach", action="store_true", help="come back as soon as it works on its own")
    parser.add_argument("--resume", default="", metavar="RUN", help="go on with a run")
    parser.add_argument("--new", action="store_true", help="begin a run even if one of the same words goes on")
    parser.add_argument("--keep-on-failure", action="store_true", help="leave the machine for a look if it fails")


def _add_deploy(commands: Any) -> None:
    parser = _add_command(
        commands, "deploy-gradio", run_deploy, "Serve the page; the one before ends when this answers.", changes=True
    )
    parser.add_argument("--family", choices=FAMILIES, default=FAMILIES[0], help="default: %(default)s")
    parser.add_argument("--version", default="", metavar="V", help="of the registry (default: the latest)")
    parser.add_argument("--instance-type", default="", metavar="T", help="default: the smallest t3 that the model fits")
    parser.add_argument("--open-to", action="append", default=[], metavar="CIDR", help="default: your address alone")
    parser.add_argument("--domain", default="", metavar="NAME", help="put Caddy with TLS for this name in front")
    parser.add_argument("--max-hours", type=_hours, default=0.0, metavar="H", help="default: until it is ended")


def _add_looking(commands: Any) -> None:
    parser = _add_command(commands, "status", run_status, "What runs, how far it is and what it costs, everywhere.")
    parser.add_argument("--watch", action="store_true", help="again and again, until Ctrl-C")
    parser.add_argument("--logs", action="store_true", help="with the last lines of each log")
    parser.add_argument("--lines", type=_count, default=10, metavar="N", help="of each log (default: %(default)s)")
    parser.add_argument("--source", choices=("ssh", "s3"), default="s3", help="ask the machines, or what they saved")
    _add_command(commands, "list-instances", run_list, "Every instance of the project in every enabled region.")
    parser = _add_command(commands, "logs", run_logs, "The log of a run.")
    parser.add_argument("name", metavar="RUN")
    parser.add_argument("--follow", action="store_true", help="until the run ends")
    parser.add_argument("--lines", type=_count, default=0, metavar="N", help="the last N (default: all)")
    parser = _add_command(commands, "ssh", run_ssh, "Log in to an instance, with its host key verified.")
    parser.add_argument("id", metavar="ID", help="an instance or a run")
    parser.add_argument("words", nargs="*", metavar="WORD", help="a command to run there: ssh ID -- ls -l")
    parser = _add_command(commands, "cost", run_cost, "What runs and resources have cost.")
    parser.add_argument("--since", metavar="YYYY-MM-DD", help="default: all that is on record")


def _add_ending(commands: Any) -> None:
    parser = _add_command(commands, "terminate", run_terminate, "End instances, with proof and price.", changes=True)
    parser.add_argument("ids", nargs="*", metavar="ID")
    parser.add_argument("--run", dest="name", default="", metavar="RUN", help="the machines of a run")
    parser.add_argument("--all", action="store_true", help="every instance of the project, in every region")
    parser = _add_command(commands, "doctor", run_doctor, "Look for what is left over, in every region.", changes=True)
    parser.add_argument("--reap", action="store_true", help="end and remove it")
    parser = _add_command(commands, "destroy", run_destroy, "Remove all that init and the rest made.", changes=True)
    parser.add_argument("--with-data", action="store_true", help="the bucket with data and models as well")


def _add_models(commands: Any) -> None:
    parser = _add_command(commands, "models", run_models, "Versions in the bucket.", changes=True)
    add_model_arguments(parser, ("pull", "push"))
    parser.add_argument("--registry", metavar="DIR", help="of pull and push: the folder (default: runs/registry)")


def _flags(arguments: argparse.Namespace) -> dict[str, object]:
    training = arguments.command == "train"
    types = getattr(arguments, "instance_type", None)
    return {
        "aws.region": arguments.region,
        "aws.profile": arguments.profile,
        "training.seed": arguments.seed if training else None,
        "paths.data": getattr(arguments, "data", None),
        "paths.registry": getattr(arguments, "registry", None),
        "aws.open_to": getattr(arguments, "open_to", None) or None,
        "aws.training.instance_types": types if training and types else None,
        "aws.training.max_hours": arguments.max_hours if training else None,
        "aws.training.max_usd": arguments.max_usd if training else None,
        "aws.training.retries": arguments.retries if training else None,
    }


if __name__ == "__main__":
    raise SystemExit(run_command(main))
