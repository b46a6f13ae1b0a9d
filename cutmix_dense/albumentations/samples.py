"""What a call holds: the base as ``Compose`` hands it over, and partners as the user gives them, read alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from cutmix_dense.arrays import to_tensor

__all__ = ["KINDS", "Layout", "Sample", "label_column"]

_IMAGES = {"image": 0, "images": 1, "volume": 1, "volumes": 2}
"""Kinds of pictures, and how many axes stand before theirs; one plan serves all slices."""
_MAPS = {"mask": 0, "mask3d": 1, "masks3d": 2, "maps": 1}
"""The same of maps; ``masks`` without bboxes are "maps"."""
_AHEAD = {**_IMAGES, **_MAPS}
KINDS = (*_IMAGES, "mask", "mask3d", "masks3d", "masks", "bboxes", "keypoints")
"""What can be mixed."""
_WIDTHS = {"bboxes": 4, "keypoints": 5}


@dataclass(frozen=True)
class Sample:
    """One image and what belongs to it.

    Attributes:
        where: what errors call it.
        size: (height, width) of its image, pixels.
        pixels: images and maps by key, (C, H, W); class maps (H, W); of stacks with their axes in front.
        rows: its boxes as Albumentations keeps them: normalised xyxy, then the label columns.
        points: its keypoints as Albumentations keeps them: x, y (pixels), z, angle, scale, then the label columns.
        masks: (N, H, W), one per row; None if the call has no masks.
    """

    where: str
    size: tuple[int, int]
    pixels: dict[str, Tensor]
    rows: Shaped[np.ndarray, "n k"]
    points: Shaped[np.ndarray, "m k"]
    masks: Shaped[Tensor, "n h w"] | None

    @cached_property
    def pixel_boxes(self) -> Float[np.ndarray, "n 4"]:
        """Its boxes in pixels; a side within single precision of a whole pixel lies on it."""
        scale = np.array([self.size[1], self.size[0]] * 2, dtype=np.float64)
        boxes = self.rows[:, :4].astype(np.float64) * scale
        whole = np.rint(boxes)
        return np.where(np.abs(boxes - whole) <= scale * 2.0**-22, whole, boxes)


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
        given = {key: additional.get(key, key) for key, value in data.items() if value is not None}
        self.kinds = {key: kind for key, kind in given.items() if kind in KINDS}
        pictures = sorted((key for key in self.kinds if self.is_picture(key)), key=lambda key: key != "image")
        if not pictures:
            raise ValueError(f"one of {', '.join(_IMAGES)} must be given to be mixed, got none")
        self.first = pictures[0]
        """Key of the picture whose size counts: ``image`` if it is given."""
        for key, kind in given.items():
            if key != kind and kind in ("masks", "bboxes", "keypoints"):
                raise ValueError(
                    f"{key!r} holds {kind}, which can't be mixed here: of further targets images and masks can"
                )
        if "masks" in self.kinds and "bboxes" not in self.kinds:
            if len(data["masks"]):
                self.kinds["masks"] = "maps"
            else:
                del self.kinds["masks"]
        self.arrays = {key: self._array(data, key, "the image") for key in self.kinds if self.has_pixels(key)}
        """What the call has of ``pixels``, stacked."""
        size = self._size(self.arrays[self.first])
        for key, kind in given.items():
            if kind not in KINDS and _has_pixels_of(size, data[key]):
                raise ValueError(
                    f"{key!r} has a value per pixel and would stay unmixed: say what it is in additional_targets "
                    f"of Compose, {{{key!r}: 'image'}} or {{{key!r}: 'mask'}}"
                )
        for kind in ("bboxes", "keypoints"):
            if kind in self.kinds and processors.get(kind) is None:
                raise ValueError(f"{kind} need a Compose with {'bbox' if kind == 'bboxes' else 'keypoint'}_params")

    def is_picture(self, key: str) -> bool:
        """Whether a key holds one picture or several."""
        return self.kinds.get(key) in _IMAGES

    def has_pixels(self, key: str) -> bool:
        """Whether a key holds pictures or maps, whose pixels are mixed one by one."""
        return self.kinds.get(key) in _AHEAD

    def is_class_map(self, key: str) -> bool:
        """Whether a key holds maps of class ids: whole numbers, one per pixel."""
        if self.kinds.get(key) not in _MAPS:
            return False
        array, ahead = self.arrays[key], _MAPS[self.kinds[key]]
        return not np.issubdtype(array.dtype, np.floating) and (array.ndim == ahead + 2 or array.shape[-1] == 1)

    def given_like(self, key: str, mixed: Tensor) -> Any:
        """Mixed pixels of a key in the form in which the call has them, but for their size."""
        array, ahead = self.arrays[key], _AHEAD[self.kinds[key]]
        moved = mixed if self.is_class_map(key) else mixed.movedim(-3, -1)
        size = moved.shape[ahead : ahead + 2]
        result = np.ascontiguousarray(moved.numpy()).reshape(*array.shape[:ahead], *size, *array.shape[ahead + 2 :])
        return list(result) if isinstance(self.data[key], (list, tuple)) else result

    def _array(self, values: Mapping[str, Any], key: str, where: str) -> np.ndarray:
        """What a sample has under a key of pixels, checked; lists of one size stacked."""
        value, ahead = values[key], _AHEAD[self.kinds[key]]
        form = f"({', '.join([*'ND'[2 - ahead :], 'H', 'W'])})" if ahead else "(H, W)"
        if ahead == 1 and isinstance(value, (list, tuple)):
            shapes = {one.shape if isinstance(one, np.ndarray) else None for one in value}
            value = np.stack(value) if len(shapes) == 1 and None not in shapes else value
        if not isinstance(value, np.ndarray) or value.ndim - ahead not in (2, 3) or 0 in value.shape:
            found = getattr(value, "shape", type(value).__name__)
            remedy = ""
            if isinstance(value, Tensor):
                found, remedy = f"a tensor {tuple(value.shape)}", ": put the mix before ToTensorV2"
            raise TypeError(f"{where}[{key!r}] must be a numpy array {form} or {form[:-1]}, C), got {found}{remedy}")
        return value

    def _size(self, array: np.ndarray) -> tuple[int, int]:
        """(height, width) of the first picture."""
        ahead = _IMAGES[self.kinds[self.first]]
        return array.shape[ahead], array.shape[ahead + 1]

    def fields(self, kind: str) -> list[str]:
        """Label fields of ``bboxes`` or ``keypoints``."""
        processor = self.processors.get(kind)
        return list(processor.params.label_fields or ()) if processor is not None else []

    def numeric(self, kind: str, field: str) -> bool:
        """Whether a label field holds numbers (known once some sample has rows)."""
        found = self.processors[kind].label_manager.metadata.get(kind, {}).get(field)
        return found is not None and bool(found.is_numerical)

    def base(self) -> Sample:
        """The call's own sample."""
        rows = {kind: _two_dimensional(self.data[kind], kind) for kind in _WIDTHS if kind in self.kinds}
        return self._sample("the image", self.data, rows, None)

    def partner(self, item: Any, where: str, base: Sample) -> Sample:
        """A partner, its boxes and keypoints converted as ``Compose`` converts the base's.

        Raises:
            TypeError, ValueError: what it lacks of what the base has, or what doesn't fit, with ``where`` in front.
        """
        if not isinstance(item, Mapping):
            raise TypeError(f"{where} must be a dict with 'image', got {type(item).__name__}")
        for key in self.arrays:
            value = item.get(key)
            if value is None or (isinstance(value, (list, tuple, np.ndarray)) and not len(value)):
                raise ValueError(f"{where} must have {key!r}, which the image it is mixed with has; got {sorted(item)}")
        maps = item.get("masks")
        if "bboxes" not in self.kinds and "masks" not in self.kinds and maps is not None and len(maps):
            raise ValueError(f"{where} has {len(maps)} masks, the image it is mixed with has none")
        for kind in _WIDTHS:
            given = item.get(kind) if kind not in self.kinds and self.processors.get(kind) is not None else None
            if given is not None and len(given):
                raise ValueError(
                    f"{where} has {kind}, the image it is mixed with has none, so that they would be lost: call the "
                    f"pipeline with {kind}=[] for an image without objects"
                )
        self._array(item, self.first, where)
        rows = {kind: self._encoded(item, kind, where) for kind in _WIDTHS if kind in self.kinds}
        return self._sample(where, item, rows, base)

    def _sample(
        self, where: str, values: Mapping[str, Any], rows: dict[str, np.ndarray], base: Sample | None
    ) -> Sample:
        own = {key: self._array(values, key, where) for key in self.arrays}
        size = self._size(own[self.first])
        pixels = {}
        for key, value in own.items():
            ahead, like = _AHEAD[self.kinds[key]], self.arrays[key]
            if value.shape[ahead : ahead + 2] != size:
                raise ValueError(f"{where}[{key!r}] must have its image's size {size}, got {value.shape}")
            if base is not None and value.shape[:ahead] != like.shape[:ahead]:
                hint = ": as masks of instances they need bboxes" if self.kinds[key] == "maps" else ""
                raise ValueError(
                    f"{where}[{key!r}] must hold as many as the image's own, since they are mixed in order, "
                    f"{like.shape[:ahead]}, got {value.shape[:ahead]}{hint}"
                )
            if base is not None and (value.dtype != like.dtype or _channels(value, ahead) != _channels(like, ahead)):
                raise ValueError(
                    f"{where}[{key!r}] must be {like.dtype} with {_channels(like, ahead)} channels like the image's, "
                    f"got {value.dtype} of shape {value.shape}; partners haven't been through the transforms before "
                    "the mix: put it before those, or give partner_transform"
                )
            pixels[key] = _in_front(value, ahead, squeeze=self.is_class_map(key))
        boxes = rows["bboxes"] if "bboxes" in rows else np.zeros((0, 4), np.float32)
        masks = self._masks(values.get("masks"), boxes, size, where) if self.kinds.get("masks") == "masks" else None
        return Sample(
            where,
            size,
            pixels,
            boxes,
            rows["keypoints"] if "keypoints" in rows else np.zeros((0, 5), np.float32),
            masks,
        )

    def _encoded(self, item: Mapping[str, Any], kind: str, where: str) -> np.ndarray:
        """A partner's rows as ``Compose`` would make them of a base's."""
        value, fields, processor = item.get(kind), self.fields(kind), self.processors[kind]
        if value is None or not len(value):
            orphan = next((field for field in fields if item.get(field) is not None and len(item[field])), None)
            if orphan is not None:
                raise ValueError(f"{where} has {orphan!r} but no {kind}")
            return np.zeros((0, _WIDTHS[kind] + len(fields)), np.float32)
        missing = [field for field in fields if item.get(field) is None]
        if missing:
            raise ValueError(f"{where} has {kind} but not their label fields {missing}")
        rows = value.copy() if isinstance(value, np.ndarray) else np.array(value, dtype=np.float32)
        for field in fields:
            _check_labels(processor.label_manager.metadata[kind].get(field), item[field], f"{where}[{field!r}]")
        converted = {self.first: item[self.first], kind: rows, **{field: item[field] for field in fields}}
        lists = dict(processor.is_sequence_input)  # of the base, whose form the output has
        try:
            processor.preprocess(converted)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
        except IndexError as error:
            raise ValueError(f"{where}[{kind!r}] must be rows like the image's own, got shape {rows.shape}") from error
        finally:
            processor.is_sequence_input = lists
        return _two_dimensional(converted[kind], kind)

    def _masks(self, value: Any, rows: np.ndarray, size: tuple[int, ...], where: str) -> Tensor:
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
        column = label_column(self, "bboxes", self.mask_index_field, rows)
        if column is None:
            if count != len(rows):
                raise ValueError(
                    f"{where} has {count} masks for {len(rows)} bboxes: name each box's mask in a label field "
                    f"{self.mask_index_field!r} of bbox_params, so that transforms may drop boxes without their masks"
                )
            return stack
        if not self.numeric("bboxes", self.mask_index_field):
            raise ValueError(f"{where}[{self.mask_index_field!r}] must hold indices of masks")
        index = rows[:, column].astype(np.int64)
        if len(index) and not (index.min() >= 0 and index.max() < count):
            raise ValueError(
                f"{where}[{self.mask_index_field!r}] must hold indices below {count}, got {index.tolist()}"
            )
        return stack if np.array_equal(index, np.arange(count)) else stack[torch.from_numpy(index)]


