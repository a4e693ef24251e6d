"""What can be edited on the page: the characters of the series, and the imported cards.

    editor = CastEditor(settings)
    form = editor.open("series:Kit", service.corpus, service.source)
    editor.save(form, {"persona": "You are Kit, who …"})
    editor.import_card(content)                  # the form of the new card
    editor.export("card:seraphina-0a1b2c3d4e5f", "png", "v3")

A form holds texts only: lists are one item a line.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from character_chatbot.cards.card import Card, edit_card
from character_chatbot.cards.card_file import format_json, format_png, parse_card
from character_chatbot.cards.casting import from_character
from character_chatbot.cards.shelf import FOLDER, CardShelf, make_slug
from character_chatbot.web import is_loopback
from config import Settings
from utils.character_file import FILE, CharacterFile, Row
from utils.characters import Cast, Character
from utils.errors import CardError, DataError, UsageError, nearest
from utils.next_command import next_command
from utils.series import open_series

if TYPE_CHECKING:
    from character_chatbot.corpus import Corpus
    from character_chatbot.sources import Source

logger = logging.getLogger(__name__)

SERIES, CARD = "series", "card"  # the two kinds of entries: "series:Kit", "card:seraphina-0a1b2c3d4e5f"
FORMATS, SPECS = ("json", "png"), ("v2", "v3")
# Of a form, and what they are called in a card.
CARD_FIELDS = {
    "name": "name", "aliases": "nickname", "persona": "description", "personality": "personality",
    "scenario": "scenario", "greeting": "first_mes", "examples": "mes_example",
}  # fmt: skip


@dataclass(frozen=True)
class Form:
    """A character or a card, open for editing.

    Attributes:
        entry: which one; ``series:`` alone is a new character.
        texts: by field: name, aliases, persona, examples; a card has personality, scenario and greeting as well.
        name_fixed: why the name cannot be changed; empty: it can.
        notes: sentences about the character that an editor should know.
        row, card: what the texts came from.
    """

    entry: str
    texts: Mapping[str, str]
    name_fixed: str = ""
    notes: tuple[str, ...] = ()
    row: Row | None = None
    card: Card | None = None


class CastEditor:
    """Opens, saves, imports and exports. Whether somebody may is asked by :func:`may_edit`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = settings.paths.data
        self._file = CharacterFile(self._folder / FILE)
        self._shelf = CardShelf(self._folder / FOLDER)

    def entries(self, corpus: Corpus | None, source: Source | None) -> dict[str, str]:
        """What can be opened: the name to show by entry. Characters of the file first, then speakers, then cards.

        Raises:
            DataError, StoreError: a file or folder cannot be read.
        """
        cards = {f"{CARD}:{key}": f"{card.name} (card)" for key, card in self._shelf.cards()}
        names = [*self._file.cast().names]
        spoken = source.characters if source and corpus else ()
        names += [name for name in spoken if corpus and name in corpus.cast.names and name not in names]
        return {f"{SERIES}:{name}": name for name in names} | cards

    def open(self, entry: str, corpus: Corpus | None, source: Source | None) -> Form:
        """The form of an entry. Raises DataError, CardError, StoreError: it is not there, or cannot be read."""
        kind, _, key = entry.partition(":")
        if kind == CARD:
            return card_form(key, self._shelf.load(key))
        if not key:
            return Form(entry, {"name": ""}, row=self._file.open(""))
        row = self._file.open(key)
        if not row.known and (corpus is None or key not in corpus.cast.names):
            names = self._file.cast().names
            raise DataError(f"no character '{key[:60]}'.", instead=f"The nearest is {nearest(key, names) or 'nobody'}.")
        notes = tuple(note for note in (_note_row(row), self._note_trained(key, source)) if note)
        return Form(entry, _texts(row.character), _why_fixed(key, corpus, source), notes, row=row)

    def save(self, form: Form, texts: Mapping[str, str], corpus: Corpus | None, source: Source | None) -> Form:
        """Write what was edited; the form as it is now.

        Raises:
            UsageError, DataError, CardError: it cannot be so: says why. Nothing is written.
            StoreError: the disk says no.
        """
        if form.card:
            return self._save_card(form, form.card, texts)
        if form.row is None:
            raise UsageError("choose a character first.")
        name = form.texts["name"] if form.name_fixed else texts.get("name", "")
        wanted = Character(
            name, _lines(texts.get("aliases", "")), texts.get("persona", ""), _lines(texts.get("examples", ""))
        )
        saved = self._file.save(form.row, wanted)
        logger.info("%s saved in %s", saved.name, self._folder / FILE)
        opened = self.open(f"{SERIES}:{saved.name}", corpus, source)
        return replace(opened, notes=(*_note_merged(saved, corpus), *opened.notes))

    def _save_card(self, form: Form, card: Card, texts: Mapping[str, str]) -> Form:
        key = form.entry.partition(":")[2]
        if key not in tuple(self._shelf.keys()):
            raise CardError(
                f"the card {card.name} has changed since you opened it: somebody else has saved or deleted it.",
                instead="Nothing was written.",
            )
        before = card_texts(card)
        changes = {CARD_FIELDS[field]: text for field, text in texts.items() if text.strip() != before.get(field, "")}
        if not changes:
            return form
        edited = edit_card(card, **changes)
        saved = self._shelf.save(edited)
        if saved != key:
            self._shelf.delete(key)
        return card_form(saved, self._shelf.load(saved))

    def import_card(self, content: bytes) -> Form:
        """Put a card on the shelf; its form, with notes about what was read otherwise than written.

        Raises:
            CardError: it cannot be read, says why.
            StoreError: the disk says no.
        """
        card = parse_card(content, "the file", int(self._settings.cards.max_file_mb * 1e6))
        key = self._shelf.save(card)
        return card_form(key, self._shelf.load(key), card.notes)

    def delete_card(self, entry: str) -> None:
        """Take a card off the shelf. Raises CardError: there is none; UsageError: it is no card; StoreError."""
        kind, _, key = entry.partition(":")
        if kind != CARD:
            raise UsageError("only an imported card can be deleted here.", instead=f"Characters lie in {FILE}.")
        self._shelf.delete(key)

    def export(self, entry: str, form: str, spec: str) -> tuple[str, bytes]:
        """A file name and what is in the file.

        Args:
            entry: a character of the file or a card.
            form: ``json`` or ``png``.
            spec: ``v2`` or ``v3``.

        Raises:
            UsageError: no such format.
            DataError, CardError, StoreError: no such entry, or it cannot be read.
        """
        if form not in FORMATS or spec not in SPECS:
            raise UsageError(f"a card is written as {' or '.join(FORMATS)} in {' or '.join(SPECS)}.")
        kind, _, key = entry.partition(":")
        if kind == CARD:
            card = self._shelf.load(key)
        else:
            card = from_character(self._file.cast().get(key), open_series(self._folder).title)
        content = format_png(card, spec) if form == "png" else format_json(card, spec)
        return f"{make_slug(card.name)}.{form}", content

    def _note_trained(self, name: str, source: Source | None) -> str:
        if source is None or name not in source.trained:
            return ""
        command = next_command(self._settings, "train", *filter(None, [source.run.get("family")]))
        return (
            f"{source.label} keeps the persona that it was trained with. What you save counts for other sources at "
            f"once, and for this one when you train again: {command}"
        )


