"""Detectron2's batches, lists of dicts with an ``image`` and ``Instances``, mixed as its mappers and loaders give them.

Its structures are recognised by what they can do, so this module imports without Detectron2, and works with projects
that bring copies of them.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors

from cutmix_dense.polygon_bitmaps import draw_in_windows
from cutmix_dense.transforms import MixTransform, MixUp
from cutmix_dense.warned import reworded

__all__ = ["MixedLoader", "mix_batch"]

Sample = Mapping[str, Any]
Mix = MixTransform

_NAMES = {
    "gt_boxes": "boxes",
    "gt_classes": "labels",
    "gt_masks": "masks",
    "gt_keypoints": "keypoints",
    "gt_area": "area",
    "gt_iscrowd": "iscrowd",
    "gt_visibility": "visibility",
    "gt_weight": "weight",
    "gt_origin": "origin",
}
"""Fields of ``Instances`` and the keys that the core knows them by; all models read fields with ``gt_``."""

_FIELDS = {key: name for name, key in _NAMES.items()}

_STRUCTURES = {"gt_boxes": "Boxes", "gt_masks": "BitMasks", "gt_keypoints": "Keypoints"}
"""What a field is where the batch itself shows none of its kind: instances that come out of a ``SampleBank``."""

_COORDINATES = frozenset({"gt_point_coords", "proposal_boxes", "gt_proposals", "gt_densepose"})
"""Fields that hold places in the image in forms that aren't mapped: carried unchanged, they would be wrong."""

_PANOPTIC, _SEGMENTS = "panoptic_seg", "segments_info"


def mix_batch(
    batch: Sequence[Sample],
    mix: Mix,
    *,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
    return_report: bool = False,
) -> Any:
    """A mixed batch: new dicts with what the given ones hold, all of it cut by one plan.

    Mixed are, where they are there: ``image`` (C, H, W) in any dtype and order of channels, each of its own size;
    ``instances`` with ``gt_boxes`` (``Boxes`` or ``RotatedBoxes``), ``gt_classes``, ``gt_masks`` (``BitMasks``,
    ``PolygonMasks``, or a plain tensor as Mask2Former's mappers give it), ``gt_keypoints``, ``gt_area``; ``sem_seg``
    (H, W); ``panoptic_seg`` (H, W) with ``segments_info``. Instances get ``gt_visibility`` (N,), the share of each that
    shows, and ``gt_origin`` (N, 2), image of the batch and index there; ``gt_weight`` (N,) as well if ``mix`` holds a
    ``MixUp``. All samples have the same fields, those without objects or unmixed included.

    ``PolygonMasks`` come back as ``BitMasks``, unmixed ones too: a cut polygon isn't one polygon any more. With
    ``INPUT.MASK_FORMAT = "bitmask"`` the loader's workers draw them.

    What else a dict holds stays the base image's: strings, numbers, and what ``mix`` names in ``image_keys``. Further
    maps are mixed if ``mix`` names them in ``semantic_keys``; further fields, tensors or lists with a row per instance,
    follow their instance if it names them in ``instance_keys``.

    Args:
        batch: what a loader gives, or a mapper sample by sample.
        mix: the method. ``functools.partial(mix_batch, mix=mix)`` is a ``collate_fn``.
        generator: on the CPU; see ``MixTransform``.
        device: where images, maps and instances go before they are mixed; None: they are mixed where they lie.
        return_report: also return the ``MixReport``.

    Raises:
        TypeError: a batch that isn't a list of dicts, an image that isn't one tensor, a ``mix`` of another kind.
        ValueError: an entry or a field that can't be mixed, named, ``proposals`` among them; instances in some
            samples only; settings of ``mix`` that have no meaning here.

    Example:
        >>> import torch, cutmix_dense as cd
        >>> images = [torch.full((3, 40, 60), i, dtype=torch.uint8) for i in range(2)]
        >>> batch = [{"image": image, "file_name": f"{i}.jpg"} for i, image in enumerate(images)]
        >>> mixed = mix_batch(batch, cd.CutMix(p=1.0), generator=torch.Generator().manual_seed(0))
        >>> mixed[0]["file_name"], sorted(mixed[0]["image"].unique().tolist())
        ('0.jpg', [0, 1])
    """
    _check_mix(mix)
    keys = _Keys.of(mix)
    samples = _checked(batch)
    if device is not None:
        samples = [_moved(sample, torch.device(device)) for sample in samples]
    with_instances = _in_all_or_none(samples, "instances")
    targets = [_target(sample, index, keys) for index, sample in enumerate(samples)]
    maps = sorted({key for target in targets for key in target} & {"sem_seg", *keys.semantic})
    if maps and any(isinstance(member, MixUp) for member in mix.members):
        raise ValueError(f"{', '.join(maps)} hold one class per pixel and can't be blended: use methods without MixUp")
    given = [sample["image"] for sample in samples]
    with reworded(_in_our_words):
        images, mixed, *report = mix(given, targets, generator=generator, return_report=return_report)
    result = []
    examples = _examples(samples) if with_instances else {}
    for image, target in zip(images, mixed):
        base = samples[target["image_id"]]
        made = {**base, "image": image, **{key: target[key] for key in maps}}
        if _PANOPTIC in base:
            made |= _panoptic_like(base, target)
        if with_instances:
            rows = {key: target[key] for key in target if key not in ("image_id", "panoptic", "segments_info", *maps)}
            made["instances"] = _instances_like(base["instances"], examples, rows, image)
        result.append(made)
    return (result, *report) if return_report else result


