"""Boxes in the format of a training loop: converted to pixels before a mix, and back after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torchvision import tv_tensors

from cutmix_dense.arrays.compiling import is_compiling
from cutmix_dense.arrays.host import tensor_of
from cutmix_dense.functional.boxes import exact_dtype
from cutmix_dense.functional.fields import IGNORED
from cutmix_dense.functional.padded import is_padded

__all__ = ["BoxForm", "BoxFormat", "Normalized", "output_sizes"]

BoxFormat = Literal["xyxy", "xywh", "cxcywh"]
"""Corners, corner and size, or centre and size."""

_BOX_FORMATS = get_args(BoxFormat)

Normalized = bool | Literal["frame"]
"""Unit of boxes: pixels (False), the valid size of their image (True), or the padded frame (``"frame"``)."""

_MOST_SHARE = 2.0
"""No box that counts in shares of its image has many numbers beyond this."""

_ROUNDING = 8
"""A coordinate this many units in the last place of its image's size off a whole pixel counts as that pixel."""


@dataclass(frozen=True)
class BoxForm:
    """Format of plain tensors of boxes; ``tv_tensors.BoundingBoxes`` carry their own.

    Coordinates within rounding error of a whole pixel are rounded to it (13/20 · 20 is 13), so that a region with its
    edge there takes the whole box.

    Attributes:
        box_format: see ``BoxFormat``; for volumes (x, y, z), then the other corner or the size.
        normalized: see ``Normalized``.
        original: the boxes before conversion and in pixels; those that a mix left alone go out bit-identical.

    Raises:
        ValueError: the format is unknown.
    """

    box_format: BoxFormat = "xyxy"
    normalized: Normalized = False
    original: _Original | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.box_format not in _BOX_FORMATS:
            raise ValueError(f"box_format must be one of {_BOX_FORMATS}, got {self.box_format!r}")
        if self.normalized not in (True, False, "frame"):
            raise ValueError(f"normalized must be True, False or 'frame', got {self.normalized!r}")

    @property
    def in_pixels(self) -> bool:
        """Whether boxes are xyxy in pixels already."""
        return self.box_format == "xyxy" and not self.normalized

    def to_pixels(self, targets: Any, sizes: Int[Tensor, "p d"]) -> tuple[Any, BoxForm]:
        """Targets with boxes xyxy in pixels, float64, and the form that converts them back.

        Args:
            targets: as for the call of a transform; not changed.
            sizes: unit of normalised boxes: height and width of every image, on the host.
        """
        converted = self._in(targets, sizes)
        return converted, replace(self, original=_Original(targets, converted, sizes))

    def from_pixels(self, targets: Any, sizes: Int[Tensor, "b d"]) -> Any:
        """Mixed targets with boxes in their original format and dtype; integers are rounded.

        Args:
            targets: of the outputs, with ``origin``.
            sizes: unit of normalised boxes: height and width of every output, on the host.
        """
        assert self.original is not None
        return self._out(targets, self.original, sizes)

    def _in(self, targets: Any, sizes: Int[Tensor, "p d"]) -> Any:
        """Convert boxes in targets of any form that ``TargetMixer.mix`` takes."""
        if is_padded(targets):
            return {**targets, "boxes": self._corners(targets["boxes"], sizes[:, None])}
        if isinstance(targets, Mapping):
            return {key: self._in(value, sizes) for key, value in targets.items()}
        if not isinstance(targets, (list, tuple)) or len(targets) != len(sizes):
            return targets
        return [self._image_in(target, size) for target, size in zip(targets, sizes)]

    def _image_in(self, target: Any, size: Int[Tensor, " d"]) -> Any:
        if isinstance(target, (list, tuple)) and all(isinstance(frame, Mapping) for frame in target):
            return [self._image_in(frame, size) for frame in target]
        if not isinstance(target, Mapping):
            return target
        changed = dict(target)
        if "boxes" in target:
            changed["boxes"] = self._corners(target["boxes"], size)
        if isinstance(target.get(IGNORED), Mapping):
            changed[IGNORED] = self._image_in(target[IGNORED], size)
        return changed

    def _out(self, targets: Any, original: _Original, sizes: Int[Tensor, "b d"]) -> Any:
        if is_padded(targets):
            return {**targets, "boxes": self._padded_out(targets, original, sizes)}
        if isinstance(targets, Mapping):
            return {key: self._out(value, original.entry(key), sizes) for key, value in targets.items()}
        if not isinstance(targets, (list, tuple)) or not targets:
            return targets
        if all(isinstance(target, (list, tuple)) for target in targets):
            frames = original.frames()
            return [[self._image_out(each, frames, size) for each in clip] for clip, size in zip(targets, sizes)]
        return [self._image_out(target, original, size) for target, size in zip(targets, sizes)]

    def _image_out(self, target: Any, original: _Original, size: Int[Tensor, " d"]) -> Any:
        if not isinstance(target, Mapping):
            return target
        changed = dict(target)
        if _plain(target.get("boxes"), size):
            changed["boxes"] = self._rows_out(target, (original,), size)
        ignored = target.get(IGNORED)
        if isinstance(ignored, Mapping) and _plain(ignored.get("boxes"), size):
            changed[IGNORED] = {**ignored, "boxes": self._rows_out(ignored, (original, original.ignored()), size)}
        return changed

    def _rows_out(self, target: Mapping[str, Any], original: Sequence[_Original], size: Int[Tensor, " d"]) -> Tensor:
        boxes: Tensor = target["boxes"]
        given = self._given(boxes, size)
        dtype = next((found for each in original if (found := each.dtype()) is not None), None)
        given = given if dtype is None else _cast(given, dtype)
        for each in original:
            given = each.restored(boxes, given, target["origin"], size)
        return given

    def _padded_out(self, targets: Mapping[str, Any], original: _Original, sizes: Int[Tensor, "b d"]) -> Tensor:
        boxes, count = targets["boxes"], len(original.sizes)
        origin = targets["origin"].clamp(min=0)
        given = _cast(self._given(boxes, sizes[:, None]), original.given["boxes"].dtype)
        own = origin[..., 0] < count  # images of a bank come later
        image, index = origin[..., 0].clamp(max=count - 1), origin[..., 1]
        same = own & (original.pixels["boxes"][image, index] == boxes).all(dim=-1) & targets["valid"]
        units = original.sizes.to(boxes.device)[image] == sizes.to(boxes.device)[:, None]
        same &= units.all(dim=-1)
        return torch.where(same[..., None], original.given["boxes"][image, index], given)

    def _corners(self, boxes: Any, size: Int[Tensor, "... d"]) -> Any:
        """Corners in pixels; anything but plain boxes stays as it is."""
        if not _plain(boxes, size):
            return boxes
        exact = boxes.to(exact_dtype(boxes.device))
        if self.normalized and exact.numel() and exact.device.type == "cpu" and not is_compiling():
            self._check_shares(exact)
        first, second = exact.chunk(2, dim=-1)
        if self.box_format == "xywh":
            second = first + second
        elif self.box_format == "cxcywh":
            first, second = first - second / 2, first + second / 2
        corners = torch.cat([first, second], dim=-1)
        corners = corners * _unit(size, corners) if self.normalized else corners
        if not boxes.is_floating_point():
            return corners
        near = min(_ROUNDING * torch.finfo(boxes.dtype).eps * int(size.max()), 0.05)
        whole = corners.round()
        return torch.where((corners - whole).abs() <= near, whole, corners)

    def _check_shares(self, boxes: Float[Tensor, "*n ends"]) -> None:
        """Raise ValueError for boxes most of which are far larger than their image: pixels taken for shares."""
        finite = boxes[boxes.isfinite()]
        if len(finite) and float((finite.abs() > _MOST_SHARE).float().mean()) > 0.5:
            first = boxes.reshape(-1, boxes.shape[-1])[0].tolist()
            raise ValueError(
                f"normalized={self.normalized!r} says that boxes count in shares of their image, and most of their "
                f"numbers are larger than {_MOST_SHARE:g}, as pixels are: got {first}; give normalized=False, or "
                "divide them by the image's width and height"
            )

    def _given(self, corners: Float[Tensor, "*n ends"], size: Int[Tensor, "... d"]) -> Float[Tensor, "*n ends"]:
        """Corners in pixels converted to this format."""
        corners = corners / _unit(size, corners) if self.normalized else corners
        low, high = corners.chunk(2, dim=-1)
        if self.box_format == "xyxy":
            return corners
        return torch.cat([low if self.box_format == "xywh" else (low + high) / 2, high - low], dim=-1)


