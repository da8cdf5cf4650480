import csv
import os
from collections import Counter
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mersa.corpora import ravdess
from mersa.emotions import to_word
from mersa.errors import CorpusError

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "ravdess"


def names(channel="01", emotions=range(1, 9)):
    """The published names: neutral has no strong version."""
    for emotion, intensity, statement, take, actor in product(
        emotions, (1, 2), (1, 2), (1, 2), range(1, 25)
    ):
        if (emotion, intensity) != (1, 2):
            numbers = (emotion, intensity, statement, take, actor)
            rest = "-".join(f"{number:02d}" for number in numbers)
            yield f"Actor_{actor:02d}/03-{channel}-{rest}.wav"


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "one.wav"
    soundfile.write(path, np.zeros(1_200, dtype=np.int16), 48_000)
    return path


@pytest.fixture(scope="module")
def full(tmp_path_factory, sound):
    """The whole release; shared, to be read and not written."""
    return fill(tmp_path_factory.mktemp("full"), sound, names())


def fill(root, sound, files):
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        os.link(sound, root / name)
    return root


def test_the_whole_release_has_the_published_counts(full, caplog):
    manifest = ravdess.read(full, strict=True)

    assert len(manifest) == 1_440
    assert Counter(one.emotion for one in manifest) == ravdess.COUNTS
    assert set(Counter(one.speaker for one in manifest).values()) == {60}
    assert Counter(one.column("gender") for one in manifest) == {"male": 720, "female": 720}
    assert Counter(one.column("intensity") for one in manifest) == {"normal": 768, "strong": 672}
    assert caplog.text == ""


def test_a_name_says_everything(full):
    one = next(one for one in ravdess.read(full) if one.id == "03-01-06-02-01-02-12")

    assert one.audio == "Actor_12/03-01-06-02-01-02-12.wav"
    assert (one.emotion, one.text) == ("fear", "Kids are talking by the door")
    assert (one.speaker, one.language, one.duration_s) == ("ravdess_12", "en", 0.025)
    assert one.extras == {"gender": "female", "script": "1", "intensity": "strong", "take": "2"}


def test_the_other_statement_intensity_and_gender(full):
    one = next(one for one in ravdess.read(full) if one.id == "03-01-02-01-02-01-07")

    assert (one.emotion, one.text) == ("calm", "Dogs are sitting by the door")
    assert one.extras == {"gender": "male", "script": "2", "intensity": "normal", "take": "1"}


@pytest.mark.parametrize("inner", ["Audio_Speech_Actors_01-24", "flat"])
def test_the_root_may_be_one_above_or_flat(tmp_path, sound, inner):
    files = [name.split("/")[1] if inner == "flat" else f"{inner}/{name}" for name in names()]

    assert len(ravdess.read(fill(tmp_path, sound, files), strict=True)) == 1_440


def test_songs_and_videos_are_counted_and_not_read(tmp_path, sound, caplog):
    speech = [f"Audio_Speech_Actors_01-24/{name}" for name in names()]
    songs = [f"Audio_Song_Actors_01-24/{name}" for name in names("02", range(1, 7))]
    songs = [name for name in songs if "Actor_18" not in name]
    fill(tmp_path, sound, [*speech, *songs])
    for modality in ("01", "02"):
        (tmp_path / f"{modality}-01-06-01-02-01-12.mp4").write_bytes(b"x")

    manifest = ravdess.read(tmp_path, strict=True)

    assert Counter(one.emotion for one in manifest) == ravdess.COUNTS
    assert "1,012 song files and 2 video files are not read" in caplog.text


def test_songs_alone_are_refused(tmp_path, sound):
    fill(tmp_path, sound, ["Actor_01/03-02-05-01-01-01-01.wav"])

    with pytest.raises(
        CorpusError, match=r"1 song file of RAVDESS, .*; name the folder that holds A"
    ):
        ravdess.read(tmp_path)


def test_the_second_copy_that_one_distribution_holds_is_not_read(tmp_path, sound, caplog):
    files = [*names(), *(f"audio_speech_actors_01-24/{name}" for name in names())]

    manifest = ravdess.read(fill(tmp_path, sound, files), strict=True)

    assert len(manifest) == 1_440
    assert {one.audio[:6] for one in manifest} == {"Actor_"}
    assert "holds recordings a second time (1,440 files" in caplog.text


def test_an_actor_too_few_is_named_by_the_counts(tmp_path, sound, caplog):
    files = [name for name in names() if "Actor_24" not in name]

    assert len(ravdess.read(fill(tmp_path, sound, files))) == 1_380
    assert "neutral 92 instead of 96, calm 184 instead of 192" in caplog.text
    assert "speakers 23 instead of 24" in caplog.text
    with pytest.raises(CorpusError, match="speakers 23 instead of 24; complete"):
        ravdess.read(tmp_path, strict=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("03-01-09-01-01-01-01", "the emotion '09', .* 07, 08; rename"),
        ("03-01-01-03-01-01-01", "the intensity '03', .* 01, 02; rename"),
        ("03-01-01-01-03-01-01", "the statement '03', .* 01, 02; rename"),
        ("03-01-01-01-01-01-25", "the actor '25', .* 23, 24; rename"),
    ],
)
def test_unknown_codes_are_errors(tmp_path, sound, name, message):
    fill(tmp_path, sound, [f"{name}.wav"])

    with pytest.raises(CorpusError, match=message):
        ravdess.read(tmp_path)


def test_an_archive_left_packed_is_named(tmp_path):
    (tmp_path / "Audio_Speech_Actors_01-24.zip").write_bytes(b"x")

    with pytest.raises(CorpusError, match=r"still packed \(Audio_Speech_Actors_01-24\.zip\); unpa"):
        ravdess.read(tmp_path)


def test_an_empty_folder_says_what_is_looked_for(tmp_path):
    with pytest.raises(CorpusError, match=r"as 03-01-06-01-02-01-12\.wav; name the folder that ho"):
        ravdess.read(tmp_path)


@pytest.mark.corpus
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real recordings at {DATA}")
def test_the_real_recordings_agree_with_their_table(caplog):
    with (DATA / "manifest.csv").open(encoding="utf-8", newline="") as file:
        table = {row["path"]: row for row in csv.DictReader(file)}

    manifest = ravdess.read(DATA)

    seen = {
        one.audio: (
            *(one.speaker, one.text, one.emotion, one.language),
            *(one.extras[name] for name in ("gender", "script", "intensity", "take")),
        )
        for one in manifest
    }
    assert seen == {
        path: (
            *(row["speaker"], row["text"], to_word(row["emotion"]), row["language"]),
            *(row[name] for name in ("gender", "text_id", "intensity", "take")),
        )
        for path, row in table.items()
    }
    lengths = [one.duration_s for one in manifest]
    told = [float(table[one.audio]["duration_s"]) for one in manifest]
    assert lengths == pytest.approx(told, abs=1e-4)
    assert "calm 160 instead of 192" in caplog.text
    assert "speakers 20 instead of 24" in caplog.text
