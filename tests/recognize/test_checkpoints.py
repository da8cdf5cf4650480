"""Published classifiers as a model: small random ones in the Hugging Face layout."""

import importlib
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from transformers import pipeline

from mersa.audio import SAMPLE_RATE, read_audio
from mersa.encoders.classifier import load_classifier
from mersa.errors import ConfigError, EncoderError, RunError
from mersa.recognize.checkpoints import load_checkpoint, save_checkpoint
from mersa.recognize.recognizer import Recognizer
from mersa.recognize.scoring import Spoken
from mersa.serve.together import Together

sys.path.append(str(Path(__file__).parent))
classifiers = importlib.import_module("classifiers")

TEXT = "I am so happy now"
SECONDS = (0.3, 0.8, 0.31, 1.4, 0.8, 0.02)


@pytest.fixture
def own(speech, tmp_path):
    """A copy of the classifier of sound that a test may spoil."""
    return shutil.copytree(speech, tmp_path / "own")


@pytest.fixture(scope="module")
def clip(toy_corpus):
    return min((toy_corpus / "audio").rglob("*.ogg"))


def spoken():
    """Utterances of several lengths, some without words or sound."""
    random = np.random.default_rng(0)
    texts = ["i am so happy", "", "not", "don't go now - i am sad", "leave", "so"]
    sounds = [
        0.1 * random.standard_normal(int(seconds * SAMPLE_RATE)).astype(np.float32)
        for seconds in SECONDS
    ]
    sounds[4] = None
    return [Spoken(text, sound) for text, sound in zip(texts, sounds, strict=True)]


def change_weights(folder, change):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


@pytest.mark.parametrize("kind", classifiers.SPEECH_KINDS)
def test_sound_scored_together_has_the_answers_of_sound_alone(kind, tmp_path):
    folder = classifiers.write_speech_classifier(tmp_path, kind=kind)
    classifier = load_classifier(str(folder))
    sounds = [one.audio for one in spoken() if one.audio is not None]

    together = classifier.encode(sounds).frames

    alone = np.concatenate([classifier.encode([sound]).frames for sound in sounds])
    assert not classifier.equal_lengths
    np.testing.assert_allclose(together, alone, atol=1e-5 * np.abs(alone).max())
    assert np.abs(alone - alone[:1]).max() > 1e-2 * np.abs(alone).max()  # they do differ


@pytest.mark.parametrize("kind", classifiers.TEXT_KINDS)
def test_words_scored_together_have_the_answers_of_words_alone(kind, tmp_path):
    classifier = load_classifier(str(classifiers.write_text_classifier(tmp_path, kind=kind)))
    texts = [one.text for one in spoken()]

    together = classifier.encode(texts).frames

    alone = np.concatenate([classifier.encode([text]).frames for text in texts])
    np.testing.assert_allclose(together, alone, atol=1e-5 * np.abs(alone).max())
    assert np.abs(alone - alone[:1]).max() > 1e-2 * np.abs(alone).max()


def test_fused_answers_do_not_depend_on_what_else_is_scored(speech, words):
    scorer = load_checkpoint(f"hf:{speech}+{words}", weight=0.3)

    together = scorer.score(spoken())

    alone = np.concatenate([scorer.score([one]) for one in spoken()])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(together.sum(1), 1)


def test_sound_alone_is_scored_as_the_pipeline_of_transformers_scores_it(speech, clip):
    told = pipeline("audio-classification", model=str(speech), top_k=None)(
        {"raw": read_audio(clip), "sampling_rate": SAMPLE_RATE}
    )

    answer = Recognizer.from_pretrained(f"hf:{speech}", device="cpu").predict(clip)

    expected = {one["label"]: one["score"] for one in told}
    words = {"neu": "neutral", "hap": "happy", "ang": "anger", "sad": "sad"}
    for label, word in words.items():
        assert answer.scores[word] == pytest.approx(expected[label], abs=1e-5)
    assert answer.modalities == ("audio",)


def test_words_alone_are_scored_as_the_pipeline_of_transformers_scores_them(words):
    (told,) = pipeline("text-classification", model=str(words), top_k=None)([TEXT])

    answer = Recognizer.from_pretrained(f"hf:+{words}", device="cpu").predict(None, TEXT)

    expected = {one["label"]: one["score"] for one in told}
    for label, word in (("joy", "happy"), ("sadness", "sad"), ("disgust", "disgust")):
        assert answer.scores[word] == pytest.approx(expected[label], abs=1e-5)
    assert answer.modalities == ("text",)


