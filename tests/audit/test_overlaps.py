import pytest

from mersa.audit.overlaps import Shared, by_key, by_partner, overlapping
from mersa.errors import ManifestError
from mersa.folds import SHARED, Fold, leaks, shared_key
from mersa.manifest import Utterance

ONE = Fold("fold-1", {"a": "train", "b": "validation", "c": "train", "d": "test", "e": "test"})
TWO = Fold("fold-2", {"a": "test", "b": "test", "c": "test", "d": "train", "e": "validation"})


def cut_out(id_, start_s, end_s, origin="film"):
    extras = {"origin": origin, "origin_start_s": str(start_s), "origin_end_s": str(end_s)}
    return Utterance(id=id_, extras=extras)


def test_shared_keys_are_counted_in_each_fold_and_added_up():
    keys = {"a": "x", "b": "y", "c": "", "d": "x", "e": "y"}

    found = by_key("speaker", keys, [ONE, TWO])

    assert found.hits == (("d",), ("a",))
    assert (found.num_shared, found.num_test, found.sizes) == (2, 5, (2, 3))
    assert found.shares == (1 / 2, 1 / 3)
    assert found.worst_fold == "fold-1"
    assert found.example == ("d", "a", "fold-1")


def test_the_example_is_of_the_first_fold_that_shares():
    found = by_key("speaker", {"b": "y", "d": "y"}, [ONE, TWO])

    assert found.hits == ((), ("b",))
    assert found.worst_fold == "fold-2"
    assert found.example == ("b", "d", "fold-2")


def test_the_worst_fold_is_that_of_the_largest_share_not_of_the_most_utterances():
    hits = (("a",), ("b", "c"))

    found = Shared(name="text", folds=("one", "two"), hits=hits, sizes=(2, 5), example=None)

    assert found.worst_fold == "one"


def test_what_has_no_key_shares_nothing():
    found = by_key("speaker", {"a": "", "d": ""}, [ONE])

    assert (found.num_shared, found.worst_fold, found.example) == (0, "", None)


def test_shares_are_those_of_leaks():
    made = [
        Utterance(
            id=f"u{number:02}",
            text=f"Words {number % 7}",
            speaker=f"s{number % 3}",
            dialogue=f"d{number % 11}",
            session=f"S{number % 2}" if number % 5 else "",
            extras={"season": str(number % 2), "episode": str(number % 4), "script": ""},
        )
        for number in range(40)
    ]
    cycle = ("train", "test", "validation", "validation", "train", "validation")
    fold = Fold("", {one.id: cycle[number % 6] for number, one in enumerate(made)})

    shares = {
        name: by_key(name, {one.id: shared_key(one, name) for one in made}, [fold]).shares[0]
        for name in SHARED
    }

    assert shares.pop("script") == 0.0
    assert shares == leaks(made, fold)
    assert len(set(shares.values())) > 2


def test_partners_count_between_test_and_train_alone():
    partners = {"d": ["b", "c"], "e": ["b"], "c": ["d"], "b": ["d", "e"]}

    found = by_partner("time", partners, [ONE, TWO])

    assert found.hits == (("d",), ("b", "c"))
    assert found.example == ("d", "c", "fold-1")


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ((0, 4), (1, 5), True),  # 3 of 4 s
        ((0, 4), (2, 6), False),  # exactly half
        ((0, 4), (1.99, 6), True),
        ((16.9, 17.1), (17.0, 17.2), False),  # half, but for the rounding of these numbers
        ((0, 100), (50, 51), True),  # the shorter one lies inside
        ((0, 100), (99, 103), False),  # 1 of 4 s
        ((0, 4), (4, 8), False),
        ((3, 3), (0, 4), False),  # no length
        ((5, 3), (0, 9), False),
    ],
)
def test_utterances_overlap_by_more_than_half_of_the_shorter(one, other, overlap):
    found = overlapping([cut_out("a", *one), cut_out("b", *other)])

    assert found == ({"a": ["b"], "b": ["a"]} if overlap else {})


def test_overlaps_are_found_past_others_and_within_one_recording_alone():
    found = overlapping(
        [
            cut_out("a", 0, 10),
            cut_out("b", 1, 2),
            cut_out("c", 7, 12),
            cut_out("d", 11.9, 20),
            cut_out("e", 0, 10, origin="other film"),
        ]
    )

    assert found == {"a": ["b", "c"], "b": ["a"], "c": ["a"]}


def test_stretches_of_one_audio_file_overlap_too():
    found = overlapping(
        [
            Utterance(id="a", audio="call.wav", start_s=1.0, end_s=3.0),
            Utterance(id="b", audio="call.wav", start_s=1.5, end_s=3.5),
            Utterance(id="c", audio="call.wav", start_s=3.4),
            Utterance(id="d", audio="other.wav", start_s=1.0, end_s=3.0),
            Utterance(id="e", start_s=1.0, end_s=3.0),
        ]
    )

    assert found == {"a": ["b"], "b": ["a"]}


def test_a_whole_file_overlaps_itself_and_its_stretches():
    found = overlapping(
        [
            Utterance(id="a", audio="call.wav"),
            Utterance(id="b", audio="call.wav"),
            Utterance(id="c", audio="call.wav", start_s=5.0, end_s=6.0),
        ]
    )

    assert found == {"a": ["b", "c"], "b": ["a", "c"], "c": ["a", "b"]}


def test_an_origin_counts_before_the_audio_file():
    found = overlapping(
        [
            Utterance(**vars(cut_out("a", 0, 2)) | {"audio": "clips.wav"}),
            Utterance(**vars(cut_out("b", 5, 7)) | {"audio": "clips.wav"}),
        ]
    )

    assert found == {}


def test_an_origin_without_times_leaves_the_audio_file():
    found = overlapping(
        [
            Utterance(id="a", audio="clips.wav", extras={"origin": "film", "origin_start_s": "3"}),
            Utterance(id="b", audio="clips.wav", extras={"origin": "film"}),
        ]
    )

    assert found == {"a": ["b"], "b": ["a"]}


@pytest.mark.parametrize("cell", ["soon", "nan", "inf", "00:01:02"])
def test_a_time_of_origin_that_is_no_number_is_refused(cell):
    with pytest.raises(
        ManifestError, match=rf"row 'a': origin_end_s is '{cell}', but a number .* leave the cell"
    ):
        overlapping([cut_out("a", 1, cell)])
