"""The model card that stands in every run folder, made from the run alone."""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from mersa.config import Config, to_toml
from mersa.evaluation import PRINTED_SCORES, score_cell, score_title
from mersa.folds import SHARED

WEIGHT_LICENCES: Mapping[str, str] = {
    "google-bert/bert-base-uncased": "Apache-2.0",
    "facebook/wav2vec2-base": "Apache-2.0",
    "facebook/hubert-base-ls960": "Apache-2.0",
    "FacebookAI/roberta-base": "MIT",
    "sentence-transformers/all-MiniLM-L6-v2": "Apache-2.0",
    "openai/whisper-base": "Apache-2.0",
    "openai/whisper-small": "Apache-2.0",
    "vggish": "Apache-2.0",
    "mel": "no weights",
    "tiny": "no published weights; a vocabulary of the train part",
}
"""Licences of weights as their publishers state them."""


def model_card(config: Config, metrics: Mapping[str, Any]) -> str:
    """Write the card of a leaf run, Markdown with the front matter of the Hugging Face Hub.

    Of paths on this machine only the last name is told.
    """
    config = _without_paths(config)
    encoders = [
        *([("text", config.text.name)] if config.uses_text else []),
        *([("audio", config.audio.name)] if config.uses_audio else []),
    ]
    lines = [
        "---",
        "library_name: mersa",
        "pipeline_tag: audio-classification",
        "tags: [speech-emotion-recognition, mersa]",
        "---",
        "",
        f"# {config.network.system}{_row(metrics)}",
        "",
        f"Tells {', '.join(metrics['labels'])} from "
        f"{' and '.join(modality for modality, _ in encoders)}. Trained by mersa under the "
        f"protocol `{config.data.protocol}`, seed {config.train.seed}; "
        f"{metrics['trainable_parameters']:,} trainable parameters; epoch "
        f"{metrics['best_epoch'] + 1} of {metrics['epochs']} was chosen on validation.",
        "",
        "## Scores",
        "",
        f"| part | utterances | groups | {' | '.join(map(score_title, PRINTED_SCORES))} |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for part, scores in metrics["parts"].items():
        cells = [score_cell(scores, name) for name in PRINTED_SCORES]
        lines.append(f"| {part} | {scores['n']} | {scores['groups']} | {' | '.join(cells)} |")
    majority = metrics["parts"][list(metrics["parts"])[-1]]["majority"]
    lines += [
        "",
        "Brackets hold 95 % intervals by bootstrap over groups (dialogues, else speakers). Always "
        f"answering the commonest label gives accuracy {majority['accuracy']:.3f} and macro F1 "
        f"{majority['macro_f1']:.3f}.",
    ]
    if config.train.refit:
        lines += [
            "",
            "The weights here were then fitted anew on train and validation together for as many "
            "epochs; the validation scores are those of the network before that.",
        ]
    if "test" not in metrics["parts"]:
        lines += ["", "The test part has not been read: `mersa evaluate` adds it."]
    lines += ["", "## Data and parts", ""]
    counts = metrics["counts"]
    lines.append(
        f"Train {counts['train']}, validation {counts['validation']}, test {counts['test']} "
        f"utterances; SHA-256 of the parts `{metrics['parts_sha256']}`."
    )
    shared = [f"{name} {share:.1%}" for name, share in metrics["leaks"].items() if share]
    apart = [name for name, share in metrics["leaks"].items() if not share]
    unknown = [name for name in SHARED if name not in metrics["leaks"]]
    lines += [
        "",
        f"* Test utterances whose ... also stands in train: {', '.join(shared) or 'none'}.",
        f"* Kept apart: {', '.join(apart) or 'nothing'}.",
        f"* Not known, since train has no such column: {', '.join(unknown) or 'nothing'}.",
    ]
    if config.data.shuffle != "none":
        lines.append(f"CONTROL: the {config.data.shuffle} was shuffled within each part.")
    lines += ["", "## Weights and licences", ""]
    for modality, name in encoders:
        licence = WEIGHT_LICENCES.get(name, "see the publisher of these weights")
        lines.append(f"* {modality} encoder `{name}`: {licence}.")
    lines += [
        "* The data's licence binds this model too: weights trained on a corpus for research only "
        "are for research only.",
        "",
        "## Limits",
        "",
        "The model was trained on the corpus above and knows its speakers, language and "
        "recording conditions alone. A score says how the recording resembles what annotators of "
        "that corpus called by a word; it does not say what a person feels.",
        "",
        "## Settings",
        "",
        "```toml",
        to_toml(config).strip(),
        "```",
        "",
    ]
    return "\n".join(lines)


def _without_paths(config: Config) -> Config:
    """Cut the folders off the settings that may hold a path, as `onnx:/home/me/model.onnx`."""
    return config.model_copy(
        update={
            "data": config.data.model_copy(update={"protocol": _last_name(config.data.protocol)}),
            "text": config.text.model_copy(update={"name": _last_name(config.text.name)}),
            "audio": config.audio.model_copy(update={"name": _last_name(config.audio.name)}),
        }
    )


def _last_name(setting: str) -> str:
    kind, path = re.fullmatch(r"((?:onnx:|vggish:|file:)?)(.*)", setting, re.DOTALL).groups()  # type: ignore[union-attr]
    if PureWindowsPath(path).drive:
        return f"{kind}{PureWindowsPath(path).name}"
    if path.startswith(("/", "~", ".")):
        return f"{kind}{PurePosixPath(path).name}"
    return setting


def _row(metrics: Mapping[str, Any]) -> str:
    if not metrics["row"]:
        return ""
    changes = ", ".join(metrics["row_changes"])
    return f" (row {metrics['row']}{', but other ' + changes if changes else ''})"
