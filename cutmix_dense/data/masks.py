"""Instance masks as boxes, COCO polygons and run lengths, in one place for readers, writers and the demo set."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from cutmix_dense.data.extras import coco_masks, opencv

_FAR = 100
"""A polygon's coordinates may lie so many sides of the image away."""
_LONGEST = 2**22
"""So many pixels long may the outline of a polygon be: pycocotools takes 100 bytes for each."""

_PACKED = re.compile("[0-o]+").fullmatch
"""The characters of compressed run lengths."""

_ROOM = 2**32
"""So many bytes may the masks of a sample take, and the frames of a clip."""


def check_room(what: str, count: int, size: tuple[int, int]) -> None:
    """ValueError if so many planes of (H, W) bytes are more than a sample may take; a small file can name many."""
    if count * size[0] * size[1] > _ROOM:
        gigabytes = count * size[0] * size[1] / 2**30
        raise ValueError(f"{count} {what} of {size[1]}×{size[0]} take {gigabytes:.1f} GiB, {_ROOM >> 30} are the most")


def boxes_from_masks(masks: Bool[np.ndarray, "n h w"]) -> Float[np.ndarray, "n 4"]:
    """Tight half-open boxes (min col, min row, max col + 1, max row + 1), float32; an empty mask gives (0, 0, 0, 0)."""
    boxes = np.zeros((len(masks), 4), dtype=np.float32)
    for low, axis in ((0, 1), (1, 2)):  # columns give x, rows give y
        line: np.ndarray = np.any(np.asarray(masks), axis=(axis,))
        if not line.size:
            return boxes
        some = line.any(axis=1)
        boxes[:, low] = np.where(some, line.argmax(axis=1), 0)
        boxes[:, low + 2] = np.where(some, line.shape[1] - line[:, ::-1].argmax(axis=1), 0)
    return boxes


def tight_area(boxes: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, " n"]:
    """Area of xyxy boxes, 0 for inverted ones."""
    return (boxes[:, 2:] - boxes[:, :2]).clip(min=0).prod(axis=1)


def polygon_area(corners: Shaped[np.ndarray, "n 2*k"]) -> Float[np.ndarray, " n"]:
    """Area of polygons, each a row of x, y pairs."""
    points = np.asarray(corners, dtype=np.float64).reshape(len(corners), corners.shape[1] // 2, 2)
    after = np.roll(points, -1, axis=1)
    return np.abs((points[..., 0] * after[..., 1] - points[..., 1] * after[..., 0]).sum(axis=1)) / 2


def encode_rle(mask: Bool[np.ndarray, "h w"]) -> dict[str, Any]:
    """COCO's compressed run lengths, ready for JSON: `{"size": [h, w], "counts": str}`."""
    code = coco_masks().encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(side) for side in code["size"]], "counts": code["counts"].decode("ascii")}


def stated_segmentation(segmentation: Any) -> list[Any] | dict[str, Any] | None:
    """A COCO `segmentation` in its official form: a list of flat polygons, or run lengths; None if no mask is stated.

    Files say "none" in many ways: null, an empty list, empty parts, parts of fewer than three points or with half a
    point, run lengths without a number. Such parts don't count; the others are the mask. A flat polygon, and points
    given as pairs or as ``{"x": …, "y": …}``, are put in order.

    Raises:
        ValueError: another kind of value, or of part.
    """
    if segmentation is None or (isinstance(segmentation, (dict, list, tuple, str)) and not segmentation):
        return None
    if isinstance(segmentation, dict):
        return segmentation if segmentation.get("counts") or "counts" not in segmentation else None
    if not isinstance(segmentation, (list, tuple)):
        raise ValueError(f"segmentation must be polygons or run lengths, got {type(segmentation).__name__}")
    if not all(segmentation):  # a coordinate may be 0
        segmentation = [part for part in segmentation if part or _is_number(part)]
    if segmentation and all(isinstance(part, dict) and "counts" in part for part in segmentation):
        return [part for part in segmentation if part["counts"]] or None
    if all(_is_number(part) for part in segmentation) or all(_is_point(part) for part in segmentation):
        segmentation = [segmentation]
    polygons = [_flat(part) for part in segmentation]
    # pycocotools would take four numbers for a box
    return [part for part in polygons if len(part) >= 6 and len(part) % 2 == 0] or None


def odd_parts(segmentation: Any) -> int:
    """How many parts of a COCO `segmentation` hold half a point, for which `stated_segmentation` passes them over."""
    if not isinstance(segmentation, (list, tuple)) or all(map(_is_point, segmentation)):
        return 0
    parts = [segmentation] if all(map(_is_number, segmentation)) else segmentation
    lists = [part for part in parts if isinstance(part, (list, tuple)) and len(part) % 2]
    return sum(not all(map(_is_point, part)) for part in lists)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_point(value: Any) -> bool:
    if isinstance(value, dict):
        return _is_number(value.get("x")) and _is_number(value.get("y"))
    return isinstance(value, (list, tuple)) and len(value) == 2 and all(map(_is_number, value))


