"""MELD in the layouts in which it lies about, with invented lines and generated clips."""

import csv
import io
import logging
import re
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from mersa.audio import SAMPLE_RATE, read_audio
from mersa.corpora import meld
from mersa.corpora.meld_clips import find_clips
from mersa.corpora.meld_tables import read_table
from mersa.errors import CorpusError
from mersa.manifest import Manifest, Utterance
from mersa.progress import Silent

REAL = Path(__file__).parents[2] / ".." / "shared" / "data" / "meld"
PARTS = ("train", "dev", "test")
FOLDERS = dict(
    zip(PARTS, ("train_splits", "dev_splits_complete", "output_repeated_splits_test"), strict=True)
)
COLUMNS = (
    *("Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID"),
    *("Season", "Episode", "StartTime", "EndTime"),
)
TYPOGRAPHIC = "It\u2019s \u201clate\u201d \u2013 no\u2026"
ROWS = {
    "train": [
        (TYPOGRAPHIC, "Ada", "anger", "negative", 2, 10, 1, 5, "00:01:02,5", "0:01:04,100"),
        ("Right.", "Ben", "neutral", "neutral", 2, 9, 1, 5, "0:01:00,000", "00:01:02,250"),
        ("What?", "Ada", "joy", "positive", 10, 0, 8, 21, "01:00:00,000", "01:00:00,006"),
    ],
    "dev": [("Sure!", "Cy", "surprise", "positive", 2, 9, 3, 1, "0:10:00,125", "0:10:03,500")],
    "test": [
        ("Oh my God.", "Ben", "fear", "negative", 2, 9, 4, 2, "0:12:32,632", "0:12:32,632"),
        ("It's a role on", "Di", "sadness", "negative", 3, 4, 4, 2, "0:13:31,060", "0:18:36,000"),
    ],
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The three tables without clips."""
    folder = tmp_path / "MELD"
    for part in PARTS:
        write_table(folder / f"{part}_sent_emo.csv", ROWS[part])
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip as released: picture, and 5.1 sound of 1.5 s."""
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", 1.5, picture=True)


@pytest.fixture
def clips(root: Path, clip: Path) -> Path:
    """The same folder with a clip for each row."""
    for part in PARTS:
        (root / FOLDERS[part]).mkdir()
        for row in ROWS[part]:
            shutil.copy(clip, root / FOLDERS[part] / f"dia{row[4]}_utt{row[5]}.mp4")
    return root


def table_text(rows: Sequence[Sequence[object]], columns: Sequence[str] = COLUMNS) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\r\n")
    writer.writeheader()
    for number, row in enumerate(rows, start=1):
        writer.writerow(dict(zip(COLUMNS, (number, *row), strict=True)))
    return text.getvalue()


def write_table(file: Path, rows: Sequence[Sequence[object]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(table_text(rows).encode())


def write_clip(
    file: Path,
    seconds: float,
    *,
    picture: bool = False,
    layout: str = "5.1",
    codec: str = "aac",
    tones: Sequence[int] = (300, 500, 700, 90, 1100, 1300),
) -> Path:
    """Write a tone of its own to each channel, in FFmpeg's order: FL FR FC LFE BL BR."""
    rate = 48_000
    with av.open(str(file), "w") as container:
        film = container.add_stream("libx264", rate=24) if picture else None
        if film:
            film.width, film.height, film.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream(codec, rate=rate, layout=layout)
        if film:
            frame = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            for packet in (
                packet for image in (*[frame] * 12, None) for packet in film.encode(image)
            ):
                container.mux(packet)
        count = av.AudioLayout(layout).nb_channels
        time = np.arange(round(rate * seconds)) / rate
        samples = np.stack([0.3 * np.sin(2 * np.pi * tone * time) for tone in tones[:count]])
        heard = av.AudioFrame.from_ndarray(samples.astype(np.float32), "fltp", layout)
        heard.sample_rate = rate
        for packet in (packet for part in (heard, None) for packet in sound.encode(part)):
            container.mux(packet)
    return file


def by_id(manifest: Manifest) -> dict[str, Utterance]:
    return {utterance.id: utterance for utterance in manifest}


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was told beside the counts, which an invented corpus never has."""
    return [
        record.getMessage()
        for record in caplog.records
        if "differs from its release" not in record.getMessage()
    ]


# The words


def test_words_alone_make_a_manifest(root: Path) -> None:
    found = by_id(meld.read(root))

    assert list(found) == [
        "dev_dia0002_utt09",
        "test_dia0002_utt09",
        "test_dia0003_utt04",
        "train_dia0002_utt09",
        "train_dia0002_utt10",
        "train_dia0010_utt00",
    ]
    assert found["train_dia0002_utt10"] == Utterance(
        id="train_dia0002_utt10",
        text=TYPOGRAPHIC,
        emotion="anger",
        speaker="Ada",
        dialogue="train_dia0002",
        part="train",
        language="en",
        duration_s=1.6,
        extras={
            "sentiment": "negative",
            "season": "1",
            "episode": "5",
            "origin": "s01e05",
            "origin_start_s": "62.500",
            "origin_end_s": "64.100",
        },
    )


def test_parts_have_the_names_of_mersa_and_dialogues_names_of_their_own(root: Path) -> None:
    found = by_id(meld.read(root))

    assert {name: (one.part, one.dialogue) for name, one in found.items() if "utt09" in name} == {
        "train_dia0002_utt09": ("train", "train_dia0002"),
        "dev_dia0002_utt09": ("validation", "dev_dia0002"),
        "test_dia0002_utt09": ("test", "test_dia0002"),
    }


def test_emotions_are_the_words_of_mersa(root: Path) -> None:
    assert Counter(one.emotion for one in meld.read(root)) == Counter(
        ["anger", "neutral", "happy", "surprise", "fear", "sad"]
    )


def test_times_that_cannot_be_true_give_no_length(root: Path) -> None:
    lengths = {name: one.duration_s for name, one in by_id(meld.read(root)).items()}

    assert lengths == {
        "dev_dia0002_utt09": 3.375,
        "test_dia0002_utt09": None,
        "test_dia0003_utt04": None,
        "train_dia0002_utt09": 2.25,
        "train_dia0002_utt10": 1.6,
        "train_dia0010_utt00": None,
    }


def test_a_folder_without_clips_is_told_in_one_line(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    meld.read(root)

    (line,) = warnings(caplog)
    assert re.search(r"no clips .*words are read alone and audio is empty", line)


@pytest.mark.parametrize(
    "encode",
    [
        pytest.param(lambda text: text.encode(), id="utf-8"),
        pytest.param(lambda text: text.encode("utf-8-sig"), id="with a byte order mark"),
        pytest.param(lambda text: text.replace("\r\n", "\n").encode(), id="line feeds alone"),
        pytest.param(lambda text: text.encode("cp1252"), id="windows-1252"),
        pytest.param(lambda text: text.encode("cp1252").decode("latin-1").encode(), id="c1"),
        pytest.param(
            lambda text: text.replace("\u2019", "\x92").replace(" \u201c", "\xa0\x93").encode(),
            id="mixed",
        ),
    ],
)
def test_every_encoding_gives_the_same_manifest(encode: Callable[[str], bytes], root: Path) -> None:
    expected = meld.read(root).utterances
    (root / "train_sent_emo.csv").write_bytes(encode(table_text(ROWS["train"])))

    assert meld.read(root).utterances == expected


def test_text_that_neither_encoding_knows_is_refused(root: Path) -> None:
    (root / "dev_sent_emo.csv").write_bytes(b"\x81" + table_text(ROWS["dev"]).encode("cp1252"))

    with pytest.raises(CorpusError, match=r"dev_sent_emo\.csv .*byte 0x81 at 0.*as it was publ"):
        meld.read(root)


# Where things lie


@pytest.mark.parametrize(
    ("tables", "films"),
    [
        (".", "."),
        ("data/MELD", "."),
        ("data/MELD", "MELD.Raw"),
        ("MELD.Raw", "MELD.Raw"),
        ("PART", "PART"),
        ("MELD.Raw/PART", "MELD.Raw/PART"),
        (".", "MELD.Raw/PART"),
    ],
)
def test_every_published_layout_is_found(
    tables: str, films: str, tmp_path: Path, clip: Path
) -> None:
    for part in PARTS:
        write_table(tmp_path / tables.replace("PART", part) / f"{part}_sent_emo.csv", ROWS[part])
        folder = tmp_path / films.replace("PART", part) / FOLDERS[part]
        folder.mkdir(parents=True)
        for row in ROWS[part]:
            shutil.copy(clip, folder / f"dia{row[4]}_utt{row[5]}.mp4")

    manifest = meld.read(tmp_path)

    places = {
        part: (Path(films.replace("PART", part)) / FOLDERS[part]).as_posix() for part in PARTS
    }
    assert [one.audio for one in manifest] == [
        f"{places['dev']}/dia2_utt9.mp4",
        f"{places['test']}/dia2_utt9.mp4",
        f"{places['test']}/dia3_utt4.mp4",
        f"{places['train']}/dia2_utt9.mp4",
        f"{places['train']}/dia2_utt10.mp4",
        f"{places['train']}/dia10_utt0.mp4",
    ]
    assert all((tmp_path / one.audio).is_file() for one in manifest)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("strict", [False, True])
def test_a_table_that_is_missing_is_named(part: str, strict: bool, root: Path) -> None:
    (root / f"{part}_sent_emo.csv").unlink()

    others = " and ".join(other for other in PARTS if other != part)
    with pytest.raises(CorpusError, match=rf"no {part}_sent_emo.csv beside that of {others}; br"):
        meld.read(root, strict=strict)


@pytest.mark.parametrize(
    ("kind", "message"),
    [("none", "does not exist; name the folder that"), ("file", "is a file, but MELD is a folder")],
)
def test_a_folder_that_is_none_is_refused(kind: str, message: str, tmp_path: Path) -> None:
    root = tmp_path / "MELD"
    if kind == "file":
        root.touch()

    with pytest.raises(CorpusError, match=message):
        meld.read(root)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"has no train_sent_emo.csv; bring it there from github"):
        meld.read(tmp_path)


def test_an_archive_that_is_still_packed_is_named_with_the_command(tmp_path: Path) -> None:
    root = tmp_path / "my meld"
    root.mkdir()
    (root / "MELD.Raw.tar.gz").touch()

    command = re.escape(
        f"tar -xzf '{root}/MELD.Raw.tar.gz' -C '{root}', or with mersa prepare meld"
    )
    with pytest.raises(CorpusError, match=command):
        meld.read(root)


def test_inner_archives_that_are_still_packed_are_named(root: Path, clip: Path) -> None:
    raw = root / "MELD.Raw"
    (raw / FOLDERS["train"]).mkdir(parents=True)
    for part in PARTS:
        (raw / f"{part}.tar.gz").touch()

    with pytest.raises(CorpusError) as refused:
        meld.read(root)

    assert "dev.tar.gz, test.tar.gz is there, but not dev_splits" in str(refused.value)
    assert f"tar -xzf {raw}/dev.tar.gz -C {raw} && tar -xzf {raw}/test" in str(refused.value)
    assert "train.tar.gz" not in str(refused.value)


def test_a_download_that_was_broken_off_is_named(tmp_path: Path) -> None:
    (tmp_path / "MELD.Raw.tar.gz.partial").touch()

    with pytest.raises(CorpusError, match=r"not fetched to its end; go on with .* --download"):
        meld.read(tmp_path)


# Broken tables


@pytest.mark.parametrize("column", COLUMNS[1:])
def test_a_missing_column_is_named(column: str, root: Path) -> None:
    columns = [name for name in COLUMNS if name != column]
    (root / "test_sent_emo.csv").write_text(table_text(ROWS["test"], columns))

    with pytest.raises(CorpusError, match=rf"test_sent_emo.csv has no column '{column}'.*publish"):
        meld.read(root)


def test_the_running_number_is_not_needed(root: Path) -> None:
    expected = meld.read(root).utterances
    (root / "test_sent_emo.csv").write_text(table_text(ROWS["test"], COLUMNS[1:]))

    assert meld.read(root).utterances == expected


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (2, "rage", "column 'Emotion': 'rage' is no emotion of MELD; use one of neutral"),
        (4, "x3", "column 'Dialogue_ID': 'x3' is no whole number; take"),
        (5, "-1", "column 'Utterance_ID': '-1' is no whole number; take"),
        (6, "", "column 'Season': '' is no whole number; take"),
        (7, "1.5", "column 'Episode': '1.5' is no whole number; take"),
        (8, "12:30", "column 'StartTime': '12:30' is no time; write it as 00:16:16,059"),
        (9, "0:61:5,1", "column 'EndTime': '0:61:5,1' is no time; write it as 00:16:16,059"),
    ],
)
def test_a_cell_that_cannot_be_read_is_named(
    place: int, value: str, message: str, root: Path
) -> None:
    rows = [list(row) for row in ROWS["train"]]
    rows[1][place] = value
    write_table(root / "train_sent_emo.csv", rows)

    with pytest.raises(CorpusError, match=f"train_sent_emo.csv: row 2, {message}"):
        meld.read(root)


def test_numbers_that_stand_twice_are_refused(root: Path) -> None:
    write_table(root / "train_sent_emo.csv", [*ROWS["train"], ROWS["train"][1]])

    with pytest.raises(
        CorpusError, match="row 4 has the Dialogue_ID 2 and Utterance_ID 9 of row 2"
    ):
        meld.read(root)


def test_a_row_with_a_comma_too_many_is_refused(root: Path) -> None:
    with (root / "dev_sent_emo.csv").open("a") as file:
        file.write("2,Well, no,Ada,joy,positive,2,10,3,1,0:10:04,0:10:05\n")

    with pytest.raises(CorpusError, match="row 2 has 12 cells, but the header has 11; take"):
        meld.read(root)


def test_an_empty_table_is_refused(root: Path) -> None:
    (root / "dev_sent_emo.csv").write_text("\n")

    with pytest.raises(CorpusError, match=r"dev_sent_emo.csv is empty; take"):
        meld.read(root)


def test_counts_that_differ_are_told(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    meld.read(root)

    told = next(line for line in caplog.messages if "differs from its release" in line)
    assert "train neutral 1 instead of 4,710" in told
    assert "validation dialogues 1 instead of 114" in told


def test_counts_that_differ_are_refused_where_strict(root: Path) -> None:
    with pytest.raises(CorpusError, match=r"test fear 1 instead of 50.*or give --no-strict"):
        meld.read(root, strict=True)


# The clips


def test_a_clip_belongs_to_its_row(clips: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = by_id(meld.read(clips))

    assert found["dev_dia0002_utt09"].audio == "dev_splits_complete/dia2_utt9.mp4"
    assert {one.extras["fault"] for one in found.values()} == {""}
    assert warnings(caplog) == []


def test_a_clip_gives_the_length_that_the_times_do_not(clips: Path) -> None:
    lengths = {name: one.duration_s for name, one in by_id(meld.read(clips)).items()}

    assert lengths["train_dia0010_utt00"] == pytest.approx(1.5, abs=0.03)
    assert lengths["test_dia0002_utt09"] == pytest.approx(1.5, abs=0.03)
    assert lengths["train_dia0002_utt09"] == 2.25


def test_the_final_film_of_the_test_part_replaces_the_plain_one(clips: Path, clip: Path) -> None:
    for part in PARTS:
        shutil.copy(clip, clips / FOLDERS[part] / "final_videos_testdia2_utt9.mp4")

    found = by_id(meld.read(clips))

    assert found["test_dia0002_utt09"].audio.endswith("/final_videos_testdia2_utt9.mp4")
    assert found["train_dia0002_utt09"].audio.endswith("/dia2_utt9.mp4")


def test_the_final_film_alone_is_enough(clips: Path) -> None:
    folder = clips / FOLDERS["test"]
    (folder / "dia2_utt9.mp4").rename(folder / "final_videos_testdia2_utt9.mp4")

    assert by_id(meld.read(clips))["test_dia0002_utt09"].audio.endswith("testdia2_utt9.mp4")


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_extracted_sound_is_taken_where_the_film_is_not_there(suffix: str, clips: Path) -> None:
    folder = clips / FOLDERS["train"]
    noise = np.random.default_rng(3).normal(0, 0.1, 12_000)
    for number in (9, 10):
        soundfile.write(folder / f"dia2_utt{number}.{suffix}", noise, 16_000)
    (folder / "dia2_utt9.mp4").unlink()

    found = by_id(meld.read(clips))

    assert found["train_dia0002_utt09"].audio == f"train_splits/dia2_utt9.{suffix}"
    assert found["train_dia0002_utt10"].audio == "train_splits/dia2_utt10.mp4"
    assert found["train_dia0002_utt09"].extras["fault"] == ""


def test_a_row_without_a_clip_is_kept_and_named(
    clips: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (clips / FOLDERS["dev"] / "dia2_utt9.mp4").unlink()

    found = by_id(meld.read(clips))["dev_dia0002_utt09"]

    assert (found.audio, found.text, found.duration_s) == ("", "Sure!", 3.375)
    assert found.extras["fault"] == "no clip"
    (line,) = warnings(caplog)
    assert line.endswith("rows without a clip, whose audio is empty: 1 (dev_dia0002_utt09)")


def test_a_clip_without_a_row_is_counted_and_left_out(
    clips: Path, clip: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copy(clip, clips / FOLDERS["dev"] / "dia77_utt8.mp4")
    (clips / FOLDERS["dev"] / "._dia2_utt9.mp4").write_bytes(b"macOS")
    (clips / FOLDERS["dev"] / "notes.txt").touch()

    assert len(meld.read(clips)) == 6

    (line,) = warnings(caplog)
    assert line.endswith(
        "clips that belong to no row, left out: 1 (dev_splits_complete/dia77_utt8.mp4)"
    )


def test_a_byte_order_mark_is_no_part_of_a_column(root: Path) -> None:
    expected = meld.read(root).utterances
    table = table_text(ROWS["test"], COLUMNS[1:]).encode("utf-8-sig")
    (root / "test_sent_emo.csv").write_bytes(table)

    assert meld.read(root).utterances == expected


def test_a_clip_without_samples_does_not_decode(clips: Path) -> None:
    file = clips / FOLDERS["train"] / "dia2_utt9.wav"
    file.with_suffix(".mp4").unlink()
    soundfile.write(file, np.zeros(0), 8_000)

    assert by_id(meld.read(clips))["train_dia0002_utt09"].extras["fault"] == "does not decode"


@pytest.mark.parametrize("kind", ["cut", "empty", "text", "picture alone"])
def test_a_clip_that_does_not_decode_is_left_out_and_named(
    kind: str, clips: Path, clip: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = clips / FOLDERS["train"] / "dia2_utt9.mp4"
    if kind == "picture alone":
        with av.open(str(file), "w") as container:
            film = container.add_stream("libx264", rate=24)
            film.width, film.height, film.pix_fmt = 64, 48, "yuv420p"
            image = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            for packet in (*film.encode(image), *film.encode(None)):
                container.mux(packet)
    else:
        half = clip.read_bytes()[: clip.stat().st_size // 2]
        file.write_bytes({"cut": half, "empty": b"", "text": b"no film at all\n" * 90}[kind])

    found = by_id(meld.read(clips))["train_dia0002_utt09"]

    assert (found.audio, found.extras["fault"]) == ("", "does not decode")
    assert found.duration_s == 2.25
    (line,) = warnings(caplog)
    assert line.endswith(f"whose clip does not decode, so audio is empty: 1 ({found.id})")


@pytest.mark.parametrize(
    ("name", "seconds", "fault"),
    [
        ("train_dia0002_utt09", 19.5, ""),
        ("train_dia0002_utt09", 21.0, "clip of 21.0 s for times of 2.2 s"),
        ("test_dia0003_utt04", 41.0, ""),
        ("test_dia0003_utt04", 61.0, "clip of 61.0 s for times of 304.9 s"),
        ("test_dia0002_utt09", 21.0, "clip of 21.0 s for times of 0.0 s"),
    ],
)
def test_a_clip_that_was_cut_wrongly_is_left_out_and_named(
    name: str, seconds: float, fault: str, clips: Path, caplog: pytest.LogCaptureFixture
) -> None:
    part, dialogue, number = re.match(r"(\w+)_dia0*(\d+)_utt0*(\d+)", name).groups()
    file = clips / FOLDERS[part] / f"dia{dialogue}_utt{number}"
    file.with_suffix(".mp4").unlink()
    soundfile.write(file.with_suffix(".flac"), np.zeros(round(8_000 * seconds)), 8_000)

    found = by_id(meld.read(clips))[name]

    assert found.extras["fault"] == fault
    assert bool(found.audio) == (not fault)
    if fault:
        (line,) = warnings(caplog)
        assert line.endswith(f"rows whose clip was cut wrongly, so audio is empty: 1 ({name})")


def test_a_clip_that_is_too_long_gives_no_length(clips: Path) -> None:
    folder = clips / FOLDERS["test"]
    (folder / "dia3_utt4.mp4").unlink()
    soundfile.write(folder / "dia3_utt4.flac", np.zeros(8_000 * 61), 8_000)

    assert by_id(meld.read(clips))["test_dia0003_utt04"].duration_s is None


def test_a_clip_that_is_very_short_is_kept_and_named(
    clips: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = clips / FOLDERS["train"] / "dia2_utt9.wav"
    file.with_suffix(".mp4").unlink()
    soundfile.write(file, np.zeros(512), 8_000)

    found = by_id(meld.read(clips))["train_dia0002_utt09"]

    assert found.extras["fault"] == "clip of 0.064 s"
    assert found.audio == "train_splits/dia2_utt9.wav"
    (line,) = warnings(caplog)
    assert line.endswith("rows whose clip is under 0.1 s, but kept: 1 (train_dia0002_utt09)")


def test_a_part_without_clips_is_named(clips: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.rmtree(clips / FOLDERS["dev"])

    found = by_id(meld.read(clips))

    assert found["dev_dia0002_utt09"].audio == ""
    assert "fault" not in found["dev_dia0002_utt09"].extras
    assert found["train_dia0002_utt09"].audio
    (line,) = warnings(caplog)
    assert line.endswith("that are missing, so audio is empty: 1 (dev_splits_complete)")


def test_many_names_are_cut_short(clips: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [
        ("Hm.", "Ada", "joy", "positive", 5, n, 1, 1, "0:00:01,0", "0:00:02,0") for n in range(11)
    ]
    write_table(clips / "dev_sent_emo.csv", [*ROWS["dev"], *rows])

    meld.read(clips)

    (line,) = warnings(caplog)
    assert "rows without a clip, whose audio is empty: 11 (dev_dia0005_utt00, " in line
    assert line.endswith("dev_dia0005_utt07 and 3 more)")


@pytest.mark.parametrize("known", [True, False])
def test_strict_refuses_a_clip_of_no_use_that_is_not_known(
    known: bool, clips: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"train": {"anger": 1, "neutral": 1, "happy": 1}, "validation": {"surprise": 1}}
    monkeypatch.setattr(meld, "COUNTS", counts | {"test": {"fear": 1, "sad": 1}})
    monkeypatch.setattr(meld, "DIALOGUES", {"train": 2, "validation": 1, "test": 2})
    dialogue, number = (110, 7) if known else (2, 9)
    write_table(
        clips / "dev_sent_emo.csv", [(*ROWS["dev"][0][:4], dialogue, number, *ROWS["dev"][0][6:])]
    )
    (clips / FOLDERS["dev"] / "dia2_utt9.mp4").unlink()

    if known:
        assert len(meld.read(clips, strict=True)) == 6
    else:
        with pytest.raises(CorpusError, match=r"1 clips .* \(dev_dia0002_utt09\); unpack it again"):
            meld.read(clips, strict=True)


def test_progress_counts_the_clips(clips: Path) -> None:
    class Counts(Silent):
        def __init__(self) -> None:
            self.seen: list[tuple[int, int]] = []

        def task(self, name: str) -> Callable[[int, int], None]:
            return lambda done, total: self.seen.append((done, total))

    progress = Counts()

    meld.read(clips, progress=progress)

    assert progress.seen == [(number, 6) for number in range(1, 7)]


def test_no_picture_is_decoded(clips: Path) -> None:
    lines = read_table(clips / "dev_sent_emo.csv", "dev")
    loud = logging.getLogger("libav")
    loud.setLevel(logging.DEBUG)
    av.logging.set_level(av.logging.DEBUG)
    try:
        with av.logging.Capture() as said:
            find_clips(clips, lines, Silent())
    finally:
        av.logging.set_level(None)
        loud.setLevel(logging.NOTSET)

    assert any("h264" in text and "whitelist" in text for _, _, text in said)


@pytest.mark.parametrize(("suffix", "codec"), [("mp4", "aac"), ("mkv", "ac3"), ("mkv", "aac")])
def test_sound_of_film_gives_its_centre(suffix: str, codec: str, tmp_path: Path) -> None:
    file = write_clip(tmp_path / f"clip.{suffix}", 1.2, picture=True, codec=codec)

    samples = read_audio(file)

    heard = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    pitch = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    power = {tone: heard[np.abs(pitch - tone) < 8].max() for tone in (300, 500, 700, 1100, 1300)}
    assert max(power, key=power.__getitem__) == 700
    assert power.pop(700) > 50 * max(power.values())


# The release itself


@pytest.fixture(scope="module")
def real() -> dict[str, Manifest]:
    """The release by encoding; strict, so its counts are those of `COUNTS` and `DIALOGUES`."""
    if not (REAL / "train_sent_emo.csv").is_file():
        pytest.skip(f"no MELD at {REAL}")
    return {
        "utf-8": meld.read(REAL, strict=True),
        "older": meld.read(REAL / "legacy_encoding", strict=True),
    }


@pytest.mark.corpus
@pytest.mark.parametrize("encoding", ["utf-8", "older"])
def test_the_release_has_the_counts_of_its_paper(encoding: str, real: dict[str, Manifest]) -> None:
    assert Counter(one.part for one in real[encoding]) == {
        "train": 9_989,
        "validation": 1_109,
        "test": 2_610,
    }


@pytest.mark.corpus
def test_both_encodings_of_the_release_give_the_same_manifest(real: dict[str, Manifest]) -> None:
    assert real["older"].utterances == real["utf-8"].utterances


@pytest.mark.corpus
def test_no_control_character_is_left_in_the_release(real: dict[str, Manifest]) -> None:
    text = "".join(one.text + one.speaker for one in real["older"])

    assert not [letter for letter in set(text) if 0x7F <= ord(letter) <= 0xA0]


@pytest.mark.corpus
def test_the_order_of_the_release_is_that_of_its_dialogues(real: dict[str, Manifest]) -> None:
    numbers = [
        tuple(int(digits) for digits in re.findall(r"\d+", one.id))
        for one in real["utf-8"]
        if one.part == "train"
    ]

    assert all(one < following for one, following in pairwise(numbers))


@pytest.mark.corpus
def test_times_of_the_release_that_cannot_be_true_are_few(real: dict[str, Manifest]) -> None:
    assert [one.id for one in real["utf-8"] if one.duration_s is None] == [
        "test_dia0038_utt04",
        "test_dia0155_utt03",
        "test_dia0220_utt00",
        "train_dia0338_utt03",
    ]
