"""Pictures of a page: how a training went, and attention over words and time.

Greys, told apart by line and outline, as in `figures`; so a print keeps them readable and a dark
page can invert them. matplotlib is imported when a picture is asked for.
"""

import base64
import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LONGEST_WORD = 18  # characters at an axis
_ROW_IN = 0.21  # height of a word's row
_DOTS_PER_INCH = 200  # of a heat map's image inside a picture
_LETTERS = ["DejaVu Sans", "Verdana", "sans-serif"]  # the first two are equally wide
_LONG_NUMBER = re.compile(r"\d+\.\d{5,}")  # of coordinates; no letter of a picture has as many


def as_data_uri(figure: "Figure") -> str:
    """Return a figure as SVG inside an address, so that a page needs no other file.

    Letters are left to the reader's own sans-serif, and places are told to a hundredth of a point.
    """
    import matplotlib as mpl

    file = io.StringIO()
    # Fixed names and no date: the same figure gives the same bytes.
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with mpl.rc_context(
        {"svg.hashsalt": "mersa", "svg.fonttype": "none", "font.sans-serif": _LETTERS}
    ):
        figure.savefig(file, format="svg", metadata=nothing, dpi=_DOTS_PER_INCH)
    drawn = _LONG_NUMBER.sub(lambda found: f"{float(found[0]):.2f}", file.getvalue())
    drawn = re.sub(r"\s*\n\s*", " ", drawn)
    return f"data:image/svg+xml;base64,{base64.b64encode(drawn.encode()).decode()}"


def draw_learning(histories: Sequence[Sequence[Mapping[str, float]]]) -> "Figure":
    """Draw loss and validation macro F1 of each training over its epochs.

    Args:
        histories: What `history.csv` holds, one for each fold and seed.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0, 4.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    for number, history in enumerate(histories):
        first = number == 0
        for axes, name, style, label in (
            (above, "train_loss", ":", "train"),
            (above, "validation_loss", "-", "validation"),
            (below, "validation_macro_f1", "-", "validation"),
        ):
            held = [(row["epoch"] + 1, row[name]) for row in history if name in row]
            if held:
                # A single epoch is a point, which a line alone would not show.
                axes.plot(
                    *zip(*held, strict=True),
                    style,
                    marker="o" if len(held) < 3 else None,
                    color="0.25" if first else "0.6",
                    linewidth=1.4 if first else 0.9,
                    zorder=3 if first else 2,
                    label=label if first else None,
                )
    above.set(ylabel="loss")
    above.legend(frameon=False, fontsize=9)
    below.set(xlabel="epoch", ylabel="validation macro F1", ylim=(0, 1))
    below.xaxis.get_major_locator().set_params(integer=True)
    num = len(histories)
    above.set_title(
        "One training" if num == 1 else f"{num} trainings (folds and seeds); the first is darker",
        fontsize=11,
    )
    return figure


def draw_attention(attention: Mapping[str, Any], *, title: str) -> "Figure":
    """Draw the shares of words and moments, and what each word asks of the sound if it asks.

    Args:
        attention: What `mersa.attention.Attention.as_dict` returns.
        title: What stands above it.
    """
    from matplotlib.figure import Figure

    words = [textwrap.shorten(word, _LONGEST_WORD, placeholder="…") for word in attention["words"]]
    asks = attention["text_asks_audio"]
    height = 0.6 + _ROW_IN * len(words)
    figure = Figure(figsize=(6.4, height + 2.1), layout="constrained")
    figure.suptitle(title, fontsize=11)
    edges = np.array([*attention["starts_s"], attention["ends_s"][-1]])
    sounding = edges[-1] > 0
    ratios = {"height_ratios": (height, 1.5), "width_ratios": (3.2, 1)}
    if asks is not None and sounding:
        grid = figure.subplots(2, 2, sharex="col", gridspec_kw=ratios)
        over_time, over_words, below = grid[0, 0], grid[0, 1], grid[1, 0]
        grid[1, 1].axis("off")
        rows = np.arange(len(words) + 1) - 0.5
        over_time.pcolormesh(edges, rows, np.array(asks), cmap="Greys", vmin=0, rasterized=True)
        over_time.set_yticks(range(len(words)), words, fontsize=8)
        over_time.set_title("what each word asks of the sound", fontsize=9)
        over_time.invert_yaxis()
        over_words.set_yticks([])
    else:
        over_words, below = figure.subplots(2, 1, gridspec_kw={"height_ratios": (height, 1.5)})
        over_words.set_yticks(range(len(words)), words, fontsize=8)
    _bars(over_words, attention["traced_words"])
    if sounding:
        below.stairs(attention["traced_sound"], edges, fill=True, color="0.6", edgecolor="black")
        below.set(
            xlabel="seconds", ylabel="share of\nthe sound", xlim=(0, edges[-1]), ylim=(0, None)
        )
    else:
        below.axis("off")
    return figure


def _bars(axes: "Axes", values: Sequence[float]) -> None:
    axes.barh(range(len(values)), values, color="0.6", edgecolor="black", linewidth=0.6)
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.set_title("share of each word", fontsize=9)
    axes.tick_params(axis="x", labelsize=8, labelbottom=True)
    axes.locator_params(axis="x", nbins=2)  # more would touch