def test_fused_answers_are_the_weighted_mean_over_the_words_that_both_have(speech, words, clip):
    scores = {
        name: Recognizer.from_pretrained(f"hf:{name}", device="cpu", labels="iemocap-4")
        .predict(clip, TEXT)
        .scores
        for name in (speech, words)
    }

    fused = Recognizer.from_pretrained(f"hf:{speech}+{words}", device="cpu", weight=0.2)

    assert fused.labels.labels == ("anger", "happy", "sad", "neutral")
    answer = fused.predict(clip, TEXT)
    for word, found in answer.scores.items():
        mean = 0.2 * scores[speech][word] + 0.8 * scores[words][word]
        assert found == pytest.approx(mean, abs=1e-6)
    assert answer.modalities == ("text", "audio")
    assert fused.predict(clip).scores == pytest.approx(scores[speech], abs=1e-6)
    assert fused.predict(None, TEXT).scores == pytest.approx(scores[words], abs=1e-6)


def test_whisper_hears_a_longer_clip_in_windows_that_count_by_their_length(tmp_path):
    classifier = load_classifier(str(classifiers.write_whisper_classifier(tmp_path, seconds=2)))
    random = np.random.default_rng(1)
    first, second = (
        0.1 * random.standard_normal(size * SAMPLE_RATE).astype(np.float32) for size in (2, 1)
    )

    whole = classifier.encode([np.concatenate([first, second])]).frames

    parts = classifier.encode([first, second]).frames
    np.testing.assert_allclose(whole[0], (2 * parts[0] + parts[1]) / 3, atol=1e-6)


def test_a_checkpoint_knows_by_its_config_whether_it_reads_sound_or_words(speech, words):
    assert load_checkpoint(f"hf:{words}").modalities == ("text",)
    with pytest.raises(ConfigError, match=r"as classifier of text, but by its config\.json it"):
        load_checkpoint(f"hf:+{speech}")
    with pytest.raises(ConfigError, match=f"as in hf:{speech}\\+{words}"):
        load_checkpoint(f"hf:{words}+{speech}")


@pytest.mark.parametrize("name", ["hf:", "hf:+", "hf:a+b+c"])
def test_a_name_of_none_or_three_is_refused(name):
    with pytest.raises(ConfigError, match=r"names no checkpoints; write hf:AUDIO"):
        load_checkpoint(name)


def test_a_folder_has_no_revision(speech):
    with pytest.raises(EncoderError, match=r"only an id on the Hugging Face Hub has"):
        load_checkpoint(f"hf:{speech}@main")


def test_a_checkpoint_of_another_task_is_refused(own):
    classifiers.change_config(own, architectures=["Wav2Vec2ForCTC"])

    with pytest.raises(EncoderError, match=r"made as Wav2Vec2ForCTC, but a classifier of its type"):
        load_checkpoint(f"hf:{own}")


def test_a_head_of_other_weights_is_refused_rather_than_drawn(own):
    # As ehcalabres/wav2vec2-lg-xlsr-en-speech-emotion-recognition, whose head has other names.
    def rename(tensors):
        for part in ("weight", "bias"):
            tensors[f"classifier.dense.{part}"] = tensors.pop(f"projector.{part}")

    change_weights(own, rename)

    with pytest.raises(EncoderError, match=r"2 weights in .* are missing \(projector\.bias, proj"):
        load_checkpoint(f"hf:{own}").score(spoken())


def test_weights_that_are_left_over_or_of_another_shape_are_refused(own, words, tmp_path):
    change_weights(own, lambda tensors: tensors.update({"classifier.extra": torch.zeros(2)}))
    with pytest.raises(EncoderError, match=r"are left over \(classifier\.extra\)"):
        load_checkpoint(f"hf:{own}").score(spoken())

    other = shutil.copytree(words, tmp_path / "other")
    change_weights(other, lambda tensors: tensors.update({"classifier.bias": torch.zeros(5)}))
    with pytest.raises(EncoderError, match=r"classifier\.bias is \(5,\) instead of \(7,\)"):
        load_checkpoint(f"hf:+{other}").score(spoken())


