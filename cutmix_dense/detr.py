"""Batches of the DETR family: nested tensors with a padding mask, or one tensor; boxes as normalised centre and size.

Nothing of these packages is imported: what has ``tensors`` and ``mask`` is a nested tensor.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard, TypeVar, cast

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import ModuleList
from torchvision import tv_tensors

from cutmix_dense.arrays.dtypes import exact_dtype
from cutmix_dense.normalized import LARGEST_SHARE, plain_boxes, refuse_integers, refuse_pixels, size_like
from cutmix_dense.randomness import call_generator
from cutmix_dense.transforms import Chain, MixTransform, RandomMix

__all__ = ["MixCollate", "is_nested", "mix_batch"]

_Samples = TypeVar("_Samples")

_IMAGE_KEYS = ("idx", "padding")
"""Keys of RT-DETR's and D-FINE's data sets that stay the base image's, beside those that the core knows."""

_INSTANCE_KEYS = ("mixup",)
"""Keys that follow an instance: the share that DEIM's own MixUp writes."""

_GIVEN = "keypoints as given"
"""Key under which normalised keypoints travel beside those in pixels, so that untouched ones come back bit by bit."""

_ROUNDING = 8
"""How many units in the last place of an image's size a keypoint may be off a whole pixel and be meant as one."""


def is_nested(value: Any) -> bool:
    """Whether a value is a nested tensor: images under ``tensors``, their padding under ``mask``.

    Example:
        >>> is_nested(torch.zeros(2, 3, 4, 5))
        False
    """
    return (
        not isinstance(value, Tensor) and isinstance(getattr(value, "tensors", None), Tensor) and hasattr(value, "mask")
    )


def mix_batch(
    samples: _Samples,
    targets: Sequence[Mapping[str, Any]],
    mix: MixTransform,
    *,
    generator: torch.Generator | None = None,
) -> tuple[_Samples, Any]:
    """Mix a batch of a DETR's training loop, and return it in the same form.

    Regions lie within the valid areas, so padding stays where it was and ``mask`` stays right. ``image_id``, ``size``
    and ``orig_size`` are the base image's. Every value that was a tensor still is one, so that
    ``{key: value.to(device) for key, value in target.items()}`` works; ``visibility`` and ``origin`` are new.

    Plain boxes are (centre x, centre y, width, height) in shares of their image's valid size, as the DETR family has
    them, unless ``mix`` declares another form, as ``normalized="frame"`` for shares of the padded frame. They come
    back so, and ``keypoints`` (x, y, visible), which are shares too. ``tv_tensors`` say themselves what they hold.

    Args:
        samples: a nested tensor: ``tensors`` (B, C, H, W) and ``mask`` (B, H, W), bool, True where an image is padded
            at its right or bottom, or None. Or images alone: (B, C, H, W), or a list of (C, Hi, Wi).
        targets: one dict per image: ``boxes`` (N, 4), ``labels`` (N,), and perhaps ``area``, ``iscrowd``, ``masks``
            (N, h, w) of the image's valid size or of the frame, ``keypoints`` (N, K, 3), ``image_id``, ``size``, ….
        mix: the method. A batch on a device is mixed there.
        generator: see ``MixTransform.forward``.

    Returns:
        Samples of the same class, which hold new images; targets in a tuple if they came in one, else in a list.

    Raises:
        TypeError: something else than those; ``mix`` isn't a mixing transform.
        ValueError: padding elsewhere than at the right and bottom; boxes or keypoints in pixels; targets padded to a
            fixed number of rows; ``on_filtered="ignore"``, whose nested dict no loss of a DETR takes; and what the
            method itself refuses.

    Source: facebookresearch/detr, ``util/misc.py``, for nested tensors; RF-DETR 1.11 and D-FINE for the keys.

    Example:
        >>> import cutmix_dense as cd
        >>> images = torch.rand(2, 3, 32, 48)
        >>> targets = [{"boxes": torch.tensor([[0.5, 0.5, 0.2, 0.4]]), "labels": torch.tensor([i])} for i in range(2)]
        >>> mixed, targets = mix_batch(images, targets, cd.CutMix(p=1.0))
        >>> targets[0]["boxes"].shape[1]
        4
    """
    if not isinstance(mix, MixTransform):
        raise TypeError(f"mix must be a mixing transform, got {type(mix).__name__}")
    rows = _rows(targets)
    generator = call_generator(generator)
    member = mix.choose(generator)
    own = _for_detr(member)
    form = own.members[0]  # those of a chain have one
    _refuse_shares(rows)
    nested = is_nested(samples)
    images: Any = samples.tensors if nested else samples  # type: ignore[attr-defined]
    sizes = _valid_sizes(samples) if nested else None
    if form.normalized:
        refuse_integers(rows, "targets", ("boxes", "keypoints"))
        boxes = [row["boxes"] for row in rows if plain_boxes(row.get("boxes"))]
        points = [_seen(row["keypoints"]) for row in rows if _plain_keypoints(row.get("keypoints"))]
        for name, values in (("boxes", boxes), ("keypoints", points)):
            rule = f"{name} of the targets must be shares of the image, as DETRs take them"
            refuse_pixels(values, rule, f"normalise them, wrap them in tv_tensors, or call {type(mix).__name__} itself")
        rows = [_keypoints_in(row, unit) for row, unit in zip(rows, _units(images, sizes, form))]
    mixed, rows = own(images, rows, sizes=sizes, generator=generator)
    resized = member.size
    if resized is not None:
        if tuple(mixed[0].shape[-2:]) != resized:
            raise ValueError(
                f"{type(member).__name__} makes images of {tuple(mixed[0].shape[-2:])}, but {resized} is needed: put "
                "Affine(size=...) after Mosaic(expand=...), in a Chain"
            )
        sizes = None
        rows = [{**row, "size": size_like(row["size"], resized)} if "size" in row else row for row in rows]
    if form.normalized:
        rows = [_keypoints_out(row, unit) for row, unit in zip(rows, _units(mixed, sizes, form))]
    result = mixed if not nested else _like(samples, mixed, resized)
    return result, tuple(rows) if isinstance(targets, tuple) else rows


