"""The command line: its verbs in the order of their use, and how mistakes are told."""

import errno
import os
import sys
from typing import Annotated

import typer

from mersa import __version__
from mersa.cli import data, predict, runs, use
from mersa.errors import MersaError

app = typer.Typer(
    name="mersa",
    help="Emotion recognition from speech and its words.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for _verb in (
    data.prepare,
    data.audit,
    data.encode,
    runs.rows,
    runs.train,
    runs.evaluate,
    runs.compare,
    runs.report,
    predict.predict,
    use.bundle,
):
    app.command()(_verb)

_INTERRUPTED = 130  # typer's exit code after Ctrl-C


def main() -> None:
    """Run the command line; a user's mistake is one line on standard error and exit code 2."""
    verb = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    try:
        app(prog_name="mersa")
    except MersaError as error:
        sys.stderr.write(f"mersa {verb}: {' '.join(str(error).split())}\n")
        sys.exit(2)
    except BrokenPipeError:  # whoever read the output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.filename is None and error.errno not in {errno.ENOSPC, errno.EIO, errno.EFBIG}:
            raise
        name = "the output" if error.filename is None else str(error.filename)
        name = name if len(name) <= 200 else f"{name[:200]}..."
        sys.stderr.write(f"mersa {verb}: {name} cannot be used ({error.strerror}); name another\n")
        sys.exit(2)
    except SystemExit as end:
        if end.code == _INTERRUPTED:
            sys.stderr.write("\nstopped; the same command goes on from here\n")
        raise


def _version(value: bool) -> None:
    if value:
        typer.echo(f"mersa {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it and end.")
    ] = False,
) -> None:
    pass
