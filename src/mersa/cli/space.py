"""The verb that measures a space of embeddings."""

from pathlib import Path
from typing import Annotated

import typer

from mersa.cli.options import Cache, Device, Json, Quiet, feature_cache, print_json, progress_bars


def space(
    manifest: Annotated[Path, typer.Argument(help="The manifest that it was aligned on.")],
    aligned: Annotated[Path, typer.Argument(help="A folder that mersa align made.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for space.json, space.txt and the pictures.")
    ] = None,
    parts: Annotated[
        str, typer.Option(help="Which parts are measured, with commas between them.")
    ] = "validation,test",
    draws: Annotated[int, typer.Option(min=100, help="Bootstrap draws.")] = 10_000,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the pictures.")] = 0,
    device: Device = "auto",
    cache: Cache = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure an aligned encoder beside the one that it was made from.

    Balanced accuracy by the 15 nearest train utterances, silhouette, linear probe, alignment and
    uniformity, with intervals by group; with --out also Fig. 3 of the paper: both spaces by t-SNE,
    their measures under them. This reads the test part, so nothing may be chosen by it.
    """
    from mersa.alignment.study import study, write_study

    with progress_bars(quiet) as progress:
        found = study(
            manifest,
            aligned,
            cache=feature_cache(cache),
            parts=[part.strip() for part in parts.split(",") if part.strip()],
            draws=draws,
            device=device,
            progress=progress,
        )
        written = write_study(found, out, seed=seed) if out else []
    if as_json:
        print_json(found.as_dict())
        return
    typer.echo(found.text(), nl=False)
    for path in written:
        typer.echo(f"written: {path}")
    if "test" in found.parts and not quiet:
        typer.echo("the test part has been read: choose no setting by it", err=True)
