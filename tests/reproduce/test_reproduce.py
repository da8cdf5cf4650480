"""Rows of an emulated MELD and IEMOCAP from corpus to page: stopped, gone on with, refused."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from meld_release import write_meld

from mersa import runs
from mersa.answers import read_predictions
from mersa.encoders.cache import FeatureCache
from mersa.errors import (
    AlignmentError,
    ConfigError,
    CorpusError,
    EncoderError,
    MersaError,
    RunError,
)
from mersa.paper import ROWS
from mersa.progress import Silent
from mersa.reproduce.reproduce import make_request, preview, reproduce

for _folder in ("corpora", "encoders"):
    sys.path.append(str(Path(__file__).parents[1] / _folder))
encoders = importlib.import_module("folders")
release = importlib.import_module("iemocap_release")

SETTINGS = (
    *("train.epochs=2", "network.fusion_width=16", "network.hidden=[8]"),
    *("align.epochs=1", "align.batch_size=16", "align.learning_rate=0.001", "align.neighbours=3"),
)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Small corpora and encoders; to be read and not written."""
    folder = tmp_path_factory.mktemp("world")
    write_meld(folder / "MELD")
    write_meld(folder / "words", clips=False)
    encoders.write_bert(folder / "bert")
    encoders.write_wav2vec2(folder / "wav2vec2")
    return folder


@pytest.fixture
def asked(world):
    """Put together a request for rows of MELD that takes a moment."""

    def make(*targets, settings=(), **more):
        return make_request(
            targets,
            **{"folders": {"meld": world / "MELD"}}
            | {"settings": [*SETTINGS, *settings]}
            | more
            | {"encoders": small(world) | more.get("encoders", {})},
        )

    return make


def small(world):
    return {"bert": str(world / "bert"), "vggish": "mel", "wav2vec2": str(world / "wav2vec2")}


@pytest.fixture
def go(cache):
    """Reproduce on the processor, with the shared cache."""

    def run(request, out, progress=None):
        return reproduce(request, out, cache=cache, device="cpu", progress=progress)

    return run


@pytest.fixture(scope="module")
def whole(world, tmp_path_factory):
    """A plain row, an aligned one and Fig. 2, in one go; to be read and not written."""
    out = tmp_path_factory.mktemp("whole") / "out"
    request = make_request(
        ["V.1", "V.5", "figure2"],
        folders={"meld": world / "MELD"},
        settings=SETTINGS,
        encoders=small(world),
    )
    cache = FeatureCache(tmp_path_factory.mktemp("frames"))
    return out, reproduce(request, out, cache=cache, device="cpu")


class Says(Silent):
    """Keeps what is said, and stops where it is told to."""

    def __init__(self, *, stop_at="", stop_in=""):
        self.said = []
        self._stop_at, self._stop_in = stop_at, stop_in

    def say(self, sentence):
        self.said.append(sentence)
        if self._stop_at and self._stop_at in sentence:
            raise KeyboardInterrupt

    def task(self, name):
        def step(done, total):
            if self._stop_in and self._stop_in in name and done == 1:
                raise KeyboardInterrupt

        return step


def answers(out, row):
    return read_predictions(out / "rows" / row).part("test")


def test_rows_are_scored_and_stand_on_one_page(whole):
    out, found = whole

    page = (out / "report.html").read_text()

    assert list(found["rows"]) == ["V.1", "V.5"]
    assert all(held["n"] == 24 for held in found["rows"].values())
    assert "Table V" in page
    assert "Fig. 2, drawn from Eq. (1)" in page
    assert page.count("data:image/png") == 1
    assert {"report.html", "report.json", "report.md", "report.tex"} <= set(found["report"])
    assert (out / "figures" / "figure2.png").is_file()


def test_only_the_aligned_row_reads_the_aligned_encoder(whole):
    out, _ = whole

    read = {row: runs.load_config(out / "rows" / row).text.name for row in ("V.1", "V.5")}

    assert Path(read["V.1"]).name == "bert"
    assert Path(read["V.5"]) == out / "aligned" / "meld-4"
    assert list(runs.read_metrics(out / "rows" / "V.5")["alignment"]) == ["leak", "text"]
    assert not runs.read_metrics(out / "rows" / "V.1").get("alignment")


def test_page_names_what_is_not_the_papers(whole):
    notes = json.loads((whole[0] / "report.json").read_text())["notes"]

    assert any("In place of the paper's vggish: mel" in note for note in notes)
    assert any("train.epochs=2" in note for note in notes)


def test_what_is_finished_is_not_done_again(whole, asked, go):
    out, _ = whole
    trained = (out / "rows" / "V.5" / "model.safetensors").stat().st_mtime_ns

    found = go(asked("V.1", "V.5", "figure2"), out)

    assert found["ran"] == []
    assert len(found["finished"]) == 8
    assert (out / "rows" / "V.5" / "model.safetensors").stat().st_mtime_ns == trained


