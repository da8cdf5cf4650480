import re
import shutil
from collections import Counter
from pathlib import Path

import pytest
import soundfile
from iemocap_release import COUNTS, Release, write_release, write_small_release

from mersa.corpora import iemocap
from mersa.emotions import LABEL_SETS
from mersa.errors import CorpusError
from mersa.manifest import Manifest, Utterance

FOLDERS = {
    "dialog/EmoEvaluation": "no labels",
    "dialog/transcriptions": "no words",
    "sentences/wav": "no recordings",
}
EVALUATION = """% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]

[6.2901 - 8.2357]\tSes03M_impro05b_F000\texc\t[2.5000, 3.0000, 4.5000]
C-E2:\tExcited;\t()
C-E4:\tExcited; Other;\t(playful; loud)
C-F1:\tNeutral;\t(curious)
A-E3:\tval 3; act 2; dom  2;\t()

[10.0000 - 11.5000]\tSes03M_impro05b_M000\txxx\t[1.0000, 5.0000, 3.6667]
C-E2:\tAnger;\t()
"""
TRANSCRIPT = """Ses03M_impro05b_M000 [000.0000-999.0000]: By name: not by time.
M: sorry
Ses03M_impro05b_FXX0 [008.3000-008.9000]: [BREATHING]
Ses03M_impro05b_F000 [006.2902-008.2356]:  Oh [LAUGHTER] no.
"""


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    """A whole emulated release; shared, to be read and not written."""
    return write_release(tmp_path_factory.mktemp("iemocap"))


@pytest.fixture(scope="module")
def manifest(release: Release) -> Manifest:
    return iemocap.read(release.folder)


@pytest.fixture
def small(tmp_path: Path) -> Release:
    """A small emulated release that a test may spoil."""
    return write_small_release(tmp_path)


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """A release of one dialogue of two utterances."""
    session = tmp_path / "Session3"
    put(session / "dialog/EmoEvaluation/Ses03M_impro05b.txt", EVALUATION)
    put(session / "dialog/transcriptions/Ses03M_impro05b.txt", TRANSCRIPT)
    put(session / "sentences/wav/Ses03M_impro05b/Ses03M_impro05b_F000.wav", "RIFF")
    put(session / "sentences/wav/Ses03M_impro05b/Ses03M_impro05b_M000.wav", "RIFF")
    return tmp_path


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def evaluation_of(folder: Path, dialogue: str) -> Path:
    return folder / f"Session{dialogue[4]}/dialog/EmoEvaluation/{dialogue}.txt"


def transcript_of(folder: Path, dialogue: str) -> Path:
    return folder / f"Session{dialogue[4]}/dialog/transcriptions/{dialogue}.txt"


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def moved(label: str, count: int, to: str, session: str = "") -> dict[str, dict[str, int]]:
    """The published counts after `count` of `label` in session 2 became another label's."""
    counts = {name: dict(row) for name, row in COUNTS.items()}
    counts["2"][label] -= count
    counts[session or "2"][to] += count
    return counts


# The whole release.


def test_a_whole_release_gives_every_published_utterance_without_a_warning(release, caplog):
    manifest = iemocap.read(release.folder)

    assert Counter(one.extras["label"] for one in manifest) == iemocap.COUNTS
    assert len(manifest) == 10_039
    assert len({one.dialogue for one in manifest}) == 151
    assert warnings(caplog) == []


LABEL_SET_COUNTS = {
    "iemocap-4": {"anger": 1103, "happy": 1636, "sad": 1084, "neutral": 1708},
    "iemocap-6": {
        **{"anger": 1103, "happy": 595, "sad": 1084},
        **{"neutral": 1708, "excited": 1041, "frustrated": 1849},
    },
}


@pytest.mark.parametrize(("name", "total"), [("iemocap-4", 5_531), ("iemocap-6", 7_380)])
def test_a_label_set_keeps_the_published_number_of_each_class(manifest, name, total):
    labels = LABEL_SETS[name]

    kept = Counter(index for one in manifest if (index := labels.index(one.emotion)) is not None)

    found = {labels.labels[index]: count for index, count in kept.items()}
    assert found == LABEL_SET_COUNTS[name]
    assert kept.total() == total


def test_sessions_hold_the_published_numbers_of_four_classes(manifest):
    labels = LABEL_SETS["iemocap-4"]

    kept = Counter(one.session for one in manifest if labels.index(one.emotion) is not None)

    assert kept == {"1": 1085, "2": 1023, "3": 1151, "4": 1031, "5": 1241}


