"""Which layers of a transformer make a frame: one, or all of them for a learnt mix."""

from typing import Literal

import torch
from torch import Tensor

from mersa.errors import EncoderError

Layer = int | Literal["mix"]


def check_layer(name: str, layer: Layer, num_hidden: int) -> Layer:
    """Return a layer counted from 0, the embeddings, to `num_hidden`, the last; `mix` unchanged.

    Raises:
        EncoderError: If the model has no such layer.
    """
    if layer == "mix":
        return "mix"
    if (
        isinstance(layer, bool)
        or not isinstance(layer, int)
        or not (-num_hidden - 1 <= layer <= num_hidden)
    ):
        raise EncoderError(
            f"layer is {layer!r}, but {name} has layers 0 (embeddings) to {num_hidden}, or "
            f"-{num_hidden + 1} to -1 counted from the end; choose one of them or 'mix'"
        )
    return layer % (num_hidden + 1)


def take_layer(last: Tensor, hidden: tuple[Tensor, ...], layer: Layer) -> Tensor:
    """Pick the frames of one layer, or put all layers side by side.

    Args:
        last: The model's last hidden state, (B, L, D).
        hidden: Its hidden states, embeddings first, num_hidden + 1 times (B, L, D). The last of
            them is replaced by `last`, because some models normalise in between.
        layer: As `check_layer` gives it.

    Returns:
        (B, L, D), or (B, L, (num_hidden + 1) * D) for `mix`.
    """
    states = (*hidden[:-1], last)
    return torch.cat(states, dim=-1) if layer == "mix" else states[layer]
