import csv
import importlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile

from mersa import __version__
from mersa.answers import read_predictions, write_predictions
from mersa.manifest import read_manifest

sys.path.append(str(Path(__file__).parent / "corpora"))
release = importlib.import_module("iemocap_release")

VERBS = (
    *("prepare", "audit", "encode", "align", "rows", "train", "evaluate", "compare", "report"),
    *("reproduce", "predict", "serve", "bundle"),
)


@pytest.fixture
def clips(toy_corpus):
    return sorted((toy_corpus / "audio").rglob("*.ogg"))[:3]


@pytest.fixture
def bad(tmp_path):
    path = tmp_path / "bad.wav"
    path.write_bytes(b"this is no sound")
    return path


@pytest.fixture
def refused(mersa, quick_words, tmp_path):
    """Train on a spoilt manifest; give the one line that is said, with nothing left behind."""

    def run(manifest, *words):
        out = tmp_path / "run"
        said = mersa("train", manifest, "--out", out, "--quiet", *quick_words, *words)
        assert (said.code, said.out) == (2, "")
        assert len(said.err.splitlines()) == 1
        assert said.err.startswith("mersa train: ")
        assert not out.exists()
        return said.err

    return run


def alone(*words, **environment):
    return subprocess.run(
        [sys.executable, *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
    )


def edited(manifest, change):
    text = manifest.read_text(encoding="utf-8")
    changed = change(text)
    assert changed != text
    manifest.write_text(changed, encoding="utf-8")
    return manifest


def first_of(manifest, part="train"):
    """The recording of the first sad utterance of a part, and its id."""
    one = next(one for one in read_manifest(manifest) if one.part == part and one.emotion == "sad")
    return manifest.parent / one.audio, one.id


def test_the_help_does_not_import_torch():
    code = (
        "import sys\nsys.argv = ['mersa', *sys.argv[1:]]\nfrom mersa.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'transformers', 'av', 'onnxruntime', 'pandas', 'sklearn', 'numpy'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )

    for words in (["--help"], ["train", "--help"], ["--version"]):
        ended = alone("-c", code, *words)
        assert ended.returncode == 0, f"{words} imports {ended.stderr}"


def test_the_help_names_every_verb(mersa):
    said = mersa("--help")

    assert said.code == 0
    assert all(re.search(rf"^  {verb} ", said.out, re.MULTILINE) for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb, mersa):
    said = mersa(verb, "--help")

    assert said.code == 0
    assert said.out.startswith(f"Usage: mersa {verb}")
    assert said.err == ""


def test_the_version(mersa):
    assert mersa("--version").out == f"mersa {__version__}\n"


def test_rows_lists_the_24(mersa):
    lines = mersa("rows").out.splitlines()
    rows = json.loads(mersa("rows", "--json").out)

    assert len(lines) == 1 + 24
    assert [line.split()[0] for line in lines[1:]] == [row["id"] for row in rows]
    assert rows[5]["id"] == "III.6"
    assert rows[5]["settings"]["network"] == {"system": "mersa-cross"}


def test_the_whole_path(small_corpus, quick_words, cache_folder, mersa, tmp_path, clips):
    out = tmp_path / "run"
    places = ("--cache", cache_folder, "--device", "cpu")

    trained = mersa("train", small_corpus, "--out", out, *quick_words)
    evaluated = mersa("evaluate", out, *places)
    again = mersa("train", small_corpus, "--out", out, *quick_words)
    reported = mersa("report", out, "--out", tmp_path / "report")
    bundled = mersa("bundle", out)
    predicted = mersa("predict", out, clips[0], "--device", "cpu")

    assert [one.code for one in (trained, evaluated, again, reported, bundled, predicted)] == [
        0
    ] * 6
    assert f"read it once with: mersa evaluate {out}" in trained.out
    assert "macro f1" in trained.out
    assert f"{out}: test, " in evaluated.out
    assert re.search(
        r"^  recall: anger \d\.\d{3}, happy \d\.\d{3}, sad \d\.\d{3}, neutral \d\.\d{3}$",
        evaluated.out,
        re.MULTILINE,
    )
    assert "finished before" in again.err
    assert "has not been read" not in again.out
    assert (tmp_path / "report" / "report.md").is_file()
    assert json.loads(predicted.out)["audio"] == str(clips[0])
    assert "so the sound alone was judged" in predicted.err


def test_json_and_quiet(small_corpus, small_run, quick_words, cache_folder, mersa, tmp_path):
    out = tmp_path / "run"

    trained = mersa("train", small_corpus, "--out", out, *quick_words, "--json", "--quiet")
    evaluated = mersa(
        "evaluate", out, "--cache", cache_folder, "--device", "cpu", "--json", "--quiet"
    )
    reported = mersa("report", out, "--json")

    assert json.loads(trained.out) == json.loads((small_run / "metrics.json").read_text())
    assert json.loads(evaluated.out) == json.loads((out / "metrics.json").read_text())
    assert [line["system"] for line in json.loads(reported.out)["side_by_side"]] == [
        "always commonest",
        "mersa-cross",
    ]
    assert trained.err == evaluated.err == reported.err == ""


def test_prepare_and_encode_count(mersa, tmp_path, small_corpus):
    prepared = mersa("prepare", "toy", "--out", tmp_path / "toy", "--json")
    words = (
        "encode",
        small_corpus,
        "--audio",
        "mel",
        "--cache",
        tmp_path / "cache",
        "--json",
        "-q",
    )

    first, second = mersa(*words), mersa(*words)

    assert "480" in prepared.out
    assert json.loads(prepared.out)
    assert json.loads(first.out) == {"audio": [72, 72]}
    assert json.loads(second.out) == {"audio": [0, 72]}
    assert first.err == ""


def test_prepare_tells_what_there_is_besides_emotions(mersa, tmp_path):
    said = mersa("prepare", "toy", "--out", tmp_path / "toy")

    made = read_manifest(tmp_path / "toy" / "manifest.csv")
    speakers, dialogues = ({one.column(name) for one in made} for name in ("speaker", "dialogue"))
    *_, contents, written = said.out.splitlines()
    assert contents.startswith(
        f"with words 480, with sound 480, speakers {len(speakers)}, dialogues {len(dialogues)}; "
    )
    assert written == f"written: {tmp_path / 'toy' / 'manifest.csv'}"


def test_own_words_are_mapped_by_commas_and_by_several_options(mersa, tmp_path, clips):
    words = ("rage", "joy", "gloom")
    rows = [f"{clip.name},{word},take {word}" for clip, word in zip(clips, words, strict=True)]
    (tmp_path / "table.csv").write_text("\n".join(["file,label,note", *rows]) + "\n")

    said = mersa(
        *("prepare", "table", tmp_path / "table.csv", "--out", tmp_path / "out", "--copy"),
        *("--columns", "audio=file,emotion=label"),
        *("--root", clips[0].parent),
        *("--map", "rage=anger,joy=happy", "--map", "gloom=sad"),
    )

    assert said.code == 0, said.err
    made = read_manifest(tmp_path / "out" / "manifest.csv")
    assert sorted(one.emotion for one in made) == ["anger", "happy", "sad"]
    assert "with words 0, with sound 3, speakers 0, dialogues 0; other columns kept: " in said.out


def test_all_settings_can_be_shown(mersa, small_corpus):
    said = mersa("train", small_corpus, "--row", "iv.3", "--show-settings")

    assert said.code == 0
    assert 'row = "IV.3"' in said.out
    assert "# attention heads; source: 3M-SER" in said.out


@pytest.mark.parametrize(("form", "count"), [("jsonl", 3), ("csv", 3), ("srt", 1), ("audacity", 1)])
def test_every_format_parses_back(form, count, small_run, clips, mersa):
    names = clips[:count]

    said = mersa("predict", small_run, *names, "--format", form, "--device", "cpu", "--quiet")

    assert (said.code, said.err) == (0, "")
    parsers = {
        "jsonl": lambda: [json.loads(line)["label"] for line in said.out.splitlines()],
        "csv": lambda: [row["label"] for row in csv.DictReader(io.StringIO(said.out))],
        "srt": lambda: [b.splitlines()[2].split()[0] for b in said.out.strip().split("\n\n")],
        "audacity": lambda: [line.split("\t")[2] for line in said.out.splitlines()],
    }
    labels = parsers[form]()
    assert len(labels) == count
    assert set(labels) <= {"anger", "happy", "sad", "neutral"}


def test_one_bad_recording_among_several_is_reported(small_run, clips, bad, mersa):
    absent = bad.with_name("absent.wav")

    said = mersa("predict", small_run, clips[0], bad, clips[1], absent, "--device", "cpu")

    assert said.code == 1
    answers = [json.loads(line)["audio"] for line in said.out.splitlines()]
    assert answers == [str(clips[0]), str(clips[1])]
    *reports, note, summary = said.err.splitlines()
    assert len(reports) == 2
    assert all(line.startswith("mersa predict: ") for line in reports)
    assert note == "2 of 4 recordings: no words were known, so the sound alone was judged"
    assert summary == f"failed: 2 of 4: {bad}, {absent}"


def test_a_single_bad_recording_is_a_mistake(small_run, bad, mersa):
    said = mersa("predict", small_run, bad, "--device", "cpu")

    assert (said.code, said.out) == (2, "")
    assert len(said.err.splitlines()) == 1
    assert "bad.wav" in said.err


def test_every_mistake_of_one_recording_is_reported(
    small_corpus, quick_words, clips, mersa, tmp_path
):
    out, settings = tmp_path / "run", (*quick_words, "--set", "network.system=text", "--quiet")
    mersa("train", small_corpus, "--out", out, *settings)

    said = mersa("predict", out, *clips, "--device", "cpu")

    assert (said.code, said.out) == (1, "")
    *reports, summary = said.err.splitlines()
    assert reports == [
        f"mersa predict: '{clip}': this model reads text, but nothing of it was given; give it"
        for clip in clips
    ]
    assert summary.startswith("failed: 3 of 3: ")


def test_words_alone_are_judged(small_run, mersa):
    said = mersa("predict", small_run, "--text", "as I said", "--device", "cpu")

    assert (said.code, said.err) == (0, "no sound was given, so the words alone were judged\n")
    answer = json.loads(said.out)
    assert (answer["audio"], answer["modalities"]) == ("", ["text"])


def test_standard_input_is_a_recording(small_run, clips, mersa):
    options = ("--text", "as I said", "--device", "cpu")

    by_name = json.loads(mersa("predict", small_run, clips[0], *options).out)
    by_input = json.loads(
        mersa("predict", small_run, "-", *options, stdin=clips[0].read_bytes()).out
    )

    assert by_input == by_name | {"audio": "-"}


def test_an_empty_standard_input_is_a_mistake(small_run, mersa):
    said = mersa("predict", small_run, "-", "--device", "cpu")

    assert said.code == 2
    assert len(said.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("RUN", "CLIP", "CLIP", "--text", "so"), "--text goes with one recording, but 2 were g"),
        (("RUN",), "nothing to judge; name a recording, or give --text"),
        (
            ("RUN", "CLIP", "CLIP", "--format", "srt"),
            "format srt is a file for one recording, but 2 were given; give one at a time, ch",
        ),
        (("RUN", "CLIP", "CLIP", "CLIP", "--format", "audacity"), "recording, but 3 were given"),
        (("RUN", "--text", "so", "--format", "srt"), "one recording, but 0 were given"),
        (("RUN", "CLIP", "--format", "xml"), "'xml' is not known; choose one of jsonl, csv, srt"),
        (("RUN", "CLIP", "--device", "tpu"), "device 'tpu' is not known; choose auto, cpu or"),
        (("CLIP", "CLIP"), "is not a folder; name a run folder that mersa train made"),
        ((".", "CLIP"), "holds no config.toml; name a run folder that mersa train made"),
    ],
)
def test_predict_refuses(words, message, small_run, clips, mersa, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"RUN": small_run, "CLIP": clips[0]}

    said = mersa("predict", *(names.get(word, word) for word in words))

    assert (said.code, said.out) == (2, "")
    assert message in said.err
    assert len(said.err.splitlines()) == 1


