"""Runs are published to, and fetched from, a Hub that a small server plays on this machine."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import ModelCard, constants

from mersa import runs
from mersa.errors import EncoderError, RunError
from mersa.experiment import train
from mersa.held_out import evaluate
from mersa.recognize.publishing import push
from mersa.recognize.recognizer import Recognizer
from mersa.weights import bundle

sys.path.append(str(Path(__file__).parent))
classifiers = importlib.import_module("classifiers")
hub_server = importlib.import_module("hub_server")

ID = "me/my-emotions"
TEXT = "I have told you so"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hub that huggingface_hub talks to, with an empty cache."""
    with hub_server.hub_server() as state:
        monkeypatch.setattr(constants, "ENDPOINT", state["url"])
        template = state["url"] + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        yield state


@pytest.fixture
def bundled(small_run, cache, tmp_path):
    """A run that is evaluated and holds its encoders."""
    folder = shutil.copytree(small_run, tmp_path / "mine")
    evaluate(folder, cache=cache, device="cpu")
    bundle(folder)
    return folder


@pytest.fixture
def clip(toy_corpus):
    return min((toy_corpus / "audio").rglob("*.ogg"))


def test_a_published_run_gives_the_same_answers(hub, bundled, clip):
    recognizer = Recognizer.from_pretrained(bundled, device="cpu")

    address = recognizer.push_to_hub(ID, license="cc-by-4.0", token="hf_secret")

    fetched = Recognizer.from_pretrained(ID, device="cpu")
    assert fetched.predict(clip, TEXT) == recognizer.predict(clip, TEXT)
    assert address.startswith(f"{hub['url']}/{ID}/commit/")
    assert fetched.card == hub["models"][ID]["README.md"].decode()
    assert hub["private"][ID] in ("private", True)
    assert hub["tokens"] == {"Bearer hf_secret"}


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_published_run_withholds_labels_by_the_curve_of_its_card(
    hub, small_corpus, quick, cache, tmp_path, clip, seeds
):
    train(small_corpus, quick(), tmp_path / "run", cache=cache, seeds=seeds, device="cpu")
    bundle(tmp_path / "run")
    scores = runs.read_metrics(tmp_path / "run")["parts"]["validation"]
    row = scores["selective"]["curve"][0]
    push(tmp_path / "run", ID, licence="mit")

    fetched = Recognizer.from_pretrained(ID, device="cpu")

    assert fetched.threshold(row["risk"]).confidence == row["confidence"]


def test_a_run_of_several_seeds_is_published_whole(hub, small_corpus, quick, cache, tmp_path, clip):
    train(small_corpus, quick(), tmp_path / "run", cache=cache, seeds=2, device="cpu")
    bundle(tmp_path / "run")
    recognizer = Recognizer.from_pretrained(tmp_path / "run", device="cpu")

    recognizer.push_to_hub(ID, license="cc-by-4.0")

    fetched = Recognizer.from_pretrained(ID, device="cpu")
    assert fetched.predict(clip, TEXT) == recognizer.predict(clip, TEXT)
    assert "seed-1/model.safetensors" in hub["models"][ID]


def test_the_front_matter_is_what_the_hub_reads(hub, bundled):
    push(bundled, ID, licence="cc-by-nc-sa-4.0", languages=["en"], datasets=["me/toy"])

    card = ModelCard(hub["models"][ID]["README.md"].decode())
    data = card.data
    scores = runs.read_metrics(bundled)["parts"]["test"]
    assert (data.license, data.language, data.datasets) == ("cc-by-nc-sa-4.0", ["en"], ["me/toy"])
    assert (data.library_name, data.pipeline_tag) == ("mersa", "audio-classification")
    assert "mersa" in data.tags
    assert data.base_model is None  # tiny and mel have no published weights
    assert data.model_name == "my-emotions"
    found = {one.metric_name: one.metric_value for one in data.eval_results}
    assert found["macro f1"] == pytest.approx(scores["macro_f1"], abs=1e-4)
    assert set(found) == {"accuracy", "balanced accuracy", "macro f1", "weighted f1"}
    assert "POST /api/validate-yaml" in hub["asked"]
    assert card.text.lstrip() == (bundled / "README.md").read_text().split("\n---\n", 1)[1].lstrip()


def test_weights_of_the_hub_are_named_as_base(hub, bundled):
    path = bundled / "encoders" / "audio.json"
    facts = json.loads(path.read_text()) | {"name": "facebook/wav2vec2-base", "revision": "0b5b"}
    path.write_text(json.dumps(facts))

    push(bundled, ID, licence="mit")

    data = ModelCard(hub["models"][ID]["README.md"].decode()).data
    assert data.base_model == ["facebook/wav2vec2-base"]


def test_labels_speakers_and_paths_stay_here(hub, bundled):
    assert (bundled / "subgroups.json").is_file()
    assert len((bundled / "predictions.csv").read_text().splitlines()) > 1

    push(bundled, ID, licence="mit")

    published = hub["models"][ID]
    assert "subgroups.json" not in published
    assert len(published["predictions.csv"].splitlines()) == 1
    here = str(Path(json.loads((bundled / "environment.json").read_text())["manifest"]).parent)
    assert not [name for name, content in published.items() if here.encode() in content]
    assert not [name for name in published if name.endswith((".pt", ".bin", ".pkl"))]


def test_what_a_run_does_not_need_stays_here(hub, bundled):
    (bundled / "who_said_it.csv").write_text("u1,Jane")

    push(bundled, ID, licence="mit")

    assert "who_said_it.csv" not in hub["models"][ID]
    assert "figures/coverage.png" in hub["models"][ID]


