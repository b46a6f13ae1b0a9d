"""Between MMDetection's structures and plain tensors; told by what they can do, so that mmdet needn't be imported."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Shaped
from torch import Tensor
from torchvision import tv_tensors

from cutmix_dense.arrays.dtypes import exact_dtype
from cutmix_dense.functional import MixReport
from cutmix_dense.functional.report import Outcome
from cutmix_dense.functional.wrapping import rewrap
from cutmix_dense.plan import MixPlan
from cutmix_dense.polygon_bitmaps import draw_in_windows

_ROTATED = {"rbox": "CXCYWHR", "qbox": "XYXYXYXY"}
"""MMRotate's box types, by the names that it registers them under, and the torchvision formats that hold the same."""


def as_tensor(value: Any) -> Tensor:
    """An array's memory as a tensor; a tensor as it is."""
    if isinstance(value, Tensor):
        return value
    array = np.asarray(value)
    return torch.from_numpy(array if array.flags.writeable and array.flags.c_contiguous else array.copy())


def rows_of(values: Tensor, chosen: Bool[Tensor, " n"]) -> Tensor:
    """Some of the rows, boxes of a format as such."""
    return rewrap(values[chosen], values)


def as_boxes(boxes: Any) -> Float[Tensor, "n c"]:
    """Boxes of an array, a tensor or a ``BaseBoxes``.

    Returns:
        xyxy (N, 4). Of MMRotate's ``RotatedBoxes`` and ``QuadriBoxes`` a ``tv_tensors.BoundingBoxes`` of torchvision's
        format (torchvision 0.23 or newer), in double precision where the device has it, so that float32 comes back to
        the last bit, float64 to the rounding of degrees; of another box type the upright boxes round them.
    """
    if not _is_structure(boxes):
        return as_tensor(boxes)
    form = _rotated_format(type(boxes))
    if form is None:
        return boxes.convert_to("hbox").tensor
    rows = boxes.tensor.to(exact_dtype(boxes.tensor.device))
    if form.name == "CXCYWHR":  # radians, clockwise on the screen, become degrees, counter-clockwise
        rows = torch.cat([rows[:, :4], -torch.rad2deg(rows[:, 4:])], dim=1)
    return tv_tensors.BoundingBoxes(rows, format=form, canvas_size=(0, 0))


def boxes_like(
    example: Any,
    sources: Sequence[Callable[[], Any]],
    mixed: Float[Tensor, "n c"],
    report: MixReport,
    plan: MixPlan,
    output: int,
) -> Any:
    """Mixed boxes of one output, ignored ones behind the others, in the form of the base's.

    MMRotate's box types come back as the core made them. Any other that isn't upright keeps its own parameters, scaled
    and shifted with its image: it is judged by the upright box round it, and not cut.

    Args:
        example: the base's boxes.
        sources: per pool image a function that gives its boxes, ignored ones behind the others; for other box types.
        mixed: boxes as ``as_boxes`` gives them.
        report: what became of the instances.
        plan: where layers lie.
        output: which output of the plan.

    Raises:
        ValueError: another box type under a plan that mirrors.
    """
    if not _is_structure(example):
        return mixed if isinstance(example, Tensor) else mixed.numpy()
    kind = type(example)
    form = _rotated_format(kind)
    if form is not None:
        rows = mixed.as_subclass(Tensor)
        if form.name == "CXCYWHR":
            rows = torch.cat([rows[:, :4], -torch.deg2rad(rows[:, 4:])], dim=1)
        return kind(rows.to(example.tensor.dtype), clone=False)
    if isinstance(example.convert_to("hbox"), kind):
        return kind(mixed, clone=False)
    if not isinstance(plan, MixPlan):
        raise ValueError(f"boxes of type {kind.__name__} can't be moved by an affine map: use upright ones")
    moved = [example[:0]]
    for layer, image, index in _provenance(report, output):
        (scale_y, scale_x), (shift_y, shift_x) = plan.scale[output, layer].tolist(), plan.shift[output, layer].tolist()
        if min(scale_x, scale_y) <= 0:
            raise ValueError(f"boxes of type {kind.__name__} can't be mirrored: use a method without flips")
        one = sources[image]()[index : index + 1].clone()
        one.rescale_((scale_x, scale_y))
        one.translate_((shift_x, shift_y))
        moved.append(one)
    return kind.cat(moved)


