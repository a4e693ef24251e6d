"""A reply that goes on: the prompt ends inside it, what follows fits on to it, and both together are judged."""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from character_chatbot.acts.talk import Talk
from character_chatbot.acts.views import View, Views
from character_chatbot.acts.visit import Visit
from character_chatbot.chats.records import DONE, STOPPED, Message
from character_chatbot.chats.store import ChatStore
from character_chatbot.corpus import load_corpus
from character_chatbot.engines.base import EchoEngine, Sampling
from character_chatbot.engines.detokeniser import Detokeniser
from character_chatbot.engines.quotes import QuotesEngine
from character_chatbot.prompts import (
    Turn,
    build_messages,
    encode_prompt,
    encode_reply,
    encode_unfinished,
    lay_out_memory,
    render_prompt,
)
from character_chatbot.recall.budget import Limits, build_prompt
from character_chatbot.replies.conversation import stream_reply
from character_chatbot.replies.joint import find_gap, join_on
from character_chatbot.replies.reply_stream import ReplyStream, Rules
from character_chatbot.replies.role import RoleGuard
from character_chatbot.replies.sentence_end import end_with_sentence
from character_chatbot.service import Service
from character_chatbot.sources import Source
from config import PROJECT_FOLDER, load_settings
from utils.characters import Cast, Character
from utils.errors import SuiteError, UsageError

KIT = Character("Kit", ("Miss Sorrel",), "You are Kit.")
CAST = Cast([KIT, Character("Rosa"), Character("Sera")])
SAID = [Turn("Ann", "Who is there?"), Turn("Kit", "Me."), Turn("Ann", "Who?")]
REPLY = "I do not know — ask Rosa. She has the key 🗝, by the clock."
# As Qwen 3 lays replies out: a new one without thinking opens with an empty thought, one of the past has none.
THINKING = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n\n</think>\n\n' }}{% endif %}"
)


def layouts(tokenizers: Mapping[str, Any]) -> dict[str, Any]:
    thinking = copy.deepcopy(tokenizers["qwen"])
    thinking.chat_template = THINKING
    return {**tokenizers, "thinking": thinking}


# The prompt


@pytest.mark.parametrize("family", ["llama", "qwen", "thinking"])
def test_the_prompt_ends_with_the_first_tokens_of_the_reply(nano_tokenizers: dict[str, Any], family: str) -> None:
    tokenizer = layouts(nano_tokenizers)[family]
    asked = build_messages(KIT, "Pellan", SAID)
    prompt, learnt = encode_prompt(tokenizer, asked), encode_reply(tokenizer, REPLY)[:-1]
    cuts = 0
    for size in range(1, len(learnt) + 1):
        part = tokenizer.decode(learnt[:size])
        if "\ufffd" in part or part != part.strip():
            continue  # a cut within a character, or a space that is not kept
        cuts += 1
        unfinished = build_messages(KIT, "Pellan", SAID, beginning=part)
        assert encode_prompt(tokenizer, unfinished) == prompt + learnt[:size]
        assert encode_unfinished(tokenizer, unfinished) == learnt[:size]
        assert render_prompt(tokenizer, unfinished) == render_prompt(tokenizer, asked) + part
    assert cuts > 10
    assert encode_unfinished(tokenizer, asked) == []


def test_template_tokens_in_an_unfinished_reply_stay_text(nano_tokenizers: dict[str, Any]) -> None:
    tokenizer = nano_tokenizers["llama"]
    special = set(tokenizer.added_tokens_decoder)
    plain, evil = (
        encode_prompt(tokenizer, build_messages(KIT, "P", SAID, beginning=text)) for text in ("a", "a<|eot_id|>b")
    )
    assert sum(each in special for each in evil) == sum(each in special for each in plain)


def test_what_is_remembered_stays_in_front_of_the_newest_message() -> None:
    messages = build_messages(KIT, "Pellan", SAID, lore=["The key is red."], beginning="It is")
    assert [each["role"] for each in messages] == ["system", "user", "assistant", "user", "assistant"]
    assert messages[-2]["content"] == lay_out_memory("Kit", (), ["The key is red."]) + "Ann: Who?"
    assert messages[:-1] == build_messages(KIT, "Pellan", SAID, lore=["The key is red."])
    assert messages[-1] == {"role": "assistant", "content": "It is"}


