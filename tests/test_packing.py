"""Packed rows: loss, gradients and logits are those of the sequences by themselves, and no dialogue sees another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from character_chatbot.nano import build_model
from character_chatbot.recovery.stopping import let_signals_in
from character_chatbot.training.attention import NO_MASK, QUERIES_AT_ONCE, SEGMENTS, attend, find_pieces, use_segments
from character_chatbot.training.examples import IGNORED, Example
from character_chatbot.training.lora_linear import fuse_adapters
from character_chatbot.training.packing import NOBODY, PackingCollator, block_mask, fill_rows
from character_chatbot.training.reply_trainer import reply_nats
from config import NanoSettings

SETTINGS = NanoSettings(vocabulary=400, hidden_size=32, layers=2, heads=2)
TOLERANCE = 1e-6


def draw(count: int, seed: int) -> tuple[int, ...]:
    return tuple(torch.randint(10, 390, (count,), generator=torch.Generator().manual_seed(seed)).tolist())


def example(persona: tuple[int, ...], seed: int, *lengths: int) -> Example:
    """Context and reply in turn, with these lengths."""
    ids, labels = list(persona), [IGNORED] * len(persona)
    for number, length in enumerate(lengths):
        part = draw(length, 100 * seed + number)
        ids += part
        labels += part if number % 2 else [IGNORED] * length
    return Example(tuple(ids), tuple(labels), len(persona))


ADA, BO = draw(9, 1), draw(6, 2)
EXAMPLES = (
    example(ADA, 1, 7, 4),
    example(ADA, 2, 3, 5, 6, 2, 4, 1),
    example(BO, 3, 12, 3),
    example(ADA, 4, 1, 9),
    example((), 5, 4, 4),
    example(BO, 6, 2, 2, 8, 3),
)


def batch(examples: tuple[Example, ...], row_tokens: int) -> dict[str, torch.Tensor]:
    rows = [{"input_ids": e.input_ids, "labels": e.labels, "shared": e.shared} for e in examples]
    return PackingCollator(row_tokens)(rows)


def alone(examples: tuple[Example, ...]) -> tuple[Example, ...]:
    """The same without a shared persona: each sequence carries its own."""
    return tuple(replace(each, shared=0) for each in examples)


@pytest.fixture(params=["llama", "qwen"])
def family(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=["sdpa", "eager", SEGMENTS])
def model(request: pytest.FixtureRequest, family: str, nano_tokenizers: dict[str, Any]) -> Iterator[Any]:
    torch.manual_seed(0)
    built = build_model(family, nano_tokenizers[family], SETTINGS)
    built.set_attn_implementation(request.param)
    yield built.float()


def by_itself(model: Any, examples: tuple[Example, ...]) -> torch.Tensor:
    """The sum of cross entropies, one sequence at a time, in the plainest way."""
    total = torch.zeros(())
    for each in examples:
        logits = model(input_ids=torch.tensor([each.input_ids]), use_cache=False).logits[0, :-1]
        total = total + torch.nn.functional.cross_entropy(logits, torch.tensor(each.labels[1:]), reduction="sum")
    return total


def learnt(examples: tuple[Example, ...]) -> int:
    return sum(len(each.reply_ids) for each in examples)


def gradients(model: Any, nats: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of the mean over the reply tokens."""
    model.zero_grad()
    (nats / learnt(EXAMPLES)).backward()
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("row_tokens", [10_000, 40, 1])
@pytest.mark.parametrize("lay", [tuple, alone], ids=["persona shared", "packed"])
def test_loss_and_gradients_are_those_of_the_sequences_by_themselves(
    model: Any, lay: Callable[..., tuple[Example, ...]], row_tokens: int
) -> None:
    plain = by_itself(model, EXAMPLES)
    wanted = gradients(model, plain)
    nats, logits = reply_nats(model, model, batch(lay(EXAMPLES), row_tokens))
    found = gradients(model, nats)
    assert logits.shape == (learnt(EXAMPLES), 400)  # only where something is learnt
    assert float((nats - plain).detach().abs()) / learnt(EXAMPLES) < TOLERANCE
    assert max(float((found[name] - wanted[name]).abs().max()) for name in wanted) < TOLERANCE


@pytest.mark.parametrize("changed", range(len(EXAMPLES)))
def test_no_dialogue_sees_another(model: Any, changed: int) -> None:
    other = list(EXAMPLES)
    ids = list(other[changed].input_ids)
    ids[other[changed].shared :] = draw(len(ids) - other[changed].shared, 77)
    labels = tuple(IGNORED if label == IGNORED else ids[at] for at, label in enumerate(other[changed].labels))
    other[changed] = Example(tuple(ids), labels, other[changed].shared)
    before, after = (whole_logits(model, tuple(each)) for each in (EXAMPLES, other))
    for number, (left, right) in enumerate(zip(before, after, strict=True)):
        assert torch.equal(left, right) == (number != changed)


