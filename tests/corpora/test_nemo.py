import csv
import os
from collections import Counter
from itertools import islice, product
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mersa.corpora import nemo
from mersa.emotions import to_word
from mersa.errors import CorpusError

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "nemo"
EMOTIONS = {
    "anger": 749,
    "fear": 736,
    "happiness": 749,
    "neutral": 809,
    "sadness": 769,
    "surprised": 669,
}
SPEAKERS = ("EB0", "IC0", "KD0", "KS0", "MK0", "MP0", "SM0", "TP0", "WR0")


def names():
    """As many names of each emotion as were published; which ones does not matter here."""
    for emotion, count in EMOTIONS.items():
        for sentence, speaker in islice(product(range(1, 91), SPEAKERS), count):
            yield f"{speaker}_{emotion}_{sentence}.wav"


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A release of the published size; shared, to be read and not written."""
    root = fill(tmp_path_factory.mktemp("full"), (f"samples/{name}" for name in names()))
    table(root, names())
    return root


def fill(root, files):
    sound = root / ".sound"
    soundfile.write(sound, np.zeros(600, dtype=np.int16), 24_000, format="WAV")
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        os.link(sound, root / name)
    return root


def table(root, files):
    """A table as the release's, down to the blanks before a speaker."""
    lines = ["file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage"]
    for name in files:
        speaker, emotion, number = name.removesuffix(".wav").split("_")
        text = f"„Zdanie” {number}.\tzdanie {number}"
        lines.append(f"{name}\t{emotion}\t{text}\t        {speaker}\tfemale\t20")
    (root / "data.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_the_whole_release_has_the_published_counts(full, caplog):
    manifest = nemo.read(full, strict=True)

    assert len(manifest) == 4_481
    assert Counter(one.emotion for one in manifest) == {
        "anger": 749,
        "fear": 736,
        "happy": 749,
        "neutral": 809,
        "sad": 769,
        "surprise": 669,
    }
    assert {one.speaker for one in manifest} == {f"nemo_{speaker}" for speaker in SPEAKERS}
    assert caplog.text == ""


def test_name_and_table_say_everything(full):
    one = next(one for one in nemo.read(full) if one.id == "MP0_surprised_14")

    assert one.audio == "samples/MP0_surprised_14.wav"
    assert (one.emotion, one.text) == ("surprise", "„Zdanie” 14.")
    assert (one.speaker, one.language, one.duration_s) == ("nemo_MP0", "pl", 0.025)
    assert one.extras == {"gender": "male", "age": "24", "script": "14"}


def test_four_women_and_five_men_speak(full):
    genders = {(one.speaker, one.column("gender")) for one in nemo.read(full)}

    assert Counter(gender for _, gender in genders) == {"female": 4, "male": 5}


def test_the_folder_samples_may_be_named_itself(full):
    manifest = nemo.read(full / "samples", strict=True)

    one = manifest.utterances[0]
    assert (one.audio, one.text) == ("EB0_anger_1.wav", "„Zdanie” 1.")


def test_a_recording_without_a_row_has_the_text_of_its_number(tmp_path):
    fill(tmp_path, ["EB0_anger_7.wav", "WR0_fear_7.wav"])
    table(tmp_path, ["EB0_anger_7.wav"])

    assert [one.text for one in nemo.read(tmp_path)] == ["„Zdanie” 7."] * 2


def test_a_row_of_its_own_comes_before_the_number(tmp_path):
    fill(tmp_path, ["EB0_anger_7.wav", "WR0_fear_7.wav"])
    lines = ("file_id\traw_text", "EB0_anger_7.wav\tInne.", "WR0_fear_7.wav\tZdanie.")
    (tmp_path / "data.tsv").write_text("\n".join(lines), encoding="utf-8")

    assert [one.text for one in nemo.read(tmp_path)] == ["Inne.", "Zdanie."]


def test_without_a_table_texts_are_empty_and_told(tmp_path, caplog):
    fill(tmp_path, ["EB0_anger_7.wav", "WR0_fear_7.wav"])

    assert [one.text for one in nemo.read(tmp_path)] == ["", ""]
    assert "no text for 2 of 2 utterances, as EB0_anger_7" in caplog.text
    assert "put the data.tsv of https://github.com/amu-cai/nEMO beside" in caplog.text


def test_without_a_table_a_whole_release_is_refused_if_strict(tmp_path):
    fill(tmp_path, names())

    with pytest.raises(CorpusError, match=r"no text for 4,481 of 4,481 .*; put the data\.tsv of"):
        nemo.read(tmp_path, strict=True)


def test_a_table_that_lacks_a_column_is_refused(tmp_path):
    fill(tmp_path, ["EB0_anger_7.wav"])
    (tmp_path / "data.tsv").write_text("file_id\ttext\nEB0_anger_7.wav\tx\n", encoding="utf-8")

    with pytest.raises(CorpusError, match=r"data\.tsv has no column 'raw_text' \(found: file_id, "):
        nemo.read(tmp_path)


def test_a_release_too_small_is_told(tmp_path, caplog):
    fill(tmp_path, [name for name in names() if not name.startswith("WR0")])

    nemo.read(tmp_path)

    assert "speakers 8 instead of 9" in caplog.text
    with pytest.raises(CorpusError, match=r"nEMO at .* speakers 8 instead of 9; complete"):
        nemo.read(tmp_path, strict=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("EB0_rage_1", "the emotion 'rage', .* anger, fear, .*; rename"),
        ("ZZ0_anger_1", "the speaker 'ZZ0', .* EB0, IC0, .*; rename"),
    ],
)
def test_unknown_codes_are_errors(tmp_path, name, message):
    fill(tmp_path, [f"{name}.wav"])

    with pytest.raises(CorpusError, match=message):
        nemo.read(tmp_path)