def _truncated(path):
    samples = np.random.default_rng(0).standard_normal(16_000) * 0.1
    soundfile.write(path.with_suffix(".wav"), samples, 16_000)
    path.write_bytes(path.with_suffix(".wav").read_bytes()[:9_000])


def _nan(path):
    samples = np.zeros(16_000, dtype=np.float32)
    samples[77] = np.nan
    soundfile.write(path.with_suffix(".wav"), samples, 16_000, subtype="FLOAT")
    path.with_suffix(".wav").replace(path)


def _folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.unlink(),
        lambda path: path.write_bytes(b""),
        _truncated,
        lambda path: path.write_bytes(b"<html>404 Not Found</html>"),
        _nan,
        _folder,
    ],
    ids=["missing", "empty", "truncated", "no audio", "nan", "folder"],
)
@pytest.mark.parametrize("part", ["train", "validation"])
def test_a_spoilt_recording_is_named(spoil, part, own_corpus, refused):
    path, id_ = first_of(own_corpus, part)
    spoil(path)

    line = refused(own_corpus)

    assert f"utterance {id_!r}: " in line
    assert path.name in line


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("id,", "number,", 1), "has no column 'id'"),
        (
            lambda text: text.replace("audio,", "a,", 1).replace(",text,", ",t,", 1),
            "has neither a column 'audio' nor a column 'text'",
        ),
        (lambda text: text.replace("s1_d01_u02", "s1_d01_u01", 1), "stands more than once"),
        (lambda text: text.replace(",anger,", ",rage,", 1), "has the emotion 'rage'"),
        (lambda text: text.replace(",audio/", ",../audio/", 1), "leaves the manifest's folder"),
        (lambda text: text.replace(",audio/", ",/audio/", 1), "leaves the manifest's folder"),
        (lambda text: text.partition("\n")[0] + "\n", "holds no utterances"),
        (lambda text: text.replace(",validation,", ",test,").replace(",train,", ",test,"), "train"),
        (lambda text: text.replace(",test,", ",,"), "the test part is empty"),
        (
            lambda text: re.sub(r",(happy|sad|neutral|excited|frustrated),", ",anger,", text),
            "no utterance is 'happy', but data.labels names it; the manifest holds anger, so ch",
        ),
    ],
    ids=[
        *("no id", "neither", "repeated id", "unknown emotion", "outside", "absolute", "header"),
        *("no train", "no test", "one class"),
    ],
)
def test_a_spoilt_manifest_is_refused(change, message, own_corpus, refused):
    assert message in refused(edited(own_corpus, change))