def test_a_link_is_not_followed(hub, bundled, tmp_path):
    (tmp_path / "secret").write_text("of this machine")
    (bundled / "encoders" / "notes.txt").symlink_to(tmp_path / "secret")

    with pytest.raises(RunError, match=r"notes.txt is a link, which may lead .*; put the file"):
        push(bundled, ID, licence="mit")
    assert hub["asked"] == []


def test_a_run_with_a_broken_description_is_told(hub, bundled):
    (bundled / "environment.json").write_text("{}")

    with pytest.raises(RunError, match=r"lacks 'manifest', which training writes; bring back"):
        push(bundled, ID, licence="mit")
    assert hub["asked"] == []


def test_an_encoder_from_a_folder_of_this_machine_goes_without_its_path(
    hub, small_corpus, quick, cache, tmp_path
):
    encoder = classifiers.folders.write_bert(tmp_path / "own-bert")
    settings = quick("network.system=text", f"text.name={encoder}", "train.epochs=1")
    train(small_corpus, settings, tmp_path / "run", cache=cache, device="cpu")
    bundle(tmp_path / "run")

    push(tmp_path / "run", ID, licence="mit")

    published = hub["models"][ID]
    here = str(tmp_path).encode()
    assert not [name for name, content in published.items() if here in content]
    fetched = Recognizer.from_pretrained(ID, device="cpu")
    expected = Recognizer.from_pretrained(tmp_path / "run", device="cpu").predict(None, TEXT)
    assert fetched.predict(None, TEXT) == expected
    card = ModelCard(published["README.md"].decode()).data
    assert (card.pipeline_tag, card.base_model) == ("text-classification", None)


def test_a_score_that_leaks_is_not_listed(hub, bundled):
    path = bundled / "metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"leak": ["text has seen test"]}))

    push(bundled, ID, licence="mit")

    assert ModelCard(hub["models"][ID]["README.md"].decode()).data.eval_results is None


def test_what_is_not_ready_is_refused_before_anything_is_sent(hub, small_run, bundled, tmp_path):
    unfinished = shutil.copytree(bundled, tmp_path / "unfinished")
    (unfinished / "metrics.json").unlink()
    speech = classifiers.write_speech_classifier(tmp_path / "speech")

    with pytest.raises(RunError, match=r"is unfinished"):
        push(unfinished, ID, licence="mit")
    with pytest.raises(RunError, match=r"does not hold its audio encoder.*mersa bundle"):
        push(small_run, ID, licence="mit")
    with pytest.raises(RunError, match=r"the licence of .* is not known.*license='cc-by-nc-sa"):
        push(bundled, ID, licence=None)
    with pytest.raises(RunError, match=r"only a run that mersa train made can be published"):
        Recognizer.from_pretrained(f"hf:{speech}", device="cpu").push_to_hub(ID, license="mit")
    assert hub["asked"] == []


def test_a_hub_that_cannot_be_reached_is_told_in_one_sentence(hub, bundled, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")

    with pytest.raises(RunError, match=r"could not be put on the Hugging Face Hub as 'me/my-emo"):
        push(bundled, ID, licence="mit")


def test_another_model_of_the_hub_is_not_fetched_for_a_run(hub):
    hub["models"]["them/classifier"] = {"config.json": b"{}", "model.safetensors": b"weights"}

    with pytest.raises(EncoderError, match=r"is no run of mersa.*name it hf:them/classifier"):
        Recognizer.from_pretrained("them/classifier", device="cpu")
    assert not [one for one in hub["asked"] if "safetensors" in one]


def test_a_published_classifier_is_fetched_by_its_id(hub, tmp_path, clip):
    folder = classifiers.write_speech_classifier(tmp_path / "speech")
    ModelCard("---\nlicense: mit\n---\n# A classifier\n").save(folder / "README.md")
    held = {path.name: path.read_bytes() for path in folder.iterdir()}
    hub["models"]["them/classifier"] = held

    recognizer = Recognizer.from_pretrained("hf:them/classifier@main", device="cpu")

    expected = Recognizer.from_pretrained(f"hf:{folder}", device="cpu").predict(clip)
    assert recognizer.predict(clip) == expected
    commit = hub_server._commit(held)
    assert f"| audio | `them/classifier` | {commit} | mit |" in recognizer.card


def test_from_the_shell(bundled, clip, tmp_path):
    with hub_server.hub_server() as hub:
        own = {"HF_ENDPOINT": hub["url"], "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": "hf_own"}

        def run(*words):
            command = [sys.executable, "-m", "mersa", *map(str, words)]
            return subprocess.run(
                command, capture_output=True, text=True, env=os.environ | own, check=False
            )

        pushed = run("push", bundled, ID, "--license", "mit", "--language", "en", "--public")
        answered = run("predict", ID, clip, "--text", TEXT, "--device", "cpu")

    expected = Recognizer.from_pretrained(bundled, device="cpu").predict(clip, TEXT)
    assert pushed.stdout.startswith(f"published: {hub['url']}/{ID}/commit/"), pushed.stderr
    assert json.loads(answered.stdout)["scores"] == expected.scores, answered.stderr
    assert hub["private"][ID] in ("public", False)
    assert hub["tokens"] == {"Bearer hf_own"}


def test_without_a_licence_the_shell_refuses(bundled, mersa):
    said = mersa("push", bundled, ID)

    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("mersa push: the licence of")


def test_bundle_tells_what_it_copied(small_run, tmp_path, mersa):
    folder = shutil.copytree(small_run, tmp_path / "run")

    first, second = mersa("bundle", folder, "--json"), mersa("bundle", folder, "--json")

    copied = json.loads(first.out)["copied"]
    assert str(folder / "encoders" / "audio") in copied
    assert json.loads(second.out) == {"run": str(folder), "copied": []}
