"""VGGish: one vector for each 0.96 s of sound.

Source: harritaylor/torchvggish:torchvggish (front end, network, post-processing, weights).
Shapes: N samples, L examples of a clip, E examples of a batch.
"""

import hashlib
import http.client
import json
import logging
import pickle
import shutil
import urllib.request
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self, cast, get_args

import numpy as np
import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mersa.audio import SAMPLE_RATE, FloatArray
from mersa.encoders.base import Encoded, Modality, pad
from mersa.encoders.level import check_peak, set_peak
from mersa.encoders.mel import HOP, WINDOW, mel_filters, mel_spectrum
from mersa.errors import ConfigError, EncoderError, first_line
from mersa.files import write_json, write_whole

ShortClips = Literal["silence", "zero"]

RELEASE = "https://github.com/harritaylor/torchvggish/releases/download/v0.1"
"""Where the published weights are fetched from."""
WEIGHTS_FILE = "vggish-10086976.pth"
"""Published weights; the name ends with the first digits of the file's SHA-256."""
PCA_FILE = "vggish_pca_params-970ea276.pth"
"""Published matrix and means of the post-processing; named in the same way."""

WIDTH = 128
EXAMPLE = 96
"""Windows of 10 ms in one example."""

_BANDS, _LOW_HZ, _HIGH_HZ = 64, 125.0, 7500.0
_OFFSET = 0.01  # silence is its logarithm
_HIDDEN = 4096
# Examples at a time. The weights of the linear layers are 220 MB, read once a chunk; the maps of
# the convolutions are 3 MB an example, and many of them leave a processor's cache.
_MAPS_AT_ONCE = {"cpu": 16}
_VECTORS_AT_ONCE = 256
_TIMEOUT_S = 30
_VERSION = 1  # raise it whenever the frames change, so that no cache serves old ones
_SAVED_WEIGHTS, _SAVED_PCA = "model.safetensors", "pca.safetensors"

_log = logging.getLogger(__name__)


