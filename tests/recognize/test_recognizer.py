import importlib
import io
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mersa import runs, weights
from mersa.answers import read_predictions
from mersa.audio import read_audio
from mersa.errors import AudioError, ConfigError, EncoderError, RunError
from mersa.experiment import train
from mersa.held_out import evaluate
from mersa.recognize.recognizer import Recognizer
from mersa.recognize.scoring import RunScorer
from mersa.weights import bundle

sys.path.append(str(Path(__file__).parents[1] / "encoders"))
folders = importlib.import_module("folders")

TEXT = "I have told you so"
PICKLES = {".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt", ".joblib"}


@pytest.fixture(scope="module")
def recognizer(toy_run):
    return Recognizer.from_pretrained(toy_run, device="cpu")


@pytest.fixture
def clip(toy_corpus, tmp_path):
    """A recording at 22 050 Hz in two channels, so that reading it takes all steps."""
    samples = read_audio(min((toy_corpus / "audio").rglob("*.ogg")))
    path = tmp_path / "clip.wav"
    soundfile.write(path, np.stack([samples, 0.5 * samples], axis=1), 22_050, subtype="PCM_16")
    return path


@pytest.fixture
def single(small_corpus, quick, cache, tmp_path):
    """Give a run that reads one modality."""

    def make(system):
        folder = tmp_path / system
        train(small_corpus, quick(f"network.system={system}"), folder, cache=cache, device="cpu")
        return folder

    return make


def test_every_kind_of_source_gives_the_same_answer(recognizer, clip):
    expected = recognizer.predict(clip, TEXT)
    samples, rate = soundfile.read(clip, dtype="int16")

    assert recognizer.predict(str(clip), TEXT) == expected
    assert recognizer.predict(clip.read_bytes(), TEXT) == expected
    with clip.open("rb") as file:
        assert recognizer.predict(file, TEXT) == expected
    assert recognizer.predict(io.BytesIO(clip.read_bytes()), TEXT) == expected
    assert recognizer.predict(samples, TEXT, sampling_rate=rate) == expected


def test_the_command_line_gives_the_same_answer(recognizer, clip, toy_run, mersa):
    expected = recognizer.predict(clip, TEXT).as_dict()

    said = mersa("predict", toy_run, clip, "--text", TEXT, "--device", "cpu")

    assert said.code == 0
    assert json.loads(said.out) == json.loads(json.dumps({"audio": str(clip)} | expected))
    assert said.err == ""


def test_an_answer_is_whole(recognizer, clip):
    answer = recognizer.predict(clip, TEXT)

    assert list(answer.scores) == list(recognizer.labels.labels)
    assert sum(answer.scores.values()) == pytest.approx(1)
    assert answer.confidence == max(answer.scores.values()) == answer.scores[answer.label]
    assert answer.modalities == ("text", "audio")
    (segment,) = answer.segments
    assert (segment.start_s, segment.label) == (0.0, answer.label)
    assert segment.end_s == pytest.approx(soundfile.info(clip).duration, abs=1e-3)


def test_answers_are_those_of_the_evaluation(toy_run, toy_corpus, cache, tmp_path, recognizer):
    shutil.copytree(toy_run, tmp_path / "run")
    evaluate(tmp_path / "run", cache=cache, device="cpu")
    predictions = read_predictions(tmp_path / "run").part("test")
    texts = {
        row["id"]: row
        for row in runs.read_table(toy_corpus / "manifest.csv")
        if row["part"] == "test"
    }

    found = [
        list(recognizer.predict(toy_corpus / texts[i]["audio"], texts[i]["text"]).scores.values())
        for i in predictions.ids[:5]
    ]

    np.testing.assert_allclose(found, predictions.probabilities[:5], atol=1e-5)


def test_missing_words_and_missing_sound_are_borne(recognizer, clip):
    both = recognizer.predict(clip, TEXT)

    heard, read = recognizer.predict(clip), recognizer.predict(None, TEXT)

    assert (heard.modalities, read.modalities) == (("audio",), ("text",))
    assert heard.scores != both.scores != read.scores
    assert recognizer.predict(clip, " \n") == heard
    assert read.segments[0].end_s == 0.0


def test_a_text_model_reads_words_alone(single, clip):
    recognizer = Recognizer.from_pretrained(single("text"), device="cpu")

    assert recognizer.modalities == ("text",)
    assert recognizer.predict(clip, TEXT).scores == recognizer.predict(None, TEXT).scores
    with pytest.raises(ConfigError, match="reads text, but nothing of it was given; give it"):
        recognizer.predict(clip)


def test_an_audio_model_hears_sound_alone(single, clip):
    recognizer = Recognizer.from_pretrained(single("audio"), device="cpu")

    assert recognizer.modalities == ("audio",)
    both, heard = recognizer.predict(clip, TEXT), recognizer.predict(clip)
    assert (both.scores, both.modalities) == (heard.scores, ("audio",))
    assert (both.segments[0].text, heard.segments[0].text) == (TEXT, "")
    with pytest.raises(ConfigError, match="reads audio, but nothing of it was given"):
        recognizer.predict(None, TEXT)


