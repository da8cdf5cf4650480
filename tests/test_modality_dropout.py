"""Modalities are taken away as often as asked for, never both, and the same after a kill."""

import numpy as np
import pytest
import torch

from mersa.config import TrainSettings, apply_assignments, make_config
from mersa.encoders.base import missing
from mersa.errors import ConfigError
from mersa.modality_dropout import with_modalities_taken
from test_training import AUDIO, TEXT, features, killed_fit, run, same

TAKEN = TrainSettings(epochs=3, batch_size=8, seed=4, modality_dropout=0.5)


def lacking(several):
    """Return what each utterance lacks: text, audio, both or nothing."""
    names = {(True, True): "both", (True, False): "text", (False, True): "audio"}
    frames = [several.frames(row) for row in range(len(several))]
    return [names.get((not text.any(), not audio.any()), "") for text, audio in frames]


def test_each_modality_is_taken_with_half_of_the_share():
    taken = with_modalities_taken(features(4000), 0.3, seed=(0, 1))

    told = lacking(taken)

    sampling = 3 * np.sqrt(0.15 * 0.85 / 4000)
    assert told.count("text") / 4000 == pytest.approx(0.15, abs=sampling)
    assert told.count("audio") / 4000 == pytest.approx(0.15, abs=sampling)
    assert told.count("both") == 0


def test_what_is_taken_is_the_frame_of_an_absent_modality():
    several = features(200)

    taken = with_modalities_taken(several, 0.5, seed=(0,))

    for row, lacks in enumerate(lacking(taken)):
        text, audio = taken.frames(row)
        expected = torch.from_numpy(missing(TEXT)) if lacks == "text" else several.text[row]
        assert torch.equal(text, expected)
        expected = torch.from_numpy(missing(AUDIO)) if lacks == "audio" else several.audio[row]
        assert torch.equal(audio, expected)


@pytest.mark.parametrize("packed", [True, False])
def test_batches_hold_what_is_left(packed):
    taken = with_modalities_taken(features(40), 0.5, seed=(0,))
    rows = [lacking(taken).index(one) for one in ("text", "audio", "")]

    batch = taken.batch(rows, packed=packed)

    counts = batch.text_mask if packed else batch.text_mask.sum(1)
    assert counts.tolist() == [1, *(len(taken.text[row]) for row in rows[1:])]
    assert lacking(taken)[rows[0]] == "text"


def test_an_utterance_that_lacks_one_keeps_the_other():
    several = features(300)
    text = tuple(torch.zeros(1, TEXT) for _ in several.text)
    without_words = type(several)(several.ids, text, several.audio, several.labels)

    taken = with_modalities_taken(without_words, 0.99, seed=(0,))

    assert set(lacking(taken)) == {"text"}


def test_what_tuned_encoders_read_is_taken_too():
    several = features(100)
    ids, waveforms = torch.arange(7), torch.ones(160)
    inputs = type(several)(
        several.ids, several.text, several.audio, several.labels, lambda row: (ids, waveforms), True
    )

    taken = [with_modalities_taken(inputs, 0.5, seed=(0,)).frames(row) for row in range(100)]

    sizes = {(len(text), len(sound)) for text, sound in taken}
    assert sizes == {(7, 160), (0, 160), (7, 0)}
    assert {text.dtype for text, _ in taken} == {torch.long}


def test_each_epoch_draws_anew():
    told = [lacking(with_modalities_taken(features(50), 0.5, seed=(4, n, 0, 1))) for n in (0, 0, 1)]

    assert told[0] == told[1] != told[2]


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_killed_fit_goes_on_to_the_same_end(tmp_path, monkeypatch, epoch):
    whole, told = run(TAKEN)
    state = tmp_path / "resume.pt"
    killed_fit(state, TAKEN, epoch=epoch + 1, monkeypatch=monkeypatch)

    resumed, told_again = run(TAKEN, state=state)

    assert same(whole.state_dict(), resumed.state_dict())
    assert told.history == told_again.history


def test_it_changes_the_training_and_0_does_not():
    off = TAKEN.model_copy(update={"modality_dropout": 0.0})
    plain = TrainSettings(epochs=3, batch_size=8, seed=4)

    (taken, _), (zero, _), (default, _) = run(TAKEN), run(off), run(plain)

    assert same(zero.state_dict(), default.state_dict())
    assert not same(taken.state_dict(), default.state_dict())


@pytest.mark.parametrize("system", ["text", "audio"])
def test_one_modality_alone_is_never_taken_away(system):
    options = [f"network.system={system}", "train.modality_dropout=0.2"]

    with pytest.raises(ConfigError, match=r"modality_dropout is 0.2, but .* leave it at 0"):
        make_config(apply_assignments({}, options))
