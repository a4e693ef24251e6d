"""A plot: a figure with its words and its numbers, so that it can be shown, saved, and read without seeing it.

plot = Plot("lines-by-episode", "Lines by episode", "Kit speaks most, in S01E03.", figure, table)
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd
    import plotly.graph_objects as go

DECIMALS = 6


@dataclass(frozen=True)
class Plot:
    """``name``: of saved files, and of clicks; unique on its page. ``summary``: what it shows, in sentences.

    ``table``: the numbers, as they are saved and read aloud. ``note``: how to read it. ``clickable``: a click on a
    point tells its ``customdata`` (see ``display.py``).
    """

    name: str
    title: str
    summary: str
    figure: go.Figure
    table: pd.DataFrame
    note: str = ""
    clickable: bool = False

    def spec(self) -> dict[str, Any]:
        """All that the browser needs, ready for JSON: traces and layout without a template, and the table."""
        drawn = json.loads(self.figure.to_json())
        drawn["layout"].pop("template", None)
        return {
            "name": self.name,
            "title": self.title,
            "data": drawn["data"],
            "layout": drawn["layout"],
            "columns": [str(name) for name in self.table.columns],
            "rows": [[_plain(cell) for cell in row] for row in self.table.itertuples(index=False, name=None)],
            "clickable": self.clickable,
        }


def _plain(cell: object) -> object:
    """A cell as JSON has it: None where there is nothing."""
    import pandas as pd

    if cell is None or cell is pd.NA or (isinstance(cell, float) and not math.isfinite(cell)):
        return None
    if isinstance(cell, float):
        return round(cell, DECIMALS)
    return cell.item() if hasattr(cell, "item") else cell
