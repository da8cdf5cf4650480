"""Self-alignment from the manifest to the folder, and from there into a run."""

import json
import shutil
from pathlib import Path

import folders
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer

from mersa.alignment import fit as fitting
from mersa.alignment.align import align
from mersa.alignment.embedding import Embedder, embed
from mersa.alignment.settings import AlignConfig, make_align_config
from mersa.alignment.study import study
from mersa.config import apply_assignments
from mersa.encoders.text import TextEncoder
from mersa.errors import AlignmentError, ConfigError, EncoderError
from mersa.experiment import train
from mersa.manifest import read_manifest
from mersa.recognize.recognizer import Recognizer
from mersa.weights import bundle
from told import Told

WORDS = ["so happy now", "i don't go", "sad"]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return folders.write_bert(tmp_path_factory.mktemp("bert"), max_position_embeddings=64)


@pytest.fixture(scope="module")
def settings(bert):
    """Give the settings of an alignment that takes a moment."""

    def make(*assignments):
        quick = ["data.labels=iemocap-4", f"text.name={bert}", "align.epochs=2"]
        quick += ["align.learning_rate=0.001", "align.batch_size=16", "align.neighbours=3"]
        return make_align_config(apply_assignments({}, [*quick, *assignments], kind=AlignConfig))

    return make


@pytest.fixture(scope="module")
def made(small_corpus, settings, tmp_path_factory):
    """An aligned folder, and what was told of it; to be read and not written."""
    out, told = tmp_path_factory.mktemp("aligned") / "bert", Told()
    align(small_corpus, settings(), out, device="cpu", progress=told)
    return out, told.sentences


@pytest.fixture
def aligned(made, tmp_path):
    """A copy that a test may spoil."""
    return Path(shutil.copytree(made[0], tmp_path / "aligned"))


def facts_of(folder):
    return json.loads((folder / "alignment.json").read_text(encoding="utf-8"))


def retell(folder, **changes):
    told = json.dumps({**facts_of(folder), **changes})
    (folder / "alignment.json").write_text(told, encoding="utf-8")


def words_alone(quick, folder, *more):
    return quick(f"text.name={folder}", "network.system=text", "train.epochs=1", *more)


def test_the_folder_is_whole_and_says_how_it_was_made(made, small_corpus, bert):
    folder, told = made
    facts = facts_of(folder)
    by_part = [u for u in read_manifest(small_corpus) if u.part == "train"]

    assert {path.name for path in folder.iterdir()} == {
        *("align.toml", "alignment.json", "config.json", "model.safetensors", "README.md"),
        *("modules.json", "1_Pooling", "sentence_bert_config.json"),
        *("vocab.txt", "tokenizer_config.json"),
    }
    assert facts["leak"] is False
    assert facts["base"]["name"] == str(bert)
    assert facts["labels"] == ["anger", "happy", "sad", "neutral"]
    assert 0 < facts["examples"]["texts"] <= len(by_part)
    assert len(facts["history"]) == 2
    assert any("stand under several labels" in sentence for sentence in told)
    assert any(
        "before the first step, validation balanced accuracy by nearest" in sentence
        for sentence in told
    )


def test_the_weights_move_and_the_pooler_does_not(made, bert):
    before = folders.BertModel.from_pretrained(bert).state_dict()
    after = AutoModel.from_pretrained(made[0]).state_dict()

    moved = {name for name, one in after.items() if not torch.equal(one, before[name])}
    assert "encoder.layer.2.output.dense.weight" in moved
    assert not any(name.startswith("pooler") for name in moved)


@pytest.mark.parametrize("pooling", ["first", "mean"])
def test_sentence_transformers_and_transformers_give_our_vectors(
    pooling, small_corpus, settings, tmp_path
):
    from sentence_transformers import SentenceTransformer

    out = tmp_path / "aligned"
    align(small_corpus, settings(f"align.pooling={pooling}", "align.epochs=1"), out, device="cpu")
    encoder = TextEncoder(str(out))

    vectors = embed(Embedder(encoder.load()[0], pooling), encoder, WORDS)
    theirs = SentenceTransformer(str(out), device="cpu").encode(WORDS)
    tokens = AutoTokenizer.from_pretrained(out)(WORDS, padding=True, return_tensors="pt")
    with torch.inference_mode():
        plain = AutoModel.from_pretrained(out)(**tokens).last_hidden_state

    np.testing.assert_allclose(theirs, vectors, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        encoder.encode(WORDS).frames,
        plain * tokens["attention_mask"][..., None],
        rtol=1e-4,
        atol=1e-5,
    )


