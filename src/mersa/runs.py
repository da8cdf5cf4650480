"""The run folder: what a training leaves behind, complete or visibly unfinished.

    config.toml  parts.csv  labels.json  environment.json      before the first step
    encoders/  model.safetensors  calibration.json  history.csv  predictions.csv  README.md
    metrics.json                                               last: without it, unfinished
    figures/  subgroups.json                                   more, once the test part is read

The answers of published checkpoints stand in such a folder too (`mersa.recognize.baseline`): it has
`checkpoint.json` in place of settings, encoders and weights.

A run of several folds or seeds holds such folders (`fold-1/ ...`, `seed-0/ ...`) and pooled scores
above them. Nothing is a pickle.
"""

import csv
import json
import platform
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from mersa import __version__
from mersa.card import model_card
from mersa.config import Config, located, make_config, read_config, to_toml
from mersa.emotions import LABEL_SETS, LabelSet
from mersa.errors import RunError
from mersa.files import is_in_a_file, one_process, write_json, write_text, write_whole
from mersa.manifest import read_table, write_table

PREFIX = "hf:"
"""What a name of published checkpoints begins with (`mersa.recognize.checkpoints`)."""

CHECKPOINT = "checkpoint.json"
"""What names published checkpoints, in place of the settings of a training."""

WHOLE_AGAIN = "bring the file back, or train again with --again"
"""What makes a broken run whole."""

STATE = "resume.pt"
REFIT_STATE = "resume-refit.pt"
_STATES = (STATE, REFIT_STATE)
_FILES = (
    "config.toml",
    "parts.csv",
    "labels.json",
    "environment.json",
    "model.safetensors",
    "calibration.json",
    "history.csv",
    "predictions.csv",
    "README.md",
    "metrics.json",
    "subgroups.json",
    *_STATES,
)
_NEEDED = (  # what a finished leaf cannot do without
    "parts.csv",
    "labels.json",
    "environment.json",
    "model.safetensors",
    "predictions.csv",
    "metrics.json",
)
_NEEDED_OF_ANSWERS = ("parts.csv", "labels.json", "predictions.csv", "metrics.json")
_POOLED = (
    "predictions.csv",
    "metrics.json",
    "subgroups.json",
    "README.md",
)  # what stands above folds and seeds
_FOLDERS = ("encoders", "figures", "evaluations")
_VERSIONED = ("mersa", "torch", "transformers", "lightning-fabric", "numpy", "scikit-learn", "soxr")


def is_checkpoint(name: str | Path) -> bool:
    """Say whether a name means published checkpoints, or a folder that names them."""
    return str(name).startswith(PREFIX) or (Path(name) / CHECKPOINT).is_file()


def members(folder: Path) -> list[Path]:
    """Return the leaf folders of a run: itself, or its folds and seeds in order.

    Raises:
        RunError: If the folder is no run folder.
    """
    if (folder / "config.toml").is_file() or (folder / CHECKPOINT).is_file():
        return [folder]
    if not folder.is_dir():
        raise RunError(f"{folder} is not a folder; name a run folder that mersa train made")
    inner = [path for path in folder.iterdir() if path.is_dir() and _number(path) is not None]
    leaves = [leaf for path in sorted(inner, key=_order) for leaf in members(path)]
    if not leaves:
        raise RunError(f"{folder} holds no config.toml; name a run folder that mersa train made")
    return leaves


def is_finished(folder: Path) -> bool:
    """Return True if training of a leaf, or of a run with folds, ended and its files are there."""
    return not _lacking(folder)


def lock(out: Path) -> AbstractContextManager[None]:
    """Keep a run folder to one process; the lock goes with the process, however it ends.

    Raises:
        RunError: If another process of this machine trains into it.
    """
    return one_process(
        out,
        RunError(f"another process trains into {out}; wait for it, or choose another --out"),
    )


