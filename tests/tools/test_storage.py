"""The three storages of masks that are compared do the same work."""

from __future__ import annotations

import numpy as np
import torch

import cutmix_dense as cd
from cutmix_dense.cli.benchmarking import storage
from cutmix_dense.cli.benchmarking.samples import make_batches


def test_all_storages_hand_out_the_same_masks():
    size, mix = 96, cd.CutMix(p=1.0)
    for seed, batch in enumerate(make_batches(6, 2, size, 5, masks=True)):
        pair = [target["masks"] for target in batch.targets]
        plan = mix.make_plan(batch.images, generator=torch.Generator().manual_seed(seed), outputs=1)
        dense = [np.asarray(stack) for stack in storage._mix_dense(pair, plan, size)]
        packed = storage._mix_packed([np.packbits(stack.numpy(), axis=2) for stack in pair], plan, size)
        crops = storage._mix_crops([storage._crops(stack) for stack in pair], plan, size)
        for other in (packed, crops):
            assert all(np.array_equal(one, two) for one, two in zip(dense, other, strict=True))


def test_each_storage_has_a_row():
    rows = storage.measure(objects=3, size=64, repeats=2, ring=3)
    assert [name for name, *_ in rows] == ["dense bytes (ours)", "packed bits", "crops"]
    assert all(nbytes > 0 and made.seconds and mixed.seconds for _, nbytes, made, mixed in rows)
