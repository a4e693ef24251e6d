"""Figures of the Series page: who speaks how much, in which episodes, with which words, in which scenes."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from dashboard.figures.texts import plain, short, wrap
from dashboard.look import LIGHT_GROUND
from dashboard.plot import Plot
from dashboard.statistics.speech import episode_code
from utils.palette import LIGHT

ROW_PIXELS, FRAME_PIXELS = 24, 110
SHOWN_WORDS = 15


def row_height(rows: int) -> int:
    """Pixels of a figure with so many rows."""
    return FRAME_PIXELS + ROW_PIXELS * max(rows, 3)


def plot_lines_by_episode(by_episode: pd.DataFrame, cast: pd.DataFrame, most: int) -> Plot:
    """A heat map: lines of each speaker in each episode.

    Args:
        by_episode: as ``speech.count_by_episode`` gives it.
        cast: as ``speech.build_cast_table`` gives it; its order is that of the rows.
        most: speakers shown.
    """
    import plotly.graph_objects as go

    places = by_episode[["season", "episode"]].drop_duplicates().sort_values(["season", "episode"])
    codes = [episode_code(*row) for row in places.itertuples(index=False, name=None)]
    names = cast["speaker"].head(most).tolist()
    lines = by_episode.pivot_table(index="speaker", columns=["season", "episode"], values="lines", fill_value=0)
    lines = lines.reindex(index=names, columns=pd.MultiIndex.from_frame(places), fill_value=0).astype(int)
    figure = go.Figure(
        go.Heatmap(
            z=lines.to_numpy(), x=codes, y=[short(name) for name in names], customdata=_repeat(names, len(codes)),
            hovertemplate="%{customdata}<br>%{x}: %{z} lines<extra></extra>", colorbar={"title": {"text": "lines"}},
        )
    )  # fmt: skip
    figure.update_layout(height=row_height(len(names)), dragmode=False)
    figure.update_xaxes(title="episode", type="category", showgrid=False)
    figure.update_yaxes(title="", type="category", autorange="reversed", showgrid=False)
    table = lines.set_axis(codes, axis=1).rename_axis("speaker").reset_index()
    return Plot("lines-by-episode", "Lines by character and episode", _tell_peak(lines, codes), figure, table)


def _tell_peak(lines: pd.DataFrame, codes: Sequence[str]) -> str:
    if lines.empty:
        return "Nobody speaks."
    at = int(lines.to_numpy().argmax())
    row, column = divmod(at, len(codes))
    everywhere = [str(name) for name, said in zip(lines.index, lines.to_numpy(), strict=True) if said.all()]
    most = int(lines.to_numpy().max())
    told = f"{lines.index.tolist()[row]} has the most lines in one episode: {most} in {codes[column]}."
    if not everywhere or len(codes) < 2:
        return told
    named = ", ".join(everywhere[:4]) + (f" and {len(everywhere) - 4} more" if len(everywhere) > 4 else "")
    return f"{told} In all {len(codes)} episodes: {named}."


def _repeat(names: Sequence[str], times: int) -> list[list[str]]:
    return [[plain(name)] * times for name in names]


def plot_speech_shares(cast: pd.DataFrame, where: str, most: int) -> Plot:
    """Bars: the share of all words that each speaker has. ``cast``: as ``speech.build_cast_table`` gives it."""
    import plotly.graph_objects as go

    shown = cast.head(most)
    percent = 100 * shown["share"]
    figure = go.Figure(
        go.Bar(
            x=percent, y=[short(name) for name in shown["speaker"]], orientation="h", marker={"color": LIGHT[0]},
            customdata=[[plain(row["speaker"]), row["words"], row["lines"]] for row in shown.to_dict("records")],
            text=[f"{value:.1f} %" for value in percent], textposition="outside", cliponaxis=False,
            hovertemplate="%{customdata[0]}: %{x:.1f} % of the words<br>%{customdata[1]:,} words in %{customdata[2]:,}"
            " lines<extra></extra>",
        )
    )  # fmt: skip
    figure.update_layout(height=row_height(len(shown)), dragmode=False, bargap=0.25)
    figure.update_xaxes(title="share of the words, %", range=[0, 1.25 * max(percent.max() if len(shown) else 1, 1)])
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    first = cast.head(3)["share"].sum()
    told = "Nobody speaks."
    if len(cast):
        named = ", ".join(f"{row['speaker']} {100 * row['share']:.1f} %" for row in cast.head(3).to_dict("records"))
        told = f"{where}: {named}. The first {min(3, len(cast))} of {len(cast)} have {100 * first:.0f} % of the words."
    return Plot("speech-shares", "Speech shares", told, figure, cast)


def plot_marking_words(words: pd.DataFrame, speaker: str, note: str) -> Plot:
    """Bars: the words that mark a speaker most. ``words``: as ``vocabulary.mark_words`` gives it."""
    import plotly.graph_objects as go

    shown = words[words["z"] > 0].head(SHOWN_WORDS)
    figure = go.Figure(
        go.Bar(
            x=shown["z"], y=shown["word"], orientation="h", marker={"color": LIGHT[2]},
            customdata=shown[["count", "others", "per_thousand", "others_per_thousand"]].to_numpy().tolist(),
            hovertemplate="<b>%{y}</b>, z = %{x:.2f}<br>said %{customdata[0]} times, by others %{customdata[1]} times"
            "<br>per 1,000 words: %{customdata[2]:.1f} and %{customdata[3]:.1f}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_layout(height=row_height(len(shown)), dragmode=False, bargap=0.25)
    figure.update_xaxes(title="z-score of the log-odds ratio", rangemode="tozero")
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    figure.add_vline(x=1.96, line={"dash": "dot", "width": 1, "color": LIGHT_GROUND.soft})
    named = ", ".join(shown["word"].head(6))
    told = f"{speaker} says more than all others: {named}." if named else f"No word marks {speaker}: too few are said."
    return Plot("marking-words", f"Words that mark {speaker}", told, figure, words, note)


def plot_longest_scenes(scenes: pd.DataFrame, note: str) -> Plot:
    """Bars: the longest scenes. ``scenes``: as ``speech.find_longest_scenes`` gives it."""
    import plotly.graph_objects as go

    rows = scenes.to_dict("records")
    labels = [f"{episode_code(row['season'], row['episode'])}, scene {row['scene']}" for row in rows]
    hover = [[row["lines"], wrap(row["speakers"]), wrap(row["begins"][:160])] for row in rows]
    figure = go.Figure(
        go.Bar(
            x=scenes["words"], y=labels, orientation="h", marker={"color": LIGHT[1]}, customdata=hover,
            hovertemplate="%{y}: %{x:,} words in %{customdata[0]} lines<br>%{customdata[1]}<br><i>%{customdata[2]}</i>"
            "<extra></extra>",
        )
    )  # fmt: skip
    figure.update_layout(height=row_height(len(scenes)), dragmode=False, bargap=0.25)
    figure.update_xaxes(title="words")
    figure.update_yaxes(type="category", autorange="reversed", showgrid=False)
    told = "There are no scenes."
    if len(scenes):
        first = scenes.iloc[0]
        told = (
            f"The longest is {labels[0]}: {first['words']:,} words in {first['lines']} lines, by {first['speakers']}."
        )
    return Plot("longest-scenes", "Longest scenes", told, figure, scenes, note)
