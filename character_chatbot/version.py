"""The folder of a version: adapter, tokenizer, characters, run.json, metrics.json, model card; written and read."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from character_chatbot.bases import NANO, Base
from character_chatbot.dialogues import DialogueSet
from config import PROJECT_FOLDER
from utils.announcements import Announcement
from utils.characters import Cast, load_cast
from utils.errors import RegistryError
from utils.files import write_atomic

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase

RECORDED_PACKAGES = ("torch", "transformers", "peft", "trl", "accelerate", "tokenizers", "safetensors", "datasets")
NANO_FOLDER = "base"  # a nano base travels with its adapter: nobody else has it


@dataclass(frozen=True)
class TrainedVersion:
    """A version as serving needs it."""

    folder: Path
    run: dict[str, Any]
    cast: Cast

    @property
    def title(self) -> str:
        return str(self.run["title"])

    @property
    def characters(self) -> tuple[str, ...]:
        return tuple(self.run["characters"])

    @property
    def base(self) -> Base:
        """The base that the adapter was trained on."""
        kind, name = self.run["base"]["kind"], self.run["base"]["name"]
        location = {NANO: str(self.folder / NANO_FOLDER)}.get(kind, name)
        return Base(kind, name, location)


def open_version(folder: Path) -> TrainedVersion:
    """Read a fetched version. Raises RegistryError if its run.json or characters.jsonl is not usable."""
    try:
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        found = TrainedVersion(folder, run, load_cast(folder / "characters.jsonl"))
        _ = found.title, found.characters, found.base, [Announcement(**made) for made in run["announcements"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RegistryError(f"{folder / 'run.json'} does not describe a run: {error!r}") from None
    return found


def build_run(
    dialogues: DialogueSet,
    family: str,
    base: Base,
    settings: dict[str, object],
    announcements: list[dict[str, str]],
    *,
    parameters: int,
    quantised: bool = False,
) -> dict[str, Any]:
    """What run.json records, but for what is measured. ``parameters``: of the base; a server is chosen by it.

    ``quantised``: whether the adapter was trained, and evaluated, on the base in 4 bits.
    """
    return {
        "family": family,
        "title": dialogues.title,
        "characters": list(dialogues.characters),
        "base": {"kind": base.kind, "name": base.name, "parameters": parameters, "quantised": quantised},
        "data_sha256": dialogues.data_hash(),
        "training_dialogues": len(dialogues.training),
        "held_out_dialogues": len(dialogues.held_out),
        "held_out_episodes": [f"S{season:02d}E{episode:02d}" for season, episode in dialogues.held_out_episodes],
        "command": sys.argv,
        "git_commit": _git_commit(),
        "packages": _packages(),
        "settings": settings,
        "announcements": announcements,
    }


def write_version(
    folder: Path,
    model: PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    base: Base,
    dialogues: DialogueSet,
    run: dict[str, Any],
    metrics: dict[str, Any],
    adapter: dict[str, torch.Tensor] | None = None,
) -> None:
    """Write the folder that is published; what was in it before is gone.

    ``adapter``: its weights, where the model does not have them whole.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # The name of the base, not where it lay on this machine; no look-up at the hub whether its vocabulary grew.
    model.peft_config["default"].base_model_name_or_path = run["base"]["name"]
    weights: dict[str, Any] = {"state_dict": adapter} if adapter else {}
    model.save_pretrained(str(folder), safe_serialization=True, save_embedding_layers=False, **weights)
    tokenizer.save_pretrained(str(folder))
    if base.kind == NANO:
        shutil.copytree(base.location, folder / NANO_FOLDER)
    _write_characters(folder / "characters.jsonl", dialogues)
    write_atomic(folder / "run.json", json.dumps(run, indent=2, ensure_ascii=False))
    write_atomic(folder / "metrics.json", json.dumps(metrics, indent=2))
    write_atomic(folder / "README.md", build_card(run, metrics))


def _write_characters(file: Path, dialogues: DialogueSet) -> None:
    rows = [asdict(dialogues.cast.get(name)) for name in dialogues.characters]
    write_atomic(file, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def build_card(run: dict[str, Any], metrics: dict[str, Any]) -> str:
    """The model card, from what was recorded and measured alone."""
    held_out = metrics.get("held_out")
    measured = (
        f"Perplexity of {held_out['replies']} held-out replies ({held_out['tokens']} tokens): "
        f"base {held_out['base_perplexity']:.2f}, adapter {held_out['adapter_perplexity']:.2f}."
        if held_out
        else "Not measured: no episode was held out."
    )
    return f"""# {run["title"]}: LoRA adapter, {run["family"]}

An adapter for `{run["base"]["name"]}` that replies as {", ".join(run["characters"])}.

- Trained on {run["training_dialogues"]} dialogues; held out: {", ".join(run["held_out_episodes"]) or "nothing"}.
- {measured}
- Steps: {metrics["training"]["steps"]}; loss {metrics["training"]["first_loss"]:.3f} at the first step, \
{metrics["training"]["last_loss"]:.3f} at the last{_kept(metrics["training"])}.

It imitates fictional characters from transcripts. What it says is invention, neither a quotation nor a fact. The
rights in the transcripts stay with their owners; do not pass the adapter on without the right to do so.
"""


def _kept(training: dict[str, Any]) -> str:
    """Whose weights these are, where something has chosen them."""
    if training.get("kept_step", training["steps"]) == training["steps"]:
        return ""
    return f"; the weights are those of step {training['kept_step']}, which expected held-out replies best"


def _packages() -> dict[str, str]:
    found = {}
    for name in RECORDED_PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _git_commit() -> str | None:
    """The commit of the code that runs; None outside a checkout."""
    try:
        answer = subprocess.run(
            ["git", "-C", str(PROJECT_FOLDER), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip()
