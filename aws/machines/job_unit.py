"""The systemd unit that does the job of an instance, and what ends the instance afterwards."""

from __future__ import annotations

import shlex

UNIT = "stranger-run.service"
STOP_SECONDS = 180  # between SIGTERM and SIGKILL: aws/instance/runner.py needs 170
END_AFTER_SECONDS = 45  # between the end of the job and that of the machine, for whoever looks on


def build_unit(folder: str, restart: bool, user: str) -> str:
    """The unit file. ``restart``: a server, which is started again whenever it ends."""
    end = _SERVER if restart else _JOB.format(folder=folder)
    return _UNIT.format(folder=folder, user=user, stop=STOP_SECONDS, end=end)


def build_finish(folder: str) -> str:
    """The script that runs, as root, whenever the unit of a job has ended."""
    return _FINISH.format(folder=shlex.quote(folder), seconds=END_AFTER_SECONDS)


# OOMPolicy: the runner itself tells what became of a program that was killed for want of memory.
_UNIT = """\
[Unit]
Description=The job of this machine
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=0
[Service]
User={user}
WorkingDirectory={folder}
EnvironmentFile=-/etc/environment
Environment=PYTHONUNBUFFERED=1
ExecStart=/usr/bin/env python3 {folder}/code/aws/instance/bootstrap.py {folder}
StandardOutput=append:{folder}/bootstrap.log
StandardError=inherit
KillMode=mixed
TimeoutStopSec={stop}
OOMPolicy=continue
RestartSec=5
{end}
[Install]
WantedBy=multi-user.target"""

_JOB = """\
Restart=on-abnormal
ExecStopPost=+{folder}/bin/finish"""

_SERVER = """\
Restart=always
RestartPreventExitStatus=78"""

# systemd gives SERVICE_RESULT. A runner that was killed is started again, three times.
_FINISH = """\
#!/bin/bash
# After the job: ends this machine, unless it is kept or systemd starts the job again.
cd {folder} || exit 0
if [ ! -e exit.json ]; then
    result=${{SERVICE_RESULT:-unknown}} stage=failed
    case $result in
        signal | core-dump | oom-kill | watchdog)
            echo "$result" >> aborted
            if [ "$(wc -l < aborted)" -le 3 ]; then exit 0; fi ;;
        success) stage=interrupted ;;
    esac
    printf '{{"stage": "%s", "exit_status": null, "output": {{}}, "failing_line": "%s", "at": "%s", %s}}\\n' \\
        "$stage" "the runner ended without a word: $result" "$(date -u +%Y-%m-%dT%H:%M:%SZ)" \\
        '"kept": false, "saved": false' > .exit.json && mv .exit.json exit.json
fi
if grep -q '"kept": true, "saved"' exit.json; then exit 0; fi
systemd-run --quiet --on-active={seconds} --unit=stranger-end shutdown -h now || shutdown -h +1
"""
