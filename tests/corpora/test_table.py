import json
import os
from collections import Counter
from pathlib import Path

import pytest

from mersa.corpora.place import place
from mersa.corpora.table import read
from mersa.emotions import WORDS
from mersa.errors import ManifestError

DATA = Path(__file__).parents[2].parent / "shared" / "data"


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def table(folder, *lines, name="t.csv"):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("audio", ["audio", "path", "file", "file_name", "filename", "wav", "File"])
@pytest.mark.parametrize("emotion", ["emotion", "label", "labels"])
@pytest.mark.parametrize("speaker", ["speaker", "speaker_id", "spk"])
def test_usual_names_of_columns_are_guessed(tmp_path, audio, emotion, speaker):
    touch(tmp_path, "x/1.wav")
    path = table(tmp_path, f"{audio},{emotion},{speaker}", "x/1.wav,Angry,Ross")

    row = read(path).utterances[0]

    assert (row.id, row.audio, row.emotion, row.speaker) == ("x/1", "x/1.wav", "anger", "Ross")


@pytest.mark.parametrize("text", ["text", "transcription", "transcript", "sentence", "Utterance"])
@pytest.mark.parametrize("identifier", ["id", "key", "utt_id"])
@pytest.mark.parametrize("part", ["part", "split"])
def test_a_table_of_words_needs_no_audio(tmp_path, text, identifier, part):
    path = table(tmp_path, f"{text},{identifier},{part},dialog", "Hello,u7,dev,d3")

    row = read(path, language="en").utterances[0]

    assert (row.id, row.text, row.part) == ("u7", "Hello", "validation")
    assert (row.dialogue, row.language, row.extras) == ("d3", "en", {})


@pytest.mark.parametrize("names", ["start,end,duration", "start_s,end_s,duration_s"])
def test_times_are_guessed(tmp_path, names):
    path = table(tmp_path, f"text,{names}", "Hello,0.5,2,7.25")

    row = read(path).utterances[0]

    assert (row.start_s, row.end_s, row.duration_s) == (0.5, 2.0, 7.25)


def test_the_first_of_two_guesses_wins_and_the_other_is_an_extra(tmp_path):
    path = table(tmp_path, "label,emotion,text", "nonsense,sad,Hello")

    row = read(path).utterances[0]

    assert (row.emotion, row.extras) == ("sad", {"label": "nonsense"})


def test_of_two_columns_that_differ_by_case_the_first_is_taken(tmp_path):
    path = table(tmp_path, "Text,TEXT", "first,second")

    row = read(path).utterances[0]

    assert (row.text, row.extras) == ("first", {"TEXT": "second"})


def test_a_named_column_comes_before_the_guess_which_is_kept_under_another_name(tmp_path):
    path = table(tmp_path, "emotion,emotion4,text", "nonsense,happy,Hello")

    row = read(path, columns={"emotion": "emotion4"}).utterances[0]

    assert (row.emotion, row.extras) == ("happy", {"source_emotion": "nonsense"})


def test_an_empty_name_leaves_a_column_out(tmp_path):
    path = table(tmp_path, "label,text", "nonsense,Hello")

    row = read(path, columns={"emotion": ""}).utterances[0]

    assert (row.emotion, row.extras) == ("", {"label": "nonsense"})


def test_a_name_that_is_not_of_the_contract_renames_an_extra(tmp_path):
    path = table(tmp_path, "label,text,fold,n", "3,Hello,4,5")

    row = read(path, columns={"strength": "label", "fold": "n"}).utterances[0]

    assert (row.emotion, row.extras) == ("", {"strength": "3", "fold": "5", "source_fold": "4"})


def test_a_column_may_serve_twice(tmp_path):
    path = table(tmp_path, "text,spk", "Hello,Ross")

    row = read(path, columns={"session": "spk"}).utterances[0]

    assert (row.speaker, row.session) == ("Ross", "Ross")


