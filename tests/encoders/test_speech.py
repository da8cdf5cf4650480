import json
import math

import folders
import numpy as np
import pytest
import torch
from transformers import AutoModel, WhisperFeatureExtractor

from mersa.encoders.speech import SpeechEncoder
from mersa.errors import ConfigError, EncoderError, ShapeError

KINDS = {
    "wav2vec2": (folders.write_wav2vec2, 24),
    "hubert": (folders.write_hubert, 24),
    "wavlm": (folders.write_wavlm, 24),
    "whisper": (folders.write_whisper, 20),
}
SAMPLES = (3_210, 5_555, 800, 5_555)


def noise(samples, seed=0):
    generator = np.random.default_rng(seed)
    return (generator.standard_normal(samples) * 0.1 + 0.02).astype(np.float32)


CLIPS = [noise(samples, seed) for seed, samples in enumerate(SAMPLES)]


@pytest.fixture(params=KINDS, scope="module")
def model(request, tmp_path_factory):
    write, width = KINDS[request.param]
    return str(write(tmp_path_factory.mktemp(request.param))), width


@pytest.fixture(scope="module")
def wav2vec2(tmp_path_factory):
    return str(folders.write_wav2vec2(tmp_path_factory.mktemp("wav2vec2")))


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    return str(folders.write_whisper(tmp_path_factory.mktemp("whisper")))


def frames_of(encoder, clips):
    return encoder.encode(clips).split()


def largest_difference(ours, theirs):
    return max(
        np.abs(one - other).max() / np.abs(other).max()
        for one, other in zip(ours, theirs, strict=True)
    )


@pytest.mark.parametrize("layer", [-1, "mix"])
def test_a_batch_gives_what_one_clip_at_a_time_gives(model, layer):
    encoder = SpeechEncoder(model[0], layer=layer)

    together = frames_of(encoder, CLIPS)

    alone = [frames_of(encoder, [clip])[0] for clip in CLIPS]
    assert [len(frames) for frames in together] == [len(frames) for frames in alone]
    assert len({len(frames) for frames in alone}) == 3
    assert largest_difference(together, alone) < 1e-5


def test_the_order_given_is_the_order_returned(model):
    encoder = SpeechEncoder(model[0])

    forth, back = frames_of(encoder, CLIPS), frames_of(encoder, CLIPS[::-1])

    assert largest_difference(forth, back[::-1]) < 1e-5


def test_width_layers_and_rate_come_from_the_config(model):
    folder, width = model

    plain, mix = SpeechEncoder(folder), SpeechEncoder(folder, layer="mix")

    assert (plain.width, plain.num_layers) == (width, 1)
    assert (mix.width, mix.num_layers) == (width, 4)
    assert mix.encode(CLIPS[:1]).frames.shape[2] == width * 4
    assert (plain.modality, plain.frames_per_second, plain.equal_lengths) == ("audio", 50.0, False)


@pytest.mark.parametrize("samples", [0, 1, 319])
def test_the_shortest_clips_give_one_finite_frame(model, samples):
    encoded = SpeechEncoder(model[0]).encode([noise(samples)])

    assert encoded.lengths.tolist() == [1]
    assert np.isfinite(encoded.frames).all()


def test_a_second_frame_begins_at_720_samples(wav2vec2):
    encoded = SpeechEncoder(wav2vec2).encode([noise(samples) for samples in (399, 400, 719, 720)])

    assert encoded.lengths.tolist() == [1, 1, 1, 2]


def test_a_short_clip_is_lengthened_with_silence(wav2vec2):
    encoder = SpeechEncoder(wav2vec2, normalize=False)

    short, whole = frames_of(encoder, [noise(150), np.pad(noise(150), (0, 250))])

    assert largest_difference([short], [whole]) < 1e-5


@pytest.mark.parametrize("normalize", [True, False])
def test_digital_silence_gives_finite_frames(model, normalize):
    encoder = SpeechEncoder(model[0], normalize=normalize, peak=0.5)

    encoded = encoder.encode([np.zeros(4_000, np.float32), CLIPS[0]])

    assert np.isfinite(encoded.frames).all()


