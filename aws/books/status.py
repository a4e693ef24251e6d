"""What runs, what it costs and how it does: always from AWS by tag, in all enabled regions; the journal adds the rest.

report = build_report(cloud)          # plain data, ready for JSON
print(render_report(report))          # for a terminal
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from aws.cloud import Cloud
from aws.config import SERVING, from_iso, to_iso
from aws.ec2_orchestrator import EC2Place, saved, settle
from aws.errors import CloudError
from aws.journal import Record
from aws.operations.follow import describe_progress, format_duration
from utils.errors import StoreError, SuiteError

if TYPE_CHECKING:
    from aws.ec2_manager import Instance

Report = dict[str, Any]


def build_report(cloud: Cloud, source: str = "s3") -> Report:
    """Every machine of the project with its run, and the open runs that have none.

    Args:
        source: ``s3``: what the machines saved last, at most half a minute old; ``ssh``: asked now.
    """
    from aws.ec2_manager import find_everywhere

    with ThreadPoolExecutor(max_workers=3) as pool:
        machines = pool.submit(find_everywhere, cloud.sessions)
        journal = pool.submit(_open_records, cloud)
        versions = pool.submit(_versions, cloud)
        instances, unreadable = machines.result()
        records, problem = journal.result()
    live = [each for each in instances if each.is_live]
    place = EC2Place(cloud) if source == "ssh" else None
    try:
        rows = [_describe(cloud, each, records.get(each.run), place) for each in live]
    finally:
        if place:
            place.close()
    _ask_pages(rows)
    running = {each.run for each in live}
    return {
        "at": to_iso(cloud.now()),
        "account": cloud.names.account,
        "project": cloud.settings.aws.project,
        "instances": sorted(rows, key=lambda row: row["launched_at"]),
        "unfinished": [_describe_open(cloud, each) for run, each in records.items() if run not in running],
        "versions": versions.result(),
        "unreadable_regions": {region: error.what for region, error in unreadable.items()},
        "journal_problem": problem,
        "overdue": [row["id"] for row in rows if row["overdue"]],
    }


def render_report(report: Report, red: Callable[[str], str] = str) -> str:
    """The report as text; ``red`` marks what lives past its deadline."""
    parts = [
        _render_instances(report, red),
        "\n".join(_render_unfinished(each) for each in report["unfinished"]),
        "" if str(report["versions"]) in report["journal_problem"] else _render_versions(report["versions"]),
        "\n".join(f"{region} could not be read: {why}" for region, why in report["unreadable_regions"].items()),
        report["journal_problem"],
    ]
    return "\n\n".join(part for part in parts if part)


# what is there


def _describe(cloud: Cloud, instance: Instance, record: Record | None, place: EC2Place | None) -> dict[str, Any]:
    now = cloud.now()
    attempt = next((each for each in record.attempts if each.instance == instance.id), None) if record else None
    price = (attempt.price_usd_per_hour if attempt else 0.0) or _price(cloud, instance)
    hours = max(0.0, (now - instance.launched_at).total_seconds() / 3600)
    state = _state(cloud, instance, record, place)
    return {
        "id": instance.id,
        "region": instance.region,
        "zone": instance.zone,
        "purpose": instance.purpose,
        "run": instance.run,
        "by": instance.by,
        "state": instance.state,
        "type": instance.type,
        "market": instance.market,
        "address": instance.address,
        "launched_at": to_iso(instance.launched_at),
        "age_seconds": int(hours * 3600),
        "deadline": to_iso(instance.deadline) if instance.deadline else "",
        "answers_by": _answers_by(cloud, instance, record),
        "overdue": instance.is_overdue(now),
        "price_usd_per_hour": price,
        "cost_usd": None if price is None else round(hours * price, 4),
        "stage": str(state.get("stage") or "starting"),
        "progress": state.get("progress") or {},
        "message": _message(state, record),
        "url": str(record.outcome.get("url", "")) if record and instance.purpose == SERVING else "",
        "health": "",
    }


def _answers_by(cloud: Cloud, instance: Instance, record: Record | None) -> str:
    """When a page that has not answered yet ends itself; empty for one that has, and where nobody knows."""
    if record is None or instance.purpose != SERVING or instance.deadline or record.outcome:
        return ""
    return to_iso(instance.launched_at + timedelta(minutes=cloud.settings.aws.setup_minutes))


def _message(state: Mapping[str, Any], record: Record | None) -> str:
    """What the machine says of itself; that it runs its command is not worth a line of its own."""
    message = str(state.get("message") or "")
    return "" if record and message == " ".join(record.job.get("command", ())) else message


def _state(cloud: Cloud, instance: Instance, record: Record | None, place: EC2Place | None) -> Mapping[str, Any]:
    if record is None or not record.attempts:
        return {}
    try:
        if place:
            status = place.status(instance.run)
            return {"stage": status.stage, "progress": dict(status.progress), "message": status.message}
        end = saved(cloud, record.attempt, instance.run, "exit")
        state = saved(cloud, record.attempt, instance.run, "state")
    except SuiteError as error:
        return {"message": error.what}
    return {**state, "stage": end["stage"], "message": end.get("failing_line", "")} if end else state


def _price(cloud: Cloud, instance: Instance) -> float | None:
    """US dollars an hour; None: nobody knows."""
    try:
        return cloud.prices.hour(instance.type, instance.region, instance.market, instance.volume_gb).usd_per_hour
    except CloudError:
        return None


def _open_records(cloud: Cloud) -> tuple[dict[str, Record], str]:
    """The journal's open runs by name, or why it cannot be read."""
    try:
        return {record.run: record for record in cloud.journal.open()}, ""
    except StoreError as error:
        return {}, str(error)


