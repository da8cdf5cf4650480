"""Published checkpoints scored on a corpus, beside runs."""

import importlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from mersa import runs
from mersa.answers import read_predictions
from mersa.errors import ManifestError, RunError
from mersa.held_out import evaluate
from mersa.manifest import read_manifest
from mersa.recognize.baseline import evaluate_checkpoint
from mersa.recognize.checkpoints import load_checkpoint
from mersa.recognize.recognizer import Recognizer

sys.path.append(str(Path(__file__).parent))
classifiers = importlib.import_module("classifiers")


@pytest.fixture
def both(speech, words):
    return load_checkpoint(f"hf:{speech}+{words}", labels="iemocap-4")


@pytest.fixture
def written(both, small_corpus, cache, tmp_path):
    """A folder of answers, and what was returned with it."""
    out = tmp_path / "baseline"
    return out, evaluate_checkpoint(both, small_corpus, cache=cache, out=out)


def one_by_one(name, manifest, utterances, labels="iemocap-4"):
    """The probabilities that `mersa predict` gives each utterance, (N, C)."""
    recognizer = Recognizer.from_pretrained(name, device="cpu", labels=labels)
    return np.array(
        [
            list(
                recognizer.predict(
                    manifest.audio_path(one) if "audio" in recognizer.modalities else None,
                    one.text,
                    segmentation="whole",
                ).scores.values()
            )
            for one in utterances
        ]
    )


def test_the_weight_is_fitted_on_validation_by_a_plain_loop(
    both, small_corpus, cache, speech, words
):
    manifest = read_manifest(small_corpus)
    held = [one for one in manifest if both.labels.index(one.emotion) is not None]
    validation = [one for one in held if one.part == "validation"]
    truth = [both.labels.index(one.emotion) for one in validation]
    heard = one_by_one(f"hf:{speech}", manifest, validation)
    read = one_by_one(f"hf:{words}", manifest, validation)

    metrics = evaluate_checkpoint(both, small_corpus, cache=cache)

    losses = []
    for step in range(101):
        mean = step / 100 * heard + (1 - step / 100) * read
        losses.append(-np.log(mean[np.arange(len(truth)), truth]).mean())
    (weight,) = metrics["fusion"]["weights"]
    assert weight == int(np.argmin(losses)) / 100 == both.weight
    assert weight != 0.5
    assert metrics["fusion"]["validation_log_loss"] == pytest.approx([min(losses)], abs=1e-6)


def test_the_test_part_is_scored_with_it_and_has_no_say_in_it(both, own_corpus, cache):
    first = evaluate_checkpoint(both, own_corpus, cache=cache)
    content = own_corpus.read_text(encoding="utf-8").splitlines()
    turned = [
        line.replace(",anger,", ",neutral,") if ",test," in line else line for line in content
    ]
    own_corpus.write_text("\n".join(turned) + "\n", encoding="utf-8")
    assert turned != content

    second = evaluate_checkpoint(both, own_corpus, cache=cache)

    assert second["fusion"] == first["fusion"]
    assert second["parts"]["test"]["recall"] != first["parts"]["test"]["recall"]


def test_the_answers_stand_beside_a_run(written, small_run, cache, tmp_path, mersa):
    out, metrics = written
    run = shutil.copytree(small_run, tmp_path / "run")
    evaluate(run, cache=cache, device="cpu")

    compared = mersa("compare", run, out, "--json")
    reported = mersa("report", run, out, "--out", tmp_path / "report")

    assert (compared.code, reported.code) == (0, 0)
    assert len(json.loads(compared.out)) == 1
    assert str(out) in compared.out
    assert metrics["system"] in reported.out
    assert f"{metrics['parts']['test']['accuracy']:.3f}" in reported.out
    assert (tmp_path / "report" / "report.html").is_file()
    assert runs.read_metrics(out) == json.loads(json.dumps(metrics))


def test_the_answers_are_those_of_the_recognizer(written, small_corpus):
    out, _ = written
    manifest = read_manifest(small_corpus)
    kept = read_predictions(out)
    by_id = {one.id: one for one in manifest}

    found = one_by_one(out, manifest, [by_id[id_] for id_ in kept.ids[:6]], labels=None)

    np.testing.assert_allclose(found, kept.probabilities[:6], atol=1e-5)
    assert set(kept.parts) == {"test"}


def test_each_fold_is_answered_with_the_weight_of_its_own_validation_part(both, toy_corpus, cache):
    metrics = evaluate_checkpoint(
        both, toy_corpus / "manifest.csv", cache=cache, protocol="leave-one-session-out"
    )

    weights = metrics["fusion"]["weights"]
    assert len(weights) == len(metrics["parts_sha256"]) > 1
    assert both.weight == pytest.approx(np.mean(weights))
    manifest = read_manifest(toy_corpus / "manifest.csv")
    count = sum(both.labels.index(one.emotion) is not None for one in manifest)
    assert metrics["parts"]["test"]["n"] == count


def test_other_emotions_are_left_out_and_counted(both, small_corpus, cache):
    manifest = read_manifest(small_corpus)
    left = [one for one in manifest if both.labels.index(one.emotion) is None]

    metrics = evaluate_checkpoint(both, small_corpus, cache=cache, protocol="whole")

    assert sum(metrics["left_out"].values()) == len(left) > 0
    assert metrics["parts"]["test"]["n"] == len(manifest.utterances) - len(left)
    assert metrics["fusion"] == {"fitted": False, "weights": [0.5], "validation_log_loss": []}


def test_a_folder_of_something_else_is_left_alone(both, small_corpus, small_run, cache):
    before = sorted(path.name for path in small_run.iterdir())

    with pytest.raises(RunError, match=r"which is no answer of checkpoints; name a new"):
        evaluate_checkpoint(both, small_corpus, cache=cache, out=small_run)
    assert sorted(path.name for path in small_run.iterdir()) == before


def test_a_column_that_is_not_there_leaves_nothing_behind(both, small_corpus, cache, tmp_path):
    with pytest.raises(ManifestError, match=r"in a column 'colour'"):
        evaluate_checkpoint(
            both, small_corpus, cache=cache, by=["colour"], out=tmp_path / "baseline"
        )
    assert not (tmp_path / "baseline").exists()


def test_from_the_shell(speech, words, small_corpus, cache_folder, tmp_path, mersa):
    out = tmp_path / "baseline"
    options = ("--cache", cache_folder, "--device", "cpu")
    name = f"hf:{speech}+{words}"

    said = mersa(
        "evaluate",
        name,
        small_corpus,
        "--labels",
        "iemocap-4",
        "--out",
        out,
        "--by",
        "speaker",
        *options,
    )
    again = mersa("evaluate", out, small_corpus, "--protocol", "whole", "--json", *options)
    refused = mersa("evaluate", name, *options)

    assert said.code == 0
    assert said.out.startswith(f"{out}: test, ")
    assert f"labels of {words} (text): anger = anger" in said.err
    assert "weight of the sound, fitted on validation: " in said.err
    assert f"{out} by speaker" in said.out
    stored = json.loads((out / "checkpoint.json").read_text(encoding="utf-8"))
    told = json.loads(again.out)
    assert told["fusion"]["weights"] == [stored["weight"]]
    assert told["checkpoint"]["text"]["counted_as"]["joy"] == "happy"
    assert (refused.code, refused.out) == (2, "")
    assert "no manifest was given; name the corpus" in refused.err


def test_options_of_checkpoints_are_refused_with_a_run(small_run, mersa):
    said = mersa("evaluate", small_run, "--map", "joy=happy")

    assert said.code == 2
    assert "--map goes with hf:... alone, since" in said.err
