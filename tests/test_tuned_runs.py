"""Runs whose encoders are tuned: what they keep, and that it answers as it did in training."""

import csv
import importlib
import json
import re
import resource
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mersa import runs, training, weights
from mersa.answers import read_predictions
from mersa.batches import audio_items, load_features, text_items
from mersa.config import apply_assignments, make_config
from mersa.encoders.cache import FeatureCache
from mersa.encoders.speech import SpeechEncoder
from mersa.encoders.text import TextEncoder
from mersa.errors import (
    AlignmentError,
    AudioError,
    ConfigError,
    EncoderError,
    RunError,
    StorageError,
)
from mersa.experiment import train
from mersa.held_out import evaluate
from mersa.manifest import read_manifest
from mersa.paper import find_row, row_changes
from mersa.recognize.recognizer import Recognizer
from mersa.weights import bundle

sys.path.append(str(Path(__file__).parent / "encoders"))
folders = importlib.import_module("folders")

BOTH = ("text.weights=tuned", "audio.weights=tuned")
KEPT = (
    "metrics.json",
    "predictions.csv",
    "model.safetensors",
    "history.csv",
    "encoders/text.json",
    "encoders/text/model.safetensors",
    "encoders/audio/model.safetensors",
)


@pytest.fixture(scope="module")
def encoders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoders")
    return folders.write_bert(folder / "bert"), folders.write_wav2vec2(folder / "wav2vec2")


@pytest.fixture(scope="module")
def settings(encoders):
    """Give the settings of a run of both encoders, as `settings("train.seed=1")`."""

    def of(*assignments):
        bert, wav2vec2 = encoders
        own = [f"text.name={bert}", f"audio.name={wav2vec2}", "data.labels=iemocap-4"]
        own += ["network.num_heads=1", "network.fusion_width=16", "network.hidden=[8]"]
        own += ["train.epochs=2", "train.batch_size=16", "train.encoder_learning_rate=1e-3"]
        return make_config(apply_assignments({}, [*own, *assignments]))

    return of


