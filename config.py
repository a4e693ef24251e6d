"""Settings: one object, built once by an entry point and passed down.

Lowest to highest: the defaults in this file, aws_config.yaml, a recipe, .env and the environment, flags.
See every value and where it came from:  python training_pipeline.py settings
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ENVIRONMENT_PREFIX = "STRANGER_"
FAMILIES = ("llama", "qwen")
AUTO, PAIRS, SCENES = "auto", "pairs", "scenes"
FORMATS = (AUTO, PAIRS, SCENES)
PARALLELS = ("auto", "ddp", "fsdp")
KEPT_WEIGHTS = ("best", "last")
CHECKPOINTINGS = ("auto", "on", "off")
QUANTISATIONS = ("auto", "nf4", "none")
RECALL_USES = ("auto", "always", "never")
ENGINES = ("auto", "torch", "openvino")
ENDINGS = ("sentence", "cut")
EDITINGS = ("auto", "always", "never")
THEME_PRECISIONS = ("auto", "float32", "bfloat16", "int8")
# Who answers, from the best down; see character_chatbot/sources.py.
RUNGS = ("version", "fine-tuned", "base", "nano", "quotes")
PROJECT_FOLDER = Path(__file__).resolve().parent
CONFIG_FILE_NAME = "aws_config.yaml"
RECIPE_FOLDER = PROJECT_FOLDER / "character_chatbot" / "training" / "recipes"
RECIPE_SECTIONS = ("training", "dialogues", "evaluation")


class SuiteError(Exception):
    """What a user can cause and mend: what failed, what exists instead, the next command.

    Args:
        what: what failed, with the value that failed.
        instead: what exists instead; may be empty.
        remedies: ``(label, command)`` pairs, the next things to type.
    """

    def __init__(self, what: str, *, instead: str = "", remedies: list[tuple[str, str]] | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.instead = instead
        self.remedies = remedies or []

    def __str__(self) -> str:
        lines = [self.what] + ([f"  {self.instead}"] if self.instead else [])
        width = max((len(label) for label, _ in self.remedies), default=0) + 1
        lines += [f"  {label + ':':<{width}}  {command}" for label, command in self.remedies]
        return "\n".join(lines)


class ConfigError(SuiteError):
    """A setting is unknown, of the wrong type or out of its range."""


class Secret:
    """A value that shows itself only when asked: ``repr``, ``str`` and formatting print stars."""

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "********" if self._value else "(not set)"

    __str__ = __repr__

    def __reduce__(self) -> typing.NoReturn:
        raise TypeError("a Secret is not saved")


@dataclass(frozen=True)
class PathSettings:
    data: Path = Path("data")  # the series folder
    registry: str = "runs/registry"  # a folder or s3://bucket[/prefix]
    runs: Path = Path("runs")  # checkpoints of training
    logs: Path = Path("logs")
    cache: Path = Path("~/.cache/stranger-things-suite")  # nano bases, fetched versions, scores of themes


@dataclass(frozen=True)
class BaseSettings:
    gpu: str  # base for a CUDA device
    laptop: str  # base for a machine without one
    fine_tuned: str = ""  # a fine-tuned model on the hub, used when the registry has no version


@dataclass(frozen=True)
class FamilySettings:
    llama: BaseSettings = BaseSettings("meta-llama/Llama-3.2-3B-Instruct", "HuggingFaceTB/SmolLM2-135M-Instruct")
    qwen: BaseSettings = BaseSettings("Qwen/Qwen2.5-3B-Instruct", "Qwen/Qwen2.5-0.5B-Instruct")

    def __getitem__(self, family: str) -> BaseSettings:
        return typing.cast(BaseSettings, getattr(self, family))


@dataclass(frozen=True)
class DialogueSettings:
    context_turns: int = 6  # turns before the reply
    minimum_replies: int = 20  # a character with fewer replies in all is not trained
    held_out_share: float = 0.15  # of the episodes; at least one where there are two


@dataclass(frozen=True)
class TrainingSettings:
    lora_rank: int = 16
    lora_alpha: int = 32
    lora_dropout: float = 0.05
    learning_rate: float = 2e-4
    warmup_share: float = 0.05  # of all steps
    epochs: float = 3.0
    max_steps: int = 0  # optimizer steps; 0: as the epochs say
    sequences_per_step: int = 8
    sequences_per_batch: int = 0  # at once in memory, the rest is accumulated; 0: as many as memory is safe for
    # "scenes": whole scenes, every reply in them learnt; "pairs": a sequence for each reply; "auto": scenes where the
    # base's chat template allows them
    format: str = AUTO
    max_length: int = 512  # tokens of one sequence
    activation_checkpointing: str = "auto"  # compute activations again for the way back: on, off, or where it must be
    quantise: str = "auto"  # on CUDA the base in 4 bits: nf4, none, or where it takes more than half of the GPU
    parallel: str = "auto"  # of several processes each holds the base (ddp), or a part of it (fsdp)
    checkpoint_minutes: float = 5.0  # between checkpoints; one more at the end of each epoch; 0: only there
    checkpoint_steps: int = 0  # at most so many steps between checkpoints; 0: no such limit
    evaluations_per_epoch: int = 2  # how often the held-out loss is measured, and once more at the end; 0: never
    evaluation_replies: int = 64  # held-out replies that it is measured on, drawn by seed
    patience: int = 3  # measurements without a lower held-out loss, then the training stops; 0: it never stops early
    keep: str = "best"  # the weights with the lowest held-out loss become the version, or the "last" ones
    seed: int = 7


@dataclass(frozen=True)
class NanoSettings:
    """The small base that the project makes itself where no hub can be reached."""

    vocabulary: int = 1500
    hidden_size: int = 128
    layers: int = 3
    heads: int = 4
    epochs: int = 12
    max_steps: int = 1500  # 512 tokens each; keeps a long series under two minutes on 2 cores
    learning_rate: float = 3e-3
    lora_learning_rate: float = 2e-3  # for the adapter on a nano base
    lora_epochs: float = 2.0
    lora_dropout: float = 0.0


@dataclass(frozen=True)
class EvaluationSettings:
    max_replies: int = 200  # held-out replies scored, drawn by seed


@dataclass(frozen=True)
class ChatSettings:
    max_new_tokens: int = 80
    temperature: float = 0.7
    top_p: float = 0.9
    repetition_penalty: float = 1.1
    history_turns: int = 6  # turns of the conversation in the prompt; older ones are left out whole
    engine: str = "auto"  # "torch", "openvino", or what is faster here: torch on CUDA, OpenVINO where an export is
    cache_tokens: int = 16_384  # of all conversations together, kept by the engine so that they are not read again
    replies_at_once: int = 16  # in one batch of OpenVINO; further ones wait in a queue


@dataclass(frozen=True)
class ExportSettings:
    """Models in 4 or 8 bits for a machine without a GPU."""

    bits: int = 0  # of the linear layers: 4 or 8; 0: 8 for small bases, 4 for large ones
    # Rounding to 4 bits costs a base of some billion parameters about 0.05 nats and 3 to 5 % of its perplexity;
    # what is beyond these limits is broken rather than rounded.
    max_divergence: float = 0.15  # mean Kullback-Leibler divergence from torch, nats a token
    max_perplexity_rise: float = 0.12  # of held-out replies
    compared_replies: int = 24  # on which an export is compared with torch


@dataclass(frozen=True)
class RecallSettings:
    """What of the series goes into the prompt, and how a reply stays in its role."""

    use: str = "auto"  # scene memory: "auto" for bases of minimum_parameters and more, "always" or "never"
    minimum_parameters: int = 100_000_000  # a smaller base is confused by what it has not been trained to read
    scenes: int = 2  # at most so many for a message; 0: none
    budget_tokens: int = 300  # of all scenes of a message; never more than a quarter of what the base can read
    # On a CPU, once the character has replied: scenes and message are at most this share of the whole prompt. So the
    # first token comes in a fifth of the time that it takes where all has to be read. 1: all of budget_tokens.
    later_share: float = 0.12
    embedding_model: str = ""  # finds scenes by meaning: a folder, or a model in the hub's cache; empty: BM25
    example_lines: int = 3  # in the system message of a character that the model was not trained on; 0: none
    redraws: int = 1  # new draws of a reply that repeats an earlier one or begins as somebody else
    ending: str = "sentence"  # a reply that is too long ends with its last whole sentence, or is "cut" where it is


@dataclass(frozen=True)
class ThemeSettings:
    """What the lines of a series are about."""

    model: str = "valhalla/distilbart-mnli-12-3"  # NLI or GLiClass: of the hub, or a folder; "lexical": seed words
    hypothesis_template: str = "This text is about {}."  # {} is the theme
    multi_label: bool = True  # each theme on its own; off: the themes of a line share one whole
    batch_tokens: int = 1024  # of one batch, padding included; more does not fit the caches of a small CPU
    precision: str = "auto"  # float32, bfloat16, int8, or the fastest that ranks the lines as float32 does
    least_correlation: float = 0.99  # Spearman's, with float32, for less precision to be used
    sample_lines: int = 24  # of the series, on which that is measured
    scene_lines: int = 20  # of one stretch where a file marks no scenes
    top_lines: int = 3  # kept with each score: the lines that carry it


@dataclass(frozen=True)
class LocationSettings:
    """Where the scenes of a series take place."""

    # auto: a DistilBERT trained before, else tfidf, else mentions; or majority, mentions, tfidf, distilbert, a folder
    model: str = "auto"
    base: str = "distilbert-base-uncased"  # what a DistilBERT starts from: of the hub, or a folder
    scene_lines: int = 20  # of one stretch where a file marks no scenes
    minimum_labels: int = 12  # scenes with a known place; with fewer, the names of places answer
    least_probability: float = 0.3  # below it a place is Unknown
    allow_new_places: bool = False  # labels may name places that locations.jsonl does not have
    folds: int = 10  # most groups of episodes that are held out in turn for an evaluation
    inner_folds: int = 4  # the same, to choose the penalty and the temperature
    resamples: int = 2000  # of the bootstrap, for the interval of macro F1
    epochs: int = 15  # most of a DistilBERT
    patience: int = 3  # epochs without a lower loss on the held-out episodes, after which its training ends
    learning_rate: float = 5e-5  # of AdamW, for a DistilBERT
    texts_per_batch: int = 8
    longest_tokens: int = 512  # that a DistilBERT reads at once; a longer scene is read in parts
    seed: int = 7


@dataclass(frozen=True)
class NetworkSettings:
    """Who belongs with whom. One weight is made of three counts; a kind with weight 0 is left out of it."""

    speaks_weight: float = 1.0  # of a turn that follows another
    together_weight: float = 3.0  # of a scene that both speak in
    mentions_weight: float = 1.0  # of a name that is said
    minimum_lines: int = 1  # a speaker with fewer lines is left out
    shown_people: int = 40  # the strongest, on the page and in the picture; the page can show more
    suggestions: int = 3  # a name that nobody owns is suggested when it occurs so often
    seed: int = 7  # of communities and layout


@dataclass(frozen=True)
class DashboardSettings:
    """The analysis pages of the app."""

    shown_characters: int = 20  # the most talkative, in plots; tables have all
    kept_results: int = 8  # of each kind of analysis; beyond, the one unused for longest is computed again
    prior_words: float = 500.0  # size of the prior of marking words (docs/dashboard.md); more: only frequent words mark
    minimum_word_count: int = 5  # a word that all together say less often marks nobody
    longest_scenes: int = 10  # shown
    own_themes: int = 12  # at most, that a visitor may type in
    upload_file_mb: float = 8.0  # a larger file of a visitor is not read
    upload_files: int = 40  # of a visitor at once
    upload_rows: int = 100_000  # of all these files together


@dataclass(frozen=True)
class ReportSettings:
    """The report of a series in one file; what is not here is as on the pages (``dashboard``)."""

    quoted_lines: int = 24  # of the series, in the whole report: they belong to whoever wrote them
    quote_characters: int = 200  # of one of them; a longer one is cut
    themes: int = 10  # the first of the series' themes.json, unless others are asked for
    scenes: int = 3  # the strongest, of each theme
    radar_characters: int = 3  # the most talkative, in the radar of themes
    characters: int = 6  # the most talkative, with the words that mark them
    pairs: int = 20  # the strongest, in the table
    pair_timelines: int = 2  # of the strongest pairs
    table_rows: int = 200  # of each table, and of the numbers that each plot carries


@dataclass(frozen=True)
class HubSettings:
    reach_timeout_seconds: float = 3.0


@dataclass(frozen=True)
class AppSettings:
    host: str = "127.0.0.1"
    port: int = 7860
    user: str = "guest"
    # Names of the page besides localhost, as behind a proxy: without a password it answers to no others, and with one
    # a browser without Sec-Fetch-Site may come from no other site.
    hosts: tuple[str, ...] = ()
    tabs_remembered: int = 200  # of browsers: each open one takes 75 kB or more; the one unused for longest goes
    editing: str = "auto"  # characters and cards on the page: "auto" on the loopback and behind the password


@dataclass(frozen=True)
class CardSettings:
    """Character cards of other programs."""

    max_file_mb: float = 10.0  # a larger file is not imported
    lore_tokens: int = 300  # of a lorebook in one prompt, at most; its own budget counts where that is smaller


@dataclass(frozen=True)
class KeptChatSettings:
    """Conversations that are kept, and for how long."""

    keep: bool = True  # off: conversations of the page live in memory, until it ends
    keep_visitors: bool = False  # the same for visitors of a page behind a password
    file: Path = Path("runs/chats.sqlite")
    retention_days: float = 0.0  # unchanged for longer: deleted when the page starts; 0: never
    messages_per_conversation: int = 5000  # on all branches
    conversations_per_owner: int = 500
    conversations_in_memory: int = 1000  # of all visitors; beyond, the one unused for longest is forgotten


@dataclass(frozen=True)
class ApiSettings:
    """The OpenAI-compatible endpoint of the page's process."""

    keys_file: Path = Path("runs/api_keys.jsonl")  # sums of the keys, never the keys
    requests_per_minute: int = 60  # for each key; 0: no limit
    wrong_tries: int = 5  # wrong keys or passwords in a row from one address, then it has to wait
    lockout_seconds: float = 30.0  # the first wait; each further one is twice as long, up to an hour