class MixCollate:
    """A collate function that mixes the batches that another one makes, in the workers of a loader.

    It stands where the other one stood: ``set_epoch`` is handed on, and so are its other attributes (``stop_epoch``,
    ``ema_restart_decay`` and so on, which the solvers of D-FINE and DEIM read).

    Args:
        collate: makes (samples, targets) of a list of items, as ``BatchImageCollateFunction`` does.
        mix: the method; boxes as for ``mix_batch``.
        stop_epoch: first epoch without mixing, counted from 0, where the loop calls ``set_epoch``. None: the schedule
            of a ``RandomMix(total=…, close_last=…)``, else ``collate.stop_epoch``, from which on those solvers augment
            less; without either, mixing goes on until ``mix.close()``.

    Raises:
        TypeError: ``collate`` can't be called; ``mix`` isn't a mixing transform; ``stop_epoch`` isn't an integer.
        ValueError: a negative ``stop_epoch``, or one beside a schedule of the mix.

    Example:
        >>> import cutmix_dense as cd
        >>> def collate(items):
        ...     return torch.stack([image for image, _ in items]), [target for _, target in items]
        >>> target = {"boxes": torch.tensor([[0.5, 0.5, 0.2, 0.4]]), "labels": torch.tensor([3])}
        >>> mixing = MixCollate(collate, cd.CutMix(p=1.0), stop_epoch=10)
        >>> images, targets = mixing([(torch.rand(3, 32, 48), target) for _ in range(2)])
        >>> mixing.set_epoch(10)
        >>> mixing.mix.closed
        True
    """

    def __init__(
        self,
        collate: Callable[[list[Any]], tuple[Any, Any]],
        mix: MixTransform,
        stop_epoch: int | None = None,
    ) -> None:
        if not callable(collate):
            raise TypeError(f"collate must be a function, got {type(collate).__name__}")
        if not isinstance(mix, MixTransform):
            raise TypeError(f"mix must be a mixing transform, got {type(mix).__name__}")
        if stop_epoch is not None and not isinstance(stop_epoch, int):
            raise TypeError(f"stop_epoch must be an integer or None, got {stop_epoch!r}")
        if stop_epoch is not None and stop_epoch < 0:
            raise ValueError(f"stop_epoch must be at least 0, got {stop_epoch!r}")
        if stop_epoch is not None and mix.close_last:
            raise ValueError("mix has a schedule of its own, close_last: give that or stop_epoch, not both")
        _for_detr(mix)  # refuses at once what would fail in a worker
        self.collate = collate
        self.mix = mix
        self._stop_epoch = stop_epoch

    def __call__(self, items: list[Any]) -> tuple[Any, Any]:
        """The batch, mixed."""
        samples, targets = self.collate(items)
        return mix_batch(samples, targets, self.mix)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch begins: mixing closes or opens, in persistent workers too; what you closed stays closed."""
        if hasattr(self.collate, "set_epoch"):
            self.collate.set_epoch(epoch)
        stop = self._stop_epoch
        if self.mix.scheduled:
            self.mix.set_progress(epoch)
            if self.mix.close_last:
                return
        stop = getattr(self.collate, "stop_epoch", None) if stop is None else stop
        if stop is not None:
            self.mix.close(epoch >= stop, by_schedule=True)

    def __getattr__(self, name: str) -> Any:
        """What isn't found here is the collate's."""
        if name.startswith("__") or "collate" not in vars(self):  # while it is copied or unpickled
            raise AttributeError(name)
        return getattr(self.collate, name)


class _Unit(NamedTuple):
    """What 1 stands for along both axes, pixels."""

    height: int
    width: int


def _rows(targets: Any) -> list[dict[str, Any]]:
    """The targets as new dicts.

    Raises:
        TypeError: they aren't one dict per image.
        ValueError: rows that stand for nothing, to which RF-DETR pads for compiled graphs.
    """
    if isinstance(targets, (Mapping, Tensor, str)) or not hasattr(targets, "__iter__"):
        raise TypeError(f"targets must be one dict per image, got {type(targets).__name__}")
    rows = list(targets)
    for index, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise TypeError(f"targets must be one dict per image, got {type(row).__name__} at {index}")
        if "valid" in row:
            raise ValueError(
                f"targets[{index}] holds 'valid', so its rows are padded to a fixed number, which a mixed image may "
                "exceed: set pad_targets_to=None (RF-DETR), or pad after mixing"
            )
    return [_completed(dict(row)) for row in rows]


def _completed(row: dict[str, Any]) -> dict[str, Any]:
    """A target after DEIM's own MixUp, which unites all but ``iscrowd``. All are 0: its data set leaves crowds out."""
    crowd, labels = row.get("iscrowd"), row.get("labels")
    if "mixup" in row and isinstance(crowd, Tensor) and isinstance(labels, Tensor) and len(crowd) < len(labels):
        row["iscrowd"] = torch.cat([crowd, crowd.new_zeros(len(labels) - len(crowd))])
    return row


