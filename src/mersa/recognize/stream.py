"""A recording read forward once, in blocks at 16 kHz, so that its length costs no memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import soxr

from mersa.audio import (
    RESAMPLING,
    SAMPLE_RATE,
    FloatArray,
    Source,
    check_array,
    check_samples,
    finish,
)
from mersa.decoding import AGAIN, Block, Stretch, decode, opened, to_float, wav_centre
from mersa.errors import AudioError, ConfigError

_BLOCK_S = 4
"""Seconds of a block, about."""


@contextmanager
def open_stream(
    source: Source | npt.NDArray[Any], sampling_rate: int | None = None
) -> Iterator["Stream"]:
    """Open a recording for one reading.

    Args:
        source: A path, bytes, a file object, or samples (n,) or (n, channels).
        sampling_rate: Hertz of the samples.

    Raises:
        AudioError: If it cannot be opened.
        ConfigError: If samples come without their rate.
    """
    if isinstance(source, np.ndarray):
        if sampling_rate is None:
            raise ConfigError(
                "an array of samples came without its rate; give sampling_rate in hertz"
            )
        yield Stream(_array_blocks(check_array(source), sampling_rate), "the array")
        return
    with opened(source, None) as (file, name):
        yield Stream(decode(file, Stretch(name, 0.0, None)), name)


class Stream:
    """The sound of an opened recording; `mono` or `channels` may be read, once.

    Attributes:
        name: What messages call it.
        num_samples: How many samples at 16 kHz were read so far.
    """

    def __init__(self, blocks: Iterator[Block], name: str) -> None:
        self.name = name
        self.num_samples = 0
        self._blocks = blocks

    @property
    def seconds(self) -> float:
        """How much was read so far; at the end, how long the recording is."""
        return self.num_samples / SAMPLE_RATE

    def whole(self, longest_s: float) -> FloatArray | None:
        """Return all of a recording, as `read_audio` does, if it is no longer than `longest_s`.

        Else nothing counts as read.

        Raises:
            AudioError: As `read_audio`.
        """
        held: list[Block] = []
        count = 0
        for block in self._blocks:
            held.append(block)
            count += len(block.samples)
            if count > longest_s * block.rate:
                self._blocks = chain(held, self._blocks)
                return None
        rate = held[0].rate if held else 0
        waveform = finish([block.mono() for block in held], rate, self.name)
        self.num_samples = len(waveform)
        return waveform

    def mono(self) -> Iterator[FloatArray]:
        """Give blocks of one channel, (n,).

        Raises:
            AudioError: As `read_audio`, when the reading comes to what is wrong.
        """
        for samples in self._resampled(mono=True):
            yield samples[:, 0]

    def channels(self) -> Iterator[FloatArray]:
        """Give blocks of every channel, (n, channels), with at least two of them.

        Raises:
            AudioError: As `mono`, or if there is one channel.
        """
        for samples in self._resampled(mono=False):
            if samples.shape[1] == 1:
                raise AudioError(
                    f"{self.name} has one channel, but one speaker a channel was asked for; give "
                    "the recording in two channels or more, or leave that unset"
                )
            yield samples

    def _resampled(self, *, mono: bool) -> Iterator[FloatArray]:
        """Give the blocks at 16 kHz, (n, channels); blocks cut differently give equal samples."""
        resampler: Any = None
        before = 0
        empty = np.zeros((0, 1), dtype=np.float32)
        for block in _gathered(self._blocks):
            samples = block.mono()[:, None] if mono else block.samples
            check_samples(samples, block.rate, self.name, before=before)
            before += len(samples)
            if resampler is None:
                num_channels, rate = samples.shape[1], block.rate
                resampler = soxr.ResampleStream(
                    rate, SAMPLE_RATE, num_channels, dtype="float32", quality=RESAMPLING
                )
                empty = np.zeros((0, num_channels), dtype=np.float32)
            elif samples.shape[1] != num_channels:
                raise AudioError(
                    f"{self.name} changes from {num_channels} to {samples.shape[1]} channels at "
                    f"{before / rate:.3f} s, but one number is needed; convert it to WAV"
                )
            yield from self._counted(resampler.resample_chunk(np.ascontiguousarray(samples)))
        if resampler is not None:
            yield from self._counted(resampler.resample_chunk(empty, last=True))
        if not self.num_samples:
            raise AudioError(f"{self.name} holds no samples, but a recording was expected; {AGAIN}")

    def _counted(self, samples: FloatArray) -> Iterator[FloatArray]:
        if len(samples):
            self.num_samples += len(samples)
            yield samples.reshape(len(samples), -1)


def _gathered(blocks: Iterator[Block]) -> Iterator[Block]:
    """Cut long blocks and join short ones: FFmpeg gives some 20 ms at a time, libsndfile a minute.

    Blocks of another rate or number of channels than those before are not joined to them.
    """
    held: list[Block] = []
    count = 0
    for block in blocks:
        size = _BLOCK_S * block.rate
        if held and (held[0].samples.shape[1], held[0].rate) != (
            block.samples.shape[1],
            block.rate,
        ):
            yield _joined(held)
            held, count = [], 0
        for start in range(0, len(block.samples), size):
            part = Block(block.samples[start : start + size], block.rate, block.centre)
            held.append(part)
            count += len(part.samples)
            if count >= size:
                yield _joined(held)
                held, count = [], 0
    if held:
        yield _joined(held)


def _joined(blocks: list[Block]) -> Block:
    first = blocks[0]
    if len(blocks) == 1:
        return first
    return Block(np.concatenate([one.samples for one in blocks]), first.rate, first.centre)


def _array_blocks(samples: npt.NDArray[Any], rate: int) -> Iterator[Block]:
    centre = wav_centre(samples.shape[1])
    size = _BLOCK_S * max(1, rate)
    for start in range(0, len(samples), size):
        yield Block(to_float(samples[start : start + size]), rate, centre)
