"""Fig. 3 of the paper: two spaces of the same utterances side by side, by t-SNE.

A t-SNE shows which points are neighbours, at the price of sizes and distances, and can show
clusters in noise (Wattenberg et al. 2016, "How to Use t-SNE Effectively"). So the measures of both
spaces, of all utterances, stand under the panels.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mersa.alignment import geometry
from mersa.alignment.space import LOWER_IS_BETTER, MEASURES, TITLES, Comparison, Points
from mersa.bootstrap import Array
from mersa.errors import RunError
from mersa.evaluation import IntArray, score_cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_POINTS = 1000
"""Points of a picture; more lie upon each other."""

_PERPLEXITY = 30.0
# A filled black, an empty and a grey mark in turn; those of one shade differ in shape.
_MARKS = (
    ("o", "black", "black"),
    ("s", "white", "black"),
    ("^", "0.65", "0.35"),
    ("x", "0.5", "0.5"),
    ("D", "0.65", "0.35"),
    ("v", "white", "black"),
    ("P", "0.35", "0.35"),
    ("+", "0.45", "0.45"),
    ("*", "black", "black"),
    ("p", "white", "0.35"),
)


def draw_spaces(
    before: Points,
    after: Points,
    labels: Sequence[str],
    *,
    measured: Comparison,
    part: str,
    fold: str = "",
    titles: tuple[str, str] = ("as it is", "self-aligned"),
    most: int = MOST_POINTS,
    seed: int = 0,
) -> "Figure":
    """Draw both spaces of one part, the same utterances in each.

    Args:
        before: The part in the first space.
        after: The same utterances in the second.
        labels: The emotion words, by index.
        measured: What is written under the panels.
        part: Name of the part, for the caption.
        fold: Name of the fold that is drawn, where several are measured together.
        titles: Heads of the panels.
        most: Points that are drawn; beyond them as large a share of each label is chosen.
        seed: Of that choice and of both t-SNEs.

    Raises:
        RunError: If there are fewer than 8 points, or more labels than marks.
    """
    from matplotlib.figure import Figure

    present = [index for index in range(len(labels)) if (before.labels == index).any()]
    if len(present) > len(_MARKS):
        raise RunError(
            f"a picture in greys tells {len(_MARKS)} labels apart, but there are {len(present)}; "
            "choose other data.labels"
        )
    rows = chosen_rows(before.labels, most, seed)
    figure = Figure(figsize=(10.0, 7.4), layout="constrained")
    panels = figure.subplots(1, 2)
    columns = (measured.before, measured.after)
    for panel, held, title, values in zip(panels, (before, after), titles, columns, strict=True):
        places = tsne(geometry.unit(held.embeddings[rows]), seed=seed)
        _scatter(panel, places, held.labels[rows], present, labels)
        panel.set_title(title, fontsize=12)
        told = values.as_dict()
        lines = [f"{TITLES[name]}  {score_cell(told, name)}" for name in MEASURES]
        panel.set_xlabel("\n".join(lines), fontsize=9, linespacing=1.4, labelpad=8)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(
        handles,
        names,
        loc="outside upper center",
        ncols=len(names) if len(names) <= 6 else (len(names) + 1) // 2,
        frameon=False,
        fontsize=10,
        markerscale=1.6,
    )
    caption = _caption(len(rows), len(before.labels), measured, part, fold, seed)
    figure.supxlabel(caption, fontsize=9)
    return figure


def chosen_rows(labels: IntArray, most: int, seed: int) -> IntArray:
    """Return all rows, or `most` of them, as large a share of each label, in order.

    Shares are rounded down and the rest goes to the largest remainders, so that no label gains or
    loses a whole row; a label never loses its last one.
    """
    if len(labels) <= most:
        return np.arange(len(labels))
    found, counts = np.unique(labels, return_counts=True)
    exact = counts * most / len(labels)
    each = np.maximum(exact.astype(int), 1)
    for place in np.argsort(each - exact, kind="stable")[: max(most - each.sum(), 0)]:
        each[place] += 1
    random = np.random.default_rng(seed)
    rows = [
        random.choice(np.flatnonzero(labels == label), size, replace=False)
        for label, size in zip(found, each, strict=True)
    ]
    return np.sort(np.concatenate(rows))


def tsne(units: Array, *, seed: int) -> Array:
    """Return places in the plane for unit vectors, (N, D) to (N, 2), by cosine distance.

    Raises:
        RunError: If there are fewer than 8.
    """
    from sklearn.manifold import TSNE

    if len(units) < 8:
        raise RunError(
            f"a t-SNE needs neighbours, but there are {len(units)} points; give a part of at "
            "least 8 utterances"
        )
    # On unit vectors squared Euclidean distance is twice the cosine distance.
    places: Array = TSNE(
        perplexity=min(_PERPLEXITY, (len(units) - 1) / 3),
        init="pca",
        learning_rate="auto",
        random_state=seed,
    ).fit_transform(units)
    return places


def _scatter(
    panel: "Axes", places: Array, own: IntArray, present: Sequence[int], labels: Sequence[str]
) -> None:
    size = float(np.clip(16_000 / len(places), 9, 36))
    for number, index in enumerate(present):
        # The commonest label lies beneath, so that it hides no other.
        count = int((own == index).sum())
        marker, face, edge = _MARKS[number]
        rows = own == index
        panel.scatter(
            places[rows, 0],
            places[rows, 1],
            s=size,
            marker=marker,
            facecolors=edge if marker in "x+" else face,
            edgecolors=None if marker in "x+" else edge,
            linewidths=0.6,
            zorder=2 + 1 / (1 + count),
            label=f"{labels[index]} ({count:,})",
        )
    panel.set(xticks=(), yticks=())


def _caption(num: int, total: int, measured: Comparison, part: str, fold: str, seed: int) -> str:
    where = f"{part} utterances" + (f" of {fold}" if fold else "")
    which = (
        f"all {num:,} {where}"
        if num == total
        else f"{num:,} of {total:,} {where}, the same share of each label"
    )
    over = "of all folds together" if fold else "of the spaces themselves"
    held = measured.before
    return (
        f"t-SNE of {which}, the same in both panels (seed {seed}). It keeps neighbours, not "
        f"distances.\nThe measures are {over}: {held.num:,} utterances, 95 % intervals by group "
        f"({held.num_groups:,} groups); of {' and '.join(LOWER_IS_BETTER)} lower is better."
    )
