"""The verbs whose work several processes share, as a user gives them."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mersa.answers import read_predictions
from mersa.errors import ConfigError
from mersa.launch import num_to_start
from mersa.runs import read_metrics

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "mersa"]
SCRIPT = [str(Path(sys.executable).with_name("mersa"))]
MODULE = [sys.executable, "-m", "mersa"]


def command(words, *more):
    return subprocess.run(
        [*words, *map(str, more)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def names(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def history(run):
    with (run / "history.csv").open(encoding="utf-8", newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def assert_same_run(found, expected):
    """Both hold the same files, and the same numbers up to rounding."""
    assert names(found) == names(expected)
    for row, wanted in zip(history(found), history(expected), strict=True):
        assert row == pytest.approx(wanted, rel=1e-5, abs=1e-6)
    one, other = read_predictions(found), read_predictions(expected)
    assert one.ids == other.ids
    np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-5)


def test_train_on_two_devices_leaves_the_run_of_one(mersa, small_corpus, quick_words, tmp_path):
    exact = [*quick_words, "--set", "network.dropout=0", "--set", "train.refit=true"]
    alone = mersa("train", small_corpus, *exact, "--out", tmp_path / "one")

    said = mersa("train", small_corpus, *exact, "--out", tmp_path / "two", "--devices", 2)

    assert said.code == 0
    assert_same_run(tmp_path / "two", tmp_path / "one")
    assert said.out == alone.out.replace(str(tmp_path / "one"), str(tmp_path / "two"))
    assert said.err.count("best epoch") == 1
    assert "2 processes share each step; each draws its own dropout" in said.err
    assert read_metrics(tmp_path / "two")["processes"] == 2
    assert mersa("evaluate", tmp_path / "two", *quick_words[-4:]).code == 0


@pytest.mark.slow
@pytest.mark.parametrize("words", [SCRIPT, MODULE, TORCHRUN], ids=["script", "module", "torchrun"])
def test_folds_and_seeds_train_in_two_processes_however_started(
    mersa, words, small_corpus, quick_words, tmp_path
):
    several = ["train", small_corpus, *quick_words, "--set", "network.dropout=0"]
    several += ["--protocol", "speaker", "--set", "data.folds=2", "--seeds", "2"]
    assert mersa(*several, "--out", tmp_path / "one").code == 0
    devices = [] if words is TORCHRUN else ["--devices", "2"]

    ended = command(words, *several, "--out", tmp_path / "two", *devices)

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("validation, ") == 1
    assert names(tmp_path / "two") == names(tmp_path / "one")
    for leaf in ("seed-0/fold-1", "seed-0/fold-2", "seed-1/fold-1", "seed-1/fold-2"):
        assert_same_run(tmp_path / "two" / leaf, tmp_path / "one" / leaf)
    again = mersa(*several, "--out", tmp_path / "two", "--devices", 2)
    assert again.err.count("finished before") == 4


@pytest.mark.parametrize("words", ["train", pytest.param("torchrun", marks=pytest.mark.slow)])
def test_a_mistake_in_one_process_is_told_once(mersa, words, own_corpus, quick_words, tmp_path):
    with own_corpus.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["part"] == "train"]
    rows = [row for row in rows if row["emotion"] == "sad"]
    path = own_corpus.parent / rows[3]["audio"]
    path.write_bytes(path.read_bytes()[:200])
    out = tmp_path / "run"
    train = ["train", own_corpus, *quick_words, "--out", out, "--quiet"]

    if words == "torchrun":
        ended = command(TORCHRUN, *train)
        code, told = ended.returncode, ended.stderr
    else:
        said = mersa(*train, "--devices", 2)
        code, told = said.code, said.err

    assert code == (1 if words == "torchrun" else 2)  # torchrun has its own
    assert told.count("mersa train: utterance ") == told.count(f"{rows[3]['id']!r}") == 1
    assert not out.exists()


@pytest.mark.slow
def test_two_processes_fill_the_cache_as_one_does(mersa, small_corpus, tmp_path):
    encode = ["encode", small_corpus, "--audio", "mel", "--device", "cpu", "--json"]

    two = mersa(*encode, "--cache", tmp_path / "two", "--devices", 2)
    one = mersa(*encode, "--cache", tmp_path / "one")
    more = command(TORCHRUN, *encode, "--cache", tmp_path / "two")

    assert json.loads(two.out) == json.loads(one.out)
    encoded, total = json.loads(one.out)["audio"]
    assert encoded == total  # so that no clip was encoded twice by two
    assert names(tmp_path / "two") == names(tmp_path / "one")
    for name in names(tmp_path / "one"):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    assert json.loads(more.stdout) == {"audio": [0, total]}


def test_under_torchrun_the_first_process_alone_answers(mersa, monkeypatch):
    first = mersa("rows")
    for name, value in (("RANK", "1"), ("LOCAL_RANK", "1"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    second = mersa("rows")
    monkeypatch.setattr(sys.modules["mersa.cli.app"], "_FIRST_TELLS_S", 0.0)
    refused = mersa("train")

    assert "III.6" in first.out
    assert (second.code, second.out, second.err) == (0, "", "")
    assert (refused.code, refused.out, refused.err) == (2, "", "")


@pytest.mark.slow
def test_a_script_without_a_guard_is_told_to_have_one(small_corpus, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\n"
        "from mersa.config import make_config\n"
        "from mersa.encoders.cache import FeatureCache\n"
        "from mersa.experiment import train\n"
        f"train(Path({str(small_corpus)!r}), make_config({{}}), Path('run'), device='cpu',\n"
        "      cache=FeatureCache(Path('cache')), devices=2)\n"
    )

    ended = command([sys.executable], script)

    assert ended.returncode == 1
    assert "put what it does below: if __name__ == '__main__':" in ended.stderr


def test_more_processes_than_cores_are_refused_before_any_is_started():
    most = max(2, os.cpu_count() or 1)

    with pytest.raises(ConfigError, match=rf"devices is 1000, but {most} processes are the most"):
        num_to_start(1000, "cpu")