@dataclass(frozen=True)
class TrainingMachineSettings:
    """The EC2 instance that trains."""

    instance_types: tuple[str, ...] = ("g4dn.xlarge", "g4dn.2xlarge")  # tried in this order where capacity lacks
    image: str = ""  # an AMI to pin; empty: the newest deep-learning base image
    volume_gb: int = 100
    max_hours: float = 4.0  # then the instance ends, whatever it is doing
    max_usd: float = 0.0  # shortens max_hours to what this pays for; 0: no limit
    retries: int = 3  # new instances after a spot interruption
    export: bool = True  # then in 4 bits as well, for a page without a GPU: a smaller machine, and faster


@dataclass(frozen=True)
class ServingMachineSettings:
    """The EC2 instance that serves the page."""

    instance_type: str = ""  # empty: the smallest t3 that the model fits in
    image: str = ""  # an AMI to pin; empty: the newest Ubuntu
    volume_gb: int = 30
    port: int = 7860
    # Where pip finds a torch without gigabytes of CUDA (pytorch.org/get-started); empty: its default index.
    torch_index: str = "https://download.pytorch.org/whl/cpu"


@dataclass(frozen=True)
class AwsSettings:
    region: str = "us-east-1"
    profile: str = ""  # of ~/.aws; empty: the default credential chain
    project: str = "stranger-things"  # names and tags of all that is made start with it
    bucket: str = ""  # empty: <project>-<account>-<region>
    key_file: Path = Path("~/.ssh/stranger-things.pem")  # the private key of this machine
    key_name: str = ""  # of its public half in EC2; empty: <project>-<user>-<host>
    vpc: str = ""  # empty: the default VPC of the region
    open_to: tuple[str, ...] = ()  # CIDR blocks that may connect; empty: this machine's public address
    ssh_port: int = 22
    setup_minutes: int = 30  # an instance that got no work by then ends itself
    training: TrainingMachineSettings = TrainingMachineSettings()
    serving: ServingMachineSettings = ServingMachineSettings()


