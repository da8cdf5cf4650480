import gc
from dataclasses import replace
from pathlib import Path
from types import FunctionType, ModuleType

import pytest

from mersa.emotions import LABEL_SETS
from mersa.errors import ManifestError, ProtocolError
from mersa.folds import Fold
from mersa.manifest import Manifest, Utterance
from mersa.selection import check_fold, counts_text, data_sha256, learnable, select

FOUR = LABEL_SETS["iemocap-4"]  # anger, happy (and excited), sad, neutral


def manifest(*emotions, **columns):
    """Utterances 0, 1, ... that last as many seconds."""
    made = (
        Utterance(id=str(number), emotion=emotion, **{"duration_s": float(number)} | columns)
        for number, emotion in enumerate(emotions)
    )
    return Manifest(tuple(made), folder=Path())


def test_what_is_left_out_is_counted_by_its_reason():
    made = manifest("sad", "", "excited", "fear", "fear", "happy")

    found = select(made, FOUR, min_duration_s=5.0)

    assert [one.id for one in found.utterances] == ["5"]
    assert found.left_out == {"unlabelled": 1, "fear": 2, "too short": 2}
    assert found.labels is FOUR


def test_an_utterance_of_just_the_least_length_is_kept():
    assert [
        one.id for one in select(manifest("sad", "sad"), FOUR, min_duration_s=1).utterances
    ] == ["1"]


def test_a_length_follows_from_the_times_where_it_is_not_given():
    def length_s(**columns):
        return Utterance(id="a", **columns).length_s

    assert length_s(duration_s=2.5, start_s=1.0, end_s=9.0) == 2.5
    assert length_s(start_s=1.5, end_s=4.0) == 2.5
    assert length_s(end_s=4.0) == 4.0
    assert length_s(start_s=1.5) is length_s() is None


def test_a_length_that_is_needed_and_unknown_is_refused():
    made = manifest("sad", "anger", duration_s=None)

    with pytest.raises(
        ManifestError,
        match=r"'0' has no known length, .*; fill the column duration_s, or leave data\.min_dur",
    ):
        select(made, FOUR, min_duration_s=0.5)
    assert len(select(made, FOUR).utterances) == 2


def test_the_length_of_what_is_left_out_anyway_is_not_asked_for():
    made = manifest("fear", "", duration_s=None)
    kept = Utterance(id="kept", emotion="sad", start_s=0.25, end_s=1.0)

    found = select(Manifest((*made, kept), folder=Path()), FOUR, min_duration_s=0.75)

    assert found.utterances == (kept,)


def test_an_unknown_emotion_is_refused():
    with pytest.raises(ManifestError, match=r"'1' has the emotion 'rage'.*--map rage=WORD"):
        select(manifest("sad", "rage"), FOUR)


def test_nothing_left_is_refused():
    with pytest.raises(
        ManifestError,
        match=r"labels anger, happy, sad, neutral \(left out: fear 2, unlabelled 1\); choose other",
    ):
        select(manifest("fear", "", "fear"), FOUR)


def test_a_label_that_no_utterance_has_is_refused_where_all_are_needed():
    made = manifest("sad", "anger", "neutral", "fear", "")

    with pytest.raises(
        ManifestError,
        match=r"no utterance is 'happy', but data\.labels names it; the manifest holds anger, fear,"
        r" neutral, sad, so choose other data\.labels",
    ):
        select(made, FOUR, whole=True)
    assert len(select(made, FOUR).utterances) == 3


def test_a_merged_word_stands_for_its_label():
    made = manifest("sad", "anger", "neutral", "excited")

    assert len(select(made, FOUR, whole=True).utterances) == 4


def fold(made, cycle, name=""):
    return Fold(name, {one.id: cycle[int(one.id) % len(cycle)] for one in made})


def test_a_train_part_of_every_label_passes():
    made = manifest("sad", "anger", "neutral", "excited", "sad", "anger", "neutral", "happy")

    check_fold(fold(made, ["train"] * 4 + ["test"] * 4), select(made, FOUR))


def test_a_train_part_of_one_class_is_refused():
    made = manifest("excited", "anger", "happy", "sad")

    with pytest.raises(
        ProtocolError, match=r"train part holds one class only \('happy'\); .* choose another proto"
    ):
        check_fold(fold(made, ["train", "test"]), select(made, FOUR))


def test_a_label_that_train_lacks_is_refused_with_the_fold():
    made = manifest("neutral", "sad", "happy", "sad", "anger", "sad")

    with pytest.raises(
        ProtocolError, match=r"train part of fold-3 holds no utterance of 'sad'; leave it out of da"
    ):
        check_fold(fold(made, ["train", "test"], "fold-3"), select(made, FOUR))


ONE = Utterance(
    id="a", text="so", emotion="sad", audio="a.wav", start_s=0.5, end_s=2.0, speaker="Ann"
)


@pytest.mark.parametrize(
    "change",
    [
        *({"id": "b"}, {"text": "no"}, {"emotion": "anger"}, {"audio": "b.wav"}),
        *({"start_s": 0.25}, {"end_s": 2.5}, {"end_s": None}),
    ],
    ids=str,
)
def test_the_digest_tells_what_is_learnt_from(change):
    assert data_sha256([ONE]) != data_sha256([replace(ONE, **change)])


def test_the_digest_does_not_tell_what_is_not_learnt_from():
    other = replace(ONE, speaker="Bob", part="test", extras={"take": "1"})

    assert data_sha256([ONE]) == data_sha256([other])


def test_counts_stand_in_the_order_of_their_names():
    assert counts_text({"happy": 5, "anger": 3}) == "anger 3, happy 5"
    assert counts_text({}) == ""


PARTS_OF_SIX = Fold(
    "fold-2",
    {"0": "train", "1": "test", "2": "validation", "3": "train", "4": "test"},
)
SEEN = learnable(manifest("sad", "sad", "anger", "anger", "happy", "happy"), PARTS_OF_SIX, Path())


def test_what_may_be_learnt_from_is_train_and_validation():
    assert [one.id for one in SEEN.part("train")] == ["0", "3"]
    assert [one.id for one in SEEN.part("validation")] == ["2"]


@pytest.mark.parametrize("part", ["test", "", "Test"])
def test_whoever_asks_for_the_test_part_before_evaluate_is_refused(part):
    with pytest.raises(
        ProtocolError, match=rf"the {part} part cannot be read .*with: mersa evaluate RUN"
    ):
        SEEN.part(part)


def test_the_test_part_is_reached_by_no_way_round():
    held = {id(one): one for one in gc_reachable(SEEN) if isinstance(one, Utterance)}

    assert sorted(one.id for one in held.values()) == ["0", "2", "3"]


def gc_reachable(root):
    """Everything that a reference leads to, modules, classes and functions aside."""
    seen, waiting = {}, [root]
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, type | ModuleType | FunctionType):
            continue
        seen[id(one)] = one
        waiting += gc.get_referents(one)
    return list(seen.values())
