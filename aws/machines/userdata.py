"""The shell that an instance runs: user-data at its first boot, the start of a job, and one look at it.

    build_user_data(deadline, setup_minutes=30, user="ubuntu")    # goes into the launch call
    start_command("/opt/stranger", restart=False, user="ubuntu")  # over SSH; twice is once
    parse_poll(run(poll_command("/opt/stranger", offset)))        # exit, state and log, over SSH

Nothing here is secret: whoever may see the instance may read it. The variable UNIT_DIR moves the units, for tests.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from aws.config import INSTANCE_FOLDER
from aws.machines.job_unit import UNIT, build_finish, build_unit
from utils.errors import UsageError

FORCE_AFTER = timedelta(minutes=10)  # after the deadline the power goes, whatever hangs
FAILED_SET_UP_MINUTES = 10
LARGEST_USER_DATA_BYTES = 12_000  # EC2 takes 16 KiB
PIECE_BYTES = 262_144


@dataclass(frozen=True)
class Poll:
    """One look: exit.json and state.json, empty while there is none, and the log from the offset on."""

    exit: dict[str, Any]
    state: dict[str, Any]
    log: bytes


def build_user_data(deadline: datetime | None, setup_minutes: int, user: str, folder: str = INSTANCE_FOLDER) -> str:
    """The script of the first boot: the belts first, then the folder, then ``ready`` in it, or ``failed``.

    Args:
        deadline: when the machine ends itself; None: it stays.
        setup_minutes: a machine that is not confirmed and has no job by then ends itself.
        user: owns the folder.
    """
    parts = [
        _START.format(folder=shlex.quote(folder), user=shlex.quote(_checked(user)), minutes=FAILED_SET_UP_MINUTES),
        _deadline_units(deadline) if deadline else "",
        _IDLE.format(minutes=int(setup_minutes), unit=UNIT),
        _READY,
    ]
    return "\n".join(part for part in parts if part)


def _deadline_units(deadline: datetime) -> str:
    moment, force = (each.astimezone(UTC) for each in (deadline, deadline + FORCE_AFTER))
    return _DEADLINE.format(
        unit=UNIT,
        at=f"{moment:%Y-%m-%d %H:%M:%S} UTC",
        force=f"{force:%Y-%m-%d %H:%M:%S} UTC",
        seconds=int(moment.timestamp()),
    )


_START = """\
#!/bin/bash
# Sets up this machine. What ends it comes first, so that nothing can go wrong before.
set -Eeuo pipefail
export PATH="${{PATH:-}}:/usr/sbin:/usr/bin:/sbin:/bin"
FOLDER={folder}
OWNER={user}
UNITS=${{UNIT_DIR:-/etc/systemd/system}}

problem() {{
    trap - ERR
    echo "stranger: failed: $1" | tee /dev/console 2>/dev/null || true
    mkdir -p "$FOLDER" && echo "$1" > "$FOLDER/failed" || true
    systemd-run --quiet --on-active={minutes}min --unit=stranger-failed shutdown -h now || shutdown -h +{minutes}
    exit 1
}}
trap 'problem "line $LINENO: $BASH_COMMAND"' ERR

