"""Plans that the kernels' tests share: one of every method in the family, and random ones of every kind of layer."""

from __future__ import annotations

from collections.abc import Callable

import torch

import cutmix_dense as cd
from cutmix_dense import MixPlan, regions

HEIGHT, WIDTH = 13, 22

METHODS: dict[str, Callable[[], cd.MixTransform]] = {
    "cutmix": lambda: cd.CutMix(p=1.0),
    "cutmix of five boxes": lambda: cd.CutMix(region=regions.MultiBox(n=5), p=1.0),
    "cutmix of pairs": lambda: cd.CutMix(p=1.0, pairing="swap"),
    "resizemix": lambda: cd.ResizeMix(p=1.0),
    "mosaic": lambda: cd.Mosaic(p=1.0),
    "mosaic 3×3": lambda: cd.Mosaic(grid=(3, 3), p=1.0),
    "ricap": lambda: cd.RICAP(p=1.0),
    "gridmix": lambda: cd.GridMix(p=1.0),
    "stripemix": lambda: cd.StripeMix(p=1.0),
    "copypaste": lambda: cd.CopyPaste(p=1.0),
    "copypaste, scaled and mirrored": lambda: cd.CopyPaste(p=1.0, scale=(0.5, 1.8), flip=0.5),
    "classmix": lambda: cd.ClassMix(p=1.0),
    "cowmix": lambda: cd.CowMix(p=1.0, sigma=(1.0, 3.0)),
    "fmix": lambda: cd.FMix(p=1.0),
    "saliencymix": lambda: cd.SaliencyMix(p=1.0),
}
"""One of every hard method; MixUp is soft and stays on the general path."""


def batch(seed: int, size: int = 3) -> tuple[torch.Tensor, dict]:
    """Images (size, 3, 13, 22) in [0, 1) and targets with boxes, masks and a semantic map."""
    generator = torch.Generator().manual_seed(seed)
    instances = []
    for _ in range(size):
        corner = torch.rand(4, 2, 2, generator=generator).sort(dim=1).values
        boxes = torch.cat([corner[:, 0], corner[:, 1] + 0.1], dim=1) * torch.tensor([20.0, 11.0, 20.0, 11.0])
        masks = torch.zeros(4, HEIGHT, WIDTH, dtype=torch.bool)
        for mask, (left, top, right, bottom) in zip(masks, boxes.long().tolist()):
            mask[top : bottom + 1, left : right + 1] = True
        instances.append({"boxes": boxes, "labels": torch.arange(4), "masks": masks})
    semantic = torch.randint(0, 6, (size, HEIGHT, WIDTH), generator=generator)
    return torch.rand(size, 3, HEIGHT, WIDTH, generator=generator), {"instances": instances, "semantic": semantic}


def plan_of(method: str, seed: int, sizes: torch.Tensor | None = None) -> MixPlan:
    """A plan of one method over ``batch(seed)``."""
    images, targets = batch(seed)
    return METHODS[method]().make_plan(images, targets, sizes=sizes, generator=torch.Generator().manual_seed(seed))


def random_plan(seed: int, *, outputs: int = 2, layers: int = 3, pool: int = 3, least_scale: float = 0.3) -> MixPlan:
    """Layers scaled, flipped, moved and clipped at random, fill among them, outputs smaller than the frame."""
    generator = torch.Generator().manual_seed(seed)

    def rand(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator)

    frame = (11, 25)
    canvas = (torch.tensor(frame) - (rand(outputs, 2) * 4).long()).clamp(min=1)
    mirrored = rand(outputs, layers, 2) < 0.4
    scale = torch.where(rand(outputs, layers, 1) < 0.3, 1.0, least_scale + 2 * rand(outputs, layers, 2))
    shift = torch.where(mirrored, torch.tensor([11.0, 25.0]), 0.0) + rand(outputs, layers, 2) * 8 - 4
    shift = torch.where(rand(outputs, layers, 1) < 0.6, shift.round(), shift)
    low = (rand(outputs, layers, 2) * 4).long()
    high = torch.tensor([HEIGHT, WIDTH]) - (rand(outputs, layers, 2) * 4).long()
    inner = [(rand(outputs, 4) * canvas[:, axis, None]).long().sort(dim=1).values for axis in range(2)]
    return MixPlan(
        source=torch.randint(0, pool, (outputs, layers), generator=generator),
        scale=torch.where(mirrored, -scale, scale),
        shift=shift,
        extent=torch.cat([low, high], dim=-1),
        canvas=canvas,
        edges=tuple(
            torch.cat([torch.zeros_like(edge[:, :1]), edge, canvas[:, axis, None]], dim=1)
            for axis, edge in enumerate(inner)
        ),
        owner=torch.randint(-1, layers, (outputs, 5, 5), generator=generator).to(torch.int8),
        frame=frame,
    )


