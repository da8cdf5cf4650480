"""Two processes are to be one, up to rounding. Both run on this machine's processor, over gloo."""

import os
import pickle

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

import shared_work
from mersa import parallel
from mersa.errors import ConfigError, MissingExtraError, RunError, StorageError
from mersa.launch import launch, num_to_start
from mersa.progress import Silent
from mersa.training import _epoch_seed
from told import Told

TOLD = Told()


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What each of two processes found, by name."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    folder = tmp_path_factory.mktemp("two")
    return launch(shared_work.everything, 2, progress=TOLD, arguments={"folder": folder})


@pytest.fixture(scope="module")
def alone():
    return Fabric(accelerator="cpu", devices=1)


@pytest.fixture(scope="module")
def one(alone):
    torch.set_num_threads(1)
    return shared_work.fitted(alone)


def furthest(found, expected, *, floor=0.0):
    """The largest difference over the largest number."""
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=floor))


@pytest.mark.parametrize("name", ["plain", "budgets", "memory"])
def test_two_processes_find_the_gradients_of_one_in_each_step(two, one, name):
    first, second = (found["steps"] for found in two[name])

    assert len(first) == len(second) == len(one["steps"]) == 8
    for step, other, expected in zip(first, second, one["steps"], strict=True):
        largest = max(float(wanted.abs().max()) for wanted in expected if wanted is not None)
        for mine, theirs, wanted in zip(step, other, expected, strict=True):
            if wanted is None:
                assert mine is None
                assert theirs is None
            else:
                assert torch.equal(mine, theirs)
                # A bias of the keys has the gradient 0 but for rounding.
                assert furthest(mine, wanted, floor=1e-2 * largest) < 1e-5


@pytest.mark.parametrize("name", ["plain", "budgets", "memory"])
def test_two_processes_have_the_losses_scores_and_answers_of_one(two, one, name):
    for found in two[name]:
        for row, expected in zip(found["history"], one["history"], strict=True):
            assert row == pytest.approx(expected, rel=1e-5, abs=1e-7)
        np.testing.assert_allclose(found["answers"], one["answers"], atol=1e-5)


@pytest.mark.parametrize("name", ["plain", "budgets", "memory"])
def test_all_processes_hold_the_same_weights(two, name):
    first, second = (found["weights"] for found in two[name])

    assert all(torch.equal(tensor, second[key]) for key, tensor in first.items())


def test_two_processes_take_the_modalities_away_that_one_does(two, alone):
    expected = shared_work.with_modalities_taken(alone)

    for found in two["modalities"]:
        for row, wanted in zip(found["history"], expected["history"], strict=True):
            assert row == pytest.approx(wanted, rel=1e-5, abs=1e-7)
        np.testing.assert_allclose(found["answers"], expected["answers"], atol=1e-5)


def test_two_processes_killed_with_dropout_on_go_on_to_the_same_end(two):
    (resumed, whole), (others, _) = two["resumed"]

    for found in (resumed, others):
        assert found["history"] == whole["history"]
        assert all(torch.equal(found["weights"][key], one) for key, one in whole["weights"].items())


def test_each_process_draws_its_own_dropout_and_the_first_that_of_one_process():
    assert _epoch_seed(0, 1, 0) == _epoch_seed(0, 1)
    assert len({_epoch_seed(0, 1, rank) for rank in range(5)}) == 5


def test_a_loss_over_the_rows_of_all_processes_has_the_gradient_of_one(two, alone):
    expected = shared_work.pairwise(alone)

    for found in two["pairwise"]:
        for mine, wanted in zip(found, expected, strict=True):
            assert furthest(mine, wanted) < 1e-6


def test_a_process_may_have_no_rows(two):
    for found in two["empty"]:
        assert found.tolist() == [[0, 1], [2, 3], [4, 5]]


def test_a_gradient_that_one_process_lacks_counts_as_zero_and_one_that_all_lack_stays_away(two):
    for found in two["uneven"]:
        assert found == [[5, 5], [2, 2], [2, 2, 2], None]


def test_a_mistake_in_one_process_is_raised_in_all(two):
    expected = [
        ("EncoderError", "no such encoder"),
        ("PermissionError", "[Errno 13] Permission denied: 'a/b'"),
        ("ConfigError", "too large"),
        ("RunError", "no state can be stored"),
        ("RunError", "no rows"),
    ]
    first, second = two["mistakes"]

    assert first == [*expected, ("StorageError", "disk 0 is full")]
    assert second == [*expected, ("StorageError", "disk 1 is full")]


def test_the_first_process_alone_tells(two):
    assert TOLD.sentences == ["process 0 of 2"]
    assert TOLD.counts == [("counted", 1, 2)]


@pytest.mark.parametrize(
    "error", [MissingExtraError("onnx", "it"), StorageError("the disk is full")]
)
def test_an_error_is_itself_after_it_went_to_another_process(error):
    again = pickle.loads(pickle.dumps(error))

    assert type(again) is type(error)
    assert str(again) == str(error)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_the_others_and_is_named(rank):
    with pytest.raises(RunError, match=rf"process {rank + 1} of 2 was ended \(SIGKILL.*go on"):
        launch(shared_work.killed, 2, progress=Silent(), arguments={"rank": rank})


@pytest.mark.slow
def test_a_fault_of_ours_in_one_process_keeps_its_traceback():
    with pytest.raises(Exception, match=r"in faulty\n.*\n?.*KeyError: 'a fault'"):
        launch(shared_work.faulty, 2, progress=Silent(), arguments={})


def test_without_several_devices_no_process_is_started(monkeypatch):
    assert num_to_start(None, "cpu") == num_to_start(1, "cpu") == 0
    assert num_to_start(2, "cpu") == 2


@pytest.mark.parametrize(
    ("devices", "device", "message"),
    [
        (0, "cpu", "devices is 0, but at least one process is needed; give 1"),
        (2, "cuda:1", "device 'cuda:1' is one GPU, but devices is 2; name it as cuda"),
        (2, "cuda", r"devices is 2, but torch sees \d GPUs; give as many, or choose --device cpu"),
    ],
)
def test_devices_that_cannot_be_had_are_refused(devices, device, message, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)

    with pytest.raises(ConfigError, match=message):
        num_to_start(devices, device)


def test_under_torchrun_nothing_is_started_and_another_number_is_refused(monkeypatch):
    for name, value in (("RANK", "1"), ("LOCAL_RANK", "1"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)

    assert num_to_start(None, "cpu") == num_to_start(2, "cpu") == 0
    with pytest.raises(ConfigError, match="devices is 3, but 2 processes were started"):
        num_to_start(3, "cpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match="2 processes take a GPU each, but torch sees 1"):
        parallel.join("cuda")
