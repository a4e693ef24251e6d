"""deploy_aws.py as a user types it: terminate, doctor and destroy."""

from __future__ import annotations

from datetime import UTC, datetime

from doubles.console import FAR, OTHER, PAGE, RUN, Console

from aws.account.schedules import list_kills, make_kill
from aws.journal import ENDED
from utils.command_line import FAILED, WRONG_USAGE

LATER = datetime(2030, 1, 1, tzinfo=UTC)


# terminate


def test_terminate_ends_the_known_ones_all_the_same(console: Console, busy: dict[str, str]) -> None:
    done = console("terminate", "i-0000000000000000f", busy["training"], "--yes")
    assert done.code == FAILED
    assert "'i-0000000000000000f' is no live instance or open run" in done.err
    assert f"{busy['training']}  terminated, volumes gone; 0.00 h, 0.00 USD" in done.out
    assert console.account.instance(busy["training"]).state == "terminated"
    assert console.account.instance(busy["page"], FAR).state == "running"
    assert console.journal.read(RUN).state == ENDED


def test_terminate_asks_before_it_ends_what_works(console: Console, busy: dict[str, str]) -> None:
    done = console("terminate", "--all")
    assert (done.code, done.changes) == (WRONG_USAGE, [])
    console.answers("")
    done = console("terminate", "--all")
    assert (done.code, done.changes) == (FAILED, [])
    assert f"{busy['training']}  training {RUN}" in done.err and "End them? [y/N]" in done.err
    assert "Nothing was ended." in done.err
    console.answers("y")
    done = console("terminate", "--all", "--json")
    assert done.code == 0, done.err
    assert {row["id"] for row in done.json} == set(busy.values())
    assert all(row["proof"] and row["cost_usd"] is not None for row in done.json)
    assert console("list-instances", "--json").json == []


def test_terminate_a_run_also_one_without_a_machine(console: Console, busy: dict[str, str]) -> None:
    console.begin(OTHER, "i-0000000000000000b")
    make_kill(console.world.sessions, console.world.names, OTHER, LATER)
    done = console("terminate", "--run", OTHER, "--yes")
    assert (done.code, done.out) == (0, f"{OTHER}  closed\n")
    assert console.journal.read(OTHER).state == ENDED
    assert list_kills(console.world.sessions, console.world.names) == []
    done = console("terminate", "--run", RUN, "--yes")
    assert done.code == 0 and busy["training"] in done.out and busy["page"] not in done.out


def test_terminate_spares_no_other_region_where_one_fails(console: Console, busy: dict[str, str]) -> None:
    console.account.fail("DescribeVolumes", "UnauthorizedOperation", region=FAR, times=99, status=403)
    console.account.fail("TerminateInstances", "UnauthorizedOperation", region=FAR, times=99, status=403)
    done = console("terminate", "--all", "--yes")
    assert done.code == FAILED
    assert f"{busy['training']}  terminated" in done.out
    assert f"{busy['page']}  NOT proven to be gone: " in done.out
    assert console.journal.read(PAGE).state != ENDED


def test_terminate_of_nothing(console: Console) -> None:
    console.set_up()
    done = console("terminate", "--yes")
    assert done.code == WRONG_USAGE and "python deploy_aws.py terminate --all" in done.err
    done = console("terminate", "--all", "--yes")
    assert (done.code, done.out) == (0, "Nothing runs there that is ours.\n")
    assert console("terminate", "--all", "--yes", "--json").json == []
    assert console("terminate", "--run", RUN, "--yes").code == FAILED


# doctor


def test_doctor_and_its_exit_codes(console: Console, busy: dict[str, str]) -> None:
    done = console("doctor")
    assert done.code == 3 and done.changes == []
    assert f"{busy['page']} (t3.medium on-demand, {PAGE}) is past its deadline" in done.out
    assert "python deploy_aws.py doctor --reap" in done.out
    done = console("doctor", "--reap", "--dry-run")
    assert (done.code, done.changes) == (3, [])
    assert f"--reap would end or remove {busy['page']}. Nothing was changed." in done.out
    done = console("doctor", "--reap", "--json")
    assert done.code == 0, done.err
    assert [row["text"] for row in done.json["reaped"] if row["done"]] == ["terminated, volumes gone"]
    assert console.account.instance(busy["training"]).state == "running"
    assert "past its deadline" not in console("doctor").out


def test_doctor_of_a_healthy_account(console: Console) -> None:
    console.set_up()
    done = console("doctor")
    assert (done.code, done.out) == (0, "Nothing is left over, in any enabled region.\n")
    assert console("doctor", "--json").json == {"findings": [], "reaped": []}


# destroy


def test_destroy_wants_the_very_word(console: Console) -> None:
    console.set_up()
    assert console("destroy").code == WRONG_USAGE  # nobody is there
    console.answers("yes")
    done = console("destroy")
    assert (done.code, done.changes) == (FAILED, [])
    assert "Type stranger-things to go on" in done.err and "Nothing was removed." in done.err
    console.answers("stranger-things")
    done = console("destroy")
    assert done.code == 0, done.err
    assert "stays   bucket stranger-things-123456789012-us-east-1" in done.err
    assert "; left: 0." in done.out
    done = console("destroy", "--yes")
    assert (done.code, done.out, done.changes) == (0, "There is nothing to remove.\n", [])
    assert console("destroy", "--yes", "--json").json == []


def test_destroy_with_data(console: Console) -> None:
    console.set_up()
    console.store.put("models/trained/llama/latest.json", b"{}")
    console.answers("stranger-things")
    done = console("destroy", "--with-data", "--json")
    assert done.code == 0, done.err
    assert "Data and models too: they cannot be had back." in done.err
    assert "bucket" in {row["resource"]["kind"] for row in done.json} and all(row["gone"] for row in done.json)
    done = console("destroy", "--with-data", "--yes")
    assert (done.code, done.out) == (0, "There is nothing to remove.\n")
    assert console.world.names.settings.key_file.exists()


def test_destroy_tells_what_it_could_not_remove(console: Console) -> None:
    console.set_up()
    console.account.fail("DeleteFunction", "AccessDeniedException", times=9, status=403)
    done = console("destroy", "--yes")
    assert done.code == FAILED
    assert "; left: 1.\n  function stranger-things-us-east-1-reaper: " in done.out
