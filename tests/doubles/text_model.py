"""A small DistilBERT with a tokenizer of its own, saved in a folder: random weights, the real loading code."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def save_text_model(folder: Path, texts: Iterable[str], positions: int = 64) -> Path:
    """``texts``: what the tokenizer learns its words from. ``positions``: tokens that the model reads."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import DistilBertConfig, DistilBertForSequenceClassification, PreTrainedTokenizerFast

    words = sorted({word for text in texts for word in text.lower().replace(":", " ").replace(".", " ").split()})
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    backend = Tokenizer(models.WordLevel({word: at for at, word in enumerate([*specials, *words])}, unk_token="[UNK]"))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, model_max_length=positions, pad_token="[PAD]", unk_token="[UNK]",
        cls_token="[CLS]", sep_token="[SEP]", model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip
    config = DistilBertConfig(
        vocab_size=len(tokenizer), max_position_embeddings=positions, dim=32, n_layers=1, n_heads=2, hidden_dim=64,
        dropout=0.0, attention_dropout=0.0, seq_classif_dropout=0.0, initializer_range=0.2,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        DistilBertForSequenceClassification(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
