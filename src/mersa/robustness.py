"""How a system of words and sound answers where one of them is missing or wrong.

Words are corrupted as speech recognition errs: each word is an error with the probability of the
rate, and then is replaced by another word of the train part's vocabulary (60 % of errors), left out
(25 %), or followed by such a word (15 %). The mixture is a choice of ours. What is drawn depends on
the utterance alone, so the errors at a low rate are among those at a higher one. An utterance of
which no word is left counts as one without words.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from mersa.batches import FeatureSet, encode, load_features, text_items
from mersa.encoders.base import Encoder, missing
from mersa.encoders.cache import FeatureCache
from mersa.evaluation import SCORES, Predictions, predictions_of, score
from mersa.manifest import Utterance
from mersa.progress import Progress
from mersa.weights import Run, answer

RATES = (0.1, 0.2, 0.3, 0.4, 0.5)
"""Shares of words that are errors."""

SUBSTITUTIONS, DELETIONS = 0.6, 0.25
"""Shares of the errors; the rest are insertions."""

BOTH = "words and sound"
AUDIO_ONLY = "sound only"
TEXT_ONLY = "words only"
SWAPPED = "words of another utterance"


def can_be_asked(run: Run) -> bool:
    """Return True where there are two modalities of which one can be missing or wrong."""
    return run.text is not None and run.audio is not None and run.config.data.shuffle == "none"


def vocabulary_of(texts: Sequence[str]) -> list[str]:
    """Return the different words of some texts, sorted."""
    return sorted({word for text in texts for word in text.split()})


def corrupted(text: str, rate: float, vocabulary: Sequence[str], *, key: str, seed: int = 0) -> str:
    """Return a text with word errors at a rate.

    Args:
        text: The words.
        rate: Probability that a word is an error.
        vocabulary: At least two different words, to take wrong ones from.
        key: Of the draw, as an utterance's id.
        seed: Of the draw.
    """
    digest = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8])
    random = np.random.default_rng([seed, digest])
    result: list[str] = []
    for word in text.split():
        hit, kind, place = random.random(), random.random(), int(random.integers(len(vocabulary)))
        other = vocabulary[place]
        if hit >= rate:
            result.append(word)
        elif kind < SUBSTITUTIONS:
            result.append(other if other != word else vocabulary[place - 1])
        elif kind >= SUBSTITUTIONS + DELETIONS:
            result += [word, other]
    return " ".join(result)


def answers(
    run: Run,
    features: FeatureSet,
    utterances: Sequence[Utterance],
    vocabulary: Sequence[str],
    cache: FeatureCache,
    *,
    device: torch.device,
    progress: Progress,
) -> dict[str, Predictions]:
    """Answer for test utterances under each condition but `BOTH`.

    Args:
        run: A leaf that reads words and sound.
        features: Of the utterances, as they are.
        utterances: In the order of `features`.
        vocabulary: Words of the train part.
        cache: Takes the frames of corrupted words.
        device: Where to answer.
        progress: What is told of it.
    """
    sets = {
        **_with_errors(run, features, utterances, vocabulary, cache, progress),
        SWAPPED: features.shuffled("text", 0),
        AUDIO_ONLY: replace(features, text=_absent(features, run.text)),
        TEXT_ONLY: replace(features, audio=_absent(features, run.audio)),
    }
    return {
        name: predictions_of(utterances, "test", answer(run, one, device=device), run.labels)
        for name, one in sets.items()
    }


def scored(conditions: Mapping[str, Predictions]) -> list[dict[str, Any]]:
    """Score each condition as `metrics.json` holds it: `condition`, the scores and `ci95`."""
    rows = []
    for name, predictions in conditions.items():
        scores = score(predictions)
        told = {one: scores[one] for one in SCORES}
        bounds = {one: scores["ci95"][one] for one in SCORES}
        rows.append({"condition": name, **told, "ci95": bounds})
    return rows


def mean_over_seeds(several: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Average the scores of each condition over seeds, `sd` beside them."""
    rows = []
    for same in zip(*several, strict=True):
        values = {name: [one[name] for one in same] for name in SCORES}
        rows.append(
            {
                "condition": same[0]["condition"],
                **{name: float(np.mean(values[name])) for name in SCORES},
                "sd": {name: float(np.std(values[name], ddof=1)) for name in SCORES},
            }
        )
    return rows


def _with_errors(
    run: Run,
    features: FeatureSet,
    utterances: Sequence[Utterance],
    vocabulary: Sequence[str],
    cache: FeatureCache,
    progress: Progress,
) -> dict[str, FeatureSet]:
    if run.text is None or len(vocabulary) < 2:  # then there is no other word
        return {}
    at_rates = {
        f"{100 * rate:.0f} % word errors": [
            replace(one, text=corrupted(one.text, rate, vocabulary, key=one.id))
            for one in utterances
        ]
        for rate in RATES
    }
    # All rates at once, so that one bar and one line tell of them.
    items = {
        f"{name}:{id_}": item
        for name, several in at_rates.items()
        for id_, item in text_items(several).items()
    }
    encode(run.text, items, cache, progress)
    return {
        name: replace(
            features,
            text=load_features(
                several, run.labels.index, (run.text, text_items(several)), None, cache
            ).text,
        )
        for name, several in at_rates.items()
    }


def _absent(features: FeatureSet, encoder: Encoder | None) -> tuple[torch.Tensor, ...]:
    width = encoder.width * encoder.num_layers if encoder else 1
    return (torch.from_numpy(missing(width)),) * len(features)