@pytest.mark.parametrize("stop", [{"stop_at": "] row V.5"}, {"stop_in": "V.5"}])
def test_stopped_and_gone_on_with_gives_what_one_go_gives(whole, asked, go, tmp_path, stop):
    out, request = tmp_path / "out", asked("V.1", "V.5", "figure2")
    with pytest.raises(KeyboardInterrupt):
        go(request, out, Says(**stop))

    found = go(request, out)

    assert found["ran"] == ["row V.5", "report"]
    for row in ("V.1", "V.5"):
        np.testing.assert_allclose(
            answers(out, row).probabilities, answers(whole[0], row).probabilities, atol=1e-6
        )


def test_each_step_is_announced_with_the_time_that_is_left(whole, asked, go, tmp_path):
    says = Says(stop_at="row V.1")
    with pytest.raises(KeyboardInterrupt):
        go(asked("V.1", "V.5"), tmp_path / "out", says)

    assert says.said[0] == "[1/7] prepare meld: how long the rest takes is not known yet"
    assert says.said[-1].startswith("[4/7] row V.1: ")


def test_preview_writes_nothing_and_tells_what_is_finished(whole, asked, tmp_path):
    fresh = preview(asked("V.1", "table4"), tmp_path / "out")
    known = preview(asked("V.1", "V.6", "figure2"), whole[0])

    assert not (tmp_path / "out").exists()
    assert not any(step["finished"] for step in fresh["steps"])
    assert list(fresh["not_run"]) == ["table4"]
    left = [step["name"] for step in known["steps"] if not step["finished"]]
    assert left == ["row V.6", "report"]


def test_more_targets_go_on_in_the_same_folder(whole, asked, go, cache, tmp_path):
    import shutil

    out = tmp_path / "out"
    shutil.copytree(whole[0], out, symlinks=True)

    found = go(asked("table2"), out)

    assert found["ran"] == ["table2"]
    assert json.loads((out / "tables" / "table2.json").read_text())["counts"]["all"]["anger"] == 18


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"protocol": "paper"}, "with protocol auto, but paper was asked for"),
        ({"seeds": 2}, "with seeds 1, but 2 was asked for"),
        ({"settings": ["train.epochs=3"]}, "with settings .* but .*train.epochs=3"),
    ],
)
def test_folder_of_another_plan_is_refused(whole, asked, go, more, says):
    with pytest.raises(RunError, match=f"holds a reproduction {says}.*choose another --out"):
        go(asked("V.1", **more), whole[0])


