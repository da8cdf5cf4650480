import base64
import csv
import io
import json
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from made_runs import aligned_from, make_answers, make_run

from mersa.config import apply_assignments, make_config
from mersa.encoders.cache import FeatureCache
from mersa.errors import RunError
from mersa.evaluation import PRINTED_SCORES
from mersa.experiment import train
from mersa.held_out import evaluate
from mersa.paper import ROWS, find_row
from mersa.report import report
from mersa.report.content import read_content
from mersa.report.examples import choose
from mersa.report.formats import latex_escape
from mersa.report.sheets import sheets

FILES = {"report.html", "report.json", "report.md", "report.tex", "rows.csv", "claims.csv"}


@pytest.fixture(scope="session")
def trained(small_corpus, cache_folder, tmp_path_factory):
    """Runs of III.1 and III.6 on toy data, two epochs and two seeds; to be read only."""
    folder = tmp_path_factory.mktemp("rows")
    cache = FeatureCache(cache_folder)
    quick = ["text.name=tiny", "audio.name=mel", "network.fusion_width=16", "network.hidden=[8]"]
    for row in ("III.1", "III.6"):
        nested = apply_assignments(find_row(row).settings(), [*quick, "train.epochs=2"])
        out = folder / row
        train(small_corpus, make_config(nested), out, cache=cache, seeds=2, device="cpu")
        evaluate(out, cache=cache, device="cpu")
    return [folder / row for row in ("III.1", "III.6")]


@pytest.fixture(scope="session")
def told(trained, tmp_path_factory):
    """A report of them: its folder and what was returned."""
    out = tmp_path_factory.mktemp("report") / "out"
    content = report(trained, out, title="Toy & <rows>", notes=["Made for a test."], examples=3)
    return out, content


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A report of made-up runs with a leak: its folder and what was returned."""
    folder = tmp_path_factory.mktemp("made")
    runs = [
        make_run(folder / "3", "III.3", 0.6, training=0.01),
        make_run(
            folder / "5",
            "III.5",
            0.7,
            training=0.01,
            text="aligned",
            alignment=aligned_from(leak=True),
        ),
        make_run(folder / "v3", "V.3", 0.5, training=0.01),
        make_run(folder / "v4", "V.4", 0.9, training=0.01, audio="wav2vec"),
    ]
    out = folder / "out"
    return out, report(runs, out)


class Page(HTMLParser):
    """Collects what a page asks for, and whether its elements are closed in order."""

    EMPTY = ("meta", "img", "br", "link", "input")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.addresses, self.ids, self.words = [], [], [], [], []
        self.images = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        attrs = dict(attrs)
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.addresses += [attrs[name] for name in ("src", "href", "data") if name in attrs]
        self.images += [attrs] if tag == "img" else []
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def cells(text):
    """The text of a page's cells and paragraphs, with one blank between words."""
    return " ".join(" ".join(Page(text).words).split())


def test_all_files_are_written_and_no_other(told):
    assert {path.name for path in told[0].iterdir()} == FILES


def test_what_is_returned_is_what_is_written(told):
    assert json.loads((told[0] / "report.json").read_text()) == json.loads(json.dumps(told[1]))


def test_rows_that_were_not_run_are_listed(told):
    (table,) = told[1]["tables"]

    assert table["not_run"] == ["III.2", "III.3", "III.4", "III.5", "III.7", "III.8"]
    assert [row["row"] for row in table["rows"]] == [f"III.{line}" for line in range(1, 9)]
    assert (told[0] / "report.md").read_text().count("| not run |") == 6
    assert (told[0] / "report.tex").read_text().count("& not run &") == 6
    assert (told[0] / "report.html").read_text().count(">not run<") == 6


def test_scores_are_those_of_the_runs(told, trained):
    rows = {row["row"]: row for row in told[1]["tables"][0]["rows"]}
    for folder in trained:
        test = json.loads((folder / "metrics.json").read_text())["parts"]["test"]
        row = rows[folder.name]
        assert [row["scores"][name] for name in PRINTED_SCORES] == pytest.approx(
            [test[name] for name in PRINTED_SCORES]
        )
        assert [row["sd"][name] for name in PRINTED_SCORES] == pytest.approx(
            [test["sd"][name] for name in PRINTED_SCORES]
        )
        assert row["difference"]["accuracy"]["value"] == pytest.approx(
            test["accuracy"] - ROWS[folder.name].accuracy
        )
        assert row["difference"]["weighted_f1"]["value"] == pytest.approx(
            test["weighted_f1"] - ROWS[folder.name].f1
        )


