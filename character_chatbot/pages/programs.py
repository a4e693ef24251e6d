"""What programs can call by Gradio's own API, and agents by the Model Context Protocol (``gradio_app.py --mcp``).

    from gradio_client import Client
    Client("http://127.0.0.1:7860").predict("Pip", "What is that light?", "Visitor", api_name="/say")

Neither keeps a conversation; character_chatbot/api is the richer way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from character_chatbot.engines.base import build_sampling
from character_chatbot.prompts import Turn
from config import SuiteError

if TYPE_CHECKING:
    from character_chatbot.service import Service

CALLS_AT_ONCE = 4
LONGEST_SECONDS = 300.0


def offer_calls(service: Service) -> None:
    """Let programs call ``/characters`` and ``/say``; within the page's blocks."""
    import gradio as gr

    def characters() -> list[str]:
        """The names of the characters that one can talk to."""
        return list(service.characters)

    def say(character: str, message: str, speaker: str = "Visitor") -> str:
        """Say something to a character of the series, and get the reply.

        Args:
            character: a name, as ``characters`` gives it.
            message: what is said, one turn of at most 4,000 characters.
            speaker: who says it.
        """
        try:
            return answer(service, character, message, speaker)
        except SuiteError as error:
            raise gr.Error(str(error), print_exception=False) from None

    gr.api(characters, api_name="characters")
    gr.api(say, api_name="say", concurrency_limit=CALLS_AT_ONCE)


def answer(service: Service, character: str, message: str, speaker: str) -> str:
    """One reply. Raises SuiteError: no such character, an empty or long message, or nobody can answer."""
    from character_chatbot.replies.conversation import read_message
    from character_chatbot.service import read_name

    source = service.source
    name = read_name(speaker, character, source)
    turns = [Turn(name, read_message(message))]
    reply = service.begin_answer(character, turns, build_sampling(service.settings.chat))
    try:
        reply.wait(LONGEST_SECONDS)
    finally:
        reply.stop()
    if reply.problem:
        raise reply.problem
    return reply.drain().strip()
