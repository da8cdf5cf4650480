"""Verbs that use a trained run."""

from pathlib import Path
from typing import Annotated

import typer

from mersa.cli.options import Json, Quiet, print_json, progress_bars


def bundle(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Copy the encoders into a run, or checkpoints into a folder of their answers.

    It then works offline anywhere.
    """
    from mersa.recognize.checkpoints import bundle_checkpoint
    from mersa.runs import is_checkpoint
    from mersa.weights import bundle as bundle_run

    with progress_bars(quiet) as progress:
        copy_into = bundle_checkpoint if is_checkpoint(run) else bundle_run
        copied = copy_into(run, progress=progress)
    if as_json:
        print_json({"run": str(run), "copied": copied})


def push(
    run: Annotated[Path, typer.Argument(help="A bundled run folder.")],
    repository: Annotated[str, typer.Argument(metavar="ID", help="On the Hub, as me/my-emotions.")],
    licence: Annotated[
        str | None,
        typer.Option(
            "--license",
            help="Identifier of the licence, as the Hub lists them; corpus and encoders bind it.",
        ),
    ] = None,
    languages: Annotated[
        list[str] | None,
        typer.Option("--language", help="As en; default: those of the manifest, if it is there."),
    ] = None,
    datasets: Annotated[
        list[str] | None, typer.Option("--dataset", help="Id of the corpus on the Hub.")
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="A repository that is made here is seen by all.")
    ] = False,
    revision: Annotated[
        str | None, typer.Option(help="A branch that is there; default: main.")
    ] = None,
    message: Annotated[str | None, typer.Option(help="Of the commit.")] = None,
    as_json: Json = False,
) -> None:
    """Publish a bundled run on the Hugging Face Hub.

    The token is that of `hf auth login`, or of HF_TOKEN. Answers on utterances stay here, their ids
    go along.
    """
    from mersa.recognize.publishing import push as push_run

    address = push_run(
        run,
        repository,
        licence=licence,
        languages=languages,
        datasets=datasets or (),
        private=not public,
        revision=revision,
        message=message,
    )
    if as_json:
        print_json({"run": str(run), "id": repository, "commit": address})
    else:
        typer.echo(f"published: {address}")
