"""The verb that aligns an encoder."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mersa.cli.options import (
    Cache,
    ConfigFile,
    Device,
    Devices,
    Json,
    Protocol,
    Quiet,
    ShowSettings,
    feature_cache,
    print_json,
    progress_bars,
)


def align(
    manifest: Annotated[Path | None, typer.Argument(help="A manifest.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the aligned encoder.")] = None,
    text: Annotated[
        str | None, typer.Option(help="The text encoder to align: an id or a local folder.")
    ] = None,
    audio: Annotated[
        str | None,
        typer.Option(help="The encoder of sound to align, in place of one of words: a name."),
    ] = None,
    how: Annotated[
        str | None,
        typer.Option(help="tune the encoder, or train a projection of its frozen frames."),
    ] = None,
    labels: Annotated[str | None, typer.Option(help="A label set, as meld-4.")] = None,
    protocol: Protocol = None,
    row: Annotated[
        str | None, typer.Option(help="Labels and text encoder of a row of the paper, as III.6.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Constants and miner: library, sapbert or reference.")
    ] = None,
    parts: Annotated[
        str | None, typer.Option(help="train; all leaks and is refused without --allow-leak.")
    ] = None,
    config: ConfigFile = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting, as align.base=0.6.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of batches and dropout.")] = None,
    allow_leak: Annotated[
        bool, typer.Option("--allow-leak", help="Let --parts all through, and stamp it.")
    ] = False,
    device: Device = "auto",
    devices: Devices = None,
    cache: Cache = None,
    again: Annotated[bool, typer.Option("--again", help="Align anew in place of one.")] = False,
    show: ShowSettings = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Self-align an encoder on the train part; killed, the same command goes on.

    The folder goes into training as text.name or audio.name. It is bound to its labels, data and
    parts: training on others refuses it.
    """
    from mersa.alignment.settings import AlignConfig, make_align_config
    from mersa.config import apply_assignments, merged, read_config, to_toml
    from mersa.errors import ConfigError
    from mersa.paper import find_row

    nested: dict[str, Any] = {}
    if text and audio:
        raise ConfigError(
            f"both --text {text} and --audio {audio} were given, but one encoder is aligned at a "
            "time; give one of them"
        )
    if row:
        wanted = find_row(row).settings()
        nested = {"data": wanted["data"]}
        if not audio:
            nested["text"] = {"name": wanted["text"]["name"]}
    if config:
        nested = merged(nested, read_config(config))
    given = {
        "text.name": text,
        "audio.name": audio,
        "align.modality": "audio" if audio else None,
        "align.how": how,
        "data.labels": labels,
        "data.protocol": protocol,
        "align.preset": preset,
        "align.parts": parts,
        "align.seed": seed,
    }
    assignments = [f"{name}={value}" for name, value in given.items() if value is not None]
    nested = apply_assignments(nested, [*(settings or []), *assignments], kind=AlignConfig)
    resolved = make_align_config(nested)
    if show:
        typer.echo(to_toml(resolved, comments=True))
        return
    if manifest is None:
        raise ConfigError("no manifest was given; make one with: mersa prepare CORPUS --out DIR")
    if out is None:
        raise ConfigError("no folder was given for the aligned encoder; name it with --out DIR")

    from mersa.alignment.align import align as run_alignment

    with progress_bars(quiet) as progress:
        told = run_alignment(
            manifest,
            resolved,
            out,
            cache=feature_cache(cache),
            device=device,
            devices=devices,
            again=again,
            allow_leak=allow_leak,
            progress=progress,
        )
    if as_json:
        print_json(told)
        return
    for facts in told["folds"]:
        scores = facts["measures"]["validation"]
        typer.echo(
            f"{facts['folder']}: validation, {scores['name']}: {scores['before']:.3f} before, "
            f"{scores['after']:.3f} after (epoch {facts['best_epoch'] + 1} of "
            f"{len(facts['history'])})" + (" LEAK" if facts["leak"] else "")
        )
        if scores["after"] <= scores["before"]:
            typer.echo(
                f"{facts['folder']}: this space is no better than before; try more align.epochs, "
                "another align.learning_rate or --preset, or leave the encoder as it was"
            )
    if not quiet:
        modality = resolved.align.modality
        words = [f"{modality}.name={out}"]
        # What decides, beside the folder, what a tuned encoder hears or reads.
        for key in ("peak", "normalize", "max_tokens") if resolved.align.how == "tune" else ():
            value = getattr(getattr(resolved, modality), key, None)
            if value is not None:
                words.append(f"{modality}.{key}={str(value).lower()}")
        typer.echo(f"train with it: mersa train {manifest} --set {' --set '.join(words)} ...")
