"""What an aligned encoder says of itself, and whether a training may use it.

An aligned folder holds the encoder in its usual layout, `align.toml` (the settings, written before
the first step) and `alignment.json` (written last: without it, unfinished). A protocol of several
folds gives `fold-1/ ...`, one folder each. Text and audio are treated alike.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mersa.config import Config
from mersa.emotions import LabelSet
from mersa.errors import AlignmentError, first_line
from mersa.folds import Fold

FACTS = "alignment.json"
BEGUN = "align.toml"
TUNED_IN_RUN = "tuned in a run"
"""What `how` says of an encoder that a run tuned: it learnt labels, as an aligned one did."""
REFIT = "train and validation"
"""What `parts` says of an encoder that a run with `train.refit` tuned, or that was made from it."""


@dataclass(frozen=True)
class Cut:
    """What an aligned encoder must have been fitted on.

    Attributes:
        labels: What is told apart.
        data_sha256: Digest of the utterances that the labels select.
        fold: How they are cut.
    """

    labels: LabelSet
    data_sha256: str
    fold: Fold


def bind(config: Config, cut: Cut) -> tuple[Config, dict[str, Any]]:
    """Let the encoders that a run reads mean the aligned folders of its fold.

    Returns:
        The settings with `text.name` and `audio.name` leading to the fold's own folder, and what
        the run's `metrics.json` says of its alignments: `leak` (bool) and, by modality, facts;
        empty if no encoder is aligned.

    Raises:
        AlignmentError: If one is unfinished, was changed, or was fitted on other labels, data or
            parts.
    """
    told: dict[str, Any] = {}
    sections = {}
    for modality, used in (("text", config.uses_text), ("audio", config.uses_audio)):
        settings = getattr(config, modality)
        found = fitting(settings.name, cut) if used else None
        if found is None:
            continue
        folder, facts = found
        # Absolute, so that the run is answered with and scored from any working folder.
        sections[modality] = settings.model_copy(update={"name": str(folder.absolute())})
        told[modality] = summary(facts)
    if told:
        told = {"leak": any(one["leak"] for one in told.values()), **told}
    return config.model_copy(update=sections), told


def is_aligned(folder: Path) -> bool:
    """Return True if an alignment ended here, or was begun."""
    return (folder / FACTS).is_file() or (folder / BEGUN).is_file()


def fitting(name: str, cut: Cut) -> tuple[Path, dict[str, Any]] | None:
    """Return the aligned folder that the name of an encoder means, and what it says of itself.

    None if the name means no aligned folder.

    Raises:
        AlignmentError: If there is none for this fold, or it is unfinished, was changed, or was
            fitted on other labels, data or parts.
    """
    folder = find(name, cut.fold)
    if folder is None:
        return None
    facts = read(folder)
    check(folder, facts, cut)
    return folder, facts


def find(name: str, fold: Fold) -> Path | None:
    """Return the aligned folder that the name of an encoder means; None if it means none.

    Raises:
        AlignmentError: If there are folders of folds, but none of this one.
    """
    folder = Path(name).expanduser()
    if not name or not folder.is_dir():
        return None
    if is_aligned(folder):
        return folder
    inner = sorted(one.name for one in folder.glob("fold-*") if is_aligned(one))
    if not inner:
        return None
    if fold.name not in inner:
        raise AlignmentError(
            f"{name} holds encoders aligned for {', '.join(inner)}, but the run has "
            f"{fold.name or 'one fold alone'}; align again with the protocol of the run, or name "
            "one of its folders"
        )
    return folder / fold.name


def read(folder: Path) -> dict[str, Any]:
    """Read what an aligned folder says of itself.

    Raises:
        AlignmentError: If it is unfinished or cannot be read.
    """
    path = folder / FACTS
    if not path.is_file():
        raise AlignmentError(
            f"{folder} is unfinished (it has no {FACTS}); go on with: mersa align ... --out "
            f"{folder.parent if folder.name.startswith('fold-') else folder}"
        )
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise AlignmentError(
            f"{path} cannot be read ({first_line(error)}); align again with --again"
        ) from None
    if not (isinstance(facts, dict) and _is_whole(facts)):
        raise not_ours(path)
    if facts.get("pooling") == "cls":  # as older folders call it
        facts["pooling"] = "first"
    return facts


def not_ours(path: Path) -> AlignmentError:
    """Return the mistake of facts that were changed by hand, or are of something else."""
    return AlignmentError(f"{path} is not what mersa align writes; align again with --again")


def check(folder: Path, facts: Mapping[str, Any], cut: Cut) -> None:
    """See that an encoder was fitted on what a run learns from, and is as it was written.

    Raises:
        AlignmentError: If not; the message names what differs.
    """
    in_run = facts.get("how") == TUNED_IN_RUN
    was, anew, verb = ("tuned", "tune", "train") if in_run else ("aligned", "align", "align")
    if list(facts["labels"]) != list(cut.labels.labels):
        raise AlignmentError(
            f"{folder} was {was} on the labels {', '.join(facts['labels'])}, but the run tells "
            f"{', '.join(cut.labels.labels)} apart; {anew} again with the data.labels of the run"
        )
    if facts["data_sha256"] != cut.data_sha256:
        raise AlignmentError(
            f"{folder} was {was} on other utterances, words, emotions or recordings than the "
            f"run has (digest {facts['data_sha256'][:12]}, expected {cut.data_sha256[:12]}); "
            f"{anew} again on the manifest of the run"
        )
    parts = cut.fold.sha256()
    if facts["parts_sha256"] != parts:
        raise AlignmentError(
            f"{folder} was {was} on other parts (protocol {facts.get('protocol')!r}, digest "
            f"{facts['parts_sha256'][:12]}, expected {parts[:12]}), so it may have learnt from "
            f"what the run is judged on; {anew} again with the protocol, seed and folds of the run"
        )
    for name, digest in facts["files_sha256"].items():
        if not (folder / name).is_file() or file_sha256(folder / name) != digest:
            raise AlignmentError(
                f"{folder / name} is not the file that mersa {verb} wrote; bring it back, or "
                f"{anew} again with --again"
            )


def summary(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run tells of an aligned encoder."""
    kept = ("leak", "parts", "base", "parts_sha256", "preset", "pooling", "best_epoch", "measures")
    told = {name: facts[name] for name in kept if name in facts}
    return told | ({"how": facts["how"]} if facts.get("how") == TUNED_IN_RUN else {})


