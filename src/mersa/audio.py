"""Any media file, bytes or array -> mono float32 at 16 kHz.

soundfile reads what libsndfile knows (WAV, FLAC, Ogg and their kin), PyAV reads everything else,
video with sound among it, and MP3: libsndfile's MP3 decoder writes warnings to standard error and
can land beside the place that it was told to seek.

Channels: one is taken as it is and two are averaged. Of three or more the front centre is taken
where the layout has one, because film sound keeps its speech there (MELD's clips are 5.1);
otherwise all are averaged. The level is never changed and nothing is clipped.
"""

import hashlib
import io
import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, BinaryIO, Literal

import av
import numpy as np
import numpy.typing as npt
import soundfile as sf
import soxr

from mersa.errors import AudioError

FloatArray = npt.NDArray[np.float32]
Source = Path | str | bytes | BinaryIO
"""A path, the bytes of a media file, or a file object opened in binary mode."""

SAMPLE_RATE = 16_000
"""Samples per second of every waveform inside mersa."""

_LOUDEST = 100.0  # 40 dB above full scale: some recordings clip, none is that loud
MAX_CHANNELS = 8
"""Channels of 7.1 sound, the widest layout that is told apart."""

_RATES = (1_000, 768_000)
_END_SLACK_S = 0.1
_AGAIN = "copy, download or export it again"
_BLOCK = 1 << 20  # samples that soundfile reads at a time
# Data sizes that programs write where they cannot know one: into a pipe, by ffmpeg and sox.
_STREAMED = (0, 0xFFFFFFFF, 0x7FFFF000)
_HEADER_SLACK = 64  # bytes: some recorders count the file's header in
_MAX_CHUNKS = 1_000
_OGG_PAGE = 27 + 255 + 255 * 255  # bytes of the longest page
_CLOCK = re.compile(r"([0-9]+):([0-9]+):([0-9]+(?:\.[0-9]+)?)")
# Containers that store a length; that of others is FFmpeg's guess from the bit rate.
_DECLARES_LENGTH = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "flac", "wav", "caf", "asf", "avi")


def read_audio(
    source: Source,
    *,
    start_s: float | None = None,
    end_s: float | None = None,
    name: str | None = None,
) -> FloatArray:
    """Read a recording, or one stretch of it, as mono float32 at 16 kHz.

    Args:
        source: What to read. A file object is read from its beginning and stays open.
        start_s: Where the stretch begins, in seconds from the first sample; None for the beginning.
        end_s: Where it ends; None for the end. Up to 0.1 s beyond the end counts as the end.
        name: What messages call the source; a path or a named file has a name of its own.

    Returns:
        The samples, full scale -1 to 1, (n,) with n at least 1.

    Raises:
        AudioError: If there is no such file, it is not audio, damaged, shorter than it declares, or
            without sound; if it holds NaN or infinity; or if the stretch is not inside it.
    """
    with _opened(source, name) as (file, called):
        stretch = _Stretch(called, start_s or 0.0, end_s)
        stretch.check_order()
        mp3 = _refuse_cut(file, called)
        found = None if mp3 else _read_soundfile(file, stretch)
        samples, rate = found or _read_av(file, stretch)
    return _finish(samples, rate, called)


def from_array(samples: npt.ArrayLike, sample_rate: int) -> FloatArray:
    """Bring an array of samples to mono float32 at 16 kHz.

    Args:
        samples: (n,) or (n, channels): samples first, channels last, at most 8 of them, in the
            order of a WAV file. Floats are kept; integers are divided by their full range.
        sample_rate: Samples per second of the array, in hertz.

    Raises:
        AudioError: If shape, kind of number or rate is wrong, or a sample is NaN or infinite.
    """
    array = np.asarray(samples)
    if array.dtype.kind not in "iuf":
        raise AudioError(
            f"the array holds {array.dtype}, but samples are integers or floats; convert it"
        )
    if array.ndim not in (1, 2):
        raise AudioError(
            f"the array has shape {array.shape}, but (n,) or (n, channels) is needed; "
            "give one recording at a time"
        )
    if array.size == 0:
        raise AudioError(
            f"the array has shape {array.shape}, which is no samples; give at least one"
        )
    block = array.reshape(len(array), -1)  # (n, channels)
    channels = block.shape[1]
    if channels > MAX_CHANNELS:
        raise AudioError(
            f"the array has shape {array.shape}, which is {channels} channels, but at most "
            f"{MAX_CHANNELS} are taken, samples first, channels last; transpose it"
        )
    mono = _mix(_to_float(block), _wav_centre(channels))
    return _finish(mono, sample_rate, "the array")


