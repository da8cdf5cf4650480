import hashlib
import io
import shutil
import tempfile
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile as sf

from mersa.audio import SAMPLE_RATE, content_hash, from_array, read_audio
from mersa.errors import AudioError

SECONDS = 2.5
TONE = 440.0
# One tone a channel of 5.1, in the order of WAV; the centre is third.
TONES = (300.0, 500.0, 700.0, 60.0, 1100.0, 1300.0)
CENTRE = 700.0
FRONT_LEFT_RIGHT_REAR = (300.0, 500.0, 900.0, 1100.0)


def tones(frequencies, rate, seconds=SECONDS):
    times = np.arange(round(seconds * rate)) / rate
    waves = [0.25 * np.sin(2 * np.pi * frequency * times) for frequency in frequencies]
    return np.stack(waves, axis=1).astype(np.float32)  # (n, channels)


def frequencies_in(samples):
    """The tones of a waveform at 16 kHz that carry more than a tenth of the strongest."""
    middle = samples[len(samples) // 2 - 8000 : len(samples) // 2 + 8000]  # 1 s: 1 Hz a bin
    strength = np.abs(np.fft.rfft(middle * np.hanning(len(middle))))
    peaks = (strength > np.roll(strength, 1)) & (strength >= np.roll(strength, -1))
    return [float(place) for place in np.flatnonzero(peaks & (strength > strength.max() / 10))]


def write_av(path, samples, rate, *, codec, kind, layout="mono", codec_options=None, options=None):
    """Write (n, channels) by FFmpeg; an empty codec writes a video without sound."""
    with av.open(str(path), "w", format=kind, options=options or {}) as container:
        if not codec:
            stream = container.add_stream("mpeg4", rate=10)
            stream.width, stream.height = 32, 16
            frames = [av.VideoFrame(32, 16, "yuv420p") for _ in range(5)]
        else:
            stream = container.add_stream(
                codec, rate=rate, layout=layout, options=codec_options or {}
            )
            frames = []
            for begin in range(0, len(samples), 4096):
                planes = np.ascontiguousarray(samples[begin : begin + 4096].T)
                frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=layout)
                frame.sample_rate, frame.pts = rate, begin
                frames.append(frame)
        for frame in [*frames, None]:
            container.mux(stream.encode(frame))
    return path


def write_wav(path, samples, rate, subtype="FLOAT"):
    sf.write(path, samples, rate, subtype=subtype)
    return path


def cut(path, fraction, name=None):
    """Write the first part of a file's bytes beside it."""
    whole = path.read_bytes()
    short = path.with_name(name or f"cut-{path.name}")
    short.write_bytes(whole[: round(len(whole) * fraction)])
    return short


def with_data_size(path, size):
    """Change what a WAV file's data chunk declares."""
    whole = bytearray(path.read_bytes())
    place = whole.index(b"data") + 4
    whole[place : place + 4] = size.to_bytes(4, "little")
    path.write_bytes(whole)
    return path


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """One folder of mono, 48 kHz recordings of the same tone, in many formats."""
    folder = tmp_path_factory.mktemp("media")
    rate = 48_000
    tone = tones([TONE], rate)
    sf.write(folder / "a.wav", tone, rate)
    sf.write(folder / "a.flac", tone, rate)
    sf.write(folder / "a.aiff", tone, rate)
    sf.write(folder / "vorbis.ogg", tone, rate, format="OGG", subtype="VORBIS")
    sf.write(folder / "opus.ogg", tone, rate, format="OGG", subtype="OPUS")
    sf.write(folder / "a.mp3", tone, rate)
    write_av(folder / "a.mp4", tone, rate, codec="aac", kind="mp4")
    write_av(folder / "a.m4a", tone, rate, codec="alac", kind="ipod")
    write_av(folder / "a.webm", tone, rate, codec="libopus", kind="webm")
    write_av(folder / "a.mkv", tone, rate, codec="pcm_s16le", kind="matroska")
    write_av(folder / "a.aac", tone, rate, codec="aac", kind="adts")
    faststart = {"movflags": "faststart"}
    write_av(folder / "fast.mp4", tone, rate, codec="aac", kind="mp4", options=faststart)
    bare = {"write_xing": "0", "id3v2_version": "0"}
    write_av(folder / "bare.mp3", tone, rate, codec="libmp3lame", kind="mp3", options=bare)
    return folder