def whole_logits(model: Any, examples: tuple[Example, ...]) -> list[torch.Tensor]:
    """Logits of the dialogues in one row, dialogue by dialogue, in the order of the examples."""
    row = batch(examples, 10_000)
    mask = block_mask(row["segment"], row["persona"])
    if model.config._attn_implementation == "eager":
        mask = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)
    with torch.no_grad():
        logits = model(
            input_ids=row["input_ids"], position_ids=row["position_ids"], attention_mask=mask, use_cache=False
        ).logits[0]
    found = []
    for each in examples:
        own = list(each.input_ids[each.shared :])
        starts = [
            at
            for at in range(row["input_ids"].shape[1] - len(own) + 1)
            if row["input_ids"][0, at : at + len(own)].tolist() == own
        ]
        assert len(starts) == 1
        found.append(logits[starts[0] : starts[0] + len(own)])
    return found


def test_a_dialogue_sees_its_persona_and_itself() -> None:
    row = batch((example((1, 2), 1, 1, 1), example((1, 2), 2, 1, 1), example((3,), 3, 1, 1)), 100)
    seen = block_mask(row["segment"], row["persona"])[0, 0].int().tolist()
    assert seen == [
        [1, 0, 0, 0, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0, 0, 0],
        [1, 1, 1, 1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 1, 0, 0, 0, 0],
        [1, 1, 0, 0, 1, 1, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 1, 0, 0],
        [0, 0, 0, 0, 0, 0, 1, 1, 0],
        [0, 0, 0, 0, 0, 0, 1, 1, 1],
    ]
    assert row["position_ids"].tolist() == [[0, 1, 2, 3, 2, 3, 0, 1, 2]]


def test_rows_hold_every_example_once_and_are_not_too_long() -> None:
    many = [example((ADA, BO, ())[seed % 3], seed, seed % 17 + 1, seed % 5 + 1) for seed in range(60)]
    rows = fill_rows(many, 64)
    held = [each for row in rows for group in row.groups.values() for each in group]
    assert sorted(held, key=many.index) == many
    for row in rows:
        tokens = sum(len(persona) for persona in row.groups)
        tokens += sum(len(each.input_ids) - each.shared for group in row.groups.values() for each in group)
        assert tokens == row.tokens <= 64
    assert len(rows) <= -(-sum(row.tokens for row in rows) // 64) + 1  # hardly a gap


def test_a_long_example_has_a_row_of_its_own() -> None:
    assert [row.tokens for row in fill_rows([EXAMPLES[0], EXAMPLES[1]], 12)] == [30, 20]


def test_the_persona_is_in_a_row_once() -> None:
    row = batch((EXAMPLES[0], EXAMPLES[1], EXAMPLES[3]), 100)
    assert row["input_ids"].shape == (1, len(ADA) + sum(len(each.input_ids) - len(ADA) for each in
                                                         (EXAMPLES[0], EXAMPLES[1], EXAMPLES[3])))  # fmt: skip


def test_rows_of_a_batch_are_about_as_long() -> None:
    many = [example(ADA, seed, 10, 5) for seed in range(8)]
    assert [row.tokens for row in fill_rows(many, 100)] == [69, 69]  # not 99 and 39


# attention by segments


def attended(
    rows: dict[str, torch.Tensor], dtype: torch.dtype, by_segments: bool
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """What 6 heads on 2 keys' heads see in random numbers, and its gradients; padding is zero in both."""
    torch.manual_seed(1)
    count, tokens = rows["segment"].shape
    inputs = [torch.randn(count, heads, tokens, 8).to(dtype).requires_grad_() for heads in (6, 2, 2)]
    module = torch.nn.Module()
    module.num_key_value_groups = 3
    if by_segments:
        more: dict[str, Any] = {"packed_pieces": find_pieces(rows["segment"], rows["persona"])}
        seen, _ = attend(module, *inputs, NO_MASK, scaling=0.3, **more)
    else:
        mask = block_mask(rows["segment"], rows["persona"])
        seen, _ = attend(module, *inputs, mask, scaling=0.3)
    here = (rows["segment"] != NOBODY)[:, :, None, None]
    seen = torch.where(here, seen, 0.0)
    seen.float().square().sum().backward()
    return seen, [each.grad for each in inputs]


LONG = (example(ADA, 1, 150, 20), example(ADA, 2, QUERIES_AT_ONCE - 1, 1), example(BO, 3, QUERIES_AT_ONCE, 1),
        example((), 4, 3, 200), example(ADA, 5, 1, 1))  # fmt: skip


@pytest.mark.parametrize("row_tokens", [10_000, 300, 1])
def test_attention_by_segments_is_that_of_the_mask(row_tokens: int) -> None:
    rows = batch(LONG, row_tokens)
    wanted, wanted_gradients = attended(rows, torch.float32, by_segments=False)
    found, found_gradients = attended(rows, torch.float32, by_segments=True)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=TOLERANCE)
    torch.testing.assert_close(found_gradients, wanted_gradients, rtol=1e-5, atol=5 * TOLERANCE)


def test_attention_by_segments_in_bfloat16_is_as_near_as_the_mask() -> None:
    rows = batch(LONG, 300)
    exact, exact_gradients = attended(rows, torch.float32, by_segments=False)
    found, found_gradients = attended(rows, torch.bfloat16, by_segments=True)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), exact, rtol=0.02, atol=0.02)
    for one, other in zip(found_gradients, exact_gradients, strict=True):
        assert float((one.float() - other).norm() / other.norm()) < 0.02