def test_a_manifest_of_another_encoding_is_refused(own_corpus, refused):
    text = own_corpus.read_text(encoding="utf-8").replace("time", "temps passé", 1)
    own_corpus.write_bytes(text.encode("latin-1"))

    assert "is not UTF-8 (it holds the byte 0xe9); save it as UTF-8" in refused(own_corpus)


def test_what_is_no_manifest_is_refused(own_corpus, refused, tmp_path):
    (tmp_path / "empty.csv").touch()

    assert "is a folder, but a table file was expected" in refused(own_corpus.parent)
    assert "does not exist; make it with: mersa prepare" in refused(tmp_path / "absent.csv")
    assert "is empty, but a table with a header was expected" in refused(tmp_path / "empty.csv")
    assert "ends in .ogg, but a table is one of" in refused(first_of(own_corpus)[0])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--set", "train.epoch=3"), "'train.epoch' does not exist; the nearest is 'train.epochs'"),
        (
            ("--set", "trian.epochs=3"),
            "setting 'trian",
        ),
        (("--set", "train.epochs"), "has no '='; write it as train.epochs=3"),
        (("--set", "train.epochs=many"), "setting train.epochs is 'many', but input should be a"),
        (("--set", "row=VI.9"), "row 'VI.9' does not exist; rows are III.1 to III.8"),
        (("--row", "VI.9"), "row 'VI.9' does not exist"),
        (("--set", "data.labels=iemocap-5"), "'iemocap-5' is not known (nearest: iemocap-"),
        (
            ("--set", "data.labels=meld-7"),
            "no utterance is 'surprise', but data.labels names it; the manifest holds anger, ex",
        ),
        (("--set", "data.labels=calm,boredom"), "no utterance has one of the labels calm, boredom"),
        (("--protocol", "speakers"), "protocol 'speakers' does not exist; choose one of"),
        (("--protocol", "column:nowhere"), "needs at least two values in the column 'nowhere'"),
        (("--protocol", "file:absent.csv"), "names a file that is not there"),
        (("--set", "network.num_heads=7"), "cannot be shared by 7 heads; choose network.num_heads"),
        (("--set", "audio.name=onnx:absent.onnx"), "does not exist; give the path of an ONNX file"),
        (("--set", "text.name=no/such/encoder"), "is neither a folder nor an id on the Hugging"),
        (("--config", "absent.toml"), "absent.toml cannot be read"),
        (("--device", "cuda:99"), "device 'cuda:99' is not there"),
        (("--device", "gpu"), "device 'gpu' is not known; choose auto, cpu or cuda"),
        (("--seed", "-1"), "setting train.seed is -1"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else "",
)
def test_a_wrong_option_is_refused(words, message, small_corpus, refused):
    assert message in refused(small_corpus, *words)


