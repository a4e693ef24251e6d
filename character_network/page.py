"""The interactive page of a network: one file, which works without a network connection.

    write_page(network, Path("results/network/network.html"))

pyvis makes the nodes and brings vis-network; the page around them is ours, as pyvis' own loads Bootstrap from
elsewhere. Places are computed beforehand and nothing moves by itself, so a thousand people stay usable.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from character_network.layout import build_layout
from character_network.page_ties import PageTies, choose_page_ties, count_strengths
from character_network.ties import KINDS
from utils.palette import DARK, LIGHT

if TYPE_CHECKING:
    import pandas as pd

    from character_network.network import Episode, Network

HERE = Path(__file__).resolve().parent
VIS = "templates/lib/vis-9.1.2"
SMALLEST, LARGEST = 7, 27  # a circle's radius and what strength adds to it, as in page.js
OPTIONS: dict[str, dict[str, Any]] = {
    "physics": {"enabled": False},
    "layout": {"improvedLayout": False},
    "edges": {"smooth": False, "selectionWidth": 2},
    "interaction": {"hover": True, "tooltipDelay": 120, "hideEdgesOnDrag": False, "zoomSpeed": 0.6},
}
SOURCE_MAP = re.compile(r"^//# sourceMappingURL=.*$", re.MULTILINE)
MANY_TIES = 1500  # from which edges are hidden while the picture is moved


def write_page(network: Network, file: Path) -> Path:
    """Write the page to a file."""
    file.write_text(build_page(network), encoding="utf-8")
    return file


def build_page(network: Network) -> str:
    """The page as HTML, with everything it needs inside."""
    return render_page(network.title, build_page_data(network))


def render_page(title: str, data: object) -> str:
    """The page around any data: see ``build_page_data``."""
    from jinja2 import Environment
    from markupsafe import Markup

    parts = {
        name: Markup((HERE / file).read_text(encoding="utf-8"))  # noqa: S704 (our own files)
        for name, file in (("style", "page.css"), ("labels", "labels.js"), ("script", "page.js"))
    }
    template = Environment(autoescape=True).from_string((HERE / "page.html").read_text(encoding="utf-8"))
    vis = {name: Markup(text) for name, text in _vis_files().items()}  # noqa: S704 (of the pinned package)
    return template.render(title=title, data=data, **parts, **vis)


@cache
def _vis_files() -> dict[str, str]:
    folder = files("pyvis") / VIS
    script = (folder / "vis-network.min.js").read_text(encoding="utf-8")
    # A comment names a map of the source: a browser would ask for it when its tools are open.
    script = SOURCE_MAP.sub("", script)
    return {"vis_script": script, "vis_style": (folder / "vis-network.css").read_text(encoding="utf-8")}


def build_page_data(network: Network) -> dict[str, object]:
    """What page.js draws (see there), ready for JSON."""
    from pyvis.network import Network as VisNetwork

    index = {name: at for at, name in enumerate(network.people["person"])}
    episodes = {place: at for at, place in enumerate(network.episodes)}
    places = build_layout(network.graph, radii(network), network.settings.seed)
    drawn = VisNetwork()
    for name, at in index.items():
        values = network.graph.nodes[name]
        x, y = places[name]
        measured = {key: round(float(values[key]), 5) for key in ("betweenness", "pagerank")}
        drawn.add_node(at, label=name, x=round(x, 1), y=round(y, 1), lines=values["lines"], **measured)
        drawn.get_node(at)["community"] = int(values["community"])
    chosen = choose_page_ties(network)
    return {
        "people": drawn.nodes,
        "ties": _tie_rows(chosen.ties, index, episodes),
        **({} if chosen.is_whole else _told_of_all(network, chosen, index, episodes)),
        "episodes": network.episodes,
        "weights": network.weights,
        "shown": network.settings.shown_people,
        "options": options(len(network.pairs)),
        "palettes": {"light": LIGHT, "dark": DARK},
        "note": f"{scene_note(network)} {chosen.note}".strip(),
    }


def _tie_rows(ties: pd.DataFrame, index: dict[str, int], episodes: dict[Episode, int]) -> list[list[int]]:
    columns = (ties[column].tolist() for column in ("kind", "source", "target", "season", "episode", "count"))
    return [
        [KINDS.index(k), index[a], index[b], episodes[s, e], count]
        for k, a, b, s, e, count in zip(*columns, strict=True)
    ]


def _told_of_all(
    network: Network, chosen: PageTies, index: dict[str, int], episodes: dict[Episode, int]
) -> dict[str, object]:
    """What the page cannot count itself, where it carries some of the ties only."""
    found = count_strengths(network.ties[network.ties["source"].isin(index) & network.ties["target"].isin(index)])
    columns = (found[column].tolist() for column in ("kind", "person", "season", "episode", "count"))
    rows = zip(*columns, strict=True)
    return {
        "strengths": [[KINDS.index(kind), index[who], episodes[s, e], count] for kind, who, s, e, count in rows],
        "carried": {"pairs": chosen.pairs, "all": chosen.all_pairs},
    }


def options(ties: int) -> dict[str, object]:
    """Options of vis-network for so many ties."""
    return OPTIONS | {"interaction": OPTIONS["interaction"] | {"hideEdgesOnDrag": ties > MANY_TIES}}


def radii(network: Network) -> dict[str, float]:
    """The radius of each person's circle, as page.js has it for the whole series."""
    strongest = max(1.0, float(network.people["strength"].max())) if len(network.people) else 1.0
    shares = zip(network.people["person"], network.people["strength"] / strongest, strict=True)
    return {name: SMALLEST + LARGEST * float(share) ** 0.5 for name, share in shares}


def scene_note(network: Network) -> str:
    """Where the scenes come from; and that betweenness is an estimate, where it is."""
    estimate = network.graph.graph.get("betweenness", "")
    return f"{_scene_source(network)} {estimate}".strip()


def _scene_source(network: Network) -> str:
    found = len(network.episodes) - len(network.marked)
    if not found:
        return "Scenes are those of the files."
    where = "all episodes" if not network.marked else f"{found} of {len(network.episodes)} episodes"
    return f"In {where} scenes were found by cast change and word cohesion."