def test_counts_of_sessions_add_up_to_those_of_the_corpus():
    total = Counter[str]()
    for counts in iemocap.SESSION_COUNTS.values():
        total.update(counts)

    assert total == {label: iemocap.COUNTS[label] for label in total}
    assert total.total() == 7_380
    assert sum(iemocap.COUNTS.values()) == 10_039


def test_every_utterance_comes_out_as_it_was_written(release, manifest):
    read = [
        (
            one.id,
            one.text,
            *(one.extras[name] for name in ("label", "origin_start_s", "origin_end_s")),
            *(one.extras[name] for name in ("valence", "activation", "dominance")),
        )
        for one in manifest
    ]

    assert read == [
        (turn.name, turn.text, turn.label, turn.start_s, turn.end_s, *turn.rating)
        for turn in release.turns
    ]


def test_every_utterance_has_its_own_recording(manifest):
    assert all(manifest.audio_path(one).is_file() for one in manifest)
    assert {Path(one.audio).stem for one in manifest} == {one.id for one in manifest}
    assert soundfile.info(manifest.audio_path(manifest.utterances[77])).samplerate == 16_000


def test_ten_speakers_are_told_by_the_letter_before_the_number(manifest):
    speakers = {(one.speaker, one.extras["gender"]) for one in manifest}

    assert speakers == {
        (f"Ses0{session}{letter}", gender)
        for session in range(1, 6)
        for letter, gender in [("F", "female"), ("M", "male")]
    }
    assert all(one.speaker[-1] == one.id[-4] for one in manifest)


def test_parts_of_a_play_and_of_a_scenario_share_its_script(manifest):
    scripts = {one.dialogue: (one.extras["style"], one.extras["script"]) for one in manifest}

    assert scripts["Ses05M_script01_1"] == ("scripted", "script01")
    assert scripts["Ses05M_script01_1b"] == ("scripted", "script01")
    assert scripts["Ses02F_script01_3"] == ("scripted", "script01")
    assert scripts["Ses03M_impro05a"] == ("improvised", "impro05")
    assert scripts["Ses03M_impro05b"] == ("improvised", "impro05")
    assert len(set(scripts.values())) == 3 + 8


def test_the_folder_that_contains_the_release_gives_the_same(release, manifest):
    assert iemocap.read(release.folder.parent) == manifest
    assert manifest.folder == release.folder


# One dialogue, by hand.


def test_an_utterance_has_all_its_columns(two):
    utterance = iemocap.read(two, strict=False).utterances[0]

    assert utterance == Utterance(
        id="Ses03M_impro05b_F000",
        audio="Session3/sentences/wav/Ses03M_impro05b/Ses03M_impro05b_F000.wav",
        text="Oh [LAUGHTER] no.",
        emotion="excited",
        speaker="Ses03F",
        dialogue="Ses03M_impro05b",
        session="3",
        language="en",
        duration_s=1.9456,
        extras={
            "label": "exc",
            "style": "improvised",
            "script": "impro05",
            "gender": "female",
            "votes": "E2:Excited;E4:Excited+Other (playful, loud);F1:Neutral (curious)",
            "valence": "2.5000",
            "activation": "3.0000",
            "dominance": "4.5000",
            "origin": "Ses03M_impro05b",
            "origin_start_s": "6.2901",
            "origin_end_s": "8.2357",
        },
    )


def test_votes_stay_with_their_own_utterance(two):
    utterance = iemocap.read(two, strict=False).utterances[1]

    assert utterance.extras["votes"] == "E2:Anger"


def test_words_go_by_name_and_keep_their_colons(two):
    utterance = iemocap.read(two, strict=False).utterances[1]

    assert utterance.text == "By name: not by time."


