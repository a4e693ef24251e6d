"""The batching core of the themes: same ids and scores as transformers' own pipeline, little padding, nothing cut."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from doubles.nli_model import save_nli_model

from config import ThemeSettings
from theme_classifier.batching import Pair, collate, encode_texts, find_template, plan_batches
from theme_classifier.classifier import to_scores
from theme_classifier.entailment import EntailmentScorer, WindowMerger
from theme_classifier.models import entailment_labels, find_model, load_model
from theme_classifier.score_cache import ScoreCache
from theme_classifier.windows import split_text
from utils.errors import BaseModelError, StoreError
from utils.hub import HubState
from utils.token_limits import longest_input

THEMES = ["hope", "fear", "the sea"]
TEXTS = ["We will find him.", "Lost!", "A lamp, and the sea; it is about the light we lost.", "Lost!", "é – ♪", "Hm."]
SETTINGS = replace(ThemeSettings(), precision="float32", batch_tokens=100)


def no_hub() -> HubState:
    return HubState(False, "the test has none")


@pytest.fixture(scope="module", params=["bart", "bert"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_nli_model(tmp_path_factory.mktemp("nli") / request.param, request.param)


@pytest.fixture(scope="module")
def bart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_nli_model(tmp_path_factory.mktemp("bart"), "bart")


def scorer(folder: Path, cache: Path, settings: ThemeSettings = SETTINGS) -> EntailmentScorer:
    place = find_model(str(folder), no_hub)
    assert not isinstance(place, HubState)
    return EntailmentScorer(place, settings, cache)


def forwards(made: EntailmentScorer, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Rows of each batch that the model gets from now on."""
    rows: list[int] = []
    forward = made._loaded.model.forward

    def counted(*given: object, **named: object) -> object:
        rows.append(len(named["input_ids"]))  # type: ignore[arg-type]
        return forward(*given, **named)

    monkeypatch.setattr(made._loaded.model, "forward", counted)
    return rows


# Against transformers' own pipeline


@pytest.mark.parametrize("multi_label", [True, False])
def test_scores_are_those_of_the_pipeline(folder: Path, tmp_path: Path, multi_label: bool) -> None:
    from transformers import pipeline

    own = to_scores(scorer(folder, tmp_path / "cache").logits(TEXTS, THEMES), multi_label)
    tokenizer, model = load_model(find_model(str(folder), no_hub))  # type: ignore[arg-type]
    zero_shot = pipeline("zero-shot-classification", model=model, tokenizer=tokenizer, device="cpu")
    for row, text in zip(own, TEXTS, strict=True):
        found = zero_shot(text, THEMES, hypothesis_template="This text is about {}.", multi_label=multi_label)
        expected = dict(zip(found["labels"], found["scores"], strict=True))
        assert row == pytest.approx([expected[theme] for theme in THEMES], abs=1e-5)
    assert np.ptp(own, axis=0).min() > 0.01  # a model that says the same of all would prove nothing


def test_ids_and_types_are_those_of_the_tokenizer(folder: Path) -> None:
    tokenizer, _ = load_model(find_model(str(folder), no_hub))  # type: ignore[arg-type]
    layout, hypothesis = find_template(tokenizer), "This text is about the sea."
    texts = encode_texts(tokenizer, TEXTS)
    about = encode_texts(tokenizer, [hypothesis])[0]
    made = collate([Pair((at,), ids, about) for at, ids in enumerate(texts)], layout, tokenizer.pad_token_id)
    expected = tokenizer(TEXTS, [hypothesis] * len(TEXTS), padding=True, return_tensors="pt")
    for name in tokenizer.model_input_names:
        assert made[name].tolist() == expected[name].tolist(), name


def test_a_special_token_in_a_line_is_text(bart: Path, tmp_path: Path) -> None:
    tokenizer, _ = load_model(find_model(str(bart), no_hub))  # type: ignore[arg-type]
    assert tokenizer.eos_token_id not in encode_texts(tokenizer, ["It is </s> lost"])[0]
    found = scorer(bart, tmp_path / "cache").logits(["It is </s> lost", "It is lost"], THEMES)
    assert np.isfinite(found).all()


# Batches


def test_batches_hold_every_pair_once_within_the_budget_and_sorted() -> None:
    lengths = [5, 30, 7, 7, 120, 1, 29, 30]
    batches = list(plan_batches(lengths, 64))
    assert sorted(at for batch in batches for at in batch) == list(range(len(lengths)))
    assert all(len(batch) * max(lengths[at] for at in batch) <= 64 or len(batch) == 1 for batch in batches)
    in_order = [lengths[at] for batch in batches for at in batch]
    assert in_order == sorted(lengths, reverse=True)
    assert len(batches) == 4  # 120; 30 30; 29 7; the rest
    assert list(plan_batches([], 64)) == []


