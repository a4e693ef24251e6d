"""The journal: written before, found again, never overwritten."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from aws.journal import ENDED, Attempt, Journal, Record, fingerprint
from utils.errors import ConflictError, StoreError, UsageError
from utils.stores import FolderStore

RUN = "llama-20261121-101530-3f2a"


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(FolderStore(tmp_path))


def record(run: str = RUN, request: str = "words", created: str = "2026-11-21T10:15:30Z") -> Record:
    job = {"name": run, "command": ["x"]}
    return Record(run, "training", request, "ada@lab", created, "2026-11-21T14:15:30Z", job)


def test_what_was_begun_is_read_again_by_anybody(journal: Journal, tmp_path: Path) -> None:
    begun = journal.begin(replace(record(), attempts=(Attempt(1, "us-east-1", host_keys=("ssh-ed25519 AAAA",)),)))
    assert Journal(FolderStore(tmp_path)).read(RUN) == begun
    assert begun.attempt is not None
    assert begun.attempt.host_keys == ("ssh-ed25519 AAAA",)


def test_a_run_is_begun_once(journal: Journal) -> None:
    journal.begin(record())
    with pytest.raises(ConflictError):
        journal.begin(record())


def test_a_change_reads_again_when_somebody_came_between(journal: Journal) -> None:
    journal.begin(record())

    threads = []
    for letter in "ab":

        def work(letter: str = letter) -> None:
            for number in range(5):
                key = f"{letter}{number}"
                journal.change(RUN, lambda each: replace(each, outcome={**each.outcome, key: 1}))  # noqa: B023

        threads.append(threading.Thread(target=work))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(journal.read(RUN).outcome) == 10


def test_the_last_attempt_is_changed_and_the_others_stay(journal: Journal) -> None:
    first = Attempt(1, "us-east-1", instance="i-1", ended_at="2026-11-21T11:00:00Z", cost_usd=0.5)
    journal.begin(replace(record(), attempts=(first, Attempt(2, "us-east-1"))))
    changed = journal.change_attempt(RUN, instance="i-2", cost_usd=0.25)
    assert changed.attempts == (first, Attempt(2, "us-east-1", instance="i-2", cost_usd=0.25))
    assert changed.cost_usd == 0.75


def test_the_same_words_find_their_open_run(journal: Journal) -> None:
    journal.begin(record("llama-20261121-101530-0001", created="2026-11-21T10:15:30Z"))
    journal.begin(record("llama-20261121-111530-0002", created="2026-11-21T11:15:30Z"))
    journal.begin(replace(record("llama-20261121-121530-0003", created="2026-11-21T12:15:30Z"), state=ENDED))
    journal.begin(record("qwen-20261121-131530-0004", request="others"))
    found = journal.find("words")
    assert found is not None
    assert found.run == "llama-20261121-111530-0002"
    assert journal.find("nobody") is None
    assert len(journal.open()) == 3


def test_an_unknown_run_names_the_nearest(journal: Journal) -> None:
    journal.begin(record())
    with pytest.raises(UsageError, match=RUN):
        journal.read("llama-20261121-101530-3f2b")


@pytest.mark.parametrize("name", ["../../etc/passwd", "llama", "", "llama-20261121-101530-3f2a/x"])
def test_a_name_is_never_a_path(journal: Journal, name: str) -> None:
    with pytest.raises(UsageError, match="not the name of a run"):
        journal.read(name)


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", json.dumps({"run": RUN}).encode()])
def test_a_damaged_record_is_a_sentence(journal: Journal, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "journal").mkdir()
    (tmp_path / "journal" / f"{RUN}.json").write_bytes(content)
    with pytest.raises(StoreError, match="damaged"):
        journal.read(RUN)


def test_the_fingerprint_depends_on_the_words_alone() -> None:
    assert fingerprint({"a": 1, "b": (2,)}) == fingerprint({"b": (2,), "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