def _provenance(report: MixReport, output: int) -> list[tuple[int, int, int]]:
    """Layer, pool image and index there of what came out, ignored instances behind the others."""
    here = report.output == output
    kept = here & ((report.outcome == Outcome.KEPT.value) | (report.outcome == Outcome.SHRUNK.value))
    rows = torch.stack([report.layer, report.source, report.instance], dim=1)
    return [
        tuple(row) for part in (kept, here & (report.outcome == Outcome.IGNORED.value)) for row in rows[part].tolist()
    ]


def as_masks(masks: Any) -> Shaped[Tensor, "n h w"]:
    """Masks of a ``BitmapMasks``, a ``PolygonMasks``, an array or a tensor."""
    if hasattr(masks, "to_bitmap"):
        return torch.from_numpy(_drawn(masks))
    return as_tensor(masks.masks if hasattr(masks, "masks") else masks)


def stated_masks(masks: Any) -> Bool[Tensor, " n"] | None:
    """Which rows of a ``PolygonMasks`` state a mask; None where all do, as those of other masks.

    A row without any part doesn't, nor does one whose points are all (0, 0): MMDetection writes that for objects whose
    annotation has no polygon, and for polygons that a crop cut off.
    """
    if not hasattr(masks, "to_bitmap"):
        return None
    stated = [any(np.any(part) for part in parts) for parts in masks.masks]
    return None if all(stated) else torch.tensor(stated, dtype=torch.bool, device="cpu")


def _drawn(polygons: Any) -> Bool[np.ndarray, "n h w"]:
    """The bitmaps of a ``PolygonMasks``, as it draws them."""

    def draw(parts: list[Any], height: int, width: int) -> np.ndarray:
        return type(polygons)([parts], height, width).to_ndarray()[0]

    return draw_in_windows(polygons.masks, polygons.height, polygons.width, draw)


def masks_like(example: Any, mixed: Shaped[Tensor, "n h w"]) -> Any:
    """Mixed masks in the form of the base's; polygons become bitmaps, which show a cut as it is.

    Bitmaps are bytes, as MMDetection draws them: OpenCV 4 takes no bool, and its transforms go through OpenCV.
    """
    if isinstance(example, Tensor):
        return mixed
    array = mixed.cpu().numpy()
    if isinstance(example, np.ndarray):
        return array
    bitmap = example[:0].to_bitmap() if hasattr(example, "to_bitmap") else example
    if array.dtype == bool and bitmap.masks.dtype != bool:
        array = array.view(np.uint8)
    made = type(bitmap)(array[:0], *array.shape[-2:])
    made.masks = array  # its constructor would copy them
    return made


def padded_masks(ignored: Any, own: Any) -> Any:
    """Masks of ignored instances in the frame of their image's other masks, zeros to the right and below.

    MMDetection pads ``gt_instances.masks`` alone to a batch's frame.

    Args:
        ignored: ``ignored_instances.masks``.
        own: ``gt_instances.masks``.

    Raises:
        ValueError: masks that are larger than the frame.
    """
    (height, width), frame = _size_of(ignored), _size_of(own)
    if not len(ignored) or (height, width) == frame:
        return ignored
    if height > frame[0] or width > frame[1]:
        raise ValueError(
            f"ignored_instances.masks must not be larger than gt_instances.masks of {frame}, got {(height, width)}: "
            "resize both alike; smaller ones are padded"
        )
    if hasattr(ignored, "to_bitmap"):
        return type(ignored)(ignored.masks, *frame)
    return masks_like(ignored, F.pad(as_masks(ignored), (0, frame[1] - width, 0, frame[0] - height)))


def _size_of(masks: Any) -> tuple[int, int]:
    if hasattr(masks, "to_bitmap"):
        return masks.height, masks.width
    height, width = as_masks(masks).shape[-2:]
    return height, width


def _is_structure(boxes: Any) -> bool:
    return hasattr(boxes, "convert_to")


def _rotated_format(kind: type) -> Any:
    """The torchvision format that holds what a box type does, if it is one of MMRotate's; None for others.

    Told by the name that the type, or one that it is made from, is registered under in MMDetection.
    """
    registry = sys.modules.get("mmdet.structures.bbox.box_type")
    if registry is None:  # nothing was registered then
        return None
    names = [name for name in _ROTATED if registry.box_types.get(name) in kind.__mro__]
    return getattr(tv_tensors.BoundingBoxFormat, _ROTATED[names[0]], None) if names else None
