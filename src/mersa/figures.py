"""Pictures of answers: how far confidence can be trusted, and what is taken for what.

They are drawn in greys and told apart by outline and hatching, so that a print keeps them readable.
matplotlib is imported when a picture is asked for; no window is opened and no global setting read.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mersa.errors import RunError
from mersa.evaluation import CALIBRATION_BINS, Predictions, group_tables
from mersa.files import write_whole
from mersa.selective import FEWEST_ANSWERED, risk_curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DOTS_PER_INCH = 150
_SHADES = {"validation": "0.55", "test": "black"}
_DARK = 0.55  # from this share on a cell of the matrix is written in white


def reliability(predictions: Predictions, path: Path) -> None:
    """Write `draw_reliability` as PNG.

    Raises:
        RunError: If there are no answers, or the path does not end in `.png`.
    """
    save_png(draw_reliability(predictions), path)


def confusion(predictions: Predictions, path: Path) -> None:
    """Write `draw_confusion` as PNG.

    Raises:
        RunError: If there are no answers, or the path does not end in `.png`.
    """
    save_png(draw_confusion(predictions), path)


def coverage(predictions: Predictions, path: Path) -> None:
    """Write `draw_coverage` as PNG.

    Raises:
        RunError: If there are no answers, or the path does not end in `.png`.
    """
    save_png(draw_coverage(predictions), path)


def robustness(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write `draw_robustness` as PNG.

    Raises:
        RunError: If the path does not end in `.png`.
    """
    save_png(draw_robustness(rows), path)


def draw_reliability(predictions: Predictions) -> "Figure":
    """Draw how often answers of each confidence are right, with the calibration error.

    A bar below the diagonal is a bin in which the network is surer than it is right. Beneath stands
    how many answers each bin holds.

    Raises:
        RunError: If there are no answers.
    """
    figure = _figure(predictions, (5.0, 6.6))
    tables = group_tables(predictions)
    count, right, confidence = tables.bins.sum(0).T  # (bins,) each
    held = count > 0
    accuracy, mean = right[held] / count[held], confidence[held] / count[held]
    width = 1 / CALIBRATION_BINS
    centre = (np.flatnonzero(held) + 0.5) * width
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))

    above.bar(centre, accuracy, width, color="0.72", edgecolor="black", label="share that is right")
    above.bar(
        centre,
        mean - accuracy,
        width,
        bottom=accuracy,
        fill=False,
        edgecolor="0.35",
        hatch="////",
        linewidth=0.8,
        label="gap to mean confidence",
    )
    above.plot((0, 1), (0, 1), "--", color="black", linewidth=1.2, label="perfect calibration")
    above.set(xlim=(0, 1), ylim=(0, 1), ylabel="share of right answers")
    scores = tables.scores()
    above.set_title(
        f"{_part(predictions)}: expected calibration error {scores['ece']:.3f} "
        f"({len(predictions.ids):,} utterances)",
        fontsize=11,
    )

    below.bar(centre, count[held], width, color="0.72", edgecolor="black")
    sure = float(confidence.sum() / count.sum())
    below.axvline(scores["accuracy"], color="black", linewidth=1.6, label="accuracy")
    below.axvline(sure, color="black", linewidth=1.6, linestyle=":", label="mean confidence")
    below.set(xlabel="confidence of the answer", ylabel="utterances")
    below.set_ylim(0, 1.1 * count.max())
    # Outside, where it hides no bar.
    figure.legend(loc="outside lower center", ncols=2, fontsize=9, frameon=False)
    return figure


