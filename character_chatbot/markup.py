"""Pieces of HTML for the page. Every text from data, a visitor or a model is escaped here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from character_chatbot.monitoring.curve import bounds, place, smooth
from character_chatbot.status import (
    data_totals,
    perplexity_text,
    run_facts,
    size_text,
    training_facts,
    training_title,
)
from utils.announcements import Announcement

# Paul Tol's muted and dark schemes: told apart with any colour vision; white on each has a contrast above 4.5.
PORTRAIT_COLOURS = ("#332288", "#117733", "#882255", "#225555", "#994455", "#666633", "#663333", "#aa4499", "#555555")
SHOWN_NOTES = 200
LOADING = "Loading the model…"


def initials(name: str) -> str:
    """At most two letters or digits: of the first word and of the last."""
    words = [word for word in ("".join(filter(str.isalnum, part)) for part in name.split()) if word]
    chosen = [words[0], words[-1]] if len(words) > 1 else words
    return "".join(word[0] for word in chosen).upper() or "?"


def portrait_colour(name: str) -> str:
    """The colour of a character, always the same one."""
    return PORTRAIT_COLOURS[hashlib.sha256(name.encode()).digest()[0] % len(PORTRAIT_COLOURS)]


def portraits_style(characters: Sequence[str]) -> str:
    """A style sheet: portraits for the cards of the picker in their order."""
    rules = [
        f"#characters label:nth-of-type({number})::before"
        f"{{content:'{initials(name)}'/''!important;background:{portrait_colour(name)}!important}}"
        for number, name in enumerate(characters, start=1)
    ]
    return f"<style>{''.join(rules)}</style>"


def title_block(title: str, logline: str) -> str:
    """The head of the page."""
    return f"<header><h1>{escape(title)}</h1>" + (f"<p>{escape(logline)}</p>" if logline else "") + "</header>"


def speaking_line(label: str, character: str = "") -> str:
    """Which source answers; empty: none yet."""
    who = f"<b>{escape(character)}</b> · " if character else ""
    what = f"Speaking: {escape(label)}" if label else escape(LOADING)
    return f'<p id="speaking" role="status">{who}{what}</p>'


def banner(announcements: Iterable[Announcement]) -> str:
    """What was wanted, what is used instead, why, and what to do; empty where there is nothing to say."""
    steps = list(announcements)
    if not steps:
        return ""
    items = [_announcement(each) for each in steps]
    more = ""
    if len(items) > 1:
        rest = "".join(f"<li>{item}</li>" for item in items[1:])
        more = f"<details><summary>What else was tried ({len(items) - 1})</summary><ul>{rest}</ul></details>"
    return f'<div class="notice" role="note"><p>Used: {escape(steps[0].got)}. {items[0]}</p>{more}</div>'


def _announcement(each: Announcement) -> str:
    return (
        f"Wanted: {escape(each.wanted)}. Why not: {escape(each.why)}. "
        f"To change that: <code>{escape(each.remedy)}</code>"
    )


def loading_block(title: str, figures: str, share: float | None) -> str:
    """How far loading is. Its figures change each second, so it is nothing that a screen reader reads out unasked."""
    value = "" if share is None else f' value="{share:.2f}"'
    return (
        f'<div class="loading"><progress max="1"{value} aria-label="Loading the model"></progress>'
        f"<p>{escape(title)}, <span>{escape(figures)}</span></p></div>"
    )


def hint(text: str) -> str:
    """A word about what is going on."""
    return f'<p class="hint" role="status">{escape(text)}</p>'


def problem_block(text: str) -> str:
    """An error's sentences."""
    return f'<div class="notice problem" role="alert">{escape(text)}</div>'


def status_blocks(status: Mapping[str, Any]) -> tuple[str, str, str]:
    """What speaks and from which versions; the active version's run; the data report."""
    return (
        _speaking_section(status) + _registry_section(status["registry"], status["family"]),
        _run_section(status["run"]),
        _data_section(status["data"]),
    )


def training_block(training: Mapping[str, Any] | None) -> str:
    """A training that has not become a version yet, with the curve of its loss; empty where there is none."""
    if training is None:
        return ""
    steps = int(training["last"].get("steps", 0))
    return (
        f'<section id="training"><h2>{escape(training_title(training))}</h2>{_facts(training_facts(training))}'
        f"{loss_curve(training['losses'], steps, training.get('held_out', ()))}</section>"
    )


