"""ClassMix and DACS: halves, pseudo-labels, what is refused."""

from __future__ import annotations

import pytest
import torch

import cutmix_dense as cd


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_dacs_pastes_source_classes_on_targets():
    """The first half comes back as it was; each target gets ceil(n / 2) classes of its own source."""
    source = torch.tensor([[0, 1, 2, 255, 255, 2]] * 4)
    other = torch.tensor([[5, 5, 6, 6, 7, 255]] * 4)
    maps = torch.stack([source, other, torch.full((4, 6), 9), torch.full((4, 6), 8)])
    images = torch.arange(4.0).reshape(4, 1, 1, 1).expand(4, 1, 4, 6).contiguous()
    for seed in range(10):
        out, mixed = cd.ClassMix.dacs()(images, maps, generator=seeded(seed))
        assert torch.equal(out[:2], images[:2])
        assert torch.equal(mixed[:2], maps[:2])
        for b, own, given in ((2, 9, {0, 1, 2}), (3, 8, {5, 6, 7})):
            pasted = set(mixed[b].unique().tolist()) - {own}
            assert len(pasted) == 2
            assert pasted < given
            assert torch.equal(out[b, 0] == b - 2, mixed[b] != own)


def test_dacs_refuses_an_odd_batch():
    with pytest.raises(ValueError, match=r"halves|even|odd"):
        cd.ClassMix.dacs()(torch.zeros(3, 1, 4, 6), torch.zeros(3, 4, 6, dtype=torch.long))


def test_another_ignored_id():
    maps = torch.full((2, 6, 8), 250)
    maps[:, :3] = torch.tensor([1, 255]).repeat(4)
    for seed in range(5):
        plan = cd.ClassMix(ignore_index=250).make_plan(torch.zeros(2, 1, 6, 8), maps, generator=seeded(seed))
        owner = plan.owner_map()
        assert (owner[:, 3:] == 0).all(), "the ignored id was pasted"
        assert (owner.sum((1, 2)) == 12).all()


def test_ids_that_are_too_large():
    maps = torch.full((2, 6, 8), 300)
    with pytest.raises(ValueError, match=r"max_classes|300"):
        cd.ClassMix()(torch.zeros(2, 1, 6, 8), maps)
    cd.ClassMix(max_classes=301)(torch.zeros(2, 1, 6, 8), maps)


def test_a_map_is_needed():
    with pytest.raises(ValueError, match=r"map"):
        cd.ClassMix()(torch.zeros(2, 1, 6, 8), torch.tensor([1, 2]))


@pytest.mark.parametrize(("arguments", "name"), [({"rounding": "up"}, "rounding"), ({"max_classes": 0}, "max_classes")])
def test_bad_arguments(arguments: dict, name: str):
    with pytest.raises(ValueError, match=name):
        cd.ClassMix(**arguments)


def test_labels_and_confidence_of_a_teacher_follow_the_mask():
    """The plan is made from the pseudo-labels once; teacher outputs are mixed by it."""
    generator = seeded(3)
    prob = torch.rand(4, 5, 10, 14, generator=generator)
    pseudo = prob.argmax(1)
    plan = cd.ClassMix().make_plan(torch.zeros(4, 3, 10, 14), pseudo, generator=generator)
    mixed = cd.functional.mix_pixels(prob, plan)
    assert torch.equal(mixed.argmax(1), cd.functional.mix_semantic(pseudo, plan))