class MixedLoader:
    """A loader whose batches come mixed; ``len`` and all else are the loader's own.

    Iterated by ``SimpleTrainer`` and its relatives as the loader itself would be. The mix is made in the training's
    process, so ``mix.close()`` acts on the next batch. Nothing here tells windows of a ``RandomMix`` or a recipe which
    iteration begins: a hook of your trainer must, by ``mix.set_progress(trainer.iter)`` in its ``before_step``.

    Args:
        loader: what ``build_detection_train_loader`` gives, or any other iterable of batches.
        mix: the method; see ``mix_batch``.
        device: where batches go before they are mixed; None: nowhere.

    Raises:
        TypeError: a ``mix`` that isn't a mixing transform.
        ValueError: settings of it that have no meaning here.

    Example:
        >>> import torch, cutmix_dense as cd
        >>> batch = [{"image": torch.full((3, 40, 60), i, dtype=torch.uint8)} for i in range(2)]
        >>> loader = MixedLoader([batch, batch], cd.CutMix(p=1.0))
        >>> len(loader), [len(mixed[0]["image"].unique()) for mixed in loader]
        (2, [2, 2])
    """

    def __init__(self, loader: Iterable[Sequence[Sample]], mix: Mix, *, device: torch.device | str | None = None):
        _check_mix(mix)
        self.loader = loader
        self.mix = mix
        self.device = device

    def __iter__(self) -> Iterator[list[dict[str, Any]]]:
        for batch in self.loader:
            yield mix_batch(batch, self.mix, device=self.device)

    def __len__(self) -> int:
        return len(self.loader)  # type: ignore[arg-type]  # its own error if it has none

    def __getattr__(self, name: str) -> Any:
        if name == "loader" or name.startswith("__"):  # while it is being copied or unpickled
            raise AttributeError(name)
        return getattr(self.loader, name)


class _Keys:
    """Further keys that a method's settings name."""

    def __init__(self, instance: set[str], image: set[str], semantic: set[str]) -> None:
        self.instance, self.image, self.semantic = instance, image, semantic

    @classmethod
    def of(cls, mix: Mix) -> _Keys:
        """Those of all members."""
        named = [
            {key for member in mix.members for key in getattr(member, name)}
            for name in ("instance_keys", "image_keys", "semantic_keys")
        ]
        return cls(*named)


