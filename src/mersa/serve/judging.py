"""What a process that judges does: it loads the model once and answers for recordings."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mersa.errors import MersaError
from mersa.serve.pool import Fault, Item, fault_of

if TYPE_CHECKING:
    from mersa.recognize.prediction import Prediction


@dataclass(frozen=True)
class Facts:
    """What the server knows of the model.

    Attributes:
        labels: The emotions that it tells apart.
        modalities: What it reads: `text`, `audio` or both.
        card: `Recognizer.card`, as Markdown.
    """

    labels: tuple[str, ...]
    modalities: tuple[str, ...]
    card: str


class Judging:
    """Judges recordings by `Recognizer.predict`; several at a time share the calls of the model.

    Args:
        model: As `Recognizer.from_pretrained` takes it.
        device: Where it answers.
        threads: Of torch; None: as it sets itself.

    Raises:
        MersaError: As `Recognizer.from_pretrained`.
    """

    def __init__(self, model: str, device: str, threads: int | None) -> None:
        if threads:  # before torch is loaded, since its threads read it then
            os.environ["OMP_NUM_THREADS"] = str(threads)
        from mersa.recognize.recognizer import Recognizer
        from mersa.serve.together import Together

        recognizer = Recognizer.from_pretrained(model, device=device)
        self._together = Together(recognizer.scorer)
        self._recognizer = recognizer.with_scorer(self._together)
        self.facts = Facts(recognizer.labels.labels, recognizer.modalities, recognizer.card)

    def __call__(self, items: Sequence[Item]) -> "list[Prediction | MersaError | Fault]":
        """Return the answer for each recording, or why it has none."""
        return self._together.map(self._judged, items)

    def _judged(self, item: Item) -> "Prediction | MersaError | Fault":
        file, options = item
        try:
            return self._recognizer.predict(file, **options)
        except MersaError as error:
            return error
        except Exception as error:  # noqa: BLE001  the others of the batch are answered
            return fault_of(error)
