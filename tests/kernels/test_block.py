"""Where a mask lies: against the plainest search for it."""

from __future__ import annotations

import numpy as np
import pytest

from cutmix_dense.arrays.blocks import as_bytes, filled, joined


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int8, np.int64, np.float32])
@pytest.mark.parametrize("size", [(7, 9), (3, 5, 4), (1100, 1000)])
def test_filled_is_the_least_block(size, dtype):
    generator = np.random.default_rng(0)
    for count in (0, 1, 4):
        whole = np.zeros((*size[:-1], 2 * size[-1]), dtype=dtype)
        mask = whole[..., ::2]  # not contiguous
        at = tuple(generator.integers(0, n, count) for n in size)
        mask[at] = 1 if dtype is bool else -128 if dtype is np.int8 else 100
        places = mask.nonzero()
        expected = tuple(slice(int(p.min()), int(p.max()) + 1) for p in places) if count else None
        assert filled(mask) == expected
        assert filled(mask, joined(as_bytes(mask), tuple(range(1, mask.ndim)))) == expected
