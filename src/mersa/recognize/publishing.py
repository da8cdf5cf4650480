"""Runs on the Hugging Face Hub: put there, and fetched from there.

What is published is what answers need. Answers on utterances and scores of subgroups stay, since
they hold the labels and the speakers of a corpus; of paths on this machine the last name alone is
told. The ids of the utterances go along, so that a run knows what it has learnt from.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from huggingface_hub import (
    CommitOperationAdd,
    HfApi,
    hf_hub_download,
    snapshot_download,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RemoteEntryNotFoundError,
)

from mersa import runs
from mersa.card import last_name, without_paths
from mersa.config import to_toml
from mersa.encoders.hub import ALIASES, HTTP_ERROR, PATIENCE_S
from mersa.encoders.huggingface import quiet
from mersa.errors import EncoderError, RunError, first_line
from mersa.manifest import read_manifest
from mersa.recognize.hub_card import published_card
from mersa.weights import bundled

_GOES = {
    "README.md",
    "calibration.json",
    "config.toml",
    "environment.json",
    "history.csv",
    "labels.json",
    "metrics.json",
    "model.safetensors",
    "parts.csv",
    "predictions.csv",
}
_GOES_BELOW = {"encoders", "figures"}
"""What is published; whatever else somebody put into the folder stays."""

_ERRORS = (HTTP_ERROR, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError)


def push(
    folder: Path,
    repo_id: str,
    *,
    licence: str | None,
    languages: Sequence[str] | None = None,
    datasets: Sequence[str] = (),
    private: bool = True,
    token: str | None = None,
    revision: str | None = None,
    message: str | None = None,
) -> str:
    """Put a bundled run on the Hub, in one commit.

    Args:
        folder: The run.
        repo_id: As `me/my-emotions`; made if it is not there.
        licence: Identifier of the licence that it is given under, as the Hub lists them.
        languages: Codes; by default those of its manifest, where that is still there.
        datasets: Ids of its corpora on the Hub.
        private: Whether a repository that is made here is seen by its owner alone.
        token: By default the one of `hf auth login`.
        revision: A branch that is there; by default `main`.
        message: Of the commit.

    Returns:
        The address of the commit.

    Raises:
        RunError: If the run is unfinished, not bundled, without a licence, or cannot be put there.
    """
    leaves = runs.members(folder)
    runs.check_finished(folder)
    for leaf in leaves:
        runs.check_finished(leaf)
    _check_bundled(folder, leaves)
    if not licence:
        raise RunError(
            f"the licence of {folder} is not known, since its corpus and its encoders bind it and "
            "no file of it names theirs all; see its README.md and give one, as "
            "license='cc-by-nc-sa-4.0'"
        )
    api = HfApi(token=token)
    try:
        contents = _contents(folder, leaves)
        contents["README.md"] = _readme(folder, leaves, repo_id, licence, languages, datasets)
    except KeyError as error:
        raise RunError(
            f"a file of {folder} lacks {error}, which training writes; bring back the file, or "
            "train anew with --again"
        ) from None
    try:
        with quiet():
            api.create_repo(repo_id, private=private, exist_ok=True)
            done = api.create_commit(
                repo_id,
                [CommitOperationAdd(name, content) for name, content in contents.items()],
                commit_message=message or f"A run of mersa: {folder.name}",
                revision=revision,
            )
    except (*_ERRORS, ValueError) as error:
        raise RunError(
            f"{folder} could not be put on the Hugging Face Hub as {repo_id!r} "
            f"({first_line(error)}); check the id, log in with 'hf auth login' with a token that "
            "may write, and try again"
        ) from None
    return str(done.commit_url)


def fetch(name: str) -> Path:
    """Return the folder of a run that is published on the Hub, as `me/my-emotions@v1`.

    Raises:
        EncoderError: If there is none.
    """
    repo_id, _, revision = name.partition("@")
    try:
        if not try_to_load_from_cache(repo_id, "metrics.json", revision=revision or None):
            # Asked once, without the retries of a download: no network is told at once.
            HfApi().model_info(repo_id, revision=revision or None, timeout=PATIENCE_S)
        # What is no run is told before gigabytes of it have come.
        hf_hub_download(repo_id, "metrics.json", revision=revision or None)
        return Path(snapshot_download(repo_id, revision=revision or None))
    except RemoteEntryNotFoundError:
        raise EncoderError(
            f"{name!r} on the Hugging Face Hub is no run of mersa, since it has no metrics.json; "
            f"if it is a classifier of emotions, name it hf:{name}"
        ) from None
    except _ERRORS as error:
        raise EncoderError(
            f"{name!r} is no run folder here and could not be fetched from the Hugging Face Hub "
            f"({first_line(error)}); name a folder that mersa train made"
        ) from None


def _check_bundled(folder: Path, leaves: Sequence[Path]) -> None:
    for leaf in leaves:
        for modality in _modalities(leaf):
            if bundled(leaf, modality) is None:
                raise RunError(
                    f"{leaf} does not hold its {modality} encoder, without which it answers "
                    f"nowhere else; put it in with: mersa bundle {folder}"
                )


def _modalities(leaf: Path) -> list[str]:
    config = runs.load_config(leaf)
    used = {"text": config.uses_text, "audio": config.uses_audio}
    return [modality for modality, is_used in used.items() if is_used]


def _contents(folder: Path, leaves: Sequence[Path]) -> dict[str, bytes | Path]:
    """Return the files of a run that go, by their names in the repository."""
    _check_links(folder)
    contents: dict[str, bytes | Path] = {}
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        inside = path.relative_to(folder)
        if not (path.name in _GOES or _GOES_BELOW.intersection(inside.parts)):
            continue
        if path.name == "predictions.csv":
            contents[inside.as_posix()] = path.read_bytes().partition(b"\n")[0] + b"\n"
        else:
            contents[inside.as_posix()] = path
    for leaf in leaves:
        place = leaf.relative_to(folder)
        for name, content in _without_paths(leaf).items():
            contents[(place / name).as_posix()] = content
    return contents


def _check_links(folder: Path) -> None:
    link = next((one for one in sorted(folder.rglob("*")) if one.is_symlink()), None)
    if link is not None:
        raise RunError(
            f"{link} is a link, which may lead to what is not meant to be published; put the file "
            "itself there, or take the link away"
        )


def _without_paths(leaf: Path) -> dict[str, bytes]:
    """Return the files of a leaf that name paths of this machine, without them, sealed anew."""
    environment = runs.read_json(leaf / "environment.json")
    manifest = Path(environment["manifest"])
    changed = {
        "config.toml": to_toml(without_paths(runs.load_config(leaf))).encode(),
        "environment.json": _json(
            environment | {"manifest": f"{manifest.parent.name}/{manifest.name}"}
        ),
    }
    for modality in _modalities(leaf):
        name = f"encoders/{modality}.json"
        facts = runs.read_json(leaf / name)
        if facts["name"] != last_name(facts["name"]):
            changed[name] = _json(facts | {"name": last_name(facts["name"])})
    metrics = runs.read_metrics(leaf)
    seals = metrics["files_sha256"]
    metrics["files_sha256"] = seals | {
        name: hashlib.sha256(content).hexdigest()
        for name, content in changed.items()
        if name in seals
    }
    return changed | {"metrics.json": _json(metrics)}


def _readme(
    folder: Path,
    leaves: Sequence[Path],
    repo_id: str,
    licence: str,
    languages: Sequence[str] | None,
    datasets: Sequence[str],
) -> bytes:
    leaf = leaves[0]
    config = runs.load_config(leaf)
    manifest = Path(runs.read_json(leaf / "environment.json")["manifest"])
    if languages is None:
        known = tuple(read_manifest(manifest)) if manifest.is_file() else ()
        languages = sorted({one.language for one in known} - {""})
    encoders = [runs.read_json(leaf / f"encoders/{name}.json") for name in _modalities(leaf)]
    bases = [facts.get("tuned_from", facts) for facts in encoders]
    return published_card(
        (folder / "README.md").read_text(encoding="utf-8"),
        config,
        runs.read_metrics(folder),
        name=repo_id.rpartition("/")[2],
        corpus=manifest.parent.name,
        licence=licence,
        languages=languages,
        datasets=datasets,
        # Weights of the Hub alone have a commit.
        base_models=[ALIASES.get(one["name"], one["name"]) for one in bases if one["revision"]],
    ).encode()


def _json(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