@dataclass(frozen=True)
class SecretSettings:
    hf_token: Secret = field(default_factory=lambda: Secret(""))  # HF_TOKEN
    app_password: Secret = field(default_factory=lambda: Secret(""))  # APP_PASSWORD


SECRET_VARIABLES = {"HF_TOKEN": "hf_token", "APP_PASSWORD": "app_password"}


@dataclass(frozen=True)
class Settings:
    """All settings. ``origins`` maps a dotted key to where its value came from (absent: default)."""

    paths: PathSettings = PathSettings()
    families: FamilySettings = FamilySettings()
    dialogues: DialogueSettings = DialogueSettings()
    training: TrainingSettings = TrainingSettings()
    nano: NanoSettings = NanoSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    chat: ChatSettings = ChatSettings()
    export: ExportSettings = ExportSettings()
    chats: KeptChatSettings = KeptChatSettings()
    recall: RecallSettings = RecallSettings()
    themes: ThemeSettings = ThemeSettings()
    locations: LocationSettings = LocationSettings()
    network: NetworkSettings = NetworkSettings()
    dashboard: DashboardSettings = DashboardSettings()
    report: ReportSettings = ReportSettings()
    hub: HubSettings = HubSettings()
    app: AppSettings = AppSettings()
    cards: CardSettings = CardSettings()
    api: ApiSettings = ApiSettings()
    aws: AwsSettings = AwsSettings()
    secrets: SecretSettings = field(default_factory=SecretSettings, repr=False)
    origins: Mapping[str, str] = field(default_factory=dict, repr=False)

    def origin(self, key: str) -> str:
        """Where the value of a dotted key (``training.seed``) came from.

        Raises:
            ConfigError: no such key.
        """
        if key not in dict(self.items()):
            raise _unknown_key(key, [name for name, _ in self.items()], "settings")
        return self.origins.get(key, "default")

    def items(self) -> Iterator[tuple[str, object]]:
        """Every dotted key with its value, in the order of this file; secrets as :class:`Secret`."""
        for section in dataclasses.fields(self):
            if section.name != "origins":
                yield from _walk(getattr(self, section.name), section.name)

    def to_dict(self) -> dict[str, object]:
        """Plain values of everything but secrets, ready for JSON."""
        return {
            key: str(value) if isinstance(value, Path) else value
            for key, value in self.items()
            if not isinstance(value, Secret)
        }


