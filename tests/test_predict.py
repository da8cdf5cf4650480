"""`mersa predict` on folders, patterns, manifests, long recordings and words."""

import csv
import io
import json
import os

import numpy as np
import pytest
import soundfile

from mersa.audio import SAMPLE_RATE, read_audio
from mersa.recognize.recognizer import Recognizer

QUIET = ("--device", "cpu", "--quiet")


@pytest.fixture
def folder(toy_corpus, tmp_path):
    """Two recordings and a note, one of them in a folder below."""
    clips = sorted((toy_corpus / "audio").rglob("*.ogg"))[:2]
    (tmp_path / "in" / "more").mkdir(parents=True)
    (tmp_path / "in" / "b.ogg").write_bytes(clips[0].read_bytes())
    (tmp_path / "in" / "more" / "a.ogg").write_bytes(clips[1].read_bytes())
    (tmp_path / "in" / "notes.txt").write_text("no recording")
    return tmp_path / "in"


@pytest.fixture
def long(toy_corpus, tmp_path):
    """Half a minute of speech with pauses."""
    gap = np.zeros(SAMPLE_RATE, dtype=np.float32)
    clips = sorted((toy_corpus / "audio").rglob("*.ogg"))[:15]
    samples = np.concatenate([part for clip in clips for part in (read_audio(clip), gap)])
    soundfile.write(tmp_path / "long.wav", samples, SAMPLE_RATE)
    return tmp_path / "long.wav"


def test_a_folder_and_a_pattern_stand_for_the_recordings_in_them(folder, small_run, mersa):
    by_folder = mersa("predict", small_run, folder, *QUIET)
    by_pattern = mersa("predict", small_run, folder / "**" / "*.ogg", *QUIET)

    names = [json.loads(line)["audio"] for line in by_folder.out.splitlines()]
    assert names == [str(folder / "b.ogg"), str(folder / "more" / "a.ogg")]
    assert by_pattern.out == by_folder.out
    assert (by_folder.code, by_folder.err) == (0, "")


def test_a_manifest_stands_for_its_rows_with_their_words(small_corpus, small_run, mersa, tmp_path):
    lines = small_corpus.read_text(encoding="utf-8").splitlines()
    few = small_corpus.with_name("few.csv")
    few.write_text("\n".join(lines[:4]) + "\n", encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(few.read_text(encoding="utf-8"))))
    recognizer = Recognizer.from_pretrained(small_run, device="cpu")

    said = mersa("predict", small_run, few, *QUIET)
    few.unlink()

    answers = [json.loads(line) for line in said.out.splitlines()]
    assert {one["audio"] for one in answers} == {row["id"] for row in rows}
    row = next(row for row in rows if row["id"] == answers[0]["audio"])
    expected = recognizer.predict(small_corpus.parent / row["audio"], row["text"])
    assert answers[0]["scores"] == expected.scores


def test_a_half_done_folder_is_finished_and_what_is_there_is_left(
    folder, small_run, mersa, tmp_path
):
    out = tmp_path / "out"
    (folder / "c.ogg").write_bytes(b"no sound")

    first = mersa("predict", small_run, folder, "--out", out, *QUIET)
    place = out / "b.ogg.json"
    os.utime(place, (2e9, 2e9))
    (folder / "c.ogg").write_bytes((folder / "b.ogg").read_bytes())
    second = mersa("predict", small_run, folder, "--out", out, "--device", "cpu")
    third = mersa("predict", small_run, folder, "--out", out, *QUIET)

    assert (first.code, second.code, third.code) == (1, 0, 0)
    assert first.err.splitlines()[-1] == f"failed: 1 of 3: {folder / 'c.ogg'}"
    assert "2 of 3 were judged before; --again judges anew" in second.err
    assert place.stat().st_mtime == 2e9
    found = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.json"))
    assert found == [".predict.json", "b.ogg.json", "c.ogg.json", "more/a.ogg.json"]
    assert json.loads(place.read_text())["audio"] == str(folder / "b.ogg")


def test_a_recording_that_changed_is_judged_again(folder, small_run, mersa, tmp_path):
    out = tmp_path / "out"
    mersa("predict", small_run, folder, "--out", out, *QUIET)
    before = (out / "b.ogg.json").read_text()
    (folder / "b.ogg").write_bytes((folder / "more" / "a.ogg").read_bytes())
    os.utime(folder / "b.ogg", (2e9, 2e9))

    mersa("predict", small_run, folder, "--out", out, *QUIET)

    assert (out / "b.ogg.json").read_text() != before


def test_answers_made_otherwise_are_not_mixed(folder, small_run, mersa, tmp_path):
    out = tmp_path / "out"
    mersa("predict", small_run, folder, "--out", out, *QUIET)

    said = mersa("predict", small_run, folder, "--out", out, "--segments", "windows", *QUIET)
    anew = mersa("predict", small_run, folder, "--out", out, "--segments", "windows", "--again")

    assert said.code == 2
    assert "holds answers that were made with another segments; name another folder, or" in said.err
    assert anew.code == 0
    assert json.loads((out / "b.ogg.json").read_text())["segmentation"] == "windows"


def test_two_answers_never_go_to_one_file(folder, small_run, mersa, tmp_path):
    (folder / "a.ogg").write_bytes((folder / "b.ogg").read_bytes())
    names = (folder / "a.ogg", folder / "more" / "a.ogg")

    said = mersa("predict", small_run, *names, "--out", tmp_path / "out", *QUIET)

    assert said.code == 2
    assert "would have their answers in one file" in said.err


