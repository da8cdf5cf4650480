import json
import shutil
from importlib import metadata

import numpy as np
import pytest

from mersa import runs, weights
from mersa.answers import read_predictions, write_predictions
from mersa.config import Config
from mersa.emotions import LABEL_SETS, LabelSet
from mersa.errors import EncoderError, ManifestError, RunError
from mersa.evaluation import Predictions

LABELS = LABEL_SETS["iemocap-4"]
PARTS = {"a": "train", "b": "validation", "c": "test"}


def begun(folder, config=None, *, state=False):
    runs.begin(folder, config or Config(), LABELS, PARTS, folder / "manifest.csv")
    if state:
        (folder / runs.STATE).write_bytes(b"state")
    return folder


def finished(folder):
    begun(folder)
    for name in ("model.safetensors", "predictions.csv"):
        (folder / name).write_text("")
    runs.write_json(folder / "metrics.json", {"labels": list(LABELS.labels)})
    return folder


def changed(**settings):
    name, value = next(iter(settings.items()))
    return Config.model_validate({"train": {name: value}})


@pytest.fixture
def run_copy(small_run, tmp_path):
    shutil.copytree(small_run, tmp_path / "run")
    return tmp_path / "run"


def edit_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_what_stands_before_the_first_step(tmp_path):
    folder = begun(tmp_path / "run")

    assert {path.name for path in folder.iterdir()} == {
        "config.toml",
        "parts.csv",
        "labels.json",
        "environment.json",
    }
    assert runs.load_config(folder) == Config()
    assert runs.load_labels(folder) == LABELS
    assert runs.read_parts(folder) == PARTS
    versions = runs.read_json(folder / "environment.json")["versions"]
    assert versions["torch"] == metadata.version("torch")
    assert not runs.is_finished(folder)


def test_beginning_again_with_a_state_changes_nothing(tmp_path):
    folder = begun(tmp_path / "run", state=True)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}

    begun(folder)

    assert all(
        path.stat().st_mtime_ns == time for path, time in before.items() if path.name != runs.STATE
    )


def test_a_trained_state_of_other_settings_is_refused(tmp_path):
    folder = begun(tmp_path / "run", state=True)

    with pytest.raises(RunError, match=r"train.epochs = 100, but 7 was asked.*--out, or --again"):
        begun(folder, changed(epochs=7))


def test_other_parts_are_refused(tmp_path):
    folder = begun(tmp_path / "run", state=True)

    with pytest.raises(RunError, match="a run on other parts of the data; choose another --out"):
        runs.begin(folder, Config(), LABELS, PARTS | {"d": "train"}, tmp_path)


def test_other_data_under_the_same_ids_is_refused(tmp_path):
    folder = tmp_path / "run"
    runs.begin(folder, Config(), LABELS, PARTS, tmp_path, data_sha256="ab12")
    runs.check_same(folder, Config(), PARTS, data_sha256="cd34")  # nothing is trained yet
    (folder / runs.STATE).write_bytes(b"state")

    runs.check_same(folder, Config(), PARTS, data_sha256="ab12")
    for check in (
        lambda: runs.check_same(folder, Config(), PARTS, data_sha256="cd34"),
        lambda: runs.begin(folder, Config(), LABELS, PARTS, tmp_path, data_sha256="cd34"),
    ):
        with pytest.raises(RunError, match=r"recordings under the same ids; choose another --out"):
            check()


def test_what_holds_nothing_trained_is_replaced(tmp_path):
    folder = begun(tmp_path / "run")
    (folder / "encoders").mkdir()
    (folder / ".metrics.json.x.partial").write_text("half")

    begun(folder, changed(epochs=7))

    assert runs.load_config(folder).train.epochs == 7
    assert not (folder / "encoders").exists()
    assert not list(folder.glob(".*.partial"))


def test_a_folder_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")

    with pytest.raises(RunError, match=r"is or lies below a file.*choose another --out"):
        runs.check_place(tmp_path / "file" / "run", [tmp_path / "file" / "run"])


def test_files_of_others_are_not_written_over(tmp_path):
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / "notes.txt").write_text("mine")

    with pytest.raises(RunError, match=r"holds 'notes.txt', which is no part of a run; name a new"):
        runs.check_place(tmp_path, [tmp_path])


def test_a_single_run_in_place_of_folds_is_refused(tmp_path):
    finished(tmp_path)

    with pytest.raises(RunError, match=r"holds a single run.*choose another --out, or --again"):
        runs.check_place(tmp_path, [tmp_path / "fold-1", tmp_path / "fold-2"])