def test_a_pooler_that_the_head_does_not_read_may_be_left_over(tmp_path):
    folder = classifiers.write_text_classifier(tmp_path, kind="roberta")
    before = load_checkpoint(f"hf:{folder}").score(spoken())
    change_weights(
        folder, lambda tensors: tensors.update({"roberta.pooler.dense.bias": torch.ones(16)})
    )

    after = load_checkpoint(f"hf:{folder}").score(spoken())

    np.testing.assert_allclose(after, before, atol=1e-6)


def test_labels_without_names_are_refused_until_they_are_told(own):
    classifiers.change_config(own, id2label=None, label2id=None, num_labels=4)
    change_weights(own, lambda tensors: None)
    numbered = {"id2label": {str(i): f"LABEL_{i}" for i in range(4)}}
    classifiers.change_config(own, **numbered)

    with pytest.raises(ConfigError, match=r"calls its labels LABEL_0, .* which tells no emotion"):
        load_checkpoint(f"hf:{own}")

    given = {"LABEL_0": "neutral", "LABEL_1": "happy", "LABEL_2": "anger", "LABEL_3": "sad"}
    told = load_checkpoint(f"hf:{own}", mapping=given)
    assert told.labels.labels == ("anger", "happy", "sad", "neutral")


def test_a_regression_is_refused(own):
    classifiers.change_config(own, problem_type="regression")

    with pytest.raises(EncoderError, match=r"problem type 'regression', but classes numbered"):
        load_checkpoint(f"hf:{own}")


def test_another_sampling_rate_is_refused(own):
    path = own / "preprocessor_config.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(facts | {"sampling_rate": 8000}), encoding="utf-8")

    with pytest.raises(EncoderError, match=r"hears sound at 8000 Hz, but mersa gives it 16000 Hz"):
        load_checkpoint(f"hf:{own}")


def test_code_of_a_checkpoint_is_not_run(own, tmp_path):
    trap = tmp_path / "ran"
    (own / "own_model.py").write_text(f"open({str(trap)!r}, 'w').close()\n", encoding="utf-8")
    classes = ("AutoConfig", "AutoModelForAudioClassification", "AutoFeatureExtractor")
    classifiers.change_config(own, auto_map=dict.fromkeys(classes, "own_model.Own"))

    assert load_checkpoint(f"hf:{own}").score(spoken()).shape == (6, 4)
    assert not trap.exists()
    classifiers.change_config(
        own, model_type="own", auto_map={"AutoConfig": "own_model.Own"}, architectures=["Own"]
    )

    with pytest.raises(EncoderError, match=r"is a model of type 'own', but mersa runs"):
        load_checkpoint(f"hf:{own}")
    assert not trap.exists()


def test_a_weight_of_one_checkpoint_is_refused(speech):
    with pytest.raises(ConfigError, match=r"is one classifier, which has no weight"):
        load_checkpoint(f"hf:{speech}", weight=0.5)


def test_labels_of_a_run_cannot_be_changed(small_run):
    with pytest.raises(ConfigError, match=r"is a run, which has its labels"):
        Recognizer.from_pretrained(small_run, labels="iemocap-4", device="cpu")


def test_a_folder_that_names_checkpoints_answers_as_they_do(speech, words, clip, tmp_path):
    scorer = load_checkpoint(f"hf:{speech}+{words}", labels="iemocap-6", weight=0.8)
    save_checkpoint(scorer, tmp_path)

    loaded = Recognizer.from_pretrained(tmp_path, device="cpu")

    expected = Recognizer(scorer).predict(clip, TEXT)
    assert loaded.predict(clip, TEXT) == expected
    assert loaded.labels.labels[-1] == "frustrated"
    assert expected.scores["frustrated"] == 0


def test_a_folder_refuses_weights_that_were_exchanged(own, tmp_path):
    (tmp_path / "kept").mkdir()
    save_checkpoint(load_checkpoint(f"hf:{own}"), tmp_path / "kept")
    change_weights(own, lambda tensors: tensors["classifier.bias"].add_(1))

    with pytest.raises(EncoderError, match=r"has other weights than when"):
        load_checkpoint(tmp_path / "kept")