@pytest.mark.parametrize(
    ("label", "emotion"),
    [
        ("neu", "neutral"),
        ("hap", "happy"),
        ("sad", "sad"),
        ("ang", "anger"),
        ("exc", "excited"),
        ("fru", "frustrated"),
        ("sur", "surprise"),
        ("fea", "fear"),
        ("dis", "disgust"),
        ("oth", ""),
        ("xxx", ""),
    ],
)
def test_a_published_label_becomes_a_word_or_stays_unlabelled(two, label, emotion):
    change(evaluation_of(two, "Ses03M_impro05b"), "\texc\t", f"\t{label}\t")

    utterance = iemocap.read(two, strict=False).utterances[0]

    assert (utterance.emotion, utterance.extras["label"]) == (emotion, label)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("Ses03M_impro05b_F000 [1-2]: caf\u00e9".encode(), "caf\u00e9"),
        ("Ses03M_impro05b_F000 [1-2]: caf\u00e9".encode("latin-1"), "caf\u00e9"),
        (b"Ses03M_impro05b_F000 [1-2]: one\x85two\r\n", "one\u0085two"),
        (b"\xef\xbb\xbfSes03M_impro05b_F000 [1-2]: mark\n", "mark"),
        (b"Ses03M_impro05b_F000\t[1-2]:tab\rM: sorry\r", "tab"),
    ],
)
def test_transcripts_are_read_whatever_their_bytes(two, content, text):
    transcript_of(two, "Ses03M_impro05b").write_bytes(content)

    assert iemocap.read(two, strict=False).utterances[0].text == text


@pytest.mark.parametrize("end", ["\r\n", " \n", "\n "])
def test_ends_of_lines_and_blanks_around_them_change_nothing(two, end):
    before = iemocap.read(two, strict=False)
    path = evaluation_of(two, "Ses03M_impro05b")
    path.write_bytes(path.read_bytes().replace(b"\n", end.encode()))

    assert iemocap.read(two, strict=False) == before


@pytest.mark.parametrize("folder", ["Attribute", "Categorical", "Self-evaluation"])
def test_folders_below_the_evaluations_are_left_alone(two, folder):
    before = iemocap.read(two, strict=False)
    path = evaluation_of(two, "Ses03M_impro05b")
    put(path.parent / folder / path.name, EVALUATION.replace("exc", "???"))

    assert iemocap.read(two, strict=False) == before


@pytest.mark.parametrize("name", ["._Ses03M_impro05b.txt", "notes.txt", "Ses03M_impro05b.anvil"])
def test_files_of_other_names_are_left_alone(two, name):
    before = iemocap.read(two, strict=False)
    put(evaluation_of(two, "Ses03M_impro05b").with_name(name), EVALUATION.replace("exc", "???"))

    assert iemocap.read(two, strict=False) == before


# What is missing.


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    ("names", "found"), [([], "nothing"), (["IEMOCAP_full_release.tar.gz", "dialog"], None)]
)
def test_a_folder_without_sessions_is_refused_with_what_is_there(tmp_path, names, found, strict):
    for name in names:
        put(tmp_path / name, "")

    with pytest.raises(
        CorpusError,
        match=rf"holds none of Session1 to Session5 \(found: {found or ', '.join(names)}\); "
        "unpack IEMOCAP and name the folder IEMOCAP_full_release",
    ):
        iemocap.read(tmp_path, strict=strict)


def test_a_root_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(CorpusError, match="away does not exist; name the folder IEMOCAP_full"):
        iemocap.read(tmp_path / "away")


def test_missing_sessions_are_named_before_counts(small):
    for session in (2, 4):
        shutil.rmtree(small.folder / f"Session{session}")

    with pytest.raises(
        CorpusError,
        match=r"no utterances of 2 of its sessions, since Session2, Session4 are missing or "
        r"empty; unpack the whole archive again, or give --no-strict",
    ):
        iemocap.read(small.folder)


def test_missing_sessions_are_told_and_the_others_read_without_strict(release, tmp_path, caplog):
    for session in (1, 3, 4, 5):
        name = f"Session{session}"
        (tmp_path / name).symlink_to(release.folder / name, target_is_directory=True)

    manifest = iemocap.read(tmp_path, strict=False)

    assert len(manifest) == 10_039 - 1_811
    assert len(warnings(caplog)) == 1  # what the other sessions hold is whole
    assert (
        "Session2 is missing or empty; unpack the whole archive again; --strict makes this an error"
        in warnings(caplog)[0]
    )


@pytest.mark.parametrize("emptied", [True, False])
@pytest.mark.parametrize("folder", FOLDERS)
def test_a_missing_or_empty_folder_is_named_before_counts(small, folder, emptied):
    shutil.rmtree(small.folder / "Session4" / folder)
    if emptied:
        put(small.folder / "Session4" / folder / ".DS_Store", "")

    with pytest.raises(
        CorpusError,
        match=rf"{FOLDERS[folder]} of 1 of its sessions, since Session4/{folder} is missing or "
        "empty; unpack the whole archive again, or give --no-strict",
    ):
        iemocap.read(small.folder)


