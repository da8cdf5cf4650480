"""A folder in the Hugging Face layout -> a frozen model, every weight of it accounted for."""

import logging
import pickle
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from huggingface_hub.errors import StrictDataclassError
from huggingface_hub.utils import logging as hub_logging
from safetensors import SafetensorError
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.utils import logging as transformers_logging

from mersa.encoders.layout import UNUSABLE, holds_more_than_weights, weight_files
from mersa.errors import EncoderError, first_line

Precision = Literal["float32", "bf16"]
"""Numbers that a model computes in; `bf16` is bfloat16, with eight bits of precision."""

HARMLESS_EXTRAS = {
    r"(^|\.)position_ids$": "positions 0, 1, 2, ..., which old checkpoints stored",
    r"^cls\.": "BERT's heads of pretraining",
    r"^(lm_head|proj_out|predictions|sop_classifier)\b": "heads over the vocabulary",
    r"^vocab_(transform|layer_norm|projector)\.": "DistilBERT's head over the vocabulary",
    r"^(lm_predictions|mask_predictions)\.": "DeBERTa's heads of pretraining",
    r"^(generator|discriminator)_(predictions|lm_head)\.": "ELECTRA's heads of pretraining",
    r"^(quantizer|project_q|project_hid)\.": "wav2vec 2.0's targets of pretraining",
    r"^(classifier|projector|qa_outputs)\.": "heads of a model tuned to a task",
    r"^layer_weights$": "the share of each layer that such a head reads",
}
"""Weights that a checkpoint may hold beside the encoder's own, and what they are."""

HARMLESS_GAPS = {
    r"(^|\.)pooler\.": "never used where the checkpoint has none: the mean stands in",
    r"(^|\.)masked_spec_embed$": "used by SpecAugment alone, in training",
}
"""Weights that a checkpoint may lack, and why that changes no frame."""


def load_config(folder: Path) -> PreTrainedConfig:
    """Read config.json as the class of its model type, with that type's defaults.

    Raises:
        EncoderError: If it holds a value that the type does not allow.
    """
    with quiet():
        try:
            config: PreTrainedConfig = AutoConfig.from_pretrained(folder, local_files_only=True)
        except (*UNUSABLE, StrictDataclassError) as error:
            raise EncoderError(
                f"{folder / 'config.json'} cannot be used ({first_line(error)}); give the "
                "config.json that belongs to the weights"
            ) from None
    return config


def dtype_of(precision: str) -> torch.dtype:
    """Return what torch calls a precision.

    Raises:
        EncoderError: If there is no such precision.
    """
    if precision not in get_args(Precision):
        raise EncoderError(
            f"precision is {precision!r}, but a model computes in 'float32' or 'bf16'; choose one"
        )
    return torch.bfloat16 if precision == "bf16" else torch.float32


def load_model(
    folder: Path,
    *,
    dtype: torch.dtype = torch.float32,
    kind: Any = AutoModel,
    extras: Mapping[str, str] = HARMLESS_EXTRAS,
    gaps: Mapping[str, str] = HARMLESS_GAPS,
) -> tuple[PreTrainedModel, frozenset[str]]:
    """Load the model of a folder, frozen and in eval mode, every weight accounted for.

    Args:
        folder: In the Hugging Face layout.
        dtype: What the weights become and the model computes in.
        kind: The class of transformers that chooses the model's own; by default its bare encoder.
        extras: Weights that the checkpoint may hold beside the model's own, as `HARMLESS_EXTRAS`.
        gaps: Weights that it may lack, as `HARMLESS_GAPS`.

    Returns:
        The model, and the names of the weights that `gaps` let it go without.

    Raises:
        EncoderError: If weights are missing, left over or of another shape.
    """
    weight_files(folder)
    # Weights that the checkpoint lacks are drawn, which must not move the caller's random state.
    with quiet(), torch.random.fork_rng(devices=[]):
        try:
            model, report = kind.from_pretrained(
                folder,
                dtype=dtype,
                local_files_only=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
        except pickle.UnpicklingError:
            raise EncoderError(holds_more_than_weights(folder)) from None
        except (*UNUSABLE, SafetensorError) as error:
            raise EncoderError(
                f"the weights in {str(folder)!r} cannot be loaded ({first_line(error)}); "
                "fetch the model again"
            ) from None
    _check_report(folder, report, extras, gaps)
    model.requires_grad_(False)
    return model.eval(), frozenset(report["missing_keys"])


@contextmanager
def live_dropout(model: PreTrainedModel) -> Iterator[None]:
    """Run a model in train mode for a while: dropout live, SpecAugment and layer drop off.

    The paper's lineage left its frozen encoders in train mode, layer drop of 0.05 included (D1).
    Source: tpnam0901/3m-ser:src/utils/torch/trainer.py.
    """
    changed = {"apply_spec_augment": False, "layerdrop": 0.0, "encoder_layerdrop": 0.0}
    before = {name: getattr(model.config, name) for name in changed if hasattr(model.config, name)}
    for name in before:
        setattr(model.config, name, changed[name])
    model.train()
    try:
        yield
    finally:
        model.eval()  # type: ignore[no-untyped-call]
        for name, value in before.items():
            setattr(model.config, name, value)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers and huggingface_hub from printing bars, notices and load reports."""
    bars = transformers_logging.is_progress_bar_enabled()
    levels = transformers_logging.get_verbosity(), hub_logging.get_verbosity()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    transformers_logging.set_verbosity(logging.ERROR)
    hub_logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
        transformers_logging.set_verbosity(levels[0])
        hub_logging.set_verbosity(levels[1])


def _check_report(
    folder: Path, report: Mapping[str, Any], extras: Mapping[str, str], gaps: Mapping[str, str]
) -> None:
    wrong = sorted(
        f"{name} is {tuple(seen)} instead of {tuple(expected)}"
        for name, seen, expected in report["mismatched_keys"]
    )
    if wrong:
        raise EncoderError(
            f"{len(wrong)} weights in {str(folder)!r} do not have the shape that config.json asks "
            f"for ({_first(wrong)}); use the config.json that belongs to the weights"
        )
    for kind, keys, harmless in (
        ("missing", report["missing_keys"], gaps),
        ("left over", report["unexpected_keys"], extras),
    ):
        others = sorted(
            key for key in keys if not any(re.search(pattern, key) for pattern in harmless)
        )
        if others:
            raise EncoderError(
                f"{len(others)} weights in {str(folder)!r} are {kind} ({_first(others)}), but each "
                "must fit the model; use the config.json that belongs to the weights"
            )


def _first(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