@pytest.mark.parametrize("fixture", ["told", "made"])
def test_every_cell_stands_in_every_format(fixture, request):
    out, content = request.getfixturevalue(fixture)
    page = cells((out / "report.html").read_text())
    markdown, latex = ((out / f"report.{kind}").read_text() for kind in ("md", "tex"))
    latex = re.sub(r"\\begin\{tabular\}\[t\]\{@\{\}l@\{\}\}|\\end\{tabular\}", "", latex)
    latex = " ".join(latex.replace(r" \\{} ", " ").split())

    held = [cell for sheet in sheets(content) for row in sheet.rows for cell in row if cell]

    assert len(held) > 100
    assert [cell for cell in held if cell not in page] == []
    assert [cell for cell in held if cell not in markdown] == []
    assert [cell for cell in held if latex_escape(cell) not in latex] == []


def test_the_numbers_of_the_csv_are_those_of_the_table(made):
    rows = list(csv.DictReader(io.StringIO((made[0] / "rows.csv").read_text())))

    held = {row["row"]: row for table in made[1]["tables"] for row in table["rows"]}
    assert len(rows) == 16
    for line in rows:
        row = held[line["row"]]
        assert float(line["printed_accuracy"]) == row["printed"]["accuracy"]
        if not row["runs"]:
            assert line["accuracy"] == line["run"] == ""
            continue
        for name in PRINTED_SCORES:
            assert float(line[name]) == row["scores"][name]
            assert [float(line[f"{name}_{end}"]) for end in ("low", "high")] == row["ci95"][name]
        assert line["leak"] == str(bool(row["leak"]))


def test_the_claims_of_the_csv_are_those_of_the_report(made):
    lines = list(csv.DictReader(io.StringIO((made[0] / "claims.csv").read_text())))

    accuracy = {
        (one["claim"], one["table"]): one for one in lines if one["score"] in ("", "accuracy")
    }
    assert len(accuracy) == 2 * 5
    for one in made[1]["claims"]:
        line = accuracy[one["claim"], one["table"]]
        assert (line["answer"], line["why"]) == (one["verdict"], one["why"])
        if one["measures"]:
            assert float(line["difference"]) == one["measures"][0]["value"]
    assert accuracy["wav2vec", "V"]["answer"] == "holds"


def test_a_leak_is_marked_in_every_table(made):
    out = made[0]
    leaking = [row for table in made[1]["tables"] for row in table["rows"] if row.get("leak")]

    assert [row["row"] for row in leaking] == ["III.5"]
    for name in ("report.md", "report.tex", "report.html"):
        text = (out / name).read_text()
        assert text.count("] LEAK") == 4  # the four scores
        assert "LEAK: its aligned encoder saw utterances beyond the train part" in text
    assert "row III.5 saw utterances beyond the train part" in (out / "report.md").read_text()


def test_the_page_is_balanced_and_asks_for_nothing(told):
    text = (told[0] / "report.html").read_text()

    page = Page(text)

    assert page.open == []
    assert {address.split(",")[0] for address in page.addresses if address[0] != "#"} == {
        "data:image/svg+xml;base64"
    }
    assert {address[1:] for address in page.addresses if address[0] == "#"} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert re.findall(r"@import|url\(|<script|<link", text) == []
    assert "Toy &amp; &lt;rows&gt;" in text
    assert "Made for a test." in text


def test_every_row_has_three_pictures_and_each_example_one(told):
    page = Page((told[0] / "report.html").read_text())

    alts = [image["alt"] for image in page.images]

    assert alts[:6] == [
        f"{what} of row {row}"
        for row in ("III.1", "III.6")
        for what in ("Confusion matrix", "Reliability", "Learning curves")
    ]
    assert len(alts) == 6 + len(told[1]["examples"][0]["utterances"])


