"""Formats of boxes in files: what four numbers mean, and whether boxes are in another format than they should be."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

from cutmix_dense.data.errors import DatasetError
from cutmix_dense.data.readers.base import finite

__all__ = ["BOX_FORMATS", "check_format", "check_not_corners", "corners_of", "fits"]

BOX_FORMATS = ("xywh", "xyxy", "cxcywh", "relative_xywh", "relative_xyxy", "relative_cxcywh")
"""What a box's four numbers are: Hugging Face's own is COCO's xywh in pixels; relative ones count in image sides."""

_FEWEST, _IMAGES = 8, 3
"""So few boxes, or boxes beyond the edge in fewer images, are no evidence: an image whose stated size is wrong, or a
handful of careless boxes, must not cost a data set."""

_ODD = 0.05
"""Share of the boxes of a file that may be broken, whatever format they have."""


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


def fits(box: Any, box_format: str, size: tuple[int, int]) -> bool:
    """Whether a box lies in its image and has an inside; two pixels off is careless drawing."""
    try:
        x0, y0, x1, y1 = corners_of(box, box_format, size)
    except (ValueError, TypeError, OverflowError):
        return True  # said when its image is read
    return x0 >= -2 and y0 >= -2 and x1 <= size[1] + 2 and y1 <= size[0] + 2 and x1 > x0 and y1 > y0


def check_not_corners(boxes: Iterable[tuple[Hashable, Any, tuple[int, int]]], where: Path) -> None:
    """Refuse boxes that should be [x, y, width, height] and are [x1, y1, x2, y2].

    Of corners read as sides, about three in four leave the image: those whose middle lies right of the image's or below
    it. Of sides read as corners hardly any fit, as both sides must be longer than the way from the image's edge. So
    boxes are refused if more than half leave their images as sides, and nearly all fit as corners. Neither happens to a
    file of boxes that hang over the edge, or whose images were made smaller.

    Args:
        boxes: the image, the four numbers, and the (H, W) of the image, of each box of a file.
        where: for the message.

    Raises:
        DatasetError: they are, with what to do.
    """
    given = list(boxes)
    if len(given) < _FEWEST:
        return
    misfits, beyond = 0, []
    for image, box, size in given:
        misfits += not fits(box, "xyxy", size)
        if misfits > _ODD * len(given):
            return  # soon, where boxes are as they should be
        if not fits(box, "xywh", size):
            beyond.append((image, box, size))
    if len(beyond) > len(given) / 2 and len({image for image, *_ in beyond}) >= _IMAGES:
        image, box, size = beyond[0]
        raise DatasetError(
            f"{where}: bbox must be [x, y, width, height], but {len(beyond)} of {len(given)} leave their pictures, "
            f"{box} of image {image!r} ({size[1]}×{size[0]}) for one, and as x1, y1, x2, y2 they fit: they look like "
            "corners. Write [x1, y1, x2 - x1, y2 - y1] instead"
        )
