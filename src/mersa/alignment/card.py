"""The card that stands in the folder of an aligned encoder."""

from collections.abc import Mapping
from typing import Any

from mersa.card import last_name, parts_text

_LEAK = (
    "**LEAK: this encoder was aligned on all parts. It has seen the labels of validation and test, "
    "so no score that is read with it on this corpus means anything.**"
)

_LIMITS = (
    "## Limits",
    "",
    "The licences of the encoder and of the corpus both bind these weights. The space knows the "
    "emotions, language and manner of its corpus alone.",
    "",
)


def alignment_card(facts: Mapping[str, Any]) -> str:
    """Write the card, Markdown with the front matter of the Hugging Face Hub.

    Of paths on this machine only the last name is told.
    """
    if facts["how"] == "projection":
        return _projection_card(facts)
    return _words_card(facts) if facts["modality"] == "text" else _sound_card(facts)


def _words_card(facts: Mapping[str, Any]) -> str:
    align = facts["settings"]["align"]
    conflicts = facts["examples"]["conflicts"]
    base = last_name(facts["base"]["name"])
    lines = [
        "---",
        "library_name: sentence-transformers",
        "pipeline_tag: sentence-similarity",
        "tags: [emotion-recognition, mersa, self-alignment]",
        "---",
        "",
        f"# {base}, self-aligned on {', '.join(facts['labels'])}",
        "",
        *([_LEAK, ""] if facts["leak"] else []),
        "Texts of one emotion lie closer together here than in the encoder that it was made from. "
        "`AutoModel`, `SentenceTransformer` and, as `text.name`, `mersa train` load this folder.",
        "",
        "## How it was made",
        "",
        f"Multi-similarity loss ({_constants(align)}), pooling `{align['pooling']}`; "
        f"{_chosen(facts)}",
        "",
        _learnt_from(facts),
        f"* Texts under several labels: {conflicts['texts']} ({conflicts['utterances']} "
        f"utterances), rule `{conflicts['rule']}`, {conflicts['left_out']} left out.",
        _measured(facts, "texts"),
        "* Typographic apostrophes and quotes were written as on a typewriter before tokenising.",
        "",
        *_LIMITS,
    ]
    return "\n".join(lines)


def _sound_card(facts: Mapping[str, Any]) -> str:
    align = facts["settings"]["align"]
    base = last_name(facts["base"]["name"])
    lines = [
        "---",
        "library_name: transformers",
        "pipeline_tag: feature-extraction",
        "tags: [emotion-recognition, mersa, self-alignment]",
        "---",
        "",
        f"# {base}, self-aligned on {', '.join(facts['labels'])}",
        "",
        *([_LEAK, ""] if facts["leak"] else []),
        "Recordings of one emotion lie closer together here than in the encoder that it was made "
        "from. `AutoModel` and, as `audio.name`, `mersa train` load this folder.",
        "",
        "## How it was made",
        "",
        f"Multi-similarity loss ({_constants(align)}), pooling `{align['pooling']}`, convolutions "
        f"frozen; {_chosen(facts)}",
        "",
        _learnt_from(facts),
        _measured(facts, "utterances"),
        f"* It heard {_heard(facts['settings']['audio'])}, mono at 16 kHz.",
        "",
        *_LIMITS,
    ]
    return "\n".join(lines)


def _heard(audio: Mapping[str, Any]) -> str:
    level = "the sound as recorded"
    if audio["peak"] is not None:
        level = f"the sound with its peak at {audio['peak']:g}"
    if audio["normalize"] is False:
        return level
    return f"{level}, normalised" + (
        " to zero mean and unit variance" if audio["normalize"] else " as its preprocessor says"
    )


def _projection_card(facts: Mapping[str, Any]) -> str:
    align = facts["settings"]["align"]
    base = last_name(facts["base"]["name"])
    modality = facts["modality"]
    what = "words" if modality == "text" else "sound"
    linear = align["projection"] == "linear"
    hidden = "" if linear else f", hidden width {align['projection_hidden']}"
    lines = [
        "---",
        "library_name: mersa",
        "tags: [emotion-recognition, mersa, self-alignment]",
        "---",
        "",
        f"# A projection of {base}, self-aligned on {', '.join(facts['labels'])}",
        "",
        *([_LEAK, ""] if facts["leak"] else []),
        f"The frames of the frozen encoder of {what} `{base}`, each moved so that those of one "
        f"emotion lie closer together. `mersa train` loads this folder as `{modality}.name`; the "
        "encoder itself is not in it.",
        "",
        "## How it was made",
        "",
        f"Projection `{align['projection']}`{hidden}; "
        f"multi-similarity loss ({_constants(align)}) of pooled frames (`{align['pooling']}`); "
        f"{_chosen(facts)}",
        "",
        _learnt_from(facts),
        _measured(facts, "utterances"),
        "",
        *_LIMITS,
    ]
    return "\n".join(lines)


def _constants(align: Mapping[str, Any]) -> str:
    return (
        f"alpha {align['alpha']:g}, beta {align['beta']:g}, base {align['base']:g}; miner "
        f"{align['miner']}"
    )


def _chosen(facts: Mapping[str, Any]) -> str:
    return f"epoch {facts['best_epoch'] + 1} of {len(facts['history'])} was chosen on validation."


def _learnt_from(facts: Mapping[str, Any]) -> str:
    counts = ", ".join(f"{name} {n}" for name, n in facts["examples"]["by_label"].items())
    return (
        f"* Aligned on {parts_text(facts['parts'])} of the "
        f"protocol `{facts['protocol'].partition(':')[0]}`: {counts}. SHA-256 of the parts "
        f"`{facts['parts_sha256']}`; `mersa train` refuses other parts, labels or data."
    )


def _measured(facts: Mapping[str, Any], what: str) -> str:
    before, after = (facts["measures"]["validation"][name] for name in ("before", "after"))
    return (
        f"* Balanced accuracy by the nearest train {what} (cosine) on validation: {before:.3f} "
        f"before, {after:.3f} after."
    )
