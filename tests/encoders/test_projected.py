import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mersa import build
from mersa.config import AudioSettings, TextSettings
from mersa.encoders.base import Derived
from mersa.encoders.budget import Item
from mersa.encoders.cache import FeatureCache, encode_missing, load_frames
from mersa.encoders.mel import LogMel
from mersa.encoders.projected import ProjectedEncoder, Projection, is_projected
from mersa.encoders.tiny import TinyText
from mersa.errors import ConfigError, EncoderError

MEL = AudioSettings(name="mel", peak=0.5)


def projection(given, *, form="mlp", width=16, seed=0):
    torch.manual_seed(seed)
    made = Projection(form, (given, 24, given if form == "residual" else width))
    with torch.no_grad():
        for weight in made.parameters():
            weight.normal_(0, 0.1)
    made.standardise(3 * torch.randn(50, given) - 1)
    return made


def on_mel(*, name="here", **choice):
    base = LogMel(peak=0.5)
    return ProjectedEncoder(
        base, projection(base.width, **choice), name=name, settings=MEL.model_dump()
    )


def waves(*lengths, seed=0):
    random = np.random.default_rng(seed)
    return [random.normal(0, 0.1, length).astype(np.float32) for length in lengths]


@pytest.mark.parametrize("form", ["mlp", "residual", "linear"])
def test_frames_are_those_of_the_base_standardised_and_moved(form):
    encoder = on_mel(form=form)
    (wave,) = waves(16_000)

    frames = encoder.encode([wave]).frames[0]

    held = {name: one.numpy() for name, one in encoder._projection.state_dict().items()}
    standard = (LogMel(peak=0.5).encode([wave]).frames[0] - held["shift"]) * held["scale"]
    hidden = standard @ held["layers.0.weight"].T + held["layers.0.bias"]
    if form != "linear":
        active = torch.nn.functional.gelu(torch.from_numpy(hidden)).numpy()
        hidden = active @ held["layers.3.weight"].T + held["layers.3.bias"]
    expected = standard + hidden if form == "residual" else hidden
    assert frames == pytest.approx(expected, abs=1e-4)
    assert frames.shape[1] == encoder.width


def test_a_new_residual_projection_only_standardises():
    frames = 5 * torch.randn(40, 8) + 2
    made = Projection("residual", (8, 6, 8))
    made.standardise(frames)

    moved = made(frames).detach()

    assert moved == pytest.approx((frames - frames.mean(0)) / frames.std(0, correction=0), abs=1e-5)


def test_a_value_that_never_changes_becomes_0():
    made = Projection("residual", (3, 6, 3))

    made.standardise(torch.full((10, 3), 7.0))

    assert made(torch.full((2, 3), 7.0)).abs().max() == 0


def test_a_batch_gives_what_one_clip_at_a_time_gives():
    encoder = on_mel()
    clips = waves(4_000, 16_000, 9_000)

    together = encoder.encode(clips)

    alone = [encoder.encode([clip]).frames[0] for clip in clips]
    assert together.lengths.tolist() == [len(one) for one in alone]
    for one, other in zip(together.split(), alone, strict=True):
        assert one == pytest.approx(other, abs=1e-6)
    assert not together.frames[0, together.lengths[0] :].any()


def test_it_is_an_encoder_of_the_modality_of_its_base():
    encoder, base = on_mel(), LogMel(peak=0.5)

    assert isinstance(encoder, Derived)
    assert (encoder.modality, encoder.width, encoder.num_layers) == ("audio", 16, 1)
    assert encoder.frames_per_second == base.frames_per_second
    assert encoder.equal_lengths == base.equal_lengths


def test_the_fingerprint_follows_base_form_and_weights():
    base = LogMel(peak=0.5)
    made = projection(base.width)
    other = LogMel(peak=0.25)
    settings = MEL.model_dump()
    prints = {
        ProjectedEncoder(base, made, name="a", settings=settings).fingerprint,
        ProjectedEncoder(base, made, name="elsewhere", settings=settings).fingerprint,
        ProjectedEncoder(other, made, name="a", settings=settings).fingerprint,
        on_mel(seed=1).fingerprint,
        on_mel(width=base.width).fingerprint,
        on_mel(form="residual").fingerprint,
        base.fingerprint,
    }

    assert len(prints) == 6


