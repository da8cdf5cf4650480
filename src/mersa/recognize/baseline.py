"""Published checkpoints scored on a corpus, as a baseline from outside beside runs.

They are not trained here. Where two are fused, the weight is fitted on the validation part of each
fold, and the test part is read once. What is written has the shape of a run's answers, so that
`compare` and `report` set it beside runs of the same labels and parts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mersa.answers import write_predictions
from mersa.config import DataSettings
from mersa.cutting import cut_folds
from mersa.encoders.cache import FeatureCache
from mersa.encoding import features_of
from mersa.errors import ConfigError, RunError
from mersa.evaluation import (
    Predictions,
    concatenate,
    log_loss,
    predictions_of,
    score,
)
from mersa.files import is_in_a_file, write_json, write_text
from mersa.folds import Fold
from mersa.held_out import check_columns, tell_more
from mersa.manifest import Manifest, Utterance, read_manifest, write_table
from mersa.progress import Progress, Silent
from mersa.protocols import choose
from mersa.recognize.checkpoint_card import checkpoint_card
from mersa.recognize.checkpoints import CheckpointScorer, save_checkpoint
from mersa.recognize.fusion import fit_weight, fuse
from mersa.recognize.scoring import Probabilities
from mersa.runs import CHECKPOINT
from mersa.selection import counts_text, data_sha256, select
from mersa.subgroups import SUBGROUP_COLUMNS

WHOLE = "whole"
"""The protocol by which the whole manifest is scored and nothing is fitted."""


def evaluate_checkpoint(
    scorer: CheckpointScorer,
    manifest_path: Path,
    *,
    cache: FeatureCache,
    protocol: str = "auto",
    fit: bool = True,
    by: Sequence[str] = (),
    out: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Score published checkpoints on the test part that a protocol cuts.

    Args:
        scorer: Loaded by `load_checkpoint`. Its weight becomes the one fitted, the mean of those of
            several folds, by which their answers' mean is given too.
        manifest_path: The corpus. Emotions that are not among the labels are left out and counted.
        cache: Where logits lie.
        protocol: As of `train`, or `whole`.
        fit: Whether the weight of two is fitted on the validation parts.
        by: Columns of subgroups beyond `SUBGROUP_COLUMNS`.
        out: Where the answers go; None: nowhere.
        progress: What is told of it.

    Returns:
        What `out/metrics.json` holds.

    Raises:
        ManifestError: If no utterance can be scored, or none has a column of `by`.
        ProtocolError: If the manifest cannot be cut so.
        RunError: If `out` holds something else.
    """
    progress = progress or Silent()
    if out is not None:
        _check_place(out)
    manifest = read_manifest(manifest_path)
    check_columns(by, manifest)
    selection = select(manifest, scorer.labels)
    utterances = selection.utterances
    protocol, folds = _cut(utterances, protocol)
    _tell(scorer, utterances, folds, selection.left_out, protocol, progress)
    answers = _answers(scorer, manifest, utterances, cache, progress)
    fits = fit and len(scorer.halves) == 2 and protocol != WHOLE
    tested, weights, losses = [], [], []
    for fold in folds:
        weight = scorer.weight
        if fits:
            weight, loss = _fitted(scorer, answers.rows(fold, "validation"), protocol)
            losses.append(loss)
        weights.append(weight)
        test = answers.rows(fold, "test")
        mean = fuse(*test.inputs(), weight)
        tested.append(predictions_of(test.utterances, "test", mean, scorer.labels))
    scorer.weight = float(np.mean(weights))
    if fits:
        progress.say(f"weight of the sound, fitted on validation: {scorer.weight:.2f}")
    answered = concatenate(tested)
    metrics = {
        "state": "evaluated",
        "row": None,
        "row_changes": [],
        "system": scorer.name,
        "protocol": protocol,
        "parts_sha256": [fold.sha256() for fold in folds],
        "data_sha256": data_sha256(utterances),
        "manifest": str(manifest_path),
        "labels": list(scorer.labels.labels),
        "left_out": dict(selection.left_out),
        "leak": [],
        "fusion": {"fitted": fits, "weights": weights, "validation_log_loss": losses}
        if len(scorer.halves) == 2
        else None,
        "checkpoint": scorer.facts(),
        "parts": {"test": score(answered)},
    }
    if out is not None:
        columns = tuple(dict.fromkeys((*SUBGROUP_COLUMNS, *by)))
        _write(out, scorer, metrics, answered, {one.id: one for one in manifest}, columns)
        progress.say(f"written: {out}")
    return metrics