def label_column(layout: Layout, kind: str, field: str, rows: np.ndarray) -> int | None:
    """The column of rows that holds a label field; None if there is no such field or no row."""
    fields = layout.fields(kind)
    return rows.shape[1] - len(fields) + fields.index(field) if field in fields and len(rows) else None


def _has_pixels_of(size: tuple[int, int], value: Any) -> bool:
    """Whether a value, or an item of a list, has a value per pixel of an image (H, W); channels first or last."""
    if isinstance(value, (list, tuple)):
        return any(_has_pixels_of(size, item) for item in value if isinstance(item, (np.ndarray, Tensor)))
    if not isinstance(value, (np.ndarray, Tensor)) or value.ndim < 2:
        return False
    return size in (tuple(value.shape[:2]), tuple(value.shape[-2:]), tuple(value.shape[-3:-1]))


def _two_dimensional(rows: Any, kind: str) -> np.ndarray:
    array = np.asarray(rows)
    return array if array.ndim == 2 else np.zeros((0, _WIDTHS[kind]), np.float32)


def _channels(value: np.ndarray, ahead: int) -> int:
    return value.shape[-1] if value.ndim == ahead + 3 else 1


def _in_front(value: np.ndarray, ahead: int, squeeze: bool) -> Tensor:
    """The array's memory with channels before rows and columns; ``squeeze``: without the one channel."""
    if not value.flags.writeable or min(value.strides) < 0:
        value = value.copy()
    tensor = torch.from_numpy(value)
    if squeeze:
        return tensor[..., 0] if value.ndim == ahead + 3 else tensor
    return tensor.movedim(-1, -3) if value.ndim == ahead + 3 else tensor.unsqueeze(-3)


def _check_labels(known: Any, labels: Any, where: str) -> None:
    """Refuse a partner's labels that the base's encoding would falsify, and make room for longer words."""
    if known is None:
        return
    array = np.asarray(labels)
    numbers = known.is_numerical or known.encoder.is_numerical
    if array.size and numbers != bool(np.issubdtype(array.dtype, np.number) or array.dtype == bool):
        raise ValueError(f"{where} must hold {'numbers' if numbers else 'words'} like the image's own")
    if known.dtype is None or (array.dtype == known.dtype and array.dtype.kind in "iub"):
        return
    if known.dtype.kind in "US" and array.dtype.kind == known.dtype.kind:
        known.dtype = np.promote_types(known.dtype, array.dtype)
    elif known.is_numerical and not np.array_equal(array.astype(known.dtype), array):
        raise ValueError(f"{where} must hold values that fit {known.dtype}, the dtype of the image's own")
