"""Batches filled by seconds or tokens rather than by count, of like length, and run."""

import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch

from mersa.audio import SAMPLE_RATE, FloatArray
from mersa.encoders.base import Encoder

_CPU_BUDGET = {"audio": 24.0, "text": 512.0}
_CUDA_BUDGET = {"audio": 480.0, "text": 32768.0}
# Of wav2vec 2.0's base shape in float32 a second takes some 30 MB (512 channels, 3200 frames a
# second, in and out of the first norm and activation); of BERT's a token takes some 0.2 MB.
_CUDA_BYTES = {"audio": 80e6, "text": 1e6}
_STRETCH = {"audio": 1.1, "text": 1.25}
_AT_ONCE = 1024  # texts whose tokens are counted at a time

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Item:
    """One thing to encode.

    Attributes:
        key: Hex digest of its content.
        load: Gives the text, or the waveform at 16 kHz.
        size: What sorts items into batches of like length: characters or seconds.
    """

    key: str
    load: Callable[[], str | FloatArray]
    size: float


@runtime_checkable
class CountsTokens(Protocol):
    """A text encoder that knows the length of a text before it is encoded."""

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has."""
        ...


def default_budget(encoder: Encoder) -> float:
    """Return the seconds or tokens of a batch that suit the device of an encoder.

    On a CPU a small batch gains all there is to gain, and larger ones leave the cache. On a GPU
    larger is faster until it is busy; a small one is filled by its free memory. An encoder that
    names no `device` runs on a CPU.
    """
    device = torch.device(getattr(encoder, "device", "cpu"))
    if device.type != "cuda":
        return _CPU_BUDGET[encoder.modality]
    free = torch.cuda.mem_get_info(device)[0]
    return min(_CUDA_BUDGET[encoder.modality], free / _CUDA_BYTES[encoder.modality])


class Batches:
    """Encodes items, shortest first, and gives each batch with its frames.

    A batch holds at most `budget` seconds or tokens, padding included, or a single item. Its
    longest is at most 1.1 times (sound) or 1.25 times (text) as long as its shortest, since the
    gain of a batch is of that order; an encoder of `equal_lengths` is given items of one length.
    Where memory runs out the budget is halved, and that is logged.

    Attributes:
        budget: Seconds or tokens of a batch as it stands.
        count: Batches so far.

    Args:
        encoder: Gives the frames.
        items: What to encode.
        budget: Seconds or tokens; by default what suits the encoder's device.
    """

    def __init__(
        self, encoder: Encoder, items: Sequence[Item], *, budget: float | None = None
    ) -> None:
        self.budget = default_budget(encoder) if budget is None else budget
        self.count = 0
        self._encoder = encoder
        # Lengths of one item each are never padded, so that the encoder need not be asked.
        self._equal = len(items) > 1 and encoder.equal_lengths
        self._sorted = _sorted(encoder, items)
        self._waiting: deque[_Loaded] = deque()
        self._real = self._padded = 0.0

    def __iter__(self) -> Iterator[tuple[list[Item], list[FloatArray]]]:
        while batch := self._fill():
            encoded = self._encode(batch)
            if encoded is None:
                continue
            self.count += 1
            self._real += sum(one.size for one in batch)
            self._padded += len(batch) * max(one.size for one in batch)
            yield [one.item for one in batch], encoded

    @property
    def padding_share(self) -> float:
        """The part of all that was encoded that was padding, 0 to 1."""
        return 1 - self._real / self._padded if self._padded else 0.0

    def _fill(self) -> "list[_Loaded]":
        batch: list[_Loaded] = []
        while (one := self._next()) is not None:
            if batch and not self._fits([*batch, one]):
                self._waiting.appendleft(one)
                break
            batch.append(one)
        return batch

    def _next(self) -> "_Loaded | None":
        if self._waiting:
            return self._waiting.popleft()
        return next(self._sorted, None)

    def _fits(self, batch: "list[_Loaded]") -> bool:
        sizes = [one.size for one in batch]
        stretch = 1.0 if self._equal else _STRETCH[self._encoder.modality]
        return len(batch) * max(sizes) <= self.budget and max(sizes) <= stretch * min(sizes)

    def _encode(self, batch: "list[_Loaded]") -> list[FloatArray] | None:
        """Return the frames, or None where memory ran out and the batch waits to be split."""
        try:
            return self._encoder.encode([one.content for one in batch]).split()  # type: ignore[arg-type]
        except (MemoryError, RuntimeError) as error:
            if len(batch) == 1 or not _is_memory(error):
                raise
        # Outside of the handler, whose traceback holds the tensors.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        self.budget = len(batch) * max(one.size for one in batch) / 2
        self._waiting.extendleft(reversed(batch))
        _log.warning(
            "memory ran out on %d inputs at once; %s goes on with batches of at most %.3g %s",
            len(batch),
            self._encoder.name,
            self.budget,
            "seconds" if self._encoder.modality == "audio" else "tokens",
        )
        return None


@dataclass(frozen=True)
class _Loaded:
    """An item in memory, and its true size: seconds or tokens."""

    item: Item
    content: str | FloatArray
    size: float


def _sorted(encoder: Encoder, items: Sequence[Item]) -> Iterator[_Loaded]:
    """Yield items from the shortest to the longest, each loaded when its turn comes."""
    if encoder.modality == "audio":
        for item in sorted(items, key=lambda item: (item.size, item.key)):
            content = item.load()
            # By the sound itself, since a manifest need not know its length.
            yield _Loaded(item, content, max(1, len(content)) / SAMPLE_RATE)
        return
    tokens: dict[str, int] = {}
    for start in range(0, len(items), _AT_ONCE):
        some = items[start : start + _AT_ONCE]
        texts = [str(item.load()) for item in some]
        if isinstance(encoder, CountsTokens):
            counts = encoder.count_tokens(texts)
        else:
            counts = [len(text.split()) + 1 for text in texts]
        tokens |= zip((item.key for item in some), counts, strict=True)
    for item in sorted(items, key=lambda item: (tokens[item.key], item.size, item.key)):
        yield _Loaded(item, item.load(), tokens[item.key])


def _is_memory(error: BaseException) -> bool:
    """Say whether memory ran out; torch has no kind of its own for that of the machine."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or (
        "can't allocate memory" in str(error)
    )
