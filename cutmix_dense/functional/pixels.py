"""Mix images and other per-pixel tensors by a plan."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from cutmix_dense.arrays.compiling import is_compiling
from cutmix_dense.arrays.host import HOST, sent, tensor_of
from cutmix_dense.functional.pixel_checks import check_inplace, check_out, check_pool
from cutmix_dense.functional.wrapping import are_tensors, as_plain, channels_like, rewrap
from cutmix_dense.kernels import Interpolation as Interpolation
from cutmix_dense.kernels import joined_launches, mix_batch, mix_list
from cutmix_dense.kernels.device import serves
from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.ownership import weighs

Pool = TypeVar("Pool", bound="Tensor | list[Tensor] | tuple[Tensor, ...]")


def mix_pixels(
    pool: Pool,
    plan: MixPlan,
    *,
    fill: float | Sequence[float] | Tensor | None = None,
    interpolation: Interpolation | None = None,
    feather: float = 0.0,
    out: Tensor | None = None,
    inplace: bool = False,
) -> Pool:
    """Mix images, or any other per-pixel tensor, by a plan.

    Args:
        pool: (P, …, H, W), with any channels or frames between, or a list of (…, Hi, Wi), which gives a list. For plans
            of three axes, (P, …, D, H, W); for plans with ``frames``, (P, frames, …, H, W) or a list of
            (frames, …, Hi, Wi). In padded batches, the base's padding stays beyond a canvas of its size.
        plan: who owns each output pixel.
        fill: value of pixels without an owner, one number or one per channel; needed if the plan has any.
        interpolation: how scaled layers are read: ``"antialias"`` (default for floats and uint8), ``"bilinear"``
            or ``"nearest"``. Other integers count as ids, read nearest and never blended, unless one of the first two
            says that they are pictures. Integers are filtered and blended in floating point (float64 above a byte) and
            rounded, halves to even.
        feather: softness of the borders between layers, sigma of a Gaussian in pixels; for images, not for labels.
        out: (B, …, *frame) tensor of the same dtype and device, for the result.
        inplace: write the result into ``pool``; needs an unscaled plan with one output per image.

    Returns:
        (B, …, *frame), or a list of (…, *canvas); dtype, device, memory format and tv_tensor class of the pool.

    Raises:
        TypeError: ``pool`` isn't a tensor or a list of tensors, ids would be blended, or bools or complex numbers
            filtered.
        ValueError: the pool has too few images, too small ones or clips of another length, ``fill`` is missing, or
            ``out`` doesn't fit.

    Example:
        >>> from cutmix_dense import MixPlan
        >>> box, sizes = torch.tensor([[[0, 0, 1, 2]]]), torch.tensor([[1, 4], [1, 4]])
        >>> plan = MixPlan.from_rectangles(torch.tensor([[0, 1]]), box, sizes)
        >>> mix_pixels(torch.tensor([[[0, 1, 2, 3]], [[4, 5, 6, 7]]]), plan).tolist()
        [[[4, 5, 2, 3]]]
    """
    read = _Reading(fill, interpolation, feather, picture=interpolation in ("antialias", "bilinear"))
    mixed: Pool = _mix(pool, plan, read, out, inplace)
    return mixed


def mix_images(
    pool: Pool,
    plan: MixPlan,
    *,
    fill: float | Sequence[float] | Tensor | None = None,
    interpolation: Interpolation | None = None,
    feather: float = 0.0,
    out: Tensor | None = None,
    inplace: bool = False,
) -> Pool:
    """Mix pictures: like ``mix_pixels``, but integers of any width may be averaged.

    Args:
        pool: as in ``mix_pixels``.
        plan: as in ``mix_pixels``.
        fill: as in ``mix_pixels``; None: ``default_fill`` of the pool's dtype.
        interpolation: how scaled images are read; None: ``"antialias"``.
        feather: as in ``mix_pixels``.
        out: as in ``mix_pixels``.
        inplace: as in ``mix_pixels``.
    """
    if fill is None:
        first = pool if isinstance(pool, Tensor) else next(iter(pool), None)
        fill = default_fill(first.dtype) if isinstance(first, Tensor) else None
    mixed: Pool = _mix(pool, plan, _Reading(fill, interpolation, feather, picture=True), out, inplace)
    return mixed


def default_fill(dtype: torch.dtype) -> int:
    """The default fill of pictures: grey for unsigned integers, 0 for dtypes without a fixed range.

    Grey is 114 of 255, as in YOLO's mosaics, or the same share of a wider range (29298 in uint16). 0 is the mean colour
    of normalised pictures.
    """
    return 114 * (torch.iinfo(dtype).max // 255) if _is_integer(dtype) and not dtype.is_signed else 0


_NOTHING: AbstractContextManager[None] = nullcontext()


def few_launches(images: Tensor | Sequence[Tensor] | None) -> AbstractContextManager[None]:
    """A block at whose end what it mixes on the images' device is launched together; on the host, nothing waits.

    What is mixed within the block must not be read there. None: there are only images, which are one launch.
    """
    if images is None:
        return _NOTHING
    like = images if isinstance(images, Tensor) else images[0]
    return joined_launches() if serves(like.device) else _NOTHING


@dataclass(frozen=True)
class _Reading:
    """How the pixels of a pool are read; ``mix_pixels`` documents the fields.

    Attributes:
        fill: None if not given.
        interpolation: None if not given.
        feather: sigma, pixels.
        picture: whether integers may be averaged; else they are ids.
    """

    fill: float | Sequence[float] | Tensor | None
    interpolation: Interpolation | None
    feather: float
    picture: bool


def _mix(pool: Any, plan: MixPlan, read: _Reading, out: Tensor | None, inplace: bool) -> Any:
    if isinstance(plan, (Tensor, list, tuple)):
        raise TypeError(f"plan must be a MixPlan, got a {type(plan).__name__}: the images come before it")
    if plan.frames > 1:
        return _mix_clips(pool, plan, read, out, inplace)
    feather, whole = read.feather, isinstance(pool, Tensor)
    images: Any = pool if whole else list(pool)
    if not whole and not (images and are_tensors(images)):
        raise TypeError(f"pool must be a tensor or a list of tensors, got {_describe(pool)}")
    check_pool([images] if whole else images, plan, whole)
    like = images if whole else images[0]
    interpolation = _interpolation(read, like.dtype, plan)
    if not 0 <= feather < math.inf:
        raise ValueError(f"feather must be at least 0 pixels, got {feather!r}")
    if (feather > 0 or weighs(plan)) and not _averages(like.dtype, read.picture):
        if read.picture:
            raise TypeError(f"pool must hold numbers that average, got {like.dtype}: convert it first, as .byte() does")
        remedy = _remedy(like.dtype)
        raise TypeError(
            f"pool must be floating point or uint8 to be blended, got {like.dtype} (ids can't be averaged){remedy}"
        )
    fill = read.fill
    if fill is None and plan.has_fill():
        raise ValueError("fill must be given: the plan leaves pixels that no layer owns, got None")
    value = None if fill is None else _fill_value(fill, like, plan.canvas.shape[1])

    if not whole:
        if out is not None or inplace:
            raise ValueError("out and inplace need a tensor of images, got a list")
        together = _together(images, plan)
        if together is not None:
            mixed = list(mix_batch(together, plan, fill=value, interpolation=interpolation, feather=feather))
        else:
            host = plan if plan.source.is_cpu else plan.to(HOST)
            mixed = mix_list(images, host, fill=value, interpolation=interpolation, feather=feather)
        return mixed if {*map(type, images)} == {Tensor} else [rewrap(image, like) for image in mixed]

    plain = images if type(images) is Tensor else as_plain(images)
    if inplace and out is not None:
        raise ValueError("out and inplace exclude each other, got both")
    if inplace:
        check_inplace(plain, plan)
    if out is not None:
        check_out(plain, plan, out)
    result = mix_batch(
        plain,
        plan,
        fill=value,
        interpolation=interpolation,
        feather=feather,
        out=out if out is None or type(out) is Tensor else as_plain(out),
        inplace=inplace,
    )
    if inplace or out is not None:
        return images if inplace else out
    return rewrap(channels_like(result, plain, plan.ndim), images)


def _mix_clips(pool: Any, plan: MixPlan, read: _Reading, out: Tensor | None, inplace: bool) -> Any:
    """Clips whose frames are planned one by one: their frames are the pool, in one tensor or list."""
    count, single = plan.frames, plan.of_frames(plan.frames)
    frames = _frames_of(pool, plan, "pool")
    if not isinstance(frames, Tensor):
        mixed = _mix(frames, single, read, out, inplace)
        return [rewrap(torch.stack(mixed[start : start + count]), pool[0]) for start in range(0, len(mixed), count)]
    if inplace:
        check_inplace(pool, plan)
    into = None
    if out is not None:
        shape = (len(plan) // count, count, *frames.shape[1 : frames.ndim - plan.ndim], *plan.frame)
        if not isinstance(out, Tensor) or tuple(out.shape) != shape:
            got = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise ValueError(f"out must be a tensor of shape {shape}, got {got}")
        into = _frames_of(out, plan, "out")
    with few_launches(frames):  # they are made before the result may be copied
        result = _mix(frames, single, read, into, inplace).unflatten(0, (-1, count))
    target = pool if inplace else out
    if target is None:
        return rewrap(result, pool)
    if target.untyped_storage().data_ptr() != result.untyped_storage().data_ptr():  # its frames aren't views
        as_plain(target).copy_(result)
    return target


def _frames_of(clips: Any, plan: MixPlan, name: str) -> Any:
    """The frames of all clips, one after another; a view of a tensor if its strides allow it.

    Raises:
        TypeError: ``clips`` isn't a tensor or a list of tensors.
        ValueError: a clip has another number of frames than the plan.
    """
    whole = isinstance(clips, Tensor)
    if not whole and not (isinstance(clips, (list, tuple)) and all(isinstance(clip, Tensor) for clip in clips)):
        raise TypeError(f"{name} must be a tensor or a list of tensors, got {_describe(clips)}")
    for shape in [tuple(clips.shape[1:])] if whole else [tuple(clip.shape) for clip in clips]:
        if len(shape) <= plan.ndim or shape[0] != plan.frames:
            raise ValueError(f"{name} must hold clips of the plan's {plan.frames} frames, got a clip of shape {shape}")
    if whole:
        return as_plain(clips).flatten(0, 1)
    return [frame for clip in clips for frame in as_plain(clip)]


def _interpolation(read: _Reading, dtype: torch.dtype, plan: MixPlan) -> Interpolation:
    given = read.interpolation
    if given not in (None, "nearest", "bilinear", "antialias"):
        raise ValueError(f"interpolation must be 'nearest', 'bilinear' or 'antialias', got {given!r}")
    if plan.unscaled or given == "nearest":
        return "nearest"
    if not _averages(dtype, read.picture):
        raise TypeError(
            f"interpolation must be 'nearest' for {dtype} under a scaled plan (ids can't be averaged){_remedy(dtype)}"
        )
    return given or "antialias"


def _averages(dtype: torch.dtype, picture: bool) -> bool:
    """Whether values of a dtype may be averaged: floating point and bytes always, other integers in pictures."""
    return dtype.is_floating_point or dtype == torch.uint8 or (picture and _is_integer(dtype))


def _remedy(dtype: torch.dtype) -> str:
    """The hint for integers that were taken for ids."""
    return "; if these are pictures, pass interpolation='antialias' or 'bilinear'" if _is_integer(dtype) else ""


def _is_integer(dtype: torch.dtype) -> bool:
    return not (dtype.is_floating_point or dtype.is_complex or dtype == torch.bool)


def _fill_value(fill: float | Sequence[float] | Tensor, like: Tensor, ndim: int) -> Tensor:
    dtype, one = like.dtype, fill if isinstance(fill, (int, float)) else None
    if _is_integer(dtype):
        bounds = torch.iinfo(dtype)
        # Python's integers: torch can't compare unsigned ones, nor hold more than 64 bits
        for number in tensor_of(fill).flatten().tolist() if one is None else (one,):
            if not bounds.min <= number <= bounds.max:  # NaN too
                raise ValueError(f"fill must lie within {bounds.min} … {bounds.max} for {dtype}, got {fill!r}")
    if one is not None:
        number = one if dtype.is_floating_point or dtype.is_complex else int(one)
        return torch.full((), number, dtype=dtype, device=like.device if not like.is_cpu and is_compiling() else HOST)
    numbers = tensor_of(fill)
    if numbers.ndim == 0 and numbers.device.type == "cpu" and not is_compiling():
        return numbers.to(like.dtype)
    value = sent(numbers, like.device, like.dtype)
    if value.ndim == 0:
        return value
    channels = like.shape[-ndim - 1] if like.ndim > ndim else 0
    if value.ndim != 1 or len(value) not in (1, channels):
        raise ValueError(f"fill must be one number or one per channel ({channels}), got shape {tuple(value.shape)}")
    return value.reshape(-1, *(1,) * ndim)


def _together(images: list[Tensor], plan: MixPlan) -> Tensor | None:
    """A list of images of one size as a batch, where they are padded or one launch mixes all; else None."""
    shape, (outputs, ndim) = images[0].shape, plan.canvas.shape
    canvas = plan.facts.canvas if plan.canvas.is_cuda else plan.canvas  # no wait for a device
    padded = canvas.tolist() != [[*plan.frame]] * outputs
    if not (padded or serves(images[0].device)) or shape[-ndim:] != tuple(plan.frame):
        return None
    if [1 for image in images if image.shape != shape]:
        return None
    return torch.stack([as_plain(image) for image in images])


def _describe(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__} of {sorted({type(item).__name__ for item in value}) or 'nothing'}"
    return type(value).__name__
