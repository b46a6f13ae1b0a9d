"""Blocks copied by slices: what is found of them, in which order they are copied, and what a plan keeps of itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from cutmix_dense import MixPlan
from cutmix_dense.functional import mix_pixels
from cutmix_dense.kernels.gather import mix_gather
from cutmix_dense.kernels.slices import suits

SIZES = [(13, 22), (9, 25), (15, 12)]


def unscaled_plan(seed: int, sizes: torch.Tensor) -> MixPlan:
    """One output of three layers moved by whole pixels, partly outside, with cells of fill and of no length."""
    generator = torch.Generator().manual_seed(seed)
    base = seed % 3
    source = torch.tensor([[base, (base + 1) % 3, (base + 2) % 3]])
    canvas = sizes[source[:, 0]]
    inner = (torch.rand(2, 1, 2, generator=generator).sort(dim=2).values * canvas[0][:, None, None]).round().long()
    edges = tuple(torch.cat([torch.zeros(1, 1).long(), inner[a], canvas[:, a, None]], dim=1) for a in range(2))
    shift = torch.randint(-6, 7, (1, 3, 2), generator=generator).float()
    shift[:, 0] *= seed % 2  # of every other plan the base lies where it did
    owner = torch.randint(-1, 3, (1, 3, 3), generator=generator)
    return MixPlan.from_grid(source, edges, owner, sizes, scale=torch.ones(1, 3, 2), shift=shift)


@pytest.mark.parametrize("seed", range(60))
def test_one_output_is_what_the_index_says_of_images_of_any_sizes(seed):
    torch.manual_seed(seed)
    images = [torch.randint(1, 255, (3, *size), dtype=torch.uint8) for size in SIZES]
    plan = unscaled_plan(seed, torch.tensor(SIZES))
    assert suits(plan)
    frame = torch.zeros(3, 3, 15, 25, dtype=torch.uint8)
    for image, held in zip(images, frame):
        held[:, : image.shape[1], : image.shape[2]] = image
    height, width = plan.canvas[0].tolist()
    expected = mix_gather(frame, plan, torch.tensor(0, dtype=torch.uint8))[0, :, :height, :width]
    behind = [image.permute(1, 2, 0).contiguous().permute(2, 0, 1) for image in images]
    for given in (images, behind, [image.float().requires_grad_() for image in images]):
        (found,) = mix_pixels(given, plan, fill=0)
        assert torch.equal(found.detach().byte(), expected)


def test_what_a_plan_keeps_of_its_blocks_does_not_outlive_it():
    sizes = torch.tensor(SIZES[:1] * 2)
    images = [torch.zeros(1, 13, 22), torch.ones(1, 13, 22)]
    plan = MixPlan.from_rectangles(torch.tensor([[0, 1]]), torch.tensor([[[2, 3, 7, 9]]]), sizes)
    for _ in range(2):
        (found,) = mix_pixels(images, plan)
        assert found.sum() == 5 * 6
    (turned,) = mix_pixels(images, replace(plan, source=plan.source.flip(1)))
    assert turned.sum() == 13 * 22 - 5 * 6
    with pytest.raises(ValueError, match=r"pool image 1 is \[13, 21\], smaller than the \[13, 22\] pixels"):
        mix_pixels([images[0], images[1][..., 1:]], plan)
    with pytest.raises(ValueError, match="pool must hold 2 images for this plan, got 1"):
        mix_pixels(images[:1], plan)
    scaled = replace(plan, scale=plan.scale * 2, unscaled=None)
    assert mix_pixels(images, scaled, interpolation="nearest")[0].sum() == 5 * 6
    extent = torch.tensor([[[0, 0, 13, 22], [0, 0, 2, 2]]])
    assert mix_pixels(images, replace(scaled, extent=extent), interpolation="nearest", fill=0)[0].sum() == 2


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_one_rectangle_per_output_is_what_the_index_says(seed, inplace):
    """Partners in a ring, exchanged, taken by two, missing, or the image itself; other bases; rectangles of nothing."""
    generator = torch.Generator().manual_seed(seed)
    partner = [[1, 2, 3, 0], [1, 0, 3, 2], [2, 2, 0, 1], [-1, 3, -1, 1], [0, 1, 3, 2]][seed % 5]
    base = [1, 0, 2, 3] if seed % 3 == 2 else [0, 1, 2, 3]
    ends = torch.randint(-2, 14, (4, 1, 2, 2), generator=generator).sort(dim=2).values
    if seed % 2:
        ends[1], ends[3] = ends[0], ends[2]  # what an exchange needs
    sizes = torch.tensor([(11, 12)] * 4)
    plan = MixPlan.from_rectangles(torch.tensor([base, partner]).T, ends.flatten(2), sizes)
    pool = torch.randint(1, 255, (4, 3, 11, 12), dtype=torch.uint8, generator=generator)
    expected = mix_gather(pool, plan, None)
    given = pool.clone()
    mixed = mix_pixels(given, plan, inplace=inplace)
    assert torch.equal(mixed, expected)
    assert torch.equal(given, expected if inplace else pool)


@pytest.mark.parametrize("seed", range(10))
def test_bases_are_copied_before_what_lies_on_them(seed):
    """Of a padded batch whose partners don't always fill their rectangles, whose rims come after all other steps."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(5, 13, (5, 2), generator=generator)
    sizes[:, seed % 2] = 12
    ends = torch.randint(-2, 14, (5, 1 + seed % 3, 2, 2), generator=generator).sort(dim=2).values
    source = torch.stack([torch.arange(5), torch.randint(-1, 5, (5,), generator=generator)], dim=1)
    plan = MixPlan.from_rectangles(source, ends.flatten(2), sizes, frame=(12, 12))
    pool = torch.randint(1, 255, (5, 3, 12, 12), dtype=torch.uint8, generator=generator)
    fill = torch.tensor(0, dtype=torch.uint8)
    out = torch.full_like(pool, 255)
    assert mix_pixels(pool, plan, fill=0, out=out) is out
    assert torch.equal(out, mix_gather(pool, plan, fill))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_in_place_a_padded_output_takes_its_bases_padding(dtype):
    """As out of place, where the base is another image than the one that is written over."""
    sizes = torch.tensor([(4, 5), (3, 7), (4, 7)])
    pool = torch.arange(3 * 2 * 4 * 7).reshape(3, 2, 4, 7).to(dtype)
    rectangle = torch.tensor([[[1, 2, 3, 4]]] * 3)
    plan = MixPlan.from_rectangles(torch.tensor([[1, 0], [0, 1], [2, 1]]), rectangle, sizes, frame=(4, 7))
    expected = mix_gather(pool, plan, torch.tensor(0, dtype=dtype))
    assert torch.equal(mix_pixels(pool, plan, fill=0), expected)
    given = pool.clone()
    assert mix_pixels(given, plan, fill=0, inplace=True) is given
    assert torch.equal(given, expected)
