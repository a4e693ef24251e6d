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
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from character_chatbot.bases import HUB, Base, load_model
from character_chatbot.corpus import read_corpus
from character_chatbot.engines.base import Sampling
from character_chatbot.engines.openvino_engine import EngineOptions, OpenVinoEngine
from character_chatbot.engines.plain_tokenizer import PlainTokenizer
from character_chatbot.export.agreement import GREEDY_TOKENS, Agreement, Pair, measure_agreement, measure_greedy
from character_chatbot.export.architecture import Architecture, read_architecture
from character_chatbot.export.footprint import cache_token_bytes, check_export_fits
from character_chatbot.export.graph import build_graph
from character_chatbot.export.packages import INSTALL, missing_package, package_versions
from character_chatbot.export.shelf import (
    RECORD,
    TOKENIZER_FILES,
    base_export_name,
    find_export,
    publish_export,
    remove_export,
)
from character_chatbot.export.weights import Weights
from character_chatbot.machine.devices import Device, choose_device
from character_chatbot.machine.machine_memory import available_host_bytes
from character_chatbot.prompts import Turn, build_messages, encode_prompt, encode_reply, end_of_turn
from character_chatbot.training.evaluation import choose_replies
from character_chatbot.training.examples import encode_dialogues
from character_chatbot.version import TrainedVersion, open_version
from config import Settings
from utils.errors import BaseModelError
from utils.files import write_atomic
from utils.registry import Registry

logger = logging.getLogger(__name__)

# A smaller base loses more by 4 bits, and is fast enough in 8.
FOUR_BITS_FROM = 250_000_000  # parameters
FLOAT32_UP_TO = 1_000_000_000  # parameters: torch compares in float32
ANSWER = "I have told you before, and it is true."
QUESTIONS = ("Who are you?", "What happened last night?", "I do not believe you.", "Where are we going now?")


@dataclass(frozen=True)
class ExportRequest:
    """``version`` None: the latest. ``bits`` 0: as the settings say. ``out``: a folder instead of the registry.

    ``runtime_adapter``: the base alone, which serves all versions on it with their adapters put on at run time.
    ``again``: in place of the export that is there.
    """

    family: str
    version: str | None = None
    bits: int = 0
    out: Path | None = None
    runtime_adapter: bool = False
    again: bool = False


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
    found = registry.resolve(request.family, request.version)
    trained = open_version(registry.fetch(request.family, found.version, settings.paths.cache / "versions"))
    name = base_export_name(trained.base.name) if request.runtime_adapter else found.version
    if request.out is None and not request.again:
        made = find_export(registry.store, request.family, name)
        if made is not None:
            return ExportOutcome(name, made, reused=True)
    with tempfile.TemporaryDirectory(prefix="export-", dir=_workplace(settings)) as side:
        record = _make(Path(side), trained, request, settings)
        if request.out is not None:
            shutil.copytree(side, request.out, dirs_exist_ok=True)
        else:
            _publish(registry, request, name, Path(side))
    return ExportOutcome(name, record)


def _workplace(settings: Settings) -> Path:
    folder = settings.paths.cache.expanduser() / "exports"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _publish(registry: Registry, request: ExportRequest, name: str, folder: Path) -> None:
    if request.again:
        remove_export(registry.store, request.family, name)
    publish_export(registry.store, request.family, name, folder)


def _make(folder: Path, trained: TrainedVersion, request: ExportRequest, settings: Settings) -> dict[str, Any]:
    """Write the export into ``folder``; what export.json says of it."""
    source = find_base_folder(trained.base, settings.secrets.hf_token.reveal())
    shape = read_architecture(source)
    weights = Weights.open(source, None if request.runtime_adapter else trained.folder)
    bits = choose_bits(request.bits or settings.export.bits, weights.count())
    check_export_fits(weights, bits, folder, available_host_bytes())
    seconds = write_model(folder, source, shape, weights, bits)
    copy_tokenizer(trained.folder, folder)
    agreement = _compare(folder, trained, request, settings, weights.count())
    record = {
        "base": trained.base.name,
        "version": None if request.runtime_adapter else trained.folder.name,
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


def find_base_folder(base: Base, token: str = "") -> Path:
    """Where a base's config.json and weights are; fetched from the hub where they are not. Raises BaseModelError."""
    if base.kind != HUB:
        return Path(base.location)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return Path(snapshot_download(base.location, allow_patterns=["*.json", "*.safetensors"], token=token or None))
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError) as error:
        why = str(error).strip().splitlines()[0]
        raise BaseModelError(f"base model {base.name} is not on this machine: {why}") from None


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


def _compare(
    folder: Path, trained: TrainedVersion, request: ExportRequest, settings: Settings, parameters: int
) -> Agreement:
    """Against torch in the most exact format that is affordable. A base is compared without the adapter."""
    from dataclasses import replace

    tokenizer = PlainTokenizer(folder)
    pairs = find_pairs(tokenizer, trained, settings)
    device = choose_device()
    if device.kind == "cpu" and parameters > FLOAT32_UP_TO:
        device = Device("cpu", "bfloat16", "in float32 it takes too much memory")
    model = load_model(trained.base, device, settings.secrets.hf_token.reveal())
    if not request.runtime_adapter:
        model = _with_adapter(model, trained.folder)
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


def find_pairs(tokenizer: PlainTokenizer, trained: TrainedVersion, settings: Settings) -> list[Pair]:
    """Held-out replies of the series where it is at hand; else its characters asked a few questions."""
    corpus, _ = read_corpus(settings.paths.data)
    if corpus is not None:
        dialogues = corpus.build_dialogues(settings, trained.characters)
        examples = encode_dialogues(cast(Any, tokenizer), dialogues.held_out, dialogues, settings.training.max_length)
        chosen = choose_replies(examples, settings.export.compared_replies, settings.training.seed)
        if chosen:
            return [(each.input_ids[: -len(each.reply_ids)], each.reply_ids) for each in chosen]
    return list(_ask(tokenizer, trained, trained.characters))


def _ask(tokenizer: PlainTokenizer, trained: TrainedVersion, characters: Sequence[str]) -> list[Pair]:
    pairs: list[Pair] = []
    for name in characters[:4]:
        for question in QUESTIONS:
            messages = build_messages(trained.cast.get(name), trained.title, [Turn("Visitor", question)])
            plain = cast(Any, tokenizer)
            pairs.append((encode_prompt(plain, messages), encode_reply(plain, ANSWER)))
    return pairs


def _refuse_beyond(agreement: Agreement, settings: Settings, bits: int) -> None:
    problems = agreement.problems(settings.export)
    if problems:
        raise BaseModelError(
            f"the export does not say what torch says: {'; '.join(problems)}.",
            instead="It is not published; torch goes on to serve this version.",
            remedies=[("In 8 bits", "--bits 8")] if bits == 4 else [("Look at", "docs/serving.md")],
        )
