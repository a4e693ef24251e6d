"""Settings: four layers and their order, errors that name the nearest key, secrets that never show."""

from __future__ import annotations

import copy
import dataclasses
import json
import logging
import pickle
import re
from pathlib import Path
from typing import Any

import pytest

from config import RANGES, SECRET_VARIABLES, ConfigError, Secret, Settings, load_settings

PROJECT = Path(__file__).resolve().parent.parent
TOKEN = "hf_thisIsNoRealToken0123456789"


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def load(
    folder: Path, yaml: str = "", env: str = "", environment: dict[str, str] | None = None, **flags: Any
) -> Settings:
    """Settings from these texts alone; in ``flags`` two underscores stand for the dot of a key."""
    return load_settings(
        write(folder, "my.yaml", yaml),
        write(folder, ".env", env),
        environment or {},
        {key.replace("__", "."): value for key, value in flags.items()},
    )


# The order of the layers

YAML = "training:\n  seed: 1\n"
ENV = "STRANGER_TRAINING__SEED=2\n"
VARIABLES = {"STRANGER_TRAINING__SEED": "3"}


def test_each_layer_overrides_the_ones_below_and_says_so(tmp_path: Path) -> None:
    def seed(*given: Any, **flags: Any) -> tuple[int, str]:
        settings = load(tmp_path, *given, **flags)
        return settings.training.seed, settings.origin("training.seed")

    assert seed() == (Settings().training.seed, "default")
    assert seed(YAML) == (1, "my.yaml")
    assert seed(YAML, ENV) == (2, ".env (STRANGER_TRAINING__SEED)")
    assert seed(YAML, ENV, VARIABLES) == (3, "environment (STRANGER_TRAINING__SEED)")
    assert seed(YAML, ENV, VARIABLES, training__seed=4) == (4, "flag")
    assert seed(YAML, ENV, VARIABLES, training__seed=None) == (3, "environment (STRANGER_TRAINING__SEED)")
    assert seed(YAML, "", {}, training__seed=0) == (0, "flag")


def test_a_layer_leaves_the_other_keys_alone(tmp_path: Path) -> None:
    settings = load(tmp_path, "training:\n  epochs: 2\nfamilies:\n  qwen:\n    gpu: some/base\n", ENV)
    assert (settings.training.epochs, settings.training.seed) == (2.0, 2)
    assert settings.families["qwen"].gpu == "some/base"
    assert settings.families["qwen"].laptop == Settings().families.qwen.laptop
    assert settings.families["llama"] == Settings().families.llama
    assert settings.origin("training.epochs") == "my.yaml"
    assert settings.origin("training.lora_rank") == "default"


def test_the_working_folders_env_file_and_the_real_environment_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    write(Path(), ".env", f"HF_TOKEN={TOKEN}\nSTRANGER_CHAT__TOP_P=0.5\n")
    monkeypatch.setenv("STRANGER_CHAT__TOP_P", "0.4")
    settings = load_settings()
    assert settings.secrets.hf_token.reveal() == TOKEN
    assert settings.origin("secrets.hf_token") == ".env (HF_TOKEN)"
    assert settings.chat.top_p == 0.4


def test_an_empty_variable_is_no_value(tmp_path: Path) -> None:
    settings = load(tmp_path, YAML, "HF_TOKEN=\n", {"STRANGER_TRAINING__SEED": "", "HF_TOKEN": ""})
    assert settings.training.seed == 1
    assert not settings.secrets.hf_token
    assert settings.origin("secrets.hf_token") == "default"


def test_variables_that_are_not_ours_are_left_alone(tmp_path: Path) -> None:
    assert load(tmp_path, "", "EDITOR=vi\n", {"PATH": "/bin", "HF_HOME": "/x", "STRANGER": "no"}) == load(tmp_path)


def test_values_get_the_type_of_their_setting(tmp_path: Path) -> None:
    yaml = "training: {epochs: 2, learning_rate: 1e-3, seed: 5}\npaths: {data: some/folder}\naws: {profile: 123}\n"
    settings = load(tmp_path, yaml, "", {"STRANGER_APP__PORT": "80"})
    found = [settings.training.epochs, settings.training.learning_rate, settings.training.seed, settings.app.port]
    assert [(type(value), value) for value in found] == [(float, 2.0), (float, 0.001), (int, 5), (int, 80)]
    assert settings.paths.data == Path("some/folder")
    assert settings.aws.profile == "123"


def test_origin_of_an_unknown_key_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"'training\.sed'.*\n.*'training\.seed'"):
        Settings().origin("training.sed")


# Errors