def _flat(part: Any) -> list[float]:
    """One polygon as a flat list of x, y pairs."""
    if not isinstance(part, (list, tuple)):
        raise ValueError(f"a polygon must be a list of x, y pairs, got {type(part).__name__}")
    if part and all(_is_point(point) for point in part):
        pairs = [(point["x"], point["y"]) if isinstance(point, dict) else point for point in part]
        part = [value for pair in pairs for value in pair]
    return list(part)


def box_of_segmentation(segmentation: list[Any] | dict[str, Any], size: tuple[int, int]) -> list[float]:
    """(x0, y0, x1, y1) round a stated mask: the corners of its polygons, or the pixels of its run lengths."""
    if isinstance(segmentation, dict) or isinstance(segmentation[0], dict):
        return [float(value) for value in boxes_from_masks(decode_segmentation(segmentation, size)[None])[0]]
    points = np.concatenate([np.asarray(part, dtype=np.float64).reshape(-1, 2) for part in segmentation])
    return [*points.min(axis=0).tolist(), *points.max(axis=0).tolist()]


def decode_segmentation(segmentation: Any, size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """The mask a COCO `segmentation` means: polygons, compressed or uncompressed run lengths.

    No segmentation, as `stated_segmentation` tells it, means no pixel at all.

    Args:
        segmentation: the value in the JSON file.
        size: (H, W) of the image.

    Raises:
        ValueError: another kind of value, run lengths that are not those of such an image, or a coordinate that is not
            finite or lies absurdly far outside, or an absurdly long outline.
    """
    height, width = size
    stated = stated_segmentation(segmentation)
    if stated is None:
        return np.zeros(size, dtype=bool)
    if isinstance(stated, dict):
        return _decode_lengths(stated, size)
    if isinstance(stated[0], dict):
        return np.logical_or.reduce([_decode_lengths(part, size) for part in stated])
    codes = []
    for polygon in stated:
        codes += coco_masks().frPyObjects([_checked(polygon, size)], height, width)
    return coco_masks().decode(coco_masks().merge(codes)).astype(bool)


def check_segmentation(segmentation: Any, size: tuple[int, int] | None) -> bool:
    """Whether a mask is stated that `decode_segmentation` can decode, found out without drawing it.

    A file has a million, so compressed run lengths are only glanced at: what is wrong within them counts as right.

    Args:
        segmentation: the value in the JSON file.
        size: (H, W) of the image; None where it isn't known: then what depends on it is taken for right.
    """
    try:
        stated = stated_segmentation(segmentation)
        if stated is None:
            return False
        if isinstance(stated, dict) or isinstance(stated[0], dict):
            for part in [stated] if isinstance(stated, dict) else stated:
                if isinstance(part.get("counts"), str):
                    stated_size = _sides(part.get("size"))
                    if stated_size is None or (size or stated_size) != stated_size or not _PACKED(part["counts"]):
                        return False
                else:
                    _lengths(part, size or _sides(part.get("size")) or (0, 0))
            return True
        for polygon in stated:
            if size is None or not _is_plain(polygon, size):
                _checked(polygon, size or (2**20, 2**20))
    except (ValueError, TypeError, OverflowError):
        return False
    return True


def _is_plain(polygon: list[Any], size: tuple[int, int]) -> bool:
    """Whether a polygon is surely drawable, told quickly: a file has a million."""
    try:
        if not all(map(math.isfinite, polygon)):
            return False
        low, high = min(polygon), max(polygon)
    except TypeError:  # texts
        return False
    return max(-low, high) <= _FAR * max(size) and len(polygon) * (high - low) <= _LONGEST


def _checked(polygon: list[Any], size: tuple[int, int]) -> list[float]:
    """The coordinates of a polygon; ValueError for what can't be drawn on an image of (H, W)."""
    try:
        points = np.asarray(polygon, dtype=np.float64)
    except (TypeError, OverflowError) as error:
        raise ValueError(f"a polygon must be a flat list of finite x, y pairs ({error})") from error
    if points.ndim != 1 or not np.isfinite(points).all():
        raise ValueError("a polygon must be a flat list of finite x, y pairs")
    if float(np.abs(points).max()) > _FAR * max(size):
        # pycocotools walks every edge, also outside of the image: a few digits more would fill the memory
        far = np.abs(points).max()
        raise ValueError(f"a polygon reaches {far:g}; {_FAR} times the image's longer side is the most")
    corners = points.reshape(-1, 2)
    if np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1, initial=0).sum() > _LONGEST:
        raise ValueError(f"the outline of a polygon is longer than {_LONGEST} pixels")
    return points.tolist()


