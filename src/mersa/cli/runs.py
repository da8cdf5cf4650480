"""Verbs that train, score and report."""

from pathlib import Path
from typing import Annotated, Any

import typer

from mersa.cli.options import (
    Cache,
    CheckpointLabels,
    CheckpointMap,
    CheckpointWeight,
    ConfigFile,
    Device,
    Devices,
    Json,
    Protocol,
    Quiet,
    ShowSettings,
    feature_cache,
    mapping_of,
    print_json,
    progress_bars,
)


def rows(as_json: Json = False) -> None:
    """List the paper's 24 rows and what each one builds."""
    from dataclasses import asdict

    from mersa.paper import ROWS

    if as_json:
        print_json([asdict(row) | {"settings": row.settings()} for row in ROWS.values()])
        return
    typer.echo("row    labels     system       audio encoder           text encoder   as printed")
    for row in ROWS.values():
        text = "aligned BERT" if row.aligned else "BERT"
        typer.echo(
            f"{row.id:6} {row.labels:10} {row.system:12} {row.audio:23} {text:14} {row.model}, "
            f"{row.method}: accuracy {row.accuracy}, F1 {row.f1}"
        )


def train(
    manifest: Annotated[Path | None, typer.Argument(help="A manifest.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="The run folder; default: runs/ and a name.")
    ] = None,
    row: Annotated[str | None, typer.Option(help="A row of the paper, as III.6.")] = None,
    config: ConfigFile = None,
    protocol: Protocol = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Any setting, as train.epochs=3.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of weights, order and dropout.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many runs of different seeds.")] = 1,
    device: Device = "auto",
    devices: Devices = None,
    cache: Cache = None,
    again: Annotated[bool, typer.Option("--again", help="Train anew in place of a run.")] = False,
    show: ShowSettings = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a system; killed, the same command goes on."""
    from mersa.config import apply_assignments, make_config, merged, read_config, to_toml
    from mersa.errors import ConfigError
    from mersa.paper import find_row

    nested: dict[str, Any] = find_row(row).settings() if row else {}
    if config:
        nested = merged(nested, read_config(config))
    assignments = list(settings or [])
    assignments += [f"data.protocol={protocol}"] if protocol else []
    assignments += [f"train.seed={seed}"] if seed is not None else []
    resolved = make_config(apply_assignments(nested, assignments))
    if show:
        typer.echo("# D1, D2, ... are departures from the paper's lineage: see docs/paper.md.\n")
        typer.echo(to_toml(resolved, comments=True))
        return
    if manifest is None:
        raise ConfigError("no manifest was given; make one with: mersa prepare CORPUS --out DIR")

    from mersa.experiment import train as run_training

    name = row.upper() if row else resolved.network.system
    kind = resolved.data.protocol.partition(":")[0]
    folder = out or Path("runs") / "-".join(
        [name, resolved.data.labels] + ([kind] if kind != "auto" else [])
    )
    with progress_bars(quiet) as progress:
        metrics = run_training(
            manifest,
            resolved,
            folder,
            cache=feature_cache(cache),
            seeds=seeds,
            device=device,
            devices=devices,
            again=again,
            progress=progress,
        )
    if as_json:
        print_json(metrics)
        return
    _print_scores(folder, metrics, "validation")
    if metrics["state"] == "trained" and not quiet:
        typer.echo(f"the test part has not been read; read it once with: mersa evaluate {folder}")


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
    _print_scores(out or run, metrics, "test")
    if robustness and "robustness" in metrics:
        _print_robustness(metrics["robustness"])
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


def compare(
    run: Annotated[
        list[Path], typer.Argument(help="Evaluated run folders; the first is compared.")
    ],
    draws: Annotated[int, typer.Option(min=100, help="Bootstrap draws.")] = 10_000,
    as_json: Json = False,
) -> None:
    """Tell which differences between runs hold.

    Every further run is compared with the first on the same test utterances: a paired bootstrap
    over whole groups for each score, McNemar's test, and over several seeds a paired t test.
    """
    from mersa.comparison import as_dict, compare_all, to_text
    from mersa.pooling import test_answers, title

    answers = {folder: test_answers(folder) for folder in run}
    comparisons = compare_all({title(one): given for one, given in answers.items()}, draws=draws)
    if as_json:
        print_json([as_dict(one) for one in comparisons])
    else:
        typer.echo(to_text(comparisons), nl=False)


def report(
    run: Annotated[list[Path], typer.Argument(help="Evaluated run folders.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for the report as HTML, Markdown, LaTeX, CSV and JSON."),
    ] = None,
    title: Annotated[str | None, typer.Option(help="What the report is called.")] = None,
    examples: Annotated[
        int, typer.Option(min=0, help="Utterances of each table shown with attention, at most.")
    ] = 8,
    as_json: Json = False,
) -> None:
    """Tell the test scores of runs: the paper's tables and claims, or runs beside each other.

    Runs that are all rows of the paper are told by table, beside what is printed, and the paper's
    claims are tested on them. Other runs stand beside each other.
    """
    from mersa.report import report as write_report
    from mersa.report.content import read_content
    from mersa.report.formats import to_text
    from mersa.report.sheets import sheets
    from mersa.report.side_by_side import to_text as beside_each_other

    content = (
        write_report(run, out, title=title, examples=examples)
        if out
        else read_content(run, title=title)[0]
    )
    if as_json:
        print_json(content)
    elif content["side_by_side"]:
        typer.echo(beside_each_other(content["side_by_side"]), nl=False)
    else:
        typer.echo(to_text(sheets(content)), nl=False)


def _print_robustness(rows: list[dict[str, Any]]) -> None:
    from mersa.card import WORD_ERROR
    from mersa.evaluation import PRINTED_SCORES, score_cell, score_title
    from mersa.tables import aligned

    table = [["test part with", *map(score_title, PRINTED_SCORES)]]
    table += [
        [row["condition"], *(score_cell(row, name) for name in PRINTED_SCORES)] for row in rows
    ]
    typer.echo("\n" + "\n".join(aligned(table)))
    typer.echo(WORD_ERROR)


def _print_scores(folder: Path | str, metrics: dict[str, Any], part: str) -> None:
    from mersa.evaluation import PRINTED_SCORES, score_cell, score_title

    scores = metrics["parts"][part]
    title = f"{folder}: {part}, {scores['n']} utterances in {scores['groups']} groups"
    if "[" in score_cell(scores, PRINTED_SCORES[0]):
        title += "; brackets hold 95 % intervals"
    typer.echo(title)
    for name in PRINTED_SCORES:
        commonest = scores["majority"][name]
        typer.echo(
            f"  {score_title(name):18} {score_cell(scores, name):30} "
            f"(always commonest: {commonest:.3f})"
        )
    line = f"  {score_title('ece'):18} {score_cell(scores, 'ece'):30}"
    if "ece_without_temperature" in scores:
        line += f" (without temperature: {score_cell(scores, 'ece_without_temperature')})"
    typer.echo(line.rstrip())
    if "mean_of_folds" in scores:
        means = (
            f"{score_title(name)} {score_cell(scores['mean_of_folds'], name)}"
            for name in PRINTED_SCORES
        )
        typer.echo(f"  mean of {scores['mean_of_folds']['runs']} folds: {', '.join(means)}")
    if "recall" in scores:
        recalls = (
            f"{label} {'-' if recall is None else f'{recall:.3f}'}"
            for label, recall in scores["recall"].items()
        )
        typer.echo(f"  recall: {', '.join(recalls)}")
