"""The verb that answers over HTTP."""

from pathlib import Path
from typing import Annotated

import typer

from mersa.cli.options import Device, Model, Quiet


def serve(
    model: Model,
    host: Annotated[
        str, typer.Option(help="Address to listen at; any but this machine's own needs a token.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen at; 0: any that is free.")
    ] = 8000,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes that judge; each loads the model.")
    ] = 1,
    token_file: Annotated[
        Path | None,
        typer.Option(help="A file with the token that clients must send; else MERSA_TOKEN."),
    ] = None,
    assignments: Annotated[
        list[str] | None,
        typer.Option("--set", help="What is taken at most, as recording_s=60 or upload_mb=16."),
    ] = None,
    ui: Annotated[
        bool,
        typer.Option("--ui", help="Show the web page too, under /ui; its password is the token."),
    ] = False,
    device: Device = "auto",
    quiet: Quiet = False,
) -> None:
    """Answer requests over HTTP; /docs of the server describes them.

    Nothing that is sent is kept or logged. SIGTERM or Ctrl-C: what is running is finished.
    """
    from contextlib import ExitStack
    from importlib.util import find_spec

    from mersa.errors import MissingExtraError

    if not all(map(find_spec, ("fastapi", "prometheus_client", "python_multipart", "uvicorn"))):
        raise MissingExtraError("serve", "answering over HTTP")
    if ui and not find_spec("gradio"):
        raise MissingExtraError("demo", "the web page")

    from mersa.serve.limits import make_limits
    from mersa.serve.server import read_token
    from mersa.serve.server import serve as run_server

    token, limits = read_token(token_file), make_limits(assignments or [])
    with ExitStack() as stack:
        extend = None
        if ui:
            from mersa.serve.page import page

            extend = stack.enter_context(page())
        run_server(
            model,
            host=host,
            port=port,
            workers=workers,
            device=device,
            token=token,
            limits=limits,
            extend=extend,
            on_start=lambda url: None if quiet else typer.echo(f"listening at {url}"),
        )
