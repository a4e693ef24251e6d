"""Exporting a version: packed, compared with torch, and put beside the versions only if it says what torch says.

outcome = export_version(ExportRequest("llama"), settings, registry)
outcome.record["agreement"]             # measured, and kept with the export

It runs where the training ran: there are the base, torch and memory. A serving machine gets the result alone.
"""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from character_chatbot.bases import load_model
from character_chatbot.engines.base import Sampling
from character_chatbot.engines.openvino_engine import EngineOptions, OpenVinoEngine
from character_chatbot.engines.plain_tokenizer import PlainTokenizer
from character_chatbot.export.agreement import GREEDY_TOKENS, Agreement, measure_agreement, measure_greedy
from character_chatbot.export.architecture import Architecture, read_architecture
from character_chatbot.export.footprint import cache_token_bytes, check_export_fits
from character_chatbot.export.graph import build_graph
from character_chatbot.export.packages import INSTALL, missing_package, package_versions
from character_chatbot.export.shelf import publish_export, remove_export
from character_chatbot.export.subject import Subject, base_subject, find_base_folder, find_pairs, version_subject
from character_chatbot.export.weights import Weights
from character_chatbot.machine.devices import Device, choose_device
from character_chatbot.machine.machine_memory import available_host_bytes
from character_chatbot.prompts import end_of_turn
from character_chatbot.version import open_version
from config import Settings
from utils.errors import BaseModelError
from utils.exports import RECORD, TOKENIZER_FILES, find_export
from utils.fetching import fetch_bar
from utils.files import write_atomic
from utils.registry import Registry

logger = logging.getLogger(__name__)

# A smaller base loses more by 4 bits, and is fast enough in 8.
FOUR_BITS_FROM = 250_000_000  # parameters
FLOAT32_UP_TO = 1_000_000_000  # parameters: torch compares in float32


@dataclass(frozen=True)
class ExportRequest:
    """``version`` None: the latest. ``bits`` 0: as the settings say. ``out``: a folder instead of the registry.

    ``runtime_adapter``: the base alone, which serves all versions on it with their adapters put on at run time.
    ``again``: in place of the export that is there. ``base``: a base by its name, no version; or a fine-tuned model.
    """

    family: str
    version: str | None = None
    bits: int = 0
    out: Path | None = None
    runtime_adapter: bool = False
    again: bool = False
    base: str = ""


@dataclass(frozen=True)
class ExportOutcome:
    """``name``: of the export in the registry. ``record``: what export.json says. ``reused``: it was there already."""

    name: str
    record: dict[str, Any]
    reused: bool = False


def export_version(request: ExportRequest, settings: Settings, registry: Registry) -> ExportOutcome:
    """Pack, compare, publish.

    Raises:
        BaseModelError: a package lacks, the base cannot be exported here, or the export does not say what torch says.
        RegistryError, StoreError: the version cannot be had, or the export not be published.
    """
    if missing_package():
        raise BaseModelError(f"the package {missing_package()} is not installed.", remedies=[("Install it", INSTALL)])
    subject = _find_subject(request, settings, registry)
    if request.out is None and not request.again:
        made = find_export(registry.store, request.family, subject.name)
        if made is not None:
            return ExportOutcome(subject.name, made, reused=True)
    with tempfile.TemporaryDirectory(prefix="export-", dir=_workplace(settings)) as side:
        record = _make(Path(side), subject, request, settings)
        if request.out is not None:
            shutil.copytree(side, request.out, dirs_exist_ok=True)
        else:
            _publish(registry, request, subject.name, Path(side))
    return ExportOutcome(subject.name, record)


def _find_subject(request: ExportRequest, settings: Settings, registry: Registry) -> Subject:
    if request.base:
        return base_subject(request.base, settings)
    found = registry.resolve(request.family, request.version)
    with fetch_bar(f"{request.family} {found.version}") as on_fetch:
        folder = registry.fetch(request.family, found.version, settings.paths.cache / "versions", on_fetch)
    trained = open_version(folder)
    return version_subject(trained, request.runtime_adapter)


def _workplace(settings: Settings) -> Path:
    folder = settings.paths.cache.expanduser() / "exports"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _publish(registry: Registry, request: ExportRequest, name: str, folder: Path) -> None:
    if request.again:
        remove_export(registry.store, request.family, name)
    publish_export(registry.store, request.family, name, folder)


