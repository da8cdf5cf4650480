"""A published emotion classifier of Hugging Face, as it is: sound or words in, logits out.

Its logits stand as one frame a clip, so that batches, the cache and strict loading are those of any
encoder.

Shapes: B clips, C labels of the checkpoint.
"""

import math
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import (
    AutoModelForAudioClassification,
    AutoModelForSequenceClassification,
    WhisperFeatureExtractor,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)

from mersa.audio import SAMPLE_RATE, FloatArray
from mersa.encoders.base import Encoded, Modality
from mersa.encoders.hub import commit_of, resolve
from mersa.encoders.huggingface import load_config, load_model
from mersa.encoders.layout import (
    SPEECH_TYPES,
    TEXT_TYPES,
    content_hash,
    copy_model,
    read_config,
)
from mersa.encoders.lengths import PADDING_TOLERANCE, check_mono, encode_by_length, padding_error
from mersa.encoders.masked import run_clips, take_clips
from mersa.encoders.speech import SpeechEncoder
from mersa.encoders.text import TextEncoder
from mersa.errors import EncoderError, ShapeError

HARMLESS_EXTRAS = {
    r"(^|\.)position_ids$": "positions 0, 1, 2, ..., which old checkpoints stored",
    r"\.pooler\.": "a pooler that the head does not read",
    r"^(quantizer|project_q|project_hid)\.": "wav2vec 2.0's targets of pretraining",
}
"""Weights that a classifier's checkpoint may hold beside the model's own."""

HARMLESS_GAPS = {r"(^|\.)masked_spec_embed$": "used by SpecAugment alone, in training"}
"""Weights that it may lack; its head is none of them, since it would be drawn at random."""

_PROBES = (3_000, 5_000)  # samples of two clips, alone and together
_WINDOWS_AT_ONCE = 8  # of 30 s each: bounds the memory that one long recording takes


class Classifier:
    """What classifiers of sound and of words share: their files and their labels.

    Attributes:
        name: A folder or an id on the Hugging Face Hub.
        modality: What it reads.
        folder: Where the files lie.
        commit: The commit on the Hub that they come from; None for a folder.
        label_names: C names, as the checkpoint has them.
        multi_label: Whether each label has a probability of its own, in place of a share of one.
        width: C.
    """

    num_layers = 1
    frames_per_second: float | None = None
    _model: Any  # loaded when it is first needed

    def __init__(self, name: str, folder: Path, modality: Modality, device: str) -> None:
        self.name, self.folder, self.modality = name, folder, modality
        self.commit = commit_of(folder)
        self.device = torch.device(device)
        config: Any = load_config(folder)
        _check_task(name, modality, config)
        self.label_names = tuple(str(label) for _, label in sorted(config.id2label.items()))
        self.multi_label = config.problem_type == "multi_label_classification"
        self.width = len(self.label_names)

    @cached_property
    def fingerprint(self) -> str:
        """Hash of weights, config, tokenizer or preprocessor, wherever the files lie."""
        return content_hash(self.folder, {"encoder": f"{self.modality} classifier"})

    def load(self) -> None:
        """Load the weights now, which else are loaded with the first clip.

        Raises:
            EncoderError: If they do not fit the config.
        """
        self._model  # noqa: B018  a cached property

    def save(self, folder: Path) -> None:
        """Copy the checkpoint; the copy has the same fingerprint."""
        copy_model(self.folder, folder)

    def _load(self, kind: Any) -> Any:
        model, _ = load_model(self.folder, kind=kind, extras=HARMLESS_EXTRAS, gaps=HARMLESS_GAPS)
        return model.to(self.device)  # type: ignore[arg-type]