def test_the_parquet_files_of_hugging_face_are_refused(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train-00000-of-00002.parquet").write_bytes(b"x")

    with pytest.raises(CorpusError, match=r"as EB0_anger_1\.wav; name a clone of https.*Parquet"):
        nemo.read(tmp_path)


def test_an_archive_left_packed_is_named(tmp_path):
    (tmp_path / "nEMO-main.zip").write_bytes(b"x")

    with pytest.raises(CorpusError, match=r"nEMO at .* still packed \(nEMO-main\.zip\); unpack"):
        nemo.read(tmp_path)


def test_a_missing_folder_says_what_to_name(tmp_path):
    with pytest.raises(CorpusError, match="nowhere does not exist; name a clone of"):
        nemo.read(tmp_path / "nowhere")


def real_rows():
    with (DATA / "manifest.csv").open(encoding="utf-8", newline="") as file:
        return {row["path"]: row for row in csv.DictReader(file)}


@pytest.mark.corpus
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real recordings at {DATA}")
def test_the_real_recordings_agree_with_their_table(caplog):
    rows = real_rows()

    manifest = nemo.read(DATA)

    seen = {
        one.audio: (
            *(one.speaker, one.emotion, one.language),
            *(one.extras["gender"], one.extras["script"]),
        )
        for one in manifest
    }
    assert seen == {
        path: (
            *(row["speaker"], to_word(row["emotion"]), row["language"]),
            *(row["gender"], row["text_id"]),
        )
        for path, row in rows.items()
    }
    lengths = [one.duration_s for one in manifest]
    told = [float(rows[one.audio]["duration_s"]) for one in manifest]
    assert lengths == pytest.approx(told, abs=1e-3)
    assert "anger 243 instead of 749" in caplog.text
    assert "speakers 6 instead of 9" in caplog.text
    assert "no text for 1,446 of 1,446" in caplog.text


@pytest.mark.corpus
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real recordings at {DATA}")
def test_the_rows_of_one_speaker_give_the_texts_of_all(tmp_path):
    rows = real_rows()
    (tmp_path / "samples").symlink_to(DATA / "flac")
    lines = ["file_id\traw_text"]
    lines += [
        f"{row['orig_name']}\t{row['text']}"
        for row in rows.values()
        if row["speaker"] == "nemo_KD0"
    ]
    (tmp_path / "data.tsv").write_text("\n".join(lines), encoding="utf-8")

    texts = {one.id: one.text for one in nemo.read(tmp_path)}

    assert texts == {Path(path).stem: row["text"] for path, row in rows.items()}