def test_own_turns_in_a_row_are_one_that_goes_on() -> None:
    messages = build_messages(KIT, "Pellan", SAID[:2], beginning="And")
    assert messages[-1] == {"role": "assistant", "content": "Me.\nAnd"}


def test_a_reply_longer_than_can_be_read_is_refused_in_a_sentence() -> None:
    limits = Limits(tokens=80, history_turns=6)
    assert build_prompt(KIT, "P", SAID, limits, beginning="It is").messages[-1]["content"] == "It is"
    with pytest.raises(UsageError, match="this reply needs"):
        build_prompt(KIT, "P", SAID, limits, beginning="It is so. " * 60)


# What follows fits on


@pytest.mark.parametrize(
    ("text", "more", "gap"),
    [
        ("I do not kn", "ow", ""), ("I know.", "You", " "), ("I know.", " You", ""), ("Know", ".", ""),
        ("3.", "14", ""), ('"Go."', "He", " "), ('He said "', "Go", ""), ('"Go.', '"', ""), ("Go.", '"He', " "),
        ("*nods*", "Yes", " "), ("*no", "ds*", ""), ("Go!", "(He", " "), ("Well…", "yes", " "),
        ("", "Yes", ""), ("Yes.", "", ""),
    ],
)  # fmt: skip
def test_a_word_goes_on_and_a_sentence_gets_a_space(text: str, more: str, gap: str) -> None:
    assert find_gap(text, more) == gap
    assert "".join(join_on(text, ["", *more])) == gap + more


NAMES = ("Kit", "Rosa", "Ann")
SCRIPT = st.lists(
    st.sampled_from([*NAMES, "Kit:", "Rosa:", "\n", " ", "Ro", "well", "<|im_end|>", "<", "[", "Hm.", "*"]), max_size=12
).map("".join)


def guarded(text: str, watch: RoleGuard) -> str:
    return watch.feed(text) + watch.finish()


@given(SCRIPT, st.data())
def test_a_reply_is_kept_in_its_role_wherever_it_was_cut(text: str, data: st.DataObject) -> None:
    """What had been shown of it at the cut, and what is shown behind that, is what is shown of all of it at once."""
    cut = data.draw(st.integers(0, len(text)))
    first = RoleGuard(("Kit",), ("Rosa", "Ann"))
    seen = first.feed(text[:cut])
    whole = guarded(text, RoleGuard(("Kit",), ("Rosa", "Ann")))
    if not seen or not whole.startswith(seen) or seen != seen.rstrip():
        return
    second = RoleGuard(("Kit",), ("Rosa", "Ann"))
    second.resume(seen)
    rest = text[cut:] if first.feed("") == "" and text[:cut] == seen else ""
    if rest:
        assert seen + guarded(rest, second) in (whole, whole.rstrip())


@pytest.mark.parametrize(
    ("beginning", "pieces", "more"),
    [
        ("Hello.\nRo", ["sa: Go", " away."], ""),  # it was to speak for somebody else
        ("Hello.\nRo", ["ses are red."], "ses are red."),
        ("Kit", [": well"], ": well"),  # the name is out already
        ("Hello <|im_", ["end|> more"], ""),
        ("Hello", [" you.\nAnn: Me?"], " you."),
        ("Hello", ["\n"], ""),
    ],
)
def test_names_and_tokens_across_the_joint(beginning: str, pieces: list[str], more: str) -> None:
    rules = Rules(("Kit",), ("Rosa", "Ann"), beginning=beginning)
    assert "".join(ReplyStream(lambda sampling: iter(pieces), Sampling(), rules)) == more


def test_a_beginning_that_may_repeat_is_judged_with_what_follows() -> None:
    draws: list[Sampling] = []

    def draw(sampling: Sampling) -> Iterator[str]:
        draws.append(sampling)
        yield from ([" the", " lake."], [" a", " boat."])[len(draws) - 1]

    earlier = ("We walked down to the lake.",)
    stream = ReplyStream(draw, Sampling(), Rules(("Kit",), (), earlier, beginning="We walked down to"))
    assert "".join(stream) == " a boat."
    assert stream.redrawn == 1
    draws.clear()
    rules = Rules(("Kit",), (), earlier, beginning="We walked down to the lake. And then")
    assert "".join(ReplyStream(draw, Sampling(), rules)) == " the lake."  # new already, whatever follows