def draw_confusion(predictions: Predictions) -> "Figure":
    """Draw the confusion matrix: rows truth, columns answer, dark by share of the row.

    A label that is no one's truth has an empty row.

    Raises:
        RunError: If there are no answers.
    """
    num = len(predictions.labels)
    side = 2.4 + 0.72 * num
    figure = _figure(predictions, (side + 1.3, side - 0.4))
    tables = group_tables(predictions)
    counts = tables.confusion.sum(0)  # (C, C)
    truth = counts.sum(1, keepdims=True)
    share = np.divide(counts, truth, out=np.zeros_like(counts), where=truth > 0)
    axes = figure.subplots()
    image = axes.imshow(share, cmap="Greys", vmin=0, vmax=1)
    for row in range(num):
        for column in range(num):
            if truth[row, 0]:
                axes.text(
                    column,
                    row,
                    f"{share[row, column]:.2f}\n{counts[row, column]:.0f}",
                    ha="center",
                    va="center",
                    fontsize=9,
                    color="white" if share[row, column] >= _DARK else "black",
                )
    rows = [f"{label} ({n:,.0f})" for label, n in zip(predictions.labels, truth[:, 0], strict=True)]
    axes.set_xticks(range(num), predictions.labels, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(num), rows)
    axes.set(xlabel="answer", ylabel="truth (utterances)")
    scores = tables.scores()
    axes.set_title(
        f"{_part(predictions)}: accuracy {scores['accuracy']:.3f}, "
        f"balanced {scores['balanced_accuracy']:.3f}",
        fontsize=11,
    )
    figure.colorbar(image, ax=axes, label="share of the row", fraction=0.046, pad=0.04)
    return figure


def draw_coverage(predictions: Predictions) -> "Figure":
    """Draw the share of errors among the surest answers, a line for each part that is there.

    Dotted: the errors of all, which is what a confidence that tells nothing would leave.

    Raises:
        RunError: If there are no answers.
    """
    figure = _figure(predictions, (5.0, 4.2))
    axes = figure.subplots()
    for (part, shade), line in zip(_SHADES.items(), ("--", "-"), strict=True):
        rows = predictions.part(part)
        if not rows.ids:
            continue
        curve = risk_curve(rows)
        told = curve.coverage * curve.n >= FEWEST_ANSWERED  # of fewer, a risk is chance
        title = f"{part} ({curve.n:,} utterances, area {curve.aurc:.3f})"
        axes.plot(curve.coverage[told], curve.risk[told], line, color=shade, label=title)
        axes.axhline(curve.risk[-1], linestyle=":", color=shade, linewidth=1.0)
    axes.lines[-1].set_label("errors of all")
    axes.set(xlim=(0, 1), xlabel="share of utterances answered, the surest first")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("share of errors among them")
    figure.legend(loc="outside lower center", fontsize=9, frameon=False)
    return figure


def draw_robustness(rows: Sequence[Mapping[str, Any]]) -> "Figure":
    """Draw balanced accuracy under each condition, as `mersa.robustness.scored` gives them.

    Whiskers are 95 % intervals; there are none with too few groups.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0, 4.2), layout="constrained")
    axes = figure.subplots()
    for place, row in enumerate(rows):
        value, bounds = row["balanced_accuracy"], row["ci95"]["balanced_accuracy"]
        if bounds is not None:
            axes.plot(bounds, (place, place), color="0.55", linewidth=2.0)
        axes.plot(value, place, "o", color="black")
    axes.axvline(rows[0]["balanced_accuracy"], color="black", linestyle=":", linewidth=1.0)
    axes.set_yticks(range(len(rows)), [row["condition"] for row in rows])
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="balanced accuracy of the test part")
    return figure


def _part(predictions: Predictions) -> str:
    return " and ".join(dict.fromkeys(predictions.parts)).capitalize()


def _figure(predictions: Predictions, size: tuple[float, float]) -> "Figure":
    from matplotlib.figure import Figure

    if not predictions.ids:
        raise RunError("there are no answers to draw; read the test part with: mersa evaluate RUN")
    return Figure(figsize=size, layout="constrained")


def save_png(figure: "Figure", path: Path) -> None:
    """Write a figure whole or not at all, the same bytes for the same figure.

    Raises:
        RunError: If the path does not end in `.png`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    if path.suffix.lower() != ".png":
        raise RunError(
            f"{path} ends in {path.suffix or 'nothing'}, but pictures are written as .png; name "
            f"it {path.with_suffix('.png').name}"
        )
    FigureCanvasAgg(figure)
    with write_whole(path) as partial:
        # The version of matplotlib is left out, so that the same answers give the same bytes.
        figure.savefig(partial, format="png", dpi=_DOTS_PER_INCH, metadata={"Software": None})