def test_without_recordings_words_alone_are_read(tmp_path, caplog):
    folder = write_release(tmp_path, recordings=False).folder

    manifest = iemocap.read(folder, strict=False)

    assert {one.audio for one in manifest} == {""}
    assert all(one.text and one.duration_s for one in manifest)
    assert len(warnings(caplog)) == 1
    assert "no recordings of 5 of its sessions, since Session1/sentences" in warnings(caplog)[0]


@pytest.mark.parametrize("spoilt", ["empty", "a folder"])
def test_what_holds_no_sound_is_no_recording(small, spoilt):
    path = sorted((small.folder / "Session2/sentences/wav").rglob("Ses*.wav"))[0]
    path.unlink()
    if spoilt == "empty":
        path.touch()
    else:
        path.mkdir()

    manifest = iemocap.read(small.folder, strict=False)

    assert [one.id for one in manifest if not one.audio] == [path.stem]


def test_without_transcripts_recordings_alone_are_read(small, caplog):
    shutil.rmtree(small.folder / "Session4/dialog/transcriptions")

    manifest = iemocap.read(small.folder, strict=False)

    assert {one.text == "" for one in manifest if one.session == "4"} == {True}
    assert all(one.text for one in manifest if one.session != "4")
    assert all(one.audio for one in manifest)
    assert not [message for message in warnings(caplog) if "no transcript" in message]


def test_without_labels_a_session_is_left_out(small, caplog):
    shutil.rmtree(small.folder / "Session4/dialog/EmoEvaluation")

    manifest = iemocap.read(small.folder, strict=False)

    assert {one.session for one in manifest} == {"1", "2", "3", "5"}
    assert "Session4/dialog/EmoEvaluation is missing" in warnings(caplog)[0]
    assert "Session4" not in warnings(caplog)[1]


def test_without_any_label_nothing_is_read(two):
    shutil.rmtree(two / "Session3/dialog/EmoEvaluation")

    with pytest.raises(CorpusError, match=r"holds no evaluated utterance, but .*; unpack the whol"):
        iemocap.read(two, strict=False)


def spoil(small: Release, what: str) -> None:
    if what == "evaluation":
        evaluation_of(small.folder, "Ses02F_script01_1").unlink()
        evaluation_of(small.folder, "Ses05M_impro01").unlink()
    elif what == "transcript":
        change(transcript_of(small.folder, "Ses04M_impro01"), "Ses04M_impro01_M000 [", "[")
        path = transcript_of(small.folder, "Ses02M_impro01")
        change(path, path.read_text(encoding="utf-8").splitlines()[1].partition("]:")[2], " ")
    else:
        wavs = small.folder / "Session2/sentences/wav"
        shutil.rmtree(wavs / "Ses02F_impro02")
        (wavs / "Ses02M_impro01/Ses02M_impro01_F000.wav").unlink()


MISSING = {
    "evaluation": "no evaluation of 2 dialogues that it transcribes (first: Ses02F_script01_1)",
    "transcript": "no transcript of 2 utterances (first: Ses02M_impro01_F000)",
    "recording": "no recording of 8 utterances (first: Ses02F_impro02_F000)",
}


@pytest.mark.parametrize("what", MISSING)
def test_what_an_utterance_lacks_is_an_error_with_number_and_first(small, what):
    spoil(small, what)

    with pytest.raises(
        CorpusError, match=re.escape(f"{MISSING[what]}; unpack the whole archive again, or give")
    ):
        iemocap.read(small.folder)


@pytest.mark.parametrize("what", MISSING)
def test_what_an_utterance_lacks_is_one_warning_without_strict(small, what, caplog):
    spoil(small, what)

    manifest = iemocap.read(small.folder, strict=False)

    told = [message for message in warnings(caplog) if MISSING[what] in message]
    assert len(told) == 1
    assert "--strict makes this an error" in told[0]
    assert sum(not one.text for one in manifest) == 2 * (what == "transcript")
    assert sum(not one.audio for one in manifest) == 8 * (what == "recording")


# Counts.


def test_labels_that_changed_places_are_named_by_class_and_session(tmp_path):
    folder = write_release(tmp_path, counts=moved("ang", 19, "sad")).folder

    with pytest.raises(
        CorpusError,
        match="differs from its release: ang 1,084 instead of 1,103, sad 1,103 instead of 1,084, "
        "ang of Session2 118 instead of 137, sad of Session2 216 instead of 197; complete or",
    ):
        iemocap.read(folder)


