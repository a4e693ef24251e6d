"""Figures of the Network page: who is central when, the timeline of a pair, how relations change.

All take frames as ``character_network`` gives them.
"""

from __future__ import annotations

import pandas as pd

from character_network.ties import KINDS
from dashboard.figures.series import row_height
from dashboard.figures.texts import plain, short
from dashboard.plot import Plot
from dashboard.statistics.speech import episode_code, episode_codes, season_name
from utils.palette import LIGHT

KIND_TITLES = dict(zip(KINDS, ("speaks to", "together in scenes", "mentions"), strict=True))
MARKERS = ("circle", "square", "diamond")
SHOWN_RELATIONS = 16
LONGEST_HALF = 14  # characters of each name of a pair beside an axis
CENTRAL_NOTE = "Strength of a person in an episode as a share of everybody's; those further down are left out."
CLICK_PAIR = "Click a field for the timeline of the pair."


def plot_pair(table: pd.DataFrame, first: str, second: str) -> Plot:
    """Lines: the three counts of a pair, episode by episode. ``table``: as ``Network.timeline`` gives it."""
    import plotly.graph_objects as go

    codes = episode_codes(table).tolist()
    figure = go.Figure()
    for place, kind in enumerate(KINDS):
        figure.add_trace(
            go.Scatter(
                x=codes, y=table[kind].tolist(), name=KIND_TITLES[kind], mode="lines+markers",
                line={"color": LIGHT[place], "width": 2.5},
                marker={"color": LIGHT[place], "size": 8, "symbol": MARKERS[place]},
                hovertemplate=f"%{{x}}, {KIND_TITLES[kind]}: %{{y}}<extra></extra>",
            )
        )  # fmt: skip
    figure.update_layout(height=360, dragmode=False, legend={"y": -0.3}, showlegend=True)
    figure.update_xaxes(title="episode", type="category")
    figure.update_yaxes(title="times", rangemode="tozero")
    shown = pd.concat([pd.Series(codes, name="episode"), table[list(KINDS)].reset_index(drop=True)], axis=1)
    return Plot("pair-timeline", f"{first} and {second}", _tell_pair(table, codes, first, second), figure, shown)


def _tell_pair(table: pd.DataFrame, codes: list[str], first: str, second: str) -> str:
    totals = table[list(KINDS)].sum()
    if not totals.sum():
        return f"{first} and {second} never meet and never name each other."
    most = int(table[list(KINDS)].sum(axis=1).to_numpy().argmax())
    scenes = "scene" if totals[KINDS[1]] == 1 else "scenes"
    return (
        f"{totals[KINDS[0]]} turns to each other, {totals[KINDS[1]]} {scenes} together, {totals[KINDS[2]]} times named;"
        f" most in {codes[most]}."
    )


def plot_central(shares: pd.DataFrame) -> Plot:
    """A heat map: whose edges make up how much of each episode.

    ``shares``: from 0 to 1, a row for each person, a column for each (season, episode), as
    ``character_network.timelines.central_shares`` gives it.
    """
    import plotly.graph_objects as go

    codes = [episode_code(*place) for place in shares.columns]
    names = [str(name) for name in shares.index]
    percent = 100 * shares.to_numpy()
    figure = go.Figure(
        go.Heatmap(
            z=percent, x=codes, y=[short(name) for name in names], zmin=0,
            customdata=[[plain(name)] * len(codes) for name in names], colorbar={"title": {"text": "%"}},
            hovertemplate="%{customdata}<br>%{x}: %{z:.1f} % of all strength<extra></extra>",
        )
    )  # fmt: skip
    figure.update_layout(height=row_height(len(names)), dragmode=False)
    figure.update_xaxes(title="episode", type="category", showgrid=False)
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    table = shares.set_axis(codes, axis=1).rename_axis("person").reset_index()
    told = "Nobody has an edge."
    if shares.size and percent.max() > 0:
        first = [names[int(at)] for at in percent.argmax(axis=0)]
        told = "Most central: " + ", ".join(
            f"{name} in {first.count(name)} of {len(codes)} episodes" for name in list(dict.fromkeys(first))[:4]
        )
        told += "."
    return Plot("who-is-central", "Who is central when", told, figure, table, CENTRAL_NOTE)


def plot_relations(changes: pd.DataFrame, by: str) -> Plot:
    """A heat map: the weight of the pairs that change most, season by season or episode by episode.

    Args:
        changes: as ``Network.changes(by)`` gives it.
        by: ``season`` or ``episode``.
    """
    import plotly.graph_objects as go

    codes, unit = _codes(changes, by), "weight" if by == "episode" else "weight an episode"
    order = codes.drop_duplicates().tolist()
    coded = changes.assign(code=codes)
    # The first time has none before it: there everything would be new.
    moved = coded[coded["code"] != order[0]] if len(order) > 1 else coded
    sizes = moved["change"].abs().groupby([moved["source"], moved["target"]]).sum()
    pairs = sizes.sort_values(ascending=False, kind="stable").index[:SHOWN_RELATIONS].tolist()
    by_pair = coded.set_index(["source", "target"])
    weights = pd.DataFrame(
        [by_pair.loc[[pair]].set_index("code")["weight"].reindex(order, fill_value=0.0).tolist() for pair in pairs],
        index=pd.MultiIndex.from_tuples(pairs, names=["source", "target"]) if pairs else None, columns=order,
    )  # fmt: skip
    figure = go.Figure(
        go.Heatmap(
            z=weights.to_numpy(), x=order, y=[_pair_label(*pair) for pair in pairs], zmin=0,
            customdata=[[[*pair, code] for code in order] for pair in pairs],
            colorbar={"title": {"text": unit.replace(" an ", "<br>an ")}},
            hovertemplate="%{y}, %{x}: %{z:.1f}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_layout(height=row_height(len(pairs)), dragmode=False)
    figure.update_xaxes(title=by, type="category", showgrid=False)
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    return Plot("relations", f"How relations change, by {by}", _tell_changes(moved, len(order)), figure,
                coded.drop(columns=["season", "episode"], errors="ignore").rename(columns={"code": by}),
                CLICK_PAIR, clickable=True)  # fmt: skip


def _codes(changes: pd.DataFrame, by: str) -> pd.Series:
    if by == "season":
        return changes["season"].map(season_name).astype(object)
    return episode_codes(changes).astype(object)


def _pair_label(first: str, second: str) -> str:
    halves = (name if len(name) <= LONGEST_HALF else f"{name[: LONGEST_HALF - 1]}…" for name in (first, second))
    return plain(" – ".join(halves))


def _tell_changes(moved: pd.DataFrame, times: int) -> str:
    if times < 2 or moved.empty:
        return "There is nothing before to compare with."
    ordered = moved.sort_values("change", kind="stable").to_dict("records")
    fall, rise = ordered[0], ordered[-1]
    told = [
        f"Greatest {word}: {row['source']} and {row['target']} in {row['code']}"
        f" ({row['change']:+.1f}, from {row['before']:.1f} to {row['weight']:.1f})."
        for word, row in (("rise", rise), ("fall", fall))
        if row["change"]
    ]
    return " ".join(told)
