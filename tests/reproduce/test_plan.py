"""What runs, in which order, and what is shared, before any of it runs."""

import shlex
from pathlib import Path

import pytest

from mersa.paper import ROWS
from mersa.reproduce.plan import plan
from mersa.reproduce.reproduce import make_request
from mersa.reproduce.request import not_run, rows_of

OUT = Path("out")
BOTH = {"iemocap": Path("I"), "meld": Path("M")}


def named(request, **more):
    return {step.name: step for step in plan(request, OUT, **more)}


def test_each_step_stands_behind_what_it_needs():
    steps = plan(make_request(["all"], folders=BOTH), OUT)

    names = [step.name for step in steps]

    assert all(names.index(need) < names.index(step.name) for step in steps for need in step.needs)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("quick", [False, True])
def test_all_runs_the_24_rows_in_the_order_of_the_paper(quick):
    request = make_request(["all"], quick=quick, folders={} if quick else BOTH)

    rows = [step.subject for step in plan(request, OUT) if step.action == "row"]

    assert rows == list(ROWS)


def test_aligned_rows_of_a_label_set_share_one_encoder_aligned_for_it():
    steps = named(make_request(["all"], folders=BOTH))

    needed = {
        row.id: [need for need in steps[f"row {row.id}"].needs if need.startswith("align")]
        for row in ROWS.values()
    }

    assert needed == {
        row.id: [f"align {row.labels}"] if row.aligned else [] for row in ROWS.values()
    }
    assert [name for name in steps if name.startswith("align")] == [
        *("align iemocap-4", "align iemocap-6", "align meld-4")
    ]


def test_label_sets_of_the_same_emotions_on_one_corpus_share_one_encoder():
    steps = named(make_request(["all"], quick=True))

    assert "align iemocap-4" in steps["row V.5"].needs
    assert "align meld-4" not in steps


def test_frames_of_a_corpus_are_encoded_once_for_all_its_rows():
    steps = named(make_request(["table3", "table4"], folders=BOTH))

    assert [name for name in steps if name.startswith("encode")] == [
        *("encode iemocap bert", "encode iemocap vggish", "encode iemocap wav2vec2")
    ]


def test_command_of_an_aligned_row_takes_the_aligned_folder():
    request = make_request(
        ["III.7"], folders=BOTH, protocol="paper", seeds=3, settings=["train.epochs=2"]
    )

    words = shlex.split(named(request)["row III.7"].command)

    assert words == [
        *("mersa", "train", "out/corpora/iemocap/manifest.csv", "--row", "III.7"),
        *("--protocol", "paper", "--seeds", "3", "--set", "text.name=out/aligned/iemocap-4"),
        *("--set", "audio.name=facebook/wav2vec2-base", "--set", "train.epochs=2"),
        *("--out", "out/rows/III.7"),
    ]


def test_settings_go_to_the_verb_that_reads_them():
    settings = [
        "align.epochs=2",
        "train.epochs=3",
        "data.seed=4",
        "data.shuffle=text",
        "text.weights=tuned",
    ]
    steps = named(make_request(["III.5"], folders=BOTH, settings=settings))

    given = {
        name: [one for one in settings if one in shlex.split(steps[name].command)]
        for name in ("align iemocap-4", "row III.5")
    }

    assert given == {
        "align iemocap-4": ["align.epochs=2", "data.seed=4"],
        "row III.5": ["train.epochs=3", "data.seed=4", "data.shuffle=text", "text.weights=tuned"],
    }


def test_what_needs_an_absent_corpus_is_left_out_and_named():
    request = make_request(["all"], folders={"meld": Path("M")})

    assert {row.id for row in rows_of(request)} == {f"V.{line}" for line in range(1, 9)}
    assert not_run(request) == dict.fromkeys(("table1", "table3", "table4"), "iemocap")
    assert named(request)["figure3"].needs == ("align meld-4",)


def test_report_is_made_of_all_rows_and_figures():
    steps = named(make_request(["table5", "figure2"], folders=BOTH))

    assert set(steps["report"].needs) == {"figure2", *(f"row V.{line}" for line in range(1, 9))}


def test_steps_are_told_as_plain_data():
    step = named(make_request(["III.1"], folders=BOTH), sizes={"iemocap-4": 5531})["row III.1"]

    assert step.as_dict() == {
        "name": "row III.1",
        "action": "row",
        "subject": "III.1",
        "makes": "rows/III.1/metrics.json",
        "needs": ("prepare iemocap", "encode iemocap vggish", "encode iemocap bert"),
        "like": ("row", "vggish", "server"),
        "size": 5531,
        "command": step.command,
    }
