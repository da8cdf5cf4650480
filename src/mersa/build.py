"""The one place where a name in the settings becomes an object.

Each encoder's module is imported only where it is asked for, since some take seconds to import.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mersa.config import AudioSettings, Config, TextSettings
from mersa.encoders.base import Encoder, Modality
from mersa.encoders.projected import BASE, ProjectedEncoder, is_projected, read_facts
from mersa.errors import ConfigError
from mersa.networks import (
    CrossAttentionFusion,
    MixedLayers,
    SelfAttentionFusion,
    Server,
    SingleModality,
)
from mersa.own import is_own, own_encoder, own_network


def text_encoder(
    settings: TextSettings,
    *,
    train_texts: Sequence[str] = (),
    saved: Path | None = None,
    device: str = "cpu",
) -> Encoder:
    """Build the encoder of words.

    Args:
        settings: Its name and what it gives.
        train_texts: What a learnt vocabulary is learnt from.
        saved: Folder that `Encoder.save` wrote; it comes before the name.
        device: Where it runs.
    """
    projected = _projected(settings, saved)
    if projected:
        base = TextSettings(**_base_settings(projected, "text", settings))
        inside = projected / BASE
        return ProjectedEncoder.load(
            projected,
            text_encoder(
                base,
                train_texts=train_texts,
                saved=inside if inside.is_dir() else None,
                device=device,
            ),
        )
    if settings.name == "tiny":
        from mersa.encoders.tiny import TinyText

        if saved:
            return TinyText.load(saved)
        _refuse_layers(settings.layer, "text", "tiny")
        _refuse_unread(settings, "text", "tiny", reads={"output"})
        return TinyText.learn(train_texts, output=settings.output)
    if is_own(settings.name):
        return _own(settings, "text", saved, device)
    from mersa.encoders.text import TextEncoder

    return TextEncoder(
        str(saved) if saved else settings.name,
        revision=None if saved else settings.revision,
        layer=settings.layer,
        output=settings.output,
        max_tokens=settings.max_tokens,
        precision=settings.precision,
        device=device,
    )


def audio_encoder(
    settings: AudioSettings, *, saved: Path | None = None, device: str = "cpu"
) -> Encoder:
    """Build the encoder of sound; arguments as in `text_encoder`."""
    projected = _projected(settings, saved)
    if projected:
        base = AudioSettings(**_base_settings(projected, "audio", settings))
        inside = projected / BASE
        return ProjectedEncoder.load(
            projected, audio_encoder(base, saved=inside if inside.is_dir() else None, device=device)
        )
    kind, _, argument = settings.name.partition(":")
    if kind in {"mel", "vggish", "onnx"}:
        _refuse_layers(settings.layer, "audio", kind)
        reads = {"peak", "pca", "short_clips"} if kind == "vggish" else {"peak"}
        _refuse_unread(settings, "audio", kind, reads=reads)
    if settings.name == "mel":
        from mersa.encoders.mel import LogMel

        return LogMel(peak=settings.peak)
    if kind == "vggish":
        from mersa.encoders.vggish import VGGish

        folder = saved or (Path(argument) if argument else None)
        return VGGish(
            folder,
            pca=settings.pca,
            short_clips=settings.short_clips,
            peak=settings.peak,
            device=device,
        )
    if kind == "onnx":
        if not argument:
            raise ConfigError("audio.name 'onnx:' names no file; write onnx:FILE")
        from mersa.encoders.onnx import OnnxEncoder

        return OnnxEncoder(saved / "model.onnx" if saved else Path(argument), peak=settings.peak)
    if is_own(settings.name):
        return _own(settings, "audio", saved, device)
    _refuse_unread(
        settings,
        "audio",
        "an encoder of Hugging Face",
        reads={"revision", "layer", "peak", "normalize", "precision", "weights", "spec_augment"},
    )
    from mersa.encoders.speech import SpeechEncoder

    return SpeechEncoder(
        str(saved) if saved else settings.name,
        revision=None if saved else settings.revision,
        layer=settings.layer,
        peak=settings.peak,
        normalize="auto" if settings.normalize is None else settings.normalize,
        precision=settings.precision,
        device=device,
    )


def network(
    config: Config, text: Encoder | None, audio: Encoder | None, num_labels: int
) -> nn.Module:
    """Build the network for these encoders; one that the system does not read may be None."""
    settings = config.network
    text_width = text.width if text else 1
    audio_width = audio.width if audio else 1
    fused: nn.Module
    if is_own(settings.system):
        fused = own_network(settings.system, text_width, audio_width, num_labels, settings)
    elif settings.system == "server":
        fused = Server(text_width, audio_width, num_labels, dropout=settings.dropout)
    elif settings.system in {"text", "audio"}:
        fused = SingleModality(
            "text" if settings.system == "text" else "audio",
            text_width if settings.system == "text" else audio_width,
            num_labels,
            num_heads=settings.num_heads,
            dropout=settings.dropout,
            fusion_width=settings.fusion_width or None,
            hidden=settings.hidden,
            pooling=settings.pooling or "mean",
        )
    else:
        kind = CrossAttentionFusion if settings.system == "mersa-cross" else SelfAttentionFusion
        fused = kind(
            text_width,
            audio_width,
            num_labels,
            num_heads=settings.num_heads,
            dropout=settings.dropout,
            fusion_width=settings.fusion_width or None,
            hidden=settings.hidden,
            pooling=settings.pooling or "first",
        )
    num_text_layers = text.num_layers if text else 1
    num_audio_layers = audio.num_layers if audio else 1
    if max(num_text_layers, num_audio_layers) > 1:
        return MixedLayers(fused, num_text_layers, num_audio_layers)
    return fused


def device(name: str) -> str:
    """Return the device that a name means, as torch names it.

    Args:
        name: `auto` (a GPU if there is one), `cpu` or `cuda[:n]`.

    Raises:
        ConfigError: If it is none of these, or is not there.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda" if count else "cpu"
    kind, colon, index = name.partition(":")
    if name == "cpu":
        return name
    if kind != "cuda" or (colon and not index.isdecimal()):
        raise ConfigError(f"device {name!r} is not known; choose auto, cpu or cuda[:n]")
    if int(index or 0) >= count:
        raise ConfigError(
            f"device {name!r} is not there: torch sees {count} CUDA devices; choose auto or cpu"
        )
    return name


