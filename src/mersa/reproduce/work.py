"""How each step of a plan is done: by the function behind the verb that does the same."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from mersa import build
from mersa.alignment.align import align
from mersa.batches import audio_items, encode, text_items
from mersa.config import AudioSettings, TextSettings
from mersa.corpora.place import count_table, place
from mersa.encoders.cache import FeatureCache
from mersa.experiment import train
from mersa.files import write_json, write_text
from mersa.held_out import evaluate
from mersa.manifest import Manifest, read_manifest
from mersa.paper import ROWS
from mersa.paper_tables import beside_table
from mersa.progress import Progress
from mersa.report.report import report
from mersa.reproduce import stand_ins
from mersa.reproduce.loss_figure import write_loss_figure
from mersa.reproduce.plan import Step
from mersa.reproduce.request import (
    COUNTS,
    TOY,
    Request,
    aligned_in,
    audio_kind,
    manifest_in,
    row_in,
    rows_of,
)
from mersa.reproduce.survey import align_config, corpus_selection, notes, row_config

FIGURE2 = (
    "Fig. 2, drawn from Eq. (1): exponentials and weights of pairs by their similarity, for three "
    "sets of constants; the paper prints none."
)
FIGURE3 = "Fig. 3: words of the test part before and after self-alignment."


@dataclass(frozen=True)
class Work:
    """What the steps are done with.

    Attributes:
        request: What is asked for.
        out: The folder that holds all of it.
        corpora: Each corpus as it was read.
        cache: Where frames lie.
        device: `auto`, `cpu` or `cuda[:n]`.
        devices: How many processes share a training or an alignment.
        progress: What is told of long work.
    """

    request: Request
    out: Path
    corpora: Mapping[str, Manifest]
    cache: FeatureCache
    device: str
    devices: int | None
    progress: Progress

    def manifest(self, corpus: str) -> Path:
        """Return the manifest of a prepared corpus."""
        return manifest_in(self.out, corpus)


def do(step: Step, work: Work) -> None:
    """Do a step; one that was stopped goes on."""
    _WAYS[step.action](step, work)


def _prepare(step: Step, work: Work) -> None:
    place(work.corpora[step.subject], work.manifest(step.subject).parent, copy=step.subject == TOY)


def _stand_ins(step: Step, work: Work) -> None:
    stand_ins.write_encoders(work.corpora[TOY], work.out / step.makes)


def _counts(step: Step, work: Work) -> None:
    corpus = work.request.corpus(COUNTS[step.subject])
    counts = count_table(read_manifest(work.manifest(corpus)))
    beside = beside_table(COUNTS[step.subject], counts.by_part())
    write_text(work.out / "tables" / f"{step.subject}.txt", beside.text() + "\n")
    write_json(work.out / step.makes, {"corpus": corpus} | beside.as_dict())


def _encode(step: Step, work: Work) -> None:
    corpus, kind = step.subject.split(" ")
    whole = read_manifest(work.manifest(corpus))
    used = corpus_selection(work.request, corpus, whole)
    device = build.device(work.device)
    configs = [
        row_config(work.request, row, work.out)
        for row in rows_of(work.request)
        if work.request.corpus(row.corpus) == corpus
        and (kind == audio_kind(row) if kind != "bert" else not row.aligned)
    ]
    if kind == "bert":
        for text in dict.fromkeys(config.text for config in configs if _is_cached(config.text)):
            encoder = build.text_encoder(text, device=device)
            encode(encoder, text_items(used.utterances), work.cache, work.progress)
        return
    for audio in dict.fromkeys(config.audio for config in configs if _is_cached(config.audio)):
        encoder = build.audio_encoder(audio, device=device)
        encode(encoder, audio_items(used, used.utterances), work.cache, work.progress)


def _is_cached(settings: TextSettings | AudioSettings) -> bool:
    """Tell whether a training reads the frames of an encoder from the cache."""
    return settings.weights == "frozen" and not settings.live_dropout


def _align(step: Step, work: Work) -> None:
    align(
        work.manifest(work.request.labels()[step.subject]),
        align_config(work.request, step.subject, work.out),
        work.out / step.makes,
        cache=work.cache,
        device=work.device,
        devices=work.devices,
        progress=work.progress,
    )


def _row(step: Step, work: Work) -> None:
    row = ROWS[step.subject]
    folder = row_in(work.out, row)
    train(
        work.manifest(work.request.corpus(row.corpus)),
        row_config(work.request, row, work.out),
        folder,
        cache=work.cache,
        seeds=work.request.seeds,
        device=work.device,
        devices=work.devices,
        progress=work.progress,
    )
    evaluate(folder, cache=work.cache, robustness=False, device=work.device, progress=work.progress)


def _figure2(step: Step, work: Work) -> None:
    write_loss_figure(work.out / step.makes)


def _figure3(step: Step, work: Work) -> None:
    from mersa.alignment.study import study, write_study

    found = study(
        work.manifest(work.request.labels()[step.subject]),
        aligned_in(work.out, step.subject),
        cache=work.cache,
        parts=("test",),
        device=work.device,
        progress=work.progress,
    )
    write_study(found, (work.out / step.makes).parent)


def _report(step: Step, work: Work) -> None:
    request, figures = work.request, work.out / "figures"
    shown = {FIGURE2: figures / "figure2.png", FIGURE3: figures / "figure3-test.png"}
    report(
        [row_in(work.out, row) for row in rows_of(request)],
        work.out,
        title="Rehearsal of the paper's tables" if request.quick else "The paper's tables",
        notes=notes(request),
        figures={says: path for says, path in shown.items() if path.is_file()},
    )


_WAYS: Mapping[str, Callable[[Step, Work], None]] = {
    "prepare": _prepare,
    "stand-ins": _stand_ins,
    "counts": _counts,
    "encode": _encode,
    "align": _align,
    "row": _row,
    "figure2": _figure2,
    "figure3": _figure3,
    "report": _report,
}
