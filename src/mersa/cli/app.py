"""The command line: its verbs in the order of their use, and how mistakes are told."""

import errno
import os
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from mersa import __version__
from mersa.cli import align, data, demo, evaluate, predict, reproduce, runs, serve, space, use
from mersa.cli.options import is_first
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
    align.align,
    space.space,
    runs.rows,
    runs.train,
    evaluate.evaluate,
    runs.compare,
    runs.report,
    reproduce.reproduce,
    predict.predict,
    serve.serve,
    demo.demo,
    use.bundle,
    use.push,
):
    app.command()(_verb)

_SHARED = {"align", "encode", "train"}
_RESUMED = {"align", "encode", "prepare", "reproduce", "train"}
_INTERRUPTED = 130  # typer's exit code after Ctrl-C
_FIRST_TELLS_S = 5.0
"""How long the other processes wait before they end, since torchrun then ends the first as well."""


def main() -> None:
    """Run the command line; a user's mistake is one line on standard error and exit code 2.

    Of several processes that torchrun started the first alone answers, and does alone what is not
    shared.
    """
    verb = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
    if is_first():
        _run(verb)
    elif verb in _SHARED:
        with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
            _run(verb)


def _run(verb: str) -> None:
    try:
        app(prog_name="mersa")
    except MersaError as error:
        _refuse(f"mersa {verb}: {' '.join(str(error).split())}\n")
    except BrokenPipeError:  # whoever read the output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.filename is None and error.errno not in {errno.ENOSPC, errno.EIO, errno.EFBIG}:
            raise
        name = "the output" if error.filename is None else str(error.filename)
        name = name if len(name) <= 200 else f"{name[:200]}..."
        _refuse(f"mersa {verb}: {name} cannot be used ({error.strerror}); name another\n")
    except SystemExit as end:
        if end.code == _INTERRUPTED:
            goes_on = verb in _RESUMED or (verb == "predict" and "--out" in sys.argv)
            sys.stderr.write(
                f"\nstopped{'; the same command goes on from here' if goes_on else ''}\n"
            )
        raise


def _refuse(told: str) -> NoReturn:
    """Tell a user's mistake once, and end."""
    if is_first():
        sys.stderr.write(told)
    else:
        time.sleep(_FIRST_TELLS_S)
    sys.exit(2)


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