FORMATS = [
    "a.wav",
    "a.flac",
    "a.aiff",
    "vorbis.ogg",
    "opus.ogg",
    "a.mp3",
    "bare.mp3",
    "a.mp4",
    "fast.mp4",
    "a.m4a",
    "a.webm",
    "a.mkv",
    "a.aac",
]
# Coders that pad their first or last frame: up to two frames of AAC, MP3 at 48 kHz.
PADDED = {"a.mp4", "fast.mp4", "a.aac", "bare.mp3"}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_tone_at_16_khz(media, name):
    samples = read_audio(media / name)

    slack = 3 * 1152 // 3 if name in PADDED else 1
    assert samples.dtype == np.float32
    assert samples.ndim == 1
    assert abs(len(samples) - SECONDS * SAMPLE_RATE) <= slack
    assert frequencies_in(samples) == [TONE]
    assert np.abs(samples[8000:24000]).max() == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000])
def test_resampling_keeps_tone_length_and_level(tmp_path, rate):
    path = write_wav(tmp_path / "a.wav", tones([TONE], rate), rate)

    samples = read_audio(path)

    assert abs(len(samples) - SECONDS * SAMPLE_RATE) <= 1
    expected = tones([TONE], SAMPLE_RATE)[:, 0]
    middle = slice(4000, 36000)
    assert samples[middle] == pytest.approx(expected[middle], abs=2e-3)


def test_16_khz_passes_untouched_and_unclipped(tmp_path):
    loud = 3 * tones([TONE], SAMPLE_RATE)[:, 0] / 0.25
    path = write_wav(tmp_path / "loud.wav", loud, SAMPLE_RATE)

    samples = read_audio(path)

    assert np.array_equal(samples, loud)


@pytest.mark.parametrize(
    ("subtype", "step"), [("PCM_U8", 2**-7), ("PCM_16", 2**-15), ("PCM_24", 2**-23), ("DOUBLE", 0)]
)
def test_every_width_of_sample_has_full_scale_one(tmp_path, subtype, step):
    tone = tones([TONE], SAMPLE_RATE)[:, 0]
    path = write_wav(tmp_path / "a.wav", tone, SAMPLE_RATE, subtype)

    samples = read_audio(path)

    assert samples == pytest.approx(tone, abs=1.1 * step + 1e-7)


@pytest.mark.parametrize("name", ["a.wav", "vorbis.ogg", "a.mp3", "a.mp4"])
def test_path_text_bytes_and_file_give_the_same(media, name):
    path = media / name
    data = path.read_bytes()

    with path.open("rb") as file:
        file.seek(7)  # a file object is read from its beginning, wherever it stands
        from_file = read_audio(file)
        assert not file.closed

    expected = read_audio(path)
    assert np.array_equal(from_file, expected)
    assert np.array_equal(read_audio(str(path)), expected)
    assert np.array_equal(read_audio(data), expected)
    assert np.array_equal(read_audio(io.BytesIO(data)), expected)


class Pipe(io.RawIOBase):
    """A stream that cannot seek."""

    def __init__(self, data):
        self.file = io.BytesIO(data)

    def readable(self):
        return True

    def readinto(self, target):
        return self.file.readinto(target)


@pytest.mark.parametrize("name", ["a.flac", "a.m4a"])
def test_a_stream_that_cannot_seek_is_read(media, name):
    stream = Pipe((media / name).read_bytes())

    samples = read_audio(stream)

    assert np.array_equal(samples, read_audio(media / name))


# Channels


@pytest.mark.parametrize(
    ("frequencies", "heard"),
    [
        (TONES[:1], [300.0]),
        (TONES[:2], [300.0, 500.0]),
        (TONES[:3], [CENTRE]),
        (FRONT_LEFT_RIGHT_REAR, [300.0, 500.0, 900.0, 1100.0]),
        (TONES[:5], [CENTRE]),
        (TONES, [CENTRE]),
        ((*TONES, 1500.0), [CENTRE]),
        ((*TONES, 1500.0, 1700.0), [CENTRE]),
    ],
)
@pytest.mark.parametrize("kind", ["wav", "flac", "array"])
def test_channels_in_the_order_of_wav(tmp_path, kind, frequencies, heard):
    block = tones(frequencies, 48_000)
    path = tmp_path / f"a.{kind}"
    if kind != "array":
        sf.write(path, block, 48_000)

    samples = from_array(block, 48_000) if kind == "array" else read_audio(path)

    assert frequencies_in(samples) == heard


