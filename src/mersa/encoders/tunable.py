"""What an encoder has whose weights can be trained.

Shapes: B clips or texts, L frames of one, K layers, D width.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from mersa.audio import FloatArray
from mersa.encoders.base import Encoder


@runtime_checkable
class Tunable(Encoder, Protocol):
    """An encoder that can give its model to be trained, and frames with their gradients.

    In eval mode `frames_of` gives what `encode` gives, and what `save_tuned` writes is loaded as
    any other folder: a tuned encoder is used frozen.
    """

    device: torch.device

    def to_tune(self, *, checkpointing: bool = False, spec_augment: bool = False) -> nn.Module:
        """Load the model once more; of its weights those require gradients that are trained.

        Args:
            checkpointing: Whether layers are computed again for their gradients, which takes less
                memory and more time.
            spec_augment: Whether stretches of frames are masked in train mode, as many and as long
                as the model's config says; of sound alone.

        Raises:
            EncoderError: If the model cannot do what is asked.
        """
        ...

    def read(self, item: str | FloatArray) -> Tensor:
        """Return what the model reads of a text or a waveform: token ids, or samples."""
        ...

    def count_frames(self, read: Tensor) -> int:
        """Return how many frames the model computes for it."""
        ...

    def frames_of(self, model: nn.Module, batch: Sequence[Tensor]) -> list[Tensor]:
        """Run the model on a batch of what `read` gave, each as if it were alone.

        Returns:
            B tensors of (L, K * D).
        """
        ...

    def save_tuned(self, model: nn.Module, folder: Path) -> None:
        """Write the model, tokenizer or preprocessor beside it, in the Hugging Face layout."""
        ...
