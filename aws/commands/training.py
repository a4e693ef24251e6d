"""train: plan, ask, launch, follow, tell."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from aws.commands.output import open_cloud_at, print_json, tell_plan, whole
from aws.commands.watcher import TerminalWatcher
from config import Settings
from utils.command_line import DONE, FAILED
from utils.errors import UsageError
from utils.terminal import Terminal

if TYPE_CHECKING:
    from aws.operations.train import TrainingResult


def run_train(arguments: argparse.Namespace, settings: Settings, terminal: Terminal) -> int:
    from aws.operations.train import TrainingOrder, plan_training, run_training

    if arguments.or_on_demand and not arguments.spot:
        raise UsageError("--or-on-demand goes with --spot; without both it is on-demand.")
    cloud = open_cloud_at(settings, terminal)
    order = TrainingOrder(
        arguments.family,
        tuple(arguments.character),
        arguments.base,
        arguments.max_steps,
        arguments.seed,
        arguments.spot,
        arguments.or_on_demand,
        settings.aws.training.max_hours,
        settings.aws.training.max_usd,
        arguments.detach,
        arguments.keep_on_failure,
        arguments.resume,
        arguments.new,
        arguments.recipe,
    )
    plan = plan_training(cloud, order)
    refused = tell_plan(arguments, terminal, plan.lines())
    if refused is not None:
        return refused
    watcher = TerminalWatcher(terminal, f"{order.family} training", plan.price.usd_per_hour)
    result = run_training(cloud, order, plan, watcher)
    terminal.clear()
    return _tell_training(arguments, result)


def _tell_training(arguments: argparse.Namespace, result: TrainingResult) -> int:
    record, outcome = result.record, result.outcome
    done = result.detached or (outcome is not None and outcome.stage == "done")
    if arguments.json:
        print_json(
            {
                "run": record.run,
                "stage": outcome.stage if outcome else "detached",
                "output": dict(outcome.output) if outcome else {},
                "failing_line": outcome.failing_line if outcome else "",
                "cost_usd": record.cost_usd,
                "deadline": record.deadline,
            }
        )
    elif result.detached:
        print(f"{record.run} works on its own and ends itself, by {record.deadline} at the latest.")
        print(whole(arguments, f"  Follow it:  python deploy_aws.py logs {record.run} --follow"))
    elif done and outcome:
        print(f"{record.run} published {outcome.output.get('version', 'its version')}; {record.cost_usd:.2f} USD.")
        problem = (outcome.output.get("export") or {}).get("problem")
        if problem:
            print(f"  Not exported for CPUs, so its page takes a larger machine: {problem}")
        print(whole(arguments, f"  Serve it:  python deploy_aws.py deploy-gradio --family {arguments.family}"))
    if not done and outcome:
        print(whole(arguments, _failure(result)), file=sys.stderr)
    return DONE if done else FAILED


def _failure(result: TrainingResult) -> str:
    record, outcome = result.record, result.outcome
    why = outcome.failing_line if outcome else ""
    family = record.run.partition("-")[0]
    lines = [
        f"Error: {record.run} {outcome.stage if outcome else 'failed'}: {why or 'no reason was given'}",
        f"  See all it said:  python deploy_aws.py logs {record.run}",
        f"  Go on with it:    python deploy_aws.py train {family} --resume {record.run}",
    ]
    if result.kept:
        lines.append(f"  Look at it:       python deploy_aws.py ssh {record.run}   (until {record.deadline})")
        lines.append(f"  End it:           python deploy_aws.py terminate --run {record.run}")
    return "\n".join(lines)
