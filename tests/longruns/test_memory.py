"""Thousands of batches and a million boxes through every method, and memory stays where it was."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import cutmix_dense as cd

from .batches import METHODS, batch

STATUS = Path("/proc/self/statm")
PAGE = 4096
MEBIBYTE = 2**20

pytestmark = pytest.mark.skipif(not STATUS.is_file(), reason="memory is read from Linux's /proc")


def resident() -> int:
    """Bytes of memory that this process holds."""
    return int(STATUS.read_text().split()[1]) * PAGE


def live_tensors() -> int:
    gc.collect()
    return sum(isinstance(item, torch.Tensor) for item in gc.get_objects())


def run(name: str, batches: int, **settings: object) -> tuple[int, int]:
    """What `batches` batches leave behind once the first ones have warmed everything up: bytes and tensors."""
    data = [batch(seed, **settings) for seed in range(8)]
    mix = METHODS[name]
    generator = torch.Generator().manual_seed(0)
    before = tensors = 0
    for number in range(batches):
        images, targets = mix(*data[number % 8], generator=generator)
        assert len(targets) == len(images)
        if number == max(20, batches // 5):
            before, tensors = resident(), live_tensors()
    del images, targets
    return resident() - before, live_tensors() - tensors


@pytest.mark.parametrize("name", METHODS)
def test_batches_leave_nothing_behind(name):
    grown, tensors = run(name, 60)
    # those of the batch that was alive when they were counted are gone; a bank is full by then
    assert tensors <= 0
    assert grown < 16 * MEBIBYTE


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_thousands_of_batches_with_masks_leave_nothing_behind(name):
    grown, tensors = run(name, 2000, boxes=12, masks=True)
    assert tensors <= 0
    assert grown < 16 * MEBIBYTE


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_a_million_boxes_leave_nothing_behind(name):
    grown, tensors = run(name, 1250)  # four images of 250 boxes each, the first fifth before the first look
    assert tensors <= 0
    assert grown < 16 * MEBIBYTE  # 16 bytes for each box would be as much


class Samples(Dataset):
    def __len__(self):
        return 64

    def __getitem__(self, index):
        images, targets = batch(index, boxes=30, count=1)
        return images[0], targets[0]


class MixAndWeigh:
    """A mix as ``collate_fn`` that also says how much memory its worker holds."""

    def __init__(self):
        self.mix = cd.RandomMix([cd.CutMix(p=1.0), cd.Mosaic(), cd.CopyPaste(p=1.0)])

    def __call__(self, samples):
        return self.mix(samples), resident()


@pytest.mark.slow
def test_persistent_workers_do_not_grow():
    loader = DataLoader(Samples(), batch_size=4, collate_fn=MixAndWeigh(), num_workers=2, persistent_workers=True)
    sizes = []
    for _ in range(120):  # 1920 batches
        sizes.append(max(size for _, size in loader))
    assert max(sizes[20:]) - sizes[19] < 16 * MEBIBYTE
