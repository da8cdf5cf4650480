"""What is asked of a reproduction, and what follows from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mersa.emotions import LABEL_SETS
from mersa.paper import BERT, ROWS, WAV2VEC2, Row

TABLES: Mapping[str, str] = {"table3": "III", "table4": "IV", "table5": "V"}
"""Targets that are rows, each with the number of its table."""

COUNTS: Mapping[str, str] = {"table1": "iemocap", "table2": "meld"}
"""Targets that are the counts of a corpus."""

TARGETS = (*COUNTS, *TABLES, "figure2", "figure3")
"""All that can be asked for, beside `all` and single rows."""

FIGURE3_LABELS = ("iemocap-4", "meld-4", "iemocap-6")
"""The paper does not say on what Fig. 3 was drawn: the first of these whose corpus is there."""

ENCODERS: Mapping[str, str] = {"bert": BERT, "vggish": "vggish", "wav2vec2": WAV2VEC2}
"""The paper's encoders, each with the name that settings know it by."""

TOY = "toy"

_ROWS_ALONE = {
    "data.shuffle",
    *(f"text.{key}" for key in ("layer", "output", "live_dropout", "weights", "precision")),
}
"""What the rows read of the sections that self-alignment reads too."""


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        targets: Of `TARGETS`, in their order, then rows.
        folders: Folder of each corpus that is at hand, by the name of the corpus.
        quick: Rehearse on the embedded corpus with stand-ins.
        protocol: How the corpora are cut.
        seeds: How many trainings of each row differ in `train.seed` alone.
        settings: Assignments such as `train.epochs=3`, those of a rehearsal included.
        strict: Refuse a corpus that differs from its release, or warn; None as its reader does.
        encoders: What is taken for each of `ENCODERS`: its name in settings, or, as a path, a
            stand-in below the output folder.
    """

    targets: tuple[str, ...]
    folders: Mapping[str, Path] = field(default_factory=dict)
    quick: bool = False
    protocol: str = "auto"
    seeds: int = 1
    settings: tuple[str, ...] = ()
    strict: bool | None = None
    encoders: Mapping[str, str | Path] = field(default_factory=lambda: dict(ENCODERS))

    def corpus(self, name: str) -> str:
        """Return the corpus that stands for one of the paper's."""
        return TOY if self.quick else name

    def labels(self) -> dict[str, str]:
        """Return the corpus that stands for that of each label set of the paper."""
        return {labels: self.corpus(corpus) for labels, corpus in CORPUS_OF.items()}

    def has(self, corpus: str) -> bool:
        """Return True if a corpus of the paper, or what stands for it, is at hand."""
        return self.quick or corpus in self.folders


CORPUS_OF: Mapping[str, str] = {row.labels: row.corpus for row in ROWS.values()}
"""The paper's corpus of each of its label sets."""


def manifest_in(out: Path, corpus: str) -> Path:
    """Return where a prepared corpus has its manifest."""
    return out / "corpora" / corpus / "manifest.csv"


def aligned_in(out: Path, labels: str) -> Path:
    """Return where the encoder that is aligned on a label set stands."""
    return out / "aligned" / labels


def row_in(out: Path, row: Row) -> Path:
    """Return where the run of a row stands."""
    return out / "rows" / row.id


def rows_of(request: Request) -> list[Row]:
    """Return the rows that are asked for and whose corpus is at hand."""
    numbers = [TABLES[target] for target in request.targets if target in TABLES]
    return [
        row
        for row in ROWS.values()
        if (row.id in request.targets or row.table in numbers) and request.has(row.corpus)
    ]


def figure3_labels(request: Request) -> str:
    """Return the label set on which Fig. 3 is drawn; empty if no corpus is at hand."""
    return next((name for name in FIGURE3_LABELS if request.has(CORPUS_OF[name])), "")


def aligned_labels(request: Request) -> dict[str, str]:
    """Return for each label set that needs an aligned encoder whose encoder it takes.

    Label sets of the same emotions, on the same corpus, take one.
    """
    corpora = request.labels()
    wanted = [row.labels for row in rows_of(request) if row.aligned]
    if "figure3" in request.targets and figure3_labels(request):
        wanted.append(figure3_labels(request))
    first: dict[Any, str] = {}
    owners = {}
    for name in sorted(set(wanted), key=list(corpora).index):
        labels = LABEL_SETS[name]
        key = (corpora[name], labels.labels, tuple(labels.merges.items()))
        owners[name] = first.setdefault(key, name)
    return owners


def text_name(request: Request, row: Row, out: Path) -> str:
    """Return the text encoder of a row: plain, or the aligned folder."""
    if row.aligned:
        return str(aligned_in(out, aligned_labels(request)[row.labels]))
    return encoder_name(request, "bert", out)


def audio_kind(row: Row) -> str:
    """Return which of `ENCODERS` hears the sound of a row."""
    return "vggish" if row.audio == "vggish" else "wav2vec2"


def encoder_name(request: Request, kind: str, out: Path) -> str:
    """Return the name of an encoder in settings; a stand-in lies below the output folder."""
    name = request.encoders[kind]
    return str(out / name) if isinstance(name, Path) else name


def not_run(request: Request) -> dict[str, str]:
    """Return the targets that cannot be run without a folder, each with the corpus it lacks."""
    corpora = {target: ROWS[f"{number}.1"].corpus for target, number in TABLES.items()}
    corpora |= {**COUNTS, **{row.id: row.corpus for row in ROWS.values()}}
    lacking = {
        target: corpora[target]
        for target in request.targets
        if target in corpora and not request.has(corpora[target])
    }
    if "figure3" in request.targets and not figure3_labels(request):
        lacking["figure3"] = "iemocap or meld"
    return lacking


def align_settings(settings: Sequence[str]) -> list[str]:
    """Return the assignments that self-alignment reads: the cut is the rows'."""
    return [
        one
        for one in settings
        if one.partition(".")[0] in {"align", "data", "text"}
        and one.partition("=")[0].strip() not in _ROWS_ALONE
    ]


def row_settings(settings: Sequence[str]) -> list[str]:
    """Return the assignments that a training reads."""
    return [one for one in settings if one.partition(".")[0] != "align"]
