"""The page of published checkpoints that mersa did not train."""

from collections.abc import Mapping
from typing import Any

from mersa.card import last_name, score_lines


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
    return "\n".join([*lines, *(score_lines(metrics) if metrics else []), *_CHECKPOINT_LIMITS])


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
