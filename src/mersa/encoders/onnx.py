"""Any waveform encoder as an ONNX file: sound in, frames out.

Shapes: B clips, T samples, N frames, D width.

The file's own metadata may say `sampling_rate` (Hz; 16000 where absent), `min_samples` and
`frame_rate_hz`.
"""

import hashlib
import json
import math
import shutil
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import soxr
import torch

from mersa.audio import SAMPLE_RATE, FloatArray
from mersa.encoders.base import Encoded, Modality
from mersa.encoders.lengths import check_mono, encode_by_length, lengthen
from mersa.encoders.level import check_peak, set_peak
from mersa.errors import EncoderError, MissingExtraError, first_line
from mersa.files import write_whole

_FLOAT = "tensor(float)"


class OnnxEncoder:
    """Frames of an ONNX model.

    The model takes one input, waveforms (B, T) float32, and gives frames (B, N, D) float32. Clips
    of one length run together and others apart, so that no frame depends on the batch. A clip
    shorter than the model takes is lengthened with silence.

    Args:
        path: The model, one file.
        peak: The largest magnitude that a clip is scaled to; None leaves it as recorded.
        output: The name of the output to read; by default the first of shape (B, N, D).
        threads: How many threads the model runs on; by default as many as torch uses.

    Raises:
        ConfigError: If the peak is not a positive number.
        EncoderError: If the file is missing, is not ONNX or is not a waveform encoder.
        MissingExtraError: If onnxruntime is not installed.
    """

    modality: Modality = "audio"
    equal_lengths = True
    num_layers = 1

    def __init__(
        self,
        path: str | Path,
        *,
        peak: float | None = None,
        output: str | None = None,
        threads: int | None = None,
    ) -> None:
        check_peak(peak)
        self._path = Path(path).expanduser()
        self.name = f"onnx:{self._path}"
        if not self._path.is_file():
            raise EncoderError(
                f"encoder file {str(self._path)!r} does not exist; give the path of an ONNX file"
            )
        if threads is not None and threads < 1:
            raise EncoderError(
                f"threads is {threads}, but a model needs at least 1; give 1 or more"
            )
        self._peak = peak
        self._threads = threads or torch.get_num_threads()
        self._session = _open(self._path, self._threads)
        self._input, self._batches = _find_input(self._path, self._session)
        self._output, width = _find_output(self._path, self._session, output)
        metadata = self._session.get_modelmeta().custom_metadata_map
        self._rate = self._number(metadata, "sampling_rate", SAMPLE_RATE)
        self._shortest = math.ceil(self._number(metadata, "min_samples", 1))
        self._frame_rate = self._number(metadata, "frame_rate_hz", 0)
        self.width = width or self._probe(1.0).shape[-1]

    @cached_property
    def frames_per_second(self) -> float | None:
        """The rate that the file states, else the frames that a second more of sound adds."""
        if self._frame_rate:
            return self._frame_rate
        short, long = (len(self._probe(seconds)[0]) for seconds in (10.0, 50.0))
        return (long - short) / 40.0

    @cached_property
    def fingerprint(self) -> str:
        """Hash of the file and the settings, wherever the file lies."""
        settings = {
            "encoder": "onnx",
            "peak": None if self._peak is None else float(self._peak),
            "output": self._output,
        }
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
        digest.update(self._path.read_bytes())
        return digest.hexdigest()

    def encode(self, batch: Sequence[str] | Sequence[FloatArray]) -> Encoded:
        """Encode mono float32 waveforms at 16 kHz of any lengths, in the order given.

        Raises:
            EncoderError: If the model fails, or gives anything but frames.
            ShapeError: If the batch is empty or a waveform is not mono.
        """
        ready = [self._prepare(waveform) for waveform in check_mono(batch)]
        return encode_by_length(ready, self._run)

    def save(self, folder: Path) -> None:
        """Copy the file as `model.onnx`; with the same settings it has one fingerprint."""
        with write_whole(folder / "model.onnx") as partial:
            shutil.copyfile(self._path, partial)

    def _prepare(self, waveform: FloatArray) -> FloatArray:
        waveform = set_peak(waveform, self._peak)
        if self._rate != SAMPLE_RATE and len(waveform):
            waveform = soxr.resample(waveform, SAMPLE_RATE, self._rate)
        return lengthen(waveform, self._shortest)

    def _run(self, waveforms: FloatArray) -> FloatArray:
        """Encode (B, T) to (B, N, D)."""
        if not self._batches and len(waveforms) > 1:
            return np.concatenate([self._run(waveform[None]) for waveform in waveforms])
        try:
            frames = self._session.run([self._output], {self._input: waveforms})[0]
        except Exception as error:  # noqa: BLE001  onnxruntime's errors have no common base
            raise EncoderError(
                f"{self._path} fails on {len(waveforms)} clips of {waveforms.shape[1]} samples "
                f"({first_line(error)}); state the fewest that it takes as min_samples in its "
                "metadata"
            ) from None
        if frames.ndim != 3 or len(frames) != len(waveforms) or not frames.shape[1]:
            raise EncoderError(
                f"output {self._output!r} of {self._path} has shape {frames.shape} for "
                f"{len(waveforms)} clips, but frames (clips, frames, width) were expected; choose "
                "another output"
            )
        found: FloatArray = frames
        return found

    def _probe(self, seconds: float) -> FloatArray:
        return self._run(self._prepare(np.zeros(round(seconds * SAMPLE_RATE), np.float32))[None])

    def _number(self, metadata: dict[str, str], key: str, default: float) -> float:
        try:
            value = float(metadata.get(key, default))
        except ValueError:
            value = math.nan
        if not (math.isfinite(value) and value >= min(default, 1)):
            raise EncoderError(
                f"{self._path} states {key} as {metadata[key]!r}, but a positive number was "
                "expected; mend the metadata of the file"
            )
        return value


