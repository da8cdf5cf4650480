import pytest

from mersa.folds import (
    Fold,
    known_from_train,
    leaks,
    natural_key,
    normalise_text,
    shared_key,
)
from mersa.manifest import Utterance


def test_leaks_are_shares_of_the_test_part():
    rows = [  # id, part, speaker, dialogue, text
        ("a", "train", "Ann", "d1", "Oh, really?"),
        ("b", "train", "Bob", "d1", ""),
        ("c", "validation", "Cid", "d2", "Only here."),
        ("d", "test", "Ann", "d3", "oh really"),
        ("e", "test", "Cid", "d1", "Only here."),
        ("f", "test", "Bob", "d2", ""),
        ("g", "test", "", "d4", "New words!"),
    ]
    made = [
        Utterance(id=i, speaker=speaker, dialogue=dialogue, text=text, emotion="sad")
        for i, _, speaker, dialogue, text in rows
    ]

    shares = leaks(made, Fold("", {row[0]: row[1] for row in rows}))

    assert shares == {"speaker": 0.5, "dialogue": 0.25, "text": 0.25}


def test_an_empty_column_leaks_nothing_to_speak_of():
    made = [Utterance(id="a", speaker="Ann"), Utterance(id="b", speaker="Bob")]

    assert leaks(made, Fold("", {"a": "train", "b": "test"})) == {"speaker": 0.0}


def test_test_utterances_are_known_by_the_first_train_utterance_with_their_key():
    parts = {"a": "train", "b": "train", "c": "validation", "d": "test", "e": "test", "f": "test"}
    keys = {"a": "x", "b": "x", "c": "y", "d": "x", "e": "y", "f": ""}

    assert known_from_train(keys, Fold("", parts)) == {"d": "a"}


def test_a_key_that_no_train_utterance_has_is_told_from_one_that_none_shares():
    fold = Fold("", {"a": "train", "b": "test"})

    assert known_from_train({"a": "", "b": ""}, fold) is None
    assert known_from_train({"b": "x"}, fold) is None
    assert known_from_train({"a": "x", "b": ""}, fold) == {}


def test_numbers_in_names_are_sorted_as_numbers():
    names = ["utt10", "b", "utt2", "10", "9", "utt02", "a"]

    assert sorted(names, key=natural_key) == ["9", "10", "a", "b", "utt02", "utt2", "utt10"]


def test_the_digest_depends_on_the_parts_alone():
    parts = {"a": "train", "b": "validation", "c": "test"}

    digest = Fold("fold-1", parts).sha256()

    assert digest == Fold("another", dict(reversed(parts.items()))).sha256()
    assert digest != Fold("fold-1", parts | {"b": "train"}).sha256()
    assert digest != Fold("fold-1", parts | {"d": "test"}).sha256()
    # printf 'a,train\nb,validation\nc,test\n' | sha256sum
    assert digest == "162c1649cb63495a555a218aa0efb5aabbbd4cc4d8dfe43af44e9c58f8fe8777"


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("Yeah.", "yeah"),
        ("  Oh,   YEAH?!", "oh yeah"),
        ("I don\u2019t know", "i don't know"),
        ("I don't know", "i don't know"),
        ("We\u2019ll!", "we'll"),
        ("Well!", "well"),
        ("Uh-huh\u2026 \u2018no\u2019s", "uhhuh no's"),
        ("[LAUGHTER]", "laughter"),
        ("Lubi\u0119", "lubi\u0119"),
        ("Lubie\u0328", "lubi\u0119"),  # the same letter, of two characters
        ("\u0915\u093f\u0964", "\u0915\u093f"),  # a Hindi vowel sign is no punctuation
        ("\u2014\u2026 '", ""),
    ],
)
def test_texts_are_compared_in_lower_case_without_punctuation(text, same):
    assert normalise_text(text) == same


def test_an_episode_counts_within_its_season():
    one = Utterance(id="a", extras={"season": "2", "episode": "7"})
    other = Utterance(id="b", extras={"season": "3", "episode": "7"})

    assert shared_key(one, "episode") != shared_key(other, "episode")
    assert shared_key(Utterance(id="c", extras={"season": "2"}), "episode") == ""


def test_scripts_sessions_and_episodes_are_counted_too():
    def spoken(id_, **extras):
        return Utterance(id=id_, session=extras.pop("session"), extras=extras)

    made = [
        spoken("a", session="1", script="s1", season="1", episode="1"),
        spoken("b", session="2", script="s2", season="1", episode="2"),
        spoken("c", session="3", script="s1", season="1", episode="1"),
        spoken("d", session="3", script="s9", season="2", episode="1"),
        spoken("e", session="1", script="s2", season="1", episode="2"),
        spoken("f", session="4", script="s8", season="1", episode="2"),
    ]
    parts = dict(zip("abcdef", ("train", "train", "test", "test", "test", "test"), strict=True))

    assert leaks(made, Fold("", parts)) == {"session": 0.25, "script": 0.5, "episode": 0.75}
