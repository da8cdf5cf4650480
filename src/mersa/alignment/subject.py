"""What an alignment moves, whatever it is: how it is embedded, judged and written."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from mersa import build
from mersa.alignment import artefact
from mersa.alignment.embedding import Tokenizes
from mersa.alignment.sampling import Examples, check_batches
from mersa.alignment.settings import AlignConfig
from mersa.config import AudioSettings, TextSettings
from mersa.encoders.base import Encoder, revision_of
from mersa.manifest import Utterance
from mersa.progress import Progress
from mersa.selection import counts_text


@dataclass(frozen=True)
class Subject:
    """What is aligned.

    Attributes:
        embedder: Gives the vectors; its weights are moved.
        source: Gives what it reads of the texts or recordings that `key` names.
        examples: What is learnt from.
        key: Return what names an utterance's words or sound in `source`; None if it has none.
        base: What is told of the encoder that it begins from.
        save: Write the result into a folder, and return the files that decide its frames.
        at_once: Most tokens or frames that the embedder is given at once; None: no bound.
        plain: Embedder and source of the space before, where it is not the embedder's own.
    """

    embedder: nn.Module
    source: Tokenizes
    examples: Examples
    key: Callable[[Utterance], str | None]
    base: Mapping[str, Any]
    save: Callable[[Path], Sequence[str]]
    at_once: int | None = None
    plain: tuple[nn.Module, Tokenizes] | None = None


def base_encoder(
    config: AlignConfig, known: artefact.Cut, device: str, *, train_texts: Sequence[str] = ()
) -> tuple[Encoder, TextSettings | AudioSettings, dict[str, Any]]:
    """Build the encoder to begin from.

    Args:
        config: All settings.
        known: What it must have been aligned on, if it is an aligned folder.
        device: Where it runs.
        train_texts: What a learnt vocabulary is learnt from.

    Returns:
        The encoder, what it was built from, and what is told of it.

    Raises:
        AlignmentError: If it is an aligned folder that does not fit.
    """
    settings = config.text if config.align.modality == "text" else config.audio
    before = artefact.fitting(settings.name, known)
    learnt: dict[str, Any] = {"leak": False}
    if before is not None:
        folder, facts = before
        settings = settings.model_copy(update={"name": str(folder)})
        learnt = {"leak": facts["leak"], "parts": facts.get("parts")}
    encoder: Encoder
    if isinstance(settings, TextSettings):
        encoder = build.text_encoder(settings, train_texts=train_texts, device=device)
    else:
        encoder = build.audio_encoder(settings, device=device)
    told = {
        "name": encoder.name,
        "revision": revision_of(encoder),
        "fingerprint": encoder.fingerprint,
        **learnt,
    }
    return encoder, settings, told


def check_examples(name: str, examples: Examples, config: AlignConfig, progress: Progress) -> None:
    """Tell what is learnt from, and see that every class can fill its place in a batch.

    Raises:
        AlignmentError: If one cannot.
    """
    told = (
        f"{name}: {examples.facts['texts']} {examples.noun}s to align on "
        f"({counts_text(examples.facts['by_label'])})"
    )
    conflicts = examples.facts.get("conflicts")
    if conflicts:
        told += (
            f"; {conflicts['texts']} texts stand under several labels "
            f"({conflicts['utterances']} utterances), rule {conflicts['rule']}: "
            f"{conflicts['left_out']} left out"
        )
    progress.say(told)
    check_batches(examples, config.align)
