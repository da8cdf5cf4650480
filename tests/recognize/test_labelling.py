import numpy as np
import pytest

from mersa.emotions import LABEL_SETS, LabelSet
from mersa.errors import ConfigError, ManifestError
from mersa.recognize.labelling import check_mapping, common_labels, label_table

FOUR = LABEL_SETS["iemocap-4"]


def test_labels_count_as_the_word_that_a_corpus_means_by_them():
    table = label_table(["hap", "Angry", "sadness", "love", "calm"])

    assert table.words == ("happy", "anger", "sad", None, "calm")


def test_a_mapping_comes_before_the_known_names():
    table = label_table(["LABEL_0", "love", "joy"], mapping={"label_0": "anger", "Love": "happy"})

    assert table.words == ("anger", "happy", "happy")


def test_a_mapping_to_an_unknown_word_is_refused():
    with pytest.raises(ManifestError, match=r"--map love=bliss leads to a word that is not known"):
        label_table(["love", "joy"], mapping={"love": "bliss"})


def test_what_is_left_out_loses_its_probability_and_what_is_one_word_is_added_up():
    table = label_table(["joy", "excitement", "anger", "love"])
    logits = np.log([[0.1, 0.2, 0.3, 0.4], [0.25, 0.25, 0.25, 0.25]])

    found = table.probabilities(logits, FOUR)

    expected = np.array([[0.3, 0.3, 0, 0], [0.25, 0.5, 0, 0]])  # anger, happy
    np.testing.assert_allclose(found, expected / expected.sum(1, keepdims=True), atol=1e-12)


def test_labels_that_have_a_probability_each_are_scaled_to_a_share():
    table = label_table(["joy", "anger", "love"], multi_label=True)
    each = np.array([[0.2, 0.6, 0.9]])

    found = table.probabilities(np.log(each / (1 - each)), LabelSet("two", ("happy", "anger")))

    np.testing.assert_allclose(found, [[0.25, 0.75]], atol=1e-12)


def test_logits_of_any_size_give_probabilities():
    table = label_table(["joy", "anger"])

    found = table.probabilities(np.array([[5000.0, -5000.0]], dtype=np.float32), FOUR)

    assert found.tolist() == [[0.0, 1.0, 0.0, 0.0]]


def test_checkpoints_answer_with_the_words_that_all_of_them_have():
    tables = {
        "a": label_table(["sad", "anger", "calm", "happy"]),
        "t": label_table(["joy", "surprise", "sadness"]),
    }

    assert common_labels(tables).labels == ("happy", "sad")
    assert common_labels({"a": tables["a"]}).labels == ("anger", "happy", "sad", "calm")
    assert common_labels(tables, "sad,surprise,happy").labels == ("sad", "surprise", "happy")


def test_a_checkpoint_that_shares_fewer_than_two_words_is_refused():
    tables = {"a": label_table(["sad", "anger"]), "t": label_table(["joy", "love", "sadness"])}

    with pytest.raises(ConfigError, match=r"'a' has the labels sad, anger, of which fewer than"):
        common_labels(tables)
    with pytest.raises(ConfigError, match=r"--map NAME=WORD"):
        common_labels({"s": label_table(["positive", "negative"])}, "meld-7")


def test_the_table_tells_what_each_word_takes_and_what_is_left_out():
    table = label_table(["joy", "excitement", "anger", "love"])

    told = table.text(FOUR)

    assert told == (
        "anger = anger, happy = joy + excitement, sad = nothing, neutral = nothing; left out: love"
    )


def test_a_mapping_of_a_label_that_is_not_there_is_refused():
    tables = {"a": label_table(["joy", "anger"])}

    with pytest.raises(ConfigError, match=r"--map joi=happy names a label .* \(nearest: joy\)"):
        check_mapping(tables, {"joi": "happy"})


def test_numbered_labels_need_a_mapping():
    names = ["LABEL_0", "LABEL_1"]
    given = {"LABEL_0": "anger", "LABEL_1": "happy"}

    with pytest.raises(ConfigError, match=r"LABEL_0, LABEL_1, which tells no emotion; give"):
        check_mapping({"a": label_table(names)}, {})
    check_mapping({"a": label_table(names, mapping=given)}, given)
