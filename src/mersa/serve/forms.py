"""The fields of a request, by the names of the command line, as what `Recognizer.predict` takes."""

import asyncio
import difflib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

from fastapi import Request
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from mersa.errors import ConfigError
from mersa.recognize.formats import FORMATS
from mersa.recognize.settings import WindowSettings, make_segmentation
from mersa.serve.limits import Limits, Refused


def _risk(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise ConfigError(
            f"field 'abstain' is {value[:100]!r}, but a share of errors was expected; give a "
            "number from 0 to 1, as 0.2"
        ) from None


PASSED: Mapping[str, Callable[[str], Any]] = {"abstain": _risk}
"""Fields that `Recognizer.predict` takes under the same name, and what reads each from its text."""

_OWN = ("audio", "text", "segments", "channels", "set", "format")
_NAME_CHARS = 255
_TRUTH = {"true": True, "1": True, "on": True, "false": False, "0": False, "off": False, "": False}


@dataclass(frozen=True)
class Upload:
    """A recording as it was sent.

    Attributes:
        name: What the client calls it; answers repeat it, and it is used for nothing else.
        file: On disk, without a name there.
    """

    name: str
    file: BinaryIO


@dataclass(frozen=True)
class Asked:
    """What a request asks.

    Attributes:
        uploads: Its recordings, in order.
        texts: Their words, in order, or none.
        options: What `Recognizer.predict` takes beside sound and words.
        form: Name of the format of the answer.
    """

    uploads: tuple[Upload, ...]
    texts: tuple[str, ...]
    options: Mapping[str, Any]
    form: str


@asynccontextmanager
async def read_form(request: Request, limits: Limits) -> AsyncIterator[Asked]:
    """Give what a request asks; its files are gone at the end of the block.

    Raises:
        ConfigError: If a field does not exist or cannot take its value.
        Refused: If the body is no form, exceeds a limit, or comes too slowly.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise Refused(
            415,
            f"the body is {kind[:100] or 'of no type'!r}, but multipart/form-data was expected; "
            "send it as curl -F does",
        )
    try:
        async with asyncio.timeout(limits.upload_s):
            form = await request.form(
                max_files=limits.files,
                max_fields=limits.fields,
                max_part_size=4 * limits.text_chars,  # bytes of UTF-8
            )
    except TimeoutError:
        raise Refused(
            408, f"the body did not come within {limits.upload_s:g} s; send less, or faster"
        ) from None
    except HTTPException as error:
        reason = error.detail.rstrip(".")
        raise Refused(400, f"the form cannot be read ({reason}); send it as curl -F does") from None
    try:
        yield _asked(form, limits)
    finally:
        await form.close()


def _asked(form: FormData, limits: Limits) -> Asked:
    uploads, texts, assignments = [], [], []
    fields: dict[str, str] = {}
    for name, value in form.multi_items():
        _check_name(name)
        _check_kind(name, isinstance(value, UploadFile))
        if isinstance(value, UploadFile):
            uploads.append(Upload((value.filename or "")[:_NAME_CHARS], value.file))
            continue
        if len(value) > limits.text_chars:
            raise ConfigError(
                f"field {name!r} has {len(value)} characters, but at most {limits.text_chars} are "
                "taken; shorten it"
            )
        if name == "text":
            texts.append(value)
        elif name == "set":
            assignments.append(value)
        elif name in fields:
            raise ConfigError(f"field {name!r} was sent twice; send it once")
        else:
            fields[name] = value
    form_name = fields.pop("format", "jsonl")
    if form_name not in FORMATS:
        raise ConfigError(f"format {form_name!r} is not known; choose one of {', '.join(FORMATS)}")
    segmentation = make_segmentation(
        fields.pop("segments", "auto"),
        assignments,
        channels=_truth("channels", fields.pop("channels", "")),
    )
    _check_windows(segmentation.windows, limits)
    options = {name: PASSED[name](value) for name, value in fields.items()}
    return Asked(tuple(uploads), tuple(texts), {"segmentation": segmentation, **options}, form_name)


def _check_name(name: str) -> None:
    known = (*_OWN, *PASSED)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"the nearest is {near[0]!r}" if near else f"choose one of {', '.join(known)}"
        raise ConfigError(f"field {name[:100]!r} does not exist; {hint}")


def _check_kind(name: str, is_file: bool) -> None:
    if name == "audio" and not is_file:
        raise ConfigError(
            "field 'audio' is a text, but a file was expected; with curl: -F audio=@FILE"
        )
    if name != "audio" and is_file:
        raise ConfigError(
            f"field {name!r} is a file, but a text was expected; with curl: -F {name}=TEXT"
        )


def _check_windows(windows: WindowSettings, limits: Limits) -> None:
    """See that a short recording is not made a long one by judging each moment many times."""
    overlap = windows.length_s / windows.step_s
    if overlap > limits.overlap:
        raise ConfigError(
            f"{overlap:g} windows lie over each moment, but at most {limits.overlap:g} are taken; "
            "give a longer windows.step_s"
        )


def _truth(name: str, value: str) -> bool:
    if value.lower() not in _TRUTH:
        raise ConfigError(
            f"field {name!r} is {value[:100]!r}, but true or false was expected; give one of them"
        )
    return _TRUTH[value.lower()]