def check_place(out: Path, leaves: Sequence[Path], *, again: bool = False) -> None:
    """See that a run of these leaf folders can stand in `out`.

    Leaves that another command began, but that hold nothing trained yet, are removed.

    Raises:
        RunError: If `out` is or lies below a file, holds files that are no run's, or a run of other
            folds or seeds; the last is let through by `again`.
    """
    if is_in_a_file(out):
        raise RunError(
            f"{out} is or lies below a file, but a run is a folder; choose another --out"
        )
    if not out.is_dir():
        return
    there = _leaves(out)
    foreign = sorted(path.name for path in out.iterdir() if not _is_ours(path))
    if foreign and not there:
        raise RunError(
            f"{out} holds {foreign[0]!r}, which is no part of a run; name a new or an empty folder "
            "as --out"
        )
    for leaf in there:
        if leaf in leaves:
            continue
        if not _has_state(leaf):
            _remove(leaf)
        elif not again:
            name = "a single run" if leaf == out else leaf.relative_to(out).as_posix()
            raise RunError(
                f"{out} holds {name}, which a run of these folds and seeds does not have; choose "
                "another --out, or --again to train anew in its place"
            )


def clear(out: Path) -> None:
    """Remove a run, folds and seeds and all; files that are no run's stay."""
    for leaf in _leaves(out):
        _remove(leaf)
        if leaf.parent != out and leaf != out:
            _remove(leaf.parent, _POOLED)
    _remove(out, _POOLED)


def check_same(
    folder: Path, config: Config, parts: Mapping[str, str], *, data_sha256: str = ""
) -> None:
    """See that what is trained in a leaf has these settings, parts and data, if anything is.

    Raises:
        RunError: If it has not; the message names the setting.
    """
    begun = ("config.toml", "parts.csv", "environment.json")
    if _has_state(folder) and all((folder / name).is_file() for name in begun):
        _refuse_other(folder, config, parts)
        if read_json(folder / "environment.json").get("data_sha256") != data_sha256:
            raise RunError(
                f"{folder} holds a run on other words, emotions or recordings under the same ids; "
                "choose another --out, or --again to train anew in its place"
            )


def tidy(folder: Path) -> None:
    """Remove what a finished leaf does not need: stored states, and halves that a kill left."""
    for name in _STATES:
        (folder / name).unlink(missing_ok=True)
    for partial in folder.rglob(".*.partial"):
        partial.unlink(missing_ok=True)


def begin(
    folder: Path,
    config: Config,
    labels: LabelSet,
    parts: Mapping[str, str],
    manifest: Path,
    *,
    data_sha256: str = "",
) -> None:
    """Write what stands before the first step; what was begun but holds nothing trained goes.

    Raises:
        RunError: If the folder holds a trained run of other settings or parts.
    """
    config_text, parts_rows = to_toml(config), [{"id": i, "part": p} for i, p in parts.items()]
    check_same(folder, config, parts, data_sha256=data_sha256)
    if is_finished(folder) or any((folder / name).is_file() for name in _STATES):
        return
    _remove(folder)
    write_json(folder / "labels.json", {"name": labels.name, "labels": labels.labels})
    write_json(folder / "environment.json", _environment(manifest, data_sha256))
    write_table(parts_rows, ("id", "part"), folder / "parts.csv")
    write_text(folder / "config.toml", config_text)


def read_parts(folder: Path) -> dict[str, str]:
    """Return the part of each utterance, by id."""
    return {row["id"]: row["part"] for row in read_table(folder / "parts.csv")}


def check_finished(folder: Path) -> None:
    """Refuse a run, or a run above its folds and seeds, whose training did not end.

    Raises:
        RunError: If it is unfinished, or no run at all.
    """
    lacking = _lacking(folder)
    if lacking:
        members(folder)
        raise RunError(
            f"{folder} is unfinished (it has no {lacking[-1]}); go on with: mersa train ... "
            f"--out {folder}"
        )


def load_config(folder: Path) -> Config:
    """Read the settings of a leaf."""
    return make_config(read_config(folder / "config.toml"))


def load_labels(folder: Path) -> LabelSet:
    """Read the labels of a leaf.

    Raises:
        RunError: If the file is missing or is not the one that `begin` wrote.
    """
    facts = read_json(folder / "labels.json")
    if not isinstance(facts.get("name"), str) or not isinstance(facts.get("labels"), list):
        raise RunError(f"{folder / 'labels.json'} lacks 'name' or 'labels'; {WHOLE_AGAIN}")
    known = LABEL_SETS.get(facts["name"])
    merges = known.merges if known and list(known.labels) == facts["labels"] else {}
    return LabelSet(facts["name"], tuple(facts["labels"]), merges)


