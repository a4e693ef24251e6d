"""One heap for all threads of a process: asked of glibc in a process of its own."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from character_chatbot.machine import machine_memory

PROJECT = Path(__file__).resolve().parent.parent
COUNT_HEAPS = """
import ctypes, sys, threading
from character_chatbot.machine.machine_memory import share_one_heap
if sys.argv[1] == "shared":
    assert share_one_heap()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
together = threading.Barrier(5)
def take():
    ctypes.create_string_buffer(100_000)
    libc.malloc(100)
    together.wait()
    together.wait()
for _ in range(4):
    threading.Thread(target=take).start()
together.wait()
file = ctypes.c_void_p(libc.fopen(sys.argv[2].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
together.wait()
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator alone has such heaps")
def test_threads_share_one_heap(tmp_path: Path) -> None:
    counts = {}
    for way in ("shared", "own"):
        file = tmp_path / way
        subprocess.run([sys.executable, "-c", COUNT_HEAPS, way, str(file)], cwd=PROJECT, check=True)
        counts[way] = file.read_text(encoding="utf-8").count("<heap nr")
    assert counts["shared"] == 1 < counts["own"]


def test_another_allocator_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert not machine_memory.share_one_heap()
    assert not machine_memory.hand_back_freed_memory()
