"""What status says where the commands' own tests do not reach: machines asked by SSH, books that cannot be read."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from doubles.console import OTHER, PAGE, RUN, Console

from aws.books.status import build_report, render_report
from aws.cloud import Cloud, open_cloud
from aws.config import SERVING, from_iso
from aws.ec2_orchestrator import EC2Place
from aws.places import PlaceStatus
from config import load_settings
from utils.errors import StoreError

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture
def cloud(console: Console) -> Cloud:
    console.set_up()
    return open_cloud(load_settings(console.config))


def test_the_machine_is_asked_where_that_is_wanted(
    console: Console, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    console.begin(RUN, console.launch(RUN))
    console.save(RUN, "state", stage="data", message="fetching", attempt=1)
    now = PlaceStatus(RUN, "running", {"stage": "evaluation"}, "as it says now")
    monkeypatch.setattr(EC2Place, "status", lambda place, name: now)
    (row,) = build_report(cloud, "ssh")["instances"]
    assert (row["stage"], row["message"], row["progress"]) == ("running", "as it says now", {"stage": "evaluation"})
    (row,) = build_report(cloud, "s3")["instances"]
    assert (row["stage"], row["message"]) == ("data", "fetching")


def test_a_machine_that_has_said_its_last_word(console: Console, cloud: Cloud) -> None:
    console.begin(RUN, console.launch(RUN))
    console.save(RUN, "state", stage="running", attempt=1, message="")
    console.save(RUN, "exit", stage="failed", attempt=1, failing_line="CUDA out of memory")
    assert "running, failed" in render_report(build_report(cloud)) and "CUDA" in render_report(build_report(cloud))
    console.save(RUN, "exit", stage="failed", attempt=7, failing_line="of another machine")
    assert "running, running" in render_report(build_report(cloud))


def test_a_damaged_record_hides_no_machine(console: Console, cloud: Cloud) -> None:
    instance = console.launch(RUN)
    console.store.put(f"journal/{RUN}.json", b"{")
    text = render_report(build_report(cloud))
    assert instance in text and f"journal/{RUN}.json is damaged" in text


def test_books_that_cannot_be_closed_are_told_and_stay_open(
    console: Console, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    console.begin(OTHER, "i-0000000000000000b")
    console.save(OTHER, "exit", stage="done", attempt=1, output={"version": "1"})

    def refuse(*_: object) -> None:
        raise StoreError("S3 denies access.")

    monkeypatch.setattr("aws.books.status.settle", refuse)
    (row,) = build_report(cloud)["unfinished"]
    assert (row["stage"], row["message"], row["settled"]) == ("done", "S3 denies access.", False)


def test_reading_has_no_effect_on_what_it_reads(console: Console, cloud: Cloud, tmp_path: Path) -> None:
    console.begin(RUN, console.launch(RUN))
    assert console.world.changes(lambda: build_report(cloud)) == []


def test_a_page_that_has_not_answered_yet_is_not_said_to_stay(console: Console, cloud: Cloud) -> None:
    instance = console.launch(PAGE, purpose=SERVING, hours=None)
    console.begin(PAGE, instance, purpose=SERVING, deadline="")
    text = render_report(build_report(cloud))
    (row,) = build_report(cloud)["instances"]
    assert from_iso(row["answers_by"]) - from_iso(row["launched_at"]) == timedelta(minutes=30)
    assert f"ends itself by {row['answers_by']} unless the page answers before" in text and "no deadline" not in text
    cloud.journal.change(PAGE, lambda each: replace(each, outcome={"url": "http://127.0.0.1:9"}))
    assert "no deadline: it stays until it is ended" in render_report(build_report(cloud))


@pytest.mark.parametrize(
    ("remedy", "told"),
    [
        (
            "python training_pipeline.py train llama --base nano --data /opt/stranger/work/data --registry s3://b",
            "python deploy_aws.py train llama --base nano",
        ),
        (
            "python training_pipeline.py export llama 2026 --data /opt/stranger/work/data --registry s3://b",
            "python training_pipeline.py export llama 2026 --registry s3://b",
        ),
        (
            "python training_pipeline.py train llama --character 'Judge Hale'",
            "python deploy_aws.py train llama --character 'Judge Hale'",
        ),
        ("set families.llama.fine_tuned in aws_config.yaml", "set families.llama.fine_tuned in aws_config.yaml"),
        ("check Ada's connection", "check Ada's connection"),
    ],
)
def test_what_a_machine_advises_is_told_as_a_command_for_here(
    console: Console, cloud: Cloud, remedy: str, told: str
) -> None:
    console.begin(PAGE, console.launch(PAGE, purpose=SERVING), purpose=SERVING, deadline="")
    announcement = {"feature": "chat", "wanted": "a version", "got": "quotes", "why": "there is none", "remedy": remedy}
    console.save(PAGE, "state", stage="running", attempt=1, message="", progress={"announcements": [announcement]})
    assert f"To change that: {told}\n" in render_report(build_report(cloud)) + "\n"


def test_why_a_page_could_not_load_is_told(console: Console, cloud: Cloud) -> None:
    console.begin(PAGE, console.launch(PAGE, purpose=SERVING), purpose=SERVING, deadline="")
    problem = "no version 20990101-000000 of llama.\n  See them:  python training_pipeline.py models list"
    console.save(
        PAGE, "state", stage="running", attempt=1, message="", progress={"state": "failed", "problem": problem}
    )
    assert "\n  no version 20990101-000000 of llama.\n    See them:" in render_report(build_report(cloud))