def test_one_file_can_hold_all_answers_in_the_format_of_its_end(folder, small_run, mersa, tmp_path):
    out = tmp_path / "all.csv"

    said = mersa("predict", small_run, folder, "--out", out, *QUIET)

    assert (said.code, said.out) == (0, "")
    rows = list(csv.DictReader(io.StringIO(out.read_text(encoding="utf-8"))))
    assert [row["audio"] for row in rows] == [str(folder / "b.ogg"), str(folder / "more" / "a.ogg")]


def test_answers_never_take_the_place_of_what_is_read_or_of_other_files(
    folder, small_run, mersa, tmp_path
):
    clip, transcript = folder / "b.ogg", folder / "b.ogg.srt"
    transcript.write_text("1\n00:00:00,000 --> 00:00:01,000\nso happy\n")
    (tmp_path / "other.csv").write_text("mine")
    before = {path: path.read_bytes() for path in (clip, transcript, tmp_path / "other.csv")}

    over_clip = mersa("predict", small_run, folder, "--out", clip, "--again", *QUIET)
    over_other = mersa("predict", small_run, clip, "--out", tmp_path / "other.csv", *QUIET)
    over_words = mersa("predict", small_run, clip, "--format", "srt", "--out", folder, *QUIET)

    assert [one.code for one in (over_clip, over_other, over_words)] == [2, 2, 2]
    assert "is read here, so it cannot take the answers; name another" in over_clip.err
    assert "other.csv is there already; name another --out, or replace it" in over_other.err
    assert "b.ogg.srt is there already, and mersa predict did not write it" in over_words.err
    assert {path: path.read_bytes() for path in before} == before
    assert not (folder / ".predict.json").exists()


@pytest.mark.parametrize(
    ("form", "suffix"), [("srt", ".srt"), ("vtt", ".vtt"), ("audacity", ".txt")]
)
def test_a_long_recording_becomes_a_file_of_times(form, suffix, long, small_run, mersa, tmp_path):
    out = tmp_path / "out"

    said = mersa("predict", small_run, long, "--format", form, "--out", out, *QUIET)

    assert said.code == 0
    content = (out / f"long.wav{suffix}").read_text()
    count = content.count("\t") / 2 if form == "audacity" else content.count(" --> ")
    assert count > 5


def test_hugging_faces_list_has_the_likeliest_first(long, small_run, mersa):
    said = mersa("predict", small_run, long, "--format", "hf", *QUIET)

    scores = json.loads(said.out)
    assert {one["label"] for one in scores} == {"anger", "happy", "sad", "neutral"}
    assert [one["score"] for one in scores] == sorted((o["score"] for o in scores), reverse=True)


def test_words_beside_recordings_are_found_by_name(folder, small_run, mersa, tmp_path):
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "b.txt").write_text("I told you")

    said = mersa("predict", small_run, folder, "--words", tmp_path / "words", "--device", "cpu")

    first, second = map(json.loads, said.out.splitlines())
    assert (first["words"], first["segments"][0]["text"]) == ("b.txt", "I told you")
    assert (second["words"], second["modalities"]) == ("none", ["audio"])
    assert "1 of 2 recordings: no words were known, so the sound alone was judged" in said.err


def test_settings_reach_the_segments(long, small_run, mersa):
    few = mersa("predict", small_run, long, "--set", "speech.min_silence_s=30", *QUIET)
    many = mersa("predict", small_run, long, *QUIET)

    counts = [len(json.loads(said.out)["segments"]) for said in (few, many)]
    assert counts[0] <= 4 < 8 < counts[1]


def test_times_from_a_file_are_judged(long, small_run, mersa, tmp_path):
    (tmp_path / "t.csv").write_text("start,end,speaker\n1,2,ann\n3,4.5,bob\n")

    said = mersa("predict", small_run, long, "--segments", tmp_path / "t.csv", *QUIET)

    answer = json.loads(said.out)
    assert answer["segmentation"] == "turns"
    assert [(o["start_s"], o["end_s"], o["speaker"]) for o in answer["segments"]] == [
        (1.0, 2.0, "ann"),
        (3.0, 4.5, "bob"),
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("LONG", "--segments", "words"), "segments by words need words with times; give .srt"),
        (("LONG", "--segments", "pauses"), "segments 'pauses' are not known; choose one of auto"),
        (("LONG", "--segments", "no.csv"), "no.csv does not exist; name a file of times"),
        (("LONG", "--channels"), "has one channel, but one speaker a channel was asked for"),
        (
            ("LONG", "--set", "speech.pads=1"),
            "'speech.pads' does not exist; the nearest is 'speech",
        ),
        (("LONG", "--language", "en"), "--language goes with --transcribe, which is not given"),
        (("LONG", "--text", "a", "--words", "b.txt"), "--text and --words are both given"),
        (("LONG", "--words", "b.txt"), "b.txt does not exist; name a file of words or a folder"),
        (("EMPTY",), "holds no recordings (files named as .3gp"),
        (("EMPTY/*.wav",), "matches no file; correct it"),
        (("LONG", "--out", "LONG/x"), "is or lies below a file, but answers go to a folder"),
    ],
)
def test_mistakes_are_told_in_one_sentence(
    words, message, long, small_run, mersa, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    names = [w.replace("LONG", str(long)).replace("EMPTY", str(tmp_path / "empty")) for w in words]

    said = mersa("predict", small_run, *names, *QUIET)

    assert (said.code, said.out) == (2, "")
    assert message in said.err
    assert len(said.err.splitlines()) == 1
