import json
from pathlib import Path

import pytest

from mersa.corpora.place import CountRow, count_table, place
from mersa.errors import ManifestError
from mersa.manifest import Manifest, Utterance, make_manifest, read_manifest


@pytest.fixture
def corpus(tmp_path):
    root = tmp_path / "corpus"
    for name, size in (("Actor_01/a.wav", 3), ("Actor_02/b.wav", 5), ("Actor_02/other.wav", 7)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x" * size)
    return make_manifest(
        [
            Utterance(id="1", audio="Actor_01/a.wav", end_s=1.0, emotion="sad"),
            Utterance(id="2", audio="Actor_02/b.wav", emotion="anger", extras={"fold": "4"}),
            Utterance(id="3", audio="Actor_01/a.wav", start_s=1.0, emotion="sad"),
            Utterance(id="4", text="words alone"),
        ],
        root,
    )


def files_below(folder):
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
    )


def no_links(*_arguments, **_settings):
    raise OSError("a required privilege is not held by the client")


def test_the_corpus_is_linked_and_paths_start_below_the_link(corpus, tmp_path):
    placed = place(corpus, tmp_path / "deep" / "out")

    assert (tmp_path / "deep/out/audio").readlink() == corpus.folder.resolve()
    assert [row.audio for row in placed] == [
        "audio/Actor_01/a.wav",
        "audio/Actor_02/b.wav",
        "audio/Actor_01/a.wav",
        "",
    ]


def test_what_is_returned_is_what_was_written(corpus, tmp_path):
    placed = place(corpus, tmp_path / "out")

    read = read_manifest(tmp_path / "out" / "manifest.csv")
    assert [row.column("fold") for row in read] == ["", "4", "", ""]
    assert [row.audio for row in read] == [row.audio for row in placed]
    assert read.folder == placed.folder
    assert all(path is None or path.is_file() for path in map(read.audio_path, read))


@pytest.mark.parametrize("copy", [False, True])
def test_placing_again_changes_nothing(corpus, tmp_path, copy):
    first = place(corpus, tmp_path / "out", copy=copy)
    text = (tmp_path / "out" / "manifest.csv").read_bytes()

    again = place(corpus, tmp_path / "out", copy=copy)

    assert again == first
    assert (tmp_path / "out" / "manifest.csv").read_bytes() == text


def test_placing_a_placed_manifest_in_its_own_folder_changes_nothing(corpus, tmp_path):
    placed = place(corpus, tmp_path / "out")

    assert place(placed, tmp_path / "out") == placed


def test_only_named_files_are_copied(corpus, tmp_path):
    place(corpus, tmp_path / "out", copy=True)

    assert files_below(tmp_path / "out") == [
        "audio/Actor_01/a.wav",
        "audio/Actor_02/b.wav",
        "manifest.csv",
    ]


def test_files_are_copied_where_links_are_refused(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "symlink_to", no_links)

    place(corpus, tmp_path / "out")
    placed = place(corpus, tmp_path / "out")

    assert not (tmp_path / "out" / "audio").is_symlink()
    assert placed.audio_path(placed.utterances[1]).read_bytes() == b"xxxxx"


def test_a_copy_of_the_same_size_is_left_and_another_one_replaced(corpus, tmp_path):
    place(corpus, tmp_path / "out", copy=True)
    (tmp_path / "out/audio/Actor_01/a.wav").write_bytes(b"yyy")
    (tmp_path / "out/audio/Actor_02/b.wav").write_bytes(b"yyy")

    place(corpus, tmp_path / "out", copy=True)

    assert (tmp_path / "out/audio/Actor_01/a.wav").read_bytes() == b"yyy"
    assert (tmp_path / "out/audio/Actor_02/b.wav").read_bytes() == b"xxxxx"


def test_copying_after_linking_leaves_the_corpus_alone(corpus, tmp_path):
    place(corpus, tmp_path / "out")

    place(corpus, tmp_path / "out", copy=True)

    assert not (tmp_path / "out" / "audio").is_symlink()
    assert files_below(corpus.folder) == ["Actor_01/a.wav", "Actor_02/b.wav", "Actor_02/other.wav"]


def test_a_manifest_without_audio_needs_no_link(tmp_path):
    manifest = make_manifest([Utterance(id="1", text="words")], tmp_path / "corpus")

    place(manifest, tmp_path / "out")

    assert files_below(tmp_path / "out") == ["manifest.csv"]


def test_paths_stay_where_the_corpus_is_the_folder_itself(corpus):
    placed = place(corpus, corpus.folder)

    assert placed.utterances[0].audio == "Actor_01/a.wav"
    assert not (corpus.folder / "audio").exists()


def test_paths_are_extended_where_the_corpus_lies_below(corpus, tmp_path):
    placed = place(corpus, tmp_path, copy=True)

    assert placed.utterances[0].audio == "corpus/Actor_01/a.wav"
    assert not (tmp_path / "audio").exists()


def test_a_folder_inside_of_the_corpus_gets_a_link(corpus):
    placed = place(corpus, corpus.folder / "out")

    assert placed.audio_path(placed.utterances[0]).is_file()


