"""What counts as finished, and how the time that is left is estimated."""

import json

import pytest

from mersa.errors import RunError
from mersa.reproduce.ledger import Estimate, Ledger, duration, estimate
from mersa.reproduce.plan import Step

FIRST = Step("prepare x", "prepare", "x", "x.csv")
SECOND = Step("row III.1", "row", "III.1", "", ("prepare x",), ("row", "vggish", "server"), 100)
THIRD = Step("row IV.1", "row", "IV.1", "", ("prepare x",), ("row", "vggish", "server"), 300)
FOURTH = Step("row IV.6", "row", "IV.6", "", ("prepare x",), ("row", "vggish", "cross"), 300)
OTHER = Step("align a", "align", "a", "", ("prepare x",), ("align",), 100)
STEPS = [FIRST, SECOND, THIRD, FOURTH, OTHER]


@pytest.fixture
def ledger(tmp_path):
    (tmp_path / "x.csv").write_text("")
    return Ledger(tmp_path)


def finish(ledger, step, *, now=1.0, seconds=10.0):
    resumed = ledger.begin(step)
    ledger.finish(step, STEPS, now=now, seconds=seconds, cpu_seconds=1.0, resumed=resumed)


def test_step_is_finished_once_its_record_and_its_product_are_there(ledger, tmp_path):
    assert ledger.finished(STEPS) == set()
    finish(ledger, FIRST)
    assert ledger.finished(STEPS) == {"prepare x"}

    (tmp_path / "x.csv").unlink()

    assert ledger.finished(STEPS) == set()


def test_step_is_done_again_once_what_it_needs_was(ledger):
    finish(ledger, FIRST)
    finish(ledger, SECOND)
    assert ledger.finished(STEPS) == {"prepare x", "row III.1"}

    finish(ledger, FIRST, now=2.0)

    assert ledger.finished(STEPS) == {"prepare x"}


def test_step_that_was_begun_is_not_finished(ledger):
    finish(ledger, FIRST)
    finish(ledger, SECOND)

    ledger.begin(SECOND)

    assert ledger.finished(STEPS) == {"prepare x"}


def test_broken_record_is_named_with_the_remedy(ledger, tmp_path):
    finish(ledger, FIRST)
    (tmp_path / "steps" / "prepare-x.json").write_text("{")

    with pytest.raises(RunError, match=r"prepare-x\.json cannot be read .* remove it, and"):
        ledger.finished(STEPS)


def test_time_goes_by_size_among_steps_that_are_alike(ledger):
    finish(ledger, SECOND, seconds=10.0)

    found = estimate([THIRD], STEPS, ledger)

    assert found == Estimate(seconds=30.0, known=1, rough=0, unknown=0)
    assert found.text() == "about 30 s left"


def test_time_by_a_step_that_is_not_quite_alike_is_called_rough(ledger):
    finish(ledger, SECOND, seconds=100.0)

    found = estimate([FOURTH], STEPS, ledger)

    assert found == Estimate(seconds=300.0, known=1, rough=1, unknown=0)
    assert found.text() == "very roughly 5 min left"


def test_the_nearest_finished_step_is_taken(ledger):
    finish(ledger, SECOND, seconds=10.0)
    finish(ledger, FOURTH, seconds=600.0)

    assert estimate([THIRD], STEPS, ledger).seconds == 30.0


def test_what_is_like_nothing_finished_is_counted_and_not_guessed(ledger):
    finish(ledger, SECOND, seconds=10.0)

    found = estimate([THIRD, OTHER], STEPS, ledger)

    assert found.text() == "about 30 s left, and 1 step of unknown length"


def test_nothing_is_known_before_the_first_step(ledger):
    assert estimate(STEPS, STEPS, ledger).text() == "how long the rest takes is not known yet"


def test_step_that_was_stopped_and_gone_on_with_tells_no_time(ledger, tmp_path):
    ledger.begin(SECOND)
    finish(ledger, SECOND, seconds=1.0)

    assert json.loads((tmp_path / "steps" / "row-III.1.json").read_text())["resumed"]
    assert estimate([THIRD], STEPS, ledger).known == 0


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (600, "10 min"), (9000, "2.5 h")]
)
def test_times_are_told_in_the_unit_that_fits(seconds, text):
    assert duration(seconds) == text