class SpeechClassifier(Classifier):
    """A wav2vec 2.0, HuBERT, WavLM or Whisper with a head of emotions.

    Clips of several lengths run together, masked (`mersa.encoders.masked`). Whisper hears windows
    of 30 s, padded with silence as it was trained; the logits of a longer clip are the mean of its
    windows', weighted by their length.

    Args:
        name: What it is called.
        folder: Its files.
        device: Where it runs.

    Raises:
        EncoderError: If it is no emotion classifier of 16 kHz sound.
    """

    def __init__(self, name: str, folder: Path, *, device: str = "cpu") -> None:
        super().__init__(name, folder, "audio", device)
        # It reads the preprocessor, refuses other rates, and prepares each clip.
        self._reader = SpeechEncoder(str(folder), device=device)
        self._is_whisper = read_config(folder)["model_type"] == "whisper"

    @cached_property
    def equal_lengths(self) -> bool:
        """True where padding would change the logits: two short clips tell."""
        if self._is_whisper:
            return False
        generator = np.random.default_rng(0)
        clips = [generator.standard_normal(size).astype(np.float32) for size in _PROBES]
        ready = [self._reader.read(clip) for clip in clips]
        return padding_error(self._run, ready) > PADDING_TOLERANCE

    def encode(self, batch: Sequence[str] | Sequence[FloatArray]) -> Encoded:
        """Return the logits of mono float32 waveforms at 16 kHz, in the order given."""
        ready = [self._reader.read(waveform) for waveform in check_mono(batch)]
        if self._is_whisper:
            return _one_frame(torch.stack([self._whisper(clip.numpy()) for clip in ready]))
        if len({len(clip) for clip in ready}) > 1 and self.equal_lengths:
            return encode_by_length(
                [clip.numpy() for clip in ready],
                lambda stacked: self._run(list(torch.from_numpy(stacked))).frames,
            )
        return self._run(ready)

    @torch.inference_mode()
    def _run(self, clips: Sequence[Tensor]) -> Encoded:
        answer: Any = run_clips(self._model, [clip.to(self.device) for clip in clips])
        return _one_frame(answer.logits)

    @torch.inference_mode()
    def _whisper(self, waveform: FloatArray) -> Tensor:
        size = self._mel.n_samples
        windows = [waveform[start : start + size] for start in range(0, len(waveform), size)]
        logits = []
        for start in range(0, len(windows), _WINDOWS_AT_ONCE):
            some = windows[start : start + _WINDOWS_AT_ONCE]
            mel = self._mel(some, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
            logits.append(self._model(mel.to(self.device)).logits)
        lengths = torch.tensor([float(len(window)) for window in windows], device=self.device)
        return (lengths / lengths.sum()) @ torch.cat(logits)

    @cached_property
    def _model(self) -> Any:
        model = self._load(AutoModelForAudioClassification)
        if not self._is_whisper:
            take_clips(model.base_model, together=self.device.type != "cpu")
        return model

    @cached_property
    def _mel(self) -> WhisperFeatureExtractor:
        return WhisperFeatureExtractor.from_pretrained(self.folder, local_files_only=True)


class TextClassifier(Classifier):
    """A BERT-like model with a head of emotions.

    Typography is folded and long texts are cut as for any text encoder of mersa.

    Args:
        name: What it is called.
        folder: Its files.
        device: Where it runs.

    Raises:
        EncoderError: If it is no emotion classifier of words.
    """

    equal_lengths = False

    def __init__(self, name: str, folder: Path, *, device: str = "cpu") -> None:
        super().__init__(name, folder, "text", device)
        self._reader = TextEncoder(str(folder), device=device)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has."""
        return self._reader.count_tokens(texts)

    @torch.inference_mode()
    def encode(self, batch: Sequence[str] | Sequence[FloatArray]) -> Encoded:
        """Return the logits of texts, in the order given."""
        if not len(batch):
            raise ShapeError("the batch holds no texts; give at least one")
        ids, mask = self._reader.tokens([str(text) for text in batch])
        return _one_frame(self._model(ids, attention_mask=mask).logits)

    @cached_property
    def _model(self) -> Any:
        model = self._load(AutoModelForSequenceClassification)
        self._reader.check_vocabulary(model)
        return model


def load_classifier(
    name: str, *, revision: str | None = None, device: str = "cpu"
) -> SpeechClassifier | TextClassifier:
    """Open a classifier; its config tells whether it reads sound or words.

    Args:
        name: A folder or an id on the Hugging Face Hub.
        revision: Branch, tag or commit of an id.
        device: Where it runs, as torch names it.

    Raises:
        EncoderError: If it cannot be had, or is no classifier that mersa can run.
    """
    return classifier_in(resolve(name, revision=revision), name, device=device)


def classifier_in(
    folder: Path, name: str, *, device: str = "cpu"
) -> SpeechClassifier | TextClassifier:
    """Open the classifier whose files lie in a folder; as `load_classifier`.

    Args:
        folder: Its files.
        name: What it is called.
        device: Where it runs.
    """
    kind = read_config(folder)["model_type"]
    if kind in SPEECH_TYPES:
        return SpeechClassifier(name, folder, device=device)
    if kind in TEXT_TYPES:
        return TextClassifier(name, folder, device=device)
    raise EncoderError(
        f"checkpoint {name!r} is a model of type {kind!r}, but mersa runs classifiers of sound "
        f"({', '.join(SPEECH_TYPES)}) and of words ({', '.join(TEXT_TYPES)}); choose such a one"
    )


def has_generic_names(label_names: Sequence[str]) -> bool:
    """Say whether labels are numbered alone, as `LABEL_0`, so that nothing tells what they mean."""
    return all(re.fullmatch(r"(LABEL_)?\d+", name) for name in label_names)


def _check_task(name: str, modality: Modality, config: Any) -> None:
    known: Any = (
        MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES
        if modality == "audio"
        else MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES
    )
    expected = known[config.model_type]
    made_for = [str(one) for one in config.architectures or [expected]]
    if expected not in made_for:
        raise EncoderError(
            f"checkpoint {name!r} was made as {', '.join(made_for)}, but a classifier of its type "
            f"is {expected}; choose a checkpoint that was tuned to tell emotions"
        )
    numbered = sorted(config.id2label) == list(range(len(config.id2label)))
    if len(config.id2label) < 2 or not numbered or config.problem_type == "regression":
        raise EncoderError(
            f"checkpoint {name!r} has the outputs {dict(config.id2label)} and the problem type "
            f"{config.problem_type!r}, but classes numbered from 0 were expected, at least two; "
            "choose a checkpoint that tells emotions apart"
        )


def _one_frame(logits: Tensor) -> Encoded:
    """Return logits (B, C) as one frame a clip.

    Raises:
        EncoderError: If one of them is no finite number.
    """
    frames = logits.float().cpu().numpy()[:, None]
    if not math.isfinite(float(np.abs(frames).max())):
        raise EncoderError(
            "the checkpoint gives logits that are not finite, so its weights are broken; fetch it "
            "again or choose another"
        )
    return Encoded(frames, np.ones(len(frames), dtype=np.int64))
