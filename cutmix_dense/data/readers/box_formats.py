"""Formats of boxes in files: what four numbers mean, and whether boxes are in another format than they should be."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any, NamedTuple

import numpy as np

from cutmix_dense.data.errors import DatasetError
from cutmix_dense.data.masks import box_of_segmentation, stated_segmentation
from cutmix_dense.data.readers.base import finite

BOX_FORMATS = ("xywh", "xyxy", "cxcywh", "relative_xywh", "relative_xyxy", "relative_cxcywh")
"""What a box's four numbers are: Hugging Face's own is COCO's xywh in pixels; relative ones count in image sides."""

_FEWEST, _IMAGES = 8, 3
"""So few boxes, or boxes beyond the edge in fewer images, are no evidence: an image whose stated size is wrong, or a
handful of careless boxes, must not cost a data set."""

_ODD = 0.05
"""Share of the boxes of a file that may be broken, whatever format they have."""

_LOOKED = 200
"""So many boxes beyond the edge are compared with their areas and masks."""

_WORDS = {"xywh": "[x, y, width, height]", "xyxy": "[x1, y1, x2, y2]"}


class StatedBox(NamedTuple):
    """A box as a file states it, and what the file says of its extent besides.

    Attributes:
        image: which image it is of.
        box: the four numbers.
        size: (H, W) of the image.
        area: the stated area.
        segmentation: the stated mask.
    """

    image: Hashable
    box: Any
    size: tuple[int, int]
    area: Any = None
    segmentation: Any = None


def corners_of(given: Any, box_format: str, size: tuple[int, int]) -> list[float]:
    """(x0, y0, x1, y1) in pixels of a box in one of ``BOX_FORMATS``; ValueError for what is no box."""
    if not isinstance(given, (list, tuple)) or len(given) != 4:
        raise ValueError(f"a box must be four numbers, {box_format}, got {given!r}")
    a, b, c, d = (finite(value) for value in given)
    if box_format.startswith("relative_"):
        a, b, c, d = a * size[1], b * size[0], c * size[1], d * size[0]
    kind = box_format.removeprefix("relative_")
    if kind == "xyxy":
        return [a, b, c, d]
    return [a, b, a + c, b + d] if kind == "xywh" else [a - c / 2, b - d / 2, a + c / 2, b + d / 2]


def check_format(box_format: str) -> None:
    """Raise ValueError unless ``box_format`` is one of ``BOX_FORMATS``."""
    if box_format not in BOX_FORMATS:
        raise ValueError(f"box_format must be one of {BOX_FORMATS}, got {box_format!r}")


def check_sides_and_corners(
    boxes: Iterable[StatedBox],
    where: object,
    box_format: str = "xywh",
    remedy: str = "write [x1, y1, x2 - x1, y2 - y1] instead; if they are sides, state each area, width · height",
) -> None:
    """Refuse boxes that should be [x, y, width, height] and are [x1, y1, x2, y2], or the other way round.

    Corners that are read as sides leave the image in about three of four cases: where the middle of the box lies right
    of the image's middle, or below it. Sides that are read as corners hardly ever fit, since each side must be longer
    than the way from the image's edge. So boxes are refused if more than half don't fit as they should be, and nearly
    all fit as the other format. Boxes that hang over the edge, and boxes of images that were made smaller, do neither.
    Boxes as large as their image that begin a little inside it do both. So nothing is refused if the file's own areas
    or masks confirm the stated format for most of the boxes that don't fit.

    Args:
        boxes: of a file, or of a part of it.
        where: for the message.
        box_format: what they should be, "xywh" or "xyxy".
        remedy: what to do, for the message.

    Raises:
        DatasetError: they are in the other format.
    """
    other = _other(box_format)
    given = list(boxes)
    if len(given) < _FEWEST:
        return
    misfits, wrong = 0, []
    for each in given:
        misfits += not _fits(each, other)
        if misfits > _ODD * len(given):
            return  # soon, where boxes are as they should be
        if not _fits(each, box_format):
            wrong.append(each)
    if len(wrong) <= len(given) / 2 or len({each.image for each in wrong}) < _IMAGES:
        return
    looked = wrong[:: -(-len(wrong) // _LOOKED)]
    if sum(_is_confirmed(each, box_format) for each in looked) > len(looked) / 2:
        return
    image, box, (height, width) = wrong[0][:3]
    raise DatasetError(
        f"{where}: boxes must be {_WORDS[box_format]}, but {len(wrong)} of {len(given)} don't lie in their pictures, "
        f"{box} of image {image!r} ({width}×{height}) for one, and as {_WORDS[other]} they do: {remedy}"
    )


def _other(box_format: str) -> str:
    return "xyxy" if box_format == "xywh" else "xywh"


def _fits(stated: StatedBox, box_format: str) -> bool:
    """Whether a box lies in its image and has an inside; two pixels off is careless drawing."""
    (height, width) = stated.size
    try:
        x0, y0, x1, y1 = corners_of(stated.box, box_format, stated.size)
    except (ValueError, TypeError, OverflowError):
        return True  # said when its image is read
    return x0 >= -2 and y0 >= -2 and x1 <= width + 2 and y1 <= height + 2 and x1 > x0 and y1 > y0


def _is_confirmed(stated: StatedBox, box_format: str) -> bool:
    """Whether a box's mask, or without one its area, is that of a box in this format rather than in the other one."""
    try:
        boxes = [corners_of(stated.box, kind, stated.size) for kind in (box_format, _other(box_format))]
        segmentation = stated_segmentation(stated.segmentation)
        if segmentation is not None:  # of a box beyond the edge, the mask shows what the picture does
            edges = np.array([*boxes, box_of_segmentation(segmentation, stated.size)])
            own, others, extent = np.clip(edges, 0, [*stated.size[::-1], *stated.size[::-1]])
            return bool(abs(own - extent).sum() <= abs(others - extent).sum())
        area = finite(stated.area)
    except (ValueError, TypeError, OverflowError):
        return False
    own, others = (abs(max(x1 - x0, 0) * max(y1 - y0, 0) - area) for x0, y0, x1, y1 in boxes)
    return own < others and own <= 0.02 * area + 1  # files round