def load_settings(
    config_file: Path | None = None,
    env_file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
    recipe: str = "",
) -> Settings:
    """Build the settings from all layers.

    Args:
        config_file: YAML file; default ``aws_config.yaml`` beside this file, if it exists.
        env_file: default ``.env`` in the working folder, if it exists.
        environment: default ``os.environ``.
        flags: dotted key to value; ``None`` values are skipped.
        recipe: name of one in ``RECIPE_FOLDER``, or a YAML file; empty: none.

    Raises:
        ConfigError: unknown key, wrong type, unreadable file, no such recipe.
    """
    overrides: dict[str, tuple[object, str]] = {}
    file = config_file or PROJECT_FOLDER / CONFIG_FILE_NAME
    if config_file or file.exists():
        overrides |= {key: (value, file.name) for key, value in _read_yaml(file).items()}
    if recipe:
        overrides |= {key: (value, f"recipe {recipe}") for key, value in _read_recipe(recipe).items()}
    variables = _read_environment(env_file, environment)
    overrides |= {key: (value, origin) for key, value, origin in _from_environment(variables)}
    overrides |= {key: (value, "flag") for key, value in (flags or {}).items() if value is not None}
    settings = _apply(overrides)
    _check_ranges(settings)
    return settings


def _walk(value: object, prefix: str) -> Iterator[tuple[str, object]]:
    if dataclasses.is_dataclass(value):
        for part in dataclasses.fields(value):
            yield from _walk(getattr(value, part.name), f"{prefix}.{part.name}")
    else:
        yield prefix, value


