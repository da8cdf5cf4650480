"""Requests that no server should be sent: each a function of a seeded generator of numbers."""

import io
import struct
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile

BOUNDARY = "x-boundary-x"
PATHS = (
    "../../../../etc/passwd",
    "/etc/passwd",
    "/proc/self/environ",
    "file:///etc/passwd",
    "C:\\Windows\\win.ini",
    "a\0b.wav",
    "-rf",
    "a" * 5_000,
    "$(id).wav",
    "\u202egnp.wav",
    "",
)
HEADS = (
    b"\x89PNG\r\n\x1a\n",
    b"%PDF-1.7\n",
    b"PK\x03\x04",
    b"\x7fELF\x02\x01",
    b"<html><body>",
    b'{"a": 1}',
    b"GIF89a",
    b"\x1f\x8b\x08",
    b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
    b"ffconcat version 1.0\nfile /etc/passwd\n",
    b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 9 RTP/AVP 0\n",
    b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom",
    b"\x1aE\xdf\xa3",
    b"ID3\x03\0\0\0\0\0\x7f",
    b"OggS\0\x02",
    b"fLaC\0\0\0\x22",
    b"RIFF\xff\xff\xff\xffWAVEfmt ",
    b"FORM\0\0\0\x40AIFFCOMM",
    b".snd\0\0\0\x18",
    b"caff\0\x01\0\0",
)


@dataclass(frozen=True)
class Sent:
    """A request as bytes after its first line.

    Attributes:
        kind: What is wrong with it.
        headers: Lines, without those that every request has.
        pieces: Its body.
        is_chunked: Whether the body is sent in chunks, without its length.
    """

    kind: str
    headers: tuple[str, ...]
    pieces: Sequence[bytes] | Callable[[], Iterator[bytes]]
    is_chunked: bool = False


