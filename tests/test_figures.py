import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from mersa.errors import RunError
from mersa.evaluation import CALIBRATION_BINS, Predictions, score
from mersa.figures import (
    confusion,
    coverage,
    draw_confusion,
    draw_coverage,
    draw_reliability,
    draw_robustness,
    reliability,
)

LABELS = ("anger", "happy", "sad", "neutral")
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def predictions(seed=0, num=300, among=range(4)):
    random = np.random.default_rng(seed)
    truth = random.choice(list(among), size=num)
    logits = random.normal(size=(num, len(LABELS)))
    logits[np.arange(num), truth] += 1.0
    probabilities = np.exp(2 * logits) / np.exp(2 * logits).sum(1, keepdims=True)
    return Predictions(
        tuple(f"u{row}" for row in range(num)),
        ("test",) * num,
        truth,
        probabilities,
        tuple(f"d{row % 9}" for row in range(num)),
        LABELS,
    )


@pytest.mark.parametrize("write", [reliability, confusion, coverage])
def test_a_picture_is_a_whole_png_of_greys(write, tmp_path):
    path = tmp_path / "figures" / "picture.png"

    write(predictions(), path)

    assert path.read_bytes().startswith(SIGNATURE)
    assert [inside.name for inside in path.parent.iterdir()] == ["picture.png"]
    pixels = matplotlib.image.imread(path)[..., :3]
    assert min(pixels.shape[:2]) > 500
    assert 0.01 < (pixels.mean(2) < 0.9).mean() < 0.9
    assert np.ptp(pixels, axis=2).max() < 0.01


@pytest.mark.parametrize("write", [reliability, confusion, coverage])
def test_the_same_answers_give_the_same_bytes(write, tmp_path):
    for name in ("one.png", "two.png"):
        write(predictions(), tmp_path / name)

    write(predictions(seed=1), tmp_path / "other.png")

    one, two, other = ((tmp_path / f"{name}.png").read_bytes() for name in ("one", "two", "other"))
    assert one == two != other


def test_bars_of_reliability_are_the_share_that_is_right():
    made = predictions()

    above, below = draw_reliability(made).axes

    confidence = made.probabilities.max(1)
    right = made.probabilities.argmax(1) == made.truth
    place = (confidence * CALIBRATION_BINS).astype(int)
    held = sorted(set(place))
    accuracies, gaps = above.containers
    wanted = [right[place == number].mean() for number in held]
    assert [bar.get_height() for bar in accuracies] == pytest.approx(wanted)
    assert [bar.get_x() for bar in accuracies] == pytest.approx([n / 15 for n in held])
    tops = [bar.get_y() + bar.get_height() for bar in gaps]
    assert tops == pytest.approx([confidence[place == number].mean() for number in held])
    counts = [bar.get_height() for bar in below.containers[0]]
    assert counts == [(place == number).sum() for number in held]
    assert sum(counts) == 300


def test_reliability_says_the_calibration_error_and_marks_the_diagonal():
    made = predictions()

    above, below = draw_reliability(made).axes

    ece = score(made, draws=2)["ece"]
    assert above.get_title() == f"Test: expected calibration error {ece:.3f} (300 utterances)"
    (diagonal,) = above.lines
    assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]
    accuracy, sure = (line.get_xdata()[0] for line in below.lines)
    assert accuracy == pytest.approx((made.probabilities.argmax(1) == made.truth).mean())
    assert sure == pytest.approx(made.probabilities.max(1).mean())


def test_cells_of_confusion_hold_share_and_count():
    made = predictions(among=(0, 2, 3))

    axes = draw_confusion(made).axes[0]

    table = np.array(score(made, draws=2)["confusion"])
    cells = {(int(t.get_position()[1]), int(t.get_position()[0])): t.get_text() for t in axes.texts}
    assert len(cells) == 12  # no one is happy, so its row is empty
    for (row, column), text in cells.items():
        share = table[row, column] / table[row].sum()
        assert text == f"{share:.2f}\n{table[row, column]}"
    assert [tick.get_text() for tick in axes.get_xticklabels()] == list(LABELS)
    rows = [tick.get_text() for tick in axes.get_yticklabels()]
    assert rows == [f"{name} ({num})" for name, num in zip(LABELS, table.sum(1), strict=True)]


