"""What a run answers with: its encoders and its network, written and loaded again.

`runs` tells the files of the folder in which they stand. Files that must not change after training
are sealed by their digests.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from mersa import build
from mersa.alignment import artefact
from mersa.answers import read_temperature
from mersa.batches import FeatureSet
from mersa.bootstrap import Array
from mersa.calibration import with_temperature
from mersa.config import Config
from mersa.emotions import LabelSet
from mersa.encoders.base import Encoder, revision_of
from mersa.errors import EncoderError, RunError
from mersa.files import write_json, write_whole, write_whole_folder
from mersa.progress import Progress, Silent
from mersa.runs import WHOLE_AGAIN, check_finished, load_config, load_labels, members, read_json
from mersa.training import predict
from mersa.tuning import TunedEncoder

_SEALED = ("config.toml", "parts.csv", "labels.json", "model.safetensors")


@dataclass(frozen=True)
class Run:
    """A finished leaf of a run folder, loaded for answering.

    Attributes:
        folder: Where it stands.
        config: Its settings.
        labels: Its label set.
        text: Encoder of words, or None if it reads none.
        audio: Encoder of sound, or None if it reads none.
        network: In eval mode, on the device.
        temperature: What its logits are divided by; None if it was trained without one.
        pad_s: Seconds of sound around the speech of its training clips; None if not known.
    """

    folder: Path
    config: Config
    labels: LabelSet
    text: Encoder | None
    audio: Encoder | None
    network: nn.Module
    temperature: float | None = None
    pad_s: float | None = None


def load_run(folder: Path, *, device: str = "cpu") -> Run:
    """Load a finished leaf.

    Raises:
        EncoderError: If an encoder's weights are not those that it was trained with.
        RunError: If it is unfinished, or its labels, weights or temperature do not fit.
    """
    check_finished(folder)
    config = load_config(folder)
    labels = load_labels(folder)
    metrics = read_json(folder / "metrics.json")
    scored = metrics.get("labels")
    if scored != list(labels.labels):
        raise RunError(
            f"{folder / 'labels.json'} lists {', '.join(labels.labels)}, but the run was scored on "
            f"{scored}; bring back the file of this run"
        )
    text = _load_encoder(folder, "text", config, device) if config.uses_text else None
    audio = _load_encoder(folder, "audio", config, device) if config.uses_audio else None
    network = build.network(config, text, audio, len(labels.labels))
    _load_weights(folder / "model.safetensors", network)
    _check_seals(folder)
    temperature = read_temperature(folder)
    pad_s = metrics.get("margins", {}).get("pad_s")
    return Run(folder, config, labels, text, audio, network.to(device).eval(), temperature, pad_s)


def answer(run: Run, features: FeatureSet, *, device: torch.device) -> Array:
    """Return the probability of each label for each utterance, (N, C), with the temperature."""
    probabilities = predict(run.network, features, device=device)
    return with_temperature(probabilities, run.temperature or 1.0)


def bundled(leaf: Path, modality: str) -> Path | None:
    """Return the folder that holds a leaf's encoder: its own, or one that the run shares."""
    above = [path for path in leaf.parents[:2] if not (path / "config.toml").exists()]
    for place in (leaf, *above):
        inside = place / "encoders" / modality
        if inside.is_dir() and (place / "metrics.json").is_file():
            return inside
    return None


def bundle(folder: Path, *, progress: Progress | None = None) -> list[str]:
    """Copy the encoders into a run, so that it works offline on another machine.

    What all folds and seeds share is copied once, above them.

    Returns:
        The folders that were copied to now.
    """
    progress = progress or Silent()
    loaded = [load_run(leaf) for leaf in members(folder)]
    copied = []
    for modality in ("text", "audio"):
        encoders = {run.folder: run.text if modality == "text" else run.audio for run in loaded}
        shared = len({one.fingerprint for one in encoders.values() if one}) == 1
        for leaf, encoder in encoders.items():
            if encoder is None or bundled(leaf, modality):
                continue
            inside = (folder if shared else leaf) / "encoders" / modality
            with write_whole_folder(inside) as partial:
                encoder.save(partial)
            copied.append(str(inside))
            progress.say(f"copied {encoder.name} to {inside}")
    progress.say(f"{folder} holds all that it needs to answer, offline and on other machines")
    return copied