def test_two_channels_are_averaged(tmp_path):
    left, right = tones([300.0], SAMPLE_RATE)[:, 0], tones([500.0], SAMPLE_RATE)[:, 0]
    path = write_wav(tmp_path / "a.wav", np.stack([left, right], axis=1), SAMPLE_RATE)

    samples = read_audio(path)

    assert samples == pytest.approx((left + right) / 2, abs=1e-7)


def test_more_than_eight_channels_of_a_file_are_averaged(tmp_path):
    frequencies = [300.0 + 200 * number for number in range(9)]
    path = write_wav(tmp_path / "a.wav", tones(frequencies, SAMPLE_RATE), SAMPLE_RATE)

    samples = read_audio(path)

    assert frequencies_in(samples) == frequencies


@pytest.mark.parametrize(
    ("file", "codec", "kind", "layout", "options"),
    [
        ("a.mp4", "aac", "mp4", "5.1", {}),
        ("a.mkv", "pcm_s16le", "matroska", "5.1", {}),
        ("a.ogg", "libopus", "ogg", "5.1", {"mapping_family": "1"}),
        ("a.webm", "libopus", "webm", "5.1", {"mapping_family": "1"}),
    ],
)
def test_film_sound_gives_its_centre(tmp_path, file, codec, kind, layout, options):
    path = tmp_path / file
    block = tones(TONES, 48_000)
    write_av(path, block, 48_000, codec=codec, kind=kind, layout=layout, codec_options=options)

    samples = read_audio(path)

    assert frequencies_in(samples) == [CENTRE]
    assert np.abs(samples[8000:24000]).max() == pytest.approx(0.25, abs=0.03)


def test_vorbis_has_its_centre_second(tmp_path):
    path = tmp_path / "a.ogg"
    sf.write(path, tones(TONES, 48_000), 48_000, format="OGG", subtype="VORBIS")

    samples = read_audio(path)

    assert frequencies_in(samples) == [TONES[1]]


def test_film_sound_without_a_centre_is_averaged(tmp_path):
    path = tmp_path / "a.mkv"
    block = tones(FRONT_LEFT_RIGHT_REAR, 48_000)
    write_av(path, block, 48_000, codec="pcm_s16le", kind="matroska", layout="quad")

    samples = read_audio(path)

    assert frequencies_in(samples) == list(FRONT_LEFT_RIGHT_REAR)


# Stretches


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """Three seconds whose every place is different, in formats that keep samples exactly."""
    folder = tmp_path_factory.mktemp("sweep")
    noise = np.random.default_rng(7).uniform(-0.5, 0.5, 3 * SAMPLE_RATE).astype(np.float32)
    sf.write(folder / "a.wav", noise, SAMPLE_RATE)
    sf.write(folder / "a.flac", noise, SAMPLE_RATE)
    sf.write(folder / "a.ogg", noise, SAMPLE_RATE, format="OGG", subtype="VORBIS")
    sf.write(folder / "a.mp3", noise, SAMPLE_RATE)
    write_av(folder / "a.m4a", noise[:, None], SAMPLE_RATE, codec="alac", kind="ipod")
    write_av(folder / "a.mp4", noise[:, None], SAMPLE_RATE, codec="aac", kind="mp4")
    return folder


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.ogg", "a.mp3", "a.m4a", "a.mp4"])
@pytest.mark.parametrize(
    ("start_s", "end_s"), [(0.73, 1.91), (None, 1.91), (0.73, None), (0.0, 3.0), (2.9, 3.08)]
)
def test_a_stretch_is_a_slice_of_the_whole(sweep, name, start_s, end_s):
    whole = read_audio(sweep / name)

    samples = read_audio(sweep / name, start_s=start_s, end_s=end_s)

    first = round((start_s or 0) * SAMPLE_RATE)
    last = None if end_s is None else round(end_s * SAMPLE_RATE)
    assert samples == pytest.approx(whole[first:last], abs=1e-6)


