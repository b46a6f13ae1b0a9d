"""Hard plans on the host by the compiled library: every output pixel is read and written once.

Scaled layers are filtered where they show.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cutmix_dense import native
from cutmix_dense.kernels.resample import Interpolation
from cutmix_dense.native.threads import split
from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.geometry import pixel_ranges

_mix = native.declare("cutmix_dense_mix", "pqq", "q")
_moved = native.declare("cutmix_dense_moved", "pp", "q")
_swap = native.declare("cutmix_dense_swap", "pqq", "q")
_buffer = native.declare("cutmix_dense_buffer", "pppqqq", "q")

_blend = native.declare("cutmix_dense_blend", "pqq", "q")

_Job = ctypes.c_int64 * 48
"""``Job`` of ``pixels.c``."""

_KINDS = {getattr(torch, name): place for place, name in enumerate(native.ELEMENTS) if hasattr(torch, name)}

_shape = attrgetter("shape")

Images = Tensor | Sequence[Tensor]

Place = tuple[int, tuple[int, ...], tuple[int, ...]]
"""Address, shape and strides of a tensor."""


def suits_native(
    pool: Images, plan: MixPlan, fill: Tensor | None, out: Tensor | None, interpolation: Interpolation = "nearest"
) -> bool:
    """Whether the library mixes a pool by a plan.

    It is there, all lies on the host, no gradient flows, and all that lies before space can be walked with one stride.
    What is filtered has one of ``native.ELEMENTS``. A soft plan must be unscaled, and its images must be bytes, pixel
    beside pixel.
    """
    if native.library is None or not plan.source.is_cpu:
        return False
    whole, ndim = isinstance(pool, Tensor), plan.canvas.shape[1]
    images: list[Any] = [pool] if whole else [*pool]
    like = images[0]
    lead, dtype = like.shape[whole : like.ndim - ndim], like.dtype
    if fill is not None and fill.shape and fill.numel() != 1 and fill.shape != (*lead[-1:], *(1,) * ndim):
        return False
    if not whole:
        for image in images:
            if image.dtype != dtype or image.shape[: image.ndim - ndim] != lead:
                return False
    if out is not None:
        images += (out,)
    numbers = dtype.is_floating_point or dtype.is_complex  # which may lie there negated
    for image in images if fill is None else (*images, fill):
        if not image.is_cpu or image.requires_grad or (numbers and (image.is_neg() or image.is_conj())):
            return False
    if like.ndim - ndim - whole > 1 and not all(_is_even(image, ndim, whole) for image in images):
        return False
    if plan.weight is None:
        return plan.unscaled or interpolation == "nearest" or dtype in _KINDS
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
    batch = _Batch(pool, outputs, fill, numbers[2])
    if plan.weight is not None:
        weight = plan.weight.detach().to(torch.float64).contiguous()
        split(partial(_do, _blend, batch.job(numbers, weight=weight.data_ptr())), count, batch.size)
        return
    job = batch.job(numbers, interpolation=interpolation)
    if outputs is not pool:
        split(partial(_do, _mix, job), count, batch.size)
        return
    moved = np.empty(count, dtype=np.int64)
    exchanged = _moved(job, moved.ctypes.data)
    size = int(moved.sum())
    if exchanged < 0:
        raise MemoryError
    if exchanged:
        split(partial(_do, _swap, job), count, size)
        return
    buffer, starts = np.empty(size, dtype=np.uint8), np.cumsum(moved) - moved
    for put in (0, 1):
        split(partial(_do, _buffer, job, buffer.ctypes.data, starts.ctypes.data, put), count, size)


def _do(function: Callable[..., int], *given: Any) -> None:
    """Call a function of the library that gives 0 where it finds no memory."""
    if not function(*given):
        raise MemoryError


def _numbers(plan: MixPlan) -> tuple[list[int], list[Tensor]]:
    """The first numbers of ``Job``, up to the edges, and the tensors whose addresses they hold."""
    ndim, layered = plan.canvas.shape[1], 4 if plan.unscaled else 7
    fields = [plan.source, plan.shift, plan.extent, plan.canvas]
    wanted = [torch.int64, torch.float32, torch.int64, torch.int64]
    if not plan.unscaled:
        fields += (plan.scale, *pixel_ranges(plan))
        wanted += (torch.float32, torch.int64, torch.int64)
    fields += (plan.owner, *plan.edges)
    wanted += (torch.int8 if plan.owner.dtype == torch.int8 else torch.int16, *[torch.int64] * ndim)
    for place, (field, dtype, dense) in enumerate(zip(fields, wanted, map(Tensor.is_contiguous, fields))):
        if field.dtype != dtype or not dense:
            fields[place] = field.to(dtype).contiguous()
    owner, (outputs, layers), frame = fields[layered], plan.source.shape, plan.frame
    addresses = [*map(Tensor.data_ptr, fields)]
    grid = owner.shape[1:]
    numbers = [outputs, layers, ndim, plan.free_form and grid == frame, 1 if owner.dtype == torch.int8 else 2]
    numbers += addresses[:layered] if layered > 4 else (*addresses[:4], 0, 0, 0)
    edges = addresses[layered + 1 :]
    return [*numbers, addresses[layered], *(1, *grid)[-3:], *(0, *edges)[-3:]], fields


class _Batch:
    """Where the pixels of a batch lie: the last numbers of ``Job``.

    Attributes:
        size: bytes of all outputs.
    """

    def __init__(self, pool: Images, outputs: Images, fill: Tensor | None, ndim: int) -> None:
        whole = isinstance(pool, Tensor)
        parts: Any = ((pool,), (outputs,)) if whole else (pool, outputs)
        like = parts[0][0]
        lead, item, between = like.shape[whole : like.ndim - ndim], like.dtype.itemsize, like.ndim - ndim - whole
        where: tuple[list[Place], list[Place]] = ([], [])
        behind = between == 1 and lead[0] > 1  # a pixel whose channels lie side by side is one item
        self.size = 0
        for images, places in zip(parts, where):
            places += zip(map(Tensor.data_ptr, images), map(_shape, images), map(Tensor.stride, images))
            for _, shape, stride in places if behind else ():
                behind = behind and stride[-ndim - 1] == 1 and stride[-1] == shape[-ndim - 1]
        for image in parts[1]:
            self.size += image.nbytes
        if fill is not None:
            fill = fill if fill.dtype == like.dtype else fill.to(like.dtype)
            fill = (fill.expand(*lead, *(1,) * ndim) if behind else fill).contiguous()
        pixel, leads = item, math.prod(lead) if between > 1 else lead[0] if lead else 1
        if behind:
            pixel, leads = item * leads, 1
        self._kind = _KINDS.get(like.dtype, -1)
        self._kept: list[Any] = [fill]
        self._numbers = [pixel, leads, like.shape[0] if whole else len(parts[0])]
        between = 0 if behind else between
        if whole:
            for (place,) in where:
                self._numbers += (0, item * place[2][0], *_image(place, ndim, item, between))
        else:
            rows = [_image(place, ndim, item, between) for places in where for place in places]
            table = np.array(rows, dtype=np.int64)
            self._kept += (table,)
            address = table.__array_interface__["data"][0]
            self._numbers += (address, 0, *[0] * 8, address + self._numbers[2] * table.strides[0], 0, *[0] * 8)
        if fill is None:
            self._numbers += (0, 1, pool is outputs)
        else:
            self._numbers += (fill.data_ptr(), 1 if behind or not fill.shape else fill.numel(), pool is outputs)

    def job(self, numbers: Sequence[int], weight: int = 0, interpolation: Interpolation = "nearest") -> Any:
        """``Job``, with the address of weights."""
        return _Job(*numbers, *self._numbers, weight, self._kind, native.INTERPOLATIONS[interpolation])


def _lies_behind(shape: Sequence[int], stride: Sequence[int], ndim: int) -> bool:
    """Whether the channels of a pixel lie side by side, pixel after pixel."""
    return len(shape) > ndim and stride[-ndim - 1] == 1 and stride[-1] == shape[-ndim - 1]


def _image(place: Place, ndim: int, item: int, between: int) -> tuple[int, ...]:
    """``Image`` of an image, or of the first one of a batch; ``between`` axes lie before space, or before its batch."""
    address, shape, stride = place
    lead = item * stride[-ndim - 1] if between else 0
    if between > 1:
        lead = item * (_step(shape[-ndim - between : -ndim], stride[-ndim - between : -ndim]) or 0)
    if ndim == 2:
        return (address, lead, 0, item * stride[-2], item * stride[-1], 1, shape[-2], shape[-1])
    return (address, lead, *[item * step for step in stride[-3:]], *shape[-3:])
