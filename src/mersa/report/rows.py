"""Runs of the paper's rows, read and checked: what can stand in one table.

A table holds at most one entry a row. Runs of a row that differ in their seeds alone are one entry;
so are the folds and seeds inside a run. The entries of one table answer for the same utterances,
tell the same labels, and have the same protocol and seeds, since claims pair them.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mersa import runs
from mersa.card import last_name
from mersa.comparison import check_alike
from mersa.config import Config, make_config
from mersa.emotions import LABEL_SETS
from mersa.errors import RunError
from mersa.evaluation import Predictions
from mersa.manifest import Manifest, read_manifest, read_table
from mersa.paper import ROWS, Row, find_row
from mersa.pooling import answers_on_test, places

_IDS = {"iemocap": r"Ses0[1-5][FM]_(impro|script)", "meld": r"(train|dev|test)_dia\d+_utt\d+"}
_OWN_COLUMNS = {"iemocap": "style", "meld": "season"}
"""What tells the corpora of the paper: how ids begin, and a column that readers add."""

CORPUS_NAMES: Mapping[str, str] = {"iemocap": "IEMOCAP", "meld": "MELD"}


@dataclass(frozen=True)
class Entry:
    """One row of a table as it was run.

    Attributes:
        row: The row of the paper.
        folders: The run folders.
        seeds: Seed of each training.
        places: Folder of the answers on the whole test part, one for each seed.
        answers: Those answers, one for each seed; folds are pooled.
        protocol: How the parts were cut.
        config: Settings of the first leaf.
        encoders: Fingerprint of the text and of the audio encoder, by modality.
        alignment: What the metrics say of aligned encoders: `leak`, and facts by modality; empty
            where none is aligned.
        manifest: Where the manifest was at training.
        corpus: `iemocap` or `meld` by the utterances, else the name of the manifest's folder.
    """

    row: Row
    folders: tuple[Path, ...]
    seeds: tuple[int, ...]
    places: tuple[Path, ...]
    answers: tuple[Predictions, ...]
    protocol: str
    config: Config
    encoders: Mapping[str, str]
    alignment: Mapping[str, Any]
    manifest: Path
    corpus: str

    @property
    def name(self) -> str:
        """The row, and where it was run."""
        return f"{', '.join(map(str, self.folders))} (row {self.row.id})"

    @property
    def leak(self) -> bool:
        """True if an aligned encoder saw utterances beyond the train part."""
        return bool(self.alignment.get("leak"))

    @property
    def aligned(self) -> bool:
        """True if the text encoder is on record as self-aligned."""
        return "text" in self.alignment

    @property
    def labels(self) -> tuple[str, ...]:
        """The emotions that are told apart."""
        return self.answers[0].labels

    def histories(self) -> list[list[dict[str, float]]]:
        """Return what `history.csv` of each leaf holds, one dictionary an epoch."""
        return [
            [
                {name: float(cell) for name, cell in epoch.items() if cell}
                for epoch in read_table(leaf / "history.csv")
            ]
            for folder in self.folders
            for leaf in runs.members(folder)
        ]


def has_row(folder: Path) -> bool:
    """Return True if a run is one of the paper's rows.

    Raises:
        RunError: If the folder is no finished run.
    """
    runs.check_finished(folder)
    return bool(runs.read_metrics(folder).get("row"))


def read_entries(folders: Sequence[Path]) -> dict[str, dict[str, Entry]]:
    """Read evaluated runs of rows, grouped by table.

    Returns:
        For each table (`III`, ...) its entries by row, in the paper's order.

    Raises:
        RunError: If a run is unfinished, not evaluated or of no row, or if runs of one table cannot
            be set side by side.
    """
    found: dict[str, list[Entry]] = {}
    for folder in dict.fromkeys(folders):
        entry = _read(folder)
        found.setdefault(entry.row.id, []).append(entry)
    merged = {id_: _merge(several) for id_, several in found.items()}
    tables: dict[str, dict[str, Entry]] = {}
    for id_, row in ROWS.items():
        if id_ in merged:
            tables.setdefault(row.table, {})[id_] = merged[id_]
    for entries in tables.values():
        _check_table(list(entries.values()))
    return tables


def stand_ins(entry: Entry) -> list[str]:
    """Say what stands in the place of the corpus and the encoders that the paper names."""
    row, config = entry.row, entry.config
    said = []
    if entry.corpus != row.corpus:
        said.append(f"corpus {entry.corpus} in place of {CORPUS_NAMES[row.corpus]}")
    wanted = row.settings()
    if config.audio.name != wanted["audio"]["name"]:
        said.append(f"audio encoder {last_name(config.audio.name)}")
    base = entry.alignment.get("text", {}).get("base", {}).get("name")
    if (base or config.text.name) != wanted["text"]["name"]:
        said.append(
            f"text encoder aligned from {last_name(base)}"
            if base
            else f"text encoder {last_name(config.text.name)}"
        )
    return said


def differences_from_row(entry: Entry) -> list[str]:
    """Say in which ways a run is not what the paper describes, the weightiest first."""
    row, config = entry.row, entry.config
    said = stand_ins(entry)
    if entry.leak:
        said.insert(0, "LEAK: its aligned encoder saw utterances beyond the train part")
    if list(entry.labels) != list(LABEL_SETS[row.labels].labels):
        said.append(f"emotions {', '.join(entry.labels)}")
    if config.data.shuffle != "none":
        said.append(f"CONTROL: {config.data.shuffle} shuffled")
    if row.aligned and not entry.aligned:
        said.append("no self-alignment is on record")
    if "audio" in entry.alignment:
        said.append("audio encoder aligned, which the paper does not do")
    if config.network.system != row.system:
        said.append(f"system {config.network.system}")
    return said


def other_settings(entry: Entry) -> dict[str, Any]:
    """Return the settings beyond the row's that are not the defaults, by name.

    Seeds, protocol and what `differences_from_row` tells are left out.
    """
    usual = make_config(entry.row.settings()).model_dump(mode="json")
    told = {
        *("data.protocol", "data.labels", "data.shuffle", "train.seed"),
        *("text.name", "audio.name", "network.system"),
    }
    return {
        f"{section}.{key}": value
        for section, values in entry.config.model_dump(mode="json").items()
        if isinstance(values, dict)
        for key, value in values.items()
        if value != usual[section][key] and f"{section}.{key}" not in told
    }


def manifest_of(entry: Entry) -> Manifest | None:
    """Read the manifest of a run, or return None where it is not there any more."""
    return read_manifest(entry.manifest) if entry.manifest.is_file() else None


def _read(folder: Path) -> Entry:
    answers = answers_on_test(folder)
    metrics = runs.read_metrics(folder)
    if not metrics.get("row"):
        raise RunError(
            f"{folder} is of no row of the paper, but Tables III to V hold rows; report it beside "
            "others with: mersa report"
        )
    leaf = runs.members(folder)[0]
    config = runs.load_config(leaf)
    several = places(folder)
    seeds = metrics.get("seeds") or [metrics.get("seed", config.train.seed)]
    manifest = Path(runs.read_json(leaf / "environment.json")["manifest"])
    encoders = {
        modality: runs.read_json(path)["fingerprint"]
        for modality in ("text", "audio")
        if (path := leaf / "encoders" / f"{modality}.json").is_file()
    }
    aligned = [runs.read_metrics(one).get("alignment") or {} for one in runs.members(folder)]
    return Entry(
        find_row(metrics["row"]),
        (folder,),
        tuple(seeds),
        tuple(several),
        tuple(answers),
        metrics["protocol"],
        config,
        encoders,
        max(aligned, key=lambda one: (bool(one.get("leak")), bool(one))),
        manifest,
        _corpus(answers[0], manifest),
    )


def _corpus(answers: Predictions, manifest: Path) -> str:
    for corpus, start in _IDS.items():
        if all(re.match(start, id_) for id_ in answers.ids):
            held = read_manifest(manifest).columns() if manifest.is_file() else None
            if held is None or _OWN_COLUMNS[corpus] in held:
                return corpus
    return manifest.parent.name


def _merge(several: Sequence[Entry]) -> Entry:
    """Join the runs of a row that differ in their seeds alone."""
    first = several[0]
    for other in several[1:]:
        shared = sorted({*first.seeds} & {*other.seeds})
        if shared or _without_seed(first.config) != _without_seed(other.config):
            what = f"seed {shared[0]}" if shared else "other settings"
            raise RunError(
                f"{first.folders[0]} and {other.folders[0]} are both row {first.row.id}, with "
                f"{what}, but a table holds a row once; report one of them"
            )
    order = sorted(
        (
            trained
            for one in several
            for trained in zip(one.seeds, one.places, one.answers, strict=True)
        ),
        key=lambda trained: trained[0],
    )
    seeds, where, answers = zip(*order, strict=True)
    folders = tuple(folder for one in several for folder in one.folders)
    return Entry(
        first.row,
        folders,
        seeds,
        where,
        answers,
        first.protocol,
        first.config,
        first.encoders,
        max((one.alignment for one in several), key=lambda one: bool(one.get("leak"))),
        first.manifest,
        first.corpus,
    )


def _check_table(entries: Sequence[Entry]) -> None:
    first = entries[0]
    for other in entries[1:]:
        for what, one, two, remedy in (
            ("protocol", first.protocol, other.protocol, "train both under one --protocol"),
            ("seeds", first.seeds, other.seeds, "train both with the same --seed and --seeds"),
            ("labels", first.labels, other.labels, "train both on the same data.labels"),
        ):
            if one != two:
                raise RunError(
                    f"{other.name} has {what} {_said(two)}, but {first.name} {_said(one)}, so they "
                    f"cannot stand in one table; {remedy}, or report one of them"
                )
    check_alike({one.name: one.answers for one in entries})


def _said(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _without_seed(config: Config) -> Config:
    return config.model_copy(update={"train": config.train.model_copy(update={"seed": 0})})
