"""What a reproduction does, as a list of steps that can be read before any of them runs.

corpora/NAME/manifest.csv    prepared                     encoders/    stand-ins, if asked for
aligned/LABELS               self-aligned text encoder    rows/III.1 ...  run folders
tables/  figures/            Tables I and II, Figs. 2 and 3
report.html ...              all of it on one page
plan.json  steps/  log.txt   what was asked for, what is finished, what was said on the way
"""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mersa.paper import Row
from mersa.reproduce.request import (
    CORPUS_OF,
    COUNTS,
    TOY,
    Request,
    align_settings,
    aligned_in,
    aligned_labels,
    audio_kind,
    encoder_name,
    figure3_labels,
    manifest_in,
    row_in,
    row_settings,
    rows_of,
    text_name,
)

_HERE = Path()  # the folder of a reproduction, of which `makes` is a path inside
_FUSIONS = {"server": "server", "3m-ser": "self", "mersa": "self", "mersa-cross": "cross"}
"""What the time of a row depends on, beside its audio encoder."""


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
        like: What its time depends on, from the general to the particular; empty where it takes a
            moment.
        size: How much there is to do: steps alike take as long as their sizes ask.
        command: The verb that does the same, if there is one.
    """

    name: str
    action: str
    subject: str
    makes: str = ""
    needs: tuple[str, ...] = ()
    like: tuple[str, ...] = ()
    size: float = 1.0
    command: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the same for JSON."""
        return asdict(self)


def plan(request: Request, out: Path, *, sizes: Mapping[str, int] | None = None) -> list[Step]:
    """Return the steps in the order in which they run; each stands behind what it needs.

    Args:
        request: What is asked for.
        out: The folder that holds all of it.
        sizes: Utterances of each label set, added up over folds and seeds, and of each corpus; of
            use to the estimate of the time that is left, and to nothing else.
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
    if rows:
        told = tuple(step.name for step in steps if step.action in {"row", "figure2", "figure3"})
        steps.append(Step("report", "report", "", "report.json", told))
    return steps


def _prepared(
    request: Request, rows: Sequence[Row], owners: Mapping[str, str], out: Path
) -> Iterator[Step]:
    used = [row.corpus for row in rows] + [CORPUS_OF[labels] for labels in owners]
    used += [corpus for target, corpus in COUNTS.items() if target in request.targets]
    for name in dict.fromkeys(request.corpus(one) for one in used if request.has(one)):
        root = str(request.folders[name]) if name in request.folders else ""
        command = _command("prepare", name, root, "--out", manifest_in(out, name).parent)
        yield Step(
            f"prepare {name}",
            "prepare",
            name,
            manifest_in(_HERE, name).as_posix(),
            like=("prepare", name),
            command=command,
        )
    if request.quick and (rows or owners):
        yield Step("stand-ins", "stand-ins", "", "encoders", (f"prepare {TOY}",))


def _counted(request: Request) -> Iterator[Step]:
    for target, corpus in COUNTS.items():
        if target in request.targets and request.has(corpus):
            needs = (f"prepare {request.corpus(corpus)}",)
            yield Step(target, "counts", target, f"tables/{target}.json", needs)


def _figure2(request: Request) -> Iterator[Step]:
    if "figure2" in request.targets:
        yield Step("figure2", "figure2", "", "figures/figure2.png")


def _figure3(request: Request, owners: Mapping[str, str]) -> Iterator[Step]:
    labels = figure3_labels(request)
    if "figure3" in request.targets and labels:
        owner = owners[labels]
        needs = (f"align {owner}",)
        yield Step("figure3", "figure3", owner, "figures/figure3-test.png", needs, ("figure3",))


def _encoded(request: Request, rows: Sequence[Row], sizes: Mapping[str, int]) -> Iterator[Step]:
    pairs = [
        (request.corpus(row.corpus), kind)
        for row in rows
        for kind in (audio_kind(row), *(() if row.aligned else ("bert",)))
    ]
    for corpus, kind in sorted(set(pairs)):
        needs = _after(request, f"prepare {corpus}")
        yield Step(
            name=f"encode {corpus} {kind}",
            action="encode",
            subject=f"{corpus} {kind}",
            needs=needs,
            like=("encode", kind),
            size=sizes.get(corpus, 1),
        )


def _align(request: Request, labels: str, out: Path, sizes: Mapping[str, int]) -> Step:
    corpus = request.labels()[labels]
    base = f"text.name={encoder_name(request, 'bert', out)}"
    command = _command(
        *("align", manifest_in(out, corpus), "--protocol", request.protocol),
        *_set(f"data.labels={labels}", base, *align_settings(request.settings)),
        *("--out", aligned_in(out, labels)),
    )
    return Step(
        name=f"align {labels}",
        action="align",
        subject=labels,
        makes=aligned_in(_HERE, labels).as_posix(),
        needs=_after(request, f"prepare {corpus}"),
        like=("align",),
        size=sizes.get(labels, 1),
        command=command,
    )


def _row(request: Request, row: Row, owner: str, out: Path, sizes: Mapping[str, int]) -> Step:
    corpus, kind = request.corpus(row.corpus), audio_kind(row)
    text, audio = text_name(request, row, out), encoder_name(request, kind, out)
    names = (f"text.name={text}", f"audio.name={audio}")
    command = _command(
        *("train", manifest_in(out, corpus), "--row", row.id),
        *("--protocol", request.protocol, "--seeds", request.seeds),
        *_set(*names, *row_settings(request.settings)),
        *("--out", row_in(out, row)),
    )
    words = f"align {owner}" if row.aligned else f"encode {corpus} bert"
    return Step(
        name=f"row {row.id}",
        action="row",
        subject=row.id,
        makes=f"{row_in(_HERE, row).as_posix()}/metrics.json",
        needs=(f"prepare {corpus}", f"encode {corpus} {kind}", words),
        like=("row", kind, _FUSIONS[row.system]),
        size=sizes.get(row.labels, 1),
        command=command,
    )


def _after(request: Request, *names: str) -> tuple[str, ...]:
    return (*names, "stand-ins") if request.quick else names


def _set(*assignments: str) -> list[str]:
    return [word for one in assignments for word in ("--set", one)]


def _command(*words: object) -> str:
    return shlex.join(["mersa", *(str(word) for word in words if str(word))])