def may_edit(settings: Settings) -> bool:
    """Whether those who reach the page may edit: where it is this machine's own or everybody has logged in."""
    if settings.app.editing != "auto":
        return settings.app.editing == "always"
    return bool(settings.secrets.app_password) or is_loopback(settings.app.host)


def card_form(key: str, card: Card, notes: tuple[str, ...] = ()) -> Form:
    """The form of a card."""
    return Form(f"{CARD}:{key}", card_texts(card), notes=notes or card.notes, card=card)


def card_texts(card: Card) -> dict[str, str]:
    """The fields of a card that can be edited; macros and markup as written."""
    return {
        "name": card.name, "aliases": card.nickname, "persona": card.description, "personality": card.personality,
        "scenario": card.scenario, "greeting": card.greeting, "examples": card.examples,
    }  # fmt: skip


def _texts(character: Character) -> dict[str, str]:
    aliases, examples = "\n".join(character.aliases), "\n".join(character.example_lines)
    return {"name": character.name, "aliases": aliases, "persona": character.persona, "examples": examples}


def _lines(text: str) -> tuple[str, ...]:
    return tuple(text.replace("\r", "\n").split("\n"))


def _why_fixed(name: str, corpus: Corpus | None, source: Source | None) -> str:
    """Who speaks in a transcript or was trained is found by name."""
    if corpus is not None and name in corpus.speakers(1):
        return f"{name} speaks in the transcripts under this name; another one can be an alias."
    return f"{name} was trained under this name." if source and name in source.trained else ""


def _note_row(row: Row) -> str:
    return "" if row.known else f"{row.character.name} has no row in {FILE} yet; saving adds one."


def _note_merged(saved: Character, corpus: Corpus | None) -> tuple[str, ...]:
    """Speakers whose lines now belong to the character."""
    if corpus is None:
        return ()
    own = Cast([saved])
    merged = [name for name in corpus.cast.names if name not in (saved.name,) and own.resolve(name) == saved.name]
    if not merged:
        return ()
    return (f"Lines of {', '.join(merged[:5])} count as lines of {saved.name} from the next start of the page on.",)