def test_pictures_hold_letters_short_numbers_and_heat_maps_as_images(told):
    page = Page((told[0] / "report.html").read_text())

    drawn = {
        image["alt"].split()[0]: base64.b64decode(image["src"].partition(",")[2]).decode()
        for image in page.images
    }

    assert {"Confusion", "Reliability", "Learning", "Attention"} <= drawn.keys()
    for svg in drawn.values():
        root = ElementTree.fromstring(svg)
        letters = root.iter("{http://www.w3.org/2000/svg}text")
        assert any(one.text for one in letters)
        assert re.findall(r"\d\.\d{5,}", re.sub(r'"data:[^"]*"', "", svg)) == []
        assert len(svg) < 60_000
    assert "data:image/png;base64" in drawn["Attention"]
    assert re.search(r">Test: accuracy \d\.\d{3}, balanced \d\.\d{3}<", drawn["Confusion"])


def test_attention_is_of_the_last_fused_row(told):
    (example,) = told[1]["examples"]

    assert (example["row"], example["seed"], example["why"]) == ("III.6", 0, "")
    assert len(example["utterances"]) == 3
    for one in example["utterances"]:
        attention = one["attention"]
        assert attention["words"][0] == "[CLS]"
        assert np.shape(attention["text_asks_audio"]) == (
            len(attention["words"]),
            len(attention["starts_s"]),
        )
        shares = attention["traced_words"] + attention["traced_sound"]
        assert sum(shares) == pytest.approx(1, abs=1e-3)


def test_attention_without_the_corpus_is_a_sentence(made):
    (first, _) = made[1]["examples"]

    assert first["why"] == "the manifest of row III.5 is not where it was at training"
    assert (
        "Not shown: the manifest of row III.5 is not where" in (made[0] / "report.html").read_text()
    )


def test_the_corpora_stand_beside_the_papers_tables(told):
    one, two = told[1]["corpora"]

    assert (one["table"], one["printed"]["neutral"], one["counts"]["all"]["neutral"]) == (
        "Table I",
        1849,
        7,
    )
    assert (two["table"], two["counts"]) == ("Table II", {})
    markdown = (told[0] / "report.md").read_text()
    assert "which is another corpus than IEMOCAP." in markdown
    assert "No run of this corpus is reported whose manifest is there" in markdown


def test_a_report_again_gives_the_same_bytes(trained, tmp_path):
    for name in ("one", "two"):
        report(trained[1:], tmp_path / name, examples=1)

    for name in FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_surest_right_and_wrong_answers_are_chosen():
    answers = make_answers(0.5, 0, groups=3)
    answer, sure = answers.probabilities.argmax(1), answers.probabilities.max(1)

    chosen = choose(answers, 8)

    assert len(chosen) == 8
    assert [int(answers.truth[row]) for row in chosen] == [0, 1, 2, 3] * 2
    assert (answer[chosen] == answers.truth[chosen]).tolist() == [True] * 4 + [False] * 4
    for row in chosen:
        alike = (answers.truth == answers.truth[row]) & (
            (answer == answers.truth) == (answer[row] == answers.truth[row])
        )
        assert sure[row] == sure[alike].max()
    assert choose(answers, 3) == chosen[:3]


def test_runs_without_rows_stand_beside_each_other(small_run, tmp_path, cache):
    run = tmp_path / "run"
    shutil.copytree(small_run, run)
    evaluate(run, cache=cache, device="cpu")

    content = report([run], tmp_path / "out")

    assert [line["system"] for line in content["side_by_side"]] == [
        "always commonest",
        "mersa-cross",
    ]
    assert content["tables"] == content["claims"] == content["corpora"] == []
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES - {
        "rows.csv",
        "claims.csv",
    }


def test_rows_among_other_runs_stand_beside_them_and_in_their_tables(
    small_run, trained, tmp_path, cache, mersa
):
    run = tmp_path / "own"
    shutil.copytree(small_run, run)
    evaluate(run, cache=cache, device="cpu")

    said = mersa("report", run, trained[1])

    content, _ = read_content([run, trained[1]])
    assert said.out.splitlines()[0].startswith("system ")
    assert [line.split("  ")[0] for line in said.out.splitlines()[1:4]] == [
        "always commonest",
        "mersa-cross: own",
        "mersa-cross: III.6",
    ]
    assert len(said.out.splitlines()) == 5
    assert [table["table"] for table in content["tables"]] == ["III"]


