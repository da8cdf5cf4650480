"""All that decides a self-alignment: typed settings, each with its meaning and its source.

The paper prints none of its values (Sec. IV-A). Where a value is that of somebody's code it says
whose; the others are choices of this package (docs/paper.md).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field, field_validator

from mersa.config import (
    AudioSettings,
    DataSettings,
    Settings,
    TextSettings,
    check_names,
    validated,
)
from mersa.encoders.base import Modality
from mersa.errors import ConfigError

Preset = Literal["library", "sapbert", "reference"]
Miner = Literal["multi-similarity", "triplet", "none"]
Conflicts = Literal["keep", "majority", "drop"]
Parts = Literal["train", "all"]


class AlignSettings(Settings):
    """The loss of Eq. (1), what it is given, and the loop."""

    preset: Preset = Field(
        "library", description="whose alpha, beta, base and miner: library, sapbert or reference"
    )
    alpha: float = Field(
        2.0, gt=0, le=1e4, description="sharpness of the pull in Eq. (1); library 2, sapbert 1"
    )
    beta: float = Field(
        50.0,
        gt=0,
        le=1e4,
        description="sharpness of the push; library 50, sapbert 60, reference 40",
    )
    base: float = Field(
        0.5, ge=-1, le=1, description="lambda of Eq. (1): the cosine at which an exponential is 1"
    )
    miner: Miner = Field(
        "multi-similarity",
        description="which pairs of a batch count: multi-similarity (epsilon 0.1), triplet "
        "(margin 0.2, SapBERT) or none (all)",
    )
    pooling: Literal["first", "mean"] = Field(
        "first",
        description="what stands for a text: its first frame ([CLS], SapBERT) or the "
        "mean; unset: mean for projections and sound",
    )
    parts: Parts = Field(
        "train", description="what is learnt from; all leaks and needs --allow-leak"
    )
    balanced: bool = Field(
        True, description="batches hold equally many of each class; false: as they come"
    )
    batch_size: int = Field(64, ge=2, le=65_536, description="texts a step")
    per_class: int | None = Field(
        None,
        ge=2,
        description="texts of each class in a balanced batch; unset: batch_size over the classes",
    )
    per_class_cap: int | None = Field(
        None, ge=2, description="most texts of a class an epoch, drawn anew each time; unset: all"
    )
    conflicts: Conflicts = Field(
        "keep",
        description="texts that stand under several labels: keep all, keep the majority's, or "
        "drop them",
    )
    epochs: int = Field(3, gt=0, description="the most; early stopping ends sooner")
    patience: int = Field(
        2, gt=0, description="epochs without a better validation space before stopping"
    )
    neighbours: int = Field(
        15, gt=0, description="of the validation measure: balanced accuracy by nearest train texts"
    )
    learning_rate: float = Field(
        2e-5, gt=0, le=1, description="of AdamW; tune: 2e-5 (SapBERT), projection: 1e-3"
    )
    weight_decay: float = Field(0.01, ge=0, description="of AdamW; source: SapBERT")
    schedule: Literal["constant", "linear"] = Field(
        "constant", description="of the rate over the steps; source: SapBERT, constant"
    )
    gradient_checkpointing: bool = Field(
        False, description="compute each layer twice to hold less in memory"
    )
    frames_at_once: int | None = Field(
        None,
        gt=0,
        description="most tokens or frames of a tuned encoder held at once; a larger batch is "
        "taken in parts, each run twice, that make the same step; unset: what suits the device",
    )
    precision: Literal["float32", "bf16"] = Field(
        "float32", description="of the encoder in training; weights and loss are float32"
    )
    seed: int = Field(0, ge=0, lt=2**32, description="of batches and dropout")
    modality: Literal["text", "audio"] = Field(
        "text", description="which encoder is aligned: text or audio"
    )
    how: Literal["tune", "projection"] = Field(
        "tune",
        description="tune its weights (Hugging Face text encoders; wav2vec 2.0, HuBERT and WavLM), "
        "or train a projection of its frozen frames; where unset: projection for audio",
    )
    projection: Literal["residual", "mlp", "linear"] = Field(
        "mlp",
        description="mlp: Linear, GELU, Linear; residual: that added to the frame; linear: one "
        "Linear; frames are standardised first",
    )
    projection_hidden: int = Field(256, gt=0, le=65_536, description="width between the Linears")
    projection_width: int | None = Field(
        None, gt=0, le=65_536, description="width of the projected frames; unset: the encoder's"
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="of the projection's hidden values")

    @field_validator("pooling", mode="before")
    @classmethod
    def _as_it_was_called(cls, value: Any) -> Any:
        """Read `cls`, which SapBERT and older folders call the first frame."""
        return "first" if value == "cls" else value


PRESETS: Mapping[str, Mapping[str, Any]] = {
    # KevinMusgrave/pytorch-metric-learning: defaults of MultiSimilarityLoss and its miner.
    "library": {"alpha": 2.0, "beta": 50.0, "base": 0.5, "miner": "multi-similarity"},
    # cambridgeltl/sapbert:src/metric_learning.py, train/pretrain.sh.
    "sapbert": {"alpha": 1.0, "beta": 60.0, "base": 0.5, "miner": "triplet"},
    # msight-tech/research-ms-loss:ret_benchmark/losses/multi_similarity_loss.py.
    "reference": {"alpha": 2.0, "beta": 40.0, "base": 0.5, "miner": "multi-similarity"},
}
"""What each `align.preset` sets, unless a setting is given beside it."""


PROJECTION: Mapping[str, Any] = {
    "pooling": "mean",
    "epochs": 20,
    "patience": 10,
    "learning_rate": 1e-3,
}
"""What `align.how = projection` sets, unless a setting is given beside it."""

_UNTUNABLE = ("mel", "vggish", "onnx")


class AlignConfig(Settings):
    """Everything that decides an alignment."""

    data: DataSettings = DataSettings()
    text: TextSettings = TextSettings()
    audio: AudioSettings = AudioSettings()
    align: AlignSettings = AlignSettings()


def make_align_config(nested: Mapping[str, Any]) -> AlignConfig:
    """Check nested settings and fill in the defaults, those of the preset first.

    Raises:
        ConfigError: If a name is unknown (the nearest known one is named), a value does not fit,
            or a setting is given that alignment does not read.
    """
    check_names(AlignConfig, nested)
    align = nested.get("align", {})
    if isinstance(align, Mapping):
        nested = {**nested, "align": _with_defaults(align)}
    config = validated(AlignConfig, nested)
    _check_how(config)
    for section, keys in _unread(config.align).items():
        settings = getattr(config, section)
        for key in keys:
            value = getattr(settings, key)
            if value != type(settings).model_fields[key].default:
                raise ConfigError(
                    f"{section}.{key} is {value!r}, but alignment does not read it; leave it unset"
                )
    if config.align.per_class and config.align.per_class > config.align.batch_size // 2:
        raise ConfigError(
            f"align.per_class is {config.align.per_class}, but a batch of "
            f"{config.align.batch_size} needs at least two classes; give at most "
            f"{config.align.batch_size // 2}, or a larger align.batch_size"
        )
    if (config.align.per_class or 0) > (config.align.per_class_cap or 10**9):
        raise ConfigError(
            f"align.per_class is {config.align.per_class}, but align.per_class_cap lets "
            f"{config.align.per_class_cap} texts of a class into an epoch; raise the second"
        )
    return config


def _with_defaults(align: Mapping[str, Any]) -> dict[str, Any]:
    """Set what follows from other settings: constants of a preset, and how sound is aligned."""
    preset = align.get("preset", "library")
    filled = {**(PRESETS.get(preset, {}) if isinstance(preset, str) else {}), **align}
    if align.get("modality") == "audio":
        filled.setdefault("how", "projection")
        filled.setdefault("pooling", "mean")  # no frame of sound stands for all of it
    return {**PROJECTION, **filled} if filled.get("how") == "projection" else filled


def _unread(settings: AlignSettings) -> Mapping[str, Sequence[str]]:
    """Return the settings of each section that this alignment does not read."""
    tuned = settings.how == "tune"
    in_training = ("live_dropout", "weights", *(("layer", "precision") if tuned else ()))
    of_projection = ("projection", "projection_hidden", "projection_width", "dropout")
    linear = ("projection_hidden", "dropout") if settings.projection == "linear" else ()
    align = of_projection if tuned else ("gradient_checkpointing", "frames_at_once", *linear)
    if settings.modality == "text":
        return {
            "data": ("shuffle",),
            "text": (*in_training, "output") if tuned else in_training,
            "audio": tuple(AudioSettings.model_fields),
            "align": align,
        }
    return {
        "data": ("shuffle",),
        "text": tuple(TextSettings.model_fields),
        "audio": (*in_training, "spec_augment"),
        "align": (*align, "conflicts"),  # no recording stands under two labels
    }


def refused_tuning(modality: Modality, name: str) -> str:
    """Return what is said of an encoder whose weights are to be tuned and cannot be."""
    kinds = "text models" if modality == "text" else "wav2vec 2.0, HuBERT and WavLM"
    return (
        f"align.how is 'tune', but the weights of {name!r} cannot be tuned, only those of {kinds} "
        "of Hugging Face can; choose align.how=projection, which learns from its frozen frames"
    )


def _check_how(config: AlignConfig) -> None:
    settings = config.align
    sound = settings.how == "tune" and settings.modality == "audio"
    if sound and config.audio.name.partition(":")[0] in _UNTUNABLE:
        raise ConfigError(refused_tuning("audio", config.audio.name))
    if sound and settings.precision != "float32":
        raise ConfigError(
            f"align.precision is {settings.precision!r}, but an encoder of sound is aligned "
            "in float32; leave it unset"
        )
    if settings.projection == "residual" and settings.projection_width is not None:
        raise ConfigError(
            f"align.projection_width is {settings.projection_width}, but a residual projection has "
            "the width of the encoder; leave it unset, or set align.projection to mlp or linear"
        )
