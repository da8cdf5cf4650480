import pytest

from mersa.audit.overlaps import by_key
from mersa.audit.twins import dialogue_twins, text_twins
from mersa.folds import Fold
from mersa.manifest import Utterance

ROWS = [  # id, part, text, label
    ("a1", "train", "yes", "happy"),
    ("a2", "train", "yes", "happy"),
    ("a3", "train", "yes", "sad"),
    ("a4", "train", "no", "sad"),
    ("a5", "train", "oh", "surprise"),
    ("a6", "train", "oh", "sad"),
    ("a7", "train", "", "anger"),
    ("a8", "train", "", "sad"),
    ("a9", "train", "only here", "happy"),
    ("b1", "validation", "yes", "anger"),
    ("c1", "test", "yes", "happy"),
    ("c2", "test", "yes", "happy"),
    ("c3", "test", "yes", "anger"),
    ("c4", "test", "no", "anger"),
    ("c5", "test", "oh", "sad"),
    ("c6", "test", "", "sad"),
    ("c7", "test", "new", "sad"),
]


def twins(rows, *folds):
    texts = {id_: text for id_, _, text, _ in rows}
    label_of = {id_: label for id_, *_, label in rows}
    return text_twins(texts, label_of, folds, by_key("text", texts, folds))


FOLD = Fold("fold-1", {id_: part for id_, part, *_ in ROWS})


def test_shared_texts_tell_the_label_by_the_majority_of_train():
    found = twins(ROWS, FOLD)

    assert (found.num_shared, found.texts) == (5, 3)
    assert found.right == 3  # c1, c2, and c5: 'oh' is sad or surprise alike, but sad is commoner
    assert found.guessed == 1  # c5


def test_labels_that_differ_are_counted_across_and_within_train():
    found = twins(ROWS, FOLD)

    assert (found.unseen_label, found.unseen_label_texts) == (2, 2)  # c3, c4
    assert (found.mixed, found.mixed_texts, found.num_train) == (5, 2, 9)  # 'yes', 'oh'


def test_folds_are_added_up_and_texts_counted_once():
    turned = {"train": "test", "test": "train", "validation": "validation"}
    other = Fold("fold-2", {id_: turned[part] for id_, part in FOLD.parts.items()})

    found = twins(ROWS, FOLD, other)

    assert (found.num_shared, found.texts) == (5 + 6, 3)
    assert (found.mixed, found.mixed_texts, found.num_train) == (5 + 3, 2, 9 + 7)
    assert (found.unseen_label, found.unseen_label_texts) == (2 + 3, 3)  # a3, a4, a5


def test_sentences_name_the_numbers():
    said = "\n".join(twins(ROWS, FOLD).lines())

    assert "3 different texts are shared" in said
    assert "right for 60.0%, that of most train utterances for 20.0%" in said
    assert "never gives to their text: 2 (2 different texts)" in said
    assert "has other labels too: 5 of 9 (2 different texts)" in said


def test_nothing_shared_is_nothing_said():
    rows = [("a", "train", "one", "sad"), ("b", "test", "two", "sad")]

    assert twins(rows, Fold("", {"a": "train", "b": "test"})).lines() == []


def dialogue(name, *texts, part="train"):
    return [
        Utterance(id=f"{name}_utt{number}", text=text, dialogue=name, part=part)
        for number, text in enumerate(texts)
    ]


def found_among(*dialogues):
    made = [one for lines in dialogues for one in lines]
    return dialogue_twins(made, [Fold("", {one.id: one.part for one in made})])


def test_a_dialogue_with_the_same_texts_in_order_is_a_twin():
    found = found_among(
        dialogue("a", "Hello.", "Hi!", "So?"),
        dialogue("b", "hello", "hi", "so", part="test"),
        dialogue("c", "hi", "hello", "so", part="test"),
        dialogue("d", "hello", "hi", part="test"),
    )

    assert found.pairs == ((("b", "a"),),)
    assert (found.num_shared, found.num_test_dialogues) == (1, 3)
    assert found.lines() == [
        "test dialogues that repeat a train dialogue word for word: 1 of 3 (as b = a)"
    ]


@pytest.mark.parametrize(
    "lines",
    [("Yeah.",), ("", ""), ("Yeah.", "")],
)
def test_fewer_than_two_texts_make_no_dialogue(lines):
    found = found_among(dialogue("a", *lines), dialogue("b", *lines, part="test"))

    assert (found.num_shared, found.num_test_dialogues, found.lines()) == (0, 1, [])


def test_validation_is_no_twin():
    found = found_among(
        dialogue("a", "Hello.", "Hi!", part="validation"),
        dialogue("b", "Hello.", "Hi!", part="test"),
        dialogue("c", "Other.", "Words!"),
    )

    assert found.num_shared == 0


def test_a_dialogue_is_compared_whole_in_the_order_of_its_numbers():
    texts = [f"line {number}" for number in range(12)]
    train = dialogue("a", *texts)
    test = dialogue("b", *texts, part="test")
    renamed = [
        Utterance(**vars(one) | {"id": f"b_utt{number:02}"}) for number, one in enumerate(test)
    ]
    parts = {one.id: one.part for one in [*train[:5], *renamed[3:6]]}  # the others have no label

    found = dialogue_twins([*train, *renamed], [Fold("", parts)])

    assert found.pairs == ((("b", "a"),),)


def test_a_dialogue_on_both_sides_is_not_its_own_twin():
    made = dialogue("a", "Hello.", "Hi!", "So?")
    parts = {"a_utt0": "train", "a_utt1": "test", "a_utt2": "train"}

    found = dialogue_twins(made, [Fold("", parts)])

    assert (found.num_shared, found.num_test_dialogues) == (0, 1)
