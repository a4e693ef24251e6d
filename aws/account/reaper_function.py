"""The reaper in the account: its function, its log and the group of its schedules.

The function is ``reaper.py`` alone, in a zip that is the same bytes wherever it is made, so that its sha256 tells
whether the account has this code.
"""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aws.account.policies import log_group, role_arn
from aws.account.steps import Part, Seen, Site, Step, ask, ensure, insist
from aws.errors import CloudError

RUNTIME, HANDLER = "python3.13", "reaper.handler"
TIMEOUT_SECONDS, MEMORY_MB = 120, 256
LOG_DAYS = 30
EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest that a zip knows
ABSENT = ("ResourceNotFoundException",)
TAKEN = ("ResourceAlreadyExistsException", "ResourceConflictException")
BUSY = ("ResourceConflictException", "TooManyRequestsException")
READY_SECONDS = 60.0


def build_zip() -> bytes:
    """The function's code. Stored and not deflated, because what deflates differs from machine to machine."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as file:
        entry = zipfile.ZipInfo("reaper.py", EPOCH)
        entry.create_system = 3  # Unix, on any machine
        entry.external_attr = 0o644 << 16
        file.writestr(entry, Path(__file__).with_name("reaper.py").read_bytes())
    return packed.getvalue()


def ensure_log_group(site: Site) -> Step:
    """The reaper's log, which Lambda would keep for ever. Raises CloudError."""
    name, logs = log_group(site.names), site.client("logs")

    def look() -> Mapping[str, Any] | None:
        groups = ask(f"look for the log {name}", logs.describe_log_groups, logGroupNamePrefix=name)
        return next((group for group in groups["logGroups"] if group["logGroupName"] == name), None)

    found = Seen(look)

    def make() -> None:
        ask(f"make the log {name}", logs.create_log_group, *TAKEN, logGroupName=name, tags=dict(site.tags))
        found.forget()

    def limit() -> None:
        which = {"logGroupName": name, "retentionInDays": LOG_DAYS}
        ask(f"limit the log {name} to {LOG_DAYS} days", logs.put_retention_policy, **which)

    parts = [
        Part("itself", lambda: found() is not None, make),
        Part(f"kept for {LOG_DAYS} days", lambda: "retentionInDays" in (found() or {}), limit),
    ]
    return ensure(site, "log group", name, parts)


def ensure_function(site: Site) -> Step:
    """The reaper. Raises CloudError."""
    name, client, code = site.names.reaper, site.client("lambda"), build_zip()
    which = {"FunctionName": name}
    wanted = {
        "Role": role_arn(site.names, name),
        "Runtime": RUNTIME,
        "Handler": HANDLER,
        "Timeout": TIMEOUT_SECONDS,
        "MemorySize": MEMORY_MB,
    }

    found = Seen(lambda: ask(f"look at the function {name}", client.get_function_configuration, *ABSENT, **which))

    def change(doing: str, call: Any, **options: Any) -> None:
        """A new role is not visible to Lambda for some seconds, and a function takes one change after the other."""
        insist(site, f"{doing} the function {name}", lambda: call(**which, **options), on=passes_by_itself)
        _wait_ready(site, found)

    def make() -> None:
        try:
            change("make", client.create_function, **wanted, Code={"ZipFile": code}, Tags=dict(site.tags))
        except CloudError as error:
            if error.code not in TAKEN:
                raise
            found.forget()  # somebody else has just made it

    def has_code() -> bool:
        return bool(found()["CodeSha256"] == base64.b64encode(hashlib.sha256(code).digest()).decode())

    def has_settings() -> bool:
        present = found()
        return all(present.get(key) == value for key, value in wanted.items())

    parts = [
        Part("itself", lambda: found() is not None, make),
        Part("code", has_code, lambda: change("update", client.update_function_code, ZipFile=code)),
        Part("settings", has_settings, lambda: change("set up", client.update_function_configuration, **wanted)),
    ]
    return ensure(site, "function", name, parts)


def ensure_schedule_group(site: Site) -> Step:
    """Where the one-shot schedules of the runs are. Raises CloudError."""
    name, scheduler = site.names.schedule_group, site.client("scheduler")

    def exists() -> bool:
        found = ask(f"look at the schedule group {name}", scheduler.get_schedule_group, *ABSENT, Name=name)
        return bool(found and found.get("State", "ACTIVE") == "ACTIVE")

    def make() -> None:
        """One of this name that is being deleted is waited for; one that somebody made meanwhile is taken."""
        insist(
            site,
            f"make the schedule group {name}",
            lambda: exists() or scheduler.create_schedule_group(Name=name, Tags=site.tag_list),
            on=lambda error: error.code == "ConflictException",
        )

    return ensure(site, "schedule group", name, [Part("itself", exists, make)])


def passes_by_itself(error: CloudError) -> bool:
    """Whether AWS only needs some seconds: for a new role, or for the change before."""
    return (error.code in BUSY and "already exist" not in error.what) or "assume" in error.what


def _wait_ready(site: Site, found: Seen) -> None:
    """Until the function takes calls and changes again; what is not ready by then says so at the next change."""
    waited = 0.0
    while waited < READY_SECONDS:
        found.forget()
        present = found() or {}
        if present.get("State") != "Pending" and present.get("LastUpdateStatus") != "InProgress":
            return
        site.sleep(1.0)
        waited += 1.0