def test_a_language_in_the_table_comes_before_the_given_one(tmp_path):
    path = table(tmp_path, "id,text,language", "a,Hello,", "b,Cześć,pl")

    assert [row.language for row in read(path, language="en")] == ["en", "pl"]


def test_ids_from_one_recording_are_numbered(tmp_path):
    touch(tmp_path, "a.b.wav", "c.wav", "a.b-1.wav")
    lines = [f"a.b.wav,{n},{n + 1}" for n in range(10)]
    path = table(tmp_path, "file,start,end", *lines, "c.wav,0,1", "a.b-1.wav,0,1")

    ids = [row.id for row in read(path)]

    assert ids == sorted([*(f"a.b-{n:02}" for n in range(1, 11)), "a.b-1", "c"])


def test_a_numbered_id_gives_way_to_the_name_of_a_recording(tmp_path):
    touch(tmp_path, "a.wav", "a-1.wav")
    path = table(tmp_path, "file,start,end", "a.wav,0,1", "a.wav,1,2", "a-1.wav,0,1")

    assert [(row.id, row.audio) for row in read(path)] == [
        ("a-1", "a-1.wav"),
        ("a-2", "a.wav"),
        ("a-3", "a.wav"),
    ]


def test_ids_without_audio_are_padded_row_numbers(tmp_path):
    path = table(tmp_path, "text", *(f"words {number}" for number in range(1, 11)))

    manifest = read(path)

    assert [manifest.utterances[n].id for n in (0, 1, 9)] == ["01", "02", "10"]
    assert manifest.utterances[9].text == "words 10"


def test_dialogue_numbers_that_start_again_in_each_part_are_not_taken(tmp_path, caplog):
    path = table(tmp_path, "text,dialogue_id,split", "a,0,train", "b,0,test", "c,1,test")

    rows = list(read(path))

    assert [(row.dialogue, row.extras) for row in rows] == [
        ("", {"dialogue_id": "0"}),
        ("", {"dialogue_id": "0"}),
        ("", {"dialogue_id": "1"}),
    ]
    assert "column 'dialogue_id'" in caplog.text
    assert "has 1 values that stand in several parts" in caplog.text
    assert "--columns dialogue=COLUMN" in caplog.text


@pytest.mark.parametrize(
    ("name", "columns"), [("dialogue", {}), ("dialogue_id", {"dialogue": "dialogue_id"})]
)
def test_a_dialogue_that_is_named_as_such_is_taken_as_it_is(tmp_path, name, columns):
    path = table(tmp_path, f"text,{name},split", "a,0,train", "b,0,test")

    assert [row.dialogue for row in read(path, columns=columns)] == ["0", "0"]


def test_json_lines_and_parquet_are_read_as_csv_is(tmp_path):
    import pandas as pd

    rows = [{"text": "Hello", "label": "joy", "fold": 3}, {"text": "No", "label": "sad", "fold": 4}]
    csv = table(tmp_path, "text,label,fold", "Hello,joy,3", "No,sad,4")
    jsonl = table(tmp_path, *map(json.dumps, rows), name="t.jsonl")
    tsv = table(tmp_path, "text\tlabel\tfold", "Hello\tjoy\t3", "No\tsad\t4", name="t.tsv")
    pd.DataFrame(rows).to_parquet(tmp_path / "t.parquet")

    manifests = [read(path) for path in (csv, jsonl, tsv, tmp_path / "t.parquet")]

    assert [manifest == manifests[0] for manifest in manifests] == [True] * 4
    assert manifests[0].utterances[1].extras == {"fold": "4"}


def test_class_numbers_are_translated_by_the_mapping(tmp_path):
    import pandas as pd

    frame = pd.DataFrame({"text": ["a", "b", "c"], "label": [0, 12, None]})
    frame.to_parquet(tmp_path / "t.parquet")

    rows = read(tmp_path / "t.parquet", mapping={"0": "anger", "12": "pride", "pride": "pride"})

    assert [row.emotion for row in rows] == ["anger", "pride", ""]