def test_a_file_in_place_of_a_folder_is_refused(small_corpus, mersa, quick_words, tmp_path):
    (tmp_path / "file").write_text("mine")

    out = mersa("train", small_corpus, "--out", tmp_path / "file", *quick_words)
    cache = mersa(
        "train", small_corpus, "--out", tmp_path / "run", *quick_words, "--cache", tmp_path / "file"
    )

    assert (out.code, cache.code) == (2, 2)
    assert "a run is a folder; choose another --out" in out.err
    assert "the cache is a folder; choose another --cache" in cache.err
    assert (tmp_path / "file").read_text() == "mine"
    assert not (tmp_path / "run").exists()


def test_other_settings_in_the_same_folder_are_refused(small_corpus, small_run, quick_words, mersa):
    said = mersa("train", small_corpus, "--out", small_run, *quick_words, "--seed", 7, "--quiet")

    assert said.code == 2
    assert "holds a run with train.seed = 0, but 7 was asked for" in said.err
    assert len(said.err.splitlines()) == 1


def test_a_mistake_is_corrected_in_the_same_folder(
    own_corpus, refused, mersa, quick_words, tmp_path
):
    path, _ = first_of(own_corpus)
    whole = path.read_bytes()
    path.write_bytes(b"")
    refused(own_corpus, "--set", "network.dropout=0.25")
    path.write_bytes(whole)

    said = mersa("train", own_corpus, "--out", tmp_path / "run", "--quiet", *quick_words)

    assert said.code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("evaluate", "ABSENT"), "is not a folder; name a run folder that mersa train made"),
        (("evaluate", "RUN", "ABSENT"), "does not exist; make it with"),
        (("bundle", "ABSENT"), "is not a folder; name a run folder"),
        (("report", "RUN"), "has no test scores yet; read its test part with: mersa evaluate"),
        (("encode", "MANIFEST"), "nothing to encode with; give --text E, --audio E or both"),
        (("encode", "MANIFEST", "--text", "tiny"), "learns its vocabulary from a train part"),
        (("prepare", "iemocop"), "corpus 'iemocop' is not known"),
        (("prepare", "table"), "prepare table needs the table"),
        (("prepare", "toy", "MANIFEST"), "prepare toy takes --out alone; leave the folder out"),
        (
            ("prepare", "toy", "--columns", "text=words"),
            "go with prepare table alone; toy needs none",
        ),
        (("prepare", "toy", "--map", "rage=anger"), "go with prepare table alone; toy needs none"),
        (("prepare", "toy", "--root", "ABSENT"), "go with prepare table alone; toy needs none"),
        (("prepare", "table", "MANIFEST", "--map", "rage"), "--map 'rage' is not a pair; write it"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_the_other_verbs_refuse(
    words, message, small_run, small_corpus, mersa, tmp_path, cache_folder
):
    names = {"RUN": small_run, "ABSENT": tmp_path / "absent.csv", "MANIFEST": small_corpus}

    said = mersa(*(names.get(word, word) for word in words))

    assert (said.code, said.out) == (2, "")
    assert message in said.err
    assert len(said.err.splitlines()) == 1


@pytest.mark.parametrize(
    "words",
    [("train", "m.csv", "--epochs", "3"), ("trian",), ("bundle",), ("train", "m", "--seeds", "0")],
)
def test_a_wrong_verb_or_option_ends_with_2(words, mersa):
    said = mersa(*words)

    assert said.code == 2
    assert "Usage: mersa" in said.err


@pytest.mark.slow
def test_a_user_mistake_in_a_process_of_its_own(own_corpus, tmp_path):
    edited(own_corpus, lambda text: text.replace("id,", "number,", 1))

    ended = alone("-m", "mersa", "train", own_corpus, "--out", tmp_path / "run")

    assert ended.returncode == 2
    assert re.fullmatch(r"mersa train: .* has no column 'id' .*\n", ended.stderr)
    assert not (tmp_path / "run").exists()


NO_NETWORK = """
import socket, sys
def refuse(*args, **named):
    raise OSError(101, "Network is unreachable")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
from mersa.cli import main
main()
"""


@pytest.mark.parametrize("offline", ["1", pytest.param("0", marks=pytest.mark.slow)])
def test_no_network_and_no_weights(offline, small_corpus, tmp_path):
    environment = {"HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": offline}
    out = tmp_path / "run"
    words = ("train", small_corpus, "--out", out, "--set", "text.name=tiny", "--quiet")

    ended = alone("-c", NO_NETWORK, *words, "--cache", tmp_path / "cache", **environment)

    assert ended.returncode == 2
    assert "encoder 'facebook/wav2vec2-base' is not in the local cache" in ended.stderr
    assert "connect to the network once, give a folder with its" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    assert not out.exists()


@pytest.mark.slow
def test_no_network_and_no_run(tmp_path, clips):
    environment = {"HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "0"}

    ended = alone("-c", NO_NETWORK, "predict", "runs/mistyped", clips[0], **environment)

    assert ended.returncode == 2
    assert "'runs/mistyped' is no run folder here and could not be fetched" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="no SIGINT to one process")
def test_an_interrupt_is_told(small_corpus, quick_words, tmp_path):
    words = ("train", small_corpus, "--out", tmp_path / "run", *quick_words)
    words = [*map(str, words), "--set", "train.epochs=9999", "--set", "train.patience=9999"]
    with subprocess.Popen(
        [sys.executable, "-m", "mersa", *words],
        stderr=subprocess.PIPE,
        text=True,
        # A shell's job in the background ignores interrupts, and so would what it starts.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    ) as started:
        try:
            until = time.monotonic() + 60
            while not (tmp_path / "run" / "config.toml").exists() and time.monotonic() < until:
                time.sleep(0.1)
            started.send_signal(signal.SIGINT)
            _, said = started.communicate(timeout=60)
        finally:
            started.kill()

    assert started.returncode == 130
    assert said.endswith("stopped; the same command goes on from here\n")
    assert "Traceback" not in said


def test_settings_are_shown_without_a_manifest(mersa):
    said = mersa("train", "--row", "III.6", "--show-settings")

    assert said.code == 0
    assert tomllib.loads(said.out)["audio"]["name"] == "vggish"


def test_training_without_a_manifest_is_refused(mersa):
    said = mersa("train", "--row", "III.6")

    assert (said.code, said.out) == (2, "")
    assert said.err == (
        "mersa train: no manifest was given; make one with: mersa prepare CORPUS --out DIR\n"
    )


def test_a_published_corpus_stands_beside_the_paper_s_table(mersa, tmp_path):
    folder = release.write_release(tmp_path / "corpus", recordings=False).folder

    said = mersa("prepare", "iemocap", folder, "--no-strict", "--out", tmp_path / "out", "--quiet")

    assert said.code == 0
    assert "Table I of the paper beside the corpus" in said.out
    assert "neutral and frustrated are exchanged in print" in said.out
    assert "sad and anger are exchanged in print" in said.out
    assert len(read_manifest(tmp_path / "out" / "manifest.csv")) == 10_039


def test_an_incomplete_corpus_is_refused_by_iemocap_and_told_by_the_others(mersa, tmp_path):
    small = release.write_small_release(tmp_path / "small")
    out = ("--out", tmp_path / "out")
    actor = tmp_path / "ravdess" / "Actor_01"
    actor.mkdir(parents=True)
    soundfile.write(actor / "03-01-05-01-01-01-01.wav", [0.0, 0.1] * 800, 16_000)

    refused = mersa("prepare", "iemocap", small.folder, *out)
    warned = mersa("prepare", "ravdess", actor.parent, *out)
    strict = mersa("prepare", "ravdess", actor.parent, "--strict", *out)

    assert refused.code == strict.code == 2
    assert warned.code == 0
    assert "ang 12 instead of 1,103" in refused.err
    assert "anger 1 instead of 192" in strict.err
    assert [line.split()[:1] for line in refused.err.splitlines()] == [["mersa"]]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["iemocapp", "x"], "corpus 'iemocapp' is not known (nearest: iemocap); choose one of ie"),
        (["meld"], "prepare meld needs the folder of the corpus: mersa prepare meld FOLDER --out"),
        (["emodb", "nowhere"], "nowhere does not exist; "),
        (["emodb", "x", "--columns", "a=b"], "--columns, --map and --root go with prepare table"),
        (["toy", "--strict"], "prepare toy has no release to differ from; leave --strict out"),
        (["nemo", "x", "--download"], "--download fetches meld alone; get nemo from its publisher"),
    ],
)
def test_a_mistake_in_preparing_is_one_sentence(words, message, mersa, tmp_path):
    said = mersa("prepare", *words, "--out", tmp_path / "out")

    assert said.code == 2
    assert said.err.startswith("mersa prepare: ")
    assert message in said.err
    assert len(said.err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def compared(small_run, tmp_path_factory):
    """Two evaluated runs with the same test part; the second always answers the truth."""
    from mersa.encoders.cache import FeatureCache
    from mersa.held_out import evaluate
    from mersa.pooling import summarise

    folder = tmp_path_factory.mktemp("compared")
    shutil.copytree(small_run, folder / "one")
    evaluate(folder / "one", cache=FeatureCache(folder / "cache"), device="cpu")
    shutil.copytree(folder / "one", folder / "right")
    answered = read_predictions(folder / "right")
    sure = np.eye(len(answered.labels))[answered.truth]
    write_predictions(folder / "right", replace(answered, probabilities=sure))
    summarise(folder / "right")
    return folder


def test_compare_says_which_differences_hold(compared, mersa):
    said = mersa("compare", compared / "one", compared / "right")
    told = mersa("compare", compared / "one", compared / "right", "--json")

    assert (said.code, said.err) == (0, "")
    assert "right" in said.out
    (comparison,) = json.loads(told.out)
    scored = json.loads((compared / "one" / "metrics.json").read_text())["parts"]["test"]
    accuracy = next(one for one in comparison["differences"] if one["name"] == "accuracy")
    assert accuracy["value"] == pytest.approx(1 - scored["accuracy"])
    assert accuracy["verdict"] in ("better", "too few groups")
    assert comparison["mcnemar"]["only_first"] == 0


def test_runs_that_cannot_be_compared_are_refused(compared, small_run, mersa, tmp_path):
    alone = mersa("compare", compared / "one")
    unread = mersa("compare", compared / "one", small_run)

    assert alone.code == unread.code == 2
    assert "1 run given, but a comparison needs at least 2" in alone.err
    assert "has no test scores yet; read its test part with: mersa evaluate" in unread.err


def test_subgroups_are_printed_where_they_are_asked_for(compared, mersa, cache_folder):
    words = ("evaluate", compared / "one", "--cache", cache_folder, "--quiet", "--by")

    said = mersa(*words, "gender,carrier")
    told = mersa(*words, "gender", "--json")

    assert "by gender, carrier" in said.out
    assert re.search(r"^gender.* +13$", said.out, re.MULTILINE)
    assert re.search(r"^carrier.* +13$", said.out, re.MULTILINE)
    (held,) = json.loads(told.out)["subgroups"].values()
    assert {one["column"] for one in held} == {"gender"}


def test_audit_prints_what_is_shared_and_exits_1_where_the_protocol_promises_otherwise(
    mersa, own_corpus
):
    kept = mersa("audit", own_corpus, "--protocol", "speaker", "--quiet")
    told = mersa("audit", own_corpus, "--json", "--no-sound", "--quiet")
    trained, tested = first_of(own_corpus)[0], first_of(own_corpus, "test")[0]
    trained.write_bytes(tested.read_bytes())
    broken = mersa("audit", own_corpus, "--protocol", "column:part", "--quiet")

    assert kept.code == 0
    assert re.search(r"^speaker +0 +0\.0%.*kept apart$", kept.out, re.MULTILINE)
    assert told.code == 0
    assert json.loads(told.out)["protocol"] == "official"
    assert broken.code == 1
    assert "BROKEN: protocol 'column:part' keeps sound apart" in broken.out


def test_audit_takes_the_seeds_that_training_takes(mersa, small_corpus):
    too_large = mersa("audit", small_corpus, "--seed", 2**32, "--no-sound", "--quiet")
    largest = mersa("audit", small_corpus, "--seed", 2**32 - 1, "--no-sound", "--quiet")

    assert (too_large.code, largest.code) == (2, 0)
    assert "4294967295" in too_large.err
