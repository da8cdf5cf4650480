"""A page on a port of its own, or inside an application; what is sent is removed.

Pages ask nothing of any other machine: fonts are the system's, pictures come inside the page, and
Gradio's calls home, its share link, its page of an API and the browser's history of runs are off.
"""

import asyncio
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from starlette.responses import PlainTextResponse

from mersa.demo.limits import PageLimits
from mersa.demo.look import STYLE
from mersa.errors import ConfigError
from mersa.serve.limits import MEGABYTE

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import ASGIApp, Receive, Scope, Send


def launch_page(page: gr.Blocks, *, port: int, limits: PageLimits | None = None) -> str:
    """Open a page for whoever is at this machine, and return its address.

    It is open until `page.close()`; `page.block_thread()` waits for Ctrl-C.

    Args:
        page: From `make_page`.
        port: Where to listen.
        limits: What the page takes.

    Raises:
        ConfigError: If the port cannot be used.
    """
    try:
        _, url, _ = page.launch(
            server_name="127.0.0.1",
            server_port=port,
            share=False,
            inbrowser=False,
            quiet=True,
            prevent_thread_lock=True,
            **_settings(limits or PageLimits()),
        )
    except OSError:
        raise ConfigError(
            f"port {port} cannot be listened at, since it is taken; choose another --port"
        ) from None
    return str(url)


def mount_page(
    app: "FastAPI", page: gr.Blocks, path: str, limits: PageLimits | None = None
) -> None:
    """Put a page into an application, below a path; whoever may reach it is the application's."""
    limits = limits or PageLimits()
    gr.mount_gradio_app(app, page, path, **_settings(limits))
    app.add_middleware(UploadGate, folder=Path(os.environ["GRADIO_TEMP_DIR"]), limits=limits)


class UploadGate:
    """Refuses files while too much of what was sent is still there, and those that come slowly.

    Args:
        app: What answers.
        folder: Where sent files lie.
        limits: Of them.
    """

    def __init__(self, app: "ASGIApp", *, folder: Path, limits: PageLimits) -> None:
        self._app = app
        self._folder = folder
        self._most = limits.held_mb * MEGABYTE
        self._upload_s = limits.upload_s

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answer one request."""
        if scope["type"] != "http" or not scope["path"].endswith("/upload"):
            await self._app(scope, receive, send)
            return
        refusal = PlainTextResponse("too much was sent of late; try again later", 503)
        if _size(self._folder) <= self._most:
            try:
                async with asyncio.timeout(self._upload_s):
                    await self._app(scope, receive, send)
                return
            except TimeoutError:
                refusal = PlainTextResponse("the file came too slowly; send a smaller one", 408)
        await refusal(scope, receive, send)


@contextmanager
def uploads_removed() -> Iterator[Path]:
    """Give a folder for what people send, and remove it at the end."""
    before = os.environ.get("GRADIO_TEMP_DIR")
    with tempfile.TemporaryDirectory(prefix="mersa-demo-", ignore_cleanup_errors=True) as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # Gradio knows no other way
        try:
            yield Path(folder)
        finally:
            if before is None:
                del os.environ["GRADIO_TEMP_DIR"]
            else:
                os.environ["GRADIO_TEMP_DIR"] = before


def _size(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size
        except OSError:  # removed meanwhile
            continue
    return total


def _settings(limits: PageLimits) -> dict[str, Any]:
    """Return what opening and mounting have in common."""
    return {
        "theme": gr.themes.Default(
            primary_hue="slate",
            font=["system-ui", "sans-serif"],
            font_mono=["ui-monospace", "monospace"],
        ),
        "css": STYLE,
        "footer_links": [],
        "run_history": False,
        "show_error": False,
        "max_file_size": round(limits.largest_mb * MEGABYTE),
        "ssr_mode": False,
        "enable_monitoring": False,
        "pwa": False,
        "mcp_server": False,
    }