def test_class_numbers_without_a_mapping_are_refused(tmp_path):
    path = table(tmp_path, "text,label", "a,10", "b,2", "c,10")

    with pytest.raises(
        ManifestError,
        match=r"column 'label' of .* holds class numbers \(2, 10\).*--map 2=WORD --map 10=WORD",
    ):
        read(path)


def test_all_unknown_emotions_are_told_in_one_error(tmp_path):
    path = table(tmp_path, "text,label", "a,Wut", "b,sad", "c,angerr", "d,wut")

    with pytest.raises(
        ManifestError,
        match=r"2 names in column 'label' of .*t.csv are no known emotions: "
        r"'angerr' \(1x, nearest: anger\), 'wut' \(2x\); give --map angerr=WORD .*--map angerr=ang",
    ):
        read(path)


def test_a_mapping_that_leads_to_no_known_word_is_named(tmp_path):
    path = table(tmp_path, "text,label", "a,wut")

    with pytest.raises(ManifestError, match=r"--map wut=angre leads to no known word\); give"):
        read(path, mapping={"wut": "angre"})


def test_paths_may_start_from_another_folder(tmp_path):
    touch(tmp_path, "wavs/x/1.wav")
    path = table(tmp_path, "file", "x/1.wav", name="tables/t.csv")

    manifest = read(path, root=tmp_path / "wavs")

    assert manifest.audio_path(manifest.utterances[0]) == tmp_path / "wavs" / "x" / "1.wav"


@pytest.mark.parametrize("name", ["{root}/x/1.wav", "x/../x/./1.wav", "x\\1.wav"])
def test_a_path_below_the_folder_is_made_relative(tmp_path, name):
    touch(tmp_path, "x/1.wav")
    path = table(tmp_path, "file", name.format(root=tmp_path))

    assert read(path).utterances[0].audio == "x/1.wav"


def test_an_absolute_path_is_accepted_below_a_relative_folder(tmp_path, monkeypatch):
    touch(tmp_path, "x/1.wav")
    monkeypatch.chdir(tmp_path)
    table(tmp_path, "file", f"{tmp_path}/x/1.wav")

    assert read(Path("t.csv")).utterances[0].audio == "x/1.wav"


@pytest.mark.parametrize("name", ["{root}/1.wav", "../1.wav", "D:\\x\\1.wav", "//host/x/1.wav"])
def test_a_path_outside_of_the_folder_is_refused(tmp_path, name):
    touch(tmp_path, "1.wav")
    path = table(tmp_path, "file", name.format(root=tmp_path), name="tables/t.csv")

    with pytest.raises(ManifestError, match=r"leaves its folder .*give --root DIR that holds all"):
        read(path)


def test_missing_recordings_are_counted_and_the_first_three_named(tmp_path):
    touch(tmp_path, "x.wav")
    lines = ["e.wav", "d.wav", "c.wav", "", "b.wav", "x.wav", "b.wav"]
    path = table(tmp_path, "file,text", *(f"{line},words" for line in lines))

    with pytest.raises(
        ManifestError, match=r"4 of the 5 recordings .* as b.wav, c.wav, d.wav; give --root DIR"
    ):
        read(path)


def test_a_named_column_that_is_absent_is_refused_with_the_nearest(tmp_path):
    path = table(tmp_path, "text,label", "a,sad")

    with pytest.raises(
        ManifestError,
        match=r"no column 'lable' \(nearest: label; found: text, label\); give --columns emotion=C",
    ):
        read(path, columns={"emotion": "lable"})


def test_a_table_without_audio_and_text_is_refused(tmp_path):
    path = table(tmp_path, "recording,label", "a.wav,sad")

    with pytest.raises(
        ManifestError, match=r"\(found: recording, label\); give --columns audio=COLUMN or --col"
    ):
        read(path)


