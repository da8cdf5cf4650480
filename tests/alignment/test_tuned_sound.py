"""Alignment of an encoder of sound by its own weights: batches, the folder, and runs from it."""

import json
import shutil
from pathlib import Path

import folders
import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from transformers import AutoModel

from mersa.alignment import fit as fitting
from mersa.alignment.align import align
from mersa.alignment.embedding import embed
from mersa.alignment.fit import fit
from mersa.alignment.loss import AlignmentLoss
from mersa.alignment.sampling import Examples
from mersa.alignment.settings import AlignConfig, make_align_config
from mersa.alignment.study import study
from mersa.alignment.tune import Recordings, SoundEmbedder
from mersa.config import apply_assignments
from mersa.encoders.budget import Item
from mersa.encoders.speech import SpeechEncoder
from mersa.errors import AlignmentError, ConfigError, EncoderError
from mersa.experiment import train
from mersa.manifest import read_manifest
from mersa.recognize.recognizer import Recognizer
from mersa.tuning import TunedEncoder

SAMPLES = (4000, 1500, 9000, 2600, 5200, 700, 6100, 3300)
LABELS = (0, 0, 0, 0, 1, 1, 1, 1)


@pytest.fixture(scope="module")
def wav2vec2(tmp_path_factory):
    return folders.write_wav2vec2(tmp_path_factory.mktemp("wav2vec2"))


@pytest.fixture(scope="module")
def settings(wav2vec2):
    """Give the settings of an alignment that takes a moment."""

    def make(*assignments):
        quick = ["align.modality=audio", "align.how=tune", "data.labels=iemocap-4"]
        quick += [f"audio.name={wav2vec2}", "align.epochs=2", "align.learning_rate=0.001"]
        quick += ["align.batch_size=16", "align.neighbours=3"]
        return make_align_config(apply_assignments({}, [*quick, *assignments], kind=AlignConfig))

    return make


