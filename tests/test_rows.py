"""Each of the paper's 24 rows runs from end to end with encoders of the real size.

The weights are random, so no score means anything here; sizes, wiring and agreement do.
"""

import json
import re
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import (
    BertConfig,
    BertModel,
    PreTrainedModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
)

from mersa import experiment, held_out, runs
from mersa.answers import read_predictions
from mersa.config import apply_assignments, make_config
from mersa.corpora import toy
from mersa.corpora.place import place
from mersa.emotions import label_set
from mersa.encoders import vggish
from mersa.encoders.cache import FeatureCache
from mersa.encoders.huggingface import quiet
from mersa.evaluation import Predictions
from mersa.manifest import Manifest, make_manifest
from mersa.paper import ROWS, Row
from mersa.recognize.recognizer import Prediction, Recognizer

pytestmark = pytest.mark.slow

TRAINABLE = {
    "1": 115_140,
    "2": 213_572,
    "3": 2_552_644,
    "4": 5_425_604,
    "5": 2_552_644,
    "6": 2_552_644 + 165_632,
    "7": 5_425_604,
    "8": 5_425_604 + 5_908_992,
}
"""Trainable parameters of each line at four emotions; each further emotion adds 64 weights + 1."""

READS = {
    "1": ("bert", "pooler", "vggish"),
    "2": ("bert", "pooler", "wav2vec2-base"),
    "3": ("bert", "frames", "vggish"),
    "4": ("bert", "frames", "wav2vec2-base"),
    "5": ("bert-aligned", "frames", "vggish"),
    "6": ("bert-aligned", "frames", "vggish"),
    "7": ("bert-aligned", "frames", "wav2vec2-base"),
    "8": ("bert-aligned", "frames", "wav2vec2-base"),
}
"""Text encoder, what is taken from it, and audio encoder of each line."""

DIALOGUES = {"train": 4, "validation": 2, "test": 2}
VOCABULARY = 30_522


@dataclass(frozen=True)
class World:
    """What all rows share."""

    folder: Path
    manifest: Manifest
    cache: FeatureCache

    def text(self, row: Row) -> str:
        return str(self.folder / ("bert-aligned" if row.aligned else "bert"))

    def audio(self, row: Row) -> str:
        folder = self.folder / row.audio.rpartition("/")[2]
        return f"vggish:{folder}" if row.audio == "vggish" else str(folder)


@dataclass(frozen=True)
class Ran:
    """What one row left behind."""

    row: Row
    manifest: Manifest
    reads: tuple[str, str, str]
    metrics: dict
    predictions: Predictions
    heard_id: str
    with_words: Prediction
    without_words: Prediction


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("rows")
    manifest = place(part_of_toy(), folder / "corpus")
    write_bert(folder / "bert", [one.text for one in manifest], seed=1)
    write_bert(folder / "bert-aligned", [one.text for one in manifest], seed=2)
    write_wav2vec2(folder / "wav2vec2-base", seed=3)
    write_vggish(folder / "vggish", seed=4)
    yield World(folder, manifest, FeatureCache(folder / "frames"))
    shutil.rmtree(folder)  # more than 2 GB


@pytest.fixture(scope="module", params=ROWS.values(), ids=ROWS.keys())
def ran(world: World, request) -> Iterator[Ran]:
    row: Row = request.param
    settings = [
        f"text.name={world.text(row)}",
        f"audio.name={world.audio(row)}",
        "train.epochs=2",
    ]
    config = make_config(apply_assignments(row.settings(), settings))
    run = world.folder / row.id
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse_network)
        experiment.train(
            world.manifest.folder / "manifest.csv", config, run, cache=world.cache, device="cpu"
        )
        read = reads(run)
        metrics = held_out.evaluate(run, cache=world.cache, device="cpu")
        recognizer = Recognizer.from_pretrained(run, device="cpu")
        predictions = read_predictions(run).part("test")
        heard = next(one for one in world.manifest if one.id == predictions.ids[-1])
        path = world.manifest.audio_path(heard)
        with_words = recognizer.predict(path, heard.text)
        without_words = recognizer.predict(path)
    yield Ran(row, world.manifest, read, metrics, predictions, heard.id, with_words, without_words)
    shutil.rmtree(run)


def test_network_has_the_published_number_of_trainable_parameters(ran):
    num_labels = {"III": 4, "IV": 6, "V": 4}[ran.row.id.partition(".")[0]]

    found = ran.metrics["trainable_parameters"]

    assert found == TRAINABLE[ran.row.id[-1]] + 65 * (num_labels - 4)


