"""Lorebooks: when an entry joins, in which order, within which budget, and patterns that cannot hang."""

from __future__ import annotations

import time
from typing import Any

import pytest

from character_chatbot.cards.activation import Moment, activate
from character_chatbot.cards.decorators import split_decorators
from character_chatbot.cards.lorebook import Book, build_book
from character_chatbot.cards.patterns import PatternSearch, compile_pattern, split_slashed
from utils.errors import CardError

TEXTS = ("Ada: The harbour is quiet.", "Bo: Then let us wind the clock.", "Ada: My Lantern is out.")


def words(text: str) -> int:
    return len(text.split())


def entry(*keys: str, content: str = "", **more: Any) -> dict[str, Any]:
    given = {"keys": list(keys), "content": content or f"about {' '.join(keys)}", "enabled": True, "extensions": {}}
    return given | {"insertion_order": 0} | more


def book(*entries: dict[str, Any], **more: Any) -> Book:
    return build_book({"entries": list(entries), "extensions": {}} | more)


def awake(found: Book, *texts: str, budget: int = 1000, moment: Moment | None = None) -> list[str]:
    return [each.content for each in activate(found, texts or TEXTS, budget, words, moment)]


# Keys


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (entry("clock"), True),
        (entry("CLOCK"), True),
        (entry("whale"), False),
        (entry("whale", "harbour"), True),
        (entry(), False),
        (entry("Clock", case_sensitive=True), False),
        (entry("Lantern", case_sensitive=True), True),
        (entry("clock", enabled=False), False),
        (entry("whale", constant=True), True),
        (entry("whale", constant=True, enabled=False), False),
        (entry("clock", selective=True, secondary_keys=["whale"]), False),
        (entry("clock", selective=True, secondary_keys=["whale", "lantern"]), True),
        (entry("clock", selective=True, secondary_keys="whale, lantern"), True),
        (entry("clock", selective=True, secondary_keys=[]), True),
        (entry("clock", selective=False, secondary_keys=["whale"]), True),
        (entry(r"cl[aeo]ck\b", use_regex=True), True),
        (entry(r"CLOCK", use_regex=True), True),
        (entry(r"cl[", "clock", use_regex=True), True),
        (entry(r"cl[", use_regex=True), False),
        (entry(r"(?=clock)", use_regex=True), False),
        (entry("whale", use_regex=True, constant=True), False),
        (entry("clock", use_regex=True, selective=True, secondary_keys=["whale"]), True),
    ],
)
def test_an_entry_joins_when_its_keys_are_said(given: dict[str, Any], expected: bool) -> None:
    assert bool(awake(book(given))) is expected


def test_an_entry_without_content_adds_nothing() -> None:
    assert awake(book(entry("clock") | {"content": "  \n"})) == []


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({"keys": ["clock"]}, True),
        ({"keys": ["c.ock"]}, False),  # no slashes: text
        ({"keys": ["/c.ock/"]}, True),
        ({"keys": ["/C.OCK/"]}, False),
        ({"keys": ["/C.OCK/i"]}, True),
        ({"keys": ["whale"], "constant": True}, True),
        ({"keys": ["clock"], "selective": True, "secondary_keys": ["whale"]}, False),
    ],
)
def test_entries_of_sillytavern_are_read_as_it_reads_them(more: dict[str, Any], expected: bool) -> None:
    given = entry() | {"content": "x", "use_regex": True, "extensions": {"display_index": 0}} | more
    assert bool(awake(book(given))) is expected


@pytest.mark.parametrize(
    ("logic", "keys", "expected"),
    [
        (0, ["lantern", "whale"], True),
        (1, ["lantern", "whale"], True),
        (1, ["lantern", "harbour"], False),
        (2, ["whale"], True),
        (2, ["lantern", "whale"], False),
        (3, ["lantern", "harbour"], True),
        (3, ["lantern", "whale"], False),
    ],
)
def test_the_four_ways_of_secondary_keys(logic: int, keys: list[str], expected: bool) -> None:
    given = entry("clock", selective=True, secondary_keys=keys, extensions={"selectiveLogic": logic})
    assert bool(awake(book(given))) is expected


def test_whole_words_and_depth_of_sillytavern() -> None:
    extensions = {"selectiveLogic": 0, "match_whole_words": True, "position": 4, "depth": 2, "role": 2}
    assert awake(book(entry("lock", extensions=extensions))) == []
    (found,) = activate(book(entry("clock", extensions=extensions)), TEXTS, 100, words)
    assert (found.depth, found.role) == (2, "assistant")


# What is looked at


def test_only_the_last_messages_are_looked_at() -> None:
    assert awake(book(entry("harbour"), entry("lantern"), scan_depth=1)) == ["about lantern"]
    assert awake(book(entry("harbour"), entry("lantern"), scan_depth=0)) == []
    assert awake(book(entry("harbour", content="@@scan_depth 3\nquay"), scan_depth=1)) == ["quay"]


