"""Cases of ``test_simulated.py``: what whole transforms give on a device, and what they ask of it.

To run them alone: ``TRITON_INTERPRET=1 pytest tests/kernels/simulated/counted.py``.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch.utils._pytree import tree_flatten

assert os.environ.get("TRITON_INTERPRET") == "1", "the kernels must be defined interpreted"
from kernels.simulated.device import SimulatedDevice  # noqa: E402
from stand_in import fetch, send  # noqa: E402

import cutmix_dense as cd  # noqa: E402

IMAGES, OBJECTS, SIZE = 4, 5, (16, 32)


def batch() -> tuple[torch.Tensor, dict[str, Any]]:
    """Images, and targets of every kind."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 255, (IMAGES, 3, *SIZE), dtype=torch.uint8, generator=generator)
    semantic = torch.randint(0, 19, (IMAGES, *SIZE), generator=generator)
    low = torch.rand(IMAGES, OBJECTS, 2, generator=generator) * torch.tensor([16.0, 6.0])
    boxes = torch.cat([low, low + 3 + torch.rand(IMAGES, OBJECTS, 2, generator=generator) * 9], dim=2)
    labels = torch.arange(OBJECTS).repeat(IMAGES, 1)
    padded = {"boxes": boxes, "labels": labels, "valid": torch.rand(labels.shape, generator=generator) < 0.9}
    ragged = [{"boxes": box, "labels": label} for box, label in zip(boxes, labels)]
    masks = torch.rand(IMAGES, OBJECTS, *SIZE, generator=generator) < 0.3
    return images, {
        "images": None,
        "map": semantic,
        "padded": padded,
        "map and padded": {**padded, "semantic": semantic},
        "boxes": ragged,
        "masks": [{**target, "masks": mask} for target, mask in zip(ragged, masks)],
    }


METHODS: dict[str, Callable[[], cd.MixTransform]] = {
    "cutmix": lambda: cd.CutMix(p=1.0),
    "cutmix, in place": lambda: cd.CutMix(p=1.0, pairing="swap"),
    "ricap": lambda: cd.RICAP(),
    "gridmix": lambda: cd.GridMix(p=1.0),
    "mixup": lambda: cd.MixUp(p=1.0),
    "cowmix": lambda: cd.CowMix(p=1.0),
    "classmix": lambda: cd.ClassMix(p=1.0),
    "copypaste": lambda: cd.CopyPaste(p=1.0),
    "saliencymix": lambda: cd.SaliencyMix(p=1.0),
}


class Asked(NamedTuple):
    """What a call asks of a device: launches of Triton's kernels, torch's launches, copies (pinned ones), and waits."""

    fused: int
    eager: int
    copies: int
    pinned: int
    waits: int


LIMITS = {
    ("cutmix", "images"): Asked(1, 1, 1, 1, 0),
    ("cutmix", "map"): Asked(2, 2, 1, 1, 0),
    ("cutmix", "padded"): Asked(1, 163, 1, 1, 0),
    ("cutmix", "map and padded"): Asked(2, 164, 1, 1, 0),
    ("cutmix", "boxes"): Asked(1, 158, 12, 1, 1),
    ("cutmix, in place", "images"): Asked(2, 1, 1, 1, 0),
    ("ricap", "images"): Asked(1, 1, 1, 1, 0),
    ("gridmix", "images"): Asked(1, 1, 1, 1, 0),
    ("mixup", "images"): Asked(0, 33, 0, 0, 0),
    ("cowmix", "map"): Asked(2, 2, 1, 1, 0),
    ("classmix", "map"): Asked(2, 39, 8, 0, 0),
    ("copypaste", "boxes"): Asked(1, 298, 35, 0, 1),
    ("saliencymix", "images"): Asked(1, 190, 14, 0, 0),
}
"""What was counted with torch 2.14; whoever needs less lowers it here."""


@pytest.mark.parametrize(("method", "kind"), LIMITS)
def test_a_device_gives_what_the_host_gives_and_is_asked_for_little(method, kind):
    images, kinds = batch()
    arguments = {"inplace": True} if "in place" in method else {}

    def mix(images: Any, targets: Any) -> Any:
        return METHODS[method]()(images, targets, generator=torch.Generator().manual_seed(1), **arguments)

    expected = mix(images.clone(), kinds[kind])
    with SimulatedDevice() as device:
        mixed = mix(send(images.clone()), send(kinds[kind]))
    for found, wanted in zip(tree_flatten(fetch(mixed))[0], tree_flatten(expected)[0], strict=True):
        assert wanted is found is None or torch.equal(found, wanted)
    pinned = sum(copy.pinned for copy in device.copies)
    eager = len(device.launches) - len(device.fused)
    asked = Asked(len(device.fused), eager, len(device.copies), pinned, len(device.waits))
    assert asked == LIMITS[method, kind], (device.launches, device.copies, device.waits)


def test_what_is_asked_of_a_device_is_counted():
    """The device itself: pinned and pageable copies, launches, views and waits."""
    with SimulatedDevice() as device:
        pinned = torch.empty(8, pin_memory=True)
        there = pinned.to("cuda:0", non_blocking=True)
        assert there.is_cuda
        assert str(there.device) == "cuda:0"
        (there.view(2, 4)[0] + 1).sum()
        there.copy_(torch.zeros(8))
        float(there[0])
        torch.empty(3, device="cuda:0")
    assert device.launches == ["aten.add", "aten.sum"]
    assert [copy[1:] for copy in device.copies] == [(32, True), (32, False)]
    assert device.waits == ["aten.copy_.default", "aten._local_scalar_dense.default"]
