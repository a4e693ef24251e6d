"""Group chats of a client: one model is chosen for all of them, several characters speak.

Read from SillyTavern's public/scripts/openai.js: a system message names the members (new_group_chat_prompt), the last
one who is to reply (group_nudge_prompt); who has said an assistant's message stands in front of it or in its ``name``
(character_names_behavior), where all that is no ASCII letter or digit is "_".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from character_chatbot.api.schema import Message

MEMBERS = re.compile(r"\[Start a new group chat\. Group members: (.+)\]", re.IGNORECASE)
NUDGE = re.compile(r"\[Write the next reply only as (.+?)\.?\]", re.IGNORECASE)
NAMED = re.compile(r"([^:\n]{1,80}): ?")
UNNAMED = re.compile("[^a-zA-Z0-9_]")
USER = re.compile(r"Write (.{1,80}?)'s next reply in a fictional chat between \1 and (.{1,80}?)\.(?:\s|$)")
SYSTEM = ("system", "developer")


@dataclass(frozen=True)
class Group:
    """Who takes part in a chat, as the client has told.

    Attributes:
        members: as the client calls them.
        replier: who is to reply; empty: it is not said.
        told: the system messages that say so.
        resolve: the character's own name for one that the client uses.
        prefixed: each message has the name of its speaker in front.
        user: the user's name, empty where that is not told.
    """

    members: tuple[str, ...]
    replier: str
    told: tuple[str, ...]
    resolve: Callable[[str], str]
    prefixed: bool = False
    user: str = ""

    @cached_property
    def _members(self) -> frozenset[str]:
        return frozenset(self.members)

    @cached_property
    def _written(self) -> dict[str, str]:
        """Members by how a ``name`` may be written; of two that are written alike the first."""
        names = [(each, each) for each in self.members]
        names += [(UNNAMED.sub("_", each)[:64], each) for each in self.members]
        return dict(reversed(names))

    def named(self, messages: Sequence[Message], character: str) -> list[Message]:
        """The messages without what tells of the group, each with its speaker as ``name`` and nothing in front.

        A message of an assistant who is nobody else is the character's, without a name.
        """
        told = frozenset(self.told)
        kept = [each for each in messages if each.role not in SYSTEM or each.content not in told]
        asked_after = self._asked_after(messages)
        return [self._named(each, character, before_nudge=each is asked_after) for each in kept]

    def _named(self, message: Message, character: str, before_nudge: bool) -> Message:
        if message.role in SYSTEM:
            return message
        name, content = self._read_name(message)
        if message.role == "user":
            return message.model_copy(update={"name": name or self.user, "content": content})
        if not name and before_nudge:  # names are switched off: whoever has just spoken is not asked to go on
            name = next((each for each in self.members if each != self.replier), "")
        name = self.resolve(name) if name else ""
        return message.model_copy(update={"name": "" if name == character else name, "content": content})

    def _read_name(self, message: Message) -> tuple[str, str]:
        """Who has said a message, empty where that is not told; and what."""
        if message.name in self._written:
            return self._written[message.name], message.content
        found = NAMED.match(message.content)
        if found and (found[1] in self._members or (message.role == "user" and self.prefixed)):
            return found[1], message.content[found.end() :]
        return message.name if message.role == "user" else "", message.content

    def _asked_after(self, messages: Sequence[Message]) -> Message | None:
        """What was said last, where a system message behind it asks somebody to reply."""
        last = max((at for at, each in enumerate(messages) if each.role not in SYSTEM), default=-1)
        nudges = [each for each in messages[last + 1 :] if NUDGE.fullmatch(each.content.strip())]
        return messages[last] if nudges and last >= 0 else None


def read_group(messages: Sequence[Message], resolve: Callable[[str], str]) -> Group:
    """What the system messages tell of a group; one without members where there is none."""
    told, members, replier, user = [], "", "", ""
    for each in messages:
        if each.role not in SYSTEM:
            continue
        if found := USER.match(each.content):
            user = user or found[2].strip()
            continue
        if found := MEMBERS.fullmatch(each.content.strip()):
            members = found[1]
        elif found := NUDGE.fullmatch(each.content.strip()):
            replier = found[1].strip()
        else:
            continue
        told.append(each.content)
    names = [name.strip() for name in members.split(",")] if members else []
    known = tuple(dict.fromkeys(filter(None, [*names, replier])))
    said = [each for each in messages if each.role not in SYSTEM]
    prefixed = bool(names) and all(NAMED.match(each.content) for each in said)
    prefixed = prefixed and any(each.role == "assistant" for each in said)
    return Group(known, replier, tuple(told), resolve, prefixed, user)
