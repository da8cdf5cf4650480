"""Encoders and networks from other people's code, named `package.module:Name` in the settings.

The module is imported from where Python finds modules, never from a run folder, so that loading a
run runs no code but what is installed here. What comes back is tried once before anything is
trained on it, since a wrong width or length would be found late or not at all.

Shapes: B utterances, L frames of the longest, D width of a frame, E emotions.
"""

import importlib
import inspect
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from mersa.audio import SAMPLE_RATE, FloatArray
from mersa.config import OWN, NetworkSettings
from mersa.encoders.base import Encoded, Encoder, Modality
from mersa.errors import ConfigError, EncoderError, ShapeError

_MEMBERS = (
    *("name", "modality", "width", "num_layers", "frames_per_second", "fingerprint"),
    *("equal_lengths", "encode", "save"),
)
_TOLERANCE = 1e-3  # of the largest value; rounding stays far below


def is_own(name: str) -> bool:
    """Return True if a setting names an object of a module, as `package.module:Name`."""
    return re.fullmatch(OWN, name) is not None


def own_encoder(name: str, modality: Modality, *, saved: Path | None, device: str) -> Encoder:
    """Make an encoder that a setting names, and try it once.

    Args:
        name: `package.module:Name` of what is called with `saved` and `device`.
        modality: What it is to read.
        saved: Folder that its `save` wrote, as in a bundled run; None: there is none.
        device: Where it is to run.

    Raises:
        ConfigError: If there is no such object, or it cannot be called so.
        EncoderError: If it is no encoder, or its frames break the protocol.
    """
    setting = f"{modality}.name"
    make = _load(name, setting)
    _check_call(make, name, setting, saved=saved, device=device)
    encoder: Encoder = make(saved=saved, device=device)
    lacking = [member for member in _MEMBERS if not hasattr(encoder, member)]
    if lacking:
        raise EncoderError(
            f"{setting} {name!r} gives no encoder, since it lacks {', '.join(lacking)}; give what "
            "mersa.encoders.base.Encoder asks for"
        )
    if encoder.modality != modality:
        raise EncoderError(
            f"{setting} {name!r} reads {encoder.modality!r}, but {modality} was expected; give it "
            f"as {encoder.modality}.name"
        )
    _try(encoder, f"{setting} {name!r}")
    return encoder


class OwnNetwork(nn.Module):
    """A network of one's own. It is handed padded frames, though mersa packs them on a CPU.

    Args:
        network: Called with `text` (B, Lt, Dt), `text_mask` (B, Lt), `audio` (B, La, Da) and
            `audio_mask` (B, La), masks True where a frame is real; gives logits (B, E).
        num_labels: E.
    """

    def __init__(self, network: nn.Module, num_labels: int) -> None:
        super().__init__()
        self.network = network
        self.num_labels = num_labels

    def forward(self, text: Tensor, text_mask: Tensor, audio: Tensor, audio_mask: Tensor) -> Tensor:
        """Tell emotions, padded or packed as in `mersa.networks.Network.forward`, to (B, E)."""
        if text.ndim == 2:
            text, text_mask = _padded(text, text_mask)
            audio, audio_mask = _padded(audio, audio_mask)
        return self.network(text, text_mask, audio, audio_mask)  # type: ignore[no-any-return]


def own_network(
    name: str, text_width: int, audio_width: int, num_labels: int, settings: NetworkSettings
) -> OwnNetwork:
    """Make a network that `network.system` names, and try it once.

    Args:
        name: `package.module:Name` of what is called with the next three and `settings`.
        text_width: Width of a frame of words.
        audio_width: Width of a frame of sound.
        num_labels: Number of emotions.
        settings: The section `network`, to be read or not.

    Raises:
        ConfigError: If there is no such object, or it cannot be called so.
        ShapeError: If its logits have another shape than (B, E).
    """
    setting = "network.system"
    make = _load(name, setting)
    _check_call(make, name, setting, text_width, audio_width, num_labels, settings=settings)
    network = make(text_width, audio_width, num_labels, settings=settings)
    if not isinstance(network, nn.Module):
        raise ConfigError(
            f"{setting} {name!r} gives {type(network).__name__}, but a torch.nn.Module was "
            "expected; return one"
        )
    _check_call(network.forward, f"{name}.forward", setting, *["a tensor"] * 4)
    own = OwnNetwork(network, num_labels).eval()
    mask = torch.tensor([[True, True, True], [True, False, False]])
    with torch.inference_mode():
        logits = own(torch.ones(2, 3, text_width), mask, torch.ones(2, 3, audio_width), mask)
    if not isinstance(logits, Tensor) or logits.shape != (2, num_labels):
        shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise ShapeError(
            f"{setting} {name!r} answered two utterances with {shape}, but logits of shape "
            f"{(2, num_labels)} were expected; return one logit for each emotion"
        )
    return own.train()