class Malformed:
    """Makes malformed requests by number.

    Args:
        clips: Real recordings to spoil.
    """

    def __init__(self, clips: Sequence[Path]) -> None:
        samples, rate = soundfile.read(clips[0], dtype="int16")
        self._real = [clip.read_bytes() for clip in clips[:3]]
        for kind in ("WAV", "FLAC", "AIFF", "CAF", "W64", "AU", "MP3"):
            file = io.BytesIO()
            soundfile.write(file, samples, rate, format=kind)
            self._real.append(file.getvalue())
        self._bombs = [_silence("FLAC", None), _silence("OGG", "OPUS"), _zip()]
        self._kinds = (
            self._random,
            self._cut,
            self._flipped,
            self._wrong_type,
            self._absurd_wav,
            self._bomb,
            self._path_name,
            self._path_field,
            self._bad_form,
            self._huge_part_header,
            self._many_parts,
            self._huge_header,
            self._endless,
            self._lies_of_length,
            self._bad_field,
        )

    def make(self, number: int) -> Sent:
        """Return one; its kind goes round."""
        random = np.random.default_rng(number)
        return self._kinds[number % len(self._kinds)](random)

    def _random(self, random) -> Sent:
        return _upload("random bytes", random.bytes(int(random.integers(0, 60_000))))

    def _cut(self, random) -> Sent:
        content = self._a_real(random)
        return _upload("cut short", content[: int(random.integers(0, len(content)))])

    def _flipped(self, random) -> Sent:
        content = bytearray(self._a_real(random))
        near = len(content) if random.random() < 0.5 else min(200, len(content))
        for place in random.integers(0, near, int(random.integers(1, 40))):
            content[place] = int(random.integers(256))
        return _upload("flipped bytes", bytes(content))

    def _wrong_type(self, random) -> Sent:
        head = HEADS[int(random.integers(len(HEADS)))]
        return _upload("wrong type", head + random.bytes(int(random.integers(0, 9_000))))

    def _absurd_wav(self, random) -> Sent:
        def number(bits):
            edges = (0, 1, 2, 2 ** (bits - 1), 2**bits - 1, int(random.integers(2**bits)))
            return edges[int(random.integers(len(edges)))]

        channels, rate, per_second = number(16), number(32), number(32)
        chunk = struct.pack("<HHIIHH", number(3), channels, rate, per_second, number(16), number(6))
        head = b"RIFF" + struct.pack("<I", number(32)) + b"WAVEfmt "
        sizes = struct.pack("<I", len(chunk)), b"data" + struct.pack("<I", number(32))
        return _upload("absurd WAV", head + sizes[0] + chunk + sizes[1] + random.bytes(4_000))

    def _bomb(self, random) -> Sent:
        return _upload("unfolds", self._bombs[int(random.integers(len(self._bombs)))])

    def _path_name(self, random) -> Sent:
        return _upload("path as name", b"no sound", name=PATHS[int(random.integers(len(PATHS)))])

    def _path_field(self, random) -> Sent:
        field = ("audio", "segments", "words", "format", "set", "model")[int(random.integers(6))]
        return _upload("path as field", self._real[0], fields={field: PATHS[0]})

    def _bad_form(self, random) -> Sent:
        whole = b"".join(_upload("", b"sound").pieces)
        spoilt = (
            whole[: int(random.integers(len(whole)))],
            whole.replace(b"\r\n", b"\n"),
            whole.replace(b"form-data", b"attachment"),
            whole.replace(b"name=", b"nome="),
            random.bytes(300),
            b"",
            whole.replace(b"--", b"-", 1),
        )
        return Sent("bad form", _FORM, [spoilt[int(random.integers(len(spoilt)))]])

    def _huge_part_header(self, random) -> Sent:
        length = int(random.integers(5_000, 300_000))
        part = f"--{BOUNDARY}\r\nContent-Disposition: form-data; name={'a' * length}\r\n\r\n"
        return Sent("huge part header", _FORM, [part.encode()])

    def _many_parts(self, random) -> Sent:
        name = "; filename=a" if random.random() < 0.5 else ""
        part = f"--{BOUNDARY}\r\nContent-Disposition: form-data; name=audio{name}\r\n\r\na\r\n"
        return Sent("many parts", _FORM, [part.encode() * int(random.integers(70, 3_000))])

    def _huge_header(self, random) -> Sent:
        lines = tuple(f"H{n}: {'a' * 90}" for n in range(int(random.integers(200, 2_000))))
        return Sent("huge header", (*_FORM, *lines), [])

    def _endless(self, random) -> Sent:
        begun = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="audio"; filename=a\r\n\r\n'

        def pieces():
            yield begun.encode()
            while True:
                yield b"\0" * 60_000

        return Sent("endless", _FORM, pieces, is_chunked=True)

    def _lies_of_length(self, random) -> Sent:
        length = ("0", "7", "999999", "-1", "1e3", "99999999999999999999")[int(random.integers(6))]
        body = _upload("", b"sound").pieces
        return Sent("lies of its length", (*_FORM, f"Content-Length: {length}"), body)

    def _bad_field(self, random) -> Sent:
        texts = ("a" * 60_000, "\0", "\ud7ff" * 9, "speech.pad_s=nan", "longest_s=1e999", "{}", "=")
        field = ("text", "segments", "set", "channels", "format", "")[int(random.integers(6))]
        text = texts[int(random.integers(len(texts)))]
        return _upload("bad field", self._real[0], fields={field: text})

    def _a_real(self, random) -> bytes:
        return self._real[int(random.integers(len(self._real)))]


_FORM = (f"Content-Type: multipart/form-data; boundary={BOUNDARY}",)


def _upload(kind: str, content: bytes, *, name: str = "a.wav", fields=None) -> Sent:
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="audio"; filename="{name}"\r\n\r\n'
    )
    pieces = [head.encode(), content, b"\r\n"]
    for field, text in (fields or {}).items():
        part = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"\r\n\r\n{text}\r\n'
        pieces.append(part.encode())
    return Sent(kind, _FORM, [*pieces, f"--{BOUNDARY}--\r\n".encode()])


def _silence(kind: str, subtype: str | None) -> bytes:
    """Return an hour of silence, or more."""
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", 16_000, 1, format=kind, subtype=subtype) as sound:
        for _ in range(60):
            sound.write(np.zeros(60 * 16_000, dtype=np.int16))
    return file.getvalue()


def _zip() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.wav", b"\0" * 50_000_000)
    return file.getvalue()