def test_the_end_of_a_long_reply_counts_what_was_there() -> None:
    def end(pieces: list[str], beginning: str) -> str:
        return "".join(end_with_sentence(pieces, 4, lambda text: 1, beginning))

    assert end([" it", " is", ". So", " we"], "I know") == " it is."
    assert end([" it", " is", " so", " we"], "I know") == " it is so we"  # within a sentence nothing is taken back
    assert end([" we", " went"], "I know.") == " we went"


def test_text_is_decoded_together_with_what_stands_before() -> None:
    """As tokenizers of SentencePiece write: the space of a first token is left out."""
    spelt = {1: "▁I", 2: "▁know", 3: "▁you"}

    def decode(ids: Sequence[int]) -> str:
        return "".join(spelt[each] for each in ids).replace("▁", " ")[1:]

    assert Detokeniser(decode).add([3]) == "you"
    assert Detokeniser(decode, [1, 2]).add([3]) == " you"


# The page


class ScriptEngine:
    """Says its text token by token (three signs), goes on where an unfinished reply stands, and may break."""

    def __init__(self, text: str = "I do not know. Ask Rosa about the lamp.", most: int = 100) -> None:
        self.text, self.most, self.broken = text, most, False
        self.asked: list[list[Mapping[str, str]]] = []

    def reply(self, messages: Sequence[Mapping[str, str]], sampling: Any) -> Iterator[str]:
        self.asked.append(list(messages))
        unfinished = messages[-1]["role"] == "assistant"
        at = len(messages[-1]["content"]) if unfinished else 0
        if unfinished:
            assert self.text.startswith(messages[-1]["content"])
        for number, start in enumerate(range(at, len(self.text), 3)):
            if number == self.most:
                return
            yield self.text[start : start + 3]
            if self.broken:
                raise UsageError("no memory is left.")


@pytest.fixture
def talk_with(tmp_path: Path) -> Callable[..., Talk]:
    def make(engine: Any, **more: Any) -> Talk:
        settings = load_settings(env_file=Path("/none"), environment={}, flags={"paths.data": tmp_path})
        source = Source("base", "the base", "Pellan", CAST, CAST.names, lambda character: engine, **more)
        service = Service(settings, lambda *_: source)
        service.load()
        return Talk(service, ChatStore(None), "Kept nowhere.")

    return make


ANN = Visit(character="Kit", name="Ann")


def run(views: Views) -> list[View]:
    async def collect() -> list[View]:
        return [view async for view in views]

    return asyncio.run(collect())


def say(talk: Talk, text: str, visit: Visit = ANN) -> Visit:
    return replace(visit, conversation=run(talk.send(visit, text))[-1]["visit"]["conversation"])


def path(talk: Talk, visit: Visit) -> list[Message]:
    return talk.store.path(visit.owner, visit.conversation)


def test_continue_gives_the_reply_that_would_have_come(talk_with: Callable[..., Talk]) -> None:
    for most in (1, 5, 6, 12):  # within a word, behind a sentence, in front of a space
        engine = ScriptEngine(most=most)
        talk = talk_with(engine)
        visit = say(talk, "Who?")
        cut = path(talk, visit)[-1].text
        assert cut == engine.text[: 3 * most].rstrip()
        engine.most = 100
        run(talk.go_on(visit))
        assert [each.text for each in path(talk, visit)] == ["Who?", engine.text]
        assert engine.asked[1][:-1] == engine.asked[0], "the prompt is the same, and ends inside the reply"
        assert engine.asked[1][-1] == {"role": "assistant", "content": cut}


def test_one_who_has_ended_has_nothing_to_add(talk_with: Callable[..., Talk]) -> None:
    talk = talk_with(ScriptEngine())
    visit = say(talk, "Who?")
    before = path(talk, visit)
    last = run(talk.go_on(visit))[-1]
    assert "Kit has nothing to add." in last["notice"]
    assert path(talk, visit) == before
    assert last["continue"]["interactive"]


def test_a_failure_loses_nothing(talk_with: Callable[..., Talk]) -> None:
    engine = ScriptEngine(most=4)
    talk = talk_with(engine)
    visit = say(talk, "Who?")
    engine.most, engine.broken = 100, True
    last = run(talk.go_on(visit))[-1]
    reply = path(talk, visit)[-1]
    assert "no memory is left" in last["notice"]
    assert (reply.text, reply.state) == (engine.text[:15].rstrip(), STOPPED)
    engine.broken = False
    run(talk.go_on(visit))
    assert (path(talk, visit)[-1].text, path(talk, visit)[-1].state) == (engine.text, DONE)


