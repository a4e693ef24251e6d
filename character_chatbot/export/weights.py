"""Weights of a base and of its adapter, read tensor by tensor from safetensors; needs neither torch nor the memory.

weights = Weights.open(Path("base"))
weights.read("model.norm.weight")            # a float32 array
merged = Weights.open(Path("base"), Path("adapter"))
merged.read("model.layers.0.mlp.up_proj.weight")   # W + alpha / r · B A
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.errors import BaseModelError, RegistryError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Names of the format's number types, https://huggingface.co/docs/safetensors; bfloat16 is the upper half of float32.
DTYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
LONGEST_HEADER_BYTES = 100_000_000  # the format's own limit
ADAPTER_PREFIX = "base_model.model."
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


@dataclass(frozen=True)
class _Tensor:
    file: Path
    dtype: str
    shape: tuple[int, ...]
    start: int

    def read(self) -> NDArray[np.float32]:
        import numpy as np

        if self.dtype not in DTYPES:
            raise BaseModelError(
                f"{self.file} has numbers of the type {self.dtype}.", instead=f"Exported are: {', '.join(DTYPES)}"
            )
        count = math.prod(self.shape)
        raw = np.memmap(self.file, DTYPES[self.dtype], "r", self.start, (count,)) if count else np.empty(0, "<f4")
        found = (raw.astype("<u4") << 16).view("<f4") if self.dtype == "BF16" else np.asarray(raw, "<f4")
        return found.reshape(self.shape)


@dataclass(frozen=True)
class Weights:
    """Tensors by name; ``adapter``: those of a LoRA adapter, added where they belong. ``scale``: alpha / r."""

    tensors: dict[str, _Tensor]
    adapter: dict[str, _Tensor] = field(default_factory=dict)
    scale: float = 0.0

    @classmethod
    def open(cls, base: Path, adapter: Path | None = None) -> Weights:
        """The weights of a folder of safetensors, with an adapter of PEFT merged in as they are read.

        Raises:
            BaseModelError: there are no safetensors, or they are damaged.
            RegistryError: the adapter does not fit, or is no plain LoRA.
        """
        tensors = _read_headers(_weight_files(base))
        if adapter is None:
            return cls(tensors)
        settings = _read_adapter_settings(adapter)
        found = cls(tensors, _read_headers([adapter / "adapter_model.safetensors"]), _scale(settings))
        found._check_adapter(adapter)
        return found

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def shape(self, name: str) -> tuple[int, ...]:
        """Raises BaseModelError: there is no such tensor."""
        return self._find(name).shape

    def read(self, name: str) -> NDArray[np.float32]:
        """A tensor as float32. Raises BaseModelError: there is none of this name."""
        found = self._find(name).read()
        module = ADAPTER_PREFIX + name.removesuffix(".weight")
        low, high = self.adapter.get(f"{module}.lora_A.weight"), self.adapter.get(f"{module}.lora_B.weight")
        return found + self.scale * (high.read() @ low.read()) if low and high else found

    def count(self) -> int:
        """Numbers in all tensors of the base."""
        return sum(math.prod(tensor.shape) for tensor in self.tensors.values())

    def _find(self, name: str) -> _Tensor:
        if name not in self.tensors:
            raise BaseModelError(f"the base has no tensor {name}: it is not of the architecture that it says.")
        return self.tensors[name]

    def _check_adapter(self, folder: Path) -> None:
        for name, tensor in self.adapter.items():
            module, _, part = name.removeprefix(ADAPTER_PREFIX).rpartition(".lora_")
            target = self.tensors.get(f"{module}.weight")
            if target is None or part not in ("A.weight", "B.weight"):
                raise RegistryError(f"the adapter {folder} does not fit its base: {name} has no place in it.")
            fits = tensor.shape[1] == target.shape[1] if part == "A.weight" else tensor.shape[0] == target.shape[0]
            if not fits:
                raise RegistryError(f"the adapter {folder} does not fit its base: {name} is {tensor.shape}.")


def _weight_files(folder: Path) -> list[Path]:
    if (folder / SINGLE).is_file():
        return [folder / SINGLE]
    try:
        names = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise BaseModelError(f"{folder} holds no weights: neither {SINGLE} nor {INDEX}.") from None
    return [folder / Path(str(name)).name for name in sorted(set(names))]


def _read_headers(files: list[Path]) -> dict[str, _Tensor]:
    return {name: tensor for file in files for name, tensor in _read_header(file).items()}


def _read_header(file: Path) -> dict[str, _Tensor]:
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            if length > LONGEST_HEADER_BYTES:
                raise ValueError("its header has no end")
            header: dict[str, Any] = json.loads(opened.read(length))
        header.pop("__metadata__", None)
        size = file.stat().st_size
        return {name: _parse(file, each, 8 + length, size) for name, each in header.items()}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BaseModelError(f"{file} cannot be read: {error}") from None


def _parse(file: Path, entry: dict[str, Any], data_start: int, size: int) -> _Tensor:
    start, end = entry["data_offsets"]
    if not 0 <= start <= end <= size - data_start:
        raise ValueError("it is cut short")
    return _Tensor(file, entry["dtype"], tuple(entry["shape"]), data_start + start)


def adapter_scale(folder: Path) -> float:
    """By what PEFT multiplies the adapter in ``folder``. Raises RegistryError: it is no plain LoRA."""
    return _scale(_read_adapter_settings(folder))


def _read_adapter_settings(folder: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        _scale(found)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RegistryError(f"{folder / 'adapter_config.json'} does not describe an adapter: {error!r}") from None
    extras = [name for name in ("use_dora", "rank_pattern", "alpha_pattern", "modules_to_save") if found.get(name)]
    if extras or found.get("bias", "none") != "none":
        raise RegistryError(f"the adapter {folder} is no plain LoRA ({', '.join(extras) or 'bias'}): not exported.")
    return found


def _scale(settings: dict[str, Any]) -> float:
    """Hu et al. 2021, "LoRA", section 4.1; rsLoRA: Kalajdzievski 2023, "A Rank Stabilization Scaling Factor"."""
    rank = settings["r"]
    return float(settings["lora_alpha"] / (math.sqrt(rank) if settings.get("use_rslora") else rank))
