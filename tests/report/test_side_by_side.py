import json

import pytest

from mersa.errors import RunError
from mersa.evaluation import score_cell
from mersa.report.formats import to_markdown
from mersa.report.sheets import sheets
from mersa.report.side_by_side import collect, to_text

NOTE = (
    "57 test utterances in 11 groups (dialogues, else speakers, else utterances); "
    "95 % intervals by bootstrap over groups."
)
NAMES = ("accuracy", "balanced_accuracy", "macro_f1", "weighted_f1")


def markdown(lines):
    """A report of runs side by side, as Markdown."""
    content = {"title": "Report", "notes": [], "side_by_side": lines}
    content |= {"corpora": [], "tables": [], "claims": []}
    return to_markdown(content, sheets(content))


def part(first, *, n=57, groups=11, few=False, **more):
    """Scores as `metrics.json` holds them: `first`, then a hundredth more for each name."""
    scores = {name: first + number / 100 for number, name in enumerate(NAMES)}
    interval = {name: None if few else [s - 0.04, s + 0.05] for name, s in scores.items()}
    return {
        "n": n,
        "groups": groups,
        **scores,
        "ece": 0.1,
        "ci95": interval | {"ece": None},
        "majority": {"accuracy": 0.4, "balanced_accuracy": 0.25, "macro_f1": 0.14}
        | {"weighted_f1": 0.23},
        **more,
    }


@pytest.fixture
def run(tmp_path):
    def write(name, system, test, labels=("anger", "happy", "sad", "neutral"), first_id=0, **more):
        folder = tmp_path / name
        folder.mkdir()
        parts = {"validation": part(0.9)} | ({"test": test} if test else {})
        metrics = {"system": system, "labels": list(labels), "parts": parts, **more}
        (folder / "metrics.json").write_text(json.dumps(metrics))
        for name in ("config.toml", "labels.json", "environment.json", "model.safetensors"):
            (folder / name).write_text("")
        (folder / "predictions.csv").write_text("")
        rows = [f"{first_id + number},test" for number in range(test["n"] if test else 0)]
        (folder / "parts.csv").write_text("\n".join(["id,part", "t,train", *rows]) + "\n")
        return folder

    return write


def test_runs_stand_below_the_commonest_label(run):
    one, two = run("one", "3m-ser", part(0.5)), run("two", "mersa-cross", part(0.6))

    lines = collect([one, two])

    assert [line["system"] for line in lines] == ["always commonest", "3m-ser", "mersa-cross"]
    assert [line["run"] for line in lines] == ["", str(one), str(two)]
    assert [line["accuracy"] for line in lines] == [0.4, 0.5, 0.6]
    assert [line["macro_f1"] for line in lines] == [0.14, 0.52, 0.62]
    assert all((line["n"], line["groups"]) == (57, 11) for line in lines)
    assert "ci95" not in lines[0]
    assert lines[1]["ci95"]["accuracy"] == pytest.approx([0.46, 0.55])


def test_the_test_part_is_read_and_not_validation(run):
    assert collect([run("one", "mersa", part(0.5))])[1]["accuracy"] == 0.5


def test_text_is_aligned_with_intervals_and_their_note(run):
    lines = collect([run("one", "3m-ser", part(0.5)), run("two", "mersa-cross", part(0.6))])

    assert to_text(lines) == (
        "system            accuracy              balanced accuracy     macro f1"
        "              weighted f1\n"
        "always commonest  0.400                 0.250                 0.140"
        "                 0.230\n"
        "3m-ser            0.500 [0.460, 0.550]  0.510 [0.470, 0.560]  0.520 [0.480, 0.570]"
        "  0.530 [0.490, 0.580]\n"
        "mersa-cross       0.600 [0.560, 0.650]  0.610 [0.570, 0.660]  0.620 [0.580, 0.670]"
        "  0.630 [0.590, 0.680]\n"
        f"{NOTE}\n"
    )


