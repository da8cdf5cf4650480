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
        *_scores(metrics),
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
    scores = [*_scores(metrics), *_confidence(metrics), *_robustness(metrics)]
    return "\n".join([*head, *scores, *_foot(config)])


def published_card(
    card: str,
    config: Config,
    metrics: Mapping[str, Any],
    *,
    name: str,
    corpus: str,
    licence: str,
    languages: Sequence[str],
    datasets: Sequence[str],
    base_models: Sequence[str],
) -> str:
    """Return a run's card with the front matter that the Hugging Face Hub reads.

    Scores stand in it as `model-index`, those of the test part alone; a leak leaves them out.

    Args:
        card: The run's own card.
        config: Settings of one leaf.
        metrics: What the run's `metrics.json` holds.
        name: What the model is called.
        corpus: What the corpus is called.
        licence: Identifier of the licence, as the Hub lists them.
        languages: Codes, as `en`.
        datasets: Ids on the Hub.
        base_models: Ids on the Hub of the encoders.
    """
    from huggingface_hub import EvalResult, ModelCardData

    task = "audio-classification" if config.uses_audio else "text-classification"
    test = metrics["parts"].get("test", {}) if not metrics.get("leak") else {}
    results = [
        EvalResult(
            task_type=task,
            dataset_type=corpus,
            dataset_name=corpus,
            dataset_split=f"test, protocol {last_name(config.data.protocol)}",
            metric_type=kind,
            metric_name=score_title(score),
            metric_value=round(float(test[score]), 4),
        )
        for score, kind in _HUB_METRICS.items()
        if score in test
    ]
    data = ModelCardData(
        license=licence,
        language=list(languages) or None,
        datasets=list(datasets) or None,
        base_model=list(base_models) or None,
        library_name="mersa",
        pipeline_tag=task,
        tags=["mersa", "speech-emotion-recognition", "emotion-recognition"],
        metrics=list(dict.fromkeys(_HUB_METRICS.values())) if results else None,
        model_name=name if results else None,
        eval_results=results or None,
    )
    _, _, body = card.removeprefix("---\n").partition("\n---\n")
    return f"---\n{data.to_yaml()}\n---\n{body}"


_HUB_METRICS = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced_accuracy",
    "macro_f1": "f1",
    "weighted_f1": "f1",
}
"""What the Hub calls the scores that tables for people hold."""


def checkpoint_card(facts: Mapping[str, Any], metrics: Mapping[str, Any] | None = None) -> str:
    """Write the page of published checkpoints.

    Args:
        facts: What `checkpoint.json` holds of them.
        metrics: What `metrics.json` holds, where they were scored on a corpus.
    """
    halves = {name: facts[name] for name in ("audio", "text") if name in facts}
    lines = [
        f"# {' + '.join(last_name(half['name']) for half in halves.values())}",
        "",
        f"Tells {', '.join(facts['labels'])} from {' and '.join(halves)}, by published checkpoints "
        "of Hugging Face as they are. mersa did not train them.",
        "",
        "| reads | checkpoint | revision | licence, as its README.md states it |",
        "| --- | --- | --- | --- |",
    ]
    for modality, half in halves.items():
        lines.append(
            f"| {modality} | `{last_name(half['name'])}` | {half['revision'] or 'a folder'} | "
            f"{half['licence'] or 'not stated'} |"
        )
    lines += ["", "## Labels", "", "| reads | label of the checkpoint | counts as |"]
    lines.append("| --- | --- | --- |")
    for modality, half in halves.items():
        for label, word in half["counted_as"].items():
            lines.append(f"| {modality} | {label} | {word or 'left out'} |")
    lines += ["", LABEL_RULE, ""]
    if facts["weight"] is not None:
        lines += [
            "## Fusion",
            "",
            f"The answer is the mean of both probabilities; the sound counts "
            f"{facts['weight']:.2f}, the words {1 - facts['weight']:.2f}. {_weights(metrics)} "
            "Where one of them is absent the other answers alone.",
            "",
        ]
    return "\n".join([*lines, *(_scores(metrics) if metrics else []), *_CHECKPOINT_LIMITS])


LABEL_RULE = (
    "Labels that are left out lose their probability, and the rest is scaled to the sum 1; labels "
    "that count as one word are added up. A word that one of two checkpoints lacks has the "
    "probability 0 from it."
)

_CHECKPOINT_LIMITS = [
    "## Limits",
    "",
    "What the checkpoints were trained on is told by their publishers alone: utterances that are "
    "scored here may have been among it. A score says how a recording resembles what annotators "
    "called by a word; it does not say what a person feels.",
    "",
]


def _weights(metrics: Mapping[str, Any] | None) -> str:
    fusion = (metrics or {}).get("fusion")
    if not fusion or not fusion["fitted"]:
        return "The weight was not fitted."
    listed = ", ".join(f"{weight:.2f}" for weight in fusion["weights"])
    if len(fusion["weights"]) == 1:
        return "The weight is the one with the least log loss on the validation part."
    return (
        f"Fitted by the log loss on the validation part of each fold: {listed}; each fold's test "
        "part was answered with its own, and the mean is used from then on."
    )


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


def _scores(metrics: Mapping[str, Any]) -> list[str]:
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
