import pytest

from mersa.recognize.prediction import Segment
from mersa.recognize.settings import SmoothingSettings
from mersa.recognize.smoothing import overall, overlay, smooth
from mersa.recognize.words import Word, in_time

NONE = SmoothingSettings(weight=0, margin=0)


def segments(*values, step=2.0, length=2.0, **named):
    """Segments one after the other; each value is the probability of `a` beside `b`."""
    return [
        Segment(
            n * step,
            n * step + length,
            "a" if p >= 0.5 else "b",
            {"a": p, "b": 1 - p},
            max(p, 1 - p),
            **named,
        )
        for n, p in enumerate(values)
    ]


def labels(found):
    return "".join(one.label for one in found)


def test_without_weight_and_margin_nothing_changes():
    given = segments(0.9, 0.4, 0.51, 0.49)

    assert smooth(given, NONE) == given


def test_a_label_changes_only_if_another_is_clearly_more_probable():
    given = segments(0.9, 0.48, 0.46, 0.2, 0.52)

    found = smooth(given, SmoothingSettings(weight=0, margin=0.1))

    assert labels(given) == "abbba"
    assert labels(found) == "aaabb"  # 0.54 - 0.46 is below the margin, 0.8 - 0.2 is not
    assert found[1].confidence == 0.48
    assert [one.scores for one in found] == [one.scores for one in given]


def test_a_single_weak_segment_follows_its_neighbours():
    given = segments(0.9, 0.4, 0.9)

    assert labels(smooth(given, SmoothingSettings(weight=0.5, margin=0))) == "aaa"
    assert labels(smooth(given, SmoothingSettings(weight=0.05, margin=0))) == "aba"


def test_what_is_far_apart_is_no_neighbour():
    given = segments(0.9, 0.48, step=4.0)

    assert labels(smooth(given, SmoothingSettings(weight=1, margin=0.5, gap_s=1.9))) == "ab"
    assert labels(smooth(given, SmoothingSettings(weight=1, margin=0.5, gap_s=2.0))) == "aa"


@pytest.mark.parametrize("named", [{"speaker": "x"}, {"channel": 1}])
def test_another_speaker_is_no_neighbour(named):
    given = [*segments(0.9), segments(0.9, 0.48, **named)[1]]

    assert labels(smooth(given, SmoothingSettings(weight=1, margin=0.5))) == "ab"


def test_the_whole_is_the_mean_by_length():
    given = [*segments(1.0, length=1.0), *segments(0.0, length=3.0)]

    assert overall(given) == pytest.approx({"a": 0.25, "b": 0.75})
    assert overall([]) == {}


def test_overlapping_windows_become_stretches_without_overlap():
    windows = segments(0.9, 0.5, 0.1, step=3.0, length=6.0)
    words = in_time([Word(0.5, 1, "one"), Word(8, 8.9, "two"), Word(9.5, 10, "three")], "given")

    found = overlay(windows, 3.0, words)

    assert [(one.start_s, one.end_s) for one in found] == [(0, 3), (3, 6), (6, 9), (9, 12)]
    assert [one.scores["a"] for one in found] == pytest.approx([0.9, 0.7, 0.3, 0.1])
    assert [one.text for one in found] == ["one", "", "two", "three"]


def test_the_last_stretch_ends_with_the_recording():
    windows = [*segments(0.9, length=6.0), Segment(3.0, 7.5, "b", {"a": 0.1, "b": 0.9}, 0.9)]

    found = overlay(windows, 3.0)

    assert [(one.start_s, one.end_s) for one in found] == [(0, 3), (3, 6), (6, 7.5)]
    assert labels(found) == "aab"