def test_folder_with_other_files_is_refused(asked, go, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")

    with pytest.raises(RunError, match=r"holds 'letter.txt', which mersa reproduce did not put"):
        go(asked("V.1"), tmp_path)


@pytest.mark.parametrize(
    ("more", "kind", "says"),
    [
        ({"folders": {"meld": "absent"}}, CorpusError, "absent does not exist; name the folder"),
        ({"folders": {"meld": "words"}}, CorpusError, "has the words of meld without its rec"),
        ({"protocol": "leave-one-session-out"}, MersaError, "session"),
        ({"protocol": "speakers"}, MersaError, "protocol 'speakers' does not exist"),
        ({"settings": ["train.epoch=3"]}, ConfigError, "the nearest is 'train.epochs'"),
        ({"settings": ["align.epoch=3"]}, ConfigError, "the nearest is 'align.epochs'"),
        ({"settings": ["text.name=tiny"]}, ConfigError, "set by the rows .* --encoder bert=NAME"),
        (
            {"settings": ["align.parts=all"]},
            AlignmentError,
            "every score of the rows would be inflated; .* mersa align .* --allow-leak",
        ),
        ({"encoders": {"bert": "no-such/folder here"}}, EncoderError, "neither a folder nor an id"),
        ({"encoders": {"roberta": "x"}}, ConfigError, "names no encoder of the paper; it is one"),
        ({"quick": True}, ConfigError, "--quick runs on the corpus that comes with mersa, but"),
    ],
)
def test_mistake_is_told_before_anything_is_written(
    asked, go, world, tmp_path, monkeypatch, more, kind, says
):
    monkeypatch.chdir(world)
    out = tmp_path / "out"
    if "folders" in more:
        more = {"folders": {name: Path(one) for name, one in more["folders"].items()}}

    with pytest.raises(kind, match=says):
        go(asked("V.5", **more), out)

    assert not out.exists()


@pytest.mark.parametrize("target", ["all", "table3", "figure3", "IV.2"])
def test_without_a_corpus_the_option_and_the_source_are_named(target):
    with pytest.raises(ConfigError, match=r"--iemocap FOLDER.*University of Southern California"):
        make_request([target])


def test_unknown_target_names_those_that_exist():
    with pytest.raises(ConfigError, match=r"'table6' cannot be reproduced; choose table1"):
        make_request(["table6"])


def test_figure_2_needs_no_corpus(go, tmp_path):
    found = go(make_request(["figure2"]), tmp_path / "out")

    assert found["ran"] == ["figure2"]
    assert found["rows"] == {}


@pytest.mark.slow
def test_iemocap_is_aligned_and_trained_for_each_session(world, go, tmp_path):
    corpus = release.write_small_release(tmp_path / "I").folder
    request = make_request(
        ["III.6", "table1"],
        folders={"iemocap": corpus},
        settings=[*SETTINGS, "train.epochs=1", "align.per_class=2", "align.batch_size=8"],
        encoders=small(world),
        strict=False,
    )

    found = go(request, tmp_path / "out")

    row = tmp_path / "out" / "rows" / "III.6"
    folds = [leaf.name for leaf in runs.members(row)]
    assert folds == [f"fold-{number}" for number in range(1, 6)]
    hashes = {runs.read_metrics(leaf)["parts_sha256"] for leaf in runs.members(row)}
    assert len(hashes) == 5
    for fold in folds:
        told = json.loads(
            (row.parents[1] / "aligned/iemocap-4" / fold / "alignment.json").read_text()
        )
        assert told["parts_sha256"] == runs.read_metrics(row / fold)["parts_sha256"]
    four = ("neu", "hap", "exc", "sad", "ang")
    tested = sum(held[label] for held in release.FEW.values() for label in four)
    assert found["rows"]["III.6"]["n"] == tested


@pytest.mark.slow
def test_rehearsal_runs_all_24_rows_onto_one_page(mersa, tmp_path):
    out = tmp_path / "out"
    words = ("all", "--quick", "--out", out, "--cache", tmp_path / "frames", "--device", "cpu")
    few = ("--set", "train.epochs=1", "--set", "align.epochs=1")

    said = mersa("reproduce", *words, *few, "--json")
    again = mersa("reproduce", *words, *few, "--quiet")
    listed = mersa("reproduce", *words, *few, "--dry-run", "--quiet")

    assert "nothing beside the printed numbers is evidence" in again.out
    assert listed.out.endswith("all steps are finished\n")
    found = json.loads(said.out)
    page = (out / "report.html").read_text()
    assert said.code == 0
    assert list(found["rows"]) == list(ROWS)
    assert all(f">{row}<" in page for row in ROWS)
    assert all(word in page for word in ("Synthetic corpus", "random weights", "log-mel"))
    assert all(f"Fig. {number}" in page for number in (2, 3))
    assert {path.name for path in (out / "aligned").iterdir()} == {"iemocap-4", "iemocap-6"}


def test_verb_prints_a_line_a_row_and_where_the_page_is(whole, world, mersa):
    options = [word for one in SETTINGS for word in ("--set", one)]
    options += [word for pair in small(world).items() for word in ("--encoder", "=".join(pair))]
    words = ("V.1", "V.5", "table4", "--meld", world / "MELD", "--out", whole[0], "--quiet")

    said = mersa("reproduce", *words, *options)

    lines = said.out.splitlines()
    assert said.code == 0
    assert lines[0].split()[:3] == ["row", "model", "method"]
    assert [line.split()[0] for line in lines[1:3]] == ["V.1", "V.5"]
    assert "0.562" in lines[1]
    assert "rehearsal" not in said.out
    assert lines[3].startswith("not run: table4, since no folder of iemocap was given (--iemocap")
    assert lines[-1].endswith(f"{whole[0] / 'report.tex'}")


def test_verb_lists_what_would_run(whole, world, mersa):
    options = [word for one in SETTINGS for word in ("--set", one)]
    options += [word for pair in small(world).items() for word in ("--encoder", "=".join(pair))]
    words = ("V.1", "V.6", "--meld", world / "MELD", "--out", whole[0], "--dry-run", "--quiet")

    lines = mersa("reproduce", *words, *options).out.splitlines()

    assert "finished  row V.1" in lines
    assert "to do     row V.6" in lines
    assert lines[-1].startswith("2 steps to do, ")


@pytest.mark.parametrize("plan", ["{}", '{"settings": 3}', "[]"])
def test_a_plan_that_is_none_is_refused(mersa, tmp_path, plan):
    (tmp_path / "plan.json").write_text(plan, encoding="utf-8")

    said = mersa("reproduce", "figure2", "--quick", "--out", tmp_path)

    assert said.code == 2
    assert "plan.json" in said.err
    assert said.err.endswith("bring it back, or choose another --out\n")