def parts_seen(base: Mapping[str, Any], parts: str) -> str:
    """Return of which parts an encoder has seen the labels.

    Args:
        base: What is told of the encoder that it was made from.
        parts: What it learnt from itself: `train`, `REFIT` or `all`.
    """
    if base.get("leak"):
        return "all"
    return REFIT if base.get("parts") == REFIT and parts == "train" else parts


def leaks_told(alignment: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each encoder of a run that has seen its test part; mostly none."""
    return [
        f"the {modality} encoder was aligned on all parts, so it has seen the labels of validation "
        "and test"
        for modality, facts in alignment.items()
        if isinstance(facts, Mapping) and facts.get("leak")
    ]


def files_sha256(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Return the digest of each file."""
    return {name: file_sha256(folder / name) for name in names}


def file_sha256(path: Path) -> str:
    """Return the digest of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_whole(facts: Mapping[str, Any]) -> bool:
    labels, files = facts.get("labels"), facts.get("files_sha256")
    return (
        isinstance(facts.get("leak"), bool)
        and (facts["leak"] or facts.get("parts") != "all")
        and isinstance(labels, list)
        and all(isinstance(one, str) for one in labels)
        and all(isinstance(facts.get(name), str) for name in ("data_sha256", "parts_sha256"))
        and isinstance(files, dict)
        and bool(files)
        and (facts.get("how") == TUNED_IN_RUN or _tells_of_alignment(facts))
    )


def _tells_of_alignment(facts: Mapping[str, Any]) -> bool:
    """Return True if what `mersa align` adds to that, and later commands read, is there."""
    base, settings, measures = (facts.get(name) for name in ("base", "settings", "measures"))
    validation = measures.get("validation") if isinstance(measures, dict) else None
    return (
        isinstance(base, dict)
        and all(isinstance(base.get(name), str) for name in ("name", "fingerprint"))
        and isinstance(settings, dict)
        and all(isinstance(settings.get(name), dict) for name in ("data", "text", "audio", "align"))
        and {"pooling", "seed", "how"} <= settings["align"].keys()
        and isinstance(validation, dict)
        and all(isinstance(validation.get(name), int | float) for name in ("before", "after"))
        and isinstance(facts.get("history"), list)
        and isinstance(facts.get("best_epoch"), int)
    )
