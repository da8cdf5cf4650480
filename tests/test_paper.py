import pytest

from mersa.config import make_config
from mersa.emotions import LABEL_SETS
from mersa.errors import ConfigError
from mersa.paper import ROWS, find_row

PRINTED = {  # accuracy and F1, copied from the paper by hand
    "III.1": (0.616, 0.612),
    "III.2": (0.604, 0.622),
    "III.3": (0.751, 0.745),
    "III.4": (0.777, 0.784),
    "III.5": (0.770, 0.764),
    "III.6": (0.805, 0.791),
    "III.7": (0.783, 0.799),
    "III.8": (0.779, 0.764),
    "IV.1": (0.535, 0.478),
    "IV.2": (0.521, 0.502),
    "IV.3": (0.586, 0.577),
    "IV.4": (0.595, 0.584),
    "IV.5": (0.644, 0.621),
    "IV.6": (0.669, 0.653),
    "IV.7": (0.671, 0.655),
    "IV.8": (0.676, 0.646),
    "V.1": (0.562, 0.424),
    "V.2": (0.5851, 0.592),
    "V.3": (0.637, 0.509),
    "V.4": (0.653, 0.627),
    "V.5": (0.665, 0.602),
    "V.6": (0.661, 0.612),
    "V.7": (0.677, 0.634),
    "V.8": (0.672, 0.641),
}
SYSTEMS = {
    "1": ("SERVER", "server", "vggish", False),
    "2": ("SERVER modified", "server", "facebook/wav2vec2-base", False),
    "3": ("3M-SER", "3m-ser", "vggish", False),
    "4": ("3M-SER modified", "3m-ser", "facebook/wav2vec2-base", False),
    "5": ("MERSA", "mersa", "vggish", True),
    "6": ("MERSA", "mersa-cross", "vggish", True),
    "7": ("MERSA", "mersa", "facebook/wav2vec2-base", True),
    "8": ("MERSA", "mersa-cross", "facebook/wav2vec2-base", True),
}
CORPORA = {
    "III": ("iemocap", "iemocap-4"),
    "IV": ("iemocap", "iemocap-6"),
    "V": ("meld", "meld-4"),
}


def test_there_are_24_rows_in_the_order_of_the_paper():
    assert list(ROWS) == list(PRINTED)
    assert [row.id for row in ROWS.values()] == list(PRINTED)


@pytest.mark.parametrize("name", PRINTED)
def test_scores_stand_as_printed(name):
    assert (ROWS[name].accuracy, ROWS[name].f1) == PRINTED[name]


@pytest.mark.parametrize("name", PRINTED)
def test_each_row_names_its_table_and_its_line(name):
    table, _, line = name.partition(".")
    row = ROWS[name]

    assert (row.corpus, row.labels) == CORPORA[table]
    assert (row.model, row.system, row.audio, row.aligned) == SYSTEMS[line]


@pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))
def test_the_method_names_what_the_row_builds(row):
    assert row.method.startswith("VGGish" if row.audio == "vggish" else "Wav2Vec")
    assert ("self-align" in row.method) == row.aligned
    assert ("cross-attention" in row.method) == (row.system == "mersa-cross")


@pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))
def test_settings_of_each_row_are_a_valid_config(row):
    config = make_config(row.settings())

    assert config.row == row.id
    assert config.data.labels == row.labels
    assert config.data.labels in LABEL_SETS
    assert config.network.system == row.system
    assert config.audio.name == row.audio
    assert config.text.name == "google-bert/bert-base-uncased"
    assert config.text.output == ("pooler" if row.system == "server" else "frames")


@pytest.mark.parametrize("name", ["III.6", "iii.6", " III.6 "])
def test_a_row_is_found_in_any_case(name):
    assert find_row(name) is ROWS["III.6"]


@pytest.mark.parametrize("name", ["III.9", "VI.1", "6", ""])
def test_a_row_that_does_not_exist_is_told(name):
    with pytest.raises(ConfigError, match=rf"row '{name}' does not exist; .*III\.1.*mersa rows"):
        find_row(name)
