"""What a reproduction does, as a list of steps that can be read before any of them runs.

corpora/NAME/manifest.csv    prepared                     encoders/    stand-ins, if asked for
aligned/LABELS               self-aligned text encoder    rows/III.1 ...  run folders
tables/  figures/            Tables I and II, Figs. 2 and 3
report.html ...              all of it on one page
plan.json  steps/  log.txt   what was asked for, what is finished, what was said on the way
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mersa.emotions import LABEL_SETS
from mersa.paper import BERT, ROWS, WAV2VEC2, Row

TABLES: Mapping[str, str] = {"table3": "III", "table4": "IV", "table5": "V"}
"""Targets that are rows, each with the number of its table."""

COUNTS: Mapping[str, str] = {"table1": "iemocap", "table2": "meld"}
"""Targets that are the counts of a corpus."""

TARGETS = (*COUNTS, *TABLES, "figure2", "figure3")
"""All that can be asked for beside `all`."""

FIGURE3_LABELS = ("iemocap-4", "meld-4", "iemocap-6")
"""The paper does not say on what Fig. 3 was drawn: the first of these whose corpus is there."""

ENCODERS: Mapping[str, str] = {"bert": BERT, "vggish": "vggish", "wav2vec2": WAV2VEC2}
"""The paper's encoders, each with the name that settings know it by."""

TOY = "toy"

_ROWS_ALONE = {"data.shuffle", "text.layer", "text.output", "text.live_dropout", "text.precision"}


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        targets: Of `TARGETS`, in their order.
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
        return {row.labels: self.corpus(row.corpus) for row in ROWS.values()}

    def has(self, corpus: str) -> bool:
        """Return True if a corpus of the paper, or what stands for it, is at hand."""
        return self.quick or corpus in self.folders


