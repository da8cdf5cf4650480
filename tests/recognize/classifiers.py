"""Small random classifiers of emotion in the Hugging Face layout, written by transformers."""

import importlib
import json
import sys
from pathlib import Path

from transformers import (
    BertConfig,
    BertForSequenceClassification,
    HubertConfig,
    HubertForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForSequenceClassification,
    WavLMConfig,
    WavLMForSequenceClassification,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForAudioClassification,
)

sys.path.append(str(Path(__file__).parents[1] / "encoders"))
folders = importlib.import_module("folders")

SUPERB = ("neu", "hap", "ang", "sad")
"""Labels as superb/wav2vec2-base-superb-er has them."""

HARTMANN = ("anger", "disgust", "fear", "joy", "neutral", "sadness", "surprise")
"""Labels as j-hartmann/emotion-english-distilroberta-base has them."""

_HEAD = {"classifier_proj_size": 14}
_SPEECH = {
    "wav2vec2": lambda more: Wav2Vec2ForSequenceClassification(
        Wav2Vec2Config(**folders._speech_sizes(), **_HEAD, use_weighted_layer_sum=True, **more)
    ),
    "hubert": lambda more: HubertForSequenceClassification(
        HubertConfig(**folders._speech_sizes(), **folders._LARGE, **_HEAD, **more)
    ),
    "wavlm": lambda more: WavLMForSequenceClassification(
        WavLMConfig(**folders._speech_sizes(), **folders._BUCKETS, **_HEAD, **more)
    ),
}
_TEXT = {
    "bert": lambda more: BertForSequenceClassification(BertConfig(**folders._text_sizes(), **more)),
    "roberta": lambda more: RobertaForSequenceClassification(
        RobertaConfig(**folders._text_sizes(), pad_token_id=0, **more)
    ),
}
SPEECH_KINDS, TEXT_KINDS = tuple(_SPEECH), tuple(_TEXT)


def write_speech_classifier(folder, labels=SUPERB, *, kind="wav2vec2", seed=0, **config):
    """Write a classifier of sound, in the shape of a published one."""
    folders._write_model(folder, lambda: folders.stir(_SPEECH[kind](_named(labels, config))), seed)
    Wav2Vec2FeatureExtractor(do_normalize=True).save_pretrained(folder)
    return folder


def write_text_classifier(folder, labels=HARTMANN, *, kind="bert", seed=0, **config):
    """Write a classifier of words."""
    return folders._write_text(
        folder, lambda: folders.stir(_TEXT[kind](_named(labels, config))), seed
    )


def write_whisper_classifier(folder, labels=SUPERB, *, seed=0, seconds=2):
    """Write a Whisper with a head, which hears windows of a few seconds."""
    config = WhisperConfig(
        num_mel_bins=12,
        d_model=20,
        encoder_layers=2,
        encoder_attention_heads=2,
        encoder_ffn_dim=28,
        max_source_positions=50 * seconds,
        **_HEAD,
        **_named(labels, {}),
    )
    folders._write_model(folder, lambda: WhisperForAudioClassification(config), seed)
    WhisperFeatureExtractor(feature_size=12, chunk_length=seconds).save_pretrained(folder)
    return folder


def change_config(folder, **changes):
    """Overwrite values of config.json; None removes one."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | changes
    kept = {name: value for name, value in config.items() if value is not None}
    path.write_text(json.dumps(kept), encoding="utf-8")


def _named(labels, config):
    return {
        "id2label": dict(enumerate(labels)),
        "label2id": {n: i for i, n in enumerate(labels)},
    } | config