def test_the_content_of_entries_wakes_others_only_if_the_book_says_so() -> None:
    chain = (entry("clock", content="made by the smith"), entry("smith", content="has a forge"), entry("forge"))
    assert awake(book(*chain)) == ["made by the smith"]
    assert awake(book(*chain, recursive_scanning=True)) == ["made by the smith", "has a forge", "about forge"]
    alone = entry("smith", extensions={"exclude_recursion": True})
    assert awake(book(chain[0], alone, recursive_scanning=True)) == ["made by the smith"]


def test_comments_wake_nobody_and_hidden_keys_do() -> None:
    first = entry("clock", content="{{// smith}}{{comment: smith}}made{{hidden_key: forge}}")
    found = awake(book(first, entry("smith"), entry("forge"), recursive_scanning=True), "a clock")
    assert found[1:] == ["about forge"]


def test_each_entry_may_look_at_other_messages_without_taking_long() -> None:
    deep = [entry("none", content=f"@@scan_depth {depth}\nx") for depth in range(3000)]
    started = time.process_time()
    assert awake(book(*deep, entry("clock")), *["the clock " * 1000] * 3000) == ["about clock"]
    assert time.process_time() - started < 2


# Order and budget


def test_entries_come_in_the_order_of_insertion() -> None:
    found = book(entry("clock", insertion_order=9), entry("lantern", insertion_order=1), entry("wind"))
    assert awake(found) == ["about wind", "about lantern", "about clock"]


def test_the_least_important_are_dropped_first() -> None:
    rows = [entry("clock", content=f"{name} x x", priority=at, insertion_order=-at) for at, name in enumerate("abc")]
    assert awake(book(*rows), budget=6) == ["c x x", "b x x"]
    assert awake(book(*rows), budget=5) == ["c x x"]
    assert awake(book(*rows, token_budget=6)) == ["c x x", "b x x"]
    assert awake(book(*rows, token_budget=0)) == ["c x x", "b x x", "a x x"]  # 0: not set
    assert awake(book(*rows, token_budget=60), budget=3) == ["c x x"]


def test_nothing_less_important_takes_the_place_of_what_does_not_fit() -> None:
    rows = [entry("clock", content="x " * size, priority=-at) for at, size in enumerate((3, 4, 1))]
    assert awake(book(*rows), budget=5) == ["x x x"]


def test_one_entry_too_large_keeps_out_no_other_and_is_not_counted() -> None:
    rows = [entry("clock", content="x " * 100_000, priority=9), entry("clock", content="short")]
    counted: list[str] = []

    def count(text: str) -> int:
        counted.append(text)
        return words(text)

    assert [each.content for each in activate(book(*rows), TEXTS, 10, count)] == ["short"]
    assert counted == ["short"]


def test_without_priority_the_lowest_insertion_order_goes() -> None:
    rows = [entry("clock", content=f"{at} x", insertion_order=at) for at in range(3)]
    assert awake(book(*rows), budget=4) == ["1 x", "2 x"]


# Decorators


def test_decorators_are_split_from_the_content() -> None:
    text = "@@depth 4\n@@role system\n\n@@unknown 1\n@@@scan_depth 2\n@@depth 9\n\nThe text.\n@@ stays"
    assert split_decorators(text) == ({"depth": 4, "role": "system", "scan_depth": 2}, "The text.\n@@ stays")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("@@new 1\n@@@newer 2\n@@@depth 3\n@@@role user\nx", {"depth": 3}),
        ("@@depth 1\n@@@role user\nx", {"depth": 1}),
        ("@@role pirate\n@@@depth 2\nx", {"depth": 2}),
        ("@@depth many\nx", {}),
        ("@@activate_only_every 0\nx", {}),
        ("@@exclude_keys a, b,\nx", {"exclude_keys": ("a", "b")}),
        ("@@activate\nx", {"activate": True}),
        ("@@@depth 1\nx", {"depth": 1}),
        ("x\n@@depth 1", {}),
    ],
)
def test_fallbacks_count_where_the_first_is_not_known(content: str, expected: dict[str, object]) -> None:
    assert split_decorators(content)[0] == expected


