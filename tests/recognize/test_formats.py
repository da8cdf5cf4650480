import csv
import io
import json
import re

import pytest

from mersa.recognize.formats import FORMATS
from mersa.recognize.recognizer import Prediction, Segment

NAME = 'calls, "old"/füß.wav'


def prediction(*segments):
    made = tuple(
        Segment(start, end, label, {"sad": 1 - p, "anger": p}, p)
        for start, end, label, p in segments
    )
    first = made[0]
    return Prediction(first.label, first.scores, first.confidence, made, ("audio",))


ANSWERS = [
    (NAME, prediction((0.0, 2.5, "anger", 0.75), (2.5, 3723.0625, "sad", 0.125))),
    ("b.wav", prediction((0.0, 0.001, "sad", 1 / 3))),
]


def test_json_lines_parse_back():
    lines = FORMATS["jsonl"](ANSWERS).splitlines()

    first, second = map(json.loads, lines)
    assert first["audio"] == NAME
    assert first["label"] == "anger"
    assert first["scores"] == {"sad": 0.25, "anger": 0.75}
    assert first["segments"][1]["end_s"] == 3723.0625
    assert first["modalities"] == ["audio"]
    assert second["scores"]["anger"] == 1 / 3


def test_csv_parses_back():
    rows = list(csv.DictReader(io.StringIO(FORMATS["csv"](ANSWERS))))

    assert [row["audio"] for row in rows] == [NAME, NAME, "b.wav"]
    assert list(rows[0])[5:] == ["sad", "anger", "speaker", "channel", "text"]
    assert float(rows[1]["end_s"]) == pytest.approx(3723.0625, abs=1e-3)
    assert float(rows[2]["anger"]) == pytest.approx(1 / 3, abs=1e-6)
    assert [row["label"] for row in rows] == ["anger", "sad", "sad"]


def test_subtitles_parse_back():
    blocks = FORMATS["srt"](ANSWERS).strip().split("\n\n")

    assert [block.splitlines()[0] for block in blocks] == ["1", "2", "3"]
    clock = r"\d\d:\d\d:\d\d,\d{3}"
    assert all(re.fullmatch(f"{clock} --> {clock}", block.splitlines()[1]) for block in blocks)
    assert blocks[1].splitlines()[1:] == ["00:00:02,500 --> 01:02:03,062", "sad (12%)"]


def test_audacity_labels_parse_back():
    lines = [line.split("\t") for line in FORMATS["audacity"](ANSWERS).splitlines()]

    assert [(float(start), float(end), label) for start, end, label in lines] == [
        (0.0, 2.5, "anger"),
        (2.5, 3723.0625, "sad"),
        (0.0, 0.001, "sad"),
    ]


@pytest.mark.parametrize("name", ["jsonl", "srt", "audacity"])
def test_nothing_gives_nothing(name):
    assert FORMATS[name]([]) == ""
