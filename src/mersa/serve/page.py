"""The web page beside the API: its recordings wait in the same queue, behind the same gate."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mersa.demo.card import shown
from mersa.demo.limits import PageLimits
from mersa.demo.open import mount_page, uploads_removed
from mersa.demo.page import make_page
from mersa.errors import ConfigError
from mersa.recognize.prediction import Prediction
from mersa.serve.app import Extend
from mersa.serve.gate import PAGE
from mersa.serve.judging import Facts
from mersa.serve.limits import Refused
from mersa.serve.service import Service

if TYPE_CHECKING:
    from fastapi import FastAPI

    from mersa.recognize.judging import OnSeconds

_KEPT_S = 300


@contextmanager
def page() -> Iterator[Extend]:
    """Give what adds the page to an app; when the block ends, what was sent is removed."""
    with uploads_removed():

        def extend(app: "FastAPI", service: Service, facts: Facts) -> None:
            limits = PageLimits(
                largest_mb=service.limits.upload_mb,
                held_mb=service.limits.held_mb,
                upload_s=service.limits.upload_s,
                text_chars=service.limits.text_chars,
                waiting=service.limits.requests,
                kept_s=_KEPT_S,
            )
            made = make_page(ServedJudge(service, facts), card=shown(facts.card), limits=limits)
            mount_page(app, made, PAGE, limits)

        yield extend


class ServedJudge:
    """Judges by the processes of a server.

    Args:
        service: Started.
        facts: What its start told.
    """

    hears = ""

    def __init__(self, service: Service, facts: Facts) -> None:
        self._service = service
        self.labels = facts.labels
        self.modalities = facts.modalities
        self.at_once = service.limits.requests

    async def predict(
        self, audio: Path | None, on_seconds: "OnSeconds", **options: Any
    ) -> Prediction:
        """Judge one recording in its turn; see `mersa.demo.judge.Judge`."""
        try:
            if audio is None:
                return await self._service.predict(None, **options)
            with audio.open("rb") as file:
                return await self._service.predict(file, **options)
        except Refused as error:
            raise ConfigError(str(error)) from None

    def outline(self, audio: Path) -> None:
        """Draw none, since the process that receives decodes no sound."""

    def attention(self, prediction: Prediction, audio: Path | None) -> str:
        """Say that there is none here; see `mersa.demo.judge.Judge`."""
        return "<p>Not shown: a server keeps no network at hand; mersa demo shows it.</p>"
