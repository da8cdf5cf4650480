"""What is seen of a request before anything is written: corpora, cuts and settings.

All that a user's mistake can stop is looked at here, so that it leaves the folder as it was.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mersa import build
from mersa.alignment.settings import AlignConfig, make_align_config
from mersa.config import Config, apply_assignments, make_config
from mersa.corpora import iemocap, meld, toy
from mersa.cutting import cut_corpus
from mersa.emotions import LABEL_SETS
from mersa.errors import AlignmentError, ConfigError, CorpusError
from mersa.manifest import Manifest, read_manifest
from mersa.paper import Row
from mersa.progress import Progress, Silent
from mersa.protocols import find_protocol
from mersa.reproduce import stand_ins
from mersa.reproduce.request import (
    COUNTS,
    ENCODERS,
    TOY,
    Request,
    align_settings,
    aligned_labels,
    audio_kind,
    encoder_name,
    manifest_in,
    not_run,
    row_settings,
    rows_of,
    text_name,
)
from mersa.selection import select

SOURCES = {
    "iemocap": "IEMOCAP is given out by the University of Southern California on request "
    "(sail.usc.edu/iemocap)",
    "meld": "MELD is public (github.com/declare-lab/MELD; mersa prepare meld FOLDER --download "
    "fetches it)",
}
"""Where each corpus comes from."""

_OF_THE_ROWS = {
    *("row", "data.labels", "data.protocol", "network.system"),
    *("text.name", "text.output", "audio.name"),
}


@dataclass(frozen=True)
class Survey:
    """What was seen.

    Attributes:
        manifests: Each corpus that is used, as read; its folder may be the corpus' own.
        sizes: Utterances of each label set, added up over folds and seeds, and of each corpus.
    """

    manifests: Mapping[str, Manifest]
    sizes: Mapping[str, int]


def check_request(request: Request) -> None:
    """See that a request can be met at least in part, and that its settings exist.

    Raises:
        ConfigError: If it cannot, or a setting is unknown or belongs to the rows.
        ProtocolError: If there is no such protocol.
    """
    find_protocol(request.protocol)
    if request.quick and request.folders:
        raise ConfigError(
            f"--quick runs on the corpus that comes with mersa, but --{next(iter(request.folders))}"
            " names another one; leave one of the two out"
        )
    lacking = not_run(request)
    if set(request.targets) <= lacking.keys() | {"figure2"} and lacking:
        target = next(iter(lacking))
        corpora = dict.fromkeys(
            name for name in SOURCES if any(name in one for one in lacking.values())
        )
        options = " and ".join(f"--{name} FOLDER" for name in corpora)
        sources = "; ".join(SOURCES[name] for name in corpora)
        what = target if len(lacking) == 1 else f"each of {', '.join(lacking)}"
        raise ConfigError(
            f"{what} needs a corpus, but no folder was given; name it with {options} ({sources}), "
            "or rehearse on the corpus that comes with mersa: --quick"
        )
    for assignment in request.settings:
        name = assignment.partition("=")[0].strip()
        if name in _OF_THE_ROWS:
            other = {"text.name": "--encoder bert=NAME", "audio.name": "--encoder vggish=NAME"}
            raise ConfigError(
                f"{name} is set by the rows of the paper, so --set {assignment} cannot hold for "
                f"all of them; leave it out, or use {other.get(name, 'mersa train')}"
            )


def survey(request: Request, out: Path, progress: Progress) -> Survey:
    """Read the corpora, and see that they can be cut and the settings hold.

    Args:
        request: What is asked for.
        out: A corpus that was prepared into it is read from there.
        progress: Counts the clips that were opened.

    Raises:
        CorpusError: If a folder is missing, is not its corpus, or has no recordings.
        ConfigError: If a setting does not hold.
        ProtocolError: If the protocol cannot cut a corpus.
    """
    rows = rows_of(request)
    owners = aligned_labels(request)
    used = [request.labels()[name] for name in (*(row.labels for row in rows), *owners)]
    used += [
        request.corpus(corpus)
        for target, corpus in COUNTS.items()
        if target in request.targets and request.has(corpus)
    ]
    for row in rows:
        row_config(request, row, out)
    for labels in owners or ("iemocap-4",):  # settings that nothing reads are still to exist
        align_config(request, labels, out)
    manifests = {name: _read(request, name, out, progress) for name in dict.fromkeys(used)}
    for row in rows:
        manifest = manifests[request.corpus(row.corpus)]
        if not any(one.audio for one in manifest):
            raise CorpusError(
                f"{request.folders[row.corpus]} has the words of {row.corpus} without its "
                f"recordings, but every row of the tables hears them; {SOURCES[row.corpus]}"
            )
    sizes = {name: len(manifest) for name, manifest in manifests.items()}
    for labels in dict.fromkeys((*(row.labels for row in rows), *owners)):
        sizes[labels] = _cut(request, labels, manifests[request.labels()[labels]])
    return Survey(manifests, sizes)


def notes(request: Request) -> list[str]:
    """Return what a page of this reproduction has to say of how it was made."""
    said = list(stand_ins.NOTES) if request.quick else []
    usual = stand_ins.ENCODERS if request.quick else ENCODERS
    said += [
        f"In place of the paper's {kind}: {name}."
        for kind, name in request.encoders.items()
        if name != usual[kind]
    ]
    owners = aligned_labels(request)
    if owners:
        said.append(
            "Self-aligned encoders are fitted on the train part of each fold alone, once for each "
            "label set; all rows and seeds of it share them, so the spread over seeds is that of "
            "the networks."
        )
        said += [
            f"{labels} and {owner} are the same emotions of the same corpus here, so they share "
            "one, and the rows of the two tables are the same trainings twice."
            for labels, owner in owners.items()
            if labels != owner
        ]
    if request.settings:
        said.append(f"Settings beside the defaults: {', '.join(request.settings)}.")
    return said


def check_encoders(request: Request, out: Path) -> None:
    """See that the encoders can be had; those of the Hugging Face Hub are fetched.

    Raises:
        EncoderError: If one cannot.
    """
    rows = rows_of(request)
    configs = [row_config(request, row, out) for row in rows]
    own = {str(out / name) for name in request.encoders.values() if isinstance(name, Path)}
    texts = [config.text for row, config in zip(rows, configs, strict=True) if not row.aligned]
    texts += [align_config(request, labels, out).text for labels in aligned_labels(request)]
    for text in dict.fromkeys(text for text in texts if text.name not in own):
        build.text_encoder(text)
    for audio in dict.fromkeys(config.audio for config in configs):
        if audio.name not in own:
            build.audio_encoder(audio)


def row_config(request: Request, row: Row, out: Path) -> Config:
    """Return the settings of a row."""
    nested = row.settings()
    nested["text"]["name"] = text_name(request, row, out)
    nested["audio"]["name"] = encoder_name(request, audio_kind(row), out)
    nested["data"]["protocol"] = request.protocol
    return make_config(apply_assignments(nested, row_settings(request.settings)))


def align_config(request: Request, labels: str, out: Path) -> AlignConfig:
    """Return the settings of an alignment.

    Raises:
        AlignmentError: If it would learn from what the rows are judged on.
    """
    nested = {
        "data": {"labels": labels, "protocol": request.protocol},
        "text": {"name": encoder_name(request, "bert", out)},
    }
    assignments = align_settings(request.settings)
    config = make_align_config(apply_assignments(nested, assignments, kind=AlignConfig))
    if config.align.parts == "all":
        raise AlignmentError(
            "align.parts is 'all', so the encoders would learn the labels of validation and test, "
            "and every score of the rows would be inflated; leave it out, or show the leak on one "
            "row with: mersa align ... --parts all --allow-leak"
        )
    return config


def corpus_selection(request: Request, corpus: str, manifest: Manifest) -> Manifest:
    """Return the utterances that any row on a corpus reads."""
    ids = {
        one.id
        for row in rows_of(request)
        if request.corpus(row.corpus) == corpus
        for one in select(manifest, LABEL_SETS[row.labels]).utterances
    }
    return Manifest(tuple(one for one in manifest if one.id in ids), manifest.folder)


def _read(request: Request, corpus: str, out: Path, progress: Progress) -> Manifest:
    prepared = manifest_in(out, corpus)
    if prepared.is_file():
        return read_manifest(prepared)
    if corpus == TOY:
        return toy.read()
    root = request.folders[corpus]
    strict: dict[str, Any] = {} if request.strict is None else {"strict": request.strict}
    if corpus == "meld":
        return meld.read(root, progress=progress, **strict)
    return iemocap.read(root, **strict)


def _cut(request: Request, labels: str, manifest: Manifest) -> int:
    """Cut a corpus as the rows will, and return how many utterances that adds up to."""
    nested = {"data": {"labels": labels, "protocol": request.protocol}}
    data = make_config(apply_assignments(nested, row_settings(request.settings))).data
    folds = cut_corpus(manifest, data, Silent()).folds
    return request.seeds * sum(len(fold.parts) for fold in folds)
