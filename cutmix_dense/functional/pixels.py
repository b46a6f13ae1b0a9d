"""Mix images and any other per-pixel tensor by a plan."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from cutmix_dense.arrays.host import HOST, sent, tensor_of
from cutmix_dense.functional.pixel_checks import check_inplace, check_out, check_pool
from cutmix_dense.functional.wrapping import as_plain, rewrap
from cutmix_dense.kernels import Interpolation, mix_batch, mix_list
from cutmix_dense.plan import MixPlan

__all__ = ["Interpolation", "default_fill", "mix_images", "mix_pixels"]

Pool = TypeVar("Pool", bound="Tensor | list[Tensor]")


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
    """Mix images, or any tensor with a value per pixel, by a plan.

    Args:
        pool: (P, …, H, W), what lies between are channels (frames, …); or a list of (…, Hi, Wi), which gives a list.
            Under a plan of three axes (P, …, D, H, W). Padded batches keep the base's padding beyond a canvas of its
            size. Under a plan of ``frames`` clips (P, frames, …, H, W), or a list of (frames, …, Hi, Wi).
        plan: who owns each output pixel.
        fill: value of pixels that nobody owns, one number or one per channel. A plan with such pixels needs one.
        interpolation: how scaled layers are read: ``"antialias"`` (default of floating point and uint8), ``"bilinear"``
            or ``"nearest"``. Other integers hold ids, which are read ``"nearest"`` and never blended, unless one of the
            first two says that they are pictures. Integers are filtered and blended in floating point, those of more
            than a byte in float64, and rounded, halves to even.
        feather: softness of the borders between layers: sigma of a Gaussian in pixels; for images, not for labels.
        out: (B, …, *frame) tensor of the same dtype and device that takes the result and is returned.
        inplace: write the result into ``pool`` itself: an unscaled plan with one output per image.

    Returns:
        (B, …, *frame), or a list of (…, *canvas); dtype, device, memory format and tv_tensor class of the pool.

    Raises:
        TypeError: ``pool`` is neither; ids that would be blended; bools or complex numbers that would be filtered.
        ValueError: a pool too short or images smaller than the plan's extents, clips of another number of frames than
            the plan's, a missing ``fill``, a wrong ``out``.
    """
    read = _Reading(fill, interpolation, feather, picture=interpolation in ("antialias", "bilinear"))
    return cast("Pool", _mix(pool, plan, read, out, inplace))


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
    """Mix pictures: as ``mix_pixels``, but integers of any width are numbers, however they are read.

    Args:
        pool: see ``mix_pixels``, as what isn't named here.
        plan: see ``mix_pixels``.
        fill: None is ``default_fill`` of the pool's dtype.
        interpolation: how scaled images are read; None is ``"antialias"``.
        feather: see ``mix_pixels``.
        out: see ``mix_pixels``.
        inplace: see ``mix_pixels``.
    """
    first = pool if isinstance(pool, Tensor) else next(iter(pool), None)
    if fill is None and isinstance(first, Tensor):
        fill = default_fill(first.dtype)
    return cast("Pool", _mix(pool, plan, _Reading(fill, interpolation, feather, picture=True), out, inplace))


def default_fill(dtype: torch.dtype) -> int:
    """What nobody owns in a picture, unless a fill is stated: grey, or 0 where the dtype says nothing of the range.

    Grey is 114 of 255, as in YOLO's mosaics, at the same place in the range of other unsigned integers (29298 in
    uint16). Signed integers, floating point and bools get 0: of normalised pictures the mean colour.
    """
    return 114 * (torch.iinfo(dtype).max // 255) if _is_integer(dtype) and not dtype.is_signed else 0


@dataclass(frozen=True)
class _Reading:
    """How the pixels of a pool are read; see ``mix_pixels``.

    Attributes:
        fill: None: none is given.
        interpolation: None: none is given.
        feather: sigma, pixels.
        picture: whether integers are numbers, which may be averaged, not ids.
    """

    fill: float | Sequence[float] | Tensor | None
    interpolation: Interpolation | None
    feather: float
    picture: bool


def _mix(pool: Any, plan: MixPlan, read: _Reading, out: Tensor | None, inplace: bool) -> Any:
    if plan.frames > 1:
        return _mix_clips(pool, plan, read, out, inplace)
    feather = read.feather
    images = pool if isinstance(pool, Tensor) else list(pool)
    if not isinstance(images, Tensor) and not (images and all(isinstance(image, Tensor) for image in images)):
        raise TypeError(f"pool must be a tensor or a list of tensors, got {_describe(pool)}")
    check_pool(images, plan)
    like = images if isinstance(images, Tensor) else images[0]
    interpolation = _interpolation(read, like.dtype, plan)
    if not 0 <= feather < math.inf:
        raise ValueError(f"feather must be at least 0 pixels, got {feather!r}")
    if (feather > 0 or plan.weight is not None) and not _averages(like.dtype, read.picture):
        remedy = _remedy(like.dtype)
        raise TypeError(
            f"pool must be floating point or uint8 to be blended, got {like.dtype} (ids don't average){remedy}"
        )
    fill = read.fill
    if fill is None and plan.has_fill():
        raise ValueError("fill must be given: the plan leaves pixels that no layer owns, got None")
    value = None if fill is None else _fill_value(fill, like, plan.ndim)

    if not isinstance(images, Tensor):
        if out is not None or inplace:
            raise ValueError("out and inplace need a tensor of images, got a list")
        padded = _common_padding(images, plan)
        if padded is not None:
            mixed = list(mix_batch(padded, plan, fill=value, interpolation=interpolation, feather=feather))
        else:
            mixed = mix_list(images, plan.to(HOST), fill=value, interpolation=interpolation, feather=feather)
        return [rewrap(image, like) for image in mixed]

    plain = as_plain(images)
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
        out=None if out is None else as_plain(out),
        inplace=inplace,
    )
    if inplace or out is not None:
        return images if inplace else out
    behind = torch.channels_last if plan.ndim == 2 else torch.channels_last_3d
    if plain.ndim == plan.ndim + 2 and plain.is_contiguous(memory_format=behind) and not plain.is_contiguous():
        result = result.contiguous(memory_format=behind)
    return rewrap(result, images)


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
    result = _mix(frames, single, read, into, inplace).unflatten(0, (-1, count))
    target = pool if inplace else out
    if target is None:
        return rewrap(result, pool)
    if target.untyped_storage().data_ptr() != result.untyped_storage().data_ptr():  # its frames are no view of it
        as_plain(target).copy_(result)
    return target


def _frames_of(clips: Any, plan: MixPlan, name: str) -> Any:
    """The frames of clips one after another: of a tensor a view, if its strides allow it.

    Raises:
        TypeError: neither a tensor nor a list of tensors.
        ValueError: clips of another number of frames than the plan's.
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
            f"interpolation must be 'nearest' for {dtype} under a scaled plan (ids don't average){_remedy(dtype)}"
        )
    return given or "antialias"


