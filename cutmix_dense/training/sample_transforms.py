"""Transforms of one sample by their names in a config: targets follow them whole, areas and further keys included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2

from cutmix_dense.functional.boxes import to_xyxy
from cutmix_dense.functional.fields import INSTANCE_KEYS

Sample = dict[str, Any]
"""``{"image": …, "target": {…}}``."""


def build_transforms(configs: Sequence[Any]) -> v2.Compose | None:
    """Transforms of ``torchvision.transforms.v2`` by name: ``dict(type="RandomHorizontalFlip", p=0.5)``, nested too.

    Words stand for torchvision's enumerations (``interpolation="nearest"``, ``policy="cifar10"``).
    ``SanitizeBoundingBoxes`` filters every key of the instances together with the boxes, unless its ``labels_getter``
    is given. The ``area`` of objects follows transforms that resize or crop; ``RandomAffine`` with an angle or a shear
    and other warps change it where there are masks, since a turned box doesn't say how large its object is.

    Raises:
        ValueError: an unknown type.
        TypeError, ValueError: what the transform raises for its arguments, with its name in front.
    """
    built = [_build_transform(config) for config in configs]
    return v2.Compose(built) if built else None


_FILTERS_SEVERAL = [int(part) for part in torchvision.__version__.split(".")[:2]] >= [0, 18]
"""Whether ``SanitizeBoundingBoxes`` takes several tensors to filter."""


def _build_transform(config: Any, key: str = "") -> Any:
    if isinstance(config, str) and key == "interpolation":
        return v2.InterpolationMode(config)
    if isinstance(config, str) and key == "policy":
        return v2.AutoAugmentPolicy(config)
    if isinstance(config, (list, tuple)):
        return [_build_transform(item) for item in config]
    if not isinstance(config, Mapping) or "type" not in config:
        return config
    kind = getattr(v2, str(config["type"]), None)
    if not (isinstance(kind, type) and issubclass(kind, v2.Transform)):
        raise ValueError(f"transforms must be named as in torchvision.transforms.v2, got {config['type']!r}")
    settings = {name: _build_transform(value, name) for name, value in config.items() if name != "type"}
    if kind is v2.SanitizeBoundingBoxes and "labels_getter" not in settings:
        if not _FILTERS_SEVERAL:
            raise ValueError("SanitizeBoundingBoxes filters areas and flags, too, since torchvision 0.18: update it")
        settings.setdefault("labels_getter", rows_beside_boxes)
    try:
        built = kind(**settings)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{config['type']}: {error}") from error
    if isinstance(built, (*_RESIZING, *_CROPPING, *_WARPING)):
        built.register_forward_hook(_scale_area)
    return built


def rows_beside_boxes(sample: Sample) -> tuple[Tensor, ...]:
    """The values per instance in a sample's target that torchvision doesn't filter by itself: labels, areas, flags.

    Example:
        >>> target = {"boxes": torch.zeros(2, 4), "labels": torch.tensor([1, 2]), "image_id": 5}
        >>> rows_beside_boxes({"image": torch.zeros(3, 4, 4), "target": target})
        (tensor([1, 2]),)
    """
    rows = _rows(sample["target"])
    ours = (tv_tensors.BoundingBoxes, tv_tensors.Mask)
    return tuple(value for key, value in rows.items() if key != "boxes" and not isinstance(value, ours))


def check_rows(target: Mapping[str, Any]) -> None:
    """Refuse a target whose keys of instances differ in length, as a transform that filters only some leaves it.

    Raises:
        ValueError: with the lengths by key, and the remedy.

    Example:
        >>> check_rows({"boxes": torch.zeros(1, 4), "labels": torch.tensor([1, 2])})
        Traceback (most recent call last):
        ValueError: transforms must keep the instances of a target together, got boxes of 1 and labels of 2: ...
    """
    counts = {key: len(value) for key, value in _rows(target).items()}
    if "boxes" in counts and len(set(counts.values())) > 1:
        told = " and ".join(f"{key} of {count}" for key, count in counts.items())
        raise ValueError(
            f"transforms must keep the instances of a target together, got {told}: SanitizeBoundingBoxes does so if "
            "its labels_getter isn't given"
        )


def _rows(target: Mapping[str, Any]) -> dict[str, Tensor]:
    """What a target has per instance."""
    return {key: value for key, value in target.items() if key in INSTANCE_KEYS and isinstance(value, Tensor)}


_RESIZING = (v2.Resize, v2.RandomResize, v2.RandomShortestSize, v2.ScaleJitter)
"""They map the whole image onto the new canvas."""
_CROPPING = (v2.CenterCrop, v2.RandomCrop, v2.RandomIoUCrop, v2.RandomResizedCrop)
"""They cut boxes, and may scale them, along the axes."""
_WARPING = (v2.ElasticTransform, v2.RandomAffine, v2.RandomPerspective, v2.RandomRotation)
"""They turn or bend; boxes are drawn round what comes out."""


def _scale_area(transform: nn.Module, inputs: tuple[Any, ...], made: Sample) -> Sample | None:
    """A forward hook: ``area`` times the scale of a transform and the share that stayed visible."""
    if not isinstance(made, dict) or "area" not in made.get("target", ()):
        return None
    before, after = inputs[0]["target"], made["target"]
    factor: Any
    if isinstance(transform, _RESIZING):
        (height, width), (tall, wide) = (v2.functional.get_size(each["image"]) for each in (inputs[0], made))
        factor = tall * wide / (height * width)
    else:
        along_axes = isinstance(transform, _CROPPING) or (
            isinstance(transform, v2.RandomAffine) and not any(transform.degrees) and not any(transform.shear or ())
        )
        factor = _changed(before, after, along_axes)
    return {**made, "target": {**after, "area": after["area"] * factor}}


def _changed(before: Mapping[str, Any], after: Mapping[str, Any], along_axes: bool) -> Tensor:
    """(N,) how much larger every instance became: by its mask, else by its box if that moved along the axes."""
    factor = torch.ones(len(before["boxes"]))
    if along_axes:
        factor = _ratio(_box_areas(after["boxes"]), _box_areas(before["boxes"]), factor)
    if "masks" in before:
        had, has = (target["masks"].as_subclass(Tensor).flatten(1).sum(1) for target in (before, after))
        factor = _ratio(has, had, factor)
    return factor


def _ratio(after: Tensor, before: Tensor, otherwise: Tensor) -> Tensor:
    return torch.where(before > 0, after / before.clamp(min=1e-6), otherwise)


def _box_areas(boxes: Tensor) -> Tensor:
    corners = to_xyxy(boxes, "boxes").float()
    return (corners[:, 2:] - corners[:, :2]).clamp(min=0).prod(dim=1)


_FILLING = (
    "RandomAffine",
    "RandomRotation",
    "RandomPerspective",
    "RandomCrop",
    "Pad",
    "RandomZoomOut",
    "ElasticTransform",
)


def with_fill(configs: Sequence[Any], map_fill: int) -> list[Any]:
    """Geometric transforms fill semantic maps with 255 (nobody knows the class there), unless they say otherwise."""
    filled: list[Any] = []
    for config in configs:
        if isinstance(config, Mapping):
            config = {
                key: with_fill(value, map_fill) if key == "transforms" and isinstance(value, (list, tuple)) else value
                for key, value in config.items()
            }
            if config.get("type") in _FILLING and not isinstance(config.get("fill"), Mapping):
                config["fill"] = {tv_tensors.Mask: map_fill, "others": config.get("fill", 0)}
        filled.append(config)
    return filled
