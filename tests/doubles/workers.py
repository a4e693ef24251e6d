"""The worker of the CPU engine without a model."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from character_chatbot.engines.openvino_worker import Worker


class OneByOne(Worker):
    """A worker without a model: a prompt takes two steps, a reply one token."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.cancelled: list[int] = []
        self.answered: list[int] = []
        super().__init__(Path(), {"adapters": {}}, lambda answer: self.answered.append(answer["id"]))

    def _load(self, adapters: dict[str, dict[str, Any]]) -> None:
        self._adapters, self._caches, self._active = {}, True, ""
        self._pipeline = SimpleNamespace(step=lambda: None)

    def _add(self, number: int, ids: list[int], order: dict[str, Any]) -> Any:
        self.begun.append(number)
        return SimpleNamespace(steps=0, cancel=lambda: self.cancelled.append(number))

    def _send(self, number: int) -> None:
        self._handles[number].steps += 1  # type: ignore[attr-defined]
        if self._handles[number].steps == 2:  # type: ignore[attr-defined]
            self._told(number, [7], done=True)