def _for_detr(member: MixTransform) -> MixTransform:
    """The transform with the box format and the keys of the DETR family; closing, bank and settings are shared.

    Raises:
        ValueError: a setting whose targets these losses can't take.
    """
    if isinstance(member, (RandomMix, Chain)):
        several = copy.copy(member)
        several._modules = {
            "transforms": ModuleList(_for_detr(cast("MixTransform", each)) for each in member.transforms)
        }
        return several
    if member.on_filtered == "ignore":
        raise ValueError(
            f"on_filtered of {type(member).__name__} must be 'drop' or 'crowd' here, got 'ignore': it makes "
            "target['ignored'], a nested dict, and loops of the DETR family move every value by .to(device)"
        )
    own = copy.copy(member)
    if member.box_format == "xyxy" and not member.normalized:
        own.box_format, own.normalized = "cxcywh", True
    own.image_keys = (*member.image_keys, *(key for key in _IMAGE_KEYS if key not in member.instance_keys))
    own.instance_keys = (*member.instance_keys, _GIVEN, *(k for k in _INSTANCE_KEYS if k not in member.image_keys))
    return own


def _valid_sizes(samples: Any) -> Int[Tensor, "b 2"] | None:
    """Valid height and width of every image, on the host; None where nothing is padded.

    Raises:
        TypeError: a mask of another kind.
        ValueError: padding elsewhere than at the right and bottom; an image of padding alone.
    """
    images, mask = samples.tensors, samples.mask
    if mask is None or getattr(samples, "no_padding", False):  # RF-DETR knows it without reading the mask
        return None
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        got = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"samples.mask must be a tensor of bools (True is padding), got {got}")
    if mask.ndim != 3 or images.ndim != 4 or mask.shape != (images.shape[0], *images.shape[2:]):
        raise ValueError(
            f"samples.mask must have shape (B, H, W) of samples.tensors {tuple(images.shape)}, got {tuple(mask.shape)}"
        )
    sizes, fits = _read_mask(mask)
    wrong = [index for index, fit in enumerate(fits) if not fit]
    if wrong:
        raise ValueError(
            f"samples.mask must mark padding at the right and bottom only; images {wrong} have it elsewhere, or no "
            "valid pixel: mix before padded images are flipped, rotated or shifted"
        )
    return sizes


def _read_mask(mask: Bool[Tensor, "b h w"]) -> tuple[Int[Tensor, "b 2"], list[bool]]:
    """Valid sizes, on the host, and whether the mask of each image is made of them."""
    return _read_host_mask(mask.numpy()) if mask.device.type == "cpu" else _read_device_mask(mask)


def _read_host_mask(mask: Bool[np.ndarray, "b h w"]) -> tuple[Int[Tensor, "b 2"], list[bool]]:
    """By blocks: numpy looks for a value in whole rows at the speed of memory."""
    heights, widths = (~mask[:, :, 0]).sum(axis=1), (~mask[:, 0]).sum(axis=1)
    fits = [
        bool(height > 0 and not one[:height, :width].any() and one[height:].all() and one[:height, width:].all())
        for one, height, width in zip(mask, heights, widths)
    ]
    return torch.from_numpy(np.stack([heights, widths], axis=1)), fits


