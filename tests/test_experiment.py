import csv
import importlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import f1_score

from mersa import runs, training, weights
from mersa.answers import read_predictions
from mersa.config import apply_assignments, make_config
from mersa.emotions import LABEL_SETS
from mersa.encoders.cache import FeatureCache
from mersa.errors import (
    AudioError,
    ConfigError,
    EncoderError,
    ManifestError,
    ProtocolError,
    RunError,
)
from mersa.evaluation import SCORES
from mersa.experiment import train
from mersa.held_out import evaluate
from mersa.manifest import Manifest, read_manifest, write_manifest
from told import Told

sys.path.append(str(Path(__file__).parent / "encoders"))
folders = importlib.import_module("folders")

SAME = ("metrics.json", "predictions.csv", "model.safetensors", "history.csv", "parts.csv")
SAME += ("calibration.json",)
"""What two runs of the same settings have in common, byte for byte."""

# Runs the command line, and kills its own process at a moment of the run.
DRIVER = """
import os, signal, sys
from mersa import cli, runs, training, weights
from mersa.encoders.cache import FeatureCache

moment, seen = sys.argv.pop(1), 0
training.STORE_EVERY_S = -1.0

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def dying_after(function, count):
    def call(*args, **named):
        global seen
        result = function(*args, **named)
        seen += 1
        if seen == count:
            die()
        return result
    return call

if moment == "encoding":
    FeatureCache.put = dying_after(FeatureCache.put, 9)
elif moment == "first epoch":
    training._train_epoch = dying_after(training._train_epoch, 1)
elif moment == "between epochs":
    training.store_state = dying_after(training.store_state, 3)
elif moment == "storing":
    save = training.torch.save
    def half(state, file):
        global seen
        seen += 1
        if seen == 2:
            file.write(b"PK" * 999)
            file.flush()
            die()
        save(state, file)
    training.torch.save = half
elif moment == "before the scores":
    weights.save_network = dying_after(weights.save_network, 1)
elif moment == "after the scores":
    runs.finish = dying_after(runs.finish, 1)
cli.main()
"""


@pytest.fixture
def go(cache):
    def run(manifest, config, out, **more):
        return train(manifest, config, out, cache=cache, device="cpu", **more)

    return run


def contents(folder, names=SAME):
    return {name: (folder / name).read_bytes() for name in names}


def edited(manifest, change):
    """Change rows of a manifest in place; `change` gives a row or None."""
    with manifest.open(encoding="utf-8", newline="") as file:
        rows = [row for row in map(change, csv.DictReader(file)) if row]
    with manifest.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return manifest


def test_same_seed_same_run(small_corpus, small_run, quick, go, tmp_path):
    go(small_corpus, quick(), tmp_path / "run")

    assert contents(tmp_path / "run") == contents(small_run)


def test_another_seed_gives_another_run(small_corpus, small_run, quick, go, tmp_path):
    go(small_corpus, quick("train.seed=1"), tmp_path / "run")

    for name in ("predictions.csv", "model.safetensors", "history.csv"):
        assert (tmp_path / "run" / name).read_bytes() != (small_run / name).read_bytes()
    assert contents(tmp_path / "run", ["parts.csv"]) == contents(small_run, ["parts.csv"])


def test_a_run_folder_is_whole(small_run):
    names = {path.relative_to(small_run).as_posix() for path in small_run.rglob("*")}

    assert names == {
        *("config.toml", "parts.csv", "labels.json", "environment.json", "history.csv"),
        *("model.safetensors", "predictions.csv", "metrics.json", "README.md", "encoders"),
        *("encoders/text.json", "encoders/audio.json", "encoders/text"),
        *("encoders/text/config.json", "encoders/text/vocabulary.txt"),
        *("calibration.json", "figures", "figures/coverage.png"),
    }