@pytest.mark.parametrize("name", ["a.wav", "a.mkv"])
def test_a_stretch_is_cut_before_resampling(media, name):
    whole = read_audio(media / name)

    samples = read_audio(media / name, start_s=0.5, end_s=1.75)

    assert len(samples) == 1.25 * SAMPLE_RATE
    assert samples[400:-400] == pytest.approx(whole[8400:27600], abs=1e-3)


def test_reading_stops_after_the_stretch(media):
    damaged = cut(media / "fast.mp4", 0.8)

    samples = read_audio(damaged, start_s=0.25, end_s=0.75)

    assert np.array_equal(samples, read_audio(media / "fast.mp4", start_s=0.25, end_s=0.75))


@pytest.mark.parametrize("name", ["a.wav", "a.m4a"])
@pytest.mark.parametrize(
    ("start_s", "end_s", "message"),
    [
        (1.0, 2.75, r"is 2\.500 s long, .* from 1 s to 2\.75 s .*; correct start_s and end_s"),
        (2.5, None, r"is 2\.500 s long, .* from 2\.5 s to its end .*; correct start_s and end_s"),
        (9.0, 9.5, r"is 2\.500 s long, .* from 9 s to 9\.5 s .*; correct start_s and end_s"),
    ],
)
def test_a_stretch_outside_the_recording_is_refused(media, name, start_s, end_s, message):
    with pytest.raises(AudioError, match=f"{name} {message}"):
        read_audio(media / name, start_s=start_s, end_s=end_s)


@pytest.mark.parametrize(
    ("start_s", "end_s"), [(-0.5, 1.0), (1.0, 1.0), (2.0, 1.0), (float("nan"), 1.0)]
)
def test_times_out_of_order_are_refused(media, start_s, end_s):
    with pytest.raises(
        AudioError, match=rf"start_s {start_s:g} and end_s 1 are not in order; a stretch starts"
    ):
        read_audio(media / "a.wav", start_s=start_s, end_s=end_s)


# Bad input


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(AudioError, match=r"gone\.wav does not exist; correct the path"):
        read_audio(tmp_path / "gone.wav")


def test_a_folder_is_named(tmp_path):
    with pytest.raises(AudioError, match=f"{tmp_path} is a folder, .*; name the file"):
        read_audio(tmp_path)


def test_a_path_that_cannot_be_opened_is_named(tmp_path):
    with pytest.raises(AudioError, match=r"cannot be opened \(.*\); correct its path"):
        read_audio(tmp_path / ("a" * 300))


def test_an_empty_file_is_named(tmp_path):
    path = tmp_path / "empty.wav"
    path.touch()

    with pytest.raises(AudioError, match=r"empty\.wav is empty \(0 bytes\), .*export it again"):
        read_audio(path)


def test_bytes_are_called_by_the_name_given():
    with pytest.raises(AudioError, match="upload 3 is empty"):
        read_audio(b"", name="upload 3")


JUNK = {
    "text": b"Not a sound, only words.\n" * 200,
    "zeros": bytes(9000),
    "random": np.random.default_rng(3).bytes(20_000),
    "one byte": b"\xff",
    "mp3 mark": b"\xff\xfb\x90\x00" + np.random.default_rng(3).bytes(20_000),
    "tag": b"ID3\x04\x00\x00\x00\x00\x00\x00" + b"words " * 500,
    "riff": b"RIFF\x24\x00\x00\x00WAVE",
    "session": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
    b"m=audio 5004 RTP/AVP 0\n",
}


@pytest.mark.parametrize("kind", JUNK)
@pytest.mark.parametrize("suffix", [".wav", ".raw"])
@pytest.mark.timeout(5)  # the session description would wait for packets
def test_what_is_not_audio_is_refused_quietly(tmp_path, capfd, kind, suffix):
    path = tmp_path / f"junk{suffix}"
    path.write_bytes(JUNK[kind])

    with pytest.raises(AudioError, match=rf"junk\{suffix} is not audio that .*; convert it to WAV"):
        read_audio(path)

    assert capfd.readouterr() == ("", "")


