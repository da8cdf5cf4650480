"""The door before every route: who may come in, with how much, and what is told of faults."""

import asyncio
import base64
import hmac
import logging
import time
from contextlib import suppress
from dataclasses import dataclass

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mersa.serve.answers import refusal
from mersa.serve.limits import MEGABYTE, Limits, Refused
from mersa.serve.metrics import Metrics
from mersa.serve.pool import fault_of
from mersa.serve.queue import stopping

logger = logging.getLogger(__name__)

OPEN = ("/health", "/ready", "/docs", "/openapi.json")
"""Paths that are answered without a token: they tell nothing of what was sent, nor of the model."""

PAGE = "/ui"
"""Where the web page stands. A browser sends no bearer token, so here the token may also come as
the password that it asks for (RFC 7617), with any name."""

_ROUTES = frozenset((*OPEN, "/v1/recognize", "/v1/batch", "/v1/model", "/metrics"))
"""Paths that metrics name; all others count as one."""

_CLOSE = (b"connection", b"close")
_DRAINED_S = 1.0
"""How long the rest of a refused body is read, since some clients read no answer before its end."""


@dataclass
class Traffic:
    """What goes through a gate at a time.

    Attributes:
        num_running: Requests that are not answered yet.
        is_stopping: Whether no more are taken.
        held: Bytes of their bodies that have come.
    """

    num_running: int = 0
    is_stopping: bool = False
    held: int = 0


class Gate:
    """Lets requests through to an app.

    Args:
        app: What answers.
        traffic: Is kept up to date.
        limits: Of bodies and of requests at a time.
        token: Without it nobody gets in; empty: everybody does.
        metrics: Is told of each request.
    """

    def __init__(
        self, app: ASGIApp, *, traffic: Traffic, limits: Limits, token: str, metrics: Metrics
    ) -> None:
        self._app = app
        self._traffic = traffic
        self._limits = limits
        self._token = f"Bearer {token}".encode() if token else b""
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.monotonic()
        body = _Body(receive, self)
        answer = _Answer(send, body)
        self._traffic.num_running += 1
        try:
            self._check(scope)
            await self._app(scope, body, answer)
        except ClientDisconnect:
            pass
        except asyncio.CancelledError:  # the server ends at once, or its time to stop is over
            if answer.status is None:
                await refusal(stopping())(scope, receive, answer)
        except Exception as error:  # noqa: BLE001  logged without its words, which may be a client's
            if not isinstance(error, Refused):
                logger.error("a fault: %s", fault_of(error).told)
            if answer.status is None:
                refused = refusal(error)
                if refused.status_code == 401 and _is_page(scope["path"]):
                    refused.headers["www-authenticate"] = 'Basic realm="mersa"'
                await refused(scope, receive, answer)
        finally:
            self._traffic.num_running -= 1
            self._traffic.held -= body.size
            route = scope["path"] if scope["path"] in _ROUTES else "other"
            self._metrics.count(route, answer.status or 499, time.monotonic() - began)

    def hold(self, num_bytes: int, total: int) -> None:
        """Count bytes of a body that has come so far to a total.

        Raises:
            Refused: If it, or all bodies together, are too large.
        """
        self._traffic.held += num_bytes
        if total > self._limits.upload_mb * MEGABYTE:
            raise Refused(
                413,
                f"the body is larger than {self._limits.upload_mb:g} MB, which is the most that "
                "this server takes; send less",
            )
        if self._traffic.held > self._limits.held_mb * MEGABYTE:
            raise Refused(503, "too much is being sent at a time; ask again later", retry=True)

    def _check(self, scope: Scope) -> None:
        headers = dict(scope["headers"])
        size = sum(len(name) + len(value) for name, value in scope["headers"])
        if size > self._limits.head_kb * 1024:  # what came in one piece passes the protocol
            raise Refused(431, f"the headers are larger than {self._limits.head_kb} kB; send less")
        if self._token and scope["path"] not in OPEN:
            given = headers.get(b"authorization", b"")
            if _is_page(scope["path"]):
                given = _as_bearer(given)
            if not hmac.compare_digest(given, self._token):
                raise Refused(401, "a token is needed; send it as Authorization: Bearer TOKEN")
        if scope["path"] in OPEN:
            return
        if self._traffic.is_stopping:
            raise stopping()
        if self._traffic.num_running > self._limits.requests:
            raise Refused(
                503,
                f"{self._limits.requests} requests are being answered, which is all that the "
                "server takes; ask again later",
                retry=True,
            )
        declared = headers.get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._limits.upload_mb * MEGABYTE:
            raise Refused(
                413,
                f"the body is {int(declared) / MEGABYTE:.1f} MB, but at most "
                f"{self._limits.upload_mb:g} MB are taken; send less",
            )


def _is_page(path: str) -> bool:
    return path == PAGE or path.startswith(f"{PAGE}/")


def _as_bearer(given: bytes) -> bytes:
    """Take the password of a browser for a bearer token; anything else stays as it is."""
    kind, _, credentials = given.partition(b" ")
    if kind.lower() != b"basic":
        return given
    try:
        password = base64.b64decode(credentials, validate=True).partition(b":")[2]
    except ValueError:
        return b""
    return b"Bearer " + password


class _Body:
    """A request's body, counted as it comes, whatever its headers say."""

    def __init__(self, receive: Receive, gate: Gate) -> None:
        self._receive = receive
        self._gate = gate
        self._is_whole = False
        self.size = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._is_whole = not message.get("more_body", False)
            count = len(message.get("body", b""))
            self.size += count
            self._gate.hold(count, self.size)
        return message

    @property
    def is_left(self) -> bool:
        """Whether some of it was not read."""
        return not self._is_whole

    async def drain(self) -> None:
        """Read what is left, for a moment."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_DRAINED_S):
                while not self._is_whole:
                    message = await self._receive()
                    self._is_whole = not message.get("more_body", False)


class _Answer:
    """Sends an answer and remembers its status."""

    def __init__(self, send: Send, body: _Body) -> None:
        self._send = send
        self._body = body
        self.status: int | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            if message["status"] >= 400 and self._body.is_left:
                await self._body.drain()
                if self._body.is_left:  # else the rest would be read without end
                    message = {**message, "headers": [*message["headers"], _CLOSE]}
        await self._send(message)