def test_metrics_follow_from_the_predictions(toy_run):
    metrics = runs.read_json(toy_run / "metrics.json")
    answered = read_predictions(toy_run)

    scores = metrics["parts"]["validation"]
    right = answered.probabilities.argmax(1)
    assert scores["n"] == len(answered.ids) == 72
    assert scores["groups"] == len(set(answered.groups)) == 9
    assert scores["accuracy"] == pytest.approx((right == answered.truth).mean())
    assert scores["macro_f1"] == pytest.approx(f1_score(answered.truth, right, average="macro"))
    assert set(scores["ci95"]) == {*SCORES, "ece_without_temperature"}
    assert metrics["row"] == "III.6"
    assert metrics["counts"] == {"train": 288, "validation": 72, "test": 120}
    assert metrics["labels"] == list(LABEL_SETS["iemocap-6"].labels)


@pytest.mark.parametrize(
    "moment",
    [
        "between epochs",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in (
                "encoding",
                "first epoch",
                "storing",
                "before the scores",
                "after the scores",
            )
        ),
    ],
)
def test_a_killed_run_goes_on_to_the_same_end(
    moment, small_corpus, quick, go, tmp_path, quick_words
):
    cache = tmp_path / "cache" if moment == "encoding" else quick_words[-3]
    out = tmp_path / "run"
    words = ["train", str(small_corpus), "--out", str(out), *quick_words]
    words[words.index("--cache") + 1] = str(cache)
    words += ["--set", "train.epochs=6"]
    go(small_corpus, quick("train.epochs=6"), tmp_path / "whole")

    killed = _start("-c", DRIVER, moment, *words)
    between = {path.name for path in out.iterdir()} if out.exists() else set()
    resumed = _start("-m", "mersa", *words)

    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert ("metrics.json" in between) == (moment == "after the scores")
    stored = {"between epochs", "storing", "before the scores", "after the scores"}
    assert (runs.STATE in between) == (moment in stored)
    assert (between == set()) == (moment == "encoding")
    assert resumed.returncode == 0, resumed.stderr
    assert contents(out) == contents(tmp_path / "whole")
    left = {path.name for path in out.rglob("*")}
    assert runs.STATE not in left
    assert not [name for name in left if name.endswith(".partial")]


