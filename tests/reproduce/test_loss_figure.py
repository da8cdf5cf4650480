"""Fig. 2: the curves are those of Eq. (1), and a grey print keeps them."""

import numpy as np
import pytest
import torch
from PIL import Image

from mersa.alignment.settings import PRESETS
from mersa.reproduce.loss_figure import draw_loss, weights, write_loss_figure


@pytest.mark.parametrize("preset", PRESETS.values(), ids=PRESETS)
@pytest.mark.parametrize("cosine", [-0.9, 0.1, 0.5, 0.8])
def test_weights_are_the_derivatives_of_equation_one(preset, cosine):
    alpha, beta, base = preset["alpha"], preset["beta"], preset["base"]
    s = torch.tensor([cosine, cosine], dtype=torch.float64, requires_grad=True)
    loss = torch.log(1 + torch.exp(-alpha * (s[0] - base))) / alpha
    loss = loss + torch.log(1 + torch.exp(beta * (s[1] - base))) / beta
    loss.backward()

    pull, push = weights(np.array([cosine]), alpha, beta, base)

    np.testing.assert_allclose((-pull[0], push[0]), s.grad, rtol=1e-9)


def test_each_preset_is_drawn_with_its_numbers():
    figure = draw_loss()

    told = [text.get_text() for text in figure.legends[0].get_texts()]

    for name, preset in PRESETS.items():
        numbers = ", ".join(f"{preset[key]:g}" for key in ("alpha", "beta", "base"))
        assert sum(f"{name} ({numbers})" in line for line in told) == 2


def test_picture_has_no_colours(tmp_path):
    write_loss_figure(tmp_path / "figure2.png")

    pixels = np.asarray(Image.open(tmp_path / "figure2.png").convert("RGB")).astype(int)

    assert np.ptp(pixels, axis=2).max() <= 2
    assert (pixels < 60).any()
