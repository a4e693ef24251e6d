"""What is wanted of an engine: the first reply to a message, another one, more of one, the next in a scene."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from character_chatbot.acts.room import Room
from character_chatbot.acts.scene import Additions, choose_speaker, find_greetings, read_card
from character_chatbot.acts.visit import Visit
from character_chatbot.acts.writing import Order
from character_chatbot.chats.message_rows import Written
from character_chatbot.chats.records import CHARACTER, NOTE, USER, Conversation, Message, turns
from character_chatbot.prompts import Turn
from character_chatbot.replies.conversation import open_with
from character_chatbot.service import read_name
from utils.errors import UsageError


class Orders(Room):
    """Prepares replies; each method reads the conversation as it is now, and raises SuiteError where it cannot be."""

    def said(self, visit: Visit, text: str) -> tuple[Visit, Order]:
        """The message kept, in a new conversation if there is none, and the order of its reply."""
        conversation = self.find(visit) or self.begin(visit)
        visit = visit.at(conversation.id) if visit.conversation != conversation.id else visit
        name = self.read_names(visit.name, (*conversation.characters, *conversation.departed))
        path = self.path(visit)
        spoken = Message(0, None, USER, name, text)
        speaker = choose_speaker(self.service.source, conversation.characters, [*path, spoken], visit.next)
        message = self.store.say(visit.owner, conversation.id, text, name)
        return visit, self.order(visit, conversation, [*path, message], speaker)

    def begin(self, visit: Visit) -> Conversation:
        """A new conversation. Raises SuiteError: nobody is chosen, or somebody is not known."""
        if not visit.cast:
            raise UsageError("choose a character first.")
        source = self.service.source
        names = [source.cast.get(name).name for name in visit.cast]
        speaker = self.read_names(visit.name, names)
        return self.store.begin(visit.owner, names, speaker, answered_by=source.label)

    def greeted(self, visit: Visit) -> Visit:
        """A conversation that begins as the card of its first character says; without a card nothing changes."""
        source = self.service.source
        card = source.cards.get(visit.cast[0]) if visit.cast else None
        user = self.read_names(visit.name, visit.cast) if card else ""
        greetings = find_greetings(card, user, in_group=len(visit.cast) > 1) if card else []
        if not greetings:
            return visit
        conversation = self.begin(visit)
        owner, id, speaker = visit.owner, conversation.id, conversation.characters[0]
        first = self.store.reply(owner, id, speaker, greetings[0])
        for text in greetings[1:]:
            self.store.reply_again(owner, id, first.id, text)
        self.store.show(owner, id, first.id)
        return visit.at(id)

    def read_names(self, name: str, characters: Sequence[str]) -> str:
        """The visitor's name. Raises UsageError: one of the characters has it."""
        read = ""
        for character in characters:
            read = read_name(name, character, self.service.source)
        return read

    def order(
        self, visit: Visit, conversation: Conversation, path: Sequence[Message], speaker: str, **more: object
    ) -> Order:  # fmt: skip
        """The order of a reply to the last message of ``path``, kept as what follows it."""
        to = path[-1].id if path else None

        def keep(text: str, how: Written) -> object:
            return self.store.reply(visit.owner, conversation.id, speaker, text, how=how, to=to)

        return self._compose(conversation, path, speaker, keep, **more)

    def _compose(
        self, conversation: Conversation, path: Sequence[Message], speaker: str,
        keep: Callable[[str, Written], object], **more: object,
    ) -> Order:  # fmt: skip
        source = self.service.source
        name = source.cast.get(speaker).name
        user = next((each.speaker for each in reversed(path) if each.role == USER), conversation.speaker)
        card = None if source.rung == "quotes" else source.cards.get(name)
        count, lore_tokens = self.service.count_tokens, self.service.settings.cards.lore_tokens
        added = read_card(card, path, name, user, count, lore_tokens=lore_tokens) if card else Additions()
        said = tuple(turns(path))
        while card and said and said[0].speaker == name:  # the greeting, which is in the note
            said = said[1:]
        if more.get("beginning"):
            said = open_with(said, name, user)
        if not said:
            raise UsageError("there is nothing to reply to yet.", instead="Say something.")
        order = Order(name, said, keep, None, "", added.note, added.lore, added.entries, source.label)
        return replace(order, **more)  # type: ignore[arg-type]

    def _shown(self, visit: Visit) -> tuple[Conversation, list[Message]]:
        """The conversation and its messages. Raises UsageError: nothing was said yet."""
        conversation = self.find(visit)
        path = [each for each in self.path(visit) if each.role != NOTE]
        if conversation is None or not path:
            raise UsageError("there is no message to reply to yet.")
        return conversation, path

    def again(self, visit: Visit) -> Order:
        """Another reply beside the last one, or the first one to a message that has none."""
        conversation, path = self._shown(visit)
        last = path[-1]
        if last.role == USER:
            speaker = choose_speaker(self.service.source, conversation.characters, path, visit.next)
            return self.order(visit, conversation, path, speaker)
        if len(path) == 1:
            raise UsageError("that is how the character begins.", instead="Say something first.")
        _check_takes_part(last.speaker, conversation)

        def keep(text: str, how: Written) -> object:
            return self.store.reply_again(visit.owner, conversation.id, last.id, text, how=how)

        order = self._compose(conversation, path[:-1], last.speaker, keep, instead_of=last)
        return replace(order, turns=self._with_alternatives(visit, order.turns, last))

    def _with_alternatives(self, visit: Visit, said: tuple[Turn, ...], last: Message) -> tuple[Turn, ...]:
        """Quotes never repeat themselves: what was rejected has to be among the turns."""
        if self.service.source.rung != "quotes":
            return said
        whole = self.store.read_whole(visit.owner, visit.conversation)
        shown = whole.shown()
        rejected = [each.text for each in whole.siblings(shown[-1])] if shown else [last.text]
        return (*said, *(turn for text in rejected if text for turn in (Turn(last.speaker, text), said[-1])))

    def continued(self, visit: Visit) -> Order:
        """More of the last reply: the prompt is the one it was the reply to, and ends inside it."""
        conversation, path = self._shown(visit)
        last = path[-1]
        if last.role != CHARACTER or not last.text:
            raise UsageError("there is no reply to go on with.")
        _check_takes_part(last.speaker, conversation)

        def keep(text: str, how: Written) -> object:
            return self.store.continue_reply(visit.owner, conversation.id, last.id, text, how=how)

        return self._compose(conversation, path[:-1], last.speaker, keep, instead_of=last, beginning=last.text)

    def next(self, visit: Visit) -> Order:
        conversation, path = self._shown(visit)
        speaker = choose_speaker(self.service.source, conversation.characters, path, visit.next)
        return self.order(visit, conversation, path, speaker)


def _check_takes_part(speaker: str, conversation: Conversation) -> None:
    """Raises UsageError: the character has been taken out of the conversation."""
    if speaker in conversation.departed:
        raise UsageError(f"{speaker} takes part no more.", instead="Choose the name again under 'In the scene'.")