@dataclass(frozen=True)
class Step:
    """One thing to do.

    Attributes:
        name: What it is called, as `row III.5`.
        action: What kind of thing it is, as `row`.
        subject: What it is done to, as `III.5`.
        makes: The file or folder that it leaves behind, below the output folder; empty for frames
            in the cache.
        needs: Names of the steps whose results it reads.
        like: Steps of which this is the same take as long as their sizes ask.
        size: How much there is to do, among steps that are alike.
        command: The verb that does the same, if there is one.
    """

    name: str
    action: str
    subject: str
    makes: str = ""
    needs: tuple[str, ...] = ()
    like: str = ""
    size: float = 1.0
    command: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the same for JSON."""
        return asdict(self)


def rows_of(request: Request) -> list[Row]:
    """Return the rows of the tables that are asked for and whose corpus is at hand."""
    numbers = [TABLES[target] for target in request.targets if target in TABLES]
    return [
        row
        for row in ROWS.values()
        if row.id.partition(".")[0] in numbers and request.has(row.corpus)
    ]


def figure3_labels(request: Request) -> str:
    """Return the label set on which Fig. 3 is drawn; empty if no corpus is at hand."""
    corpora = {row.labels: row.corpus for row in ROWS.values()}
    return next((name for name in FIGURE3_LABELS if request.has(corpora[name])), "")


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
        return str(out / "aligned" / aligned_labels(request)[row.labels])
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
    lacking = {}
    for target in request.targets:
        if target in COUNTS:
            corpus = COUNTS[target]
        elif target in TABLES:
            corpus = ROWS[f"{TABLES[target]}.1"].corpus
        else:
            continue
        if not request.has(corpus):
            lacking[target] = corpus
    if "figure3" in request.targets and not figure3_labels(request):
        lacking["figure3"] = "iemocap or meld"
    return lacking


def plan(request: Request, out: Path, *, sizes: Mapping[str, int] | None = None) -> list[Step]:
    """Return the steps in the order in which they run; each stands behind what it needs.

    Args:
        request: What is asked for.
        out: The folder that holds all of it.
        sizes: Utterances of each label set, added up over folds, and of each corpus; read for the
            time that is left alone.
    """
    sizes = sizes or {}
    rows, owners = rows_of(request), aligned_labels(request)
    steps = [*_prepared(request, rows, owners, out), *_counted(request)]
    steps += _figure2(request)
    steps += _encoded(request, rows, sizes)
    done = set()
    for row in rows:
        owner = owners.get(row.labels, "")
        if row.aligned and owner not in done:
            done.add(owner)
            steps.append(_align(request, owner, out, sizes))
        steps.append(_row(request, row, owner, out, sizes))
    steps += [_align(request, owner, out, sizes) for owner in owners.values() if owner not in done]
    steps += _figure3(request, owners)
    told = tuple(step.name for step in steps if step.action in {"counts", "row", "figure"})
    steps.append(Step("report", "report", "", "report.json", told))
    return steps


def _prepared(
    request: Request, rows: Sequence[Row], owners: Mapping[str, str], out: Path
) -> Iterator[Step]:
    corpora = {row.labels: row.corpus for row in ROWS.values()}
    used = [row.corpus for row in rows] + [corpora[labels] for labels in owners]
    used += [corpus for target, corpus in COUNTS.items() if target in request.targets]
    for name in dict.fromkeys(request.corpus(one) for one in used if request.has(one)):
        root = str(request.folders[name]) if name in request.folders else ""
        command = _command("prepare", name, root, "--out", out / "corpora" / name)
        yield Step(f"prepare {name}", "prepare", name, f"corpora/{name}/manifest.csv", (), name,
                   command=command)  # fmt: skip
    if request.quick and (rows or owners):
        yield Step("stand-ins", "stand-ins", "", "encoders", (f"prepare {TOY}",))


def _counted(request: Request) -> Iterator[Step]:
    for target, corpus in COUNTS.items():
        if target in request.targets and request.has(corpus):
            needs = (f"prepare {request.corpus(corpus)}",)
            yield Step(target, "counts", target, f"tables/{target}.json", needs)


def _figure2(request: Request) -> Iterator[Step]:
    if "figure2" in request.targets:
        yield Step("figure2", "figure", "figure2", "figures/figure2.png")


def _figure3(request: Request, owners: Mapping[str, str]) -> Iterator[Step]:
    labels = figure3_labels(request)
    if "figure3" in request.targets and labels:
        needs = (f"align {owners[labels]}",)
        yield Step("figure3", "figure", "figure3", "figures/figure3.png", needs)


def _encoded(request: Request, rows: Sequence[Row], sizes: Mapping[str, int]) -> Iterator[Step]:
    pairs = [
        (request.corpus(row.corpus), kind)
        for row in rows
        for kind in (audio_kind(row), *(() if row.aligned else ("bert",)))
    ]
    for corpus, kind in sorted(set(pairs)):
        needs = _after(request, f"prepare {corpus}")
        yield Step(f"encode {corpus} {kind}", "encode", f"{corpus} {kind}", "", needs,
                   f"encode {kind}", sizes.get(corpus, 1))  # fmt: skip


def _align(request: Request, labels: str, out: Path, sizes: Mapping[str, int]) -> Step:
    corpora = request.labels()
    corpus = corpora[labels]
    command = _command(
        "align", out / "corpora" / corpus / "manifest.csv", "--protocol", request.protocol,
        *_set(f"data.labels={labels}", f"text.name={encoder_name(request, 'bert', out)}",
              *align_settings(request.settings)),
        "--out", out / "aligned" / labels,
    )  # fmt: skip
    needs = _after(request, f"prepare {corpus}")
    return Step(f"align {labels}", "align", labels, f"aligned/{labels}", needs, "align",
                sizes.get(labels, 1), command)  # fmt: skip


def _row(request: Request, row: Row, owner: str, out: Path, sizes: Mapping[str, int]) -> Step:
    corpus, kind = request.corpus(row.corpus), audio_kind(row)
    command = _command(
        "train", out / "corpora" / corpus / "manifest.csv", "--row", row.id,
        "--protocol", request.protocol, "--seeds", request.seeds,
        *_set(f"text.name={text_name(request, row, out)}",
              f"audio.name={encoder_name(request, kind, out)}", *row_settings(request.settings)),
        "--out", out / "rows" / row.id,
    )  # fmt: skip
    words = f"align {owner}" if row.aligned else f"encode {corpus} bert"
    needs = (f"prepare {corpus}", f"encode {corpus} {kind}", words)
    return Step(f"row {row.id}", "row", row.id, f"rows/{row.id}/metrics.json", needs,
                f"row {kind} {row.system} {row.aligned}", sizes.get(row.labels, 1),
                command)  # fmt: skip


def _after(request: Request, *names: str) -> tuple[str, ...]:
    return (*names, "stand-ins") if request.quick else names


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


def _set(*assignments: str) -> list[str]:
    return [word for one in assignments for word in ("--set", one)]


def _command(*words: object) -> str:
    return shlex.join(["mersa", *(str(word) for word in words if str(word))])
