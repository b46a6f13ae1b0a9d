"""What a call holds: the base as ``Compose`` hands it over, and partners as the user gives them, read alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from cutmix_dense.albumentations.rows import WIDTHS, Rows, read_rows
from cutmix_dense.arrays import to_tensor

_IMAGES = {"image": 0, "images": 1, "volume": 1, "volumes": 2}
"""Kinds of pictures, and how many axes stand before theirs; one plan serves all slices."""
_MAPS = {"mask": 0, "mask3d": 1, "masks3d": 2, "maps": 1}
"""The same of maps; ``masks`` without bboxes are "maps"."""
_AHEAD = {**_IMAGES, **_MAPS}
KINDS = (*_IMAGES, "mask", "mask3d", "masks3d", "masks", "bboxes", "keypoints")
"""What can be mixed."""


@dataclass
class Plane:
    """Pictures or maps under one key of a call.

    Attributes:
        array: what the call has; lists of one size stacked.
        ahead: number of axes before height and width.
        picture: whether they are pictures; else maps.
        ids: whether they are maps of class ids: whole numbers, one per pixel.
    """

    array: np.ndarray
    ahead: int
    picture: bool
    ids: bool


@dataclass
class Samples:
    """A call's own sample and its partners, in order.

    Attributes:
        where: what errors call each.
        sizes: (height, width) of each one's image, pixels.
        pixels: images and maps by key, per sample (C, H, W); class maps (H, W); of stacks with their axes in front.
        boxes: normalised xyxy and labels; None if the call has none.
        points: keypoints x, y (pixels), z, angle, scale, and labels; None if the call has none.
        masks: per sample (N, H, W), one per box; None if the call has no masks of boxes.
    """

    where: list[str]
    sizes: list[tuple[int, ...]]
    pixels: dict[str, list[Tensor]]
    boxes: Rows | None
    points: Rows | None
    masks: list[Shaped[Tensor, "n h w"]] | None


class Layout:
    """The keys of a call and what each is, told by the base.

    Args:
        data: the call's arguments.
        additional: kinds of additional targets by key.
        processors: of ``Compose``, by kind.
        mask_index_field: label field of boxes that holds the index of their mask.

    Raises:
        ValueError: a key that can't be mixed, named.
    """

    def __init__(
        self,
        data: Mapping[str, Any],
        additional: Mapping[str, str],
        processors: Mapping[str, Any],
        mask_index_field: str,
    ) -> None:
        self.data = data
        self.processors = processors
        self.mask_index_field = mask_index_field
        self.kinds: dict[str, str] = {}
        self.first = ""
        """Key of the picture whose size counts: ``image`` if it is given."""
        others = []
        for key, value in data.items():
            if value is None:
                continue
            kind = additional.get(key, key) if additional else key
            if kind not in KINDS:
                others += [key]
                continue
            if key != kind and kind in ("masks", "bboxes", "keypoints"):
                raise ValueError(
                    f"{key!r} holds {kind}, which can't be mixed here: of further targets images and masks can"
                )
            self.kinds[key] = kind
            if kind in _IMAGES and (key == "image" or not self.first):
                self.first = key
        if not self.first:
            raise ValueError(f"one of {', '.join(_IMAGES)} must be given to be mixed, got none")
        if "masks" in self.kinds and "bboxes" not in self.kinds:
            if len(data["masks"]):
                self.kinds["masks"] = "maps"
            else:
                del self.kinds["masks"]
        self.planes: dict[str, Plane] = {}
        """Pictures and maps, whose pixels are mixed one by one, by key."""
        for key, kind in self.kinds.items():
            if kind in _AHEAD:
                ahead, picture = _AHEAD[kind], kind in _IMAGES
                array = _array(data[key], key, ahead, "the image")
                one = array.ndim == ahead + 2 or array.shape[-1] == 1
                self.planes[key] = Plane(array, ahead, picture, not picture and one and array.dtype.kind != "f")
        plane = self.planes[self.first]
        size = plane.array.shape[plane.ahead : plane.ahead + 2]
        for key in others:
            if _has_pixels_of(size, data[key]):
                raise ValueError(
                    f"{key!r} has a value per pixel and would stay unmixed: say what it is in additional_targets "
                    f"of Compose, {{{key!r}: 'image'}} or {{{key!r}: 'mask'}}"
                )
        for kind in WIDTHS:
            if kind in self.kinds and kind not in processors:
                raise ValueError(f"{kind} need a Compose with {'bbox' if kind == 'bboxes' else 'keypoint'}_params")

    def given_like(self, key: str, mixed: Tensor) -> Any:
        """Mixed pixels of a key in the form in which the call has them, but for their size."""
        plane = self.planes[key]
        array, ahead = plane.array, plane.ahead
        result = np.ascontiguousarray((mixed if plane.ids else mixed.movedim(-3, -1)).numpy())
        shape = (*array.shape[:ahead], *result.shape[ahead : ahead + 2], *array.shape[ahead + 2 :])
        if result.shape != shape:
            result = result.reshape(shape)
        return list(result) if ahead == 1 and isinstance(self.data[key], (list, tuple)) else result

    def read(self, partners: Sequence[tuple[str, Any]]) -> Samples:
        """The call's own sample and its partners, whose boxes and keypoints are converted as ``Compose`` does.

        Args:
            partners: what errors call each, and the dict that it is.

        Raises:
            TypeError, ValueError: what a partner lacks of what the base has, or what doesn't fit, named.
        """
        absent = [kind for kind in WIDTHS if kind not in self.kinds and kind in self.processors]
        for where, item in partners:
            self._check(where, item, absent)
        samples = [("the image", self.data), *partners]
        arrays = {key: [self.planes[key].array, *self._theirs(key, partners)] for key in self.planes}
        ahead = self.planes[self.first].ahead
        sizes = [array.shape[ahead : ahead + 2] for array in arrays[self.first]]
        pixels = {
            key: [self._tensor(key, array, size, where) for array, size, (where, _) in zip(found, sizes, samples)]
            for key, found in arrays.items()
        }
        boxes = points = masks = None
        if "bboxes" in self.kinds:
            boxes = read_rows("bboxes", self.processors["bboxes"], self.data["bboxes"], partners, sizes[1:])
        if "keypoints" in self.kinds:
            depths = [len(array) for array in arrays[self.first][1:]] if self.first == "volume" else None
            points = read_rows(
                "keypoints", self.processors["keypoints"], self.data["keypoints"], partners, sizes[1:], depths
            )
        if boxes is not None and "masks" in self.kinds:
            masks = [
                self._masks(item, boxes, slice(start, start + count), size, where)
                for (where, item), start, count, size in zip(samples, boxes.first, boxes.counts, sizes)
            ]
        return Samples([where for where, _ in samples], sizes, pixels, boxes, points, masks)

    def _check(self, where: str, item: Any, absent: Sequence[str]) -> None:
        """Refuse a partner that isn't a dict, or has instances where the base has none.

        Args:
            where: what errors call it.
            item: the partner.
            absent: what the base has none of, though ``Compose`` has a processor for it.
        """
        if type(item) is not dict and not isinstance(item, Mapping):
            raise TypeError(f"{where} must be a dict with 'image', got {type(item).__name__}")
        if "masks" not in self.kinds and "bboxes" not in self.kinds:
            maps = item.get("masks")
            if maps is not None and len(maps):
                raise ValueError(f"{where} has {len(maps)} masks, the image it is mixed with has none")
        for kind in absent:
            given = item.get(kind)
            if given is not None and len(given):
                raise ValueError(
                    f"{where} has {kind}, the image it is mixed with has none, so that they would be lost: call the "
                    f"pipeline with {kind}=[] for an image without objects"
                )

    def _theirs(self, key: str, partners: Sequence[tuple[str, Mapping[str, Any]]]) -> list[np.ndarray]:
        """What the partners have under a key of pictures or maps.

        Raises:
            TypeError, ValueError: a partner lacks it, or has another thing there.
        """
        arrays = []
        for where, item in partners:
            value = item.get(key)
            if value is None or (isinstance(value, (list, tuple, np.ndarray)) and not len(value)):
                raise ValueError(f"{where} must have {key!r}, which the image it is mixed with has; got {sorted(item)}")
            arrays += [_array(value, key, self.planes[key].ahead, where)]
        return arrays

    def _tensor(self, key: str, value: np.ndarray, size: tuple[int, ...], where: str) -> Tensor:
        """The memory of an array that fits the base's, with channels before rows and columns; ids without the one."""
        plane = self.planes[key]
        like, ahead = plane.array, plane.ahead
        channels, expected = value.shape[ahead + 2 :] or (1,), like.shape[ahead + 2 :] or (1,)
        if value.shape[ahead : ahead + 2] != size:
            raise ValueError(f"{where}[{key!r}] must have its image's size {size}, got {value.shape}")
        if value.shape[:ahead] != like.shape[:ahead]:
            hint = ": as masks of instances they need bboxes" if self.kinds[key] == "maps" else ""
            raise ValueError(
                f"{where}[{key!r}] must hold as many as the image's own, since they are mixed in order, "
                f"{like.shape[:ahead]}, got {value.shape[:ahead]}{hint}"
            )
        if value.dtype != like.dtype or channels != expected:
            raise ValueError(
                f"{where}[{key!r}] must be {like.dtype} with {expected[0]} channels like the image's, "
                f"got {value.dtype} of shape {value.shape}; partners haven't been through the transforms before "
                "the mix: put it before those, or give partner_transform"
            )
        flags = value.flags
        if not flags.writeable or (not flags.c_contiguous and min(value.strides) < 0):
            value = value.copy()
        tensor, whole = torch.from_numpy(value), value.ndim == ahead + 3
        if plane.ids:
            return tensor[..., 0] if whole else tensor
        return tensor.movedim(-1, -3) if whole else tensor.unsqueeze(-3)

    def _masks(self, item: Mapping[str, Any], boxes: Rows, own: slice, size: tuple[int, ...], where: str) -> Tensor:
        """The masks of a sample's boxes, in their order.

        Args:
            item: the sample.
            boxes: of all samples.
            own: the sample's rows.
            size: of its image.
            where: what errors call it.
        """
        value: Any = item.get("masks")
        rows = boxes.values[own]
        if value is None and len(rows):
            raise ValueError(f"{where} must have 'masks' for its bboxes, as the image it is mixed with has")
        count = 0 if value is None else len(value)
        if count == 0:
            stack = torch.zeros((0, *size), dtype=torch.uint8, device="cpu")
        else:
            array = value if isinstance(value, np.ndarray) else np.stack([np.asarray(mask) for mask in value])
            array = array[..., 0] if array.ndim == 4 and array.shape[3] == 1 else array
            if array.ndim != 3 or array.shape[1:] != size:
                raise ValueError(f"{where}['masks'] must have shape (N, {size[0]}, {size[1]}), got {array.shape}")
            stack = to_tensor(array)  # only its memory: (H, W, N) and back
            stack = stack.permute(1, 2, 0)
        column = boxes.column(self.mask_index_field) if len(rows) else None
        if (
            not len(rows)
            and self.mask_index_field in boxes.fields
            and (item is self.data or self.mask_index_field in item)
        ):
            return stack[:0]  # a transform has dropped every box, and Albumentations keeps their masks
        if column is None:
            if count != len(rows):
                raise ValueError(
                    f"{where} has {count} masks for {len(rows)} bboxes: name each box's mask in a label field "
                    f"{self.mask_index_field!r} of bbox_params, so that transforms may drop boxes without their masks"
                )
            return stack
        if not boxes.numeric(self.mask_index_field):
            raise ValueError(f"{where}[{self.mask_index_field!r}] must hold indices of masks")
        index = rows[:, column].astype(np.int64)
        if not (index.min() >= 0 and index.max() < count):
            raise ValueError(
                f"{where}[{self.mask_index_field!r}] must hold indices below {count}, got {index.tolist()}"
            )
        return stack if np.array_equal(index, np.arange(count)) else stack[torch.from_numpy(index)]


