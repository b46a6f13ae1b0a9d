"""Means and paired differences against numbers worked out by hand and against scipy."""

from __future__ import annotations

import math

import pytest

from cutmix_dense.study.statistics import paired_difference, spread

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