@pytest.fixture(scope="module")
def run(settings, small_corpus, cache_folder, tmp_path_factory):
    """A run with both encoders tuned; shared, to be read and not written."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs") / "tuned"
    cache = FeatureCache(cache_folder)
    train(small_corpus, settings(*BOTH), folder, cache=cache, device="cpu")
    return folder


@pytest.fixture
def run_copy(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    return tmp_path / "run"


def answers(folder, manifest_path, part, cache):
    """The answers for a part by what the run keeps, through frozen encoders and the cache."""
    loaded = weights.load_run(folder)
    manifest = read_manifest(manifest_path)
    parts = runs.read_parts(folder)
    utterances = [one for one in manifest if parts.get(one.id) == part]
    features = load_features(
        utterances,
        loaded.labels.index,
        (loaded.text, text_items(utterances)),
        (loaded.audio, audio_items(manifest, utterances)),
        cache,
    )
    probabilities = weights.answer(loaded, features, device=torch.device("cpu"))
    return dict(zip(features.ids, probabilities, strict=True))


def stored(folder, part):
    predictions = read_predictions(folder).part(part)
    return dict(zip(predictions.ids, predictions.probabilities, strict=True))


def check_same_answers(found, wanted, *, tolerance=1e-5):
    assert found.keys() == wanted.keys()
    for id_, one in wanted.items():
        np.testing.assert_allclose(found[id_], one, atol=tolerance, err_msg=id_)


@pytest.mark.parametrize(
    "more",
    [
        (),
        ("text.layer=mix", "audio.layer=mix"),
        ("text.layer=1",),
        ("train.modality_dropout=0.5",),
    ],
)
def test_a_run_answers_frozen_as_it_did_in_training(
    more, settings, run, small_corpus, cache, tmp_path
):
    folder = run
    if more:
        folder = tmp_path / "run"
        train(small_corpus, settings(*BOTH, *more), folder, cache=cache, device="cpu")

    found = answers(folder, small_corpus, "validation", cache)

    check_same_answers(found, stored(folder, "validation"))


def test_what_is_kept_is_what_was_tuned(run, encoders):
    for modality, load, folder in (
        ("text", TextEncoder, encoders[0]),
        ("audio", SpeechEncoder, encoders[1]),
    ):
        facts = runs.read_json(run / "encoders" / f"{modality}.json")
        assert facts["fingerprint"] == load(str(run / "encoders" / modality)).fingerprint
        assert facts["tuned_from"]["fingerprint"] == load(str(folder)).fingerprint
        assert facts["fingerprint"] != facts["tuned_from"]["fingerprint"]
        assert facts["name"] == str(folder)
    metrics = runs.read_json(run / "metrics.json")
    network = sum(one.numel() for one in weights.load_run(run).network.parameters())
    assert metrics["trainable_parameters"] > 2 * network
    assert set(metrics["files_sha256"]) >= {"encoders/text.json", "encoders/audio.json"}


def test_the_recognizer_and_the_evaluation_answer_alike(run_copy, small_corpus, cache):
    evaluate(run_copy, cache=cache, device="cpu")
    tested = stored(run_copy, "test")
    manifest = read_manifest(small_corpus)
    utterance = next(one for one in manifest if one.id in tested)

    prediction = Recognizer.from_pretrained(run_copy, device="cpu").predict(
        manifest.audio_path(utterance), utterance.text
    )

    np.testing.assert_allclose(list(prediction.scores.values()), tested[utterance.id], atol=1e-5)


def test_a_run_needs_the_folders_that_it_was_tuned_from_no_more(
    settings, small_corpus, encoders, cache, tmp_path
):
    own = [tmp_path / "bert", tmp_path / "wav2vec2"]
    for source, copy in zip(encoders, own, strict=True):
        shutil.copytree(source, copy)
    names = (f"text.name={own[0]}", f"audio.name={own[1]}")
    train(small_corpus, settings(*BOTH, *names), tmp_path / "run", cache=cache, device="cpu")
    for folder in own:
        shutil.rmtree(folder)

    bundle(tmp_path / "run")
    found = answers(tmp_path / "run", small_corpus, "validation", cache)

    check_same_answers(found, stored(tmp_path / "run", "validation"))


def test_one_encoder_is_tuned_beside_a_frozen_one(settings, small_corpus, cache, tmp_path):
    config = settings("text.weights=tuned")
    train(small_corpus, config, tmp_path / "run", cache=cache, device="cpu")

    found = answers(tmp_path / "run", small_corpus, "validation", cache)

    check_same_answers(found, stored(tmp_path / "run", "validation"))
    assert (tmp_path / "run" / "encoders" / "text").is_dir()
    assert not (tmp_path / "run" / "encoders" / "audio").exists()


def test_a_row_of_the_paper_with_tuned_encoders_says_that_it_was_changed():
    row = {**find_row("III.6").settings(), "row": "III.6"}
    config = make_config(apply_assignments(row, ["text.weights=tuned"]))

    assert row_changes("III.6", config.model_dump()) == ["text.weights"]


class Killed(BaseException):
    pass


@pytest.mark.parametrize("moment", ["in the third epoch", "while the encoders are written"])
def test_a_killed_run_goes_on_to_the_same_end(
    moment, settings, small_corpus, cache, tmp_path, monkeypatch
):
    config = settings(*BOTH, "train.epochs=3")
    train(small_corpus, config, tmp_path / "whole", cache=cache, device="cpu")
    one_epoch, seen = training._train_epoch, []

    def dying(*args):
        seen.append(args[4])
        if len(seen) == 3 and moment == "in the third epoch":
            raise Killed
        return one_epoch(*args)

    def half(self, model, folder):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text("{")
        raise Killed

    monkeypatch.setattr(training, "STORE_EVERY_S", -1.0)
    with monkeypatch.context() as patch:
        patch.setattr(training, "_train_epoch", dying)
        if moment != "in the third epoch":
            patch.setattr(SpeechEncoder, "save_tuned", half)
        with pytest.raises(Killed):
            train(small_corpus, config, tmp_path / "run", cache=cache, device="cpu")
    with pytest.raises(RunError, match="is unfinished"):
        weights.load_run(tmp_path / "run")
    train(small_corpus, config, tmp_path / "run", cache=cache, device="cpu")

    for name in KEPT:
        whole, found = (tmp_path / place / name for place in ("whole", "run"))
        assert found.read_bytes() == whole.read_bytes(), name
    left = {path.name for path in (tmp_path / "run").rglob("*")}
    assert not [name for name in left if name.endswith((".partial", ".pt"))]


def test_a_refit_tunes_from_the_start_again_and_learns_from_validation(
    settings, run, small_corpus, cache, tmp_path
):
    config = settings(*BOTH, "train.refit=true")

    metrics = train(small_corpus, config, tmp_path / "run", cache=cache, device="cpu")

    assert metrics["parts"] == runs.read_json(run / "metrics.json")["parts"]
    for name in ("model.safetensors", "encoders/text/model.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() != (run / name).read_bytes()
    for folder, parts in ((run, "train"), (tmp_path / "run", "train and validation")):
        for modality in ("text", "audio"):
            told = runs.read_json(folder / "encoders" / modality / "alignment.json")
            assert told["parts"] == parts

    # Whatever is made from it says so too.
    name = f"text.name={tmp_path / 'run' / 'encoders' / 'text'}"
    then = tmp_path / "then"
    words = settings(name, "network.system=text", "text.weights=tuned", "train.epochs=1")
    train(small_corpus, words, then, cache=cache, device="cpu")

    card = (then / "README.md").read_text(encoding="utf-8")
    assert "on the parts train and validation. Validation scores below are too high" in card
    told = runs.read_json(then / "encoders" / "text" / "alignment.json")
    assert told["parts"] == "train and validation"


def test_what_a_run_tuned_is_not_said_to_be_aligned(settings, run, small_corpus, cache, tmp_path):
    name = f"text.name={run / 'encoders' / 'text'}"
    others = settings(name, "network.system=text", "data.labels=iemocap-6")

    with pytest.raises(AlignmentError, match=r"was tuned on the labels .*; tune again with the"):
        train(small_corpus, others, tmp_path / "run", cache=cache, device="cpu")


@pytest.mark.parametrize("modality", ["text", "audio"])
def test_the_shuffle_control_goes_with_tuned_encoders(
    modality, settings, run, small_corpus, cache, tmp_path
):
    config = settings(*BOTH, f"data.shuffle={modality}")

    train(small_corpus, config, tmp_path / "run", cache=cache, device="cpu")

    loss = [float(rows(place)[0]["train_loss"]) for place in (tmp_path / "run", run)]
    assert loss[0] != loss[1]
    assert evaluate(tmp_path / "run", cache=cache, device="cpu")["state"] == "evaluated"


def rows(folder):
    with (folder / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_tuned_weights_that_were_changed_are_refused(run_copy, encoders):
    shutil.copyfile(
        encoders[0] / "model.safetensors", run_copy / "encoders" / "text" / "model.safetensors"
    )

    with pytest.raises(EncoderError, match=r"the text encoder .* has other weights or settings"):
        weights.load_run(run_copy)


def test_a_full_disk_is_told_while_tuned_weights_are_written(encoders, tmp_path):
    encoder = TextEncoder(str(encoders[0]))
    model, _ = encoder.load()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
        with pytest.raises(StorageError, match=r"model.safetensors cannot be written whole"):
            encoder.save_tuned(model, tmp_path / "tuned")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def test_the_fingerprint_of_tuned_weights_is_sealed(run_copy, encoders):
    for name in ("model.safetensors", "config.json"):
        shutil.copyfile(encoders[0] / name, run_copy / "encoders" / "text" / name)
    place = run_copy / "encoders" / "text.json"
    facts = json.loads(place.read_text())
    facts["fingerprint"] = TextEncoder(str(run_copy / "encoders" / "text")).fingerprint
    place.write_text(json.dumps(facts))

    with pytest.raises(RunError, match=r"encoders/text.json is not the file that training wrote"):
        weights.load_run(run_copy)


def test_the_card_says_what_was_tuned(run):
    card = (run / "README.md").read_text()

    assert "text encoder `bert`, tuned here: " in card
    assert "audio encoder `wav2vec2`, tuned here: " in card


def test_folds_keep_an_encoder_each(settings, small_corpus, cache, tmp_path):
    config = settings(
        "text.weights=tuned", "network.system=text", "data.protocol=speaker", "data.folds=2"
    )

    train(small_corpus, config, tmp_path / "run", cache=cache, device="cpu")
    evaluate(tmp_path / "run", cache=cache, device="cpu")
    bundle(tmp_path / "run")

    prints = {
        runs.read_json(tmp_path / "run" / fold / "encoders" / "text.json")["fingerprint"]
        for fold in ("fold-1", "fold-2")
    }
    assert len(prints) == 2
    assert not (tmp_path / "run" / "encoders").exists()


def test_a_recording_that_cannot_be_read_is_told_before_the_training(
    settings, own_corpus, cache, tmp_path
):
    manifest = read_manifest(own_corpus)
    victim = manifest.audio_path(next(iter(manifest)))
    victim.write_bytes(b"no sound")
    config = settings("audio.weights=tuned", "network.system=audio")

    with pytest.raises(AudioError, match=r"utterance '.*':"):
        train(own_corpus, config, tmp_path / "run", cache=cache, device="cpu")

    assert not (tmp_path / "run").exists()


def test_a_tuned_encoder_learns_more_than_a_frozen_one(toy_corpus, cache, tmp_path):
    manifest = toy_corpus / "manifest.csv"
    words = {
        word
        for one in read_manifest(manifest)
        for word in re.findall(r"[a-z]+|[^\sa-z]", one.text.lower())
    }
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(words)]
    sizes = {"vocab_size": len(vocabulary), "num_hidden_layers": 1}
    bert = folders.write_bert(tmp_path / "bert", **sizes)
    (bert / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    scores = {}
    for kind in ("frozen", "tuned"):
        options = [f"text.name={bert}", "network.system=text", f"text.weights={kind}"]
        options += ["network.fusion_width=16", "network.hidden=[8]", "network.dropout=0.1"]
        options += ["data.labels=iemocap-6", "train.epochs=10", "train.batch_size=16"]
        options += ["train.learning_rate=5e-3", "train.encoder_learning_rate=1e-2"]
        config = make_config(apply_assignments({}, options))
        metrics = train(manifest, config, tmp_path / kind, cache=cache, device="cpu")
        scores[kind] = metrics["parts"]["validation"]["balanced_accuracy"]

    assert scores["tuned"] > scores["frozen"] + 0.1


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["text.name=tiny", "text.weights=tuned"], r"text.weights is 'tuned', but tiny cannot be"),
        (["audio.name=mel", "audio.weights=tuned"], r"audio.weights is 'tuned', but mel cannot be"),
        (["audio.name=vggish", "audio.weights=tuned"], r"but vggish cannot be tuned, only text"),
        (["audio.name=onnx:a.onnx", "audio.weights=tuned"], r"onnx cannot be .* leave it at froz"),
    ],
)
def test_an_encoder_that_cannot_be_tuned_is_refused(
    assignments, message, small_corpus, quick, cache, tmp_path
):
    with pytest.raises(ConfigError, match=message):
        train(small_corpus, quick(*assignments), tmp_path / "run", cache=cache, device="cpu")

    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (
            ["text.weights=tuned", "text.live_dropout=true"],
            r"live_dropout does not go with text.weights 'tuned', .*; leave live_dropout unset",
        ),
        (
            ["text.weights=tuned", "text.precision=bf16"],
            r"text.precision is 'bf16', but tuned weights are float32.*train.precision=bf16",
        ),
        (
            ["audio.weights=tuned", "audio.precision=bf16"],
            r"audio.precision is 'bf16', but tuned weights are float32.*train.precision=bf16",
        ),
        (
            ["audio.weights=tuned", "network.system=text"],
            r"audio.weights is 'tuned', but network.system 'text' reads no audio; leave it",
        ),
        (
            ["text.weights=tuned", "network.system=audio"],
            r"text.weights is 'tuned', but network.system 'audio' reads no text; leave it",
        ),
        (["audio.spec_augment=true"], r"spec_augment is on, but audio.weights is 'frozen', so"),
        (["train.gradient_checkpointing=true"], r"checkpointing is on, but no encoder is tuned"),
        (["text.weights=thawed"], r"setting text.weights is 'thawed', but .*frozen, or tuned"),
        (["train.encoder_learning_rate=0"], r"train.encoder_learning_rate is 0, but .*2e-5 to 5e"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(assignments, message):
    with pytest.raises(ConfigError, match=message):
        make_config(apply_assignments({}, assignments))
