"""A transform within a function that ``torch.compile`` takes apart: graphs break, results don't change."""

from __future__ import annotations

import pytest
import torch

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
