"""The card of a run that is published on the Hugging Face Hub."""

from collections.abc import Mapping, Sequence
from typing import Any

from mersa.card import last_name
from mersa.config import Config
from mersa.evaluation import score_title


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
