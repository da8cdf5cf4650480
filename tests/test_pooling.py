from itertools import pairwise

import numpy as np
import pytest

from mersa import runs
from mersa.answers import read_predictions, write_predictions
from mersa.calibration import score_confident
from mersa.config import Config
from mersa.emotions import LABEL_SETS
from mersa.errors import RunError
from mersa.evaluation import SCORES, Predictions, concatenate, score, score_cell
from mersa.pooling import answers_on_test, places, summarise, validation_answers

LABELS = LABEL_SETS["iemocap-4"]


def answers(part, ids, seed):
    """Answers that are right more often than not, in groups of three utterances."""
    random = np.random.default_rng([seed, len(ids)])
    truth = np.arange(len(ids)) % 4
    probabilities = random.dirichlet(np.ones(4), size=len(ids)) + 0.4 * np.eye(4)[truth]
    return Predictions(
        tuple(ids),
        (part,) * len(ids),
        truth,
        probabilities / probabilities.sum(1, keepdims=True),
        tuple(f"d{int(id_[1:]) // 3}" for id_ in ids),
        LABELS.labels,
    )


def leaf(folder, *, seed=0, tested=None, validated=range(50, 61)):
    """Write what a leaf run leaves behind that is scored."""
    parts = {f"u{number}": "validation" for number in validated}
    found = [answers("validation", list(parts), seed)]
    if tested is not None:
        found.append(answers("test", [f"u{number}" for number in tested], seed))
    runs.begin(folder, Config(), LABELS, parts, folder)
    write_predictions(folder, concatenate(found))
    metrics = {
        "state": "trained" if tested is None else "evaluated",
        "row": "IV.6",
        "row_changes": ["audio.name"],
        "system": "mersa-cross",
        "protocol": "speaker",
        "seed": seed,
        "labels": list(LABELS.labels),
        "parts_sha256": f"parts of {folder.name}",
        "parts": {one.parts[0]: score(one, draws=9) for one in found},
    }
    runs.write_json(folder / "metrics.json", metrics)
    (folder / "model.safetensors").touch()
    return metrics


def folds(folder, sizes=(9, 14, 22), *, seed=0):
    """Write folds that test each utterance once, and validate on the same ones."""
    ends = np.cumsum([0, *sizes])
    return [
        leaf(folder / f"fold-{number + 1}", seed=seed + number, tested=range(start, end))
        for number, (start, end) in enumerate(pairwise(ends))
    ]


def test_a_run_of_one_leaf_is_its_own_summary(tmp_path):
    written = leaf(tmp_path)

    assert summarise(tmp_path) == written


def test_the_test_part_of_folds_is_pooled_and_each_id_stands_once(tmp_path):
    several = folds(tmp_path)

    metrics = summarise(tmp_path)

    pooled = read_predictions(tmp_path)
    assert set(pooled.parts) == {"test"}
    assert len(set(pooled.ids)) == len(pooled.ids) == 9 + 14 + 22
    test = metrics["parts"]["test"]
    alone = [one["parts"]["test"]["macro_f1"] for one in several]
    expected = score_confident(pooled, None) | {"mean_of_folds": test["mean_of_folds"]}
    assert test == expected
    assert test["mean_of_folds"]["macro_f1"] == pytest.approx(np.mean(alone))
    assert test["macro_f1"] != pytest.approx(np.mean(alone), abs=1e-6)
    assert metrics == runs.read_json(tmp_path / "metrics.json")


def test_the_validation_of_folds_is_their_mean_since_it_overlaps(tmp_path):
    several = [one["parts"]["validation"] for one in folds(tmp_path)]

    validation = summarise(tmp_path)["parts"]["validation"]

    for name in SCORES:
        values = [one[name] for one in several]
        assert validation[name] == pytest.approx(np.mean(values))
        assert validation["sd"][name] == pytest.approx(np.std(values, ddof=1))
    assert (validation["n"], validation["runs"]) == (11, 3)
    assert "ci95" not in validation
    assert "confusion" not in validation


def test_folds_that_are_not_evaluated_pool_nothing(tmp_path):
    folds(tmp_path)
    leaf(tmp_path / "fold-4")

    metrics = summarise(tmp_path)

    assert metrics["state"] == "trained"
    assert list(metrics["parts"]) == ["validation"]
    assert not (tmp_path / "predictions.csv").exists()


def test_what_the_leaves_share_stands_above_them(tmp_path):
    folds(tmp_path)

    metrics = summarise(tmp_path)

    assert (metrics["row"], metrics["row_changes"]) == ("IV.6", ["audio.name"])
    assert (metrics["system"], metrics["protocol"]) == ("mersa-cross", "speaker")
    assert (metrics["folds"], metrics["labels"]) == (3, list(LABELS.labels))
    assert metrics["parts_sha256"] == [f"parts of fold-{number}" for number in (1, 2, 3)]


