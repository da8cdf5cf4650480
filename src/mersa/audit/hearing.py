"""Recordings heard once, of which a few numbers and two digests are kept.

They are heard as encoders hear them, mono at 16 kHz, one at a time: memory does not grow with them.
"""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mersa.audio import SAMPLE_RATE, FloatArray, read_audio
from mersa.errors import AudioError
from mersa.manifest import Manifest, Utterance
from mersa.progress import Progress, Silent

SILENT_DBFS = -60.0
"""A sample below this level is silence; 0 is full scale."""

FULL_SCALE = 0.999
CLIPPED_RUN = 3
"""So many samples in a row at full scale, of one sign, are clipped."""

_SILENT = 10 ** (SILENT_DBFS / 20)
_LEAST_CORE = SAMPLE_RATE // 10  # what is left of a recording without its silence, to tell it by


@dataclass(frozen=True, kw_only=True)
class Sound:
    """What is kept of one recording.

    Attributes:
        length_s: Its length in seconds.
        clipped: Share of its samples that are clipped, 0 to 1.
        digest: SHA-256 of its samples; empty where all of it is silence.
        core: The same without the silence at both ends; `digest` where less than 0.1 s is left.
    """

    length_s: float
    clipped: float
    digest: str
    core: str


@dataclass(frozen=True)
class Heard:
    """Recordings by id of their utterance, and why others could not be read."""

    sounds: Mapping[str, Sound]
    unreadable: Mapping[str, str]


def listen(
    manifest: Manifest, utterances: Iterable[Utterance], *, progress: Progress | None = None
) -> Heard:
    """Read the recordings of utterances, one at a time.

    Args:
        manifest: Says where they lie.
        utterances: Those to read; the ones without a recording are passed over.
        progress: Counts them.
    """
    told = (progress or Silent()).task("recordings")
    spoken = [one for one in utterances if one.audio]
    sounds: dict[str, Sound] = {}
    unreadable: dict[str, str] = {}
    for number, one in enumerate(spoken, start=1):
        try:
            samples = read_audio(
                manifest.folder / one.audio,
                start_s=one.start_s,
                end_s=one.end_s,
                name=one.audio,
            )
            sounds[one.id] = hear(samples)
        except AudioError as error:
            unreadable[one.id] = str(error)
        told(number, len(spoken))
    return Heard(sounds, unreadable)


def hear(samples: FloatArray) -> Sound:
    """Measure one recording.

    Args:
        samples: Mono at 16 kHz, full scale -1 to 1, (n,).
    """
    loud = np.flatnonzero(np.abs(samples) >= _SILENT)
    digest = core = ""
    if len(loud):
        digest = core = _digest(samples)
        inner = samples[loud[0] : loud[-1] + 1]
        if _LEAST_CORE <= len(inner) < len(samples):
            core = _digest(inner)
    clipped = _in_runs(samples >= FULL_SCALE) + _in_runs(samples <= -FULL_SCALE)
    return Sound(
        length_s=len(samples) / SAMPLE_RATE,
        clipped=clipped / len(samples),
        digest=digest,
        core=core,
    )


def _in_runs(full: npt.NDArray[np.bool_]) -> int:
    """Count the samples that stand in runs of at least `CLIPPED_RUN`."""
    padded = np.concatenate(([False], full, [False]))
    edges = np.flatnonzero(padded[1:] != padded[:-1])  # start, end, start, end, ...
    runs = edges[1::2] - edges[::2]
    return int(runs[runs >= CLIPPED_RUN].sum())


def _digest(samples: FloatArray) -> str:
    return hashlib.sha256(np.ascontiguousarray(samples).data).hexdigest()
