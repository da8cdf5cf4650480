import math
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from mersa import training
from mersa.batches import FeatureSet, epoch_rows
from mersa.config import LINEAGE, TrainSettings, make_config
from mersa.errors import ConfigError, RunError
from mersa.networks import MixedLayers, SelfAttentionFusion, Server, SingleModality
from mersa.training import fit, predict, rate_factor

TEXT, AUDIO, LABELS = 12, 8, 3


def features(count=24, *, seed=0, labels=None):
    """Utterances whose label stands in both modalities, under noise."""
    random = np.random.default_rng(seed)
    labels = [row % LABELS for row in range(count)] if labels is None else labels

    def frames(width, longest):
        return tuple(
            torch.from_numpy(
                random.standard_normal((int(random.integers(1, longest)), width)) * 0.3
                + 2.0 * np.eye(LABELS, width)[label]
            ).float()
            for label in labels
        )

    return FeatureSet(
        tuple(map(str, range(len(labels)))),
        frames(TEXT, 5),
        frames(AUDIO, 7),
        torch.tensor(labels),
    )


def network(seed=0, system=None):
    torch.manual_seed(seed)
    return system or SelfAttentionFusion(
        TEXT, AUDIO, LABELS, num_heads=2, dropout=0.3, fusion_width=10, hidden=(6,)
    )


def run(settings, *, train=None, validation=None, net=None, **more):
    net = net or network(settings.seed)
    result = fit(
        net,
        train or features(),
        validation or features(15, seed=1),
        settings,
        fabric=Fabric(accelerator="cpu", devices=1),
        **more,
    )
    return net, result


def same(one, other):
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())


class Killed(BaseException):
    pass


def kill_at(epoch):
    def on_progress(done, total):
        if done == epoch:
            raise Killed

    return on_progress


def killed_fit(state, settings, *, epoch, monkeypatch):
    """Leave the state that a fit stored before it was killed in the epoch after `epoch`."""
    monkeypatch.setattr(training, "STORE_EVERY_S", -1.0)
    with pytest.raises(Killed):
        run(settings, state=state, on_progress=kill_at(epoch))


def test_the_network_learns():
    settings = TrainSettings(epochs=15, learning_rate=1e-2, batch_size=8, seed=2)

    _, result = run(settings)

    assert result.history[-1]["validation_loss"] < 0.5 * math.log(LABELS)
    assert result.best_score > 0.9


def test_same_seed_same_weights_and_history():
    settings = TrainSettings(epochs=3, seed=4)

    (one, first), (other, second) = run(settings), run(settings)

    assert first.history == second.history
    assert same(one.state_dict(), other.state_dict())


def test_another_seed_gives_other_weights():
    start = network().state_dict()
    one, other = network(), network()

    run(TrainSettings(epochs=1, seed=4), net=one)
    run(TrainSettings(epochs=1, seed=5), net=other)

    # From the same first weights: order and dropout alone differ.
    assert same(start, network().state_dict())
    assert not same(one.state_dict(), other.state_dict())


def test_the_fit_does_not_depend_on_what_was_drawn_before():
    settings = TrainSettings(epochs=2)
    one, other = network(), network()

    run(settings, net=one)
    torch.rand(7)
    np.random.default_rng().random(3)
    run(settings, net=other)

    assert same(one.state_dict(), other.state_dict())


@pytest.mark.parametrize("epoch", [2, 3, 5])
def test_a_killed_fit_goes_on_to_the_same_end(tmp_path, monkeypatch, epoch):
    settings = TrainSettings(epochs=6, schedule="cosine", batch_size=7)
    state = tmp_path / "resume.pt"
    whole, expected = run(settings)
    killed_fit(state, settings, epoch=epoch, monkeypatch=monkeypatch)

    resumed, result = run(settings, state=state)

    assert state.is_file()
    assert result.history == expected.history
    assert result.best_epoch == expected.best_epoch
    assert same(resumed.state_dict(), whole.state_dict())


