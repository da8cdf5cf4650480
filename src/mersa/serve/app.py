"""The routes."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from mersa import __version__
from mersa.errors import ConfigError, MersaError
from mersa.serve.answers import answer, batch_answer, refusal
from mersa.serve.forms import Asked, Upload, read_form
from mersa.serve.gate import Gate, Traffic
from mersa.serve.judging import Facts
from mersa.serve.limits import Refused
from mersa.serve.metrics import Metrics
from mersa.serve.openapi import BATCH, DESCRIPTION, MODEL, RECOGNIZE
from mersa.serve.service import Service

if TYPE_CHECKING:
    from mersa.recognize.prediction import Prediction

T = TypeVar("T")

Extend = Callable[[FastAPI, Service, Facts], None]
"""Adds to an app, as a web page under `/ui`; the service judges for it too."""


def make_app(
    service: Service,
    facts: Facts,
    *,
    traffic: Traffic | None = None,
    token: str = "",
    extend: Extend | None = None,
) -> FastAPI:
    """Make the app.

    Args:
        service: Started; what judges.
        facts: What its start told.
        traffic: Is kept up to date.
        token: Without it nobody gets in; empty: everybody does.
        extend: Adds routes of its own.
    """
    app = FastAPI(title="mersa", version=__version__, description=DESCRIPTION, redoc_url=None)
    traffic = traffic or Traffic()
    metrics = Metrics(service, lambda: traffic.num_running)
    app.add_middleware(Gate, traffic=traffic, limits=service.limits, token=token, metrics=metrics)
    for kind in (Refused, MersaError, HTTPException):
        app.add_exception_handler(kind, _refused)
    _add_judging(app, service, facts)
    _add_state(app, service, facts, metrics, traffic)
    if extend:
        extend(app, service, facts)
    return app


def _add_judging(app: FastAPI, service: Service, facts: Facts) -> None:
    @app.post("/v1/recognize", response_model=None, **RECOGNIZE)
    async def recognize(request: Request) -> Response:
        """Tell the emotions of one recording, of its words, or of both."""
        async with read_form(request, service.limits) as asked:
            if len(asked.uploads) > 1 or len(asked.texts) > 1:
                raise ConfigError(
                    f"{len(asked.uploads)} recordings and {len(asked.texts)} texts were sent, but "
                    "at most one of each was expected; send several to /v1/batch"
                )
            if not (asked.uploads or asked.texts):
                raise ConfigError("nothing to judge; send a recording as audio, or its text")
            (name, prediction), *_ = await _while_connected(request, _judge(service, asked))
            if isinstance(prediction, Exception):
                raise prediction
            return answer(name, prediction, asked.form, facts.labels)

    @app.post("/v1/batch", response_model=None, **BATCH)
    async def batch(request: Request) -> Response:
        """Tell the emotions of several recordings; a bad one is told in its place."""
        async with read_form(request, service.limits) as asked:
            if not asked.uploads:
                raise ConfigError("nothing to judge; send recordings as audio, several times")
            if asked.texts and len(asked.texts) != len(asked.uploads):
                raise ConfigError(
                    f"{len(asked.texts)} texts came with {len(asked.uploads)} recordings; send one "
                    "for each, in their order, or none"
                )
            if asked.form != "jsonl":
                raise ConfigError(
                    f"format {asked.form!r} is for one recording; leave it out, or use "
                    "/v1/recognize"
                )
            return batch_answer(await _while_connected(request, _judge(service, asked)))


def _add_state(
    app: FastAPI, service: Service, facts: Facts, metrics: Metrics, traffic: Traffic
) -> None:
    @app.get("/v1/model", response_model=None, **MODEL)
    async def model() -> dict[str, Any]:
        """Tell what the model is."""
        return {"labels": facts.labels, "modalities": facts.modalities, "card": facts.card}

    @app.get("/health", tags=["state"])
    async def health() -> dict[str, str]:
        """Tell that the server runs."""
        return {"status": "running"}

    @app.get("/ready", tags=["state"], response_model=None)
    async def ready() -> dict[str, str]:
        """Tell whether a recording would be judged; 503 if not."""
        if traffic.is_stopping or not service.is_ready:
            raise Refused(503, "no process is ready to judge; ask again later", retry=True)
        return {"status": "ready"}

    @app.get("/metrics", tags=["state"], response_model=None)
    async def count() -> Response:
        """Give counts in Prometheus' text format."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")


async def _judge(service: Service, asked: Asked) -> "list[tuple[str, Prediction | Exception]]":
    """Judge everything that was asked at a time; a mistake comes in the answer's place."""
    num = max(1, len(asked.uploads))
    uploads: Sequence[Upload | None] = asked.uploads or [None]
    texts: Sequence[str | None] = asked.texts or [None] * num

    async def judge(upload: Upload | None, text: str | None) -> "Prediction | Exception":
        try:
            return await service.predict(
                upload.file if upload else None, text=text, **asked.options
            )
        except (MersaError, Refused) as error:
            return error

    answers = await asyncio.gather(*map(judge, uploads, texts))
    return [
        (upload.name if upload else "", one) for upload, one in zip(uploads, answers, strict=True)
    ]


async def _while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Wait for work; what waits in a queue leaves it when the client goes."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_until_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _refused(_: Request, error: Exception) -> Response:
    return refusal(error)
