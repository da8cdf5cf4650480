import iemocap_release as release
import pytest
import soundfile

from mersa.corpora import catalogue
from mersa.corpora.catalogue import READERS, prepare
from mersa.errors import CorpusError
from mersa.manifest import read_manifest
from told import Told


@pytest.fixture
def ravdess(tmp_path):
    """A folder with one recording of the 1,440."""
    actor = tmp_path / "ravdess" / "Actor_01"
    actor.mkdir(parents=True)
    soundfile.write(actor / "03-01-05-01-01-01-01.wav", [0.0, 0.1] * 800, 16_000)
    return actor.parent


@pytest.fixture
def meld(tmp_path):
    """MELD with a row in each part, and folders for clips that are empty."""
    header = (
        "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,"
        "Season,Episode,StartTime,EndTime"
    )
    row = '1,Oh.,Ben,joy,positive,2,9,4,2,"0:12:32,632","0:12:33,632"'
    folders = ("train_splits", "dev_splits_complete", "output_repeated_splits_test")
    for part, folder in zip(("train", "dev", "test"), folders, strict=True):
        (tmp_path / "meld" / folder).mkdir(parents=True)
        (tmp_path / "meld" / f"{part}_sent_emo.csv").write_text(f"{header}\n{row}\n")
    return tmp_path / "meld"


def test_a_published_corpus_is_read_and_placed(ravdess, tmp_path):
    made = prepare("ravdess", ravdess, tmp_path / "out")

    (one,) = made
    assert made.folder == tmp_path / "out"
    assert (one.emotion, one.audio) == ("anger", "audio/Actor_01/03-01-05-01-01-01-01.wav")
    assert (tmp_path / "out" / "audio").is_symlink()
    assert [row.id for row in read_manifest(tmp_path / "out" / "manifest.csv")] == [one.id]


def test_recordings_are_copied_where_asked(ravdess, tmp_path):
    made = prepare("ravdess", ravdess, tmp_path / "out", copy=True)

    assert not (tmp_path / "out" / "audio").is_symlink()
    assert all(made.audio_path(one).is_file() for one in made)


def test_each_reader_decides_by_itself_whether_to_refuse(ravdess, tmp_path):
    small = release.write_small_release(tmp_path / "small").folder

    with pytest.raises(CorpusError, match=r"ang 12 instead of 1,103.*--no-strict"):
        prepare("iemocap", small, tmp_path / "out")
    with pytest.raises(CorpusError, match=r"anger 1 instead of 192.*--no-strict"):
        prepare("ravdess", ravdess, tmp_path / "out", strict=True)

    assert len(prepare("iemocap", small, tmp_path / "out", strict=False)) > 12


def test_the_toy_corpus_needs_no_folder_and_is_copied(tmp_path):
    made = prepare("toy", None, tmp_path / "toy")

    assert len(made) == 480
    assert not (tmp_path / "toy" / "audio").is_symlink()


def test_a_table_is_read_with_columns_words_and_root(ravdess, tmp_path):
    name = "Actor_01/03-01-05-01-01-01-01.wav"
    (tmp_path / "table.csv").write_text(f"where,felt\n{name},rage\n")

    (one,) = prepare(
        "table",
        tmp_path / "table.csv",
        tmp_path / "out",
        columns={"audio": "where", "emotion": "felt"},
        mapping={"rage": "anger"},
        recordings=ravdess,
    )

    assert (one.emotion, one.audio) == ("anger", f"audio/{name}")


def test_what_is_fetched_already_is_told_and_clips_are_counted(meld, tmp_path):
    told = Told()

    made = prepare(
        "meld", meld, tmp_path / "out", download=True, confirm=lambda _: False, progress=told
    )

    assert len(made) == 3
    assert told.sentences == [f"{meld} holds the tables and the clips of MELD already"]
    assert told.tasks == ["clips of MELD"]


def test_what_is_not_agreed_to_is_not_fetched(meld, tmp_path, monkeypatch):
    asked = []  # in place of the transfer, whose address is that of the publisher

    def fetch(root, *, progress, confirm):
        asked.append((root, confirm("fetch?")))

    monkeypatch.setattr(catalogue.meld_release, "download", fetch)
    prepare("meld", meld, tmp_path / "out", download=True, confirm=lambda _: False)

    assert asked == [(meld, False)]


@pytest.mark.parametrize("corpus", READERS)
def test_every_published_corpus_names_a_folder_that_is_not_there(corpus, tmp_path):
    with pytest.raises(CorpusError, match=r"nowhere does not exist; name "):
        prepare(corpus, tmp_path / "nowhere", tmp_path / "out")


@pytest.mark.parametrize(
    ("corpus", "root", "options", "message"),
    [
        ("iemocapp", "x", {}, r"corpus 'iemocapp' is not known \(nearest: iemocap\); choose one "),
        ("Crema-D", "x", {}, r"'Crema-D' is not known \(nearest: cremad\); choose one of iemocap"),
        ("zzz", "x", {}, r"corpus 'zzz' is not known; choose one of .*cremad, toy, or table"),
        ("emodb", "x", {"columns": {"audio": "a"}}, r"go with prepare table alone; emodb needs n"),
        ("toy", None, {"mapping": {"rage": "anger"}}, r"prepare table alone; toy needs none"),
        ("nemo", "x", {"recordings": "y"}, r"--root go with prepare table alone; nemo needs none"),
        ("toy", None, {"strict": False}, r"toy has no release to differ from; leave --strict out"),
        ("table", "x", {"strict": True}, r"table has no release to differ from; leave --strict "),
        ("nemo", "x", {"download": True}, r"--download fetches meld alone; get nemo from its pub"),
        ("toy", "x", {}, r"prepare toy takes --out alone; leave the folder out"),
        ("meld", None, {}, r"needs the folder of the corpus: mersa prepare meld FOLDER --out DIR"),
        ("table", None, {}, r"prepare table needs the table: mersa prepare table FILE --out DIR"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_no_folder(corpus, root, options, message, tmp_path):
    with pytest.raises(CorpusError, match=message):
        prepare(corpus, root and tmp_path / root, tmp_path / "out", **options)

    assert not (tmp_path / "out").exists()
