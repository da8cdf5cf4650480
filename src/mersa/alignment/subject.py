"""What an alignment moves, whatever it is: how it is embedded, judged and written."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from torch import nn

from mersa import build
from mersa.alignment import artefact
from mersa.alignment.embedding import Tokenizes
from mersa.alignment.sampling import Examples, check_batches
from mersa.alignment.settings import AlignConfig
from mersa.config import AudioSettings, TextSettings
from mersa.emotions import LabelSet
from mersa.encoders.base import Encoder, revision_of
from mersa.manifest import Utterance
from mersa.progress import Progress
from mersa.selection import Learnable, counts_text


@dataclass(frozen=True)
class Leaf:
    """One fold to align.

    Attributes:
        folder: Where the result goes; what is told begins with it.
        config: All settings.
        seen: The parts that may be read.
        learnt: What is learnt from.
        cut: What an encoder that is aligned already must have been aligned on.
        fabric: Processes, and where they compute.
        progress: What is told of it.
    """

    folder: Path
    config: AlignConfig
    seen: Learnable
    learnt: Sequence[Utterance]
    cut: artefact.Cut
    fabric: Fabric
    progress: Progress

    @property
    def device(self) -> str:
        """Name of the device of this process."""
        return str(self.fabric.device)

    @property
    def labels(self) -> LabelSet:
        """The emotions."""
        return self.cut.labels

    def readable(self) -> tuple[Utterance, ...]:
        """Return all that may be read or learnt from, each once."""
        return tuple(
            {one.id: one for part in (self.learnt, self.seen.manifest) for one in part}.values()
        )


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
    leaf: Leaf, *, train_texts: Sequence[str] = ()
) -> tuple[Encoder, TextSettings | AudioSettings, dict[str, Any]]:
    """Build the encoder to begin from.

    Args:
        leaf: The fold.
        train_texts: What a learnt vocabulary is learnt from.

    Returns:
        The encoder, what it was built from, and what is told of it.

    Raises:
        AlignmentError: If it is an aligned folder that does not fit.
    """
    config, device = leaf.config, leaf.device
    settings = config.text if config.align.modality == "text" else config.audio
    before = artefact.fitting(settings.name, leaf.cut)
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


def check_examples(leaf: Leaf, examples: Examples) -> None:
    """Tell what is learnt from, and see that every class can fill its place in a batch.

    Raises:
        AlignmentError: If one cannot.
    """
    told = (
        f"{leaf.folder}: {examples.facts['texts']} {examples.noun}s to align on "
        f"({counts_text(examples.facts['by_label'])})"
    )
    conflicts = examples.facts.get("conflicts")
    if conflicts:
        told += (
            f"; {conflicts['texts']} texts stand under several labels "
            f"({conflicts['utterances']} utterances), rule {conflicts['rule']}: "
            f"{conflicts['left_out']} left out"
        )
    leaf.progress.say(told)
    check_batches(examples, leaf.config.align)
