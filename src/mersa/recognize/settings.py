"""How a recording is cut into what is judged, and how the answers are smoothed: typed settings."""

import difflib
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from mersa.config import Settings, apply_assignments
from mersa.errors import ConfigError

By = Literal["auto", "whole", "speech", "windows", "words", "turns"]
KINDS = ("auto", "whole", "speech", "windows", "words")
Share = Annotated[float, Field(gt=0, lt=1)]
Seconds = Annotated[float, Field(ge=0, le=300)]


class Turn(Settings):
    """A stretch that somebody named, in seconds from the recording's start."""

    start_s: float = Field(ge=0)
    end_s: float = Field(gt=0)
    speaker: str | None = None
    channel: int | None = Field(None, ge=0)


class SpeechSettings(Settings):
    """How voice activity becomes stretches of speech."""

    threshold: Share = Field(0.5, description="probability from which speech begins; silero-vad's")
    exit_threshold: Share = Field(
        0.35, description="probability below which a pause begins; silero-vad's"
    )
    min_speech_s: Seconds = Field(0.25, description="shorter speech is dropped; silero-vad's")
    min_silence_s: Seconds = Field(
        0.5, description="a shorter pause does not end a stretch; ours, silero-vad has 0.1"
    )
    pad_s: Seconds = Field(
        0.5,
        description="sound kept on both sides of a stretch, at most half of a pause; where it is "
        "not given, what the model's training clips have, if that is known; silero-vad has 0.03",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.exit_threshold > self.threshold:
            raise ValueError("speech.exit_threshold must be at most speech.threshold")
        return self


class WindowSettings(Settings):
    """Windows that lie over the whole recording."""

    length_s: float = Field(6.0, ge=0.5, le=300, description="seconds of a window")
    step_s: float = Field(3.0, ge=0.1, le=300, description="seconds from one to the next")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.step_s > self.length_s:
            raise ValueError("windows.step_s must be at most windows.length_s, or sound is dropped")
        return self


class SmoothingSettings(Settings):
    """When a segment's label follows its neighbours rather than its own scores.

    Neighbours are at most `gap_s` apart and of one speaker and channel. A segment's scores are
    averaged with those of the neighbour on each side, which count `weight` times as much; then the
    label of the segment before stays unless another one's mean is larger by at least `margin`.
    """

    weight: float = Field(
        0.25, ge=0, le=1, description="of a neighbour beside a segment's own 1; 0: none"
    )
    margin: float = Field(
        0.05, ge=0, lt=1, description="by which another label must be more probable; 0: at all"
    )
    gap_s: Seconds = Field(1.0, description="largest pause between neighbours")


class Segmentation(Settings):
    """How a recording is cut into segments."""

    by: By = Field("auto", description="auto, whole, speech, windows, words or turns")
    longest_s: float = Field(
        20.0,
        ge=1,
        le=300,
        description="of a recording that auto judges as a whole, and of uncut speech",
    )
    channels: bool = Field(False, description="whether each channel is a speaker of its own")
    turns: tuple[Turn, ...] = ()
    speech: SpeechSettings = SpeechSettings()
    windows: WindowSettings = WindowSettings()
    smoothing: SmoothingSettings = SmoothingSettings()

    @model_validator(mode="after")
    def _check(self) -> Self:
        named = [turn.channel is not None for turn in self.turns]
        if any(named) and not all(named):
            raise ValueError("turns must name a channel all of them, or none")
        if named and self.channels and not any(named):
            raise ValueError("turns must name their channels where each channel is a speaker")
        return self


def make_segmentation(
    by: str = "auto",
    assignments: Sequence[str] = (),
    *,
    channels: bool = False,
    turns: Sequence[Turn] = (),
) -> Segmentation:
    """Make checked settings.

    Args:
        by: `auto`, `whole`, `speech`, `windows` or `words`; `turns` where they are given.
        assignments: Settings as `speech.pad_s=0.2`.
        channels: Whether each channel is a speaker.
        turns: The stretches to judge.

    Raises:
        ConfigError: If a setting does not exist or cannot take its value.
    """
    if by not in KINDS and not turns:
        raise ConfigError(
            f"segments {by!r} are not known; choose one of {', '.join(KINDS)}, or give a file of "
            "times (.csv, .json or .rttm)"
        )
    channels = channels or any(turn.channel is not None for turn in turns)
    nested: dict[str, Any] = apply_assignments({}, assignments, kind=Segmentation)
    for name in _names_in(nested):
        if name not in _NAMES:
            near = difflib.get_close_matches(name, _NAMES, n=1, cutoff=0.4)
            hint = f"the nearest is {near[0]!r}" if near else f"choose one of {', '.join(_NAMES)}"
            raise ConfigError(f"setting {name!r} does not exist; {hint}")
    try:
        return Segmentation(**{**nested, "by": by, "channels": channels, "turns": tuple(turns)})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        reason = first["msg"].removeprefix("Value error, ")
        raise ConfigError(
            f"setting {name} is {first['input']!r}, but {reason[0].lower()}{reason[1:]}; "
            "give another value"
        ) from None


def as_segmentation(value: Segmentation | str) -> Segmentation:
    """Take what a caller may give for a segmentation: settings or a kind's name."""
    if isinstance(value, Segmentation):
        return value
    if isinstance(value, str):
        return make_segmentation(value)
    raise ConfigError(
        f"segmentation is {value!r}, but one of {', '.join(KINDS)} or a Segmentation was expected"
    )


def _names_in(nested: dict[str, Any]) -> list[str]:
    names = []
    for name, value in nested.items():
        names += [f"{name}.{key}" for key in value] if isinstance(value, dict) else [name]
    return names


_SECTIONS: dict[str, type[Settings]] = {
    "speech": SpeechSettings,
    "windows": WindowSettings,
    "smoothing": SmoothingSettings,
}
_NAMES = (
    "longest_s",
    *(f"{name}.{key}" for name, section in _SECTIONS.items() for key in section.model_fields),
)
