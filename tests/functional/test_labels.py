"""mix_labels: exact shares, never a drawn λ."""

from __future__ import annotations

import pytest
import torch

from cutmix_dense import MixPlan
from cutmix_dense.functional import mix_labels

SIZES = torch.tensor([[20, 30]] * 2)
PLAN = MixPlan.from_rectangles(torch.tensor([[0, 1], [1, 0]]), torch.tensor([[[0, 0, 10, 6]], [[0, 0, 20, 15]]]), SIZES)


def test_integers_become_probabilities_by_share():
    mixed = mix_labels(torch.tensor([2, 0]), PLAN, num_classes=3)
    assert mixed.tolist() == [[pytest.approx(0.1), 0, pytest.approx(0.9)], [0.5, 0, 0.5]]


def test_probabilities_mix_and_keep_their_dtype():
    labels = torch.tensor([[0.5, 0.5], [1.0, 0.0]], dtype=torch.float64)
    mixed = mix_labels(labels, PLAN)
    assert mixed.dtype == torch.float64
    assert mixed.tolist() == [[pytest.approx(0.55), pytest.approx(0.45)], [0.75, 0.25]]


def test_multi_hot_integers():
    assert mix_labels(torch.tensor([[1, 1], [0, 1]]), PLAN).tolist() == [[pytest.approx(0.9), 1], [0.5, 1]]


def test_fill_has_no_class():
    plan = MixPlan.from_rectangles(
        torch.tensor([[0, 1]]), torch.tensor([[[0, 0, 20, 30]]]), torch.tensor([[20, 30], [10, 30]])
    )
    assert mix_labels(torch.tensor([0, 1]), plan, 2).tolist() == [[0, 1]]


@pytest.mark.parametrize(
    ("labels", "num_classes", "message"),
    [
        (torch.tensor([0, 1]), None, "num_classes must be given"),
        (torch.tensor([0, 3]), 3, r"labels must lie in 0 … 2"),
        (torch.tensor([0, -1]), 3, r"labels must lie in 0 … 2"),
        (torch.tensor([0.0, 1.0]), 3, "must be integer classes"),
        (torch.zeros(2, 4), 3, "num_classes = 3 columns"),
        (torch.zeros(2, 4, 5), 3, r"labels must have shape \(P,\)"),
        (torch.tensor([0]), 3, "labels must hold 2 rows"),
    ],
)
def test_what_is_refused(labels, num_classes, message):
    with pytest.raises(ValueError, match=message):
        mix_labels(labels, PLAN, num_classes)


def test_class_ids_in_two_dimensions_are_refused():
    with pytest.raises(ValueError, match="ids can't be averaged"):
        mix_labels(torch.tensor([[7, 7, 7], [2, 2, 2]]), PLAN)
