"""The name of a Hugging Face model -> the folder that holds its files.

A folder is taken as it lies. Anything else is an id on the Hub: its files are read from the local
cache, and fetched on first use, at a pinned commit, so that a name means the same weights every
day.
"""

import logging
from contextlib import suppress
from pathlib import Path
from typing import cast

from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from mersa.encoders.huggingface import quiet
from mersa.encoders.layout import is_whole
from mersa.errors import EncoderError

PINNED = {
    "google-bert/bert-base-uncased": "86b5e0934494bd15c9632b12f734a8a67f723594",
    "FacebookAI/roberta-base": "e2da8e2f811d1448a5b465c236feacd80ffbac7b",
    "sentence-transformers/all-MiniLM-L6-v2": "c9745ed1d9f207416be6d2e6f8de32d1f16199bf",
    "facebook/wav2vec2-base": "0b5b8e868dd84f03fd87d01f9c4ff0f080fecfe8",
    "facebook/hubert-base-ls960": "dba3bb02fda4248b6e082697eee756de8fe8aa8a",
    "microsoft/wavlm-base": "efa81aae7ff777e464159e0f877d54eac5b84f81",
    "microsoft/wavlm-base-plus": "4c66d4806a428f2e922ccfa1a962776e232d487b",
    "openai/whisper-base": "e37978b90ca9030d5170a5c07aadb050351a65bb",
    "openai/whisper-small": "973afd24965f72e36ca33b3055d56a652f456b4d",
}
"""The commit that is used for an id where no revision is given."""

ALIASES = {
    "bert-base-uncased": "google-bert/bert-base-uncased",
    "roberta-base": "FacebookAI/roberta-base",
    "all-MiniLM-L6-v2": "sentence-transformers/all-MiniLM-L6-v2",
}
"""Short names in common use, each with the id that it stands for."""

_SMALL = ["*.json", "*.txt", "*.model"]  # config, tokenizer, vocabulary, preprocessor
_SAFE = ["model*.safetensors"]
_PICKLED = ["pytorch_model*.bin"]  # only where a repository has nothing else; weights_only=True
_SUBFOLDERS = ["*/*"]  # other formats of the same weights

PATIENCE_S = 15
"""How long the Hub may take to answer what a name is."""

# The base error of the HTTP client; which client it is depends on the version of huggingface_hub.
HTTP_ERROR = cast(type[Exception], HfHubHTTPError.__mro__[1])

_log = logging.getLogger(__name__)


def resolve(name: str, *, revision: str | None = None) -> Path:
    """Return the folder of a model, fetched from the Hub on first use.

    Args:
        name: A folder, or an id on the Hub, as `facebook/wav2vec2-base`.
        revision: Branch, tag or commit of an id; by default the pinned commit, and `main` for an
            id that has none. `commit_of` tells which commit came.

    Raises:
        EncoderError: If the name is neither, or the model cannot be had.
    """
    folder = Path(name).expanduser()
    if name and folder.is_dir():
        if revision is not None:
            raise EncoderError(
                f"revision {revision!r} is given for the folder {name!r}, but only an id on the "
                "Hugging Face Hub has revisions; leave it out"
            )
        return folder
    try:
        validate_repo_id(name)
    except HFValidationError:
        raise EncoderError(
            f"encoder {name!r} is neither a folder nor an id on the Hugging Face Hub; give an "
            "existing folder with config.json, or an id as facebook/wav2vec2-base"
        ) from None
    repository = ALIASES.get(name, name)
    revision = revision or PINNED.get(repository, "main")
    with quiet():
        return _cached(repository, revision) or _fetched(name, repository, revision)


def commit_of(folder: Path) -> str | None:
    """Return the commit that a folder of the Hub's cache holds; None for any other folder."""
    return folder.name if folder.parent.name == "snapshots" else None


def readme_of(name: str, folder: Path) -> str:
    """Return the README.md of a model, empty where it has none or no network is there.

    Args:
        name: A folder, or an id on the Hub.
        folder: What `resolve` gave for it.
    """
    path = folder / "README.md"
    commit = commit_of(folder)
    if not path.is_file() and commit is not None:
        with quiet(), suppress(HTTP_ERROR, HfHubHTTPError, OSError):
            path = Path(hf_hub_download(ALIASES.get(name, name), "README.md", revision=commit))
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def _cached(repository: str, revision: str) -> Path | None:
    """Return the folder in the cache if it is complete, without the network."""
    try:
        folder = snapshot_download(
            repository,
            revision=revision,
            local_files_only=True,
            allow_patterns=[*_SMALL, *_SAFE],
            ignore_patterns=_SUBFOLDERS,
        )
    except LocalEntryNotFoundError:
        return None
    # A download that was broken off, or a program that wanted the vocabulary alone, leaves a
    # folder too.
    return Path(folder) if is_whole(Path(folder)) else None


def _fetched(name: str, repository: str, revision: str) -> Path:
    _log.info("fetching %s at %s from the Hugging Face Hub", repository, revision)
    try:
        # Asked once, without the retries of a download: no network is told at once.
        HfApi().model_info(repository, revision=revision, timeout=PATIENCE_S)
        folder = Path(_download(repository, revision, [*_SMALL, *_SAFE]))
        if not any(folder.glob(_SAFE[0])):
            _download(repository, revision, _PICKLED)
    except RevisionNotFoundError:
        raise EncoderError(
            f"encoder {name!r} has no revision {revision!r} on the Hugging Face Hub; give a "
            "branch, tag or commit that it has"
        ) from None
    except RepositoryNotFoundError:
        raise EncoderError(
            f"encoder {name!r} is neither a folder nor a public model of the Hugging Face Hub; "
            "check the spelling, log in with 'hf auth login' if it is private, or give a folder"
        ) from None
    except (HTTP_ERROR, OSError) as error:
        reason = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
        raise EncoderError(
            f"encoder {name!r} is not in the local cache and cannot be fetched from the Hugging "
            f"Face Hub ({reason[0]}); connect to the network once, give a folder with its "
            "files, or choose an encoder that needs no download (text.name=tiny, audio.name=mel)"
        ) from None
    if not is_whole(folder):
        raise EncoderError(
            f"encoder {name!r} at {revision} lacks config.json, weights, or its tokenizer or "
            "preprocessor on the Hugging Face Hub; choose another model or revision"
        )
    return folder


def _download(repository: str, revision: str, patterns: list[str]) -> str:
    return snapshot_download(
        repository, revision=revision, allow_patterns=patterns, ignore_patterns=_SUBFOLDERS
    )
