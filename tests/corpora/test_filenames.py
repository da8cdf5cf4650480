import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mersa.corpora.beside import read_beside
from mersa.corpora.filenames import Release, read_release
from mersa.corpora.place import place
from mersa.errors import CorpusError, ManifestError
from mersa.manifest import Utterance

RELEASE = Release(
    corpus="Tiny",
    pattern=re.compile(r"(?P<speaker>[ab])_(?P<emotion>[a-z]+)_(?:(?P<take>\d)|x)"),
    example="a_sad_1.wav",
    remedy="name the folder that holds tiny/",
    counts={"sad": 2, "happy": 1},
    num_speakers=2,
    faults={"a_sad_9": "it is known to hum"},
    left_out=lambda fields: "laugh" if fields["emotion"] == "laugh" else "",
    further_suffixes=(".mp4",),
)
WHOLE = ("a_sad_1.wav", "b_sad_x.flac", "b_happy_2.wav")


def describe(recording):
    return Utterance(
        id=recording.name,
        audio=recording.audio,
        emotion=recording.look_up("emotion", {"sad": "sad", "happy": "happy"}),
        speaker=recording.fields["speaker"],
        duration_s=recording.duration_s,
        extras={"take": recording.fields["take"]},
    )


def fill(root, *names, samples=800):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = "FLAC" if path.suffix.lower() == ".flac" else "WAV"
        soundfile.write(path, np.zeros(samples, dtype=np.int16), 16_000, format=kind)
    return root


def read(root, *, strict=False):
    return read_release(root, RELEASE, describe, strict=strict)


def test_a_whole_release_is_read_without_a_word(tmp_path, caplog):
    manifest = read(fill(tmp_path, *WHOLE), strict=True)

    rows = [(one.id, one.audio, one.emotion, one.column("take")) for one in manifest]
    assert rows == [
        ("a_sad_1", "a_sad_1.wav", "sad", "1"),
        ("b_happy_2", "b_happy_2.wav", "happy", "2"),
        ("b_sad_x", "b_sad_x.flac", "sad", ""),
    ]
    assert {one.duration_s for one in manifest} == {0.05}
    assert manifest.folder == tmp_path
    assert caplog.text == ""


def test_recordings_lie_at_any_depth_and_suffixes_in_any_case(tmp_path):
    root = fill(tmp_path, "x/y/a_sad_1.WAV", "b_sad_x.flac", "z/b_happy_2.wav")

    audio = [one.audio for one in read(root, strict=True)]

    assert audio == ["x/y/a_sad_1.WAV", "z/b_happy_2.wav", "b_sad_x.flac"]


def test_hidden_and_foreign_files_are_passed_over(tmp_path, caplog):
    root = fill(tmp_path, *WHOLE, "._a_sad_3.wav", ".trash/a_sad_3.wav")
    (root / "README.txt").write_text("a_sad_4.wav")

    assert len(read(root, strict=True)) == 3
    assert caplog.text == ""


def test_folders_behind_links_are_read_once(tmp_path, caplog):
    root = tmp_path / "root"
    fill(tmp_path / "disk", *WHOLE)
    root.mkdir()
    (root / "one").symlink_to(tmp_path / "disk")
    (root / "two").symlink_to(tmp_path / "disk")

    assert {one.audio[:4] for one in read(root, strict=True)} == {"one/"}
    assert caplog.text == ""


def test_a_manifest_placed_inside_the_corpus_does_not_double_it(tmp_path, caplog):
    root = fill(tmp_path, *WHOLE)
    first = read(root, strict=True)
    place(first, root / "out")
    (root / "out" / "audio").unlink(missing_ok=True)
    (root / "out" / "audio").symlink_to(root)

    assert read(root, strict=True) == first
    assert caplog.text == ""


def test_the_difference_from_the_release_is_a_warning(tmp_path, caplog):
    manifest = read(fill(tmp_path, "a_sad_1.wav"))

    assert len(manifest) == 1
    assert "sad 1 instead of 2, happy 0 instead of 1, speakers 1 instead of 2" in caplog.text


