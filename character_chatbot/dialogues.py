"""From lines to training dialogues: a few turns of context, then the character's reply.

No dialogue crosses a scene (an episode, where scenes are not marked), no character answers itself, Unknown
is context but never a target, and whole episodes are held out.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import pandas as pd

from character_chatbot.prompts import Message, Turn, build_messages
from config import DialogueSettings
from utils.characters import Cast
from utils.errors import DataError
from utils.lines import UNKNOWN

# A person does not say 1,000 characters in one breath (about 80 s of speech): many turns have run together in such
# a row, so that it can be neither context nor reply.
LONGEST_TURN_CHARACTERS = 1000

Episode = tuple[int, int]  # season, episode


@dataclass(frozen=True)
class Dialogue:
    """Context turns, oldest first, and what ``character`` replies to them."""

    character: str
    season: int
    episode: int
    position: int  # of the reply's first line in its file
    context: tuple[Turn, ...]
    reply: str
    scene: int = field(default=-1, compare=False)  # its number in :attr:`DialogueSet.scenes`
    turn: int = field(default=-1, compare=False)  # of the reply, counted in its scene

    def messages(self, cast: Cast, title: str) -> list[Message]:
        return build_messages(cast.get(self.character), title, self.context)


@dataclass(frozen=True)
class DialogueSet:
    """Dialogues for training and, from whole other episodes, for evaluation."""

    title: str
    cast: Cast
    characters: tuple[str, ...]
    training: tuple[Dialogue, ...]
    held_out: tuple[Dialogue, ...]
    training_episodes: tuple[Episode, ...]
    held_out_episodes: tuple[Episode, ...]
    dropped: dict[str, int] = field(default_factory=dict)  # reason: how many dialogues
    scenes: tuple[tuple[Turn, ...], ...] = ()  # all turns in order; a scene never crosses an episode

    def data_hash(self) -> str:
        """A sha256 over all that training sees: the same data gives the same hash."""
        digest = hashlib.sha256()
        for dialogue in self.training:
            messages = dialogue.messages(self.cast, self.title)
            digest.update(json.dumps([messages, dialogue.reply], ensure_ascii=False).encode())
        return digest.hexdigest()

    def scene_hash(self) -> str:
        """A sha256 over the scenes in which the training dialogues are said."""
        trained = sorted({dialogue.scene for dialogue in self.training})
        content = [[[turn.speaker, turn.text] for turn in self.scenes[number]] for number in trained]
        return hashlib.sha256(json.dumps(content, ensure_ascii=False).encode()).hexdigest()


@dataclass(frozen=True)
class SpokenTurn:
    """A turn and where it is said; ``run_together``: its row holds many turns of many speakers."""

    turn: Turn
    season: int
    episode: int
    position: int  # of its first line in its file
    run_together: bool = False


def build_dialogues(
    spoken: pd.DataFrame,
    cast: Cast,
    title: str,
    *,
    settings: DialogueSettings,
    seed: int,
    characters: Sequence[str] = (),
) -> DialogueSet:
    """Dialogues of ``characters`` (default: everybody with enough replies), split by episode.

    Args:
        spoken: lines frame of what is said, in order (:func:`utils.series.spoken_lines`).
        cast: resolves names; must know the frame's speakers (:meth:`Cast.with_speakers`).
        title: of the series, for the system prompt.
        settings: context length, the least number of replies, the share of episodes held out.
        seed: chooses the held-out episodes.
        characters: names or aliases.

    Raises:
        UnknownCharacter: a name that the series does not have.
        DataError: nobody has enough replies.
    """
    chosen = tuple(dict.fromkeys(cast.get(name).name for name in characters))
    episodes = sorted(set(zip(spoken["season"].tolist(), spoken["episode"].tolist(), strict=True)))
    held_out_episodes = choose_held_out(episodes, settings.held_out_share, seed)
    dropped: Counter[str] = Counter()
    scenes = list(build_turns(spoken, cast))
    found = _unique(_walk_dialogues(scenes, settings.context_turns), dropped)
    trained = {d.character for d in found if (d.season, d.episode) not in held_out_episodes}
    untrained = [name for name in chosen if name not in trained]
    speakers = chosen or tuple(n for n in _with_enough_replies(found, settings.minimum_replies) if n in trained)
    if untrained or not speakers:
        raise _nothing_to_train(found, untrained)
    wanted = [dialogue for dialogue in found if dialogue.character in speakers]
    training = tuple(d for d in wanted if (d.season, d.episode) not in held_out_episodes)
    held_out = _unseen((d for d in wanted if (d.season, d.episode) in held_out_episodes), training, dropped)
    return DialogueSet(
        title=title,
        cast=cast,
        characters=speakers,
        training=training,
        held_out=held_out,
        training_episodes=tuple(e for e in episodes if e not in held_out_episodes),
        held_out_episodes=held_out_episodes,
        dropped=dict(dropped),
        scenes=tuple(tuple(each.turn for each in scene) for scene in scenes),
    )


def choose_held_out(episodes: Sequence[Episode], share: float, seed: int) -> tuple[Episode, ...]:
    """Whole episodes for evaluation: ``share`` of them, rounded; at least one where there are two; none of one."""
    if share == 0 or len(episodes) < 2:
        return ()
    count = min(max(1, round(len(episodes) * share)), len(episodes) - 1)
    return tuple(sorted(random.Random(seed).sample(sorted(episodes), count)))  # noqa: S311


def build_turns(spoken: pd.DataFrame, cast: Cast) -> Iterator[list[SpokenTurn]]:
    """Turns of each scene (of each episode, where scenes are not marked): lines in a row by one speaker joined."""
    place = spoken[["season", "episode", "source"]].assign(scene=spoken["scene"].fillna(-1).astype("int64"))
    scene = place.ne(place.shift()).any(axis=1).cumsum()  # rows in a row: a number that comes again is another scene
    for _, group in spoken.groupby(scene, sort=False):
        columns = (group[name].tolist() for name in ("speaker", "line", "season", "episode", "position"))
        yield from _split_at_breaks(_join(zip(*columns, strict=True), cast))


def _join(rows: Iterable[tuple[str, str, int, int, int]], cast: Cast) -> list[SpokenTurn]:
    turns: list[SpokenTurn] = []
    previous = ("", "")
    for speaker, line, season, episode, position in rows:
        name = cast.resolve(speaker)
        if (name, line) == previous:
            continue  # the same row twice is a fault of the file, not of the speaker
        previous = (name, line)
        spoken_turn = SpokenTurn(Turn(name, line), season, episode, position, len(line) > LONGEST_TURN_CHARACTERS)
        if turns and _goes_on(turns[-1], spoken_turn):
            last = turns[-1]
            turns[-1] = replace(last, turn=Turn(name, f"{last.turn.text} {line}"))
        else:
            turns.append(spoken_turn)
    return turns


def _goes_on(last: SpokenTurn, new: SpokenTurn) -> bool:
    """One speaker goes on speaking. Two strangers in a row need not be one person."""
    same = last.turn.speaker == new.turn.speaker != UNKNOWN
    return same and not last.run_together and not new.run_together


def _split_at_breaks(turns: Iterable[SpokenTurn]) -> Iterator[list[SpokenTurn]]:
    """Pieces without the rows in which many turns have run together: nobody knows who replies to whom there."""
    piece: list[SpokenTurn] = []
    for spoken_turn in turns:
        if spoken_turn.run_together:
            yield piece
            piece = []
        else:
            piece.append(spoken_turn)
    yield piece


def _walk_dialogues(scenes: Sequence[Sequence[SpokenTurn]], context_turns: int) -> Iterator[Dialogue]:
    for number, turns in enumerate(scenes):
        for index, spoken_turn in enumerate(turns):
            speaker = spoken_turn.turn.speaker
            context = tuple(earlier.turn for earlier in turns[max(0, index - context_turns) : index])
            while context and context[0].speaker == speaker:
                context = context[1:]  # a dialogue starts with what is said to the character
            if context and speaker != UNKNOWN:
                yield Dialogue(
                    speaker,
                    spoken_turn.season,
                    spoken_turn.episode,
                    spoken_turn.position,
                    context,
                    spoken_turn.turn.text,
                    number,
                    index,
                )


def _unique(dialogues: Iterable[Dialogue], dropped: Counter[str]) -> list[Dialogue]:
    seen: set[tuple[object, ...]] = set()
    kept = []
    for dialogue in dialogues:
        key = (dialogue.character, dialogue.context, dialogue.reply)
        if key in seen:
            dropped["exact duplicate"] += 1
            continue
        seen.add(key)
        kept.append(dialogue)
    return kept


def _unseen(held_out: Iterable[Dialogue], training: Iterable[Dialogue], dropped: Counter[str]) -> tuple[Dialogue, ...]:
    """Held-out dialogues whose reply no training dialogue has word for word: those would measure memory."""
    trained = {dialogue.reply.casefold() for dialogue in training}
    kept = []
    for dialogue in held_out:
        if dialogue.reply.casefold() in trained:
            dropped["held-out reply also in training"] += 1
        else:
            kept.append(dialogue)
    return tuple(kept)


def _with_enough_replies(dialogues: Iterable[Dialogue], minimum: int) -> tuple[str, ...]:
    counts = Counter(dialogue.character for dialogue in dialogues)
    return tuple(name for name, count in counts.most_common() if count >= minimum)


def _nothing_to_train(found: Sequence[Dialogue], chosen: Sequence[str]) -> DataError:
    counts = Counter(dialogue.character for dialogue in found)
    asked = ", ".join(f"{name} ({counts[name]})" for name in chosen) or "anybody"
    there = ", ".join(f"{name} ({count})" for name, count in counts.most_common(5)) or "nobody replies to anybody"
    return DataError(
        f"no dialogues to train on for {asked}.",
        instead=f"Replies by character: {there}",
        remedies=[("Look at the data", "python training_pipeline.py data --data DIR")],
    )
