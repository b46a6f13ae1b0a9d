"""The verdict: the library gives what the reference gives, bit by bit."""

from __future__ import annotations

import numpy as np
import pytest

import cutmix_dense as cd
from cutmix_dense import native
from cutmix_dense.functional.measured import Measured
from cutmix_dense.functional.report import Reason
from cutmix_dense.functional.verdict import judge

pytestmark = pytest.mark.skipif(native.library is None, reason="the compiled library isn't there")

RULES = [
    cd.FilterRule(),
    cd.FilterRule(min_visibility=(0.3, 0.7), min_size=(2.0, 0.0)),
    cd.FilterRule(min_visibility=0.5, min_size=3, max_aspect=2.5, strict=True),
    cd.FilterRule(min_visibility=0, min_size=0, strict=True),
    cd.FilterRule(min_visibility=1, max_aspect=1),
]


def measured_rows(random, count, ndim):
    """Numbers of every kind: whole and partly hidden, on the thresholds, empty, and more visible than whole."""
    whole = random.choice([0.0, 1.0, 3.0, 10.0, 36.7], count)
    share = random.choice([0.0, 0.1, 0.3, 0.5, 0.7, 1 - 1e-10, 1.0, 1.0 + 1e-12, 1.5], count)
    share = np.where(random.random(count) < 0.3, random.random(count), share)
    low = random.random((count, ndim)) * 9
    sides = random.choice([0.0, 1.0, 2.0, 3.0, 7.5], (count, ndim))
    boxes = np.concatenate([low.round(), low.round() + sides], axis=1)
    flags = [random.random(count) < part for part in (0.2, 0.1, 0.1, 0.9)]
    return Measured(whole * share, whole, boxes, boxes, *flags)


def both(monkeypatch, *given, **known):
    """What the library gives, and what numpy gives without it."""
    found = judge(*given, **known)
    with monkeypatch.context() as patch:
        patch.setattr(native, "library", None)
        return found, judge(*given, **known)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("boxed", [True, False])
def test_the_library_judges_as_the_reference(rule, ndim, boxed, monkeypatch):
    random, reasons = np.random.default_rng(ndim), set()
    for round_ in range(60):
        count = int(random.integers(0, 50))
        measured = measured_rows(random, count, ndim)
        if not boxed:
            measured = measured._replace(boxes=None, mapped=None, broken=None, outside=None, finite=None)
        columns = {
            "before": np.where(random.random(count) < 0.1, np.nan, random.random(count)).astype(np.float32),
            **{name: random.random(count) < 0.2 for name in ("empty", "exempt")},
            "carried": random.random(count) < 0.8,
        }
        columns = {name: column for bit, (name, column) in enumerate(columns.items()) if round_ >> bit & 1}
        output, layer = random.integers(0, 3, (2, count))
        found, expected = both(monkeypatch, measured, rule, output, layer, **columns)
        for name, one, other in zip(found._fields, found, expected):
            assert one.dtype == other.dtype, name
            np.testing.assert_array_equal(one, other, err_msg=name)
        reasons |= {Reason(reason).name for reason in found.reason.tolist()}
    assert reasons >= {"KEPT", "NOT_CARRIED", "EMPTY_MASK", "COVERED", *(("OUTSIDE", "NOT_FINITE") if boxed else ())}


def test_columns_of_other_dtypes_and_with_gaps_are_judged(monkeypatch):
    random = np.random.default_rng(5)
    measured = measured_rows(random, 80, 2)
    gaps = Measured(*(None if column is None else column[::2] for column in measured))
    layer = random.integers(0, 2, 80).astype(np.int32)[::2]
    gaps = gaps._replace(visible=gaps.visible.astype(np.float32).astype(np.float64))
    found, expected = both(monkeypatch, gaps, RULES[1], 0 * layer, layer, carried=(random.random(80) < 0.8)[::2])
    for name, one, other in zip(found._fields, found, expected):
        np.testing.assert_array_equal(one, other, err_msg=name)


def test_rules_of_other_kinds_are_asked_themselves():
    """What a rule of one's own says of an instance counts, also where the library could judge."""

    class Never(cd.FilterRule):
        def reasons(self, measured, visibility, output, layer):
            return np.full_like(layer, Reason.LOW_VISIBILITY.value)

    measured = measured_rows(np.random.default_rng(2), 9, 2)._replace(
        untouched=np.zeros(9, bool), broken=None, outside=None, finite=None
    )
    verdict = judge(measured, Never(), *np.zeros((2, 9), np.int64))
    assert (verdict.reason == Reason.LOW_VISIBILITY).all()


@pytest.mark.parametrize("library", [True, False])
def test_an_incoming_visibility_is_multiplied(library, monkeypatch):
    if not library:
        monkeypatch.setattr(native, "library", None)
    shown, whole = np.array([2.0, 4.0]), np.array([4.0, 4.0])
    nothing = np.zeros(2, bool)
    measured = Measured(shown, whole, None, None, nothing)
    before = np.array([0.5, 0.25], dtype=np.float32)
    verdict = judge(measured, cd.FilterRule(), *np.zeros((2, 2), np.int64), before=before)
    assert verdict.visibility.tolist() == [0.25, 0.25]
