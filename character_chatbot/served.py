"""What a page serves, for whoever looks from outside: ``gradio_app.py --status-file FILE``, and ``GET /health``.

One JSON line, replaced whenever it changes:
{"state": "ready", "label": "llama 20261121-101530 (…)", "rung": "version", "announcements": […], "problem": "", …}
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from character_chatbot.service import FAILED, LOADING, READY, Service
from utils.errors import SuiteError
from utils.line_file import LineFile
from utils.logs import hide_secrets


class ServedFile:
    """Keeps a file of what a service serves.

    Args:
        file: None: nothing is written.
        family: that is served.
        clock: seconds since 1970.
    """

    def __init__(self, file: Path | None, family: str, *, clock: Callable[[], float] = time.time) -> None:
        self._file, self._family, self._clock = LineFile(file), family, clock

    def write(self, service: Service) -> None:
        """Say where the service stands."""
        source = service.source if service.state == READY else None
        self._write(
            service.state,
            label=source.label if source else "",
            version=source.version if source else "",
            base=source.base if source else "",
            rung=source.rung if source else "",
            announcements=[each.to_dict() for each in service.announcements],
            problem=str(service.problem or ""),
        )

    def begin(self) -> None:
        """Nothing is served yet; whatever an earlier process wrote is over."""
        self._write(LOADING)

    def fail(self, problem: SuiteError) -> None:
        """The page ends before it is up."""
        self._write(FAILED, problem=str(problem))

    def _write(
        self,
        state: str,
        *,
        label: str = "",
        version: str = "",
        base: str = "",
        rung: str = "",
        announcements: list[dict[str, str]] | None = None,
        problem: str = "",
    ) -> None:
        self._file.write(
            {
                "state": state,
                "label": label,
                "family": self._family,
                "version": version,
                "base": base,
                "rung": rung,
                "announcements": announcements or [],
                "problem": hide_secrets(problem),
                "at": datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            }
        )
