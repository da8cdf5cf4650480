import os
from collections import Counter
from itertools import product

import numpy as np
import pytest
import soundfile

from mersa.corpora import cremad
from mersa.errors import CorpusError

ACTORS = range(1001, 1092)
SENTENCES = ("TIE", "IOM", "IWW", "TAI", "MTI", "IWL", "ITH", "DFA", "ITS", "TSI", "WSI")
EMOTIONS = ("ANG", "DIS", "FEA", "HAP", "SAD")
# The release lacks eighteen of the recordings that its plan asks for; which does not matter here.
LACKING = {f"{actor}_IOM_{emotion}_XX" for actor, emotion in product((1001, 1002, 1003), EMOTIONS)}
LACKING |= {f"{actor}_IOM_NEU_XX" for actor in (1001, 1002, 1003, 1004, 1005)}


def names():
    """The plan: eleven sentences at one level, IEO at three, but neutral at one."""
    plan = [*product(ACTORS, SENTENCES, (*EMOTIONS, "NEU"), ["XX"])]
    plan += [*product(ACTORS, ["IEO"], EMOTIONS, ("LO", "MD", "HI"))]
    plan += [*product(ACTORS, ["IEO"], ["NEU"], ["XX"])]
    stems = ("_".join(map(str, parts)) for parts in plan)
    return [f"AudioWAV/{stem}.wav" for stem in stems if stem not in LACKING]


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """The release, without videos; shared, to be read and not written."""
    return table(fill(tmp_path_factory.mktemp("full"), names()))


def fill(root, files):
    sound = root / ".sound"
    soundfile.write(sound, np.zeros(400, dtype=np.int16), 16_000, format="WAV")
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        os.link(sound, root / name)
    return root


