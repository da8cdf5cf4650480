"""Where somebody speaks: silero-vad in a stream.

Shapes: F frames of 512 samples (32 ms at 16 kHz).
"""

import warnings
from collections.abc import Iterator
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mersa.audio import SAMPLE_RATE, FloatArray
from mersa.recognize.settings import SpeechSettings

FRAME = 512
"""Samples of a frame, as silero-vad takes them at 16 kHz."""

_CONTEXT = 64  # samples of the frame before that each frame is read with
_AT_ONCE = 256  # frames that go through the convolutions together
_QUIET_FRAMES = 5  # frames, 160 ms, over which loudness is averaged to find a quiet place

Frames = npt.NDArray[np.float32]


class SpeechDetector:
    """Gives the probability of speech in each frame of a stream, keeping its state between blocks.

    The network and its weights are silero-vad's. Its own call takes one frame at a time; here the
    convolutions take many at once and only the recurrent cell goes frame by frame, which is some
    ten times faster and gives the same probabilities within rounding.
    """

    def __init__(self) -> None:
        self._network = _network()
        self._rest = np.zeros(0, dtype=np.float32)
        self._context = torch.zeros(_CONTEXT)
        self._state: tuple[Tensor, Tensor] | None = None

    def __call__(self, samples: FloatArray) -> tuple[Frames, Frames]:
        """Take the next samples, (n,); return the frames that they complete.

        Returns:
            The probability of speech in each frame and its mean square, both (F,).
        """
        samples = np.concatenate([self._rest, samples])
        num_frames = len(samples) // FRAME
        self._rest = samples[num_frames * FRAME :]
        frames = samples[: num_frames * FRAME].reshape(-1, FRAME)
        probabilities = [
            self._run(torch.from_numpy(frames[start : start + _AT_ONCE]))
            for start in range(0, num_frames, _AT_ONCE)
        ]
        loudness = np.square(frames, dtype=np.float32).mean(axis=1)
        return np.concatenate([np.zeros(0, dtype=np.float32), *probabilities]), loudness

    def finish(self) -> tuple[Frames, Frames]:
        """Return the last frame, completed with silence, if samples are left; else none."""
        missing = -len(self._rest) % FRAME
        return self(np.zeros(missing, dtype=np.float32))

    @torch.inference_mode()
    def _run(self, frames: Tensor) -> Frames:
        before = torch.cat([self._context[None], frames[:-1, -_CONTEXT:]])  # (F, 64)
        self._context = frames[-1, -_CONTEXT:].clone()
        probabilities, self._state = self._network(torch.cat([before, frames], 1), self._state)
        result: Frames = probabilities.numpy()
        return result


class _Silero(nn.Module):
    """silero-vad's network at 16 kHz for many frames (snakers4/silero-vad:tinygrad_model.py)."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.basis = weights["stft.forward_basis_buffer"]  # (258, 1, 256): real, then imaginary
        self.convolutions = [
            (weights[f"encoder.{n}.reparam_conv.weight"], weights[f"encoder.{n}.reparam_conv.bias"])
            for n in range(4)
        ]
        self.cell = nn.LSTM(128, 128, batch_first=True)
        self.cell.load_state_dict(
            {f"{name}_l0": weights[f"decoder.rnn.{name}"] for name in _CELL_WEIGHTS}
        )
        self.last = (weights["decoder.decoder.2.weight"], weights["decoder.decoder.2.bias"])

    def forward(
        self, frames: Tensor, state: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Take (F, 64 + 512) samples and the cell's state; return (F,) and the state."""
        x = F.conv1d(F.pad(frames, (0, 64), mode="reflect")[:, None], self.basis, stride=128)
        x = (x[:, :129].square() + x[:, 129:].square()).sqrt()  # (F, 129, 4)
        for (weight, bias), stride in zip(self.convolutions, (1, 2, 2, 1), strict=True):
            x = F.conv1d(x, weight, bias, stride=stride, padding=1).relu()
        hidden, state = self.cell(x[None, :, :, 0], state)  # (1, F, 128)
        x = F.conv1d(hidden.relu().transpose(1, 2), *self.last).sigmoid()  # (1, 1, F)
        return x[0, 0], state


_CELL_WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


@cache
def _network() -> _Silero:
    threads = torch.get_num_threads()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of what it calls itself
            from silero_vad import load_silero_vad

            loaded = load_silero_vad()
    finally:
        torch.set_num_threads(threads)  # importing it sets one for the whole process
    # The .safetensors file beside the default model holds the weights of another version.
    inner = "_model."  # what it takes at 16 kHz
    weights = loaded.state_dict().items()
    return _Silero({k.removeprefix(inner): v for k, v in weights if k.startswith(inner)}).eval()


