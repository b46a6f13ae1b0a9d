"""Single instances cut out of images: their targets checked as a mix checks them, crowds and broken rows left out."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from cutmix_dense.arrays.blocks import spatial
from cutmix_dense.arrays.host import HOST
from cutmix_dense.functional.boxes import to_xyxy
from cutmix_dense.functional.broken import REMEDY, GivenBoxes, check_boxes
from cutmix_dense.functional.fields import INSTANCE_KEYS, STATED, count_instances
from cutmix_dense.functional.masks import boxes_of_masks
from cutmix_dense.functional.row_values import rows_of_key
from cutmix_dense.functional.wrapping import numpy_remedy
from cutmix_dense.warned import reworded

_RECENT = 32
"""Images whose boxes tell together whether boxes are broken as a whole, wherever calls begin and end."""

_LEFT = frozenset({"keypoints", "keypoints_visible", "origin"})
"""Rows that no cut-out has."""


_NAME = "box {position} of target {image}, counted from 0 over all calls with boxes,"
"""How messages name a box: the first broken one may be of an earlier call."""


class Cutter:
    """Cuts instances out of images, one image after another, and knows the boxes of the last ones."""

    def __init__(self) -> None:
        self._images = 0
        self._recent: deque[GivenBoxes] = deque(maxlen=_RECENT)

    def cut(self, image: Any, target: Any, margin: float, index: int) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        """The instances of one image, one after another.

        Args:
            image: (C, H, W).
            target: its instances.
            margin: how much of the image to keep round a box, as a share of the box's length.
            index: place of both in their call.

        Raises:
            TypeError: the image isn't a tensor, the target no dict, or its rows no tensors.
            ValueError: another shape; rows that are missing, too few or too many; masks of another size; NaN; boxes
                that are broken as a whole, see ``check_boxes``.
        """
        if not isinstance(image, Tensor):
            raise TypeError(f"images[{index}] must be a tensor, got {type(image).__name__}{numpy_remedy(image)}")
        if image.ndim != 3:
            raise ValueError(f"images must be (C, H, W) each, got {tuple(image.shape)} for images[{index}]")
        if not isinstance(target, Mapping):
            raise TypeError(f"targets[{index}] must be a dict of an image's instances, got {type(target).__name__}")
        where = f"targets[{index}]"
        rows = _rows_of(target, image, where)
        if not rows:
            return
        boxes, masks = rows.pop("boxes", None), rows.pop("masks", None)
        stated, crowd = rows.pop(STATED, None), rows.get("iscrowd")
        if boxes is not None:
            plain = to_xyxy(boxes, f"{where}['boxes']").detach()
        else:
            assert masks is not None  # as one of them is there
            plain = boxes_of_masks(masks.as_subclass(Tensor))
        corners = plain.to(HOST, torch.float64).numpy()
        crowds = np.zeros(len(corners), dtype=bool) if crowd is None else (crowd != 0).to(HOST).numpy()
        height, width = image.shape[-2:]
        there = (np.minimum(corners[:, 2:], [width, height]) > np.maximum(corners[:, :2], 0)).all(axis=1)
        if boxes is not None:
            form = getattr(boxes, "format", None)
            self._check(corners, (height, width), ~crowds, where, form is None or form.name == "XYXY")
        for row in np.flatnonzero(there & ~crowds).tolist():
            x0, y0, x1, y1 = corners[row].tolist()
            across, down = margin * (x1 - x0), margin * (y1 - y0)
            left, top = max(0, int(np.floor(x0 - across))), max(0, int(np.floor(y0 - down)))
            bottom, right = min(height, int(np.ceil(y1 + down))), min(width, int(np.ceil(x1 + across)))
            block = spatial((slice(top, bottom), slice(left, right)))
            one = {key: value[row : row + 1].as_subclass(Tensor).detach().clone() for key, value in rows.items()}
            offset = torch.tensor([left, top, left, top], dtype=plain.dtype, device=plain.device)
            one["boxes"] = plain[row : row + 1].clone() - offset
            if masks is not None and (stated is None or bool(stated[row])):
                one["masks"] = masks.as_subclass(Tensor)[row : row + 1][block].detach().clone()
                if not bool(one["masks"].any()):
                    continue
            yield image.as_subclass(Tensor)[block].detach().clone(), one

    def _check(
        self,
        corners: Float[np.ndarray, "n 4"],
        size: tuple[int, int],
        counts: Bool[np.ndarray, " n"],
        where: str,
        plain: bool,
    ) -> None:
        """Refuse NaN and boxes that are broken as a whole, and warn once of a broken one."""
        finite = np.isfinite(corners).all(axis=1)
        if not finite.all():
            row = int(finite.argmin())
            raise ValueError(f"{where}['boxes'][{row}] must be finite, got a NaN or infinite coordinate")
        low, high = corners[:, :2], corners[:, 2:]
        broken = np.asarray((high <= low).any(axis=1))
        outside = np.asarray(~broken & ((low >= size[::-1]) | (high <= 0)).any(axis=1))
        number, position = np.full(len(corners), self._images), np.arange(len(corners))
        sizes = np.tile(np.array(size, dtype=np.int64), (len(corners), 1))
        self._images += 1
        self._recent.append(GivenBoxes(corners, number, position, sizes, broken, outside, counts, plain))
        if not (broken.any() or outside.any() or corners.max(initial=0) < 2):  # as nearly always
            return
        alike = [given for given in self._recent if given.plain == plain]
        columns = (np.concatenate(column) for column in zip(*(given[:-1] for given in alike)))
        try:
            with reworded(_without_settings):
                check_boxes(GivenBoxes(*columns, plain=plain), _NAME)  # type: ignore[arg-type, misc]
        except ValueError:
            self._recent.clear()
            raise


def _without_settings(message: str) -> str:
    """A message about boxes without the settings of a transform."""
    own = REMEDY.partition("of the transforms), ")[2]
    return message.replace(REMEDY, own).replace("; return_report=True lists each", "")


def _rows_of(target: Mapping[str, Any], image: Tensor, where: str) -> dict[str, Tensor]:
    """The rows that a cut-out has, with classes by one name; empty for a target without instances."""
    count = count_instances(target, where)
    if not count:
        return {}
    named = dict(target)
    if named.get("labels") is None and "class_labels" in named:  # the bank has one name for them
        named["labels"] = named.pop("class_labels")
    kept = [key for key, value in named.items() if key in INSTANCE_KEYS - _LEFT and value is not None]
    found = {key: rows_of_key(named, key, count, where) for key in kept}
    if "labels" not in found or not found.keys() & {"boxes", "masks"}:
        raise ValueError(
            f"{where} must have 'labels' or 'class_labels', and 'boxes' or 'masks', got only {sorted(target)}"
        )
    if not isinstance(found["labels"], Tensor):
        raise TypeError(f"{where}['labels'] must be a tensor, got {type(found['labels']).__name__}")
    masks = found.get("masks")
    if masks is not None and tuple(masks.shape[1:]) != tuple(image.shape[1:]):
        size, got = tuple(image.shape[1:]), tuple(masks.shape)
        raise ValueError(f"{where}['masks'] must be ({count}, {size[0]}, {size[1]}), as its image, got {got}")
    return {key: value for key, value in found.items() if isinstance(value, Tensor)}
