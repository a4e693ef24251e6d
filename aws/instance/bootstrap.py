"""The first step on an instance: makes the environment of the job and starts the runner in it.

    python3 bootstrap.py FOLDER

Standard library only, and any Python from 3.10 on: it runs under whatever the system has. What it says goes to the
standard output. If it fails it writes exit.json, the log, and a line on the console, which EC2 keeps.
"""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import NoReturn

# What the project runs with; the newest first, but the system's own before all others.
PYTHONS = ("python3", "python3.13", "python3.12", "python3.11")
LOWEST, HIGHEST = (3, 11), (3, 13)
PACKAGES = ("python3.12", "python3.11")  # of Ubuntu 24.04 and 22.04
FIRST = ("boto3", "pyyaml", "python-dotenv")  # what the runner itself needs
STARTED = ".started"  # in the environment, once the first packages are there
HOPELESS = 78  # sysexits.h: EX_CONFIG; the unit of a server does not start it again
COMMAND_TIMEOUT_SECONDS = 1200


class Failure(Exception):
    """A command failed; the text is the line that tells why."""


def main(folder: Path) -> int:
    """Start the runner, which takes the place of this process. Returns only if that cannot be done."""
    try:
        job = json.loads((folder / "job.json").read_bytes())["job"]
        write_line(folder / "state.json", {"stage": "environment", "message": "making the environment"})
        venv = folder / venv_name(folder / "code" / "requirements.txt", job.get("torch_index", ""))
        make_venv(venv)
        install_first(venv, folder / "code" / "requirements.txt")
        start_runner(venv, folder)
    except (Failure, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        fail(folder, str(error) if isinstance(error, Failure) else f"{type(error).__name__}: {error}")
        return HOPELESS


def venv_name(requirements: Path, torch_index: str) -> str:
    """The same requirements are the same environment; those of a GPU lie beside the others."""
    gpu = requirements.with_name("requirements-gpu.txt")
    more = gpu.read_bytes() if gpu.exists() else b""
    return "venv-" + hashlib.sha256(requirements.read_bytes() + more + torch_index.encode()).hexdigest()[:12]


def make_venv(venv: Path) -> None:
    """Make the environment, unless it is there and works."""
    if works(venv / "bin" / "python", "import pip"):
        return
    shutil.rmtree(venv, ignore_errors=True)
    python = find_python()
    say(f"making {venv.name} with {python}")
    run([python, "-m", "venv", str(venv)])


def find_python() -> str:
    """A Python that the project runs with and that can make environments; apt-get brings what is missing."""
    found = [python for python in PYTHONS if is_right(python)]
    ready = [python for python in found if works(python, "import venv, ensurepip")]
    if ready:
        return ready[0]
    wanted = [f"{python_name(python)}-venv" for python in found[:1]]
    for packages in [wanted] if wanted else [[name, f"{name}-venv"] for name in PACKAGES]:
        if apt_install(packages):
            break
    for python in (*found, *PACKAGES):
        if is_right(python) and works(python, "import venv, ensurepip"):
            return python
    raise Failure(f"no Python {LOWEST[0]}.{LOWEST[1]} to {HIGHEST[0]}.{HIGHEST[1]} with venv on this system")


def is_right(python: str) -> bool:
    return works(python, f"import sys; assert {LOWEST} <= sys.version_info[:2] <= {HIGHEST}")


def python_name(python: str) -> str:
    """``python3.12``, whatever it is called."""
    code = "import sys; print('python%d.%d' % sys.version_info[:2])"
    return subprocess.run([python, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def apt_install(packages: list[str]) -> bool:
    """Whether it worked. Another apt may be at work after the boot: it is waited for."""
    apt = ["sudo", "-n", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=300", "-q", "-y"]
    say(f"installing {' '.join(packages)}")
    try:
        run([*apt, "update"])
        run([*apt, "install", "--no-install-recommends", *packages])
    except Failure as failure:
        say(str(failure))
        return False
    return True


def install_first(venv: Path, requirements: Path) -> None:
    """What the runner needs before it can install the rest."""
    if (venv / STARTED).exists():
        return
    rows = [row.partition("#")[0].strip() for row in requirements.read_text(encoding="utf-8").splitlines()]
    wanted = [row for row in rows if row.partition("==")[0].strip().lower() in FIRST]
    if not wanted:
        raise Failure(f"{requirements} names none of {', '.join(FIRST)}")
    say(f"installing {' '.join(wanted)}")
    python = str(venv / "bin" / "python")
    run([python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--no-cache-dir", "-q", *wanted])
    (venv / STARTED).touch()


def start_runner(venv: Path, folder: Path) -> NoReturn:
    code, python = str(folder / "code"), str(venv / "bin" / "python")
    environment = {**os.environ, "PYTHONPATH": code, "PATH": f"{venv / 'bin'}:{os.environ.get('PATH', os.defpath)}"}
    os.chdir(code)
    sys.stdout.flush()
    os.execve(python, [python, "-m", "aws.instance.runner", str(folder)], environment)  # noqa: S606 - no shell


def run(command: list[str]) -> None:
    """Run a command; what it says is repeated. Raises Failure."""
    try:
        ended = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=COMMAND_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Failure(f"{command[0]}: {error}") from None
    said = ended.stdout.decode(errors="replace")
    print(said, end="", flush=True)
    if ended.returncode:
        raise Failure(failing_line(said) or f"{' '.join(command)} ended with status {ended.returncode}")


def failing_line(said: str) -> str:
    """The last line that says ERROR or E:, or else the last one of all."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    marked = [line for line in lines if line.startswith(("ERROR:", "Error:", "E: "))]
    return (marked or lines or [""])[-1]


def works(python: str | Path, code: str) -> bool:
    try:
        command = [str(python), "-c", code]
        ended = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return ended.returncode == 0


def say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S', time.gmtime())}] {text}", flush=True)


def fail(folder: Path, line: str) -> None:
    """Tell everybody who may look: the log, exit.json, and the console."""
    say(f"failed: {line}")
    end: dict[str, object] = {
        "stage": "failed",
        "exit_status": None,
        "output": {},
        "failing_line": line,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "kept": read_job(folder).get("keep_on_failure") is True,
        "saved": False,
        "attempt": read(folder / "job.json").get("attempt", 1),
    }
    aside = folder / "bootstrap.log"
    try:
        with (folder / "log").open("ab") as log:
            log.write(aside.read_bytes() if aside.exists() else f"failed: {line}\n".encode())
        write_line(folder / "exit.json", end)
    except OSError as error:
        say(str(error))
    with contextlib.suppress(OSError):
        Path("/dev/console").write_text(f"stranger: failed: {line}\n", encoding="utf-8")


def write_line(file: Path, content: dict[str, object]) -> None:
    """As one line, whole or not at all."""
    side = file.with_name(f".tmp-{file.name}")
    side.write_text(json.dumps(content) + "\n", encoding="utf-8")
    side.replace(file)


def read_job(folder: Path) -> dict[str, object]:
    job = read(folder / "job.json").get("job")
    return job if isinstance(job, dict) else {}


def read(file: Path) -> dict[str, object]:
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


if __name__ == "__main__":
    sys.path.pop(0)  # this folder: its modules are not to be taken for those of the standard library
    sys.exit(main(Path(sys.argv[1]).resolve()))