def test_a_resumed_fit_does_not_begin_anew(tmp_path, monkeypatch):
    settings = TrainSettings(epochs=6)
    killed_fit(tmp_path / "resume.pt", settings, epoch=4, monkeypatch=monkeypatch)
    counts = []

    run(settings, state=tmp_path / "resume.pt", on_progress=lambda done, total: counts.append(done))

    assert counts == [4, 5, 6]  # killed in its report of epoch 4, which was not stored yet


def test_the_state_loads_without_unpickling_code(tmp_path, monkeypatch):
    killed_fit(tmp_path / "resume.pt", TrainSettings(epochs=6), epoch=3, monkeypatch=monkeypatch)

    state = torch.load(tmp_path / "resume.pt", weights_only=True)

    assert set(state) == {"network", "optimizer", "scheduler", "fit"}
    assert len(state["fit"]["history"]) == 2


def test_no_state_is_stored_before_its_time(tmp_path):
    run(TrainSettings(epochs=3), state=tmp_path / "resume.pt")

    assert list(tmp_path.iterdir()) == []


class Spy:
    """Makes a folder when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("unpickled",)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no state at all",
        b"PK\x03\x04 cut",
        pickle.dumps({"network": {}}),
        pickle.dumps(Spy()),
    ],
    ids=["empty", "text", "cut", "pickle", "code"],
)
def test_a_broken_state_is_refused(tmp_path, content, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "resume.pt").write_bytes(content)

    with pytest.raises(RunError, match=r"resume.pt does not hold .*; remove it to begin anew"):
        run(TrainSettings(epochs=2), state=tmp_path / "resume.pt")
    assert not Path("unpickled").exists()


def test_the_state_of_another_network_is_refused(tmp_path, monkeypatch):
    settings = TrainSettings(epochs=4)
    killed_fit(tmp_path / "resume.pt", settings, epoch=2, monkeypatch=monkeypatch)
    other = network(system=Server(TEXT, AUDIO, LABELS))

    with pytest.raises(RunError, match="remove it to begin anew"):
        run(settings, net=other, state=tmp_path / "resume.pt")


def test_fitting_stops_when_nothing_gets_better():
    # One label in validation: after the first epoch accuracy 1 cannot be passed.
    settings = TrainSettings(epochs=50, patience=4, monitor="accuracy", learning_rate=1e-2)

    _, result = run(settings)

    assert len(result.history) == result.best_epoch + 1 + settings.patience
    assert len(result.history) < 50


def test_early_stopping_holds_after_resuming(tmp_path, monkeypatch):
    settings = TrainSettings(epochs=50, patience=4, monitor="accuracy", learning_rate=1e-2)
    _, expected = run(settings)
    killed_fit(
        tmp_path / "resume.pt", settings, epoch=len(expected.history), monkeypatch=monkeypatch
    )

    _, result = run(settings, state=tmp_path / "resume.pt")

    assert result.history == expected.history


@pytest.mark.parametrize(
    "monitor", ["macro_f1", "balanced_accuracy", "accuracy", "weighted_f1", "loss"]
)
def test_the_monitor_chooses_the_epoch(monitor):
    # Labels of unlike counts and a high rate, so that the monitors do not agree all the time.
    validation = features(labels=[0] * 13 + [1] * 5 + [2] * 3, seed=3)
    settings = TrainSettings(epochs=9, monitor=monitor, learning_rate=3e-3, batch_size=3)

    net, result = run(settings, validation=validation)

    column = [row[f"validation_{monitor}"] for row in result.history]
    best = min(column) if monitor == "loss" else max(column)
    assert result.best_epoch == column.index(best)  # of equals the first
    assert result.best_score == (-best if monitor == "loss" else best)
    assert same(net.state_dict(), result.best)


def test_the_network_is_left_with_the_best_epoch_not_the_last():
    settings = TrainSettings(epochs=20, learning_rate=1e-2, monitor="accuracy")
    validation = features(15, seed=1)

    net, result = run(settings, validation=validation)

    assert result.best_epoch < 19, "the last epoch was not meant to be the best"
    probabilities = predict(net, validation, device=torch.device("cpu"))
    loss = -np.log(probabilities[np.arange(15), validation.labels.numpy()]).mean()
    assert loss == pytest.approx(result.history[result.best_epoch]["validation_loss"])


def test_class_weights_are_the_inverse_of_the_share():
    labels = torch.tensor([0] * 6 + [1] * 3 + [2])

    weights = training._class_weights(labels, 3)

    assert weights.tolist() == pytest.approx([10 / (3 * 6), 10 / (3 * 3), 10 / 3])
    assert weights[labels].mean().item() == pytest.approx(1)


def test_class_weights_bear_a_label_that_is_absent():
    assert torch.isfinite(training._class_weights(torch.tensor([0, 0, 2]), 4)).all()


def test_class_weights_raise_the_answers_of_the_rare_even_one_by_one():
    random = np.random.default_rng(5)
    rows = [0] * 40 + [1] * 4
    noise = FeatureSet(
        tuple(map(str, range(44))),
        tuple(torch.from_numpy(random.standard_normal((2, TEXT))).float() for _ in rows),
        tuple(torch.from_numpy(random.standard_normal((3, AUDIO))).float() for _ in rows),
        torch.tensor(rows),
    )
    shares = []
    for class_weights in (False, True):
        settings = TrainSettings(
            epochs=1, batch_size=1, class_weights=class_weights, learning_rate=2e-2
        )
        net, _ = run(settings, train=noise, validation=noise)
        shares.append(predict(net, noise, device=torch.device("cpu"))[:, 1].mean())

    assert shares[1] > 2 * shares[0]


@pytest.mark.parametrize(
    "net",
    [
        Server(TEXT, AUDIO, 5),
        SelfAttentionFusion(TEXT, AUDIO, 5, num_heads=2, fusion_width=10, hidden=(6, 4)),
        SingleModality("audio", TEXT, 5, num_heads=2, fusion_width=10, hidden=(6,)),
        MixedLayers(Server(TEXT, AUDIO, 5), 3, 2),
    ],
    ids=lambda net: type(net).__name__,
)
def test_the_number_of_labels_is_that_of_the_last_layer(net):
    assert training._num_labels(net) == 5


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("none", {0: 1.0, 29: 1.0, 99: 1.0}),
        ("step", {0: 1.0, 29: 1.0, 30: 0.2, 59: 0.2, 60: 0.04}),
        ("cosine", {0: 1.0, 25: 0.5 + math.sqrt(0.125), 50: 0.5, 100: 0.0, 120: 0.0}),
    ],
)
def test_the_schedule_multiplies_the_rate(schedule, expected):
    settings = TrainSettings(epochs=100, schedule=schedule, step_epochs=30, step_factor=0.2)

    found = {epoch: rate_factor(epoch, settings) for epoch in expected}

    assert found == pytest.approx(expected, abs=1e-12)


def test_history_tells_the_rate_of_each_epoch():
    settings = TrainSettings(epochs=5, schedule="step", step_epochs=2, learning_rate=1e-3)

    _, result = run(settings)

    rates = [row["learning_rate"] for row in result.history]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-5])


def test_lineage_runs_one_utterance_at_a_time(monkeypatch):
    settings = make_config({"train": {"lineage": True, "epochs": 2}}).train
    sizes = []

    def spied(features, batch_size, *, seed):
        for rows in epoch_rows(features, batch_size, seed=seed):
            sizes.append(len(rows))
            yield rows

    monkeypatch.setattr(training, "epoch_rows", spied)
    run(settings)

    assert sizes == [1] * 24 * 2
    assert {name: getattr(settings, name) for name in LINEAGE} == {**LINEAGE, "epochs": 2}


def without_dropout():
    torch.manual_seed(0)
    return SelfAttentionFusion(
        TEXT, AUDIO, LABELS, num_heads=2, dropout=0.0, fusion_width=10, hidden=(6,)
    )


def check_same_weights(found, wanted):
    """Compare all weights save the keys' biases, whose gradients are rounding around zero."""
    for name, weight in wanted.state_dict().items():
        if not name.endswith("key.bias"):
            torch.testing.assert_close(found.state_dict()[name], weight, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("budget", [1, 17, 60])
def test_parts_of_a_batch_add_up_to_the_same_steps(budget):
    settings = TrainSettings(epochs=2, batch_size=8, class_weights=True, label_smoothing=0.1)

    whole, expected = run(settings, net=without_dropout())
    parts, found = run(
        settings.model_copy(update={"frames_at_once": budget}), net=without_dropout()
    )

    for one, other in zip(expected.history, found.history, strict=True):
        assert other == pytest.approx(one, abs=1e-5)
    check_same_weights(parts, whole)


class Small(SelfAttentionFusion):
    """A network that runs out of memory with more than so many frames."""

    most = 30

    def packed(self, text, audio):
        if sum(text.lengths) + sum(audio.lengths) > self.most and self.training:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes")
        return super().packed(text, audio)


def small():
    torch.manual_seed(0)
    return Small(TEXT, AUDIO, LABELS, num_heads=2, dropout=0.0, fusion_width=10, hidden=(6,))


def test_gradients_of_parts_before_memory_ran_out_are_forgotten(caplog):
    class FailsOnce(SelfAttentionFusion):
        calls = 0

        def packed(self, text, audio):
            self.calls += self.training
            if self.calls == 2:
                self.calls += 1
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
            return super().packed(text, audio)

    torch.manual_seed(0)
    net = FailsOnce(TEXT, AUDIO, LABELS, num_heads=2, dropout=0.0, fusion_width=10, hidden=(6,))

    whole, _ = run(TrainSettings(epochs=1, batch_size=8), net=without_dropout())
    parts, _ = run(TrainSettings(epochs=1, batch_size=8, frames_at_once=20), net=net)

    assert len(caplog.records) == 1
    check_same_weights(parts, whole)


def test_when_memory_runs_out_the_frames_are_halved_and_the_steps_stay(caplog):
    settings = TrainSettings(epochs=2, batch_size=8)

    whole, _ = run(settings, net=without_dropout())
    parts, _ = run(settings, net=small())

    assert [record.getMessage()[:14] for record in caplog.records] == ["out of memory "] * len(
        caplog.records
    )
    assert 1 <= len(caplog.records) <= 3, "halved for good, not for a batch"
    check_same_weights(parts, whole)


def test_an_utterance_that_does_not_fit_alone_is_told():
    net = small()
    net.most = 3

    with pytest.raises(RunError, match=r"utterance '\d+' of \d+ frames does not fit.*; cut it"):
        run(TrainSettings(epochs=1, batch_size=8), net=net)


def test_other_errors_are_not_taken_for_lack_of_memory():
    class Broken(Small):
        def packed(self, text, audio):
            raise RuntimeError("shapes do not fit")

    net = Broken(TEXT, AUDIO, LABELS, num_heads=2)

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        run(TrainSettings(epochs=1), net=net)


def test_history_tells_that_packed_frames_hold_no_padding():
    _, result = run(TrainSettings(epochs=1))

    assert result.history[0]["padding_share"] == 0


def test_products_in_bf16_are_near_and_end_with_the_fit():
    settings = TrainSettings(epochs=2, batch_size=8)
    seen = set()
    net = without_dropout()
    net.register_forward_hook(lambda *_: seen.add(torch.get_float32_matmul_precision()))

    _, expected = run(settings, net=without_dropout())
    _, found = run(settings.model_copy(update={"precision": "bf16"}), net=net)

    assert seen == {"medium", "highest"}  # the second is that of validation
    assert torch.get_float32_matmul_precision() == "highest"
    losses = [[row["train_loss"] for row in one.history] for one in (expected, found)]
    assert losses[1] == pytest.approx(losses[0], rel=0.03)


def test_validation_is_never_learnt_from():
    validation = features(15, seed=1)
    exchanged = FeatureSet(
        validation.ids, validation.text[::-1], validation.audio, validation.labels.flip(0)
    )
    settings = TrainSettings(epochs=1)

    (one, _), (other, _) = run(settings, validation=validation), run(settings, validation=exchanged)

    assert same(one.state_dict(), other.state_dict())


def test_a_loss_that_is_no_number_is_told():
    broken = network()
    with torch.no_grad():
        next(broken.parameters()).fill_(math.inf)

    with pytest.raises(ConfigError, match=r"loss of epoch 1 is nan.*lower train.learning_rate"):
        run(TrainSettings(epochs=2), net=broken)


def test_weights_that_burst_in_the_last_step_are_told():
    class Bursts(nn.Module):
        """Answers with numbers while it learns, and without afterwards."""

        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(TEXT, LABELS)

        def forward(self, text, text_mask, audio, audio_mask):
            means = [one.mean(0) for one in text.split(text_mask.tolist())]  # packed on a CPU
            return self.linear(torch.stack(means)) * (1.0 if self.training else math.nan)

    with pytest.raises(RunError, match=r"no finite numbers; .* lower train.learning_rate"):
        run(TrainSettings(epochs=2), net=Bursts())


def test_answers_do_not_depend_on_the_order():
    net, one = network(), features(13)
    order = np.random.default_rng(2).permutation(13).tolist()
    other = FeatureSet(
        tuple(one.ids[row] for row in order),
        tuple(one.text[row] for row in order),
        tuple(one.audio[row] for row in order),
        one.labels[order],
    )

    first = predict(net, one, device=torch.device("cpu"))
    second = predict(net, other, device=torch.device("cpu"))

    np.testing.assert_allclose(second, first[order], atol=1e-6)
    np.testing.assert_allclose(first.sum(1), 1)


@pytest.mark.parametrize("modality", ["text", "audio"])
def test_the_shuffle_control_exchanges_one_modality_alone(modality):
    one = features(11)

    shuffled = one.shuffled(modality, 3)

    moved, kept = ("text", "audio") if modality == "text" else ("audio", "text")
    before, after = ([id(frames) for frames in getattr(it, moved)] for it in (one, shuffled))
    assert getattr(shuffled, kept) is getattr(one, kept)
    assert sorted(after) == sorted(before)
    assert after != before
    assert torch.equal(shuffled.labels, one.labels)
    assert shuffled.shuffled("none", 0).ids == one.ids


@pytest.mark.parametrize("modality", ["text", "audio"])
def test_nothing_is_learnt_from_a_shuffled_modality(modality):
    width = TEXT if modality == "text" else AUDIO
    settings = TrainSettings(epochs=12, learning_rate=1e-2, batch_size=8)
    scores = []
    for shuffle in (False, True):
        parts = [features(60), features(60, seed=1)]
        if shuffle:
            parts = [part.shuffled(modality, 3) for part in parts]
        net = network(system=SingleModality(modality, width, LABELS, num_heads=2, fusion_width=10))
        scores.append(run(settings, train=parts[0], validation=parts[1], net=net)[1].best_score)

    assert scores[0] > 0.95
    assert scores[1] < 0.65


def a_denormal_survives():
    return (torch.tensor(1e-40) * 1).item() != 0


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="this processor flushes nothing")
def test_denormals_are_flushed_inside_an_epoch_alone():
    net, seen = network(), set()
    net.register_forward_hook(lambda *_: seen.add((net.training, a_denormal_survives())))

    run(TrainSettings(epochs=2), net=net)

    assert seen == {(True, False), (False, True)}
    assert a_denormal_survives()


def test_denormals_survive_an_interrupted_epoch():
    def interrupt(*_):
        raise KeyboardInterrupt

    net = network()
    net.register_forward_hook(interrupt)

    with pytest.raises(KeyboardInterrupt):
        run(TrainSettings(epochs=2), net=net)

    assert a_denormal_survives()


def test_nothing_of_the_fit_is_written_without_a_state(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training, "STORE_EVERY_S", -1.0)

    run(TrainSettings(epochs=2))

    assert list(Path().iterdir()) == []
