"""How completions are written down: OpenAI's objects for chat and for text, whole and in pieces."""

from __future__ import annotations

import secrets
import time
from typing import Any


class Form:
    """How a kind of completion is written down. ``name``: of the model, as it was asked for."""

    kind, chunk_kind, prefix = "", "", ""

    def __init__(self, name: str) -> None:
        self._common = {"id": f"{self.prefix}-{secrets.token_hex(12)}", "created": int(time.time()), "model": name}

    def whole(self, text: str, reason: str, usage: dict[str, int]) -> dict[str, Any]:
        return self._common | {"object": self.kind, "choices": [self._choice(text, reason)], "usage": usage}

    def piece(self, text: str | None, reason: str | None = None) -> dict[str, Any]:
        """``text`` None: the first one, in front of all text."""
        return self._common | {"object": self.chunk_kind, "choices": [self._delta(text, reason)]}

    def count(self, usage: dict[str, int]) -> dict[str, Any]:
        return self._common | {"object": self.chunk_kind, "choices": [], "usage": usage}

    def _choice(self, text: str, reason: str) -> dict[str, Any]:
        raise NotImplementedError

    def _delta(self, text: str | None, reason: str | None) -> dict[str, Any]:
        raise NotImplementedError


class ChatForm(Form):
    kind, chunk_kind, prefix = "chat.completion", "chat.completion.chunk", "chatcmpl"

    def _choice(self, text: str, reason: str) -> dict[str, Any]:
        message = {"role": "assistant", "content": text, "refusal": None}
        return {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}

    def _delta(self, text: str | None, reason: str | None) -> dict[str, Any]:
        delta = {"role": "assistant", "content": ""} if text is None else {"content": text} if text else {}
        return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}


class TextForm(Form):
    kind, chunk_kind, prefix = "text_completion", "text_completion", "cmpl"

    def _choice(self, text: str, reason: str | None) -> dict[str, Any]:
        return {"index": 0, "text": text, "logprobs": None, "finish_reason": reason}

    def _delta(self, text: str | None, reason: str | None) -> dict[str, Any]:
        return self._choice(text or "", reason)
