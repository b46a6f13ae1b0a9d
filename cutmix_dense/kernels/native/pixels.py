"""Hard plans on the host by the compiled library: every output pixel is read and written once.

Scaled layers are filtered by ``resample``, each where it shows, and put in their places by the library.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cutmix_dense.arrays.host import in_numpy
from cutmix_dense.kernels import native
from cutmix_dense.kernels.layers import read
from cutmix_dense.kernels.native.threads import split
from cutmix_dense.kernels.resample import Interpolation
from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.geometry import keeps_padding, pixel_ranges
from cutmix_dense.plan.memo import Once

__all__ = ["mix_native", "suits_native"]

_mix = native.declare("cutmix_dense_mix", "pqq", "q")
_moved = native.declare("cutmix_dense_moved", "pp", "q")
_swap = native.declare("cutmix_dense_swap", "pqq", "q")
_buffer = native.declare("cutmix_dense_buffer", "pppqqq", "q")
_reach = native.declare("cutmix_dense_reach", "pp", "q")

_blend = native.declare("cutmix_dense_blend", "pqq", "q")

_Job = ctypes.c_int64 * 28
"""``Job`` of ``pixels.c``."""

_FAR = 2**40
"""Pixels; the length of an image without an end."""

Images = Tensor | Sequence[Tensor]


def suits_native(pool: Images, plan: MixPlan, fill: Tensor | None, out: Tensor | None) -> bool:
    """Whether the library mixes a pool by a plan.

    It is there, all lies on the host, no gradient flows, and all that lies before space can be walked with one stride.
    Of soft plans it takes those of bytes that lie pixel beside pixel, unscaled.
    """
    if native.library is None or plan.device.type != "cpu":
        return False
    given = [pool] if isinstance(pool, Tensor) else [*pool]
    like, first = given[0], int(isinstance(pool, Tensor))
    lead = like.shape[first : like.ndim - plan.ndim]
    if fill is not None and fill.numel() != 1 and tuple(fill.shape) != (*lead[-1:], *(1,) * plan.ndim):
        return False
    if out is not None:
        given.append(out)
    if len(lead) > 1 and not all(_is_even(image, plan.ndim, first) for image in given):
        return False
    if len(given) > 2 and any(image.dtype != like.dtype or image.shape[: len(lead)] != lead for image in given[1:]):
        return False
    if plan.weight is not None:
        beside = all(image.stride(-1) == 1 or _lies_behind(image, plan.ndim) for image in given)
        if not plan.unscaled or like.dtype != torch.uint8 or not beside:
            return False
    return in_numpy(*given) if fill is None else in_numpy(fill, *given)


def _is_even(image: Tensor, ndim: int, first: int) -> bool:
    """Whether all that lies between ``first`` and space can be walked with one stride."""
    axes = range(first, image.ndim - ndim - 1)
    return all(image.stride(axis) == image.stride(axis + 1) * image.shape[axis + 1] for axis in axes)


def mix_native(
    pool: Images, plan: MixPlan, outputs: Images, fill: Tensor | None, interpolation: Interpolation = "nearest"
) -> None:
    """Write the outputs of a plan that ``suits_native``.

    Args:
        pool: (P, …, *size), or a list of (…, *size).
        plan: a hard or a soft one.
        outputs: (B, …, *frame), or a list of (…, *canvas); may be ``pool`` itself if nothing is scaled or weighed.
        fill: one value, or one per channel (C, 1, 1); None: 0.
        interpolation: how scaled layers are read.
    """
    if not len(plan):
        return
    numbers, _fields = _numbers(plan)
    if not plan.unscaled:
        for output, windows in enumerate(_windows(plan)):
            _mix_scaled(pool, plan, output, windows, numbers, outputs[output], fill, interpolation)
        return
    batch = _Batch(pool, outputs, fill, plan.ndim)
    if plan.weight is not None:
        weight = plan.weight.detach().to(torch.float64).contiguous()
        split(partial(_blend, batch.job(numbers, weight=weight.data_ptr())), len(plan), batch.size)
        return
    job = batch.job(numbers)
    if outputs is not pool:
        split(partial(_mix, job), len(plan), batch.size)
        return
    moved = np.empty(len(plan), dtype=np.int64)
    exchanged = _moved(job, moved.ctypes.data)
    size = int(moved.sum())
    if exchanged:
        split(partial(_swap, job), len(plan), size)
        return
    buffer, starts = np.empty(size, dtype=np.uint8), np.cumsum(moved) - moved
    for put in (0, 1):
        split(partial(_buffer, job, buffer.ctypes.data, starts.ctypes.data, put), len(plan), size)


def _numbers(plan: MixPlan) -> tuple[list[int], list[Tensor]]:
    """The first numbers of ``Job``, up to the edges, and the tensors whose addresses they hold."""
    fields = [plan.source, plan.shift, plan.extent, plan.canvas, plan.owner, *plan.edges]
    for place, field in enumerate(fields):
        wanted = torch.float32 if place == 1 else torch.int64
        if place == 4:
            wanted = torch.int8 if field.dtype == torch.int8 else torch.int16
        if field.dtype != wanted or not field.is_contiguous():
            fields[place] = field.to(wanted).contiguous()
    owner, flat = fields[4], plan.ndim == 2
    addresses = [field.data_ptr() for field in fields]
    grid = owner.shape[1:]
    free = plan.free_form and grid == plan.frame
    numbers = [len(plan), plan.layers, plan.ndim, free, 1 if owner.dtype == torch.int8 else 2, *addresses[:5]]
    return [*numbers, *([1] if flat else []), *grid, *([0] if flat else []), *addresses[5:]], fields


class _Batch:
    """Where the pixels of a batch lie: the last numbers of ``Job``.

    Attributes:
        size: bytes of all outputs.
    """

    def __init__(self, pool: Images, outputs: Images, fill: Tensor | None, ndim: int) -> None:
        images, written = _tensors(pool), _tensors(outputs)
        first = int(isinstance(pool, Tensor))
        like = images[0]
        lead, item = like.shape[first : like.ndim - ndim], like.element_size()
        self.size = sum(image.nbytes for image in written)
        # a pixel whose channels lie side by side in all is one item
        behind = len(lead) == 1 and lead[0] > 1 and all(_lies_behind(i, ndim) for i in (*images, *written))
        tables = [_table(pool, ndim, item, behind), _table(outputs, ndim, item, behind)]
        value = fill
        if value is not None:
            value = value.expand(*lead, *(1,) * ndim) if behind else value
            value = value.to(like.dtype).contiguous()
        steps = [part.stride(0) * item if isinstance(part, Tensor) else -1 for part in (pool, outputs)]
        self._kept = (tables, value)
        self._numbers = [
            item * lead[0] if behind else item,
            1 if behind else math.prod(lead),
            len(pool),
            ctypes.addressof(tables[0]),
            steps[0],
            ctypes.addressof(tables[1]),
            steps[1],
            0 if value is None else value.data_ptr(),
            1 if value is None or behind else value.numel(),
            pool is outputs,
        ]

    def job(self, numbers: Sequence[int], padding: int = 0, weight: int = 0) -> Any:
        """``Job``, with the addresses of the images that pad, and of weights."""
        return _Job(*numbers, padding, *self._numbers, weight)


def _tensors(images: Images) -> Sequence[Tensor]:
    return (images,) if isinstance(images, Tensor) else images


def _lies_behind(image: Tensor, ndim: int) -> bool:
    """Whether the channels of a pixel lie side by side, pixel after pixel."""
    stride = image.stride()
    return bool(image.ndim > ndim and stride[-ndim - 1] == 1 and stride[-1] == image.shape[-ndim - 1])


def _table(images: Images, ndim: int, item: int, behind: bool) -> Any:
    """``Image`` of each image; of a tensor that of the first one."""
    numbers: list[int] = []
    for image in _tensors(images):
        steps = [item * step for step in image.stride()]
        lead = steps[-ndim - 1] if not behind and image.ndim > ndim + isinstance(images, Tensor) else 0
        flat = [0] if ndim == 2 else []
        size = [1] if ndim == 2 else []
        numbers += [image.data_ptr(), lead, *flat, *steps[-ndim:], *size, *image.shape[-ndim:]]
    return (ctypes.c_int64 * len(numbers))(*numbers)


@Once
def _windows(plan: MixPlan) -> list[list[list[int]]]:
    """Per output and layer of a plan that scales, the window of the canvas that holds all that shows of it.

    Lows, then highs, of three axes; zeros where nothing shows.
    """
    numbers, _fields = _numbers(plan)
    low, high = (bound.numpy() for bound in pixel_ranges(plan))
    source = np.where(plan.facts.source < 0, -1, 0)
    placed = _placed_at(source, low, high)
    flat = 3 - plan.ndim
    image = (ctypes.c_int64 * 8)(0, 0, 0, 0, 0, *(_FAR,) * 3)
    frame = (ctypes.c_int64 * 8)(0, 0, 0, 0, 0, *(1,) * flat, *plan.frame)
    numbers[5:8] = [array.ctypes.data for array in placed]
    windows = np.empty((len(plan), plan.layers, 6), dtype=np.int64)
    tables = [1, 1, 1, ctypes.addressof(image), 0, ctypes.addressof(frame), 0, 0, 1, 0, 0]
    if not _reach(_Job(*numbers, 0, *tables), windows.ctypes.data):
        raise MemoryError
    return windows.tolist()


def _placed_at(source: np.ndarray, low: np.ndarray, high: np.ndarray) -> list[np.ndarray]:
    """Source, shift and extent of layers that are windows of the canvas, read already."""
    extent = np.concatenate([np.zeros_like(low), high - low], axis=-1)
    return [np.ascontiguousarray(source, dtype=np.int64), np.ascontiguousarray(low, dtype=np.float32), extent]


def _mix_scaled(
    pool: Images,
    plan: MixPlan,
    output: int,
    windows: list[list[int]],
    numbers: Sequence[int],
    target: Tensor,
    fill: Tensor | None,
    interpolation: Interpolation,
) -> None:
    """One output: its layers are read where they show, and put there."""
    ndim, layers = plan.ndim, plan.layers
    places = np.array(windows, dtype=np.int64).reshape(layers, 2, 3)[..., 3 - ndim :]
    images: list[Tensor] = []
    source = np.full(layers, -1)
    for layer, (low, high) in enumerate(places.tolist()):
        if all(a < b for a, b in zip(low, high)):
            source[layer] = len(images)
            block = tuple(map(slice, low, high))
            images.append(read(pool, plan, output, layer, block, interpolation))
    placed = _placed_at(source, places[:, 0], places[:, 1])
    padding = np.array([-1])
    if plan.canvas[output].tolist() != list(plan.frame) and target.shape[-ndim:] == plan.frame:
        base = pool[max(int(plan.facts.source[output, 0]), 0)]
        if keeps_padding(plan, base.shape[-ndim:])[output]:
            padding[0] = len(images)
            images.append(base)
    if not images:
        images.append(target)  # which nothing is read from
    batch = _Batch(images, [target], fill, ndim)
    one = list(numbers)
    one[0] = 1
    one[5:8] = [array.ctypes.data for array in placed]
    cells = math.prod(plan.owner.shape[1:])
    one[8] += 8 * ndim * output
    one[9] += one[4] * cells * output
    for place, edges in zip(range(16 - ndim, 16), plan.edges):
        one[place] += 8 * edges.shape[1] * output
    _mix(batch.job(one, padding.ctypes.data), 0, 1)
