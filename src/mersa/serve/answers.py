"""Answers as HTTP responses: predictions in every format, and refusals as one sentence of JSON."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastapi import Response
from starlette.exceptions import HTTPException

from mersa.errors import MersaError
from mersa.recognize.formats import to_jsonl, to_text
from mersa.serve.limits import Refused
from mersa.serve.measuring import TooLongError
from mersa.serve.queue import failed

if TYPE_CHECKING:
    from mersa.recognize.prediction import Prediction

MEDIA_TYPES = {
    "jsonl": "application/json",
    "csv": "text/csv",
    "srt": "application/x-subrip",
    "vtt": "text/vtt",
    "audacity": "text/plain",
    "hf": "application/json",
}

_RETRY_S = 2


def answer(name: str, prediction: "Prediction", form: str, labels: Sequence[str]) -> Response:
    """Return what `mersa predict` prints of one recording."""
    text = to_text([(name, prediction)], form, labels)
    return Response(text, media_type=MEDIA_TYPES[form])


def batch_answer(answers: Sequence[tuple[str, "Prediction | Exception"]]) -> Response:
    """Return the answers of several recordings in their order, an error in its place."""
    lines = [
        _error_line(name, one) if isinstance(one, Exception) else to_jsonl([(name, one)]).strip()
        for name, one in answers
    ]
    return Response('{"answers": [' + ",\n".join(lines) + "]}\n", media_type="application/json")


def refusal(error: Exception) -> Response:
    """Return an error as JSON, without a traceback."""
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    if isinstance(error, Refused) and error.retry:
        headers["retry-after"] = str(_RETRY_S)
    status = status_of(error)
    if status == 401:
        headers["www-authenticate"] = "Bearer"
    return _json({"error": sentence_of(error)}, status, headers)


def status_of(error: Exception) -> int:
    """Return the status of HTTP that an error is told with."""
    if isinstance(error, Refused):
        return error.status
    if isinstance(error, HTTPException):
        return error.status_code
    if isinstance(error, TooLongError):
        return 413
    return 400 if isinstance(error, MersaError) else 500


def sentence_of(error: Exception) -> str:
    """Return what a client is told of an error."""
    if isinstance(error, HTTPException):
        return f"{error.detail.lower()}; /docs lists what there is"
    if isinstance(error, Refused | MersaError):
        return " ".join(str(error).split())
    return str(failed())


def _error_line(name: str, error: Exception) -> str:
    told: dict[str, Any] = {"audio": name, "error": sentence_of(error), "status": status_of(error)}
    return json.dumps(told, ensure_ascii=False)


def _json(content: Any, status: int, headers: dict[str, str]) -> Response:
    text = json.dumps(content, ensure_ascii=False) + "\n"
    return Response(text, status, headers, "application/json")
