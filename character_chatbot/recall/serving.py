"""What a source recalls for each message: whether it recalls at all, the index built once, scenes found in it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from character_chatbot.prompts import Turn
from character_chatbot.recall.counting import Reader, describe_reader
from character_chatbot.recall.memory import Memory, SceneMemory
from config import RecallSettings
from utils.announcements import Announcement, Announcements
from utils.errors import BaseModelError

if TYPE_CHECKING:
    from character_chatbot.corpus import Corpus
    from character_chatbot.sources import Source

logger = logging.getLogger(__name__)


class Recall:
    """Scenes for a message. The index is built once and kept; several threads may ask at once."""

    def __init__(
        self, settings: RecallSettings, corpus: Corpus | None = None, announcements: Announcements | None = None
    ) -> None:
        self.settings = settings
        self._corpus = corpus
        self._announcements = Announcements() if announcements is None else announcements
        self._memory: SceneMemory | None = None
        self._building = threading.Lock()

    def find(self, character: str, turns: Sequence[Turn]) -> tuple[Memory, ...]:
        """Scenes that fit the last of ``turns``, best first; none where there is no series."""
        memory = self._open()
        if memory is None:
            return ()
        said = [turn.text for turn in turns if turn.speaker != character]
        return memory.find(character, said[-1], said[-2] if len(said) > 1 else "", self.settings.scenes)

    def prepare(self) -> None:
        """Build the index now, so that no message waits for it."""
        self._open()

    def _open(self) -> SceneMemory | None:
        with self._building:
            if self._memory is None and self._corpus is not None and self.settings.scenes:
                self._memory = SceneMemory(self._corpus.spoken, self._corpus.cast)
                self._search_by_meaning(self._memory)
        return self._memory

    def _search_by_meaning(self, memory: SceneMemory) -> None:
        """Search with the embedding model that is set; with words, announced, where it cannot be had."""
        wanted = self.settings.embedding_model
        if not wanted:
            return
        from character_chatbot.recall.embeddings import EmbeddingIndex, load_encoder

        try:
            memory.search_with(EmbeddingIndex(load_encoder(wanted), memory.passages))
        except BaseModelError as error:
            remedy = "set recall.embedding_model to a folder with a sentence-embedding model, or leave it out"
            self._announcements.add(
                Announcement("scene memory", f"embeddings of {wanted}", "BM25", error.what.rstrip("."), remedy)
            )


def choose_use(settings: RecallSettings, reader: Reader, has_series: bool) -> tuple[bool, str]:
    """Whether scenes go into the prompt of a model, and why."""
    if settings.use == "never" or not settings.scenes:
        return False, "the settings say so"
    if not has_series:
        return False, "there are no transcripts to remember"
    if settings.use == "always":
        return True, "the settings say so"
    large = reader.parameters >= settings.minimum_parameters
    size = f"the model has {reader.parameters:,} parameters"
    return large, f"{size}, {'at least' if large else 'less than'} {settings.minimum_parameters:,}"


def with_recall(
    source: Source, settings: RecallSettings, corpus: Corpus | None, announcements: Announcements
) -> Source:
    """The source with what reads its prompts and, where that can use it, scene memory. The choice is logged."""
    if source.rung == "quotes":
        return source
    reader = describe_reader(source.engine(source.characters[0])) if source.characters else Reader()
    used, why = choose_use(settings, reader, corpus is not None)
    logger.info("scene memory %s: %s", "on" if used else "off", why)
    recall = Recall(settings, corpus if used else None, announcements)
    recall.prepare()
    return replace(source, reader=reader, recall=recall)