@pytest.mark.parametrize("labels", [("anger", "sad"), LABELS, ("very disappointed",) * 8])
def test_nothing_that_is_written_leaves_the_picture(labels, tmp_path):
    num = len(labels)
    made = replace(
        predictions(),
        truth=np.arange(300) % num,
        probabilities=np.eye(num)[[0] * 300],
        labels=labels,
    )

    for figure in (draw_confusion(made), draw_reliability(made)):
        figure.savefig(tmp_path / "picture.png")
        whole = figure.bbox
        for axes in figure.axes:
            written = [axes.xaxis.label, axes.yaxis.label, axes.title]
            written += [*axes.get_xticklabels(), *axes.get_yticklabels()]
            for text in written:
                box = text.get_window_extent()
                assert whole.x0 <= box.x0 <= box.x1 <= whole.x1, text
                assert whole.y0 <= box.y0 <= box.y1 <= whole.y1, text


def test_writing_on_dark_cells_is_white():
    axes = draw_confusion(predictions()).axes[0]

    shares = [(float(text.get_text().split("\n")[0]), text.get_color()) for text in axes.texts]

    assert {color for share, color in shares if share > 0.56} == {"white"}
    assert {color for share, color in shares if share < 0.54} == {"black"}


@pytest.mark.parametrize("write", [reliability, confusion, coverage])
def test_no_answers_give_no_picture(write, tmp_path):
    with pytest.raises(
        RunError, match="no answers to draw; read the test part with: mersa evaluat"
    ):
        write(predictions().rows([]), tmp_path / "picture.png")


@pytest.mark.parametrize("write", [reliability, confusion, coverage])
@pytest.mark.parametrize(("name", "seen"), [("picture.pdf", r"\.pdf"), ("picture", "nothing")])
def test_other_formats_are_refused(write, name, seen, tmp_path):
    message = f"ends in {seen}, but pictures are written as .png; name it picture.png"
    with pytest.raises(RunError, match=message):
        write(predictions(), tmp_path / name)

    assert list(tmp_path.iterdir()) == []


def test_matplotlib_is_loaded_with_the_first_picture_only():
    code = "import sys, mersa.figures; print('matplotlib' in sys.modules)"

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert said.stdout.strip() == "False"


def test_drawing_leaves_the_backend_alone():
    code = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_figures import predictions; from mersa.figures import *\n"
        "draw_confusion(predictions()); print('matplotlib.pyplot' in sys.modules)"
    )

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert said.stdout.strip() == "False"


def test_lines_of_coverage_are_the_errors_of_the_surest_of_each_part():
    made = predictions()
    made = replace(made, parts=("validation",) * 100 + ("test",) * 200)

    axes = draw_coverage(made).axes[0]

    for line, part in zip(axes.lines[::2], ("validation", "test"), strict=True):
        rows = made.part(part)
        sure = rows.probabilities.max(1)
        wrong = rows.probabilities.argmax(1) != rows.truth
        order = sure.argsort()[::-1]
        risks = [wrong[order[:count]].mean() for count in range(10, len(order) + 1)]
        assert line.get_ydata() == pytest.approx(risks)
        assert line.get_xdata() == pytest.approx(np.arange(10, len(order) + 1) / len(order))
        assert str(line.get_label()).startswith(f"{part} ({len(order)} utterances, area")


def test_a_part_that_was_not_read_has_no_line():
    axes = draw_coverage(predictions()).axes[0]

    assert [str(line.get_label()).split()[0] for line in axes.lines] == ["test", "errors"]


def test_conditions_stand_in_order_with_their_intervals():
    bounds = {"balanced_accuracy": [0.4, 0.7]}
    first = {"condition": "words and sound", "balanced_accuracy": 0.6, "ci95": bounds}
    few = {
        "condition": "sound only",
        "balanced_accuracy": 0.3,
        "ci95": {"balanced_accuracy": None},
    }

    axes = draw_robustness([first, few]).axes[0]

    assert [one.get_text() for one in axes.get_yticklabels()] == ["words and sound", "sound only"]
    assert [list(line.get_xdata()) for line in axes.lines[:3]] == [[0.4, 0.7], [0.6], [0.3]]