def _read_yaml(file: Path) -> dict[str, object]:
    import yaml

    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"no settings file {file}.", remedies=[("Leave it out", "the defaults apply without --config")]
        ) from None
    except yaml.MarkedYAMLError as error:  # its own text quotes the line, and with it what stands there
        at = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ConfigError(f"{file}{at} cannot be read: {error.problem}.") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{file} cannot be read: {' '.join(str(error).split())}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ConfigError(
            f"{file} holds no sections.", instead="It starts like this: 'training:' and below it '  seed: 7'"
        )
    return _flatten(content, "", file.name)


def list_recipes() -> list[str]:
    """Names of the recipes that come with the project."""
    return sorted(file.stem for file in RECIPE_FOLDER.glob("*.yaml"))


def _read_recipe(recipe: str) -> dict[str, object]:
    """The settings of a recipe, by its name or its file."""
    file = Path(recipe)
    if recipe in list_recipes():
        file = RECIPE_FOLDER / f"{recipe}.yaml"
    elif not file.is_file():
        near = difflib.get_close_matches(recipe, list_recipes(), n=1)
        raise ConfigError(
            f"no recipe '{recipe}', and no file of that name." + (f" Did you mean {near[0]}?" if near else ""),
            instead=f"There are: {', '.join(list_recipes())}",
            remedies=[("Or write your own", f"cp {RECIPE_FOLDER / 'laptop.yaml'} mine.yaml; --recipe mine.yaml")],
        )
    found = _read_yaml(file)
    for key in found:
        if key in dict(Settings().items()) and key.partition(".")[0] not in RECIPE_SECTIONS:
            raise ConfigError(
                f"recipe {recipe}: {key} does not belong into a recipe.",
                instead=f"A recipe has the sections: {', '.join(RECIPE_SECTIONS)}",
                remedies=[("Put it into", CONFIG_FILE_NAME)],
            )
    return found


