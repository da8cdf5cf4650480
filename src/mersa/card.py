"""The model card that stands in every run folder, made from the run alone."""

import re
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from mersa import selective
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

WORD_ERROR = (
    "A word error replaces a word by another one of the train part (60 %), leaves it out (25 %) or "
    "puts such a word behind it (15 %)."
)
"""What the conditions of `mersa.robustness` mean by one."""


def model_card(config: Config, metrics: Mapping[str, Any]) -> str:
    """Write the card of a leaf run, Markdown with the front matter of the Hugging Face Hub.

    Of paths on this machine only the last name is told.
    """
    config = without_paths(config)
    counts = metrics["counts"]
    shared = [f"{name} {share:.1%}" for name, share in metrics["leaks"].items() if share]
    apart = [name for name, share in metrics["leaks"].items() if not share]
    unknown = [name for name in SHARED if name not in metrics["leaks"]]
    trained = (
        f"seed {config.train.seed}; {metrics['trainable_parameters']:,} trainable parameters; "
        f"epoch {metrics['best_epoch'] + 1} of {metrics['epochs']} was chosen on validation."
    )
    refitted = [
        "The weights here were then fitted anew on train and validation together for as many "
        "epochs; the validation scores are those of the network before that.",
        "",
    ]
    lines = [
        *_head(config, metrics, trained),
        *score_lines(metrics),
        *_confidence(metrics),
        *_robustness(metrics),
        *(refitted if config.train.refit else []),
        "## Data and parts",
        "",
        f"Train {counts['train']}, validation {counts['validation']}, test {counts['test']} "
        f"utterances; SHA-256 of the parts `{metrics['parts_sha256']}`.",
        "",
        f"* Test utterances whose ... also stands in train: {', '.join(shared) or 'none'}.",
        f"* Kept apart: {', '.join(apart) or 'nothing'}.",
        f"* Not known, since train has no such column: {', '.join(unknown) or 'nothing'}.",
        "",
        *_foot(config),
    ]
    return "\n".join(lines)


def summary_card(config: Config, metrics: Mapping[str, Any], inner: Sequence[str]) -> str:
    """Write the card of a run above its folds or seeds.

    Args:
        config: Settings of one of them.
        metrics: What stands in `metrics.json` above them.
        inner: Their folders, as `fold-1`.
    """
    config = without_paths(config)
    seeds = metrics.get("seeds", [metrics.get("seed")])
    links = ", ".join(f"[{name}]({name}/README.md)" for name in inner)
    trained = (
        f"{'seeds' if len(seeds) > 1 else 'seed'} {', '.join(map(str, seeds))}. It holds the "
        f"networks of {links}, each with a card of its own, and answers by the mean of their "
        "probabilities."
    )
    head = _head(config, metrics, trained)
    scores = [*score_lines(metrics), *_confidence(metrics), *_robustness(metrics)]
    return "\n".join([*head, *scores, *_foot(config)])


def _head(config: Config, metrics: Mapping[str, Any], trained: str) -> list[str]:
    modalities = " and ".join(modality for modality, _ in _encoders(config))
    return [
        "---",
        "library_name: mersa",
        "pipeline_tag: audio-classification",
        "tags: [speech-emotion-recognition, mersa]",
        "---",
        "",
        f"# {config.network.system}{_row(metrics)}",
        "",
        f"Tells {', '.join(metrics['labels'])} from {modalities}. Trained by mersa under the "
        f"protocol `{config.data.protocol}`, {trained}",
        "",
        *_alignment(metrics),
    ]


def _alignment(metrics: Mapping[str, Any]) -> list[str]:
    """Tell which encoders were aligned, from what, and whether that leaks."""
    aligned = [
        f"The {modality} encoder was {facts.get('how', 'self-aligned')} from "
        f"`{last_name(facts['base']['name'])}` on "
        f"{parts_text(facts['parts'])}."
        + (" Validation scores below are too high by that." if _saw_validation(facts) else "")
        for modality, facts in metrics.get("alignment", {}).items()
        if modality != "leak"
    ]
    leaking = [
        f"**LEAK: {sentence}. The scores below mean nothing.**"
        for sentence in metrics.get("leak", [])
    ]
    return [line for one in (*leaking, *aligned) for line in (one, "")]


def parts_text(parts: str) -> str:
    """Return how a card calls the parts that an encoder learnt from."""
    return {"train": "the train part", "all": "all parts"}.get(parts, f"the parts {parts}")


def _saw_validation(facts: Mapping[str, Any]) -> bool:
    return facts["parts"] not in ("train", "all")