def _make(folder: Path, subject: Subject, request: ExportRequest, settings: Settings) -> dict[str, Any]:
    """Write the export into ``folder``; what export.json says of it."""
    source = find_base_folder(subject.base, settings.secrets.hf_token.reveal())
    shape = read_architecture(source)
    weights = Weights.open(source, subject.adapter)
    bits = choose_bits(request.bits or settings.export.bits, weights.count())
    check_export_fits(weights, bits, folder, available_host_bytes())
    seconds = write_model(folder, source, shape, weights, bits)
    copy_tokenizer(subject.tokenizer, folder)
    agreement = _compare(folder, subject, settings, weights.count())
    record = {
        "base": subject.base.name,
        "version": subject.version,
        "bits": bits,
        "parameters": weights.count(),
        "weights_bytes": (folder / "openvino_model.bin").stat().st_size,
        "cache_token_bytes": cache_token_bytes(shape),
        "seconds": round(seconds, 1),
        "agreement": agreement.to_dict(),
        "packages": package_versions(),
    }
    write_atomic(folder / RECORD, json.dumps(record, indent=2))
    _refuse_beyond(agreement, settings, bits)
    return record


def choose_bits(wanted: int, parameters: int) -> int:
    """Of the linear layers, with the reason in the log. Raises BaseModelError: neither 4 nor 8."""
    if wanted in (4, 8):
        return wanted
    if wanted:
        raise BaseModelError(f"an export has 4 or 8 bits, not {wanted}.")
    bits = 4 if parameters >= FOUR_BITS_FROM else 8
    logger.info("%d bits: the base has %.1f million parameters (4 from %d on)", bits, parameters / 1e6, FOUR_BITS_FROM)
    return bits


def write_model(folder: Path, source: Path, shape: Architecture, weights: Weights, bits: int) -> float:
    """The model with the configuration from ``source`` in ``folder``; the seconds that it took."""
    import openvino
    from tqdm import tqdm

    started = time.monotonic()
    with tqdm(total=shape.layers, desc=f"packing in {bits} bits", unit="layer", disable=None) as bar:
        model = build_graph(shape, weights, bits, lambda done, layers: bar.update())
    openvino.save_model(model, folder / "openvino_model.xml", compress_to_fp16=False)
    shutil.copy(source / "config.json", folder / "config.json")
    return time.monotonic() - started


def copy_tokenizer(source: Path, folder: Path) -> None:
    """The tokenizer and its chat template."""
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copy(source / name, folder / name)


def _compare(folder: Path, subject: Subject, settings: Settings, parameters: int) -> Agreement:
    """Against torch in the most exact format that is affordable. A base is compared without the adapter."""
    from dataclasses import replace

    tokenizer = PlainTokenizer(folder)
    pairs = find_pairs(tokenizer, subject, settings)
    device = choose_device()
    if device.kind == "cpu" and parameters > FLOAT32_UP_TO:
        device = Device("cpu", "bfloat16", "in float32 it takes too much memory")
    model = load_model(subject.base, device, settings.secrets.hf_token.reveal())
    if subject.adapter:
        model = _with_adapter(model, subject.adapter)
    found = measure_agreement(folder, model, pairs)
    engine = OpenVinoEngine(folder, EngineOptions(cache_tokens=4096))
    greedy = Sampling(max_new_tokens=GREEDY_TOKENS, temperature=0.0, repetition_penalty=1.0)
    ends = sorted({end_of_turn(cast(Any, tokenizer)), tokenizer.eos_token_id or 0})
    try:
        share = measure_greedy(
            lambda prompt: [each for ids in engine.generate(prompt, greedy) for each in ids], model, pairs, ends
        )
    finally:
        engine.close()
    return replace(found, greedy_share=share)


def _with_adapter(model: Any, folder: Path) -> Any:
    from peft import PeftModel

    return PeftModel.from_pretrained(model, str(folder), use_safetensors=True).eval()


def _refuse_beyond(agreement: Agreement, settings: Settings, bits: int) -> None:
    problems = agreement.problems(settings.export)
    if problems:
        raise BaseModelError(
            f"the export does not say what torch says: {'; '.join(problems)}.",
            instead="It is not published; torch goes on to serve this version.",
            remedies=[("In 8 bits", "--bits 8")] if bits == 4 else [("Look at", "docs/serving.md")],
        )
