import pytest

from mersa.tables import aligned

ROWS = [["part", "n", "note"], ["train", "1,234", ""], ["test", "7", "few"]]


def test_columns_stand_under_each_other_two_blanks_apart():
    assert aligned(ROWS) == [
        "part   n      note",
        "train  1,234",
        "test   7      few",
    ]


def test_named_columns_stand_to_the_right():
    assert aligned(ROWS, right=(1,)) == [
        "part       n  note",
        "train  1,234",
        "test       7  few",
    ]


def test_an_empty_first_cell_keeps_its_column():
    assert aligned([["", "n"], ["sum", "12"]], right=(1,)) == ["      n", "sum  12"]


def test_rows_of_unlike_length_are_refused():
    with pytest.raises(ValueError, match=r"shorter|longer"):
        aligned([["one", "two"], ["three"]])


def test_no_rows_are_no_lines():
    assert aligned([]) == []
