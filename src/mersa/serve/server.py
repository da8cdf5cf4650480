"""`mersa serve`: a model behind a port, until it is told to stop."""

import asyncio
import ipaddress
import json
import logging
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from mersa.errors import ConfigError
from mersa.serve.app import Extend, make_app
from mersa.serve.gate import Traffic
from mersa.serve.limits import Limits
from mersa.serve.service import Service

TOKEN = "MERSA_TOKEN"
"""Environment variable that holds the token."""

_CLOSING_S = 5
"""How long connections have to close once nothing is worked on any more."""


def serve(
    model: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    workers: int = 1,
    device: str = "auto",
    token: str = "",
    limits: Limits | None = None,
    extend: Extend | None = None,
    on_start: Callable[[str], None] = lambda url: None,
) -> None:
    """Answer requests until SIGTERM or SIGINT; what is running then is finished.

    Args:
        model: As `Recognizer.from_pretrained` takes it.
        host: Address to listen at.
        port: 0: any that is free.
        workers: Processes that judge; each loads the model.
        device: Where it answers.
        token: Without it nobody gets in; empty: everybody who reaches the host.
        limits: What is taken.
        extend: Adds routes of its own to the app.
        on_start: Told the address once requests are answered.

    Raises:
        ConfigError: If the port cannot be had, or other machines would get in without a token.
        MersaError: If the model cannot be loaded.
    """
    limits = limits or Limits()
    if not token and not _is_here(host):
        raise ConfigError(
            f"host {host!r} can be reached from other machines, but no token is set; put one into "
            f"{TOKEN} or --token-file, or leave the host at 127.0.0.1"
        )
    with _listen(host, port) as listener:
        service = Service(model, device=device, workers=workers, limits=limits)
        facts = service.start()
        traffic = Traffic()
        try:
            app = make_app(service, facts, traffic=traffic, token=token, extend=extend)
            server = _Server(_config(app, limits), traffic, limits.stop_s)
            bound = listener.getsockname()
            url = (
                f"http://[{bound[0]}]:{bound[1]}"
                if ":" in bound[0]
                else f"http://{bound[0]}:{bound[1]}"
            )
            server.run_on(listener, lambda: on_start(url))
        finally:
            # What runs although the time for it is over, or a second signal came, is ended.
            service.close(at_once=traffic.num_running > 0)


def read_token(file: Path | None) -> str:
    """Return the token of a file, or of the environment; empty if there is none.

    Raises:
        ConfigError: If it is empty, or not one line of printable ASCII.
    """
    if file is None:
        place, token = TOKEN, os.environ.get(TOKEN)
        if token is None:
            return ""
    else:
        place = str(file)
        try:
            token = file.read_text(encoding="utf-8").strip()
        except (OSError, ValueError) as error:
            raise ConfigError(f"{file} cannot be read ({error}); name a file of one line") from None
    if not (token and token.isascii() and token.isprintable() and " " not in token):
        raise ConfigError(
            f"{place} holds no token, which is one line of printable ASCII without spaces; write "
            "one, as by: openssl rand -hex 32"
        )
    return token


class _Server(uvicorn.Server):
    """Ends by itself after a signal, once nothing is worked on; until then it refuses by 503."""

    def __init__(self, config: uvicorn.Config, traffic: Traffic, stop_s: float) -> None:
        super().__init__(config)
        self._traffic = traffic
        self._stop_s = stop_s
        self._stop_by = 0.0
        self._on_start: Callable[[], None] = lambda: None

    def run_on(self, listener: socket.socket, on_start: Callable[[], None]) -> None:
        self._on_start = on_start
        self.run(sockets=[listener])

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._on_start()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._traffic.is_stopping:  # asked twice
            self.should_exit = self.force_exit = True
        self._traffic.is_stopping = True
        self._stop_by = time.monotonic() + self._stop_s

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self.force_exit:  # left out then, and the app would end by an error
            await self.lifespan.shutdown()

    async def on_tick(self, counter: int) -> bool:
        ended = self._traffic.is_stopping and (
            self._traffic.num_running == 0 or time.monotonic() > self._stop_by
        )
        return await super().on_tick(counter) or ended


class _Protocol(H11Protocol):
    """HTTP/1.1 whose requests must begin in time, and whose refusals are JSON as all others are."""

    head_s = 10.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._await_head()

    def send_400_response(self, msg: str) -> None:
        content = json.dumps({"error": "the request is no HTTP, or its headers are too large"})
        headers = [
            ("content-type", "application/json"),
            ("content-length", str(len(content))),
            ("connection", "close"),
        ]
        events: tuple[Any, ...] = (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=content.encode()),
            h11.EndOfMessage(),
        )
        for event in events:
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _await_head(self) -> None:
        if not self.transport.is_closing():
            self.loop.call_later(self.head_s, self._close_without_request, self.cycle)

    def _close_without_request(self, before: object) -> None:
        if self.cycle is before:
            self.transport.close()


def _config(app: FastAPI, limits: Limits) -> uvicorn.Config:
    # Others warn of every request that is none, and the parser of forms cites it.
    for name in ("uvicorn.error", "python_multipart"):
        logging.getLogger(name).setLevel(logging.ERROR)
    protocol = type("Protocol", (_Protocol,), {"head_s": limits.head_s})
    return uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        loop="asyncio",
        lifespan="auto",
        log_config=None,
        access_log=False,  # a line there holds the query, which may be a client's words
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=limits.head_kb * 1024,
        limit_concurrency=4 * limits.requests,
        timeout_graceful_shutdown=_CLOSING_S,
    )


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=1024)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"port {port} of {host!r} cannot be listened at ({reason}); choose another --port or "
            "--host"
        ) from None


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
