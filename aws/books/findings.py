"""What the doctor can find, and what a finding is. Data only; see aws/books/doctor.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

# instances
OVERDUE = "instance past its deadline"
NO_DEADLINE = "training instance without a deadline"
RUN_ENDED = "instance of a run that has ended"
NO_RECORD = "instance that is in no journal"
# runs
LOST_MACHINE = "run without its machine"
NOT_COLLECTED = "run that ended unseen"
LOST_ATTEMPT = "launch that made nothing"
DAMAGED_RECORD = "record that cannot be read"
# what lies about
LOOSE_VOLUME = "volume that nothing uses"
LOOSE_ADDRESS = "address that nothing uses"
LOOSE_REQUEST = "spot request without an instance"
STALE_SCHEDULE = "schedule of a run that is over"
NO_SCHEDULE = "run without its schedule"
UNKNOWN_GROUP = "security group that nobody knows"
OPEN_GROUP = "security group that is open to everybody"
OLD_KEY = "key pair that is old"
LOOSE_UPLOAD = "unfinished upload"
UNFINISHED_VERSION = "unfinished version"
UNREADABLE = "what could not be read"


@dataclass(frozen=True)
class Finding:
    """One thing that is not as it should be.

    Args:
        kind: one of the constants of this module.
        id: of the thing: an instance, a run, a volume, a key of the bucket…
        region: empty for what belongs to none.
        problem: a sentence that begins with the id.
        overdue: it lives past its deadline, or past its run.
        billable: it costs something as long as it is there.
        remedy: the command that mends it.
        facts: what mending it takes.
    """

    kind: str
    id: str
    region: str
    problem: str
    overdue: bool = False
    billable: bool = False
    remedy: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.problem + (f"\n  {self.remedy}" if self.remedy else "")

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self) | {"facts": dict(self.facts)}