def test_markdown_is_a_table_with_its_note(run):
    folder = run("one", "mersa", part(0.5))

    text = markdown(collect([folder]))

    assert text.endswith(
        "| system | run | accuracy | balanced accuracy | macro F1 | weighted F1 |\n"
        "| --- | --- | --- | --- | --- | --- |\n"
        "| always commonest |  | 0.400 | 0.250 | 0.140 | 0.230 |\n"
        f"| mersa | {folder} | 0.500 [0.460, 0.550] | 0.510 [0.470, 0.560] "
        "| 0.520 [0.480, 0.570] | 0.530 [0.490, 0.580] |\n"
        "\n"
        f"{NOTE}\n"
    )


def test_a_leak_is_marked_beside_its_system_in_every_format(run):
    lines = collect([run("one", "mersa", part(0.5), leak=["it saw the test part"])])

    assert "\nmersa LEAK " in to_text(lines)
    assert "\n| mersa LEAK |" in markdown(lines)
    assert "LEAK: it saw the test part; such scores mean nothing." in markdown(lines)


def test_seeds_are_told_by_their_deviation(run):
    test = part(0.5, sd=dict.fromkeys(NAMES, 0.0214))
    test["ci95_seeds"] = {name: [0.447, 0.553] for name in NAMES}

    lines = collect([run("one", "mersa", test, seeds=[0, 1, 2])])

    assert score_cell(lines[1], "accuracy") == "0.500 ± 0.021 [0.447, 0.553]"
    assert "mean of 3 seeds ± their standard deviation, brackets: 95 % t int" in to_text(lines)


def test_too_few_groups_are_told(run):
    lines = collect([run("one", "mersa", part(0.5, groups=4, few=True))])

    assert score_cell(lines[1], "macro_f1") == "0.520 (too few groups)"
    assert to_text(lines).endswith("; no intervals, since they need at least 8 groups.\n")


def test_a_run_without_test_scores_is_refused(run):
    folder = run("one", "mersa", None)

    with pytest.raises(RunError, match=rf"{folder} has no test scores .* mersa evaluate {folder}"):
        collect([folder])


def test_runs_of_different_labels_are_refused(run):
    one = run("one", "mersa", part(0.5))
    two = run("two", "mersa", part(0.5), labels=("anger", "calm"))

    with pytest.raises(
        RunError,
        match=r"two has other labels than .*one \(57 utterances, 2 labels; .*; report runs of",
    ):
        collect([one, two])


def test_runs_of_different_test_parts_are_refused(run):
    one, two = run("one", "mersa", part(0.5)), run("two", "mersa", part(0.5, n=58))

    with pytest.raises(
        RunError, match=r"two has other test utterances than .*one \(58 utter.*; 57, "
    ):
        collect([one, two])


def test_an_unfinished_run_is_refused(tmp_path):
    (tmp_path / "config.toml").write_text("")

    with pytest.raises(
        RunError, match=r"is unfinished \(it has no metrics\.json\); go on with: mersa train"
    ):
        collect([tmp_path])


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_folder_that_is_no_run_is_refused(tmp_path, content):
    (tmp_path / "metrics.json").write_text(content)

    with pytest.raises(RunError, match=r"metrics\.json .*bring the file back, or train"):
        collect([tmp_path])


def test_test_parts_of_one_size_and_other_utterances_are_refused(run):
    one, two = run("one", "mersa", part(0.5)), run("two", "mersa", part(0.5), first_id=3)

    with pytest.raises(RunError, match="report runs of one label set and one test part"):
        collect([one, two])


def test_runs_of_one_system_are_told_apart_by_their_folders(run):
    text = to_text(collect([run("plain", "mersa", part(0.5)), run("shuffled", "mersa", part(0.4))]))

    assert [line.split("  ")[0] for line in text.splitlines()[2:4]] == [
        "mersa: plain",
        "mersa: shuffled",
    ]