def test_a_resumed_run_does_not_begin_anew(small_corpus, quick, go, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    whole = training._train_epoch
    epochs = []

    def dying(*args):
        epochs.append(args[4])
        if len(epochs) == 4:
            raise Killed
        return whole(*args)

    monkeypatch.setattr(training, "STORE_EVERY_S", -1.0)
    monkeypatch.setattr(training, "_train_epoch", dying)
    with pytest.raises(Killed):
        go(small_corpus, quick("train.epochs=5"), tmp_path / "run")
    go(small_corpus, quick("train.epochs=5"), tmp_path / "run")

    assert epochs == [0, 1, 2, 3, 3, 4]


def test_a_refit_learns_from_validation_too_and_leaves_its_scores(
    small_corpus, small_run, quick, go, tmp_path
):
    metrics = go(small_corpus, quick("train.refit=true"), tmp_path / "run")

    first = runs.read_json(small_run / "metrics.json")
    assert metrics["parts"] == first["parts"]
    weights = [
        (place / "model.safetensors").read_bytes() for place in (tmp_path / "run", small_run)
    ]
    assert weights[0] != weights[1]
    assert not (tmp_path / "run" / runs.REFIT_STATE).exists()


def test_a_finished_run_is_not_run_again(small_corpus, small_run, quick, go, tmp_path):
    shutil.copytree(small_run, tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}
    told = Told()

    metrics = go(small_corpus, quick(), tmp_path / "run", progress=told)

    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before
    assert metrics == runs.read_json(small_run / "metrics.json")
    assert "finished before; --again trains it anew" in told.sentences[-1]


def test_again_trains_anew(small_corpus, small_run, quick, go, tmp_path):
    shutil.copytree(small_run, tmp_path / "run")
    evaluate(tmp_path / "run", cache=FeatureCache(tmp_path / "cache"), device="cpu")
    (tmp_path / "run" / "notes.txt").write_text("mine")

    metrics = go(small_corpus, quick("train.seed=3"), tmp_path / "run", again=True)

    assert (metrics["state"], metrics["seed"]) == ("trained", 3)
    assert runs.load_config(tmp_path / "run").train.seed == 3
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_again_keeps_the_old_run_until_the_new_one_can_begin(
    small_run, own_corpus, quick, go, tmp_path
):
    shutil.copytree(small_run, tmp_path / "run")
    first = read_manifest(own_corpus).utterances[0]
    (own_corpus.parent / first.audio).write_bytes(b"no sound")

    with pytest.raises(AudioError, match=first.id):
        go(own_corpus, quick("train.seed=3"), tmp_path / "run", again=True)

    assert contents(tmp_path / "run") == contents(small_run)


def test_other_settings_in_the_same_folder_are_refused(
    small_corpus, small_run, quick, go, tmp_path
):
    shutil.copytree(small_run, tmp_path / "run")

    with pytest.raises(RunError, match=r"network.dropout = 0.5, but 0.25 was asked.*--again"):
        go(small_corpus, quick("network.dropout=0.25"), tmp_path / "run")
    assert contents(tmp_path / "run") == contents(small_run)


@pytest.mark.parametrize(
    ("column", "value"), [("text", "other words"), ("emotion", "anger"), ("audio", "")]
)
def test_other_data_under_the_same_ids_is_refused(column, value, own_corpus, quick, go, tmp_path):
    out = tmp_path / "run"
    go(own_corpus, quick(), out)
    before = contents(out)
    first = next(one.id for one in read_manifest(own_corpus) if one.emotion == "sad")
    edited(own_corpus, lambda row: row | ({column: value} if row["id"] == first else {}))

    with pytest.raises(
        RunError,
        match=r"other words, emotions or recordings under the same ids; .*another --out, or --aga",
    ):
        go(own_corpus, quick(), out)
    assert contents(out) == before
    assert go(own_corpus, quick(), out, again=True)["state"] == "trained"
    go(own_corpus, quick(), out)  # the new run knows its data


def test_a_mistake_leaves_nothing_and_is_corrected_in_the_same_folder(
    own_corpus, quick, go, tmp_path
):
    out = tmp_path / "run"
    first = read_manifest(own_corpus).utterances[0]
    whole = (own_corpus.parent / first.audio).read_bytes()
    (own_corpus.parent / first.audio).write_bytes(b"")

    with pytest.raises(AudioError, match=rf"utterance '{first.id}'.*empty"):
        go(own_corpus, quick(), out)
    assert not out.exists()
    with pytest.raises(ConfigError, match="num_heads that divides"):
        go(own_corpus, quick("network.num_heads=7"), out)
    assert not out.exists()

    (own_corpus.parent / first.audio).write_bytes(whole)
    assert go(own_corpus, quick(), out)["state"] == "trained"


def test_settings_that_burst_can_be_corrected_in_the_same_folder(small_corpus, quick, go, tmp_path):
    with pytest.raises(ConfigError, match=r"loss of epoch \d is .*; lower train.learning_rate"):
        go(small_corpus, quick("train.weight_decay=1e30"), tmp_path / "run")

    assert go(small_corpus, quick(), tmp_path / "run")["state"] == "trained"


def test_train_never_reads_the_test_part(own_corpus, small_run, quick, tmp_path):
    for one in read_manifest(own_corpus):
        if one.part == "test":
            (own_corpus.parent / one.audio).write_bytes(b"no sound")
    cache = FeatureCache(tmp_path / "cache")

    train(own_corpus, quick(), tmp_path / "run", cache=cache, device="cpu")

    assert contents(tmp_path / "run") == contents(small_run)
    with pytest.raises(AudioError, match="utterance 'toy_s4"):
        evaluate(tmp_path / "run", cache=cache, device="cpu")
    assert runs.read_json(tmp_path / "run" / "metrics.json")["state"] == "trained"


def test_test_emotions_do_not_reach_the_training(own_corpus, small_run, quick, go, tmp_path):
    def turn(row):
        emotion = "sad" if row["part"] == "test" else row["emotion"]
        return row | {"emotion": emotion, "text": row["text"] * (1 + (row["part"] == "test"))}

    def plain(row):
        return row if row["emotion"] != "frustrated" else None

    edited(edited(own_corpus, plain), turn)

    go(own_corpus, quick(), tmp_path / "run")

    same = ("predictions.csv", "model.safetensors", "history.csv")
    assert contents(tmp_path / "run", same) == contents(small_run, same)


def test_evaluating_adds_the_test_part(small_run, cache, tmp_path):
    shutil.copytree(small_run, tmp_path / "run")
    before = runs.read_json(small_run / "metrics.json")

    metrics = evaluate(tmp_path / "run", cache=cache, device="cpu")

    assert (before["state"], metrics["state"]) == ("trained", "evaluated")
    assert metrics == runs.read_json(tmp_path / "run" / "metrics.json")
    assert metrics["parts"]["validation"] == before["parts"]["validation"]
    answered = read_predictions(tmp_path / "run")
    tested = answered.part("test")
    right = tested.probabilities.argmax(1) == tested.truth
    assert metrics["parts"]["test"]["accuracy"] == pytest.approx(right.mean())
    parts = runs.read_parts(tmp_path / "run")
    assert set(tested.ids) == {id_ for id_, part in parts.items() if part == "test"}
    assert "| test |" in (tmp_path / "run" / "README.md").read_text()


def test_evaluating_tells_of_subgroups_and_draws(small_run, small_corpus, cache, tmp_path):
    shutil.copytree(small_run, tmp_path / "run")

    evaluate(tmp_path / "run", cache=cache, by=["carrier"], device="cpu")

    held = runs.read_json(tmp_path / "run" / "subgroups.json")["subgroups"]
    tested = read_predictions(tmp_path / "run").part("test").ids
    carrier = {one.id: one.extras["carrier"] for one in read_manifest(small_corpus)}
    found = {one["value"]: one["n"] for one in held if one["column"] == "carrier"}
    assert found == Counter(carrier[id_] for id_ in tested)
    assert {"speaker", "gender", "session", "length"} <= {one["column"] for one in held}
    for name in ("reliability", "confusion"):
        assert (tmp_path / "run" / "figures" / f"{name}.png").read_bytes()[:4] == b"\x89PNG"


def test_a_column_for_subgroups_that_nobody_has_is_refused(small_run, cache, tmp_path):
    shutil.copytree(small_run, tmp_path / "run")

    with pytest.raises(
        ManifestError, match=r"anything in a column 'gendre'; subgroups can go by .*carrier"
    ):
        evaluate(tmp_path / "run", cache=cache, by=["gendre"], device="cpu")
    assert runs.read_json(tmp_path / "run" / "metrics.json")["state"] == "trained"


def test_evaluating_twice_changes_nothing(small_run, cache, tmp_path):
    shutil.copytree(small_run, tmp_path / "run")
    evaluate(tmp_path / "run", cache=cache, device="cpu")
    once = contents(tmp_path / "run")

    evaluate(tmp_path / "run", cache=cache, device="cpu")

    assert contents(tmp_path / "run") == once


def test_a_corpus_that_moved_is_named(own_corpus, quick, go, cache, tmp_path):
    go(own_corpus, quick(), tmp_path / "run")
    moved = tmp_path / "moved"
    own_corpus.parent.rename(moved)

    with pytest.raises(RunError, match=r"is not there any more; name it: mersa evaluate .* MANI"):
        evaluate(tmp_path / "run", cache=cache, device="cpu")
    metrics = evaluate(
        tmp_path / "run", cache=cache, manifest_path=moved / "manifest.csv", device="cpu"
    )
    assert metrics["parts"]["test"]["n"] > 0
    assert not (tmp_path / "run" / "evaluations").exists()


def test_a_corpus_that_was_changed_is_refused(own_corpus, quick, go, cache, tmp_path):
    go(own_corpus, quick(), tmp_path / "run")
    edited(own_corpus, lambda row: row | {"emotion": row["emotion"].replace("sad", "fear")})
    with pytest.raises(RunError, match=r"has other words, emotions, .* than it had in training"):
        evaluate(tmp_path / "run", cache=cache, device="cpu")

    edited(own_corpus, lambda row: None if row["dialogue"] == "s4_d01" else row)
    with pytest.raises(RunError, match=r"lacks utterances of .*changed since training"):
        evaluate(tmp_path / "run", cache=cache, device="cpu")


def test_another_corpus_is_scored_whole(small_run, own_corpus, cache, tmp_path):
    shutil.copytree(small_run, tmp_path / "run")
    words = {"frustrated": "boredom", "neutral": ""}

    def rename(row):
        emotion = words.get(row["emotion"], row["emotion"])
        return row | {"id": f"other_{row['id']}", "emotion": emotion, "part": ""}

    edited(own_corpus, rename)
    told = Told()

    metrics = evaluate(
        tmp_path / "run", cache=cache, manifest_path=own_corpus, device="cpu", progress=told
    )

    emotions = [one.emotion for one in read_manifest(own_corpus)]
    assert metrics["left_out"] == {
        "boredom": emotions.count("boredom"),
        "unlabelled": emotions.count(""),
    }
    scores = metrics["parts"]["test"]
    assert scores["n"] == sum(emotions.count(word) for word in ("anger", "happy", "sad", "excited"))
    assert scores["recall"]["neutral"] is None
    happy = sum(scores["confusion"][1])
    assert happy == emotions.count("happy") + emotions.count("excited")  # merged
    (place,) = (tmp_path / "run" / "evaluations").iterdir()
    assert re.fullmatch(r"corpus-[0-9a-f]{8}", place.name)
    assert runs.read_json(place / "metrics.json") == metrics
    assert "boredom" in told.sentences[-1]
    assert contents(tmp_path / "run") == contents(small_run)


def test_corpora_in_folders_of_one_name_are_kept_apart(small_run, own_corpus, cache, tmp_path):
    shutil.copytree(small_run, tmp_path / "run")
    edited(own_corpus, lambda row: row | {"id": f"other_{row['id']}"})
    other = shutil.copytree(own_corpus.parent, tmp_path / "elsewhere" / "corpus") / "manifest.csv"
    edited(other, lambda row: row if row["emotion"] != "sad" else None)

    sizes = {
        evaluate(tmp_path / "run", cache=cache, manifest_path=manifest)["parts"]["test"]["n"]
        for manifest in (own_corpus, other, other)
    }

    places = list((tmp_path / "run" / "evaluations").iterdir())
    assert len(sizes) == len(places) == 2
    kept = {runs.read_json(place / "metrics.json")["parts"]["test"]["n"] for place in places}
    assert kept == sizes


def test_a_corpus_without_a_label_of_the_model_is_refused(small_run, own_corpus, cache):
    edited(own_corpus, lambda row: row | {"id": f"x{row['id']}", "emotion": "calm"})

    with pytest.raises(
        ManifestError, match=r"labels anger, happy, sad, neutral \(left out: calm 72\)"
    ):
        evaluate(small_run, cache=cache, manifest_path=own_corpus, device="cpu")


def test_folds_are_pooled(small_corpus, quick, go, cache, tmp_path):
    out = tmp_path / "run"

    trained = go(small_corpus, quick("data.protocol=column:session"), out)
    metrics = evaluate(out, cache=cache, device="cpu")

    folds = [read_predictions(out / f"fold-{number}").part("test") for number in (1, 2, 3)]
    pooled = read_predictions(out)
    assert pooled.ids == tuple(id_ for fold in folds for id_ in fold.ids)
    assert set(pooled.parts) == {"test"}
    assert len(set(pooled.ids)) == len(pooled.ids) == 72 - _others(small_corpus)
    scores = metrics["parts"]["test"]
    answer = pooled.probabilities.argmax(1)
    assert scores["macro_f1"] == pytest.approx(f1_score(pooled.truth, answer, average="macro"))
    alone = [
        runs.read_json(out / f"fold-{number}" / "metrics.json")["parts"]["test"]["accuracy"]
        for number in (1, 2, 3)
    ]
    assert scores["mean_of_folds"]["accuracy"] == pytest.approx(np.mean(alone))
    assert (trained["state"], metrics["state"], metrics["folds"]) == ("trained", "evaluated", 3)
    assert len(set(metrics["parts_sha256"])) == 3
    validated = [
        runs.read_json(out / f"fold-{number}" / "metrics.json")["parts"]["validation"]["macro_f1"]
        for number in (1, 2, 3)
    ]
    for one in (trained, metrics):
        mean = one["parts"]["validation"]
        assert mean["macro_f1"] == pytest.approx(np.mean(validated))
        assert mean["sd"]["macro_f1"] == pytest.approx(np.std(validated, ddof=1))
        assert mean["runs"] == 3
        assert "ci95" not in mean


def _others(manifest):
    """How many utterances iemocap-4 leaves out."""
    known = LABEL_SETS["iemocap-4"]
    return sum(known.index(one.emotion) is None for one in read_manifest(manifest))


@pytest.mark.parametrize("protocol", ["speaker", "paper"])
def test_the_seed_of_the_weights_does_not_move_the_parts(
    protocol, small_corpus, quick, go, tmp_path
):
    settings = (f"data.protocol={protocol}", "network.system=text", "train.epochs=1")
    settings += ("data.labels=happy,sad,anger",)  # ten of each, as the paper's cut needs

    one, two, moved = (
        go(small_corpus, quick(*settings, seed), tmp_path / seed)["parts_sha256"]
        for seed in ("train.seed=1", "train.seed=2", "data.seed=1")
    )

    assert one == two
    assert one != moved


def test_every_speaker_is_tested_once(small_corpus, quick, go, tmp_path):
    out = tmp_path / "run"

    go(small_corpus, quick("data.protocol=speaker", "train.epochs=1"), out)

    speaker_of = {one.id: one.speaker for one in read_manifest(small_corpus)}
    tested = []
    for leaf in runs.members(out):
        parts = runs.read_parts(leaf)
        held = {
            part: {speaker_of[i] for i, p in parts.items() if p == part}
            for part in ("train", "validation", "test")
        }
        assert not held["test"] & (held["train"] | held["validation"])
        tested += [id_ for id_, part in parts.items() if part == "test"]
    assert len(tested) == len(set(tested))
    assert {speaker_of[id_] for id_ in tested} == set(speaker_of.values())


def test_a_run_killed_between_folds_is_not_taken_for_whole(
    small_corpus, quick, go, cache, tmp_path
):
    out = tmp_path / "run"
    config = quick("data.protocol=column:session", "train.epochs=1")
    go(small_corpus, config, out)
    shutil.rmtree(out / "fold-3")
    (out / "metrics.json").unlink()

    with pytest.raises(RunError, match="is unfinished"):
        evaluate(out, cache=cache, device="cpu")
    times = (out / "fold-1" / "metrics.json").stat().st_mtime_ns
    metrics = go(small_corpus, config, out)
    assert metrics["folds"] == 3
    assert (out / "fold-1" / "metrics.json").stat().st_mtime_ns == times


def test_seeds_give_mean_and_deviation(small_corpus, quick, go, cache, tmp_path):
    out = tmp_path / "run"

    go(small_corpus, quick("train.seed=4"), out, seeds=2)
    metrics = evaluate(out, cache=cache, device="cpu")

    alone = [runs.read_json(out / f"seed-{seed}" / "metrics.json") for seed in (4, 5)]
    assert metrics["seeds"] == [4, 5]
    assert alone[0]["parts_sha256"] == alone[1]["parts_sha256"]
    for part in ("validation", "test"):
        values = [one["parts"][part]["weighted_f1"] for one in alone]
        assert metrics["parts"][part]["weighted_f1"] == pytest.approx(np.mean(values))
        assert metrics["parts"][part]["sd"]["weighted_f1"] == pytest.approx(
            abs(values[0] - values[1]) / np.sqrt(2)
        )


def test_another_layout_in_the_same_folder_is_refused(small_corpus, small_run, quick, go, tmp_path):
    shutil.copytree(small_run, tmp_path / "run")

    with pytest.raises(RunError, match=r"holds a single run.*folds and seeds.*another --out"):
        go(small_corpus, quick(), tmp_path / "run", seeds=2)
    metrics = go(small_corpus, quick(), tmp_path / "run", seeds=2, again=True)
    assert metrics["seeds"] == [0, 1]
    assert not (tmp_path / "run" / "config.toml").exists()


@pytest.mark.parametrize("modality", ["text", "audio"])
def test_the_shuffle_control_changes_the_run_and_says_so(
    modality, small_corpus, small_run, quick, go, cache, tmp_path
):
    out = tmp_path / "run"

    go(small_corpus, quick(f"data.shuffle={modality}"), out)
    evaluate(out, cache=cache, device="cpu")

    assert (out / "model.safetensors").read_bytes() != (
        small_run / "model.safetensors"
    ).read_bytes()
    assert contents(out, ["parts.csv"]) == contents(small_run, ["parts.csv"])
    assert f"CONTROL: the {modality} was shuffled" in (out / "README.md").read_text()


def test_the_control_of_a_modality_that_is_not_read_changes_nothing(
    small_corpus, quick, go, tmp_path
):
    go(small_corpus, quick("network.system=text"), tmp_path / "one")
    go(small_corpus, quick("network.system=text", "data.shuffle=audio"), tmp_path / "other")

    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("one", "other")]
    assert weights[0] == weights[1]


