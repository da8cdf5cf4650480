"""wav2vec 2.0, HuBERT, WavLM and Whisper's encoder from Hugging Face: sound in, 50 frames a second.

Shapes: B clips, N frames, W windows, M mel bands, K layers, D width.
"""

import logging
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import PreTrainedModel, WhisperFeatureExtractor

from mersa.audio import SAMPLE_RATE, FloatArray
from mersa.encoders.base import Encoded, Modality, pad
from mersa.encoders.finetune import masked_spans, save_tuned, to_tune
from mersa.encoders.hub import commit_of, resolve
from mersa.encoders.huggingface import (
    Precision,
    dtype_of,
    live_dropout,
    load_config,
    load_model,
)
from mersa.encoders.layers import Layer, check_layer, take_layer
from mersa.encoders.layout import SPEECH_TYPES, content_hash, copy_model, read_config, read_json
from mersa.encoders.lengths import (
    PADDING_TOLERANCE,
    check_mono,
    encode_by_length,
    lengthen,
    padding_error,
)
from mersa.encoders.level import check_peak, set_peak
from mersa.encoders.masked import conv_length, run_clips, set_precision, take_clips
from mersa.errors import EncoderError

_WINDOWS_AT_ONCE = 8  # of 30 s each: bounds the memory that one long recording takes
_PROBE_FRAMES = (7, 12)  # fewer than the positional convolution spans, so that no leak is missed

_log = logging.getLogger(__name__)