def _describe_open(cloud: Cloud, record: Record) -> dict[str, Any]:
    """A run without a machine: if it has come to its end, its books are closed now."""
    problem = ""
    end: Mapping[str, Any] = {}
    try:
        end = saved(cloud, record.attempt, record.run, "exit")
        if record.attempt and record.attempt.handed_over and end.get("stage") in ("done", "failed"):
            record = settle(cloud, record)
    except SuiteError as error:
        problem = error.what
    return {
        "run": record.run,
        "purpose": record.purpose,
        "by": record.by,
        "created": record.created,
        "deadline": record.deadline,
        "stage": str(end.get("stage") or ""),
        "message": str(end.get("failing_line") or problem),
        "cost_usd": round(record.cost_usd, 4),
        "version": str((end.get("output") or {}).get("version", "")),
        "settled": record.state != "open",
    }


def _versions(cloud: Cloud) -> list[dict[str, Any]] | str:
    try:
        return [version.to_dict() for version in cloud.registry.list()]
    except SuiteError as error:
        return error.what


def _ask_pages(rows: Sequence[dict[str, Any]]) -> None:
    """Ask every page how it is, all at once."""
    serving = [row for row in rows if row["url"]]
    if serving:
        with ThreadPoolExecutor(max_workers=len(serving)) as pool:
            for row, health in zip(serving, pool.map(_ask_page, [row["url"] for row in serving]), strict=True):
                row["health"] = health


def _ask_page(url: str) -> str:
    """What the page says of itself: ready, loading and how far, failed, or why it does not answer."""
    from aws.operations.page_health import check_health

    health = check_health(url)
    return health.state if health.ready else f"{health.state}: {health.detail}"


# as text


def _render_instances(report: Report, red: Callable[[str], str]) -> str:
    if not report["instances"]:
        return f"Nothing of {report['project']} runs in account {report['account']}."
    return "\n".join(_render_instance(row, report["at"], red) for row in report["instances"])


def _render_instance(row: Mapping[str, Any], at: str, red: Callable[[str], str]) -> str:
    now = from_iso(at)
    head = (
        f"{row['id']}  {row['purpose']}  {row['run'] or '(no run)'}  {row['state']}, {row['stage']}\n"
        f"  {row['type']} {row['market']} in {row['zone']}  {row['address'] or 'no address'}  "
        f"{format_duration(row['age_seconds'])} old, {_render_cost(row)}, by {row['by'] or 'nobody known'}"
    )
    lines = [head, f"  {_render_deadline(row, now, red)}", *_render_job(row)]
    return "\n".join(line for line in lines if line.strip())