def write_history(folder: Path, history: Sequence[Mapping[str, float]]) -> None:
    """Write one row an epoch."""
    with (
        write_whole(folder / "history.csv") as partial,
        partial.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.DictWriter(file, list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)


def finish(leaf: Path, metrics: Mapping[str, Any]) -> None:
    """Write the card and the scores of a leaf; with the scores it is finished."""
    write_text(leaf / "README.md", model_card(load_config(leaf), metrics))
    write_json(leaf / "metrics.json", metrics)


def read_json(path: Path, *, remedy: str = WHOLE_AGAIN) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        path: The file.
        remedy: What is to be done if it is broken.

    Raises:
        RunError: If the file is missing or no JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read ({error}); {remedy}") from None
    if not isinstance(value, dict):
        raise RunError(f"{path} holds no JSON object; {remedy}")
    return value


def read_metrics(folder: Path) -> dict[str, Any]:
    """Read the `metrics.json` of a leaf, or of what stands above leaves.

    Raises:
        RunError: If it is missing, or is not what a training writes.
    """
    metrics = read_json(folder / "metrics.json")
    parts = metrics.get("parts")
    scored = isinstance(parts, dict) and all(
        isinstance(one, dict) and {"n", "groups", "accuracy", "majority"} <= set(one)
        for one in parts.values()
    )
    if (
        not scored
        or not isinstance(metrics.get("labels"), list)
        or not isinstance(metrics.get("system"), str)
    ):
        raise RunError(
            f"{folder / 'metrics.json'} does not hold the scores of a run; evaluate the run again, "
            "or train it again"
        )
    return metrics


def _refuse_other(folder: Path, config: Config, parts: Mapping[str, str]) -> None:
    before = located(load_config(folder)).model_dump(mode="json")
    after = config.model_dump(mode="json")
    for section, values in after.items():
        if values == before[section]:
            continue
        if isinstance(values, dict):
            key = next(key for key in values if values[key] != before[section][key])
            name, was, now = f"{section}.{key}", before[section][key], values[key]
        else:
            name, was, now = section, before[section], values
        raise RunError(
            f"{folder} holds a run with {name} = {was!r}, but {now!r} was asked for; choose "
            "another --out, or --again to train anew in its place"
        )
    if read_parts(folder) != dict(parts):
        raise RunError(
            f"{folder} holds a run on other parts of the data; choose another --out, or --again "
            "to train anew in its place"
        )


def _environment(manifest: Path, data_sha256: str) -> dict[str, Any]:
    return {
        "manifest": str(manifest.resolve()),
        "data_sha256": data_sha256,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {
            name: __version__ if name == "mersa" else metadata.version(name) for name in _VERSIONED
        },
    }


def _leaves(folder: Path) -> list[Path]:
    """Return the leaf folders that are there, finished or not."""
    if (folder / "config.toml").is_file():
        return [folder]
    if not folder.is_dir():
        return []
    inner = [path for path in folder.iterdir() if path.is_dir() and _number(path) is not None]
    return [leaf for path in sorted(inner, key=_order) for leaf in _leaves(path)]


def _lacking(folder: Path) -> list[str]:
    """Return the files that a finished run, or one above its folds and seeds, would have here."""
    needed: Sequence[str] = ("metrics.json",)
    if (folder / CHECKPOINT).is_file():
        needed = _NEEDED_OF_ANSWERS
    elif (folder / "config.toml").is_file():
        needed = _NEEDED
    return [name for name in needed if not (folder / name).is_file()]


def _has_state(leaf: Path) -> bool:
    return any((leaf / name).is_file() for name in (*_STATES, "metrics.json"))


def _is_ours(path: Path) -> bool:
    name = path.name
    known = name in _FILES or name in _FOLDERS or _number(path) is not None
    return known or (name.startswith(".") and name.endswith(".partial"))


def _remove(folder: Path, files: Sequence[str] = _FILES) -> None:
    """Remove what a run wrote into a folder, and the folder if nothing else is in it."""
    for name in files:
        (folder / name).unlink(missing_ok=True)
    for name in _FOLDERS:
        shutil.rmtree(folder / name, ignore_errors=True)
    for partial in folder.glob(".*.partial"):
        partial.unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


def _number(path: Path) -> int | None:
    kind, _, number = path.name.partition("-")
    return int(number) if kind in {"fold", "seed"} and number.isdigit() else None


def _order(path: Path) -> tuple[str, int]:
    return path.name.partition("-")[0], _number(path) or 0