def test_a_fold_too_many_is_refused(tmp_path):
    for number in (1, 2, 3):
        finished(tmp_path / f"fold-{number}")
    leaves = [tmp_path / "fold-1", tmp_path / "fold-2"]

    with pytest.raises(RunError, match="holds fold-3, which a run of these folds"):
        runs.check_place(tmp_path, leaves)
    runs.check_place(tmp_path, leaves, again=True)
    assert runs.is_finished(tmp_path / "fold-3"), "nothing is removed before its time"


def test_a_fold_that_was_only_begun_is_out_of_the_way(tmp_path):
    begun(tmp_path)

    runs.check_place(tmp_path, [tmp_path / "fold-1", tmp_path / "fold-2"])

    assert not tmp_path.exists() or list(tmp_path.iterdir()) == []


def test_clearing_leaves_what_is_no_part_of_a_run(tmp_path):
    for number in (1, 2):
        finished(tmp_path / "seed-0" / f"fold-{number}")
    for folder in (tmp_path, tmp_path / "seed-0"):
        runs.write_json(folder / "metrics.json", {})
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "seed-0" / "fold-2" / "notes.txt").write_text("mine")

    runs.clear(tmp_path)

    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    assert left == {"notes.txt", "seed-0/fold-2/notes.txt"}


def test_folds_come_in_the_order_of_their_numbers(tmp_path):
    for number in (10, 9, 1):
        begun(tmp_path / f"fold-{number}")
    (tmp_path / "fold-x").mkdir()

    assert [leaf.name for leaf in runs.members(tmp_path)] == ["fold-1", "fold-9", "fold-10"]


def test_seeds_hold_folds(tmp_path):
    for seed in (1, 0):
        for fold in (2, 1):
            begun(tmp_path / f"seed-{seed}" / f"fold-{fold}")

    found = [leaf.relative_to(tmp_path).as_posix() for leaf in runs.members(tmp_path)]

    assert found == ["seed-0/fold-1", "seed-0/fold-2", "seed-1/fold-1", "seed-1/fold-2"]


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(RunError, match=r"holds no config.toml; name a run folder"):
        runs.members(tmp_path)
    with pytest.raises(RunError, match="absent is not a folder; name a run folder"):
        runs.members(tmp_path / "absent")


def test_predictions_come_back_as_they_were(tmp_path):
    folder = begun(tmp_path / "run")
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(4), size=3)
    wrote = Predictions(
        ("a", "b", "c"),
        ("validation", "test", "test"),
        np.array([3, 0, 1]),
        probabilities,
        ("one", "a, b", ""),
        LABELS.labels,
    )

    write_predictions(folder, wrote)

    read = read_predictions(folder)
    assert (read.ids, read.parts, read.groups) == (wrote.ids, wrote.parts, wrote.groups)
    assert read.truth.tolist() == [3, 0, 1]
    assert np.array_equal(read.probabilities, probabilities)  # not a bit is lost


def test_cut_predictions_are_refused(run_copy):
    path = run_copy / "predictions.csv"
    path.write_text(path.read_text().replace("neutral", "neutrl", 1))

    with pytest.raises((RunError, ManifestError), match=r"predictions.csv"):
        read_predictions(run_copy)


def test_a_merged_label_set_merges_again_when_loaded(tmp_path):
    folder = begun(tmp_path)

    assert runs.load_labels(folder).index("excited") == 1
    runs.write_json(folder / "labels.json", {"name": "own", "labels": ["sad", "anger"]})
    assert runs.load_labels(folder) == LabelSet("own", ("sad", "anger"))


def test_an_unfinished_run_is_refused(run_copy):
    (run_copy / "metrics.json").unlink()

    with pytest.raises(RunError, match=r"is unfinished \(it has no metrics.json\); go on with"):
        weights.load_run(run_copy)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{}", "lacks 'name' or 'labels'; bring the file back"),
        ("[]", "holds no JSON object"),
        ("{", "cannot be read"),
    ],
)
def test_a_broken_labels_file_is_refused(run_copy, content, message):
    (run_copy / "labels.json").write_text(content)

    with pytest.raises(RunError, match=message):
        weights.load_run(run_copy)


def test_labels_of_another_run_are_refused(run_copy):
    edit_json(run_copy / "labels.json", labels=["sad", "anger", "happy", "neutral"])

    with pytest.raises(
        RunError, match=r"lists sad, anger, happy, neutral, but the run was scored on .*bring back"
    ):
        weights.load_run(run_copy)


