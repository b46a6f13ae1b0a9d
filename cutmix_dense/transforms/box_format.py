"""Boxes in the format of a training loop: converted to pixels before a mix, and back after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor
from torchvision import tv_tensors

from cutmix_dense.arrays.compiling import is_compiling
from cutmix_dense.arrays.dtypes import exact_dtype
from cutmix_dense.arrays.host import tensor_of
from cutmix_dense.functional.fields import IGNORED, are_dicts
from cutmix_dense.functional.padded import is_padded

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
            boxes = targets["boxes"]
            if not _plain(boxes, 2 * sizes.shape[1]):
                return targets
            return {**targets, "boxes": self._corners(boxes, sizes[:, None], sizes.max(), [len(boxes)])}
        if isinstance(targets, Mapping):
            return {key: self._in(value, sizes) for key, value in targets.items()}
        if not isinstance(targets, (list, tuple)) or len(targets) != len(sizes):
            return targets
        parts: list[_Part] = []
        copies = [_copied(target, index, 2 * sizes.shape[1], parts) for index, target in enumerate(targets)]
        for group in _groups(parts, sizes):
            largest = group.size.amax(dim=1, keepdim=True)
            group.put(self._corners(group.boxes, group.size, largest, group.counts))
        return copies

    def _out(self, targets: Any, original: _Original, sizes: Int[Tensor, "b d"]) -> Any:
        if is_padded(targets):
            return {**targets, "boxes": self._padded_out(targets, original, sizes)}
        if isinstance(targets, Mapping):
            return {key: self._out(value, original.entry(key), sizes) for key, value in targets.items()}
        if not isinstance(targets, (list, tuple)) or not targets:
            return targets
        if all(isinstance(target, (list, tuple)) for target in targets):
            original = original.frames()
        parts: list[_Part] = []
        copies = [_copied(target, index, 2 * sizes.shape[1], parts) for index, target in enumerate(targets)]
        aside = [part for part in parts if part.ignored]
        for group in _groups([part for part in parts if not part.ignored], sizes):
            group.put(self._rows_out(group, (original,)))
        for group in _groups(aside, sizes):
            group.put(self._rows_out(group, (original, original.ignored())))
        return copies

    def _rows_out(self, group: _Group, original: Sequence[_Original]) -> Tensor:
        given = self._given(group.boxes, group.size)
        dtype = next((found for each in original if (found := each.dtype()) is not None), None)
        given = given if dtype is None else _cast(given, dtype)
        origin = torch.cat([target["origin"] for target in group.targets])
        for each in original:
            given = each.restored(group.boxes, given, origin, group.size)
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

    def _corners(
        self,
        boxes: Shaped[Tensor, "*n ends"],
        size: Int[Tensor, "... d"],
        largest: Int[Tensor, "..."],
        counts: list[int],
    ) -> Float[Tensor, "*n ends"]:
        """Corners in pixels.

        Args:
            boxes: plain ones.
            size: unit of normalised boxes; broadcasts.
            largest: the longest side that each may have; broadcasts.
            counts: how many boxes belong together, and are looked at together for pixels among shares.
        """
        exact = boxes.to(exact_dtype(boxes.device))
        if self.normalized and exact.device.type == "cpu" and not is_compiling() and (exact.abs() > _MOST_SHARE).any():
            for part in exact.split(counts):
                self._check_shares(part)
        first, second = exact.chunk(2, dim=-1)
        if self.box_format == "xywh":
            second = first + second
        elif self.box_format == "cxcywh":
            first, second = first - second / 2, first + second / 2
        corners = torch.cat([first, second], dim=-1)
        corners = corners * _unit(size, corners) if self.normalized else corners
        if not boxes.is_floating_point():
            return corners
        near = (largest.to(corners.dtype) * (_ROUNDING * torch.finfo(boxes.dtype).eps)).clamp(max=0.05)
        whole = corners.round()
        return torch.where((corners - whole).abs() <= near.to(corners.device, non_blocking=True), whole, corners)

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


class _Part(NamedTuple):
    """A dict of instances with plain boxes, the image whose size is theirs, and whether they are ignored ones."""

    target: dict[str, Any]
    image: int
    ignored: bool


class _Group(NamedTuple):
    """Dicts of instances with boxes of one dtype and device, and these boxes together, each with its image's size."""

    targets: list[dict[str, Any]]
    boxes: Shaped[Tensor, "n ends"]
    size: Int[Tensor, "n d"]
    counts: list[int]

    def put(self, boxes: Shaped[Tensor, "n ends"]) -> None:
        """Give every dict its own of the changed boxes."""
        for target, rows in zip(self.targets, boxes.split(self.counts)):
            target["boxes"] = rows


