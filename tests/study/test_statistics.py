"""Means and paired differences against numbers worked out by hand and against scipy."""

from __future__ import annotations

import math

import pytest

from cutmix_dense.study.statistics import holm, paired_difference, seeds_needed, spread

stats = pytest.importorskip("scipy.stats")


def test_three_seeds_by_hand():
    found = paired_difference({0: 11.0, 1: 22.0, 2: 33.0}, {0: 10.0, 1: 20.0, 2: 30.0})
    # differences 1, 2, 3: mean 2, sample deviation 1, t(0.975, 2) = 4.303
    assert found.mean == 2
    assert found.half_width == pytest.approx(4.3026527 / math.sqrt(3), rel=1e-6)
    assert (found.low, found.high) == (2 - found.half_width, 2 + found.half_width)
    assert (found.wins, found.losses, found.verdict) == (3, 0, "not significant")


def test_agrees_with_scipy():
    one, other = [3.1, 4.7, 2.2, 5.9], [2.5, 4.9, 1.0, 4.4]
    found = paired_difference(dict(enumerate(one)), dict(enumerate(other)))
    reference = stats.ttest_rel(one, other)
    interval = reference.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.p_value == pytest.approx(reference.pvalue)
    assert (found.wins, found.losses) == (3, 1)


@pytest.mark.parametrize(("shift", "verdict"), [(5.0, "better"), (-5.0, "worse"), (0.0, "not significant")])
def test_wins_and_losses_are_judged_alike(shift, verdict):
    noise = {0: 0.1, 1: -0.2, 2: 0.15}
    found = paired_difference({seed: 50 + shift + value for seed, value in noise.items()}, dict.fromkeys(noise, 50.0))
    assert found.verdict == verdict


def test_pairs_are_made_by_seed_and_others_dont_count():
    found = paired_difference({2: 5.0, 0: 1.0, 7: 100.0}, {0: 2.0, 2: 3.0, 9: -100.0})
    assert found.values == {0: -1.0, 2: 2.0}
    assert paired_difference({0: 1.0}, {1: 1.0}) is None


def test_one_seed_has_no_interval():
    found = paired_difference({0: 1.0}, {0: 3.0})
    assert (found.mean, found.half_width, found.low, found.verdict) == (-2.0, None, None, "too few seeds")
    assert spread([4.0]).sd is None


def test_equal_differences():
    found = paired_difference({0: 2.0, 1: 3.0}, {0: 1.0, 1: 2.0})
    assert (found.low, found.high, found.p_value, found.verdict) == (1.0, 1.0, None, "better")


def test_spread_is_that_of_a_sample():
    found = spread([2.0, 4.0, 9.0])
    assert (found.mean, found.n) == (5.0, 3)
    assert found.sd == pytest.approx(math.sqrt((9 + 1 + 16) / 2))
    with pytest.raises(ValueError, match="values"):
        spread([])
    with pytest.raises(ValueError, match="level"):
        paired_difference({0: 1.0}, {0: 1.0}, level=1.0)


@pytest.mark.parametrize(("effect", "seeds"), [(0.5, 34), (0.8, 15), (1.0, 10), (1.5, 6)])
def test_seeds_of_a_paired_t_test(effect, seeds):
    """The numbers of G*Power 3.1 for a two-sided test of 5% with a power of 80%."""
    assert seeds_needed(1.0, effect) == seeds


def test_more_comparisons_need_more_seeds():
    assert seeds_needed(1.0, 1.0, comparisons=5) > seeds_needed(1.0, 1.0)
    assert seeds_needed(0.0, 1.0) == 2
    for wrong in ({"sd": -1.0, "smallest": 1.0}, {"sd": 1.0, "smallest": 0.0}, {"sd": 1, "smallest": 1, "power": 1}):
        with pytest.raises(ValueError, match="must"):
            seeds_needed(**wrong)


def test_the_power_is_that_of_simulated_tests():
    import numpy as np

    draws = np.random.default_rng(0).normal(1.5, 2.0, (4000, seeds_needed(2.0, 1.5, power=0.7)))
    found = [np.mean(stats.ttest_1samp(some, 0, axis=1).pvalue < 0.05) for some in (draws[:, 1:], draws)]
    assert found[0] < 0.71 < found[1] < 0.76


def test_holm_by_hand():
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({"a": 0.6, "b": 0.9}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


def test_the_bootstrap_interval_is_near_that_of_the_normal_and_repeats():
    import numpy as np

    values = dict(enumerate(np.random.default_rng(1).normal(3.0, 1.0, 12)))
    found = paired_difference(values, dict.fromkeys(values, 0.0))
    assert found.bootstrap == paired_difference(values, dict.fromkeys(values, 0.0)).bootstrap
    assert found.bootstrap == pytest.approx((found.low, found.high), abs=0.25)
    assert paired_difference({0: 1.0, 1: 2.0, 2: 4.0}, dict.fromkeys(range(3), 0.0)).bootstrap is None
    assert paired_difference(dict.fromkeys(range(6), 1.0), dict.fromkeys(range(6), 0.0)).bootstrap is None