def _check_mix(mix: Any) -> None:
    """Raise for what isn't a mixing transform, or has settings that Detectron2's structures can't follow."""
    if not isinstance(mix, MixTransform):
        raise TypeError(f"mix must be a mixing transform, got {type(mix).__name__}")
    for member in mix.members:
        name = type(member).__name__
        if member.layout != "BCHW":
            raise ValueError(f"{name}: layout must be 'BCHW' here, got {member.layout!r}")
        if member.on_filtered != "drop":
            raise ValueError(
                f"{name}: on_filtered must be 'drop' here, got {member.on_filtered!r}: Detectron2's models train on "
                "all instances, crowds too, and have no ignore regions"
            )
        if member.box_format != "xyxy" or member.normalized:
            raise ValueError(
                f"{name}: box_format must be 'xyxy' and normalized False here, as Boxes are, got "
                f"{member.box_format!r} and {member.normalized!r}"
            )


def _checked(batch: Any) -> list[Sample]:
    """The samples of a batch, each a dict with an image."""
    if isinstance(batch, (str, Mapping, Tensor)) or not isinstance(batch, Sequence) or not batch:
        raise TypeError(f"batch must be a list of dicts, as a loader gives it, got {_told(batch)}")
    for index, sample in enumerate(batch):
        if not isinstance(sample, Mapping):
            raise TypeError(f"batch must be a list of dicts, got {_told(sample)} at {index}")
        if not isinstance(sample.get("image"), Tensor) or sample["image"].ndim != 3:
            raise TypeError(
                f"batch[{index}]['image'] must be a tensor (C, H, W), got {_told(sample.get('image'))}"
                + (": frames of a clip can't be mixed here" if isinstance(sample.get("image"), (list, tuple)) else "")
            )
    return list(batch)


def _in_all_or_none(samples: Sequence[Sample], key: str) -> bool:
    """Whether the samples have a key."""
    count = sum(key in sample for sample in samples)
    if count not in (0, len(samples)):
        missing = next(index for index, sample in enumerate(samples) if key not in sample)
        raise ValueError(
            f"{key!r} must be in every sample or in none, {count} of {len(samples)} have it: an image without objects "
            f"needs Instances without rows, which annotations=[] make; batch[{missing}] lacks it"
        )
    return count > 0


def _moved(sample: Sample, device: torch.device) -> Sample:
    """A sample whose tensors and instances lie on a device."""

    def move(value: Any) -> Any:
        if isinstance(value, (list, tuple)):  # a panoptic map with its segments
            return type(value)(map(move, value))
        return value.to(device) if hasattr(value, "to") else value

    return {key: move(value) for key, value in sample.items()}


def _target(sample: Sample, index: int, keys: _Keys) -> dict[str, Any]:
    """What a sample holds beside its image, as the core takes it; ``image_id`` is its place in the batch."""
    target: dict[str, Any] = {"image_id": index}
    for key, value in sample.items():
        where = f"batch[{index}][{key!r}]"
        if key == "image" or key in keys.image:
            continue
        if key == "instances":
            target |= _rows(value, where, sample["image"], keys)
        elif key == "sem_seg" or key in keys.semantic:
            target[key] = _class_map(value, where)
        elif key == _PANOPTIC:
            target |= _panoptic(sample, where)
        elif key == _SEGMENTS and _PANOPTIC in sample:
            continue
        elif not _is_plain(value):
            raise ValueError(f"{where} ({_told(value)}) can't be mixed: {_REMEDIES.get(key, _REMEDY)}")
    return target


_REMEDY = (
    "name it in the transform's semantic_keys (a map of class ids, mixed) or in image_keys (it stays the base image's)"
)
_REMEDIES = {
    "proposals": "they are computed for whole images; train without precomputed proposals (MODEL.LOAD_PROPOSALS)",
    "annotations": "let the mapper make 'instances' of them, and pop them there",
    _SEGMENTS: f"it says what the ids of {_PANOPTIC!r} mean, which isn't there; pop it in the mapper, or name it in "
    "the transform's image_keys (it stays the base image's)",
}


def _is_plain(value: Any) -> bool:
    """Whether a value is one of the image as a whole that needs no name: a number or a word."""
    scalar = isinstance(value, Tensor) and value.ndim == 0
    return value is None or scalar or isinstance(value, (str, bytes, bool, int, float, np.generic, os.PathLike))