def score_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Return the scores of each part as a section of Markdown."""
    parts = metrics["parts"]
    majority = parts[list(parts)[-1]]["majority"]
    lines = [
        "## Scores",
        "",
        f"| part | utterances | groups | {' | '.join(map(score_title, PRINTED_SCORES))} |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for part, scores in parts.items():
        cells = [score_cell(scores, name) for name in PRINTED_SCORES]
        lines.append(f"| {part} | {scores['n']} | {scores['groups']} | {' | '.join(cells)} |")
    lines += [
        "",
        "Brackets hold 95 % intervals by bootstrap over groups (dialogues, else speakers); after a "
        "mean over seeds, ± is their standard deviation and brackets hold the t interval of the "
        f"mean. Always answering the commonest label gives accuracy {majority['accuracy']:.3f} and "
        f"macro F1 {majority['macro_f1']:.3f}.",
        "",
    ]
    if "test" not in parts:
        lines += ["The test part has not been read: `mersa evaluate` adds it.", ""]
    return lines


def _confidence(metrics: Mapping[str, Any]) -> list[str]:
    """Tell how far probabilities can be trusted, with and without the temperature."""
    parts = metrics["parts"]
    lines = ["## Confidence", "", _temperature(metrics), ""]
    for part, scores in parts.items():
        before = ""
        if "ece_without_temperature" in scores:
            before = f"; without temperature {score_cell(scores, 'ece_without_temperature')}"
        lines.append(f"* Expected calibration error, {part}: {score_cell(scores, 'ece')}{before}.")
    curves = {part: one["selective"] for part, one in parts.items() if "selective" in one}
    if curves:
        lines += ["", *selective.to_markdown(curves), "", "![](figures/coverage.png)"]
    return [*lines, ""]


def _robustness(metrics: Mapping[str, Any]) -> list[str]:
    """Tell the test scores with one modality missing or wrong, where they were asked for."""
    rows = metrics.get("robustness")
    if not rows:
        return []
    lines = [
        "## Missing and wrong words or sound",
        "",
        f"| test part | {' | '.join(map(score_title, PRINTED_SCORES))} |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        cells = " | ".join(score_cell(row, name) for name in PRINTED_SCORES)
        lines.append(f"| {row['condition']} | {cells} |")
    return [
        *lines,
        "",
        WORD_ERROR,
        "",
    ]


def _temperature(metrics: Mapping[str, Any]) -> str:
    calibration = metrics.get("calibration")
    if calibration is None:
        calibrated = all("ece_without_temperature" in one for one in metrics["parts"].values())
        return (
            "Each network has a temperature of its own, fitted on its validation part."
            if calibrated
            else "Probabilities are those of the network; no temperature was fitted."
        )
    note = f" Mind: {calibration['note']}." if calibration["note"] else ""
    return (
        f"Logits are divided by the temperature {calibration['temperature']:.3f}, fitted on the "
        f"{calibration['n']} validation utterances; the calibration error of validation is told "
        f"after seeing them.{note}"
    )


def _foot(config: Config) -> list[str]:
    control = [f"CONTROL: the {config.data.shuffle} was shuffled within each part.", ""]
    licences = [
        f"* {modality} encoder `{name}`{', tuned here' * (modality in config.tuned)}: "
        f"{WEIGHT_LICENCES.get(name, 'see the publisher of these weights')}."
        for modality, name in _encoders(config)
    ]
    return [
        *(control if config.data.shuffle != "none" else []),
        "## Weights and licences",
        "",
        *licences,
        "* The data's licence binds this model too: weights trained on a corpus for research only "
        "are for research only.",
        "",
        "## Limits",
        "",
        "The model was trained on the corpus above and knows its speakers, language and "
        "recording conditions alone. A score says how the recording resembles what annotators of "
        "that corpus called by a word; it does not say what a person feels. "
        "What it is good for, and what law forbids, stands in docs/responsible-use.md of mersa.",
        "",
        "## Settings",
        "",
        "```toml",
        to_toml(config).strip(),
        "```",
        "",
    ]


def _encoders(config: Config) -> list[tuple[str, str]]:
    return [
        *([("text", config.text.name)] if config.uses_text else []),
        *([("audio", config.audio.name)] if config.uses_audio else []),
    ]


def without_paths(config: Config) -> Config:
    """Cut the folders off the settings that may hold a path, as `onnx:/home/me/model.onnx`."""
    return config.model_copy(
        update={
            "data": config.data.model_copy(update={"protocol": last_name(config.data.protocol)}),
            "text": config.text.model_copy(update={"name": last_name(config.text.name)}),
            "audio": config.audio.model_copy(update={"name": last_name(config.audio.name)}),
        }
    )


def last_name(setting: str) -> str:
    """Cut this machine's folders off an encoder or a protocol, as off `onnx:/home/me/x.onnx`.

    An id of the Hugging Face Hub has one slash at most, so what has more is a folder.
    """
    kind, path = re.fullmatch(r"((?:onnx:|vggish:|file:)?)(.*)", setting, re.DOTALL).groups()  # type: ignore[union-attr]
    if PureWindowsPath(path).drive:
        return f"{kind}{PureWindowsPath(path).name}"
    if path.startswith(("/", "~", ".")) or path.count("/") > 1:
        return f"{kind}{PurePosixPath(path).name}"
    return setting


def _row(metrics: Mapping[str, Any]) -> str:
    if not metrics["row"]:
        return ""
    changes = ", ".join(metrics["row_changes"])
    return f" (row {metrics['row']}{', but other ' + changes if changes else ''})"
