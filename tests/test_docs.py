"""The blocks of the documentation run, one after the other, in a folder of their own."""

import json
import re
import shlex
from pathlib import Path

import pytest
import soundfile as sf

from mersa import Recognizer
from mersa.audio import read_audio
from mersa.demo.texts import IN_SHORT
from mersa.manifest import read_table

DOCS = Path(__file__).parents[1] / "docs"
_BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_FILE = re.compile(r"# (\w+\.py)\n")


@pytest.fixture
def folder(tmp_path, monkeypatch, small_corpus):
    """An empty working folder with `calls/`, where Python finds modules."""
    (tmp_path / "calls").mkdir()
    for number, row in enumerate(read_table(small_corpus)):
        if row["emotion"] in {"anger", "sad"}:
            speaker = ("anna", "bert", "carl", "dora")[number % 4]
            name = f"{speaker}_{row['emotion']}_{number:02d}.wav"
            sound = read_audio(small_corpus.parent / row["audio"])
            sf.write(tmp_path / "calls" / name, sound, 16_000)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_what_extending_shows_works(folder, mersa, cache_folder):
    names = {}
    for kind, block in _BLOCK.findall((DOCS / "extending.md").read_text(encoding="utf-8")):
        if kind == "console":
            run_console(block, mersa, cache_folder)
        elif file := _FILE.match(block):
            (folder / file[1]).write_text(block, encoding="utf-8")
        else:
            exec(compile(block, "docs/extending.md", "exec"), names)

    bands = json.loads((folder / "runs/bands/encoders/audio.json").read_text(encoding="utf-8"))
    assert bands["name"] == "my bands"
    assert (folder / "runs/bands/encoders/audio/bands.json").is_file()
    again = Recognizer.from_pretrained(folder / "runs/bands", device="cpu")
    recording = folder / "toy/audio/toy_s4_d01_u03.ogg"
    prediction = names["prediction"]
    assert again.predict(recording, "I am waiting for the house.").scores == prediction.scores
    assert len(read_table(folder / "calls.csv")) == len(list((folder / "calls").iterdir()))


def test_the_page_says_in_short_what_responsible_use_says():
    assert IN_SHORT in (DOCS / "responsible-use.md").read_text(encoding="utf-8")


def run_console(block, mersa, cache_folder):
    for line in block.splitlines():
        words = shlex.split(line.removeprefix("$ mersa "), comments=True)
        if words[0] in {"train", "evaluate"}:
            words += ["--cache", str(cache_folder)]
        said = mersa(*words)
        assert said.code == 0, f"{line}: {said.err}"
