"""Messages for a model: one layout, used in training and in serving.

system     the persona
user       what others say, each turn as "Name: text", turns in a row joined by line breaks
assistant  what the character says, without its name

What a character remembers at a message is a block in front of the newest user message and nowhere else, so that all
before it stays as it was and need not be read again:

[What Kit remembers, S01E02]
Rosa: …
Kit: …
[Now]
Visitor: …

Messages that end with one of the assistant are to be gone on with: the prompt ends inside it, behind its last token.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from utils.characters import Character

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Message = dict[str, str]

# Llama 3's template writes today's date into the prompt; training and serving must see the same prompt on any day.
TEMPLATE_DATE = "26 Jul 2024"


@dataclass(frozen=True)
class Turn:
    """What one speaker says without being interrupted."""

    speaker: str
    text: str


@dataclass(frozen=True)
class Passage:
    """What a character remembers: turns of one scene. ``place``: where it was, may be empty."""

    lines: tuple[Turn, ...]
    place: str = ""


def build_messages(
    character: Character,
    title: str,
    context: Sequence[Turn],
    *,
    passages: Sequence[Passage] = (),
    lore: Sequence[str] = (),
    example_lines: Sequence[str] = (),
    note: str = "",
    beginning: str = "",
) -> list[Message]:
    """The messages to which ``character`` replies next.

    Args:
        character: who replies.
        title: of the series.
        context: the turns before the reply, oldest first; the last one is somebody else's.
        passages, lore: what the character remembers and knows about the last message.
        example_lines: how the character speaks, for the system message.
        note: what else the character is to know all the time, for the end of the system message.
        beginning: how the reply begins, where one that is there already is to be gone on with.

    Returns:
        ``{"role", "content"}`` messages: system first, then user and assistant in turn, a user message last, or the
        beginning of the reply behind it.

    Raises:
        ValueError: no turn of somebody else to reply to.
    """
    turns = list(context)
    while turns and turns[0].speaker == character.name:
        turns.pop(0)  # a conversation starts with what is said to the character: some templates demand it
    if not turns or (turns[-1].speaker == character.name and not beginning):
        raise ValueError(f"nothing for {character.name} to reply to")
    turns += [Turn(character.name, beginning)] if beginning else []
    system = persona_prompt(character, title, example_lines) + (f"\n{note}" if note else "")
    messages = [{"role": "system", "content": system}, *lay_out(turns, character.name)]
    newest = next(message for message in reversed(messages) if message["role"] == "user")
    newest["content"] = lay_out_memory(character.name, passages, lore) + newest["content"]
    return messages


def lay_out_memory(name: str, passages: Sequence[Passage], lore: Sequence[str] = ()) -> str:
    """The block in front of the newest user message; empty where there is nothing to know."""
    known = [f"[What {name} knows]", *(" ".join(text.split()) for text in lore)] if lore else []
    for passage in passages:
        known.append(f"[What {name} remembers, {passage.place}]" if passage.place else f"[What {name} remembers]")
        known += [f"{turn.speaker}: {turn.text}" for turn in passage.lines]
    return "\n".join([*known, "[Now]", ""]) if known else ""


def lay_out(turns: Sequence[Turn], own: str) -> list[Message]:
    """Turns as messages: those of ``own`` are the assistant's, all others the user's with a label each."""
    messages: list[Message] = []
    for turn in turns:
        role, text = ("assistant", turn.text) if turn.speaker == own else ("user", f"{turn.speaker}: {turn.text}")
        if messages and messages[-1]["role"] == role:
            messages[-1]["content"] += "\n" + text
        else:
            messages.append({"role": role, "content": text})
    return messages


def persona_prompt(character: Character, title: str, example_lines: Sequence[str] = ()) -> str:
    """The system message: who the character is, how it speaks, and what is asked of it.

    ``title``: empty for a character of no series.
    """
    persona = character.persona or f"You are {character.name}."
    examples = [f"{character.name} speaks like this:", *example_lines] if example_lines else []
    task = f"Reply as {character.name}, in character, with what {character.name} says next."
    return "\n".join([persona, *examples, f"The series is {title}. {task}" if title else task])


def render_prompt(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> str:
    """The text in front of the reply, template included. Template tokens inside contents are made harmless.

    A reply that is to be gone on with stands behind the header that the template gives to any: templates write a reply
    of the past in other words than a new one (Qwen 3 without its empty thought).
    """
    messages, beginning = split_beginning(messages)
    harmless = [message | {"content": disarm(tokenizer, message["content"])} for message in messages]
    rendered = tokenizer.apply_chat_template(
        harmless, tokenize=False, add_generation_prompt=True, date_string=TEMPLATE_DATE
    )
    return str(rendered) + disarm(tokenizer, beginning)


def split_beginning(messages: Sequence[Message]) -> tuple[Sequence[Message], str]:
    """The messages to reply to, and the beginning of the reply where they end with one of the assistant."""
    unfinished = bool(messages) and messages[-1]["role"] == "assistant"
    return (messages[:-1], messages[-1]["content"]) if unfinished else (messages, "")


def encode_prompt(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """Token ids of :func:`render_prompt`: what the character has said before is spelt as when it was learnt.

    So is a reply that is to be gone on with: its tokens stand behind those of the prompt it was the reply to.
    """
    messages, beginning = split_beginning(messages)
    parts = split_prompt(tokenizer, messages)
    said = [encode_text(tokenizer, message["content"]) for message in messages if message["role"] == "assistant"]
    ids = list(parts[0])
    for spoken, part in zip(said, parts[1:], strict=False):
        ids += [*spoken, *part]
    return [*ids, *encode_text(tokenizer, beginning)] if beginning else ids


def encode_unfinished(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """The token ids at the end of :func:`encode_prompt` that are of the reply itself; none where it has not begun."""
    beginning = split_beginning(messages)[1]
    return encode_text(tokenizer, beginning) if beginning else []


def split_prompt(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[list[int]]:
    """Token ids of the prompt before, between and after the messages of the assistant, whose contents are left out.

    Some tokenizers join the line break in front of a text with it. A reply is generated behind the break, so it has to
    be spelt by itself wherever it stands. One part alone, of the whole prompt, where a template allows no cutting.
    """
    number, contents = 0, [message["content"] for message in messages]
    while any(f"reply-{number}-here" in content for content in contents):
        number += 1
    marker = f"reply-{number}-here"
    marked = [message | {"content": marker} if message["role"] == "assistant" else message for message in messages]
    texts = render_prompt(tokenizer, marked).split(marker)
    if len(texts) != 1 + sum(message["role"] == "assistant" for message in messages):
        texts = [render_prompt(tokenizer, messages)]
    return [list(ids) for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]


def encode_beginning(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> list[int]:
    """The token ids with which all prompts begin that go on from ``messages`` with something from the user."""
    one, other = (encode_prompt(tokenizer, [*messages, {"role": "user", "content": text}]) for text in ("1", "[2"))
    return one[: common_prefix(one, other)]


def common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (left, right) in pairs if left != right), min(len(one), len(other)))


def encode_text(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of what a character says, without its end."""
    return list(tokenizer(disarm(tokenizer, text), add_special_tokens=False)["input_ids"])


