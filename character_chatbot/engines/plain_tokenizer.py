"""A tokenizer and its chat template without torch: what a folder's tokenizer.json and template say, and no more.

It has of transformers' tokenizers what :mod:`character_chatbot.prompts` asks for; transformers itself imports torch.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from utils.errors import BaseModelError

if TYPE_CHECKING:
    from jinja2 import Template
    from tokenizers import Tokenizer

SPECIAL_TOKENS = ("bos_token", "eos_token", "pad_token", "unk_token")


class PlainTokenizer:
    """Token ids and prompts, from ``tokenizer.json``, ``tokenizer_config.json`` and ``chat_template.jinja``."""

    def __init__(self, folder: Path) -> None:
        """Raises BaseModelError: a file is missing or damaged, or there is no chat template."""
        from tokenizers import Tokenizer

        try:
            self._tokenizer: Tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
            config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
            self._specials = {name: _content(config.get(name)) for name in SPECIAL_TOKENS}
            self.chat_template = _read_template(folder, config)
        except Exception as error:  # the library raises plain Exception
            raise BaseModelError(f"the tokenizer in {folder} cannot be read: {error}") from None

    def __call__(self, text: str | list[str], add_special_tokens: bool = False) -> dict[str, Any]:
        """Token ids of a text, or a list of them for a list of texts."""
        if isinstance(text, str):
            return {"input_ids": self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids}
        found = self._tokenizer.encode_batch(text, add_special_tokens=add_special_tokens)
        return {"input_ids": [each.ids for each in found]}

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=skip_special_tokens))

    @cached_property
    def added_tokens_decoder(self) -> dict[int, str]:
        return {number: token.content for number, token in self._tokenizer.get_added_tokens_decoder().items()}

    @cached_property
    def added_tokens_encoder(self) -> dict[str, int]:
        return {token: number for number, token in self.added_tokens_decoder.items()}

    @property
    def eos_token_id(self) -> int | None:
        token = self._specials["eos_token"]
        return None if token is None else self._tokenizer.token_to_id(token)

    def apply_chat_template(
        self,
        messages: Sequence[dict[str, str]],
        tokenize: bool = False,
        add_generation_prompt: bool = False,
        **values: Any,
    ) -> str:
        """The messages as the template lays them out. Raises BaseModelError: the template refuses them."""
        from jinja2 import TemplateError

        known = {name: token for name, token in self._specials.items() if token is not None}
        try:
            rendered = self._template.render(
                messages=list(messages), add_generation_prompt=add_generation_prompt, tools=None, **known, **values
            )
        except TemplateError as error:
            raise BaseModelError(f"the chat template cannot lay out these messages: {error}") from None
        return str(rendered)

    @cached_property
    def _template(self) -> Template:
        """With the functions and options that transformers gives to templates, in jinja's sandbox."""
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _to_json
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        return environment.from_string(self.chat_template)


def _content(token: Any) -> str | None:
    """A special token is a text, or an object with its text and how it is found."""
    found = token["content"] if isinstance(token, dict) else token
    return None if found is None else str(found)


def _read_template(folder: Path, config: dict[str, Any]) -> str:
    file = folder / "chat_template.jinja"
    found = file.read_text(encoding="utf-8") if file.is_file() else config.get("chat_template")
    if isinstance(found, list):  # several, by name
        found = {each["name"]: each["template"] for each in found}.get("default")
    if not isinstance(found, str) or not found:
        raise ValueError("it has no chat template")
    return found


def _to_json(value: Any, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(message: str) -> None:
    from jinja2 import TemplateError

    raise TemplateError(message)
