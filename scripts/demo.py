"""The whole way on the sample series: read, train, evaluate, publish, one exchange, then the page.

    python scripts/demo.py [--port 7860] [--family llama]

Each step is a command that you can run yourself; it is printed before it runs. What is there already is used again.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
DATA = "data/sample_series"
# A real base takes about 20 s a step on two cores: the demo shows the way and leaves the long run to you.
SHORT_RUN = {"steps": 8, "replies": 16}


def main() -> int:
    arguments = build_parser().parse_args()
    places = ["--data", DATA]
    run("training_pipeline.py", "data", *places, lines=1)
    run("training_pipeline.py", "train", arguments.family, *places, *shorten(arguments.family))
    run("training_pipeline.py", "chat", "--family", arguments.family, *places, "--character", "Pip", "--seed", "1",
        "--message", "What did you see at the lighthouse?")  # fmt: skip
    return serve(arguments.family, arguments.port, places)


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--port", type=int, default=7860)
    parser.add_argument("--family", choices=("llama", "qwen"), default="llama")
    return parser


def shorten(family: str) -> list[str]:
    """A short run where the base is a real one and there is no GPU: nobody waits an hour for a demo."""
    sys.path.insert(0, str(PROJECT))
    from character_chatbot.bases import default_base, is_cached
    from character_chatbot.machine.devices import choose_device
    from config import load_settings
    from utils.hub import check_hub

    settings, device = load_settings(), choose_device()
    real = is_cached(default_base(family, device, settings)) or check_hub(settings.hub.reach_timeout_seconds).reachable
    if not real or device.kind != "cpu":
        return []
    os.environ.setdefault("STRANGER_EVALUATION__MAX_REPLIES", str(SHORT_RUN["replies"]))
    return ["--max-steps", str(SHORT_RUN["steps"])]


def run(*command: str, lines: int | None = None) -> None:
    """Print a command and run it; ``lines``: how many lines of its output to show. Ends the demo if it fails."""
    show(command)
    output = subprocess.PIPE if lines else None
    done = subprocess.run([sys.executable, *command], cwd=PROJECT, stdout=output, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)
    if lines:
        print("\n".join(done.stdout.splitlines()[:lines]), flush=True)


def serve(family: str, port: int, places: list[str]) -> int:
    """Become the app, so that Ctrl-C reaches it and nothing stays behind."""
    command = ["gradio_app.py", "--family", family, *places, "--port", str(port)]
    show(command)
    os.chdir(PROJECT)
    os.execv(sys.executable, [sys.executable, *command])  # noqa: S606 (our own program, no shell)


def show(command: list[str] | tuple[str, ...]) -> None:
    print(f"\n$ python {shlex.join(command)}", flush=True)


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except KeyboardInterrupt:
        raise SystemExit(130) from None