unit() {{ cat > "$UNITS/$1"; }}
"""

_DEADLINE = """\
# The deadline: the job saves itself, then the machine ends; ten minutes later by force.
unit stranger-deadline.service <<EOF
[Unit]
Description=End this machine at its deadline
[Service]
Type=oneshot
TimeoutStartSec=300
ExecStart=-/bin/systemctl stop {unit}
ExecStart=/sbin/shutdown -h now
EOF
unit stranger-deadline.timer <<EOF
[Unit]
Description=The deadline of this machine
[Timer]
OnCalendar={at}
AccuracySec=1s
Persistent=true
[Install]
WantedBy=timers.target
EOF
unit stranger-force.service <<EOF
[Unit]
Description=End this machine by force
DefaultDependencies=no
[Service]
Type=oneshot
ExecStart=-/bin/systemctl poweroff --force
ExecStart=-/bin/sleep 60
ExecStart=/bin/systemctl poweroff --force --force
EOF
unit stranger-force.timer <<EOF
[Unit]
Description=Ten minutes after the deadline of this machine
[Timer]
OnCalendar={force}
AccuracySec=1s
Persistent=true
[Install]
WantedBy=timers.target
EOF
systemctl daemon-reload
systemctl enable --now stranger-deadline.timer stranger-force.timer
# A timer for a moment that has passed never fires.
if [ "$(date +%s)" -ge {seconds} ]; then shutdown -h now; fi
"""

_IDLE = """\
# A machine that nobody wants: not confirmed, or without a job.
unit stranger-idle.service <<EOF
[Unit]
Description=End this machine if it has no work
[Service]
Type=oneshot
ExecStart=/bin/bash -c 'test -e "$FOLDER/confirmed" -a -e "$UNITS/{unit}" || shutdown -h now'
EOF
unit stranger-idle.timer <<EOF
[Unit]
Description=When this machine must have its work
[Timer]
OnActiveSec={minutes}min
AccuracySec=1s
[Install]
WantedBy=timers.target
EOF
systemctl daemon-reload
systemctl enable --now stranger-idle.timer
"""

_READY = """\
install -d -m 755 -o "$OWNER" -g "$(id -gn "$OWNER")" "$FOLDER" "$FOLDER/work" "$FOLDER/bin"
touch "$FOLDER/ready"
"""


def start_command(folder: str, restart: bool, user: str) -> str:
    """The line that makes the unit of the job and starts it, for a user who may use sudo.

    Args:
        restart: a server, which is started again whenever it ends; otherwise the machine ends after the job.
    """
    unit, finish = build_unit(folder, restart, _checked(user)), build_finish(folder)
    script = _START_JOB.format(folder=shlex.quote(folder), user=shlex.quote(user), name=UNIT, unit=unit, finish=finish)
    return f"sudo -n bash -euc {shlex.quote(script)}"


_START_JOB = """\
UNITS=${{UNIT_DIR:-/etc/systemd/system}}
cd {folder}
mkdir -p bin work
cat > bin/finish <<'END_OF_FINISH'
{finish}END_OF_FINISH
chmod 755 bin/finish
cat > bin/unit <<'END_OF_UNIT'
{unit}
END_OF_UNIT
touch log bootstrap.log
chown {user} log bootstrap.log work
if ! cmp -s bin/unit "$UNITS/{name}"; then
    install -m 644 bin/unit "$UNITS/{name}"
    systemctl daemon-reload
fi
systemctl enable --quiet {name}
systemctl start {name}"""


def poll_command(folder: str, offset: int, limit: int = PIECE_BYTES) -> str:
    """The line that prints exit.json, state.json and up to ``limit`` bytes of the log from ``offset`` on.

    The exit is read first: once it is there, the log is complete.
    """
    return (
        f"cd {shlex.quote(folder)} || exit 1; "
        "for file in exit.json state.json; do "
        'printf "%s\\n" "$(cat "$file" 2>/dev/null | tr "\\n" " ")"; done; '
        f"tail -c +{int(offset) + 1} log 2>/dev/null | head -c {int(limit)}"
    )


def parse_poll(answer: bytes) -> Poll:
    """What ``poll_command`` printed."""
    end, _, rest = answer.partition(b"\n")
    state, _, log = rest.partition(b"\n")
    return Poll(_object(end), _object(state), log)


def _object(line: bytes) -> dict[str, Any]:
    try:
        content = json.loads(line)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _checked(user: str) -> str:
    if not re.fullmatch(r"[a-z_][a-z0-9_-]{0,31}", user):
        raise UsageError(f"'{user}' is not the name of a user.", instead="It looks like ubuntu or ec2-user.")
    return user
