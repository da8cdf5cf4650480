import json
import unicodedata

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mersa.errors import ManifestError
from mersa.manifest import (
    COLUMNS,
    Manifest,
    Utterance,
    make_manifest,
    make_utterance,
    read_manifest,
    read_table,
    write_manifest,
    write_table,
)

FORMATS = ("manifest.csv", "manifest.jsonl", "manifest.parquet")


def sample(folder):
    return make_manifest(
        [
            Utterance(
                id="b",
                audio="audio/Grüße, Łódź.flac",
                start_s=0.0,
                end_s=1.25,
                text='Well, "no" — 日本語\nline two',
                emotion="anger",
                speaker="Ross",
                dialogue="d1",
                session="s2",
                part="validation",
                language="en",
                duration_s=3.5,
                extras={"intensity": "strong", "fold": "3", "take": ""},
            ),
            Utterance(id="a", text="007", extras={"intensity": "", "fold": "0", "take": "NA"}),
        ],
        folder,
    )


def table(folder, text, name="manifest.csv", encoding="utf-8"):
    path = folder / name
    path.write_text(text, encoding=encoding)
    return path


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_written_is_read_back(tmp_path, name):
    manifest = sample(tmp_path)

    write_manifest(manifest, tmp_path / name)

    assert read_manifest(tmp_path / name) == manifest


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=7)
SECONDS = st.none() | st.floats(0, 1e6)


@st.composite
def utterances(draw):
    cell = CELLS.map(lambda text: unicodedata.normalize("NFC", text).strip())
    start_s = draw(SECONDS)
    return Utterance(
        id=draw(cell.filter(bool)),
        text=draw(cell),
        start_s=start_s,
        end_s=draw(st.none() | st.floats((start_s or 0.0) + 0.5, 2e6)),
        speaker=draw(cell),
        emotion=draw(cell),
        part=draw(st.sampled_from(["", "train", "validation", "test"])),
        duration_s=draw(SECONDS),
        extras={"fold": draw(cell), "Ärger, é": draw(cell)},
    )


@pytest.mark.parametrize("name", FORMATS)
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(utterances(), min_size=1, max_size=3, unique_by=lambda row: row.id))
def test_any_cells_survive_the_round_trip(tmp_path, name, rows):
    manifest = make_manifest(rows, tmp_path)

    write_manifest(manifest, tmp_path / name)

    assert read_manifest(tmp_path / name) == manifest


def test_columns_are_written_in_the_order_of_the_contract_and_extras_sorted(tmp_path):
    write_manifest(sample(tmp_path), tmp_path / "m.csv")

    header = (tmp_path / "m.csv").read_text(encoding="utf-8").splitlines()[0]

    assert header == ",".join((*COLUMNS, "fold", "intensity", "take"))


def test_a_row_without_an_extra_of_another_row_has_it_empty(tmp_path):
    manifest = make_manifest([Utterance(id="a", extras={"fold": "1"}), Utterance(id="b")], tmp_path)

    write_manifest(manifest, tmp_path / "m.jsonl")

    assert [row.extras for row in read_manifest(tmp_path / "m.jsonl")] == [
        {"fold": "1"},
        {"fold": ""},
    ]


def test_rows_are_in_the_order_of_their_ids(tmp_path):
    path = table(tmp_path, "id,text\nb,x\nB,x\na10,x\na9,x\n")

    assert [row.id for row in read_manifest(path)] == ["B", "a10", "a9", "b"]


def test_audio_paths_start_from_the_folder_of_the_manifest(tmp_path):
    manifest = read_manifest(table(tmp_path, "id,audio\na,x/1.wav\nb,\n"))

    assert [manifest.audio_path(row) for row in manifest] == [tmp_path / "x/1.wav", None]


def test_a_column_is_told_as_text_whether_of_the_contract_or_extra():
    row = make_utterance({"id": "a", "start_s": "0.50", "fold": "3"}, 1)

    names = ("id", "start_s", "end_s", "fold", "none")
    assert [row.column(name) for name in names] == ["a", "0.5", "", "3", ""]


