"""A temperature is found again, changes no label, and goes wherever a run answers."""

import json
import shutil

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from mersa import calibration, runs, weights
from mersa.answers import read_predictions, read_temperature
from mersa.calibration import BOUNDS, fit_temperature, score_confident, tempered, with_temperature
from mersa.errors import RunError
from mersa.evaluation import Predictions
from mersa.experiment import train
from mersa.held_out import evaluate
from mersa.manifest import read_table
from mersa.recognize.recognizer import Recognizer


def simulated(temperature, n=20_000, num_labels=5, seed=0):
    """Answers whose truth is drawn from their probabilities at a temperature."""
    random = np.random.default_rng(seed)
    logits = random.normal(scale=2.0, size=(n, num_labels))
    true = softmax(logits / temperature, axis=1)
    truth = (random.random((n, 1)) > true.cumsum(axis=1)).sum(axis=1)
    return softmax(logits, axis=1), np.minimum(truth, num_labels - 1)


def loss(probabilities, truth, temperature):
    scaled = log_softmax(np.log(probabilities) / temperature, axis=1)
    return -scaled[np.arange(len(truth)), truth].mean()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_a_known_temperature_is_found_again(temperature):
    fitted = fit_temperature(*simulated(temperature))

    assert fitted.temperature == pytest.approx(temperature, rel=0.05)
    assert fitted.loss_after <= fitted.loss_before
    assert fitted.note == ""


def test_it_is_the_best_of_a_grid():
    probabilities, truth = simulated(1.7, n=300)
    grid = np.exp(np.linspace(np.log(0.2), np.log(5.0), 2001))

    best = min(grid, key=lambda one: loss(probabilities, truth, one))

    fitted = fit_temperature(probabilities, truth)
    assert fitted.temperature == pytest.approx(best, rel=2e-3)
    assert fitted.loss_after == pytest.approx(loss(probabilities, truth, best), abs=1e-6)
    assert fitted.loss_before == pytest.approx(loss(probabilities, truth, 1.0))


def test_answers_that_mean_nothing_stop_at_the_bound():
    random = np.random.default_rng(0)
    probabilities = softmax(random.normal(scale=50, size=(100, 4)), axis=1)

    fitted = fit_temperature(probabilities, random.integers(0, 4, 100))

    assert fitted.temperature == pytest.approx(BOUNDS[1], rel=1e-3)
    assert "the temperature stopped at 10, the bound of 0.1 to 10.0" in fitted.note


@pytest.mark.parametrize(
    ("truth", "right", "message"),
    [
        (np.arange(19) % 3, 10, "validation has 19 utterances, fewer than 20"),
        (np.zeros(40, dtype=int), 30, "validation holds one emotion alone"),
        (np.arange(40) % 3, 40, "every validation answer is right"),
    ],
)
def test_a_part_that_tells_nothing_leaves_it_at_1(truth, right, message):
    answer = truth.copy()
    answer[right:] = (truth[right:] + 1) % 3
    probabilities = np.full((len(truth), 3), 0.1)
    probabilities[np.arange(len(truth)), answer] = 0.8

    fitted = fit_temperature(probabilities, truth)

    assert fitted.temperature == 1.0
    assert fitted.note == f"{message}, so the temperature stays 1"


def test_probabilities_of_0_are_borne():
    probabilities = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]] * 10)

    fitted = fit_temperature(probabilities, np.array([0, 1, 1] * 10))

    assert np.isfinite([fitted.temperature, fitted.loss_before, fitted.loss_after]).all()
    assert np.isfinite(with_temperature(probabilities, fitted.temperature)).all()


def test_a_temperature_keeps_the_order_and_can_be_undone():
    probabilities, _ = simulated(1.0, n=200)

    calibrated = with_temperature(probabilities, 1.9)

    assert np.array_equal(probabilities.argsort(1), calibrated.argsort(1))
    assert np.allclose(calibrated.sum(1), 1, atol=1e-12)
    assert np.allclose(with_temperature(calibrated, 1 / 1.9), probabilities, atol=1e-12)
    assert not np.allclose(calibrated, probabilities, atol=0.01)
    assert with_temperature(probabilities, 1.0) is probabilities


def test_both_errors_of_calibration_are_told():
    probabilities, truth = simulated(3.0, n=2000)
    ids = tuple(map(str, range(len(truth))))
    raw = Predictions(ids, ("test",) * 2000, truth, probabilities, ids, tuple("abcde"))

    scores = score_confident(tempered(raw, 3.0), raw)

    assert scores["ece"] < 0.05 < 0.1 < scores["ece_without_temperature"]
    assert scores["ci95"]["ece"][1] < scores["ci95"]["ece_without_temperature"][0]