def _open(path: Path, threads: int) -> Any:
    try:
        import onnxruntime
    except ImportError:
        raise MissingExtraError("onnx", f"encoder onnx:{path}") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Waiting threads sleep: spinning takes cores from the other encoder and from other processes.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    try:
        # From bytes, so that the fingerprint covers everything that is run.
        return onnxruntime.InferenceSession(
            path.read_bytes(), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:  # noqa: BLE001  onnxruntime's errors have no common base
        raise EncoderError(
            f"{path} cannot be read as an ONNX model ({first_line(error)}); export it as one "
            "file, without external data"
        ) from None


def _find_input(path: Path, session: Any) -> tuple[str, bool]:
    """Return the name of the waveforms and whether they come in batches."""
    inputs = session.get_inputs()
    fits = len(inputs) == 1 and inputs[0].type == _FLOAT and len(inputs[0].shape) == 2
    if not fits or isinstance(inputs[0].shape[1], int):
        raise EncoderError(
            f"{path} takes {_listed(inputs)}, but a waveform encoder takes one float input of "
            "shape (clips, samples), the samples free; export it so"
        )
    return inputs[0].name, inputs[0].shape[0] != 1


def _find_output(path: Path, session: Any, wanted: str | None) -> tuple[str, int | None]:
    """Return the name of the frames and their width, None where the file does not fix it."""
    outputs = session.get_outputs()
    frames = [one for one in outputs if one.type == _FLOAT and len(one.shape) == 3]
    for one in frames:
        if wanted in (None, one.name):
            return one.name, one.shape[2] if isinstance(one.shape[2], int) else None
    asked = "" if wanted is None else f" and is asked for {wanted!r}"
    raise EncoderError(
        f"{path} gives {_listed(outputs)}{asked}, but frames are a float output of shape (clips, "
        "frames, width); name such an output, or export one"
    )


def _listed(tensors: Sequence[Any]) -> str:
    return ", ".join(f"{one.name} {one.type}{list(one.shape)}" for one in tensors) or "nothing"