@pytest.mark.parametrize(
    ("layer", "origin"),
    [
        ({"yaml": "training:\n  epoch: 2\n"}, "my.yaml"),
        ({"env": "STRANGER_TRAINING__EPOCH=2\n"}, ".env (STRANGER_TRAINING__EPOCH)"),
        ({"environment": {"STRANGER_TRAINING__EPOCH": "2"}}, "environment (STRANGER_TRAINING__EPOCH)"),
        ({"training__epoch": 2}, "flag"),
    ],
)
def test_an_unknown_key_names_its_layer_and_the_nearest(tmp_path: Path, layer: dict[str, Any], origin: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, **layer)
    assert caught.value.what == f"{origin}: unknown setting 'training.epoch'."
    assert caught.value.instead == "The nearest is 'training.epochs'."


@pytest.mark.parametrize(
    "yaml",
    [
        "trainig:\n  seed: 1\n",
        "trainig:\n",
        "training: 5\n",
        "training:\n  seed:\n    value: 1\n",
        "1: 2\n",
        "seed: 1\n",
    ],
)
def test_an_unknown_section_is_an_error(tmp_path: Path, yaml: str) -> None:
    with pytest.raises(ConfigError, match="unknown setting"):
        load(tmp_path, yaml)


def test_a_section_with_all_its_lines_commented_out_is_empty(tmp_path: Path) -> None:
    assert load(tmp_path, "training:\n  # seed: 1\nfamilies:\n  llama:\n") == load(tmp_path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training.seed", "many"),
        ("training.seed", "7.5"),
        ("training.seed", "true"),
        ("training.seed", "null"),
        ("training.seed", "[1]"),
        ("training.epochs", "long"),
        ("training.epochs", "[3]"),
        ("paths.data", "[a, b]"),
        ("paths.data", "true"),
        ("aws.region", "[us]"),
        ("aws.region", "null"),
    ],
)
def test_a_wrong_type_names_the_key_the_value_and_the_layer(tmp_path: Path, key: str, value: str) -> None:
    section, name = key.split(".")
    with pytest.raises(ConfigError, match=rf"my\.yaml: {key} is .*, which is not a"):
        load(tmp_path, f"{section}:\n  {name}: {value}\n")


@pytest.mark.parametrize("key", sorted(RANGES))
def test_every_range_holds_at_both_ends(tmp_path: Path, key: str) -> None:
    lowest, highest = RANGES[key]
    whole = isinstance(dict(Settings().items())[key], int)
    for inside in (lowest, highest):
        value = str(int(inside)) if whole else repr(inside)
        settings = load_settings(write(tmp_path, "my.yaml", ""), tmp_path / "none", {}, {key: value})
        assert dict(settings.items())[key] == inside
    step = 1 if whole else 1e-3
    for outside in (lowest - step, highest + step):
        with pytest.raises(ConfigError, match=rf"flag: {re.escape(key)} is .*; it goes from"):
            load_settings(write(tmp_path, "my.yaml", ""), tmp_path / "none", {}, {key: outside})


def test_an_unknown_format_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"flag: training.format is 'acts'\.\n  There are: auto, pairs, scenes"):
        load_settings(write(tmp_path, "my.yaml", ""), tmp_path / "none", {}, {"training.format": "acts"})


@pytest.mark.parametrize("value", ["nan", ".inf", "-1"])
def test_no_number_outside_the_range_of_the_learning_rate(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigError, match="learning_rate"):
        load(tmp_path, f"training:\n  learning_rate: {value}\n")


@pytest.mark.parametrize(
    ("given", "value"), [("true", True), ("yes", True), ("On", True), ("1", True), ("false", False), ("0", False)]
)
def test_a_switch_is_read_from_yaml_and_environment(tmp_path: Path, given: str, value: bool) -> None:
    assert load(tmp_path, f"chats:\n  keep: {given}\n").chats.keep is value
    assert load(tmp_path, "", "", {"STRANGER_CHATS__KEEP": given}).chats.keep is value


@pytest.mark.parametrize("given", ["maybe", "2", "[true]", "''"])
def test_a_switch_that_is_none_is_refused(tmp_path: Path, given: str) -> None:
    with pytest.raises(ConfigError, match=r"chats\.keep is .* which is not true or false"):
        load(tmp_path, f"chats:\n  keep: {given}\n")


def test_every_number_has_a_range_and_every_range_a_number() -> None:
    values = dict(Settings().items())
    numbers = {key for key, value in values.items() if isinstance(value, int | float) and not isinstance(value, bool)}
    assert set(RANGES) == numbers


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"training: [1\n", r"my\.yaml, line \d cannot be read: "),
        (b"a: b: c\n", r"my\.yaml, line 1 cannot be read: "),
        (b"- 1\n- 2\n", r"my\.yaml holds no sections"),
        (b"text", r"my\.yaml holds no sections"),
        (b"\xff\xfe\x00", r"my\.yaml cannot be read: "),
        (b"!!python/object/apply:os.system ['true']", r"my\.yaml, line 1 cannot be read: "),
    ],
)
def test_a_broken_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "my.yaml"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        load_settings(file, tmp_path / "none", {})


def test_a_missing_file_that_was_asked_for_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no settings file .*other\.yaml"):
        load_settings(tmp_path / "other.yaml", tmp_path / "none", {})
    with pytest.raises(ConfigError, match="cannot be read"):
        load_settings(tmp_path, tmp_path / "none", {})


