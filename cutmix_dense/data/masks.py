"""Instance masks as boxes, COCO polygons and run lengths, in one place for readers, writers and the demo set."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from cutmix_dense.data.extras import coco_masks, opencv

__all__ = ["boxes_from_masks", "decode_segmentation", "encode_rle", "encode_segmentation", "outline"]


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


def encode_rle(mask: Bool[np.ndarray, "h w"]) -> dict[str, Any]:
    """COCO's compressed run lengths, ready for JSON: `{"size": [h, w], "counts": str}`."""
    code = coco_masks().encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(side) for side in code["size"]], "counts": code["counts"].decode("ascii")}


def decode_segmentation(segmentation: Any, size: tuple[int, int]) -> Bool[np.ndarray, "h w"]:
    """The mask a COCO `segmentation` means: polygons, compressed or uncompressed run lengths.

    No segmentation (None, an empty list) and polygons of fewer than three points mean no pixel at all.

    Args:
        segmentation: the value in the JSON file.
        size: (H, W) of the image.

    Raises:
        ValueError: another kind of value, run lengths of another size, or a coordinate that is not finite.
    """
    height, width = size
    if not segmentation:
        return np.zeros(size, dtype=bool)
    if isinstance(segmentation, dict):
        if "counts" not in segmentation or list(segmentation.get("size", ())) != [height, width]:
            raise ValueError(
                f"run lengths of size {segmentation.get('size')} do not fit the image of (H, W) = ({height}, {width})"
            )
        code: Any = segmentation
        if isinstance(segmentation["counts"], list):
            if sum(segmentation["counts"]) != height * width:
                raise ValueError(f"run lengths sum to {sum(segmentation['counts'])}, not to {height}·{width}")
            code = coco_masks().frPyObjects(segmentation, height, width)
        return coco_masks().decode(code).astype(bool)
    if not isinstance(segmentation, list):
        raise ValueError(f"segmentation must be polygons or run lengths, got {type(segmentation).__name__}")
    codes = []
    for polygon in segmentation:
        points = np.asarray(polygon, dtype=np.float64)
        if points.ndim != 1 or points.size % 2 or not np.isfinite(points).all():
            raise ValueError("a polygon must be a flat list of finite x, y pairs")
        if points.size >= 6:  # pycocotools would take four numbers for a box
            codes += coco_masks().frPyObjects([points.tolist()], height, width)
    if not codes:
        return np.zeros(size, dtype=bool)
    return coco_masks().decode(coco_masks().merge(codes)).astype(bool)


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
