"""Media files as blocks of samples, however long they are; damage is told, not passed over.

soundfile reads what libsndfile knows (WAV, FLAC, Ogg and their kin), PyAV reads everything else,
video with sound among it, and MP3: libsndfile's MP3 decoder writes warnings to standard error and
can land beside the place that it was told to seek.
"""

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

from mersa.errors import AudioError

FloatArray = npt.NDArray[np.float32]
Source = Path | str | bytes | BinaryIO
"""A path, the bytes of a media file, or a file object opened in binary mode."""

_END_SLACK_S = 0.1
AGAIN = "copy, download or export it again"
_BLOCK = 1 << 20  # samples that soundfile reads at a time
# Data sizes that programs write where they cannot know one: into a pipe, by ffmpeg and sox.
_STREAMED = (0, 0xFFFFFFFF, 0x7FFFF000)
_HEADER_SLACK = 64  # bytes: some recorders count the file's header in
_MAX_CHUNKS = 1_000
_OGG_PAGE = 27 + 255 + 255 * 255  # bytes of the longest page
_CLOCK = re.compile(r"([0-9]+):([0-9]+):([0-9]+(?:\.[0-9]+)?)")
# Containers that store a length; that of others is FFmpeg's guess from the bit rate.
_DECLARES_LENGTH = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "flac", "wav", "caf", "asf", "avi")


@dataclass(frozen=True)
class Block:
    """Some samples of a recording at its own rate.

    Attributes:
        samples: Full scale -1 to 1, (n, channels).
        rate: Samples per second, in hertz.
        centre: The front centre's place among three or more channels, where the layout has one.
    """

    samples: FloatArray
    rate: int
    centre: int | None

    def mono(self) -> FloatArray:
        """Return one channel, (n,): the front centre if there is one, else the mean."""
        return mix(self.samples, self.centre)


@dataclass(frozen=True)
class Stretch:
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


def declared_s(path: Path) -> float | None:
    """Return how long a recording says that it is, in seconds; None where it does not say."""
    try:
        with opened(path, None) as (file, name):
            sound = _known_to_soundfile(file, thorough=False)
            if sound is not None:
                with sound:
                    return float(sound.frames / sound.samplerate)
            with _container(file, name) as container:
                return container.duration / av.time_base if container.duration else None
    except AudioError:
        return None


@contextmanager
def opened(source: Source, name: str | None) -> Iterator[tuple[BinaryIO, str]]:
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


def decode(file: BinaryIO, stretch: Stretch) -> Iterator[Block]:
    """Give a stretch of an opened recording block by block, from its first sample to its last.

    Raises:
        AudioError: If it is not audio, damaged, shorter than it declares, or without sound, or if
            the stretch is not inside it; of a file that is read forward this can show at its end.
    """
    mp3 = _refuse_cut(file, stretch.name)
    sound = None if mp3 else _known_to_soundfile(file)
    if sound is None:
        yield from _av_blocks(file, stretch)
        return
    with sound:
        yield from _soundfile_blocks(sound, stretch)


def _seekable(file: BinaryIO, name: str) -> BinaryIO:
    if not isinstance(file.read(0), bytes):
        raise AudioError(f"{name} is open as text, but bytes are needed; open it with mode 'rb'")
    if not file.seekable():
        file = io.BytesIO(file.read())
    if file.seek(0, os.SEEK_END) == 0:
        raise AudioError(f"{name} is empty (0 bytes), but a recording was expected; {AGAIN}")
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
                    f"follow; {AGAIN}"
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
        raise AudioError(f"{name} is cut short: its Ogg stream has no end; {AGAIN}")


def _known_to_soundfile(file: BinaryIO, *, thorough: bool = True) -> sf.SoundFile | None:
    """Open by libsndfile, or return None where it does not know the format or the length."""
    file.seek(0)
    try:
        sound = sf.SoundFile(_nameless(file))
    except sf.LibsndfileError:
        return None
    known = 0 < sound.frames < 1 << 48
    # Some whole 5.1 Opus files are too much for libsndfile, which shows only on reading them.
    if thorough and known and sound.format == "OGG" and sound.channels > 2:
        try:
            while len(sound.read(_BLOCK, dtype="float32")):
                pass
        except sf.LibsndfileError:
            known = False
    if not known:
        sound.close()
        return None
    return sound


def _soundfile_blocks(sound: sf.SoundFile, stretch: Stretch) -> Iterator[Block]:
    length, rate, centre = sound.frames, sound.samplerate, _centre(sound)
    stretch.check_inside(length / rate)
    first, end = stretch.bounds(rate)
    stop = length if end is None else min(length, end)
    # libsndfile lands beside the sample that it was told to seek near the end of an Ogg file.
    position = 0 if sound.format == "OGG" else first
    try:
        sound.seek(position)
        while position < stop:
            samples = sound.read(min(_BLOCK, stop - position), dtype="float32", always_2d=True)
            if not len(samples):
                raise _cut_short(stretch.name, length / rate, position / rate)
            wanted = samples[max(0, first - position) :]
            position += len(samples)
            if len(wanted):
                yield Block(wanted, rate, centre)
    except sf.LibsndfileError as error:
        raise AudioError(
            f"{stretch.name} is damaged or cut short ({error.error_string}); {AGAIN}"
        ) from None


