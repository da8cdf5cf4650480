import re

import numpy as np
import pytest
import soundfile as sf

from mersa.audit.hearing import hear, listen
from mersa.audit.soundcheck import check
from mersa.manifest import Utterance, make_manifest

RATE = 16_000
QUIET = 10 ** (-61 / 20)


def noise(seconds, seed=0, level=0.5):
    return np.random.default_rng(seed).uniform(-level, level, round(seconds * RATE))


def silence(seconds, level=0.0):
    return np.full(round(seconds * RATE), level)


class Tally:
    def __init__(self):
        self.counts = {}

    def say(self, sentence):
        pytest.fail(sentence)

    def task(self, name):
        return lambda done, total: self.counts.setdefault(name, []).append((done, total))


def corpus(folder, sounds, **columns):
    """A manifest of one WAV for each sound, with columns by name of the recording."""
    made = []
    for name, samples in sounds.items():
        sf.write(folder / f"{name}.wav", samples, RATE, subtype="PCM_16")
        own = {column: values[name] for column, values in columns.items() if name in values}
        made.append(Utterance(id=name, audio=f"{name}.wav", **own))
    return make_manifest(made, folder)


def findings(manifest, label_of=None):
    label_of = label_of or dict.fromkeys((one.id for one in manifest), "sad")
    recordings = check(manifest.utterances, label_of, listen(manifest, manifest))
    return {one.name: one.ids for one in recordings.findings if one.ids}


def heard(samples):
    return hear(np.asarray(samples, dtype=np.float32))


def test_length_is_measured():
    assert heard(noise(0.7)).length_s == pytest.approx(0.7)


@pytest.mark.parametrize(("level", "silent"), [(0.00099, True), (-0.00099, True), (0.0011, False)])
def test_silence_is_below_minus_60_dbfs(level, silent):
    samples = silence(0.5)
    samples[700] = level

    assert (heard(samples).digest == "") is silent
    assert (heard(samples).core == "") is silent


def test_silence_at_the_ends_changes_the_samples_but_not_the_core():
    spoken = noise(0.6, level=0.5)
    spoken[[0, -1]] = 0.25
    padded = np.concatenate([silence(0.2, QUIET), spoken, silence(0.1, -QUIET)])

    one, other = heard(spoken), heard(padded)

    assert one.digest == one.core == other.core
    assert other.digest != one.digest


def test_silence_inside_belongs_to_the_sound():
    one, other = noise(0.3, 1), noise(0.3, 2)

    together = heard(np.concatenate([one, other]))
    apart = heard(np.concatenate([one, silence(0.2), other]))

    assert together.core != apart.core


def test_other_sounds_have_other_digests():
    one, other = heard(noise(0.5, 1)), heard(noise(0.5, 2))

    assert one.digest != other.digest
    assert one.core != other.core


def test_a_click_alone_does_not_tell_two_recordings_to_be_the_same():
    clicks = [silence(1.0), silence(2.0)]
    for samples in clicks:
        samples[5000:5010] = 0.5

    one, other = map(heard, clicks)

    assert one.core == one.digest != other.core


@pytest.mark.parametrize(
    ("values", "clipped"),
    [
        ([0.3, 1.0, 1.0, 0.3], 0),
        ([0.3, 1.0, 1.0, 1.0, 0.3], 3),
        ([0.9991, 0.9991, 0.9991, 0.9991], 4),
        ([0.9985] * 6, 0),
        ([-1.0, -1.0, -1.0, 0.1, 1.0, 1.0, 1.0, 1.0], 7),
        ([1.0, 1.0, -1.0, -1.0], 0),
        ([1.0, 1.0, 0.1, 1.0, 1.0], 0),
        ([1.5] * 5, 5),
    ],
)
def test_three_samples_in_a_row_at_full_scale_are_clipped(values, clipped):
    samples = silence(0.01, 0.1)
    samples[:4] = 0.2
    samples[40 : 40 + len(values)] = values

    assert heard(samples).clipped == pytest.approx(clipped / 160)


def test_each_finding_names_its_recordings(tmp_path):
    clipped = noise(1.2, 9)
    clipped[300:310] = 1.0
    sounds = {
        "blip": noise(0.05, 1),
        "clip": clipped,
        "edge": noise(0.96, 8),
        "fine": noise(1.1, 2),
        "late": noise(1.3, 3),
        "long": noise(30.5, 4),
        "mute": silence(1.5, QUIET),
        "near": noise(1.08, 5),
        "short": noise(0.39, 6),
        "tight": noise(0.95, 7),
    }
    duration_s = {"fine": 1.1, "late": 1.15, "near": 1.0, "long": 30.5, "tight": 1.2}

    found = findings(corpus(tmp_path, sounds, duration_s=duration_s))

    assert found == {
        "silent": ("mute",),
        "shorter_than_0.96_s": ("blip", "short", "tight"),
        "shorter_than_0.4_s": ("blip", "short"),
        "shorter_than_0.1_s": ("blip",),
        "longer_than_30_s": ("long",),
        "clipped": ("clip",),
        "other_length": ("late", "tight"),
    }


def test_the_same_sound_twice_is_found_and_its_other_labels(tmp_path):
    spoken, shouted = noise(1.0, 1), noise(1.0, 2)
    sounds = {
        "a": spoken,
        "b": np.concatenate([silence(0.3), spoken]),
        "c": spoken,
        "d": shouted,
        "e": shouted,
        "f": noise(1.0, 3),
        "m": silence(1.0),
        "n": silence(1.0),
    }
    label_of = dict.fromkeys(sounds, "sad") | {"b": "anger"}

    found = findings(corpus(tmp_path, sounds), label_of)

    assert found["repeated_sound"] == ("a", "b", "c", "d", "e")
    assert found["repeated_sound_with_other_label"] == ("a", "b", "c")
    assert found["silent"] == ("m", "n")


