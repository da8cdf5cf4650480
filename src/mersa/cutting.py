"""A manifest as settings select and cut it, the same for whatever learns from it."""

from collections.abc import Sequence
from dataclasses import dataclass

from mersa.config import DataSettings
from mersa.emotions import label_set
from mersa.folds import Fold
from mersa.manifest import Manifest, Utterance
from mersa.progress import Progress
from mersa.protocols import choose, cut
from mersa.selection import Selection, check_fold, counts_text, select


@dataclass(frozen=True)
class CutCorpus:
    """What is learnt from.

    Attributes:
        selection: The utterances that the labels can use.
        folds: How they are cut; every train part holds every label.
        data: The settings, with the protocol that `auto` chose.
    """

    selection: Selection
    folds: list[Fold]
    data: DataSettings


def cut_corpus(manifest: Manifest, data: DataSettings, progress: Progress) -> CutCorpus:
    """Select and cut a manifest, and tell what was left out and chosen.

    Raises:
        ManifestError: If its emotions do not fit the labels, or nothing is left.
        ProtocolError: If it cannot be cut so, or a train part lacks a label.
    """
    labels = label_set(data.labels, [utterance.emotion for utterance in manifest])
    selection = select(manifest, labels, min_duration_s=data.min_duration_s, whole=True)
    if selection.left_out:
        progress.say(f"left out: {counts_text(selection.left_out)}")
    if data.protocol == "auto":
        data = data.model_copy(update={"protocol": choose(selection.utterances)})
        progress.say(f"protocol {data.protocol}, chosen by the columns of the manifest")
    folds = cut_folds(selection.utterances, data)
    for fold in folds:
        check_fold(fold, selection)
    return CutCorpus(selection, folds, data)


def cut_folds(utterances: Sequence[Utterance], data: DataSettings) -> list[Fold]:
    """Cut selected utterances as the settings say.

    Raises:
        ProtocolError: As `protocols.cut`.
    """
    return cut(
        utterances,
        data.protocol,
        seed=data.seed,
        folds=data.folds,
        validation_share=data.validation_share,
        validation_group=data.validation_group,
    )
