import pytest

from mersa.corpora.release import compare_counts, some, warn_or_refuse
from mersa.errors import CorpusError


def test_what_is_amiss_is_a_warning_with_its_remedy(caplog):
    warn_or_refuse("Tiny lacks half", "unpack it again", strict=False)

    assert caplog.messages == ["Tiny lacks half; unpack it again; --strict makes this an error"]


def test_what_is_amiss_is_refused_where_asked(caplog):
    with pytest.raises(
        CorpusError,
        match=r"^Tiny lacks half; unpack it again, or give --no-strict to go on with what is the",
    ):
        warn_or_refuse("Tiny lacks half", "unpack it again", strict=True)

    assert caplog.messages == []


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], ""),
        (["a", "b", "c"], "a, b, c"),
        (["a", "b", "c", "d"], "a, b, c and 1 more"),
        (map(str, range(1240)), "0, 1, 2 and 1,237 more"),
    ],
)
def test_of_many_names_the_first_are_told(names, said):
    assert some(names) == said


def test_how_many_names_are_told_can_be_chosen():
    assert some(["a", "b", "c"], most=2) == "a, b and 1 more"


def test_counts_that_agree_are_not_told(tmp_path, caplog):
    compare_counts(tmp_path, "Tiny", {"sad": 3, "fear": 0}, {"sad": 3}, strict=True)

    assert caplog.messages == []


def test_of_many_differences_24_are_named(tmp_path, caplog):
    found = {f"word{number:02}": 1 for number in range(30)}

    compare_counts(tmp_path, "Tiny", found, {"sad": 1234}, strict=False)

    (message,) = caplog.messages
    assert "differs from its release: sad 0 instead of 1,234, word00 1 instead of 0, " in message
    assert message.count("instead of") == 24
    assert "word22 1 instead of 0 and 7 more; complete or unpack it again; --strict" in message