def save_encoder(folder: Path, modality: str, encoder: Encoder, *, whole: bool) -> None:
    """Record an encoder; `whole` also copies what is needed to load it, as `bundle` does."""
    if whole:
        encoder.save(folder / "encoders" / modality)
    write_json(folder / "encoders" / f"{modality}.json", _facts(encoder))


def save_tuned(
    folder: Path,
    modality: str,
    config: Config,
    tuned: TunedEncoder,
    learnt_from: Mapping[str, Any],
) -> None:
    """Keep a tuned encoder whole in a leaf, where it stands as a bundled one does.

    What is recorded is the fingerprint of the folder as it will be loaded, and what it was tuned
    from. It has learnt labels, so it says what it learnt from as an aligned encoder does: another
    run that reads it is held to the same parts, and told of a leak.
    """
    inside = folder / "encoders" / modality
    with write_whole_folder(inside) as partial:
        tuned.save(partial)
        sealed = artefact.files_sha256(
            partial, sorted(path.name for path in partial.iterdir() if path.is_file())
        )
        write_json(partial / artefact.FACTS, {**learnt_from, "files_sha256": sealed})
    loaded = _build_encoder(modality, config, saved=inside)
    facts = _facts(loaded) | {"tuned_from": _facts(tuned.encoder)}
    write_json(
        folder / "encoders" / f"{modality}.json", facts | {"name": facts["tuned_from"]["name"]}
    )


def save_network(folder: Path, network: nn.Module) -> None:
    """Write the network's weights as safetensors."""
    tensors: dict[str, Tensor] = {
        name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()
    }
    with write_whole(folder / "model.safetensors") as partial:
        partial.write_bytes(save(tensors))


def seals(folder: Path) -> dict[str, str]:
    """Return the digest of each file of a leaf that must not change after training."""
    # The fingerprint of a tuned encoder, against which its weights are checked when it is loaded.
    tuned = (f"encoders/{modality}.json" for modality in load_config(folder).tuned)
    calibrated = ["calibration.json"] if (folder / "calibration.json").is_file() else []
    return artefact.files_sha256(folder, (*_SEALED, *tuned, *calibrated))


def _check_seals(folder: Path) -> None:
    stored = read_json(folder / "metrics.json").get("files_sha256", {})
    found = seals(folder)
    for name in found | stored:
        if stored.get(name) != found.get(name):
            raise RunError(
                f"{folder / name} is not the file that training wrote; bring it back, or train "
                "anew with --again"
            )


def _load_encoder(folder: Path, modality: str, config: Config, device: str) -> Encoder:
    encoder = _build_encoder(modality, config, saved=bundled(folder, modality), device=device)
    facts = read_json(folder / "encoders" / f"{modality}.json")
    if encoder.fingerprint != facts["fingerprint"]:
        raise EncoderError(
            f"the {modality} encoder {facts['name']!r} has other weights or settings than the run "
            f"was trained with (fingerprint {encoder.fingerprint[:12]}, expected "
            f"{facts['fingerprint'][:12]}); bring back the weights, or use a bundled run"
        )
    return encoder


def _build_encoder(
    modality: str, config: Config, *, saved: Path | None, device: str = "cpu"
) -> Encoder:
    if modality == "text":
        return build.text_encoder(config.text, saved=saved, device=device)
    return build.audio_encoder(config.audio, saved=saved, device=device)


def _facts(encoder: Encoder) -> dict[str, Any]:
    return {
        "name": encoder.name,
        "fingerprint": encoder.fingerprint,
        "width": encoder.width,
        "num_layers": encoder.num_layers,
        "revision": revision_of(encoder),
    }


def _load_weights(path: Path, network: nn.Module) -> None:
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path} cannot be read ({error}); {WHOLE_AGAIN}") from None
    wanted = {name: tuple(one.shape) for name, one in network.state_dict().items()}
    found = {name: tuple(one.shape) for name, one in tensors.items()}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise RunError(
                f"{path} does not fit the network of its settings: weight {name!r} has shape "
                f"{found.get(name, 'none')}, but {wanted.get(name, 'none')} was expected; the "
                "settings or the weights were exchanged"
            )
    network.load_state_dict(tensors)
