"""An answer as the page shows it, without a browser."""

import re
import socket

import numpy as np
import pytest
import soundfile as sf
from matplotlib.collections import PolyCollection

from mersa import Recognizer
from mersa.demo import answer
from mersa.demo.card import shown
from mersa.demo.envelope import Envelope, read_envelope
from mersa.demo.local import show_attention
from mersa.demo.timeline import draw_timeline
from mersa.errors import AudioError
from mersa.recognize.prediction import NO_SPEECH, Prediction, Segment

LABELS = ("anger", "sad")


def segment(start_s, end_s, label="anger", **more):
    scores = {"anger": 0.75, "sad": 0.25} if label == "anger" else {"anger": 0.25, "sad": 0.75}
    return Segment(start_s, end_s, label, scores, 0.75, **more)


def prediction(*segments, by="speech", **more):
    first = segments[0]
    return Prediction(first.label, first.scores, first.confidence, segments, ("audio",), by, **more)


def test_the_answer_is_said_in_words():
    told = answer.summary(prediction(segment(0, 1), segment(1, 2), notes=("mind <this>",)))

    assert "<strong>anger</strong> with a confidence of 75\N{NO-BREAK SPACE}%" in told
    assert "in 2 segments, from the sound" in told
    assert "mind &lt;this&gt;" in told


def test_no_answer_says_why():
    nothing = Prediction(None, {}, 0.0, (), ("audio",), "speech", notes=(NO_SPEECH,))

    told = answer.summary(nothing)

    assert "No answer" in told
    assert NO_SPEECH in told
    assert answer.table(nothing) == ""


def test_the_table_has_a_row_a_segment_and_runs_nothing():
    html = answer.table(
        prediction(segment(0.5, 61.25, channel=1), segment(2, 3, speaker="<b>", text="<script>"))
    )

    assert "<td>0:00.50</td><td>1:01.25</td><td>anger</td>" in html
    assert "<td>channel 1</td>" in html
    assert "<td>&lt;b&gt;</td><td>&lt;script&gt;</td>" in html


def test_the_envelope_is_the_lowest_and_highest_of_each_stretch(tmp_path):
    samples = np.zeros(16_000, np.float32)
    samples[8_000], samples[8_010] = 0.5, -0.25
    sf.write(tmp_path / "one.wav", samples, 16_000, subtype="FLOAT")

    envelope = read_envelope(tmp_path / "one.wav", longest_s=2)

    assert envelope.seconds == 1.0
    assert len(envelope.low) == 50
    assert envelope.high[25] == pytest.approx(0.5)
    assert envelope.low[25] == pytest.approx(-0.25)
    assert np.count_nonzero(envelope.high) == 1


def test_the_envelope_of_a_long_recording_is_no_longer(tmp_path):
    samples = np.zeros(16_000 * 120, np.float32)
    samples[1_000_000] = 0.5
    sf.write(tmp_path / "one.wav", samples, 16_000, subtype="FLOAT")

    envelope = read_envelope(tmp_path / "one.wav", longest_s=120)

    assert envelope.seconds == 120
    assert 600 < len(envelope.low) <= 1200
    assert envelope.high.max() == pytest.approx(0.5)


def test_a_recording_beyond_the_limit_is_refused(tmp_path):
    sf.write(tmp_path / "one.wav", np.zeros(32_000, np.float32), 16_000)

    with pytest.raises(AudioError, match=r"longer than 0\.025 minutes"):
        read_envelope(tmp_path / "one.wav", longest_s=1.5)


def test_the_timeline_shades_by_probability_and_outlines_the_label():
    envelope = Envelope(4.0, np.array([-1.0, 0.0]), np.array([1.0, 0.0]))

    figure = draw_timeline(envelope, [segment(0, 1), segment(2, 4, "sad")], LABELS)

    rows = [one for one in figure.axes[1].collections if isinstance(one, PolyCollection)]
    shades = [one.get_facecolor()[:, 0].round(2).tolist() for one in rows[::2]]
    outlined = [len(one.get_paths()) for one in rows[1::2]]
    assert shades == [[0.25, 0.75], [0.75, 0.25]]
    assert outlined == [1, 1]
    assert [text.get_text() for text in figure.axes[1].get_yticklabels()] == list(LABELS)


def test_without_an_outline_the_emotions_stand_alone():
    figure = draw_timeline(None, [segment(0, 1), segment(2, 4, "sad")], LABELS)

    assert len(figure.axes) == 1
    assert figure.axes[0].get_xlim() == (0, 4)


def test_each_channel_has_a_lane():
    envelope = Envelope(4.0, np.zeros(2), np.zeros(2))
    both = [segment(0, 2, channel=0), segment(0, 2, "sad", channel=1)]

    figure = draw_timeline(envelope, both, LABELS)

    filled = [one for one in figure.axes[1].collections if len(one.get_facecolor())]
    tops = sorted({round(one.get_paths()[0].vertices[:, 1].min(), 2) for one in filled})
    assert tops == [-0.43, 0.0, 0.57, 1.0]


def test_files_hold_the_answer_in_every_format(tmp_path):
    told = prediction(segment(0, 1, text="so it is"))

    paths = answer.write_files(told, "call.mp3", tmp_path, LABELS)

    assert [path.rpartition("/")[2] for path in paths] == [
        *("call.json", "call.csv", "call.srt", "call.vtt", "call.txt"),
    ]
    assert "so it is" in (tmp_path / "call.srt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (prediction(segment(0, 1, text="so")), "was not judged as a whole"),
        (prediction(segment(0, 1), by="whole"), "the words are not known"),
    ],
)
def test_attention_that_is_not_there_is_told(small_run, told, why):
    recognizer = Recognizer.from_pretrained(small_run, device="cpu")

    assert why in show_attention(recognizer, told, None)


def test_a_model_without_attention_says_so(toy_corpus, small_corpus, quick, cache, tmp_path):
    from mersa.experiment import train

    train(small_corpus, quick("network.system=audio"), tmp_path / "run", cache=cache, device="cpu")
    recognizer = Recognizer.from_pretrained(tmp_path / "run", device="cpu")

    told = show_attention(recognizer, prediction(segment(0, 1, text="so"), by="whole"), None)

    assert "no attention over words and sound" in told


def test_the_card_loses_what_the_page_cannot_follow(small_run):
    card = shown(Recognizer.from_pretrained(small_run, device="cpu").card)

    assert card.startswith("# mersa-cross")
    assert "## Limits" in card
    assert "docs/responsible-use.md" in card
    assert shown("---\na: b\n---\nSee [fold-1](fold-1/README.md).") == "See fold-1."
    assert not re.search(r"\]\([^)]*README\.md\)", card)


def test_the_verb_refuses_a_language_that_nothing_hears(mersa, small_run):
    said = mersa("demo", small_run, "--language", "en")

    assert said.code == 2
    assert said.err.startswith("mersa demo: --language goes with --transcribe")


def test_the_verb_refuses_a_port_that_is_taken(mersa, small_run):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        said = mersa("demo", small_run, "--port", taken.getsockname()[1], "--device", "cpu")

    assert said.code == 2
    assert "cannot be listened at" in said.err