def test_one_utterance_in_the_wrong_session_is_seen_though_the_sums_agree(tmp_path):
    folder = write_release(tmp_path, counts=moved("exc", 1, "exc", session="4")).folder

    with pytest.raises(
        CorpusError,
        match="release: exc of Session2 209 instead of 210, exc of Session4 239 instead of 238;",
    ):
        iemocap.read(folder)


def test_a_lost_label_without_majority_is_seen(tmp_path, caplog):
    folder = write_release(tmp_path, counts=moved("xxx", 3, "oth")).folder

    manifest = iemocap.read(folder, strict=False)

    assert len(manifest) == 10_039
    assert len(warnings(caplog)) == 1
    assert "dis" not in warnings(caplog)[0].partition("release: ")[2]
    assert "oth 6 instead of 3, xxx 2,504 instead of 2,507; complete or" in warnings(caplog)[0]


def test_a_lost_dialogue_is_counted(small):
    with pytest.raises(
        CorpusError, match=r"dialogues of Session2 3 instead of 30, ang of .* and 22 more;"
    ):
        iemocap.read(small.folder)


# What is wrong in a file.


@pytest.mark.parametrize("strict", [True, False])
def test_an_unknown_label_is_refused_with_its_place(small, strict):
    path = evaluation_of(small.folder, "Ses01M_impro01")
    change(path, path.read_text().splitlines()[2].split("\t")[2] + "\t[", "hpa\t[")

    with pytest.raises(
        CorpusError,
        match=r"Ses01M_impro01\.txt: line 3 gives Ses01M_impro01_[FM]000 the label 'hpa', but "
        r"IEMOCAP has ang, hap, .*, oth, xxx; unpack the archive again",
    ):
        iemocap.read(small.folder, strict=strict)


@pytest.mark.parametrize(
    "line",
    [
        "[6.2901 - 8.2357]",
        "[6.2901 - 8.2357]\tSes03M_impro05b_F000\texc",
        "[6.2901 - 8.2357]\tSes03M_impro05b_F000\texc\t[2.5000, 3.0000]",
        "[6.2901 - 8.2357]\tSes03M_impro05b_F000\texc\t[2.5000, 3.0000, high]",
        "[6.2901 - ]\tSes03M_impro05b_F000\texc\t[2.5000, 3.0000, 4.5000]",
        "[8.2357 - 6.2901]\tSes03M_impro05b_F000\texc\t[2.5000, 3.0000, 4.5000]",
        "[6.2901 - 8.2357]\tSes03M_impro05b_FXX0\texc\t[2.5000, 3.0000, 4.5000]",
        "[6.2901 - 8.2357]\tSes02M_impro05b_F000\texc\t[2.5000, 3.0000, 4.5000]",
    ],
)
def test_a_malformed_evaluation_is_refused_with_its_place(two, line):
    change(evaluation_of(two, "Ses03M_impro05b"), EVALUATION.splitlines()[2], line)

    with pytest.raises(
        CorpusError,
        match=rf"Ses03M_impro05b\.txt: line 3 is {re.escape(repr(line))}, but an evaluation reads "
        r".* a name of session 3, .*; unpack the archive again",
    ):
        iemocap.read(two, strict=False)


def test_an_utterance_evaluated_twice_is_refused_with_both_places(two):
    path = evaluation_of(two, "Ses03M_impro05b")
    put(path.with_name("Ses03M_impro08a.txt"), EVALUATION.replace("_M000", "_M001"))

    with pytest.raises(
        CorpusError,
        match=r"impro08a\.txt: line 3 evaluates Ses03M_impro05b_F000 again after .*impro05b\.txt: "
        r"line 3, but an utterance stands once; unpack the archive again",
    ):
        iemocap.read(two, strict=False)


def test_different_transcripts_of_one_utterance_are_told(two, caplog):
    path = transcript_of(two, "Ses03M_impro05b")
    put(path, TRANSCRIPT + TRANSCRIPT.replace("Oh", "Ah"))

    manifest = iemocap.read(two, strict=False)

    assert manifest.utterances[0].text == "Oh [LAUGHTER] no."
    assert "two different transcripts of 1 utterances (first: Ses03M_impro05b_F000)" in caplog.text