def _flatten(content: Mapping[object, object], prefix: str, origin: str) -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in content.items():
        dotted = f"{prefix}{key}"
        if dotted == "secrets" or dotted.startswith("secrets."):
            raise ConfigError(f"{origin}: secrets do not belong into this file.", remedies=[("Put them into", ".env")])
        if value is None and any(known.startswith(f"{dotted}.") for known, _ in Settings().items()):
            continue  # a section in which everything is commented out
        flat |= _flatten(value, dotted + ".", origin) if isinstance(value, dict) else {dotted: value}
    return flat


def _read_environment(env_file: Path | None, environment: Mapping[str, str] | None) -> dict[str, tuple[str, str]]:
    from dotenv import dotenv_values

    file = env_file or Path(".env")
    try:
        values = dotenv_values(file) if file.is_file() else {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from None
    merged = {name: (value, file.name) for name, value in values.items() if value}
    real = os.environ if environment is None else environment
    return merged | {name: (value, "environment") for name, value in real.items() if value}


def _from_environment(variables: Mapping[str, tuple[str, str]]) -> Iterator[tuple[str, object, str]]:
    for name, (value, origin) in variables.items():
        if name in SECRET_VARIABLES:
            yield f"secrets.{SECRET_VARIABLES[name]}", Secret(value), f"{origin} ({name})"
        elif name.startswith(ENVIRONMENT_PREFIX):
            key = name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".")
            yield key, value, f"{origin} ({name})"


def _apply(overrides: Mapping[str, tuple[object, str]]) -> Settings:
    known = dict(Settings().items())
    origins: dict[str, str] = {}
    values: dict[str, object] = {}
    hints = dict(_hints(Settings, ""))
    for key, (value, origin) in overrides.items():
        if key not in known:
            raise _unknown_key(key, list(known), origin)
        values[key] = _convert(key, value, hints[key], origin)
        origins[key] = origin
    return typing.cast(Settings, _rebuild(Settings(origins=origins), "", values))


def _hints(owner: type, prefix: str) -> Iterator[tuple[str, type]]:
    hints = typing.get_type_hints(owner)
    for part in dataclasses.fields(owner):
        hint = hints[part.name]
        if dataclasses.is_dataclass(hint):
            yield from _hints(typing.cast(type, hint), f"{prefix}{part.name}.")
        else:
            yield f"{prefix}{part.name}", hint


def _rebuild(section: object, prefix: str, values: Mapping[str, object]) -> object:
    changes: dict[str, object] = {}
    for part in dataclasses.fields(section):  # type: ignore[arg-type]
        key = f"{prefix}{part.name}"
        current = getattr(section, part.name)
        if dataclasses.is_dataclass(current):
            changes[part.name] = _rebuild(current, key + ".", values)
        elif key in values:
            changes[part.name] = values[key]
    return dataclasses.replace(section, **changes)  # type: ignore[type-var]