def test_pieces_are_every_pair_of_the_mask_and_less_than_as_many_others() -> None:
    rows = batch(LONG, 300)
    covered = torch.zeros_like(block_mask(rows["segment"], rows["persona"]))
    for piece in find_pieces(rows["segment"], rows["persona"]):
        for keys in piece.keys:
            assert not covered[piece.row, 0, piece.queries, keys].any()  # computed once
            covered[piece.row, 0, piece.queries, keys] = True
    wanted = block_mask(rows["segment"], rows["persona"]) & (rows["segment"] != NOBODY)[:, None, :, None]
    assert (covered >= wanted).all()
    assert covered.sum() < 2 * wanted.sum()


@pytest.mark.parametrize(("before", "dropout", "after"), [("sdpa", 0.0, SEGMENTS), ("eager", 0.0, "eager"),
                                                          ("sdpa", 0.1, "sdpa")])  # fmt: skip
def test_segments_are_for_sdpa_without_dropout(
    before: str, dropout: float, after: str, nano_tokenizers: dict[str, Any]
) -> None:
    built = build_model("llama", nano_tokenizers["llama"], SETTINGS)
    built.set_attn_implementation(before)
    built.config.attention_dropout = dropout
    use_segments(built)
    assert built.config._attn_implementation == after


# adapters as one operation


def with_adapter(model: Any, dropout: float = 0.0) -> Any:
    torch.manual_seed(3)
    lora = LoraConfig(r=4, lora_alpha=8, lora_dropout=dropout, target_modules="all-linear", task_type="CAUSAL_LM")
    adapted = get_peft_model(model, lora)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:  # they start as zeros, which would hide much
            torch.nn.init.normal_(parameter, std=0.1)
    return adapted.train()


def adapter_gradients(model: Any) -> tuple[float, dict[str, torch.Tensor]]:
    torch.manual_seed(5)  # of the dropout
    model.zero_grad()
    nats, _ = reply_nats(model, model, batch(EXAMPLES, 40))
    (nats / learnt(EXAMPLES)).backward()
    found = {name: each.grad.clone() for name, each in model.named_parameters() if each.requires_grad}
    return float(nats.detach()) / learnt(EXAMPLES), found


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "computed twice"])
def test_a_fused_adapter_learns_as_the_plain_one(family: str, nano_tokenizers: dict[str, Any], dropout: float,
                                                 checkpointing: bool) -> None:  # fmt: skip
    torch.manual_seed(0)
    adapted = with_adapter(build_model(family, nano_tokenizers[family], SETTINGS).float(), dropout)
    wanted_loss, wanted = adapter_gradients(adapted)
    use_segments(adapted)
    assert fuse_adapters(adapted) == len(wanted) // 2 == 2 * 7
    let_signals_in(adapted)
    if checkpointing:
        adapted.enable_input_require_grads()
        adapted.activation_checkpointing_enable()
    loss, found = adapter_gradients(adapted)
    assert abs(loss - wanted_loss) < TOLERANCE
    assert max(float((found[name] - wanted[name]).abs().max()) for name in wanted) < TOLERANCE


def test_a_fused_adapter_under_autocast_is_as_near_as_the_plain_one(nano_tokenizers: dict[str, Any]) -> None:
    torch.manual_seed(0)
    adapted = with_adapter(build_model("llama", nano_tokenizers["llama"], SETTINGS).float())
    _, exact = adapter_gradients(adapted)
    with torch.autocast("cpu", torch.bfloat16):
        _, plain = adapter_gradients(adapted)
        use_segments(adapted)
        fuse_adapters(adapted)
        _, found = adapter_gradients(adapted)
    for name, wanted in exact.items():
        plain_error, error = (float((each[name] - wanted).norm() / wanted.norm()) for each in (plain, found))
        assert found[name].dtype == torch.float32
        assert error < 1.5 * plain_error + 0.005


def test_a_fused_adapter_can_be_turned_off(nano_tokenizers: dict[str, Any]) -> None:
    built = build_model("llama", nano_tokenizers["llama"], SETTINGS).float()
    ids = torch.tensor([draw(9, 1)])
    with torch.no_grad():
        bare = built(input_ids=ids).logits
        adapted = with_adapter(built)
        fuse_adapters(adapted)
        with adapted.disable_adapter():
            torch.testing.assert_close(adapted(input_ids=ids).logits, bare)
        assert not torch.allclose(adapted(input_ids=ids).logits, bare)