def test_a_table_without_rows_is_refused(tmp_path):
    with pytest.raises(ManifestError, match=r"t.csv holds no rows; give at least one utterance"):
        read(table(tmp_path, "file,label"))


def test_an_unknown_part_is_refused_with_table_and_row(tmp_path):
    path = table(tmp_path, "text,split", "a,train", "b,clean")

    with pytest.raises(ManifestError, match=r"t.csv: row 2: part 'clean' is none of .*leave the"):
        read(path)


def test_a_table_that_is_absent_is_refused(tmp_path):
    with pytest.raises(ManifestError, match=r"none.csv does not exist; give a table or a folder"):
        read(tmp_path / "none.csv")


def test_a_root_that_is_absent_is_refused(tmp_path):
    with pytest.raises(ManifestError, match="none is not a folder; give --root DIR"):
        read(table(tmp_path, "text", "a"), root=tmp_path / "none")


def test_recordings_inside_of_parquet_are_refused(tmp_path):
    import pandas as pd

    frame = pd.DataFrame({"audio": [{"bytes": b"RIFF", "path": "1.wav"}], "label": ["sad"]})
    frame.to_parquet(tmp_path / "t.parquet")

    with pytest.raises(
        ManifestError, match=r"column 'audio' of .* holds the recordings themselves.*write each re"
    ):
        read(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("metadata.csv", ("file_name,label", "x/1.wav,joy")),
        ("metadata.jsonl", ('{"file_name": "x/1.wav", "label": "joy"}',)),
    ],
)
def test_a_folder_with_metadata_is_read(tmp_path, name, lines):
    touch(tmp_path, "x/1.wav", "x/unnamed.wav")
    table(tmp_path, *lines, name=name)

    assert [(row.id, row.audio, row.emotion, row.part) for row in read(tmp_path)] == [
        ("x/1", "x/1.wav", "happy", "")
    ]


def test_a_folder_with_parquet_metadata_takes_parts_from_folders(tmp_path):
    import pandas as pd

    touch(tmp_path, "train/1.wav", "val/2.wav")
    frame = pd.DataFrame({"file_name": ["train/1.wav", "val/2.wav"], "transcription": ["a", "b"]})
    frame.to_parquet(tmp_path / "metadata.parquet")

    assert [(row.audio, row.text, row.part) for row in read(tmp_path)] == [
        ("train/1.wav", "a", "train"),
        ("val/2.wav", "b", "validation"),
    ]


def test_metadata_may_hold_a_path_of_another_kind(tmp_path):
    touch(tmp_path, "1.wav")
    table(tmp_path, "path,file_name", "/elsewhere/1.wav,1.wav", name="metadata.csv")

    assert [(row.audio, row.extras) for row in read(tmp_path)] == [
        ("1.wav", {"path": "/elsewhere/1.wav"})
    ]


def test_metadata_in_each_split_folder_is_read(tmp_path):
    touch(tmp_path, "train/1.wav", "test/1.wav")
    table(tmp_path, "file_name,label", "1.wav,joy", name="train/metadata.csv")
    table(tmp_path, "file_name,take", "1.wav,5", name="test/metadata.csv")

    assert [(row.id, row.part, row.emotion, row.extras) for row in read(tmp_path)] == [
        ("test/1", "test", "", {"take": "5"}),
        ("train/1", "train", "happy", {"take": ""}),
    ]


def test_metadata_without_file_names_is_refused(tmp_path):
    table(tmp_path, "name,label", "x/1.wav,joy", name="metadata.csv")

    with pytest.raises(
        ManifestError, match=r"no column 'file_name' \(found: name, label\).*rename"
    ):
        read(tmp_path)


def test_folder_names_are_labels(tmp_path):
    touch(tmp_path, "Anger/2.FLAC", "joy/1.wav", "joy/notes.txt", "joy/._1.wav", ".cache/3.wav")

    assert [(row.id, row.audio, row.emotion, row.part) for row in read(tmp_path)] == [
        ("Anger/2", "Anger/2.FLAC", "anger", ""),
        ("joy/1", "joy/1.wav", "happy", ""),
    ]


