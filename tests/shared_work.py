"""What the tests of several processes run, in one process and in each of two workers."""

import torch
from torch import nn

from mersa import parallel, training
from mersa.config import TrainSettings
from mersa.errors import ConfigError, EncoderError, MersaError, RunError, StorageError
from mersa.networks import SelfAttentionFusion
from mersa.training import fit, predict
from test_training import AUDIO, LABELS, TEXT, Killed, features, kill_at, network

STEPS = TrainSettings(epochs=2, batch_size=7, seed=3, class_weights=True, label_smoothing=0.1)
TRAIN, VALIDATION = features(22), features(15, seed=1)
"""Batches of 7, 7, 7 and 1: the last one has less utterances than there are processes."""


def plain(seed=3):
    """A network without dropout."""
    torch.manual_seed(seed)
    fused = SelfAttentionFusion(
        TEXT, AUDIO, LABELS, num_heads=2, dropout=0.0, fusion_width=10, hidden=(6,)
    )
    fused.spare = nn.Parameter(torch.ones(2))  # never has a gradient, so it must never move
    return fused


def fitted(fabric, settings=STEPS, *, net=None, **more):
    """Fit, and give all that can be compared, the gradients of each step among it."""
    steps = []
    add_up = parallel.sum_gradients

    def recorded(fabric, parameters):
        add_up(fabric, parameters)
        steps.append([None if one.grad is None else one.grad.clone() for one in parameters])

    net = net or plain()
    parallel.sum_gradients = recorded
    try:
        result = fit(net, TRAIN, VALIDATION, settings, fabric=fabric, **more)
    finally:
        parallel.sum_gradients = add_up
    return {
        "steps": steps,
        "history": result.history,
        "weights": net.state_dict(),
        "answers": predict(net, VALIDATION, device=fabric.device, fabric=fabric),
    }


def with_budgets(fabric):
    """The first process holds all its frames at once, the second one few."""
    frames = 5 if fabric.global_rank else None
    return fitted(fabric, STEPS.model_copy(update={"frames_at_once": frames}))


def with_memory_running_out(fabric):
    """The last process runs out of memory, once."""
    net, left = plain(), [fabric.global_rank == fabric.world_size - 1]

    def run_out(*_):
        if left.pop():
            raise torch.OutOfMemoryError("no memory")
        handle.remove()

    def before(*_):
        if left:
            run_out()

    handle = net.register_forward_pre_hook(before)
    return fitted(fabric, net=net)


def stopped_and_resumed(fabric, folder):
    """Dropout on; the fit is killed after two epochs and goes on from its stored state."""
    settings = TrainSettings(epochs=4, batch_size=7)
    stored, training.STORE_EVERY_S = training.STORE_EVERY_S, -1.0
    state = folder / "resume.pt"
    try:
        fitted(fabric, settings, net=network(), state=state, on_progress=kill_at(3))
    except Killed:
        pass
    finally:
        training.STORE_EVERY_S = stored
    assert state.is_file()
    return [
        fitted(fabric, settings, net=network(), state=state),
        fitted(fabric, settings, net=network()),
    ]


def with_modalities_taken(fabric):
    """Modality dropout on; what it takes away is the same in all processes."""
    return fitted(fabric, STEPS.model_copy(update={"modality_dropout": 0.5}))


def pairwise(fabric):
    """A loss over all pairs of embeddings, as alignment has; the second process has none."""
    torch.manual_seed(0)
    layer, inputs = nn.Linear(4, 3), torch.randn(5, 4)
    mine = inputs[:0] if fabric.global_rank else inputs
    if parallel.several(fabric):
        mine = inputs[3:] if fabric.global_rank else inputs[:3]
    rows = parallel.gather_rows(fabric, layer(mine))
    (rows @ rows.T).exp().sum().log().backward()
    parallel.sum_gradients(fabric, layer.parameters())
    return [rows.detach(), *(one.grad for one in layer.parameters())]


def empty_share(fabric):
    """Rows of which the second process has none."""
    mine = torch.arange(6.0).reshape(3, 2)[: 0 if fabric.global_rank else 3]
    return parallel.gather_rows(fabric, mine)


def uneven_gradients(fabric):
    """Gradients that one process, both or none has; of numbers of two types."""
    one, both, none = (nn.Parameter(torch.zeros(2)) for _ in range(3))
    half = nn.Parameter(torch.zeros(3, dtype=torch.bfloat16))
    both.grad, half.grad = torch.ones(2), torch.ones(3, dtype=torch.bfloat16)
    if fabric.global_rank:
        one.grad = torch.full((2,), 5.0)
    parameters = [one, both, half, none]
    parallel.sum_gradients(fabric, parameters)
    return [None if each.grad is None else each.grad.tolist() for each in parameters]


def mistakes(fabric):
    """What each process raises where the second one alone fails, or both differently."""

    def second_fails_alone():
        if fabric.global_rank:
            raise EncoderError("no such encoder")
        parallel.gather(fabric, "waits")
        parallel.gather(fabric, "and never gets here")

    def second_fails_at_the_end():
        if fabric.global_rank:
            raise PermissionError(13, "Permission denied", "a/b")

    def second_fails_in_a_step():
        if fabric.global_rank:
            raise ConfigError("too large")
        parallel.sum_gradients(fabric, [nn.Parameter(torch.zeros(1))])

    def second_fails_between_steps():
        parallel.sum_gradients(fabric, [nn.Parameter(torch.zeros(1))])
        if fabric.global_rank:
            raise RunError("no state can be stored")
        parallel.sum_gradients(fabric, [nn.Parameter(torch.zeros(1))])

    def second_fails_before_rows_are_gathered():
        if fabric.global_rank:
            raise RunError("no rows")
        parallel.gather_rows(fabric, torch.zeros(2, 3))

    def both_fail():
        raise StorageError(f"disk {fabric.global_rank} is full")

    told = []
    for block in (
        second_fails_alone,
        second_fails_at_the_end,
        second_fails_in_a_step,
        second_fails_between_steps,
        second_fails_before_rows_are_gathered,
        both_fail,
    ):
        try:
            with parallel.together(fabric):
                block()
        except (MersaError, OSError) as error:
            told.append((type(error).__name__, str(error)))
    return told


def everything(folder, progress):
    """All of it in one worker; the first one returns what each of them has."""
    fabric = parallel.join("cpu")
    torch.set_num_threads(1)
    progress.say(f"process {fabric.global_rank} of {fabric.world_size}")
    on_progress = progress.task("counted")
    on_progress(1, 2)
    work = {
        "plain": fitted,
        "budgets": with_budgets,
        "memory": with_memory_running_out,
        "modalities": with_modalities_taken,
        "resumed": lambda fabric: stopped_and_resumed(fabric, folder),
        "pairwise": pairwise,
        "empty": empty_share,
        "uneven": uneven_gradients,
        "mistakes": mistakes,
    }
    return {name: parallel.gather(fabric, one(fabric)) for name, one in work.items()}


def killed(rank, progress):
    """One worker is killed while the other one waits for it."""
    import os
    import signal

    fabric = parallel.join("cpu")
    with parallel.together(fabric):
        if fabric.global_rank == rank:
            os.kill(os.getpid(), signal.SIGKILL)
        parallel.gather(fabric, None)


def faulty(progress):
    """One worker has a fault of ours."""
    fabric = parallel.join("cpu")
    with parallel.together(fabric):
        if fabric.global_rank == 1:
            raise KeyError("a fault")
        parallel.gather(fabric, None)
