"""Figures of the Locations page: who is where, who goes where from where, where each episode takes place.

All take frames as ``text_classification.results`` gives them.
"""

from __future__ import annotations

import pandas as pd

from dashboard.figures.series import row_height
from dashboard.figures.texts import plain, short
from dashboard.look import LIGHT_GROUND
from dashboard.plot import Plot
from dashboard.statistics.speech import episode_codes
from utils.lines import UNKNOWN
from utils.palette import LIGHT

COLOURED = len(LIGHT) - 1  # places with a colour of their own
OTHERS = "other places"
ALL_NAMED = 18  # places of a heat map that are all named also on a phone; of more, plotly leaves names out
FLOWS = 10  # people, and places, of a Sankey diagram
FLOW_STRENGTH = 0.4  # of the bands, that show on a light and on a dark ground


def plot_matrix(where: pd.DataFrame, most: int) -> Plot:
    """A heat map: the share of each speaker's lines at each place.

    Args:
        where: as ``LocationResults.who_is_where`` gives it.
        most: speakers shown.
    """
    import plotly.graph_objects as go

    names = _first(where, "speaker", most)
    places = _first(where, "location", len(where))
    shares = where.pivot_table(index="speaker", columns="location", values="share", aggfunc="sum", fill_value=0.0)
    counts = where.pivot_table(index="speaker", columns="location", values="lines", aggfunc="sum", fill_value=0)
    shares, counts = (frame.reindex(index=names, columns=places, fill_value=0) for frame in (shares, counts))
    said = counts.to_numpy().tolist()
    custom = [
        [[plain(name), plain(place), int(lines)] for place, lines in zip(places, row, strict=True)]
        for name, row in zip(names, said, strict=True)
    ]
    figure = go.Figure(
        go.Heatmap(
            z=100 * shares.to_numpy(), x=[short(place) for place in places], y=[short(name) for name in names],
            customdata=custom, zmin=0, colorbar={"title": {"text": "%"}},
            hovertemplate="%{customdata[0]} at %{customdata[1]}: %{z:.0f} % of the lines, %{customdata[2]}"
            "<extra></extra>",
        )
    )  # fmt: skip
    figure.update_layout(height=row_height(len(names)) + 90, dragmode=False)
    figure.update_xaxes(type="category", showgrid=False, dtick=1 if len(places) <= ALL_NAMED else None)
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    return Plot("who-is-where", "Who is where", _tell_where(where, names), figure, where)


def _first(frame: pd.DataFrame, column: str, most: int) -> list[str]:
    """The values with the most lines."""
    sums = frame.groupby(column)["lines"].sum().sort_values(ascending=False, kind="stable")
    return [str(name) for name in sums.index[:most]]


def _tell_where(where: pd.DataFrame, names: list[str]) -> str:
    if not names:
        return "Nobody is at a place that is known."
    told = []
    for name in names[:3]:
        best = where[where["speaker"] == name].iloc[0]
        told.append(f"{name} most often at {best['location']} ({100 * best['share']:.0f} % of the lines)")
    return f"{'; '.join(told)}."


def plot_flows(where: pd.DataFrame) -> Plot:
    """A Sankey diagram: lines from speakers to places. ``where``: as for ``plot_matrix``."""
    import plotly.graph_objects as go

    names, places = _first(where, "speaker", FLOWS), _first(where, "location", FLOWS)
    shown = where[where["speaker"].isin(names) & where["location"].isin(places)]
    nodes = [*names, *places]
    # A person and a place of one name are two nodes.
    person, place = ({name: at for at, name in enumerate(names)},
                     {name: len(names) + at for at, name in enumerate(places)})  # fmt: skip
    figure = go.Figure(
        go.Sankey(
            arrangement="snap",
            node={"label": [short(name) for name in nodes], "pad": 12, "thickness": 14, "line": {"width": 0},
                  "color": [LIGHT[-1]] * len(names) + [_colour(at) for at in range(len(places))],
                  "hovertemplate": "%{label}: %{value:,.0f} lines<extra></extra>"},
            link={"source": [person[name] for name in shown["speaker"]],
                  "target": [place[name] for name in shown["location"]], "value": shown["lines"].tolist(),
                  "color": [_band(place[name] - len(names)) for name in shown["location"]],
                  "hovertemplate": "%{source.label} at %{target.label}: %{value:,.0f} lines<extra></extra>"},
        )
    )  # fmt: skip
    height = max(320, 34 * max(len(names), len(places)) + 80)
    figure.update_layout(height=height, dragmode=False, meta={"narrow": {"height": height + 80}})
    said, all_lines = int(shown["lines"].sum()), int(where["lines"].sum())
    told = f"{said:,} of {all_lines:,} lines: those of the first {len(names)} people at the first {len(places)} places."
    return Plot("people-and-places", "From people to places", told, figure, shown)


