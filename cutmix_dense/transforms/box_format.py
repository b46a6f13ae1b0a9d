"""Boxes in the format that a training loop has them in: pixels when they come in, that format when they go out."""

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

Normalized = bool | Literal["frame"]
"""Whether boxes count in shares of their image's valid size (True), or of the padded frame."""

_MOST_SHARE = 2.0
"""No box that counts in shares of its image has many numbers beyond this."""

_ROUNDING = 8
"""How many units in the last place of an image's size a coordinate may be off a whole pixel and be meant as one."""


@dataclass(frozen=True)
class BoxForm:
    """How plain tensors of boxes are meant; ``tv_tensors.BoundingBoxes`` say it themselves.

    A coordinate that is a whole pixel but for the rounding of its format is one: 13/20 · 20 is 13, so that a region
    whose edge lies there takes all of the box.

    Attributes:
        box_format: see ``BoxFormat``. For volumes (x, y, z), then the other corner or the size.
        normalized: see ``Normalized``.
        came: the boxes that came in, as they came and in pixels; those that a mix left alone go out bit by bit.

    Raises:
        ValueError: an unknown format.
    """

    box_format: BoxFormat = "xyxy"
    normalized: Normalized = False
    came: _Came | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.box_format not in get_args(BoxFormat):
            raise ValueError(f"box_format must be one of {get_args(BoxFormat)}, got {self.box_format!r}")
        if self.normalized not in (True, False, "frame"):
            raise ValueError(f"normalized must be True, False or 'frame', got {self.normalized!r}")

    @property
    def in_pixels(self) -> bool:
        """Whether nothing has to be converted."""
        return self.box_format == "xyxy" and not self.normalized

    def to_pixels(self, targets: Any, sizes: Int[Tensor, "p d"]) -> tuple[Any, BoxForm]:
        """Targets with boxes xyxy in pixels, in double precision, and the form that takes them back.

        Args:
            targets: as a transform takes them; new dicts are made, nothing is changed.
            sizes: what 1 stands for: height and width of every image, on the host.
        """
        converted = self._in(targets, sizes)
        return converted, replace(self, came=_Came(targets, converted, sizes))

    def from_pixels(self, targets: Any, sizes: Int[Tensor, "b d"]) -> Any:
        """Mixed targets in the form and dtype that they came in; whole numbers are rounded.

        Args:
            targets: of the outputs, with ``origin``.
            sizes: what 1 stands for: height and width of every output, on the host.
        """
        assert self.came is not None
        return self._out(targets, self.came, sizes)

    def _in(self, targets: Any, sizes: Int[Tensor, "p d"]) -> Any:
        """The walk is that of ``TargetMixer.mix``."""
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

    def _out(self, targets: Any, came: _Came, sizes: Int[Tensor, "b d"]) -> Any:
        if is_padded(targets):
            return {**targets, "boxes": self._padded_out(targets, came, sizes)}
        if isinstance(targets, Mapping):
            return {key: self._out(value, came.entry(key), sizes) for key, value in targets.items()}
        if not isinstance(targets, (list, tuple)) or not targets:
            return targets
        if all(isinstance(target, (list, tuple)) for target in targets):
            frames = came.frames()
            return [[self._image_out(each, frames, size) for each in clip] for clip, size in zip(targets, sizes)]
        return [self._image_out(target, came, size) for target, size in zip(targets, sizes)]

    def _image_out(self, target: Any, came: _Came, size: Int[Tensor, " d"]) -> Any:
        if not isinstance(target, Mapping):
            return target
        changed = dict(target)
        if _plain(target.get("boxes"), size):
            changed["boxes"] = self._rows_out(target, (came,), size)
        ignored = target.get(IGNORED)
        if isinstance(ignored, Mapping) and _plain(ignored.get("boxes"), size):
            changed[IGNORED] = {**ignored, "boxes": self._rows_out(ignored, (came, came.ignored()), size)}
        return changed

    def _rows_out(self, target: Mapping[str, Any], came: Sequence[_Came], size: Int[Tensor, " d"]) -> Tensor:
        boxes: Tensor = target["boxes"]
        given = self._given(boxes, size)
        dtype = next((found for each in came if (found := each.dtype()) is not None), None)
        given = given if dtype is None else _cast(given, dtype)
        for each in came:
            given = each.restored(boxes, given, target["origin"], size)
        return given

    def _padded_out(self, targets: Mapping[str, Any], came: _Came, sizes: Int[Tensor, "b d"]) -> Tensor:
        boxes, count = targets["boxes"], len(came.sizes)
        origin = targets["origin"].clamp(min=0)
        given = _cast(self._given(boxes, sizes[:, None]), came.given["boxes"].dtype)
        own = origin[..., 0] < count  # images of a bank lie behind
        image, index = origin[..., 0].clamp(max=count - 1), origin[..., 1]
        same = own & (came.pixels["boxes"][image, index] == boxes).all(dim=-1) & targets["valid"]
        units = came.sizes.to(boxes.device)[image] == sizes.to(boxes.device)[:, None]
        same &= units.all(dim=-1)
        return torch.where(same[..., None], came.given["boxes"][image, index], given)

    def _corners(self, boxes: Any, size: Int[Tensor, "... d"]) -> Any:
        """Corners in pixels; what isn't plain boxes stays, and is refused elsewhere if it is nothing else."""
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
        corners = corners / _unit(size, corners) if self.normalized else corners
        low, high = corners.chunk(2, dim=-1)
        if self.box_format == "xyxy":
            return corners
        return torch.cat([low if self.box_format == "xywh" else (low + high) / 2, high - low], dim=-1)