def test_a_playlist_does_not_open_other_files(media, tmp_path):
    shutil.copy(media / "a.wav", tmp_path / "a.wav")
    path = tmp_path / "list.txt"
    path.write_text(f"ffconcat version 1.0\nfile '{tmp_path}/a.wav'\n")

    with pytest.raises(AudioError, match="is not audio that can be read"):
        read_audio(path)


def test_a_picture_has_no_sound(tmp_path):
    path = tmp_path / "picture.wav"
    path.write_bytes(
        bytes.fromhex(
            "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de"
            "0000000c4944415408d763f8cfc0000003010100c9fe92ef0000000049454e44ae426082"
        )
    )

    with pytest.raises(AudioError, match=r"has no sound .* \(it holds video\); give a file"):
        read_audio(path)


def test_a_video_without_sound_is_refused(tmp_path):
    path = write_av(tmp_path / "silent.mp4", None, 0, codec="", kind="mp4")

    with pytest.raises(AudioError, match=r"silent\.mp4 has no sound .* \(it holds video\); give a"):
        read_audio(path)


def test_a_header_without_samples_is_refused(tmp_path):
    path = write_wav(tmp_path / "a.wav", np.zeros(0, dtype=np.float32), SAMPLE_RATE)

    with pytest.raises(AudioError, match=r"a\.wav holds no samples, .*export it again"):
        read_audio(path)


def test_less_than_one_sample_is_refused(tmp_path):
    path = write_wav(tmp_path / "a.wav", np.ones(1, dtype=np.float32), 96_000)

    with pytest.raises(AudioError, match=r"1 samples at 96000 Hz, .*; give a longer recording"):
        read_audio(path)


@pytest.mark.parametrize("fraction", [0.3, 0.5, 0.7])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.wav", r"is cut short: it declares 240000 bytes of sound, but \d+ follow"),
        ("a.aiff", r"is cut short: it declares 240008 bytes of sound, but \d+ follow"),
        ("a.flac", r"is damaged or cut short \(.*lost sync"),
        ("vorbis.ogg", r"is cut short: its Ogg stream has no end"),
        ("opus.ogg", r"is cut short: its Ogg stream has no end"),
        ("a.mp4", r"is cut short: its index \(moov\) is missing"),
        ("a.m4a", r"is cut short: its index \(moov\) is missing"),
        ("fast.mp4", r"is cut short: it declares 2\.500 s, but|is damaged or cut short \(Invalid"),
        ("a.mkv", r"is cut short: it declares 2\.5\d+ s, but|is damaged or cut short \("),
        ("a.webm", r"is cut short: it declares 2\.5\d+ s, but|is damaged or cut short \("),
        ("a.mp3", r"is cut short: it declares 2\.500 s, but|is damaged or cut short \("),
        ("a.aac", r"is damaged or cut short \(Invalid data"),
    ],
)
def test_a_file_cut_short_is_refused_quietly(media, capfd, name, message, fraction):
    short = cut(media / name, fraction, f"{fraction}-{name}")

    with pytest.raises(AudioError, match=f"{name} {message}.*; copy, download or export it again"):
        read_audio(short)

    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFF000])
def test_a_wav_from_a_pipe_has_no_length_and_is_read(media, tmp_path, size):
    path = with_data_size(Path(shutil.copy(media / "a.wav", tmp_path / "a.wav")), size)

    samples = read_audio(path)

    assert np.array_equal(samples, read_audio(media / "a.wav"))


def test_a_flac_from_a_pipe_has_no_length_and_is_read(media, tmp_path):
    whole = bytearray((media / "a.flac").read_bytes())
    length = int.from_bytes(whole[18:26], "big") >> 36 << 36  # the last 36 bits count samples
    whole[18:26] = length.to_bytes(8, "big")

    samples = read_audio(bytes(whole))

    assert np.array_equal(samples, read_audio(media / "a.flac"))


