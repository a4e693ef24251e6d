"""How a job ended, from how its program did: the stage, and the line that tells why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aws.instance.child import Ended, Stop
from aws.instance.folder import now_iso
from aws.places import DONE, FAILED, INTERRUPTED, Job

OUT_OF_MEMORY = 137  # 128 + SIGKILL
BY_SIGNAL = (130, 143)  # 128 + SIGINT, SIGTERM: the program's own word for "interrupted"


@dataclass(frozen=True)
class Verdict:
    """``line`` tells why; empty if all went well. ``ended`` is None where the program was never started."""

    stage: str
    line: str = ""
    ended: Ended | None = None

    def to_dict(self, job: Job, *, attempt: int, cost_usd: float) -> dict[str, Any]:
        """The content of exit.json."""
        return {
            "stage": self.stage,
            "exit_status": self.ended.exit_status if self.ended else None,
            "output": self.ended.output() if self.ended else {},
            "failing_line": self.line,
            "at": now_iso(),
            "kept": self.stage == FAILED and job.keep_on_failure,
            "saved": True,
            "cost_usd": cost_usd,
            "attempt": attempt,
        }


def judge(ended: Ended, job: Job, stop: Stop, *, disk_full: bool) -> Verdict:
    """What the end of the program means. A server never ends by itself."""
    if ended.exit_status == 0 and not job.restart:
        return Verdict(DONE, "", ended)
    if stop.requested or ended.exit_status in BY_SIGNAL:
        return Verdict(INTERRUPTED, stop.why or ended.last_line("Error:"), ended)
    return Verdict(FAILED, explain(last_words(ended), job, disk_full=disk_full or ended.disk_full), ended)


def explain(line: str, job: Job, *, disk_full: bool) -> str:
    """The failing line; a full disk is named as what it is."""
    if disk_full or Ended(1, "", (line,)).disk_full:
        return (
            f"the disk of the instance is full: set aws.{job.purpose}.volume_gb in aws_config.yaml to more. "
            f"It said: {line}"
        )
    return line or "it ended without a word"


def last_words(ended: Ended) -> str:
    """Why the program ended, as far as it can be told."""
    line = ended.last_line("Error:")
    if ended.exit_status == OUT_OF_MEMORY:
        return f"killed by signal 9, most likely for want of memory; its last words: {line}"
    return line