@dataclass(frozen=True)
class _Answers:
    """What each classifier says of utterances, and what of them is there."""

    utterances: tuple[Utterance, ...]
    audio: Probabilities | None
    text: Probabilities | None

    def rows(self, fold: Fold, part: str) -> "_Answers":
        """Return those of a part."""
        kept = [row for row, one in enumerate(self.utterances) if fold.parts.get(one.id) == part]
        return _Answers(
            tuple(self.utterances[row] for row in kept),
            None if self.audio is None else self.audio[kept],
            None if self.text is None else self.text[kept],
        )

    def inputs(self) -> tuple[Any, Any, list[bool], list[bool]]:
        """Return what `fuse` takes before the weight."""
        has_audio = [bool(one.audio) for one in self.utterances]
        has_text = [bool(one.text.strip()) for one in self.utterances]
        return self.audio, self.text, has_audio, has_text


def _answers(
    scorer: CheckpointScorer,
    manifest: Manifest,
    utterances: Sequence[Utterance],
    cache: FeatureCache,
    progress: Progress,
) -> _Answers:
    """Run the classifiers on what the cache lacks."""
    audio, text = scorer.halves.get("audio"), scorer.halves.get("text")
    found = features_of(
        utterances,
        manifest,
        scorer.labels,
        text.classifier if text else None,
        audio.classifier if audio else None,
        cache,
        progress,
    )
    rows = range(len(utterances))
    return _Answers(
        tuple(utterances),
        audio.probabilities([found.audio[row] for row in rows], scorer.labels) if audio else None,
        text.probabilities([found.text[row] for row in rows], scorer.labels) if text else None,
    )


def _cut(utterances: Sequence[Utterance], protocol: str) -> tuple[str, list[Fold]]:
    if protocol == WHOLE:
        return protocol, [Fold("", {one.id: "test" for one in utterances})]
    name = choose(utterances) if protocol == "auto" else protocol
    return name, cut_folds(utterances, DataSettings(protocol=name))


def _fitted(scorer: CheckpointScorer, validation: _Answers, protocol: str) -> tuple[float, float]:
    """Return the weight of the sound that validation asks, and the log loss with it."""
    if not validation.utterances:
        raise ConfigError(
            f"the protocol {protocol} gives no validation part to fit the weight on; give "
            "--weight, or choose another --protocol"
        )
    truth = np.array([scorer.labels.index(one.emotion) for one in validation.utterances])
    weight = fit_weight(*validation.inputs(), truth)
    return weight, log_loss(fuse(*validation.inputs(), weight), truth)


def _tell(
    scorer: CheckpointScorer,
    utterances: Sequence[Utterance],
    folds: Sequence[Fold],
    left_out: Mapping[str, int],
    protocol: str,
    progress: Progress,
) -> None:
    for line in scorer.labels_told():
        progress.say(line)
    tested = sum(part == "test" for fold in folds for part in fold.parts.values())
    progress.say(
        f"protocol {protocol}: {tested} test utterances; left out: "
        f"{counts_text(left_out) or 'nothing'}"
    )
    never = set(scorer.labels.labels) - {
        scorer.labels.labels[place]
        for half in scorer.halves.values()
        for place in half.table.index(scorer.labels)
        if place is not None
    }
    if never:
        progress.say(f"no checkpoint ever answers {', '.join(sorted(never))}")
    unread = sum(
        not ("audio" in scorer.halves and one.audio)
        and not ("text" in scorer.halves and one.text.strip())
        for one in utterances
    )
    if unread:
        progress.say(
            f"{unread} utterances have nothing that is read, so each label has the same "
            "probability for them"
        )


def _check_place(out: Path) -> None:
    if is_in_a_file(out):
        raise RunError(f"{out} is or lies below a file, but answers go to a folder; name another")
    there = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    if there and CHECKPOINT not in there:
        raise RunError(
            f"{out} holds {there[0]!r}, which is no answer of checkpoints; name a new or an empty "
            "folder as --out"
        )


def _write(
    out: Path,
    scorer: CheckpointScorer,
    metrics: Mapping[str, Any],
    answered: Predictions,
    by_id: Mapping[str, Utterance],
    columns: Sequence[str],
) -> None:
    """Write what is told of them; `metrics.json` comes last, since without it nothing counts."""
    (out / "metrics.json").unlink(missing_ok=True)
    save_checkpoint(scorer, out)
    labels = scorer.labels
    write_json(out / "labels.json", {"name": labels.name, "labels": labels.labels})
    parts = [{"id": id_, "part": "test"} for id_ in answered.ids]
    write_table(parts, ("id", "part"), out / "parts.csv")
    write_predictions(out, answered)
    tell_more(out, answered, by_id, columns)
    write_text(out / "README.md", checkpoint_card(metrics["checkpoint"], metrics))
    write_json(out / "metrics.json", metrics)