def loss_curve(losses: Sequence[Sequence[float]], steps: int, held_out: Sequence[Sequence[float]] = ()) -> str:
    """The loss by step, as wide as its place: the picture is stretched, the words beside it are not.

    Args:
        losses: step and loss in nats per token.
        steps: of the whole run; what is to come stays empty.
        held_out: step and loss on held-out replies.
    """
    points = [(float(step), float(loss)) for step, loss in losses]
    measured = [(float(step), float(loss)) for step, loss in held_out]
    if not points:
        return ""
    (first, start), (last, end) = points[0], points[-1]
    low, high = bounds([loss for _, loss in points + measured])
    told = f"Training loss: {start:.2f} at step {first:.0f}, {end:.2f} at step {last:.0f} of {steps}"
    caption = "Training loss, nats per token"
    if measured:
        told += f"; held-out loss {measured[-1][1]:.2f} at step {measured[-1][0]:.0f}"
        caption = "Training loss, and dashed the loss on held-out replies, nats per token"
    lines = "".join(
        f'<polyline class="{name}" points="{_points(place(line, steps, low, high))}"/>'
        for name, line in (("each", points), ("mean", smooth(points)), ("held-out", measured))
        if line
    )
    return (
        f'<figure class="curve" role="img" aria-label="{told}"><figcaption>{caption}</figcaption>'
        f"<span>{high:.2f}</span><span>{low:.2f}</span>"
        f'<svg viewBox="0 0 1000 1000" preserveAspectRatio="none" aria-hidden="true">{lines}</svg>'
        f"<span>step 0</span><span>{steps:,}</span></figure>"
    )


def _points(points: Iterable[tuple[float, float]]) -> str:
    return " ".join(f"{1000 * x:.1f},{1000 * y:.1f}" for x, y in points)


def table(heading: Sequence[str], rows: Iterable[Sequence[object]], caption: str) -> str:
    """A table that scrolls by itself where the page is narrow."""
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heading)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    name = escape(caption, quote=True)
    return (
        f'<div class="table" tabindex="0" role="region" aria-label="{name}"><table><caption>{name}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _speaking_section(status: Mapping[str, Any]) -> str:
    speaking = status["speaking"]
    if speaking is None:
        return "<h2>Speaking</h2><p>Nothing yet.</p>"
    facts = [("Source", speaking["label"]), ("Rung", speaking["rung"]), ("Base", speaking.get("base", ""))]
    facts += [("Trained on", ", ".join(speaking["trained"])), ("Characters", str(len(speaking["characters"])))]
    steps = [[each[key] for key in ("feature", "wanted", "got", "why", "remedy")] for each in status["announcements"]]
    heading = ("Feature", "Wanted", "Used instead", "Why", "To change that")
    return "<h2>Speaking</h2>" + _facts(facts) + (table(heading, steps, "Announcements") if steps else "")


def _registry_section(registry: Mapping[str, Any], family: str) -> str:
    top = f"<h2>Versions</h2><p>Registry: <code>{escape(registry['url'])}</code></p>"
    if registry["problem"]:
        return top + problem_block(registry["problem"])
    if not registry["versions"]:
        return f"{top}<p>No version yet. Train one: <code>{escape(registry['train'])}</code></p>"
    rows = [
        (
            each["family"],
            each["version"],
            "latest" if each["is_latest"] else "",
            each["created"][:16].replace("T", " ") + " UTC",
            size_text(each["size_bytes"]),
            each.get("problem") or perplexity_text(each) or "not measured",
        )
        for each in registry["versions"]
    ]
    return top + table(("Family", "Version", "", "Created", "Size", "Held-out perplexity"), rows, "Versions by family")


def _run_section(run: Mapping[str, Any] | None) -> str:
    if run is None:
        return ""
    return "<h2>Active version</h2>" + (problem_block(run["problem"]) if run["problem"] else _facts(run_facts(run)))


def _data_section(data: Mapping[str, Any]) -> str:
    top = f"<h2>Data</h2><p>Series folder: <code>{escape(data['folder'])}</code></p>"
    if data["problem"]:
        return top + problem_block(data["problem"])
    files = [[each[key] for key in ("file", "rows_in", "rows_out", "rows_dropped", "lines")] for each in data["files"]]
    counts = [(kind, reason, count) for kind, reasons in data["counts"].items() for reason, count in reasons.items()]
    notes = [(note["file"], note["row"] or "", note["kind"], note["reason"], note["text"]) for note in data["notes"]]
    skipped = [(note["file"], note["reason"]) for note in data["skipped"]]
    parts = [
        f"{top}<p>{escape(data['title'])}: {escape(data_totals(data))}.</p>",
        table(("File", "Rows in", "Kept", "Dropped", "Lines"), files, "Files"),
        table(("Kind", "Reason", "Rows"), counts, "What happened to rows") if counts else "",
        table(("File", "Reason"), skipped, "Files without lines") if skipped else "",
        _notes(notes),
    ]
    return "".join(parts)


def _notes(notes: Sequence[Sequence[object]]) -> str:
    if not notes:
        return ""
    shown = notes[:SHOWN_NOTES]
    caption = f"Notes, {len(shown)} of {len(notes)}" if len(shown) < len(notes) else f"Notes, {len(notes)}"
    inner = table(("File", "Row", "Kind", "Reason", "Text"), shown, caption)
    return f"<details><summary>Row by row ({len(notes):,})</summary>{inner}</details>"


def _facts(facts: Iterable[tuple[str, str]]) -> str:
    rows = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in facts if value)
    return f"<dl>{rows}</dl>"
