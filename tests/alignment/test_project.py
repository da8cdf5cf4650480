import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from mersa import runs
from mersa.alignment.align import align
from mersa.alignment.project import Frames, Projector
from mersa.alignment.settings import make_align_config
from mersa.encoders.cache import FeatureCache
from mersa.encoders.projected import Projection
from mersa.errors import AlignmentError, ConfigError
from mersa.experiment import train
from mersa.recognize.recognizer import Recognizer
from mersa.weights import bundle
from told import Told


def aligned(
    manifest, out, cache, *, epochs=2, data=None, modality="audio", progress=None, **align_settings
):
    config = make_align_config(
        {
            "data": {"labels": "iemocap-4", **(data or {})},
            modality: {"name": "mel" if modality == "audio" else "tiny"},
            "align": {
                "modality": modality,
                "how": "projection",
                "epochs": epochs,
                "projection_hidden": 12,
                **align_settings,
            },
        }
    )
    return align(manifest, config, out, cache=cache, device="cpu", progress=progress)["folds"][0]


@pytest.fixture(scope="module")
def sound(small_corpus, cache_folder, tmp_path_factory):
    """A folder with a projection of mel, aligned on the small corpus; to be read."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("aligned") / "sound"
    aligned(small_corpus, folder, FeatureCache(cache_folder))
    return folder


@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_padding_changes_no_vector(pooling):
    torch.manual_seed(0)
    held = {str(n): torch.randn(n + 2, 6) for n in range(4)}
    projection = Projection("mlp", (6, 5, 3))
    frames = Frames(held, width=3, device="cpu")
    projector = Projector(projection, pooling)

    together = projector([frames.tokens(list(held))])

    moved = [projection(one) for one in held.values()]
    alone = torch.stack([one[0] if pooling == "first" else one.mean(0) for one in moved])
    assert together.detach().numpy() == pytest.approx(alone.detach().numpy(), abs=1e-6)


def test_a_projection_draws_emotions_together(small_corpus, tmp_path, cache):
    facts = aligned(small_corpus, tmp_path / "out", cache, epochs=6)

    losses = [row["loss"] for row in facts["history"]]
    assert losses[-1] < losses[0]
    assert facts["modality"] == "audio"
    seen = [row["validation_neighbours"] for row in facts["history"]]
    assert facts["measures"]["validation"]["after"] == seen[facts["best_epoch"]] == max(seen)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "audio.name" in card


def test_what_is_told_before_the_first_step_is_of_the_frames_as_they_come(
    small_corpus, tmp_path, cache
):
    """The projection that begins is another space, and no one compares with it."""
    told = Told()
    facts = aligned(small_corpus, tmp_path / "out", cache, progress=told)

    before = facts["measures"]["validation"]["before"]
    (said,) = (one for one in told.sentences if "before the first step" in one)
    assert said.endswith(f"{before:.3f}")


def test_a_linear_projection_tells_of_no_hidden_width(small_corpus, tmp_path, cache):
    made = {"projection": "linear", "projection_hidden": 256}
    aligned(small_corpus, tmp_path / "out", cache, epochs=1, **made)

    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "Projection `linear`; multi-similarity loss" in card


def test_a_run_reads_the_projected_frames_and_works_bundled_elsewhere(
    sound, small_corpus, quick, cache, tmp_path, toy_corpus
):
    here = tmp_path / "sound"
    shutil.copytree(sound, here)
    run = tmp_path / "run"
    train(small_corpus, quick(f"audio.name={here}"), run, cache=cache, device="cpu")
    recording = next((toy_corpus / "audio").iterdir())
    before = Recognizer.from_pretrained(run, device="cpu").predict(recording, text="so glad")

    bundle(run)

    shutil.rmtree(here)
    after = Recognizer.from_pretrained(run, device="cpu").predict(recording, text="so glad")
    assert after.scores == pytest.approx(before.scores, abs=1e-6)
    assert runs.read_metrics(run)["leak"] == []
    told = json.loads((run / "encoders" / "audio.json").read_text())
    assert Path(told["name"]).name == "sound"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("data.labels=iemocap-6", "was aligned on the labels"),
        ("data.protocol=speaker", "was aligned on other parts"),
    ],
)
def test_a_run_of_other_labels_or_parts_refuses_it(
    sound, small_corpus, quick, cache, tmp_path, change, message
):
    with pytest.raises(AlignmentError, match=message):
        train(small_corpus, quick(f"audio.name={sound}", change), tmp_path / "run", cache=cache)

    assert not (tmp_path / "run").exists()


def test_a_projection_that_was_changed_is_refused(sound, small_corpus, quick, cache, tmp_path):
    changed = tmp_path / "changed"
    shutil.copytree(sound, changed)
    path = changed / "projection.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\1")

    with pytest.raises(AlignmentError, match=r"is not the file that mersa align wrote"):
        train(small_corpus, quick(f"audio.name={changed}"), tmp_path / "run", cache=cache)


def test_words_of_an_encoder_without_weights_are_projected_and_its_vocabulary_kept(
    small_corpus, quick, cache, tmp_path
):
    folder = tmp_path / "words"
    aligned(small_corpus, folder, cache, modality="text")

    config = quick(f"text.name={folder}", "network.system=text")
    metrics = train(small_corpus, config, tmp_path / "run", cache=cache, device="cpu")

    assert metrics["alignment"]["text"]["base"]["name"] == "tiny"
    assert (folder / "base" / "vocabulary.txt").is_file()


def test_the_test_part_changes_no_weight(own_corpus, cache, tmp_path):
    rows = own_corpus.read_text().splitlines()
    aligned(own_corpus, tmp_path / "one", cache)
    emotions = {"anger": "sad", "sad": "anger"}
    place = rows[0].split(",").index("emotion")
    changed = []
    for row in rows:
        cells = row.split(",")
        if "test" in cells:
            cells[place] = emotions.get(cells[place], cells[place])
        changed.append(",".join(cells))
    assert changed != rows
    own_corpus.write_text("\n".join(changed) + "\n")

    aligned(own_corpus, tmp_path / "other", cache)

    one, other = (
        (tmp_path / name / "projection.safetensors").read_bytes() for name in ("one", "other")
    )
    assert one == other


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"modality": "audio", "projection": "residual", "projection_width": 8},
            r"projection_width is 8, but a residual",
        ),
        ({"projection_hidden": 8}, r"align.projection_hidden is 8, but alignment does not read it"),
        ({"modality": "audio", "gradient_checkpointing": True}, r"gradient_checkpointing is True"),
        (
            {"modality": "audio", "projection": "linear", "projection_hidden": 8},
            r"align.projection_hidden is 8, but alignment does not read it",
        ),
    ],
)
def test_settings_that_do_not_go_together_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        make_align_config({"align": settings})


def test_a_projection_has_its_own_defaults_unless_given():
    given = make_align_config({"align": {"modality": "audio", "epochs": 7}}).align

    assert (given.how, given.pooling, given.epochs, given.learning_rate) == (
        "projection",
        "mean",
        7,
        1e-3,
    )
    assert make_align_config({}).align.learning_rate == 2e-5


def test_both_encoders_at_a_time_are_refused(mersa, small_corpus, tmp_path):
    said = mersa("align", small_corpus, "--text", "tiny", "--audio", "mel", "--out", tmp_path / "o")

    assert said.code == 2
    assert "one encoder is aligned at a time; give one of them" in said.err
    assert np.array_equal(list(tmp_path.iterdir()), [])