def _own(
    settings: TextSettings | AudioSettings, modality: Modality, saved: Path | None, device: str
) -> Encoder:
    _refuse_layers(settings.layer, modality, settings.name)
    _refuse_unread(settings, modality, settings.name, reads=set())
    return own_encoder(settings.name, modality, saved=saved, device=device)


def _projected(settings: TextSettings | AudioSettings, saved: Path | None) -> Path | None:
    """Return the folder of a projection on a frozen encoder, if that is what is asked for."""
    folder = saved or Path(settings.name).expanduser()
    return folder if settings.name and is_projected(folder) else None


def _base_settings(
    folder: Path, modality: str, settings: TextSettings | AudioSettings
) -> dict[str, Any]:
    """Return what the base of a projection is built from.

    Raises:
        ConfigError: If the projection reads the other modality, or a setting is given that differs
            from that of the base.
    """
    facts = read_facts(folder)
    if facts["modality"] != modality:
        raise ConfigError(
            f"{modality}.name is {str(folder)!r}, which projects {facts['modality']}; give it as "
            f"{facts['modality']}.name"
        )
    base = facts["settings"]
    fields = type(settings).model_fields
    for key in fields.keys() - {"name", "live_dropout"}:
        value = getattr(settings, key)
        if value not in (fields[key].default, base.get(key, fields[key].default)):
            raise ConfigError(
                f"{modality}.{key} is {value!r}, but {str(folder)!r} was aligned on frames with "
                f"{base.get(key, fields[key].default)!r}; leave it unset"
            )
    return dict(base)


def _refuse_unread(
    settings: TextSettings | AudioSettings, section: str, name: str, *, reads: set[str]
) -> None:
    """Refuse settings that this encoder would not read, so that none is set in vain."""
    if settings.weights == "tuned" and "weights" not in reads:
        raise ConfigError(
            f"{section}.weights is 'tuned', but {name} cannot be tuned, only text models and "
            "wav2vec 2.0, HuBERT and WavLM of Hugging Face can; choose such a model, or leave it "
            "at frozen"
        )
    fields = type(settings).model_fields
    for key in fields.keys() - reads - {"name", "layer", "live_dropout"}:  # told of elsewhere
        value = getattr(settings, key)
        if value != fields[key].default:
            raise ConfigError(
                f"{section}.{key} is {value!r}, but {name} does not read it; leave it unset"
            )


def _refuse_layers(layer: int | str, section: str, name: str) -> None:
    if layer != -1:
        raise ConfigError(
            f"{section}.layer is {layer!r}, but {name} has one layer; leave {section}.layer at -1"
        )
