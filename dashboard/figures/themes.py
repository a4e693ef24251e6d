"""Figures of the Themes page: arcs over the episodes, a heat map of the seasons, what each character speaks about.

All take scores as ``ThemeScores`` has them: season, episode, scene, theme, score between 0 and 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from dashboard.figures.series import row_height
from dashboard.figures.texts import plain, short
from dashboard.plot import Plot
from dashboard.statistics.speech import episode_codes, season_name
from utils.palette import LIGHT

# A theme keeps its colour and its marker; after seven colours the dashes change, so that no two are drawn alike.
COLOURS, DASHES = LIGHT[:-1], ("solid", "dash", "dot")
MARKERS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star")
CLICK = "Click a point for the scenes that carry it."
EVERYBODY = "everybody together"


def style_of(place: int) -> dict[str, dict[str, object]]:
    """Line and marker of the theme at this place of the list."""
    colour, round_ = COLOURS[place % len(COLOURS)], place // len(COLOURS)
    line: dict[str, object] = {"color": colour, "width": 2.5, "dash": DASHES[round_ % len(DASHES)]}
    return {"line": line, "marker": {"color": colour, "size": 8, "symbol": MARKERS[(place + round_) % len(MARKERS)]}}


def plot_arcs(episodes: pd.DataFrame, themes: Sequence[str]) -> Plot:
    """Lines: the score of each theme, episode by episode. ``episodes``: as ``ThemeScores.episodes``."""
    import plotly.graph_objects as go

    table = _by_episode(episodes, themes)
    codes = table.index.tolist()
    figure = go.Figure()
    for place, theme in enumerate(themes):
        custom = [[theme, code] for code in codes]
        figure.add_trace(
            go.Scatter(
                x=codes, y=table[theme], name=plain(theme), mode="lines+markers", customdata=custom, **style_of(place),
                hovertemplate=f"<b>{plain(theme)}</b>, %{{x}}: %{{y:.3f}}<extra></extra>",
            )
        )  # fmt: skip
    rows = 1 + len(themes) // 3
    figure.update_layout(
        height=440, dragmode=False, legend={"y": -0.26}, meta={"narrow": {"height": 400 + 22 * rows}}, showlegend=True
    )
    figure.update_xaxes(title="episode", type="category")
    figure.update_yaxes(title="score", rangemode="tozero")
    told = _tell_turns(table)
    return Plot(
        "theme-arcs", "Themes by episode", told, figure, table.rename_axis("episode").reset_index(), CLICK, True
    )


def _by_episode(episodes: pd.DataFrame, themes: Sequence[str]) -> pd.DataFrame:
    coded = episodes.sort_values(["season", "episode"], kind="stable").assign(code=episode_codes)
    order = coded["code"].unique()
    return coded.pivot(index="code", columns="theme", values="score").reindex(index=order, columns=list(themes))


def _tell_turns(table: pd.DataFrame) -> str:
    """Where each of the first themes is strongest."""
    if table.empty:
        return "There are no episodes."
    peaks = [f"{theme} in {table[theme].idxmax()} ({table[theme].max():.3f})" for theme in table.columns[:4]]
    return f"Strongest: {', '.join(peaks)}."


def plot_seasons(scores: pd.DataFrame, themes: Sequence[str]) -> Plot:
    """A heat map: each theme in each season; of one season alone, in each of its episodes.

    ``scores``: as ``ThemeScores.frame``.
    """
    import plotly.graph_objects as go

    whole = scores[scores["episode"].isna()]
    if whole["season"].nunique() > 1:
        coded = whole.assign(code=whole["season"].map(season_name))
        title, along = "Themes by season", "season"
    else:
        part = scores[scores["scene"].isna() & scores["episode"].notna()]
        coded, title, along = part.assign(code=episode_codes(part)), "Themes by episode, as a map", "episode"
    coded = coded.sort_values(["season", "episode"], kind="stable")
    order = coded["code"].unique().tolist()
    table = coded.pivot(index="theme", columns="code", values="score").reindex(index=list(themes), columns=order)
    named = [short(theme) for theme in themes]
    figure = go.Figure(
        go.Heatmap(
            z=table.to_numpy(), x=order, y=named, customdata=[[[theme, code] for code in order] for theme in themes],
            hovertemplate="<b>%{y}</b>, %{x}: %{z:.3f}<extra></extra>", colorbar={"title": {"text": "score"}}, zmin=0,
        )
    )  # fmt: skip
    figure.update_layout(height=row_height(len(named)), dragmode=False)
    figure.update_xaxes(title=along, type="category", showgrid=False)
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    strongest = ", ".join(f"{code}: {table[code].idxmax()}" for code in order[:6]) if len(table) else "nothing"
    return Plot("theme-seasons", title, f"Strongest theme: {strongest}.", figure, table.reset_index(), CLICK, True)


def plot_radar(speakers: pd.DataFrame, themes: Sequence[str], chosen: Sequence[str], everybody: pd.Series) -> Plot:
    """A radar: what the chosen characters speak about, beside the mean of all speech.

    Args:
        speakers: ``speaker, theme, score``, as ``ThemeScores.by(["speaker"])``.
        themes: the axes.
        chosen: the characters.
        everybody: score by theme of all lines together.
    """
    import plotly.graph_objects as go

    table = speakers.pivot(index="theme", columns="speaker", values="score").reindex(index=list(themes))
    table = table.reindex(columns=[name for name in chosen if name in table.columns])
    table[EVERYBODY] = everybody.reindex(table.index)
    axes = [short(theme) for theme in themes]
    figure = go.Figure()
    for place, name in enumerate(table.columns):
        values, ours = table[name].tolist(), name == EVERYBODY
        colour = LIGHT[-1] if ours else COLOURS[place % len(COLOURS)]
        figure.add_trace(
            go.Scatterpolar(
                r=[*values, *values[:1]], theta=[*axes, *axes[:1]], name=plain(str(name)), mode="lines+markers",
                line={"color": colour, "dash": "dash" if ours else "solid", "width": 2.5}, marker={"size": 6},
                fill="none" if ours else "toself", opacity=0.9,
                hovertemplate="%{theta}: %{r:.3f}<extra>" + plain(str(name)) + "</extra>",
            )
        )  # fmt: skip
    side = min(110, 14 + 6 * max(map(len, axes), default=0))  # pixels for the longest name beside the radar
    narrow = {"height": 380, "margin": {"l": side, "r": side, "t": 24, "b": 8}}
    figure.update_layout(
        height=460, dragmode=False, legend={"y": -0.12}, margin={"l": 60, "r": 60, "t": 40, "b": 20},
        meta={"narrow": narrow},
    )  # fmt: skip
    figure.update_polars(radialaxis={"angle": 90, "tickangle": 90, "nticks": 4, "rangemode": "tozero"})
    return Plot("theme-radar", "What characters speak about", _tell_radar(table), figure, table.reset_index())


def _tell_radar(table: pd.DataFrame) -> str:
    """The theme of each character that is most above everybody's."""
    told = []
    for name in table.columns.drop(EVERYBODY).tolist():
        at = int((table[name] - table[EVERYBODY]).to_numpy().argmax())
        here, all_ = table[name].tolist()[at], table[EVERYBODY].tolist()[at]
        told.append(f"{name} speaks more of {table.index.tolist()[at]} than the others ({here:.3f} against {all_:.3f})")
    return f"{'; '.join(told)}." if told else "No character is chosen."
