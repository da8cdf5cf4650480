"""A model of Hugging Face is made ready to be trained, and written when it has been."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from transformers import PreTrainedModel

from mersa.encoders.huggingface import load_config, quiet
from mersa.encoders.layout import copy_side_files
from mersa.encoders.tunable import Tunable
from mersa.errors import EncoderError
from mersa.files import write_whole


def to_tune(
    encoder: Tunable,
    model: PreTrainedModel,
    probe: Sequence[Tensor],
    *,
    frozen: tuple[str, ...] = (),
    checkpointing: bool = False,
) -> PreTrainedModel:
    """Make a model ready to be trained: dropout as its config says, layer drop off.

    Layer drop would leave layers without a gradient in some steps. Weights that the frames do not
    depend on, as a pooler or the layers above the chosen one, stay frozen: a probe tells them.

    Args:
        encoder: Whose model it is.
        model: In eval mode.
        probe: One input of the model.
        frozen: How the names of weights begin that stay as they are.
        checkpointing: As of `Tunable.to_tune`.

    Raises:
        EncoderError: If the model cannot recompute its layers.
    """
    config: Any = model.config
    if hasattr(config, "layerdrop"):
        config.layerdrop = 0.0
    for name, weight in model.named_parameters():
        weight.requires_grad_(not name.startswith(frozen) if frozen else True)
    on_device = [one.to(encoder.device) for one in probe]
    torch.stack([one.sum() for one in encoder.frames_of(model, on_device)]).sum().backward()  # type: ignore[no-untyped-call]
    for weight in model.parameters():
        weight.requires_grad_(weight.grad is not None)
        weight.grad = None
    if checkpointing:
        if not model.supports_gradient_checkpointing:
            raise EncoderError(
                f"gradient_checkpointing is on, but encoder {encoder.name!r} of type "
                f"{config.model_type!r} cannot compute its layers again; leave it off, and choose "
                "a smaller frames_at_once"
            )
        config.use_cache = False  # else transformers says that it does not go with this
        # Its name since transformers 5.20 or so; the older one warns there.
        enable = getattr(model, "activation_checkpointing_enable", None)
        (enable or model.gradient_checkpointing_enable)({"use_reentrant": False})
    return model


def save_tuned(model: Any, source: Path, folder: Path, *, leave_out: Collection[str]) -> None:
    """Write a trained model as a folder that loads as the one that it comes from.

    Args:
        model: What was trained.
        source: The folder that it comes from; its config, tokenizer and preprocessor are kept.
        folder: Where it goes.
        leave_out: Weights that the source lacked; they are written only if they were trained.
    """
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    weights = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in model.state_dict().items()
        if name not in leave_out or name in trained
    }
    config: Any = load_config(source)  # not the model's, which says what held in training
    config.architectures = [type(model).__name__]
    config.dtype = torch.float32
    with quiet():
        with write_whole(folder / "model.safetensors") as partial:
            partial.write_bytes(to_bytes(weights, metadata={"format": "pt"}))
        config.save_pretrained(folder)
    copy_side_files(source, folder)


@contextmanager
def masked_spans(model: nn.Module, num_frames: int) -> Iterator[None]:
    """Let SpecAugment, where it is on, draw from torch's random state.

    transformers draws from numpy's global one, which no seed of a run decides, and refuses frames
    that are fewer than a span; these are left unmasked.

    Args:
        model: wav2vec 2.0, HuBERT or WavLM.
        num_frames: Of the longest clip in the batch.
    """
    config: Any = model.config
    if not (model.training and config.apply_spec_augment):
        yield
        return
    state = np.random.get_state()
    np.random.seed(int(torch.randint(2**31, ())))
    config.apply_spec_augment = num_frames >= config.mask_time_length
    try:
        yield
    finally:
        config.apply_spec_augment = True
        np.random.set_state(state)