def _convert(key: str, value: object, hint: type, origin: str) -> object:
    if isinstance(hint, types.UnionType):
        hint = next(option for option in typing.get_args(hint) if option is not type(None))
    if hint is Secret and isinstance(value, Secret):
        return value
    wrong = ConfigError(f"{origin}: {key} is {value!r}, which is not {_describe(hint)}.")
    if typing.get_origin(hint) is tuple:
        return _convert_texts(value, wrong)
    if hint is bool:
        return _convert_switch(value, wrong)
    if isinstance(value, bool) or value is None:
        raise wrong
    try:
        converted = Path(str(value)) if hint is Path else hint(str(value) if hint is not float else value)
    except (TypeError, ValueError):
        raise wrong from None
    if isinstance(value, dict | list):
        raise wrong
    return converted


def _convert_switch(value: object, wrong: ConfigError) -> bool:
    """True or false, or the words for it that YAML and the environment have."""
    if isinstance(value, bool):
        return value
    known = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    found = known.get(str(value).strip().lower())
    if found is None:
        raise wrong
    return found


def _convert_texts(value: object, wrong: ConfigError) -> tuple[str, ...]:
    """A list of texts, or one text with commas between them, as the environment has it."""
    parts = [part.strip() for part in value.split(",")] if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        raise wrong
    return tuple(part for part in parts if part)


def _describe(hint: type) -> str:
    if typing.get_origin(hint) is tuple:
        return "a list of texts"
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", Path: "a path"}
    return names.get(hint, str(hint))


def _unknown_key(key: str, known: list[str], origin: str) -> ConfigError:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
    return ConfigError(
        f"{origin}: unknown setting '{key}'.",
        instead=f"The nearest is '{near[0]}'." if near else "",
        remedies=[("See all", "python training_pipeline.py settings")],
    )


