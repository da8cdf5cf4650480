import json

import numpy as np
import pytest
import torch

from mersa.alignment import picture
from mersa.alignment.align import align
from mersa.alignment.picture import chosen_rows, draw_spaces
from mersa.alignment.settings import make_align_config
from mersa.alignment.space import MEASURES, TITLES, Points, Space, compare
from mersa.alignment.study import study
from mersa.encoders.cache import FeatureCache
from mersa.errors import AlignmentError, ConfigError, RunError


@pytest.fixture(scope="module")
def sound(small_corpus, cache_folder, tmp_path_factory):
    """A folder with a projection of mel, aligned on the small corpus; to be read."""
    torch.set_num_threads(1)
    nested = {
        "data": {"labels": "iemocap-4"},
        "audio": {"name": "mel"},
        "align": {"modality": "audio", "epochs": 1},
    }
    folder = tmp_path_factory.mktemp("aligned") / "sound"
    config = make_align_config(nested)
    align(small_corpus, config, folder, cache=FeatureCache(cache_folder), device="cpu")
    return folder


def test_the_verb_measures_both_spaces_draws_them_and_says_that_test_was_read(
    mersa, sound, small_corpus, cache_folder, tmp_path
):
    words = ("space", small_corpus, sound, "--cache", cache_folder, "--draws", 100)

    said = mersa(*words, "--out", tmp_path / "out")

    assert said.code == 0
    assert "the test part has been read: choose no setting by it" in said.err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "space.json",
        "space.txt",
        "figure3-validation.png",
        "figure3-test.png",
    }
    held = json.loads((tmp_path / "out" / "space.json").read_text())
    before, after = (held["parts"]["test"][name] for name in ("before", "after"))
    assert before["n"] == after["n"] > 0
    assert set(MEASURES) < set(before)
    assert before["uniformity"] != after["uniformity"]
    assert (held["before"], held["modality"]) == ("mel", "audio")
    assert said.out.startswith((tmp_path / "out" / "space.txt").read_text())


def test_validation_alone_reads_no_test(sound, small_corpus, cache):
    found = study(small_corpus, sound, cache=cache, parts=["validation"], draws=100, device="cpu")

    assert list(found.parts) == ["validation"]


def test_another_manifest_than_that_of_the_alignment_is_refused(sound, toy_corpus, cache):
    with pytest.raises(AlignmentError, match=r"aligned on other utterances"):
        study(toy_corpus / "manifest.csv", sound, cache=cache, device="cpu")


def test_a_folder_without_an_alignment_is_refused(small_corpus, tmp_path, cache):
    with pytest.raises(AlignmentError, match=r"holds no aligned encoder; name a folder"):
        study(small_corpus, tmp_path, cache=cache, device="cpu")


def test_train_is_not_measured(sound, small_corpus, cache):
    with pytest.raises(ConfigError, match=r"part 'train' is not measured; choose validation or"):
        study(small_corpus, sound, cache=cache, parts=["train"], device="cpu")


def points(num=60, seed=0, num_labels=3):
    random = np.random.default_rng(seed)
    groups = tuple(str(row % 10) for row in range(num))
    return Points(random.normal(size=(num, 5)), np.arange(num) % num_labels, groups)


def drawn(num=60, **choice):
    before, after = points(num), points(num, seed=1)
    measured = compare([Space(points(seed=2), before)], [Space(points(seed=3), after)], draws=100)
    labels = ("anger", "happy", "sad")
    return draw_spaces(before, after, labels, measured=measured, part="test", **choice), measured


def test_panels_hold_the_same_utterances_and_their_measures():
    figure, measured = drawn(most=30)

    left, right = figure.axes
    for panel, held in ((left, measured.before), (right, measured.after)):
        assert sum(len(one.get_offsets()) for one in panel.collections) == 30
        assert f"{TITLES['silhouette']}  {held.values['silhouette']:.3f} [" in panel.get_xlabel()
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["anger (10)", "happy (10)", "sad (10)"]
    assert "30 of 60 test utterances, the same share of each label" in figure.get_supxlabel()


def test_each_label_has_a_mark_of_its_own_in_grey():
    assert len(set(picture._MARKS)) == len({marker for marker, *_ in picture._MARKS}) == 10


def test_the_same_seed_gives_the_same_picture(tmp_path):
    places = [picture.tsne(np.eye(12, 5) + 0.1, seed=3) for _ in range(2)]

    assert np.array_equal(*places)


def test_a_choice_keeps_the_share_of_each_label_and_the_rarest_one():
    labels = np.array([0] * 700 + [1] * 299 + [2])

    rows = chosen_rows(labels, 100, 0)

    assert np.bincount(labels[rows]).tolist() == [70, 30, 1] or len(rows) <= 101
    assert (np.diff(rows) > 0).all()
    assert (labels[rows] == 2).sum() == 1
    assert np.array_equal(rows, chosen_rows(labels, 100, 0))
    assert not np.array_equal(rows, chosen_rows(labels, 100, 1))


def test_more_labels_than_marks_are_refused():
    held = points(60, num_labels=11)

    with pytest.raises(RunError, match=r"tells 10 labels apart, but there are 11; choose"):
        draw_spaces(held, held, tuple("abcdefghijk"), measured=None, part="test")


def test_fewer_than_8_points_are_refused():
    with pytest.raises(RunError, match=r"there are 7 points; give a part of at least 8"):
        picture.tsne(np.eye(7), seed=0)


def test_no_part_at_all_is_refused(small_corpus, sound, cache):
    with pytest.raises(ConfigError, match="no part was named; choose validation or test"):
        study(small_corpus, sound, cache=cache, parts=[], device="cpu")
