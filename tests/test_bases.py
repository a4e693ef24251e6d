"""Base models: which one a run takes, how it is loaded, and what is said where it cannot be had."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from character_chatbot.bases import (
    HUB,
    NANO,
    PATH,
    Base,
    choose_base,
    default_base,
    find_base,
    load_model,
    load_tokenizer,
    nano_base,
)
from character_chatbot.machine.devices import Device, choose_device
from config import Settings
from utils.announcements import Announcements
from utils.errors import BaseModelError
from utils.hub import HubState

PROJECT = Path(__file__).resolve().parent.parent
CPU, CUDA = Device("cpu", "float32", "a test"), Device("cuda", "bfloat16", "a test")
REACHABLE, UNREACHABLE = HubState(True), HubState(False, "the cable is out")
INDEX, PARTS = "model.safetensors.index.json", ("model-1-of-2.safetensors", "model-2-of-2.safetensors")
TOKEN = "hf_thisIsNoRealToken0123456789"


@dataclass
class Choice:
    """Calls ``choose_base`` with fakes and counts what was asked."""

    folder: Path
    hub: HubState = REACHABLE
    announcements: Announcements = field(default_factory=Announcements)
    asked: int = 0
    made: int = 0

    def take(self, wanted: str = "", family: str = "llama", device: Device = CPU) -> Base:
        return choose_base(
            wanted,
            default_base(family, device, Settings()),
            check_hub=self.check,
            fetch_nano=self.fetch,
            announcements=self.announcements,
        )

    def check(self) -> HubState:
        self.asked += 1
        return self.hub

    def fetch(self) -> Path:
        self.made += 1
        return self.folder / "nano-llama-0123456789ab"


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts files of a repository into the hub's cache of this machine, which is empty otherwise."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))

    def add(repository: str, *files: str) -> None:
        folder = tmp_path / "cache" / f"models--{repository.replace('/', '--')}"
        (folder / "refs").mkdir(parents=True)
        (folder / "refs" / "main").write_text("abc")
        (folder / "snapshots" / "abc").mkdir(parents=True)
        for file in files:
            (folder / "snapshots" / "abc" / file).write_text(json.dumps({"weight_map": {"a": PARTS[0], "b": PARTS[1]}}))

    return add


# Which base


@pytest.mark.parametrize("family", ["llama", "qwen"])
@pytest.mark.parametrize("device", [CPU, CUDA])
def test_the_default_depends_on_family_and_device(
    tmp_path: Path, hub_cache: Callable[..., None], family: str, device: Device
) -> None:
    choice = Choice(tmp_path)
    bases = Settings().families[family]
    wanted = bases.gpu if device is CUDA else bases.laptop
    assert default_base(family, device, Settings()) == wanted
    assert choice.take(family=family, device=device) == Base(HUB, wanted, wanted)
    assert (choice.made, len(choice.announcements)) == (0, 0)


def test_without_the_hub_the_nano_base_steps_in_and_says_why(tmp_path: Path, hub_cache: Callable[..., None]) -> None:
    choice = Choice(tmp_path, UNREACHABLE)
    base = choice.take()
    assert base == Base(NANO, "nano-llama-0123456789ab", str(tmp_path / "nano-llama-0123456789ab"))
    [announcement] = choice.announcements
    assert announcement.wanted == Settings().families.llama.laptop
    assert announcement.why == "the cable is out"
    assert "nano base" in announcement.got
    assert "--base PATH" in announcement.remedy


def test_a_default_in_the_cache_needs_no_hub(tmp_path: Path, hub_cache: Callable[..., None]) -> None:
    default = Settings().families.llama.laptop
    hub_cache(default, "config.json", "model.safetensors")
    assert Choice(tmp_path, UNREACHABLE).take() == Base(HUB, default, default, only_cached=True)
    assert Choice(tmp_path, REACHABLE).take() == Base(HUB, default, default)
    assert Choice(tmp_path, UNREACHABLE).take(family="qwen").kind == NANO


@pytest.mark.parametrize(
    "files",
    [
        ["config.json"],
        ["model.safetensors"],
        ["config.json", "pytorch_model.bin"],
        ["config.json", INDEX],
        ["config.json", INDEX, PARTS[0]],  # a download was stopped between two parts
    ],
)
def test_half_a_repository_in_the_cache_is_none(
    tmp_path: Path, hub_cache: Callable[..., None], files: list[str]
) -> None:
    hub_cache(Settings().families.llama.laptop, *files)
    assert Choice(tmp_path, UNREACHABLE).take().kind == NANO
    with pytest.raises(BaseModelError, match="not on this machine, and the cable is out"):
        find_base(Settings().families.llama.laptop, lambda: UNREACHABLE)


def test_the_nano_base_is_taken_if_it_is_wanted(tmp_path: Path) -> None:
    choice = Choice(tmp_path)
    assert choice.take("nano") == nano_base(tmp_path / "nano-llama-0123456789ab")
    assert (choice.asked, choice.made, len(choice.announcements)) == (0, 1, 0)


def test_a_folder_is_taken_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    choice, location = Choice(tmp_path), str((tmp_path / "mine").resolve())
    assert choice.take("mine") == choice.take(location) == Base(PATH, location, location)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert choice.take("~/mine").location == location
    assert (choice.asked, choice.made) == (0, 0)


def test_a_repository_is_taken_if_it_can_be_had(tmp_path: Path, hub_cache: Callable[..., None]) -> None:
    assert Choice(tmp_path).take("owner/name") == Base(HUB, "owner/name", "owner/name")
    with pytest.raises(BaseModelError, match="owner/name is not on this machine, and the cable is out") as caught:
        Choice(tmp_path, UNREACHABLE).take("owner/name")
    assert ("Go without", "--base nano") in caught.value.remedies
    hub_cache("owner/name", "config.json", INDEX, *PARTS)
    assert Choice(tmp_path, UNREACHABLE).take("owner/name").only_cached


@pytest.mark.parametrize(
    "name",
    [
        "llama3",
        "a/b/c",
        "owner/na me",
        "../../etc",
        "owner/",
        "/none/at/all",
        "owner/name?",
        "~nobody-here/x y",
        "a\nb/c",
    ],
)
def test_a_name_that_is_no_base_is_an_error(tmp_path: Path, name: str) -> None:
    choice = Choice(tmp_path)
    with pytest.raises(BaseModelError):
        choice.take(name)
    assert (choice.asked, choice.made, len(choice.announcements)) == (0, 0, 0)


def test_a_folder_without_a_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match=r"holds no model: there is no config\.json"):
        Choice(tmp_path).take(str(tmp_path))


# Loading


@pytest.mark.parametrize("family", ["llama", "qwen"])
def test_a_folder_is_loaded(nano_folder: Callable[..., Path], family: str) -> None:
    import torch

    base = find_base(str(nano_folder(family)), lambda: UNREACHABLE)
    tokenizer, model = load_tokenizer(base), load_model(base, CPU)
    assert model.config.model_type == {"llama": "llama", "qwen": "qwen2"}[family]
    assert (model.dtype, model.training) == (torch.float32, False)
    assert tokenizer.chat_template
    assert tokenizer.decode(tokenizer("Hé 👋", add_special_tokens=False)["input_ids"]) == "Hé 👋"


def test_a_pickle_is_not_loaded_and_not_run(nano_folder: Callable[..., Path], tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "harm"),)

    folder = nano_folder()
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(BaseModelError, match="cannot be loaded") as caught:
        load_model(find_base(str(folder), lambda: UNREACHABLE), CPU)
    assert "safetensors" in str(caught.value)
    assert not (tmp_path / "harm").exists()


def test_a_tokenizer_without_a_chat_template_is_refused(nano_folder: Callable[..., Path]) -> None:
    folder = nano_folder()
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(BaseModelError, match="has no chat template") as caught:
        load_tokenizer(find_base(str(folder), lambda: UNREACHABLE))
    assert str(folder) in str(caught.value)


def test_a_tokenizer_gets_a_token_for_padding(nano_folder: Callable[..., Path]) -> None:
    folder = nano_folder()
    file = folder / "tokenizer_config.json"
    file.write_text(
        json.dumps({key: value for key, value in json.loads(file.read_text()).items() if key != "pad_token"})
    )
    tokenizer = load_tokenizer(nano_base(folder))
    assert tokenizer.pad_token == tokenizer.eos_token == "<|eot_id|>"


@pytest.mark.parametrize(
    ("file", "content"),
    [("config.json", b"{"), ("config.json", b"{}"), ("model.safetensors", b"\0" * 100), ("model.safetensors", b"")],
    ids=["config cut", "config empty", "weights damaged", "weights empty"],
)
def test_a_damaged_folder_is_an_error_in_one_sentence(
    nano_folder: Callable[..., Path], file: str, content: bytes
) -> None:
    folder = nano_folder()
    (folder / file).write_bytes(content)
    with pytest.raises(BaseModelError, match="cannot be loaded") as caught:
        load_model(nano_base(folder), CPU)
    assert "\n" not in str(caught.value)


def test_without_cuda_the_device_is_the_cpu_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    device = choose_device()
    assert (device.kind, device.dtype_name) == ("cpu", "float32")
    assert "no CUDA" in device.reason


@pytest.mark.parametrize(("capability", "dtype"), [((7, 5), "float16"), ((8, 0), "bfloat16"), ((9, 0), "bfloat16")])
def test_the_number_format_follows_the_gpu(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], dtype: str
) -> None:
    import torch

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "Some GPU")
    monkeypatch.setattr("torch.cuda.get_device_capability", lambda: capability)
    device = choose_device()
    assert (device.kind, device.dtype) == ("cuda", getattr(torch, dtype))
    assert "Some GPU" in device.reason


# Against a hub that refuses


@dataclass
class FakeHub:
    address: str
    asked: list[tuple[str, str | None]]  # path and authorization


@pytest.fixture
def fake_hub() -> Iterator[FakeHub]:
    """A hub on which owner/gated is gated, owner/private wants a login, and nothing else is."""
    asked: list[tuple[str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers.get("Authorization")))
            status, code = 404, "RepoNotFound"
            if self.path == "/":
                status, code = 200, ""
            elif "owner/gated" in self.path:
                status, code = 403, "GatedRepo"
            elif "owner/private" in self.path:
                status = 401
            self.send_response(status)
            self.send_header("Content-Length", "0")
            if code:
                self.send_header("X-Error-Code", code)
                self.send_header("X-Error-Message", "Access is refused.")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=lambda: server.serve_forever(0.05), daemon=True)
    thread.start()
    yield FakeHub(f"http://127.0.0.1:{server.server_address[1]}", asked)
    server.shutdown()
    server.server_close()
    thread.join()


# Loads each base named on the command line as a command does, and prints what a user sees.
LOAD_EACH = """
import contextlib, io, json, sys
sys.path.insert(0, sys.argv[1])
from character_chatbot.bases import find_base, load_model, load_tokenizer
from character_chatbot.machine.devices import Device
from config import load_settings
from utils.command_line import run_command
from utils.hub import check_hub

