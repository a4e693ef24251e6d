"""Character cards: both specifications and V1, JSON and PNG, whole round trips, and cards that mean harm."""

from __future__ import annotations

import base64
import copy
import io
import json
import random
import struct
import time
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from character_chatbot.cards.card import V2, V3, Card, build_card, edit_card, to_object
from character_chatbot.cards.card_file import format_json, format_png, parse_card, read_card, write_card
from character_chatbot.cards.casting import cut_text, from_character, to_character, with_cards
from character_chatbot.cards.commands import run_card_action
from character_chatbot.cards.macros import fill
from character_chatbot.cards.png import SIGNATURE, find_card_json, read_chunks, with_card
from character_chatbot.cards.portrait import draw_portrait, initials
from character_chatbot.cards.shelf import CardShelf, make_slug
from training_pipeline import build_parser
from utils.characters import Cast, Character
from utils.errors import CardError, UsageError

DATA: dict[str, Any] = {
    "name": "Mara Quill",
    "description": "{{char}} keeps the light.\r\nShe has known {{user}} for years.",
    "personality": "dry",
    "scenario": "a storm",
    "first_mes": "*looks up* Ahoy, {{user}}.",
    "mes_example": "<START>\n{{user}}: Hi\n{{char}}: Mind the stairs.\nAll of them.\n"
    "<start>\n{{User}}: Bye\nMara Quill: Go.",
    "creator_notes": "notes",
    "system_prompt": "",
    "post_history_instructions": "Stay brief.",
    "alternate_greetings": ["Who is there?"],
    "tags": ["sea", "light"],
    "creator": "somebody",
    "character_version": "1.2",
    "extensions": {"depth_prompt": {"depth": 4, "prompt": "x"}, "talkativeness": "0.5", "agnai/voice": None},
    "character_book": {
        "name": "The Light",
        "extensions": {"x": [1, {"y": 2}]},
        "entries": [
            {
                "keys": ["stairs"],
                "content": "@@depth 2\nThere are 99 stairs.",
                "extensions": {"probability": 100},
                "enabled": True,
                "insertion_order": 10,
                "id": 3,
                "unheard_of": {"a": [None, 1.5]},
            }
        ],
    },
    "unknown_field": [1, "zwei", {"drei": 3}],
}
CARD_V2 = {"spec": "chara_card_v2", "spec_version": "2.0", "data": DATA, "name": "Mara Quill", "fav": False}
CARD_V3 = {
    "spec": "chara_card_v3",
    "spec_version": "3.0",
    "data": DATA
    | {
        "nickname": "Mara",
        "group_only_greetings": ["All of you?"],
        "assets": [{"type": "icon", "uri": "ccdefault:", "name": "main", "ext": "png"}],
        "source": ["https://example.org/1"],
        "creation_date": 1700000000,
    },
}
CARD_V1 = {
    **{key: DATA[key] for key in ("name", "description", "personality", "scenario", "first_mes", "mes_example")},
    "creatorcomment": "by me",
    "talkativeness": 0.5,
}


