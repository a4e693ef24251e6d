"""A button that gives the visitor a file without leaving one on the server.

The server's answer goes into a hidden box as base64, and the browser makes a file of it. So nobody else can fetch it,
and nothing has to be cleaned up.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from character_chatbot import markup
from utils.errors import SuiteError

if TYPE_CHECKING:
    import gradio as gr

SAVE = """(sent) => {
  if (!sent) return "";
  const file = JSON.parse(sent), bytes = Uint8Array.from(atob(file.content), (sign) => sign.charCodeAt(0));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([bytes], {type: "application/octet-stream"}));
  link.download = file.name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  return "";
}"""


def connect_download(
    button: gr.Button, notice: gr.HTML, make: Callable[..., tuple[str, bytes]], inputs: Sequence[Any]
) -> None:
    """Let ``button`` save what ``make`` gives: a file name and the content. An error of ours goes into ``notice``."""
    import gradio as gr

    sent = gr.Textbox(visible=False)

    def answer(*values: Any) -> tuple[str, str]:
        try:
            name, content = make(*values)
        except SuiteError as error:
            return "", markup.problem_block(str(error))
        return json.dumps({"name": name, "content": base64.b64encode(content).decode()}), ""

    private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    click = button.click(answer, inputs=list(inputs), outputs=[sent, notice], **private)
    click.then(None, inputs=[sent], outputs=[sent], js=SAVE, **private)
