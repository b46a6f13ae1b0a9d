"""One sample with given partners: the plan is the one that a batch of one output gets."""

from __future__ import annotations

import pytest
import torch

import cutmix_dense as cd
from cutmix_dense.build import known_transforms
from cutmix_dense.transforms.single import mix_single

SIZES = [(20, 30), (25, 18), (31, 22), (12, 40), (20, 30)]


def samples(count: int):
    images = [torch.randint(0, 256, (3, *size), dtype=torch.uint8) for size in SIZES[:count]]
    targets = []
    for height, width in SIZES[:count]:
        masks = torch.zeros(2, height, width, dtype=torch.bool)
        masks[0, 1:8, 2:9] = masks[1, 3:11, 5:16] = True
        boxes = torch.tensor([[2.0, 1.0, 9.0, 8.0], [5.0, 3.0, 16.0, 11.0]])
        semantic = torch.randint(0, 5, (height, width))
        targets.append({"boxes": boxes, "labels": torch.tensor([1, 2]), "masks": masks, "semantic": semantic})
    return images, targets


def seeded():
    return torch.Generator().manual_seed(7)


@pytest.mark.parametrize("name", sorted(set(known_transforms()) - {"RandomMix"}))
def test_the_base_takes_the_partners_behind_it_in_order(name):
    mix = getattr(cd, name)(p=1.0)
    images, targets = samples(mix.partners + 1) if mix.partners < 5 else samples(5)
    made = mix_single(mix, images, targets, seeded())
    plan = mix.make_plan(images, targets, generator=seeded(), outputs=1)
    assert torch.equal(made.plan.source, plan.source)
    assert made.plan.source[0].unique().tolist() == list(range(len(images)))
    assert made.mixed
    called = mix(images, targets, generator=seeded(), outputs=1)
    assert len(called[0]) == len(called[1]) == 1
    assert torch.equal(called[0][0], made.image)
    assert torch.equal(called[1][0]["boxes"], made.targets[0]["boxes"])


def test_partners_count():
    assert (cd.CutMix().partners, cd.RICAP().partners, cd.Mosaic().partners) == (1, 3, 3)
    assert cd.RandomMix([cd.CutMix(), cd.Mosaic(grid=(3, 3))]).partners == 8


@pytest.mark.parametrize("name", ["CutMix", "Mosaic", "RICAP"])
def test_too_few_partners_repeat_and_none_leaves_the_base(name):
    mix = getattr(cd, name)(p=1.0)
    images, targets = samples(2)
    assert set(mix_single(mix, images, targets, seeded()).plan.source[0].tolist()) == {0, 1}
    alone = mix_single(mix, images[:1], targets[:1], seeded())
    assert not alone.mixed
    assert torch.equal(alone.image, images[0])
    assert torch.equal(alone.targets[0]["boxes"], targets[0]["boxes"])


def test_several_outputs_share_the_partners_behind_them():
    images, targets = samples(5)
    plan = cd.CutMix(p=1.0).make_plan(images, targets, generator=seeded(), outputs=3)
    assert plan.source.tolist() == [[0, 3], [1, 4], [2, 3]]


def test_a_pairing_of_the_batch_is_not_asked():
    images, targets = samples(3)
    for pairing in ("swap", "halves", "shuffle"):
        plan = cd.CutMix(p=1.0, pairing=pairing).make_plan(images, targets, generator=seeded(), outputs=1)
        assert plan.source.tolist() == [[0, 1]]


def test_random_mix_draws_the_member_first():
    mix = cd.RandomMix([cd.CutMix(p=1.0), cd.MixUp(p=1.0)])
    images, targets = samples(2)
    for target in targets:
        del target["semantic"]
    soft = 0
    for seed in range(8):
        made = mix_single(mix, images, targets, torch.Generator().manual_seed(seed))
        member = mix.choose(torch.Generator().manual_seed(seed))
        assert (made.plan.weight is not None) == isinstance(member, cd.MixUp)
        soft += isinstance(member, cd.MixUp)
    assert 0 < soft < 8


def test_outputs_and_a_bank_exclude_each_other():
    images, targets = samples(3)
    with pytest.raises(ValueError, match="outputs"):
        cd.CutMix(pairing="bank")(images, targets, outputs=1)
