"""Read a batch in any form that a transform takes, and return it in that form."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from numbers import Number
from typing import Any, Literal

import numpy as np
from torch import Tensor
from torchvision import tv_tensors

from cutmix_dense.functional.padded import is_padded
from cutmix_dense.functional.segments import PANOPTIC_KEYS
from cutmix_dense.transforms.collate import collate, collated
from cutmix_dense.transforms.layout import Layout, shape_of

LabelsGetter = Callable[[Any], Any] | Literal["default"] | None
"""How image-level labels are found, as in v2.CutMix."""

IMAGES = frozenset({"image", "images", "img", "imgs", "inputs", "pixel_values", "video", "videos", "volume"})
"""Keys that hold the images of a dict, in upper or lower case."""

_GEOMETRY = frozenset({"boxes", "keypoints", "masks"})
"""Keys that show that a dict with an image holds instances; so do the two of a panoptic map together."""

_FORMS = (
    "images; (images, targets); a list of samples, each (image, target) or a dict with an image; or a dict of a batch "
    "with 'image'"
)


@dataclass(frozen=True)
class Form:
    """A batch as a transform works on it, and the way back to its form.

    Attributes:
        images: (B, C, H, W) or a list of images.
        targets: see ``TargetMixer.mix``.
        batch: the batch that a ``labels_getter`` gets, collated.
        give_back: from mixed images and targets to the one or two values that the call returns.
        container: from those values to what the call returns.
        label_keys: keys of the targets that a ``labels_getter`` chose.
    """

    images: Any
    targets: Any
    batch: Any
    give_back: Callable[[Any, Any], tuple[Any, ...]]
    container: Callable[[tuple[Any, ...]], Any] = tuple
    label_keys: tuple[str | int, ...] = ()

    def returned(self, images: Any, targets: Any, *reports: Any) -> Any:
        """What the call returns: the batch in its form, then any reports."""
        batch = self.give_back(images, targets)
        if reports:
            return (*batch, *reports)
        return batch[0] if len(batch) == 1 else self.container(batch)


def read_form(inputs: tuple[Any, ...], layout: Layout, labels_getter: LabelsGetter = "default") -> Form:
    """Read the inputs of a call.

    ================================================  ====================================================
    input                                             comes back as
    ================================================  ====================================================
    ``images``                                        images
    ``images, targets``; ``(images, targets)``        (images, targets)
    ``[images, targets]``, as from a loader           [images, targets]
    ``[(image, target), …]``, ``[[image, target], …]``  (images, targets), collated
    ``[{"image": …, "label": …}, …]``                 a dict of the batch, collated
    ``{"image": images, "mask": …, "label": …}``      the dict
    ================================================  ====================================================

    A dict with an image and ``boxes``, ``masks``, ``keypoints``, or ``panoptic`` and ``segments_info`` holds instances;
    in a batch, each key holds a list with one entry per image.

    Args:
        inputs: the positional arguments.
        layout: axes of a batch, which tell images from samples.
        labels_getter: ``"default"``, None, or a callable from the batch to its labels.

    Raises:
        TypeError: the form is unknown.
        ValueError: the form is ambiguous, a dict holds no image or several, or the labels aren't part of the batch.
    """
    form = _read(inputs, layout)
    if not callable(labels_getter):
        return form
    labels = labels_getter(form.batch)
    if labels is None:
        return form
    if not isinstance(labels, Tensor) or labels.ndim not in (1, 2):
        got = f"shape {tuple(labels.shape)}" if isinstance(labels, Tensor) else type(labels).__name__
        raise ValueError(f"labels_getter must return a tensor (B,) or (B, K), got {got}")
    if labels is form.targets:
        return form
    entries = form.targets.items() if isinstance(form.targets, Mapping) else ()
    keys = tuple(key for key, value in entries if value is labels)
    if not keys:
        raise ValueError("labels_getter must return an entry of the targets themselves, got another tensor")
    return replace(form, label_keys=keys)


def _read(inputs: tuple[Any, ...], layout: Layout) -> Form:
    given = len(inputs)
    if given == 1 and isinstance(inputs[0], Tensor):
        return _alone(inputs[0])
    if given == 2:
        if isinstance(inputs[0], Mapping):
            raise TypeError("a dict must be the only argument: put what is beside it into it")
        return _of_pair(*inputs)
    if given != 1:
        raise TypeError(
            f"inputs must be {_FORMS}; got {given} arguments: put what is beside the images into a dict, "
            "mix(images, {'labels': …, 'semantic': …})"
        )
    (only,) = inputs
    if isinstance(only, Mapping):
        return _of_dict(only)
    if not isinstance(only, (list, tuple)):
        return _alone(only)
    if only and all(isinstance(item, Mapping) for item in only):
        return _of_dict(_collated_dicts(only))
    pair = len(only) == 2 and _are_images(only[0], layout)
    samples = bool(only) and all(_is_sample(item, layout) for item in only)
    if pair and samples:
        pair = _is_batch(only, layout)
        samples = not pair
    if samples:
        return _of_pair(*collate(only))
    if pair:
        return _of_pair(only[0], only[1], _like(only))
    if all(isinstance(item, Tensor) for item in only):
        _check_images(only, layout)
        return _alone(only)
    kinds = sorted({type(item).__name__ for item in only})
    lengths = sorted({len(item) for item in only if isinstance(item, (list, tuple))})
    held = f" of lengths {lengths}" if lengths else ""
    raise TypeError(
        f"inputs must be {_FORMS}; images have shape {shape_of(layout)} or are a list of "
        f"{shape_of(layout, batch=False)}; got a {type(only).__name__} of {len(only)}: {kinds}{held}"
    )


def _alone(images: Any) -> Form:
    """Images without targets."""
    return Form(images, None, images, lambda mixed, _: (mixed,))


def _of_pair(images: Any, targets: Any, container: Callable[[tuple[Any, ...]], Any] = tuple) -> Form:
    return Form(images, targets, container((images, targets)), lambda *mixed: mixed, container)


def _like(given: Sequence[Any]) -> Callable[[tuple[Any, ...]], Any]:
    """A function that puts a pair into the container of ``given``."""
    kind: Any = type(given)
    return (lambda pair: kind(*pair)) if hasattr(given, "_fields") else kind


def _are_images(value: Any, layout: Layout) -> bool:
    """Whether a value is a batch of images, or a list of images."""
    if isinstance(value, Tensor):
        return value.ndim == len(layout)
    return (
        isinstance(value, (list, tuple))
        and len(value) > 0
        and all(isinstance(item, Tensor) and item.ndim == len(layout) - 1 for item in value)
    )


def _is_sample(item: Any, layout: Layout) -> bool:
    """Whether an item is a pair that starts with an image, or with something that may be converted to one."""
    if not isinstance(item, (list, tuple)) or len(item) != 2:
        return False
    image = item[0]
    if isinstance(image, Tensor):
        return image.ndim == len(layout) - 1
    return not (image is None or isinstance(image, (Mapping, list, tuple, Number, np.generic)))


def _is_batch(given: Sequence[Sequence[Any]], layout: Layout) -> bool:
    """Whether two pairs of tensors are images and targets of a batch of two, not two samples.

    Raises:
        ValueError: all four are alike, and the containers don't decide.
    """
    (a, b), (c, d) = given
    if not _alike(a, b, layout) or not _alike(c, d, layout):
        return False
    if not _alike(a, c, layout):
        return True
    if isinstance(given, tuple):
        return True
    if all(isinstance(item, tuple) for item in given):
        return False
    raise ValueError(
        "a list of two lists of two images may be (images, targets) or two samples: give mix(images, targets), or "
        "samples as tuples"
    )


def _alike(a: Any, b: Any, layout: Layout) -> bool:
    """Whether two tensors agree in class, dtype, number of axes and, for images, channels."""
    if type(a) is not type(b) or not isinstance(a, Tensor) or (a.dtype, a.ndim) != (b.dtype, b.ndim):
        return False
    return a.ndim != len(layout) - 1 or a.shape[layout.index("C") - 1] == b.shape[layout.index("C") - 1]


def _check_images(given: Sequence[Tensor], layout: Layout) -> None:
    """Raise ValueError unless the tensors in a list or tuple are single images."""
    shapes = [tuple(item.shape) for item in given]
    ndim = len(layout) - 1
    if given and given[0].ndim == ndim + 1:
        raise ValueError(
            f"a {type(given).__name__} that begins with a batch must be (images, targets), got {len(given)} tensors of "
            f"shapes {shapes}: put what is beside the images into a dict, (images, {{'labels': …, 'semantic': …}})"
        )
    if len(given) == 2 and given[0].ndim == ndim and not (given[1].ndim == ndim and _alike(given[0], given[1], layout)):
        raise ValueError(
            f"a batch is needed, not a single sample (image, target): got tensors of shapes {shapes} and dtypes "
            f"{[str(item.dtype) for item in given]}; collate samples first, or use the transform as collate_fn"
        )


def _image_key(batch: Mapping[str, Any]) -> str:
    """The key that holds the images; ValueError if there is none or several."""
    named = [key for key in batch if isinstance(key, str) and key.lower() in IMAGES]
    if not named:
        named = [key for key, value in batch.items() if isinstance(value, (tv_tensors.Image, tv_tensors.Video))]
    if len(named) != 1:
        what = f"several images, {named}" if named else f"no image, only {sorted(map(str, batch))}"
        raise ValueError(
            f"a dict must hold its images under one of {sorted(IMAGES)}, got {what}: give mix(images, targets), with "
            "further pictures as targets, which are mixed as the images are"
        )
    return named[0]


def _of_dict(batch: Mapping[str, Any]) -> Form:
    key = _image_key(batch)
    images, rest = batch[key], {name: value for name, value in batch.items() if name != key}
    if _holds_columns(rest):
        count = len(images)
        rows: list[dict[str, Any]] = [{} for _ in range(count)]
        for name, values in rest.items():
            if not isinstance(values, (Tensor, list, tuple)) or len(values) != count:
                got = len(values) if isinstance(values, (Tensor, list, tuple)) else type(values).__name__
                raise ValueError(f"batch[{name!r}] must have one entry per image ({count}), got {got}")
            for row, value in zip(rows, values):
                if value is not None:
                    row[name] = value
        return Form(images, rows, batch, lambda mixed, targets: (_as(batch, _columns(batch, key, mixed, targets)),))
    return Form(images, rest or None, batch, lambda mixed, targets: (_as(batch, _merged(batch, key, mixed, targets)),))


def _as(batch: Mapping[str, Any], entries: dict[str, Any]) -> Any:
    """The entries in the class of the batch, which may have methods of its own; a dict if it can't be written to."""
    if type(batch) is dict or not isinstance(batch, MutableMapping):
        return entries
    mixed: Any = copy.copy(batch)
    mixed.update(entries)
    return mixed


