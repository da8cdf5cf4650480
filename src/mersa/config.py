"""All that decides a run: typed settings, each with its meaning, its default and its source.

A setting is named by its section, as `train.epochs`. An unknown name is an error that gives the
nearest known one. Departures from the paper's lineage carry the number under which `docs/paper.md`
explains them.
"""

import difflib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mersa.errors import ConfigError

System = Literal["server", "3m-ser", "mersa", "mersa-cross", "text", "audio"]
Layer = int | Literal["mix"]
Precision = Literal["float32", "bf16"]
Weights = Literal["frozen", "tuned"]
Share = Annotated[float, Field(gt=0, lt=1)]
Width = Annotated[int, Field(gt=0, le=65_536)]

OWN = r"[A-Za-z_]\w+(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*"
"""What a name of one's own looks like, `package.module:Name`; `mersa.own` finds the object."""


class Settings(BaseModel):
    """A section: frozen, and closed to unknown names."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


S = TypeVar("S", bound=Settings)

_BUILT_IN = ("tiny", "mel", "vggish")  # encoders, whatever lies in the working folder
_OF_FILES = ("vggish", "onnx")  # before a colon and a path


class DataSettings(Settings):
    """Which utterances are learnt from, and how they are cut into parts."""

    labels: str = Field(
        "all",
        description="all that the manifest holds, iemocap-4, iemocap-6, meld-4, meld-7, or own "
        "words with commas",
    )
    protocol: str = Field(
        "auto",
        description="auto, official, leave-one-session-out, speaker, leave-one-speaker-out, "
        "dialogue, script-disjoint, improvised, paper, column:NAME or file:PATH",
    )
    folds: int | None = Field(
        None,
        ge=2,
        description="of speaker, script-disjoint and improvised; at most five where not given",
    )
    seed: int = Field(
        0, ge=0, lt=2**32, description="of cuts and shuffles; train.seed moves neither"
    )
    validation_share: Share = Field(
        0.1, description="share of the train groups that becomes validation where there is none"
    )
    validation_group: Literal["auto", "speaker", "dialogue", "session", "utterance"] = Field(
        "auto", description="what stays whole when validation is cut; auto: the widest that can"
    )
    shuffle: Literal["none", "text", "audio"] = Field(
        "none", description="control: give each utterance another one's words or sound, in its part"
    )
    min_duration_s: float = Field(
        0.0, ge=0, description="leave out shorter utterances; SERVER's lineage: 1.935 (D7)"
    )


class TextSettings(Settings):
    """The encoder of words."""

    name: str = Field(
        "google-bert/bert-base-uncased",
        description="tiny, a Hugging Face id, a local folder, or package.module:Name",
    )
    revision: str | None = Field(None, description="commit of a Hugging Face id; pinned if known")
    layer: Layer = Field(-1, description="hidden layer that gives the frames, or mix: learnt")
    output: Literal["frames", "pooler"] = Field(
        "frames", description="a frame a token, or one sentence vector; SERVER: pooler"
    )
    live_dropout: bool = Field(
        False,
        description="run it in each step, dropout on, uncached; lineage: true (D1)",
    )
    weights: Weights = Field(
        "frozen",
        description="frozen, or tuned: trained with the network and kept in the run",
    )
    max_tokens: int | None = Field(None, gt=0, description="longest text; unset: the model's own")
    precision: Precision = Field(
        "float32", description="what it computes in: float32 or bf16, faster and less exact"
    )


class AudioSettings(Settings):
    """The encoder of sound."""

    name: str = Field(
        "facebook/wav2vec2-base",
        description="vggish, vggish:FOLDER, mel, onnx:FILE, a Hugging Face id, a local folder, or "
        "package.module:Name",
    )
    revision: str | None = Field(None, description="commit of a Hugging Face id; pinned if known")
    layer: Layer = Field(-1, description="hidden layer that gives the frames, or mix: learnt")
    peak: float | None = Field(
        None, gt=0, le=1, description="level that each clip is brought to; unset: as recorded"
    )
    normalize: bool | None = Field(
        None, description="zero mean, unit variance; unset: as the checkpoint says; lineage: false"
    )
    live_dropout: bool = Field(
        False,
        description="run it in each step, dropout on, uncached; lineage: true (D1)",
    )
    weights: Weights = Field(
        "frozen",
        description="frozen, or tuned: trained with the network, save the convolutions, and kept "
        "in the run",
    )
    spec_augment: bool = Field(
        False,
        description="mask frames of a tuned encoder in training, as its config.json says; "
        "SpecAugment, Park et al. 2019",
    )
    pca: bool = Field(False, description="VGGish's PCA, clip and rounding; lineage: true (D4)")
    short_clips: Literal["silence", "zero"] = Field(
        "silence", description="what a clip below 0.96 s is padded with; lineage: zero (D3)"
    )
    precision: Precision = Field(
        "float32",
        description="what a Hugging Face model computes in: float32 or bf16, faster and less exact",
    )


class NetworkSettings(Settings):
    """The network between the frames and the emotions."""

    system: System | Annotated[str, Field(pattern=f"^{OWN}$")] = Field(
        "mersa-cross",
        description="server, 3m-ser, mersa, mersa-cross, text, audio, or package.module:Name",
    )
    num_heads: int = Field(8, gt=0, description="attention heads; source: 3M-SER")
    dropout: float = Field(
        0.5, ge=0, lt=1, description="of attention weights and of the head's inputs; 3M-SER"
    )
    fusion_width: int = Field(
        128,
        ge=0,
        le=65_536,
        description="width of the fused frames; 0: the audio's, as in 3M-SER v2 (D5)",
    )
    hidden: tuple[Width, ...] = Field((64,), description="hidden widths of the head; 3M-SER")
    pooling: Literal["first", "mean", "max", "min"] | None = Field(
        None, description="unset: first ([CLS]) where modalities are fused, mean for one alone"
    )


class TrainSettings(Settings):
    """The loop."""

    lineage: bool = Field(
        False, description="the lineage's loop: batch 1, Adam 1e-4, step 30 x 0.1, 200 epochs (D2)"
    )
    seed: int = Field(0, ge=0, lt=2**32, description="of weights, order and dropout")
    epochs: int = Field(100, gt=0, description="the most; early stopping ends sooner")
    patience: int = Field(
        20, gt=0, description="epochs without a better validation score before stopping"
    )
    monitor: Literal["macro_f1", "balanced_accuracy", "accuracy", "weighted_f1", "loss"] = Field(
        "macro_f1", description="validation score that chooses the epoch; lineage: accuracy"
    )
    batch_size: int = Field(32, gt=0, description="utterances a step (D2)")
    frames_at_once: int | None = Field(
        None,
        gt=0,
        description="most frames held at once; a larger batch is taken in parts that add up to "
        "the same step; unset: the whole batch, halved when memory runs out",
    )
    precision: Literal["float32", "bf16"] = Field(
        "float32", description="of matrix products in training; weights and sums are float32"
    )
    learning_rate: float = Field(5e-4, gt=0, le=100, description="highest rate (D2)")
    encoder_learning_rate: float = Field(
        2e-5,
        gt=0,
        le=100,
        description="highest rate of tuned encoders; BERT, Devlin et al. 2019, A.3: 2e-5 to 5e-5",
    )
    gradient_checkpointing: bool = Field(
        False,
        description="compute the layers of tuned encoders again for their gradients: less memory, "
        "more time",
    )
    weight_decay: float = Field(1e-2, ge=0, description="of AdamW; lineage: 0")
    schedule: Literal["none", "step", "cosine"] = Field(
        "cosine", description="of the rate over the epochs"
    )
    step_epochs: int = Field(30, gt=0, description="epochs between two drops of `step`")
    step_factor: float = Field(0.1, gt=0, le=1, description="what `step` multiplies the rate by")
    class_weights: bool = Field(
        False, description="weigh each emotion by the inverse of its share in train"
    )
    label_smoothing: float = Field(0.0, ge=0, lt=1, description="of the cross entropy")
    modality_dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="probability that a step sees an utterance without its words or its sound, "
        "never without both; ModDrop, Neverova et al. 2016",
    )
    clip_norm: float = Field(1.0, ge=0, description="longest gradient; 0: any; lineage: 0")
    temperature: bool = Field(
        True,
        description="divide logits by one temperature fitted on validation, which changes no "
        "label; Guo et al. 2017, Sec. 4.2; lineage: none",
    )
    refit: bool = Field(
        False, description="after choosing the epoch, fit anew on train and validation for as long"
    )


LINEAGE: Mapping[str, Any] = {
    "epochs": 200,
    "patience": 200,
    "monitor": "accuracy",
    "batch_size": 1,
    "learning_rate": 1e-4,
    "weight_decay": 0.0,
    "schedule": "step",
    "step_epochs": 30,
    "step_factor": 0.1,
    "clip_norm": 0.0,
}
"""What `train.lineage = true` sets, unless a setting is given beside it.

