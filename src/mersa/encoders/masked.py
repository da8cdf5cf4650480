"""Clips of several lengths in one batch of wav2vec 2.0, HuBERT or WavLM, each as if it were alone.

Shapes: B clips, T samples of the longest, C channels, F frames after the first convolution, N
frames after the last.
"""

import warnings
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

_FEW_CHANNELS = 16


def take_clips(model: PreTrainedModel, *, together: bool) -> None:
    """Make a model take waveforms of several lengths; `run_clips` then runs it.

    The names of its weights stay as they are.

    Args:
        model: wav2vec 2.0, HuBERT or WavLM.
        together: As of `ClipFeatures`.
    """
    parts: Any = model
    parts.feature_extractor = ClipFeatures(parts.feature_extractor, together=together)
    batch_norm = getattr(parts.encoder.pos_conv_embed, "batch_norm", None)
    if batch_norm is not None:  # HuBERT's conv_pos_batch_norm, as in mHuBERT-147
        batch_norm.register_forward_hook(_keep_padding_zero)


def set_precision(model: PreTrainedModel, dtype: torch.dtype) -> None:
    """Let a model that `take_clips` has made ready compute in this precision, in place.

    On a CPU the positional convolution stays in float32 where its groups have fewer than
    16 channels, since oneDNN's answer in bf16 is then wrong (3.12, as in torch 2.13, with AMX: off
    by as much as the values). Those of the published models have 48 and more.
    """
    model.to(dtype)  # type: ignore[arg-type]
    positional: Any = model
    positional = positional.encoder.pos_conv_embed
    conv = positional.conv
    narrow = conv.in_channels // conv.groups < _FEW_CHANNELS and conv.weight.device.type == "cpu"
    if dtype != torch.float32 and narrow:
        positional.float()
        if not getattr(positional, "stays_float32", False):
            positional.stays_float32 = True
            positional.register_forward_pre_hook(lambda _, given: (given[0].float(), *given[1:]))
            positional.register_forward_hook(lambda _, __, out: out.to(model.dtype))


def run_clips(model: nn.Module, waveforms: Sequence[Tensor], **options: Any) -> BaseModelOutput:
    """Run a model that `take_clips` has made ready; gradients flow as for one clip at a time.

    Attention reads real frames alone, and the positional convolution sees zeros behind a clip's
    end, as it does where a clip is alone.

    Args:
        model: The model.
        waveforms: One (samples,) tensor a clip, on the model's device.
        options: What the model's own forward takes beside them.

    Returns:
        The model's own answer. Frames beyond a clip's `conv_length` mean nothing.
    """
    lengths = [len(waveform) for waveform in waveforms]
    answer: BaseModelOutput
    if len(set(lengths)) == 1:
        answer = model(waveforms, **options)
        return answer
    # The model turns this mask of samples into one of frames, and zeros what enters the others.
    device = waveforms[0].device
    positions = torch.arange(max(lengths), device=device)
    mask = (positions < torch.tensor(lengths, device=device)[:, None]).long()  # (B, T)
    with warnings.catch_warnings():
        # WavLM gives torch a mask of booleans beside a bias of numbers.
        warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask")
        answer = model(waveforms, attention_mask=mask, **options)
    return answer


def conv_length(length: int, kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Return the number of frames that unpadded convolutions make of so many samples."""
    for kernel, stride in zip(kernels, strides, strict=True):
        length = (length - kernel) // stride + 1
    return length


def masked_group_norm(norm: nn.GroupNorm, hidden: Tensor, lengths: Sequence[int]) -> Tensor:
    """Normalise each clip over its own frames; the frames beyond are zero.

    The norm itself runs on each clip, not a formula of its own, so that outputs and gradients are
    those of the clip alone, bit for bit.

    Args:
        norm: The norm, over time.
        hidden: (B, C, F).
        lengths: True number of frames of each clip, B of them.

    Returns:
        (B, C, F).
    """
    longest = hidden.shape[2]
    clips = [
        F.pad(norm(clip[None, :, :length]), (0, longest - length))
        for clip, length in zip(hidden, lengths, strict=True)
    ]
    return torch.cat(clips)


class ClipFeatures(nn.Module):
    """The convolutions of a model, over waveforms of several lengths.

    They pad nothing, so that a real frame has seen real samples alone, but the group norm behind
    the first one (wav2vec2-base, HuBERT-base, WavLM-base) averages over time and must be told
    where each clip ends.

    Attributes:
        together: Whether clips are padded and run as one, which is the fastest on a GPU; else
            they run one by one, the fastest on a CPU, where large feature maps leave the cache.

    Args:
        extractor: The model's own feature extractor, whose layers are taken over.
        together: The attribute.
    """

    def __init__(self, extractor: nn.Module, *, together: bool) -> None:
        super().__init__()
        self.conv_layers: Any = extractor.conv_layers
        self.together = together

    def forward(self, waveforms: Sequence[Tensor]) -> Tensor:
        """Turn B waveforms, (samples,) each, into features, (B, C, N)."""
        if self.together:
            padded = pad_sequence(list(waveforms), batch_first=True)
            return self._run(padded, [len(waveform) for waveform in waveforms])
        clips = [self._run(waveform[None], [len(waveform)]) for waveform in waveforms]
        longest = max(clip.shape[2] for clip in clips)
        return torch.cat([F.pad(clip, (0, longest - clip.shape[2])) for clip in clips])

    def _run(self, waveforms: Tensor, lengths: Sequence[int]) -> Tensor:
        hidden = waveforms[:, None]  # (B, 1, T)
        for layer in self.conv_layers:
            norm = getattr(layer, "layer_norm", None)
            if isinstance(norm, nn.GroupNorm) and len(set(lengths)) > 1:
                kernel, stride = layer.conv.kernel_size, layer.conv.stride
                frames = [conv_length(length, kernel, stride) for length in lengths]
                hidden = layer.activation(masked_group_norm(norm, layer.conv(hidden), frames))
            else:
                hidden = layer(hidden)
        return hidden


def _keep_padding_zero(_norm: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
    """Zero what a norm made of frames that came in as zeros: the padding, (B, C, N)."""
    return output * inputs[0].ne(0).any(dim=1, keepdim=True)
