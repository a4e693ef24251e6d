"""The whole page with an engine that answers one at a time: ``python chat_page.py PORT FOLDER``.

It counts to five, or slowly to a thousand if it is asked slowly. APP_PASSWORD and STRANGER_… are read as ever; the
conversations are in FOLDER. Sera is an imported card.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
SERA = {
    "spec": "chara_card_v2",
    "spec_version": "2.0",
    "data": {
        "name": "Sera",
        "first_mes": "*appears* Hello, {{user}}.",
        "alternate_greetings": ["Who woke {{char}}?"],
        "character_book": {
            "entries": [{"keys": ["lamp"], "content": "The lamp belongs to {{char}}.", "enabled": True}],
        },
    },
}


class Counter:
    """Speaks for one at a time."""

    def __init__(self) -> None:
        from character_chatbot.engines.fair_queue import FairQueue

        self.queue = FairQueue(slots=1)

    def reply(self, messages: Sequence[Any], sampling: Any) -> Iterator[str]:
        slowly = "slowly" in messages[-1]["content"]
        with self.queue.join() as ticket:
            if not ticket.wait():
                return
            for number in range(1000 if slowly else 5):
                time.sleep(0.05 if slowly else 0.01)
                yield f"{number} "


def build_app(folder: Path) -> tuple[Any, Any]:
    """The application and its settings."""
    from character_chatbot.cards.card import build_card
    from character_chatbot.page import build_page
    from character_chatbot.service import Service
    from character_chatbot.sources import Source
    from character_chatbot.web import build_app
    from config import load_settings
    from utils.characters import Cast, Character
    from utils.registry import Registry
    from utils.stores import FolderStore

    environment = {name: value for name, value in os.environ.items() if name.startswith(("STRANGER_", "APP_"))}
    settings = load_settings(
        env_file=Path("/none"), environment=environment, flags={"chats.file": folder / "chats.sqlite"}
    )
    engine, cast = Counter(), Cast([Character(name) for name in ("Kit", "Rosa", "Sera")])
    source = Source(
        "base", "the counter", "Pellan", cast, cast.names, lambda name: engine, cards={"Sera": build_card(SERA)}
    )
    service = Service(settings, lambda *_: source)
    page = build_page(service, Registry(FolderStore(folder / "registry")), "llama")
    service.start()
    return build_app(page, settings, service), settings


if __name__ == "__main__":
    sys.path.insert(0, str(PROJECT))
    from gradio_app import bind_port, serve

    app, settings = build_app(Path(sys.argv[2]))
    serve(app, bind_port("127.0.0.1", int(sys.argv[1])), settings)
