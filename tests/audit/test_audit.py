import json
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from mersa.audit.audit import audit
from mersa.corpora import meld
from mersa.emotions import label_set
from mersa.errors import ManifestError, ProtocolError
from mersa.folds import leaks
from mersa.manifest import Utterance, make_manifest
from mersa.protocols import cut

RATE = 16_000
EMOTIONS = ("anger", "happy", "sad")


def rows(num=90, **columns):
    """Utterances of 6 speakers in 3 sessions and 15 dialogues, each with words of its own."""
    return {
        f"u{number:03}": {
            "text": f"Words of number {number}",
            "emotion": EMOTIONS[number // 30],
            "speaker": f"s{number % 6}",
            "session": f"S{number % 3}",
            "dialogue": f"d{number % 15:02}",
            **columns,
        }
        for number in range(num)
    }


def with_sound(made, folder, seeds=None):
    """Give each row a WAV of 0.2 s; rows whose seed is the same sound alike."""
    for number, (id_, row) in enumerate(made.items()):
        seed = (seeds or {}).get(id_, number)
        samples = np.random.default_rng(seed).uniform(-0.5, 0.5, RATE // 5)
        sf.write(folder / f"{id_}.wav", samples, RATE, subtype="PCM_16")
        row["audio"] = f"{id_}.wav"
    return made


def manifest(made, folder="."):
    return make_manifest((Utterance(id=id_, **row) for id_, row in made.items()), Path(folder))


def official(*lines, **columns):
    """A manifest from (id, part, text, emotion), with further columns by id."""
    made = [
        Utterance(
            id=id_,
            part=part,
            text=text,
            emotion=emotion,
            **{name: values[id_] for name, values in columns.items() if id_ in values},
        )
        for id_, part, text, emotion in lines
    ]
    return make_manifest(made, Path())


SMALL = (
    ("a", "train", "I never said that.", "anger"),
    ("b", "train", "Yeah.", "happy"),
    ("c", "train", "Yeah!", "sad"),
    ("d", "validation", "Well.", "sad"),
    ("e", "validation", "Oh.", "anger"),
    ("v", "test", "I never said that!", "anger"),
    ("w", "test", "yeah", "anger"),
    ("x", "test", "Well.", "happy"),
    ("y", "test", "Something else", "sad"),
    ("z", "test", "", "sad"),
)


def shared(found):
    return {one.name: (one.num_shared, one.num_test) for one in found.shared}


def test_what_test_shares_with_train_is_counted():
    names = ("Ann", "Bob", "Ann", "Cid", "Dee", "Ann", "Cid", "Bob", "Ann")  # 'z' has none
    speakers = dict(zip("abcdevwxy", names, strict=True))

    found = audit(official(*SMALL, speaker=speakers), "official")

    assert shared(found) == {
        "speaker": (3, 5),
        "text": (2, 5),
        "long_text": (1, 5),
        "time": (0, 5),
    }
    assert set(found.untold) == {"session", "dialogue", "script", "episode", "sound"}
    assert (found.texts.texts, found.texts.right, found.texts.unseen_label) == (2, 1, 1)
    assert (found.texts.mixed, found.texts.num_train) == (2, 3)
    assert found.broken == ()


def test_shares_are_those_that_a_training_writes_down():
    made = manifest(rows())

    found = audit(made, "speaker", seed=3, num_folds=3)

    assert found.folds == tuple(cut(made.utterances, "speaker", seed=3, folds=3))
    for number, fold in enumerate(found.folds):
        told = {one.name: one.shares[number] for one in found.shared}
        assert leaks(made.utterances, fold).items() <= told.items()


def test_each_part_is_counted_by_label():
    found = audit(official(*SMALL), "official").balance

    assert found.counts["train"] == {"anger": 1, "happy": 1, "sad": 1}
    assert found.counts["validation"] == {"anger": 1, "happy": 0, "sad": 1}
    assert found.counts["test"] == {"anger": 2, "happy": 1, "sad": 2}
    assert [found.ratio(part) for part in ("train", "validation", "test")] == [1.0, None, 2.0]
    assert found.lacking == (("", "validation", "happy"),)
    assert found.lines() == ["validation has no happy"]
    assert found.rows()[1] == ["anger", "1  33.3%", "1  50.0%", "2  40.0%"]
    assert found.rows()[-1] == ["commonest to rarest", "1.0", "-", "2.0"]


def test_labels_that_a_fold_lacks_are_named():
    made = rows()
    for row in made.values():
        if row["speaker"] in {"s1", "s4"} and row["emotion"] == "happy":
            row["emotion"] = "sad"

    found = audit(manifest(made), "leave-one-speaker-out").balance

    assert [line for line in found.lines() if line.startswith("test")] == [
        "test has no happy in fold-2, fold-5"
    ]


def test_merged_emotions_count_as_one_label():
    made = rows()
    for row in made.values():
        if row["emotion"] == "sad":
            row["emotion"] = "excited"
    made["u000"]["emotion"] = ""
    made["u001"]["emotion"] = "fear"
    labels = label_set("iemocap-4")
    kept = {**made, "u900": {"emotion": "neutral", "speaker": "s0"}}

    found = audit(manifest(kept), "speaker", labels=labels)

    assert dict(found.left_out) == {"fear": 1, "unlabelled": 1}
    assert sum(found.balance.counts["test"].values()) == 89
    assert found.balance.counts["test"]["happy"] == 60
    assert "left out: fear 1, unlabelled 1" in found.text()


def test_auto_is_resolved_and_said():
    found = audit(manifest(rows()), "auto")

    assert (found.protocol, found.chosen) == ("leave-one-session-out", True)
    assert "protocol leave-one-session-out (chosen by the manifest's columns)" in found.text()
    assert "chosen by" not in audit(manifest(rows()), "speaker").text()


@pytest.mark.parametrize(
    "protocol",
    [
        "leave-one-session-out",
        "speaker",
        "leave-one-speaker-out",
        "dialogue",
        "script-disjoint",
        "improvised",
        "column:shift",
    ],
)
def test_promises_that_hold_are_said_to(protocol, tmp_path):
    made = with_sound(rows(), tmp_path)
    for number, row in enumerate(made.values()):
        row["extras"] = {
            "style": "improvised",
            "shift": str(number % 3),
            "script": "ab"[number % 2],
        }

    found = audit(manifest(made, tmp_path), protocol)

    assert found.broken == ()
    assert found.promised
    assert set(found.promised) <= set(shared(found))
    head = found.text().split("\n\n")[0]
    assert head.endswith(f"kept apart, as promised: {', '.join(_in_order(found))}")
    assert "BROKEN" not in found.text()


def _in_order(found):
    names = [one.name for one in found.shared if one.name in found.promised]
    return ["overlapping stretches of one recording" if one == "time" else one for one in names]


def test_a_protocol_without_promises_breaks_none(tmp_path):
    made = with_sound(rows(text="all the same"), tmp_path, dict.fromkeys(rows(), 0))

    found = audit(manifest(made, tmp_path), "paper")

    assert shared(found)["sound"] == shared(found)["text"] == (9, 9)
    assert found.broken == ()
    assert "the protocol promises nothing" in found.text()
    assert "BROKEN" not in found.text()


def test_what_a_protocol_leaves_out_is_counted():
    made = rows()
    for number, one in enumerate(made.values()):
        one["extras"] = {"style": "improvised" if number % 5 else "scripted"}

    found = audit(manifest(made), "improvised", sound=False)
    kept = sum(len(fold.parts) for fold in found.folds)

    assert found.unused == len(found.folds) * len(made) - kept > 0
    assert f"left out by the protocol of {len(found.folds)} folds, added up: " in found.text()


@pytest.mark.parametrize("column", ["time", "sound", "long_text", "same_samples"])
def test_a_column_with_a_name_of_the_audit_s_own_is_refused(column):
    made = rows()
    for number, one in enumerate(made.values()):
        one["extras"] = {column: str(number % 3)}

    with pytest.raises(ProtocolError, match=rf"'column:{column}' .* give the column another name"):
        audit(manifest(made), f"column:{column}", sound=False)


def test_a_sound_on_both_sides_breaks_a_promise(tmp_path):
    # Speakers 0 and 1 share one sound, and speaker 3 has one twice, which is no fault of the cut.
    made = with_sound(rows(), tmp_path, {"u000": 1000, "u007": 1000, "u003": 2000, "u009": 2000})

    found = audit(manifest(made, tmp_path), "leave-one-speaker-out")

    (sentence,) = found.broken
    assert "keeps sound apart, but 2 of 90 test utterances share it with train" in sentence
    assert "(as 'u000' with 'u007' in fold-1); keep one of each two in the manifest" in sentence
    assert shared(found)["same_samples"] == (2, 90)
    repeated = {one.name: one.ids for one in found.recordings.findings}["repeated_sound"]
    assert repeated == ("u000", "u003", "u007", "u009")


def test_silence_around_a_sound_does_not_hide_it(tmp_path):
    made = with_sound(rows(), tmp_path)
    samples, _ = sf.read(tmp_path / "u000.wav", dtype="int16")
    sf.write(tmp_path / "u001.wav", np.concatenate([np.zeros(3000, np.int16), samples]), RATE)

    found = audit(manifest(made, tmp_path), "leave-one-speaker-out")

    assert len(found.broken) == 1
    assert shared(found)["sound"] == (2, 90)
    assert shared(found)["same_samples"] == (0, 90)


def test_an_overlap_in_time_breaks_a_promise():
    made = rows()
    for number, row in enumerate(made.values()):
        start_s = 5 * number - (3.5 if number == 1 else 0)  # the second overlaps the first
        times = {"origin_start_s": str(start_s), "origin_end_s": str(start_s + 4)}
        row["extras"] = {"origin": "film", **times}

    found = audit(manifest(made), "leave-one-session-out", sound=False)

    assert shared(found)["time"] == (2, 90)
    assert found.broken == (
        "protocol 'leave-one-session-out' keeps overlapping stretches of one recording apart, but "
        "2 of 90 test utterances share them with train (as 'u000' with 'u001' in fold-1); keep one "
        "of each two, or choose a protocol that keeps both on one side",
    )
    unpromised = audit(manifest(made), "column:dialogue", sound=False)
    assert shared(unpromised)["time"] == (2, 90)
    assert unpromised.broken == ()


def test_a_column_of_ones_own_is_compared_too():
    made = rows()
    for number, row in enumerate(made.values()):
        row["extras"] = {"room": f"r{number % 2}"}

    found = audit(manifest(made), "column:room", sound=False)

    assert shared(found)["room"] == (0, 90)
    assert "room" in found.promised
    assert "kept apart, as promised: room" in found.text()


def test_sound_that_was_not_read_is_not_called_apart(tmp_path):
    made = with_sound(rows(), tmp_path, dict.fromkeys(rows(), 0))

    found = audit(manifest(made, tmp_path), "speaker", sound=False)

    assert "sound" not in shared(found)
    assert found.broken == ()
    assert "kept apart, as promised: speaker\n" in found.text()
    assert "not compared, since no recording was read: sound" in found.text()
    assert "recordings: not read" in found.text()


def test_a_recording_that_cannot_be_read_is_named_and_the_audit_goes_on(tmp_path):
    made = with_sound(rows(), tmp_path, {"u000": 1000, "u001": 1000})
    (tmp_path / "u005.wav").unlink()

    found = audit(manifest(made, tmp_path), "leave-one-speaker-out")

    assert len(found.broken) == 1
    assert "u005.wav does not exist; correct the path" in found.text()
    assert found.as_dict()["recordings"]["unreadable"] == {
        "u005": "u005.wav does not exist; correct the path"
    }


def test_json_holds_every_number(tmp_path):
    made = with_sound(rows(), tmp_path, {"u000": 1000, "u001": 1000})
    made["u003"]["text"] = made["u010"]["text"]

    found = audit(manifest(made, tmp_path), "speaker", num_folds=6, seed=1)
    read = json.loads(json.dumps(found.as_dict(), allow_nan=False))

    assert read["protocol"] == "speaker"
    assert read["seed"] == 1
    assert read["chosen"] is False
    assert read["promised"] == ["speaker", "sound"]
    assert read["broken"] == list(found.broken)
    assert read["labels"] == list(EMOTIONS)
    assert read["shared"]["sound"]["num_shared"] == 2
    assert read["shared"]["sound"]["num_test"] == 90
    assert read["shared"]["sound"]["share"] == pytest.approx(2 / 90)
    assert read["shared"]["sound"]["worst_share"] == pytest.approx(1 / 15)
    assert read["shared"]["sound"]["worst_fold"] in {fold["name"] for fold in read["folds"]}
    assert sorted(read["shared"]["sound"]["example"]) == ["u000", "u001"]
    assert read["shared"]["text"]["num_shared"] == read["texts"]["num_shared"] == 2
    assert read["texts"]["num_train"] == sum(fold["parts"]["train"] for fold in read["folds"])
    assert read["dialogues"]["num_shared"] == 0
    assert read["dialogues"]["num_test_dialogues"] == 6 * 5  # 5 dialogues have each speaker
    assert sum(fold["shared"]["sound"] for fold in read["folds"]) == 2
    assert [fold["parts_sha256"] for fold in read["folds"]] == [
        fold.sha256() for fold in found.folds
    ]
    assert read["balance"]["counts"]["test"] == dict.fromkeys(EMOTIONS, 30)
    assert read["recordings"]["read"] == 90
    assert read["recordings"]["seconds"] == pytest.approx(18)
    assert len(read["recordings"]["findings"]["shorter_than_0.4_s"]) == 90


def test_json_of_a_part_without_a_label_is_json():
    json.dumps(audit(official(*SMALL), "official").as_dict(), allow_nan=False)


def test_the_table_is_aligned_and_short():
    speakers = dict.fromkeys("abcdevwxyz", "Ann")

    lines = audit(official(*SMALL, speaker=speakers), "official").text().splitlines()

    assert lines[:10] == [
        "protocol official: the parts that the corpus publishes",
        "utterances: train 3, validation 2, test 5",
        "the protocol promises nothing about what train and test share",
        "",
        "test utterances whose ... is also in train       number   share",
        "speaker                                               5  100.0%",
        "text, case and punctuation aside                      2   40.0%",
        "text of 4 words or more                               1   20.0%",
        "time in one recording, over half of the shorter       0    0.0%",
        "2 different texts are shared; the label that train gives most often to the text is right "
        "for 50.0%, that of most train utterances for 100.0%",
    ]
    assert lines[12:14] == [
        "not compared, since train has no such column: session, dialogue, script, episode",
        "not compared, since no recording could be read: sound",
    ]
    assert lines[15:20] == [
        "label                   train  validation      test",
        "anger                1  33.3%    1  50.0%  2  40.0%",
        "happy                1  33.3%    0   0.0%  1  20.0%",
        "sad                  1  33.3%    1  50.0%  2  40.0%",
        "commonest to rarest       1.0           -       2.0",
    ]
    assert len(lines) < 30


def test_what_cannot_be_cut_is_refused():
    with pytest.raises(ProtocolError, match=r"protocol 'speakers' does not exist; choose one of"):
        audit(manifest(rows()), "speakers")
    with pytest.raises(ManifestError, match=r"no utterance has one of the labels .* choose other"):
        audit(manifest(rows()), "speaker", labels=label_set("calm,fear"))


@pytest.fixture(scope="module")
def meld_words():
    folder = Path(__file__).parents[3] / "shared" / "data" / "meld"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    return meld.read(folder)


@pytest.mark.corpus
def test_meld_shares_what_is_known_of_it(meld_words):
    found = audit(meld_words, "official", sound=False)

    assert shared(found) == {
        "speaker": (2501, 2610),
        "dialogue": (0, 2610),
        "episode": (2609, 2610),
        "text": (400, 2610),
        "long_text": (25, 2610),
        "time": (33, 2610),
    }
    assert found.texts.texts == 151
    assert found.dialogues.pairs == ((("test_dia0063", "train_dia0019"),),)
    assert found.dialogues.num_test_dialogues == 280


@pytest.mark.corpus
def test_dialogues_of_meld_overlap_in_time(meld_words):
    found = audit(meld_words, "dialogue", sound=False)

    assert shared(found)["dialogue"] == (0, 1371)
    assert len(found.broken) == 1
    assert (
        "keeps overlapping stretches of one recording apart, but 17 of 1,371 test utterances"
        in found.broken[0]
    )