@pytest.fixture(scope="module")
def film(tmp_path_factory):
    """A Matroska film of 8 s whose sound lasts 2.5 s."""
    path = tmp_path_factory.mktemp("film") / "a.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width, video.height = 32, 16
        sound = container.add_stream("pcm_s16le", rate=SAMPLE_RATE, layout="mono")
        wave = (tones([TONE], SAMPLE_RATE).T * 32767).astype(np.int16)
        for begin in range(0, wave.shape[1], 1600):
            planes = np.ascontiguousarray(wave[:, begin : begin + 1600])
            frame = av.AudioFrame.from_ndarray(planes, format="s16", layout="mono")
            frame.sample_rate, frame.pts = SAMPLE_RATE, begin
            container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
        for _ in range(80):
            container.mux(video.encode(av.VideoFrame(32, 16, "yuv420p")))
        container.mux(video.encode(None))
    return path


@pytest.mark.parametrize("tag", [b"DURATION", b"DURATIOM"])
def test_sound_shorter_than_its_video_is_read(film, tag):
    whole = film.read_bytes().replace(b"DURATION", tag)  # without it the length is the video's

    samples = read_audio(whole)

    assert len(samples) == SECONDS * SAMPLE_RATE


def test_a_film_cut_short_is_refused(film):
    with pytest.raises(AudioError, match=r"it declares 2\.500 s, but .* s can be read; copy"):
        read_audio(cut(film, 0.4))


def test_an_ogg_file_without_its_last_page_is_refused(media):
    whole = (media / "vorbis.ogg").read_bytes()

    with pytest.raises(AudioError, match=r"its Ogg stream has no end; copy"):
        read_audio(whole[: whole.rindex(b"OggS")])


