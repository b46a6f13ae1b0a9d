"""MixUp: the pair of maps, weights, what is refused."""

from __future__ import annotations

import pytest
import torch

import cutmix_dense as cd
from cutmix_dense.functional import SemanticPair


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_pair_serves_a_loss():
    maps = torch.tensor([[[0, 1, 255, 255]], [[2, 255, 3, 255]]])
    images = torch.zeros(2, 1, 1, 4)
    _, pair = cd.MixUp(lam=0.3, p=1.0)(images, maps, generator=seeded(0))
    assert isinstance(pair, SemanticPair)
    assert torch.equal(pair.a, maps)
    assert torch.equal(pair.b, maps.roll(1, 0))
    torch.testing.assert_close(pair.weight[0, 0], torch.tensor([0.3, 1.0, 0.0, 0.0]), check_dtype=False)
    torch.testing.assert_close(pair.weight[1, 0], torch.tensor([0.3, 0.0, 1.0, 0.0]), check_dtype=False)


def test_probabilities_need_a_number_of_classes():
    maps = torch.zeros(2, 5, 6, dtype=torch.long)
    with pytest.raises(ValueError, match="num_classes"):
        cd.MixUp(p=1.0, soft_semantic="probabilities")(torch.zeros(2, 1, 5, 6), maps)
    maps[0, 0, 0] = 7
    with pytest.raises(ValueError, match=r"7|num_classes"):
        cd.MixUp(p=1.0, soft_semantic="probabilities", num_classes=5)(torch.zeros(2, 1, 5, 6), maps)


def test_boxes_are_united_whole_and_weighted():
    boxes = torch.tensor([[1.0, 1, 4, 4], [2.5, 0.25, 6, 5]])
    targets = [{"boxes": boxes, "labels": torch.tensor([k, k])} for k in range(3)]
    _, out = cd.MixUp(lam=0.6, p=1.0)(torch.zeros(3, 1, 6, 8), targets, generator=seeded(0))
    for b, target in enumerate(out):
        assert torch.equal(target["boxes"], boxes.repeat(2, 1))
        assert target["origin"][:, 0].tolist() == [b, b, (b - 1) % 3, (b - 1) % 3]
        torch.testing.assert_close(target["weight"], torch.tensor([0.6, 0.6, 0.4, 0.4]))
        assert (target["visibility"] == 1).all()


def test_masks_of_both_overlap():
    masks = torch.zeros(1, 6, 8, dtype=torch.bool)
    masks[0, 1:5, 2:6] = True
    target = {"boxes": torch.tensor([[2.0, 1, 6, 5]]), "labels": torch.tensor([1]), "masks": masks}
    _, out = cd.MixUp(p=1.0)(torch.zeros(2, 1, 6, 8), [target, dict(target)], generator=seeded(0))
    assert torch.equal(out[0]["masks"], masks.repeat(2, 1, 1))


def test_an_unmixed_sample_has_weight_one():
    targets = [{"boxes": torch.tensor([[1.0, 1, 4, 4]]), "labels": torch.tensor([1])} for _ in range(2)]
    maps = torch.zeros(2, 6, 8, dtype=torch.long)
    _, out = cd.MixUp(p=0.0)(torch.zeros(2, 1, 6, 8), {"a": targets, "semantic": maps})
    assert all(t["weight"].tolist() == [1.0] for t in out["a"])
    assert (out["semantic"].weight == 1).all()


def test_a_uniform_weight():
    plan = cd.MixUp(weight=(0.3, 0.6), p=1.0).make_plan(torch.zeros(4000, 1, 2, 3), generator=seeded(0))
    weight = plan.weight[:, 0]
    assert weight.min() >= 0.3
    assert weight.max() <= 0.6
    assert weight.mean().item() == pytest.approx(0.45, abs=0.005)
    assert weight.std().item() == pytest.approx(0.3 / 12**0.5, rel=0.03)
    torch.testing.assert_close(plan.weight.sum(dim=1), torch.ones(4000), check_dtype=False)
    one = cd.MixUp(weight=(0.3, 0.6), p=1.0, same_weight=True).make_plan(torch.zeros(5, 1, 2, 3), generator=seeded(0))
    assert len(one.weight.unique(dim=0)) == 1


def test_bools_are_not_averaged():
    """Integer images are, see ``test_integer_images``."""
    with pytest.raises(TypeError, match="torch.bool"):
        cd.MixUp(p=1.0)(torch.zeros(2, 1, 6, 8, dtype=torch.bool))


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"weight": (0.6, 0.4)}, "weight"),
        ({"weight": (0.5, 1.5)}, "weight"),
        ({"weight": (0.4, 0.6), "lam": 0.5}, "weight and lam"),
        ({"alpha": 0.0}, "alpha"),
        ({"lam": 1.5}, "lam"),
        ({"lam": -0.1}, "lam"),
        ({"soft_semantic": "mean"}, "soft_sem"),
    ],
)
def test_bad_arguments(arguments: dict, name: str):
    with pytest.raises(ValueError, match=name):
        cd.MixUp(**arguments)
