"""The status: what speaks, what the registry holds, how the active version was made, how the data was read.

    status = build_status("llama", settings, registry)      # plain data, ready for JSON
    print(render_status(status))                            # for a terminal

What cannot be read is a sentence under ``problem``; what was not measured is absent.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from character_chatbot.monitoring.watching import read_training
from config import Settings
from utils.announcements import Announcement
from utils.errors import SuiteError
from utils.next_command import next_command
from utils.registry import Registry, Version

if TYPE_CHECKING:
    from character_chatbot.corpus import Corpus
    from character_chatbot.sources import Source

Status = dict[str, Any]
MEASURED_VERSIONS = 20  # of each family, the newest: the metrics of each cost reads from the registry
PERPLEXITIES = ("base_perplexity", "adapter_perplexity")
SIZE_UNITS = ("B", "kB", "MB", "GB")


def build_status(
    family: str,
    settings: Settings,
    registry: Registry,
    announcements: Iterable[Announcement] = (),
    *,
    source: Source | None = None,
    corpus: Corpus | None = None,
    no_corpus: str = "",
) -> Status:
    """Everything the Status tab and ``training_pipeline.py status`` show; never fails for what is missing.

    Args:
        family: whose latest version is active where no ``source`` says otherwise.
        settings: of the program.
        registry: where the versions are.
        announcements: of the source.
        source: what speaks; None where nothing has been loaded.
        corpus: the series as it was loaded; None: it is read now, unless ``no_corpus`` says why there is none.
        no_corpus: why there is no corpus.
    """
    versions = _describe_registry(registry, next_command(settings, "train", family))
    return {
        "family": family,
        "speaking": _describe_source(source) if source else None,
        "announcements": [announcement.to_dict() for announcement in announcements],
        "registry": versions,
        "training": read_training(settings.paths.runs),
        "run": _describe_run(registry, *_active(family, source, versions["versions"])),
        "data": _describe_data(settings, corpus, no_corpus),
    }


def render_status(status: Status) -> str:
    """The status as text for a terminal, without a line break at its end."""
    parts = [
        _render_speaking(status),
        _render_registry(status["registry"], status["family"]),
        _render_training(status["training"]),
        _render_run(status["run"]),
        _render_data(status["data"]),
    ]
    return "\n\n".join(part for part in parts if part)


def run_facts(run: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is known of a run, as names and values for people; what was not measured is left out."""
    facts = {
        "Version": f"{run['family']} {run['version']}",
        "Base": run.get("base"),
        "Characters": ", ".join(run.get("characters", ())),
        "Training dialogues": _number(run.get("training_dialogues")),
        "Held-out episodes": ", ".join(run.get("held_out_episodes", ())),
        "Held-out replies": _number(run.get("held_out_replies")),
        "Steps": _number(run.get("steps")),
        "Training time": seconds_text(run["seconds"]) if "seconds" in run else None,
        "Perplexity": perplexity_text(run),
        "Loss, first to last step": _pair(run, "first_loss", "last_loss", 3),
    }
    return [(name, value) for name, value in facts.items() if value]