def content_hash(path: Path | str) -> str:
    """Return the SHA-256 of a file's bytes, in hex.

    Raises:
        AudioError: If the file is missing, a folder or empty.
    """
    with _opened(path, None) as (file, _):
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Stretch:
    """The part of a recording that is wanted, and what messages call the recording."""

    name: str
    start_s: float
    end_s: float | None

    def check_order(self) -> None:
        """Refuse times that no recording can have."""
        end_s = math.inf if self.end_s is None else self.end_s
        if not 0 <= self.start_s < end_s:
            raise AudioError(
                f"{self.name}: start_s {self.start_s:g} and end_s {end_s:g} are not in order; a "
                "stretch starts at 0 s or later and ends after its start"
            )

    def check_inside(self, length_s: float) -> None:
        """Refuse a stretch that leaves a recording of this length."""
        late = self.end_s is not None and self.end_s > length_s + _END_SLACK_S
        if late or self.start_s >= length_s:
            end = "its end" if self.end_s is None else f"{self.end_s:g} s"
            raise AudioError(
                f"{self.name} is {length_s:.3f} s long, but the stretch from {self.start_s:g} s "
                f"to {end} was asked for; correct start_s and end_s"
            )

    def bounds(self, rate: int) -> tuple[int, int | None]:
        """Return its first sample and the one after its last."""
        end = None if self.end_s is None else round(self.end_s * rate)
        return round(self.start_s * rate), end


@contextmanager
def _opened(source: Source, name: str | None) -> Iterator[tuple[BinaryIO, str]]:
    """Give a seekable binary file at its beginning, not empty, and its name."""
    if isinstance(source, str | os.PathLike):
        path, called = Path(source), name or str(source)
        try:
            if path.is_dir():
                raise IsADirectoryError
            handle = path.open("rb")
        except FileNotFoundError:
            raise AudioError(f"{called} does not exist; correct the path") from None
        except IsADirectoryError:
            raise AudioError(
                f"{called} is a folder, but a recording was expected; name the file"
            ) from None
        except (OSError, ValueError) as error:
            raise AudioError(
                f"{called} cannot be opened ({error}); correct its path or permissions"
            ) from None
        with handle:
            yield _seekable(handle, called), called
        return
    if isinstance(source, bytes | bytearray | memoryview):
        called = name or "the recording"
        yield _seekable(io.BytesIO(source), called), called
    elif hasattr(source, "read"):
        own = getattr(source, "name", None)
        called = name or (own if isinstance(own, str) else "the recording")
        yield _seekable(source, called), called
    else:
        raise AudioError(
            f"the recording is a {type(source).__name__}, but a path, bytes or a binary file is "
            "needed; for an array use mersa.audio.from_array(samples, sample_rate)"
        )


def _seekable(file: BinaryIO, name: str) -> BinaryIO:
    if not isinstance(file.read(0), bytes):
        raise AudioError(f"{name} is open as text, but bytes are needed; open it with mode 'rb'")
    if not file.seekable():
        file = io.BytesIO(file.read())
    if file.seek(0, os.SEEK_END) == 0:
        raise AudioError(f"{name} is empty (0 bytes), but a recording was expected; {_AGAIN}")
    file.seek(0)
    return file


