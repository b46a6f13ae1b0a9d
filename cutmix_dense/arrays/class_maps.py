"""Maps of class ids on the host by the compiled library: which ids each holds, and where some of them lie."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from jaxtyping import Bool, Int, Integer
from torch import Tensor

from cutmix_dense import native
from cutmix_dense.native.threads import split

_seen = native.declare("cutmix_dense_seen", "pqqpqq")
_mark = native.declare("cutmix_dense_mark", "ppqppqq")

_DTYPES = (torch.uint8, torch.int16, torch.int32, torch.int64)


class ReadableMaps:
    """Maps of ids, one or more, as the library reads them.

    Args:
        maps: ids of any whole numbers, of two or three axes each; on the host.
    """

    def __init__(self, maps: Sequence[Integer[Tensor, "..."]]) -> None:
        self._maps = [ids if ids.dtype in _DTYPES and ids.stride(-1) == 1 else _as_long(ids) for ids in maps]
        self._bytes = sum([ids.nbytes for ids in self._maps])
        flat = 3 - self._maps[0].ndim
        rows = []
        for ids in self._maps:
            item = ids.element_size()
            steps = [item * step for step in ids.stride()[:-1]]
            rows.append((ids.data_ptr(), item, *(1,) * flat, *ids.shape, *(0,) * flat, *steps))
        self._table = np.array(rows, dtype=np.int64)  # ``Map`` of ``classes.c``

    def seen(self, ignored: int, limit: int) -> Bool[np.ndarray, "b columns"]:
        """Which ids below ``limit`` each map holds, and in a last column whether it holds others.

        Args:
            ignored: an id that doesn't count, as none below 0 does.
            limit: at least 1.
        """
        seen = np.empty((len(self._maps), limit + 1), dtype=bool)
        work = partial(_seen, self._table.ctypes.data, ignored, limit, seen.ctypes.data)
        split(work, len(seen), self._bytes)
        return seen

    def marked(self, chosen: Bool[np.ndarray, "b columns"], frame: tuple[int, ...]) -> Bool[Tensor, "b *frame"]:
        """Where the chosen ids of each map lie; nothing beyond a map.

        Args:
            chosen: whether each id is; others aren't.
            frame: size of a mask, pixels.
        """
        masks = np.empty((len(self._maps), *frame), dtype=bool)
        chosen = np.ascontiguousarray(chosen)
        size = np.array([1] * (3 - len(frame)) + [*frame], dtype=np.int64)
        where = masks.ctypes.data, size.ctypes.data
        split(
            partial(_mark, self._table.ctypes.data, chosen.ctypes.data, chosen.shape[1], *where),
            len(masks),
            masks.nbytes,
        )
        return torch.from_numpy(masks)


def _as_long(ids: Integer[Tensor, "*size"]) -> Int[Tensor, "*size"]:
    return ids.long().contiguous()