def test_copies_inside_of_the_corpus_are_refused(corpus):
    with pytest.raises(ManifestError, match=r"lies inside the corpus .* choose an --out outside"):
        place(corpus, corpus.folder / "out", copy=True)


def test_a_relative_folder_is_linked_absolutely(corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    place(Manifest(corpus.utterances, Path("corpus")), Path("out"))

    assert (tmp_path / "out" / "audio").readlink() == corpus.folder.resolve()


@pytest.mark.parametrize("copy", [False, True])
def test_a_link_to_another_corpus_is_refused_and_kept(corpus, tmp_path, copy):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "audio").symlink_to(tmp_path / "gone")

    with pytest.raises(
        ManifestError, match=r"points to .*gone, but this corpus .* remove that lin"
    ):
        place(corpus, tmp_path / "out", copy=copy)

    assert (tmp_path / "out" / "audio").readlink() == tmp_path / "gone"
    assert not (tmp_path / "out" / "manifest.csv").exists()


def test_a_folder_with_other_recordings_is_refused(corpus, tmp_path):
    (tmp_path / "out" / "audio").mkdir(parents=True)

    with pytest.raises(ManifestError, match=r"does not hold the recordings of .* give --copy"):
        place(corpus, tmp_path / "out")


def test_a_table_that_is_no_manifest_is_not_written_over(corpus):
    own = corpus.folder / "manifest.csv"
    own.write_text("path,emotion\nActor_01/a.wav,sad\n")

    with pytest.raises(ManifestError, match=r"is not a manifest of mersa, .* choose another --out"):
        place(corpus, corpus.folder)

    assert own.read_text().startswith("path,emotion")


def test_a_file_in_place_of_the_folder_is_refused(corpus, tmp_path):
    (tmp_path / "out").write_text("x")

    with pytest.raises(
        ManifestError, match=r"out is or lies below a file, .* choose another --out"
    ):
        place(corpus, tmp_path / "out")


def test_a_file_in_place_of_the_copies_is_refused(corpus, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "audio").write_text("x")

    with pytest.raises(
        ManifestError, match=r"audio is a file, but a folder .* choose another --ou"
    ):
        place(corpus, tmp_path / "out", copy=True)


def test_a_missing_recording_stops_the_copy_before_it_begins(corpus, tmp_path):
    place(corpus, tmp_path / "out")
    (corpus.folder / "Actor_02" / "b.wav").unlink()

    with pytest.raises(
        ManifestError, match=r"1 of 2 recordings are missing .* Actor_02/b.wav; bri"
    ):
        place(corpus, tmp_path / "out", copy=True)

    assert (tmp_path / "out" / "audio").is_symlink()


def counted():
    rows = [
        Utterance(id="1", emotion="sad", part="train", duration_s=3600.0),
        Utterance(id="2", emotion="anger", part="train", start_s=100.0, end_s=1900.0),
        Utterance(id="3", emotion="sad", part="train", duration_s=1800.0),
        Utterance(id="4", emotion="pride", part="test"),
        Utterance(id="5", part="test", duration_s=900.0),
        Utterance(id="6", emotion="boredom"),
    ]
    return count_table(make_manifest(rows, Path()))


def test_counts_stand_by_part_and_emotion_in_their_orders():
    table = counted()

    assert table.emotions == ("anger", "sad", "boredom", "pride")
    assert [(row.part, row.counts, row.unlabelled, row.utterances) for row in table.rows] == [
        ("train", (1, 2, 0, 0), 0, 3),
        ("test", (0, 0, 0, 1), 1, 2),
        ("no part", (0, 0, 1, 0), 0, 1),
        ("all", (1, 2, 1, 1), 1, 6),
    ]


def test_lengths_are_those_of_the_utterances_not_of_the_recordings():
    assert [(row.seconds, row.timed) for row in counted().rows] == [
        (7200.0, 3),
        (900.0, 1),
        (0, 0),
        (8100.0, 4),
    ]


def test_the_text_is_aligned_and_tells_unknown_hours():
    assert counted().text() == "\n".join(
        [
            "part     anger  sad  boredom  pride  unlabelled  utterances  hours",
            "train        1    2        0      0           0           3   2.00",
            "test         0    0        0      1           1           2  >0.25",
            "no part      0    0        1      0           0           1      -",
            "all          1    2        1      1           1           6  >2.25",
        ]
    )


def test_a_manifest_without_parts_is_one_row():
    table = count_table(make_manifest([Utterance(id="1", emotion="sad")], Path()))

    assert table.rows == (
        CountRow(part="all", counts=(1,), unlabelled=0, utterances=1, seconds=0, timed=0),
    )


def test_the_dictionary_survives_json():
    table = json.loads(json.dumps(counted().as_dict()))

    assert table["rows"][1] == {
        "part": "test",
        "counts": {"anger": 0, "sad": 0, "boredom": 0, "pride": 1},
        "unlabelled": 1,
        "utterances": 2,
        "seconds": 900.0,
        "timed": 1,
    }
    assert table["rows"][2]["seconds"] is None