def main(given):
    settings = load_settings()
    base = find_base(given[0], lambda: check_hub(settings.hub.reach_timeout_seconds))
    token = settings.secrets.hf_token.reveal()
    load_tokenizer(base, token) if given[1] == "tokenizer" else load_model(base, Device("cpu", "float32", ""), token)
    return 0

for name in sys.argv[2:]:
    for part in ("tokenizer", "model"):
        with contextlib.redirect_stderr(io.StringIO()) as error:
            code = run_command(main, [name, part])
        print(json.dumps([name, part, code, error.getvalue()]))
"""


def test_a_refusal_of_the_hub_is_a_sentence_with_the_page_and_the_variable(
    fake_hub: FakeHub, own_environment: Path
) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    environment["HF_ENDPOINT"] = fake_hub.address
    Path(".env").write_text(f"HF_TOKEN={TOKEN}\n")
    names = ["owner/gated", "owner/private", "owner/missing"]
    command = [sys.executable, "-c", LOAD_EACH, str(PROJECT), *names]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert {token for path, token in fake_hub.asked if path == "/"} == {None}
    assert {token for path, token in fake_hub.asked if "/owner/" in path} == {f"Bearer {TOKEN}"}
    assert TOKEN not in done.stdout + done.stderr
    seen = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(name, part) for name, part, _, _ in seen] == [(name, p) for name in names for p in ("tokenizer", "model")]
    for name, _, code, text in seen:
        assert code == 1
        assert "Traceback" not in text
        assert "HF_TOKEN=" in text
        if name == "owner/gated":
            assert text.startswith("Error: base model owner/gated is gated: ")
            assert f"{fake_hub.address}/owner/gated\n" in text
            assert "--base nano" in text
        else:
            assert text.startswith(f"Error: the hub has no model {name}, or it is private, or the token in HF_TOKEN is")
