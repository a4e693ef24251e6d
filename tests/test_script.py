"""The prompt of a text completion: what is told, what is said, and what is to go on."""

from __future__ import annotations

import pytest

from character_chatbot.api.script import Script, read_script
from character_chatbot.prompts import Turn

# As SillyTavern 1.19.0 writes it: story, examples and greeting, each behind three asterisks.
TAVERN = """You are Kit: a mender of nets.
Scenario: The pier.
***
Ann: Who rang the bell?
Kit: Not me.
***
Kit: You are late, Ann.
Ann: Is it raining?
It looks so."""
NOTE = "You are Kit: a mender of nets.\nScenario: The pier.\nAnn: Who rang the bell?\nKit: Not me."
TURNS = (Turn("Kit", "You are late, Ann."), Turn("Ann", "Is it raining? It looks so."))


@pytest.mark.parametrize(
    ("text", "script"),
    [
        (f"{TAVERN}\nKit:", Script(TURNS, NOTE, "Kit")),
        (f"{TAVERN}\nKit: I th", Script((*TURNS, Turn("Kit", "I th")), NOTE)),
        (f"{TAVERN}\nKit:Kit: I th", Script((*TURNS, Turn("Kit", "I th")), NOTE)),
        ("You are Kit.\nAnn: Hello.\nKit:", Script((Turn("Ann", "Hello."),), "You are Kit.", "Kit")),
        ("just a question", Script((Turn("Visitor", "just a question"),))),
        ("two lines\nof it", Script((Turn("Visitor", "two lines of it"),))),
        ("<START>\n\n", Script(())),
        ("Kit:", Script((), "", "Kit")),
        (f"{'x' * 41}: a", Script((Turn("Visitor", f"{'x' * 41}: a"),))),
    ],
)
def test_a_prompt_is_read_as_a_script(text: str, script: Script) -> None:
    assert read_script(text, "Visitor") == script


def test_names_are_resolved() -> None:
    assert read_script("kitty: Hm.\nAnn: Yes?", "Visitor", {"kitty": "Kit", "Ann": "Ann"}.__getitem__).turns == (
        Turn("Kit", "Hm."), Turn("Ann", "Yes?"),
    )  # fmt: skip