def training_facts(training: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is known of a training that has not become a version yet, as names and values for people."""
    last = training["last"]
    step, steps, left = last.get("step", 0), last.get("steps", 0), last.get("seconds_left")
    pace, learnt = last.get("tokens_per_second"), last.get("supervised_tokens_per_second", 0)
    facts = {
        "Run": f"{training['family']} {training['run']}",
        "Step": f"{step:,} of {steps:,} ({step / max(1, steps):.0%})",
        "Loss": f"{last['loss']:.3f}" if "loss" in last else None,
        "Held-out loss": f"{last['held_out_loss']:.3f}" if "held_out_loss" in last else None,
        "Pace": f"{pace:,.0f} tokens/s, of them {learnt:,.0f} supervised" if pace else None,
        "Peak memory": size_text(last["peak_memory_bytes"]) if "peak_memory_bytes" in last else None,
        "Time left": seconds_text(left) if training["running"] and left is not None and step < steps else None,
        "Last step at": training["at"],
    }
    return [(name, value) for name, value in facts.items() if value]


def training_title(training: Mapping[str, Any]) -> str:
    """Whether a training goes on, and if not, how it does."""
    if not training["running"]:
        return "Training, stopped: the same command goes on from its last checkpoint"
    done = training["last"].get("step", 0) >= training["last"].get("steps", 0)
    return "Training: done, it is evaluated and published" if done else "Training"


def perplexity_text(measured: Mapping[str, Any]) -> str:
    """``base 25.40 → adapter 18.20``; empty where it was not measured."""
    if not all(name in measured for name in PERPLEXITIES):
        return ""
    base, adapter = (measured[name] for name in PERPLEXITIES)
    return f"base {base:.2f} → adapter {adapter:.2f}"


def size_text(size_bytes: float) -> str:
    """A size for people: ``3.2 MB``."""
    unit = 0
    while size_bytes >= 1000 and unit < len(SIZE_UNITS) - 1:
        size_bytes, unit = size_bytes / 1000, unit + 1
    return f"{size_bytes:.0f} {SIZE_UNITS[unit]}" if unit == 0 else f"{size_bytes:.1f} {SIZE_UNITS[unit]}"


def seconds_text(seconds: float) -> str:
    """A duration for people: ``48 s``, ``3 min 20 s``, ``2 h 5 min``."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def data_totals(data: Mapping[str, Any]) -> str:
    """``10 files, 1,517 rows: 1,510 kept, 7 dropped; 1,512 lines``."""
    return (
        f"{len(data['files'])} files, {data['rows_in']:,} rows: {data['rows_out']:,} kept, "
        f"{data['rows_dropped']:,} dropped; {data['lines']:,} lines"
    )


def _describe_source(source: Source) -> Status:
    found: Status = {
        "rung": source.rung,
        "label": source.label,
        "characters": list(source.characters),
        "trained": list(source.trained),
    }
    base = source.run.get("base", {}).get("name")
    return found | ({"version": source.version} if source.version else {}) | ({"base": base} if base else {})


def _describe_registry(registry: Registry, train: str) -> Status:
    found: Status = {"url": registry.store.url, "problem": "", "versions": [], "train": train}
    try:
        versions = registry.list()
    except SuiteError as error:
        return found | {"problem": str(error)}
    newest_first = sorted(versions, key=lambda version: (version.family, -int(version.version.replace("-", ""))))
    seen: dict[str, int] = {}
    for version in newest_first:
        seen[version.family] = seen.get(version.family, 0) + 1
        found["versions"].append(_describe_version(registry, version, seen[version.family] <= MEASURED_VERSIONS))
    return found


def _describe_version(registry: Registry, version: Version, measured: bool) -> Status:
    if not measured:
        return version.to_dict()
    try:
        shown = registry.show(version.family, version.version)
        base = str(shown["run"].get("base", {}).get("name", ""))
        held_out = shown["metrics"].get("held_out", {})
        numbers = {name: float(held_out[name]) for name in PERPLEXITIES if name in held_out}
    except SuiteError as error:
        return version.to_dict() | {"problem": error.what}
    except (AttributeError, TypeError, ValueError):
        return version.to_dict() | {"problem": "its run.json or metrics.json is not what a training run writes."}
    return version.to_dict() | ({"base": base} if base else {}) | numbers


def _active(family: str, source: Source | None, versions: Sequence[Status]) -> tuple[str, str]:
    """Family and name of the version that speaks; else of the family's latest; empty where there is none."""
    if source and source.version:
        return str(source.run.get("family", family)), source.version
    latest = (each["version"] for each in versions if each["family"] == family and each["is_latest"])
    return family, next(latest, "")


def _describe_run(registry: Registry, family: str, version: str) -> Status | None:
    if not version:
        return None
    found: Status = {"family": family, "version": version, "problem": ""}
    try:
        shown = registry.show(family, version)
        return found | _measured(shown["run"], shown["metrics"])
    except SuiteError as error:
        return found | {"problem": str(error)}
    except (AttributeError, KeyError, TypeError, ValueError):
        return found | {"problem": f"run.json or metrics.json of {version} is not what a training run writes."}


def _measured(run: Mapping[str, Any], metrics: Mapping[str, Any]) -> Status:
    """What was recorded and measured; nothing else."""
    found = {name: run[name] for name in ("characters", "training_dialogues", "held_out_episodes") if name in run}
    if "base" in run:
        found["base"] = run["base"]["name"]
    training, held_out = metrics.get("training", {}), metrics.get("held_out", {})
    found |= {name: training[name] for name in ("steps", "seconds", "first_loss", "last_loss") if name in training}
    found |= {name: float(held_out[name]) for name in PERPLEXITIES if name in held_out}
    if "replies" in held_out:
        found["held_out_replies"] = held_out["replies"]
    found["losses"] = [[int(step), float(loss)] for step, loss in training.get("losses", ())]
    return found


def _describe_data(settings: Settings, corpus: Corpus | None, no_corpus: str) -> Status:
    folder = settings.paths.data
    if corpus is None and not no_corpus:
        from character_chatbot.corpus import read_corpus

        corpus, no_corpus = read_corpus(folder)
    if corpus is None:
        return {"folder": str(folder), "problem": no_corpus}
    found = {"folder": str(folder), "problem": "", "title": corpus.series.title}
    return found | {"characters": len(corpus.cast)} | corpus.report.to_dict()


def _render_speaking(status: Status) -> str:
    speaking = status["speaking"]
    lines = [f"Speaking: {speaking['label']}"] if speaking else []
    for each in status["announcements"]:
        lines.append(f"  {each['feature']}: wanted {each['wanted']}, because {each['why']}")
        lines.append(f"    To change that: {each['remedy']}")
    return "\n".join(lines)


def _render_registry(registry: Status, family: str) -> str:
    lines = [f"Registry: {registry['url']}"]
    if registry["problem"]:
        lines.append(f"  {registry['problem']}")
    elif not registry["versions"]:
        lines.append(f"  no version yet. Train one:  {registry['train']}")
    for each in registry["versions"]:
        mark = "latest" if each["is_latest"] else ""
        note = each.get("problem") or perplexity_text(each)
        row = f"  {each['family']:<6} {each['version']}  {mark:<6}  {size_text(each['size_bytes']):>9}  {note}"
        lines.append(row.rstrip())
    return "\n".join(lines)


def _render_training(training: Status | None) -> str:
    if training is None:
        return ""
    width = max(len(name) for name, _ in training_facts(training)) + 1
    rows = (f"  {name + ':':<{width}} {value}" for name, value in training_facts(training))
    return "\n".join([training_title(training), *rows])


def _render_run(run: Status | None) -> str:
    if run is None:
        return ""
    if run["problem"]:
        return f"Active version: {run['family']} {run['version']}\n  {run['problem']}"
    width = max(len(name) for name, _ in run_facts(run)) + 1
    return "\n".join(["Active version", *(f"  {name + ':':<{width}} {value}" for name, value in run_facts(run))])


def _render_data(data: Status) -> str:
    lines = [f"Data: {data['folder']}"]
    if data["problem"]:
        return "\n".join([*lines, f"  {data['problem']}"])
    lines.append(f"  {data['title']}: {data_totals(data)}")
    for kind, reasons in data["counts"].items():
        lines += [f"  {kind}: {count:,} × {reason}" for reason, count in reasons.items()]
    lines += [f"  skipped: {note['file']}: {note['reason']}" for note in data["skipped"]]
    return "\n".join(lines)


def _number(value: int | None) -> str | None:
    return None if value is None else f"{value:,}"


def _pair(values: Mapping[str, Any], first: str, second: str, digits: int) -> str | None:
    if first not in values or second not in values:
        return None
    return f"{values[first]:.{digits}f} → {values[second]:.{digits}f}"
