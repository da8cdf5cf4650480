"""Verbs that use a trained run."""

from pathlib import Path
from typing import Annotated

import typer

from mersa.cli.options import Quiet, progress_bars


def bundle(
    run: Annotated[Path, typer.Argument(help="A run folder.")], quiet: Quiet = False
) -> None:
    """Copy the encoders into a run: it then works offline anywhere."""
    from mersa.weights import bundle as bundle_run

    with progress_bars(quiet) as progress:
        bundle_run(run, progress=progress)