@pytest.mark.parametrize(
    ("lines", "moment", "expected"),
    [
        ("@@activate", Moment(), True),
        ("@@dont_activate", Moment(), False),
        ("@@dont_activate\n@@activate", Moment(), True),
        ("@@additional_keys lantern", Moment(), True),
        ("@@additional_keys whale", Moment(), False),
        ("@@exclude_keys lantern", Moment(), False),
        ("@@exclude_keys whale", Moment(), True),
        ("@@activate_only_after 3", Moment(replies=2), False),
        ("@@activate_only_after 3", Moment(replies=3), True),
        ("@@activate_only_after 3", Moment(), True),
        ("@@activate_only_every 2", Moment(replies=3), False),
        ("@@activate_only_every 2", Moment(replies=4), True),
        ("@@is_greeting 1", Moment(greeting=0), False),
        ("@@is_greeting 1", Moment(greeting=1), True),
        ("@@is_greeting 1", Moment(), True),
        ("@@dont_activate_after_match", Moment(earlier=frozenset({0})), False),
        ("@@dont_activate_after_match", Moment(earlier=frozenset({1})), True),
    ],
)
def test_decorators_decide_with_the_moment(lines: str, moment: Moment, expected: bool) -> None:
    assert bool(awake(book(entry("clock", content=f"{lines}\nx")), moment=moment)) is expected


def test_an_entry_is_kept_after_a_match_and_activate_needs_no_key() -> None:
    found = book(entry("whale", content="@@keep_activate_after_match\nx"), entry(content="@@activate\ny"))
    assert awake(found) == ["y"]
    assert awake(found, moment=Moment(earlier=frozenset({0}))) == ["x", "y"]


def test_depth_role_and_position() -> None:
    (one, two) = book(entry("a", content="@@depth 0\n@@role user\nx"), entry("b", position="after_char")).entries
    assert (one.depth, one.role, two.depth, two.position) == (0, "user", None, "after_char")
    (three,) = book(entry("a", content="@@position after_desc\n@@depth 2\nx")).entries
    assert (three.depth, three.position) == (None, "after_desc")


def test_what_is_to_be_trimmed_first_is() -> None:
    rows = [entry("clock", content="@@ignore_on_max_context\na a", priority=9), entry("clock", content="b b")]
    assert awake(book(*rows), budget=2) == ["b b"]


# Patterns of strangers


@pytest.mark.parametrize(
    "pattern",
    ["(a+)+$", "(a|a)*b", "(((a{100}){10}){10})", "a{1000}" * 60, "(" * 5000 + ")" * 5000, "x" * 100_000, "(.*)*" * 40,
     "[", "\\", "(?P<a>x)(?P=a)", "\ud800"],
)  # fmt: skip
def test_no_pattern_hangs(pattern: str) -> None:
    start = time.process_time()
    PatternSearch().found(pattern, False, "a" * 100_000 + "c")
    assert time.process_time() - start < 1


def test_when_the_time_is_up_nothing_is_found() -> None:
    search = PatternSearch(seconds=0)
    assert not search.found("a", True, "a")
    assert PatternSearch().found("a", True, "a")


def test_slashed_keys() -> None:
    assert split_slashed("/a.c/i") == ("a.c", False)
    assert split_slashed(r"/a\/c/s") == ("(?s)a/c", True)
    assert split_slashed("/a/b/i") is None
    assert split_slashed("and/or") is None
    assert compile_pattern("(", True) is None


def test_a_large_book_is_looked_through_quickly() -> None:
    rows = [entry(f"key{number}", f"word {number}") for number in range(2000)]
    start = time.process_time()
    said = awake(book(*rows, recursive_scanning=True), "x" * 100_000, "key77 ")
    assert said == ["about key7 word 7", "about key77 word 77"]
    assert time.process_time() - start < 2


# Books that are none


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "is a list, which is not an object"),
        ({"entries": {"0": {}}}, "'entries' is not a list"),
        ({"entries": [7]}, "entry 1 is 7, which is not an object"),
        ({"entries": [{"keys": "clock"}]}, "entry 1: 'keys' is 'clock', which is not a list of texts"),
        ({"entries": [{"keys": [1]}]}, "'keys' is a list, which is not a list of texts"),
        ({"entries": [{"content": 5}]}, "'content' is 5, which is not a text"),
        ({"entries": [{"enabled": "yes"}]}, "'enabled' is 'yes', which is not true or false"),
        ({"entries": [{"insertion_order": True}]}, "'insertion_order' is true, which is not a number"),
        ({"entries": [{"priority": 1e999}]}, "not a number of any use"),
        ({"entries": [{"priority": 10**400}]}, "not a number of any use"),
        ({"entries": [], "scan_depth": "4"}, "'scan_depth' is '4', which is not a number"),
        ({"entries": [{}] * 5001}, "5,001 entries"),
        ({"entries": [{"keys": ["k"] * 1000}] * 11}, "11,000 keys"),
        ({"entries": [{"extensions": []}]}, "extensions is a list"),
    ],
)
def test_a_broken_book_is_a_sentence(content: object, message: str) -> None:
    with pytest.raises(CardError, match=message.replace("(", r"\(")):
        build_book(content)


def test_what_is_absent_or_null_has_a_default() -> None:
    (found,) = build_book({"entries": [{"content": "x", "keys": None, "enabled": None, "priority": None}]}).entries
    assert (found.enabled, found.keys, found.insertion_order) == (True, (), 0)
