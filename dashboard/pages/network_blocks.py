"""Pieces of HTML of the Network tab. Every text from data is escaped."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from character_chatbot import markup
from dashboard.pages.network_view import NetworkView

if TYPE_CHECKING:
    import pandas as pd

    from character_network.suggestions import Suggestion

COLOURS = 7  # of communities; further ones are grey, as in the picture
SHOWN_SUGGESTIONS = 25
# Where a phone has no room for a whole word it parts at the soft hyphen.
HEADING = ("Person", "Strength", "Between&shy;ness", "Page&shy;Rank", "Lines", "Com&shy;munity")
NO_SUGGESTIONS = "Every name that is said often belongs to somebody."
NOT_ALLOWED = (
    "Names are accepted where everybody is known: on this machine, or behind a password (app.editing). From the shell: "
    "python -m character_network --accept NAME --alias-of CHARACTER"
)
OF_UPLOAD = "Names of your own file are shown and not kept: there is no characters.jsonl to write them into."


def method_block(view: NetworkView) -> str:
    """How large the network is, how scenes were found, and what is used instead of what was wanted."""
    from character_network.page import scene_note

    network = view.network
    told = (
        f"{len(view.names):,} people, {len(network.pairs):,} ties, {len(network.scenes):,} scenes in"
        f" {len(network.episodes):,} episodes. {scene_note(network)}"
    )
    return f'<div class="method"><p>{escape(told)}</p>{markup.banner(view.announcements)}</div>'


def people_block(people: pd.DataFrame) -> str:
    """The table of measures, with the colour of each community beside its number."""
    head = "".join(f'<th scope="col">{name}</th>' for name in HEADING)
    rows = "".join(
        f"<tr><td>{escape(str(row['person']))}</td><td>{row['strength']:,.0f}</td><td>{row['betweenness']:.3f}</td>"
        f"<td>{row['pagerank']:.3f}</td><td>{row['lines']:,}</td><td>{_community(int(row['community']))}</td></tr>"
        for row in people.to_dict("records")
    )
    caption = f"Measures, {len(people):,} people"
    return (
        f'<section class="measures"><div class="table" tabindex="0" role="region" aria-label="{caption}"><table>'
        f"<caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        '<p class="plot-note">Strength: sum of the weights of all edges. Betweenness: share of shortest ways that lead'
        " through somebody. PageRank: damping 0.85. Community: Louvain, seeded.</p></section>"
    )


def _community(number: int) -> str:
    if number < 0:
        return "none"
    colour = number if number < COLOURS else "more"
    return f'<i class="community community-{colour}" aria-hidden="true"></i>{number + 1}'


def suggestions_block(suggestions: Sequence[Suggestion], is_allowed: bool) -> str:
    """Names that nobody owns, each with its evidence and, where that is allowed, buttons to accept it."""
    if not suggestions:
        return markup.hint(NO_SUGGESTIONS)
    items = "".join(_suggestion(each, is_allowed) for each in suggestions[:SHOWN_SUGGESTIONS])
    more = len(suggestions) - SHOWN_SUGGESTIONS
    rest = f"<p>And {more} more that are said less often.</p>" if more > 0 else ""
    return f'<ul class="suggestions">{items}</ul>{rest}'


def _suggestion(each: Suggestion, is_allowed: bool) -> str:
    quoted = "".join(f"<q>{escape(text)}</q>" for text in each.examples[:2])
    buttons = ""
    if is_allowed:
        alias = _button(each.name, each.alias_of, f"Is {each.alias_of}") if each.alias_of else ""
        buttons = f'<div class="plot-buttons">{alias}{_button(each.name, "", "New character")}</div>'
    return (
        f"<li><p><b>{escape(each.name)}</b> <small>{each.count:,} times, {escape(each.evidence)}</small></p>"
        f"<p>{quoted}</p>{buttons}</li>"
    )


def _button(name: str, owner: str, label: str) -> str:
    told = escape(json.dumps({"accept": name, "alias_of": owner}), quote=True)
    what = f"{name}: {label}"
    return f'<button type="button" data-pick="{told}" aria-label="{escape(what, quote=True)}">{escape(label)}</button>'