def _refuse_cut(file: BinaryIO, name: str) -> bool:
    """Refuse WAV, AIFF and Ogg files that end too early; libsndfile shortens them silently.

    Returns:
        True if the file is an MP3, or begins with a tag as MP3 files do.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(12)
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        _refuse_cut_chunk(file, size, name, "little")
    elif head[:4] == b"FORM" and head[8:] in (b"AIFF", b"AIFC"):
        _refuse_cut_chunk(file, size, name, "big")
    elif head[:4] == b"OggS":
        _refuse_cut_ogg(file, size, name)
    # The layer bits, 0 in AAC's otherwise equal mark, are not looked at: PyAV reads AAC too.
    return head[:3] == b"ID3" or (head[0] == 0xFF and head[1:2] >= b"\xe0")


def _refuse_cut_chunk(
    file: BinaryIO, size: int, name: str, order: Literal["little", "big"]
) -> None:
    position = 12
    for _ in range(_MAX_CHUNKS):
        file.seek(position)
        header = file.read(8)
        length = int.from_bytes(header[4:], order)
        position += 8
        if header[:4] in (b"data", b"SSND"):
            held = max(0, size - position)
            if length not in _STREAMED and length > held + _HEADER_SLACK:
                raise AudioError(
                    f"{name} is cut short: it declares {length} bytes of sound, but {held} "
                    f"follow; {_AGAIN}"
                )
            return
        position += length + length % 2


def _refuse_cut_ogg(file: BinaryIO, size: int, name: str) -> None:
    file.seek(max(0, size - _OGG_PAGE))
    tail = file.read()
    page = tail[tail.rfind(b"OggS") :]
    segments = page[26] if len(page) > 26 else 0
    whole = len(page) >= 27 + segments + sum(page[27 : 27 + segments])
    if not (whole and len(page) > 26 and page[5] & 4):  # 4 marks the end of the stream
        raise AudioError(f"{name} is cut short: its Ogg stream has no end; {_AGAIN}")


def _read_soundfile(file: BinaryIO, stretch: _Stretch) -> tuple[FloatArray, int] | None:
    """Read by libsndfile, or return None where it does not know the format or the length."""
    file.seek(0)
    try:
        sound = sf.SoundFile(_nameless(file))
    except sf.LibsndfileError:
        return None
    with sound:
        length, rate = sound.frames, sound.samplerate
        if not 0 < length < 1 << 48:
            return None
        stretch.check_inside(length / rate)
        first, end = stretch.bounds(rate)
        stop = length if end is None else min(length, end)
        # libsndfile lands beside the sample that it was told to seek near the end of an Ogg file.
        begin = 0 if sound.format == "OGG" else first
        pieces: list[FloatArray] = []
        try:
            sound.seek(begin)
            for position in range(begin, stop, _BLOCK):
                block = sound.read(
                    min(_BLOCK, stop - position), dtype="float32", always_2d=True
                )  # (n, channels)
                pieces.append(_mix(block, _centre(sound)))
        except sf.LibsndfileError as error:
            if sound.format == "OGG":  # some whole 5.1 Opus files are too much for libsndfile
                return None
            raise AudioError(
                f"{stretch.name} is damaged or cut short ({error.error_string}); {_AGAIN}"
            ) from None
    samples = _join(pieces)
    if begin + len(samples) < stop:
        raise _cut_short(stretch.name, length / rate, (begin + len(samples)) / rate)
    return samples[first - begin :], rate


def _read_av(file: BinaryIO, stretch: _Stretch) -> tuple[FloatArray, int]:
    """Read by FFmpeg: decode from the beginning, keep the stretch, stop after its end."""
    name = stretch.name
    exact_mp3 = _has_xing(file)
    file.seek(0)
    try:
        # Without the list a text file can make FFmpeg open sockets or other files (SDP, HLS).
        container = av.open(
            _nameless(file), metadata_errors="replace", options={"protocol_whitelist": "none"}
        )
    except (av.FFmpegError, ValueError, EOFError):
        file.seek(4)
        if file.read(4) == b"ftyp":
            raise AudioError(
                f"{name} is cut short: its index (moov) is missing; {_AGAIN}"
            ) from None
        raise AudioError(
            f"{name} is not audio that can be read; convert it to WAV, FLAC, Ogg, MP3 or MP4"
        ) from None
    with container:
        stream = container.streams.best("audio")
        if stream is None or stream.codec_context is None:
            kinds = sorted({str(other.type) for other in container.streams}) or ["nothing"]
            raise AudioError(
                f"{name} has no sound that can be read (it holds {' and '.join(kinds)}); "
                "give a file with sound"
            )
        rate, count, ended_s = 0, 0, 0.0
        first, end = 0, None
        pieces: list[FloatArray] = []
        for frame in _frames(container, stream, name):
            if not rate:
                # The stream's own rate is half of this one where AAC hides its upper band.
                rate = frame.sample_rate
                first, end = stretch.bounds(rate)
            elif frame.sample_rate != rate:
                raise AudioError(
                    f"{name} changes from {rate} to {frame.sample_rate} Hz at {count / rate:.3f} s,"
                    " but one rate is needed; convert it to WAV"
                )
            stop = None if end is None else max(0, end - count)
            pieces.append(_mix_frame(frame)[max(0, first - count) : stop])
            count += frame.samples
            ended_s = (count if frame.time is None else frame.time * rate + frame.samples) / rate
            if end is not None and count >= end:
                break
        else:
            if count:
                _check_whole(container, stream, exact_mp3, ended_s, name)
                stretch.check_inside(count / rate)
    return _join(pieces), rate


def _nameless(file: BinaryIO) -> Any:
    """Hide a file's name, which would weigh more than its content where it ends in .raw."""
    return SimpleNamespace(read=file.read, seek=file.seek, tell=file.tell)