@pytest.mark.parametrize("what", ["unfinished", "other protocol"])
def test_nothing_is_written_where_runs_are_refused(tmp_path, what):
    runs = [make_run(tmp_path / "one", "III.3"), make_run(tmp_path / "two", "III.5")]
    if what == "unfinished":
        (tmp_path / "two" / "metrics.json").unlink()
    else:
        runs[1] = make_run(tmp_path / "three", "III.5", protocol="speaker")

    with pytest.raises(RunError):
        report(runs, tmp_path / "out")

    assert not (tmp_path / "out").exists()


def test_a_run_folder_is_no_place_for_a_report(tmp_path):
    run = make_run(tmp_path / "run", "III.3", seeds=(0,))

    with pytest.raises(RunError, match=r"run is a run folder, .*; choose another --out"):
        report([run], run)


def test_a_file_is_no_place_for_a_report(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(RunError, match="out is or lies below a file, but a report is a folder"):
        report([tmp_path], tmp_path / "file" / "out")


def test_no_runs_are_refused(tmp_path):
    with pytest.raises(RunError, match="no runs were given, but a report is of runs; name some"):
        report([], tmp_path / "out")


def test_the_command_prints_the_tables_of_rows(trained, mersa):
    said = mersa("report", *trained)

    assert said.code == 0
    assert said.out.startswith("The paper's claims\nclaim ")
    assert "The paper's Table III: printed and here\nrow " in said.out
    assert "Not run: III.2, III.3, III.4, III.5, III.7, III.8." in said.out


def test_the_command_writes_a_report(trained, mersa, tmp_path):
    said = mersa("report", trained[0], "--out", tmp_path / "out", "--title", "Mine", "--json")

    assert json.loads(said.out)["title"] == "Mine"
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    assert "<h1>Mine</h1>" in (tmp_path / "out" / "report.html").read_text()


def test_the_command_refuses_in_one_sentence(tmp_path, mersa):
    run = make_run(tmp_path / "run", "III.3", tested=False)

    said = mersa("report", run, "--out", tmp_path / "out")

    assert (said.code, said.out) == (2, "")
    assert said.err == (
        f"mersa report: {run} has no test scores yet; read its test part with: mersa evaluate "
        f"{run}\n"
    )


def test_scores_are_read_without_torch():
    code = (
        "import sys, mersa.report.content, mersa.report.sheets, mersa.report.formats;"
        "print(*sorted({'torch', 'transformers', 'matplotlib'} & set(sys.modules)))"
    )

    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()

    assert loaded == []


def test_content_is_read_without_writing(trained):
    content, tables = read_content(trained)

    assert content["title"] == "Report"
    assert list(tables["III"]) == ["III.1", "III.6"]


def test_long_tables_are_parted_for_a_page_of_latex(made):
    text = (made[0] / "report.tex").read_text()

    captions = [line for line in text.splitlines() if line.startswith(r"\caption{The paper's cl")]

    assert captions == [
        r"\caption{The paper's claims.}",
        *[r"\caption{The paper's claims (continued).}"] * 2,
    ]
    assert text.count("A difference is the mean over the pairs of rows") == 1


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("5 % of a_b & c#", r"5 \% of a\_b \& c\#"),
        ("{x} $1 ~ ^ \\", r"\{x\} \$1 \textasciitilde{} \textasciicircum{} \textbackslash{}"),
        ("0.5 ± 0.1, p < 0.001", r"0.5 $\pm$ 0.1, p $<$ 0.001"),
    ],
)
def test_text_is_escaped_for_latex(text, latex):
    assert latex_escape(text) == latex


def test_a_title_that_cannot_be_written_is_refused_before_anything_is(made, tmp_path):
    with pytest.raises(RunError, match="no text of Unicode; give another --title"):
        report([tmp_path], tmp_path / "out", title="\udcff")
    assert not (tmp_path / "out").exists()