def test_more_labels_than_outputs_are_refused(run_copy):
    labels = ["anger", "happy", "sad", "neutral", "fear"]
    edit_json(run_copy / "labels.json", labels=labels)
    edit_json(run_copy / "metrics.json", labels=labels)

    with pytest.raises(RunError, match=r"has shape \(4.*but \(5.*was expected"):
        weights.load_run(run_copy)


def test_weights_of_other_shapes_are_refused(run_copy):
    config = run_copy / "config.toml"
    config.write_text(config.read_text().replace("fusion_width = 16", "fusion_width = 24"))

    with pytest.raises(RunError, match=r"weight '.*' has shape .*16.* but .*24.* was expected"):
        weights.load_run(run_copy)


def test_weights_of_another_network_are_refused(run_copy):
    config = run_copy / "config.toml"
    config.write_text(config.read_text().replace('"mersa-cross"', '"mersa"'))

    with pytest.raises(RunError, match=r"none.*the settings or the weights were exchanged"):
        weights.load_run(run_copy)


def test_cut_weights_are_refused(run_copy):
    path = run_copy / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-9])

    with pytest.raises(RunError, match=r"model.safetensors cannot be read.*; bring the file back"):
        weights.load_run(run_copy)


def test_an_encoder_of_other_settings_is_refused(run_copy):
    path = run_copy / "config.toml"
    path.write_text(path.read_text().replace('name = "mel"', 'name = "mel"\npeak = 0.5'))

    with pytest.raises(EncoderError, match=r"the audio encoder 'mel' has other weights.*bundled"):
        weights.load_run(run_copy)


def test_a_vocabulary_that_was_changed_is_refused(run_copy):
    path = run_copy / "encoders" / "text" / "vocabulary.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))

    with pytest.raises(EncoderError, match="the text encoder 'tiny' has other weights"):
        weights.load_run(run_copy)


def test_a_loaded_network_is_the_saved_one(small_run):
    run = weights.load_run(small_run)

    assert not run.network.training
    assert run.text is not None
    assert run.audio is not None
    assert run.labels.labels == LABELS.labels


def test_the_commit_of_weights_is_recorded(tmp_path):
    class FromHub:
        name, fingerprint, width, num_layers, commit = "someone/model", "f00d", 5, 1, "5eed" * 10

    weights.save_encoder(tmp_path, "text", FromHub(), whole=False)

    facts = runs.read_json(tmp_path / "encoders" / "text.json")
    assert facts["revision"] == FromHub.commit
    assert facts["fingerprint"] == "f00d"
    assert not (tmp_path / "encoders" / "text").exists()


def test_a_run_folder_holds_no_pickle(toy_run):
    kinds = {path.suffix for path in toy_run.rglob("*") if path.is_file()}

    assert kinds == {".toml", ".csv", ".json", ".safetensors", ".md", ".txt", ".png"}


@pytest.mark.parametrize("value", ["-5", "7", "nan", "inf", "0.9"])
def test_impossible_probabilities_are_refused(small_run, tmp_path, value):
    shutil.copytree(small_run, tmp_path / "run")
    path = tmp_path / "run" / "predictions.csv"
    header, first, *rest = path.read_text().splitlines()
    cells = first.split(",")
    cells[header.split(",").index("anger")] = value
    path.write_text("\n".join([header, ",".join(cells), *rest]) + "\n")

    with pytest.raises(
        RunError, match=r"are not between 0 and 1 with the sum 1\); bring the file back"
    ):
        read_predictions(tmp_path / "run")


@pytest.mark.parametrize(
    "content", ["{}", '{"parts": null}', '{"parts": {"test": 1}}', '{"parts": {"test": {}}}']
)
def test_metrics_that_hold_no_scores_are_refused(tmp_path, content):
    (tmp_path / "metrics.json").write_text(content)

    with pytest.raises(
        RunError, match=r"metrics\.json does not hold the scores of a run; evaluate"
    ):
        runs.read_metrics(tmp_path)


def test_what_is_no_run_is_not_called_unfinished(tmp_path):
    with pytest.raises(RunError, match=r"holds no config.toml; name a run folder"):
        runs.check_finished(tmp_path)
    with pytest.raises(RunError, match=r"is not a folder; name a run folder"):
        runs.check_finished(tmp_path / "nowhere")
