"""A file of one JSON line that somebody else reads while it changes: how far a training is, what a page serves.

file = LineFile(Path("progress.json"))
file.write({"stage": "training", "step": 3})    # the old line or the new one, never half of it
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

from utils.files import write_atomic

logger = logging.getLogger(__name__)


class LineFile:
    """Replaces ``file`` at each write. What cannot be written is logged once and never ends the work it tells of.

    Args:
        file: its folder is made if need be; None: nothing is written.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._complained = False

    def write(self, content: Mapping[str, object]) -> None:
        """Replace the line; ``content`` is ready for JSON."""
        if self._file is None:
            return
        try:
            write_atomic(self._file, json.dumps(content, ensure_ascii=False) + "\n")
        except OSError as error:
            if not self._complained:
                logger.warning("%s cannot be written: %s. The work goes on without it.", self._file, error)
            self._complained = True