def test_weights_that_the_checkpoint_lacks_are_not_written(small_corpus, settings, tmp_path):
    base = folders.write_roberta(tmp_path / "roberta")
    align(
        small_corpus, settings(f"text.name={base}", "align.epochs=1"), tmp_path / "a", device="cpu"
    )

    _, lacking = TextEncoder(str(tmp_path / "a")).load()

    assert {name.partition(".")[0] for name in lacking} == {"pooler"}


def test_the_test_part_changes_nothing(small_corpus, own_corpus, settings, made, tmp_path):
    text = own_corpus.read_text(encoding="utf-8")
    tested = [u for u in read_manifest(own_corpus) if u.part == "test"]
    for one in tested:
        text = text.replace(one.text, "so happy now")
    own_corpus.write_text(text, encoding="utf-8")
    assert [u.text for u in read_manifest(own_corpus)] != [
        u.text for u in read_manifest(small_corpus)
    ]

    align(own_corpus, settings(), tmp_path / "a", device="cpu")

    weights = "model.safetensors"
    assert (tmp_path / "a" / weights).read_bytes() == (made[0] / weights).read_bytes()


@pytest.mark.parametrize("epoch", [0, 1])
def test_a_killed_alignment_goes_on_to_the_same_end(
    epoch, small_corpus, settings, made, tmp_path, monkeypatch
):
    out = tmp_path / "a"
    monkeypatch.setattr(fitting, "STORE_EVERY_S", -1.0)
    store, stored = fitting.store_state, []

    def kill(path, parts, result):
        store(path, parts, result)
        stored.append(len(result.history))
        if len(result.history) == epoch and result.step == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(fitting, "store_state", kill)
    with pytest.raises(KeyboardInterrupt):
        align(small_corpus, settings(), out, device="cpu")
    assert (out / "resume.pt").exists()
    assert not (out / "alignment.json").exists()
    monkeypatch.setattr(fitting, "store_state", lambda *more: stored.append("again"))

    align(small_corpus, settings(), out, device="cpu")

    first, second = facts_of(out), facts_of(made[0])
    assert first["history"] == second["history"]
    assert first["files_sha256"] == second["files_sha256"]
    assert not (out / "resume.pt").exists()


def test_a_finished_one_is_not_made_again(small_corpus, settings, aligned):
    before, told = (aligned / "alignment.json").stat().st_mtime_ns, Told()

    align(small_corpus, settings(), aligned, device="cpu", progress=told)

    assert (aligned / "alignment.json").stat().st_mtime_ns == before
    assert "finished before; --again aligns it anew" in told.sentences[-1]


def test_other_settings_in_the_same_folder_are_refused_and_again_lets_them_through(
    small_corpus, settings, aligned
):
    other = settings("align.epochs=1")
    with pytest.raises(AlignmentError, match=r"align.epochs = 2, but 1 was asked for.*--again"):
        align(small_corpus, other, aligned, device="cpu")

    align(small_corpus, other, aligned, device="cpu", again=True)

    assert len(facts_of(aligned)["history"]) == 1


def test_a_folder_of_something_else_is_refused(small_corpus, settings, tmp_path):
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")

    with pytest.raises(AlignmentError, match=r"holds 'notes.txt', which is no aligned encoder"):
        align(small_corpus, settings(), tmp_path, device="cpu")

    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("assignments", "kind", "message"),
    [
        (["align.per_class=8"], AlignmentError, r"class '\w+' has \d texts? .* takes 8 of each"),
        (["text.name=tiny"], ConfigError, "text.name is 'tiny', which has no weights to align"),
        (["text.name=/nowhere/x"], EncoderError, "neither a folder nor an id"),
        (["align.parts=all"], AlignmentError, "align.parts is 'all', .* --allow-leak"),
    ],
)
def test_a_mistake_leaves_nothing(assignments, kind, message, small_corpus, settings, tmp_path):
    with pytest.raises(kind, match=message):
        align(small_corpus, settings(*assignments), tmp_path / "a", device="cpu")

    assert list(tmp_path.iterdir()) == []


def test_a_validation_part_without_words_is_refused(own_corpus, settings, tmp_path):
    text = own_corpus.read_text(encoding="utf-8")
    for one in read_manifest(own_corpus):
        if one.part == "validation":
            text = text.replace(one.text, "")
    own_corpus.write_text(text, encoding="utf-8")

    with pytest.raises(AlignmentError, match="no utterance of the validation part has what"):
        align(own_corpus, settings(), tmp_path / "a", device="cpu")

    assert not (tmp_path / "a").exists()


def test_an_encoder_without_a_tokenizer_is_refused(bert, small_corpus, settings, tmp_path):
    bare = Path(shutil.copytree(bert, tmp_path / "bare"))
    (bare / "vocab.txt").unlink()

    with pytest.raises(EncoderError, match="has no tokenizer"):
        align(small_corpus, settings(f"text.name={bare}"), tmp_path / "a", device="cpu")

    assert not (tmp_path / "a").exists()


def test_a_run_uses_it_and_says_so(small_corpus, quick, cache, made, tmp_path):
    out = tmp_path / "run"

    metrics = train(small_corpus, words_alone(quick, made[0]), out, cache=cache, device="cpu")

    assert metrics["leak"] == []
    assert metrics["alignment"]["leak"] is False
    assert metrics["alignment"]["text"]["parts"] == "train"
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "The text encoder was self-aligned from" in card
    assert "LEAK" not in card


def test_a_run_finds_an_encoder_that_was_named_by_a_relative_path_from_elsewhere(
    small_corpus, quick, cache, aligned, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    train(small_corpus, words_alone(quick, aligned.name), run, cache=cache, device="cpu")
    monkeypatch.chdir(small_corpus.parent)

    assert Recognizer.from_pretrained(run, device="cpu").predict(text="so happy").label


def test_plain_encoders_that_were_named_by_relative_paths_are_found_from_elsewhere(
    small_corpus, quick, settings, cache, bert, tmp_path, monkeypatch
):
    shutil.copytree(bert, tmp_path / "bert")
    monkeypatch.chdir(tmp_path)
    train(small_corpus, words_alone(quick, "./bert"), Path("run"), cache=cache, device="cpu")
    align(small_corpus, settings("text.name=bert", "align.epochs=1"), Path("a"), device="cpu")
    monkeypatch.chdir(small_corpus.parent)

    # The run answers, neither is refused as another one, and the base of the space is found.
    config = words_alone(quick, tmp_path / "bert")
    train(small_corpus, config, tmp_path / "run", cache=cache, device="cpu")
    again = settings(f"text.name={tmp_path / 'bert'}", "align.epochs=1")
    align(small_corpus, again, tmp_path / "a", device="cpu")
    found = study(small_corpus, tmp_path / "a", cache=cache, parts=["validation"], device="cpu")

    assert Recognizer.from_pretrained(tmp_path / "run", device="cpu").predict(text="happy").label
    assert found.told["before"] == str(tmp_path / "bert")


def test_a_bundle_answers_without_the_folder(small_corpus, quick, cache, aligned, tmp_path):
    out = tmp_path / "run"
    train(small_corpus, words_alone(quick, aligned), out, cache=cache, device="cpu")
    expected = Recognizer.from_pretrained(out, device="cpu").predict(text="so happy").scores

    bundle(out)
    shutil.rmtree(aligned)

    assert Recognizer.from_pretrained(out, device="cpu").predict(text="so happy").scores == expected
    assert (out / "encoders" / "text" / "alignment.json").is_file()


@pytest.mark.parametrize(
    ("assignments", "message"),
    [
        (["data.labels=iemocap-6"], r"was aligned on the labels anger, happy, sad, neutral, but"),
        (["data.labels=anger,happy,sad"], r"but the run tells anger, happy, sad apart"),
        (
            ["data.protocol=speaker", "data.folds=2"],
            r"was aligned on other parts \(protocol 'official'",
        ),
        (["data.min_duration_s=2.0"], r"was aligned on other utterances, words"),
    ],
)
def test_a_run_on_other_labels_data_or_parts_is_refused(
    assignments, message, small_corpus, quick, cache, made, tmp_path
):
    config = words_alone(quick, made[0], *assignments)

    with pytest.raises(AlignmentError, match=message):
        train(small_corpus, config, tmp_path / "run", cache=cache, device="cpu")

    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda one: (one / "alignment.json").unlink(), r"is unfinished .* mersa align"),
        (lambda one: (one / "alignment.json").write_text("{"), r"cannot be read .*align again"),
        (lambda one: (one / "alignment.json").write_text("{}"), r"is not what mersa align writes"),
        (lambda one: (one / "config.json").write_text("{}"), r"config.json is not the file that"),
        (lambda one: (one / "vocab.txt").write_text("a\n"), r"vocab.txt is not the file that"),
        (lambda one: retell(one, labels=5), r"is not what mersa align writes.*--again"),
        (lambda one: retell(one, data_sha256=5), r"is not what mersa align writes"),
        (lambda one: retell(one, files_sha256=None), r"is not what mersa align writes"),
        (lambda one: retell(one, files_sha256={}), r"is not what mersa align writes"),
        (lambda one: retell(one, leak="no"), r"is not what mersa align writes"),
        (lambda one: retell(one, parts="all"), r"is not what mersa align writes"),
        (lambda one: retell(one, base=3), r"is not what mersa align writes"),
        (lambda one: retell(one, settings={}), r"is not what mersa align writes"),
        (lambda one: retell(one, measures={}), r"is not what mersa align writes"),
    ],
)
def test_a_spoilt_folder_is_refused(spoil, message, small_corpus, quick, cache, aligned, tmp_path):
    spoil(aligned)

    with pytest.raises(AlignmentError, match=message):
        train(small_corpus, words_alone(quick, aligned), tmp_path / "r", cache=cache, device="cpu")


