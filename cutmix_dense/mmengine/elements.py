"""What the data samples of a batch hold: which elements a mix moves, and which it must refuse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.structures import PixelData
from torch import Tensor

from cutmix_dense.functional.fields import INSTANCE_KEYS
from cutmix_dense.mmengine.fields import check_same_keys, check_texts, reason_against
from cutmix_dense.mmengine.rows import name_of
from cutmix_dense.mmengine.structures import as_tensor, padded_masks
from cutmix_dense.transforms import MixTransform, MixUp

INSTANCES = ("gt_instances", "gt_instance_labels")
"""Elements with a row per instance; MMPose has both, and both of the same instances."""

IGNORED = "ignored_instances"
"""Element of the instances to be ignored."""

_VALUE_MAPS = {"gt_depth_map": 0, "gt_fields": False}
"""Elements of maps that aren't ids, read nearest, and what pixels that nobody owns get: no depth, no heatmap."""

MIXED_ELEMENTS = frozenset({*INSTANCES, IGNORED, *_VALUE_MAPS, "gt_sem_seg", "gt_edge_map"})
"""All elements that are mixed wherever they are."""


def fields_of(sample: Any) -> dict[str, dict[str, Any]]:
    """The fields of each element of instances; masks of ignored ones are padded as the others are."""
    names = [name for name in (*INSTANCES, IGNORED) if name in sample]
    fields = {name: dict(getattr(sample, name).items()) for name in names}
    own, aside = fields.get(INSTANCES[0], {}), fields.get(IGNORED, {})
    if "masks" in own and "masks" in aside:
        aside["masks"] = padded_masks(aside["masks"], own["masks"])
    return fields


def check_elements(samples: Sequence[Any], mix: MixTransform, image_keys: Sequence[str]) -> None:
    """Raise for what would stay unmixed beside mixed images.

    Args:
        samples: data samples of the batch.
        mix: the method.
        image_keys: elements that the user leaves as they are.

    Raises:
        ValueError: an element, a field or metainfo that can't be mixed, named with the reason.
    """
    if not samples:
        return
    check_texts(samples)
    names = dict.fromkeys(name for sample in samples for name in sample.keys())  # noqa: SIM118 – no mapping
    for name in names:
        if name != IGNORED and name not in image_keys and not all(name in sample for sample in samples):
            raise ValueError(f"{name} must be in every data sample or in none")
    for sample in samples:
        for key, value in sample.metainfo_items():
            reason = reason_against(key) if key not in image_keys else None
            if reason is not None and value is not None:
                raise ValueError(f"data samples hold {key!r}, which {reason}")
        if "homography_matrix" in sample.metainfo:
            raise ValueError(
                "data samples hold 'homography_matrix', by which a semi-supervised detector moves boxes from one "
                "branch to the other, and a mix of each branch by itself would break that: mix samples in the "
                "supervised branch's pipeline, or leave the key out of meta_keys"
            )
        if IGNORED in sample and len(getattr(sample, IGNORED)) and "gt_instances" not in sample:
            raise ValueError("ignored_instances can't be mixed without gt_instances beside them")
        for name, fields in fields_of(sample).items():
            _check_fields(name, fields, mix)
    for name in INSTANCES:
        if name in names:
            elements = [getattr(sample, name) for sample in samples]
            check_same_keys(name, [(len(element), element.keys()) for element in elements])
    if "gt_instance_labels" in names and any(member.on_filtered == "ignore" for member in mix.members):
        raise ValueError("on_filtered must be 'drop' for MMPose, which has no instances to be ignored")


def _check_fields(name: str, fields: dict[str, Any], mix: MixTransform) -> None:
    known = {*INSTANCE_KEYS, *(key for member in mix.members for key in member.instance_keys)}
    for key in fields:
        if name_of(key) in known:
            continue
        reason = reason_against(key)
        if reason is not None:
            raise ValueError(f"{name} hold {key!r}, which {reason}")
        raise ValueError(
            f"{name} hold {key!r}, which a mix doesn't know: name it in instance_keys if it belongs to its instance "
            "and holds no coordinates; leave anything else out of the pipeline"
        )


