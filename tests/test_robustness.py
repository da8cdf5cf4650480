"""Words are corrupted at the rate that is asked for, and every condition is scored and told."""

import shutil

import numpy as np
import pytest

from mersa import runs
from mersa.answers import read_predictions
from mersa.card import WORD_ERROR
from mersa.encoders.cache import FeatureCache
from mersa.experiment import train
from mersa.held_out import evaluate
from mersa.manifest import read_table
from mersa.recognize.recognizer import Recognizer
from mersa.robustness import (
    AUDIO_ONLY,
    BOTH,
    RATES,
    SWAPPED,
    TEXT_ONLY,
    corrupted,
    mean_over_seeds,
    vocabulary_of,
)

VOCABULARY = vocabulary_of(["a b c d e f g h", "i j k l m n o p q r s t u v w x y z"])
CONDITIONS = [
    BOTH,
    *(f"{100 * rate:.0f} % word errors" for rate in RATES),
    SWAPPED,
    AUDIO_ONLY,
    TEXT_ONLY,
]


def edit_distance(one, other):
    """Substitutions, deletions and insertions from one list of words to the other (Levenshtein)."""
    before = list(range(len(other) + 1))
    for row, word in enumerate(one, start=1):
        now = [row]
        for column, wanted in enumerate(other, start=1):
            now.append(min(before[column] + 1, now[-1] + 1, before[column - 1] + (word != wanted)))
        before = now
    return before[-1]


def sentences(count=400, length=30, seed=0):
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(VOCABULARY, length)) for _ in range(count)]


@pytest.mark.parametrize("rate", RATES)
def test_the_word_error_rate_is_the_one_asked_for(rate):
    texts = sentences()

    wrong = [corrupted(one, rate, VOCABULARY, key=str(row)) for row, one in enumerate(texts)]

    errors = sum(
        edit_distance(one.split(), other.split()) for one, other in zip(texts, wrong, strict=True)
    )
    words = 400 * 30
    sampling = 3 * np.sqrt(rate * (1 - rate) / words)
    # Now and then an insertion beside a deletion is one substitution, so a little is lost.
    assert rate - sampling - 0.06 * rate < errors / words < rate + sampling


def test_errors_have_the_mixture_that_is_stated():
    texts = sentences()

    wrong = [corrupted(one, 0.05, VOCABULARY, key=str(row)) for row, one in enumerate(texts)]

    longer = sum(len(one.split()) for one in wrong) - 400 * 30
    errors = 0.05 * 400 * 30
    # 15 % of errors put a word in, 25 % leave one out.
    assert longer / errors == pytest.approx(0.15 - 0.25, abs=3 * np.sqrt(0.4 / errors))


def test_errors_of_a_low_rate_are_among_those_of_a_higher_one():
    text = sentences(1, 200)[0]

    low, high = (
        edit_distance(text.split(), corrupted(text, rate, VOCABULARY, key="a").split())
        for rate in (0.1, 0.3)
    )

    between = edit_distance(
        corrupted(text, 0.1, VOCABULARY, key="a").split(),
        corrupted(text, 0.3, VOCABULARY, key="a").split(),
    )
    assert between == pytest.approx(high - low, abs=2)


def test_each_utterance_draws_its_own_errors_and_the_same_again():
    text = sentences(1)[0]

    one, again, other = (corrupted(text, 0.3, VOCABULARY, key=key) for key in ("a", "a", "b"))

    assert one == again != other
    assert corrupted(text, 0.0, VOCABULARY, key="a") == text
    assert corrupted("", 0.5, VOCABULARY, key="a") == ""


@pytest.fixture
def scored_run(small_run, cache, tmp_path):
    folder = shutil.copytree(small_run, tmp_path / "run")
    evaluate(folder, cache=cache, device="cpu")
    return folder


def test_every_condition_is_scored_with_its_interval(scored_run, cache):
    rows = runs.read_metrics(scored_run)["robustness"]

    test = runs.read_metrics(scored_run)["parts"]["test"]
    assert [row["condition"] for row in rows] == CONDITIONS
    assert rows[0]["macro_f1"] == test["macro_f1"]
    assert rows[0]["ci95"]["accuracy"] == test["ci95"]["accuracy"]
    assert (scored_run / "figures" / "robustness.png").is_file()
    card = (scored_run / "README.md").read_text()
    assert all(f"| {name} |" in card for name in CONDITIONS)
    assert not list(cache.folder.glob("robustness-*"))


