"""The paper's Fig. 2, an illustration of the multi-similarity loss of Eq. (1), drawn from it.

Drawn in black and grey and told apart by line, so that a print keeps it readable.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mersa.alignment.settings import PRESETS
from mersa.bootstrap import Array
from mersa.figures import save_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LINES: Mapping[str, tuple[Literal["-", "--", ":"], float]] = {
    "library": ("-", 2.2),
    "sapbert": ("--", 1.6),
    "reference": (":", 1.8),
}
_PULL, _PUSH = "0.55", "black"


def write_loss_figure(path: Path) -> None:
    """Write `draw_loss` as PNG."""
    save_png(draw_loss(), path)


def terms(similarity: Array, alpha: float, beta: float, base: float) -> tuple[Array, Array]:
    """Return the exponentials of Eq. (1) of a positive and of a negative pair of this cosine."""
    gap = similarity - base
    return np.exp(-alpha * gap), np.exp(beta * gap)


def weights(similarity: Array, alpha: float, beta: float, base: float) -> tuple[Array, Array]:
    """Return how hard Eq. (1) pulls a positive and pushes a negative pair of this cosine.

    That is the size of the derivative of an anchor's loss by the cosine, where the anchor has no
    other pair of that kind: x / (1 + x) of the exponential x.
    """
    pull, push = terms(similarity, alpha, beta, base)
    return pull / (1 + pull), push / (1 + push)


def draw_loss() -> "Figure":
    """Draw exponentials and weights of pairs against their cosine, for each preset."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.4, 4.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    similarity = np.linspace(-1, 1, 801)
    for name, preset in PRESETS.items():
        alpha, beta, base = _constants(preset)
        style, width = _LINES[name]
        for axes, curves in (
            (left, terms(similarity, alpha, beta, base)),
            (right, weights(similarity, alpha, beta, base)),
        ):
            for curve, color in zip(curves, (_PULL, _PUSH), strict=True):
                axes.plot(similarity, curve, style, color=color, linewidth=width)
    left.set(yscale="log", ylim=(1e-4, 1e4), ylabel="exponential of the pair")
    left.set_title("Eq. (1): exponential of a pair", fontsize=11)
    right.set(ylim=(-0.02, 1.02), ylabel="weight of the pair in the gradient")
    right.set_title("How hard one pair is pulled or pushed", fontsize=11)
    for axes in (left, right):
        axes.set(xlim=(-1, 1), xlabel="cosine similarity of anchor and pair")
        axes.axvline(0.5, color="0.75", linewidth=0.9, zorder=0)
    left.text(0.52, 1.6e-4, "base 0.5", fontsize=9)
    left.text(-0.95, 45, "positive pair: more\nwhen it is unlike", fontsize=9, va="bottom")
    left.text(0.56, 0.02, "negative pair:\nmore when it\nis alike", fontsize=9, va="top")
    right.text(-0.95, 0.66, "pull on a positive pair", fontsize=9, color="0.35")
    right.text(-0.95, 0.05, "push on a negative pair", fontsize=9)
    _legend(figure)
    return figure


def _legend(figure: "Figure") -> None:
    from matplotlib.lines import Line2D

    lines = []
    for name, preset in PRESETS.items():
        style, width = _LINES[name]
        numbers = ", ".join(f"{one:g}" for one in _constants(preset))
        for kind, color in (("pull", _PULL), ("push", _PUSH)):
            label = f"{kind}, {name} ({numbers})"
            lines.append(Line2D([], [], color=color, linestyle=style, linewidth=width, label=label))
    figure.legend(
        handles=lines,
        loc="outside lower center",
        ncols=3,
        fontsize=9,
        frameon=False,
        title="preset (alpha, beta, base); library and reference pull alike",
        title_fontsize=9,
    )


def _constants(preset: Mapping[str, Any]) -> tuple[float, float, float]:
    return preset["alpha"], preset["beta"], preset["base"]