def _render_cost(row: Mapping[str, Any]) -> str:
    if row["cost_usd"] is None:
        return "price unknown"
    return f"{row['cost_usd']:.2f} USD so far ({row['price_usd_per_hour']:.4f} an hour)"


def _render_deadline(row: Mapping[str, Any], now: datetime, red: Callable[[str], str]) -> str:
    if row["answers_by"]:
        return f"ends itself by {row['answers_by']} unless the page answers before; then it stays until it is ended"
    if not row["deadline"]:
        return "no deadline: it stays until it is ended" if row["purpose"] == SERVING else ""
    left = (from_iso(row["deadline"]) - now).total_seconds()
    if row["overdue"]:
        end = f"python deploy_aws.py terminate {row['id']}"
        return red(f"PAST ITS DEADLINE {row['deadline']} by {format_duration(-left)}; end it:  {end}")
    return f"ends by {row['deadline']}, in {format_duration(left)}"


def _render_job(row: Mapping[str, Any]) -> Iterable[str]:
    progress = row["progress"]
    if row["purpose"] == SERVING:
        if row["url"]:
            yield f"  {row['url']}  {row['health']}"
        if progress.get("state") == "failed" and progress.get("problem"):
            yield "\n".join(f"  {line}" for line in str(progress["problem"]).splitlines())
        if progress.get("label"):
            yield f"  serves {progress['label']}"
        for each in progress.get("announcements", ()):
            yield (
                f"  {each['feature']}: {each['got']} instead of {each['wanted']}, because {each['why']}. "
                f"To change that: {_from_here(str(each['remedy']))}"
            )
    elif progress:
        at = from_iso(row["launched_at"])
        yield f"  {describe_progress(progress, 0.0, at, at).rpartition(', ')[0]}"
    if row["message"]:
        yield f"  {row['message']}"


def _from_here(remedy: str) -> str:
    """What a machine says that it would be to be done on it, as a command for the one that asks."""
    try:
        words = shlex.split(remedy)
    except ValueError:  # a quote without its end
        return remedy
    if words[:2] != ["python", "training_pipeline.py"]:
        return remedy
    trains = words[2:3] == ["train"]
    gone = {"--data"} | ({"--registry"} if trains else set())
    kept = [word for before, word in zip(["", *words], words, strict=False) if not (word in gone or before in gone)]
    return shlex.join(["python", "deploy_aws.py" if trains else "training_pipeline.py", *kept[2:]])


def _render_unfinished(each: Mapping[str, Any]) -> str:
    if each["stage"] == "done":
        return f"{each['run']}  done: {each['version'] or 'its outcome'} is published, {each['cost_usd']:.2f} USD"
    family = each["run"].partition("-")[0]
    remedies = (
        [] if each["purpose"] == SERVING else [f"Go on:  python deploy_aws.py train {family} --resume {each['run']}"]
    )
    remedies.append(f"Close it:  python deploy_aws.py terminate --run {each['run']}")
    how = f"{each['stage']}: {each['message']}; " if each["message"] else f"{each['stage']}; " if each["stage"] else ""
    return "\n  ".join([f"{each['run']}  {how}no machine runs for it", *remedies])


def _render_versions(versions: list[dict[str, Any]] | str) -> str:
    if isinstance(versions, str):
        return f"Versions: {versions}"
    if not versions:
        return "No versions in the registry."
    return "Versions in the registry:\n" + "\n".join(
        f"  {each['family']:<6} {each['version']}" + ("  latest" if each["is_latest"] else "") for each in versions
    )


def list_instances(found: Sequence[Instance], now: datetime) -> list[dict[str, Any]]:
    """Instances as rows, the oldest first; ended ones, which EC2 still names for an hour, are left out."""
    return [
        {
            "id": each.id,
            "region": each.region,
            "purpose": each.purpose,
            "state": each.state,
            "type": each.type,
            "market": each.market,
            "address": each.address,
            "launched_at": to_iso(each.launched_at),
            "deadline": to_iso(each.deadline) if each.deadline else "",
            "run": each.run,
            "by": each.by,
            "overdue": each.is_overdue(now),
        }
        for each in sorted(found, key=lambda each: each.launched_at)
        if each.is_live
    ]