Source: nhattruongpham/mmser:PreState.ipynb; tpnam0901/3m-ser after 2023-08-17.
"""


class Config(Settings):
    """Everything that decides a run."""

    row: str = Field("", description="row of the paper's tables, as III.6; empty: none")
    data: DataSettings = DataSettings()
    text: TextSettings = TextSettings()
    audio: AudioSettings = AudioSettings()
    network: NetworkSettings = NetworkSettings()
    train: TrainSettings = TrainSettings()

    @property
    def uses_text(self) -> bool:
        """True if the network reads words."""
        return self.network.system != "audio"

    @property
    def uses_audio(self) -> bool:
        """True if the network reads sound."""
        return self.network.system != "text"

    @property
    def tuned(self) -> tuple[Literal["text", "audio"], ...]:
        """The modalities whose encoder is trained with the network, words first."""
        text = ("text",) if self.text.weights == "tuned" else ()
        audio = ("audio",) if self.audio.weights == "tuned" else ()
        return (*text, *audio)


def make_config(settings: Mapping[str, Any]) -> Config:
    """Check nested settings and fill in the defaults.

    `train.lineage = true` changes the other defaults of the loop; settings given beside it win.

    Raises:
        ConfigError: If a name is unknown (the nearest known one is named) or a value does not fit.
    """
    check_names(Config, settings)
    train = settings.get("train", {})
    if isinstance(train, Mapping) and train.get("lineage"):
        settings = {**settings, "train": {**LINEAGE, **train}}
    config = validated(Config, _with_derived(settings))
    if config.text.live_dropout or config.audio.live_dropout:
        for name, is_set in (
            ("data.shuffle", config.data.shuffle != "none"),
            ("train.refit", config.train.refit),
        ):
            if is_set:
                raise ConfigError(f"{name} does not go with live_dropout; leave one of them unset")
    _check_tuning(config)
    if config.train.modality_dropout and not (config.uses_text and config.uses_audio):
        raise ConfigError(
            f"train.modality_dropout is {config.train.modality_dropout}, but network.system "
            f"{config.network.system!r} reads one modality, and both are never taken away; leave "
            "it at 0"
        )
    return config


def validated(kind: type[S], settings: Mapping[str, Any]) -> S:
    """Fill in the defaults of nested settings, their names checked before.

    Raises:
        ConfigError: If a value does not fit its setting.
    """
    try:
        return kind.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        parts = {part for name in setting_names(kind) for part in name.split(".")}
        name = ".".join(str(part) for part in first["loc"] if part in parts)
        wanted = f"{first['msg'][0].lower()}{first['msg'][1:]}"
        raise ConfigError(
            f"setting {name} is {first['input']!r}, but {wanted}{_meaning(kind, name)}; "
            "give another value"
        ) from None


def check_names(kind: type[Settings], settings: Mapping[str, Any]) -> None:
    """See that nested settings have known names.

    Raises:
        ConfigError: If one has not; the nearest known one is named.
    """
    names = tuple(setting_names(kind))
    for name, value in settings.items():
        if isinstance(value, Mapping) and (value or name in kind.model_fields):
            given = [f"{name}.{key}" for key in value]
        else:
            given = [name]
        for full in given:
            if full not in names:
                raise ConfigError(f"setting {full!r} does not exist; {_nearest(kind, full)}")


def setting_names(kind: type[Settings]) -> Iterator[str]:
    """Give the full name of every setting, as `train.epochs`."""
    for name, top in kind.model_fields.items():
        section = top.annotation
        if isinstance(section, type) and issubclass(section, Settings):
            yield from (f"{name}.{key}" for key in section.model_fields)
        else:
            yield name


def read_config(path: Path) -> dict[str, Any]:
    """Read nested settings from a TOML file, unchecked.

    Raises:
        ConfigError: If the file is missing or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read ({error.strerror}); name a TOML file") from None
    except (ValueError, RecursionError) as error:  # TOML's and UTF-8's errors are ValueErrors
        raise ConfigError(f"{path} is not TOML ({error})") from None