def test_missing_words_and_missing_sound_are_borne(own_corpus, quick, go, cache, tmp_path):
    blank = {"text": 0, "audio": 1}

    def spare(row):
        number = int(row["id"][-2:])
        return row | {name: "" for name, rest in blank.items() if number % 3 == rest}

    edited(own_corpus, spare)

    go(own_corpus, quick(), tmp_path / "run")
    metrics = evaluate(tmp_path / "run", cache=cache, device="cpu")

    assert 0 < metrics["parts"]["test"]["accuracy"] <= 1


def test_training_does_not_read_a_modality_that_the_system_leaves_out(
    own_corpus, quick, go, tmp_path
):
    shutil.rmtree(own_corpus.parent / "audio")

    metrics = go(own_corpus, quick("network.system=text"), tmp_path / "run")

    assert metrics["system"] == "text"
    assert not (tmp_path / "run" / "encoders" / "audio.json").exists()


def test_one_class_in_train_is_refused(own_corpus, quick, go, tmp_path):
    edited(own_corpus, lambda row: row | ({"emotion": "sad"} if row["part"] == "train" else {}))

    with pytest.raises(ProtocolError, match="holds one class only \\('sad'\\)"):
        go(own_corpus, quick(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_label_without_train_utterances_is_refused(own_corpus, quick, go, tmp_path):
    edited(own_corpus, lambda row: row | ({"emotion": ""} if _sad_in_train(row) else {}))

    with pytest.raises(ProtocolError, match="train part holds no utterance of 'sad'; leave it out"):
        go(own_corpus, quick(), tmp_path / "run")


def test_a_label_that_no_utterance_has_is_refused(small_corpus, quick, go, tmp_path):
    with pytest.raises(
        ManifestError,
        match=r"no utterance is 'surprise', but data\.labels names it; the manifest holds anger, ",
    ):
        go(small_corpus, quick("data.labels=meld-7"), tmp_path / "run")


def _sad_in_train(row):
    return row["part"] == "train" and row["emotion"] == "sad"


def test_a_row_that_does_not_exist_is_refused(small_corpus, quick, go, tmp_path):
    with pytest.raises(ConfigError, match=r"row 'VI.9' does not exist; rows are III.1 to"):
        go(small_corpus, replace_row(quick(), "VI.9"), tmp_path / "run")


def test_encoders_that_cannot_be_had_leave_nothing(small_corpus, quick, go, tmp_path):
    with pytest.raises(EncoderError, match="does not exist; give the path"):
        go(small_corpus, quick("audio.name=onnx:absent.onnx"), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def replace_row(config, row):
    return config.model_copy(update={"row": row})


def _start(*words):
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


@pytest.fixture(scope="module")
def live_encoders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("live")
    return folders.write_bert(folder / "bert"), folders.write_wav2vec2(folder / "wav2vec2")


def live(live_encoders, **more):
    bert, wav2vec2 = live_encoders
    settings = [f"text.name={bert}", f"audio.name={wav2vec2}", "data.labels=iemocap-6"]
    settings += ["train.epochs=1", "network.num_heads=1", "network.system=3m-ser"]
    return make_config(apply_assignments({}, [*settings, *more.get("settings", [])]))


def test_live_dropout_changes_what_is_learnt_and_not_the_evaluation(
    live_encoders, small_corpus, cache, tmp_path
):
    plain = train(small_corpus, live(live_encoders), tmp_path / "plain", cache=cache)
    settings = ["text.live_dropout=true", "audio.live_dropout=true"]

    one, two = (
        train(small_corpus, live(live_encoders, settings=settings), tmp_path / name, cache=cache)
        for name in ("one", "two")
    )

    assert one["parts"] == two["parts"]  # the seed decides this dropout too
    losses = [read_history(tmp_path / name)[0]["train_loss"] for name in ("plain", "one", "two")]
    assert losses[0] != losses[1] == losses[2]
    assert plain["parts_sha256"] == one["parts_sha256"]
    encoder = weights.load_run(tmp_path / "one").text
    frames = [encoder.encode(["I see the house"]).frames for _ in range(2)]
    assert np.array_equal(*frames)  # back in eval mode


def read_history(folder):
    with (folder / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_live_dropout_of_an_encoder_without_any_is_refused(small_corpus, cache, tmp_path):
    config = make_config(
        apply_assignments({}, ["text.name=tiny", "audio.name=mel", "audio.live_dropout=true"])
    )

    with pytest.raises(ConfigError, match=r"audio.live_dropout is set, but 'mel' has no dropout"):
        train(small_corpus, config, tmp_path / "run", cache=cache)

    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("setting", ["data.shuffle=text", "train.refit=true"])
def test_live_dropout_goes_with_no_shuffle_and_no_refit(setting):
    with pytest.raises(ConfigError, match=r"does not go with live_dropout; leave one"):
        make_config(apply_assignments({}, ["text.live_dropout=true", setting]))


def test_two_trainings_into_one_folder_are_refused(tmp_path, small_corpus, cache):
    config = make_config(apply_assignments({}, ["text.name=tiny", "network.system=text"]))

    with (
        runs.lock(tmp_path / "run"),
        pytest.raises(RunError, match=r"another process trains into .*; wait for it, or choose"),
    ):
        train(small_corpus, config, tmp_path / "run", cache=cache)

    assert not (tmp_path / "run").exists()


def test_utterances_that_were_learnt_from_are_no_other_corpus(small_run, small_corpus, cache):
    manifest = read_manifest(small_corpus)
    some = [one for one in manifest if one.part == "train"][:5]
    path = small_corpus.parent / "some.csv"
    write_manifest(Manifest(tuple(some), small_corpus.parent), path)

    with pytest.raises(RunError, match=r"holds 5 utterances that .* was trained or chosen on"):
        evaluate(small_run, manifest_path=path, cache=cache)

    path.unlink()


@pytest.mark.parametrize(
    ("settings", "column", "message"),
    [
        (["network.system=audio"], "audio", r"has sound, .* or choose network.system=text"),
        (["network.system=text"], "text", r"has words, .* or choose network.system=audio"),
    ],
)
def test_a_modality_that_nobody_has_is_refused(
    own_corpus, cache, tmp_path, settings, column, message
):
    manifest = read_manifest(own_corpus)
    bare = tuple(replace(one, **{column: ""}) for one in manifest)
    write_manifest(Manifest(bare, own_corpus.parent), own_corpus)
    config = make_config(apply_assignments({}, ["text.name=tiny", "audio.name=mel", *settings]))

    with pytest.raises(ConfigError, match=message):
        train(own_corpus, config, tmp_path / "run", cache=cache)

    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("column", ["text", "emotion"])
def test_a_test_part_that_was_changed_under_its_ids_is_not_scored(
    column, own_corpus, quick, go, cache, tmp_path
):
    go(own_corpus, quick(), tmp_path / "run")

    def turn(row):
        other = {"text": "something else", "emotion": "sad" if row["emotion"] != "sad" else "anger"}
        return row | ({column: other[column]} if row["part"] == "test" else {})

    edited(own_corpus, turn)

    for named in (None, own_corpus):
        with pytest.raises(
            RunError, match=r"other words, emotions, .* under the ids of .* train ag"
        ):
            evaluate(tmp_path / "run", cache=cache, manifest_path=named, device="cpu")
    assert runs.read_json(tmp_path / "run" / "metrics.json")["state"] == "trained"
