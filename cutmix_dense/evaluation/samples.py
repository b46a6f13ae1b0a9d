"""What metrics read from a data sample: fields that are there, fit each other and lie in range, as CPU arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torchvision import tv_tensors

from cutmix_dense.data.masks import encode_rle

Arrays = dict[str, Any]


def image_id(sample: Mapping[str, Any]) -> int | str:
    """The id of a sample's image; ValueError if it has none or another kind of one."""
    value = sample.get("image_id")
    if isinstance(value, (torch.Tensor, np.ndarray, np.generic)) and np.size(value) == 1:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError(f"a data sample needs an image_id, an int or str, got {value!r}")
    return value


def read(
    sample: Mapping[str, Any], part: str, key: str, shape: Sequence[int | None], *, integer: bool = False
) -> np.ndarray:
    """A field of a data sample as an array.

    Args:
        sample: the data sample.
        part: "prediction" or "target".
        key: the field.
        shape: what its shape must be; None where any size will do.
        integer: refuse floating-point values; else they must be finite.

    Raises:
        ValueError: missing, of another shape or type, or not finite.
    """
    name = f"{part}[{key!r}] of image {sample.get('image_id')!r}"
    fields = sample.get(part)
    if not isinstance(fields, Mapping):
        raise ValueError(f"data sample of image {sample.get('image_id')!r} has no dict {part!r}, only {list(sample)}")
    if key not in fields:
        raise ValueError(f"{name} is missing, there are only {list(fields)}")
    value = fields[key]
    if isinstance(value, tv_tensors.BoundingBoxes) and value.format is not tv_tensors.BoundingBoxFormat.XYXY:
        raise ValueError(f"{name} must be XYXY, got {value.format.name}")
    tensor = torch.as_tensor(value).detach().cpu()
    array = (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).numpy()  # numpy has no bfloat16
    if array.ndim != len(shape) or any(want not in (None, have) for want, have in zip(shape, array.shape)):
        wanted = ", ".join("any" if want is None else str(want) for want in shape)
        raise ValueError(f"{name} must be of shape ({wanted}), got {array.shape}")
    if integer and array.dtype.kind not in "iub":
        raise ValueError(f"{name} must be integers, got {array.dtype}")
    if not integer and not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got nan or infinity")
    return array


def in_range(ids: np.ndarray, name: str, low: int, high: int, besides: Sequence[int] = ()) -> None:
    """ValueError that names the ids outside low..high (both included) and not among `besides`."""
    wrong = (ids < low) | (ids > high)
    for value in besides:
        wrong &= ids != value
    if wrong.any():
        extra = "".join(f" or {value}" for value in besides)
        raise ValueError(f"{name} must be class ids in {low}..{high}{extra}, got {np.unique(ids[wrong]).tolist()[:5]}")


def first_label(classes: Sequence[str]) -> int:
    """The first label that an object can have: 1 where `classes[0]` is "background", as readers of boxes have it."""
    return int(classes[0] == "background")


def instances(sample: Mapping[str, Any], part: str, classes: Sequence[str], *, masks: bool = False) -> Arrays:
    """The instances of a data sample.

    Args:
        sample: the data sample.
        part: "prediction" (`boxes`, `labels`, `scores`) or "target" (`boxes`, `labels`).
        classes: names; label `i` means `classes[i]`.
        masks: also encode the `masks`.

    Returns:
        `boxes` (N, 4) float64, `labels` (N,) int64, for predictions `scores` (N,) float64, and with masks `rles`, N
        run lengths.

    Raises:
        ValueError: missing or ill-fitting fields, or labels that are not among the classes.
    """
    found: Arrays = {"boxes": read(sample, part, "boxes", (None, 4)).astype(np.float64)}
    count = len(found["boxes"])
    labels = read(sample, part, "labels", (count,), integer=True)
    name = f"{part}['labels'] of image {sample['image_id']!r}"
    in_range(labels, name, first_label(classes), len(classes) - 1)
    found["labels"] = labels.astype(np.int64)
    if part == "prediction":
        found["scores"] = read(sample, part, "scores", (count,)).astype(np.float64)
    if masks:
        found["rles"] = run_lengths(sample, part, count)
    return found


def run_lengths(sample: Mapping[str, Any], part: str, count: int) -> list[dict[str, Any]]:
    """The `masks` (count, H, W), bool or 0/1, as COCO's run lengths; ValueError for another shape or for floats."""
    masks = read(sample, part, "masks", (count, None, None), integer=True)
    return [encode_rle(mask) for mask in masks != 0]


def semantic_maps(sample: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """`semantic` of the prediction and of the target, integers (H, W); ValueError if their sizes differ."""
    target = read(sample, "target", "semantic", (None, None), integer=True)
    return read(sample, "prediction", "semantic", target.shape, integer=True), target
