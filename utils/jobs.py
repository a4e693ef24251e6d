"""One job for many items: one after the other here, or side by side on Ray. The results are the same.

outcomes = run_jobs(make_network, {"othello": ("data/othello", "out/othello")}, engine="ray", workers=4)

A job is a function of an importable module with plain arguments and a plain result. An item that fails does not stop
the others. Ray does all the scheduling: it runs a task again whose worker died.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from utils.errors import SuiteError, UsageError

logger = logging.getLogger(__name__)

ENGINES = LOCAL, RAY = ("local", "ray")
PROJECT = Path(__file__).resolve().parent.parent
INSTALL = "pip install -r requirements-ray.txt"
RETRIES = 3  # of a job whose worker died
OBJECT_STORE_BYTES = 256 * 1024 * 1024  # for arguments and results, which are small
CLUSTER, OWN = "RAY_ADDRESS", "local"  # names a cluster of several machines that runs already; Ray's word for none
LOOPBACK = "127.0.0.1"
# Read by Ray when it is imported and by every process it starts. The first makes it stay on the loopback address.
LOCAL_ONLY = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_AUTH_MODE": "token"}
ALWAYS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
TOKEN = "RAY_AUTH_TOKEN"  # noqa: S105 (the name of a variable)

Told = Callable[["Outcome"], None]


@dataclass(frozen=True)
class Outcome:
    """What became of one item: a value, or a sentence that says why there is none."""

    name: str
    value: Any = None
    error: str = ""


def run_jobs(
    function: Callable[..., Any],
    jobs: Mapping[str, Sequence[Any]],
    engine: str = LOCAL,
    workers: int | None = None,
    told: Told | None = None,
) -> list[Outcome]:
    """Outcomes in the order of ``jobs``, which are the arguments of each call by name.

    Args:
        workers: of Ray on this machine; default: one for each core. A cluster of ``RAY_ADDRESS`` has its own.
        told: hears of each outcome when it is there, in any order.

    Raises:
        UsageError: Ray is not installed, or does not start.
    """
    ways = _run_on_ray(function, jobs, workers) if engine == RAY else _run_here(function, jobs)
    found = {}
    for outcome in ways:
        found[outcome.name] = outcome
        if told:
            told(outcome)
    return [found[name] for name in jobs]


def attempt(function: Callable[..., Any], given: Sequence[Any]) -> tuple[Any, str]:
    """The result and an empty text, or None and the sentence for what failed."""
    try:
        return function(*given), ""
    except (SuiteError, OSError) as error:
        return None, str(error)
    except Exception as error:
        logger.debug("a job failed", exc_info=True)
        return None, f"{type(error).__name__}: {error}\n  This is a fault of the program."


def _run_here(function: Callable[..., Any], jobs: Mapping[str, Sequence[Any]]) -> Iterator[Outcome]:
    for name, given in jobs.items():
        yield Outcome(name, *attempt(function, given))


def _run_on_ray(
    function: Callable[..., Any], jobs: Mapping[str, Sequence[Any]], workers: int | None
) -> Iterator[Outcome]:
    with _ray(workers) as ray:
        task = ray.remote(max_retries=RETRIES, num_cpus=1)(attempt)
        waiting = {task.remote(function, tuple(given)): name for name, given in jobs.items()}
        while waiting:
            (done, *_), _ = ray.wait(list(waiting), num_returns=1)
            name = waiting.pop(done)
            try:
                yield Outcome(name, *ray.get(done))
            except ray.exceptions.RayError as error:
                first = next(iter(str(error).strip().splitlines()), "")
                yield Outcome(name, None, f"its worker died {RETRIES + 1} times: {type(error).__name__}: {first}")


@contextmanager
def _ray(workers: int | None) -> Iterator[Any]:
    """Ray, running: the cluster that ``RAY_ADDRESS`` names, else one of this process alone that nobody else reaches."""
    if importlib.util.find_spec("ray") is None:
        raise UsageError(
            "the engine ray needs the package ray, which is not installed.",
            remedies=[("Install it", INSTALL), ("Or go without", f"--engine {LOCAL}")],
        )
    cluster = os.environ.get(CLUSTER, "")
    os.environ.update(ALWAYS if cluster else ALWAYS | LOCAL_ONLY)
    if not cluster:
        os.environ.setdefault(TOKEN, secrets.token_hex(32))  # other users of this machine cannot give it work
    given = [part for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part not in ("", str(PROJECT))]
    os.environ["PYTHONPATH"] = os.pathsep.join([str(PROJECT), *given])  # workers import the job
    import ray

    own: dict[str, Any] = {
        "num_cpus": workers or len(os.sched_getaffinity(0)),
        "include_dashboard": False,
        "object_store_memory": OBJECT_STORE_BYTES,
        "_node_ip_address": LOOPBACK,
    }
    try:
        ray.init(cluster or OWN, logging_level=logging.ERROR, log_to_driver=False, **({} if cluster else own))
    except (RuntimeError, ConnectionError, ValueError, OSError) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UsageError(f"Ray does not start: {first}", remedies=[("Go without", f"--engine {LOCAL}")]) from error
    try:
        yield ray
    finally:
        ray.shutdown()