def test_weights_that_the_last_step_spoilt_are_not_taken_for_aligned(
    small_corpus, settings, tmp_path
):
    # The loss is taken before the step, so that of a single step is a number.
    spoilt = settings("align.weight_decay=1e38", "align.epochs=1", "align.batch_size=4096")

    with pytest.raises(
        ConfigError, match=r"vectors .* no finite numbers; lower .*align.weight_decay"
    ):
        align(small_corpus, spoilt, tmp_path / "a", device="cpu")
    assert not (tmp_path / "a" / "alignment.json").exists()


def test_weights_that_are_spoilt_before_any_step_are_not_the_rate_s_fault(
    small_corpus, settings, bert, tmp_path
):
    spoilt = shutil.copytree(bert, tmp_path / "bert")
    tensors = load_file(spoilt / "model.safetensors")
    norm = next(name for name in tensors if name.endswith("embeddings.LayerNorm.weight"))
    tensors[norm].fill_(float("nan"))
    save_file(tensors, spoilt / "model.safetensors", metadata={"format": "pt"})

    with pytest.raises(ConfigError, match=r"finite numbers before any step; check its weights"):
        align(small_corpus, settings(f"text.name={spoilt}"), tmp_path / "a", device="cpu")


def test_a_folder_of_a_time_when_the_first_frame_was_called_cls_is_read(
    small_corpus, settings, cache, aligned
):
    for name in ("alignment.json", "align.toml"):
        text = (aligned / name).read_text(encoding="utf-8")
        (aligned / name).write_text(text.replace('"first"', '"cls"'), encoding="utf-8")
    assert (
        facts_of(aligned)["pooling"] == facts_of(aligned)["settings"]["align"]["pooling"] == "cls"
    )

    told = align(small_corpus, settings("align.pooling=first"), aligned, device="cpu")
    spaces = study(small_corpus, aligned, cache=cache, parts=["validation"], draws=50, device="cpu")

    assert told["folds"][0]["pooling"] == spaces.told["pooling"] == "first"


def test_again_keeps_files_that_are_not_its_own(small_corpus, settings, aligned):
    (aligned / "run").mkdir()
    (aligned / "run" / "notes.txt").write_text("mine")

    align(small_corpus, settings("align.seed=1"), aligned, device="cpu", again=True)

    assert (aligned / "run" / "notes.txt").read_text() == "mine"
    assert facts_of(aligned)["seed"] == 1


def test_folds_that_replace_a_single_one_leave_nothing_of_it(
    small_corpus, quick, cache, settings, aligned, tmp_path
):
    folds = settings("data.protocol=column:session")
    align(small_corpus, folds, aligned, device="cpu", again=True)

    assert all(path.name.startswith("fold-") for path in aligned.iterdir())
    by_session = words_alone(quick, aligned, "data.protocol=column:session")
    train(small_corpus, by_session, tmp_path / "run", cache=cache, device="cpu")


def test_an_encoder_is_not_aligned_in_its_own_place(small_corpus, settings, aligned):
    before = sorted(path.name for path in aligned.iterdir())

    with pytest.raises(AlignmentError, match=r"lies in .*, which is to hold .* another --out"):
        align(small_corpus, settings(f"text.name={aligned}"), aligned, device="cpu", again=True)
    assert sorted(path.name for path in aligned.iterdir()) == before