@pytest.fixture
def few_suffice(monkeypatch):
    """Let the few validation utterances of the small corpus do."""
    monkeypatch.setattr(calibration, "FEWEST_UTTERANCES", 2)


@pytest.fixture
def pair(few_suffice, small_corpus, cache, quick, tmp_path):
    """The same run with and without a temperature, scored."""
    folders = []
    for name, setting in (("with", "true"), ("without", "false")):
        folder = tmp_path / name
        config = quick(f"train.temperature={setting}", "train.epochs=3")
        train(small_corpus, config, folder, cache=cache, device="cpu")
        evaluate(folder, cache=cache, device="cpu")
        folders.append(folder)
    return folders


def test_a_run_answers_with_its_temperature_everywhere(pair, small_corpus):
    with_it, without = pair
    temperature = read_temperature(with_it)

    answers, raw = read_predictions(with_it), read_predictions(without)

    assert temperature not in (None, 1.0)
    assert np.allclose(
        answers.probabilities, with_temperature(raw.probabilities, temperature), atol=1e-12
    )
    assert np.array_equal(answers.probabilities.argmax(1), raw.probabilities.argmax(1))
    row = next(one for one in read_table(small_corpus) if one["id"] == answers.ids[-1])
    told = Recognizer.from_pretrained(with_it, device="cpu").predict(
        small_corpus.parent / row["audio"], row["text"], segmentation="whole"
    )
    assert list(told.scores.values()) == pytest.approx(answers.probabilities[-1].tolist(), abs=1e-5)
    facts = json.loads((with_it / "calibration.json").read_text())
    metrics = runs.read_metrics(with_it)
    assert facts["parts_sha256"] == metrics["parts_sha256"]
    for part, scores in metrics["parts"].items():
        plain = runs.read_metrics(without)["parts"][part]
        assert scores["ece_without_temperature"] == pytest.approx(plain["ece"])
        assert scores["accuracy"] == plain["accuracy"]
        assert "ece_without_temperature" not in plain


def test_without_it_nothing_is_written_or_changed(pair):
    without = pair[1]

    assert not (without / "calibration.json").exists()
    assert read_temperature(without) is None
    assert "no temperature was fitted" in (without / "README.md").read_text()


@pytest.mark.parametrize("spoil", ["change", "remove"])
def test_another_temperature_is_refused(pair, tmp_path, spoil):
    folder = shutil.copytree(pair[0], tmp_path / "copy")
    path = folder / "calibration.json"
    if spoil == "change":
        path.write_text(path.read_text().replace('"temperature": ', '"temperature": 1'))
    else:
        path.unlink()

    with pytest.raises(RunError, match=r"calibration.json is not the file that training wrote"):
        weights.load_run(folder)


@pytest.mark.parametrize("value", ["NaN", "1e400", "1e-320", "0.0"])
def test_a_temperature_that_none_can_have_is_refused(tmp_path, value):
    (tmp_path / "calibration.json").write_text(f'{{"temperature": {value}}}')

    with pytest.raises(RunError, match=r"but a number from 0.1 to 10.0 was expected; bring back"):
        read_temperature(tmp_path)


def test_each_fold_has_its_own_and_their_mean_answers(
    few_suffice, own_corpus, cache, quick, tmp_path
):
    config = quick("data.protocol=speaker", "data.folds=2", "train.epochs=3")
    train(own_corpus, config, tmp_path / "run", cache=cache, device="cpu")
    evaluate(tmp_path / "run", cache=cache, device="cpu")

    leaves = runs.members(tmp_path / "run")

    temperatures = [read_temperature(leaf) for leaf in leaves]
    assert len(set(temperatures)) == len(leaves) > 1
    row = read_table(own_corpus)[0]
    audio = own_corpus.parent / row["audio"]
    told = [
        list(
            Recognizer.from_pretrained(one, device="cpu")
            .predict(audio, row["text"], segmentation="whole")
            .scores.values()
        )
        for one in (tmp_path / "run", *leaves)
    ]
    assert told[0] == pytest.approx(np.mean(told[1:], axis=0).tolist(), abs=1e-9)
    pooled = runs.read_metrics(tmp_path / "run")["parts"]["test"]
    plain = [
        tempered(read_predictions(leaf).part("test"), 1 / t)
        for leaf, t in zip(leaves, temperatures, strict=True)
    ]
    confidence = np.concatenate([one.probabilities.max(1) for one in plain])
    assert pooled["ece_without_temperature"] != pytest.approx(pooled["ece"], abs=1e-9)
    assert len(confidence) == pooled["n"]
