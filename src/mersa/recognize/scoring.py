"""What turns utterances into probabilities; long recordings ask no more of a model than this."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from mersa.audio import SAMPLE_RATE, FloatArray
from mersa.batches import FeatureSet
from mersa.bootstrap import Array
from mersa.emotions import LabelSet
from mersa.encoders.base import Encoder, missing
from mersa.encoders.budget import Batches, Item
from mersa.errors import RunError
from mersa.pooling import validation_curve
from mersa.selective import RiskCurve
from mersa.weights import Run, answer

Probabilities = Array
"""Of each label for each utterance, (N, C); each row sums to 1."""


@dataclass(frozen=True)
class Spoken:
    """One utterance to be judged.

    Attributes:
        text: The words; empty if they are not known.
        audio: Mono float32 at 16 kHz, (n,); None if there is no sound.
    """

    text: str
    audio: FloatArray | None


class Scorer(Protocol):
    """A model of emotions, whatever it is made of.

    An utterance gets the same answer whichever others are scored with it.
    """

    @property
    def labels(self) -> LabelSet:
        """The emotions that it tells apart."""
        ...

    @property
    def modalities(self) -> tuple[str, ...]:
        """What it reads: `text`, `audio` or both."""
        ...

    def score(self, utterances: Sequence[Spoken]) -> Probabilities:
        """Return the probability of each label for each utterance, (N, C); each row sums to 1.

        An utterance that lacks one of two modalities is judged by the other. It batches by itself,
        by seconds of sound; the caller holds the sound of a minute or so at a time.
        """
        ...


@runtime_checkable
class TellsOfItself(Protocol):
    """A scorer whose labels and card no training of mersa wrote."""

    def told(self) -> list[str]:
        """Return what must be known of it beside its labels, one sentence each."""
        ...

    def card(self) -> str:
        """Return Markdown that tells what it is and its limits."""
        ...


class RunScorer:
    """Scores by a trained run; folds and seeds answer by the mean of their probabilities.

    Args:
        members: The loaded leaves of the run, at least one, of one label set.
        device: Where they were loaded.

    Raises:
        RunError: If their labels differ.
    """

    def __init__(self, members: Sequence[Run], *, device: str = "cpu") -> None:
        if len({run.labels.labels for run in members}) != 1:
            raise RunError(
                "the runs to answer together have different labels; load runs of one label set"
            )
        self._members = tuple(members)
        self._device = torch.device(device)
        self._curve: RiskCurve | None = None

    @property
    def members(self) -> tuple[Run, ...]:
        """The runs that answer together."""
        return self._members

    @property
    def labels(self) -> LabelSet:
        """The emotions that it tells apart."""
        return self._members[0].labels

    @property
    def modalities(self) -> tuple[str, ...]:
        """What it reads: `text`, `audio` or both."""
        first = self._members[0]
        return tuple(name for name, one in (("text", first.text), ("audio", first.audio)) if one)

    @property
    def pad_s(self) -> float | None:
        """Seconds of sound around the speech of the training clips, the mean of the members."""
        known = [run.pad_s for run in self._members if run.pad_s is not None]
        return float(np.mean(known)) if known else None

    def score(self, utterances: Sequence[Spoken]) -> Probabilities:
        """Return probabilities, (N, C); see the protocol. What members share is encoded once."""
        texts = [one.text.strip() or None for one in utterances]
        sounds = [one.audio for one in utterances]
        ids = tuple(map(str, range(len(utterances))))
        unknown = torch.full((len(utterances),), -1)
        frames: dict[str, tuple[Tensor, ...]] = {}
        answers = []
        for run in self._members:
            text, audio = encoded(run.text, texts, frames), encoded(run.audio, sounds, frames)
            features = FeatureSet(ids, text, audio, unknown)
            answers.append(answer(run, features, device=self._device))
        mean: Probabilities = np.mean(answers, axis=0)
        return mean

    def risk_curve(self) -> RiskCurve:
        """Return coverage and risk of the members' validation answers, as their run keeps them."""
        if self._curve is None:
            self._curve = validation_curve([run.folder for run in self._members])
        return self._curve


def encoded(
    encoder: Encoder | None,
    contents: Sequence[str | None] | Sequence[FloatArray | None],
    known: dict[str, tuple[Tensor, ...]],
) -> tuple[Tensor, ...]:
    """Return frames of what is there, and one zero frame for each None.

    Args:
        encoder: None: nothing is read.
        contents: Texts or waveforms.
        known: Keeps the frames of each encoder by its fingerprint.
    """
    if encoder is None:
        return (torch.from_numpy(missing(1)),) * len(contents)
    if encoder.fingerprint not in known:
        absent = torch.from_numpy(missing(encoder.width * encoder.num_layers))
        found = [absent] * len(contents)
        items = [_item(row, one) for row, one in enumerate(contents) if one is not None]
        for batch, frames in Batches(encoder, items):
            for item, one in zip(batch, frames, strict=True):
                found[int(item.key)] = torch.from_numpy(one)
        known[encoder.fingerprint] = tuple(found)
    return known[encoder.fingerprint]


def _item(row: int, content: str | FloatArray) -> Item:
    size = len(content) if isinstance(content, str) else len(content) / SAMPLE_RATE
    return Item(str(row), lambda: content, size)