def test_seeds_are_averaged_over_what_all_of_them_have(tmp_path):
    leaf(tmp_path / "seed-4", seed=4, tested=range(30))
    leaf(tmp_path / "seed-5", seed=5)

    metrics = summarise(tmp_path)

    assert (metrics["state"], metrics["seeds"]) == ("trained", [4, 5])
    assert list(metrics["parts"]) == ["validation"]
    assert metrics["row_changes"] == ["audio.name"]


def test_folds_of_seeds_are_pooled_and_then_averaged(tmp_path):
    for seed in (4, 5):
        for number, tested in enumerate((range(9), range(9, 23)), start=1):
            leaf(tmp_path / f"seed-{seed}" / f"fold-{number}", seed=seed, tested=tested)

    metrics = summarise(tmp_path)

    inner = [runs.read_json(tmp_path / f"seed-{seed}" / "metrics.json") for seed in (4, 5)]
    values = [one["parts"]["test"]["accuracy"] for one in inner]
    test = metrics["parts"]["test"]
    assert metrics["seeds"] == [4, 5]
    assert (test["n"], test["runs"]) == (23, 2)
    assert test["accuracy"] == pytest.approx(np.mean(values))
    assert test["sd"]["accuracy"] == pytest.approx(abs(values[0] - values[1]) / np.sqrt(2))
    assert not (tmp_path / "predictions.csv").exists()


def test_one_fold_has_no_deviation(tmp_path):
    leaf(tmp_path / "fold-1", tested=range(9))

    assert set(summarise(tmp_path)["parts"]["validation"]["sd"].values()) == {0.0}


def test_validation_answers_are_the_mean_of_those_that_have_not_learnt_from_them(tmp_path):
    several = folds(tmp_path)
    leaves = runs.members(tmp_path)
    validated = [read_predictions(one).part("validation") for one in leaves]

    answered = validation_answers(leaves)

    assert len(several) == len(leaves) == 3
    assert set(answered.ids) == {id_ for one in validated for id_ in one.ids}
    assert len(set(answered.ids)) == len(answered.ids)
    for row, id_ in enumerate(answered.ids):
        own = [one.probabilities[one.ids.index(id_)] for one in validated if id_ in one.ids]
        assert np.allclose(answered.probabilities[row], np.mean(own, axis=0))


def test_folds_that_are_not_whole_are_told(tmp_path):
    folds(tmp_path)
    (tmp_path / "fold-2" / "metrics.json").unlink()

    with pytest.raises(RunError, match=r"fold-2.metrics\.json cannot be read"):
        summarise(tmp_path)


@pytest.mark.parametrize("layout", ["alone", "folds", "seeds", "seeds of folds"])
def test_the_answers_of_each_seed_are_one_test_part(tmp_path, layout):
    folder, seeds = tmp_path / "run", (3, 11)
    if layout == "alone":
        leaf(folder, tested=range(45))
    elif layout == "folds":
        folds(folder)
    else:
        for seed in seeds:
            place = folder / f"seed-{seed}"
            if layout == "seeds":
                leaf(place, seed=seed, tested=range(45))
            else:
                folds(place, seed=seed)
    summarise(folder)

    several = answers_on_test(folder)

    wanted = [folder] if "seeds" not in layout else [folder / f"seed-{seed}" for seed in seeds]
    assert places(folder) == wanted
    assert len(several) == len(wanted)
    for one in several:
        assert set(one.parts) == {"test"}
        assert sorted(one.ids) == sorted(f"u{number}" for number in range(45))


def test_answers_of_a_test_part_that_was_not_read_are_refused(tmp_path):
    leaf(tmp_path / "run")

    with pytest.raises(RunError, match=r"no test scores yet; read its test part with: mersa eval"):
        answers_on_test(tmp_path / "run")


def test_the_mean_over_seeds_has_an_interval_of_its_own(tmp_path):
    for seed in (0, 1, 2):
        leaf(tmp_path / "run" / f"seed-{seed}", seed=seed, tested=range(45))

    test = summarise(tmp_path / "run")["parts"]["test"]

    half = 4.302652729911275 * test["sd"]["macro_f1"] / np.sqrt(3)  # t of 2 degrees of freedom
    assert test["ci95_seeds"]["macro_f1"] == pytest.approx(
        [test["macro_f1"] - half, test["macro_f1"] + half]
    )


def test_a_run_of_folds_has_a_card_of_its_own(tmp_path):
    folds(tmp_path / "run")
    test = summarise(tmp_path / "run")["parts"]["test"]

    card = (tmp_path / "run" / "README.md").read_text()

    assert f"| test | 45 | 15 | {score_cell(test, 'accuracy')} |" in card
    assert "[fold-1](fold-1/README.md), [fold-2](fold-2/README.md), [fold-3]" in card
    assert "answers by the mean of their probabilities" in card
