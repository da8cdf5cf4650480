"""Frames of a corpus: encoded once, into the cache, and read from it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from lightning_fabric import Fabric

from mersa import build, launch
from mersa.batches import FeatureSet, audio_items, encode, load_features, text_items
from mersa.config import AudioSettings, TextSettings
from mersa.emotions import LabelSet
from mersa.encoders.base import Encoder
from mersa.encoders.budget import Item
from mersa.encoders.cache import FeatureCache
from mersa.errors import ConfigError
from mersa.manifest import Manifest, Utterance, read_manifest
from mersa.progress import Progress


def encode_manifest(
    manifest_path: Path,
    *,
    text: TextSettings | None,
    audio: AudioSettings | None,
    cache: FeatureCache,
    device: str = "auto",
    devices: int | None = None,
    progress: Progress | None = None,
) -> dict[str, tuple[int, int]]:
    """Put the frames of a whole manifest into the cache; of several processes each encodes a share.

    `devices` is as in `train`.

    Returns:
        For each modality how many different clips were encoded now, and how many there are.

    Raises:
        ConfigError: If the text encoder learns its vocabulary, which only a train part can give.
    """
    return launch.in_processes(
        _encode_manifest,
        devices,
        build.device(device),
        progress,
        manifest_path=manifest_path,
        text=text,
        audio=audio,
        cache=cache,
    )


def _encode_manifest(
    *,
    manifest_path: Path,
    text: TextSettings | None,
    audio: AudioSettings | None,
    cache: FeatureCache,
    fabric: Fabric,
    progress: Progress,
) -> dict[str, tuple[int, int]]:
    device = str(fabric.device)
    manifest = read_manifest(manifest_path)
    jobs: list[tuple[Encoder, Mapping[str, Item]]] = []
    if text:
        if text.name == "tiny":
            raise ConfigError(
                "text encoder 'tiny' learns its vocabulary from a train part, so it cannot encode "
                "before training; mersa train does it"
            )
        jobs.append((build.text_encoder(text, device=device), text_items(manifest.utterances)))
    if audio:
        items = audio_items(manifest, manifest.utterances)
        jobs.append((build.audio_encoder(audio, device=device), items))
    return {
        encoder.modality: (
            encode(encoder, items, cache, progress, fabric=fabric),
            len({item.key for item in items.values()}),
        )
        for encoder, items in jobs
    }


def features_of(
    utterances: Sequence[Utterance],
    manifest: Manifest,
    labels: LabelSet,
    text: Encoder | None,
    audio: Encoder | None,
    cache: FeatureCache,
    progress: Progress,
    *,
    fabric: Fabric | None = None,
) -> FeatureSet:
    """Encode what the cache lacks of these utterances, and give their frames and labels.

    Args:
        utterances: Their order is kept.
        manifest: Where their sound lies.
        labels: What their emotions are labels of.
        text: Encoder of the words, or None if they are not read.
        audio: Encoder of the sound, likewise.
        cache: Where frames lie.
        progress: What is told of it.
        fabric: Of several processes each encodes a share.
    """
    words = (text, text_items(utterances)) if text else None
    sound = (audio, audio_items(manifest, utterances)) if audio else None
    for source in (words, sound):
        if source:
            encode(*source, cache, progress, fabric=fabric)
    return load_features(utterances, labels.index, words, sound, cache)
