"""What is exported: a version with its adapter, the base of one, or a base by its name; and what it is asked.

subject = version_subject(trained, runtime_adapter=False)
subject = base_subject("Qwen/Qwen2.5-0.5B-Instruct", settings)
pairs = find_pairs(PlainTokenizer(subject.tokenizer), subject, settings)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from character_chatbot.bases import HUB, Base, find_base
from character_chatbot.corpus import read_corpus
from character_chatbot.engines.plain_tokenizer import PlainTokenizer
from character_chatbot.export.agreement import Pair
from character_chatbot.hub_download import download
from character_chatbot.load_progress import LoadProgress, shown_in_terminal
from character_chatbot.prompts import Turn, build_messages, encode_prompt, encode_reply
from character_chatbot.training.evaluation import choose_replies
from character_chatbot.training.examples import encode_dialogues
from character_chatbot.version import TrainedVersion
from config import Settings
from utils.characters import Cast, Character
from utils.exports import base_export_name
from utils.hub import check_hub

ANSWER = "I have told you before, and it is true."
QUESTIONS = ("Who are you?", "What happened last night?", "I do not believe you.", "Where are we going now?")
ASKED_CHARACTERS = 4
NOBODY = Character("Ada")  # asked where there is neither a version nor a series


@dataclass(frozen=True)
class Subject:
    """``name``: of the export. ``tokenizer``: the folder with it. ``adapter``: what is merged in; None: the base alone.

    ``characters``: whom the comparison asks.
    """

    name: str
    base: Base
    tokenizer: Path
    adapter: Path | None
    characters: tuple[str, ...]
    cast: Cast
    title: str

    @property
    def version(self) -> str | None:
        """Of the adapter that is merged in."""
        return self.adapter.name if self.adapter else None


def version_subject(trained: TrainedVersion, runtime_adapter: bool) -> Subject:
    """A version, or with ``runtime_adapter`` its base alone."""
    name = base_export_name(trained.base.name) if runtime_adapter else trained.folder.name
    adapter = None if runtime_adapter else trained.folder
    return Subject(name, trained.base, trained.folder, adapter, trained.characters, trained.cast, trained.title)


def base_subject(wanted: str, settings: Settings) -> Subject:
    """A base by folder or repository, as it is. Raises BaseModelError: it cannot be had."""
    base = find_base(wanted, lambda: check_hub(settings.hub.reach_timeout_seconds))
    folder = find_base_folder(base, settings.secrets.hf_token.reveal())
    corpus, _ = read_corpus(settings.paths.data)
    if corpus is None:
        return Subject(base_export_name(base.name), base, folder, None, (NOBODY.name,), Cast([NOBODY]), "")
    names = corpus.speakers(settings.dialogues.minimum_replies)
    return Subject(base_export_name(base.name), base, folder, None, names, corpus.cast, corpus.series.title)


def find_base_folder(base: Base, token: str = "") -> Path:
    """Where a base's config.json and weights are; fetched from the hub where they are not. Raises BaseModelError."""
    if base.kind != HUB:
        return Path(base.location)
    progress = LoadProgress()
    with shown_in_terminal(progress):
        return download(base.location, ["*.json", "*.safetensors", "*.jinja"], token, progress)


def find_pairs(tokenizer: PlainTokenizer, subject: Subject, settings: Settings) -> list[Pair]:
    """Held-out replies of the series where it is at hand; else its characters asked a few questions."""
    corpus, _ = read_corpus(settings.paths.data)
    if corpus is not None:
        dialogues = corpus.build_dialogues(settings, subject.characters)
        examples = encode_dialogues(cast(Any, tokenizer), dialogues.held_out, dialogues, settings.training.max_length)
        chosen = choose_replies(examples, settings.export.compared_replies, settings.training.seed)
        if chosen:
            return [(each.input_ids[: -len(each.reply_ids)], each.reply_ids) for each in chosen]
    return list(_ask(tokenizer, subject, subject.characters))


def _ask(tokenizer: PlainTokenizer, subject: Subject, characters: Sequence[str]) -> list[Pair]:
    pairs: list[Pair] = []
    for name in characters[:ASKED_CHARACTERS]:
        for question in QUESTIONS:
            messages = build_messages(subject.cast.get(name), subject.title, [Turn("Visitor", question)])
            plain = cast(Any, tokenizer)
            pairs.append((encode_prompt(plain, messages), encode_reply(plain, ANSWER)))
    return pairs
