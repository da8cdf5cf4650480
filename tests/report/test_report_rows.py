import json

import pytest
from made_runs import aligned_from, make_run

from mersa.errors import RunError
from mersa.report.rows import (
    differences_from_row,
    has_row,
    other_settings,
    read_entries,
)


def test_runs_are_grouped_by_table_in_the_papers_order(tmp_path):
    rows = ("V.3", "III.6", "III.3")

    tables = read_entries([make_run(tmp_path / row, row) for row in rows])

    assert {table: list(entries) for table, entries in tables.items()} == {
        "III": ["III.3", "III.6"],
        "V": ["V.3"],
    }


def test_runs_of_a_row_that_differ_in_seeds_are_one_entry(tmp_path):
    one = make_run(tmp_path / "one", "III.3", seeds=(2,))
    two = make_run(tmp_path / "two", "III.3", seeds=(0, 1))

    entry = read_entries([one, two])["III"]["III.3"]

    assert entry.seeds == (0, 1, 2)
    assert entry.folders == (one, two)
    assert [place.name for place in entry.places] == ["seed-0", "seed-1", "one"]
    assert len(entry.histories()) == 3


def test_folds_are_pooled(tmp_path):
    for number in (1, 2):
        make_run(tmp_path / "run" / f"fold-{number}", "III.3", seeds=(0,), first=1000 * number)
    from mersa.pooling import summarise

    summarise(tmp_path / "run")

    entry = read_entries([tmp_path / "run"])["III"]["III.3"]

    assert len(entry.answers) == 1
    assert len(entry.answers[0].ids) == 2 * 480
    assert len(entry.histories()) == 2


def test_a_folder_named_twice_is_read_once(tmp_path):
    run = make_run(tmp_path / "run", "III.3")

    assert read_entries([run, run])["III"]["III.3"].folders == (run,)


def test_two_runs_of_one_row_and_seed_are_refused(tmp_path):
    one, two = make_run(tmp_path / "one", "III.3"), make_run(tmp_path / "two", "III.3")

    with pytest.raises(
        RunError, match=r"one and .*two are both row III\.3, with seed 0, but .* report one of them"
    ):
        read_entries([one, two])


def test_seeds_of_other_settings_are_no_further_seeds(tmp_path):
    one = make_run(tmp_path / "one", "III.3", seeds=(0,))
    two = make_run(tmp_path / "two", "III.3", seeds=(1,), settings=["train.epochs=7"])

    with pytest.raises(RunError, match=r"are both row III\.3, with other settings, but a table"):
        read_entries([one, two])


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (
            {"protocol": "speaker"},
            r"two \(row III\.5\) has protocol speaker, but .*one \(row III\.3\) official, so they "
            r"cannot stand in one table; train both under one --protocol",
        ),
        ({"seeds": (0,)}, r"has seeds 0, but .* 0, 1, 2, so they .* --seeds, or report one"),
        (
            {"labels": ("anger", "calm"), "settings": ["data.labels=anger,calm"]},
            r"has labels anger, calm, but .* anger, happy, .* train both on the same data\.labels",
        ),
        ({"first": 3}, r"answers 3 utterances that .* does not, as .*; compare runs on the same"),
    ],
)
def test_runs_that_cannot_stand_in_one_table_are_refused(tmp_path, more, says):
    one = make_run(tmp_path / "one", "III.3")
    two = make_run(tmp_path / "two", "III.5", **more)

    with pytest.raises(RunError, match=says):
        read_entries([one, two])


def test_tables_may_differ_in_protocol_and_seeds(tmp_path):
    one = make_run(tmp_path / "one", "III.3")
    two = make_run(tmp_path / "two", "V.3", protocol="speaker", seeds=(5,), first=7)

    assert list(read_entries([one, two])) == ["III", "V"]


def test_a_run_that_was_not_evaluated_is_refused(tmp_path):
    run = make_run(tmp_path / "run", "III.3", tested=False)

    with pytest.raises(RunError, match=rf"no test scores yet; .*: mersa evaluate {run}"):
        read_entries([run])


def test_an_unfinished_run_is_refused(tmp_path):
    run = make_run(tmp_path / "run", "III.3", seeds=(0,))
    (run / "predictions.csv").unlink()

    with pytest.raises(RunError, match=r"run is unfinished \(it has no predictions\.csv\)"):
        has_row(run)


def test_a_run_of_no_row_is_refused(tmp_path):
    run = make_run(tmp_path / "run", "III.3", seeds=(0,))
    metrics = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").write_text(json.dumps(metrics | {"row": ""}))

    assert not has_row(run)
    with pytest.raises(RunError, match=r"run is of no row of the paper, but Tables III to V hold"):
        read_entries([run])


def test_a_leak_in_any_leaf_is_a_leak(tmp_path):
    run = make_run(tmp_path / "run", "III.5", alignment=aligned_from())
    path = run / "seed-1" / "metrics.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"alignment": aligned_from(leak=True)})
    )

    entry = read_entries([run])["III"]["III.5"]

    assert entry.leak
    assert differences_from_row(entry)[0].startswith("LEAK: its aligned encoder saw utterances")


def test_what_differs_from_the_row_is_told(tmp_path):
    settings = [
        "audio.name=onnx:/home/me/mn04.onnx",
        "text.name=/home/me/aligned",
        "data.shuffle=audio",
    ]
    run = make_run(tmp_path / "run", "III.5", settings=[*settings, "train.epochs=7"])

    entry = read_entries([run])["III"]["III.5"]

    assert differences_from_row(entry) == [
        "corpus nowhere in place of IEMOCAP",
        "audio encoder onnx:mn04.onnx",
        "text encoder aligned",
        "CONTROL: audio shuffled",
        "no self-alignment is on record",
    ]
    assert other_settings(entry) == {"train.epochs": 7}


def test_an_encoder_aligned_from_another_one_is_told(tmp_path):
    settings = ["text.name=/home/me/aligned/fold-1"]
    own, other = (
        make_run(tmp_path / row, row, settings=settings, alignment=alignment)
        for row, alignment in (
            ("III.5", aligned_from()),
            ("III.6", aligned_from("org/small") | {"audio": {"leak": False}}),
        )
    )

    entries = read_entries([own, other])["III"]

    assert differences_from_row(entries["III.5"]) == ["corpus nowhere in place of IEMOCAP"]
    assert differences_from_row(entries["III.6"]) == [
        "corpus nowhere in place of IEMOCAP",
        "text encoder aligned from org/small",
        "audio encoder aligned, which the paper does not do",
    ]


def test_a_run_as_the_paper_has_it_differs_in_nothing(tmp_path):
    iemocap, meld = (
        make_run(tmp_path / row, row, prefix=prefix)
        for row, prefix in (("III.3", "Ses01F_impro01_F"), ("V.3", "test_dia0_utt"))
    )

    tables = read_entries([iemocap, meld])

    assert tables["III"]["III.3"].corpus == "iemocap"
    assert tables["V"]["V.3"].corpus == "meld"
    assert differences_from_row(tables["III"]["III.3"]) == []
    assert differences_from_row(tables["V"]["V.3"]) == []
