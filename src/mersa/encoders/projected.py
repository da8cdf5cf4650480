"""A trained projection on the frames of a frozen encoder, text or sound.

It moves each frame by itself, so lengths and exactness are those of the base, whose frames the
cache keeps. Shapes: L frames, D width of the base, H hidden width, W width of the projection.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor, nn

from mersa.audio import FloatArray
from mersa.encoders.base import Encoded, Encoder, Modality, pad
from mersa.errors import EncoderError, first_line
from mersa.files import write_json, write_whole

Form = Literal["residual", "mlp", "linear"]

FACTS = "projection.json"
BASE = "base"
"""Folder that holds the base where the projection is saved whole."""

_WEIGHTS = "projection.safetensors"
PROJECTION_FILES = (FACTS, _WEIGHTS)
"""What decides the frames, but for the base."""


class Projection(nn.Module):
    """Frames (..., D) to frames (..., W), each by itself.

    Frames are first standardised by `shift` and `scale`, so that none of the D values outweighs the
    others by its unit alone.

    Args:
        form: `mlp` is Linear, GELU, Linear; `residual` adds that to the standardised frame (W is
            D), beginning at nothing added; `linear` is one Linear.
        sizes: D, H and W; H is not read by `linear`.
        dropout: Of the hidden values, in training.
    """

    def __init__(self, form: Form, sizes: tuple[int, int, int], *, dropout: float = 0.0) -> None:
        super().__init__()
        self.form, self.sizes = form, sizes
        given, hidden, width = sizes
        self.register_buffer("shift", torch.zeros(given))
        self.register_buffer("scale", torch.ones(given))
        if form == "linear":
            self.layers = nn.Sequential(nn.Linear(given, width))
            return
        last = nn.Linear(hidden, width)
        self.layers = nn.Sequential(nn.Linear(given, hidden), nn.GELU(), nn.Dropout(dropout), last)
        if form == "residual":
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def standardise(self, frames: Tensor) -> None:
        """Take shift and scale from frames of the train part, (N, D); a constant value stays 0."""
        wide = frames.double()
        self.shift = wide.mean(0).float()
        deviation = wide.std(0, correction=0).float()
        self.scale = torch.where(deviation > 1e-6, deviation, 1.0).reciprocal()

    def forward(self, frames: Tensor) -> Tensor:
        """Return the projected frames."""
        standard = (frames - self.shift) * self.scale
        moved: Tensor = self.layers(standard)
        return standard + moved if self.form == "residual" else moved


class ProjectedEncoder:
    """Frames of another encoder, moved by a trained projection.

    Args:
        base: Gives the frames.
        projection: Moves them; it is put into eval mode.
        name: The name that settings use: the folder.
        settings: What the base was built from, so that it can be built again.

    Raises:
        EncoderError: If the projection does not take frames of the base's width.
    """

    num_layers = 1

    def __init__(
        self, base: Encoder, projection: Projection, *, name: str, settings: Mapping[str, Any]
    ) -> None:
        given = base.width * base.num_layers
        if projection.sizes[0] != given:
            raise EncoderError(
                f"the projection in {name!r} takes frames of width {projection.sizes[0]}, but "
                f"{base.name!r} gives {given}; align again on this encoder"
            )
        self.base = base
        self.name = name
        self.modality: Modality = base.modality
        self.width = projection.sizes[2]
        self.frames_per_second = base.frames_per_second
        self.equal_lengths = base.equal_lengths
        self._projection = projection.cpu().eval()
        self._settings = dict(settings)

    @classmethod
    def load(cls, folder: Path, base: Encoder) -> Self:
        """Return the encoder that `save` or `save_projection` wrote, on its base.

        Raises:
            EncoderError: If the folder holds no whole projection, or the base has other weights or
                settings than the one that it was trained on.
        """
        facts = read_facts(folder)
        if base.fingerprint != facts["base_fingerprint"]:
            raise EncoderError(
                f"the projection in {str(folder)!r} was trained on frames of {facts['name']!r} "
                f"with other weights or settings (fingerprint {base.fingerprint[:12]}, expected "
                f"{facts['base_fingerprint'][:12]}); bring back the encoder, or align again"
            )
        return cls(base, _load(folder, facts), name=str(folder), settings=facts["settings"])

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the base's fingerprint and of the projection."""
        facts = {"encoder": "projected", "form": self._projection.form}
        digest = hashlib.sha256(json.dumps(facts).encode())
        digest.update(self.base.fingerprint.encode())
        for name, tensor in sorted(self._projection.state_dict().items()):
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()

    def encode(self, batch: Sequence[str] | Sequence[FloatArray]) -> Encoded:
        """Encode with the base, then project; see the protocol."""
        return pad([self.derive(frames) for frames in self.base.encode(batch).split()])

    @torch.inference_mode()
    def derive(self, frames: FloatArray) -> FloatArray:
        """Project the frames of one clip, (L, D) to (L, W)."""
        projected: FloatArray = self._projection(torch.from_numpy(frames)).numpy()
        return projected

    def save(self, folder: Path) -> None:
        """Write the projection, and the base beneath it."""
        self.base.save(folder / BASE)
        self.save_projection(folder)

    def save_projection(self, folder: Path) -> None:
        """Write the projection alone, and what tells its base."""
        from safetensors.torch import save

        given, hidden, width = self._projection.sizes
        facts = {
            "modality": self.modality,
            "name": self.base.name,
            "base_fingerprint": self.base.fingerprint,
            "settings": self._settings,
            "form": self._projection.form,
            "sizes": [given, hidden, width],
        }
        with write_whole(folder / _WEIGHTS) as partial:
            tensors = {k: v.contiguous() for k, v in self._projection.state_dict().items()}
            partial.write_bytes(save(tensors))
        write_json(folder / FACTS, facts)


def is_projected(folder: Path) -> bool:
    """Return True if a folder holds a projection."""
    return (folder / FACTS).is_file()


def read_facts(folder: Path) -> dict[str, Any]:
    """Read what a folder says of its projection: `modality`, `settings` of the base and others.

    Raises:
        EncoderError: If the file is missing or is not the one that `save_projection` wrote.
    """
    path = folder / FACTS
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        whole = (
            isinstance(facts["settings"], dict)
            and facts["modality"] in get_args(Modality)
            and facts["form"] in get_args(Form)
            and len([int(size) for size in facts["sizes"]]) == 3
            and {"name", "base_fingerprint"} <= set(facts)
        )
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise EncoderError(
            f"{path} cannot be read ({first_line(error)}); bring it back, or align again"
        ) from None
    if not whole:
        raise EncoderError(f"{path} is not what mersa align writes; bring it back, or align again")
    return dict(facts)


def _load(folder: Path, facts: Mapping[str, Any]) -> Projection:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    given, hidden, width = facts["sizes"]
    projection = Projection(facts["form"], (given, hidden, width))
    try:
        projection.load_state_dict(load_file(folder / _WEIGHTS))
    except (OSError, RuntimeError, SafetensorError) as error:
        raise EncoderError(
            f"{folder / _WEIGHTS} does not hold the weights of this projection "
            f"({first_line(error)}); bring it back, or align again"
        ) from None
    return projection
