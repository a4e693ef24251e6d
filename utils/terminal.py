"""Talking with the person at the terminal: stages, questions, a line that moves. Standard error, never standard output.

terminal = Terminal(yes=arguments.yes)
if not terminal.confirm("Launch it?"): ...
"""

from __future__ import annotations

import getpass
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from config import Secret
from utils.errors import UsageError
from utils.logs import CLEAR_LINE

RED, PLAIN = "\x1b[31m", "\x1b[0m"


@dataclass
class Terminal:
    """``yes``: every question is answered with its default."""

    yes: bool = False
    _started: float = field(default_factory=time.monotonic)
    _moving: bool = False  # whether the moving line is on the screen

    @property
    def is_interactive(self) -> bool:
        """Whether somebody can be asked."""
        return sys.stdin.isatty() and sys.stderr.isatty()

    def say(self, stage: str, text: str) -> None:
        """A finished step, with the time since the start."""
        seconds = time.monotonic() - self._started
        self.line(f"[{int(seconds // 60):3d}:{int(seconds % 60):02d}] {stage}: {text}")

    def line(self, text: str) -> None:
        self.clear()
        print(text, file=sys.stderr, flush=True)

    def move(self, text: str) -> None:
        """Show ``text`` in the line that is written again and again; nothing where the output is no terminal.

        What does not fit is cut: a line that wraps could not be cleared.
        """
        if sys.stderr.isatty():
            print(CLEAR_LINE + text[: shutil.get_terminal_size().columns - 1], end="", file=sys.stderr, flush=True)
            self._moving = True

    def clear(self) -> None:
        if self._moving:
            print(CLEAR_LINE, end="", file=sys.stderr, flush=True)
            self._moving = False

    def confirm(self, question: str, default: bool = True) -> bool:
        """Yes or no. Raises UsageError: nobody can be asked."""
        if self.yes:
            return True
        self._check_interactive(question)
        answer = self._ask(f"{question} [{'Y/n' if default else 'y/N'}] ").strip().lower()
        return default if not answer else answer in ("y", "yes")

    def text(self, question: str, default: str) -> str:
        """A line of text. Raises UsageError: nobody can be asked."""
        if self.yes:
            return default
        self._check_interactive(question)
        return self._ask(f"{question} [{default}] ").strip() or default

    def typed(self, question: str, wanted: str) -> bool:
        """Whether the very word was typed: for what cannot be undone. Raises UsageError: nobody can be asked."""
        if self.yes:
            return True
        self._check_interactive(question)
        return self._ask(f"{question}\n  Type {wanted} to go on: ").strip() == wanted

    def choose(self, question: str, answers: Mapping[str, str], default: str) -> str:
        """One of the keys of ``answers``; the default where nobody can be asked."""
        if self.yes or not self.is_interactive:
            return default
        listed = ", ".join(f"{key}: {text}" for key, text in answers.items())
        while True:
            answer = self._ask(f"{question} {listed} [{default}] ").strip().lower()[:1] or default
            if answer in answers:
                return answer

    def secret(self, question: str) -> Secret:
        """A hidden line; empty where nobody can be asked."""
        if self.yes or not self.is_interactive:
            return Secret("")
        self.clear()
        return Secret(getpass.getpass(f"{question} ", sys.stderr).strip())

    def red(self, text: str) -> str:
        """``text`` in red where the output is a terminal."""
        return f"{RED}{text}{PLAIN}" if sys.stdout.isatty() else text

    def _ask(self, prompt: str) -> str:
        self.clear()
        print(prompt, end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            raise KeyboardInterrupt  # Ctrl-D: no answer is no
        return line

    def _check_interactive(self, question: str) -> None:
        if not self.is_interactive:
            raise UsageError(f"nobody is there to answer: {question}", remedies=[("Answer beforehand", "--yes")])
