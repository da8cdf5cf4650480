"""The scripts of `examples/` do what their docstrings say."""

import csv
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from mersa import Recognizer
from mersa.audio import read_audio
from mersa.manifest import read_table

EXAMPLES = Path(__file__).parents[1] / "examples"
WORDS = "I am waiting for the house from my brother."


@pytest.fixture
def run_example(monkeypatch, capsys):
    """Run a script in this process, as `run_example("folder", run, ...)`; give what it said."""

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def recordings(toy_corpus):
    """Two toy recordings of different speakers, (n,) each at 16 kHz."""
    return [
        read_audio(toy_corpus / "audio" / f"{name}.ogg")
        for name in ("toy_s1_d01_u03", "toy_s4_d01_u03")
    ]


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.py")))
def test_every_example_is_short_and_says_what_it_does(name):
    lines = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8").splitlines()

    assert len(lines) < 50
    assert lines[0].startswith('"""')
    assert f"    python examples/{name}.py " in "\n".join(lines)


def test_one_recording_tells_its_emotion(run_example, small_run, toy_corpus):
    recording = toy_corpus / "audio" / "toy_s4_d01_u03.ogg"
    expected = Recognizer.from_pretrained(small_run).predict(recording, WORDS)

    said = run_example("one_recording", small_run, recording, "--text", WORDS)

    assert said.out.startswith(f"{expected.label} ({expected.confidence:.0%})")
    assert WORDS in said.out


def test_a_folder_becomes_a_table(run_example, small_run, recordings, tmp_path):
    for number, samples in enumerate(recordings):
        sf.write(tmp_path / f"{number}.wav", samples, 16_000)
    (tmp_path / "bad.wav").write_text("nothing", encoding="utf-8")

    said = run_example("folder", small_run, tmp_path, tmp_path / "answers.csv")

    rows = read_table(tmp_path / "answers.csv")
    assert [Path(row["audio"]).name for row in rows] == ["0.wav", "1.wav"]
    assert "bad.wav" in said.err
    assert "2 of 3 recordings judged" in said.out


def test_a_podcast_becomes_subtitles(run_example, small_run, recordings, tmp_path):
    pause = np.zeros(32_000, np.float32)
    sf.write(tmp_path / "talk.wav", np.concatenate([recordings[0], pause, recordings[1]]), 16_000)
    words = "WEBVTT\n\n00:00:00.200 --> 00:00:01.000\nfirst words\n"
    (tmp_path / "talk.vtt").write_text(words, encoding="utf-8")

    run_example(
        *("podcast_to_srt", small_run, tmp_path / "talk.wav", tmp_path / "talk.srt"),
        *("--words", tmp_path / "talk.vtt"),
    )

    captions = (tmp_path / "talk.srt").read_text(encoding="utf-8").strip().split("\n\n")
    assert len(captions) == 2
    assert captions[0].endswith("first words")


def test_an_own_table_is_learnt_and_scored(run_example, toy_corpus, small_corpus, tmp_path):
    table = tmp_path / "mine.csv"
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["audio", "text", "emotion", "speaker"])
        for row in read_table(small_corpus):
            writer.writerow([row[name] for name in ("audio", "text", "emotion", "speaker")])
    (tmp_path / "audio").symlink_to(toy_corpus / "audio", target_is_directory=True)

    said = run_example("own_corpus", table, tmp_path / "work", "--epochs", 2)

    assert said.out.startswith("balanced accuracy 0.")
    assert (tmp_path / "work" / "run" / "README.md").is_file()


def test_each_channel_of_a_call_is_judged_alone(run_example, small_run, recordings, tmp_path):
    length = max(map(len, recordings))
    left, right = (np.pad(one, (0, length - len(one))) for one in recordings)
    sf.write(tmp_path / "call.wav", np.stack([left, right], axis=1), 16_000)
    names = ("--names", "agent", "customer")

    both = run_example("stereo_call", small_run, tmp_path / "call.wav", *names)
    one = run_example("stereo_call", small_run, tmp_path / "call.wav", *names, "--only", "customer")

    assert both.out.startswith("agent: ")
    assert one.out.startswith("customer: ")
    assert both.out.endswith(one.out)