def maps_of(
    samples: Sequence[Any], inputs: Tensor | list[Tensor], mix: MixTransform, image_keys: Sequence[str]
) -> dict[str, tuple[Any, Any]]:
    """The maps of a batch by their element: one stack, or a list where they aren't padded as the images are.

    Returns:
        Per element its maps, and what pixels that nobody owns get; None for the ids of classes, which have
        ``ignore_index``.

    Raises:
        ValueError: an element that isn't one map per pixel, or not of its image's size; ids whose ignored one isn't the
            method's.
    """
    found: dict[str, tuple[Any, Any]] = {}
    names = dict.fromkeys(name for sample in samples for name in sample.keys())  # noqa: SIM118 – no mapping
    for name in names:
        if name in (*INSTANCES, IGNORED, *image_keys):
            continue
        maps = [as_tensor(_map_of(sample, name)) for sample in samples]
        if name not in _VALUE_MAPS:
            _check_ids(name, samples, mix)
        elif any(isinstance(member, MixUp) for member in mix.members):
            raise ValueError(f"{name} can't be blended: use methods without MixUp")
        _check_sizes(name, maps, samples, inputs)
        same = all(value.shape == maps[0].shape for value in maps)
        stacked = same and isinstance(inputs, Tensor) and maps[0].shape[-2:] == inputs.shape[-2:]
        found[name] = (torch.stack(maps) if stacked else maps, _VALUE_MAPS.get(name))
    return found


def _map_of(sample: Any, name: str) -> Any:
    """The only field of an element.

    Raises:
        ValueError: an element of another kind, named with the reason.
    """
    element = getattr(sample, name)
    fields = list(element.items()) if hasattr(element, "items") else []
    reasons = [(key, why) for key in (name, *(key for key, _ in fields)) if (why := reason_against(key))]
    if name == "gt_fields" and [key for key, _ in fields] == ["heatmap_mask"] and isinstance(element, PixelData):
        return fields[0][1]
    if reasons:
        key, why = reasons[0]
        raise ValueError(f"data samples hold {name!r} with {key!r}, which {why}")
    floats = len(fields) == 1 and as_tensor(fields[0][1]).is_floating_point()
    if not isinstance(element, PixelData) or len(fields) != 1 or (floats and name not in _VALUE_MAPS):
        raise ValueError(
            f"data samples hold {name!r}, which can't be mixed: maps are a PixelData of one field of ids; name it in "
            "image_keys if it belongs to the base image, or leave it out of the pipeline"
        )
    return fields[0][1]


def _check_sizes(name: str, maps: Sequence[Tensor], samples: Sequence[Any], inputs: Tensor | list[Tensor]) -> None:
    """Refuse maps of another scale; those of ids may be padded as the images are, or not."""
    frame = (max(image.shape[-2] for image in inputs), max(image.shape[-1] for image in inputs))
    for value, sample, image in zip(maps, samples, inputs):
        size = (image.shape[-2], image.shape[-1])
        fitting = [size]
        if name not in _VALUE_MAPS:
            fitting += [frame, size_of(sample, frame)] if isinstance(inputs, Tensor) else [frame]
        if tuple(value.shape[-2:]) not in fitting:
            scaled = "GenerateTarget" if name == "gt_fields" else "SegRescale"
            raise ValueError(
                f"{name} must have the size of its image {size}, got {tuple(value.shape)}: leave {scaled} out, or mix "
                "samples in the pipeline, before it"
            )


def _check_ids(name: str, samples: Sequence[Any], mix: MixTransform) -> None:
    for member in mix.members:
        for sample in samples:
            given = getattr(sample, name).metainfo.get("ignore_index", member.ignore_index)
            if given != member.ignore_index:
                raise ValueError(
                    f"ignore_index must be that of {name}, {given}, since pixels without owner get it; got "
                    f"{member.ignore_index}"
                )


def size_of(sample: Any, frame: tuple[int, int]) -> tuple[int, int]:
    """The valid size of a padded image.

    MMPose's transforms leave ``img_shape`` as it was where they warp an image to ``input_size``, which is (w, h) from
    most and (h, w) from some.

    Raises:
        ValueError: no such metainfo.
    """
    if "input_size" in sample.metainfo:
        given = tuple(sample.input_size)
        fitting = [size for size in (given[::-1], given) if size[0] <= frame[0] and size[1] <= frame[1]]
        shape = tuple(sample.metainfo.get("img_shape", ())[:2])
        if fitting:
            return shape if shape in fitting else fitting[0]
    if "img_shape" not in sample.metainfo:
        raise ValueError(
            "data samples need 'img_shape' in their metainfo: name it in meta_keys of the packing transform"
        )
    return tuple(sample.img_shape[:2])