def test_the_difference_from_the_release_is_an_error_if_strict(tmp_path):
    root = fill(tmp_path, "a_sad_1.wav")

    with pytest.raises(CorpusError, match=r"Tiny .* speakers 1 instead of 2; complete .*--no-str"):
        read(root, strict=True)


def test_files_of_other_names_are_counted_and_named(tmp_path, caplog):
    root = fill(tmp_path, *WHOLE, *(f"other/{number}.wav" for number in range(5)))

    assert len(read(root)) == 3
    assert "5 of 8 recordings" in caplog.text
    assert "not named as Tiny names them (a_sad_1.wav)" in caplog.text
    assert "other/0.wav, other/1.wav, other/2.wav and 2 more; rename" in caplog.text
    assert len(caplog.records) == 1


def test_files_of_other_names_are_an_error_if_strict(tmp_path):
    root = fill(tmp_path, *WHOLE, "strange.wav")

    with pytest.raises(CorpusError, match=r"1 of 4 .*: strange\.wav; rename them .*--no-strict"):
        read(root, strict=True)


def test_an_unknown_code_is_an_error_that_lists_the_known_ones(tmp_path):
    root = fill(tmp_path, *WHOLE, "x/a_rage_1.wav")

    with pytest.raises(
        CorpusError, match=r"x/a_rage_1\.wav of Tiny has the emotion 'rage', .* sad, happy; rename"
    ):
        read(root)


def test_of_second_copies_the_first_in_sorted_order_is_read(tmp_path, caplog):
    root = fill(tmp_path, *WHOLE, "copy/a_sad_1.wav", "Copy/b_sad_x.wav")

    audio = [one.audio for one in read(root, strict=True)]

    assert audio == ["a_sad_1.wav", "b_happy_2.wav", "Copy/b_sad_x.wav"]
    assert "holds recordings a second time (2 files" in caplog.text
    assert "as b_sad_x.flac beside Copy/b_sad_x.wav" in caplog.text


def test_kinds_that_are_left_out_are_counted(tmp_path, caplog):
    root = fill(tmp_path, *WHOLE, "a_laugh_1.wav", "a_laugh_2.wav")
    (root / "a_laugh_3.mp4").write_bytes(b"x")

    assert len(read(root, strict=True)) == 3
    assert "Tiny at" in caplog.text
    assert "3 laugh files are not read" in caplog.text


def test_a_folder_of_left_out_kinds_alone_is_refused(tmp_path):
    root = fill(tmp_path, "a_laugh_1.wav")

    with pytest.raises(CorpusError, match=r"1 laugh file of Tiny, .*nothing else; name the folder"):
        read(root)


@pytest.mark.parametrize("broken", ["b_happy_2.wav", "b_sad_x.flac"])
def test_a_file_that_does_not_open_is_kept_out_and_named(tmp_path, caplog, broken):
    root = fill(tmp_path, *WHOLE)
    (root / broken).write_bytes(b"no sound")

    assert broken not in {one.audio for one in read(root)}
    assert f"1 of 3 recordings of Tiny at {root} do not open or are empty" in caplog.text
    assert f"{broken}; bring them there again" in caplog.text


def test_a_file_without_samples_is_kept_out_and_named(tmp_path, caplog):
    fill(tmp_path, *WHOLE)
    root = fill(tmp_path, "b_happy_2.wav", samples=0)

    assert {one.id for one in read(root)} == {"a_sad_1", "b_sad_x"}
    assert "are kept out: b_happy_2.wav" in caplog.text


def test_a_link_that_leads_nowhere_is_kept_out_and_named(tmp_path, caplog):
    root = fill(tmp_path, *WHOLE)
    (root / "a_sad_2.wav").symlink_to(root / "gone")

    assert len(read(root)) == 3
    assert "1 of 4 recordings" in caplog.text
    assert "are kept out: a_sad_2.wav" in caplog.text


def test_a_file_that_does_not_open_is_an_error_if_strict(tmp_path):
    root = fill(tmp_path, *WHOLE)
    (root / "a_sad_1.wav").write_bytes(b"")

    with pytest.raises(CorpusError, match=r"1 of 3 .*: a_sad_1\.wav; bring them .*--no-strict"):
        read(root, strict=True)