def test_folder_names_are_splits_and_labels(tmp_path):
    touch(tmp_path, "train/joy/1.wav", "Validation/sad/2.wav", "test/3.wav")

    assert [(row.audio, row.emotion, row.part) for row in read(tmp_path)] == [
        ("Validation/sad/2.wav", "sad", "validation"),
        ("test/3.wav", "", "test"),
        ("train/joy/1.wav", "happy", "train"),
    ]


def test_a_folder_below_the_root_keeps_its_name_in_paths(tmp_path):
    touch(tmp_path, "speech/joy/1.wav")

    manifest = read(tmp_path / "speech", root=tmp_path)

    assert [(row.audio, row.emotion) for row in manifest] == [("speech/joy/1.wav", "happy")]


def test_a_manifest_placed_inside_of_the_folder_adds_no_recordings(tmp_path):
    touch(tmp_path, "joy/1.wav")
    before = read(tmp_path)

    place(before, tmp_path / "out")

    assert read(tmp_path) == before


def test_a_folder_without_recordings_is_refused(tmp_path):
    with pytest.raises(
        ManifestError, match=r"neither metadata.csv, .* nor recordings; give a table"
    ):
        read(tmp_path)


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
def test_a_written_manifest_is_a_table_too(tmp_path, name):
    from mersa.manifest import read_manifest, write_manifest

    touch(tmp_path, "x/1.wav")
    path = table(tmp_path, "file,label,split,fold", "x/1.wav,joy,dev,3", name="first.csv")
    write_manifest(read(path), tmp_path / name)

    assert read(tmp_path / name) == read_manifest(tmp_path / name)


REAL = {
    "ravdess": (1200, 8, 20),
    "nemo": (1446, 6, 6),
    "emodb": (408, 7, 8),
    "meld": (13708, 7, 304),
}


@pytest.mark.corpus
@pytest.mark.parametrize("corpus", REAL)
def test_real_tables_are_read_as_they_are(corpus, tmp_path):
    if not (DATA / corpus / "manifest.csv").is_file():
        pytest.skip(f"no table of {corpus} beside the checkout")

    manifest = read(DATA / corpus / "manifest.csv")

    found = {row.emotion for row in manifest}
    assert (len(manifest), len(found), len({row.speaker for row in manifest})) == REAL[corpus]
    assert found <= set(WORDS)
    placed = place(manifest, tmp_path / "out")
    assert [row.emotion for row in placed] == [row.emotion for row in manifest]
    assert os.path.lexists(tmp_path / "out" / "audio") == (corpus != "meld")


@pytest.mark.corpus
@pytest.mark.parametrize("corpus", ["ravdess", "nemo", "emodb"])
def test_folds_of_real_tables_are_kept(corpus):
    if not (DATA / corpus / "manifest.csv").is_file():
        pytest.skip(f"no table of {corpus} beside the checkout")

    rows = read(DATA / corpus / "manifest.csv")

    assert all(row.extras["fold"].isdigit() and row.duration_s for row in rows)


@pytest.mark.corpus
def test_meld_keeps_its_keys_and_parts():
    if not (DATA / "meld" / "manifest.csv").is_file():
        pytest.skip("no table of MELD beside the checkout")

    manifest = read(DATA / "meld" / "manifest.csv", columns={"dialogue": "split_group"})

    # The published parts have 9,989, 1,109 and 2,610 utterances.
    assert Counter(row.part for row in manifest) == {
        "train": 9989,
        "validation": 1109,
        "test": 2610,
    }
    first = next(row for row in manifest if row.id == "train_dia0_utt0")
    assert (first.speaker, first.dialogue, first.audio) == ("Chandler", "train_dia0", "")
