"""A base from the hub, from choice to reply: against a small hub of our own that serves one repository."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from character_chatbot.nano import FAMILIES, build_model, build_tokenizer
from character_chatbot.prompts import Turn
from config import NanoSettings

PROJECT = Path(__file__).resolve().parent.parent
SAMPLE = str(PROJECT / "data" / "sample_series")
REPOSITORY, COMMIT = "acme/Tiny-Instruct", "a" * 40


@pytest.fixture(scope="module")
def model_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a small untrained model with a chat template."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = build_tokenizer(FAMILIES["llama"], [[Turn("Ada", "Words for a tokenizer, and more words.")]], 400)
    build_model("llama", tokenizer, NanoSettings(hidden_size=32, layers=1, heads=2)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def hub(model_files: dict[str, bytes]) -> Iterator[ThreadingHTTPServer]:
    """A server that answers as the hub does for one repository."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            found = f"/{REPOSITORY}/resolve/" in self.path and name in model_files
            if self.path.startswith(f"/api/models/{REPOSITORY}"):
                listing = "/tree/" in self.path
                sizes = {name: len(content) for name, content in model_files.items()}
                files = [{"type": "file", "path": name, "size": size, "oid": ""} for name, size in sizes.items()]
                siblings = [{"rfilename": name} for name in model_files]
                body = files if listing else {"id": REPOSITORY, "sha": COMMIT, "siblings": siblings, "tags": []}
                self._answer(200, json.dumps(body).encode())
            else:
                self._answer(200 if found or self.path == "/" else 404, model_files[name] if found else b"")

        do_HEAD = do_GET

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            if status == 404:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=lambda: server.serve_forever(0.05), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def run(hub: ThreadingHTTPServer, *words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_address[1]}",
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_XET": "1",
        "STRANGER_FAMILIES__LLAMA__LAPTOP": REPOSITORY,
        "STRANGER_EVALUATION__MAX_REPLIES": "5",
        "STRANGER_TRAINING__MAX_LENGTH": "1500",
    }
    command = [sys.executable, str(PROJECT / "training_pipeline.py"), *words, "--data", SAMPLE]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def test_base_comes_from_the_hub_and_stays_on_the_machine(hub: ThreadingHTTPServer) -> None:
    trained = run(hub, "train", "llama", "--character", "Pip", "--max-steps", "2", "--json")
    assert trained.returncode == 0, trained.stderr
    assert f"base model: {REPOSITORY}" in trained.stderr
    assert "Warning" not in trained.stderr

    hub.shutdown()
    hub.server_close()
    talk = run(hub, "chat", "--character", "Pip", "--message", "Hello?", "--seed", "1")
    assert talk.returncode == 0, talk.stderr
    assert f"adapter on {REPOSITORY}" in talk.stderr
    assert talk.stdout.startswith("Pip: ")


def test_persona_on_a_base_from_the_hub_speaks_where_there_is_no_version(hub: ThreadingHTTPServer) -> None:
    talk = run(hub, "chat", "--character", "Pip", "--message", "Hello?", "--seed", "1")
    assert talk.returncode == 0, talk.stderr
    assert f"[{REPOSITORY}, untrained, with the persona as its prompt]" in talk.stderr
    assert "no version of llama" in talk.stderr


FETCH = """
import sys
sys.path.insert(0, sys.argv[1])
from character_chatbot.bases import HUB, Base, fetch_base, is_cached
from character_chatbot.load_progress import LoadProgress

class Told(LoadProgress):
    def count(self, done, total, *, is_bytes=False):
        super().count(done, total, is_bytes=is_bytes)
        print(done, total, self.read().title)

base = Base(HUB, sys.argv[2], sys.argv[2])
fetch_base(base, "", Told())
print(is_cached(base.location))
fetch_base(base, "", Told())  # nothing to do
"""


def test_a_download_tells_its_bytes(hub: ThreadingHTTPServer, model_files: dict[str, bytes]) -> None:
    words = [sys.executable, "-c", FETCH, str(PROJECT), REPOSITORY]
    environment = os.environ | {"HF_ENDPOINT": f"http://127.0.0.1:{hub.server_address[1]}", "HF_HUB_DISABLE_XET": "1"}
    environment["HF_HUB_OFFLINE"] = "0"
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    *told, cached = done.stdout.splitlines()
    size = sum(map(len, model_files.values()))
    assert f"{size} {size} fetching {REPOSITORY} from the hub" in told
    assert cached == "True"
