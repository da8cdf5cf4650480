"""What the page under /docs says of requests and answers."""

from typing import Any

from mersa.recognize.formats import FORMATS
from mersa.recognize.settings import KINDS

DESCRIPTION = (
    "Emotion recognition from speech and its words. Nothing that is sent is kept or logged. What "
    "such a model can and cannot tell, and what it must not be used for: docs/responsible-use.md "
    "of the project."
)

_SCORES = {"angry": 0.71, "happy": 0.09, "neutral": 0.12, "sad": 0.08}
_ANSWER = {
    "audio": "call.wav",
    "schema": 1,
    "label": "angry",
    "scores": _SCORES,
    "confidence": 0.71,
    "segments": [
        {
            "start_s": 0.0,
            "end_s": 3.2,
            "label": "angry",
            "scores": _SCORES,
            "confidence": 0.71,
            "text": "I have told you so",
            "speaker": None,
            "channel": None,
        }
    ],
    "modalities": ["text", "audio"],
    "segmentation": "whole",
    "words": "given",
    "notes": [],
}
_UNREADABLE = (
    "the recording is not audio that can be read; convert it to WAV, FLAC, Ogg, MP3 or MP4"
)
_FILE = {
    "type": "string",
    "format": "binary",
    "description": "A recording: anything that libsndfile or FFmpeg reads.",
}
_FIELDS: dict[str, Any] = {
    "text": {
        "type": "string",
        "description": "Its words, if they are known.",
        "example": "I have told you so",
    },
    "segments": {
        "type": "string",
        "enum": list(KINDS),
        "default": "auto",
        "description": "How it is cut, as --segments of mersa predict.",
    },
    "channels": {
        "type": "boolean",
        "default": False,
        "description": "Whether each channel is a speaker of its own.",
    },
    "set": {
        "type": "array",
        "items": {"type": "string"},
        "description": "How segments are found and smoothed.",
        "example": ["speech.pad_s=0.2"],
    },
    "abstain": {
        "type": "number",
        "description": "Share of errors above which labels are withheld as `uncertain`, as "
        "--abstain of mersa predict.",
        "example": 0.2,
    },
}
_FORMAT = {
    "type": "string",
    "enum": list(FORMATS),
    "default": "jsonl",
    "description": "Of the answer, as --format of mersa predict.",
}


def _json(description: str, example: object) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"example": example}}}


def _body(properties: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties}
    content = {"multipart/form-data": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}}


_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: _json("A mistake in the request, in one sentence.", {"error": _UNREADABLE}),
    401: {"description": "The token is missing or wrong."},
    408: {"description": "The body came too slowly."},
    413: {"description": "The body or a recording is too large or too long."},
    415: {"description": "The body is no form."},
    503: {"description": "There is no room, or the server stops; Retry-After says when to ask."},
    504: {"description": "No answer was found in time."},
}

RECOGNIZE: dict[str, Any] = {
    "tags": ["judging"],
    "openapi_extra": _body({"audio": _FILE, **_FIELDS, "format": _FORMAT}),
    "responses": {200: _json("What mersa predict prints.", _ANSWER), **_REFUSALS},
}
BATCH: dict[str, Any] = {
    "tags": ["judging"],
    "openapi_extra": _body(
        {
            "audio": {"type": "array", "items": _FILE},
            **_FIELDS,
            "text": {
                "type": "array",
                "items": {"type": "string"},
                "description": "Their words, one for each recording in their order, or none.",
            },
        }
    ),
    "responses": {
        200: _json(
            "An answer for each recording, in their order.",
            {
                "answers": [
                    _ANSWER,
                    {"audio": "notes.txt", "error": _UNREADABLE, "status": 400},
                ]
            },
        ),
        **_REFUSALS,
    },
}
MODEL: dict[str, Any] = {
    "tags": ["state"],
    "responses": {
        200: _json(
            "Labels, what it reads, and its card as Markdown.",
            {"labels": list(_SCORES), "modalities": ["text", "audio"], "card": "# mine\n..."},
        )
    },
}