@dataclass(frozen=True)
class _Came:
    """Targets as they came, the same in pixels, and what 1 stands for in each image."""

    given: Any
    pixels: Any
    sizes: Int[Tensor, "p d"]

    def entry(self, key: str) -> _Came:
        """Those under a key."""
        return _Came(self.given[key], self.pixels[key], self.sizes) if key in self.given else _Came([], [], self.sizes)

    def frames(self) -> _Came:
        """Those of clips, frame after frame."""
        given, pixels = ([frame for clip in clips for frame in clip] for clips in (self.given, self.pixels))
        return _Came(given, pixels, self.sizes.repeat_interleave(len(given) // len(self.sizes), dim=0))

    def ignored(self) -> _Came:
        """Their ignored instances."""
        given, pixels = ([target.get(IGNORED) or {} for target in part] for part in (self.given, self.pixels))
        return _Came(given, pixels, self.sizes)

    def dtype(self) -> torch.dtype | None:
        """That of the first plain boxes, those that aren't empty first."""
        found = [boxes for target in self.given if _plain(boxes := target.get("boxes"), self.sizes)]
        return next((boxes.dtype for boxes in sorted(found, key=len, reverse=True)), None)

    def restored(
        self,
        boxes: Float[Tensor, "n ends"],
        given: Shaped[Tensor, "n ends"],
        origin: Int[Tensor, "n 2"],
        size: Int[Tensor, " d"],
    ) -> Shaped[Tensor, "n ends"]:
        """``given``, but as they came those boxes that are in pixels what they were."""
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
        own = origin[:, 0] < len(counts)  # images of a bank lie behind
        image, index = origin[:, 0].clamp(max=len(counts) - 1), origin[:, 1]
        flat = (start[image] + index).clamp(max=len(before) - 1)
        alike = own & units[image] & (index < counts[image])
        same = alike & (pixels[flat] == boxes).all(dim=1)
        return torch.where(same[:, None], before[flat].to(given.dtype), given)


def _plain(boxes: Any, size: Int[Tensor, "... d"]) -> bool:
    """Whether these are boxes that say nothing themselves."""
    if not isinstance(boxes, Tensor) or isinstance(boxes, tv_tensors.TVTensor) or boxes.dtype == torch.bool:
        return False
    return boxes.ndim >= 2 and boxes.shape[-1] == 2 * size.shape[-1]


def _cast(boxes: Float[Tensor, "*n ends"], dtype: torch.dtype) -> Shaped[Tensor, "*n ends"]:
    return boxes.to(dtype) if dtype.is_floating_point else boxes.round().to(dtype)


def _unit(size: Int[Tensor, "*b d"], like: Tensor) -> Float[Tensor, "*b ends"]:
    """Width, height, width, height."""
    unit = size.flip(-1).repeat(*(1,) * (size.ndim - 1), 2)
    return unit.to(like.device, like.dtype, non_blocking=True)


def output_sizes(images: Any, ndim: int) -> Int[Tensor, "b d"]:
    """Height and width of every image of a batch or list."""
    return tensor_of([tuple(image.shape[-ndim:]) for image in images])