def _class_map(value: Any, where: str) -> Tensor:
    """A map of class ids as it is; raises for another type or dtype, with what a mapper does about it."""
    if not isinstance(value, Tensor):
        raise TypeError(f"{where} must be a tensor (H, W) of class ids, got {_told(value)}: torch.as_tensor makes one")
    if value.is_floating_point():
        raise TypeError(f"{where} must hold class ids, got {value.dtype}: convert it by .long() in the mapper")
    return value


def _in_our_words(message: str) -> str:
    """A message of the core with the names that a batch of Detectron2 has for what it is about."""
    message = re.sub(r"targets\[(\d+)\](?:\['(\w+)'\])?", lambda found: _place(found[1], found[2]), message)
    message = re.sub(r"'(\w+)'", lambda found: f"'{_FIELDS.get(found[1], found[1])}'", message)
    for pattern, words in _WORDS.items():
        message = re.sub(pattern, words, message)
    return message


_WORDS = {
    r"\b(every|other) target(s?)\b": r"\1 sample\2",
    r"\btargets must hold one of class ids, as 'semantic' in each dict": "samples must hold one, as 'sem_seg'",
    r"; declare their format.*": "; give them as BoxMode.XYXY_ABS in the mapper",
}
"""What the core says, and what is said here."""


def _place(index: str, key: str | None) -> str:
    """Where a batch holds what the core calls ``targets[index]``, or an entry of it."""
    if key is None or key in _FIELDS:
        field = f".{_FIELDS[key]}" if key else ""
        return f"batch[{index}]['instances']{field}"
    return f"batch[{index}]['{_PANOPTIC if key == 'panoptic' else key}']"


def _panoptic(sample: Sample, where: str) -> dict[str, Any]:
    """A panoptic map and its segments: under two keys, or together as Detectron2's models give them."""
    value = sample[_PANOPTIC]
    if isinstance(value, (list, tuple)) and len(value) == 2:
        return {"panoptic": value[0], "segments_info": value[1]}
    if _SEGMENTS not in sample:
        raise ValueError(f"{where} needs {_SEGMENTS!r} beside it, which says what its ids mean")
    return {"panoptic": value, "segments_info": sample[_SEGMENTS]}


def _panoptic_like(base: Sample, target: Mapping[str, Any]) -> dict[str, Any]:
    """A mixed panoptic map with its segments, in the form of the base's."""
    given = base[_PANOPTIC]
    if isinstance(given, (list, tuple)):
        return {_PANOPTIC: type(given)((target["panoptic"], target["segments_info"]))}
    return {_PANOPTIC: target["panoptic"], _SEGMENTS: target["segments_info"]}


def _rows(instances: Any, where: str, image: Tensor, keys: _Keys) -> dict[str, Any]:
    """The fields of ``Instances`` as the core takes them."""
    if not (hasattr(instances, "get_fields") and hasattr(instances, "image_size")):
        raise TypeError(f"{where} must be Instances, got {_told(instances)}")
    height, width = instances.image_size
    size = (int(height), int(width))
    if size != tuple(image.shape[-2:]):
        raise ValueError(f"{where} are of an image of {size}, but the image has {tuple(image.shape[-2:])} pixels")
    fields = instances.get_fields()
    device = next((value.device for key in _NAMES if isinstance(value := _held(fields.get(key)), Tensor)), None)
    rows: dict[str, Any] = {}
    for name, value in fields.items():
        if name not in _NAMES:
            _check_field(name, value, where, keys)
            rows[name] = value
        elif name == "gt_boxes":
            rows["boxes"] = _boxes(value, size)
        elif name == "gt_masks":
            rows["masks"] = _masks(value, size, device)
        else:
            rows[_NAMES[name]] = _held(value)
    return rows


