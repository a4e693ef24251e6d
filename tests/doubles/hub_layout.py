"""Small models laid out as the hub has them: old settings, words as plain files, weights in one or more parts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

NLI = {0: "contradiction", 1: "neutral", 2: "entailment"}
ONE_PART, PARTS = "1GB", "40KB"
# Settings of valhalla/distilbart-mnli-12-3 that transformers 5 has no place for.
OLD_SETTINGS = {
    "_num_labels": 3, "add_bias_logits": False, "early_stopping": True, "extra_pos_embeddings": 2, "max_length": 142,
    "normalize_embedding": True, "num_beams": 4, "output_past": False, "task_specific_params": {"summarization": {}},
}  # fmt: skip


def save_distilbart(folder: Path, lines: Sequence[str], part: str = ONE_PART) -> Path:
    """As valhalla/distilbart-mnli-12-3: BART with three labels; vocab.json and merges.txt, no tokenizer.json."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import BartConfig, BartForSequenceClassification

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    options = {"special_tokens": specials, "initial_alphabet": alphabet, "show_progress": False}
    backend.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=320, **options))
    swapped = {name: at for at, name in NLI.items()}
    config = BartConfig(
        vocab_size=backend.get_vocab_size(), max_position_embeddings=256, d_model=32, encoder_layers=2,
        decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=64,
        decoder_ffn_dim=64, init_std=0.3, num_labels=3, id2label=NLI, label2id=swapped,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        BartForSequenceClassification(config).save_pretrained(folder, max_shard_size=part)
    backend.model.save(str(folder))
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 256}')
    _age(folder, OLD_SETTINGS)
    return folder


def save_distilbert(folder: Path, lines: Sequence[str], part: str = ONE_PART) -> Path:
    """As distilbert-base-uncased: a head that fills in masks and none that classifies; vocab.txt, no tokenizer.json."""
    import torch
    from transformers import DistilBertConfig, DistilBertForMaskedLM

    words = sorted({word for line in lines for word in line.lower().replace(":", " : ").split()})
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    config = DistilBertConfig(
        vocab_size=len(vocabulary), max_position_embeddings=16, dim=32, n_layers=1, n_heads=2, hidden_dim=64,
        initializer_range=0.2, dropout=0.0, attention_dropout=0.0, seq_classif_dropout=0.0,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        DistilBertForMaskedLM(config).save_pretrained(folder, max_shard_size=part)
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n")
    (folder / "tokenizer_config.json").write_text('{"do_lower_case": true}')  # it does not say how much is read
    _age(folder, {"tie_weights_": True, "sinusoidal_pos_embds": False})
    return folder


def _age(folder: Path, settings: dict[str, object]) -> None:
    file = folder / "config.json"
    content = json.loads(file.read_text()) | settings
    content.pop("dtype", None)
    file.write_text(json.dumps(content))


def to_pickle(folder: Path) -> Path:
    """Weights as older repositories have them."""
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder
