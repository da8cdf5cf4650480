"""The house has one staircase: a module may import only what stands above it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "mersa"

FLOORS = [
    # What goes wrong, files that are whole, aligned rows, the words, and what was spoken.
    ["errors", "files", "memory", "tables", "emotions", "manifest", "progress"],
    # Several processes that share the work, and the state from which killed work goes on.
    ["parallel", "launch", "checkpoint"],
    # Recordings, and the folders that they come from.
    ["decoding", "audio", "corpora.toy", "corpora.table", "corpora.place"],
    ["corpora.release", "corpora.beside", "corpora.filenames", "corpora.iemocap"],
    ["corpora.ravdess", "corpora.emodb", "corpora.nemo", "corpora.cremad"],
    ["corpora.download", "corpora.meld_release", "corpora.meld_tables", "corpora.meld_clips"],
    ["corpora.meld", "corpora.catalogue"],
    # How a corpus is cut into parts.
    ["folds", "cuts", "protocols", "selection"],
    # What leaks between the parts.
    ["audit.overlaps", "audit.twins", "audit.balance", "audit.hearing", "audit.soundcheck"],
    ["audit.audit"],
    # Encoders: what each one is, the ones that need no download, and those of Hugging Face.
    ["encoders.base", "encoders.level", "encoders.mel", "encoders.vggish", "encoders.tiny"],
    ["encoders.layout", "encoders.huggingface", "encoders.hub", "encoders.layers"],
    ["encoders.tunable", "encoders.finetune"],
    ["encoders.lengths", "encoders.text", "encoders.masked", "encoders.speech", "encoders.onnx"],
    ["encoders.budget", "encoders.cache", "encoders.projected", "encoders.classifier"],
    # The paper's networks, the settings that choose among them, and what the paper prints.
    ["packed", "networks", "paper_tables", "config", "own", "cutting", "paper", "build"],
    # Frames of a corpus, scores, and the card that tells them.
    ["frames", "batches", "modality_dropout", "tuning", "bootstrap", "evaluation", "selective"],
    ["calibration", "subgroups", "card", "figures"],
    # Self-alignment of an encoder, before fusion, and how good its space is.
    ["alignment.settings", "alignment.artefact", "alignment.card", "alignment.loss"],
    ["alignment.sampling", "alignment.embedding", "alignment.geometry", "alignment.space"],
    ["alignment.pooled", "alignment.subject", "alignment.project", "alignment.tune"],
    ["alignment.fit", "alignment.folder"],
    ["alignment.align"],
    # Where somebody speaks, in training clips as in long recordings.
    ["recognize.settings", "recognize.activity", "margins"],
    # A training and what it leaves behind.
    ["training", "runs", "answers", "weights", "encoding", "pooling", "experiment"],
    ["contrasts", "comparison", "robustness", "held_out", "attention"],
    ["alignment.picture", "alignment.study"],
    # What runs say: beside each other, as the paper's tables, and of its claims.
    ["report.side_by_side", "report.rows", "report.asked", "report.claims"],
    ["report.content", "report.sheets"],
    ["report.formats", "report.style", "report.examples", "report.pictures", "report.page"],
    ["report.report"],
    # The paper by one command.
    ["reproduce.request", "reproduce.plan", "reproduce.ledger", "reproduce.stand_ins"],
    ["reproduce.loss_figure"],
    ["reproduce.survey", "reproduce.work", "reproduce.reproduce"],
    # Use.
    ["recognize.prediction", "recognize.stream"],
    ["recognize.segments", "recognize.words", "recognize.transcribe", "recognize.scoring"],
    ["recognize.labelling", "recognize.fusion", "recognize.checkpoint_card"],
    ["recognize.checkpoints", "recognize.baseline"],
    ["recognize.hub_card", "recognize.publishing"],
    ["recognize.abstaining", "recognize.judging", "recognize.smoothing"],
    ["recognize.recognizer"],
    ["recognize.formats", "recognize.turns", "recognize.inputs", "recognize.many"],
    ["recognize.outputs"],
    # Over HTTP.
    [
        "serve.limits",
        "serve.queue",
        "serve.pool",
        "serve.measuring",
        "serve.together",
        "serve.judging",
    ],
    ["serve.service", "serve.metrics", "serve.answers", "serve.openapi", "serve.forms"],
    ["serve.gate", "serve.app", "serve.server"],
    # The web page.
    ["demo.texts", "demo.look", "demo.limits", "demo.card", "demo.envelope", "demo.timeline"],
    ["demo.answer", "demo.judge", "demo.local", "demo.page", "demo.open", "serve.page"],
    ["cli.options", "cli.scores", "cli.data", "cli.align", "cli.space"],
    ["cli.runs", "cli.evaluate", "cli.reproduce"],
    ["cli.predict", "cli.demo", "cli.serve", "cli.use", "cli.app"],
]
ORDER = [name for floor in FLOORS for name in floor]

MODULES = sorted(
    ".".join(path.relative_to(SRC).with_suffix("").parts)
    for path in SRC.rglob("*.py")
    if path.stem not in {"__init__", "__main__"}
)

LIGHT = ["mersa", *(f"mersa.{name}" for name in ("cli", "errors", "manifest", "files", "tables"))]
LIGHT += ["mersa.corpora.catalogue", "mersa.paper_tables", "mersa.serve.page"]
LIGHT += [
    f"mersa.corpora.{name}" for name in ("toy", "table", "place", "iemocap", "ravdess", "meld")
]


def imported_by(name):
    """Names of the mersa modules that this one imports, wherever in the file."""
    path = (SRC / name.replace(".", "/")).with_suffix(".py")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: write the import in full"
            package, _, inner = (node.module or "").partition(".")
            if package != "mersa":
                continue
            for alias in node.names:
                full = f"{inner}.{alias.name}".lstrip(".")
                if full in MODULES:
                    yield full
                elif inner:
                    yield inner
                else:
                    assert alias.name.startswith("__"), f"{name} imports mersa.{alias.name}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                assert alias.name.partition(".")[0] != "mersa", f"{name}: use from ... import"


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_one_way(name):
    above = ORDER[: ORDER.index(name)]

    upward = [other for other in imported_by(name) if other not in above]

    assert not upward, f"{name} may not import {upward}: not above it in FLOORS"


def test_every_module_stands_on_one_floor():
    assert sorted(ORDER) == MODULES


@pytest.mark.parametrize("name", LIGHT)
def test_help_and_corpora_start_without_torch(name):
    code = f"import sys, {name}; print(*sorted({{'torch', 'transformers'}} & set(sys.modules)))"

    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()

    assert loaded == []
