"""The log of a run: from the machine that works now, which has what those before it have saved, or from the bucket."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from aws.cloud import Cloud
from aws.ec2_orchestrator import EC2Place


def whole_log(cloud: Cloud, run: str) -> str:
    """All of it, from the bucket and from the machine that works now. Raises UsageError: no such run."""
    return b"".join(_pieces(cloud, run)).decode("utf-8", "replace")


def last_lines(cloud: Cloud, run: str, lines: int) -> str:
    """The last lines of it."""
    return "\n".join(whole_log(cloud, run).splitlines()[-lines:])


def _pieces(cloud: Cloud, run: str) -> Iterator[bytes]:
    with contextlib.closing(EC2Place(cloud)) as place:
        offset = 0
        while (piece := place.logs(run, offset)).content:
            yield piece.content
            offset = piece.next_offset
