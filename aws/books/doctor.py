"""The doctor: journal, tags and all enabled regions against each other.

    findings = examine(sessions, names, journal, registry, now)
    for result in reap(sessions, names, journal, registry, findings):     # aws/books/reaping.py
        print(result)

It reads only. Instances are looked at before the journal: whatever was launched meanwhile is not taken for lost.
"""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING

from aws.books import findings as kinds
from aws.books.diagnosis import UPLOAD_AGE, Facts, diagnose
from aws.books.findings import Finding
from aws.books.inventory import take_inventory, unfinished_uploads
from aws.books.reaping import Reaped, reap
from aws.config import RESULTS, Names
from aws.errors import CloudError
from aws.journal import ENDED, Journal, Record
from utils.errors import StoreError, SuiteError

if TYPE_CHECKING:
    from aws.sessions import Sessions
    from utils.registry import Registry

__all__ = ["Finding", "Reaped", "examine", "reap"]


def examine(sessions: Sessions, names: Names, journal: Journal, registry: Registry, now: datetime) -> list[Finding]:
    """Everything that is not as it should be, what costs first; what cannot be read is a finding too.

    Raises:
        CloudError: there are no usable credentials, or the regions cannot be listed.
    """
    facts = _gather(sessions, names, journal, registry, now)
    found = [*diagnose(facts), *facts.problems]
    return sorted(found, key=lambda each: (not each.overdue, not each.billable))


def _gather(sessions: Sessions, names: Names, journal: Journal, registry: Registry, now: datetime) -> Facts:
    from aws.ec2_manager import find_everywhere

    facts = Facts(names, now)
    facts.instances, errors = find_everywhere(sessions)
    facts.dark_regions = set(errors)
    for region, error in errors.items():
        facts.problems.append(_unreadable(region, region, f"{region} could not be read: {error.what}", error))
    with ThreadPoolExecutor(max_workers=4) as pool:
        for done in [
            pool.submit(_read_journal, facts, journal, registry),
            pool.submit(_read_things, facts, sessions),
            pool.submit(_read_kills, facts, sessions),
            pool.submit(_read_store, facts, sessions, registry),
        ]:
            done.result()
    return facts


def _read_journal(facts: Facts, journal: Journal, registry: Registry) -> None:
    try:
        runs = journal.runs()
    except StoreError as error:
        facts.problems.append(_unreadable("journal", "", f"the journal could not be read: {error.what}", error))
        return
    facts.records = {}
    for run in runs:
        try:
            facts.records[run] = journal.read(run)
        except SuiteError as error:
            remedy = "python deploy_aws.py list-instances"
            facts.problems.append(Finding(kinds.DAMAGED_RECORD, run, "", error.what, remedy=remedy))
            continue
        if facts.records[run].state != ENDED:
            facts.ends[run] = _end_of(facts.records[run], registry)


def _end_of(record: Record, registry: Registry) -> str:
    """The stage that the last machine of a run has saved at its end; empty: it has not."""
    try:
        end = json.loads(registry.store.get(f"{RESULTS}/{record.run}/exit.json")[0])
        number = record.attempt.number if record.attempt else 0
        return str(end["stage"]) if end.get("attempt", number) == number else ""
    except (KeyError, ValueError, TypeError, AttributeError, StoreError):
        return ""


def _read_things(facts: Facts, sessions: Sessions) -> None:
    facts.things, problems = take_inventory(sessions, facts.names)
    for region, text in problems:
        facts.problems.append(_unreadable(region, region, text))


def _read_kills(facts: Facts, sessions: Sessions) -> None:
    from aws.account.schedules import list_kills

    try:
        facts.kills = list_kills(sessions, facts.names)
    except CloudError as error:
        facts.problems.append(_unreadable("schedules", "", f"the schedules could not be read: {error.what}", error))


def _read_store(facts: Facts, sessions: Sessions, registry: Registry) -> None:
    try:
        facts.uploads = unfinished_uploads(sessions, facts.names)
        facts.unfinished = registry.unfinished(UPLOAD_AGE.total_seconds())
    except SuiteError as error:
        facts.problems.append(_unreadable("bucket", "", f"{facts.names.bucket} could not be read: {error.what}", error))


def _unreadable(what: str, region: str, problem: str, error: SuiteError | None = None) -> Finding:
    """Its remedy is the last of those that the error names."""
    remedies = error.remedies if error else []
    remedy = remedies[-1][1] if remedies else "aws sts get-caller-identity"
    return Finding(kinds.UNREADABLE, what, region, problem, remedy=remedy)
