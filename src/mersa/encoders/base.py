"""What every encoder is: text or sound in, frames out.

Shapes: B clips in the batch, L frames of the longest, K stacked layers, D width of one layer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from mersa.audio import FloatArray

Modality = Literal["text", "audio"]


@dataclass(frozen=True)
class Encoded:
    """Frames of a batch.

    Attributes:
        frames: (B, L, K * D) float32; rows beyond a clip's length are zero.
        lengths: True number of frames of each clip, (B,) int64, each at least 1.
    """

    frames: FloatArray
    lengths: npt.NDArray[np.int64]

    def split(self) -> list[FloatArray]:
        """Return one (length, K * D) array a clip, without the padding."""
        return [
            frames[:length].copy() for frames, length in zip(self.frames, self.lengths, strict=True)
        ]


class Encoder(Protocol):
    """A frozen encoder: runs in eval mode, without gradients, the same answer every time.

    One fingerprint means the same frames for the same input. A frame holds the K layers one after
    the other, so its last axis is K * D long.
    """

    @property
    def name(self) -> str:
        """The name that settings use, as `vggish` or `facebook/wav2vec2-base`."""
        ...

    @property
    def modality(self) -> Modality:
        """What it reads: `text` for words, `audio` for waveforms."""
        ...

    @property
    def width(self) -> int:
        """D, the width of one layer's frames."""
        ...

    @property
    def num_layers(self) -> int:
        """K; 1 unless all layers are given to a learnt mix."""
        ...

    @property
    def frames_per_second(self) -> float | None:
        """Nominal frame rate of an audio encoder; None for text."""
        ...

    @property
    def fingerprint(self) -> str:
        """Hex digest of weights and settings."""
        ...

    @property
    def equal_lengths(self) -> bool:
        """True where padding would change the frames."""
        ...

    def encode(self, batch: Sequence[str] | Sequence[FloatArray]) -> Encoded:
        """Encode texts, or mono float32 waveforms at 16 kHz, of at least one item.

        Digital silence, a text of blanks and the shortest inputs give defined, finite frames.
        """
        ...

    def save(self, folder: Path) -> None:
        """Write all that is needed to load this encoder again from `folder` alone."""
        ...


@runtime_checkable
class Derived(Protocol):
    """An encoder whose frames follow from those of another one, clip by clip.

    The cache holds the frames of its base, and derives from them what is asked for.
    """

    @property
    def base(self) -> Encoder:
        """What it derives its frames from."""
        ...

    def derive(self, frames: FloatArray) -> FloatArray:
        """Return its frames of a clip, (L, D), for those of the base, (L', D')."""
        ...


def pad(frames: Sequence[FloatArray]) -> Encoded:
    """Stack arrays of (length, width) into one padded batch, the padding zero."""
    lengths = np.array([len(one) for one in frames], dtype=np.int64)
    padded = np.zeros((len(frames), int(lengths.max()), frames[0].shape[1]), dtype=np.float32)
    for row, one in zip(padded, frames, strict=True):
        row[: len(one)] = one
    return Encoded(padded, lengths)


def missing(width: int) -> FloatArray:
    """Return what stands for an absent modality: one constant zero frame, (1, width)."""
    return np.zeros((1, width), dtype=np.float32)


def revision_of(encoder: Encoder) -> str | None:
    """Return the commit of the Hugging Face Hub that an encoder comes from; None of all others."""
    commit: str | None = getattr(encoder, "commit", None)
    return commit
