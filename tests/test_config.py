import re
import tomllib

import pytest

from mersa.config import (
    LINEAGE,
    Config,
    apply_assignments,
    located,
    make_config,
    read_config,
    to_toml,
)
from mersa.errors import ConfigError

OTHER = {
    "row": "IV.3",
    "data": {"labels": "anger,calm", "protocol": "column:fold", "min_duration_s": 1.935},
    "text": {"name": 'a "quoted" name, Łódź', "layer": "mix", "max_tokens": 77},
    "audio": {"name": "vggish", "peak": 0.5, "normalize": False, "pca": True, "layer": -3},
    "network": {"system": "3m-ser", "fusion_width": 0, "hidden": [128, 64], "pooling": "max"},
    "train": {"epochs": 7, "learning_rate": 3e-5, "class_weights": True, "clip_norm": 0.0},
}


@pytest.mark.parametrize(
    ("settings", "given", "nearest"),
    [
        ({"train": {"epoch": 3}}, "train.epoch", "train.epochs"),
        ({"train": {"num_heads": 4}}, "train.num_heads", "network.num_heads"),
        ({"epochs": 3}, "epochs", "train.epochs"),
        ({"train": 3}, "train", "train."),
        ({"trian": {"epochs": 3}}, "trian.epochs", "train.epochs"),
        ({"trian": {"epoch": 3}}, "trian.epoch", "train.epochs"),
    ],
)
def test_an_unknown_name_is_told_with_the_nearest(settings, given, nearest):
    with pytest.raises(
        ConfigError, match=rf"setting '{given}' does not exist; the nearest is '{nearest}"
    ):
        make_config(settings)


@pytest.mark.parametrize(
    ("settings", "given"),
    [
        ({"xyzzy": 3}, "xyzzy"),
        ({"xyzzy": {}}, "xyzzy"),
        ({"xyzzy": {"plugh": 3}}, "xyzzy.plugh"),
    ],
)
def test_a_name_that_is_near_nothing_is_told_with_the_sections(settings, given):
    with pytest.raises(
        ConfigError, match=rf"'{given}' does not exist; the sections are audio, data, network, row"
    ):
        make_config(settings)


@pytest.mark.parametrize(
    ("section", "key", "value", "remedy"),
    [
        ("train", "epochs", 0, "greater than 0"),
        ("train", "epochs", "many", "valid integer"),
        ("train", "learning_rate", float("nan"), "finite|greater"),
        ("train", "learning_rate", float("inf"), "finite"),
        ("train", "schedule", "cosinus", "'none', 'step' or 'cosine'"),
        ("train", "label_smoothing", 1.0, "less than 1"),
        ("data", "validation_share", 0, "greater than 0"),
        ("data", "min_duration_s", float("nan"), "finite|greater"),
        ("network", "system", "mersa2", "'server', '3m-ser', 'mersa'"),
        ("network", "dropout", 1, "less than 1"),
        ("network", "hidden", [64, 0], "greater than 0"),
        ("audio", "peak", 1.5, "less than or equal to 1"),
        ("text", "layer", "last", "valid integer|'mix'"),
        ("text", "name", 3, "valid string"),
    ],
)
def test_a_wrong_value_is_told_with_its_meaning(section, key, value, remedy):
    meaning = type(getattr(Config(), section)).model_fields[key].description
    shown = 0 if key == "hidden" else value  # the width that is wrong

    with pytest.raises(ConfigError) as told:
        make_config({section: {key: value}})

    wanted = rf"setting {section}\.{key} is {shown!r}, but .*({remedy}).*"
    assert re.fullmatch(rf"{wanted} \({re.escape(meaning)}\); give another value", str(told.value))


def test_a_wrong_value_of_the_row_is_told():
    with pytest.raises(ConfigError, match=r"setting row is 3, but .* valid string"):
        make_config({"row": 3})


def test_nothing_given_is_the_defaults():
    assert make_config({}) == Config()


def test_settings_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        Config().train.epochs = 3


def test_the_lineage_switch_sets_its_values():
    config = make_config({"train": {"lineage": True}})

    assert config.train.model_dump(include=set(LINEAGE)) == LINEAGE
    assert (config.train.batch_size, config.train.learning_rate) == (1, 1e-4)
    assert (config.train.schedule, config.train.step_epochs) == ("step", 30)
    assert config.train.lineage


def test_what_is_given_beside_the_lineage_wins():
    config = make_config({"train": {"lineage": True, "epochs": 2, "schedule": "none"}})

    assert (config.train.epochs, config.train.schedule) == (2, "none")
    assert (config.train.batch_size, config.train.patience) == (1, 200)


def test_a_lineage_switched_off_changes_nothing():
    assert make_config({"train": {"lineage": False}}) == Config()


def test_server_reads_the_sentence_vector_unless_told_otherwise():
    server = {"network": {"system": "server"}}

    assert make_config(server).text.output == "pooler"
    assert make_config(server | {"text": {"layer": -2}}).text.output == "pooler"
    assert make_config(server | {"text": {"output": "frames"}}).text.output == "frames"
    assert make_config({"network": {"system": "3m-ser"}}).text.output == "frames"