def encode_reply(tokenizer: PreTrainedTokenizerBase, reply: str) -> list[int]:
    """Token ids of a reply and the end-of-turn token behind it."""
    return [*encode_text(tokenizer, reply), end_of_turn(tokenizer)]


def reply_header(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The tokens with which the template opens a reply; none where it opens it with nothing of its own."""
    messages = [{"role": "user", "content": "text"}]
    rendered = str(tokenizer.apply_chat_template(messages, tokenize=False, date_string=TEMPLATE_DATE))
    header = render_prompt(tokenizer, messages).removeprefix(rendered)
    return list(tokenizer(header, add_special_tokens=False)["input_ids"])


def end_of_turn(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id of the token with which the chat template ends a reply: often, but not always, the tokenizer's EOS."""
    marker = "reply"
    messages = [{"role": "user", "content": "text"}, {"role": "assistant", "content": marker}]
    rendered = str(tokenizer.apply_chat_template(messages, tokenize=False, date_string=TEMPLATE_DATE))
    after = tokenizer(rendered.rpartition(marker)[2].strip(), add_special_tokens=False)["input_ids"]
    return int(after[0]) if after and after[0] in tokenizer.added_tokens_decoder else int(tokenizer.eos_token_id)


def disarm(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """``text`` in which no special token of the tokenizer can be read as one: a space splits it.

    A tokenizer may look for its tokens in normalised text: one that appears only there is split there.
    """
    tokens = [token for token in tokenizer.added_tokens_encoder if len(token) > 1]
    plain = unicodedata.normalize("NFKC", text)
    if plain != text and any(plain.count(token) > text.count(token) for token in tokens):
        text = plain
    for token in tokens:
        if token in text:
            text = text.replace(token, f"{token[0]} {token[1:]}")
    return text