def table(root, actors=ACTORS):
    lines = ['"ActorID","Age","Sex","Race","Ethnicity"']
    for actor in actors:
        sex = "Male" if actor % 2 else "Female"
        lines.append(f'{actor},{actor - 980},"{sex}","Caucasian","Not Hispanic"')
    (root / "VideoDemographics.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root


def test_the_whole_release_has_the_published_counts(full, caplog):
    manifest = cremad.read(full, strict=True)

    assert len(names()) == 7_442
    assert Counter(one.emotion for one in manifest) == {
        "anger": 1_271,
        "disgust": 1_271,
        "fear": 1_271,
        "happy": 1_271,
        "neutral": 1_087,
        "sad": 1_270,
    }
    assert len({one.speaker for one in manifest}) == 91
    assert len({(one.column("script"), one.text) for one in manifest}) == 12
    assert [record.getMessage().split(": ")[1] for record in caplog.records] == [
        "AudioWAV/1076_MTI_SAD_XX.wav is kept out, for it holds digital silence in the release"
    ]


@pytest.mark.parametrize(
    ("name", "emotion", "text", "intensity"),
    [
        ("1001_DFA_ANG_XX", "anger", "Don't forget a jacket", ""),
        ("1001_IEO_FEA_LO", "fear", "It's eleven o'clock", "low"),
        ("1001_IEO_HAP_MD", "happy", "It's eleven o'clock", "medium"),
        ("1001_IEO_SAD_HI", "sad", "It's eleven o'clock", "high"),
    ],
)
def test_name_and_table_say_everything(tmp_path, name, emotion, text, intensity):
    table(fill(tmp_path, [f"AudioWAV/{name}.wav"]))

    one = cremad.read(tmp_path).utterances[0]

    assert (one.id, one.audio) == (name, f"AudioWAV/{name}.wav")
    assert (one.emotion, one.text) == (emotion, text)
    assert (one.speaker, one.language, one.duration_s) == ("cremad_1001", "en", 0.025)
    assert one.extras == {
        "gender": "male",
        "age": "21",
        "race": "Caucasian",
        "ethnicity": "Not Hispanic",
        "script": name[5:8],
        "intensity": intensity,
    }


def test_the_folder_audiowav_may_be_named_itself(full):
    manifest = cremad.read(full / "AudioWAV", strict=True)

    one = manifest.utterances[0]
    assert (one.audio, one.column("gender")) == ("1001_DFA_ANG_XX.wav", "male")


@pytest.mark.parametrize("level", ["X", "XX"])
def test_the_name_that_lost_a_letter_has_the_same_id(tmp_path, level):
    table(fill(tmp_path, [f"1040_ITH_SAD_{level}.wav"]))

    one = cremad.read(tmp_path).utterances[0]

    assert (one.id, one.audio) == ("1040_ITH_SAD_XX", f"1040_ITH_SAD_{level}.wav")


def test_both_spellings_of_one_name_are_one_recording(tmp_path, caplog):
    table(fill(tmp_path, ["1040_ITH_SAD_X.wav", "1040_ITH_SAD_XX.wav"]))

    assert len(cremad.read(tmp_path)) == 1
    assert "as 1040_ITH_SAD_XX.wav beside 1040_ITH_SAD_X.wav" in caplog.text


def test_without_the_table_genders_are_empty_and_told(tmp_path, caplog):
    fill(tmp_path, ["1001_DFA_ANG_XX.wav", "1002_DFA_ANG_XX.wav"])

    manifest = cremad.read(tmp_path)

    assert [one.extras["gender"] for one in manifest] == ["", ""]
    assert "no gender for 2 of 2 actors, as cremad_1001" in caplog.text
    assert "put the VideoDemographics.csv of the release beside AudioWAV" in caplog.text


def test_an_actor_that_the_table_does_not_list_is_told(tmp_path, caplog):
    table(fill(tmp_path, ["1001_DFA_ANG_XX.wav", "1002_DFA_ANG_XX.wav"]), [1001])

    assert [one.extras["gender"] for one in cremad.read(tmp_path)] == ["male", ""]
    assert "no gender for 1 of 2 actors, as cremad_1002" in caplog.text


def test_without_the_table_a_whole_release_is_refused_if_strict(tmp_path):
    fill(tmp_path, names())

    with pytest.raises(CorpusError, match=r"no gender for 91 of 91 actors, .*; put the Vid"):
        cremad.read(tmp_path, strict=True)


def test_a_table_that_lacks_a_column_is_refused(tmp_path):
    fill(tmp_path, ["1001_DFA_ANG_XX.wav"])
    (tmp_path / "VideoDemographics.csv").write_text("ActorID,Age\n1001,51\n", encoding="utf-8")

    with pytest.raises(CorpusError, match=r"no column 'Sex' \(found: ActorID, Age\); put the tab"):
        cremad.read(tmp_path)


def test_a_clone_without_the_sound_is_told(tmp_path):
    for actor in ACTORS:
        (tmp_path / f"{actor}_DFA_ANG_XX.wav").write_text("version https://git-lfs.github.com/s")

    with pytest.raises(CorpusError, match=r"91 of 91 recordings of CREMA-D .*with: git lfs pull"):
        cremad.read(tmp_path)


def test_a_release_too_small_is_told(tmp_path, caplog):
    table(fill(tmp_path, ["1001_DFA_ANG_XX.wav"]))

    cremad.read(tmp_path)

    assert "anger 1 instead of 1,271" in caplog.text
    with pytest.raises(CorpusError, match=r"neutral 0 instead of 1,087, .*91; complete"):
        cremad.read(tmp_path, strict=True)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("1001_DFA_JOY_XX", "the emotion 'JOY', .* ANG, DIS, FEA, HAP, NEU, SAD; rename"),
        ("1001_ABC_ANG_XX", "the sentence 'ABC', .* IEO, TIE, .*; rename"),
    ],
)
def test_unknown_codes_are_errors(tmp_path, name, message):
    fill(tmp_path, [f"{name}.wav"])

    with pytest.raises(CorpusError, match=message):
        cremad.read(tmp_path)


def test_an_unknown_level_is_another_name(tmp_path, caplog):
    table(fill(tmp_path, ["1001_DFA_ANG_XX.wav", "1001_DFA_ANG_LOX.wav"]))

    assert len(cremad.read(tmp_path)) == 1
    assert "not named as CREMA-D names them (1001_DFA_ANG_XX.wav)" in caplog.text


def test_an_archive_left_packed_is_named(tmp_path):
    (tmp_path / "CREMA-D-master.zip").write_bytes(b"x")

    with pytest.raises(CorpusError, match=r"still packed \(CREMA-D-master\.zip\); unpack it"):
        cremad.read(tmp_path)


def test_a_missing_folder_says_what_to_name(tmp_path):
    with pytest.raises(CorpusError, match="nowhere does not exist; name the folder that holds Au"):
        cremad.read(tmp_path / "nowhere")
