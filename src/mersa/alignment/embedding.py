"""One vector a text: a Hugging Face encoder and its pooling.

Shapes: B texts, L tokens of the longest, D width.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from mersa.audio import FloatArray

Pooling = Literal["first", "mean"]
Tokens = tuple[Tensor, Tensor]
"""Numbers and mask of texts of like length, both (B, L)."""


class Tokenizes(Protocol):
    """Cuts texts into tokens, or finds the frames or recordings that stand for them.

    Attributes:
        device: Where they are put.
    """

    device: torch.device

    @property
    def width(self) -> int:
        """D, of the vectors that are made of them."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens, or frames, each has."""
        ...

    def tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return what the embedder reads of B of them: a pair whose shapes are its own."""
        ...


_STRETCH = 2.0  # the longest text of a chunk over its shortest, in tokens
_AT_ONCE = 64


class Embedder(nn.Module):
    """The vectors of texts, (B, D).

    Args:
        model: The encoder.
        pooling: `first` takes the first frame of a text, [CLS], `mean` the mean of its frames.
    """

    def __init__(self, model: PreTrainedModel, pooling: Pooling) -> None:
        super().__init__()
        self.model = model
        self.pooling = pooling

    def forward(self, chunks: Sequence[Tokens]) -> Tensor:
        """Return one vector a text, in the order of the chunks."""
        # The table of words is read once for all chunks: each reading would bring a gradient of
        # the whole table's size, which takes as long as the layers do.
        words = self.model.get_input_embeddings()(torch.cat([ids.flatten() for ids, _ in chunks]))
        several = words.split([ids.numel() for ids, _ in chunks])
        return torch.cat(
            [
                self._pooled(some.unflatten(0, ids.shape), mask)
                for some, (ids, mask) in zip(several, chunks, strict=True)
            ]
        )

    def _pooled(self, words: Tensor, mask: Tensor) -> Tensor:
        frames: Tensor = self.model(inputs_embeds=words, attention_mask=mask).last_hidden_state
        if self.pooling == "first":  # (B, L, D)
            return frames[:, 0]
        real = mask[..., None].to(frames.dtype)
        return (frames * real).sum(dim=1) / real.sum(dim=1)


def by_length(
    lengths: Sequence[int], *, whole: bool, at_once: int | None = None
) -> list[list[int]]:
    """Put rows into chunks of like length, so that little of them is padding.

    Args:
        lengths: Tokens of each row.
        whole: Make one chunk of all, as a GPU likes it.
        at_once: Most tokens of a chunk, padding included, unless it is one row.
    """
    stretch = math.inf if whole else _STRETCH
    most = math.inf if at_once is None else at_once
    chunks: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: lengths[row]):
        fits = chunks and lengths[row] * (len(chunks[-1]) + 1) <= most
        if not fits or lengths[row] > stretch * lengths[chunks[-1][0]]:
            chunks.append([])
        chunks[-1].append(row)
    return chunks


def in_parts(
    chunks: Sequence[list[int]], lengths: Sequence[int], at_once: int | None
) -> list[list[list[int]]]:
    """Put chunks that follow one another into parts of at most so many tokens; None: into one."""
    if at_once is None:
        return [list(chunks)]
    parts: list[list[list[int]]] = []
    room = 0
    for chunk in chunks:
        size = len(chunk) * lengths[chunk[-1]]  # its last row is its longest
        if not parts or size > room:
            parts.append([])
            room = at_once
        parts[-1].append(chunk)
        room -= size
    return parts


@torch.inference_mode()
def embed(
    embedder: nn.Module, source: Tokenizes, texts: Sequence[str], *, at_once: int | None = None
) -> FloatArray:
    """Return the vectors of texts in eval mode, (N, D) float32; each text is run once.

    Args:
        embedder: Gives the vectors.
        source: Gives what it reads.
        texts: The texts, or what names recordings.
        at_once: Most tokens of a batch, as of `by_length`.
    """
    was_training = embedder.training
    embedder.eval()
    different = list(dict.fromkeys(texts))
    rows = {text: row for row, text in enumerate(different)}
    vectors = np.zeros((len(different), source.width), dtype=np.float32)
    for some in _batches(source.count_tokens(different), at_once):
        answer = embedder([source.tokens([different[row] for row in some])])
        vectors[some] = answer.float().cpu().numpy()
    embedder.train(was_training)
    return vectors[[rows[text] for text in texts]]


def _batches(lengths: Sequence[int], at_once: int | None) -> Iterator[list[int]]:
    order = sorted(range(len(lengths)), key=lambda row: lengths[row])
    for start in range(0, len(order), _AT_ONCE):
        rows = order[start : start + _AT_ONCE]
        for chunk in by_length([lengths[row] for row in rows], whole=True, at_once=at_once):
            yield [rows[place] for place in chunk]