def test_frames_are_those_of_transformers(wav2vec2):
    clip = CLIPS[0]
    normal = (clip - clip.mean()) / np.sqrt(clip.var() + 1e-7)
    with torch.inference_mode():
        model = AutoModel.from_pretrained(wav2vec2).eval()
        answer = model(torch.tensor(normal)[None], output_hidden_states=True)
        raw = model(torch.tensor(clip)[None]).last_hidden_state[0].numpy()
    hidden = [state[0].numpy() for state in answer.hidden_states]

    def encode(**settings):
        return frames_of(SpeechEncoder(wav2vec2, **settings), [clip])[0]

    np.testing.assert_allclose(encode(), hidden[3], atol=2e-6)
    np.testing.assert_allclose(encode(layer=2), hidden[2], atol=2e-6)
    np.testing.assert_allclose(encode(layer="mix"), np.concatenate(hidden, axis=1), atol=2e-6)
    np.testing.assert_allclose(encode(normalize=False), raw, atol=2e-6)
    assert np.abs(raw - hidden[3]).max() > 1e-4


def test_normalising_follows_the_preprocessor(tmp_path):
    folder = str(folders.write_wav2vec2(tmp_path, do_normalize=False))

    auto, never = SpeechEncoder(folder), SpeechEncoder(folder, normalize=False)

    assert auto.fingerprint == never.fingerprint
    assert auto.fingerprint != SpeechEncoder(folder, normalize=True).fingerprint


def test_the_peak_takes_the_level_away(wav2vec2):
    encoder = SpeechEncoder(wav2vec2, peak=0.5, normalize=False)

    loud, faint = frames_of(encoder, [CLIPS[0], CLIPS[0] / 8])

    assert largest_difference([faint], [loud]) < 1e-5


def test_whisper_gives_the_frames_of_the_true_length(whisper):
    encoder = SpeechEncoder(whisper)

    lengths = encoder.encode([noise(n) for n in (1, 320, 321, 32_000)]).lengths

    assert lengths.tolist() == [1, 1, 2, 100]


def test_whisper_hears_a_long_clip_window_by_window(whisper):
    clip = noise(32_000 * 2 + 700)
    extractor = WhisperFeatureExtractor.from_pretrained(whisper)
    windows = [clip[:32_000], clip[32_000:64_000], clip[64_000:]]
    with torch.inference_mode():
        model = AutoModel.from_pretrained(whisper).eval().get_encoder()
        features = [extractor(w, sampling_rate=16_000, return_tensors="pt") for w in windows]
        answers = [model(one.input_features).last_hidden_state[0].numpy() for one in features]

    frames = frames_of(SpeechEncoder(whisper), [clip])[0]

    expected = np.concatenate([answers[0], answers[1], answers[2][:3]])
    assert len(frames) == math.ceil(len(clip) / 320) == 203
    assert largest_difference([frames], [expected]) < 1e-5


def test_many_windows_run_in_parts(whisper):
    clip = noise(32_000 * 9 + 1)

    frames = frames_of(SpeechEncoder(whisper), [clip])[0]

    last = frames_of(SpeechEncoder(whisper), [clip[32_000 * 8 :]])[0]
    assert len(frames) == 901
    assert largest_difference([frames[800:]], [last]) < 1e-5


def test_a_saved_encoder_is_the_same_encoder(model, tmp_path):
    encoder = SpeechEncoder(model[0], layer=2, peak=0.5)

    encoder.save(tmp_path / "copy")

    again = SpeechEncoder(str(tmp_path / "copy"), layer=2, peak=0.5)
    assert again.fingerprint == encoder.fingerprint
    np.testing.assert_array_equal(again.encode(CLIPS).frames, encoder.encode(CLIPS).frames)


