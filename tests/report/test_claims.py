import numpy as np
import pytest
from made_runs import aligned_from, make_run

from mersa.comparison import compare, holm
from mersa.evaluation import PRINTED_SCORES
from mersa.paper import ROWS
from mersa.report.asked import CLAIMS
from mersa.report.claims import MARGIN, answer_claims, printed_difference
from mersa.report.rows import read_entries

ALIGNED = {"text": "aligned", "alignment": aligned_from()}


def one_answer(tables, name, table="III"):
    (answer,) = (
        one
        for one in answer_claims(tables, draws=2000)
        if (one.claim.name, one.table) == (name, table)
    )
    return answer


def alignment(tmp_path, before, after, **more):
    """Ask whether alignment helps, of the pair III.3 and III.5."""
    aligned = {**ALIGNED, **more.pop("aligned", {})}
    return read_entries(
        [
            make_run(tmp_path / "3", "III.3", before, **more),
            make_run(tmp_path / "5", "III.5", after, **(more | aligned)),
        ]
    )


def test_a_clear_gain_over_seeds_holds(tmp_path):
    answer = one_answer(alignment(tmp_path, 0.6, 0.7, training=0.01), "alignment")

    accuracy = answer.measures[0]
    assert answer.verdict == "holds"
    assert answer.why == ""
    assert accuracy.value == pytest.approx(0.1, abs=0.02)
    assert 0 < accuracy.low < accuracy.value < accuracy.high
    assert accuracy.p_holm <= 0.05


def test_a_clear_loss_does_not_hold(tmp_path):
    answer = one_answer(alignment(tmp_path, 0.7, 0.6, training=0.01), "alignment")

    assert answer.verdict == "does not hold"
    assert answer.measures[0].high < 0


def test_a_difference_that_is_known_to_be_small_does_not_hold(tmp_path):
    answer = one_answer(alignment(tmp_path, 0.65, 0.651, groups=150), "alignment")

    accuracy = answer.measures[0]
    assert answer.verdict == "does not hold"
    assert accuracy.p_holm > 0.05
    assert -MARGIN < accuracy.low < 0 < accuracy.high < MARGIN


def test_a_gain_within_what_training_again_changes_cannot_be_told(tmp_path):
    answer = one_answer(alignment(tmp_path, 0.60, 0.64, training=0.06), "alignment")

    accuracy = answer.measures[0]
    assert answer.verdict == "cannot be told"
    assert answer.why == ""
    assert accuracy.low < 0
    assert accuracy.high > MARGIN


def test_one_seed_tells_nothing_of_a_system(tmp_path):
    answer = one_answer(alignment(tmp_path, 0.5, 0.8, seeds=(0,)), "alignment")

    assert answer.verdict == "cannot be told"
    assert answer.why == "one seed each, so how much training again changes is not known"
    assert answer.measures[0].low > 0
    assert answer.measures[0].p_holm is None


def test_too_few_groups_are_told(tmp_path):
    answer = one_answer(alignment(tmp_path, 0.5, 0.8, groups=5), "alignment")

    assert (answer.verdict, answer.why) == (
        "cannot be told",
        "too few groups (5; at least 8 are needed)",
    )


def test_rows_over_one_text_encoder_test_no_alignment(tmp_path):
    answer = one_answer(alignment(tmp_path, 0.5, 0.8, aligned={"text": "plain"}), "alignment")

    assert answer.verdict == "cannot be told"
    assert answer.why == (
        "III.3 and III.5 read one and the same text encoder, so that nothing was aligned"
    )


def test_sound_alone_and_words_alone_are_two_networks(tmp_path):
    entries = read_entries(
        [
            make_run(tmp_path / "5", "III.5", 0.5, settings=["network.system=text"]),
            make_run(tmp_path / "6", "III.6", 0.8, settings=["network.system=audio"]),
        ]
    )

    answer = one_answer(entries, "cross-attention")

    assert "one and the same network" not in answer.why


def test_a_leaking_encoder_bears_no_claim(tmp_path):
    leak = {"alignment": aligned_from(leak=True)}

    answer = one_answer(alignment(tmp_path, 0.5, 0.8, aligned=leak), "alignment")

    assert answer.verdict == "cannot be told"
    assert answer.why == "the aligned encoder of row III.5 saw utterances beyond the train part"