@pytest.mark.parametrize(
    ("name", "part"),
    [("dev", "validation"), ("Valid", "validation"), ("eval", "test"), ("TRAIN", "train")],
)
def test_published_names_of_parts_are_known(name, part):
    assert make_utterance({"id": "a", "part": name}, 1).part == part


def test_a_byte_order_mark_is_not_part_of_the_first_column(tmp_path):
    path = table(tmp_path, "id,text\na,x\n", encoding="utf-8-sig")

    assert read_manifest(path).utterances[0].id == "a"


def test_a_tab_separated_table_is_read(tmp_path):
    path = table(tmp_path, "id\ttext\na\tone, two\n", "m.tsv")

    assert read_table(path) == [{"id": "a", "text": "one, two"}]


def test_json_values_become_cells(tmp_path):
    lines = [{"id": 7, "text": None}, {"id": 8, "fold": 1.5}]
    path = table(tmp_path, "\n\n".join(map(json.dumps, lines)), "m.jsonl")

    assert read_table(path) == [
        {"id": "7", "text": "", "fold": ""},
        {"id": "8", "text": "", "fold": "1.5"},
    ]


def test_missing_values_of_parquet_are_empty_cells(tmp_path):
    import pandas as pd

    frame = pd.DataFrame({"id": ["a", "b"], "end_s": [1.5, None], "text": ["x", None]})
    frame.to_parquet(tmp_path / "m.parquet")

    assert read_table(tmp_path / "m.parquet") == [
        {"id": "a", "end_s": "1.5", "text": "x"},
        {"id": "b", "end_s": "", "text": ""},
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("key,text\na,x\n", r"no column 'id' \(found: key, text\).*mersa prepare table"),
        ("id,words\na,x\n", r"neither a column 'audio' nor a column 'text' \(found: id, words\)"),
        ("id,text\na,x\na,y\n", "manifest.csv: id 'a' stands more than once.*put the part"),
        ("id,text\n,x\n", "an id is empty; give every row"),
        ("id,text\n", "holds no utterances; give it at least one row"),
        ("id,text,part\na,x,fold1\n", "row 1: part 'fold1' is none of train, validation, test; le"),
        ("id,audio\na,/x/1.wav\n", "row 'a': audio '/x/1.wav' leaves the manifest's folder; write"),
        ("id,audio\na,x/../../1.wav\n", r"audio 'x/\.\./\.\./1.wav' leaves.* write paths relative"),
        ("id,audio\na,C:\\x\\1.wav\n", r"leaves the manifest's folder; write paths relative"),
        ("id,audio\na,\\\\host\\x\\1.wav\n", r"leaves the manifest's folder; write"),
        ("id,text\na,one, two\n", r"row 1 does not have the 2 cells of the header; quote cells"),
        ("id,text\na,x\nb\n", r"row 2 does not have the 2 cells of the header; quote cells"),
        ("id,text,start_s,end_s\na,x,3,2\n", "start_s 3.0 and end_s 2.0 are not in order; an utt"),
        ("id,text,start_s,end_s\na,x,2,2\n", "not in order; an utterance starts at 0 s or later"),
        ("id,text,end_s\na,x,0\n", "start_s None and end_s 0.0 are not in order"),
        ("id,text,start_s\na,x,-1\n", "start_s -1.0 and end_s None are not in order"),
        (
            "id,text,start_s\na,x,1:20\n",
            "row 1: start_s is '1:20', but a number of seconds is needed; correct it or leave",
        ),
        ("id,text,duration_s\na,x,inf\n", "duration_s is 'inf', but a number of seconds"),
        ("id,text,id\na,x,b\n", "more than one column 'id'; give every column a name of its own"),
        (
            "id,text\na," + "x" * (2**24 + 1) + "\n",
            "is not a CSV table .field larger.*save it as CSV",
        ),
    ],
    ids=lambda value: None if len(value) < 60 else value[:20],
)
def test_a_broken_csv_is_refused_with_the_reason(tmp_path, text, message):
    with pytest.raises(ManifestError, match=message):
        read_manifest(table(tmp_path, text))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "a"', "line 2 is not JSON"),
        ('["a"]', "line 2 is not a JSON object; write one a line"),
    ],
)
def test_a_broken_json_line_is_refused_with_its_number(tmp_path, line, message):
    path = table(tmp_path, f'{{"id": "b", "text": "x"}}\n{line}\n', "m.jsonl")

    with pytest.raises(ManifestError, match=message):
        read_manifest(path)