def _check_field(name: str, value: Any, where: str, keys: _Keys) -> None:
    """Raise ValueError for a field that doesn't simply follow its instance."""
    if name in _COORDINATES:
        raise ValueError(f"{where} have the field {name!r}, whose places in the image can't be mixed")
    if name in _NAMES.values():
        raise ValueError(f"{where} have the field {name!r}: targets have names with gt_, as 'gt_{name}'")
    if name not in keys.instance:
        raise ValueError(
            f"{where} have the field {name!r} ({_told(value)}) of unknown meaning: name it in the transform's "
            "instance_keys if it follows its instance unchanged, or remove it in the mapper"
        )
    if not isinstance(value, (Tensor, list, tuple)):
        raise ValueError(
            f"{where} have the field {name!r}, a {type(value).__name__}: only tensors and lists with a row per "
            "instance can follow their instance"
        )


def _held(value: Any) -> Any:
    """The tensor that a structure holds; others as they are."""
    return getattr(value, "tensor", value)


def _boxes(boxes: Any, size: tuple[int, int]) -> Any:
    """Boxes as a tensor; rotated ones in torchvision's format of the same five numbers."""
    rows = _held(boxes)
    if not isinstance(rows, Tensor) or rows.ndim != 2 or rows.shape[1] != 5:
        return rows
    form = getattr(tv_tensors.BoundingBoxFormat, "CXCYWHR", None)
    if form is None:
        raise ValueError(f"gt_boxes: {type(boxes).__name__} need torchvision 0.23 or newer to be mixed")
    return tv_tensors.BoundingBoxes(rows, format=form, canvas_size=size)


def _masks(masks: Any, size: tuple[int, int], device: torch.device | None) -> Any:
    """Masks as a tensor (N, H, W), polygons drawn."""
    if not hasattr(masks, "polygons"):
        return _held(masks)
    kind = _structure(masks, "BitMasks")

    def draw(parts: list[Any], height: int, width: int) -> Any:
        return kind.from_polygon_masks([parts], height, width).tensor[0].numpy()

    return torch.from_numpy(draw_in_windows(masks.polygons, *size, draw)).to(device)


def _structure(beside: Any, name: str) -> Any:
    """A class of Detectron2's structures, from where the class of another one lives."""
    for kind in type(beside).__mro__:
        parts = kind.__module__.split(".")
        for length in range(len(parts), 0, -1):
            found = getattr(sys.modules.get(".".join(parts[:length])), name, None)
            if found is not None:
                return found
    raise TypeError(f"{type(beside).__name__} must come from a package that has {name}, too")


def _examples(samples: Sequence[Sample]) -> dict[str, Any]:
    """Per field a value that shows its form: the first that has rows, else the first."""
    examples: dict[str, Any] = {}
    for sample in samples:
        for name, value in sample["instances"].get_fields().items():
            if name not in examples or (len(value) and not len(examples[name])):
                examples[name] = value
    return examples


def _instances_like(instances: Any, examples: Mapping[str, Any], rows: Mapping[str, Any], image: Tensor) -> Any:
    """Mixed instances of one output, each field in the form that it came in."""
    fields = {}
    for name in dict.fromkeys((*examples, *(_FIELDS.get(key, key) for key in rows))):
        value = rows[_NAMES.get(name, name)]
        if name in examples:
            fields[name] = _like(examples[name], value)
        elif name in _STRUCTURES:
            rotated = name == "gt_boxes" and value.shape[1] == 5
            kind = _structure(instances, "RotatedBoxes" if rotated else _STRUCTURES[name])
            fields[name] = kind(value.as_subclass(Tensor))
        else:
            fields[name] = value
    height, width = image.shape[-2:]
    return type(instances)((height, width), **fields)


def _like(example: Any, value: Any) -> Any:
    """A mixed field in the form of an example; polygons as bitmaps."""
    if hasattr(example, "polygons"):
        return _structure(example, "BitMasks")(value)
    if isinstance(example, Tensor) or not hasattr(example, "tensor"):
        return value
    return type(example)(value.as_subclass(Tensor))


def _told(value: Any) -> str:
    """What a value is, for a message."""
    if isinstance(value, Tensor):
        return f"tensor of shape {tuple(value.shape)}"
    return f"{type(value).__name__} of length {len(value)}" if isinstance(value, Sequence) else type(value).__name__