def _frames(container: Any, stream: Any, name: str) -> Iterator[Any]:
    try:
        yield from container.decode(stream)
    except (av.FFmpegError, ValueError, EOFError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AudioError(f"{name} is damaged or cut short ({reason}); {_AGAIN}") from None


def _check_whole(container: Any, stream: Any, exact_mp3: bool, ended_s: float, name: str) -> None:
    """Refuse a file that ended well before the length that it declares."""
    declared_s = 0.0
    kind = container.format.name
    if kind in _DECLARES_LENGTH or (kind == "mp3" and exact_mp3):
        clock = _CLOCK.fullmatch(stream.metadata.get("DURATION", ""))  # of one Matroska stream
        if stream.duration is not None:
            declared_s = float(stream.duration * stream.time_base)
        elif clock:
            hours, minutes, seconds = map(float, clock.groups())
            declared_s = hours * 3600 + minutes * 60 + seconds
        elif container.duration is not None and len(container.streams) == 1:
            declared_s = container.duration / av.time_base
    if declared_s - ended_s > max(0.5, 0.01 * declared_s):
        raise _cut_short(name, declared_s, ended_s)


def _has_xing(file: BinaryIO) -> bool:
    """Tell whether the first MP3 frame states how many follow; else the length is a guess."""
    file.seek(0)
    tag = file.read(10)
    # A tag's size is four bytes of seven bits.
    size = sum(byte << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0), strict=False))
    file.seek(10 + size if tag[:3] == b"ID3" else 0)
    frame = file.read(64)
    return b"Xing" in frame or b"Info" in frame


def _mix_frame(frame: Any) -> FloatArray:
    samples = frame.to_ndarray()  # planar (channels, n), packed (1, n * channels)
    names = [channel.name for channel in frame.layout.channels]
    block = samples.T if frame.format.is_planar else samples.reshape(-1, len(names))
    if names[0] == "NONE":  # Matroska does not keep the layout of PCM; FFmpeg's order is WAV's
        return _mix(_to_float(block), _wav_centre(len(names)))
    return _mix(_to_float(block), names.index("FC") if "FC" in names else None)


def _mix(block: FloatArray, centre: int | None) -> FloatArray:
    """Make (n, channels) mono; `centre` is the front centre's place among three or more."""
    channels = block.shape[1]
    if channels == 1:
        return block[:, 0]
    if channels > 2 and centre is not None:
        return block[:, centre].copy()  # a view would keep all channels in memory
    mean: FloatArray = block.mean(axis=1, dtype=np.float32)
    return mean


def _centre(sound: sf.SoundFile) -> int | None:
    place = _wav_centre(sound.channels)
    # Vorbis and Opus put the centre between left and right (Vorbis I specification, 4.3.9).
    return 1 if place is not None and sound.subtype in ("VORBIS", "OPUS") else place


def _wav_centre(channels: int) -> int | None:
    """Left, right, centre, ...: the usual layouts of WAV and FLAC; four are quadraphonic."""
    return 2 if channels in (3, 5, 6, 7, 8) else None


def _to_float(block: npt.NDArray[Any]) -> FloatArray:
    if block.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what float32 cannot hold is refused as infinite
            return block.astype(np.float32)
    full = 2.0 ** (8 * block.dtype.itemsize - 1)
    middle = full if block.dtype.kind == "u" else 0.0
    return ((block - middle) / full).astype(np.float32)


def _join(pieces: list[FloatArray]) -> FloatArray:
    return np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.float32)


def _cut_short(name: str, declared_s: float, held_s: float) -> AudioError:
    return AudioError(
        f"{name} is cut short: it declares {declared_s:.3f} s, but {held_s:.3f} s can be read; "
        f"{_AGAIN}"
    )


def _finish(samples: FloatArray, rate: int, name: str) -> FloatArray:
    """Check mono samples and bring them to 16 kHz."""
    if len(samples) == 0:
        raise AudioError(f"{name} holds no samples, but a recording was expected; {_AGAIN}")
    low, high = _RATES
    if not low <= rate <= high:
        raise AudioError(
            f"{name} has a sampling rate of {rate} Hz, but {low} to {high} Hz is needed; "
            "give the rate at which it was recorded"
        )
    finite = np.isfinite(samples)
    if not finite.all():
        place = int(finite.argmin())
        raise AudioError(
            f"{name} holds {samples[place]} at {place / rate:.3f} s, but every sample must be a "
            "finite number; mend or replace the recording"
        )
    largest = float(np.abs(samples).max())
    if largest > _LOUDEST:
        raise AudioError(
            f"{name} holds samples up to {largest:g}, but floating-point sound has full scale 1; "
            "divide it by its full scale (32768 for 16 bits)"
        )
    resampled: FloatArray = soxr.resample(samples, rate, SAMPLE_RATE, quality="HQ")
    if len(resampled) == 0:
        raise AudioError(
            f"{name} holds {len(samples)} samples at {rate} Hz, which is less than one at "
            f"{SAMPLE_RATE} Hz; give a longer recording"
        )
    return resampled