def test_pointers_of_git_lfs_are_told_from_damage(tmp_path):
    for name in WHOLE:
        (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\nsize 7\n")

    with pytest.raises(CorpusError, match=r"3 of 3 .* pointers of Git LFS, .*git lfs pull"):
        read(tmp_path)


def test_a_known_fault_counts_as_found_and_is_kept_out(tmp_path, caplog):
    root = fill(tmp_path, "a_sad_9.wav", "b_sad_x.wav", "b_happy_2.wav")

    assert {one.id for one in read(root, strict=True)} == {"b_sad_x", "b_happy_2"}
    assert "a_sad_9.wav is kept out, for it is known to hum" in caplog.text


def test_a_missing_folder_says_which_one_to_name(tmp_path):
    with pytest.raises(CorpusError, match="nowhere does not exist; name the folder that holds ti"):
        read(tmp_path / "nowhere")


def test_a_file_in_place_of_the_folder_is_to_be_unpacked(tmp_path):
    (tmp_path / "tiny.zip").write_bytes(b"x")

    with pytest.raises(CorpusError, match=r"tiny\.zip is a file, but Tiny is a folder; unpack"):
        read(tmp_path / "tiny.zip")


@pytest.mark.parametrize("name", ["tiny.zip", "in/tiny.tar.gz", "tiny.ZIP"])
def test_an_archive_left_packed_is_named(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"x")

    with pytest.raises(CorpusError, match=rf"still packed \({Path(name).name}\); unpack it there"):
        read(tmp_path)


def test_an_empty_folder_says_what_is_looked_for(tmp_path):
    with pytest.raises(
        CorpusError, match=r"holds no recording .* as a_sad_1\.wav; name the folder that holds tiny"
    ):
        read(tmp_path)


def test_a_folder_of_another_corpus_says_what_it_holds(tmp_path):
    root = fill(tmp_path, "1.wav", "2.wav")

    with pytest.raises(CorpusError, match=r"\(2 have other names: 1\.wav, 2\.wav\); name the fold"):
        read(root)


def test_the_order_of_the_file_system_does_not_matter(tmp_path, monkeypatch):
    root = fill(tmp_path, *WHOLE, "c/a_sad_1.wav", "d/a_sad_1.wav")
    expected = read(root)
    listed = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: sorted(listed(path), reverse=True))

    assert read(root) == expected


def test_samples_are_not_read(tmp_path, monkeypatch):
    root = fill(tmp_path, *WHOLE)
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *given: pytest.fail("read samples"))

    assert Counter(one.emotion for one in read(root)) == RELEASE.counts


@pytest.mark.parametrize("place", [".", "inner", "samples/.."])
def test_a_table_is_found_beside_the_recordings(tmp_path, place):
    (tmp_path / "inner").mkdir()
    (tmp_path / "samples").mkdir()
    (tmp_path / place / "t.tsv").write_text("id\tword\na \t  yes\n", encoding="utf-8")

    assert read_beside(tmp_path, "t.tsv", "samples", ["word"]) == [{"id": "a", "word": "yes"}]


def test_a_table_above_is_read_from_the_folder_of_recordings_alone(tmp_path):
    for name in ("samples", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "t.csv").write_text("id\na\n", encoding="utf-8")

    assert read_beside(tmp_path / "samples", "t.csv", "samples", ["id"]) == [{"id": "a"}]
    assert read_beside(tmp_path / "other", "t.csv", "samples", ["id"]) == []


def test_a_table_that_lacks_a_column_is_refused(tmp_path):
    (tmp_path / "t.csv").write_text("id,wrod\na,yes\n", encoding="utf-8")

    with pytest.raises(CorpusError, match=r"no column 'word' \(found: id, wrod\); put the table"):
        read_beside(tmp_path, "t.csv", "samples", ["id", "word"])


def test_a_table_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "t.csv").write_bytes("id\nä\n".encode("latin-1"))

    with pytest.raises(ManifestError, match=r"t\.csv is not UTF-8 .*; save it as UTF-8"):
        read_beside(tmp_path, "t.csv", "samples", ["id"])