@pytest.fixture(scope="module")
def made(small_corpus, settings, tmp_path_factory):
    """An aligned folder; to be read and not written."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("aligned") / "sound"
    align(small_corpus, settings(), out, device="cpu")
    return out


def facts_of(folder):
    return json.loads((folder / "alignment.json").read_text(encoding="utf-8"))


def noises():
    draw = np.random.default_rng(0)
    clips = [draw.standard_normal(size).astype(np.float32) for size in SAMPLES]
    return {
        str(row): Item(str(row), lambda clip=clip: clip, len(clip) / 16_000)
        for row, clip in enumerate(clips)
    }


def embedder_of(folder, pooling):
    """An embedder in eval mode, and what it reads."""
    encoder = SpeechEncoder(str(folder))
    model = encoder.to_tune()
    recordings = Recordings(encoder, noises(), lambda done, total: None)
    return SoundEmbedder(TunedEncoder(encoder, model), pooling).eval(), recordings


def one_step(embedder, recordings, at_once, monkeypatch):
    """The loss and gradients of a step over all recordings."""
    grads = []
    monkeypatch.setattr(
        fitting.parallel,
        "sum_gradients",
        lambda fabric, weights: grads.extend(
            None if one.grad is None else one.grad.clone() for one in weights
        ),
    )
    monkeypatch.setattr(embedder, "train", lambda mode=True: embedder)
    config = make_align_config({"align": {"epochs": 1, "batch_size": 8, "miner": "none"}})
    result = fit(
        embedder,
        recordings,
        Examples(tuple(str(row) for row in range(8)), LABELS, {}),
        config.align,
        fabric=Fabric(accelerator="cpu", devices=1),
        measure=lambda embedder: 0.5,
        at_once=at_once,
    )
    return result.history[0]["loss"], grads


@pytest.mark.parametrize("pooling", ["first", "mean"])
@pytest.mark.parametrize("at_once", [None, 40])
@pytest.mark.parametrize("kind", ["wav2vec2-base", "hubert-large", "mhubert", "wavlm-base"])
def test_a_step_is_that_of_one_recording_at_a_time(kind, at_once, pooling, tmp_path, monkeypatch):
    folder = folders.write_stirred(tmp_path / "model", kind)
    alone, recordings = embedder_of(folder, pooling)
    vectors = torch.cat([alone([recordings.tokens([name])]) for name in noises()])
    expected = AlignmentLoss(alpha=2.0, beta=50.0, base=0.5, miner="none")(
        vectors, torch.tensor(LABELS)
    )
    expected.backward()
    wanted = [one.grad for one in alone.parameters()]

    loss, grads = one_step(*embedder_of(folder, pooling), at_once, monkeypatch)

    assert loss == pytest.approx(expected.item(), rel=1e-4)
    largest = max(one.abs().max() for one in wanted if one is not None)
    for found, one in zip(grads, wanted, strict=True):
        assert (found is None) == (one is None)
        assert found is None or (found - one).abs().max() <= 1e-4 * largest


def test_a_step_in_parts_draws_the_same_dropout_twice(wav2vec2, monkeypatch):
    # A part is run for its vectors and again for its gradients; were the dropout of the second
    # time another, the step would follow another function than its loss.
    embedder, recordings = embedder_of(wav2vec2, "mean")
    seen = []
    embedder.encoder.model.encoder.dropout.register_forward_hook(
        lambda module, given, answer: seen.append(answer.detach().clone())
    )
    for module in embedder.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.5
            module.train()

    one_step(embedder, recordings, 40, monkeypatch)

    first, again = seen[: len(seen) // 2], seen[len(seen) // 2 :]
    assert len(first) > 1
    assert any((one == 0).any() for one in first)
    for one in first:
        assert any(torch.equal(one, other) for other in again)


def test_the_folder_loads_as_any_model_and_the_convolutions_are_those_of_before(made, wav2vec2):
    facts = facts_of(made)
    before = AutoModel.from_pretrained(wav2vec2).state_dict()
    after = AutoModel.from_pretrained(made).state_dict()

    assert {path.name for path in made.iterdir()} == {
        *("align.toml", "alignment.json", "config.json", "model.safetensors", "README.md"),
        "preprocessor_config.json",
    }
    moved = {name for name, one in after.items() if not torch.equal(one, before[name])}
    assert "encoder.layers.2.feed_forward.output_dense.weight" in moved
    assert not any(name.startswith("feature_extractor") for name in moved)
    assert (facts["how"], facts["modality"], facts["leak"]) == ("tune", "audio", False)
    losses = [row["loss"] for row in facts["history"]]
    assert losses[-1] < losses[0]
    card = (made / "README.md").read_text(encoding="utf-8")
    assert "as `audio.name`, `mersa train` load this folder" in card
    assert "normalised as its preprocessor says" in card


def test_what_is_embedded_is_what_the_saved_folder_gives(made, settings, small_corpus):
    encoder = SpeechEncoder(str(made))
    embedder = SoundEmbedder(TunedEncoder(encoder, encoder.to_tune()), "mean")
    recordings = Recordings(encoder, noises(), lambda done, total: None)

    vectors = embed(embedder, recordings, list(noises()), at_once=60)

    alone = [encoder.encode([item.load()]).frames[0].mean(0) for item in noises().values()]
    np.testing.assert_allclose(vectors, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "more", [(), pytest.param(("align.frames_at_once=100",), marks=pytest.mark.slow)]
)
def test_a_killed_one_goes_on_to_the_same_end(
    more, small_corpus, settings, made, tmp_path, monkeypatch
):
    whole = made
    if more:
        whole = tmp_path / "whole"
        align(small_corpus, settings(*more), whole, device="cpu")
    out = tmp_path / "a"
    monkeypatch.setattr(fitting, "STORE_EVERY_S", -1.0)
    store = fitting.store_state

    def kill(path, parts, result):
        store(path, parts, result)
        if len(result.history) == result.step == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(fitting, "store_state", kill)
    with pytest.raises(KeyboardInterrupt):
        align(small_corpus, settings(*more), out, device="cpu")
    assert not (out / "alignment.json").exists()
    monkeypatch.setattr(fitting, "store_state", store)

    align(small_corpus, settings(*more), out, device="cpu")

    assert facts_of(out)["history"] == facts_of(whole)["history"]
    weights = "model.safetensors"
    assert (out / weights).read_bytes() == (whole / weights).read_bytes()


def test_a_run_uses_it_answers_with_it_and_can_tune_it_on(
    made, small_corpus, toy_corpus, quick, cache, tmp_path
):
    config = quick(f"audio.name={made}", "network.system=audio", "train.epochs=1")
    recording = next((toy_corpus / "audio").iterdir())

    metrics = train(small_corpus, config, tmp_path / "run", cache=cache, device="cpu")
    tuned = quick(f"audio.name={made}", "network.system=audio", "audio.weights=tuned")
    again = train(small_corpus, tuned, tmp_path / "tuned", cache=cache, device="cpu")

    assert metrics["leak"] == []
    assert metrics["alignment"]["audio"]["parts"] == "train"
    assert again["alignment"]["audio"]["base"]["name"]
    card = (tmp_path / "run" / "README.md").read_text(encoding="utf-8")
    assert "The audio encoder was self-aligned from" in card
    assert Recognizer.from_pretrained(tmp_path / "run", device="cpu").predict(recording).label


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["data.labels=iemocap-6"], r"was aligned on the labels anger, happy, sad, neutral, but"),
        (
            ["data.protocol=speaker", "data.folds=2"],
            r"was aligned on other parts \(protocol 'official'",
        ),
        (["data.min_duration_s=2.0"], r"was aligned on other utterances, words"),
    ],
)
def test_a_run_on_other_labels_data_or_parts_is_refused(
    assignments, message, made, small_corpus, quick, cache, tmp_path
):
    config = quick(f"audio.name={made}", *assignments)

    with pytest.raises(AlignmentError, match=message):
        train(small_corpus, config, tmp_path / "run", cache=cache, device="cpu")
    assert not (tmp_path / "run").exists()


def test_weights_that_were_changed_are_refused(made, small_corpus, quick, cache, tmp_path):
    changed = Path(shutil.copytree(made, tmp_path / "changed"))
    path = changed / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\1")

    with pytest.raises(AlignmentError, match=r"is not the file that mersa align wrote"):
        train(small_corpus, quick(f"audio.name={changed}"), tmp_path / "run", cache=cache)


def test_its_space_is_measured_beside_that_of_its_base(made, small_corpus, cache):
    found = study(small_corpus, made, cache=cache, parts=["validation"], draws=50, device="cpu")

    assert (found.told["modality"], found.told["pooling"]) == ("audio", "mean")
    measures = found.parts["validation"].as_dict()
    assert measures["before"]["uniformity"] != measures["after"]["uniformity"]


def test_the_test_part_changes_no_weight(made, own_corpus, settings, tmp_path):
    lines = own_corpus.read_text(encoding="utf-8").splitlines()
    heard = {one.id: one.audio for one in read_manifest(own_corpus) if one.part == "train"}
    other = next(iter(heard.values()))
    changed = [
        line.replace(line.split(",")[1], other) if ",test," in line else line for line in lines
    ]
    assert changed != lines
    own_corpus.write_text("\n".join(changed) + "\n", encoding="utf-8")

    align(own_corpus, settings(), tmp_path / "a", device="cpu")

    weights = "model.safetensors"
    assert (tmp_path / "a" / weights).read_bytes() == (made / weights).read_bytes()


def test_a_leak_is_refused_and_else_stamped(small_corpus, settings, quick, cache, tmp_path):
    leaky = settings("align.parts=all", "align.epochs=1")
    with pytest.raises(AlignmentError, match="every score read with it would be inflated"):
        align(small_corpus, leaky, tmp_path / "a", device="cpu")
    assert not (tmp_path / "a").exists()

    align(small_corpus, leaky, tmp_path / "a", device="cpu", allow_leak=True)

    assert "**LEAK: " in (tmp_path / "a" / "README.md").read_text(encoding="utf-8")
    config = quick(f"audio.name={tmp_path / 'a'}", "train.epochs=1")
    metrics = train(small_corpus, config, tmp_path / "run", cache=cache, device="cpu")
    assert metrics["leak"][0].startswith("the audio encoder was aligned on all parts")
    # An encoder that is aligned anew from a leaky one leaks still.
    again = settings(f"audio.name={tmp_path / 'a'}", "align.epochs=1")
    align(small_corpus, again, tmp_path / "b", device="cpu")
    assert facts_of(tmp_path / "b")["leak"] is True


@pytest.mark.parametrize("name", ["vggish", "vggish:folder", "mel", "onnx:model.onnx"])
def test_what_is_no_model_of_hugging_face_is_refused_with_the_remedy(settings, name):
    with pytest.raises(ConfigError, match=rf"weights of '{name}' .* align.how=projection, which"):
        settings(f"audio.name={name}")


def test_whisper_and_projections_are_refused_with_the_remedy(
    small_corpus, settings, cache, tmp_path
):
    whisper = folders.write_whisper(tmp_path / "whisper")
    projection = make_align_config(
        {
            "data": {"labels": "iemocap-4"},
            "audio": {"name": "mel"},
            "align": {"modality": "audio", "epochs": 1},
        }
    )
    align(small_corpus, projection, tmp_path / "projection", cache=cache, device="cpu")

    for name in (whisper, tmp_path / "projection"):
        with pytest.raises(EncoderError, match=rf"weights of '{name}' .* align.how=projection"):
            align(small_corpus, settings(f"audio.name={name}"), tmp_path / "a", device="cpu")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("align.precision=bf16", r"is 'bf16', but an encoder of sound is aligned in float32"),
        ("align.projection=linear", r"is 'linear', but alignment does not read it"),
        ("align.conflicts=drop", r"align.conflicts is 'drop', but alignment does not read it"),
        ("audio.layer=1", r"audio.layer is 1, but alignment does not read it"),
        ("audio.spec_augment=true", r"audio.spec_augment is True, but alignment does not read it"),
        ("text.name=tiny", r"text.name is 'tiny', but alignment does not read it"),
    ],
)
def test_settings_that_it_does_not_read_are_refused(settings, assignment, message):
    with pytest.raises(ConfigError, match=message):
        settings(assignment)


def test_the_command_says_how_to_train_with_it(mersa, small_corpus, wav2vec2, tmp_path):
    words = ["align", small_corpus, "--audio", wav2vec2, "--how", "tune", "--labels", "iemocap-4"]
    words += ["--out", tmp_path / "a", "--device", "cpu", "--set", "align.epochs=1"]

    said = mersa(*words, "--set", "audio.peak=0.5", "--set", "audio.normalize=false")

    assert said.code == 0
    assert (
        f"--set audio.name={tmp_path / 'a'} --set audio.peak=0.5 --set audio.normalize=false"
        in (said.out)
    )
    card = (tmp_path / "a" / "README.md").read_text(encoding="utf-8")
    assert "It heard the sound with its peak at 0.5, mono at 16 kHz." in card