def _decode_lengths(segmentation: dict[str, Any], size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    code = {"size": list(size), "counts": _lengths(segmentation, size)}
    if isinstance(code["counts"], list):
        code = coco_masks().frPyObjects(code, *size)
    return coco_masks().decode(code).astype(bool)


def _lengths(segmentation: dict[str, Any], size: tuple[int, int]) -> list[int] | str | bytes:
    """The run lengths of a mask of (H, W), checked: pycocotools takes any."""
    if "counts" not in segmentation or _sides(segmentation.get("size")) != tuple(size):
        raise ValueError(
            f"run lengths of size {segmentation.get('size')} do not fit the image of (H, W) = ({size[0]}, {size[1]})"
        )
    counts = segmentation["counts"]
    if isinstance(counts, list):
        if all(isinstance(count, (int, float)) and count == int(count) for count in counts):
            counts = [int(count) for count in counts]
        _check_run_lengths(np.asarray(counts), size[0] * size[1])
    elif isinstance(counts, (str, bytes)):
        _check_run_lengths(_expanded(counts), size[0] * size[1])
    else:
        raise ValueError(f"counts must be a list or a string, got {type(counts).__name__}")
    return counts


def _sides(size: Any) -> tuple[int, int] | None:
    """(H, W) as whole numbers, given as text or floats too; None for anything else."""
    if not isinstance(size, (list, tuple)) or len(size) != 2:
        return None
    try:
        sides = [float(side) for side in size]
    except (TypeError, ValueError, OverflowError):
        return None
    return (int(sides[0]), int(sides[1])) if all(side.is_integer() for side in sides) else None


def _check_run_lengths(lengths: np.ndarray, pixels: int) -> None:
    """ValueError unless they cover the image; pycocotools takes any numbers, and writes where they lead."""
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or (lengths < 0).any():
        raise ValueError("run lengths must be whole numbers >= 0")
    if int(lengths.sum(dtype=object)) != pixels:
        raise ValueError(f"run lengths sum to {lengths.sum(dtype=object)}, not to the image's {pixels} pixels")


def _expanded(counts: str | bytes) -> Int[np.ndarray, " n"]:
    """The numbers in COCO's compressed run lengths, as pycocotools' ``rleFrString``: groups of 5 bits, differences."""
    code = np.frombuffer(counts.encode("ascii") if isinstance(counts, str) else counts, dtype=np.uint8).astype(np.int64)
    code -= 48
    if ((code < 0) | (code > 63)).any() or (len(code) and code[-1] & 32):
        raise ValueError("compressed run lengths are broken")
    if not len(code):
        return code
    last = np.flatnonzero(code & 32 == 0)
    first = np.concatenate([[0], last[:-1] + 1])
    digits = last - first + 1
    if int(digits.max()) > 7:
        raise ValueError("compressed run lengths are broken")
    place = np.arange(len(code)) - np.repeat(first, digits)
    values = np.add.reduceat((code & 31) << (5 * place), first)
    values -= np.where(code[last] & 16, np.int64(1) << (5 * digits), 0)
    # from the fourth number on they are differences to the last but one
    values[1::2] = values[1::2].cumsum()
    values[2::2] = values[2::2].cumsum()
    return values


def outline(mask: Bool[np.ndarray, "h w"]) -> list[float] | None:
    """The polygon along the pixel edges of a mask of one part and without holes: x, y, x, y …; else None."""
    cv2 = opencv()
    # Each pixel becomes 2×2, so that even and odd contour points tell the left from the right edge of a pixel.
    doubled = np.repeat(np.repeat(mask.astype(np.uint8), 2, axis=0), 2, axis=1)
    contours, _ = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if len(contours) != 1:
        return None
    corners = (contours[0][:, 0, :].astype(np.int64) + 1) // 2
    corners = corners[(corners != np.roll(corners, 1, axis=0)).any(axis=1)]
    before, after = corners - np.roll(corners, 1, axis=0), np.roll(corners, -1, axis=0) - corners
    corners = corners[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]  # keep the turns only
    return [float(value) for value in corners.ravel()] if len(corners) >= 3 else None


def encode_segmentation(mask: Bool[np.ndarray, "h w"], *, crowd: bool = False) -> list[list[float]] | dict[str, Any]:
    """COCO's `segmentation`, which decodes to exactly this mask.

    A polygon where pycocotools draws exactly the mask from it; run lengths for crowds, holes, several parts, empty
    masks, and whatever else a polygon would change.
    """
    if not crowd and mask.any():
        ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        part = mask[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1]
        polygon = outline(part)
        if polygon is not None:
            shifted = [value + float((xs, ys)[i % 2][0]) for i, value in enumerate(polygon)]
            if np.array_equal(decode_segmentation([shifted], (mask.shape[0], mask.shape[1])), mask):
                return [shifted]
    return encode_rle(mask)
