"""Outlines of instances: the boxes of a target, upright or rotated, and their lines on a drawing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import ImageDraw
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as tvf
from torchvision.utils import draw_bounding_boxes

from cutmix_dense.functional.boxes import to_xyxy
from cutmix_dense.functional.polygons import clipped_areas, clipped_points
from cutmix_dense.functional.rotated import as_rotated, rotated_format
from cutmix_dense.visualization.colors import Color
from cutmix_dense.visualization.pictures import line_width_for
from cutmix_dense.visualization.text import Rect, rect_area

_DARK: Color = (12, 14, 18)

FAR = 1e7
"""Points farther than this lie so far outside that Pillow, which counts in 32 bits, needn't know where."""


@dataclass(frozen=True)
class Outline:
    """Where an instance lies, in pixels of the drawing.

    Attributes:
        rect: the upright rectangle round what of it lies in the drawing, half-open whole pixels (x0, y0, x1, y1).
        polygon: (4, 2) corners (x, y) of a rotated box, in continuous pixels; None for an upright one.
        points: (n, 2) points that span what of a slanted box lies in the drawing: where its name may stand.
    """

    rect: Rect
    polygon: Float[np.ndarray, "4 2"] | None = None
    points: Float[np.ndarray, "n 2"] | None = None


def outlines_of(
    boxes: Tensor | None, size: tuple[int, int], scale_x: float, scale_y: float
) -> list[Outline | None] | None:
    """The boxes of a target on its drawing.

    Args:
        boxes: (N, 4) plain xyxy, or tv_tensors of any format, the rotated ones of torchvision (XYWHR, CXCYWHR,
            XYXYXYXY) among them; None for none.
        size: (height, width) of the drawing.
        scale_x: pixels of the drawing per pixel of the image.
        scale_y: the same, downwards.

    Returns:
        One outline per box: of an upright one clipped to the drawing; None for a rotated one that lies wholly outside
        of it, and for any that isn't finite. None where there are no boxes.

    Raises:
        ValueError: rows of another length than their format's.
    """
    if boxes is None:
        return None
    if rotated_format(boxes) is not None:
        form = tv_tensors.BoundingBoxFormat["XYXYXYXY"]
        corners = as_rotated(boxes, form).numpy().reshape(-1, 4, 2) * (scale_x, scale_y)
        return [_polygon(one, size) for one in corners]
    plain = to_xyxy(boxes).detach().cpu().as_subclass(Tensor).double()
    result: list[Outline | None] = []
    for corners in plain.tolist():
        if not all(map(math.isfinite, corners)):
            result.append(None)
            continue
        x0, y0, x1, y1 = corners
        left = min(max(round(x0 * scale_x), 0), size[1] - 1)
        top = min(max(round(y0 * scale_y), 0), size[0] - 1)
        right = min(max(round(x1 * scale_x), left + 1), size[1])
        bottom = min(max(round(y1 * scale_y), top + 1), size[0])
        result.append(Outline((left, top, right, bottom)))
    return result


def _polygon(corners: Float[np.ndarray, "4 2"], size: tuple[int, int]) -> Outline | None:
    if not np.isfinite(corners).all():
        return None
    corners = np.clip(corners, -FAR, FAR)
    low, high = np.zeros((1, 2)), np.array([[size[1], size[0]]], dtype=np.float64)
    points, _ = clipped_points(corners[None], low, high)
    if not len(points):
        return None
    first = np.minimum(np.floor(points.min(axis=0)), high[0] - 1).astype(int)
    last = np.maximum(np.ceil(points.max(axis=0)).astype(int), first + 1)
    rect = (int(first[0]), int(first[1]), int(last[0]), int(last[1]))
    ends = np.array([rect[:2]], dtype=np.float64), np.array([rect[2:]], dtype=np.float64)
    upright = float(clipped_areas(corners[None], *ends)[0]) > 0.9 * rect_area(rect)
    return Outline(rect, corners, None if upright else points)


def outline_of_mask(mask: Tensor | None) -> Outline | None:
    """The rectangle round a mask (H, W), half-open; None without any pixel."""
    if mask is None or not bool(mask.any()):
        return None
    rows = mask.any(dim=1).nonzero().flatten()
    columns = mask.any(dim=0).nonzero().flatten()
    return Outline((int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1))


def draw_outlines(pixels: UInt8[Tensor, "3 h w"], outlines: Sequence[tuple[Outline, Color]]) -> UInt8[Tensor, "3 h w"]:
    """Coloured lines just inside of the boxes, with a thin dark one round them, so that they show on any ground.

    Small boxes lie over large ones.
    """
    if not outlines:
        return pixels
    shown = sorted(outlines, key=lambda pair: -rect_area(pair[0].rect))
    width = line_width_for(tuple(pixels.shape[-2:]))
    upright = [(outline.rect, color) for outline, color in shown if outline.polygon is None]
    if upright:
        # Pillow counts the last row and column in; our boxes are half-open.
        inner = torch.tensor([[x0, y0, x1 - 1, y1 - 1] for (x0, y0, x1, y1), _ in upright])
        outer = inner + torch.tensor([-1, -1, 1, 1])
        pixels = draw_bounding_boxes(pixels, outer, colors=[_DARK] * len(upright), width=1)
        pixels = draw_bounding_boxes(pixels, inner, colors=[color for _, color in upright], width=width)
    slanted = [(outline.polygon, color) for outline, color in shown if outline.polygon is not None]
    if not slanted:
        return pixels
    # Not by torchvision: its polygons grow beyond their corners, and it lays every box over the dark lines of others.
    picture = tvf.to_pil_image(pixels)
    draw = ImageDraw.Draw(picture)
    for corners, color in slanted:
        # half-open here, too: the far sides lie one pixel before their coordinates
        inside = np.where(corners > corners.mean(axis=0), corners - 1, corners)
        ring = [(round(x), round(y)) for x, y in inside.tolist()]
        for right, down in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            moved = [(x + right, y + down) for x, y in ring]
            draw.line([*moved, moved[0]], fill=_DARK)
        draw.line([*ring, ring[0]], fill=color)
        draw.polygon(ring, outline=color, width=width)
    return tvf.pil_to_tensor(picture)
