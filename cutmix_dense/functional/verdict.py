"""The one judge of instances: which of them stay under a rule, and why others don't."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cutmix_dense import native
from cutmix_dense.arrays.compiling import is_compiling
from cutmix_dense.arrays.host import Column, as_tensor
from cutmix_dense.functional.entries import Entries
from cutmix_dense.functional.filters import CORNERS, FilterRule
from cutmix_dense.functional.measured import Measured
from cutmix_dense.functional.report import MixReport, Outcome, Reason
from cutmix_dense.functional.rules import OnFiltered
from cutmix_dense.kernels.native_instances import judge_rows

_KEPT, _SHRUNK, DROPPED, ASIDE = (int(outcome) for outcome in Outcome)
"""Outcomes as plain numbers: a member takes two calls to give its value."""

_FAILS = int(Reason.LOW_VISIBILITY)
"""The first reason of those that show and fail a rule."""


class Verdict(NamedTuple):
    """One row per instance: arrays on the host, tensors on a device.

    Attributes:
        reason: the ``Reason`` to filter it.
        visibility: visible share of the whole times an incoming ``visibility``, float32; 0 if not carried.
        complete: whether all of it shows.
        share: visible share of the whole, float64 where the device has it.
    """

    reason: Int[Column, " n"]
    visibility: Float[Column, " n"]
    complete: Bool[Column, " n"]
    share: Float[Column, " n"]

    @property
    def shows(self) -> Bool[Column, " n"]:
        """Whether any part of it shows, filtered or not."""
        reason = self.reason
        fails = (reason >= Reason.LOW_VISIBILITY.value) & (reason <= Reason.ELONGATED.value)
        return (reason == Reason.KEPT.value) | fails


def judge(
    measured: Measured,
    rule: FilterRule,
    output: Int[Column, " n"],
    layer: Int[Column, " n"],
    *,
    before: Float[Column, " n"] | None = None,
    carried: Bool[Column, " n"] | None = None,
    empty: Bool[Column, " n"] | None = None,
    exempt: Bool[Column, " n"] | None = None,
) -> Verdict:
    """Find the first reason to filter each instance; untouched ones always stay.

    Args:
        measured: visible area and box of each.
        rule: the thresholds.
        output: the mixed image that each is part of.
        layer: layer of each; 0 is the base.
        before: incoming ``visibility`` of each.
        carried: whether each comes along with its layer; default all.
        empty: whether each has a mask without a pixel.
        exempt: whether each stays however little of it shows, as stuff does.
    """
    visible, whole, boxes, _, untouched, broken, outside, finite = measured
    xp, upright = np if isinstance(visible, np.ndarray) else torch, boxes is None or boxes.shape[1] < CORNERS
    if xp is np and type(rule) is FilterRule and upright and native.library is not None and not is_compiling():
        columns = (visible, whole, boxes, untouched, broken, outside, finite, layer, before, carried, empty, exempt)
        return Verdict(*judge_rows(columns, rule.limits, rule.max_aspect, rule.strict))
    share = visible / (whole + (whole <= 0))  # 0, not NaN, for an empty whole
    share = xp.where(untouched | (share > 1), 1.0, share)
    visibility = share.float() if isinstance(share, Tensor) else share.astype(np.float32)
    if before is not None:
        visibility = visibility * before
    reason = rule.reasons(measured, visibility, output, layer)
    reason[untouched] = Reason.KEPT.value
    if empty is not None:
        reason[empty] = Reason.EMPTY_MASK.value
    if outside is not None and broken is not None and finite is not None:
        reason[outside] = Reason.OUTSIDE.value
        reason[broken] = Reason.BROKEN_BOX.value
        reason[~finite] = Reason.NOT_FINITE.value
    if exempt is not None:
        reason[exempt & (reason >= Reason.LOW_VISIBILITY.value)] = Reason.KEPT.value
    if carried is not None:
        visibility = xp.where(carried, visibility, xp.zeros_like(visibility))
        reason[~carried & (reason != Reason.NOT_FINITE.value)] = Reason.NOT_CARRIED.value
    return Verdict(reason, visibility, untouched | (visible >= whole * (1 - 1e-9)), share)


def outcomes_of(verdict: Verdict, ignored: Bool[np.ndarray, " n"], on_filtered: OnFiltered) -> Int[np.ndarray, " n"]:
    """The ``Outcome`` of each row of a verdict on the host.

    Args:
        verdict: the reasons.
        ignored: whether each came in as an ignored instance.
        on_filtered: what happens to those that fail but show.
    """
    stays, fails = verdict.reason == _KEPT, verdict.reason >= _FAILS
    outcome = np.where(verdict.complete, _KEPT, _SHRUNK)
    outcome[~stays] = DROPPED
    if on_filtered != "drop":
        outcome[fails] = ASIDE
    outcome[ignored & (fails | stays)] = ASIDE
    return outcome


def report_of(entries: Entries, verdict: Verdict, outcome: Int[np.ndarray, " n"]) -> MixReport:
    """The report of some entries."""
    columns = (entries.output, entries.layer, entries.image, entries.position)
    numbers = (verdict.visibility.astype(np.float32), outcome.astype(np.int64), verdict.reason.astype(np.int64))
    return MixReport(*map(torch.from_numpy, (*columns, *numbers)))


def fetched_verdict(verdict: Verdict, *others: Column) -> tuple[Verdict, list[np.ndarray]]:
    """A verdict and further columns on the host; from a device, one transfer fetches all.

    Args:
        verdict: on any device.
        others: columns (n,) or (n, k) of the same rows; from a device they come back in floating point.
    """
    if isinstance(verdict.reason, np.ndarray):
        return verdict, [*others]
    exact = verdict.share.dtype
    flat = [column.to(exact)[:, None] for column in verdict]
    flat += [as_tensor(other).to(exact).reshape(len(verdict.reason), -1) for other in others]
    joined = torch.cat(flat, dim=1).to("cpu").numpy()
    ends = np.cumsum([column.shape[1] for column in flat])[:-1]
    reason, visibility, complete, share, *rest = np.split(joined, ends, axis=1)
    found = Verdict(reason[:, 0].astype(np.int64), visibility[:, 0], complete[:, 0] > 0, share[:, 0])
    return found, [part[:, 0] if np.ndim(other) == 1 else part for part, other in zip(rest, others)]