@dataclass(frozen=True)
class _Original:
    """Targets before conversion and in pixels, and the unit of normalised boxes of each image."""

    given: Any
    pixels: Any
    sizes: Int[Tensor, "p d"]

    def entry(self, key: str) -> _Original:
        """The targets under one key."""
        return (
            _Original(self.given[key], self.pixels[key], self.sizes)
            if key in self.given
            else _Original([], [], self.sizes)
        )

    def frames(self) -> _Original:
        """The targets of clips, frame after frame."""
        given, pixels = ([frame for clip in clips for frame in clip] for clips in (self.given, self.pixels))
        return _Original(given, pixels, self.sizes.repeat_interleave(len(given) // len(self.sizes), dim=0))

    def ignored(self) -> _Original:
        """The ignored instances."""
        given, pixels = ([target.get(IGNORED) or {} for target in part] for part in (self.given, self.pixels))
        return _Original(given, pixels, self.sizes)

    def dtype(self) -> torch.dtype | None:
        """Dtype of the first plain boxes that aren't empty, else of the first."""
        found = [boxes for target in self.given if _plain(boxes := target.get("boxes"), self.sizes)]
        return next((boxes.dtype for boxes in sorted(found, key=len, reverse=True)), None)

    def restored(
        self,
        boxes: Float[Tensor, "n ends"],
        given: Shaped[Tensor, "n ends"],
        origin: Int[Tensor, "n 2"],
        size: Int[Tensor, " d"],
    ) -> Shaped[Tensor, "n ends"]:
        """``given``, with the original rows of all boxes that the mix left alone."""
        rows = [(target.get("boxes"), pixel.get("boxes")) for target, pixel in zip(self.given, self.pixels)]
        if any(box is not None and not _plain(box, size) for box, _ in rows) or not len(boxes):
            return given
        counts = tensor_of([0 if box is None else len(box) for box, _ in rows])
        if not int(counts.sum()):
            return given
        before = torch.cat([box for box, _ in rows if box is not None])
        pixels = torch.cat([pixel for _, pixel in rows if pixel is not None])
        start, counts, units = (
            part.to(boxes.device) for part in (counts.cumsum(0) - counts, counts, (self.sizes == size).all(dim=1))
        )
        own = origin[:, 0] < len(counts)  # images of a bank come later
        image, index = origin[:, 0].clamp(max=len(counts) - 1), origin[:, 1]
        flat = (start[image] + index).clamp(max=len(before) - 1)
        alike = own & units[image] & (index < counts[image])
        same = alike & (pixels[flat] == boxes).all(dim=1)
        return torch.where(same[:, None], before[flat].to(given.dtype), given)


def _plain(boxes: Any, size: Int[Tensor, "... d"]) -> bool:
    """Whether these are plain boxes, without a format of their own."""
    if not isinstance(boxes, Tensor) or isinstance(boxes, tv_tensors.TVTensor) or boxes.dtype == torch.bool:
        return False
    return boxes.ndim >= 2 and boxes.shape[-1] == 2 * size.shape[-1]


def _cast(boxes: Float[Tensor, "*n ends"], dtype: torch.dtype) -> Shaped[Tensor, "*n ends"]:
    """Boxes in ``dtype``, rounded for integers."""
    return boxes.to(dtype) if dtype.is_floating_point else boxes.round().to(dtype)


def _unit(size: Int[Tensor, "*b d"], like: Tensor) -> Float[Tensor, "*b ends"]:
    """Sizes (y, x) as units of boxes: (x, y, x, y)."""
    unit = size.flip(-1).repeat(*(1,) * (size.ndim - 1), 2)
    return unit.to(like.device, like.dtype, non_blocking=True)


def output_sizes(images: Any, ndim: int) -> Int[Tensor, "b d"]:
    """Height and width of every image of a batch or list."""
    return tensor_of([tuple(image.shape[-ndim:]) for image in images])