def test_stretches_are_read_from_their_recording(tmp_path):
    samples = np.concatenate([noise(1.0, 1), noise(1.5, 2), noise(1.0, 1)])
    sf.write(tmp_path / "call.wav", samples, RATE, subtype="PCM_16")
    rows = [("a", 0.0, 1.0), ("b", 1.0, 2.5), ("c", 2.5, 3.5)]
    manifest = make_manifest(
        [Utterance(id=i, audio="call.wav", start_s=s, end_s=e) for i, s, e in rows], tmp_path
    )

    sounds = listen(manifest, manifest).sounds

    assert [one.length_s for one in sounds.values()] == [1.0, 1.5, 1.0]
    assert sounds["a"].digest == sounds["c"].digest != sounds["b"].digest


def test_another_format_of_the_same_samples_is_found(tmp_path):
    spoken = (noise(1.0, 1) * 32767).astype(np.int16)
    sf.write(tmp_path / "a.wav", spoken, RATE, subtype="PCM_16")
    sf.write(tmp_path / "b.flac", spoken, RATE, subtype="PCM_16")
    sf.write(tmp_path / "c.wav", np.stack([spoken, spoken], axis=1), RATE, subtype="PCM_16")
    names = ("a.wav", "b.flac", "c.wav")
    manifest = make_manifest([Utterance(id=name, audio=name) for name in names], tmp_path)

    assert findings(manifest)["repeated_sound"] == names


def test_recordings_that_cannot_be_read_are_named_and_the_others_read(tmp_path):
    manifest = corpus(tmp_path, {"a": noise(1.0, 1), "b": noise(1.0, 2), "d": noise(1.0, 3)})
    (tmp_path / "b.wav").write_bytes(b"no sound")
    rows = [*manifest, Utterance(id="c", audio="gone.wav"), Utterance(id="e", text="words")]
    manifest = make_manifest(rows, tmp_path)
    tally = Tally()

    found = listen(manifest, manifest, progress=tally)
    recordings = check(manifest.utterances, dict.fromkeys("abcde", "sad"), found)

    assert set(found.sounds) == {"a", "d"}
    assert set(found.unreadable) == {"b", "c"}
    assert "b.wav is not audio" in found.unreadable["b"]
    assert found.unreadable["c"] == "gone.wav does not exist; correct the path"
    assert tally.counts == {"recordings": [(1, 4), (2, 4), (3, 4), (4, 4)]}
    named = {one.name: one.ids for one in recordings.findings if one.ids}
    assert named == {"unreadable": ("b", "c"), "no_recording": ("e",)}
    said = "\n".join(recordings.lines())
    assert "recordings: 2 read" in said
    assert "2 cannot be read (as b)" in said
    assert " - gone.wav does not exist" in said
    assert str(tmp_path) not in said


def test_lengths_of_the_manifest_are_judged_where_nothing_is_read():
    made = [
        Utterance(id="a", duration_s=0.5),
        Utterance(id="b", audio="call.wav", start_s=1.0, end_s=33.0),
        Utterance(id="c"),
    ]

    recordings = check(made, {}, None)

    assert {one.name: one.ids for one in recordings.findings} == {
        "shorter_than_0.96_s": ("a",),
        "shorter_than_0.4_s": (),
        "shorter_than_0.1_s": (),
        "longer_than_30_s": ("b",),
    }
    assert recordings.timed == 2
    assert recordings.lines()[0] == "recordings: not read; 2 lengths known"


def test_what_is_heard_counts_before_what_the_manifest_says(tmp_path):
    manifest = corpus(tmp_path, {"a": noise(0.5)}, duration_s={"a": 5.0})

    assert findings(manifest) == {
        "shorter_than_0.96_s": ("a",),
        "other_length": ("a",),
    }


def test_without_any_length_none_is_judged():
    recordings = check([Utterance(id="a")], {}, None)

    assert recordings.findings == ()
    assert recordings.lines() == ["recordings: not read; no length known"]


def test_lines_tell_what_was_found_and_what_was_not(tmp_path):
    clipped = noise(0.2, 9)
    clipped[32:64] = 1.0
    manifest = corpus(tmp_path, {"a": clipped, "b": noise(1.0, 1), "c": noise(0.5, 2)})

    lines = check(
        manifest.utterances, dict.fromkeys("abc", "sad"), listen(manifest, manifest)
    ).lines()

    assert lines == [
        "recordings: 3 read, 0.00 h",
        "2 shorter than 0.96 s (one example of VGGish) (as a)",
        "1 of these shorter than 0.4 s (as a)",
        "1 clipped (3 or more samples in a row at full scale; at worst 1.00% of all) (as a)",
        "none: unreadable, no recording, silent, repeated sound, longer than 30 s, other length",
    ]


def test_memory_does_not_grow_with_the_sound(tmp_path):
    manifest = corpus(tmp_path, {"a": noise(1.0, 1), "b": noise(2.0, 2)})

    for one in listen(manifest, manifest).sounds.values():
        assert all(isinstance(value, float | str) for value in vars(one).values())
        assert re.fullmatch("[0-9a-f]{64}", one.digest)