def test_a_bundled_folder_needs_the_checkpoints_no_more(own, words, clip, tmp_path, mersa):
    ModelCard("---\nlicense: mit\n---\n# A classifier\n").save(own / "README.md")
    moved = shutil.copytree(words, tmp_path / "moved")
    (tmp_path / "kept").mkdir()
    scorer = load_checkpoint(f"hf:{own}+{moved}", weight=0.8)
    save_checkpoint(scorer, tmp_path / "kept")
    expected = Recognizer(scorer).predict(clip, TEXT)

    said = mersa("bundle", tmp_path / "kept", "--json")

    assert len(json.loads(said.out)["copied"]) == 2
    shutil.rmtree(own)
    shutil.rmtree(moved)
    loaded = Recognizer.from_pretrained(tmp_path / "kept", device="cpu")
    assert loaded.predict(clip, TEXT) == expected
    assert "| audio | `own` | a folder | mit |" in loaded.card


def test_broken_weights_are_told_before_any_recording(own, clip, mersa):
    change_weights(own, lambda tensors: tensors.pop("classifier.bias"))

    said = mersa("predict", f"hf:{own}", clip, clip, "--quiet")

    assert (said.code, said.out) == (2, "")
    assert said.err.count("are missing (classifier.bias)") == 1


@pytest.mark.parametrize("change", [{"architectures": [1]}, {"id2label": ["neu", "hap"]}])
def test_a_config_of_other_kinds_of_values_is_told(own, change):
    config = own / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | change))

    with pytest.raises(EncoderError, match=r"was made as 1, but|config.json cannot be used"):
        load_checkpoint(f"hf:{own}")


def test_a_label_that_is_given_two_meanings_is_refused(speech, clip, mersa):
    said = mersa("predict", f"hf:{speech}", clip, "--map", "hap=happy,HAP=sad")

    assert (said.code, said.out) == (2, "")
    assert said.err == "mersa predict: --map gives 'HAP' twice; give it once\n"


def test_what_masks_training_alone_may_be_missing(own):
    before = load_checkpoint(f"hf:{own}").score(spoken())
    change_weights(own, lambda tensors: tensors.pop("wav2vec2.masked_spec_embed"))

    after = load_checkpoint(f"hf:{own}").score(spoken())

    np.testing.assert_allclose(after, before, atol=1e-6)


def test_what_is_told_is_of_the_model_whatever_is_asked_in_its_place(speech, words):
    recognizer = Recognizer.from_pretrained(
        f"hf:{speech}+{words}", device="cpu", labels="iemocap-4"
    )

    other = recognizer.with_scorer(Together(recognizer.scorer))

    assert other.card == recognizer.card
    assert other.told() == recognizer.told()
    assert len(other.told()) == 3


def test_a_broken_folder_is_refused(tmp_path):
    (tmp_path / "checkpoint.json").write_text('{"schema": 1}', encoding="utf-8")

    with pytest.raises(RunError, match=r"is not what mersa evaluate writes"):
        load_checkpoint(tmp_path)


def test_the_card_tells_labels_licence_and_limits(own, words):
    ModelCard("---\nlicense: mit\n---\n# A classifier\n").save(own / "README.md")

    card = Recognizer.from_pretrained(f"hf:{own}+{words}", device="cpu").card

    assert "| audio | `own` | a folder | mit |" in card
    assert "| a folder | not stated |" in card
    assert "| text | joy | happy |" in card
    assert "| text | surprise | left out |" in card
    assert "the sound counts 0.50, the words 0.50. The weight was not fitted." in card
    assert "## Limits" in card


def test_from_the_shell(speech, words, clip, mersa):
    name = f"hf:{speech}+{words}"
    expected = Recognizer.from_pretrained(name, device="cpu", weight=0.4).predict(clip, TEXT)

    said = mersa("predict", name, clip, "--text", TEXT, "--weight", "0.4", "--device", "cpu")
    as_json = mersa("predict", name, clip, "--labels", "iemocap-4", "--json", "--quiet")

    assert said.code == 0
    assert json.loads(said.out)["scores"] == pytest.approx(expected.scores)
    assert f"labels of {words} (text): anger = anger, happy = joy, sad = sadness" in said.err
    assert "weight of the sound 0.4, of the words 0.6" in said.err
    told = json.loads(as_json.out)
    assert told["told"][0].startswith(f"labels of {speech} (audio)")
    assert [one["audio"] for one in told["answers"]] == [str(clip)]
    assert as_json.err == ""
