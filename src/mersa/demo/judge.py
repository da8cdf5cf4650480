"""What answers for the page, whatever it is made of."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mersa.demo.envelope import Envelope
from mersa.recognize.prediction import Prediction

if TYPE_CHECKING:  # a server shows the page without loading torch
    from mersa.recognize.judging import OnSeconds


class Judge(Protocol):
    """Tells the emotions of what a person sends."""

    @property
    def labels(self) -> tuple[str, ...]:
        """The emotions that it tells apart."""
        ...

    @property
    def modalities(self) -> tuple[str, ...]:
        """What it reads: `text`, `audio` or both."""
        ...

    @property
    def hears(self) -> str:
        """The name of what hears words where none are given; empty if nothing does."""
        ...

    @property
    def at_once(self) -> int:
        """How many recordings it may be asked for at a time."""
        ...

    async def predict(
        self, audio: Path | None, on_seconds: "OnSeconds", **options: Any
    ) -> Prediction:
        """Judge one recording, of which `outline` was asked before.

        Args:
            audio: The recording; None if words alone were sent.
            on_seconds: Told how many seconds of it are judged, if that is known.
            options: `text`, `words` and `segmentation`, as `Recognizer.predict` takes them.

        Raises:
            MersaError: If it cannot be judged.
        """
        ...

    def outline(self, audio: Path) -> Envelope | None:
        """Give the outline of a recording; None where none is to be drawn.

        Raises:
            AudioError: If it cannot be read, or is too long to be judged.
        """
        ...

    def attention(self, prediction: Prediction, audio: Path | None) -> str:
        """Show the attention over words as HTML, or say why there is none."""
        ...
