"""Training in which an utterance now and then lacks its words or its sound.

ModDrop (Neverova, Wolf, Taylor and Nebout 2016, "ModDrop: Adaptive Multi-Modal Gesture
Recognition") takes each modality away by itself, so that a network learns to answer without any of
them. Here at most one of the two is taken, since an utterance without both tells nothing. What is
taken becomes what the manifest's contract makes of an absent modality: one constant zero frame.
"""

from dataclasses import replace

import numpy as np
from torch import Tensor

from mersa.batches import FeatureSet


def with_modalities_taken(
    features: FeatureSet, share: float, *, seed: tuple[int, ...]
) -> FeatureSet:
    """Return the set with the words or the sound of some utterances taken away.

    Which ones is drawn once for the whole set, so batches, processes and a resumed training see the
    same. Both modalities are equally likely. An utterance that lacks one keeps the other.

    Args:
        features: Of utterances.
        share: Probability that an utterance loses one.
        seed: Of the draw, as of `numpy.random.default_rng`.
    """
    random = np.random.default_rng(seed)
    taken = random.random(len(features)) < share
    is_text = random.random(len(features)) < 0.5

    def live(row: int) -> tuple[Tensor, Tensor]:
        text, audio = features.frames(row)
        if not taken[row] or _is_absent(text) or _is_absent(audio):
            return text, audio
        return (_absent(text), audio) if is_text[row] else (text, _absent(audio))

    return replace(features, live=live)


def _absent(frames: Tensor) -> Tensor:
    """Return what stands for an absent modality: a zero frame, (1, D), or no input of an encoder.

    A tuned encoder makes the zero frame of an input of no tokens or samples itself.
    """
    return frames.new_zeros(1, frames.shape[1]) if frames.ndim == 2 else frames[:0]


def _is_absent(frames: Tensor) -> bool:
    return len(frames) == 0 or (frames.ndim == 2 and len(frames) == 1 and not frames.any())
