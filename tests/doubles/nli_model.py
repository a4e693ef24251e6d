"""A small NLI model with a tokenizer of its own, saved in a folder: random weights, the real loading code."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

LABELS = {"contradiction": 0, "neutral": 1, "entailment": 2}
WORDS = "this text is about hope fear despair the a light lamp sea and or we you will find lost him her it"


def save_nli_model(folder: Path, kind: str = "bart", labels: Iterable[str] = LABELS, positions: int = 64) -> Path:
    """``kind``: ``bart`` (encoder and decoder) or ``bert`` (with token types). ``positions``: tokens it reads."""
    import torch
    from transformers import BartConfig, BartForSequenceClassification, BertConfig, BertForSequenceClassification

    names = {name: at for at, name in enumerate(labels)}
    common = {"num_labels": len(names), "label2id": names, "id2label": {at: name for name, at in names.items()}}
    tokenizer = build_tokenizer(kind, positions)
    size = {"vocab_size": len(tokenizer), "max_position_embeddings": positions, "pad_token_id": 1, **common}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        if kind == "bart":
            shape = {
                "encoder_layers": 2,
                "decoder_layers": 1,
                "encoder_attention_heads": 2,
                "decoder_attention_heads": 2,
            }
            wide = {"encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "init_std": 0.3}
            config = BartConfig(d_model=32, **shape, **wide, **size, bos_token_id=0, eos_token_id=2)
            BartForSequenceClassification(config).save_pretrained(folder)
        else:
            shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
            config = BertConfig(**shape, **size, initializer_range=0.3)
            BertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def build_tokenizer(kind: str, longest: int) -> PreTrainedTokenizerFast:
    """Byte-level pieces, pairs laid out as the real ones: ``<s> A </s></s> B </s>`` or ``[CLS] A [SEP] B [SEP]``."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    start, end = ("<s>", "</s>") if kind == "bart" else ("[CLS]", "[SEP]")
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=[start, "<pad>", end], initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator([WORDS] * 3, trainer)
    pair = f"{start} $A {end} {end} $B {end}" if kind == "bart" else f"{start}:0 $A:0 {end}:0 $B:1 {end}:1"
    specials = [(start, backend.token_to_id(start)), (end, backend.token_to_id(end))]
    backend.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", pair=pair, special_tokens=specials
    )
    names = ["input_ids", "attention_mask", *(["token_type_ids"] if kind == "bert" else [])]
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        model_max_length=longest,
        pad_token="<pad>",
        eos_token=end,
        bos_token=start,
        model_input_names=names,
    )