def _colour(place: int) -> str:
    return LIGHT[place] if place < COLOURED else LIGHT[-1]


def _band(place: int) -> str:
    red, green, blue = (int(_colour(place)[at : at + 2], 16) for at in (1, 3, 5))
    return f"rgba({red},{green},{blue},{FLOW_STRENGTH})"


def plot_moves(moves: pd.DataFrame) -> Plot:
    """A heat map: from which place the next scene leads to which. ``moves``: as ``LocationResults.moves``."""
    import plotly.graph_objects as go

    sums = moves.groupby("from")["count"].sum().add(moves.groupby("to")["count"].sum(), fill_value=0)
    places = [str(name) for name in sums.sort_values(ascending=False, kind="stable").index]
    table = moves.pivot_table(index="from", columns="to", values="count", aggfunc="sum", fill_value=0)
    table = table.reindex(index=places, columns=places, fill_value=0)
    figure = go.Figure(
        go.Heatmap(
            z=table.to_numpy(), x=[short(name) for name in places], y=[short(name) for name in places], zmin=0,
            hovertemplate="from %{y} to %{x}: %{z}<extra></extra>", colorbar={"title": {"text": "times"}},
        )
    )  # fmt: skip
    figure.update_layout(height=row_height(len(places)) + 90, dragmode=False)
    figure.update_xaxes(title="to", type="category", showgrid=False)
    figure.update_yaxes(title="from", type="category", autorange="reversed", showgrid=False)
    gone = moves[moves["from"] != moves["to"]].head(3)
    told = "No two scenes that follow each other are both at a known place."
    if len(gone):
        told = "Most often " + ", ".join(f"{a} to {b} ({times})" for a, b, times in gone.itertuples(index=False)) + "."
    return Plot("moves", "From scene to scene", told, figure, moves,
                "Scenes that follow each other in an episode, both at a known place.")  # fmt: skip


def plot_episodes(frame: pd.DataFrame) -> Plot:
    """Stacked bars: the share of each episode's lines at each place. ``frame``: as ``LocationResults.frame``."""
    import plotly.graph_objects as go

    known = frame[frame["location"] != UNKNOWN]
    named = _first(known, "location", COLOURED)
    groups = frame["location"].where(frame["location"].isin([*named, UNKNOWN]), OTHERS)
    codes = episode_codes(frame)
    table = frame.groupby([codes, groups])["lines"].sum().unstack(fill_value=0)
    order = codes.drop_duplicates().tolist()
    columns = [name for name in (*named, OTHERS, UNKNOWN) if name in table.columns]
    table = table.reindex(index=order, columns=columns, fill_value=0)
    shares = 100 * table.div(table.sum(axis=1).clip(lower=1), axis=0)
    colours = {OTHERS: LIGHT[-1], UNKNOWN: LIGHT_GROUND.faint}
    figure = go.Figure(
        [
            go.Bar(
                x=order, y=shares[name].tolist(), name=short(name), customdata=table[name].tolist(),
                marker={"color": colours.get(name, _colour(at)), "line": {"width": 1, "color": LIGHT_GROUND.paper}},
                hovertemplate=f"{plain(name)}, %{{x}}: %{{y:.0f}} % of the lines, %{{customdata}}<extra></extra>",
            )
            for at, name in enumerate(columns)
        ]
    )  # fmt: skip
    rows = 1 + len(columns) // 2
    figure.update_layout(
        height=440, dragmode=False, barmode="stack", bargap=0.2, legend={"y": -0.28, "traceorder": "normal"},
        meta={"narrow": {"height": 400 + 20 * rows}}, showlegend=True,
    )  # fmt: skip
    figure.update_xaxes(title="episode", type="category")
    figure.update_yaxes(title="lines, %", range=[0, 100])
    return Plot("places-by-episode", "Where each episode takes place", _tell_episodes(table), figure,
                table.rename_axis("episode").rename_axis(None, axis=1).reset_index())  # fmt: skip


def _tell_episodes(table: pd.DataFrame) -> str:
    totals = table.sum()
    everything = int(totals.sum())
    if not everything:
        return "There are no scenes."
    named = ", ".join(
        f"{name} {100 * lines / everything:.0f} %"
        for name, lines in totals.drop(UNKNOWN, errors="ignore").head(4).items()
    )
    unknown = 100 * int(totals.get(UNKNOWN, 0)) / everything
    return (f"Of all lines: {named}. " if named else "") + f"Of {unknown:.0f} % the place is not known."
