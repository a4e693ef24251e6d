"""Writes conversations into a store until it is killed, and says what has been kept: to be run in a process of its own.

python chat_writer.py STORE OWNER      prints "<conversation> <message> <text>" after each message that is kept
"""

from __future__ import annotations

import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent


def write(file: Path, owner: str) -> None:
    from character_chatbot.chats.store import ChatStore

    store = ChatStore(file)
    number = 0
    while True:
        talk = store.begin(owner, ["Ada"], "Visitor")
        for _ in range(4):
            number += 1
            asked = store.say(owner, talk.id, f"{owner} asks {number}")
            print(talk.id, asked.id, asked.text, flush=True)
            reply = store.reply(owner, talk.id, "Ada", f"{owner} hears {number}", to=asked.id)
            print(talk.id, reply.id, reply.text, flush=True)


if __name__ == "__main__":
    sys.path.insert(0, str(PROJECT))
    write(Path(sys.argv[1]), sys.argv[2])
