"""What all tabs of the dashboard share: the settings, what is analysed, and how an analysis gets onto the page."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from character_chatbot import markup
from config import Settings
from dashboard.computing import Analyses, Done, Progress, Step
from dashboard.source import AnalysisSource, Sources
from utils.errors import SuiteError

if TYPE_CHECKING:
    import gradio as gr

logger = logging.getLogger(__name__)

FAILED = "This analysis failed, which is a fault of the program and not yours: the log of the server says where."


@dataclass(frozen=True)
class Desk:
    """``chosen``: a gr.State with the AnalysisSource that the visitor has uploaded; None: the app's own series.

    ``changed``: called after a visitor has changed the cast of the app's series.
    """

    settings: Settings
    sources: Sources
    chosen: gr.State
    changed: Callable[[], None] = lambda: None
    _of_visitors: list[Analyses[Any]] = field(default_factory=list)  # that have analysed uploads

    def forget(self, source: AnalysisSource | None) -> None:
        """Keep nothing of what a visitor has uploaded."""
        if source is not None:
            for analyses in self._of_visitors:
                analyses.forget(source.key)

    async def analyse(
        self,
        analyses: Analyses[Any],
        chosen: AnalysisSource | None,
        name: Callable[[AnalysisSource], str],
        work: Callable[[AnalysisSource, Progress], Any],
    ) -> AsyncGenerator[str | Done[Any], None]:
        """HTML about how it goes, and at the end the result; where it fails, HTML that says why, and no result.

        Args:
            analyses: where it runs, and where results are kept.
            chosen: what the visitor analyses.
            name: the key of the result: of the source (``source.key``) and of all settings that change it.
            work: from the source to the result, in a thread.
        """
        if chosen is not None and analyses not in self._of_visitors:
            self._of_visitors.append(analyses)
        try:
            source = await asyncio.to_thread(self.sources.read, chosen)
            owner = "" if chosen is None else source.key
            async for step in analyses.follow(name(source), lambda progress: work(source, progress), owner):
                yield progress_block(step) if isinstance(step, Step) else step
        except SuiteError as error:
            yield markup.problem_block(str(error))
        except Exception:
            logger.exception("an analysis failed")
            yield markup.problem_block(FAILED)


def progress_block(step: Step) -> str:
    """How far an analysis is, for eyes and ears; nothing of it is from a visitor."""
    if step.waits:
        return markup.hint(f"Waiting for another analysis to end, {step.seconds:.0f} s…")
    if not step.total:
        return f'<p class="hint" role="status">Working, {step.seconds:.0f} s…</p>'
    left = step.seconds / step.done * (step.total - step.done) if step.done else 0.0
    rest = f", about {left:.0f} s left" if step.done else ""
    told = f"{step.done:,} of {step.total:,} after {step.seconds:.0f} s{rest}"
    return (
        f'<p class="hint analysis-progress" role="status"><progress value="{step.done}" max="{step.total}"></progress>'
        f" {told}</p>"
    )