def located(config: S) -> S:
    """Return settings whose encoders of this machine are named by absolute paths.

    So what is made from them is used from any working folder. Other names stay as they are.
    """
    sections = {}
    for section in ("text", "audio"):
        settings = getattr(config, section)
        kind, colon, place = settings.name.partition(":")
        before, place = (f"{kind}:", place) if kind in _OF_FILES and colon else ("", settings.name)
        path = Path(place).expanduser()
        if place and path.exists() and place not in _BUILT_IN:
            name = f"{before}{path.absolute()}"
            sections[section] = settings.model_copy(update={"name": name})
    return config.model_copy(update=sections)


def merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested settings with those of `other` over them."""
    both = dict(one)
    for name, value in other.items():
        if isinstance(value, Mapping) and isinstance(both.get(name), Mapping):
            both[name] = {**both[name], **value}
        else:
            both[name] = value
    return both


def apply_assignments(
    settings: Mapping[str, Any], assignments: Sequence[str], *, kind: type[Settings] = Config
) -> dict[str, Any]:
    """Return settings with `section.name=value` texts applied in order.

    A value is read as TOML (`true`, `3`, `0.5`, `[128, 64]`), else as bare text; an empty value
    takes the setting's "unset".

    Raises:
        ConfigError: If a text has no equals sign.
    """
    result = {name: dict(v) if isinstance(v, Mapping) else v for name, v in settings.items()}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise ConfigError(f"--set {assignment!r} has no '='; write it as train.epochs=3")
        *sections, last = name.strip().split(".")
        target = result
        for section in sections:
            target = target.setdefault(section, {})
            if not isinstance(target, dict):
                break
        if not isinstance(target, dict) or len(sections) > 1:
            full = name.strip()
            raise ConfigError(f"setting {full!r} does not exist; {_nearest(kind, full)}")
        target[last] = _value(value.strip())
    return result


def to_toml(config: Settings, *, comments: bool = False) -> str:
    """Write settings as TOML, unset ones left out; with comments each has its meaning above it."""
    import tomlkit

    document = tomlkit.document()
    for name, value in config.model_dump(mode="json").items():
        if not isinstance(value, dict):
            document[name] = value
            continue
        table = tomlkit.table()
        section = getattr(config, name)
        for key, one in value.items():
            if comments:
                table.add(tomlkit.comment(type(section).model_fields[key].description or ""))
            if one is not None:
                table[key] = one
            elif comments:
                table.add(tomlkit.comment(f"{key} is unset"))
        document[name] = table
    return tomlkit.dumps(document)


def _with_derived(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Set what follows from other settings: SERVER reads one sentence vector."""
    network, text = settings.get("network", {}), settings.get("text", {})
    sections = isinstance(network, Mapping) and isinstance(text, Mapping)
    if sections and network.get("system") == "server" and "output" not in text:
        return {**settings, "text": {**text, "output": "pooler"}}
    return settings


