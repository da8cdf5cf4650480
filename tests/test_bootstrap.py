import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from mersa.bootstrap import group_weights, interval, interval_levels, p_value, seed_interval
from mersa.errors import RunError

MANY = 1_000_000  # groups; then the levels are those of a plain percentile interval


def test_a_draw_holds_as_many_groups_as_there_are():
    weights = group_weights(13, 500, 0)

    assert weights.shape == (500, 13)
    assert (weights.sum(1) == 13).all()
    assert weights.mean(0) == pytest.approx(np.ones(13), abs=0.2)
    assert weights.var(0) == pytest.approx(np.full(13, 12 / 13), abs=0.3)


def test_draws_are_repeated_by_their_seed():
    assert np.array_equal(group_weights(9, 20, 3), group_weights(9, 20, 3))
    assert not np.array_equal(group_weights(9, 20, 3), group_weights(9, 20, 4))


@pytest.mark.parametrize(
    ("bias", "wanted"), [(0.0, (25, 976)), (10.0, (5, 976)), (-10.0, (25, 996))]
)
def test_the_bound_on_the_side_of_the_bias_moves_out_by_twice_the_bias(bias, wanted):
    drawn = np.random.default_rng(0).permutation(np.arange(1.0, 1001.0))

    assert interval(drawn, MANY, bias=bias) == wanted


def test_bounds_are_the_drawn_values_at_the_widened_levels():
    drawn = np.random.default_rng(1).normal(size=9_999)

    low, high = interval(drawn, 8, bias=0.0)

    assert low == pytest.approx(np.quantile(drawn, interval_levels(8)[0]), abs=0.02)
    assert high == pytest.approx(np.quantile(drawn, interval_levels(8)[1]), abs=0.02)
    assert high > np.quantile(drawn, 0.99)


@pytest.mark.parametrize(
    ("num_groups", "low"), [(5, 0.0010), (10, 0.0086), (20, 0.0159), (100_000, 0.0250)]
)
def test_levels_are_widened_as_student_s_t_asks(num_groups, low):
    levels = interval_levels(num_groups)

    assert levels == pytest.approx((low, 1 - low), abs=5e-5)


def test_levels_give_the_interval_of_t_for_a_mean():
    """A bootstrapped mean deviates by s sqrt((n - 1) / n) / sqrt(n), too little."""
    for num in (8, 20):
        low, high = interval_levels(num, 0.9)
        spread = np.sqrt((num - 1) / num)
        assert stats.norm.ppf(high) * spread == pytest.approx(stats.t.ppf(0.95, num - 1))
        assert low == pytest.approx(1 - high)


@settings(max_examples=300, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(8, 300),
    st.floats(-4, 4),
    st.floats(-0.5, 0.5),
    st.sampled_from([1, 3, 8]),
)
def test_p_is_at_most_five_percent_exactly_where_the_interval_leaves_0_out(
    seed, num_groups, mean, bias, digits
):
    drawn = np.random.default_rng(seed).normal(mean, 1, size=999).round(digits)  # with ties

    low, high = interval(drawn, num_groups, bias=bias)

    p = p_value(drawn, num_groups, bias=bias)
    assert (p <= 0.05) == (low > 0 or high < 0)
    assert 0 < p <= 1


@pytest.mark.parametrize("shift", [0.0, 0.3, 0.6, 1.0])
@pytest.mark.parametrize("num_groups", [8, 12, 40])
def test_p_of_a_mean_is_that_of_the_t_test(num_groups, shift):
    values = np.random.default_rng(3).normal(size=num_groups)
    values += shift - values.mean()

    drawn = group_weights(num_groups, 40_000, 0) @ values / num_groups

    p = p_value(drawn, num_groups, bias=0.0)
    assert p == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=0.03)


def test_p_of_no_difference_is_1():
    assert p_value(np.zeros(500), 20, bias=0.0) == 1.0


def test_p_is_never_less_than_what_the_outermost_draw_tells():
    few, many = (p_value(np.ones(draws), MANY, bias=0.0) for draws in (99, 9_999))

    assert few == pytest.approx(2 / 100, rel=1e-3)
    assert many == pytest.approx(2 / 10_000, rel=1e-3)


@pytest.mark.parametrize("values", [(0.61, 0.58), (0.7, 0.71, 0.66, 0.72, 0.69)])
def test_the_interval_over_seeds_is_that_of_t(values):
    mean, low, high = seed_interval(values)

    wanted = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert mean == pytest.approx(np.mean(values))
    assert (low, high) == pytest.approx((wanted.low, wanted.high))


@pytest.mark.parametrize("values", [(), (0.6,)])
def test_one_seed_gives_no_interval(values):
    message = f"at least 2 of them, but found {len(values)}; train more with --seeds"
    with pytest.raises(RunError, match=message):
        seed_interval(values)
