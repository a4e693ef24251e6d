"""The Network tab: who belongs with whom, who is central when, how relations change, and names to accept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from character_chatbot import markup
from character_chatbot.editing.cast_editor import may_edit
from character_chatbot.pages.downloads import connect_download
from character_chatbot.pages.tool_blocks import done_line
from dashboard.computing import Analyses, Progress
from dashboard.desk import Desk
from dashboard.display import plot_block, plot_board
from dashboard.figures import network as figures
from dashboard.network_frame import frame_block, network_board
from dashboard.pages import network_blocks as blocks
from dashboard.pages.network_view import FILES, Networks, NetworkView, name_key, save_network, weigh_settings
from dashboard.source import AnalysisSource
from utils.errors import DataError, SuiteError, UsageError

if TYPE_CHECKING:
    import gradio as gr

    from character_network.acceptance import Acceptance

TIMES = {"Seasons": "season", "Episodes": "episode"}
LARGEST_WEIGHT = 5.0
NEW = "a new character"
OPEN_FIRST = "Open the tab again first: this network is not at hand any more."
PARTS = ("notice", "shown", "method", "frame", "people", "central", "first", "second", "pair", "times", "relations",
         "names_hint", "names", "name", "owner", "accept", "undo", "undone")  # fmt: skip

View = dict[str, Any]
Pair = tuple[str | None, str | None]


class NetworkTab:
    """What happens on the tab. Each act gives views: values or updates by the name of a part."""

    def __init__(self, desk: Desk) -> None:
        self._desk, self._settings = desk, desk.settings
        self._analyses: Analyses[NetworkView] = Analyses(desk.settings.dashboard.kept_results)
        self._networks = Networks(desk.settings.dashboard.kept_results)
        self._may_edit = may_edit(desk.settings)

    async def show(
        self, chosen: AnalysisSource | None, weights: Sequence[float], shown: str, pair: Pair, times: str
    ) -> AsyncGenerator[View, None]:
        """The whole tab: progress, an error, or all parts; nothing new where ``shown`` is what is to be shown."""
        settings = weigh_settings(self._settings.network, weights)

        def name(source: AnalysisSource) -> str:
            return f"{name_key(source)}/{settings}"

        def work(source: AnalysisSource, progress: Progress) -> NetworkView:
            return self._networks.build_view(source, settings, progress)

        async with aclosing(self._desk.analyse(self._analyses, chosen, name, work)) as steps:
            async for step in steps:
                if isinstance(step, str):
                    yield {"notice": step}
                elif (key := name(step.result.source)) == shown:
                    yield {"notice": ""}
                else:
                    yield await asyncio.to_thread(self._show, step.result, key, pair, times)

    def _show(self, view: NetworkView, key: str, pair: Pair, times: str) -> View:
        return {
            "notice": "",
            "shown": key,
            "method": blocks.method_block(view),
            "frame": frame_block(view.page_data, view.network.title),
            "people": blocks.people_block(view.network.people),
            "central": plot_block(figures.plot_central(view.central)),
            "times": _times_of(view, times),
            "relations": draw_relations(view, times),
            **show_pair(view, *pair),
            **self._show_names(view),
        }

    def _show_names(self, view: NetworkView) -> View:
        import gradio as gr

        is_allowed = self._may_edit and view.source.folder is not None
        suggested = view.network.suggestions
        choices = [each.name for each in suggested]
        hint = blocks.NOT_ALLOWED if view.source.folder is not None else blocks.OF_UPLOAD
        shown = is_allowed and bool(choices)
        return {
            "names_hint": "" if is_allowed or not choices else markup.hint(hint),
            "names": blocks.suggestions_block(suggested, is_allowed),
            "name": gr.update(choices=choices, value=choices[0] if choices else None, visible=shown),
            "owner": gr.update(choices=[NEW, *sorted(view.names)], value=NEW, visible=shown),
            "accept": gr.update(visible=shown),
        }

    def kept(self, shown: str) -> NetworkView:
        """The network that the visitor looks at. Raises DataError: it is not kept any more."""
        found = self._analyses.get(shown)
        if found is None:
            raise DataError(OPEN_FIRST)
        return found.result

    def pick_pair(self, shown: str, first: str | None, second: str | None) -> View:
        """Another pair."""
        return {"notice": "", **show_pair(self.kept(shown), first, second)}

    def pick_times(self, shown: str, times: str) -> View:
        """By season or by episode."""
        return {"notice": "", "relations": draw_relations(self.kept(shown), times)}

    def accept(self, name: object, owner: object, done: list[Acceptance]) -> View:
        """Write a name into characters.jsonl: as an alias of ``owner``, or as somebody new where that is empty."""
        from character_network.acceptance import accept_suggestion

        self._check_allowed()
        if not isinstance(name, str) or not isinstance(owner, str) or not name:
            raise UsageError("choose a name first.")
        accepted = accept_suggestion(self._settings.paths.data, name, as_alias_of=owner, as_new=not owner)
        self._desk.changed()
        what = "a character of their own" if accepted.is_new else accepted.character.name
        return self._after(f"{name} is {what} now.", [*done, accepted])

    def undo(self, done: list[Acceptance]) -> View:
        """Take the last name back."""
        from character_network.acceptance import undo_acceptance

        self._check_allowed()
        if not done:
            raise UsageError("there is nothing to take back.")
        undo_acceptance(done[-1])
        self._desk.changed()
        return self._after(f"{done[-1].name} is taken back.", done[:-1])

    def _after(self, told: str, done: list[Acceptance]) -> View:
        import gradio as gr

        label = f"Undo: {done[-1].name}" if done else "Undo"
        return {"undone": done, "undo": gr.update(value=label, visible=bool(done)), "names_hint": done_line(told)}

    def _check_allowed(self) -> None:
        if not self._may_edit:
            raise UsageError("names are not accepted on this page.", instead=blocks.NOT_ALLOWED)

    def save(self, shown: str, label: str) -> tuple[str, bytes]:
        """One of the files. Raises SuiteError."""
        return save_network(self.kept(shown), label)


def show_pair(view: NetworkView, first: str | None, second: str | None) -> View:
    """Both dropdowns and the timeline; the strongest pair where nobody is chosen."""
    import gradio as gr

    names, pairs = view.names, view.network.pairs
    if first not in names or second not in names or first == second:
        first, second = pairs[["source", "target"]].to_numpy()[0].tolist() if len(pairs) else (None, None)
    ordered = sorted(names, key=str.casefold)
    plot = markup.hint("Nobody here speaks with anybody by name, so there is no pair to look at.")
    if first and second:
        plot = plot_block(figures.plot_pair(view.network.timeline(first, second), first, second))
    return {
        "first": gr.update(choices=ordered, value=first, visible=bool(first)),
        "second": gr.update(choices=ordered, value=second, visible=bool(first)),
        "pair": plot,
    }


def draw_relations(view: NetworkView, times: str) -> str:
    """How relations change."""
    by = TIMES.get(times, "season")
    if by == "season" and _seasons(view) < 2:
        by = "episode"
    changes = view.network.changes(by)
    return plot_block(figures.plot_relations(changes, by)) if len(changes) else markup.hint("There are no relations.")


def _seasons(view: NetworkView) -> int:
    return len({season for season, _ in view.network.episodes})


def _times_of(view: NetworkView, times: str) -> Any:
    import gradio as gr

    return gr.update(value=times, visible=_seasons(view) > 1)


def lay_out_network(tab: gr.Tab, desk: Desk) -> None:
    """Fill the tab; it computes when it is opened."""
    import gradio as gr

    parts: dict[str, Any] = {"shown": gr.State(""), "undone": gr.State([])}
    parts["notice"] = gr.HTML(js_on_load=None, elem_id="network-notice")
    parts["method"] = gr.HTML(js_on_load=None, elem_id="network-method")
    weights = _lay_out_weights(desk)
    parts["frame"] = network_board(elem_id="network-frame")
    with gr.Row(elem_classes="side-by-side"):
        with gr.Column(min_width=320):
            parts["people"] = gr.HTML(js_on_load=None, elem_id="network-people")
        with gr.Column(min_width=320):
            parts["central"] = plot_board(elem_id="network-central")
    with gr.Row(elem_classes="tool-bar"):
        parts["first"] = gr.Dropdown([], label="One", visible=False, elem_id="network-first", min_width=160)
        parts["second"] = gr.Dropdown([], label="Other", visible=False, elem_id="network-second", min_width=160)
    parts["pair"] = plot_board(elem_id="network-pair")
    parts["times"] = gr.Radio(
        list(TIMES), value="Seasons", label="Relations by", visible=False, elem_id="network-times"
    )
    parts["relations"] = plot_board(elem_id="network-relations")
    _lay_out_names(parts)
    acts = NetworkTab(desk)
    with gr.Row(elem_classes="tool-bar"):
        file = gr.Dropdown(list(FILES), value=next(iter(FILES)), label="Save", elem_id="network-file", min_width=220)
        save = gr.Button("Download", elem_id="network-save", min_width=120)
    connect_download(save, parts["notice"], acts.save, [parts["shown"], file])
    _connect(tab, desk, parts, weights, acts)


def _lay_out_weights(desk: Desk) -> list[Any]:
    import gradio as gr

    chosen = desk.settings.network
    kinds = {"A turn after another's": chosen.speaks_weight, "A scene together": chosen.together_weight,
             "A name that is said": chosen.mentions_weight}  # fmt: skip
    with gr.Accordion("What counts how much", open=False, elem_id="network-weights"), gr.Row(elem_classes="tool-bar"):
        return [
            gr.Slider(0, max(LARGEST_WEIGHT, value), value=value, step=0.5, label=label, min_width=200,
                      elem_id=f"network-weight-{at}")
            for at, (label, value) in enumerate(kinds.items())
        ]  # fmt: skip


def _lay_out_names(parts: dict[str, Any]) -> None:
    import gradio as gr

    with gr.Accordion("Names that belong to nobody yet", open=True, elem_id="network-suggestions"):
        with gr.Row(elem_classes="tool-bar"):
            parts["name"] = gr.Dropdown([], label="Name", visible=False, elem_id="network-name", min_width=160)
            parts["owner"] = gr.Dropdown([NEW], value=NEW, label="is", visible=False, elem_id="network-owner",
                                         min_width=160)  # fmt: skip
            parts["accept"] = gr.Button("Accept", visible=False, elem_id="network-accept", min_width=110)
            parts["undo"] = gr.Button("Undo", visible=False, elem_id="network-undo", min_width=110)
        parts["names_hint"] = gr.HTML(js_on_load=None, elem_id="network-names-hint")
        parts["names"] = plot_board(elem_id="network-names")


def _connect(tab: gr.Tab, desk: Desk, parts: dict[str, Any], weights: list[Any], acts: NetworkTab) -> None:
    import gradio as gr

    options: dict[str, Any] = {
        "outputs": [parts[name] for name in PARTS], "api_visibility": "private", "show_progress": "hidden",
    }  # fmt: skip
    whole = [desk.chosen, *weights, parts["shown"], parts["first"], parts["second"], parts["times"]]

    async def show(chosen: Any, *values: Any) -> AsyncGenerator[View, None]:
        *counted, shown, first, second, times = values
        async with aclosing(acts.show(chosen, counted, shown, (first, second), times)) as views:
            async for view in views:
                yield _by_part(parts, view)

    def told(act: Callable[..., View]) -> Any:
        async def run(*values: Any) -> View:
            try:
                view = await asyncio.to_thread(act, *values)
            except SuiteError as error:
                view = {"notice": markup.problem_block(str(error))}
            return _by_part(parts, view)

        return run

    def frame_pick(clicked: Any, shown: str) -> View:
        return acts.pick_pair(shown, *_pair_in(clicked, "pair"))

    def plot_pick(clicked: Any, shown: str) -> View:
        return acts.pick_pair(shown, *_pair_in(clicked, "point"))

    def name_pick(clicked: Any, done: list[Any]) -> View:
        return acts.accept(clicked.get("accept"), clicked.get("alias_of"), done)

    gr.on([tab.select, desk.chosen.change, *(each.input for each in weights)], show, inputs=whole,
          trigger_mode="always_last", **options)  # fmt: skip
    gr.on([parts["first"].input, parts["second"].input], told(acts.pick_pair),
          inputs=[parts["shown"], parts["first"], parts["second"]], **options)  # fmt: skip
    parts["times"].input(told(acts.pick_times), inputs=[parts["shown"], parts["times"]], **options)
    parts["frame"].pick(_clicked(told(frame_pick)), inputs=[parts["shown"]], **options)
    parts["relations"].pick(_clicked(told(plot_pick)), inputs=[parts["shown"]], **options)
    accepted = [
        parts["names"].pick(_clicked(told(name_pick)), inputs=[parts["undone"]], **options),
        parts["accept"].click(told(lambda name, owner, done: acts.accept(name, "" if owner == NEW else owner, done)),
                              inputs=[parts["name"], parts["owner"], parts["undone"]], **options),
        parts["undo"].click(told(acts.undo), inputs=[parts["undone"]], **options),
    ]  # fmt: skip
    for event in accepted:
        event.then(_keeping_hint(show, parts), inputs=whole, **options)


def _by_part(parts: dict[str, Any], view: View) -> View:
    return {parts[name]: new for name, new in view.items()}


def _keeping_hint(show: Any, parts: dict[str, Any]) -> Any:
    """Show everything anew but for what was just said: about a name, or why that could not be."""

    async def run(*values: Any) -> AsyncGenerator[View, None]:
        async for view in show(*values):
            if left := {part: new for part, new in view.items() if part not in (parts["names_hint"], parts["notice"])}:
                yield left  # gradio takes no empty dict

    return run


def _clicked(act: Any) -> Any:
    """An act that is given what was clicked, as a plain dict, before its one input."""
    import gradio as gr

    async def run(value: Any, event: Any) -> View:
        found: View = await act(event._data if isinstance(event._data, dict) else {}, value)
        return found

    run.__annotations__ = {"event": gr.EventData}
    return run


def _pair_in(clicked: dict[str, Any], key: str) -> Pair:
    """The first two names of what was clicked."""
    found = clicked.get(key)
    if not isinstance(found, list) or len(found) < 2 or not all(isinstance(name, str) for name in found[:2]):
        return None, None
    return found[0], found[1]