def _array(value: Any, key: str, ahead: int, where: str) -> np.ndarray:
    """What a sample has under a key of pixels, checked; lists of one size stacked.

    Args:
        value: what it has.
        key: of pictures or maps.
        ahead: number of axes before height and width.
        where: what errors call the sample.
    """
    if ahead == 1 and isinstance(value, (list, tuple)):
        shapes = {one.shape if isinstance(one, np.ndarray) else None for one in value}
        value = np.stack(value) if len(shapes) == 1 and None not in shapes else value
    if not isinstance(value, np.ndarray) or value.ndim - ahead not in (2, 3) or 0 in value.shape:
        form = f"({', '.join([*'ND'[2 - ahead :], 'H', 'W'])})" if ahead else "(H, W)"
        found = getattr(value, "shape", type(value).__name__)
        remedy = ""
        if isinstance(value, Tensor):
            found, remedy = f"a tensor {tuple(value.shape)}", ": put the mix before ToTensorV2"
        raise TypeError(f"{where}[{key!r}] must be a numpy array {form} or {form[:-1]}, C), got {found}{remedy}")
    return value


def _has_pixels_of(size: tuple[int, ...], value: Any) -> bool:
    """Whether a value, or an item of a list, has a value per pixel of an image (H, W); channels first or last."""
    for item in value if isinstance(value, (list, tuple)) else (value,):
        if isinstance(item, (np.ndarray, Tensor)) and item.ndim >= 2:
            shape = item.shape
            if size in (tuple(shape[:2]), tuple(shape[-2:]), tuple(shape[-3:-1])):
                return True
    return False
