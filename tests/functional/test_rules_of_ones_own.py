"""A rule of one's own sees which output each instance is part of, in lists, slots and panoptic maps alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from cutmix_dense import FilterRule, MixPlan
from cutmix_dense.functional import Reason, mix_instances, mix_padded, mix_panoptic


@dataclass(frozen=True)
class NothingIn(FilterRule):
    """Filters all that changed in one output."""

    number: int = 0

    def reasons(self, measured: Any, visibility: Any, output: Any, layer: Any) -> Any:
        reason = super().reasons(measured, visibility, output, layer)
        reason[output == self.number] = Reason.TOO_SMALL.value
        return reason


def test_outputs_are_known():
    plan = MixPlan.from_rectangles(
        torch.tensor([[0, 1], [1, 0]]), torch.tensor([[[0, 0, 20, 15]]] * 2), torch.tensor([[20, 30]] * 2)
    )
    boxes = torch.tensor([[10.0, 2, 20, 12]])  # half on either side of the cut
    ids = torch.zeros(20, 30, dtype=torch.int64)
    ids[2:12, 10:20] = 1
    segments = [{"id": 1, "category_id": 3, "isthing": True}]
    for number in range(2):
        kept = [0 if output == number else 2 for output in range(2)]
        rule = NothingIn(number=number)
        assert [len(target["boxes"]) for target in mix_instances([{"boxes": boxes}] * 2, plan, rule=rule)] == kept
        assert mix_padded({"boxes": boxes.expand(2, 1, 4)}, plan, rule=rule)["valid"].sum(dim=1).tolist() == kept
        mixed = mix_panoptic([ids, ids], [segments, segments], plan, rule=rule)
        assert [len(rows) for rows in mixed.segments] == kept
        assert np.array_equal([int((part > 0).any()) for part in mixed.maps], [int(count > 0) for count in kept])