# key: (lowest, highest) allowed
RANGES: dict[str, tuple[float, float]] = {
    "dialogues.context_turns": (1, 100),
    "dialogues.minimum_replies": (1, 1_000_000),
    "dialogues.held_out_share": (0.0, 0.9),
    "training.lora_rank": (1, 1024),
    "training.lora_alpha": (1, 4096),
    "training.lora_dropout": (0.0, 0.9),
    "training.learning_rate": (1e-8, 1.0),
    "training.warmup_share": (0.0, 0.9),
    "training.epochs": (0.01, 1000),
    "training.max_steps": (0, 10_000_000),
    "training.sequences_per_step": (1, 4096),
    "training.sequences_per_batch": (0, 4096),
    "training.max_length": (32, 131_072),
    "training.checkpoint_minutes": (0, 1440),
    "training.checkpoint_steps": (0, 1_000_000),
    "training.evaluations_per_epoch": (0, 1000),
    "training.evaluation_replies": (1, 1_000_000),
    "training.patience": (0, 1000),
    "training.seed": (0, 2**32 - 1),
    "nano.vocabulary": (300, 32_000),
    "nano.hidden_size": (32, 1024),
    "nano.layers": (1, 32),
    "nano.heads": (1, 32),
    "nano.epochs": (1, 1000),
    "nano.max_steps": (1, 1_000_000),
    "nano.learning_rate": (1e-6, 1.0),
    "nano.lora_learning_rate": (1e-6, 1.0),
    "nano.lora_epochs": (0.01, 1000),
    "nano.lora_dropout": (0.0, 0.9),
    "evaluation.max_replies": (1, 1_000_000),
    "chat.max_new_tokens": (1, 4096),
    "chat.temperature": (0.0, 5.0),
    "chat.top_p": (0.01, 1.0),
    "chat.repetition_penalty": (0.5, 5.0),
    "chat.history_turns": (1, 1000),
    "chat.cache_tokens": (64, 16_777_216),
    "chat.replies_at_once": (1, 1024),
    "export.bits": (0, 8),
    "export.max_divergence": (0.0, 100.0),
    "export.max_perplexity_rise": (0.0, 100.0),
    "export.compared_replies": (1, 10_000),
    "chats.retention_days": (0, 36_500),
    "chats.messages_per_conversation": (2, 100_000),
    "chats.conversations_per_owner": (1, 100_000),
    "chats.conversations_in_memory": (1, 100_000),
    "recall.minimum_parameters": (0, 10**15),
    "recall.scenes": (0, 20),
    "recall.budget_tokens": (0, 1_000_000),
    "recall.later_share": (0.0, 1.0),
    "recall.example_lines": (0, 50),
    "recall.redraws": (0, 5),
    "themes.batch_tokens": (16, 1_048_576),
    "themes.least_correlation": (-1.0, 1.0),
    "themes.sample_lines": (4, 10_000),
    "themes.scene_lines": (1, 100_000),
    "themes.top_lines": (0, 1000),
    "locations.scene_lines": (1, 100_000),
    "locations.minimum_labels": (2, 1_000_000),
    "locations.least_probability": (0.0, 1.0),
    "locations.folds": (2, 1000),
    "locations.inner_folds": (2, 1000),
    "locations.resamples": (10, 1_000_000),
    "locations.epochs": (1, 1000),
    "locations.patience": (1, 1000),
    "locations.learning_rate": (1e-8, 1.0),
    "locations.texts_per_batch": (1, 4096),
    "locations.longest_tokens": (16, 131_072),
    "locations.seed": (0, 2**32 - 1),
    "network.speaks_weight": (0.0, 1000),
    "network.together_weight": (0.0, 1000),
    "network.mentions_weight": (0.0, 1000),
    "network.minimum_lines": (1, 1_000_000),
    "network.shown_people": (2, 1000),
    "network.suggestions": (1, 1_000_000),
    "network.seed": (0, 2**32 - 1),
    "dashboard.shown_characters": (1, 500),
    "dashboard.kept_results": (1, 1000),
    "dashboard.prior_words": (1.0, 1e9),
    "dashboard.minimum_word_count": (1, 1_000_000),
    "dashboard.longest_scenes": (1, 1000),
    "dashboard.own_themes": (0, 100),
    "dashboard.upload_file_mb": (0.01, 1000),
    "dashboard.upload_files": (1, 1000),
    "dashboard.upload_rows": (1, 10_000_000),
    "report.quoted_lines": (0, 1000),
    "report.quote_characters": (10, 2000),
    "report.themes": (1, 100),
    "report.scenes": (0, 50),
    "report.radar_characters": (0, 8),
    "report.characters": (0, 50),
    "report.pairs": (0, 1000),
    "report.pair_timelines": (0, 20),
    "report.table_rows": (1, 10_000),
    "hub.reach_timeout_seconds": (0.1, 60),
    "app.port": (0, 65_535),
    "app.tabs_remembered": (1, 100_000),
    "cards.max_file_mb": (0.01, 100),
    "cards.lore_tokens": (0, 100_000),
    "api.requests_per_minute": (0, 1_000_000),
    "api.wrong_tries": (1, 1000),
    "api.lockout_seconds": (0, 3600),
    "aws.ssh_port": (1, 65_535),
    "aws.setup_minutes": (5, 240),
    "aws.training.volume_gb": (8, 16_384),
    "aws.training.max_hours": (0.1, 120),
    "aws.training.max_usd": (0, 1_000_000),
    "aws.training.retries": (0, 100),
    "aws.serving.volume_gb": (8, 16_384),
    "aws.serving.port": (1024, 65_535),
}

CHOICES: dict[str, tuple[str, ...]] = {
    "chat.engine": ENGINES,
    "training.format": FORMATS,
    "training.keep": KEPT_WEIGHTS,
    "training.parallel": PARALLELS,
    "training.activation_checkpointing": CHECKPOINTINGS,
    "training.quantise": QUANTISATIONS,
    "recall.use": RECALL_USES,
    "themes.precision": THEME_PRECISIONS,
    "recall.ending": ENDINGS,
    "app.editing": EDITINGS,
}


def _check_ranges(settings: Settings) -> None:
    values = dict(settings.items())
    for key, (lowest, highest) in RANGES.items():
        value = typing.cast(float, values[key])
        if not lowest <= value <= highest:
            raise ConfigError(f"{settings.origin(key)}: {key} is {value}; it goes from {lowest:g} to {highest:g}.")
    for key, choices in CHOICES.items():
        if values[key] not in choices:
            raise ConfigError(
                f"{settings.origin(key)}: {key} is '{values[key]}'.", instead=f"There are: {', '.join(choices)}"
            )