@pytest.mark.parametrize(
    "settings", [{"layer": 1}, {"peak": 0.5}, {"normalize": False}, {"precision": "bf16"}]
)
def test_the_fingerprint_covers_every_setting(wav2vec2, settings):
    changed = SpeechEncoder(wav2vec2, **settings).fingerprint

    assert changed != SpeechEncoder(wav2vec2).fingerprint


def test_encoding_repeats_itself(model):
    encoder = SpeechEncoder(model[0])

    first, second = encoder.encode(CLIPS), encoder.encode(CLIPS)

    np.testing.assert_array_equal(first.frames, second.frames)


def test_bf16_gives_nearly_the_same_frames_in_float32(model):
    exact = SpeechEncoder(model[0], layer="mix").encode(CLIPS)

    rounded = SpeechEncoder(model[0], layer="mix", precision="bf16").encode(CLIPS)

    assert rounded.frames.dtype == np.float32
    assert rounded.lengths.tolist() == exact.lengths.tolist()
    assert 1e-5 < largest_difference(rounded.split(), exact.split()) < 0.05


def test_an_unknown_precision_is_refused(wav2vec2):
    with pytest.raises(EncoderError, match=r"precision is 'half', .* 'float32' or 'bf16'; choose"):
        SpeechEncoder(wav2vec2, precision="half")


def test_an_empty_batch_is_refused(wav2vec2):
    with pytest.raises(ShapeError, match="no waveforms; give at least one"):
        SpeechEncoder(wav2vec2).encode([])


def test_two_channels_are_refused(wav2vec2):
    with pytest.raises(ShapeError, match=r"shape \(2, 900\), .*average the channels"):
        SpeechEncoder(wav2vec2).encode([np.zeros((2, 900), np.float32)])


def test_a_text_model_is_refused(tmp_path):
    folder = folders.write_bert(tmp_path)

    with pytest.raises(EncoderError, match=r"type 'bert', .*wav2vec2.*give this one as text"):
        SpeechEncoder(str(folder))


def test_a_layer_that_is_not_there_is_named(wav2vec2):
    with pytest.raises(EncoderError, match=r"layer is 4, .*0 \(embeddings\) to 3, .*'mix'"):
        SpeechEncoder(wav2vec2, layer=4)


def test_a_peak_of_nothing_is_refused(wav2vec2):
    with pytest.raises(ConfigError, match="peak is 0"):
        SpeechEncoder(wav2vec2, peak=0)


def test_an_unknown_way_to_normalise_is_named(wav2vec2):
    with pytest.raises(EncoderError, match=r"normalize is 'no', .*'auto', true or false"):
        SpeechEncoder(wav2vec2, normalize="no")


def test_without_a_preprocessor_normalising_must_be_said(tmp_path):
    folder = folders.write_wavlm(tmp_path)
    (folder / "preprocessor_config.json").unlink()

    with pytest.raises(EncoderError, match=r"no preprocessor_config.*set normalize to true or"):
        SpeechEncoder(str(folder))

    assert SpeechEncoder(str(folder), normalize=True).encode(CLIPS[:1]).lengths.tolist() == [9]


def test_whisper_needs_its_preprocessor(tmp_path):
    folder = folders.write_whisper(tmp_path)
    (folder / "preprocessor_config.json").unlink()

    with pytest.raises(EncoderError, match=r"no preprocessor_config.*save the feature extractor"):
        SpeechEncoder(str(folder), normalize=False)


def test_another_sampling_rate_is_refused(tmp_path):
    folder = folders.write_wavlm(tmp_path)
    _change(folder / "preprocessor_config.json", sampling_rate=8_000)

    with pytest.raises(EncoderError, match=r"hears sound at 8000 Hz, .*choose a model for 16000"):
        SpeechEncoder(str(folder))


def test_windows_of_another_length_are_refused(tmp_path):
    folder = folders.write_whisper(tmp_path)
    _change(folder / "preprocessor_config.json", chunk_length=3)

    with pytest.raises(EncoderError, match="windows of 48000 samples, but the model hears 32000"):
        SpeechEncoder(str(folder))


def _change(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