def _load(name: str, setting: str) -> Callable[..., Any]:
    module_name, _, object_name = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise ConfigError(
            f"{setting} is {name!r}, but its module cannot be imported ({error}); install it, or "
            "put its folder on PYTHONPATH"
        ) from None
    found = getattr(module, object_name, None)
    if not callable(found):
        what = "has no such object" if found is None else f"holds a {type(found).__name__} there"
        raise ConfigError(
            f"{setting} is {name!r}, but the module {what}; name a class or a function in it"
        )
    made: Callable[..., Any] = found
    return made


def _check_call(
    make: Callable[..., Any], name: str, setting: str, *arguments: object, **named: object
) -> None:
    """See that something can be called so, before it is."""
    try:
        inspect.signature(make).bind(*arguments, **named)
    except (TypeError, ValueError) as error:  # built-in types may tell no signature
        called = ", ".join([*("..." for _ in arguments), *(f"{key}=..." for key in named)])
        raise ConfigError(
            f"{setting} {name!r} cannot be called as {name.partition(':')[2]}({called}): {error}; "
            "take these arguments"
        ) from None


def _try(encoder: Encoder, what: str) -> None:
    """Encode two short clips, and see that the frames are what the protocol says."""
    clips = _clips(encoder)
    both = encoder.encode(clips)
    _check_frames(encoder, both, len(clips), what)
    alone = encoder.encode(clips[1:])
    _check_frames(encoder, alone, 1, what)
    one, other = alone.split()[0], both.split()[1]
    if one.shape != other.shape or np.abs(one - other).max() > _TOLERANCE * np.abs(one).max():
        raise EncoderError(
            f"{what} gives other frames for a clip alone than beside a longer one; mask the "
            "padding, or say equal_lengths = True and it is handed clips of one length at a time"
        )


def _clips(encoder: Encoder) -> Sequence[str] | Sequence[FloatArray]:
    if encoder.modality == "text":
        return ["one two three", "four"] if not encoder.equal_lengths else ["one", "one"]
    noise = np.random.default_rng(0).normal(0, 0.1, SAMPLE_RATE).astype(np.float32)
    return [noise, noise if encoder.equal_lengths else noise[: SAMPLE_RATE // 2]]


def _check_frames(encoder: Encoder, encoded: object, num_clips: int, what: str) -> None:
    if not isinstance(encoded, Encoded):
        raise EncoderError(
            f"{what} encodes to {type(encoded).__name__}, but mersa.encoders.base.Encoded was "
            "expected; mersa.encoders.base.pad makes one"
        )
    frames, lengths = encoded.frames, encoded.lengths
    width = encoder.width * encoder.num_layers
    if frames.ndim != 3 or (len(frames), frames.shape[2]) != (num_clips, width):
        raise EncoderError(
            f"{what} gave frames of shape {frames.shape} for {num_clips} clips, but ({num_clips}, "
            f"length, {width}) was expected, since it says width {encoder.width} and num_layers "
            f"{encoder.num_layers}; let them agree"
        )
    if lengths.shape != (num_clips,) or lengths.min() < 1 or lengths.max() != frames.shape[1]:
        raise EncoderError(
            f"{what} gave lengths {lengths.tolist()} for {num_clips} clips whose longest has "
            f"{frames.shape[1]} frames; give each clip's own number, at least 1"
        )
    if frames.dtype != np.float32 or not np.isfinite(frames).all():
        raise EncoderError(
            f"{what} gave frames of {frames.dtype} that are "
            f"{'' if np.isfinite(frames).all() else 'not '}finite, but finite float32 was "
            "expected; convert them"
        )


def _padded(frames: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Pad packed frames, (N, D) and (B,) to (B, L, D) and the mask (B, L)."""
    padded = pad_sequence(list(torch.split(frames, lengths.tolist())), batch_first=True)
    places = torch.arange(padded.shape[1], device=lengths.device)
    return padded, places < lengths[:, None]
