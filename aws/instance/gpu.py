"""Whether a machine with a GPU can use it: training on its processor costs as much an hour and takes far longer."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable

from aws.errors import PlaceError

SECONDS = 120.0
ASK_TORCH = (
    "import torch; print(torch.__version__, torch.version.cuda); raise SystemExit(not torch.cuda.is_available())"
)
ASK_DRIVER = ("nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader")


def check_gpu(python: str, say: Callable[[str], None]) -> None:
    """Nothing where there is no GPU. Raises PlaceError: there is one, and torch cannot use it.

    Args:
        python: with torch.
        say: hears which GPU it is.
    """
    if shutil.which(ASK_DRIVER[0]) is None:
        say("this machine has no NVIDIA driver: the program runs on its processor")
        return
    driver = _ask(ASK_DRIVER)
    if driver.returncode:
        say(f"this machine has a driver and no GPU ({_line(driver)}): the program runs on its processor")
        return
    torch = _ask((python, "-c", ASK_TORCH))
    if torch.returncode:
        raise PlaceError(
            f"torch {torch.stdout.strip() or '(not to be imported)'} cannot use the GPU of this machine: "
            f"{_line(driver)}. Take an image with a newer driver: aws.training.image."
        )
    say(f"GPU: {_line(driver)}; torch {torch.stdout.strip()}")


def _ask(words: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(words, capture_output=True, text=True, timeout=SECONDS, check=False)


def _line(answer: subprocess.CompletedProcess[str]) -> str:
    said = (answer.stdout.strip() or answer.stderr.strip()).splitlines()
    return said[0] if said else f"exit {answer.returncode}"