def test_the_same_text_is_computed_once(bart: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = scorer(bart, tmp_path / "cache")
    rows = forwards(made, monkeypatch)
    found = made.logits(TEXTS, THEMES)
    assert sum(rows) == len(set(TEXTS)) * len(THEMES)
    assert len(rows) < sum(rows)  # batched
    assert found[1].tolist() == found[3].tolist()


# Long texts


def test_a_long_text_is_split_at_sentence_ends_and_nothing_is_lost() -> None:
    def fits(text: str) -> bool:
        return len(text) <= 30

    text = "It is dark. Who is there? Nobody said a word to anybody in the whole house! Fine."
    parts = split_text(text, fits)
    assert parts[0] == "It is dark. Who is there?"
    assert all(map(fits, parts))
    assert " ".join(parts) == text
    assert "".join(split_text("x" * 100, fits)) == "x" * 100
    assert split_text("short", fits) == ["short"]


def test_a_long_text_is_scored_whole(bart: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = ["We will find him and her and it. " * 2, "The lamp is lost. " * 3, "It is about the sea. " * 2]
    made = scorer(bart, tmp_path / "cache")
    rows = forwards(made, monkeypatch)
    whole = made.logits(["".join(parts)], ["hope"])
    assert sum(rows) > 1
    pairs = made._loaded.pairs([("".join(parts), "hope")])
    ids = [list(pair.text) for pair in pairs]
    text = made._loaded.tokenizer.decode([each for part in ids for each in part])
    assert "".join(text.split()) == "".join("".join(parts).split())
    longest = longest_input(made._loaded.tokenizer, made._loaded.model)
    assert max(len(pair) for pair in pairs) + find_template(made._loaded.tokenizer).added <= longest
    assert np.isfinite(whole).all()


def test_windows_count_by_their_tokens() -> None:
    pairs = [Pair((0, 0), [1, 2, 3], [9]), Pair((0, 1), [1], [9]), Pair((1, 0), [], [9])]
    merger = WindowMerger(pairs)
    assert list(merger.add([(pairs[0], (1.0, 0.0)), (pairs[2], (7.0, 8.0))])) == [(1, (7.0, 8.0))]
    assert list(merger.add([(pairs[1], (5.0, 4.0))])) == [(0, (2.0, 1.0))]


# The cache


def test_a_second_run_loads_nothing_and_a_new_theme_computes_itself(
    bart: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = scorer(bart, tmp_path / "cache").logits(TEXTS, THEMES)
    again = scorer(bart, tmp_path / "cache")
    assert np.array_equal(again.logits(TEXTS, THEMES), first)
    assert "_loaded" not in vars(again)
    rows = forwards(again, monkeypatch)
    more = again.logits(TEXTS, ["despair", *THEMES])
    assert sum(rows) == len(set(TEXTS))
    assert np.array_equal(more[:, 1:], first)


def test_what_was_stopped_goes_on_where_it_was(bart: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = scorer(bart, tmp_path / "cache")
    whole = len(set(TEXTS)) * len(THEMES)

    def stop(done: int, total: int) -> None:
        assert total == whole
        if done >= 5:
            raise KeyboardInterrupt

    before = forwards(made, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        made.logits(TEXTS, THEMES, stop)
    again = scorer(bart, tmp_path / "cache")
    after = forwards(again, monkeypatch)
    again.logits(TEXTS, THEMES)
    assert 0 < sum(before) < whole
    assert sum(before) + sum(after) == whole


def test_another_template_model_or_precision_is_another_score(bart: Path, tmp_path: Path) -> None:
    with ScoreCache(tmp_path / "cache") as cache:
        keys = [cache.scorer(*names) for names in [("a", "t", "p"), ("b", "t", "p"), ("a", "u", "p"), ("a", "t", "q")]]
        assert len(set(keys)) == 4
        assert cache.scorer("a", "t", "p") == keys[0]
        cache.put(keys[0], [("text", "Hope", (1.0, 2.0))])
        assert cache.get(keys[0], ["text", "other"], "Hope") == {"text": (1.0, 2.0)}
        assert cache.get(keys[1], ["text"], "Hope") == cache.get(keys[0], ["text"], "Fear") == {}


def test_a_cache_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("no database" * 100)
    with pytest.raises(StoreError, match="cannot be used"):
        ScoreCache(tmp_path / "cache")


# Models


def test_the_entailment_label_is_found_by_name() -> None:
    assert entailment_labels({"contradiction": 0, "neutral": 1, "entailment": 2}) == (2, 0)
    assert entailment_labels({"ENTAILMENT": 0, "NEUTRAL": 1, "CONTRADICTION": 2}) == (0, 2)
    with pytest.raises(BaseModelError, match="no NLI model"):
        entailment_labels({"good": 0, "bad": 1})


def test_a_model_that_is_none_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name, words in {str(tmp_path / "empty"): "no config.json", "nonsense": "no model", "../x": "no model"}.items():
        with pytest.raises(BaseModelError, match=words):
            find_model(name, no_hub)
    (tmp_path / "empty" / "config.json").write_text('{"model_type": "bart"}')
    place = find_model(str(tmp_path / "empty"), no_hub)
    with pytest.raises(BaseModelError, match="cannot be loaded"):
        load_model(place)  # type: ignore[arg-type]
    assert find_model("owner/name", no_hub) == no_hub()


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of one repository in an empty cache of the hub."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub" / "models--owner--nli"


def put_snapshot(model: Path | None, cache: Path, revision: str, commit: str) -> Path:
    """What a download leaves behind."""
    if model is None:
        (cache / "snapshots" / commit).mkdir(parents=True)
    (cache / "refs" / revision).parent.mkdir(parents=True, exist_ok=True)
    (cache / "refs" / revision).write_text(commit)
    if model:
        shutil.copytree(model, cache / "snapshots" / commit)
    return cache / "snapshots" / commit


def test_a_cached_model_is_used_without_asking_the_hub(bart: Path, hub_cache: Path) -> None:
    def never() -> HubState:
        raise AssertionError("asked the hub")

    snapshot = put_snapshot(bart, hub_cache, "main", "abc")
    place = find_model("owner/nli", never)
    assert not isinstance(place, HubState)
    assert (place.name, place.location, place.identity) == ("owner/nli", str(snapshot), "nli@abc")
    assert not place.single_pass
    assert load_model(place)
    assert find_model("owner/other", no_hub) == no_hub()
    (snapshot / "model.safetensors").unlink()  # the download was stopped
    assert find_model("owner/nli", no_hub) == no_hub()
    (snapshot / "model.safetensors.index.json").write_text('{"weight_map": {"a": "model-1.safetensors"}}')
    assert find_model("owner/nli", no_hub) == no_hub()
    (snapshot / "model-1.safetensors").touch()
    assert not isinstance(find_model("owner/nli", no_hub), HubState)


class Offer:
    """A pull request of the hub."""

    def __init__(self, author: str, number: int) -> None:
        self.author, self.title = author, "Adding `safetensors` variant of this model"
        self.git_reference = f"refs/pr/{number}"


@pytest.mark.parametrize(
    ("weights", "authors", "revision"),
    [
        ("model.safetensors", ["SFconvertbot"], "main"),
        ("pytorch_model.bin", ["somebody", "SFconvertbot"], "refs/pr/2"),
        ("pytorch_model.bin", ["somebody"], ""),
    ],
)
def test_weights_are_safetensors_of_the_repository_or_of_the_hubs_bot(
    hub_cache: Path, monkeypatch: pytest.MonkeyPatch, weights: str, authors: list[str], revision: str
) -> None:
    import huggingface_hub

    def download(repository: str, *, revision: str, **options: object) -> str:
        folder = put_snapshot(None, hub_cache, revision, "abc")
        (folder / "config.json").write_text('{"model_type": "bart"}')
        (folder / "model.safetensors").touch()
        return str(folder)

    offers = [Offer(author, number) for number, author in enumerate(authors, 1)]
    monkeypatch.setattr(huggingface_hub.HfApi, "list_repo_files", lambda api, repository: ["config.json", weights])
    monkeypatch.setattr(huggingface_hub, "get_repo_discussions", lambda repository, **options: iter(offers))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    if not revision:
        with pytest.raises(BaseModelError, match="a pickle is not loaded"):
            find_model("owner/nli", lambda: HubState(True))
        return
    first = find_model("owner/nli", lambda: HubState(True))
    assert (hub_cache / "refs" / revision).exists()
    assert find_model("owner/nli", no_hub) == first  # from now on without the hub


# Precision


def test_reduced_precision_is_close_and_leaves_the_model_alone(bart: Path) -> None:
    import torch

    from theme_classifier.precision import Int8Linear, convert, rank_correlation

    made = scorer(bart, bart / "none")._loaded
    jobs = [(f"{word} {text}", "hope") for text in TEXTS for word in ("we", "lamp", "sea", "find", "or")]
    wanted = made.score(jobs)
    for precision in ("bfloat16", "int8"):
        reduced = convert(made.model, precision)
        found = made.score(jobs, reduced)
        assert not np.array_equal(found, wanted)
        assert rank_correlation(wanted[:, None], found[:, None]) > 0.9
    assert any(isinstance(part, Int8Linear) for part in reduced.modules())
    assert all(parameter.dtype == torch.float32 for parameter in made.model.parameters())
    assert np.array_equal(made.score(jobs), wanted)
    assert convert(made.model, "float32") is made.model


def test_int8_is_the_product_within_its_rounding() -> None:
    import torch

    from theme_classifier.precision import Int8Linear

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        linear, inputs = torch.nn.Linear(64, 48), torch.randn(10, 64)
        error = (Int8Linear(linear)(inputs) - linear(inputs)).abs().max()
    assert 0 < error < 0.05


class Ranked:
    """Scores that a 'model' (a number) spoils."""

    def __init__(self, spoilt: dict[str, float]) -> None:
        self.spoilt = spoilt

    def convert(self, model: object, precision: str) -> str:
        return precision

    def score(self, model: object) -> np.ndarray:
        values = np.linspace(-1, 1, 60).reshape(20, 3)
        noise = np.random.default_rng(0).normal(size=values.shape)
        return values + self.spoilt.get(str(model), 0.0) * noise


@pytest.mark.parametrize(
    ("spoilt", "seconds", "expected"),
    [
        ({}, {"float32": 9, "int8": 1, "bfloat16": 3}, "int8"),
        ({"int8": 1.0}, {"float32": 9, "int8": 1, "bfloat16": 3}, "bfloat16"),
        ({"int8": 1.0, "bfloat16": 1.0}, {"float32": 9, "int8": 1, "bfloat16": 3}, "float32"),
        ({}, {"float32": 2, "int8": 5, "bfloat16": 3}, "float32"),
    ],
)
def test_the_fastest_that_ranks_alike_is_chosen(
    spoilt: dict[str, float], seconds: dict[str, float], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from theme_classifier import precision

    ranked = Ranked(spoilt)
    monkeypatch.setattr(precision, "convert", ranked.convert)
    monkeypatch.setattr(precision, "_timed", lambda score, model: (score(model), seconds[model]))
    chosen = precision.choose_precision("float32", ranked.score, ["int8", "bfloat16"], 0.99)  # type: ignore[arg-type]
    assert chosen.precision == expected
    assert "rank correlation" in chosen.reason


def test_a_theme_that_is_ranked_wrong_counts_though_all_together_agree() -> None:
    from theme_classifier.precision import rank_correlation

    one = np.arange(40.0).reshape(20, 2) + np.array([[0, 1000]])
    other = one.copy()
    other[:, 0] = other[::-1, 0]
    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] > 0.99
    assert rank_correlation(one, other) < 0.1
    assert rank_correlation(one, one**3) == pytest.approx(1.0)


def test_auto_measures_once_and_another_run_keeps_to_it(
    bart: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from theme_classifier import precision

    monkeypatch.setattr(precision, "available", lambda device: ["bfloat16"])
    texts = [
        f"{one} {other}" for one in ("we", "you", "him", "her", "lamp") for other in ("lost", "light", "sea", "hope")
    ]
    settings = replace(SETTINGS, precision="auto", sample_lines=4, least_correlation=-1.0)
    made = scorer(bart, tmp_path / "cache", settings)
    first = made.logits(texts, THEMES)
    assert "measured on 4 texts" in made.reason
    again = scorer(bart, tmp_path / "cache", settings)
    assert np.array_equal(again.logits(texts, THEMES), first)
    assert (again.precision, again.reason, "_loaded" in vars(again)) == (made.precision, made.reason, False)
    few = scorer(bart, tmp_path / "cache", settings)
    few.logits(texts[:3], THEMES)
    assert few.precision == "float32"


@pytest.mark.parametrize(
    ("labels", "positions"),
    [
        ({"contradiction": 0, "neutral": 1, "entailment": 2}, (2, 0)),  # distilbart-mnli
        ({"ENTAILMENT": 0, "NEUTRAL": 1, "CONTRADICTION": 2}, (0, 2)),
        ({"contradiction": 0, "entailment": 1, "neutral": 2}, (1, 0)),  # the cross-encoders
        ({"entailment": 0, "contradiction": 1, "neutral": 2}, (0, 1)),
        ({"neutral": 0, "contradiction": 1, "entailment": 2}, (2, 1)),
        ({"entailment": 0, "not_entailment": 1}, (0, 1)),
    ],
)
def test_entailment_and_contradiction_are_found_in_any_order(
    labels: dict[str, int], positions: tuple[int, int]
) -> None:
    assert entailment_labels(labels) == positions
