import pytest

from mersa.alignment.settings import PRESETS, AlignConfig, make_align_config
from mersa.config import apply_assignments
from mersa.errors import ConfigError


@pytest.mark.parametrize(
    ("preset", "values"),
    [
        ("sapbert", (1, 60, 0.5, "triplet")),
        ("library", (2, 50, 0.5, "multi-similarity")),
        ("reference", (2, 40, 0.5, "multi-similarity")),
    ],
)
def test_presets_set_the_constants_of_their_code(preset, values):
    align = make_align_config({"align": {"preset": preset}}).align

    assert (align.alpha, align.beta, align.base, align.miner) == values


def test_the_default_is_the_library():
    assert make_align_config({}).align.model_dump().items() >= PRESETS["library"].items()


def test_a_setting_beside_the_preset_wins():
    assert make_align_config({"align": {"preset": "sapbert", "beta": 10}}).align.beta == 10


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("align.bas=1", "'align.bas' does not exist; the nearest is 'align.base'"),
        ("align.lambda=1", "'align.lambda' does not exist"),
        ("train.epochs=1", "'train.epochs' does not exist; the nearest is 'align.epochs'"),
        ("align.alpha=0", "align.alpha is 0, but .* greater than 0 .*pull"),
        ("align.miner=hard", "align.miner is 'hard', but .*triplet"),
        ("text.layer=3", "text.layer is 3, but alignment does not read it"),
        ("text.weights=tuned", "text.weights is 'tuned', but alignment does not read it"),
        ("data.shuffle=text", "data.shuffle is 'text', but alignment does not read it"),
        ("align.per_class=40", "align.per_class is 40, .* at most 32"),
    ],
)
def test_what_is_wrong_is_named(assignment, message):
    with pytest.raises(ConfigError, match=message):
        make_align_config(apply_assignments({}, [assignment], kind=AlignConfig))


def test_every_setting_says_what_it_means():
    fields = [
        field
        for section in AlignConfig.model_fields.values()
        for field in section.annotation.model_fields.values()
    ]

    assert all(field.description for field in fields)