class SpeechFinder:
    """Turns probabilities into stretches of speech, as they come; times in samples.

    A stretch begins with a frame of at least `threshold` and ends where the probability stays
    below `exit_threshold` for `min_silence_s`; what is shorter than `min_speech_s` is dropped. One
    that would be longer than `longest_s` is cut at the quietest place of its second half. Both
    ends, but not such cuts, are moved outwards by `pad_s`, or by half of the pause where it is
    shorter than two of these.

    Source of the rule but the cut: snakers4/silero-vad:utils_vad.py.
    """

    def __init__(self, settings: SpeechSettings, longest_s: float) -> None:
        self._settings = settings
        self._pad = round(settings.pad_s * SAMPLE_RATE)
        longest = longest_s * SAMPLE_RATE - 2 * self._pad
        self._longest = max(2 * _QUIET_FRAMES, int(longest // FRAME))  # frames
        self._frame = 0  # the next one
        self._start: int | None = None  # first sample of the speech that goes on
        self._silence: int | None = None  # first sample of the pause that goes on
        self._is_cut = False  # whether the speech that goes on began with a cut
        self._loudness: list[float] = []  # of its frames
        self._ended: tuple[int, int] | None = None  # a stretch whose end is not yet padded

    @property
    def needed_from(self) -> int:
        """The first sample that a later stretch can hold."""
        if self._ended:
            return self._ended[0]
        start = self._frame * FRAME if self._start is None else self._start
        return max(0, start - self._pad)

    def push(self, probabilities: Frames, loudness: Frames) -> Iterator[tuple[int, int]]:
        """Take the next frames, (F,) each; give (start, end) of each stretch that is settled."""
        for probability, loud in zip(probabilities.tolist(), loudness.tolist(), strict=True):
            yield from self._step(probability, loud)
            self._frame += 1
            if self._ended and self._start is None:
                end = self._ended[1]
                if self._frame * FRAME - end >= 2 * self._pad:
                    yield self._settled(end + self._pad)

    def finish(self, num_samples: int) -> Iterator[tuple[int, int]]:
        """End the stream, which had so many samples; give the stretches that are left."""
        if self._start is not None:
            yield from self._end(self._start, num_samples)
        if self._ended:
            yield self._settled(min(self._ended[1] + self._pad, num_samples))

    def _step(self, probability: float, loud: float) -> Iterator[tuple[int, int]]:
        settings, place = self._settings, self._frame * FRAME
        if self._start is None:
            if probability >= settings.threshold:
                self._start, self._silence, self._loudness = place, None, [loud]
            return
        self._loudness.append(loud)
        if probability >= settings.threshold:
            self._silence = None
        elif probability < settings.exit_threshold:
            if self._silence is None:
                self._silence = place
            if place - self._silence >= settings.min_silence_s * SAMPLE_RATE:
                yield from self._end(self._start, self._silence)
                return
        if len(self._loudness) >= self._longest:
            yield from self._cut(self._start)

    def _end(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        if self._is_cut:
            self._ended = (start, end)
        elif end - start > self._settings.min_speech_s * SAMPLE_RATE:
            pad = self._pad_before(start)
            if self._ended:
                yield self._settled(self._ended[1] + pad)
            self._ended = (start - pad, end)
        self._start, self._silence, self._is_cut = None, None, False

    def _cut(self, start: int) -> Iterator[tuple[int, int]]:
        """Cut the speech that goes on at its quietest place; give the part before."""
        mean = np.convolve(self._loudness, np.full(_QUIET_FRAMES, 1 / _QUIET_FRAMES), mode="same")
        half = len(mean) // 2
        place = half + int(mean[half : -(_QUIET_FRAMES // 2)].argmin())
        pad = 0 if self._is_cut else self._pad_before(start)
        if self._ended:
            yield self._settled(self._ended[1] + pad)
        yield start - pad, start + place * FRAME
        self._start, self._is_cut = start + place * FRAME, True
        self._loudness = self._loudness[place:]

    def _pad_before(self, start: int) -> int:
        if self._ended:
            return min(self._pad, (start - self._ended[1]) // 2)
        return min(self._pad, start)

    def _settled(self, end: int) -> tuple[int, int]:
        start = self._ended[0] if self._ended else 0
        self._ended = None
        return start, end