def test_row_reads_the_encoders_that_the_paper_names(ran):
    assert ran.reads == READS[ran.row.id[-1]]


def test_every_test_utterance_of_the_label_set_is_answered_once(ran):
    labels = label_set(ran.row.labels)
    truth = {
        one.id: labels.index(one.emotion)
        for one in ran.manifest
        if one.part == "test" and labels.index(one.emotion) is not None
    }

    answered = dict(zip(ran.predictions.ids, ran.predictions.truth.tolist(), strict=True))

    assert answered == truth
    assert len(ran.predictions.ids) == len(truth) == ran.metrics["parts"]["test"]["n"]
    assert set(truth.values()) == set(range(len(labels.labels)))


def test_run_is_recorded_as_the_row_that_was_asked_for(ran):
    recorded = {name: ran.metrics[name] for name in ("row", "system", "state", "labels", "epochs")}

    assert recorded == {
        "row": ran.row.id,
        "system": ran.row.system,
        "state": "evaluated",
        "labels": list(label_set(ran.row.labels).labels),
        "epochs": 2,
    }


def test_probabilities_of_the_test_part_sum_to_one(ran):
    sums = ran.predictions.probabilities.sum(axis=1)

    assert ran.predictions.probabilities.min() >= 0
    np.testing.assert_allclose(sums, 1, atol=1e-9)


def test_recognizer_gives_the_answer_of_the_evaluation(ran):
    place_of = ran.predictions.ids.index(ran.heard_id)
    expected = ran.predictions.probabilities[place_of]

    found = [ran.with_words.scores[label] for label in ran.predictions.labels]

    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert ran.with_words.modalities == ("text", "audio")


def test_recognizer_judges_the_sound_alone_where_words_are_missing(ran):
    scores = ran.without_words.scores

    assert ran.without_words.modalities == ("audio",)
    assert sum(scores.values()) == pytest.approx(1, abs=1e-9)
    assert scores != pytest.approx(ran.with_words.scores, abs=1e-6)


def part_of_toy() -> Manifest:
    """Take the first dialogues of each part."""
    whole = toy.read()
    chosen = {
        dialogue
        for part, number in DIALOGUES.items()
        for dialogue in sorted({one.dialogue for one in whole if one.part == part})[:number]
    }
    return make_manifest((one for one in whole if one.dialogue in chosen), whole.folder)


def reads(run: Path) -> tuple[str, str, str]:
    """Tell from a run folder which encoders were read, and what was taken from the words'."""
    text, audio = (
        Path(json.loads((run / "encoders" / f"{modality}.json").read_text())["name"]).name
        for modality in ("text", "audio")
    )
    return text, runs.load_config(run).text.output, audio


def write_bert(folder: Path, texts: list[str], *, seed: int) -> None:
    """Write bert-base: 12 layers, 768 wide, a WordPiece vocabulary of 30,522 entries."""
    write_model(folder, lambda: BertModel(BertConfig()), seed)
    words = sorted({word for text in texts for word in re.findall(r"\w+|[^\w\s]", text.lower())})
    letters = [letter for letter in "abcdefghijklmnopqrstuvwxyz" if letter not in words]
    pieces = [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    entries = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *letters, *pieces]
    entries += [f"[unused{number}]" for number in range(VOCABULARY - len(entries))]
    (folder / "vocab.txt").write_text("\n".join(entries) + "\n", encoding="utf-8")
    tokenizer = {"tokenizer_class": "BertTokenizer", "do_lower_case": True}
    (folder / "tokenizer_config.json").write_text(
        json.dumps(tokenizer | {"model_max_length": 512}), encoding="utf-8"
    )


def write_wav2vec2(folder: Path, *, seed: int) -> None:
    """Write wav2vec2-base, whose preprocessor normalises each clip."""
    write_model(folder, lambda: Wav2Vec2Model(Wav2Vec2Config()), seed)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)


def write_vggish(folder: Path, *, seed: int) -> None:
    """Write the whole VGGish as `VGGish.save` lays it out."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = vggish.Network()
    folder.mkdir()
    save_file(network.state_dict(), folder / "model.safetensors")


def write_model(folder: Path, build, seed: int) -> None:
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(seed)
        model: PreTrainedModel = build()
        model.save_pretrained(folder)


def refuse_network(self: socket.socket, address: object) -> None:
    raise AssertionError(f"a row wanted the network: {address}")
