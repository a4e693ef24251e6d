"""The Chat tab: its layout, and which act belongs to which control. What happens is in acts/."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from character_chatbot.acts.talk import Talk
from character_chatbot.acts.visit import AUTOMATIC
from character_chatbot.chats.records import MOST_CHARACTERS
from character_chatbot.pages.transcript import EMPTY
from character_chatbot.pages.wiring import CHOICES, REPLIES, Parts, Wiring
from character_chatbot.service import DEFAULT_NAME, LONGEST_NAME_CHARACTERS

if TYPE_CHECKING:
    import gradio as gr

FOLDER = Path(__file__).parent
SCRIPT = FOLDER / "chat.js"
ACCESS = FOLDER / "access.js"
# Where the browser keeps its token and the conversation it has open. The key is sent to every browser: no secret.
BROWSER_KEY, BROWSER_CIPHER = "character-chat", "kept-by-browser-"
BUTTONS = (("stop", "Stop"), ("retry", "Retry"), ("continue", "Continue"), ("undo", "Undo"), ("redo", "Redo"))
KEYS = (
    ("Enter", "send"), ("Shift Enter", "new line"), ("Escape", "stop the reply"), ("↑", "edit your last message"),
    ("Alt R", "retry"), ("Alt C", "continue"), ("Alt Z", "undo"), ("Alt Y", "redo"), ("Alt ,", "previous alternative"),
    ("Alt .", "next alternative"), ("Alt T", "let them talk"), ("Alt N", "new conversation"),
)  # fmt: skip
# Saves a file that comes as JSON: nothing of it stays on the server.
DOWNLOAD = """watch('value', () => {
  if (!props.value) return;
  const file = JSON.parse(props.value), link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([file.text], {type: 'application/octet-stream'}));
  link.download = file.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
});"""


def lay_out_chat(page: gr.Blocks, tab: gr.Tab, talk: Talk, *, one_owner: bool) -> gr.BrowserState:
    """Fill the tab, and connect it; what the browser keeps of the visit.

    Args:
        page: whose loading begins the visit.
        tab: that the visitor comes back to.
        talk: what happens.
        one_owner: all who can reach the page own the same conversations.
    """
    import gradio as gr

    parts: Parts = {"visit": gr.BrowserState({}, storage_key=BROWSER_KEY, secret=BROWSER_CIPHER)}
    with gr.Row(elem_id="talk"):
        with gr.Column(scale=1, min_width=240, elem_id="side"):
            parts |= _lay_out_cast() | _lay_out_conversations()
        with gr.Column(scale=3, min_width=280, elem_id="stage"):
            parts |= _lay_out_stage()
    parts["download"] = gr.HTML("", html_template="", js_on_load=DOWNLOAD)
    wiring = Wiring(parts, one_owner=one_owner)
    wiring.bind(page.load, talk.open)
    wiring.bind(tab.select, talk.meet)
    _connect(parts, talk, wiring)
    visit: gr.BrowserState = parts["visit"]
    return visit


def _lay_out_cast() -> Parts:
    import gradio as gr

    return {
        "characters": gr.Radio([], label="Talk to", elem_id="characters"),
        "scene": gr.Dropdown(
            [], label="In the scene, one to four", multiselect=True, max_choices=MOST_CHARACTERS, value=[],
            elem_id="scene",
        ),
    }  # fmt: skip


def _lay_out_conversations() -> Parts:
    import gradio as gr

    gr.HTML(
        '<button id="toggle" data-toggle aria-expanded="false" aria-controls="panel">Conversations and scene</button>',
        js_on_load=None,
        elem_id="toggle-row",
    )
    with gr.Column(elem_id="panel"):
        new = gr.Button("New conversation", elem_id="new")
        search = gr.Textbox(
            label="Find in conversations", placeholder="A word or a name", max_lines=1, elem_id="search"
        )
        listed = gr.HTML(js_on_load=_script(), elem_id="conversations")
    return {"new": new, "search": search, "conversations": listed}


def _lay_out_stage() -> Parts:
    import gradio as gr

    parts: Parts = {"speaking": gr.HTML(js_on_load=None), "banner": gr.HTML(js_on_load=None)}
    with gr.Column(elem_id="chat"):
        parts["transcript"] = gr.HTML(EMPTY, js_on_load=_script(), elem_id="transcript")
        parts["live"] = gr.HTML(js_on_load=None, elem_id="live")
    parts["notice"] = gr.HTML(js_on_load=None, elem_id="notice")
    with gr.Row(visible=False, elem_id="talk-row") as parts["talk_row"]:
        parts["next"] = gr.Dropdown([AUTOMATIC], value=AUTOMATIC, label="Who speaks next", elem_id="next")
        parts["talk"] = gr.Button("Let them talk", elem_id="let-talk", interactive=False)
    parts["box"] = gr.Textbox(
        label="Your message", lines=1, max_lines=6, autofocus=True, elem_id="box", placeholder="Say something…"
    )
    with gr.Row(elem_id="buttons"):
        parts["send"] = gr.Button("Send", variant="primary", elem_id="send")
        for name, label in BUTTONS:
            parts[name] = gr.Button(label, interactive=False, elem_id=name)
    with gr.Row(elem_id="below"):
        parts["name"] = gr.Textbox(
            DEFAULT_NAME, label="You speak as", max_length=LONGEST_NAME_CHARACTERS, max_lines=1, elem_id="name"
        )
        gr.HTML(_keys(), js_on_load=ACCESS.read_text(encoding="utf-8"), elem_id="keys")
    return parts


def _keys() -> str:
    rows = "".join(
        f"<div><dt>{' '.join(f'<kbd>{key}</kbd>' for key in keys.split())}</dt><dd>{what}</dd></div>"
        for keys, what in KEYS
    )
    return f"<details><summary>Keyboard</summary><dl>{rows}</dl></details>"


def _script() -> str:
    return SCRIPT.read_text(encoding="utf-8")


def _connect(parts: Parts, talk: Talk, wiring: Wiring) -> None:
    for event in (parts["send"].click, parts["box"].submit):
        wiring.bind(event, talk.send, "box", trigger_mode="once", **REPLIES)
    for name, act in (("retry", talk.retry), ("continue", talk.go_on), ("talk", talk.let_talk)):
        wiring.bind(parts[name].click, act, trigger_mode="once", **REPLIES)
    acts: tuple[tuple[Any, Any], ...] = (
        (parts["stop"].click, talk.stop), (parts["undo"].click, talk.undo), (parts["redo"].click, talk.redo),
        (parts["new"].click, talk.new),
    )  # fmt: skip
    for event, act in acts:
        wiring.bind(event, act)
    # Who is picked stands alone in the scene at once: who clicks there before the server has answered adds to that.
    parts["characters"].input(
        None, [parts["characters"]], [parts["scene"]], js="name => [[name]]", preprocess=False, api_visibility="private"
    )
    # By default gradio leaves out what is chosen while the last choice is on its way. One queue keeps their order.
    wiring.bind(parts["characters"].input, talk.pick, trigger_mode="multiple", **CHOICES)
    wiring.bind(parts["scene"].input, talk.gather, trigger_mode="always_last", **CHOICES)
    wiring.bind(parts["search"].change, talk.search, trigger_mode="always_last")
    wiring.bind_press(parts["transcript"].speak, talk.press, **REPLIES)
    wiring.bind_press(parts["transcript"].act, talk.press)
    wiring.bind_press(parts["conversations"].act, talk.press)