def test_the_cache_holds_the_frames_of_the_base_alone(tmp_path):
    encoder, cache = on_mel(), FeatureCache(tmp_path)
    clips = waves(4_000, 16_000)
    items = {str(n): Item(f"key{n}", lambda n=n: clips[n], n) for n in range(2)}

    encoded = encode_missing(encoder, items, cache)

    assert encoded == 2
    assert encode_missing(encoder.base, items, cache) == 0
    assert [path.name for path in tmp_path.iterdir()] == [encoder.base.fingerprint[:16]]
    for number, clip in enumerate(clips):
        frames = load_frames(encoder, items[str(number)], cache)
        assert frames == pytest.approx(encoder.encode([clip]).frames[0], abs=1e-6)


def test_a_saved_projection_is_built_by_its_folder_with_the_settings_of_its_base(tmp_path):
    encoder = on_mel()
    encoder.save_projection(tmp_path)
    (wave,) = waves(9_000)

    built = build.audio_encoder(AudioSettings(name=str(tmp_path)))
    with_peak = build.audio_encoder(AudioSettings(name=str(tmp_path), peak=0.5))

    assert is_projected(tmp_path)
    assert built.fingerprint == with_peak.fingerprint == encoder.fingerprint
    assert np.array_equal(built.encode([wave]).frames, encoder.encode([wave]).frames)


def test_saved_whole_it_needs_nothing_else(tmp_path):
    base = TinyText.learn(["so glad", "so sad"], width=12)
    made = ProjectedEncoder(
        base,
        projection(12),
        name="here",
        settings=TextSettings(name="tiny").model_dump(),
    )

    made.save(tmp_path / "copy")

    settings = TextSettings(name="gone")
    built = build.text_encoder(settings, saved=tmp_path / "copy")
    assert built.fingerprint == made.fingerprint
    assert np.array_equal(built.encode(["so glad"]).frames, made.encode(["so glad"]).frames)


def test_another_level_than_that_of_the_base_is_refused(tmp_path):
    on_mel().save_projection(tmp_path)

    with pytest.raises(ConfigError, match=r"audio.peak is 0.9, but .* with 0.5; leave it unset"):
        build.audio_encoder(AudioSettings(name=str(tmp_path), peak=0.9))


def test_a_projection_of_sound_is_no_text_encoder(tmp_path):
    on_mel().save_projection(tmp_path)

    with pytest.raises(ConfigError, match=r"which projects audio; give it as audio.name"):
        build.text_encoder(TextSettings(name=str(tmp_path)))


def test_a_base_with_other_weights_or_settings_is_refused(tmp_path):
    on_mel().save_projection(tmp_path)

    with pytest.raises(EncoderError, match=r"other weights or settings .* or align again"):
        ProjectedEncoder.load(tmp_path, LogMel(peak=0.25))


def test_a_base_of_another_width_is_refused():
    with pytest.raises(EncoderError, match=r"width 7, but 'mel' gives .*align again"):
        ProjectedEncoder(LogMel(), projection(7), name="here", settings={})


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"settings": {}, "modality": "smell"}'])
def test_a_broken_description_is_refused(content, tmp_path):
    on_mel().save_projection(tmp_path)
    (tmp_path / "projection.json").write_text(content)

    with pytest.raises(EncoderError, match=r"projection.json .*bring it back, or align again"):
        build.audio_encoder(AudioSettings(name=str(tmp_path)))


def test_weights_that_are_missing_cut_or_of_other_shapes_are_refused(tmp_path):
    path = tmp_path / "projection.safetensors"
    on_mel().save_projection(tmp_path)
    whole = path.read_bytes()
    held = load_file(path)
    held.pop("shift")

    messages = []
    for change in (
        path.unlink,
        lambda: path.write_bytes(whole[:100]),
        lambda: save_file(held, path),
    ):
        change()
        with pytest.raises(EncoderError) as caught:
            build.audio_encoder(AudioSettings(name=str(tmp_path)))
        messages.append(str(caught.value))

    assert all("does not hold the weights of this projection" in one for one in messages)


def test_the_description_tells_no_more_than_is_needed(tmp_path):
    on_mel().save_projection(tmp_path)

    facts = json.loads((tmp_path / "projection.json").read_text())

    assert facts["settings"] == MEL.model_dump()
    assert facts["sizes"] == [LogMel().width, 24, 16]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "projection.json",
        "projection.safetensors",
    ]
