"""The tool that pairs words with recordings: same emotion, nothing shared between parts."""

import importlib.util
from collections import Counter
from pathlib import Path

import pytest

from mersa.errors import ManifestError
from mersa.manifest import Utterance, make_manifest

_SPEC = importlib.util.spec_from_file_location(
    "pair_corpora", Path(__file__).parents[1] / "tools" / "pair_corpora.py"
)
tool = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(tool)

EMOTIONS = ("anger", "happy", "sad")


def words(per_part: int = 20):
    return make_manifest(
        [
            Utterance(
                id=f"{part}-{number}",
                text=f"words {number}",
                emotion=(*EMOTIONS, "surprise")[number % 4],
                speaker="Ross",
                dialogue=f"{part}-d{number // 5}",
                part=part,
            )
            for part in ("train", "validation", "test")
            for number in range(per_part)
        ],
        Path("texts"),
    )


def sound(speakers: int = 10, emotions=EMOTIONS):
    return make_manifest(
        [
            Utterance(
                id=f"c{speaker}-{emotion}-{take}",
                audio=f"c{speaker}-{emotion}-{take}.wav",
                emotion=emotion,
                speaker=f"actor {speaker}",
                start_s=1.0,
                end_s=2.5,
                duration_s=1.5,
            )
            for speaker in range(speakers)
            for emotion in emotions
            for take in range(2)
        ],
        Path("clips"),
    )


def test_each_text_gets_a_recording_of_its_emotion_with_its_times():
    clips = {one.id: one for one in sound()}

    paired = tool.pair(words(), sound(), seed=3)

    assert len(paired) == 45
    assert {one.emotion for one in paired} == set(EMOTIONS)
    for one in paired:
        clip = clips[one.extras["clip"]]
        assert (clip.emotion, clip.audio) == (one.emotion, one.audio)
        assert (one.start_s, one.end_s, one.duration_s) == (1.0, 2.5, 1.5)
        assert one.extras["clip_speaker"] == clip.speaker


def test_no_speaker_of_a_recording_is_heard_in_two_parts():
    paired = tool.pair(words(), sound(), seed=3)

    heard = {(one.extras["clip_speaker"], one.part) for one in paired}

    assert len(heard) == len({speaker for speaker, _ in heard})
    assert Counter(part for _, part in heard) == {"train": 6, "validation": 1, "test": 3}


def test_recordings_of_one_part_and_emotion_are_heard_equally_often():
    paired = tool.pair(words(per_part=400), sound(), seed=0)

    times = Counter(one.extras["clip"] for one in paired if one.part == "test")

    assert set(times.values()) <= {100 // 6, 100 // 6 + 1}


def test_texts_beyond_the_most_are_left_out():
    paired = tool.pair(words(per_part=400), sound(), seed=0, most=7)

    times = Counter((one.part, one.extras["clip"]) for one in paired)

    assert set(times.values()) == {7}
    assert len(times) == 10 * len(EMOTIONS) * 2
    assert len({one.id for one in paired}) == len(paired)


def test_a_most_that_no_part_reaches_changes_nothing():
    assert tool.pair(words(), sound(), seed=3, most=100) == tool.pair(words(), sound(), seed=3)


def test_the_seed_decides_the_pairs():
    drawn = [[one.audio for one in tool.pair(words(), sound(), seed=seed)] for seed in (1, 1, 2)]

    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize(
    ("clips", "message"),
    [
        (sound(speakers=2), "has 2 named speakers, but each part needs one of its own"),
        (sound(emotions=("boredom",)), "no text has a part and an emotion that a recording has"),
    ],
)
def test_what_cannot_be_paired_is_refused(clips, message):
    with pytest.raises(ManifestError, match=message):
        tool.pair(words(), clips, seed=0)


def test_a_part_without_a_recording_of_an_emotion_is_named():
    whole = sound(speakers=3)
    part_of = tool._parted(sorted({one.speaker for one in whole}), tool.np.random.default_rng(0))
    lacking = make_manifest(
        [one for one in whole if (part_of[one.speaker], one.emotion) != ("test", "sad")],
        whole.folder,
    )

    with pytest.raises(ManifestError, match="no speaker of the test part has a recording of 'sad'"):
        tool.pair(words(), lacking, seed=0)


def test_a_seed_below_zero_is_refused(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["pair_corpora", "a", "b", "--out", "c", "--seed", "-1"])

    with pytest.raises(SystemExit):
        tool.main()

    assert "a seed is 0 or more" in capsys.readouterr().err
