import os

import aligned_work
import folders
import pytest

from mersa.launch import launch
from mersa.progress import Silent

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return folders.write_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture(scope="module")
def wav2vec2(tmp_path_factory):
    return folders.write_wav2vec2(tmp_path_factory.mktemp("wav2vec2"))


@pytest.fixture(scope="module")
def two(bert, wav2vec2):
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    return launch(
        aligned_work.shared, 2, progress=Silent(), arguments={"words": bert, "sound": wav2vec2}
    )


@pytest.mark.parametrize("miner", ["none", "multi-similarity", "triplet"])
def test_two_processes_find_the_losses_and_gradients_of_one(two, bert, miner):
    one = aligned_work.alone(bert, miner)

    check_same(two[miner], one)


def test_two_processes_tune_an_encoder_of_sound_as_one_does(two, wav2vec2):
    one = aligned_work.alone(wav2vec2, "none")

    check_same(two["sound"], one)


def check_same(several, one):
    for found in several:
        assert found["losses"] == pytest.approx(one["losses"], rel=1e-5)
        assert len(found["steps"]) == len(one["steps"]) == 2
        for step, expected in zip(found["steps"], one["steps"], strict=True):
            largest = max(abs(grad).max() for grad in expected if grad is not None)
            assert largest > 1e-4
            for grad, wanted in zip(step, expected, strict=True):
                assert (grad is None) == (wanted is None)
                assert grad is None or abs(grad - wanted).max() <= 1e-5 * largest
