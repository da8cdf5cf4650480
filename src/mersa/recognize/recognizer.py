"""A trained run that answers for one recording at a time."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch

from mersa import build, runs
from mersa.audio import SAMPLE_RATE, FloatArray, Source, from_array, read_audio
from mersa.batches import FeatureSet
from mersa.emotions import LabelSet
from mersa.encoders.base import Encoder, missing
from mersa.errors import AudioError, ConfigError, EncoderError, RunError, first_line
from mersa.training import predict

LONGEST_S = 300.0
"""Seconds of the longest recording that is judged as a whole."""


@dataclass(frozen=True)
class Segment:
    """A stretch of a recording and its answer; times in seconds from the recording's start."""

    start_s: float
    end_s: float
    label: str
    scores: dict[str, float]
    confidence: float


@dataclass(frozen=True)
class Prediction:
    """The answer for one recording.

    Attributes:
        label: The most probable emotion.
        scores: Probability of each emotion; they sum to 1.
        confidence: The probability of `label`.
        segments: The stretches that were judged, in order.
        modalities: What was read: `text`, `audio` or both.
    """

    label: str
    scores: dict[str, float]
    confidence: float
    segments: tuple[Segment, ...]
    modalities: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the answer as plain values, for JSON."""
        return asdict(self)


class Recognizer:
    """Tells the emotion of recordings by one trained run; folds and seeds answer by their mean.

    Example:
        recognizer = Recognizer.from_pretrained("runs/mine")
        recognizer.predict("call.wav", text="I have told you so").label
    """

    def __init__(self, members: Sequence[runs.Run], *, device: str = "cpu") -> None:
        labels = {run.labels.labels for run in members}
        if len(labels) != 1:
            raise RunError(
                "the runs to answer together have different labels; load runs of one label set"
            )
        self._members = tuple(members)
        self._device = torch.device(device)

    @classmethod
    def from_pretrained(cls, name: str | Path, *, device: str = "auto") -> Self:
        """Load a run folder, or a run published on the Hugging Face Hub.

        Raises:
            ConfigError: If there is no such device.
            EncoderError: If there is no such run, or an encoder's weights are not those that it was
                trained with.
            RunError: If the run is unfinished, or its labels or weights do not fit.
        """
        device = build.device(device)
        folder = Path(name)
        if not folder.exists():
            folder = _fetch(str(name))
        leaves = runs.members(folder)
        runs.check_finished(folder)
        return cls([runs.load_run(leaf, device=device) for leaf in leaves], device=device)

    @property
    def labels(self) -> LabelSet:
        """The emotions that it tells apart."""
        return self._members[0].labels

    @property
    def modalities(self) -> tuple[str, ...]:
        """What it reads: `text`, `audio` or both."""
        first = self._members[0]
        return tuple(name for name, one in (("text", first.text), ("audio", first.audio)) if one)

    def predict(
        self,
        audio: Source | npt.NDArray[Any] | None = None,
        text: str | None = None,
        *,
        sampling_rate: int | None = None,
    ) -> Prediction:
        """Tell the emotion of one recording, of its words, or of both.

        Args:
            audio: A path, bytes, a file object, or samples with `sampling_rate`; None if there is
                no sound.
            text: The words; None or blanks if they are not known.
            sampling_rate: Hertz of an array.

        Raises:
            AudioError: If the recording cannot be read.
            ConfigError: If an array comes without its rate, or nothing is there that the run reads.
        """
        if text is not None and not isinstance(text, str):
            raise ConfigError(f"text is {text!r}, but the words of the recording were expected")
        if sampling_rate is not None and not isinstance(sampling_rate, int):
            raise ConfigError(f"sampling_rate is {sampling_rate!r}, but whole hertz were expected")
        waveform = None if audio is None else _waveform(audio, sampling_rate)
        if waveform is not None and len(waveform) > LONGEST_S * SAMPLE_RATE:
            raise AudioError(
                f"the recording is {len(waveform) / SAMPLE_RATE:.0f} s long, but it is judged as a "
                f"whole and at most {LONGEST_S:.0f} s are taken; cut it into utterances"
            )
        words = (text or "").strip()
        given = {"text": bool(words), "audio": waveform is not None}
        used = tuple(name for name in self.modalities if given[name])
        if not used:
            raise ConfigError(
                f"this model reads {' and '.join(self.modalities)}, but nothing of it was given; "
                "give it"
            )
        frames: dict[str, torch.Tensor] = {}
        answers = [self._answer(run, words, waveform, frames) for run in self._members]
        mean = np.mean(answers, axis=0)
        scores = {label: float(p) for label, p in zip(self.labels.labels, mean, strict=True)}
        label = max(scores, key=scores.__getitem__)
        seconds = 0.0 if waveform is None else len(waveform) / SAMPLE_RATE
        segment = Segment(0.0, seconds, label, scores, scores[label])
        return Prediction(label, scores, scores[label], (segment,), used)

    def _answer(
        self,
        run: runs.Run,
        words: str,
        waveform: FloatArray | None,
        frames: dict[str, torch.Tensor],
    ) -> npt.NDArray[np.float64]:
        """Return the probabilities of one member, (C,); `frames` keeps what is encoded."""
        text = _encoded(run.text, words or None, frames)
        audio = _encoded(run.audio, waveform, frames)
        features = FeatureSet(("",), (text,), (audio,), torch.tensor([-1]))
        answer: npt.NDArray[np.float64] = predict(run.network, features, device=self._device)[0]
        return answer


def _encoded(
    encoder: Encoder | None, item: str | FloatArray | None, frames: dict[str, torch.Tensor]
) -> torch.Tensor:
    if encoder is None:
        return torch.from_numpy(missing(1))
    if item is None:
        return torch.from_numpy(missing(encoder.width * encoder.num_layers))
    if encoder.fingerprint not in frames:
        encoded = encoder.encode([item])  # type: ignore[arg-type]
        frames[encoder.fingerprint] = torch.from_numpy(encoded.split()[0])
    return frames[encoder.fingerprint]


def _waveform(audio: Source | npt.NDArray[Any], sampling_rate: int | None) -> FloatArray:
    if isinstance(audio, np.ndarray):
        if sampling_rate is None:
            raise ConfigError(
                "an array of samples came without its rate; give sampling_rate in hertz"
            )
        return from_array(audio, sampling_rate)
    return read_audio(audio)


def _fetch(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise EncoderError(
            f"{name!r} is no run folder here and could not be fetched from the Hugging Face Hub "
            f"({first_line(error)}); name a folder that mersa train made"
        ) from None
