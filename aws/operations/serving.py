"""What a page needs and which machine has it: sizes from the registry, with the reason for each choice.

need = version_need(registry, "llama", "", settings)
choice = choose_machine(need)                # t3.medium: a 3.2B model in 4 bit needs 3.8 GiB, …
job = build_serving_job(settings, names, run, "llama")
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from aws.operations.caddy import caddy_commands
from aws.operations.jobs import build_serving_job
from aws.operations.page_health import PageHealth, check_health, check_page, wait_for_page
from config import Settings
from utils.errors import SuiteError, UsageError, nearest
from utils.exports import find_version_export, read_footprint
from utils.registry import Registry

__all__ = [
    "MACHINE_TYPES",
    "Choice",
    "MachineType",
    "Need",
    "PageHealth",
    "build_serving_job",
    "caddy_commands",
    "check_health",
    "check_page",
    "choose_machine",
    "memory_need",
    "version_need",
    "wait_for_page",
]


@dataclass(frozen=True)
class MachineType:
    """A type of EC2 instance; memory in GiB."""

    name: str
    vcpus: int
    memory_gib: float


# By size. Source: aws.amazon.com/ec2/instance-types/t3, November 2026.
MACHINE_TYPES = (
    MachineType("t3.small", 2, 2),
    MachineType("t3.medium", 2, 4),
    MachineType("t3.large", 2, 8),
    MachineType("t3.xlarge", 4, 16),
    MachineType("t3.2xlarge", 8, 32),
)

GIB = 2**30
TORCH = "torch"  # of chat.engine
CPU_DTYPE_BYTES = 4  # character_chatbot/machine/devices.py: float32 where there is no CUDA

# The terms of the need, measured in November 2026 (2 Zen4 cores, torch 2.13, transformers 5.23, gradio 6.31, random
# weights saved in bfloat16 and loaded in float32, LoRA r=16 on all linear layers, peak of anonymous memory):
#   nothing loaded: 0.36 GiB, 0.47 with the libraries' files (the page is built, the sample series is read)
#   loaded, adapter counted:  139M 4.09, 503M 4.02, 1,247M 4.01 bytes per parameter, and never more on the way there
#   a reply to 2,000 tokens:  139M +0.34, 503M +0.26, 1,247M +0.73 GiB (attention scores, keys and values)
WEIGHTS_FACTOR = 1.02
REPLY_BYTES, REPLY_SHARE = int(0.45 * GIB), 0.05  # the share is of the weights
APP_BYTES = int(0.5 * GIB)
SYSTEM_BYTES = int(0.4 * GIB)  # Ubuntu, what the kernel keeps for itself, and the process that looks after the page

# Exactly, from the shapes in their config.json: names round (Llama-3.2-1B has 1.24 billion).
KNOWN_PARAMETERS = {
    "meta-llama/Llama-3.2-3B-Instruct": 3_212_749_824,
    "Qwen/Qwen2.5-3B-Instruct": 3_085_938_688,
    "HuggingFaceTB/SmolLM2-135M-Instruct": 134_515_008,
    "Qwen/Qwen2.5-0.5B-Instruct": 494_032_768,
}
NAME_MARGIN = 1.25
ASSUMED_PARAMETERS = KNOWN_PARAMETERS["meta-llama/Llama-3.2-3B-Instruct"]  # where nothing tells
SIZE_IN_NAME = re.compile(r"(?<![A-Za-z0-9.])(\d{1,4}(?:\.\d{1,3})?)([BM])(?![A-Za-z0-9])", re.IGNORECASE)


@dataclass(frozen=True)
class Need:
    """What serving a version takes.

    Args:
        version: of the registry; empty: there is none, and something lower will answer.
        base: name of the model.
        parameters: of the base; None: not known, ``bytes`` is then an assumption.
        bytes: of memory, everything on the machine counted.
        reason: what will be served, and what stands in its way; completes "Serve …".
        bits: of a number, as it is served.
        smaller: a command after which less will do; empty: none.
    """

    version: str
    base: str
    parameters: int | None
    bytes: int
    reason: str
    bits: int = 8 * CPU_DTYPE_BYTES
    smaller: str = ""

    @property
    def gib(self) -> float:
        return self.bytes / GIB


@dataclass(frozen=True)
class Choice:
    """A type of machine and why it is this one."""

    type: MachineType
    reason: str


def memory_need(parameters: int, dtype_bytes: int = CPU_DTYPE_BYTES, adapter_bytes: int = 0) -> int:
    """Bytes of memory of a machine that serves a model: weights, adapter, one reply, the app and the system.

    Args:
        parameters: of the base; 0: quotes, which need no model.
        dtype_bytes: of one weight in memory.
        adapter_bytes: size of its file; it is kept as it is saved.
    """
    weights = int(parameters * dtype_bytes * WEIGHTS_FACTOR)
    reply = REPLY_BYTES + int(REPLY_SHARE * weights) if parameters else 0
    return weights + adapter_bytes + reply + APP_BYTES + SYSTEM_BYTES


def version_need(
    registry: Registry,
    family: str,
    version: str = "",
    settings: Settings = Settings(),  # noqa: B008 - frozen
) -> Need:
    """What serving a version of a family takes; empty and ``latest``: the one that is served by default.

    Without any version the page steps down to the untrained base, and the need is that base's. An exported model is
    served as it is exported, unless ``chat.engine`` is torch.

    Raises:
        RegistryError: no version of this name, or latest.json or an export is damaged.
        StoreError: the registry cannot be read.
    """
    wanted = "" if version == "latest" else version
    if not wanted and registry.latest(family) is None:
        return _untrained_need(registry, family, settings)
    shown = registry.show(family, wanted or None)
    base = shown["run"].get("base")
    base = base if isinstance(base, dict) else {}
    name = str(base.get("name") or "an unknown base")
    parameters = _parameters(base, name, shown["files"])
    adapter = _size(shown["files"], "adapter_model")
    reason = f"{family} {shown['version']}, an adapter on {_describe(name, parameters)}"
    exported = _exported_need(registry, family, Need(shown["version"], name, parameters, 0, reason), settings)
    if exported is not None:
        return exported
    if base.get("kind") == "path":
        reason += ", which is a folder of the machine that trained it: the page will have to do without this version"
    need = _need(shown["version"], name, parameters, reason, adapter)
    wants_torch = settings.chat.engine == TORCH or base.get("kind") == "path"
    return need if wants_torch else replace(need, smaller=_export_command(registry, family, need.version))


def _untrained_need(registry: Registry, family: str, settings: Settings) -> Need:
    """Of the rung below: character_chatbot/sources.py steps down to it by itself."""
    name = settings.families[family].fine_tuned or settings.families[family].laptop
    parameters = _parameters({}, name, {})
    why = f"the registry has no version of {family} yet (train one: python deploy_aws.py train {family})"
    reason = f"{_describe(name, parameters)} with the persona as its prompt: {why}"
    exported = _exported_need(registry, family, Need("", name, parameters, 0, reason), settings)
    return exported or _need("", name, parameters, reason)


def _need(version: str, base: str, parameters: int | None, reason: str, adapter_bytes: int = 0) -> Need:
    known = ASSUMED_PARAMETERS if parameters is None else parameters
    return Need(version, base, parameters, memory_need(known, CPU_DTYPE_BYTES, adapter_bytes), reason)


def _exported_need(registry: Registry, family: str, need: Need, settings: Settings) -> Need | None:
    """The same on OpenVINO: the engine's process with a full cache, the app and the system. None: torch will serve it.

    Raises RegistryError: the export is damaged.
    """
    if settings.chat.engine == TORCH:
        return None
    name, record = find_version_export(registry.store, family, need.version, need.base)
    if record is None:
        return None
    try:
        footprint, parameters, bits = read_footprint(record), int(record["parameters"]), int(record["bits"])
    except (KeyError, TypeError, ValueError):
        return None
    if need.version and name != need.version:
        footprint = footprint.with_adapter()
    memory = footprint.serving_bytes(settings.chat.cache_tokens) + APP_BYTES + SYSTEM_BYTES
    return Need(need.version, need.base, parameters, memory, f"{need.reason}, exported in {bits} bit", bits)


def _export_command(registry: Registry, family: str, version: str) -> str:
    return f"python training_pipeline.py export {family} --version {version} --registry {registry.store.url}"


def _parameters(base: Mapping[str, Any], name: str, files: Mapping[str, Any]) -> int | None:
    """As recorded by the training, else by the size of a base that travels along, else by its name."""
    recorded = base.get("parameters")
    if isinstance(recorded, int) and not isinstance(recorded, bool) and recorded > 0:
        return recorded
    if carried := _size(files, "base/"):
        return carried // CPU_DTYPE_BYTES  # a nano base is trained and saved in float32
    return KNOWN_PARAMETERS.get(name) or _parameters_by_name(name)


def _parameters_by_name(name: str) -> int | None:
    """A size such as 3B or 135M in the last part of a name, with a margin."""
    found = SIZE_IN_NAME.search(name.rpartition("/")[2])
    if found is None:
        return None
    return int(float(found[1]) * {"B": 1e9, "M": 1e6}[found[2].upper()] * NAME_MARGIN)


def _size(files: Mapping[str, Any], start: str) -> int:
    """Bytes of the weights whose names start so."""
    return sum(
        int(file["size_bytes"])
        for name, file in files.items()
        if name.startswith(start) and name.endswith(".safetensors")
    )


def choose_machine(need: Need, asked: str = "") -> Choice:
    """The smallest type that the need fits in, or the one asked for.

    Raises:
        UsageError: ``asked`` is not a type of the table.
        SuiteError: the need does not fit into the type asked for, or into any.
    """
    fitting = [each for each in MACHINE_TYPES if fits(need, each)]
    if asked:
        return _check_asked(need, _type_named(asked), fitting)
    if not fitting:
        raise _too_large(need)
    return Choice(fitting[0], f"{_sentence(need)}; {fitting[0].name} with {fitting[0].memory_gib:g} is the smallest")


def fits(need: Need, machine: MachineType) -> bool:
    """Whether the machine has the memory."""
    return need.bytes <= machine.memory_gib * GIB


def _check_asked(need: Need, machine: MachineType, fitting: list[MachineType]) -> Choice:
    if machine in fitting:
        return Choice(machine, f"as asked; {_sentence(need)}, and it has {machine.memory_gib:g}")
    if need.parameters is None and machine.memory_gib * GIB >= memory_need(0):
        return Choice(machine, f"as asked; the size of {need.base} is not known, so it may not fit")
    if not fitting:
        raise _too_large(need)
    command = "python deploy_aws.py deploy-gradio"
    raise SuiteError(
        f"{_sentence(need)}; {machine.name} has {machine.memory_gib:g}.",
        instead=f"The smallest that it fits in is {fitting[0].name} with {fitting[0].memory_gib:g} GiB.",
        remedies=[("Take that one", f"{command} --instance-type {fitting[0].name}")],
    )


def _too_large(need: Need) -> SuiteError:
    largest = MACHINE_TYPES[-1]
    return SuiteError(
        f"{_sentence(need)}, and the largest machine for a page, {largest.name}, has {largest.memory_gib:g}.",
        instead="A version that was trained on a smaller base fits.",
        remedies=[
            ("See the versions", "python deploy_aws.py models list"),
            ("Or use a machine with a GPU", "python gradio_app.py --registry s3://BUCKET"),
        ],
    )


def _type_named(name: str) -> MachineType:
    known = {each.name: each for each in MACHINE_TYPES}
    if name in known:
        return known[name]
    near = nearest(name, known)
    raise UsageError(
        f"a page is not served on '{name}'.",
        instead=(f"Did you mean {near}? " if near else "") + f"There are: {', '.join(known)}.",
        remedies=[("Let the model decide", "leave --instance-type and aws.serving.instance_type out")],
    )


def _sentence(need: Need) -> str:
    """``a 3.2B model in 32 bit needs 14.3 GiB``."""
    if need.parameters is None:
        return f"the size of {need.base} is not known; one of {_short(ASSUMED_PARAMETERS)} needs {need.gib:.1f} GiB"
    return f"a {_short(need.parameters)} model in {need.bits} bit needs {need.gib:.1f} GiB"


def _describe(name: str, parameters: int | None) -> str:
    return f"{name} ({_short(parameters)} parameters)" if parameters else f"{name} (of unknown size)"


def _short(parameters: int) -> str:
    """``3.2B``, ``135M``, ``0.8M``."""
    if parameters >= 1e9:
        return f"{parameters / 1e9:.1f}B"
    return f"{parameters / 1e6:.0f}M" if parameters >= 1e7 else f"{parameters / 1e6:.1f}M"
