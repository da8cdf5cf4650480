"""The folder of an aligned encoder: a text model that others load too, or a projection.

align.toml                                           before the first step
resume.pt                                            while it lasts
config.json  model.safetensors  tokenizer            as AutoModel loads it, and
modules.json  1_Pooling/  sentence_bert_config.json  as SentenceTransformer does
projection.json  projection.safetensors  base/       in their place, of a projection
README.md  alignment.json                            last: without it, unfinished
"""

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from safetensors.torch import save as to_bytes

from mersa.alignment import artefact
from mersa.alignment.card import alignment_card
from mersa.alignment.embedding import Embedder
from mersa.alignment.project import CorpusEncoder, save
from mersa.alignment.settings import AlignConfig, make_align_config
from mersa.config import read_config, to_toml
from mersa.encoders.huggingface import quiet
from mersa.encoders.layout import SIDE_FILES, copy_side_files
from mersa.encoders.projected import PROJECTION_FILES, Projection
from mersa.encoders.text import TextEncoder
from mersa.errors import AlignmentError
from mersa.files import is_in_a_file, write_json, write_text, write_whole

STATE = "resume.pt"
_PARTIAL = "model.partial"
_POOLING = "1_Pooling"
_WRITTEN = (
    artefact.FACTS,  # first, so that what is left of a killed removal is unfinished
    STATE,
    "README.md",
    "config.json",
    "model.safetensors",
    "modules.json",
    f"{_POOLING}/config.json",
    "sentence_bert_config.json",
    *SIDE_FILES,
    *PROJECTION_FILES,
    artefact.BEGUN,
)
_MODULES = (("0", "", "Transformer"), ("1", _POOLING, "Pooling"))


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
    folder: Path,
    embedder: Embedder,
    lacking: frozenset[str],
    encoder: TextEncoder,
    facts: Mapping[str, Any],
) -> dict[str, Any]:
    """Write the encoder beside its settings, what is known of it last; return that.

    Args:
        folder: Where `begin` was.
        embedder: The aligned model and its pooling.
        lacking: Weights that the checkpoint did not hold; drawn at random, they are not written.
        encoder: What it was made from; gives the tokenizer.
        facts: What stands in `alignment.json`, without the digests of the files.
    """
    partial = folder / _PARTIAL
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    weights = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in embedder.model.state_dict().items()
        if name not in lacking
    }
    with write_whole(partial / "model.safetensors") as whole:
        whole.write_bytes(to_bytes(weights, metadata={"format": "pt"}))
    with quiet():
        embedder.model.config.save_pretrained(partial)
    copy_side_files(encoder.folder, partial)
    sealed = sorted(path.name for path in partial.iterdir())  # what decides the frames
    modules = [
        {"idx": int(idx), "name": idx, "path": path, "type": f"sentence_transformers.models.{kind}"}
        for idx, path, kind in _MODULES
    ]
    write_json(partial / "modules.json", modules)
    write_json(
        partial / _POOLING / "config.json",
        {
            "word_embedding_dimension": encoder.width,
            "pooling_mode_cls_token": embedder.pooling == "first",
            "pooling_mode_mean_tokens": embedder.pooling == "mean",
            "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False,
        },
    )
    write_json(
        partial / "sentence_bert_config.json",
        {"max_seq_length": encoder.max_tokens, "do_lower_case": False},
    )
    return _put(partial, folder, facts, sealed)


def finish_projection(
    folder: Path, projection: Projection, held: CorpusEncoder, facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Write a projection beside its settings, what is known of it last; return that.

    Args:
        folder: Where `begin` was.
        projection: The aligned projection.
        held: Whose frames it moves.
        facts: What stands in `alignment.json`, without the digests of the files.
    """
    partial = folder / _PARTIAL
    shutil.rmtree(partial, ignore_errors=True)
    save(partial, projection, held)
    return _put(partial, folder, facts, PROJECTION_FILES)


def _put(
    partial: Path, folder: Path, facts: Mapping[str, Any], sealed: Sequence[str]
) -> dict[str, Any]:
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
    for place in (folder / _POOLING, folder):
        with suppress(OSError):
            place.rmdir()


def _check_same(folder: Path, config: AlignConfig) -> None:
    before = make_align_config(read_config(folder / artefact.BEGUN)).model_dump(mode="json")
    after = config.model_dump(mode="json")
    for section, values in after.items():
        for key, value in values.items():
            if value != before[section][key]:
                raise AlignmentError(
                    f"{folder} was aligned with {section}.{key} = {before[section][key]!r}, but "
                    f"{value!r} was asked for; choose another --out, or --again to align anew in "
                    "its place"
                )
