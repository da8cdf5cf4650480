import numpy as np
import pytest

from mersa.errors import ConfigError
from mersa.recognize.fusion import check_weight, fit_weight, fuse

RANDOM = np.random.default_rng(0)
AUDIO, TEXT = RANDOM.dirichlet(np.ones(3), 40), RANDOM.dirichlet(np.ones(3), 40)
ALL = [True] * 40


def test_two_answers_are_averaged_by_the_weight():
    found = fuse(AUDIO, TEXT, ALL, ALL, 0.25)

    np.testing.assert_allclose(found, 0.25 * AUDIO + 0.75 * TEXT)


def test_what_is_absent_is_not_read():
    has_audio, has_text = [True, False, False] * 13 + [True], [False, True, False] * 13 + [True]

    found = fuse(AUDIO, TEXT, has_audio, has_text, 0.25)

    np.testing.assert_allclose(found[0], AUDIO[0])
    np.testing.assert_allclose(found[1], TEXT[1])
    np.testing.assert_allclose(found[2], np.full(3, 1 / 3))
    np.testing.assert_allclose(found[39], 0.25 * AUDIO[39] + 0.75 * TEXT[39])


def test_one_checkpoint_answers_alone_and_evenly_without_what_it_reads():
    found = fuse(None, TEXT, ALL, [True, False] * 20, 0.9)

    np.testing.assert_allclose(found[0], TEXT[0])
    np.testing.assert_allclose(found[1], np.full(3, 1 / 3))


def test_the_fitted_weight_is_that_of_a_plain_loop():
    right = 0.7 * AUDIO + 0.3 * TEXT
    truth = np.array([RANDOM.choice(3, p=row) for row in right])

    found = fit_weight(AUDIO, TEXT, ALL, ALL, truth)

    best, least = None, np.inf
    for step in range(101):
        loss = 0.0
        for one, other, label in zip(AUDIO, TEXT, truth, strict=True):
            loss -= np.log(step / 100 * one[label] + (1 - step / 100) * other[label])
        if loss < least:
            best, least = step / 100, loss
    assert found == best
    assert 0 < found < 1


def test_the_better_of_two_gets_the_whole_weight():
    truth = AUDIO.argmax(1)
    even = np.full_like(TEXT, 1 / 3)
    sure = np.eye(3)[truth]

    assert fit_weight(sure, even, ALL, ALL, truth) == 1.0
    assert fit_weight(even, sure, ALL, ALL, truth) == 0.0
    assert fit_weight(even, even, ALL, ALL, truth) == 0.5


def test_a_weight_beyond_one_is_refused():
    with pytest.raises(ConfigError, match=r"weight of the sound is 1\.5, but it lies between 0"):
        check_weight(1.5)