def _copied(target: Any, image: int, width: int, parts: list[_Part], ignored: bool = False) -> Any:
    """A copy of an image's targets, or of those of a clip's frames; those with plain boxes are added to ``parts``."""
    if type(target) is not dict:
        if isinstance(target, (list, tuple)) and are_dicts(target):
            return [_copied(frame, image, width, parts) for frame in target]
        if not isinstance(target, Mapping):
            return target
    changed = dict(target)
    if "boxes" in changed and _plain(changed["boxes"], width) and changed["boxes"].ndim == 2:
        parts.append(_Part(changed, image, ignored))
    if IGNORED in changed and isinstance(changed[IGNORED], Mapping):
        changed[IGNORED] = _copied(changed[IGNORED], image, width, parts, True)
    return changed


def _groups(parts: Sequence[_Part], sizes: Int[Tensor, "p d"]) -> list[_Group]:
    """The boxes of all parts, joined where they can be."""
    kinds = [(part.target["boxes"].dtype, part.target["boxes"].device) for part in parts]
    groups = []
    for kind in dict.fromkeys(kinds):
        own = [part for part, other in zip(parts, kinds) if other == kind]
        targets = [part.target for part in own]
        given = [target["boxes"] for target in targets]
        counts = [boxes.shape[0] for boxes in given]
        index = torch.from_numpy(np.array([part.image for part in own]).repeat(counts))
        groups.append(_Group(targets, torch.cat(given), sizes[index], counts))
    return groups


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
        """Dtype of the plain boxes of which there are most, the first of them; None without any."""
        width = 2 * self.sizes.shape[1]
        found = [target["boxes"] for target in self.given if "boxes" in target and _plain(target["boxes"], width)]
        longest = max(found, key=lambda boxes: boxes.shape[0], default=None)
        return None if longest is None else longest.dtype

    def restored(
        self,
        boxes: Float[Tensor, "n ends"],
        given: Shaped[Tensor, "n ends"],
        origin: Int[Tensor, "n 2"],
        size: Int[Tensor, "n d"],
    ) -> Shaped[Tensor, "n ends"]:
        """``given``, with the original rows of all boxes that the mix left alone."""
        whole = [(target.get("boxes"), pixel.get("boxes")) for target, pixel in zip(self.given, self.pixels)]
        rows = [(box, pixel) for box, pixel in whole if box is not None]
        counts = tensor_of([0 if box is None else box.shape[0] for box, _ in whole])
        plain = [_plain(box, 2 * size.shape[1]) for box, _ in rows]
        if False in plain or not boxes.shape[0] or not int(counts.sum()):
            return given
        before, pixels = torch.cat([box for box, _ in rows]), torch.cat([pixel for _, pixel in rows])
        start, counts, units, size = (
            part.to(boxes.device) for part in (counts.cumsum(0) - counts, counts, self.sizes, size)
        )
        own = origin[:, 0] < len(counts)  # images of a bank come later
        image, index = origin[:, 0].clamp(max=len(counts) - 1), origin[:, 1]
        flat = (start[image] + index).clamp(max=len(before) - 1)
        alike = own & (units[image] == size).all(dim=1) & (index < counts[image])
        same = alike & (pixels[flat] == boxes).all(dim=1)
        return torch.where(same[:, None], before[flat].to(given.dtype), given)


def _plain(boxes: Any, width: int) -> bool:
    """Whether these are plain boxes of rows of ``width``, without a format of their own."""
    if type(boxes) is not Tensor and (not isinstance(boxes, Tensor) or isinstance(boxes, tv_tensors.TVTensor)):
        return False
    return boxes.dtype != torch.bool and boxes.ndim >= 2 and boxes.shape[-1] == width


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