def _av_blocks(file: BinaryIO, stretch: Stretch) -> Iterator[Block]:
    """Read by FFmpeg: decode from the beginning, keep the stretch, stop after its end."""
    name = stretch.name
    exact_mp3 = _has_xing(file)
    with _container(file, name) as container:
        stream = container.streams.best("audio")
        if stream is None or stream.codec_context is None:
            kinds = sorted({str(other.type) for other in container.streams}) or ["nothing"]
            raise AudioError(
                f"{name} has no sound that can be read (it holds {' and '.join(kinds)}); "
                "give a file with sound"
            )
        rate, count, ended_s = 0, 0, 0.0
        first, end = 0, None
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
            block, centre = _samples(frame)
            wanted = block[max(0, first - count) : stop]
            if len(wanted):
                yield Block(wanted, rate, centre)
            count += frame.samples
            ended_s = (count if frame.time is None else frame.time * rate + frame.samples) / rate
            if end is not None and count >= end:
                break
        else:
            if count:
                _check_whole(container, stream, exact_mp3, ended_s, name)
                stretch.check_inside(count / rate)


def _container(file: BinaryIO, name: str) -> Any:
    file.seek(0)
    try:
        # Without the list a text file can make FFmpeg open sockets or other files (SDP, HLS).
        return av.open(
            _nameless(file), metadata_errors="replace", options={"protocol_whitelist": "none"}
        )
    except (av.FFmpegError, ValueError, EOFError):
        file.seek(4)
        if file.read(4) == b"ftyp":
            raise AudioError(f"{name} is cut short: its index (moov) is missing; {AGAIN}") from None
        raise AudioError(
            f"{name} is not audio that can be read; convert it to WAV, FLAC, Ogg, MP3 or MP4"
        ) from None


def _nameless(file: BinaryIO) -> Any:
    """Hide a file's name, which would weigh more than its content where it ends in .raw."""
    return SimpleNamespace(read=file.read, seek=file.seek, tell=file.tell)


def _frames(container: Any, stream: Any, name: str) -> Iterator[Any]:
    try:
        yield from container.decode(stream)
    except (av.FFmpegError, ValueError, EOFError) as error:
        reason = getattr(error, "strerror", None) or error
        raise AudioError(f"{name} is damaged or cut short ({reason}); {AGAIN}") from None


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


def _samples(frame: Any) -> tuple[FloatArray, int | None]:
    """Return a frame's samples, (n, channels), and the place of the front centre."""
    samples = frame.to_ndarray()  # planar (channels, n), packed (1, n * channels)
    names = [channel.name for channel in frame.layout.channels]
    block = samples.T if frame.format.is_planar else samples.reshape(-1, len(names))
    if names[0] == "NONE":  # Matroska does not keep the layout of PCM; FFmpeg's order is WAV's
        return to_float(block), wav_centre(len(names))
    return to_float(block), names.index("FC") if "FC" in names else None


def mix(block: FloatArray, centre: int | None) -> FloatArray:
    """Make (n, channels) mono; `centre` is the front centre's place among three or more."""
    channels = block.shape[1]
    if channels == 1:
        return block[:, 0]
    if channels > 2 and centre is not None:
        return block[:, centre].copy()  # a view would keep all channels in memory
    mean: FloatArray = block.mean(axis=1, dtype=np.float32)
    return mean


def _centre(sound: sf.SoundFile) -> int | None:
    place = wav_centre(sound.channels)
    # Vorbis and Opus put the centre between left and right (Vorbis I specification, 4.3.9).
    return 1 if place is not None and sound.subtype in ("VORBIS", "OPUS") else place


def wav_centre(channels: int) -> int | None:
    """Return the centre's place in the usual layouts of WAV and FLAC; four are quadraphonic."""
    return 2 if channels in (3, 5, 6, 7, 8) else None


def to_float(block: npt.NDArray[Any]) -> FloatArray:
    """Bring samples of any kind of number to full scale -1 to 1."""
    if block.dtype.kind == "f":
        with np.errstate(over="ignore"):  # what float32 cannot hold is refused as infinite
            return block.astype(np.float32)
    full = 2.0 ** (8 * block.dtype.itemsize - 1)
    middle = full if block.dtype.kind == "u" else 0.0
    return ((block - middle) / full).astype(np.float32)


def _cut_short(name: str, declared_s: float, held_s: float) -> AudioError:
    return AudioError(
        f"{name} is cut short: it declares {declared_s:.3f} s, but {held_s:.3f} s can be read; "
        f"{AGAIN}"
    )