def encode(content: object) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*texts: bytes, width: int = 1, height: int = 1) -> bytes:
    """A grey picture with these chunks; only as many pixels as its header says if that is one."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0\0"))
    return SIGNATURE + body + b"".join(texts) + chunk(b"IEND", b"")


def text_chunk(content: object, keyword: bytes = b"chara") -> bytes:
    return chunk(b"tEXt", keyword + b"\0" + base64.b64encode(encode(content)))


def card(**changes: Any) -> Card:
    return build_card({"spec": "chara_card_v2", "spec_version": "2.0", "data": DATA | changes})


# What is read


@pytest.mark.parametrize(
    ("content", "spec"), [(CARD_V1, "v1"), (CARD_V2, "v2"), (CARD_V3, "v3"), ({"data": DATA}, "v2")]
)
@pytest.mark.parametrize("in_picture", [False, True])
def test_every_specification_is_read_from_json_and_png(content: dict[str, Any], spec: str, in_picture: bool) -> None:
    found = parse_card(png(text_chunk(content)) if in_picture else encode(content))
    assert (found.spec, found.name, found.scenario) == (spec, "Mara Quill", "a storm")
    assert found.description == "{{char}} keeps the light.\nShe has known {{user}} for years."
    assert bool(found.image) is in_picture
    if spec == "v1":
        assert (found.creator_notes, found.book, found.alternate_greetings) == ("by me", None, ())
    else:
        assert found.book and [each.content for each in found.book.entries] == ["There are 99 stairs."]
        assert (found.alternate_greetings, found.tags) == (("Who is there?",), ("sea", "light"))
    assert found.called == ("Mara" if spec == "v3" else "Mara Quill")


def test_v3_comes_before_v2_in_a_picture() -> None:
    newer = CARD_V3 | {"data": DATA | {"name": "Newer"}}
    assert parse_card(png(text_chunk(CARD_V2), text_chunk(newer, b"ccv3"))).name == "Newer"
    assert parse_card(png(text_chunk(CARD_V2, b"Chara"))).name == "Mara Quill"


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt"])
def test_packed_text_chunks_are_read(kind: bytes) -> None:
    packed = zlib.compress(base64.b64encode(encode(CARD_V2)))
    head = b"chara\0\0" if kind == b"zTXt" else b"chara\0\1\0en\0\0"
    assert parse_card(png(chunk(kind, head + packed))).name == "Mara Quill"


def test_base64_as_others_write_it_is_read() -> None:
    text = base64.encodebytes(encode(CARD_V2)).rstrip(b"=\n")
    assert parse_card(png(chunk(b"tEXt", b"chara\0" + text))).name == "Mara Quill"


def test_a_newer_version_is_read_and_said() -> None:
    found = build_card(CARD_V3 | {"spec_version": "3.1"})
    assert found.notes == ("Its version is '3.1'; it was read as 3.0.",)
    assert to_object(found)["spec_version"] == "3.1"


# What is written


@pytest.mark.parametrize("content", [CARD_V2, CARD_V3])
@pytest.mark.parametrize("form", ["json", "png"])
def test_a_round_trip_loses_nothing(content: dict[str, Any], form: str) -> None:
    found = build_card(copy.deepcopy(content))
    for _ in range(2):
        found = parse_card(format_json(found) if form == "json" else format_png(found))
        assert to_object(found) == content


def test_text_that_is_half_a_character_survives() -> None:
    odd = {"x": "\ud83d", "control": "\x1b[31m\x00", "name": "𝔐"}
    found = card(extensions=odd)
    assert to_object(parse_card(format_json(found)))["data"]["extensions"] == odd


def test_an_edit_changes_one_field_and_its_copy() -> None:
    found = build_card(copy.deepcopy(CARD_V2))
    edited = edit_card(found, name="Mara", first_mes="Ahoy.")
    assert (edited.name, edited.greeting, found.name) == ("Mara", "Ahoy.", "Mara Quill")
    assert to_object(edited) == CARD_V2 | {"name": "Mara", "data": DATA | {"name": "Mara", "first_mes": "Ahoy."}}
    with pytest.raises(CardError, match="'tags' is 'sea', which is not a list of texts"):
        edit_card(found, tags="sea")


def test_a_v1_card_becomes_v2_and_v3_with_all_that_they_ask_for() -> None:
    found = build_card(copy.deepcopy(CARD_V1))
    written = to_object(found)
    assert (written["spec"], written["spec_version"], written["talkativeness"]) == ("chara_card_v2", "2.0", 0.5)
    assert set(written["data"]) == {
        "name", "description", "personality", "scenario", "first_mes", "mes_example", "creator_notes", "system_prompt",
        "post_history_instructions", "alternate_greetings", "tags", "creator", "character_version", "extensions",
    }  # fmt: skip
    newer = to_object(found, V3)
    assert (newer["spec"], newer["data"]["group_only_greetings"]) == ("chara_card_v3", [])


def test_between_v2_and_v3() -> None:
    newer = to_object(build_card(CARD_V2), V3)
    assert newer["spec_version"] == "3.0"
    assert newer["data"]["character_book"]["entries"][0]["use_regex"] is False
    older = to_object(build_card(CARD_V3), V2)
    assert older["spec"] == "chara_card_v2"
    assert older["data"]["character_book"]["entries"][0]["content"] == "There are 99 stairs."
    assert older["data"]["assets"] == CARD_V3["data"]["assets"]  # type: ignore[index]
    assert CARD_V3["data"]["character_book"]["entries"][0]["content"].startswith("@@depth")  # type: ignore[index]


def test_a_picture_for_v3_has_a_copy_for_v2_that_says_so() -> None:
    chunks = read_chunks(format_png(build_card(CARD_V3)), "x")
    assert [each.keyword for each in chunks if each.keyword] == ["chara", "ccv3"]
    older = json.loads(find_card_json([each for each in chunks if each.keyword != "ccv3"], "x"))
    assert older["spec"] == "chara_card_v2"
    assert older["data"]["creator_notes"].endswith("properly.\nnotes")
    assert json.loads(find_card_json(chunks, "x")) == CARD_V3
    only = read_chunks(format_png(build_card(CARD_V3), V2), "x")
    assert [each.keyword for each in only if each.keyword] == ["chara"]


def test_the_picture_stays_and_old_card_data_goes() -> None:
    other = chunk(b"tEXt", b"chara-ext-asset_:a.png\0QQ==")
    found = parse_card(png(text_chunk(CARD_V2), other, text_chunk(CARD_V3, b"CCV3")))
    assert found.image == png(other)
    written = format_png(found, V2)
    assert written.count(b"chara\0") == 1
    assert b"ccv3" not in written.lower()
    assert parse_card(written).image == png(other)


def test_a_card_without_a_picture_gets_its_initials() -> None:
    with Image.open(io.BytesIO(format_png(build_card(CARD_V2)))) as image:
        image.load()
        assert image.size == (400, 600)
        assert "chara" in image.text  # type: ignore[attr-defined]
        assert len(image.getcolors(1000) or ()) > 2  # letters on a ground
    assert draw_portrait("Mara") == draw_portrait("Mara") != draw_portrait("Ada")
    assert [initials(name) for name in ("Mara Quill", "mara", "Mara of the Light", "…", "李 雷")] == [
        "MQ", "M", "ML", "?", "李雷",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("more", "notes"),
    [
        ({"creator_notes_multilingual": {"de": "Hallo", "en": "Hello"}}, "Hello"),
        ({"creator_notes_multilingual": {"de": "Hallo"}}, "plain"),
        ({"creator_notes_multilingual": {"de": "Hallo"}, "creator_notes": ""}, "Hallo"),
        ({"creator_notes_multilingual": []}, "plain"),
    ],
)
def test_notes_in_several_languages(more: dict[str, Any], notes: str) -> None:
    data = CARD_V3["data"] | {"creator_notes": "plain"} | more
    assert parse_card(encode(CARD_V3 | {"data": data})).creator_notes == notes


# Cards that are none


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not valid JSON"),
        (b"no card", "not valid JSON"),
        (b"\xff\xfe{}", "not UTF-8"),
        (b"[1]", "holds a list"),
        (b'"text"', "holds 'text'"),
        (b'{"a": NaN}', "NaN is no number"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"data":' + b'{"a":' * 100 + b"1" + b"}" * 101, "nested too deeply"),
        (b"[" + b"1," * 400_001 + b"1]", "parts"),
        (b'{"a": 1e999}', "1e999 is no number"),
        (b'{"x": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (encode({}), "'spec' is null"),
        (encode({"spec": "chara_card_v9", "data": DATA}), "'spec' is 'chara_card_v9'"),
        (encode({"spec": ["chara_card_v2"], "data": DATA}), "'spec' is a list"),
        (encode({"spec": "lorebook_v3", "data": {"entries": []}}), "a lorebook of its own"),
        (encode({"name": "World", "entries": {}}), "a lorebook of its own (World Info), and no character card"),
        (encode({"spec": "chara_card_v2"}), "'data' is null"),
        (encode({"spec": "chara_card_v2", "data": []}), "'data' is a list"),
        (encode(CARD_V2 | {"data": DATA | {"name": 5}}), "'name' is 5, which is not a text"),
        (encode(CARD_V2 | {"data": DATA | {"name": None}}), "has no name"),
        (encode(CARD_V2 | {"data": DATA | {"name": " \u200b\n…"}}), "has no name"),
        (encode(CARD_V2 | {"data": DATA | {"name": "x" * 201}}), "'name' has 201 characters"),
        (encode(CARD_V2 | {"data": DATA | {"description": ["x"]}}), "'description' is a list"),
        (encode(CARD_V2 | {"data": DATA | {"description": "x" * 500_001}}), "500,001 characters"),
        (encode(CARD_V2 | {"data": DATA | {"alternate_greetings": "Hi"}}), "not a list of texts"),
        (encode(CARD_V2 | {"data": DATA | {"tags": ["x"] * 1001}}), "1,001 texts"),
        (encode(CARD_V2 | {"data": DATA | {"extensions": "x"}}), "extensions is 'x'"),
        (encode(CARD_V2 | {"data": DATA | {"character_book": 1}}), "lorebook is 1"),
        (encode(CARD_V2 | {"data": DATA | {"character_book": {"entries": {}}}}), "not a list"),
        (b"PK\x03\x04" + b"x" * 50, "unzip -p 'the card' card.json"),
        (b"\xff\xd8\xff\xe0", "a JPEG"),
        (SIGNATURE, "ends before its last chunk"),
        (png(), "a picture without a character card"),
        (png(text_chunk(CARD_V2))[:-30], "damaged PNG"),
        (png(text_chunk(CARD_V2)).replace(b"IDAT", b"IDOT"), "checksum"),
        (SIGNATURE + struct.pack(">I", 2**32 - 1) + b"IHDR" + b"x" * 20, "goes beyond its end"),
        (SIGNATURE + chunk(b"IEND", b""), "does not start with IHDR"),
        (png(text_chunk(CARD_V2), width=100_000, height=100_000), "100,000 x 100,000 pixels"),
        (png(text_chunk(CARD_V2), width=0), "0 x 1 pixels"),
        (png(chunk(b"tEXt", b"chara\0%%%")), "not base64"),
        (png(chunk(b"tEXt", b"chara\0" + "ä".encode())), "not base64"),
        (png(chunk(b"tEXt", b"chara")), "not valid JSON"),
        (png(chunk(b"zTXt", b"chara\0\0garbage")), "cannot be unpacked"),
        (png(chunk(b"zTXt", b"chara\0\0" + zlib.compress(b"A" * 30_000_000))), "unpacks to more than"),
        (png(*[chunk(b"tIME", b"")] * 20_001), "20,000 chunks"),
        (b" " * 10_000_001, "more than 10 MB"),
    ],
)  # fmt: skip
def test_a_broken_or_hostile_card_is_a_sentence(content: bytes, message: str) -> None:
    with pytest.raises(CardError) as caught:
        parse_card(content)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 400
    assert str(caught.value).isprintable() or "\n" in str(caught.value)


@pytest.mark.parametrize("name", ["none.json", ".", "a\0b"])
def test_a_file_that_cannot_be_read_is_a_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(CardError):
        read_card(tmp_path / name)


def test_markup_and_control_characters_are_text_without_control() -> None:
    found = card(name="<b>Eve</b>\x00\x1b[31m\n", description="<script>alert(1)</script>\x07\u202e{{char}}")
    assert (found.name, found.description) == ("<b>Eve</b>[31m", "<script>alert(1)</script>{{char}}")
    character = to_character(found)
    assert character.persona.startswith("<script>alert(1)</script><b>Eve</b>")


def mutate(content: bytes, draw: random.Random) -> bytes:
    """A few bytes changed, doubled, cut out or cut off."""
    changed = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(len(changed))
        kind = draw.randrange(4)
        if kind == 0:
            changed[at] = draw.randrange(256)
        elif kind == 1:
            changed[at:at] = changed[at : at + draw.randint(1, 30)]
        elif kind == 2:
            del changed[at : at + draw.randint(1, 30)]
        else:
            changed[at : at + 1] = draw.choice(
                [b'"', b"{", b"[", b"null", b"-1e400", b'"\\ud800"', b"true", b"\\u0000"]
            )
    return bytes(changed[: draw.randrange(1, len(changed))] if draw.random() < 0.1 else changed) or b"x"


ODD: list[Any] = [None, True, -1, 1e300, 10**400, "", "x", "\ud800", [], [[]], {}, {"a": 1}, ["x", 1], "@@depth\n@@"]


def spoil(content: Any, draw: random.Random) -> None:
    """Another value in some place of a JSON object, whatever its depth."""
    while True:
        keys = list(content) if isinstance(content, dict) else list(range(len(content)))
        key = draw.choice(keys)
        if isinstance(content[key], dict | list) and content[key] and draw.random() < 0.8:
            content = content[key]
            continue
        content[key] = copy.deepcopy(draw.choice(ODD))
        return


def use(content: bytes) -> bool:
    """Read a card and do everything with it; False where it is refused."""
    try:
        found = parse_card(content)
    except CardError:
        return False
    to_character(found)
    for spec in (V2, V3):
        assert parse_card(format_json(found, spec)).name == found.name
    if found.image:
        assert parse_card(format_png(found)).raw["data"] == found.raw["data"]
    return True


def test_no_mutation_of_a_card_is_anything_but_read_or_refused() -> None:
    draw = random.Random(7)
    read = 0
    for number in range(300):
        source = draw.choice([CARD_V1, CARD_V2, CARD_V3])
        json_text = encode(source)
        if number % 3 == 0:
            read += use(mutate(json_text, draw))
        elif number % 3 == 1:
            read += use(mutate(png(text_chunk(source)), draw))
        else:  # a sound picture around a damaged text
            text = chunk(b"tEXt", b"chara\0" + base64.b64encode(mutate(json_text, draw)))
            read += use(png(text))
    for _ in range(300):
        content = copy.deepcopy(draw.choice([CARD_V1, CARD_V2, CARD_V3]))
        for _ in range(draw.randint(1, 3)):
            spoil(content, draw)
        read += use(json.dumps(content).encode())
    assert 100 < read < 550  # neither is everything read nor everything refused


# Macros


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{{char}} {{CHAR}} {{ Char }} <BOT> <char>", "Mara Mara Mara Mara Mara"),
        ("{{user}} <USER> {{User}}", "{{char}} {{char}} {{char}}"),
        ("a{{// hidden}}b{{comment: x}}c{{hidden_key:y}}", "abc"),
        ("{{reverse:abc}}", "cba"),
        ("{{random}} {{roll:x}} {{unknown}} {{}} {char}", "{{random}} {{roll:x}} {{unknown}} {{}} {char}"),
        ("{{reverse:{{char}}}} {{// {{user}} {{x}} }}{{{char}}} {{a {{char}}", "araM {Mara} {{a Mara"),
        ("{{a" * 3 + "}} }}", "{{a{{a{{a}} }}"),
        ("<b>{{char</b>}}", "<b>{{char</b>}}"),
    ],
)
def test_macros_are_filled_once(text: str, expected: str) -> None:
    assert fill(text, "Mara", "{{char}}") == expected


def test_drawn_macros() -> None:
    draw = random.Random(1)
    assert {fill("{{random:a,b\\,c}}", "", "", draw) for _ in range(30)} == {"a", "b,c"}
    assert {fill(f"{{{{pick::a,b}}}}{at}", "", "")[0] for at in range(30)} == {"a", "b"}
    assert {fill("{{roll:d3}}", "", "", draw) for _ in range(60)} == {"1", "2", "3"}
    assert fill("{{roll:x}} {{roll:0}}", "", "", draw) == "{{roll:x}} {{roll:0}}"
    assert {fill("{{random::a::b,c}}", "", "", draw) for _ in range(30)} == {"a", "b,c"}
    many = "{{pick:a,b}}" * 20
    assert len({fill(many, "", "", draw) for _ in range(9)}) == 1, "the same in the same prompt"
    assert set(fill(many, "", "")) == {"a", "b"}
    assert fill("{{random:a,b}}" * 20, "", "") == fill("{{random:a,b}}" * 20, "", ""), (
        "so that it need not be read anew"
    )


@pytest.mark.parametrize("text", ["{{" * 100_000, "{{a" * 60_000 + "}}" * 60_000, "{{random:" + "," * 200_000 + "}}"])
def test_no_macro_takes_long(text: str) -> None:
    started = time.process_time()
    fill(text, "Mara", "Ann")
    assert time.process_time() - started < 1


# Characters


def test_a_card_becomes_a_character() -> None:
    character = to_character(build_card(CARD_V3), user="Sam")
    persona = "Mara keeps the light.\nShe has known Sam for years.\nPersonality: dry\nScenario: a storm"
    assert character == Character("Mara Quill", ("Mara",), persona, ("Mind the stairs. All of them.", "Go."))


def test_a_long_persona_ends_with_a_sentence() -> None:
    assert cut_text("One two. Three four. Five", 22) == "One two. Three four."
    assert cut_text("one two three", 9) == "one two"
    assert cut_text("x" * 20, 9) == "x" * 9
    assert len(to_character(card(description="Word. " * 5000)).persona) <= 4000


def test_a_character_of_ours_comes_back_from_its_card() -> None:
    mine = Character("Pip", ("Pippa", "Miss Tansy"), "You are Pip: nosy.", ("Is that a whale?", "Ten: out of ten."))
    made = from_character(mine, "The Pellan Light", greeting="Hello?")
    assert (made.spec, made.greeting, made.tags) == ("v3", "Hello?", ("The Pellan Light",))
    for content in (format_json(made), format_png(made), format_png(made, V2)):
        assert to_character(parse_card(content)) == mine


def test_imported_characters_join_the_cast_and_nobody_loses_a_name(tmp_path: Path) -> None:
    shelf = CardShelf(tmp_path / "cards")
    cast = Cast([Character("Mara Quill"), Character("Bo", ("Mara",))])
    assert with_cards(cast, shelf) == (cast, {})
    shelf.save(build_card(CARD_V2))
    shelf.save(build_card(CARD_V3))
    shelf.save(card(name="Ada"))
    (tmp_path / "cards" / "broken-0123456789ab.json").write_text("{")
    joined, found = with_cards(cast, shelf)
    assert joined.names[:2] == ("Mara Quill", "Bo")
    assert set(joined.names[2:]) == set(found) == {"Ada", "Mara Quill (card)", "Mara Quill (card 2)"}
    assert joined.get("Mara").name == "Bo"
    assert found["Ada"].greeting.startswith("*looks up*")


# The shelf


@pytest.mark.parametrize(
    ("name", "slug"),
    [("Mara Quill", "mara-quill"), ("../../etc/passwd", "etc-passwd"), ("..", "card"), ("李雷", "card"),
     ("Ünï/\\", "uni"), ("x" * 99, "x" * 40), ("CON\n", "con")],
)  # fmt: skip
def test_a_name_is_never_a_path(tmp_path: Path, name: str, slug: str) -> None:
    assert make_slug(name) == slug
    if name != "..":  # no card has such a name
        key = CardShelf(tmp_path / "cards").save(card(name=name))
        assert key.startswith(f"{slug}-")
        assert [file.name for file in (tmp_path / "cards").iterdir()] == [f"{key}.json"]


def test_a_shelf_saves_finds_and_deletes(tmp_path: Path) -> None:
    shelf = CardShelf(tmp_path / "cards")
    assert shelf.keys() == ()
    key = shelf.save(parse_card(png(text_chunk(CARD_V3))))
    assert shelf.save(parse_card(png(text_chunk(CARD_V3)))) == key
    assert shelf.keys() == (key,)
    for name in (key, "Mara Quill", "mara  QUILL", "mara"):
        assert shelf.find(name)[0] == key
    assert to_object(shelf.load(key)) == CARD_V3
    assert shelf.load(key).image == png()
    other = shelf.save(card(description="another"))
    with pytest.raises(CardError, match="2 cards are called") as caught:
        shelf.find("Mara Quill")
    assert key in str(caught.value) and other in str(caught.value)
    shelf.delete(key)
    assert shelf.keys() == (other,)


KEYS = ("../x", "../cards/x", "x", "", "..", "mara-quill-0123456789ab/..", "nobody-0123456789ab")


@pytest.mark.parametrize("key", KEYS)
def test_no_key_leads_out_of_the_shelf(tmp_path: Path, key: str) -> None:
    (tmp_path / "x.json").write_bytes(encode(CARD_V2))
    shelf = CardShelf(tmp_path / "cards")
    shelf.save(build_card(CARD_V2))
    for method in (shelf.load, shelf.delete, shelf.find):
        with pytest.raises(CardError, match="no card"):
            method(key)
    assert (tmp_path / "x.json").exists()


def test_a_card_is_written_as_the_file_is_called(tmp_path: Path) -> None:
    found = build_card(CARD_V3)
    write_card(found, tmp_path / "new" / "a.JSON")
    assert json.loads((tmp_path / "new" / "a.JSON").read_bytes()) == CARD_V3
    with pytest.raises(UsageError, match=r"ends neither in \.json"):
        write_card(found, tmp_path / "a.webp")
    with pytest.raises(CardError, match="not a PNG"):
        with_card(b"GIF", {})


# Commands


def cards(folder: Path, *words: str) -> int:
    """What ``python training_pipeline.py cards …`` does, without its logs."""
    return run_card_action(build_parser().parse_args(["cards", *words]), folder, 10_000_000)


def test_the_commands(tmp_path: Path, series_folder: Any, capsys: pytest.CaptureFixture[str]) -> None:
    folder = series_folder(episodes=1, scenes=1)
    file, broken = tmp_path / "mara.png", tmp_path / "broken.json"
    file.write_bytes(png(text_chunk(CARD_V3)))
    broken.write_text("{")
    assert cards(folder, "import", str(broken), str(file)) == 1  # the sound one is imported all the same
    out, err = capsys.readouterr()
    assert "Mara Quill: imported as mara-quill-" in out
    assert "broken.json is not valid JSON" in err
    assert cards(folder, "list") == 0
    assert "V3, 2 greetings, a lorebook of 1, a picture" in capsys.readouterr().out
    assert cards(folder, "show", "mara") == 0
    assert "scenario     a storm" in capsys.readouterr().out
    assert cards(folder, "show", "mara", "--json") == 0
    assert json.loads(capsys.readouterr().out) == CARD_V3
    assert cards(folder, "export", "mara", "--out", str(tmp_path / "out.json"), "--spec", "v2") == 0
    assert json.loads((tmp_path / "out.json").read_bytes())["spec"] == "chara_card_v2"
    assert cards(folder, "export", "Ada", "--out", str(tmp_path / "ada.png")) == 0
    assert to_character(read_card(tmp_path / "ada.png")).persona == "You are Ada, who mends clocks."
    assert cards(folder, "delete", "mara") == 0
    capsys.readouterr()
    assert cards(folder, "list") == 0
    assert capsys.readouterr().out.startswith("No cards in")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["import"], UsageError),
        (["show"], UsageError),
        (["list", "x"], UsageError),
        (["export", "x"], UsageError),
        (["export", "Nobody", "--out", "x.json"], CardError),
        (["delete", "Nobody"], CardError),
    ],
)
def test_a_wrong_command_is_a_sentence(tmp_path: Path, words: list[str], error: type[Exception]) -> None:
    with pytest.raises(error):
        cards(tmp_path, *words)
