import csv
import os
from collections import Counter
from itertools import islice, product
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mersa.corpora import emodb
from mersa.emotions import to_word
from mersa.errors import CorpusError

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "emodb"
LETTERS = {"W": 127, "L": 81, "E": 46, "A": 69, "F": 71, "T": 62, "N": 79}
SPEAKERS = ("03", "08", "09", "10", "11", "12", "13", "14", "15", "16")
TEXTS = ("a01", "a02", "a04", "a05", "a07", "b01", "b02", "b03", "b09", "b10")


def names():
    """As many names of each letter as were published; which ones does not matter here."""
    for letter, count in LETTERS.items():
        for version, text, speaker in islice(product("ab", TEXTS, SPEAKERS), count):
            yield f"wav/{speaker}{text}{letter}{version}.wav"


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A release of the published size; shared, to be read and not written."""
    return fill(tmp_path_factory.mktemp("full"), names())


def fill(root, files):
    sound = root / ".sound"
    soundfile.write(sound, np.zeros(400, dtype=np.int16), 16_000, format="WAV")
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        os.link(sound, root / name)
    return root


def test_the_whole_release_has_the_published_counts(full, caplog):
    manifest = emodb.read(full, strict=True)

    assert len(manifest) == 535
    assert Counter(one.emotion for one in manifest) == {
        "anger": 127,
        "boredom": 81,
        "disgust": 46,
        "fear": 69,
        "happy": 71,
        "sad": 62,
        "neutral": 79,
    }
    assert {one.speaker for one in manifest} == {f"emodb_{speaker}" for speaker in SPEAKERS}
    assert caplog.text == ""


def test_a_name_says_everything(full):
    one = next(one for one in emodb.read(full) if one.id == "09a04Wa")

    assert one.audio == "wav/09a04Wa.wav"
    assert (one.emotion, one.text) == ("anger", "Heute abend könnte ich es ihm sagen.")
    assert (one.speaker, one.language, one.duration_s) == ("emodb_09", "de", 0.025)
    assert one.extras == {"gender": "female", "age": "21", "script": "a04", "take": "a"}


def test_five_women_and_five_men_speak_ten_texts(full):
    manifest = emodb.read(full)

    genders = {(one.speaker, one.column("gender")) for one in manifest}
    assert Counter(gender for _, gender in genders) == {"female": 5, "male": 5}
    assert len({(one.column("script"), one.text) for one in manifest}) == 10
    assert len({one.text for one in manifest}) == 10


def test_the_folder_wav_may_be_named_itself(full):
    manifest = emodb.read(full / "wav", strict=True)

    assert manifest.utterances[0].audio == "03a01Aa.wav"


def test_a_release_too_small_is_told(tmp_path, caplog):
    fill(tmp_path, [name for name in names() if not name.startswith("wav/16")])

    assert len(emodb.read(tmp_path)) < 535
    assert "speakers 9 instead of 10" in caplog.text
    with pytest.raises(CorpusError, match=r"EmoDB at .* speakers 9 instead of 10; complete"):
        emodb.read(tmp_path, strict=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("03a01Xa", "the emotion 'X', .* W, L, E, A, F, T, N; rename"),
        ("03a03Wa", "the text 'a03', .* a01, a02, a04, .*; rename"),
        ("04a01Wa", "the speaker '04', .* 03, 08, .*; rename"),
    ],
)
def test_unknown_codes_are_errors(tmp_path, name, message):
    fill(tmp_path, [f"{name}.wav"])

    with pytest.raises(CorpusError, match=message):
        emodb.read(tmp_path)


def test_other_names_are_told(tmp_path, caplog):
    fill(tmp_path, ["wav/03a01Wa.wav", "wav/03a01W.wav"])

    assert len(emodb.read(tmp_path)) == 1
    assert "not named as EmoDB names them (03a01Fa.wav) and not read: wav/03a01W.wav" in caplog.text


def test_an_archive_left_packed_is_named(tmp_path):
    (tmp_path / "download.zip").write_bytes(b"x")

    with pytest.raises(CorpusError, match=r"EmoDB at .* still packed \(download\.zip\); unpack"):
        emodb.read(tmp_path)


def test_an_empty_folder_says_what_is_looked_for(tmp_path):
    with pytest.raises(CorpusError, match=r"as 03a01Fa\.wav; name the folder that holds wav/"):
        emodb.read(tmp_path)


@pytest.mark.corpus
@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real recordings at {DATA}")
def test_the_real_recordings_agree_with_their_table(caplog):
    with (DATA / "manifest.csv").open(encoding="utf-8", newline="") as file:
        table = {row["path"]: row for row in csv.DictReader(file)}
    # The table ends the question b01 with a full stop; the release writes a question mark.
    question = {"b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?"}

    manifest = emodb.read(DATA)

    seen = {
        one.audio: (
            *(one.speaker, one.text, one.emotion, one.language),
            *(one.extras[name] for name in ("gender", "script", "take")),
        )
        for one in manifest
    }
    assert seen == {
        path: (
            *(row["speaker"], question.get(row["text_id"], row["text"])),
            *(to_word(row["emotion"]), row["language"]),
            *(row[name] for name in ("gender", "text_id", "take")),
        )
        for path, row in table.items()
    }
    lengths = [one.duration_s for one in manifest]
    told = [float(table[one.audio]["duration_s"]) for one in manifest]
    assert lengths == pytest.approx(told, abs=1e-4)
    assert "anger 100 instead of 127" in caplog.text
    assert "speakers 8 instead of 10" in caplog.text