def soft_plan() -> MixPlan:
    """A blend of images of different sizes; one output has no partner."""
    sizes = torch.tensor([[13, 22], [9, 17], [13, 20]])
    source = torch.tensor([[0, 1], [1, -1], [2, 0]])
    return MixPlan.blend(source, torch.tensor([[0.3, 0.7], [1.0, 0.0], [0.5, 0.5]]), sizes, frame=(HEIGHT, WIDTH))


def grid_plan(seed: int) -> tuple[torch.Tensor, MixPlan]:
    """A pool in some layout and dtype, and a plan of whole-pixel cells over it: moved, clipped, padded or with fill."""
    generator = torch.Generator().manual_seed(seed)

    def one_of(*given):
        return given[int(torch.randint(len(given), (), generator=generator))]

    def whole(high, *shape: int) -> torch.Tensor:
        return (torch.rand(*shape, generator=generator) * high).long()

    height, width = one_of((4, 16), (8, 24), (6, 22), (4, 33), (5, 64), (16, 17))
    lead = one_of((), (1,), (2,), (3,))
    pool = whole(120, 2, *lead, height, width).to(one_of(torch.uint8, torch.int16, torch.float32, torch.int64))
    if len(lead) and one_of(True, False, False):
        pool = pool.contiguous(memory_format=torch.channels_last)
    sizes = torch.tensor([[height, width]] * 2) - one_of(0, 0, 1) * whole(4, 2, 2)
    layers, (rows, columns) = one_of(1, 2, 3), one_of((1, 1), (2, 2), (3, 3), (2, 4))
    source = torch.cat([torch.arange(2)[:, None], whole(3, 2, layers - 1) - 1], dim=1)
    edges = []
    for axis, cells in enumerate((rows, columns)):
        end = sizes[:, axis, None]
        inner = whole(end + 1, 2, cells - 1).sort(dim=1).values
        edges.append(torch.cat([torch.zeros_like(end), inner, end], dim=1))
    owner = (whole(layers + 1, 2, rows, columns) - 1).clamp(min=one_of(-1, 0, 0)).to(torch.int8)
    shift = (whole(7, 2, layers, 2) - 3).float()
    shift[:, 0] *= one_of(0, 1)
    moved = {"shift": shift} if one_of(True, False) else {}
    plan = MixPlan.from_grid(source, tuple(edges), owner, sizes, frame=(height, width), **moved)
    return pool, plan


def padded_boxes(seed: int, images: int = 3, slots: int = 7) -> dict[str, torch.Tensor]:
    """Boxes of images 48 × 64 with labels and ``valid``; some reach out, some are broken, outside or tiny."""
    generator = torch.Generator().manual_seed(seed)
    low = torch.rand(images, slots, 2, generator=generator) * torch.tensor([54.0, 38.0]) - 5
    boxes = torch.cat([low, low + torch.rand(images, slots, 2, generator=generator) * 30], dim=2)
    boxes[0, 0] = boxes[0, 0, [2, 1, 0, 3]]
    boxes[1, 1, 2] = boxes[1, 1, 0]
    boxes[2, 2] = torch.tensor([70.0, 3.0, 80.0, 9.0])
    boxes[0, 3] = torch.tensor([10.0, 10.0, 10.5, 10.4])
    labels = torch.randint(0, 80, (images, slots), generator=generator)
    return {"boxes": boxes, "labels": labels, "valid": torch.rand(labels.shape, generator=generator) < 0.9}
