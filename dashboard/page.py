"""The tabs of the dashboard, for the page of the app.

page = build_page(service, registry, family, more_tabs=[partial(lay_out_dashboard, settings, service.refresh_cast)])
app = build_app(page, settings, service, more_styles=STYLE_SHEETS, more_routes=ROUTES)
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from config import Settings
from dashboard.desk import Desk
from dashboard.display import STYLE_SHEET, add_plotly
from dashboard.network_frame import add_frame
from dashboard.pages.locations_tab import lay_out_locations
from dashboard.pages.network_tab import lay_out_network
from dashboard.pages.own_file import connect_bars, lay_out_own_file
from dashboard.pages.series_tab import lay_out_series
from dashboard.pages.themes_tab import lay_out_themes
from dashboard.source import Sources

STYLE_SHEETS = (STYLE_SHEET, Path(__file__).parent / "pages" / "dashboard.css")
TABS: dict[str, Callable[[Any, Desk], None]] = {
    "Series": lay_out_series, "Themes": lay_out_themes, "Network": lay_out_network, "Locations": lay_out_locations,
}  # fmt: skip
ROUTES = (add_plotly, add_frame)


def lay_out_dashboard(settings: Settings, changed: Callable[[], None] = lambda: None) -> None:
    """All tabs, inside ``with gr.Blocks(...)``. Nothing is read or computed before one of them is opened.

    ``changed``: called after a visitor has changed the cast of the series.
    """
    import gradio as gr

    desks: list[Desk] = []

    def forget(source: Any) -> None:  # when the visitor has gone
        desks[0].forget(source)

    desk = Desk(settings, Sources(settings.paths.data), gr.State(None, delete_callback=forget), changed)
    desks.append(desk)
    bars = []
    for title, lay_out in TABS.items():
        with gr.Tab(title) as tab:
            bars.append(lay_out_own_file(desk, title.lower()))
            lay_out(tab, desk)
    connect_bars(desk, bars)