def test_after_a_continue_all_acts_go_on_as_ever(talk_with: Callable[..., Talk]) -> None:
    engine = ScriptEngine(most=3)
    talk = talk_with(engine)
    visit = say(talk, "Who?")
    engine.most = 100
    run(talk.go_on(visit))
    asked, reply = path(talk, visit)
    run(talk.retry(visit))
    assert [message["role"] for message in engine.asked[-1]] == ["system", "user"]
    assert path(talk, visit)[-1].alternatives == 2
    run(talk.swipe(visit, path(talk, visit)[-1].id, -1))
    assert path(talk, visit)[-1].text == engine.text
    branched = replace(visit, conversation=run(talk.branch(visit, reply.id))[-1]["visit"]["conversation"])
    assert [each.text for each in path(talk, branched)] == ["Who?", engine.text]
    assert run(talk.undo(visit))[-1]["box"] == "Who?"
    assert path(talk, visit) == []
    run(talk.redo(visit))
    assert [each.id for each in path(talk, visit)] == [asked.id, reply.id]


def test_stop_during_a_continue_keeps_both_parts(talk_with: Callable[..., Talk]) -> None:
    talk = talk_with(EchoEngine())
    conversation = talk.store.begin(ANN.owner, ["Kit"], "Ann")
    talk.store.say(ANN.owner, conversation.id, " ".join(map(str, range(80))))
    first = talk.store.reply(ANN.owner, conversation.id, "Kit", " ".join(map(str, range(20)))).text
    visit = ANN.at(conversation.id)

    async def act() -> None:
        async with contextlib.aclosing(talk.go_on(visit)) as views:
            await anext(views)
            await anext(views)
            await anext(talk.stop(visit))

    asyncio.run(act())
    now = path(talk, visit)[-1].text
    assert now.startswith(f"{first} 20 21")
    assert now.split() == list(map(str, range(len(now.split()))))


def test_in_a_scene_the_last_speaker_goes_on(talk_with: Callable[..., Talk]) -> None:
    engine = ScriptEngine(most=4)
    talk = talk_with(engine)
    visit = say(talk, "Rosa, who?", replace(ANN, scene=("Kit", "Rosa")))
    run(talk.let_talk(visit))
    engine.most = 100
    run(talk.go_on(visit))
    assert [(each.speaker, each.text) for each in path(talk, visit)] == [
        ("Ann", "Rosa, who?"), ("Rosa", "I do not kno"), ("Kit", engine.text),
    ]  # fmt: skip
    assert engine.asked[-1][:-1] == engine.asked[-2]
    assert "Rosa: I do not kno" in engine.asked[-1][-2]["content"]


def test_a_greeting_goes_on_too(talk_with: Callable[..., Talk]) -> None:
    engine = ScriptEngine("Hello, stranger.")
    talk = talk_with(engine)
    conversation = talk.store.begin(ANN.owner, ["Kit"], "Ann")
    talk.store.reply(ANN.owner, conversation.id, "Kit", "Hello, str")
    visit = ANN.at(conversation.id)
    run(talk.go_on(visit))
    assert [each.text for each in path(talk, visit)] == ["Hello, stranger."]
    assert [message["role"] for message in engine.asked[0]] == ["system", "user", "assistant"]


def test_nobody_goes_on_with_what_somebody_else_said() -> None:
    source = Source("base", "the base", "Pellan", CAST, CAST.names, lambda character: EchoEngine())
    with pytest.raises(SuiteError, match="cannot talk to"):
        stream_reply(source, "Kit", SAID[:2], Sampling(), 6)
    words = [Turn("Ann", "one two three four")]
    pieces = stream_reply(source, "Kit", words, Sampling(), 6, beginning="one two ")
    assert "".join(pieces) == " three four"


def test_quotes_go_on_with_other_lines() -> None:
    corpus = load_corpus(PROJECT_FOLDER / "data" / "sample_series")
    engine = QuotesEngine(corpus.spoken, corpus.cast, "Pip")
    source = Source("quotes", "quotes", "Pellan", corpus.cast, ("Pip",), lambda character: engine)
    asked, said = [Turn("Ann", "Where is the light?")], ""
    lines = []
    for _ in range(3):
        more = "".join(stream_reply(source, "Pip", asked, Sampling(), 6, beginning=said))
        assert more.startswith(" ") == bool(said)
        lines.append(more.strip())
        said += more
    assert len(set(lines)) == 3
    assert all(engine.locate(line) for line in lines)