def _holds_columns(rest: Mapping[str, Any]) -> bool:
    """Whether a batch holds instances in lists: under each key, one entry per image."""
    return not is_padded(rest) and any(isinstance(rest.get(key), (list, tuple)) for key in _showing(rest))


def _showing(keys: Collection[Any]) -> Collection[str]:
    """The keys of a dict with an image that show that it holds instances."""
    return _GEOMETRY.intersection(keys) | (set(PANOPTIC_KEYS) if set(PANOPTIC_KEYS) <= set(keys) else set())


def _columns(batch: Mapping[str, Any], key: str, images: Any, targets: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    names = dict.fromkeys([*batch, *(name for target in targets for name in target)])
    columns: dict[str, Any] = {}
    for name in names:
        if name == key:
            columns[name] = images
            continue
        values = [target.get(name) for target in targets]
        columns[name] = collated(values) if isinstance(batch.get(name), Tensor) else values
    return columns


def _merged(batch: Mapping[str, Any], key: str, images: Any, targets: Mapping[str, Any] | None) -> dict[str, Any]:
    mixed = {name: images if name == key else (targets or {}).get(name) for name in batch}
    return {**mixed, **{name: value for name, value in (targets or {}).items() if name not in mixed}}


def _collated_dicts(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Collate samples that are dicts into a dict.

    Raises:
        ValueError: a sample lacks a key of the others, and there are no instances.
    """
    keys = dict.fromkeys(key for sample in samples for key in sample)
    instances = _showing(keys)
    image = _image_key(samples[0])
    batch: dict[str, Any] = {}
    for key in keys:
        if instances and key != image:
            batch[key] = [sample.get(key) for sample in samples]
            continue
        for index, sample in enumerate(samples):
            if key not in sample:
                raise ValueError(f"sample {index} holds no {key!r}, which other samples have")
        values = [sample[key] for sample in samples]
        batch[key] = collate([(value, 0) for value in values])[0] if key == image else collated(values)
    return batch
