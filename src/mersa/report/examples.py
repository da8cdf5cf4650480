"""Utterances whose attention a report shows, chosen by a rule."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mersa import runs
from mersa.errors import MersaError
from mersa.evaluation import Predictions
from mersa.report.rows import Entry, manifest_of

RULE = (
    "Chosen by rule: of each emotion the utterance that the network answered rightly with the most "
    "confidence, then the one that it answered wrongly with the most confidence"
)


def choose(answers: Predictions, most: int) -> list[int]:
    """Return the rows of the surest right and the surest wrong answer of each emotion.

    Args:
        answers: Answers on a test part.
        most: At most so many; right ones come first, each kind in the order of the labels.
    """
    right = answers.probabilities.argmax(1) == answers.truth
    sure = answers.probabilities.max(1)
    chosen = []
    for wanted in (True, False):
        for label in range(len(answers.labels)):
            rows = [
                row
                for row in range(len(answers.ids))
                if answers.truth[row] == label and right[row] == wanted
            ]
            if rows:  # of equals the one whose id comes first, whatever the order
                chosen.append(min(rows, key=lambda row: (-sure[row], answers.ids[row])))
    return chosen[:most]


def read_examples(tables: Mapping[str, Mapping[str, Entry]], *, most: int) -> list[dict[str, Any]]:
    """Return the attention of chosen utterances, for one run of each table.

    The run is that of the last row which attends over words and sound, and of it the first seed. A
    table whose recordings or encoders are not there gets a sentence instead.

    Args:
        tables: Entries by row, by table.
        most: Utterances of each table.

    Returns:
        For each table `table`, `row`, `seed`, `why` (what stands in the way; empty if nothing) and
        `utterances`: `id`, `text`, `truth`, `answer`, `confidence` and `attention`.
    """
    told = []
    for entries in tables.values():
        fused = [one for one in entries.values() if one.config.network.system in _FUSED]
        if not fused or not most:
            continue
        entry = fused[-1]
        example: dict[str, Any] = {
            "table": entry.row.table,
            "row": entry.row.id,
            "seed": entry.seeds[0],
            "why": "",
            "utterances": [],
        }
        try:
            example["utterances"] = _utterances(entry, most)
        except MersaError as error:  # the rest of the report stands without it
            example["why"] = str(error)
        told.append(example)
    return told


_FUSED = ("3m-ser", "mersa", "mersa-cross")


def _utterances(entry: Entry, most: int) -> list[dict[str, Any]]:
    from mersa.attention import attend
    from mersa.batches import audio_items
    from mersa.weights import Run, load_run

    if entry.config.data.shuffle != "none":
        raise MersaError(f"row {entry.row.id} had words or sound shuffled, which is a control")
    manifest = manifest_of(entry)
    if manifest is None:
        raise MersaError(f"the manifest of row {entry.row.id} is not where it was at training")
    answers = entry.answers[0]
    by_id = {one.id: one for one in manifest}
    loaded: dict[Path, Run] = {}
    told = []
    for row in choose(answers, most):
        id_ = answers.ids[row]
        leaf = _leaf_of(entry, id_)
        if leaf not in loaded:
            loaded[leaf] = load_run(leaf)
        utterance = by_id[id_]
        item = audio_items(manifest, [utterance]).get(id_)
        waveform = item.load() if item else None
        attention = attend(loaded[leaf], utterance.text, waveform)  # type: ignore[arg-type]
        told.append(
            {
                "id": id_,
                "text": utterance.text,
                "truth": answers.labels[int(answers.truth[row])],
                "answer": answers.labels[int(answers.probabilities[row].argmax())],
                "confidence": float(answers.probabilities[row].max()),
                "attention": attention.as_dict(),
            }
        )
    return told


def _leaf_of(entry: Entry, id_: str) -> Path:
    """Return the leaf of the first seed that the utterance was a test utterance of."""
    return next(
        leaf for leaf in runs.members(entry.places[0]) if runs.read_parts(leaf).get(id_) == "test"
    )
