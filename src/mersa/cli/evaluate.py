"""The verb that scores runs and published checkpoints."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mersa.cli.options import (
    Cache,
    CheckpointLabels,
    CheckpointMap,
    CheckpointWeight,
    Device,
    Json,
    Quiet,
    feature_cache,
    mapping_of,
    print_json,
    progress_bars,
)


def evaluate(
    run: Annotated[
        str, typer.Argument(help="A run folder, or published checkpoints: hf:AUDIO+TEXT.")
    ],
    manifest: Annotated[
        Path | None, typer.Argument(help="Another corpus, or the run's at another place.")
    ] = None,
    by: Annotated[
        str,
        typer.Option(
            help="Print scores by subgroup too: speaker, gender, session, style, length or any "
            "column, with commas between them."
        ),
    ] = "",
    robustness: Annotated[
        bool,
        typer.Option(
            help="Score a run of words and sound also without either, with 10 to 50 % wrong words "
            "and with those of other utterances; encodes the test part's words five times more."
        ),
    ] = True,
    labels: CheckpointLabels = None,
    mapping: CheckpointMap = None,
    weight: CheckpointWeight = None,
    protocol: Annotated[
        str | None,
        typer.Option(help="With hf:... as of mersa train, or whole: the manifest is all test."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="With hf:... a folder for the answers, which compare and report read."),
    ] = None,
    device: Device = "auto",
    cache: Cache = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Score a run on its test part, or on another corpus.

    Accuracy is what the field calls WA; balanced accuracy is its UA (or UAR). Groups are dialogues,
    else speakers, else utterances; intervals are by bootstrap over them. Scores by subgroup
    and pictures of calibration and confusion are written into the run. Published checkpoints
    (hf:...) are a baseline from outside: of two the weight is fitted on the validation part, unless
    --weight gives it.
    """
    from mersa.cli.scores import print_robustness, print_scores
    from mersa.held_out import evaluate as run_evaluation
    from mersa.runs import is_checkpoint, read_json
    from mersa.subgroups import Subgroup, to_text

    columns = [column.strip() for column in by.split(",") if column.strip()]
    given = {"labels": labels, "mapping": mapping_of(mapping), "weight": weight}
    with progress_bars(quiet) as progress:
        shared: dict[str, Any] = {
            "cache": feature_cache(cache),
            "by": columns,
            "progress": progress,
        }
        if is_checkpoint(run):
            metrics = _score_checkpoint(
                run, manifest, given, device, protocol=protocol or "auto", out=out, **shared
            )
            answered = [out] if out else []
        else:
            _check_none_given(run, {**given, "out": out, "protocol": protocol})
            metrics = run_evaluation(
                Path(run), manifest_path=manifest, robustness=robustness, device=device, **shared
            )
            answered = _answered(Path(run), metrics)
    groups = {
        str(place): [
            one
            for column in dict.fromkeys(columns)
            for one in read_json(place / "subgroups.json")["subgroups"]
            if one["column"] == column
        ]
        for place in (answered if columns else [])
    }
    if as_json:
        print_json(metrics | ({"subgroups": groups} if columns else {}))
        return
    print_scores(out or run, metrics, "test")
    if robustness and "robustness" in metrics:
        print_robustness(metrics["robustness"])
    for place, held in groups.items():
        typer.echo(f"\n{place} by {', '.join(columns)}")
        typer.echo(to_text([Subgroup(**one) for one in held]), nl=False)


def _check_none_given(run: str, given: dict[str, Any]) -> None:
    """Refuse options of published checkpoints, since a run has its own."""
    from mersa.errors import ConfigError

    for option, value in given.items():
        if value not in (None, {}):
            raise ConfigError(
                f"--{option.replace('mapping', 'map')} goes with hf:... alone, since {run} has its "
                "own; leave it out"
            )


def _answered(run: Path, metrics: dict[str, Any]) -> list[Path]:
    """Return the folders that hold the answers of an evaluation."""
    from mersa.pooling import places

    return [run / metrics["place"]] if "place" in metrics else places(run)


def _score_checkpoint(
    name: str, manifest: Path | None, given: dict[str, Any], device: str, **asked: Any
) -> dict[str, Any]:
    """Load published checkpoints, and score them.

    Args:
        name: Of the checkpoints.
        manifest: The corpus.
        given: What `load_checkpoint` takes beside.
        device: Where they run.
        asked: What `evaluate_checkpoint` takes beside.
    """
    from mersa import build
    from mersa.errors import ConfigError
    from mersa.recognize.baseline import evaluate_checkpoint
    from mersa.recognize.checkpoints import load_checkpoint
    from mersa.runs import PREFIX

    if manifest is None:
        raise ConfigError(f"no manifest was given; name the corpus: mersa evaluate {name} MANIFEST")
    if asked["by"] and asked["out"] is None:
        raise ConfigError("--by is written into the folder of the answers; name it with --out")
    scorer = load_checkpoint(name, **given, device=build.device(device))
    fit = given["weight"] is None and name.startswith(PREFIX)
    return evaluate_checkpoint(scorer, manifest, fit=fit, **asked)
