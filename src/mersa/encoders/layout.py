"""The files of a folder in the Hugging Face layout: which there are, their hash, their copy."""

import hashlib
import json
import pickle
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from mersa.errors import EncoderError, first_line
from mersa.files import write_whole

SPEECH_TYPES = ("wav2vec2", "hubert", "wavlm", "whisper")
TEXT_TYPES = (
    "albert",
    "bert",
    "camembert",
    "deberta-v2",
    "distilbert",
    "electra",
    "mpnet",
    "roberta",
    "xlm-roberta",
)
"""The `model_type` of config.json that each kind of encoder can use."""

TOKENIZER_FILES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "spiece.model",
    "spm.model",
    "sentencepiece.bpe.model",
)
"""A text model needs at least one of these."""

SIDE_FILES = (
    *TOKENIZER_FILES,
    "merges.txt",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "preprocessor_config.json",
)
"""What stands beside the weights of a model and decides its frames too."""

UNUSABLE = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What torch and transformers raise where a file holds other values than they expect."""

_TOLD_FILES = ("alignment.json", "align.toml", "modules.json", "1_Pooling/config.json")
"""What stands in an aligned folder and changes no frame."""


def read_config(folder: Path) -> dict[str, Any]:
    """Read config.json.

    Raises:
        EncoderError: If it is missing, not a JSON object, or names no model type.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise EncoderError(
            f"folder {str(folder)!r} has no config.json; give a folder that save_pretrained wrote"
        )
    config = read_json(path)
    if "model_type" not in config:
        raise EncoderError(
            f"{path} names no model_type; give the config.json that belongs to the weights"
        )
    return config


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        EncoderError: If the file holds anything else.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise EncoderError(f"{path} is not JSON ({error}); fetch the model again") from None
    if not isinstance(found, dict):
        raise EncoderError(f"{path} is not a JSON object; fetch the model again")
    return found


def is_whole(folder: Path) -> bool:
    """Say whether config, weights, and tokenizer or preprocessor are there."""
    try:
        speech = read_config(folder)["model_type"] in SPEECH_TYPES
        weight_files(folder)
    except EncoderError:
        return False
    needed = ("preprocessor_config.json",) if speech else TOKENIZER_FILES
    return any((folder / name).is_file() for name in needed)


def weight_files(folder: Path) -> tuple[Path, ...]:
    """Return the files of the weights, all shards, safetensors before pickled ones.

    Raises:
        EncoderError: If there are none, or a shard of the index is missing.
    """
    for name in ("model.safetensors", "pytorch_model.bin"):
        if (folder / name).is_file():
            return (folder / name,)
        index = folder / f"{name}.index.json"
        if index.is_file():
            shards = _shards(index)
            missing = [shard for shard in shards if not (folder / Path(shard).name).is_file()]
            if missing or not shards:
                raise EncoderError(
                    f"{index} names {', '.join(missing) or 'no files'}, but the folder lacks them; "
                    "fetch the model again"
                )
            return tuple(folder / Path(shard).name for shard in shards)
    raise EncoderError(
        f"folder {str(folder)!r} has neither model.safetensors nor pytorch_model.bin; give a "
        "folder that save_pretrained wrote"
    )


def holds_more_than_weights(folder: Path) -> str:
    """Return what is told of a pickle that is refused: torch's own words advise to run its code."""
    return (
        f"the weights in {str(folder)!r} are pickled and hold more than tensors, or are damaged, "
        "so they are not read; fetch the model again, or choose one with model.safetensors"
    )


def content_hash(folder: Path, settings: Mapping[str, Any]) -> str:
    """Hash weights, config, tokenizer and settings; the same for every copy of the model.

    The weights are hashed tensor by tensor in order of name, so that neither the file format nor
    the sharding nor the path matters. The model itself is not built.
    """
    digest = hashlib.sha256(json.dumps(dict(settings), sort_keys=True).encode())
    for name in ("config.json", *sorted(SIDE_FILES)):
        if (folder / name).is_file():
            content = (folder / name).read_bytes()
            digest.update(f"\n{name} {len(content)}\n".encode())
            digest.update(content)
    for name, tensor in _tensors(folder):
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        # Bytes, because numpy lacks some dtypes, as bfloat16.
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def copy_model(source: Path, folder: Path) -> None:
    """Copy config, tokenizer and weights, the weights as one safetensors file.

    The copy has the content hash of its source.
    """
    copy_side_files(source, folder, "config.json", *_TOLD_FILES)
    files = weight_files(source)
    with write_whole(folder / "model.safetensors") as partial:
        if len(files) == 1 and files[0].suffix == ".safetensors":
            shutil.copyfile(files[0], partial)
        else:
            # Tied weights share memory, which safetensors does not write: each gets its own.
            own = {name: tensor.clone().contiguous() for name, tensor in _tensors(source)}
            save_file(own, partial, metadata={"format": "pt"})


def copy_side_files(source: Path, folder: Path, *more: str) -> None:
    """Copy tokenizer and preprocessor, and what else is named, where they are there."""
    for name in (*more, *SIDE_FILES):
        if (source / name).is_file():
            with write_whole(folder / name) as partial:
                shutil.copyfile(source / name, partial)


def _shards(index: Path) -> list[str]:
    """Return the names of the files that an index of weights holds."""
    weights = read_json(index).get("weight_map", {})
    if not (isinstance(weights, dict) and all(isinstance(one, str) for one in weights.values())):
        raise EncoderError(f"{index} does not map weights to files; fetch the model again")
    return sorted(set(weights.values()))


def _tensors(folder: Path) -> Iterator[tuple[str, Tensor]]:
    """Yield every stored tensor in order of name, one in memory at a time where files allow it."""
    files = weight_files(folder)
    try:
        if files[0].suffix == ".safetensors":
            opened: list[Any] = [safe_open(file, framework="pt") for file in files]
            owners = {name: file for file in opened for name in file.keys()}  # noqa: SIM118
            for name in sorted(owners):
                yield name, owners[name].get_tensor(name)
        else:
            stored: dict[str, Any] = {}
            for file in files:
                mapped = zipfile.is_zipfile(file)
                stored |= torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
            for name in sorted(stored):
                if isinstance(stored[name], Tensor):
                    yield name, stored[name]
    except pickle.UnpicklingError:
        raise EncoderError(holds_more_than_weights(folder)) from None
    except (*UNUSABLE, SafetensorError) as error:
        raise EncoderError(
            f"the weights in {str(folder)!r} cannot be read ({first_line(error)}); fetch the "
            "model again"
        ) from None