def test_nothing_given_is_refused(recognizer):
    with pytest.raises(ConfigError, match="reads text and audio, but nothing of it was given"):
        recognizer.predict(None)


def test_an_array_without_its_rate_is_refused(recognizer):
    with pytest.raises(ConfigError, match="without its rate; give sampling_rate in hertz"):
        recognizer.predict(np.zeros(800, dtype=np.float32))


def test_a_bad_recording_is_refused(recognizer, tmp_path):
    (tmp_path / "bad.wav").write_bytes(b"no sound")

    with pytest.raises(AudioError, match=r"bad\.wav"):
        recognizer.predict(tmp_path / "bad.wav")


def test_a_device_that_is_not_there_is_refused(toy_run):
    with pytest.raises(ConfigError, match=r"device 'gpu' is not known; choose auto, cpu or cuda"):
        Recognizer.from_pretrained(toy_run, device="gpu")
    with pytest.raises(ConfigError, match=r"device 'cuda:99' is not there.*choose auto or cpu"):
        Recognizer.from_pretrained(toy_run, device="cuda:99")


def test_a_run_whose_folds_are_not_all_done_is_refused(small_run, tmp_path):
    shutil.copytree(small_run, tmp_path / "run" / "fold-1")

    with pytest.raises(RunError, match=r"run is unfinished \(it has no metrics.json\)"):
        Recognizer.from_pretrained(tmp_path / "run")


def test_a_file_is_no_run(toy_run):
    with pytest.raises(RunError, match="is not a folder; name a run folder"):
        Recognizer.from_pretrained(toy_run / "config.toml")


def test_what_is_neither_a_folder_nor_an_id_is_refused():
    with pytest.raises(
        EncoderError, match=r"is no run folder here.*name a folder that mersa train"
    ):
        Recognizer.from_pretrained("no/such/run")


def test_runs_of_different_labels_do_not_answer_together(small_run, toy_run):
    with pytest.raises(RunError, match="have different labels; load runs of one label set"):
        RunScorer([weights.load_run(small_run), weights.load_run(toy_run)])


def test_folds_answer_by_their_mean(small_corpus, quick, cache, tmp_path, clip):
    config = quick("data.protocol=column:session", "train.epochs=1")
    train(small_corpus, config, tmp_path / "run", cache=cache, device="cpu")
    folds = runs.members(tmp_path / "run")
    alone = [
        list(Recognizer.from_pretrained(fold, device="cpu").predict(clip, TEXT).scores.values())
        for fold in folds
    ]

    together = Recognizer.from_pretrained(tmp_path / "run", device="cpu").predict(clip, TEXT)

    assert len(folds) == 3
    assert alone[0] != alone[1]
    assert list(together.scores.values()) == pytest.approx(np.mean(alone, axis=0), abs=1e-12)


@pytest.mark.parametrize("kind", ["tiny", "onnx", "huggingface"])
def test_a_bundled_run_works_alone(kind, small_corpus, quick, cache, tmp_path, clip, monkeypatch):
    sources = tmp_path / "sources"
    sources.mkdir()
    settings = _encoders(kind, sources)
    here, there = tmp_path / "here", tmp_path / "other" / "machine"
    train(small_corpus, quick("train.epochs=1", *settings), here, cache=cache, device="cpu")
    expected = Recognizer.from_pretrained(here, device="cpu").predict(clip, TEXT)

    bundle(here)
    there.parent.mkdir()
    here.rename(there)
    shutil.rmtree(sources)
    monkeypatch.chdir(there.parent)
    found = Recognizer.from_pretrained(there, device="cpu").predict(clip, TEXT)

    assert found == expected
    files = [path for path in there.rglob("*") if path.is_file()]
    assert not [path for path in files if path.suffix in PICKLES or _is_pickle(path)]
    assert {path.name for path in (there / "encoders").iterdir() if path.is_dir()} == {
        "text",
        "audio",
    }


def test_folds_share_one_copy_of_their_encoders(
    small_corpus, quick, cache, tmp_path, clip, monkeypatch
):
    sources = tmp_path / "sources"
    sources.mkdir()
    settings = (
        "data.protocol=column:session",
        "train.epochs=1",
        *_encoders("huggingface", sources),
    )
    here, there = tmp_path / "here", tmp_path / "other" / "machine"
    train(small_corpus, quick(*settings), here, cache=cache, device="cpu")
    expected = Recognizer.from_pretrained(here, device="cpu").predict(clip, TEXT)
    first = Recognizer.from_pretrained(here / "fold-1", device="cpu").predict(clip, TEXT)

    bundle(here)
    there.parent.mkdir()
    here.rename(there)
    shutil.rmtree(sources)
    monkeypatch.chdir(there.parent)

    copies = [path for path in there.rglob("encoders/*") if path.is_dir()]
    assert sorted(copies) == [there / "encoders" / "audio", there / "encoders" / "text"]
    assert len(runs.members(there)) == 3
    assert Recognizer.from_pretrained(there, device="cpu").predict(clip, TEXT) == expected
    assert Recognizer.from_pretrained("machine/fold-1", device="cpu").predict(clip, TEXT) == first


