"""Programs of the system that only write down how they were called, for shell that is run by a test."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

RECORDER = r"""#!/bin/bash
words="$*"; echo "${0##*/} ${words%%$'\n'*}" >> "$CALLS"  # a script: its first line
"""


@dataclass(frozen=True)
class Commands:
    """``folder/programs`` comes first on the PATH of ``run``; ``sudo`` runs what follows it."""

    folder: Path

    def fake(self, name: str, code: str = "") -> None:
        """A program that writes its call down and then runs ``code``."""
        (self.folder / "programs").mkdir(parents=True, exist_ok=True)
        file = self.folder / "programs" / name
        file.write_text(RECORDER + code)
        file.chmod(0o755)

    def run(self, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a script with bash."""
        (self.folder / "units").mkdir(parents=True, exist_ok=True)
        own = {
            "PATH": f"{self.folder / 'programs'}:{os.environ['PATH']}",
            "CALLS": str(self.folder / "calls"),
            "UNIT_DIR": str(self.folder / "units"),
        }
        return subprocess.run(
            ["/bin/bash", "-c", script],
            env={**os.environ, **own, **variables},
            text=True,
            capture_output=True,
            timeout=30,
            check=False,
        )

    def calls(self) -> list[str]:
        file = self.folder / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def unit(self, name: str) -> str:
        return (self.folder / "units" / name).read_text()


def system(folder: Path) -> Commands:
    """A system whose systemd and power button are not real."""
    made = Commands(folder)
    for name in ("systemctl", "shutdown", "systemd-run"):
        made.fake(name)
    made.fake("sudo", '[ "$1" = -n ] && shift\nexec "$@"\n')
    return made