@pytest.mark.parametrize("system", ["server", "3m-ser", "mersa", "mersa-cross", "text", "audio"])
def test_a_config_knows_which_modalities_are_read(system):
    config = make_config({"network": {"system": system}})

    assert config.uses_text == (system != "audio")
    assert config.uses_audio == (system != "text")


@pytest.mark.parametrize(
    ("text", "section", "key", "value"),
    [
        ("train.epochs=3", "train", "epochs", 3),
        ("train.refit=true", "train", "refit", True),
        ("audio.peak=0.5", "audio", "peak", 0.5),
        ("network.hidden=[128, 64]", "network", "hidden", [128, 64]),
        ("data.labels=anger,calm", "data", "labels", "anger,calm"),
        ("data.protocol=file:a=b.csv", "data", "protocol", "file:a=b.csv"),
        ("audio.name='mel'", "audio", "name", "mel"),
        (" text.layer = mix ", "text", "layer", "mix"),
        ("audio.peak=", "audio", "peak", None),
    ],
)
def test_an_assignment_is_read_as_toml_or_bare_text(text, section, key, value):
    settings = apply_assignments({}, [text])

    assert settings == {section: {key: value}}
    make_config(settings)


def test_assignments_apply_in_order_and_leave_the_given_settings_alone():
    given = {"row": "III.1", "train": {"epochs": 3, "seed": 5}}

    settings = apply_assignments(given, ["train.epochs=4", "train.epochs=6", "row=III.6"])

    assert settings == {"row": "III.6", "train": {"epochs": 6, "seed": 5}}
    assert given == {"row": "III.1", "train": {"epochs": 3, "seed": 5}}


def test_an_empty_assignment_takes_a_given_value_back():
    settings = apply_assignments({"audio": {"peak": 0.5}}, ["audio.peak="])

    assert make_config(settings).audio.peak is None


def test_an_assignment_without_equals_is_told():
    with pytest.raises(ConfigError, match=r"'train\.epochs' has no '='; write it as train\.epochs"):
        apply_assignments({}, ["train.epochs"])


@pytest.mark.parametrize(
    ("settings", "text", "name"),
    [({}, "train.adam.epochs=3", "train.adam.epochs"), ({"row": "V.1"}, "row.epochs=3", "row.ep")],
)
def test_an_assignment_that_goes_too_deep_is_told(settings, text, name):
    with pytest.raises(ConfigError, match=rf"'{name}.*does not exist; the nearest is 'train\.ep"):
        apply_assignments(settings, [text])


@pytest.mark.parametrize("comments", [False, True])
@pytest.mark.parametrize(
    "settings",
    [{}, OTHER, {"train": {"lineage": True}}, {"train": {"lineage": True, "epochs": 2}}],
    ids=["defaults", "other", "lineage", "lineage and beside it"],
)
def test_what_is_written_is_read_back(tmp_path, settings, comments):
    config = make_config(settings)
    path = tmp_path / "config.toml"

    path.write_text(to_toml(config, comments=comments), encoding="utf-8")

    assert make_config(read_config(path)) == config


def test_unset_values_are_left_out():
    written = tomllib.loads(to_toml(Config()))

    assert "peak" not in written["audio"]
    assert "pooling" not in written["network"]
    assert written["train"]["epochs"] == 100


def test_comments_give_each_meaning_and_what_is_unset():
    text = to_toml(Config(), comments=True)

    assert tomllib.loads(text) == tomllib.loads(to_toml(Config()))
    assert "# utterances a step (D2)\nbatch_size = 32\n" in text
    assert "# peak is unset\n" in text
    for name in ("data", "text", "audio", "network", "train"):
        for field in type(getattr(Config(), name)).model_fields.values():
            assert field.description
            assert f"# {field.description}\n" in text


def test_a_missing_file_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"none\.toml cannot be read \(No such .*name a TOML"):
        read_config(tmp_path / "none.toml")


@pytest.mark.parametrize("content", [b"train = [", b"row = '\xff'"])
def test_a_file_that_is_not_toml_is_told(tmp_path, content):
    path = tmp_path / "config.toml"
    path.write_bytes(content)

    with pytest.raises(ConfigError, match=r"config\.toml is not TOML \(.+\)"):
        read_config(path)


def test_encoders_of_this_machine_are_named_from_anywhere_and_others_stay(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("bert", "vggish", "features", "tiny"):
        (tmp_path / name).mkdir()
    (tmp_path / "model.onnx").write_bytes(b"")
    names = {
        ("bert", "vggish:features"): (f"{tmp_path}/bert", f"vggish:{tmp_path}/features"),
        ("./bert", "onnx:model.onnx"): (f"{tmp_path}/bert", f"onnx:{tmp_path}/model.onnx"),
        ("tiny", "vggish"): ("tiny", "vggish"),
        ("google-bert/bert-base-uncased", "onnx:absent"): (
            "google-bert/bert-base-uncased",
            "onnx:absent",
        ),
    }

    found = {
        given: located(make_config({"text": {"name": given[0]}, "audio": {"name": given[1]}}))
        for given in names
    }

    assert {given: (one.text.name, one.audio.name) for given, one in found.items()} == names