def test_what_folds_do_not_share_stays_with_each(small_corpus, quick, cache, tmp_path):
    config = quick("data.protocol=column:session", "train.epochs=1")
    train(small_corpus, config, tmp_path / "run", cache=cache, device="cpu")

    bundle(tmp_path / "run")

    for leaf in runs.members(tmp_path / "run"):
        assert weights.bundled(leaf, "text") == leaf / "encoders" / "text"  # its train part's words
        assert weights.bundled(leaf, "audio") == tmp_path / "run" / "encoders" / "audio"


def test_a_run_whose_encoder_was_exchanged_is_refused(small_corpus, quick, cache, tmp_path):
    folders.write_bert(tmp_path / "bert", seed=1)
    settings = quick(f"text.name={tmp_path / 'bert'}", "network.system=text", "train.epochs=1")
    train(small_corpus, settings, tmp_path / "run", cache=cache, device="cpu")
    folders.write_bert(tmp_path / "bert", seed=2)

    with pytest.raises(EncoderError, match=r"other weights or settings than .*use a bundled run"):
        Recognizer.from_pretrained(tmp_path / "run")


def test_bundling_twice_changes_nothing(small_run, tmp_path):
    shutil.copytree(small_run, tmp_path / "run")
    bundle(tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")}

    bundle(tmp_path / "run")

    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*")} == before


def _encoders(kind, folder):
    if kind == "tiny":
        return ()
    if kind == "huggingface":
        folders.write_bert(folder / "bert")
        folders.write_wav2vec2(folder / "wav2vec2")
        text, audio = folder / "bert", folder / "wav2vec2"
        return f"text.name={text}", f"audio.name={audio}", "network.num_heads=2"
    return f"audio.name=onnx:{_write_onnx(folder / 'small.onnx')}", "network.num_heads=2"


def _write_onnx(path):
    """Write a convolution of 6 filters, 400 samples long, a step each 3200, as frames (B, N, 6)."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    make, kinds = onnx.helper, onnx.TensorProto
    kernel = np.random.default_rng(3).standard_normal((6, 1, 400)).astype(np.float32)
    graph = make.make_graph(
        [
            make.make_node("Unsqueeze", ["waveform", "axis"], ["channel"]),
            make.make_node("Conv", ["channel", "kernel"], ["maps"], strides=[3200]),
            make.make_node("Transpose", ["maps"], ["frames"], perm=[0, 2, 1]),
        ],
        "small",
        [make.make_tensor_value_info("waveform", kinds.FLOAT, ["B", "T"])],
        [make.make_tensor_value_info("frames", kinds.FLOAT, ["B", "N", 6])],
        [
            make.make_tensor("axis", kinds.INT64, [1], [1]),
            make.make_tensor("kernel", kinds.FLOAT, kernel.shape, kernel.ravel()),
        ],
    )
    model = make.make_model(graph, opset_imports=[make.make_opsetid("", 18)], ir_version=8)
    make.set_model_props(model, {"min_samples": "400"})
    onnx.save(model, path)
    return path


def _is_pickle(path):
    """Tell whether torch or pickle would unpickle a file."""
    head = path.read_bytes()[:4]
    return head[:1] == b"\x80" or head == b"PK\x03\x04"


def test_a_recording_too_long_to_be_judged_as_a_whole_is_refused(toy_run):
    recognizer = Recognizer.from_pretrained(toy_run)

    for how in ({"segmentation": "whole"}, {"text": TEXT}):  # words without times are of the whole
        with pytest.raises(AudioError, match=r"longer than 300 s, .* a whole; cut it into utter"):
            recognizer.predict(
                np.zeros(301 * 16_000, dtype=np.float32), sampling_rate=16_000, **how
            )


@pytest.mark.parametrize("name", ["config.toml", "parts.csv", "model.safetensors"])
def test_a_file_that_was_changed_after_training_is_refused(toy_run, tmp_path, name):
    folder = Path(shutil.copytree(toy_run, tmp_path / "run"))
    content = (folder / name).read_bytes()
    changed = content[:-1] + bytes([content[-1] ^ 1]) if name.endswith("s") else content + b"\n"
    (folder / name).write_bytes(changed)

    with pytest.raises(RunError, match=rf"{name} is not the file that training wrote; bring it"):
        Recognizer.from_pretrained(folder)


@pytest.mark.parametrize("named", [{"text": 123}, {"text": "so", "sampling_rate": "16000"}])
def test_values_of_another_kind_are_refused(toy_run, named):
    with pytest.raises(ConfigError, match=r"(text|sampling_rate) is .* expected"):
        Recognizer.from_pretrained(toy_run).predict(**named)
