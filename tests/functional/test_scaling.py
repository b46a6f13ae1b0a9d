"""Numbers of instances under a scaled layer change as ``instance_keys`` states, in lists and in slots."""

from __future__ import annotations

import pytest
import torch

from cutmix_dense import MixPlan
from cutmix_dense.functional import mix_instances, mix_padded

KEYS = {"radius": "length", "surface": "area", "depth": "inverse", "name": "unchanged"}


def halved() -> MixPlan:
    """A base of 20 × 30 without instances, and over all of it a partner at a half and a quarter of its size."""
    return MixPlan.from_rectangles(
        torch.tensor([[0, 1]]),
        torch.tensor([[[0, 0, 20, 30]]]),
        torch.tensor([[20, 30]] * 2),
        scale=torch.tensor([[[1.0, 1], [0.25, -0.5]]]),
        shift=torch.tensor([[[0.0, 0], [0, 15]]]),
    )


@pytest.mark.parametrize(
    ("dtype", "radius", "surface", "depth"),
    [
        (torch.float32, 8 / 8**0.5, 1.0, 8 * 8**0.5),
        (torch.float64, 8 / 8**0.5, 1.0, 8 * 8**0.5),
        (torch.int64, 3, 1, 23),
    ],
)  # √(¼ · ½) = 1 / √8
def test_numbers_change_as_stated(dtype, radius, surface, depth):
    rows = {key: torch.full((1,), 8, dtype=dtype) for key in KEYS}
    target = {"boxes": torch.tensor([[4.0, 4, 12, 12]]), **rows}
    (mixed,) = mix_instances([{}, target], halved(), instance_keys=KEYS)
    slots = {key: torch.stack([value, value]) for key, value in target.items()}
    slots["valid"] = torch.tensor([[False], [True]])
    padded = mix_padded(slots, halved(), instance_keys=KEYS)
    for key, expected in zip(KEYS, (radius, surface, depth, 8)):
        assert mixed[key].dtype == dtype
        assert mixed[key].tolist() == pytest.approx([expected], rel=1e-6)
        assert torch.equal(padded[key][padded["valid"]], mixed[key]), key


def test_rows_of_several_numbers_and_untouched_ones():
    target = {"boxes": torch.tensor([[4.0, 4, 12, 12]]), "spread": torch.tensor([[8.0, 16.0]])}
    (mixed,) = mix_instances([{}, target], halved(), instance_keys={"spread": "length"})
    assert mixed["spread"][0].tolist() == pytest.approx([8 / 8**0.5, 16 / 8**0.5])
    plain = MixPlan.from_rectangles(torch.tensor([[0, 1]]), torch.zeros(1, 1, 4).long(), torch.tensor([[20, 30]] * 2))
    (mixed,) = mix_instances([target, {}], plain, instance_keys={"spread": "length"})
    assert torch.equal(mixed["spread"], target["spread"])
