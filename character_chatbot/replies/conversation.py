"""A conversation with one character: what was said so far, and what the engine gets to see of it."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from character_chatbot.engines.base import ReadsAhead, Sampling
from character_chatbot.prompts import Turn, build_messages
from character_chatbot.recall.budget import Limits, Prompt, build_prompt
from character_chatbot.recall.counting import Reader
from character_chatbot.recall.memory import Memory
from character_chatbot.recall.serving import Recall
from character_chatbot.replies.reply_stream import Evidence, ReplyStream, Rules
from character_chatbot.sources import Source
from config import RecallSettings
from utils.characters import Character
from utils.errors import UsageError
from utils.lines import UNKNOWN

LONGEST_MESSAGE_CHARACTERS = 4000
OPENING = "Begin."  # what a character hears in front of its greeting, where that is to go on
# C0 and C1 controls but tab and line break; bidirectional embeddings, overrides and isolates (Unicode Annex 9);
# zero-width space, byte order mark, half surrogates, interlinear annotation, tags. Joiners stay: emoji need them.
CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200b\ufeff\ud800-\udfff\ufff9-\ufffb\U000e0000-\U000e007f]"
)


@dataclass
class Conversation:
    """What ``speaker`` and ``character`` have said to each other; ``history_turns``: how much of it the engine sees.

    ``evidence``: what was in the prompt of the last reply.
    """

    source: Source
    character: str
    speaker: str
    sampling: Sampling
    history_turns: int
    turns: tuple[Turn, ...] = ()
    evidence: Evidence = field(default_factory=Evidence)

    def say(self, text: str) -> Iterator[str]:
        """Pieces of the reply to a message; both turns are kept once the reply is over or stopped.

        Raises:
            UsageError: the message is empty or too long.
        """
        said = (*self.turns, Turn(self.speaker, read_message(text)))
        pieces = stream_reply(self.source, self.character, said, self.sampling, self.history_turns)
        self.evidence, reply = pieces.evidence, ""
        try:
            for piece in pieces:
                reply += piece
                yield piece
        finally:
            pieces.close()
            if reply.strip():
                own_name = self.source.cast.get(self.character).name
                self.turns = (*said, Turn(own_name, reply.strip()))


def stream_reply(
    source: Source,
    character: str,
    turns: Sequence[Turn],
    sampling: Sampling,
    history_turns: int,
    *,
    lore: Sequence[str] = (),
    note: str = "",
    beginning: str = "",
) -> ReplyStream:
    """Pieces of what ``character`` replies to ``turns``; what it remembered for that is in their ``evidence``.

    The prompt holds what the base can read; the reply stays in its role (role.py). Quotes come as they are.
    With a ``beginning`` the pieces are what follows it, with the space in front where one belongs; none where the
    model ends the reply there. Quotes go on with another line.

    Args:
        source: who answers.
        character: a name or alias.
        turns: all turns so far, the last one said to the character.
        sampling: how the reply is drawn.
        history_turns: at most so many of the last turns are seen; older ones are left out whole.
        lore: entries of a lorebook for this message, most important first.
        note: what else the character is to know, for the end of its system message.
        beginning: how the reply begins, where one that is there already is to be gone on with.

    Raises:
        UnknownCharacter: the source has no such character.
        UsageError: the character would talk to itself, or the message is too long for the base.
    """
    spoken_to = source.cast.get(character)
    said = clean_turns(turns, spoken_to.name)
    beginning = CONTROL.sub(" ", beginning).strip()
    if said[-1].speaker == spoken_to.name and not beginning:
        raise UsageError(f"{spoken_to.name} cannot talk to {spoken_to.name}.", instead="Speak as somebody else.")
    engine = source.engine(spoken_to.name)
    if source.rung == "quotes":  # they see all turns, so as never to repeat themselves, and quote exactly
        begun = (Turn(spoken_to.name, beginning), _last_of_another(said, spoken_to.name)) if beginning else ()
        messages = build_messages(spoken_to, source.title, (*said, *begun))
        gap = [" "] if beginning else []
        return ReplyStream(lambda drawn: itertools.chain(gap, engine.reply(messages, drawn)), sampling)
    recall = _recall_of(source)
    if source.reader.context_tokens:  # a reply may have half of what the base can read
        sampling = replace(sampling, max_new_tokens=min(sampling.max_new_tokens, source.reader.context_tokens // 2))
    prompt = _lay_out_prompt(
        source,
        spoken_to,
        said,
        _find_limits(source.reader, recall.settings, sampling, history_turns),
        memories=recall.find(spoken_to.name, said),
        lore=[one_line(text) for text in lore],
        note=note,
        beginning=beginning,
    )
    return ReplyStream(
        lambda drawn: engine.reply(prompt.messages, drawn),
        sampling,
        replace(_find_rules(source, spoken_to, said, recall.settings), beginning=beginning),
        Evidence(prompt.memories, prompt.lore, prompt.turns_left_out, prompt.tokens, prompt.persona_shortened),
    )


def expect_message(
    source: Source, character: str, turns: Sequence[Turn], sampling: Sampling, history_turns: int, *, note: str = ""
) -> None:
    """Let the engine read what the next prompt begins with, as far as that is known before the message is.

    Args:
        source, character, sampling, history_turns, note: as for :func:`stream_reply`.
        turns: all turns so far; may be empty.

    Raises:
        UnknownCharacter: the source has no such character.
    """
    spoken_to = source.cast.get(character)
    engine = source.engine(spoken_to.name)
    if not isinstance(engine, ReadsAhead):
        return
    said = (*clean_turns(turns, spoken_to.name), Turn(UNKNOWN, "…"))
    limits = _find_limits(source.reader, _recall_of(source).settings, sampling, history_turns)
    with contextlib.suppress(UsageError):  # nothing more fits; who says something is told so
        engine.read_ahead(_lay_out_prompt(source, spoken_to, said, limits, note=note).messages[:-1])


def _recall_of(source: Source) -> Recall:
    return source.recall or Recall(RecallSettings())


def _lay_out_prompt(
    source: Source,
    character: Character,
    said: Sequence[Turn],
    limits: Limits,
    *,
    memories: Sequence[Memory] = (),
    lore: Sequence[str] = (),
    note: str = "",
    beginning: str = "",
) -> Prompt:
    return build_prompt(
        character,
        "" if character.name in source.cards else source.title,
        said,
        limits,
        source.reader.counter,
        memories=memories,
        lore=lore,
        example_lines=_choose_examples(source, character, _recall_of(source).settings),
        note=CONTROL.sub(" ", note),
        beginning=beginning,
    )


def open_with(turns: Sequence[Turn], own: str, other: str) -> tuple[Turn, ...]:
    """The turns, with one of ``other`` where only ``own`` has spoken: a prompt begins with what is said to it."""
    return (*turns, Turn(other, OPENING)) if all(turn.speaker == own for turn in turns) else tuple(turns)


def _last_of_another(turns: Sequence[Turn], own: str) -> Turn:
    return next(turn for turn in reversed(turns) if turn.speaker != own)


def clean_turns(turns: Sequence[Turn], own: str) -> tuple[Turn, ...]:
    """Turns of which no text and no name can look like another turn or carry a control character."""
    return tuple(
        Turn(own, CONTROL.sub(" ", turn.text))
        if turn.speaker == own
        else Turn(one_line(turn.speaker.replace(":", " ")) or UNKNOWN, one_line(turn.text))
        for turn in turns
    )


def _find_limits(reader: Reader, settings: RecallSettings, sampling: Sampling, history_turns: int) -> Limits:
    room = max(0, reader.context_tokens - sampling.max_new_tokens)
    return Limits(room, settings.budget_tokens, history_turns, settings.later_share if reader.slow else 1.0)


def _choose_examples(source: Source, character: Character, settings: RecallSettings) -> tuple[str, ...]:
    """Lines that show how a character speaks: not where the model has learnt it, for there the prompt is as trained."""
    learnt = character.name in source.trained
    able = source.reader.parameters >= settings.minimum_parameters
    return character.example_lines[: settings.example_lines] if able and not learnt else ()


def _find_rules(source: Source, character: Character, turns: Sequence[Turn], settings: RecallSettings) -> Rules:
    others = [name for each in source.cast if each.name != character.name for name in list_names(each)]
    others += [turn.speaker for turn in turns if turn.speaker != character.name]
    return Rules(
        own=list_names(character),
        others=(*others, UNKNOWN),
        earlier=tuple(turn.text for turn in turns if turn.speaker == character.name),
        redraws=settings.redraws,
        whole_sentences=settings.ending == "sentence",
        count_tokens=source.reader.counter.text,
    )


def list_names(character: Character) -> tuple[str, ...]:
    """All names that may stand in front of what a character says, the last word of a long name too."""
    return tuple(dict.fromkeys((character.name, *character.aliases, character.name.split()[-1])))


def read_message(text: str) -> str:
    """A user's message as one line without control characters: a second line could look like another speaker.

    Raises:
        UsageError: it is empty or too long.
    """
    message = one_line(text)
    if not message:
        raise UsageError("the message is empty.")
    if len(message) > LONGEST_MESSAGE_CHARACTERS:
        raise UsageError(
            f"the message has {len(message):,} characters; a turn has at most {LONGEST_MESSAGE_CHARACTERS:,}."
        )
    return message


def one_line(text: str) -> str:
    """A text without control characters and line breaks."""
    return " ".join(CONTROL.sub(" ", text).split())
