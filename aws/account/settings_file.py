"""Writes settings into aws_config.yaml, keeping comments, order and everything else as they are.

update_settings(Path("aws_config.yaml"), {"aws.region": "eu-west-1", "aws.open_to": ("203.0.113.7/32",)})
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from config import ConfigError
from utils.files import disk_errors, write_atomic

WIDEST_LINE = 4096  # ruamel would break longer ones


def update_settings(file: Path, values: Mapping[str, object]) -> bool:
    """Set dotted keys in a YAML file; it is made if there is none, and not touched if it says all this already.

    Args:
        file: the settings file; a link is followed.
        values: dotted key to a text, number, path, or tuple of texts.

    Returns:
        Whether it was written.

    Raises:
        ConfigError: the file is no YAML, or a key leads through something that is no section.
        StoreError: the disk says no.
    """
    file = file.expanduser().resolve()
    before = _read(file)
    content = _parse(file, before)
    plain = {key: _plain(key, value) for key, value in values.items()}
    changes = [_set(file, content, key, value) for key, value in plain.items()]
    if not any(changes):
        return False
    after = _dump(content)
    _check(file, after, plain)
    with disk_errors(file, "written"):
        write_atomic(file, after.replace("\n", "\r\n") if "\r\n" in before else after)
    return True


def _read(file: Path) -> str:
    with disk_errors(file, "read"):
        try:
            return file.read_bytes().decode()
        except FileNotFoundError:
            return ""
        except UnicodeDecodeError as error:
            raise ConfigError(f"{file} cannot be read: it is not UTF-8 at byte {error.start}.") from None


def _parse(file: Path, text: str) -> Any:
    from ruamel.yaml import YAMLError
    from ruamel.yaml.comments import CommentedMap
    from ruamel.yaml.error import MarkedYAMLError

    try:
        content = _yaml().load(text.replace("\r\n", "\n"))
    except MarkedYAMLError as error:  # its own text quotes the line, and with it what stands there
        at = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(
            f"{file}{at} cannot be read: {str(error.problem).splitlines()[0]}.", remedies=_mend(file)
        ) from None
    except YAMLError as error:
        raise ConfigError(f"{file} cannot be read: {' '.join(str(error).split())}.", remedies=_mend(file)) from None
    if content is None:
        return _only_comments(text)
    if not isinstance(content, CommentedMap):
        raise ConfigError(f"{file} holds no sections.", remedies=_mend(file))
    return content


def _only_comments(text: str) -> Any:
    """A document without a value: its comments stay on top."""
    from ruamel.yaml.comments import CommentedMap

    content = CommentedMap()
    lines = [line.removeprefix("#").removeprefix(" ") for line in text.splitlines() if line.startswith("#")]
    if lines:
        content.yaml_set_start_comment("\n".join(lines))
    return content


def _set(file: Path, content: Any, key: str, value: object) -> bool:
    """Set one key; whether that changed anything."""
    from ruamel.yaml.comments import CommentedMap

    *sections, name = key.split(".")
    here, path = content, ""
    for section in sections:
        path = f"{path}.{section}".removeprefix(".")
        if here.get(section) is None:
            here[section] = CommentedMap()
        here = here[section]
        if not isinstance(here, CommentedMap):
            raise ConfigError(f"{file}: {path} is {here!r}, and {key} belongs below it.", remedies=_mend(file))
    if name in here and here[name] == value and isinstance(here[name], bool) == isinstance(value, bool):
        return False
    here[name] = value
    return True


def _plain(key: str, value: object) -> object:
    """The value as YAML can keep it."""
    if key.partition(".")[0] == "secrets":
        raise ConfigError(f"{key} does not belong into this file.", remedies=[("Put it into", ".env")])
    if isinstance(value, tuple | list):
        return _flow([_text(str(each)) for each in value])
    return _text(str(value)) if isinstance(value, str | Path) else value


def _flow(values: list[Any]) -> Any:
    from ruamel.yaml.comments import CommentedSeq

    sequence = CommentedSeq(values)
    sequence.fa.set_flow_style()
    return sequence


def _text(value: str) -> str:
    """Quoted where a reader of YAML would take it for something else, such as ``no`` or ``1e3``."""
    import yaml
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    try:
        same = yaml.safe_load(value) == value
    except yaml.YAMLError:
        same = False
    return value if same else DoubleQuotedScalarString(value)


def _yaml() -> Any:
    from ruamel.yaml import YAML

    yaml = YAML(typ="rt")
    yaml.preserve_quotes = True
    yaml.width = WIDEST_LINE
    return yaml


def _dump(content: Any) -> str:
    text = io.StringIO()
    _yaml().dump(content, text)
    return text.getvalue()


def _check(file: Path, text: str, values: Mapping[str, object]) -> None:
    """That the program will read back what was meant, before the old file is gone."""
    import yaml

    content = yaml.safe_load(text)
    for key, value in values.items():
        found = content
        for part in key.split("."):
            found = found[part]
        if found != value:
            raise ConfigError(f"{file}: {key} cannot be set to {value!r}.", remedies=_mend(file))


def _mend(file: Path) -> list[tuple[str, str]]:
    return [("Mend it", f"$EDITOR {file}")]
