"""A text encoder of fixed random vectors, one a word: for trials and tests without downloads."""

import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, Self, cast, get_args

import numpy as np

from mersa.audio import FloatArray
from mersa.encoders.base import Encoded, Modality, pad
from mersa.errors import ConfigError, EncoderError
from mersa.files import write_json, write_whole

Output = Literal["frames", "pooler"]

_CLS, _UNKNOWN = "[CLS]", "[UNK]"  # no words, since words hold no brackets
_TYPOGRAPHIC = "\N{RIGHT SINGLE QUOTATION MARK}"
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_VERSION = 1  # raise it whenever the frames change, so that no cache serves old ones


MAX_WORDS = 512
"""Words of a text that are read; as many as BERT's positions."""


class TinyText:
    """Words as fixed random vectors; the vocabulary is learnt, the vectors are not.

    A word's vector depends on the seed and the word alone, so two vocabularies agree on the words
    that they share. Its values are uniform, of zero mean and unit variance.

    Args:
        vocabulary: The known words, in any order; all others share one vector.
        width: Length of a vector.
        seed: Chooses the vectors.
        output: `frames` for [CLS] and then each word; `pooler` for one frame, the mean over the
            words. A text without words gives [CLS] alone.

    Raises:
        ConfigError: If a setting is out of its range.
    """

    name = "tiny"
    modality: Modality = "text"
    num_layers = 1
    frames_per_second = None
    equal_lengths = False

    def __init__(
        self,
        vocabulary: Iterable[str],
        *,
        width: int = 128,
        seed: int = 0,
        output: Output = "frames",
    ) -> None:
        if width < 1:
            raise ConfigError(f"width is {width}, but a vector has at least 1 value; use 128")
        if output not in get_args(Output):
            raise ConfigError(
                f"output is {output!r}, but a tiny text encoder gives frames or pooler; use one of "
                "these two words"
            )
        self.width = width
        self.vocabulary = tuple(sorted(set(vocabulary)))
        self._seed = seed
        self._output = output
        self._vectors = {
            word: _vector(word, width=width, seed=seed)
            for word in (_CLS, _UNKNOWN, *self.vocabulary)
        }

    @classmethod
    def learn(
        cls,
        texts: Iterable[str],
        *,
        width: int = 128,
        min_count: int = 1,
        seed: int = 0,
        output: Output = "frames",
    ) -> Self:
        """Learn the vocabulary of a train part.

        Args:
            texts: The texts of the train part, and of no other.
            width: Length of a vector.
            min_count: How often a word has to occur to be known.
            seed: Chooses the vectors.
            output: `frames` or `pooler`; see the class.

        Raises:
            ConfigError: If a setting is out of its range.
            EncoderError: If no word occurs often enough.
        """
        if min_count < 1:
            raise ConfigError(f"min_count is {min_count}, but a word counts from 1 on; use 1")
        texts = list(texts)
        counts = Counter(word for text in texts for word in to_words(text))
        vocabulary = [word for word, count in counts.items() if count >= min_count]
        if not vocabulary:
            raise EncoderError(
                f"none of the {len(counts)} words in {len(texts)} training texts occurs at least "
                f"{min_count} times, but a vocabulary needs one word; give texts with words, or a "
                "smaller min_count"
            )
        return cls(vocabulary, width=width, seed=seed, output=output)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the encoder that `save` wrote into `folder`.

        Raises:
            EncoderError: If the folder holds no such encoder.
        """
        try:
            settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            words = (folder / "vocabulary.txt").read_text(encoding="utf-8").split("\n")
            encoder = cls(words[:-1], **settings)
        except (OSError, ValueError, TypeError) as error:
            raise EncoderError(
                f"{str(folder)!r} holds no tiny text encoder ({error}), but config.json and "
                "vocabulary.txt as save writes them were expected; save the encoder again"
            ) from error
        in_order = words == [*encoder.vocabulary, ""]
        if len(words) < 2 or not in_order or any(to_words(word) != [word] for word in words[:-1]):
            raise EncoderError(
                f"{str(folder / 'vocabulary.txt')!r} was cut or changed: its lines are not single "
                "words in sorted order, each ended by a line feed; save the encoder again"
            )
        return encoder

    @property
    def fingerprint(self) -> str:
        """Hex digest of vocabulary and settings."""
        facts = {"encoder": self.name, "version": _VERSION, "vocabulary": self.vocabulary}
        return hashlib.sha256(json.dumps(facts | self._settings()).encode()).hexdigest()

    def encode(self, batch: Sequence[str] | Sequence[FloatArray]) -> Encoded:
        """Encode texts one by one; see the protocol."""
        return pad([self._encode(text) for text in cast(Sequence[str], batch)])

    def words(self, text: str) -> list[tuple[str, int]]:
        """Return what each frame of a text stands for, and that it is one frame."""
        words = to_words(text)[:MAX_WORDS]
        if words and self._output == "pooler":
            return [(" ".join(words), 1)]
        return [(word, 1) for word in (_CLS, *words)]

    def save(self, folder: Path) -> None:
        """Write the vocabulary, one word a line in sorted order, and the settings."""
        with write_whole(folder / "vocabulary.txt") as path:
            lines = "".join(f"{word}\n" for word in self.vocabulary)
            path.write_text(lines, encoding="utf-8", newline="\n")
        write_json(folder / "config.json", self._settings())

    def _settings(self) -> dict[str, Any]:
        return {"width": self.width, "seed": self._seed, "output": self._output}

    def _encode(self, text: str) -> FloatArray:
        unknown = self._vectors[_UNKNOWN]
        rows = [self._vectors.get(word, unknown) for word in to_words(text)[:MAX_WORDS]]
        if rows and self._output == "pooler":
            mean: FloatArray = np.mean(rows, axis=0, keepdims=True)
            return mean
        return np.stack([self._vectors[_CLS], *rows])


def to_words(text: str) -> list[str]:
    r"""Return the lower-case words of a text: letters and digits, apostrophes only inside.

    A typographic apostrophe is the same as a plain one, a composed letter the same as its parts.

    >>> to_words("Don\u2019t, she'd said - 'twice'!")
    ["don't", "she'd", 'said', 'twice']
    """
    return _WORD.findall(unicodedata.normalize("NFC", text.lower()).replace(_TYPOGRAPHIC, "'"))


def _vector(word: str, *, width: int, seed: int) -> FloatArray:
    """Return `width` values of zero mean and unit variance that seed and word alone decide.

    They come from a hash, not from a generator of random numbers, whose stream may change from one
    version of its library to the next.
    """
    digest = hashlib.shake_256(f"{seed} {word}".encode()).digest(4 * width)
    uniform = np.frombuffer(digest, dtype="<u4") / 2**32 - 0.5
    vector: FloatArray = (uniform * np.sqrt(12)).astype(np.float32)
    return vector
