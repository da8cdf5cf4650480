"""One vector an utterance, by any encoder of words or sound, through the cache.

Shapes: N utterances, D width of the encoder's frames.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mersa.alignment.embedding import Pooling
from mersa.alignment.space import Points
from mersa.audio import FloatArray
from mersa.encoders.base import Encoder
from mersa.encoders.budget import Item
from mersa.encoders.cache import FeatureCache, load_frames
from mersa.errors import ConfigError
from mersa.manifest import Utterance


def pooled_vectors(
    encoder: Encoder, items: Mapping[str, Item], cache: FeatureCache, *, pooling: Pooling
) -> dict[str, FloatArray]:
    """Return the vector of each clip, (D,), by utterance id.

    The frames of one clip are held at a time, so memory grows by the vectors alone; the same words
    or sound are read once.

    Args:
        encoder: Gives the frames.
        items: Its inputs, by utterance id.
        cache: Where frames lie; what it lacks is encoded.
        pooling: `first` takes a clip's first frame, which is [CLS] of a text; `mean` the mean.
    """
    vectors: dict[str, FloatArray] = {}
    for item in items.values():
        if item.key not in vectors:
            frames = load_frames(encoder, item, cache)
            one = frames[0] if pooling == "first" else frames.mean(0)
            vectors[item.key] = one.copy()  # not a view, which would hold all frames
    return {id_: vectors[item.key] for id_, item in items.items()}


def points(
    utterances: Sequence[Utterance],
    vectors: Mapping[str, FloatArray],
    label_of: Callable[[str], int | None],
) -> Points:
    """Put the vectors of one part together; an utterance without one is left out.

    Raises:
        ConfigError: If no utterance has a vector, since none has the words or the sound.
    """
    held = [one for one in utterances if one.id in vectors]
    if not held:
        raise ConfigError(
            f"none of {len(utterances)} utterances of a part has what the encoder reads; choose "
            "the encoder of the other modality, or another protocol"
        )
    return Points(
        np.stack([vectors[one.id] for one in held]),
        np.array([-1 if (i := label_of(one.emotion)) is None else i for one in held]),
        tuple(one.group for one in held),
    )
