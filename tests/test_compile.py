"""A transform within a function that ``torch.compile`` takes apart: graphs break, results don't change."""

from __future__ import annotations

import pytest
import torch
from torch.utils._pytree import tree_leaves

import cutmix_dense as cd


@pytest.mark.parametrize(("pairing", "dtype"), [("roll", torch.uint8), ("swap", torch.float32)])
def test_compiled_on_the_host(pairing, dtype):
    torch._dynamo.reset()
    mix = cd.CutMix(p=1.0, pairing=pairing)
    images = torch.randint(0, 255, (4, 3, 24, 32)).to(dtype)
    targets = [{"boxes": torch.tensor([[1.0, 2.0, 20.0, 22.0]]), "labels": torch.tensor([n])} for n in range(4)]

    def mixed(images, targets):
        return mix(images, targets, generator=torch.Generator().manual_seed(3))

    expected_images, expected = mixed(images, targets)
    found_images, found = torch.compile(mixed, backend="eager")(images, targets)
    assert not torch.equal(found_images, images)
    assert torch.equal(found_images, expected_images)
    for one, other in zip(found, expected):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize(
    "mix", [cd.ClassMix(p=1.0), cd.CowMix(p=1.0), cd.MixUp(p=1.0)], ids=lambda mix: type(mix).__name__
)
def test_free_forms_and_blends_compiled_on_the_host(mix):
    torch._dynamo.reset()
    images = torch.randint(0, 255, (4, 3, 24, 32)).to(torch.uint8)
    maps = torch.randint(0, 5, (4, 6, 8), dtype=torch.uint8).repeat_interleave(4, 1).repeat_interleave(4, 2)

    def mixed(images, maps):
        return mix(images, maps, generator=torch.Generator().manual_seed(3))

    expected = mixed(images, maps)
    found = torch.compile(mixed, backend="eager")(images, maps)
    assert not torch.equal(expected[0], images)
    one_level = 1 if isinstance(mix, cd.MixUp) else 0  # of the rounding of a sum
    for one, other in zip(tree_leaves(found), tree_leaves(expected), strict=True):
        torch.testing.assert_close(one, other, atol=one_level if one.dtype == torch.uint8 else 1e-6, rtol=0)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_classes_compiled_on_the_host(dtype):
    torch._dynamo.reset()
    sampler, maps = cd.masks.ClassMask(), torch.randint(0, 9, (4, 6, 8)).to(dtype)
    draws = sampler.draw(4, torch.Generator().manual_seed(3))
    assert torch.equal(torch.compile(sampler.place, backend="eager")(draws, maps), sampler.place(draws, maps))
