"""Keypoints called by themselves: the pairs that swap in a mirrored layer."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from cutmix_dense.functional import mix_keypoints
from cutmix_dense.plan import MixPlan


@pytest.mark.parametrize("pairs", [[(0, 1)], [[0, 1]], np.array([[0, 1]])], ids=["tuples", "lists", "array"])
def test_pairs_of_any_form_swap_in_a_mirrored_layer(pairs):
    points = torch.tensor([[[2.0, 3.0], [9.0, 4.0], [5.0, 5.0]]])
    base = torch.tensor([0])
    sizes = torch.tensor([[8, 12]])
    plan = MixPlan.from_rectangles(torch.tensor([[0, 0]]), torch.tensor([[[0, 0, 0, 0]]]), sizes)
    scale, shift = torch.tensor([[[1.0, -1.0]] * 2]), torch.tensor([[[0.0, 12.0]] * 2])
    plan = replace(plan, scale=scale, shift=shift, unscaled=None)
    moved, shows = mix_keypoints(points, plan, base, base, pairs)
    assert moved.tolist() == [[[3.0, 4.0], [10.0, 3.0], [7.0, 5.0]]]
    assert shows.all()


@pytest.mark.parametrize("pairs", [None, [], np.empty((0, 2), dtype=np.int64)], ids=["none", "empty", "empty array"])
def test_without_pairs_nothing_swaps(pairs):
    points, base = torch.tensor([[[2.0, 3.0], [9.0, 4.0]]]), torch.tensor([0])
    sizes = torch.tensor([[8, 12], [8, 12]])
    plan = MixPlan.from_rectangles(torch.tensor([[0, 1]]), torch.tensor([[[0, 0, 2, 2]]]), sizes)
    moved, _ = mix_keypoints(points, plan, base, base, pairs)
    assert torch.equal(moved, points)