def test_sound_only_is_what_predict_says_without_words(small_run, small_corpus, tmp_path):
    folder = shutil.copytree(small_run, tmp_path / "run")
    fresh = FeatureCache(tmp_path / "cache")
    evaluate(folder, cache=fresh, device="cpu")
    recognizer = Recognizer.from_pretrained(folder, device="cpu")
    tested = read_predictions(folder).part("test")
    rows = {one["id"]: one for one in read_table(small_corpus)}

    told = [
        recognizer.predict(small_corpus.parent / rows[id_]["audio"], segmentation="whole").label
        for id_ in tested.ids
    ]

    right = [one == tested.labels[truth] for one, truth in zip(told, tested.truth, strict=True)]
    by_name = {row["condition"]: row for row in runs.read_metrics(folder)["robustness"]}
    assert by_name[AUDIO_ONLY]["accuracy"] == pytest.approx(np.mean(right))


def test_it_can_be_left_out(small_run, cache, tmp_path):
    folder = shutil.copytree(small_run, tmp_path / "run")

    metrics = evaluate(folder, cache=cache, robustness=False, device="cpu")

    assert "robustness" not in metrics
    assert not (folder / "figures" / "robustness.png").exists()


@pytest.mark.parametrize("options", [["network.system=text"], ["data.shuffle=text"]])
def test_one_modality_and_controls_are_not_asked(small_corpus, cache, quick, tmp_path, options):
    train(small_corpus, quick(*options), tmp_path / "run", cache=cache, device="cpu")

    metrics = evaluate(tmp_path / "run", cache=cache, device="cpu")

    assert "robustness" not in metrics


def test_folds_are_pooled_seeds_averaged_and_kept_when_summed_up_again(
    small_corpus, cache, quick, tmp_path
):
    config = quick("data.protocol=speaker", "data.folds=2", "train.epochs=1")
    out = tmp_path / "run"
    train(small_corpus, config, out, cache=cache, seeds=2, device="cpu")

    metrics = evaluate(out, cache=cache, device="cpu")

    seeds = [runs.read_metrics(out / name) for name in ("seed-0", "seed-1")]
    for row, *each in zip(
        metrics["robustness"], *(one["robustness"] for one in seeds), strict=True
    ):
        assert row["accuracy"] == pytest.approx(np.mean([one["accuracy"] for one in each]))
        assert row["sd"]["accuracy"] == pytest.approx(
            np.std([one["accuracy"] for one in each], ddof=1)
        )
    first = seeds[0]["robustness"][0]
    assert first["accuracy"] == seeds[0]["parts"]["test"]["accuracy"]
    again = train(small_corpus, config, out, cache=cache, seeds=2, device="cpu")
    assert again["robustness"] == metrics["robustness"]


def test_evaluate_prints_the_curve_and_what_its_brackets_hold(
    mersa, small_run, tmp_path, monkeypatch
):
    monkeypatch.setattr("mersa.evaluation.FEWEST_GROUPS", 2)  # as many as there are
    folder = shutil.copytree(small_run, tmp_path / "run")

    told = mersa("evaluate", folder, "--device", "cpu", "--quiet")
    left_out = mersa("evaluate", folder, "--no-robustness", "--device", "cpu", "--quiet")

    lines = [line.split("  ")[0] for line in told.out.splitlines()]
    assert told.code == left_out.code == 0
    assert lines[0].endswith(" groups; brackets hold 95 % intervals")
    assert lines[-len(CONDITIONS) - 1 :] == [*CONDITIONS, WORD_ERROR]
    assert SWAPPED not in left_out.out


def test_means_over_seeds_have_a_deviation():
    names = ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1", "ece")
    one, other = ([{"condition": BOTH} | dict.fromkeys(names, value)] for value in (0.2, 0.4))

    (row,) = mean_over_seeds([one, other])

    assert row["accuracy"] == pytest.approx(0.3)
    assert row["sd"]["ece"] == pytest.approx(np.sqrt(0.02))
