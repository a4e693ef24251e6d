"""OpenVINO GenAI's pipeline as the CPU engine wants it: cache, steps, adapters, how a reply is drawn.

Only the process of :mod:`character_chatbot.engines.openvino_worker` imports OpenVINO; all imports are inside.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openvino_genai import AdapterConfig, ContinuousBatchingPipeline, GenerationConfig

BLOCK_TOKENS = 32  # of OpenVINO's paged cache on a CPU
# Activations are rounded to 8 bits for the products with packed weights: so many share a scale. With OpenVINO's 32 a
# prompt is read a quarter slower. Threads are not bound to cores, which the page and others use as well. Both measured,
# see docs/serving.md; float32 for all else is no faster and takes a third more memory with adapters at run time.
COMPUTE: dict[str, Any] = {"DYNAMIC_QUANTIZATION_GROUP_SIZE": "128", "ENABLE_CPU_PINNING": False}
STEP_TOKENS = 256  # of a prompt in one step: others get their next token in between


def load_adapters(given: dict[str, dict[str, Any]]) -> dict[str, tuple[Any, float]]:
    from openvino_genai import Adapter

    return {name: (Adapter(each["file"]), each["scale"]) for name, each in given.items()}


def adapter_config(adapters: list[tuple[Any, float]]) -> AdapterConfig:
    """GenAI's "alpha" is the whole factor, PEFT's alpha / r."""
    from openvino_genai import AdapterConfig

    found = AdapterConfig(AdapterConfig.Mode.MODE_DYNAMIC)
    for adapter, scale in adapters:
        found.add(adapter, scale)
    return found


def build_pipeline(
    folder: Path, options: dict[str, Any], adapters: dict[str, tuple[Any, float]]
) -> ContinuousBatchingPipeline:
    from openvino_genai import ContinuousBatchingPipeline, SchedulerConfig

    scheduler = SchedulerConfig()
    scheduler.cache_size = 0
    scheduler.num_kv_blocks = max(2, -(-options["cache_tokens"] // BLOCK_TOKENS))
    scheduler.max_num_seqs = options["replies_at_once"]
    scheduler.max_num_batched_tokens = STEP_TOKENS
    # The cache knows tokens, not adapters: with several, it would give one version what another has read.
    scheduler.enable_prefix_caching = len(adapters) <= 1
    properties = dict(COMPUTE)
    if options["threads"]:
        properties["INFERENCE_NUM_THREADS"] = options["threads"]
    if adapters:
        properties["adapters"] = adapter_config(list(adapters.values()))
    return ContinuousBatchingPipeline(str(folder), scheduler, "CPU", properties)


def generation_config(sampling: dict[str, Any], ends: list[int]) -> GenerationConfig:
    from openvino_genai import GenerationConfig

    config = GenerationConfig(max_new_tokens=sampling["max_new_tokens"])
    config.stop_token_ids = set(ends)
    config.eos_token_id = ends[0]  # else GenAI takes the one of config.json, and refuses a base that has none there
    config.repetition_penalty = sampling.get("repetition_penalty", 1.0)
    if sampling["temperature"] > 0:
        config.do_sample = True
        config.temperature, config.top_p = sampling["temperature"], sampling["top_p"]
        config.rng_seed = sampling["seed"]
    return config
