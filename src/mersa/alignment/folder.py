"""The folder of an aligned encoder: a model that others load too, or a projection.

align.toml                                           before the first step
resume.pt                                            while it lasts
config.json  model.safetensors                       as AutoModel loads it, with its tokenizer
modules.json  1_Pooling/  sentence_bert_config.json  of words, as SentenceTransformer loads them
projection.json  projection.safetensors  base/       in their place, of a projection
README.md  alignment.json                            last: without it, unfinished
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from mersa.alignment import artefact
from mersa.alignment.card import alignment_card
from mersa.alignment.settings import AlignConfig, make_align_config
from mersa.alignment.tune import POOLING
from mersa.config import located, read_config, to_toml
from mersa.encoders.layout import SIDE_FILES
from mersa.encoders.projected import PROJECTION_FILES
from mersa.errors import AlignmentError
from mersa.files import is_in_a_file, write_json, write_text

STATE = "resume.pt"
_PARTIAL = "model.partial"
_WRITTEN = (
    artefact.FACTS,  # first, so that what is left of a killed removal is unfinished
    STATE,
    "README.md",
    "config.json",
    "model.safetensors",
    "modules.json",
    f"{POOLING}/config.json",
    "sentence_bert_config.json",
    *SIDE_FILES,
    *PROJECTION_FILES,
    artefact.BEGUN,
)


def is_finished(folder: Path) -> bool:
    """Return True if an alignment ended here."""
    return (folder / artefact.FACTS).is_file()


def check_place(out: Path, leaves: list[Path], config: AlignConfig, *, again: bool) -> None:
    """See that these aligned folders can stand in `out`.

    Raises:
        AlignmentError: If `out` is or lies below a file, holds what is no alignment, or holds one
            of other folds or settings; the last is let through by `again`.
    """
    if is_in_a_file(out):
        raise AlignmentError(
            f"{out} is or lies below a file, but an aligned encoder is a folder; choose another "
            "--out"
        )
    there = [one for one in (out, *sorted(out.glob("fold-*"))) if (one / artefact.BEGUN).is_file()]
    if out.is_dir() and any(out.iterdir()) and not there:
        raise AlignmentError(
            f"{out} holds {min(out.iterdir()).name!r}, which is no aligned encoder; name a new or "
            "an empty folder as --out"
        )
    for one in there if not again else ():
        if one not in leaves:
            raise AlignmentError(
                f"{out} holds {'one' if one == out else one.name}, which an alignment of these "
                "folds does not have; choose another --out, or --again to align anew in its place"
            )
        _check_same(one, config)


def check_base(out: Path, name: str) -> None:
    """See that what is aligned does not lie where the result is to stand.

    Raises:
        AlignmentError: If it does, since it would be removed before it is copied.
    """
    base = Path(name).expanduser().resolve()
    if base.is_dir() and (base == out.resolve() or out.resolve() in base.parents):
        raise AlignmentError(
            f"the encoder {name} lies in {out}, which is to hold the aligned one; choose another "
            "--out"
        )


def begin(folder: Path, config: AlignConfig, *, again: bool) -> None:
    """Write the settings; of an alignment that is done anew nothing stays but others' files."""
    if again:
        _remove(folder)
    if not (folder / artefact.BEGUN).is_file():
        write_text(folder / artefact.BEGUN, to_toml(config))


def finish(
    folder: Path, save: Callable[[Path], Sequence[str]], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Write what was aligned beside its settings, what is known of it last; return that.

    Args:
        folder: Where `begin` was.
        save: Writes it into a folder, and returns the files that decide its frames.
        facts: What stands in `alignment.json`, without the digests of the files.
    """
    partial = folder / _PARTIAL
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    sealed = save(partial)
    told = {**facts, "files_sha256": artefact.files_sha256(partial, sealed)}
    write_text(partial / "README.md", alignment_card(told))
    for path in sorted(partial.rglob("*")):
        if path.is_file():
            target = folder / path.relative_to(partial)
            target.parent.mkdir(exist_ok=True)
            path.replace(target)
    shutil.rmtree(partial)
    write_json(folder / artefact.FACTS, told)
    tidy(folder)
    return told


def tidy(folder: Path) -> None:
    """Remove what a finished alignment does not need."""
    (folder / STATE).unlink(missing_ok=True)
    for partial in folder.rglob(".*.partial"):
        partial.unlink(missing_ok=True)


def clear_others(out: Path, leaves: Sequence[Path]) -> None:
    """Remove the aligned encoders of other folds, which those that were made anew replace."""
    for one in (out, *sorted(out.glob("fold-*"))):
        if one not in leaves and (one / artefact.BEGUN).is_file():
            _remove(one)


def _remove(folder: Path) -> None:
    """Remove what an alignment writes into a folder, and the folder if nothing else is in it."""
    shutil.rmtree(folder / _PARTIAL, ignore_errors=True)
    for path in (*(folder / name for name in _WRITTEN), *folder.glob(".*.partial")):
        path.unlink(missing_ok=True)
    for place in (folder / POOLING, folder):
        with suppress(OSError):
            place.rmdir()


def _check_same(folder: Path, config: AlignConfig) -> None:
    begun = located(make_align_config(read_config(folder / artefact.BEGUN)))
    before = begun.model_dump(mode="json")
    after = config.model_dump(mode="json")
    for section, values in after.items():
        for key, value in values.items():
            if value != before[section][key]:
                raise AlignmentError(
                    f"{folder} was aligned with {section}.{key} = {before[section][key]!r}, but "
                    f"{value!r} was asked for; choose another --out, or --again to align anew in "
                    "its place"
                )