def _averages(dtype: torch.dtype, picture: bool) -> bool:
    """Whether values of a dtype may be weighed: bytes and floating point always, other integers of pictures."""
    return dtype.is_floating_point or dtype == torch.uint8 or (picture and _is_integer(dtype))


def _remedy(dtype: torch.dtype) -> str:
    """What to do about integers that were taken for ids."""
    return "; if these are pictures, say interpolation='antialias' or 'bilinear'" if _is_integer(dtype) else ""


def _is_integer(dtype: torch.dtype) -> bool:
    return not (dtype.is_floating_point or dtype.is_complex or dtype == torch.bool)


def _fill_value(fill: float | Sequence[float] | Tensor, like: Tensor, ndim: int) -> Tensor:
    if _is_integer(like.dtype):
        bounds = torch.iinfo(like.dtype)
        # as Python's numbers: torch compares no unsigned ones, and takes none beyond 64 bits
        given = [fill] if isinstance(fill, (int, float)) else tensor_of(fill).flatten().tolist()
        if not all(bounds.min <= number <= bounds.max for number in given):  # NaN is not either
            raise ValueError(f"fill must lie within {bounds.min} … {bounds.max} for {like.dtype}, got {fill!r}")
    if isinstance(fill, (int, float)):
        number = fill if like.is_floating_point() or like.is_complex() else int(fill)
        return torch.full((), number, dtype=like.dtype, device=like.device)  # made there: no copy, no sync
    numbers = tensor_of(fill)
    if numbers.ndim == 0 and numbers.device.type == "cpu":
        return torch.full((), numbers.to(like.dtype).item(), dtype=like.dtype, device=like.device)
    value = sent(numbers, like.device, like.dtype)
    if value.ndim == 0:
        return value
    channels = like.shape[-ndim - 1] if like.ndim > ndim else 0
    if value.ndim != 1 or len(value) not in (1, channels):
        raise ValueError(f"fill must be one number or one per channel ({channels}), got shape {tuple(value.shape)}")
    return value.reshape(-1, *(1,) * ndim)


def _common_padding(images: list[Tensor], plan: MixPlan) -> Tensor | None:
    """A list of equal sizes, larger than what the plan takes from them, is a padded batch; else None."""
    shape, size = images[0].shape, [*plan.frame]
    if list(shape[-plan.ndim :]) != size or any(image.shape != shape for image in images):
        return None
    if all(canvas == size for canvas in plan.canvas.tolist()):
        return None
    return torch.stack([as_plain(image) for image in images])


def _describe(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return f"{type(value).__name__} of {sorted({type(item).__name__ for item in value}) or 'nothing'}"
    return type(value).__name__
