"""Pieces of HTML of the Locations tab. Every text from data is escaped."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from character_chatbot import markup
from dashboard.pages.locations_view import LocationView
from utils.lines import UNKNOWN

if TYPE_CHECKING:
    from text_classification.evaluation import Evaluation
    from text_classification.labels import Imported
    from text_classification.uncertainty import UncertainScene

NOT_ALLOWED = (
    "Scenes are labelled where everybody is known: on this machine, or behind a password (app.editing). From the"
    " shell: python -m text_classification --data data --out results/locations --label-next 10"
)
OF_UPLOAD = "Scenes of your own file are shown and not labelled: there is no folder to keep labels in."
ALL_DONE = "No scene is left to label: every place is marked or labelled."
MODELS = {  # as an evaluation names them
    "majority": "The place with the most labels, whatever is said",
    "mentions": "Base line: the places that are named",
    "tfidf": "TF-IDF with logistic regression",
    "distilbert": "DistilBERT",
}
HEADING = ("Model", "Macro F1", "95 % inter\u00adval", "Right", "Told", "Of these right", "Calibra\u00adtion error")


def method_block(view: LocationView) -> str:
    """How places were found, how many are known, and what is used instead of what was wanted."""
    results = view.results
    sources = results.frame["source"].value_counts().to_dict()
    parts = ", ".join(f"{int(count):,} {name}" for name, count in sources.items())
    told = (
        f"{len(results.scenes):,} scenes: {parts}. Places are predicted by {results.method};"
        f" below a probability of {results.threshold:g} a place is {UNKNOWN}. That leaves a place for"
        f" {100 * results.coverage:.0f} % of the predicted scenes."
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in results.notes)
    return (
        f'<div class="method"><p>{escape(told)}</p>{markup.banner(view.announcements)}'
        f"{f'<ul>{notes}</ul>' if notes else ''}</div>"
    )


def evaluation_block(found: Evaluation) -> str:
    """The scores beside those of the majority class and the base line, and whether they are better at all."""
    rows = [
        (
            MODELS.get(each.model, each.model), f"{each.macro_f1:.2f}", f"{each.low:.2f} to {each.high:.2f}",
            f"{100 * each.accuracy:.0f} %", f"{100 * each.coverage:.0f} %",
            f"{100 * each.covered_accuracy:.0f} %" if each.coverage else "none", f"{each.ece_after:.2f}",
        )
        for each in found.models
    ]  # fmt: skip
    known = (
        f"{found.scenes:,} scenes with a known place, in {found.episodes} episodes; each episode is predicted by a"
        f" model that has not seen it. {100 * found.learnable:.0f} % of the scenes are at a place that another episode"
        " has too: no trained model can be right more often."
    )
    places = [
        (each.place, each.scenes, each.predicted, f"{each.precision:.2f}", f"{each.recall:.2f}", f"{each.f1:.2f}")
        for each in found.places
    ]
    wrong = [(each.place, each.predicted, each.scenes) for each in found.confusions]
    more = markup.table(("Place", "Scenes", "Predicted", "Precision", "Recall", "F1"), places, "By place")
    more += markup.table(("True", "Predicted", "Scenes"), wrong, "Most confused") if wrong else ""
    return (
        f'<section class="quality evaluation"><p><b>{escape(verdict(found))}</b></p><p>{escape(known)}</p>'
        f"{markup.table(HEADING, rows, 'On held-out episodes')}"
        f"<details><summary>Place by place</summary>{more}</details></section>"
    )


def verdict(found: Evaluation) -> str:
    """Whether the model is better than the best of the simple answers; surely so where their intervals are apart."""
    first, *others = found.models
    simple = [each for each in others if each.model in ("majority", "mentions")]
    if not simple or first.model in ("majority", "mentions"):
        return "Nothing is trained yet: this is what the simple answers reach."
    best = max(simple, key=lambda each: each.macro_f1)
    scores = [f"{each.macro_f1:.2f} ({each.low:.2f} to {each.high:.2f})" for each in (first, best)]
    told = f"macro F1 {scores[0]} against {scores[1]}"
    name = MODELS.get(best.model, best.model)
    name = name[:1].lower() + name[1:]
    if first.low > best.high:
        return f"Better than {name}: {told}."
    if first.macro_f1 > best.macro_f1:
        return f"Better than {name}, but the intervals overlap: {told}. More labels make it surer."
    return f"No better than {name}: {told}. Do not trust the predicted places yet."


def scene_block(case: UncertainScene | None, left: int) -> str:
    """The scene to label, whole, with the places that the model thinks of."""
    if case is None:
        return markup.hint(ALL_DONE if not left else "These are through. Press Compute again for the next ones.")
    likely = ", ".join(f"{place} {100 * share:.0f} %" for place, share in case.likeliest[:3] if share >= 0.005)
    said = "".join(f"<li>{_speaker(who)}{escape(line)}</li>" for who, line in case.scene.turns)
    return (
        f'<section class="scenes to-label"><h3>{escape(case.scene.code)} <small>{len(case.scene.turns):,} lines,'
        f" {left:,} more to look at</small></h3><p>Most likely: {escape(likely) or 'nothing speaks for a place'}</p>"
        f'<ul tabindex="0" role="region" aria-label="The lines of {escape(case.scene.code)}">{said}</ul></section>'
    )


def _speaker(name: str) -> str:
    return "" if name == UNKNOWN else f"<b>{escape(name)}</b> "


def imported_line(taken: Imported) -> str:
    """What came in, and which labels took the place of another."""
    told = f"{taken.added:,} labels added, {len(taken.changed):,} changed, {taken.same:,} as before."
    items = "".join(f"<li>{escape(text)}</li>" for text in taken.changed[:20])
    return f'<p class="done" role="status">{told}</p>' + (f"<ul>{items}</ul>" if items else "")
