"""What a report says, as plain data: every file is written from it, so their numbers are equal."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mersa import __version__, runs
from mersa.alignment.artefact import leaks_told
from mersa.contrasts import Contrast, contrast
from mersa.evaluation import PRINTED_SCORES, SCORES, group_tables
from mersa.manifest import PARTS, Manifest
from mersa.paper import ROWS, Row
from mersa.paper_tables import PRINTED, beside_table
from mersa.report.claims import answer_claims, as_dict
from mersa.report.rows import (
    CORPUS_NAMES,
    Entry,
    differences_from_row,
    has_row,
    manifest_of,
    other_settings,
    read_entries,
)
from mersa.report.side_by_side import collect

SCHEMA_VERSION = 1


def read_content(
    folders: Sequence[Path], *, title: str | None = None, notes: Sequence[str] = ()
) -> tuple[dict[str, Any], dict[str, dict[str, Entry]]]:
    """Read evaluated runs as what a report says.

    Args:
        folders: Run folders, of the paper's rows and of others.
        title: What the report is called.
        notes: Sentences that stand at its top.

    Returns:
        The content as `report.json` holds it, and the runs of rows by table.

    Raises:
        RunError: If a run is unfinished, not evaluated, or cannot be set beside the others.
    """
    ranked = [folder for folder in folders if has_row(folder)]
    tables = read_entries(ranked)
    beside = list(folders) if len(ranked) < len(folders) else []
    return {
        "schema_version": SCHEMA_VERSION,
        "mersa": __version__,
        "title": title or "Report",
        "notes": list(notes),
        "side_by_side": collect(beside) if beside else [],
        "corpora": _corpora(tables) if tables else [],
        "tables": [_table(name, entries) for name, entries in tables.items()],
        "claims": [as_dict(one) for one in answer_claims(tables)] if tables else [],
    }, tables


def _table(name: str, entries: Mapping[str, Entry]) -> dict[str, Any]:
    any_entry = next(iter(entries.values()))
    answers = any_entry.answers[0]
    rows = [row for row in ROWS.values() if row.table == name]
    majority = runs.read_metrics(any_entry.places[0])["parts"]["test"]["majority"]
    return {
        "table": name,
        "corpus": CORPUS_NAMES[rows[0].corpus],
        "tested_on": CORPUS_NAMES.get(any_entry.corpus, any_entry.corpus),
        "labels": list(any_entry.labels),
        "protocol": any_entry.protocol,
        "seeds": list(any_entry.seeds),
        "n": len(answers.ids),
        "groups": len(set(answers.groups)),
        "majority": {score: majority[score] for score in PRINTED_SCORES},
        "rows": [_row(row, entries.get(row.id)) for row in rows],
        "not_run": [row.id for row in rows if row.id not in entries],
    }


def _row(row: Row, entry: Entry | None) -> dict[str, Any]:
    told: dict[str, Any] = {
        "row": row.id,
        "model": row.model,
        "method": row.method,
        "printed": {"accuracy": row.accuracy, "f1": row.f1},
    }
    if entry is None:
        return told | {"runs": []}
    tables = [group_tables(one) for one in entry.answers]
    scores = {one.name: one for one in contrast([tables], [1.0])}
    by_seed = [one.scores() for one in tables]
    spread = min(1, len(by_seed) - 1)
    return told | {
        "runs": [str(folder) for folder in entry.folders],
        "seeds": list(entry.seeds),
        "protocol": entry.protocol,
        "n": len(entry.answers[0].ids),
        "groups": len(tables[0].confusion),
        "scores": {name: scores[name].value for name in SCORES},
        "ci95": {name: _bounds(scores[name]) for name in PRINTED_SCORES},
        "sd": {
            name: float(np.std([one[name] for one in by_seed], ddof=spread))
            if len(by_seed) > 1
            else None
            for name in PRINTED_SCORES
        },
        "difference": {
            "accuracy": _less(scores["accuracy"], row.accuracy),
            "macro_f1": _less(scores["macro_f1"], row.f1),
            "weighted_f1": _less(scores["weighted_f1"], row.f1),
        },
        "leak": leaks_told(entry.alignment),
        "alignment": dict(entry.alignment),
        "differs": differences_from_row(entry),
        "other_settings": other_settings(entry),
    }


def _bounds(one: Contrast) -> list[float] | None:
    return None if one.low is None or one.high is None else [max(one.low, 0.0), one.high]


def _less(one: Contrast, printed: float) -> dict[str, Any]:
    """Return ours less the printed number, which is taken as exact."""
    bounds = _bounds(one)
    return {
        "value": one.value - printed,
        "ci95": None if bounds is None else [bound - printed for bound in bounds],
    }


def _corpora(tables: Mapping[str, Mapping[str, Entry]]) -> list[dict[str, Any]]:
    """Return Tables I and II, with the counts of the runs' manifests where these are there."""
    told = []
    for corpus, (name, printed) in PRINTED.items():
        entries = [
            entry
            for several in tables.values()
            for entry in several.values()
            if entry.row.corpus == corpus
        ]
        table: dict[str, Any] = {
            "table": name,
            "corpus": CORPUS_NAMES[corpus],
            "counted": "",
            "printed": dict(printed),
            "counts": {},
            "notes": [],
        }
        for entry in entries:
            manifest = manifest_of(entry)
            if manifest is not None:
                table["counted"] = CORPUS_NAMES.get(entry.corpus, entry.corpus)
                table |= beside_table(corpus, _counts(manifest)).as_dict()
                break
        told.append(table)
    return told


def _counts(manifest: Manifest) -> dict[str, Counter[str]]:
    """Count utterances by emotion, for each part that the manifest names and for all."""
    counts = {
        part: Counter(one.emotion for one in manifest if one.part == part)
        for part in PARTS
        if any(one.part == part for one in manifest)
    }
    return counts | {"all": Counter(one.emotion for one in manifest if one.emotion)}
