"""A model of random weights in llama.cpp's format, packed as Q4_K_M: for benchmarks/serving.py, needs numpy and gguf.

    write_gguf(Path("model.gguf"), shape)          # shape: as in SHAPES of benchmarks/serving_models.py

The packed blocks themselves are random, with scales that give weights of a usual size: nothing is rounded, so gigabytes
are written at the speed of the disk. Which matrix has how many bits is as llama.cpp's own quantiser chooses for Q4_K_M:
Q6_K for the embedding, and for value and down projections of half the layers; rows that 256 does not divide
(0.5B's 896) in the classic formats of 32.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Bytes of a block and numbers in it, ggml-common.h.
BLOCKS = {"Q4_K": (144, 256), "Q6_K": (210, 256), "Q5_0": (22, 32), "Q8_0": (34, 32)}
# Where scales stand in a block (halves of float16), and about how large a number is that is multiplied with them.
SCALES = {"Q4_K": ((0, 2), 300.0), "Q6_K": ((208,), 2000.0), "Q5_0": ((0,), 16.0), "Q8_0": ((0,), 127.0)}
SUBSTITUTES = {"Q4_K": "Q5_0", "Q6_K": "Q8_0"}  # of llama.cpp's quantiser, where 256 does not divide the row
USUAL_SIZE = 0.04  # of a weight


def write_gguf(file: Path, shape: dict[str, Any]) -> None:
    """Write the model."""
    from gguf import GGUFWriter

    kind = shape["model_type"]
    writer = GGUFWriter(file, kind)
    writer.add_context_length(32768)
    writer.add_embedding_length(shape["hidden_size"])
    writer.add_block_count(shape["num_hidden_layers"])
    writer.add_feed_forward_length(shape["intermediate_size"])
    writer.add_head_count(shape["num_attention_heads"])
    writer.add_head_count_kv(shape["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(500000.0)
    writer.add_rope_dimension_count(shape.get("head_dim") or shape["hidden_size"] // shape["num_attention_heads"])
    writer.add_vocab_size(shape["vocab_size"])
    _add_tokens(writer, shape["vocab_size"])
    _add_tensors(writer, shape)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokens(writer: Any, count: int) -> None:
    """A vocabulary that nobody reads: prompts are given as numbers, and a token's text is ``t`` and its number."""
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([f"t{number}" for number in range(count)])
    writer.add_token_types([1] * count)
    writer.add_token_merges(["t 1"])
    writer.add_eos_token_id(0)
    writer.add_add_bos_token(False)


def _add_tensors(writer: Any, shape: dict[str, Any]) -> None:
    import numpy as np
    from gguf import GGMLQuantizationType

    draw = np.random.default_rng(5)
    for name, rows, columns, wanted in _matrices(shape):
        kind = SUBSTITUTES[wanted] if columns % BLOCKS[wanted][1] else wanted
        blocks = _random_blocks(draw, rows, columns, kind)
        writer.add_tensor(name, blocks, raw_dtype=GGMLQuantizationType[kind])
    for name, size in _vectors(shape):
        writer.add_tensor(name, np.full(size, 1.0 if "norm" in name else 0.0, np.float32))


def _random_blocks(draw: np.random.Generator, rows: int, columns: int, kind: str) -> NDArray[np.uint8]:
    import numpy as np

    size, numbers = BLOCKS[kind]
    blocks = draw.integers(0, 256, (rows * columns // numbers, size), np.uint8)
    places, largest = SCALES[kind]
    scale = np.array([USUAL_SIZE / largest], np.float16).view(np.uint8)
    for place in places:
        blocks[:, place : place + 2] = scale
    return blocks.reshape(rows, -1)


def _matrices(shape: dict[str, Any]) -> Iterator[tuple[str, int, int, str]]:
    """Name, rows, columns, format."""
    hidden, inner, layers = shape["hidden_size"], shape["intermediate_size"], shape["num_hidden_layers"]
    size = shape.get("head_dim") or hidden // shape["num_attention_heads"]
    queries, keys = shape["num_attention_heads"] * size, shape["num_key_value_heads"] * size
    yield "token_embd.weight", shape["vocab_size"], hidden, "Q6_K"
    for layer in range(layers):
        finer = "Q6_K" if _in_more_bits(layer, layers) else "Q4_K"
        yield f"blk.{layer}.attn_q.weight", queries, hidden, "Q4_K"
        yield f"blk.{layer}.attn_k.weight", keys, hidden, "Q4_K"
        yield f"blk.{layer}.attn_v.weight", keys, hidden, finer
        yield f"blk.{layer}.attn_output.weight", hidden, queries, "Q4_K"
        yield f"blk.{layer}.ffn_gate.weight", inner, hidden, "Q4_K"
        yield f"blk.{layer}.ffn_up.weight", inner, hidden, "Q4_K"
        yield f"blk.{layer}.ffn_down.weight", hidden, inner, finer


def _vectors(shape: dict[str, Any]) -> Iterator[tuple[str, int]]:
    hidden = shape["hidden_size"]
    size = shape.get("head_dim") or hidden // shape["num_attention_heads"]
    yield "output_norm.weight", hidden
    for layer in range(shape["num_hidden_layers"]):
        yield f"blk.{layer}.attn_norm.weight", hidden
        yield f"blk.{layer}.ffn_norm.weight", hidden
        if shape["model_type"] == "qwen2":
            yield f"blk.{layer}.attn_q.bias", shape["num_attention_heads"] * size
            yield f"blk.{layer}.attn_k.bias", shape["num_key_value_heads"] * size
            yield f"blk.{layer}.attn_v.bias", shape["num_key_value_heads"] * size


def _in_more_bits(layer: int, layers: int) -> bool:
    """``use_more_bits`` of llama.cpp's llama-quant.cpp."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * eighth or (layer - eighth) % 3 == 2