@pytest.mark.parametrize("name", ["m.csv", "m.jsonl"])
def test_another_encoding_is_refused(tmp_path, name):
    path = table(tmp_path, "id,text\na,Grüße\n", name, encoding="latin-1")

    with pytest.raises(ManifestError, match=r"not UTF-8 .it holds the byte 0xfc.; save it as UTF"):
        read_manifest(path)


def test_an_empty_file_is_refused(tmp_path):
    with pytest.raises(ManifestError, match=r"m.csv is empty, but a table with a header"):
        read_manifest(table(tmp_path, "", "m.csv"))


def test_a_folder_is_refused(tmp_path):
    with pytest.raises(ManifestError, match=r"is a folder, but a table .*name the file"):
        read_manifest(tmp_path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(ManifestError, match=r"none.csv does not exist; make it with: mersa prep"):
        read_manifest(tmp_path / "none.csv")


def test_an_unknown_suffix_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(ManifestError, match=r"ends in \.xlsx, but a table is one of \.csv, \.tsv"):
        read_manifest(table(tmp_path, "x", "m.xlsx"))


def test_a_file_that_is_no_parquet_is_refused(tmp_path):
    with pytest.raises(ManifestError, match=r"m.parquet is not a Parquet file"):
        read_manifest(table(tmp_path, "id,text\n", "m.parquet"))


def test_a_manifest_without_utterances_is_refused(tmp_path):
    with pytest.raises(ManifestError, match="holds no utterances; give it at least one row"):
        make_manifest([], tmp_path)


@pytest.mark.parametrize("name", ["m.xlsx", "m"])
def test_writing_with_an_unknown_suffix_is_refused_and_leaves_nothing(tmp_path, name):
    with pytest.raises(ManifestError, match=r"but a table is written as \.csv, \.jsonl or"):
        write_table([], ["id"], tmp_path / name)

    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_table(tmp_path):
    path = table(tmp_path, "old", "m.csv")

    with pytest.raises(ValueError, match="fold"):
        write_table([{"id": "a", "fold": "1"}], ["id"], path)

    assert (path.read_text(), len(list(tmp_path.iterdir()))) == ("old", 1)


def test_a_manifest_counts_and_yields_its_utterances(tmp_path):
    manifest: Manifest = sample(tmp_path)

    assert (len(manifest), [row.id for row in manifest]) == (2, ["a", "b"])


def test_a_very_long_text_is_read(tmp_path):
    (tmp_path / "m.csv").write_text("id,text\na," + "word " * 100_000 + "\n", encoding="utf-8")

    manifest = read_manifest(tmp_path / "m.csv")

    assert manifest.utterances[0].text == ("word " * 100_000).strip()


@pytest.mark.parametrize("line", ['{"id": "\\ud800"}', '{"id": ' + "9" * 5_000 + "}", "[" * 9_999])
def test_json_that_is_no_text_is_refused(tmp_path, line):
    (tmp_path / "m.jsonl").write_text(line + "\n", encoding="utf-8")

    with pytest.raises(ManifestError, match=r"line 1 is not JSON .*; write one object a line"):
        read_manifest(tmp_path / "m.jsonl")


def test_a_speaker_in_two_forms_of_unicode_is_one():
    rows = [{"id": "a", "speaker": "Rene\u0301e"}, {"id": "b", "speaker": " Ren\u00e9e "}]

    one, other = (make_utterance(row, 1) for row in rows)

    assert one.speaker == other.speaker == "Ren\u00e9e"


def test_blanks_around_an_extra_do_not_count_and_words_stay_as_they_are():
    made = make_utterance({"id": "a", "style": "improvised ", "text": " Oh\u0301. "}, 1)

    assert made.extras["style"] == "improvised"
    assert made.text.strip() == "Oh\u0301."