def _check_tuning(config: Config) -> None:
    """Refuse what does not go with tuned encoders, and what would be set in vain without."""
    for modality in config.tuned:
        if not (config.uses_text if modality == "text" else config.uses_audio):
            raise ConfigError(
                f"{modality}.weights is 'tuned', but network.system {config.network.system!r} "
                f"reads no {modality}; leave it at frozen"
            )
    if config.tuned and (config.text.live_dropout or config.audio.live_dropout):
        raise ConfigError(
            f"live_dropout does not go with {config.tuned[0]}.weights 'tuned', whose dropout is "
            "live in training anyway; leave live_dropout unset"
        )
    for modality in config.tuned:
        precision = getattr(config, modality).precision
        if precision != "float32":
            raise ConfigError(
                f"{modality}.precision is {precision!r}, but tuned weights are float32, since "
                "steps of their rate are lost in less; leave it unset, or choose "
                "train.precision=bf16"
            )
    if config.audio.spec_augment and "audio" not in config.tuned:
        raise ConfigError(
            "audio.spec_augment is on, but audio.weights is 'frozen', so nothing would be masked; "
            "choose audio.weights=tuned, or leave it off"
        )
    if config.train.gradient_checkpointing and not config.tuned:
        raise ConfigError(
            "train.gradient_checkpointing is on, but no encoder is tuned, so nothing would be "
            "computed again; choose text.weights=tuned or audio.weights=tuned, or leave it off"
        )


def _nearest(kind: type[Settings], full: str) -> str:
    names = tuple(setting_names(kind))
    last = full.rpartition(".")[2]
    by_last = [known for known in names if known.rpartition(".")[2] == last]
    near = by_last or difflib.get_close_matches(full, names, n=1)
    if near:
        return f"the nearest is {near[0]!r}"
    return f"the sections are {', '.join(sorted(kind.model_fields))}"


def _meaning(kind: type[Settings], name: str) -> str:
    section, _, key = name.partition(".")
    top = kind.model_fields.get(section)
    annotation = top.annotation if top else None
    if key and isinstance(annotation, type) and issubclass(annotation, Settings):
        return f" ({annotation.model_fields[key].description})"
    return ""


def _value(text: str) -> Any:
    if not text:
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