def test_an_encoder_that_a_run_tuned_is_bound_to_its_parts_and_carries_its_leak(
    small_corpus, quick, cache, settings, tmp_path
):
    leaky = settings("align.parts=all", "align.epochs=1")
    align(small_corpus, leaky, tmp_path / "leaky", device="cpu", allow_leak=True)
    first = words_alone(quick, tmp_path / "leaky", "text.weights=tuned")
    train(small_corpus, first, tmp_path / "first", cache=cache, device="cpu")
    tuned = tmp_path / "first" / "encoders" / "text"

    then = train(
        small_corpus, words_alone(quick, tuned), tmp_path / "then", cache=cache, device="cpu"
    )
    assert then["leak"] == [
        "the text encoder was aligned on all parts, so it has seen the labels of validation and "
        "test"
    ]
    other = words_alone(quick, tuned, "data.protocol=column:session")
    with pytest.raises(AlignmentError, match=r"other parts"):
        train(small_corpus, other, tmp_path / "other", cache=cache, device="cpu")


def test_folds_have_folders_of_their_own(small_corpus, quick, cache, settings, tmp_path):
    out = tmp_path / "folds"
    folds = ("data.labels=happy,sad", "data.protocol=speaker", "data.folds=2")
    told = align(
        small_corpus,
        settings(*folds, "align.epochs=1"),
        out,
        device="cpu",
    )
    config = words_alone(quick, out, *folds)

    metrics = train(small_corpus, config, tmp_path / "run", cache=cache, device="cpu")

    assert [facts["fold"] for facts in told["folds"]] == ["fold-1", "fold-2"]
    assert len({facts["parts_sha256"] for facts in told["folds"]}) == 2
    assert metrics["folds"] == 2
    inner = json.loads((tmp_path / "run/fold-2/encoders/text.json").read_text(encoding="utf-8"))
    assert inner["name"] == str(out / "fold-2")
    with pytest.raises(AlignmentError, match="fold-1, fold-2, but the run has one fold alone"):
        train(small_corpus, words_alone(quick, out), tmp_path / "b", cache=cache, device="cpu")
    alone = words_alone(quick, out / "fold-1", *folds)
    with pytest.raises(AlignmentError, match="was aligned on other parts"):
        train(small_corpus, alone, tmp_path / "c", cache=cache, device="cpu")


def test_a_planted_leak_is_refused_and_else_stamped_into_all_that_is_made_from_it(
    small_corpus, bert, quick, quick_words, mersa, tmp_path
):
    out, run = tmp_path / "leaky", tmp_path / "run"
    words = ["align", small_corpus, "--text", bert, "--labels", "iemocap-4", "--out", out]
    words += ["--device", "cpu", "--parts", "all", "--set", "align.epochs=1"]
    words += ["--set", "align.neighbours=3"]

    refused = mersa(*words)
    assert refused.code == 2
    assert "every score read with it would be inflated" in refused.err
    assert not out.exists()

    said = mersa(*words, "--allow-leak")
    assert said.code == 0
    assert " LEAK" in said.out
    assert facts_of(out)["leak"] is True
    assert "**LEAK: " in (out / "README.md").read_text(encoding="utf-8")

    options = [*quick_words, "--set", f"text.name={out}", "--set", "network.system=text"]
    assert (
        "LEAK: the text encoder was aligned"
        in mersa("train", small_corpus, "--out", run, *options).err
    )
    assert mersa("evaluate", run, "--device", "cpu").code == 0
    stored = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    assert stored["alignment"]["leak"] is True
    assert "aligned on all parts" in stored["leak"][0]
    assert "**LEAK: " in (run / "README.md").read_text(encoding="utf-8")
    report = mersa("report", run)
    copy = shutil.copytree(run, tmp_path / "copy")
    assert "text LEAK" in report.out
    assert "LEAK: the text encoder was aligned on all parts" in report.out
    assert "run (LEAK)" in mersa("compare", run, copy, "--draws", "100").out

    again = tmp_path / "again"
    words = ["align", small_corpus, "--text", out, "--labels", "iemocap-4", "--out", again]
    assert mersa(*words, "--device", "cpu", "--set", "align.epochs=1").code == 0
    assert facts_of(again)["leak"] is True


def test_the_command_shows_its_settings_and_names_what_it_lacks(mersa, small_corpus):
    shown = mersa("align", "--preset", "sapbert", "--show-settings")
    assert "beta = 60.0" in shown.out
    assert "# lambda of Eq. (1)" in shown.out

    lacking = mersa("align", small_corpus)
    assert lacking.code == 2
    assert "name it with --out DIR" in lacking.err


def test_a_row_gives_labels_and_encoder(mersa):
    shown = mersa("align", "--row", "v.6", "--show-settings").out

    assert 'labels = "meld-4"' in shown
    assert 'name = "google-bert/bert-base-uncased"' in shown