class SpeechEncoder:
    """Frames of a speech model, frozen.

    Clips of several lengths run together, padded and masked so that no frame depends on the batch
    (`mersa.encoders.masked`). A clip shorter than one frame is lengthened with silence. Whisper
    hears windows of 30 s, padded with silence as it was trained, and gives the frames of the true
    length.

    Attributes:
        commit: The commit on the Hub that the weights come from; None for a folder.
        device: Where the model runs.

    Args:
        name: A folder or an id on the Hugging Face Hub.
        revision: Branch, tag or commit of an id; by default the pinned one.
        layer: 0 for what enters the transformer to N for its last layer, or counted from the end;
            `mix` for all N + 1 side by side.
        peak: The largest magnitude that a clip is scaled to; None leaves it as recorded.
        normalize: Whether each clip gets zero mean and unit variance; `auto` does as the model's
            preprocessor says (facebook/wav2vec2-base: yes; torchaudio's bundle of it: no).
        precision: What the model computes in, `float32` or `bf16`; frames are float32 always.
        device: Where the model runs, as torch names it.

    Raises:
        ConfigError: If the peak is not a positive number.
        EncoderError: If the model cannot be had or is not a speech encoder, or a setting does not
            fit it.
    """

    modality: Modality = "audio"

    def __init__(
        self,
        name: str,
        *,
        revision: str | None = None,
        layer: Layer = -1,
        peak: float | None = None,
        normalize: bool | Literal["auto"] = "auto",
        precision: Precision = "float32",
        device: str = "cpu",
    ) -> None:
        check_peak(peak)
        self.name = str(name)
        self.folder = resolve(self.name, revision=revision)
        self.commit = commit_of(self.folder)
        self._kind = read_config(self.folder)["model_type"]
        if self._kind not in SPEECH_TYPES:
            raise EncoderError(
                f"encoder {self.name!r} is a model of type {self._kind!r}, but a speech encoder is "
                f"one of {', '.join(SPEECH_TYPES)}; choose such a model, or give this one as text "
                "encoder"
            )
        self._config: Any = load_config(self.folder)
        config = self._config
        self._layer = check_layer(self.name, layer, config.num_hidden_layers)
        self._peak = peak
        self._normalize = self._reads_normalized(normalize)
        self._dtype = dtype_of(precision)
        self.device = torch.device(device)
        self.width = int(config.hidden_size)
        self.num_layers = config.num_hidden_layers + 1 if layer == "mix" else 1
        if self._kind == "whisper":
            self._stride = 2 * self._mel.hop_length  # the second convolution halves the mel frames
            self._shortest = 1
            if self._mel.n_samples != config.max_source_positions * self._stride:
                raise EncoderError(
                    f"the preprocessor of {self.name!r} makes windows of {self._mel.n_samples} "
                    f"samples, but the model hears {config.max_source_positions * self._stride}; "
                    "use the preprocessor_config.json that belongs to the weights"
                )
        else:
            self._stride = math.prod(config.conv_stride)
            self._shortest = _receptive_field(config.conv_kernel, config.conv_stride)
        self.frames_per_second: float | None = SAMPLE_RATE / self._stride

    @cached_property
    def fingerprint(self) -> str:
        """Hash of weights, config, preprocessor and settings, wherever the files lie."""
        settings = {
            "encoder": "speech",
            "layer": self._layer,
            "peak": None if self._peak is None else float(self._peak),
            "normalize": self._normalize,
            "dtype": str(self._dtype).removeprefix("torch."),
        }
        return content_hash(self.folder, settings)

    @cached_property
    def equal_lengths(self) -> bool:
        """True where padding would change the frames: two short clips, alone and together, tell.

        The model is then run on clips of one length at a time, and that is logged. Only a model
        with a part that `mersa.encoders.masked` does not know comes to this. They run in float32
        whatever the precision: rounding to bf16 would hide a small leak.
        """
        if self._kind == "whisper":
            return False  # every window has one length
        return self._padding_shows(self._model)

    def _padding_shows(self, model: PreTrainedModel) -> bool:
        generator = np.random.default_rng(0)
        clips = [
            generator.standard_normal(self._shortest + (frames - 1) * self._stride + frames)
            for frames in _PROBE_FRAMES
        ]
        training = model.training
        set_precision(model.eval(), torch.float32)  # type: ignore[no-untyped-call]
        error = padding_error(
            lambda batch: self._run(batch, model),
            [self._prepare(clip.astype(np.float32)) for clip in clips],
        )
        set_precision(model.train(training), self._dtype)  # as they were: rounded before
        if error <= PADDING_TOLERANCE:
            return False
        _log.warning(
            "%s gives other frames in a padded batch than alone (they differ by %.2g), so clips of "
            "one length run together and others apart",
            self.name,
            error,
        )
        return True

    def encode(self, batch: Sequence[str] | Sequence[FloatArray]) -> Encoded:
        """Encode mono float32 waveforms at 16 kHz of any lengths, in the order given.

        Raises:
            EncoderError: If the weights do not fit the config.
            ShapeError: If the batch is empty or a waveform is not mono.
        """
        ready = [self._prepare(waveform) for waveform in check_mono(batch)]
        if self._kind == "whisper":
            return pad(self._whisper(ready))
        if len({len(waveform) for waveform in ready}) > 1 and self.equal_lengths:
            return encode_by_length(ready, lambda stacked: self._run(list(stacked)).frames)
        return self._run(ready)

    def live_dropout(self) -> AbstractContextManager[None]:
        """Return a context in which dropout is live, so that no two answers are alike."""
        return live_dropout(self._model)

    def save(self, folder: Path) -> None:
        """Copy the model; `SpeechEncoder(folder)` with the same settings has one fingerprint."""
        copy_model(self.folder, folder)

    def to_tune(
        self, *, checkpointing: bool = False, spec_augment: bool = False
    ) -> PreTrainedModel:
        """Load the model once more, to be trained; see `Tunable`.

        Its convolutions stay as they are, as in the field: Baevski et al., wav2vec 2.0, Sec. 4.4.

        Raises:
            EncoderError: If it is Whisper, or cannot do what is asked.
        """
        if self._kind == "whisper":
            raise EncoderError(
                f"encoder {self.name!r} is a Whisper, but of speech models only wav2vec 2.0, "
                "HuBERT and WavLM can be tuned; choose one of these, or leave audio.weights at "
                "frozen"
            )
        model = self._load()
        model.config.apply_spec_augment = False
        if "equal_lengths" not in vars(self):  # asked of this model, so that one is in memory
            vars(self)["equal_lengths"] = self._padding_shows(model)
        probe = [self.read(np.zeros(self._shortest, dtype=np.float32))]
        model = to_tune(
            self, model, probe, frozen=("feature_extractor.",), checkpointing=checkpointing
        )
        if spec_augment:
            if not (self._config.mask_time_prob or self._config.mask_feature_prob):
                raise EncoderError(
                    f"audio.spec_augment is on, but the config.json of {self.name!r} masks nothing "
                    "(mask_time_prob and mask_feature_prob are 0); leave audio.spec_augment off, "
                    "or set one of them there"
                )
            model.config.apply_spec_augment = True
            model.masked_spec_embed.requires_grad_(self._config.mask_time_prob > 0)
        return model

    def read(self, item: str | FloatArray) -> Tensor:
        """Return what the model hears of a waveform, (samples,)."""
        return torch.tensor(self._prepare(check_mono([item])[0]))

    def count_frames(self, read: Tensor) -> int:
        """Return how many frames the model makes of what it hears."""
        return conv_length(len(read), self._config.conv_kernel, self._config.conv_stride)

    def frames_of(self, model: nn.Module, batch: Sequence[Tensor]) -> list[Tensor]:
        """Return the frames of clips with their gradients; see `Tunable`."""
        if len({len(clip) for clip in batch}) > 1 and self.equal_lengths:
            return [one for clip in batch for one in self.frames_of(model, [clip])]
        counts = [self.count_frames(clip) for clip in batch]
        with _full_precision(self.device), masked_spans(model, max(counts)):
            answer: Any = run_clips(model, batch, output_hidden_states=True)
        frames = take_layer(answer.last_hidden_state, answer.hidden_states, self._layer)
        return [one[:count] for one, count in zip(frames, counts, strict=True)]

    def save_tuned(self, model: nn.Module, folder: Path) -> None:
        """Write a trained model of `to_tune`, which `SpeechEncoder(folder)` then runs frozen."""
        save_tuned(model, self.folder, folder, leave_out=self._lacking)

    def _prepare(self, waveform: FloatArray) -> FloatArray:
        waveform = set_peak(waveform, self._peak)
        if self._normalize and len(waveform):
            # transformers: Wav2Vec2FeatureExtractor.zero_mean_unit_var_norm; the constant keeps
            # digital silence finite.
            centred = waveform - waveform.mean()
            waveform = centred / np.sqrt(waveform.var() + 1e-7)
        return lengthen(waveform, self._shortest)

    @torch.inference_mode()
    def _run(
        self, waveforms: Sequence[FloatArray], model: PreTrainedModel | None = None
    ) -> Encoded:
        """Encode prepared waveforms of several lengths, padded, in one go."""
        # Padded on the way to the device, so that one copy takes them all.
        clips = pad_sequence([torch.tensor(one) for one in waveforms], batch_first=True)
        clips = clips.to(self.device, self._model.dtype)
        lengths = [len(waveform) for waveform in waveforms]
        with _full_precision(self.device):
            answer = run_clips(
                model or self._model,
                [clip[:length] for clip, length in zip(clips, lengths, strict=True)],
                output_hidden_states=True,
            )
        frames = self._take(answer)
        if len(set(lengths)) == 1:
            counts = np.full(len(frames), frames.shape[1])
        else:
            config = self._config
            counts = np.array(
                [conv_length(one, config.conv_kernel, config.conv_stride) for one in lengths]
            )
        for row, count in zip(frames, counts, strict=True):
            row[count:] = 0
        return Encoded(frames, counts.astype(np.int64))

    def _whisper(self, waveforms: Sequence[FloatArray]) -> list[FloatArray]:
        """Encode clips in windows of 30 s, each clip's one after the other."""
        size = self._mel.n_samples
        windows = [
            waveform[start : start + size]
            for waveform in waveforms
            for start in range(0, len(waveform), size)
        ]
        frames = np.concatenate(
            [
                self._run_windows(windows[start : start + _WINDOWS_AT_ONCE])
                for start in range(0, len(windows), _WINDOWS_AT_ONCE)
            ]
        )  # (W, 1500, K * D)
        ends = np.cumsum([math.ceil(len(waveform) / size) for waveform in waveforms])
        return [
            clip.reshape(-1, clip.shape[-1])[: math.ceil(len(waveform) / self._stride)]
            for clip, waveform in zip(np.split(frames, ends[:-1]), waveforms, strict=True)
        ]

    @torch.inference_mode()
    def _run_windows(self, windows: list[FloatArray]) -> FloatArray:
        mel = self._mel(windows, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
        with _full_precision(self.device):
            mel = mel.to(self.device, self._model.dtype)
            return self._take(self._model(mel, output_hidden_states=True))

    def _take(self, answer: Any) -> FloatArray:
        """Return the frames of the chosen layer, (B or W, N, K * D)."""
        frames = take_layer(answer.last_hidden_state, answer.hidden_states, self._layer)
        found: FloatArray = frames.float().cpu().numpy()
        return found

    @cached_property
    def _model(self) -> PreTrainedModel:
        return self._load()

    def _load(self) -> PreTrainedModel:
        model, self._lacking = load_model(self.folder, dtype=self._dtype)
        if self._kind == "whisper":
            model = model.get_encoder()
        else:
            take_clips(model, together=self.device.type != "cpu")
        model = model.to(self.device)  # type: ignore[arg-type]
        if self._kind != "whisper":
            set_precision(model, self._dtype)
        return model  # type: ignore[no-any-return]

    @cached_property
    def _mel(self) -> WhisperFeatureExtractor:
        if not (self.folder / "preprocessor_config.json").is_file():
            raise EncoderError(
                f"encoder {self.name!r} has no preprocessor_config.json in {str(self.folder)!r}; "
                "save the feature extractor beside the model"
            )
        return WhisperFeatureExtractor.from_pretrained(self.folder, local_files_only=True)

    def _reads_normalized(self, normalize: bool | str) -> bool:
        path = self.folder / "preprocessor_config.json"
        preprocessor = read_json(path) if path.is_file() else None
        rate = SAMPLE_RATE if preprocessor is None else preprocessor.get("sampling_rate")
        if rate != SAMPLE_RATE:
            raise EncoderError(
                f"encoder {self.name!r} hears sound at {rate} Hz, but mersa gives it "
                f"{SAMPLE_RATE} Hz; choose a model for {SAMPLE_RATE} Hz"
            )
        if isinstance(normalize, bool):
            return normalize
        if normalize != "auto":
            raise EncoderError(
                f"normalize is {normalize!r}, but it is 'auto', true or false; choose one"
            )
        if preprocessor is None:
            raise EncoderError(
                f"encoder {self.name!r} has no preprocessor_config.json in {str(self.folder)!r} "
                "to say whether clips are normalised; save the feature extractor beside the model, "
                "or set normalize to true or false"
            )
        # The extractors' own defaults: wav2vec2's normalises, Whisper's does not.
        return bool(preprocessor.get("do_normalize", self._kind != "whisper"))


def _receptive_field(kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Return the least number of samples that gives one frame: 400 for wav2vec 2.0."""
    samples = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        samples = (samples - 1) * stride + kernel
    return samples


def _full_precision(device: torch.device) -> AbstractContextManager[None]:
    """Keep cuDNN from rounding a convolution's operands to TF32, whose error no mask mends."""
    if device.type != "cuda":
        return nullcontext()
    flags: AbstractContextManager[None] = torch.backends.cudnn.flags(enabled=True, allow_tf32=False)
    return flags