def test_a_tag_does_not_hide_that_an_mp3_is_cut_short(media):
    whole = (media / "a.mp3").read_bytes()
    tag = b"ID3\x04\x00\x00\x00\x00\x02\x2c" + bytes(300)  # 2 * 128 + 44

    with pytest.raises(AudioError, match=r"it declares 2\.500 s, but|damaged or cut short"):
        read_audio(tag + whole[: len(whole) // 2])


@pytest.mark.parametrize("clock", [b"c0:00:02.5000", b"00:00:99.5\xff00"])
def test_a_spoilt_length_of_matroska_does_not_matter(media, clock):
    whole = (media / "a.mkv").read_bytes()
    spoilt = whole.replace(b"00:00:02.5000", clock)
    assert spoilt != whole

    samples = read_audio(spoilt)

    assert np.array_equal(samples, read_audio(whole))


def test_a_nameless_temporary_file_is_read(media):
    with tempfile.TemporaryFile() as file:  # its name is a number
        file.write((media / "a.mp4").read_bytes())

        samples = read_audio(file)

    assert np.array_equal(samples, read_audio(media / "a.mp4"))


def test_a_tag_in_another_encoding_does_not_matter(media):
    tag = b"TAG" + "Zoë".encode("latin-1").ljust(125, b"\x00")

    samples = read_audio((media / "a.mp3").read_bytes() + tag)

    assert np.array_equal(samples, read_audio(media / "a.mp3"))


@pytest.mark.parametrize(("value", "seen"), [(np.nan, "nan"), (-np.inf, "-inf")])
def test_what_is_not_a_number_is_refused_with_its_place(tmp_path, value, seen):
    samples = tones([TONE], 8_000)
    samples[6_000] = value
    path = write_wav(tmp_path / "a.wav", samples, 8_000)

    with pytest.raises(AudioError, match=rf"holds {seen} at 0\.750 s, .*; mend or replace"):
        read_audio(path)


def test_an_impossible_rate_is_refused(media, tmp_path):
    whole = bytearray((media / "a.wav").read_bytes())
    whole[24:28] = (7).to_bytes(4, "little")

    with pytest.raises(AudioError, match=r"rate of 7 Hz, but 1000 to 768000 Hz .*; give the rate"):
        read_audio(bytes(whole))


def test_a_text_file_object_is_refused():
    with pytest.raises(AudioError, match=r"open as text, but bytes are needed; .* mode 'rb'"):
        read_audio(io.StringIO("words"))


@pytest.mark.parametrize(("thing", "kind"), [(np.zeros(5), "ndarray"), (None, "NoneType")])
def test_what_is_no_source_is_named(thing, kind):
    with pytest.raises(AudioError, match=f"is a {kind}, but a path, .* use mersa.audio.from_array"):
        read_audio(thing)


# Arrays


@pytest.mark.parametrize(
    ("dtype", "low", "middle", "high"),
    [
        (np.uint8, 0, 128, 192),
        (np.int16, -(2**15), 0, 2**14),
        (np.int32, -(2**31), 0, 2**30),
        (np.int64, -(2**63), 0, 2**62),
        (np.float16, -1.0, 0.0, 0.5),
        (np.float64, -1.0, 0.0, 0.5),
    ],
)
def test_integers_have_full_scale_one(dtype, low, middle, high):
    samples = from_array(np.array([low, middle, high], dtype=dtype), SAMPLE_RATE)

    assert samples.dtype == np.float32
    assert samples.tolist() == [-1.0, 0.0, 0.5]


def test_an_array_is_resampled_as_a_file_is(tmp_path):
    block = tones(TONES[:2], 44_100)
    path = write_wav(tmp_path / "a.wav", block, 44_100)

    assert np.array_equal(from_array(block, 44_100), read_audio(path))


def test_the_callers_array_is_not_shared():
    given = tones([TONE], SAMPLE_RATE)[:, 0]

    from_array(given, SAMPLE_RATE)[:] = 0

    assert given.any()


@pytest.mark.parametrize(
    ("samples", "rate", "message"),
    [
        (np.zeros((2, 160)), 16_000, r"shape \(2, 160\), which is 160 channels, .* transpose it"),
        (np.zeros((3, 4, 5)), 16_000, r"shape \(3, 4, 5\), but \(n,\) or .* one recording"),
        (np.float32(1), 16_000, r"shape \(\), but \(n,\) or .* one recording"),
        (np.zeros((0, 2)), 16_000, r"shape \(0, 2\), which is no samples; give at least one"),
        ([], 16_000, r"shape \(0,\), which is no samples; give at least one"),
        (np.zeros(9, dtype=complex), 16_000, r"holds complex128, .*; convert it"),
        (np.zeros(9, dtype=bool), 16_000, r"holds bool, .*; convert it"),
        (np.zeros(9), 0, r"rate of 0 Hz, but 1000 to 768000 Hz is needed; give the rate"),
        (np.zeros(9), -8_000, r"rate of -8000 Hz, but 1000 to 768000 Hz is needed; give"),
        (np.array([0, np.nan]), 16_000, r"the array holds nan at 0\.000 s, .*; mend or replace"),
        (np.array([0, 1e300]), 16_000, r"the array holds inf at 0\.000 s, .*; mend or replace"),
    ],
)
def test_an_array_that_is_no_recording_is_refused(samples, rate, message):
    with pytest.raises(AudioError, match=message):
        from_array(samples, rate)


# Files


def test_content_hash_is_that_of_the_bytes(media):
    path = media / "a.wav"

    assert content_hash(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_content_hash_names_a_missing_file(tmp_path):
    with pytest.raises(AudioError, match=r"gone\.wav does not exist; correct the path"):
        content_hash(tmp_path / "gone.wav")


@pytest.mark.filterwarnings("error::ResourceWarning")
@pytest.mark.parametrize("name", ["a.wav", "a.mp4", "cut-a.mp4", "cut-a.flac"])
def test_files_are_closed(media, name):
    if name.startswith("cut-"):
        cut(media / name.removeprefix("cut-"), 0.5)
    handles = Path("/proc/self/fd")
    if not handles.is_dir():
        pytest.skip("open files are listed in /proc, which is absent here")
    before = len(list(handles.iterdir()))

    try:
        read_audio(media / name)
    except AudioError:
        assert name.startswith("cut-")

    assert len(list(handles.iterdir())) == before


@pytest.mark.corpus
def test_real_recordings_are_read_whole():
    folder = Path(__file__).parents[2] / "shared" / "data" / "emodb" / "flac"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    for path in sorted(folder.glob("*.flac"))[::50]:
        assert len(read_audio(path)) == sf.info(path).frames


def test_samples_that_were_never_scaled_are_refused():
    samples = np.array([0.0, 12_000.0, -3.0], dtype=np.float32)

    with pytest.raises(AudioError, match=r"samples up to 12000, .* full scale 1; divide it by"):
        from_array(samples, 16_000)