def test_an_env_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"A=\xff\xfe\n")
    with pytest.raises(ConfigError, match=r"\.env cannot be read"):
        load_settings(write(tmp_path, "my.yaml", ""), tmp_path / ".env", {})


def test_an_empty_file_is_no_error(tmp_path: Path) -> None:
    assert load(tmp_path, "") == load(tmp_path, "# nothing\n")


# Secrets


@pytest.fixture
def secretive(tmp_path: Path) -> Settings:
    return load(tmp_path, "", f"APP_PASSWORD={TOKEN}pass\n", {"HF_TOKEN": TOKEN})


def test_a_secret_is_revealed_only_on_demand(secretive: Settings) -> None:
    assert secretive.secrets.hf_token.reveal() == TOKEN
    assert secretive.secrets.app_password.reveal() == f"{TOKEN}pass"
    assert secretive.origin("secrets.hf_token") == "environment (HF_TOKEN)"
    assert bool(Secret("")) is False
    assert Secret("a") == Secret("a") != Secret("b")
    assert Secret("a") != "a"


def test_no_text_of_the_settings_shows_a_secret(secretive: Settings) -> None:
    token = secretive.secrets.hf_token
    texts = [
        repr(secretive),
        str(secretive),
        f"{secretive} {secretive.secrets} {secretive.secrets!r} {token} {token!r} {token!s:>20}",
        "{} {}".format(secretive.secrets, token),  # noqa: UP032 (another way of formatting, on purpose)
        "%s %r" % (secretive.secrets, token),  # noqa: UP031
        repr(list(secretive.items())),
        repr(secretive.to_dict()),
        json.dumps(secretive.to_dict()),
        json.dumps(dict(secretive.items()), default=str),
        repr(secretive.origins),
    ]
    assert not [text for text in texts if TOKEN in text]
    assert "********" in repr(token)
    assert not [key for key in secretive.to_dict() if key.startswith("secrets")]


def test_logging_the_settings_shows_no_secret(secretive: Settings, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        logging.getLogger("a").info("%s %r %s", secretive, secretive.secrets, secretive.secrets.hf_token)
    assert "********" in caplog.text
    assert TOKEN not in caplog.text


@pytest.mark.parametrize("save", [pickle.dumps, copy.deepcopy, dataclasses.asdict, lambda it: json.dumps(it.secrets)])
def test_nothing_saves_a_secret(secretive: Settings, save: Any) -> None:
    with pytest.raises(TypeError):
        save(secretive)


@pytest.mark.parametrize(
    "yaml",
    [
        f"secrets:\n  hf_token: {TOKEN}\n",
        f"secrets: {TOKEN}\n",
        f"secrets.hf_token: {TOKEN}\n",
        "secrets:\n",
        f"HF_TOKEN: {TOKEN}\n",
        f"hf_token: {TOKEN}\n",
        f"training:\n  hf_token: {TOKEN}\n",
        f'secrets:\n  hf_token: "{TOKEN}\n',
        f"secrets: [{TOKEN}\nb: c: d",
    ],
)
def test_a_settings_file_takes_no_secrets_and_the_error_does_not_show_them(tmp_path: Path, yaml: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, yaml)
    assert TOKEN not in f"{caught.value} {caught.value!r}"


def test_a_misspelt_secret_does_not_show(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"secrets\.hf_tok") as caught:
        load(tmp_path, "", "", {"STRANGER_SECRETS__HF_TOK": TOKEN})
    assert TOKEN not in str(caught.value)


def test_every_secret_has_its_variable() -> None:
    assert set(SECRET_VARIABLES.values()) == {part.name for part in dataclasses.fields(Settings().secrets)}


# The files that come with the project


def test_the_shipped_settings_file_loads(tmp_path: Path) -> None:
    settings = load_settings(PROJECT / "aws_config.yaml", tmp_path / "none", {})
    assert "aws_config.yaml" in settings.origins.values()
    # What the documents call the default is what somebody gets who changes nothing.
    assert settings.to_dict() == Settings().to_dict()


def test_the_shipped_env_example_holds_known_variables_and_no_values(tmp_path: Path) -> None:
    text = (PROJECT / ".env.example").read_text(encoding="utf-8")
    assert load_settings(write(tmp_path, "my.yaml", ""), PROJECT / ".env.example", {}).origins == {}
    named = re.findall(r"^#?\s*([A-Z][A-Z_]+)=", text, flags=re.MULTILINE)
    assert set(SECRET_VARIABLES) <= set(named)
    assert [name for name in named if name not in SECRET_VARIABLES and not name.startswith("STRANGER_")] == []
    uncommented = re.sub(r"^#\s*(STRANGER_)", r"\1", text, flags=re.MULTILINE)
    load_settings(write(tmp_path, "my.yaml", ""), write(tmp_path, "all.env", uncommented), {})