class VGGish:
    """The VGGish network on log-mel examples of 0.96 s; what is left of a clip is dropped.

    Nothing is read or fetched before the first frames, or the fingerprint, are asked for.

    Args:
        weights: Folder with the published files, or with what `save` wrote; None takes the
            published files, which are fetched once into torch's hub folder.
        pca: Whether frames are whitened, clipped to [-2, 2] and rounded to 0 ... 255, as
            published with AudioSet and used by 3M-SER; else they are the network's own values.
        short_clips: What a clip of less than one example is filled up with: `silence`, or `zero`
            in the log-mel domain, which is loud, as 3M-SER had it when MERSA was written.
        peak: Level that each clip is brought to; None keeps it as recorded.
        device: Where the network runs.

    Raises:
        ConfigError: If a setting is out of its range.
    """

    modality: Modality = "audio"
    width = WIDTH
    num_layers = 1
    frames_per_second = SAMPLE_RATE / HOP / EXAMPLE
    equal_lengths = False

    def __init__(
        self,
        weights: Path | None = None,
        *,
        pca: bool = False,
        short_clips: ShortClips = "silence",
        peak: float | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if short_clips not in get_args(ShortClips):
            raise ConfigError(
                f"short_clips is {short_clips!r}, but short clips are filled up with silence or "
                "zero; use one of these two words"
            )
        check_peak(peak)
        self.name = "vggish" if weights is None else f"vggish:{weights}"
        self._folder = weights
        self._pca = pca
        self._short_clips = short_clips
        self._peak = None if peak is None else float(peak)
        self.device = torch.device(device)

    @classmethod
    def load(cls, folder: Path, *, device: torch.device | str = "cpu") -> Self:
        """Return the encoder that `save` wrote into `folder`, settings included.

        Raises:
            EncoderError: If the folder holds no such encoder.
        """
        try:
            settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            return cls(folder, **settings, device=device)
        except (OSError, ValueError, TypeError) as error:
            raise EncoderError(
                f"{str(folder)!r} holds no saved VGGish ({error}), but a config.json as save "
                "writes it was expected; save the encoder again"
            ) from error

    @cached_property
    def fingerprint(self) -> str:
        """Hex digest of weights and settings; the network is not built for it.

        Raises:
            EncoderError: If the weights cannot be had, or are not VGGish's.
        """
        facts = {"encoder": "vggish", "version": _VERSION} | self._settings()
        digest = hashlib.sha256(json.dumps(facts).encode())
        for tensors in (self._read_weights(), self._read_pca() if self._pca else {}):
            for key in sorted(tensors):
                digest.update(key.encode())
                digest.update(tensors[key].contiguous().numpy().data.cast("B"))
        return digest.hexdigest()

    def encode(self, batch: Sequence[str] | Sequence[FloatArray]) -> Encoded:
        """Encode waveforms, all their examples together; see the protocol.

        Raises:
            EncoderError: If the weights cannot be had, or are not VGGish's.
        """
        examples = [
            to_examples(set_peak(waveform, self._peak), short_clips=self._short_clips)
            for waveform in cast(Sequence[FloatArray], batch)
        ]
        frames = self._run(np.concatenate(examples))  # (E, WIDTH)
        ends = np.cumsum([len(one) for one in examples])
        return pad(np.split(frames, ends[:-1]))

    def save(self, folder: Path) -> None:
        """Write weights and settings; the post-processing too if it is switched on."""
        with write_whole(folder / _SAVED_WEIGHTS) as path:
            save_file(self._read_weights(), path)
        if self._pca:
            with write_whole(folder / _SAVED_PCA) as path:
                save_file(self._read_pca(), path)
        write_json(folder / "config.json", self._settings())

    def _settings(self) -> dict[str, Any]:
        return {"pca": self._pca, "short_clips": self._short_clips, "peak": self._peak}

    def _run(self, examples: FloatArray) -> FloatArray:
        network = self._network
        at_once = _MAPS_AT_ONCE.get(self.device.type, _VECTORS_AT_ONCE)
        with torch.inference_mode():
            flat = torch.cat(
                [
                    network.flat_maps(
                        torch.from_numpy(examples[place : place + at_once]).to(self.device)
                    )
                    for place in range(0, len(examples), at_once)
                ]
            )  # (E, 12288)
            frames = torch.cat(
                [
                    network.embeddings(flat[place : place + _VECTORS_AT_ONCE])
                    for place in range(0, len(flat), _VECTORS_AT_ONCE)
                ]
            )
            if self._pca:
                frames = quantise(frames, **self._pca_on_device)
        return cast(FloatArray, frames.cpu().numpy())

    @cached_property
    def _network(self) -> "Network":
        with torch.device("meta"):
            network = Network()
        network.load_state_dict(self._read_weights(), assign=True)
        if self.device.type == "cpu":  # a third faster there
            network.features.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        return network.to(self.device).eval().requires_grad_(False)

    @cached_property
    def _pca_on_device(self) -> dict[str, Tensor]:
        return {key: tensor.to(self.device) for key, tensor in self._read_pca().items()}

    def _read_weights(self) -> dict[str, Tensor]:
        with torch.device("meta"):
            expected = {key: tensor.shape for key, tensor in Network().state_dict().items()}
        return _read(self._folder, WEIGHTS_FILE, _SAVED_WEIGHTS, expected)

    def _read_pca(self) -> dict[str, Tensor]:
        expected = {
            "pca_eigen_vectors": torch.Size((WIDTH, WIDTH)),
            "pca_means": torch.Size((WIDTH, 1)),
        }
        return _read(self._folder, PCA_FILE, _SAVED_PCA, expected)


class Network(nn.Module):
    """Six convolutions and three linear layers, a ReLU after each, the last included."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for width in (64, None, 128, None, 256, 256, None, 512, 512, None):
            if width is None:
                layers.append(nn.MaxPool2d(2))
            else:
                layers += [nn.Conv2d(channels, width, kernel_size=3, padding=1), nn.ReLU()]
                channels = width
        # The names of these two, and so of all weights, are those of the published file.
        self.features = nn.Sequential(*layers)
        self.embeddings = nn.Sequential(
            nn.Linear(512 * (EXAMPLE // 16) * (_BANDS // 16), _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, _HIDDEN),
            nn.ReLU(),
            nn.Linear(_HIDDEN, WIDTH),
            nn.ReLU(),
        )

    def forward(self, examples: Tensor) -> Tensor:
        """Turn examples, (E, EXAMPLE, 64), into embeddings, (E, WIDTH)."""
        return cast(Tensor, self.embeddings(self.flat_maps(examples)))

    def flat_maps(self, examples: Tensor) -> Tensor:
        """Turn examples, (E, EXAMPLE, 64), into what the linear layers read, (E, 12288)."""
        maps = self.features(examples[:, None])  # (E, 512, 6, 4)
        return cast(Tensor, maps.permute(0, 2, 3, 1)).flatten(1)  # channels last as in TensorFlow


def quantise(frames: Tensor, *, pca_eigen_vectors: Tensor, pca_means: Tensor) -> Tensor:
    """Whiten embeddings, clip them to [-2, 2] and round them to 0 ... 255, (E, WIDTH) both.

    Args:
        frames: The network's embeddings, (E, WIDTH).
        pca_eigen_vectors: One whitening direction a row, (WIDTH, WIDTH).
        pca_means: What is taken off first, (WIDTH, 1).
    """
    white = (frames - pca_means.T) @ pca_eigen_vectors.T
    return ((white.clamp(-2.0, 2.0) + 2.0) * (255.0 / 4.0)).round()


def to_examples(waveform: FloatArray, *, short_clips: ShortClips = "silence") -> FloatArray:
    """Cut a waveform into examples of log(mel magnitude + 0.01), at least one.

    Args:
        waveform: Samples at 16 kHz, (N,).
        short_clips: What fills up a clip of less than one example (15,600 samples): `silence`
            after the last sample, or `zero` after the last whole window.

    Returns:
        Examples without overlap, (L, EXAMPLE, 64).
    """
    shortest = WINDOW if short_clips == "zero" else WINDOW + (EXAMPLE - 1) * HOP
    waveform = np.pad(waveform, (0, max(0, shortest - len(waveform))))
    # Double precision, since a loud tone's rounding error would show beside the offset of 0.01.
    filters = mel_filters(_BANDS, _LOW_HZ, _HIGH_HZ)
    log_mel = np.log(mel_spectrum(waveform, filters, exponent=1) + _OFFSET)
    log_mel = np.pad(log_mel, ((0, max(0, EXAMPLE - len(log_mel))), (0, 0)))
    count = len(log_mel) // EXAMPLE
    return log_mel[: count * EXAMPLE].reshape(count, EXAMPLE, _BANDS).astype(np.float32)


def _read(
    folder: Path | None, published: str, saved: str, expected: Mapping[str, torch.Size]
) -> dict[str, Tensor]:
    """Return the checked tensors of one file, published or saved, in float32."""
    if folder is None:
        path = _fetch(published)
    elif (folder / saved).exists():
        path = folder / saved
    elif (folder / published).exists():
        path = folder / published
    else:
        raise EncoderError(
            f"{str(folder)!r} holds neither {published} nor {saved}; download "
            f"{RELEASE}/{published} into it, or give a folder that save has written"
        )
    try:
        tensors = load_file(path) if path.suffix == ".safetensors" else _read_published(path)
    except (OSError, safetensors.SafetensorError, pickle.UnpicklingError) as error:
        reason = first_line(error)
        raise EncoderError(
            f"{str(path)!r} cannot be read as weights ({reason}); download "
            f"{RELEASE}/{published} again, or save the encoder again"
        ) from error
    _check_shapes(path, tensors, expected)
    return {key: tensor.float() for key, tensor in tensors.items()}


def _fetch(published: str) -> Path:
    """Return the path of a published file in torch's hub folder, fetched if it is not there."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / published
    if path.exists():
        return path
    url = f"{RELEASE}/{published}"
    _log.info("fetching %s into %s", url, path.parent)
    try:
        with write_whole(path) as partial:
            with (
                urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer,
                partial.open("wb") as to,
            ):
                shutil.copyfileobj(answer, to, length=1 << 20)
            _check_hash(partial, published, url)
    except (OSError, http.client.HTTPException) as error:
        raise EncoderError(
            f"{published} cannot be fetched ({error}), and {str(path.parent)!r} does not hold it; "
            f"download {_urls()} on a machine with access, put them into one folder, and use "
            "vggish:FOLDER"
        ) from error
    return path


def _read_published(path: Path) -> dict[str, Tensor]:
    _check_hash(path, path.name, str(path))
    # The post-processing is published as NumPy arrays; these are all that such a file may build.
    rebuild = np.empty(0).__reduce__()[0]
    arrays: list[Any] = [
        (rebuild, "numpy.core.multiarray._reconstruct"),
        (rebuild, "numpy._core.multiarray._reconstruct"),
        np.ndarray,
        np.dtype,
        type(np.dtype(np.float32)),
        type(np.dtype(np.float64)),
    ]
    with torch.serialization.safe_globals(arrays):
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    tensors = {key: torch.as_tensor(tensor) for key, tensor in tensors.items()}
    if "pca_means" in tensors:
        tensors["pca_means"] = tensors["pca_means"].reshape(-1, 1)
    return tensors


def _check_hash(path: Path, published: str, source: str) -> None:
    expected = Path(published).stem.rsplit("-", 1)[1]
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()[: len(expected)]
    if found != expected:
        raise EncoderError(
            f"{source!r} is not the published {published}: its SHA-256 begins with {found}, not "
            f"with {expected}; remove the file and download {RELEASE}/{published} again"
        )


def _check_shapes(
    path: Path, tensors: Mapping[str, Tensor], expected: Mapping[str, torch.Size]
) -> None:
    wrong = [f"{key} is missing" for key in expected if key not in tensors]
    wrong += [f"{key} is unknown" for key in tensors if key not in expected]
    wrong += [
        f"{key} is {tuple(tensors[key].shape)} instead of {tuple(shape)}"
        for key, shape in expected.items()
        if key in tensors and tensors[key].shape != shape
    ]
    if wrong:
        raise EncoderError(
            f"{str(path)!r} does not hold VGGish's weights: {', '.join(wrong)}; give a folder with "
            f"the published files ({_urls()}) or one that save has written"
        )


def _urls() -> str:
    return f"{RELEASE}/{WEIGHTS_FILE} and {RELEASE}/{PCA_FILE}"
