"""Hard plans on the host by the compiled library: every output pixel is read and written once.

Scaled layers are filtered by ``resample``, each where it shows, and put in their places by the library.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from functools import partial
from itertools import chain, pairwise
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from cutmix_dense.arrays.compiling import is_compiling
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

_Job = ctypes.c_int64 * 44
"""``Job`` of ``pixels.c``."""

_FAR = 2**40
"""Pixels; the length of an image without an end."""

Images = Tensor | Sequence[Tensor]


def suits_native(pool: Images, plan: MixPlan, fill: Tensor | None, out: Tensor | None) -> bool:
    """Whether the library mixes a pool by a plan.

    It is there, all lies on the host, no gradient flows, and all that lies before space can be walked with one stride.
    A soft plan must be unscaled, and its images bytes that lie pixel beside pixel.
    """
    if native.library is None or not plan.source.is_cpu:
        return False
    whole, ndim = isinstance(pool, Tensor), len(plan.frame)
    given: list[Tensor] = [cast("Tensor", pool)] if whole else [*pool]
    like = given[0]
    lead, dtype = like.shape[whole : like.ndim - ndim], like.dtype
    if fill is not None:
        if fill.shape and fill.numel() != 1 and fill.shape != (*lead[-1:], *(1,) * ndim):
            return False
        given.append(fill)
    if out is not None:
        given.append(out)
    if is_compiling():
        return False
    for image in given:
        if not image.is_cpu or image.requires_grad:
            return False
    if (dtype.is_floating_point or dtype.is_complex) and not in_numpy(*given):  # which may lie there negated
        return False
    images = given if fill is None else [image for image in given if image is not fill]
    if len(lead) > 1 and not all(_is_even(image, ndim, whole) for image in images):
        return False
    if not whole and not all(image.dtype == dtype and image.shape[: len(lead)] == lead for image in images):
        return False
    if plan.weight is None:
        return True
    beside = all(image.stride(-1) == 1 or _lies_behind(image.shape, image.stride(), ndim) for image in images)
    return bool(plan.unscaled and dtype == torch.uint8 and beside)


def _step(shape: Sequence[int], stride: Sequence[int]) -> int | None:
    """The one stride that walks some axes as if they were one; None if there is none."""
    walked = [(own, own * length) for length, own in zip(shape, stride) if length != 1]
    for (own, _), (_, ahead) in pairwise(walked):
        if own != ahead:
            return None
    return walked[-1][0] if walked else 0


def _is_even(image: Tensor, ndim: int, first: int) -> bool:
    """Whether all that lies between ``first`` and space can be walked with one stride."""
    return _step(image.shape[first:-ndim], image.stride()[first:-ndim]) is not None


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
    numbers, _fields = _numbers(plan)
    count = numbers[0]
    if not count:
        return
    if not plan.unscaled:
        for output, windows in enumerate(_windows(plan)):
            _mix_scaled(pool, plan, output, windows, numbers, outputs[output], fill, interpolation)
        return
    batch = _Batch(pool, outputs, fill, numbers[2])
    if plan.weight is not None:
        weight = plan.weight.detach().to(torch.float64).contiguous()
        split(partial(_blend, batch.job(numbers, weight=weight.data_ptr())), count, batch.size)
        return
    job = batch.job(numbers)
    if outputs is not pool:
        split(partial(_mix, job), count, batch.size)
        return
    moved = np.empty(count, dtype=np.int64)
    exchanged = _moved(job, moved.ctypes.data)
    size = int(moved.sum())
    if exchanged:
        split(partial(_swap, job), count, size)
        return
    buffer, starts = np.empty(size, dtype=np.uint8), np.cumsum(moved) - moved
    for put in (0, 1):
        split(partial(_buffer, job, buffer.ctypes.data, starts.ctypes.data, put), count, size)


def _numbers(plan: MixPlan) -> tuple[list[int], list[Tensor]]:
    """The first numbers of ``Job``, up to the edges, and the tensors whose addresses they hold."""
    fields = [plan.source, plan.shift, plan.extent, plan.canvas, plan.owner, *plan.edges]
    for place, field in enumerate(fields):
        wanted = torch.float32 if place == 1 else torch.int64
        if place == 4:
            wanted = torch.int8 if field.dtype == torch.int8 else torch.int16
        if field.dtype != wanted or not field.is_contiguous():
            fields[place] = field.to(wanted).contiguous()
    owner, (outputs, layers), frame = fields[4], plan.source.shape, plan.frame
    addresses = [field.data_ptr() for field in fields]
    grid = owner.shape[1:]
    numbers = [outputs, layers, len(frame), plan.free_form and grid == frame, 1 if owner.dtype == torch.int8 else 2]
    numbers += addresses[:5]
    flat = len(frame) == 2
    return [*numbers, *((1, *grid) if flat else grid), *((0, *addresses[5:]) if flat else addresses[5:])], fields


class _Batch:
    """Where the pixels of a batch lie: the last numbers of ``Job``.

    Attributes:
        size: bytes of all outputs.
    """

    def __init__(self, pool: Images, outputs: Images, fill: Tensor | None, ndim: int) -> None:
        whole = isinstance(pool, Tensor)
        images, written = cast("list[Sequence[Tensor]]", ([pool], [outputs]) if whole else (pool, outputs))
        like = images[0]
        lead, item = like.shape[whole : like.ndim - ndim], like.element_size()
        self.size = sum([image.nbytes for image in written])
        where = [[(image.data_ptr(), image.shape, image.stride()) for image in part] for part in (images, written)]
        # a pixel whose channels lie side by side in all is one item
        apart = [shape for part in where for _, shape, stride in part if not _lies_behind(shape, stride, ndim)]
        behind = len(lead) == 1 and lead[0] > 1 and not apart
        if fill is not None and (behind or fill.dtype != like.dtype or not fill.is_contiguous()):
            fill = (fill.expand(*lead, *(1,) * ndim) if behind else fill).to(like.dtype).contiguous()
        tables = [[_image(*one, ndim, item, behind, whole) for one in part] for part in where]
        self._kept: list[Any] = [fill]
        self._numbers = [item * lead[0] if behind else item, 1 if behind or not lead else math.prod(lead)]
        self._numbers.append(like.shape[0] if whole else len(images))
        for table, part in zip(tables, where):
            if whole:
                self._numbers += (0, item * part[0][2][0], *table[0])
            else:
                flat = (ctypes.c_int64 * (8 * len(table)))(*chain.from_iterable(table))
                self._kept.append(flat)
                self._numbers += (ctypes.addressof(flat), 0, *[0] * 8)
        if fill is None:
            self._numbers += (0, 1)
        else:
            self._numbers += (fill.data_ptr(), 1 if behind or not fill.shape else fill.numel())
        self._numbers.append(pool is outputs)

    def job(self, numbers: Sequence[int], padding: int = 0, weight: int = 0) -> Any:
        """``Job``, with the addresses of the images that pad, and of weights."""
        return _Job(*numbers, padding, *self._numbers, weight)


def _lies_behind(shape: Sequence[int], stride: Sequence[int], ndim: int) -> bool:
    """Whether the channels of a pixel lie side by side, pixel after pixel."""
    return len(shape) > ndim and stride[-ndim - 1] == 1 and stride[-1] == shape[-ndim - 1]


def _image(
    address: int, shape: Sequence[int], stride: Sequence[int], ndim: int, item: int, behind: bool, whole: bool
) -> tuple[int, ...]:
    """``Image`` of an image; of a ``whole`` batch that of its first one."""
    lead = 0 if behind or len(shape) == ndim + whole else item * stride[-ndim - 1]
    if len(shape) > ndim + whole + 1:
        lead = item * (_step(shape[whole:-ndim], stride[whole:-ndim]) or 0)
    if ndim == 2:
        return (address, lead, 0, item * stride[-2], item * stride[-1], 1, shape[-2], shape[-1])
    return (address, lead, *[item * step for step in stride[-3:]], *shape[-3:])


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
    numbers[5:8] = [array.ctypes.data for array in placed]
    windows = np.empty((len(plan), plan.layers, 6), dtype=np.int64)
    endless, frame = [*[0] * 7, *[_FAR] * 3], [*[0] * 7, *[1] * flat, *plan.frame]
    tables = [1, 1, 1, *endless, *frame, 0, 1, 0, 0]
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
            pixels = read(pool, plan, output, layer, block, interpolation)
            images.append(pixels if _is_even(pixels, ndim, 0) else pixels.contiguous())
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
