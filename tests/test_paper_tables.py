from mersa.emotions import LABEL_SETS
from mersa.paper_tables import TABLE_I, TABLE_II, beside_table

IEMOCAP = {
    **{"neutral": 1708, "frustrated": 1849, "sad": 1084},
    **{"anger": 1103, "excited": 1041, "happy": 595},
}


def test_tables_one_and_two_add_up():
    assert sum(TABLE_I.values()) == 7380 == 1849 + 1708 + 1103 + 1084 + 1041 + 595
    assert sum(TABLE_II.values()) == 9989 == 4710 + 1743 + 1205 + 1109 + 683 + 271 + 268


def test_tables_one_and_two_stand_as_printed():
    assert (TABLE_I["neutral"], TABLE_I["frustrated"]) == (1849, 1708)
    assert (TABLE_I["sad"], TABLE_I["anger"]) == (1103, 1084)
    assert (TABLE_I["excited"], TABLE_I["happy"]) == (1041, 595)
    assert (TABLE_II["neutral"], TABLE_II["happy"], TABLE_II["surprise"]) == (4710, 1743, 1205)
    assert (TABLE_II["anger"], TABLE_II["sad"]) == (1109, 683)
    assert (TABLE_II["disgust"], TABLE_II["fear"]) == (271, 268)


def test_tables_hold_the_emotions_of_their_label_sets():
    assert set(TABLE_I) == set(LABEL_SETS["iemocap-6"].labels)
    assert set(TABLE_II) == set(LABEL_SETS["meld-7"].labels)


def test_the_exchanged_names_of_table_i_are_told():
    table = beside_table("iemocap", {"all": IEMOCAP})

    assert table.notes == (
        "neutral and frustrated are exchanged in print (neutral is 1,708, frustrated 1,849)",
        "sad and anger are exchanged in print (sad is 1,084, anger 1,103)",
    )
    lines = table.text().splitlines()
    assert lines[0] == "Table I of the paper beside the corpus"
    assert lines[2].split() == ["neutral", "1,849", "1,708"]
    assert lines[8].split() == ["sum", "7,380", "7,380"]


def test_a_table_that_is_right_has_no_notes():
    assert beside_table("iemocap", {"all": TABLE_I}).notes == ()


def test_table_ii_is_the_train_part_of_meld():
    held = {
        "train": dict(TABLE_II),
        "test": dict.fromkeys(TABLE_II, 7),
        "all": {word: number + 7 for word, number in TABLE_II.items()},
    }

    table = beside_table("meld", held)

    assert table.notes == ("what is printed is the train part alone",)
    assert table.text().splitlines()[1].split() == ["printed", "train", "test", "all"]
    assert ["surprise", "1,205", "1,205", "7", "1,212"] in map(str.split, table.text().splitlines())
