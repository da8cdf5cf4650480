import numpy as np
import pytest

from mersa.errors import AudioError, ConfigError
from mersa.recognize.segments import SpeechCutter, TurnCutter, WindowCutter, cut
from mersa.recognize.settings import Turn, as_segmentation, make_segmentation
from mersa.recognize.stream import open_stream

RATE = 16_000


def ramp(seconds):
    """Samples that say where they are."""
    return np.arange(round(seconds * RATE), dtype=np.float32)


def pieces(cutter, samples, size=7_000):
    found = []
    for start in range(0, len(samples), size):
        found += cutter.push(samples[start : start + size])
    return [*found, *cutter.finish()]


def spans(found):
    return [(one.start_s, one.end_s) for one in found]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (1.0, [(0, 1)]),
        (6.0, [(0, 6)]),
        (7.0, [(0, 6), (3, 7)]),
        (12.0, [(0, 6), (3, 9), (6, 12)]),
        (12.5, [(0, 6), (3, 9), (6, 12), (9, 12.5)]),
    ],
)
def test_windows_drop_nothing(seconds, expected):
    samples = ramp(seconds)

    found = pieces(WindowCutter(6.0, 3.0), samples)

    assert spans(found) == expected
    for one in found:
        first, last = round(one.start_s * RATE), round(one.end_s * RATE)
        assert np.array_equal(one.audio, samples[first:last])


def test_turns_may_overlap():
    samples = ramp(5.0)
    turns = [
        Turn(start_s=2.0, end_s=3.0, speaker="b"),
        Turn(start_s=0.5, end_s=4.0, speaker="a"),
        Turn(start_s=4.5, end_s=5.05),  # rounded up by whoever wrote it
    ]

    found = pieces(TurnCutter(turns), samples)

    assert sorted(spans(found)) == [(0.5, 4.0), (2.0, 3.0), (4.5, 5.0)]
    assert {one.start_s: one.speaker for one in found} == {0.5: "a", 2.0: "b", 4.5: None}
    for one in found:
        assert np.array_equal(
            one.audio, samples[round(one.start_s * RATE) : round(one.end_s * RATE)]
        )


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        (1.0, 5.2, r"turn from 1 to 5.2 s does not lie in the recording, which is 5.000 s long"),
        (7.0, 7.05, r"turn from 7 to 7.05 s does not lie in the recording.*correct the times"),
        (2.0, 2.0, r"turn from 2 to 2 s is empty, but a turn ends after its start"),
        (2.0, 303.0, r"judged as a whole, and at most 300 s are taken; cut it into utterances"),
    ],
)
def test_turns_that_do_not_fit_are_refused(start, end, message):
    with pytest.raises(AudioError, match=message):
        pieces(TurnCutter([Turn(start_s=start, end_s=end)]), ramp(5.0))


def test_memory_does_not_grow_with_the_recording():
    cutter = SpeechCutter(make_segmentation("speech"))
    block = np.zeros(RATE * 4, dtype=np.float32)

    for _ in range(50):
        list(cutter.push(block))

    assert len(cutter._tape._samples) < RATE * 2


def test_a_turn_of_a_channel_is_cut_from_it():
    stereo = np.stack([np.full(RATE * 3, 0.25), np.full(RATE * 3, 0.5)], axis=1)
    turns = [Turn(start_s=0, end_s=1, channel=1), Turn(start_s=1, end_s=2, channel=0)]

    with open_stream(stereo, RATE) as stream:
        found = list(cut(stream, make_segmentation("turns", turns=turns)))

    assert sorted((one.channel, one.start_s, float(one.audio.mean())) for one in found) == [
        (0, 1.0, 0.25),
        (1, 0.0, 0.5),
    ]


def test_a_channel_that_is_not_there_is_refused():
    turns = [Turn(start_s=0, end_s=1, channel=2)]

    with (
        open_stream(np.zeros((RATE, 2)), RATE) as stream,
        pytest.raises(AudioError, match="names channel 2, but the array has 2 channels, counted f"),
    ):
        list(cut(stream, make_segmentation("turns", turns=turns)))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("sentences",), "'sentences' are not known; choose one of auto, whole, speech, windows"),
        (("speech", ["speech.padding=1"]), "'speech.padding' does not exist; the nearest is 'spe"),
        (("speech", ["a.b.c=1"]), r"'a.b.c' does not exist; the sections are .*speech.*windows"),
        (("speech", ["speech.pad_s=x"]), r"speech.pad_s is 'x', but input should be a valid numb"),
        (("speech", ["speech.exit_threshold=0.9"]), "must be at most speech.threshold"),
        (("windows", ["windows.step_s=9"]), "step_s must be at most windows.length_s, or sound is"),
    ],
)
def test_settings_that_do_not_exist_are_refused(words, message):
    with pytest.raises(ConfigError, match=message):
        make_segmentation(*words)


def test_turns_without_channels_are_not_for_speakers_by_channel():
    with pytest.raises(ConfigError, match="must name their channels where each channel is a spe"):
        make_segmentation("turns", channels=True, turns=[Turn(start_s=0, end_s=1)])


def test_what_is_no_segmentation_is_refused():
    with pytest.raises(ConfigError, match=r"segmentation is 3, but one of auto, .* was expected"):
        as_segmentation(3)
