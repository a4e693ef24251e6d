"""The program under test as a process of its own: started, killed, started again, and measured all along."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

PROJECT = Path(__file__).resolve().parent.parent.parent
ECHO = "echo"
START_SECONDS = 120
END_SECONDS = 15
PASSWORD = "soak"  # noqa: S105 - of a server that lives as long as the run


@dataclass(frozen=True)
class Sample:
    """The process tree at a moment: seconds of any zero, bytes, counts; ``life``: after so many restarts."""

    seconds: float
    life: int
    rss: int
    files: int
    threads: int
    store: int
    acts: int


@dataclass
class Server:
    """gradio_app.py, or the same with an engine that echoes.

    Attributes:
        generation: counted up right before each kill, so that who sees an error can tell whether it was provoked.
    """

    folder: Path
    source: str = ECHO
    data: Path = PROJECT / "data" / "sample_series"
    generation: int = 0
    problems: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    _up: asyncio.Event = field(default_factory=asyncio.Event)
    _process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.store = self.folder / "chats.sqlite"
        self.log = self.folder / "log"

    async def start(self) -> None:
        """Start it, and wait until it answers. Raises RuntimeError: it does not."""
        program = PROJECT / ("benchmarks/soak/echo_app.py" if self.source == ECHO else "gradio_app.py")
        source = "quotes" if self.source == ECHO else self.source
        command = [sys.executable, str(program), "--data", str(self.data), "--source", source, "--port", str(self.port)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, cwd=self.folder, env=self._environment(), stdout=log, stderr=log)
        async with httpx.AsyncClient() as http:
            for _ in range(START_SECONDS * 10):
                if self._process.poll() is not None:
                    break
                try:
                    if (await http.get(f"{self.url}/healthz")).status_code == 200:
                        self._up.set()
                        return
                except httpx.HTTPError:
                    pass
                await asyncio.sleep(0.1)
        raise RuntimeError(f"the server does not answer:\n{self.log.read_text(encoding='utf-8')[-2000:]}")

    async def characters(self, key: str) -> list[str]:
        """Whom one can talk to, by the endpoint."""
        async with httpx.AsyncClient() as http:
            answer = await http.get(f"{self.url}/v1/models", headers={"Authorization": f"Bearer {key}"})
        answer.raise_for_status()
        return [each["id"].rpartition(":")[2] for each in answer.json()["data"]]

    async def restart(self, number: signal.Signals) -> None:
        """End it with a signal, and start it again."""
        await self.stop(number)
        await self.start()

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it; what SIGTERM does not end cleanly and soon is a problem."""
        self._up.clear()
        self.generation += 1
        process = self._process
        if process is None:
            return
        process.send_signal(number)
        try:
            code = await asyncio.to_thread(process.wait, END_SECONDS)
            if number == signal.SIGTERM and code != 0:
                self.problems.append(f"SIGTERM ended it with {code}")
        except subprocess.TimeoutExpired:
            self.problems.append(f"{number.name} did not end it in {END_SECONDS} s")
            process.kill()
            process.wait()

    async def ready(self) -> None:
        """Wait until it is there."""
        await self._up.wait()

    async def settled(self) -> None:
        """Wait until no restart is under way, nor one that has just begun."""
        await asyncio.sleep(0.05)
        await self._up.wait()

    def faults_in_log(self) -> list[str]:
        """What the program has complained about."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        words = ("Traceback", "Exception", "Error", "is not kept")
        return [line for line in lines if any(word in line for word in words)]

    async def measure(self, every_seconds: float, count_acts: dict[str, int]) -> None:
        """Take samples until it is cancelled."""
        while True:
            await self._up.wait()
            now = asyncio.get_running_loop().time()
            sample = await asyncio.to_thread(self._sample, now, sum(count_acts.values()))
            if sample:
                self.samples.append(sample)
            await asyncio.sleep(every_seconds)

    def _sample(self, seconds: float, acts: int) -> Sample | None:
        if self._process is None:
            return None
        try:
            root = psutil.Process(self._process.pid)
            tree = [root, *root.children(recursive=True)]
            rss = sum(each.memory_info().rss for each in tree)
            files, threads = sum(each.num_fds() for each in tree), sum(each.num_threads() for each in tree)
        except psutil.Error:
            return None
        size = sum(file.stat().st_size for file in self.folder.glob("chats.sqlite*"))
        return Sample(seconds, self.generation, rss, files, threads, size, acts)

    def _environment(self) -> dict[str, str]:
        """Each visitor owns what is theirs, all of it is kept, and nobody is held up by a limit."""
        known = {name: value for name, value in os.environ.items() if not name.startswith("STRANGER_")}
        return known | {
            "APP_PASSWORD": PASSWORD,
            "STRANGER_CHATS__KEEP_VISITORS": "true",
            "STRANGER_CHATS__FILE": str(self.store),
            "STRANGER_CHATS__CONVERSATIONS_PER_OWNER": "100000",
            "STRANGER_API__KEYS_FILE": str(self.folder / "keys.jsonl"),
            "STRANGER_API__REQUESTS_PER_MINUTE": "0",
            "STRANGER_PATHS__REGISTRY": str(self.folder / "registry"),
        }