def _read_device_mask(mask: Bool[Tensor, "b h w"]) -> tuple[Int[Tensor, "b 2"], list[bool]]:
    """The same with one transfer to the host."""
    heights, widths = (~mask[:, :, 0]).sum(dim=1), (~mask[:, 0]).sum(dim=1)
    below = torch.arange(mask.shape[1], device=mask.device) >= heights[:, None]
    beside = torch.arange(mask.shape[2], device=mask.device) >= widths[:, None]
    wrong = ((below[:, :, None] | beside[:, None]) ^ mask).flatten(1).any(dim=1) | (heights == 0)
    found = torch.stack([heights, widths, wrong.long()], dim=1).cpu()
    return found[:, :2], [not one for one in found[:, 2].tolist()]


def _units(images: Any, sizes: Int[Tensor, "b 2"] | None, mix: MixTransform) -> list[_Unit]:
    """What 1 stands for in each image."""
    if sizes is not None and mix.normalized != "frame":
        return [_Unit(*size) for size in sizes.tolist()]
    return [_Unit(*image.shape[-2:]) for image in images]


def _keypoints_in(row: dict[str, Any], unit: _Unit) -> dict[str, Any]:
    """A target with keypoints in pixels, and as they came under another key."""
    points = row.get("keypoints")
    if not _plain_keypoints(points):
        return row
    scale = _scale(unit, points)
    pixels = points[..., :2].to(exact_dtype(points.device)) * scale
    near = min(_ROUNDING * torch.finfo(points.dtype).eps * max(unit), 0.05)
    whole = pixels.round()
    pixels = torch.where((pixels - whole).abs() <= near, whole, pixels)
    return {**row, "keypoints": torch.cat([pixels, points[..., 2:].to(pixels)], dim=-1), _GIVEN: points}


def _keypoints_out(row: dict[str, Any], unit: _Unit) -> dict[str, Any]:
    """A mixed target with keypoints as they came: those that stayed where they were bit by bit."""
    given = row.pop(_GIVEN, None)
    if given is None:
        return row
    points = row["keypoints"]
    shares = torch.cat([points[..., :2] / _scale(unit, points), points[..., 2:]], dim=-1).to(given.dtype)
    near = _ROUNDING * torch.finfo(given.dtype).eps
    return {**row, "keypoints": torch.where((shares - given).abs() <= near, given, shares)}


def _refuse_shares(rows: list[dict[str, Any]]) -> None:
    """Raise ValueError if ``BoundingBoxes``, which are in pixels by their nature, hold shares of the image."""
    found = [boxes for row in rows if isinstance(boxes := row.get("boxes"), tv_tensors.BoundingBoxes) and len(boxes)]
    if not found:
        return
    largest = torch.stack([boxes.as_subclass(Tensor).abs().max() for boxes in found]).max()
    if bool(largest <= LARGEST_SHARE):
        raise ValueError(
            f"tv_tensors.BoundingBoxes must be in pixels, got no value above {float(largest):g} in the batch, so they "
            "look normalised: give plain tensors, boxes.as_subclass(torch.Tensor)"
        )


def _seen(points: Tensor) -> Tensor:
    """Those that an image shows, (M, 2)."""
    return (points if points.shape[-1] == 2 else points[points[..., 2] > 0])[..., :2].reshape(-1, 2)


def _plain_keypoints(points: Any) -> TypeGuard[Tensor]:
    return (
        isinstance(points, Tensor)
        and not isinstance(points, tv_tensors.TVTensor)
        and points.is_floating_point()
        and points.ndim == 3
        and points.shape[-1] in (2, 3)
    )


def _scale(unit: _Unit, like: Tensor) -> Float[Tensor, " 2"]:
    """Width and height."""
    return torch.tensor([unit.width, unit.height], dtype=exact_dtype(like.device), device=like.device)


def _like(samples: Any, images: Tensor, resized: tuple[int, int] | None) -> Any:
    """A nested tensor of the same class, with its other attributes; ``resized`` images have no padding."""
    mask = samples.mask
    if resized is not None and mask is not None:
        mask = mask.new_zeros((len(images), *resized))
    if hasattr(samples, "_replace"):
        return samples._replace(tensors=images, mask=mask)
    if dataclasses.is_dataclass(samples):
        return dataclasses.replace(samples, tensors=images, mask=mask)  # type: ignore[type-var]
    nested = copy.copy(samples)
    nested.tensors, nested.mask = images, mask
    return nested
