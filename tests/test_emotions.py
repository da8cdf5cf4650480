import pytest

from mersa.emotions import LABEL_SETS, SPELLING_TO_WORD, WORDS, label_set, to_word
from mersa.errors import ConfigError, ManifestError


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("ang", "anger"),
        ("hap", "happy"),
        ("joy", "happy"),
        ("exc", "excited"),
        ("fru", "frustrated"),
        ("fearful", "fear"),
        ("surprised", "surprise"),
        ("bored", "boredom"),
        (" Sadness ", "sad"),
        ("", ""),
        ("  ", ""),
    ],
)
def test_a_corpus_name_becomes_the_word(name, word):
    assert to_word(name) == word


def test_every_word_is_its_own_spelling():
    assert [SPELLING_TO_WORD[word] for word in WORDS] == list(WORDS)


@pytest.mark.parametrize("name", ["wut", "Wut", " WUT"])
def test_own_translations_do_not_mind_case(name):
    assert to_word(name, {"WUT": "Anger"}) == "anger"


def test_own_translations_come_before_the_known_ones():
    assert to_word("joy", {"joy": "excited"}) == "excited"


def test_an_own_translation_may_lead_to_a_spelling_that_is_known():
    assert to_word("wut", {"wut": "angry"}) == "anger"


def test_a_word_that_is_its_own_translation_is_kept():
    assert to_word("pride", {"pride": "pride"}) == "pride"


def test_an_own_translation_may_lead_to_a_declared_word():
    assert to_word("stolz", {"stolz": "pride", "pride": "pride"}) == "pride"


def test_an_own_translation_to_nothing_means_unlabelled():
    assert to_word("xxx", {"xxx": ""}) == ""


def test_an_unknown_name_is_refused_with_the_nearest_and_the_remedy():
    with pytest.raises(
        ManifestError, match=r"emotion 'Angre' is not known \(nearest: angry\); give --map angre="
    ):
        to_word("Angre")


def test_an_unknown_name_without_a_near_one_is_refused_without_a_hint():
    with pytest.raises(ManifestError, match="emotion 'zzz' is not known; give --map zzz=WORD"):
        to_word("zzz")


def test_a_translation_to_an_unknown_word_is_refused():
    with pytest.raises(ManifestError, match=r"--map wut=angre leads to .* add --map angre=angre"):
        to_word("wut", {"wut": "angre"})


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("iemocap-4", "anger happy sad neutral"),
        ("iemocap-6", "anger happy sad neutral excited frustrated"),
        ("meld-4", "anger happy sad neutral"),
        ("meld-7", "anger happy sad neutral surprise fear disgust"),
    ],
)
def test_the_order_of_outputs_is_fixed(name, labels):
    assert label_set(name).labels == tuple(labels.split())


def test_the_index_of_a_label_is_its_place():
    assert [LABEL_SETS["meld-7"].index(word) for word in ("anger", "disgust")] == [0, 6]


@pytest.mark.parametrize(("name", "index"), [("iemocap-4", 1), ("meld-4", 1), ("iemocap-6", 4)])
def test_excited_counts_as_happy_only_where_four_are_told_apart(name, index):
    assert label_set(name).index("excited") == index


@pytest.mark.parametrize(("name", "word"), [("iemocap-4", "frustrated"), ("meld-7", "excited")])
def test_a_word_outside_of_the_set_has_no_index(name, word):
    assert label_set(name).index(word) is None


def test_an_unlabelled_utterance_has_no_index():
    assert label_set("iemocap-4").index("") is None


def test_all_takes_the_words_in_their_order_and_own_ones_after_them_sorted():
    words = ["pride", "boredom", "", "hope", "anger", "awe", "sad", "anger", "envy", "guilt"]

    labels = label_set("all", words).labels

    assert labels == ("anger", "sad", "boredom", "awe", "envy", "guilt", "hope", "pride")


def test_own_words_keep_the_order_in_which_they_were_given():
    chosen = label_set("Calm, anger,pride")

    assert (chosen.labels, chosen.index("pride")) == (("calm", "anger", "pride"), 2)


def test_an_unknown_label_set_is_refused_with_the_nearest():
    with pytest.raises(
        ConfigError, match=r"label set 'iemocap4' is not known \(nearest: iemocap-4\); use one of"
    ):
        label_set("iemocap4")


@pytest.mark.parametrize("name", ["anger,anger", "anger,", ",", "a, A"])
def test_own_words_must_be_two_different_ones(name):
    with pytest.raises(ConfigError, match=r"labels '.*' give .*at least two different emotions"):
        label_set(name)


@pytest.mark.parametrize(("words", "seen"), [([], "nothing"), (["sad", "", "sad"], "sad")])
def test_all_of_fewer_than_two_emotions_is_refused(words, seen):
    with pytest.raises(ConfigError, match=f"labels 'all' give {seen}, but .* name them"):
        label_set("all", words)