def test_a_control_bears_no_claim(tmp_path):
    shuffled = {"settings": ["data.shuffle=text"]}

    answer = one_answer(alignment(tmp_path, 0.5, 0.8, aligned=shuffled), "alignment")

    assert answer.why == "row III.5 had words or sound shuffled, which is a control"


def test_what_else_differs_is_told(tmp_path):
    other = {"settings": ["train.epochs=7"], "audio": "other", "alignment": None}

    answer = one_answer(alignment(tmp_path, 0.5, 0.8, aligned=other), "alignment")

    assert answer.stand_ins == ("corpus nowhere in place of IEMOCAP",)
    assert answer.cautions == (
        "over 1 of 2 pairs; not run: III.4 and III.7",
        "no self-alignment is on record for row III.5",
        "III.3 and III.5 differ also in train.epochs and the audio encoder",
    )


def test_a_claim_without_its_rows_says_so(tmp_path):
    answer = one_answer(alignment(tmp_path, 0.5, 0.8), "wav2vec")

    assert (answer.verdict, answer.why) == ("cannot be told", "no pair of its rows was run")
    assert answer.measures == ()


def test_the_measure_is_the_mean_over_the_pairs_of_rows(tmp_path):
    shares = {1: 0.4, 2: 0.5, 3: 0.55, 4: 0.6, 5: 0.6, 6: 0.7, 7: 0.65, 8: 0.8}
    tables = read_entries(
        [
            make_run(
                tmp_path / str(line),
                f"III.{line}",
                share,
                audio="wav2vec" if line in (2, 4, 7, 8) else "vggish",
                **(ALIGNED if line > 4 else {}),
            )
            for line, share in shares.items()
        ]
    )

    answers = {one.claim.name: one for one in answer_claims(tables, draws=500)}

    entries = tables["III"]
    accuracy = {
        row: np.mean([np.mean(one.probabilities.argmax(1) == one.truth) for one in held.answers])
        for row, held in entries.items()
    }
    for claim in CLAIMS:
        steps = [accuracy[f"III.{two}"] - accuracy[f"III.{one}"] for one, two in claim.pairs]
        assert answers[claim.name].measures[0].value == pytest.approx(np.mean(steps))
        assert answers[claim.name].why == ""


def test_one_pair_is_what_compare_says(tmp_path):
    tables = alignment(tmp_path, 0.6, 0.65, training=0.02)

    measures = one_answer(tables, "alignment").measures

    entries = tables["III"]
    plain = compare(entries["III.3"].answers, entries["III.5"].answers, draws=2000)
    by_name = {one.name: one for one in plain.differences}
    for one in measures:
        assert (one.value, one.low, one.high, one.p) == (
            by_name[one.name].value,
            by_name[one.name].low,
            by_name[one.name].high,
            by_name[one.name].p,
        )


def test_p_values_are_corrected_over_claims_and_tables(tmp_path):
    folders = [
        make_run(tmp_path / row, row, share, **(ALIGNED if row[-1] > "4" else {}))
        for row, share in (
            ("III.3", 0.60),
            ("III.5", 0.63),
            ("III.6", 0.65),
            ("V.3", 0.5),
            ("V.5", 0.52),
        )
    ]

    answers = answer_claims(read_entries(folders), draws=2000)

    told = [one for one in answers if not one.why]
    assert len(told) == 5  # III: alignment, cross-attention, above 3M-SER; V: the first and last
    for place in range(len(PRINTED_SCORES)):
        raw = [one.measures[place].p for one in told]
        assert [one.measures[place].p_holm for one in told] == pytest.approx(holm(raw))


def test_the_papers_own_numbers_are_read_off_its_tables():
    claim = next(one for one in CLAIMS if one.name == "alignment")

    printed = printed_difference(claim, "III")

    assert printed.accuracy == pytest.approx((0.770 - 0.751, 0.783 - 0.777))
    assert printed.f1 == pytest.approx((0.764 - 0.745, 0.799 - 0.784))
    rows = [ROWS[f"III.{line}"].accuracy for line in (3, 4, 5, 7)]
    assert printed.standard_error == pytest.approx(
        np.sqrt(sum(share * (1 - share) / 4 / 554 for share in rows))
    )
    assert not printed.beyond


def test_the_step_above_server_lies_beyond_the_papers_standard_error():
    claim = next(one for one in CLAIMS if one.name == "above-server")

    assert printed_difference(claim, "III").beyond
