"""A pytest plugin that runs Albumentations' own generic tests, of a checkout of its version 2.0.8, on every mix.

Their helpers collect the classes of the package ``albumentations``: ours are put there, get partners with each call (as
theirs get for ``A.Mosaic``), and all tests of other classes are left out. ``.ci/albumentations`` starts it. What can't
be the same is listed with its reason and has to fail still.
"""

from __future__ import annotations

import copy
import inspect
from typing import Any

import albumentations as A
import numpy as np
import pytest
import tests.aug_definitions as definitions  # of the checkout
import tests.utils as helpers

import cutmix_dense.albumentations as cda
from cutmix_dense.build import known_transforms

NAMES = sorted(known_transforms())
OURS = [getattr(cda, name) for name in NAMES]
SETTINGS: dict[type, dict[str, Any]] = {
    cda.RandomMix: {"transforms": [{"type": "CutMix"}, {"type": "Mosaic"}]},
}
_AXES = {"image": 0, "mask": 0, "masks": 1, "images": 1, "volume": 1, "volumes": 2, "mask3d": 1, "masks3d": 2}


_ALL = tuple(NAMES)
_BOXLESS = (("CopyPaste",), "CopyPaste needs boxes, and the test gives none")
_IDS = (("CopyPaste", "MixUp"), "CopyPaste needs boxes, and MixUp takes no map of ids")
_CHANNELS = (("CarveMix", "ClassMix", "CopyPaste", "MixUp"), "the mask has channels, or ids; CopyPaste needs boxes")
EXPECTED: dict[str, tuple[tuple[str, ...], str]] = {
    "test_augmentations_for_bboxes_serialization": (_ALL, "boxes in another format than the one stated are refused"),
    "test_augmentations_for_keypoints_serialization": (_ALL, "keypoints need a Compose that says their format"),
    "test_dual": (_ALL, "all targets are mixed at once: there is no apply_to_bboxes to override"),
    "test_dual_transforms_methods": (_ALL, "boxes and keypoints need a Compose that says their format"),
    "test_mask_interpolation": (_ALL, "masks are never averaged: INTER_NEAREST alone is taken"),
    "test_keypoints_bboxes_match": (
        ("CarveMix", "ClassMix", "CowMix", "FMix", "Mosaic", "RICAP", "RandomMix", "ResizeMix"),
        "boxes are cut tight, or need masks under a free-form mask",
    ),
    **dict.fromkeys(
        (
            "test_augmentations_wont_change_shape_rgb",
            "test_contiguous_output_dual",
            "test_non_contiguous_input_with_compose",
        ),
        _CHANNELS,
    ),
    "test_augmentations_wont_change_shape_grayscale": (("CarveMix", "ClassMix", "CopyPaste"), _CHANNELS[1]),
    **dict.fromkeys(
        (
            "test_augmentations_serialization_to_file_with_custom_parameters",
            "test_augmentations_serialization_with_custom_parameters",
            "test_augmentations_wont_change_input",
            "test_binary_mask_interpolation",
            "test_dual_augmentations",
            "test_dual_augmentations_with_float_values",
            "test_masks_as_target",
            "test_semantic_mask_interpolation",
        ),
        _IDS,
    ),
    **dict.fromkeys(
        (
            "test_augmentations_match_uint8_float32",
            "test_augmentations_wont_change_float_input",
            "test_change_image",
            "test_float_multichannel_image_augmentations",
            "test_float_multichannel_image_augmentations_diff_channels",
            "test_image_volume_matching",
            "test_images_as_target",
            "test_keypoints_xy_xyz",
            "test_multichannel_image_augmentations",
            "test_multichannel_image_augmentations_diff_channels",
            "test_multiprocessing_support",
            "test_return_nonzero",
            "test_selective_channel",
        ),
        _BOXLESS,
    ),
}
"""Tests that ask what a mix refuses deliberately, of which methods, and why."""


def _holds_ours(transform: Any) -> bool:
    if isinstance(transform, A.BaseCompose):
        return any(map(_holds_ours, transform.transforms))
    return isinstance(transform, cda.MixTransform)


def _needs_a_map(transform: Any) -> bool:
    if isinstance(transform, (A.BaseCompose, A.SelectiveChannelTransform)):
        return any(map(_needs_a_map, transform.transforms))
    return isinstance(transform, (cda.CarveMix, cda.ClassMix))


def _partner(data: dict[str, Any]) -> dict[str, Any]:
    """The call's own data, pictures and maps upside down."""
    return {
        key: np.flip(value, _AXES[key]).copy() if key in _AXES and isinstance(value, np.ndarray) else value
        for key, value in data.items()
    }


def _with_partners(kind: type) -> None:
    call = kind.__call__

    def called(self: Any, *args: Any, force_apply: bool = False, **data: Any) -> Any:
        if args or "mix_metadata" in data or not _holds_ours(self):
            return call(self, *args, force_apply=force_apply, **data)
        more = {}
        if _needs_a_map(self) and "mask" not in data:  # as their tests give one to A.MaskDropout
            picture = next(np.asarray(data[key])[(0,) * _AXES[key]] for key in _AXES if key in data)
            more["mask"] = np.zeros(picture.shape[:2], np.uint8)
            more["mask"][10:70, 15:60] = 1
        partners = [_partner({**data, **more}) for _ in range(3)]
        result = call(self, force_apply=force_apply, mix_metadata=partners, **data, **more)
        for key in ("mix_metadata", *more):
            result.pop(key, None)
        return result

    kind.__call__ = called


for kind in (A.BasicTransform, A.Compose):
    _with_partners(kind)
for kind in OURS:
    setattr(A, f"Dense{kind.__name__}", kind)
    definitions.AUGMENTATION_CLS_PARAMS.append([kind, SETTINGS.get(kind, {})])

_found = helpers.get_filtered_transforms


def _copies(*args: Any, **options: Any) -> list[tuple[type, dict[str, Any]]]:
    """Their list with arguments of its own for each test, since tests write into them."""
    return [
        (kind, copy.deepcopy(settings) if kind in OURS else settings) for kind, settings in _found(*args, **options)
    ]


helpers.get_filtered_transforms = _copies


def _ours(value: Any) -> type | None:
    return value if inspect.isclass(value) and value in OURS else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Only tests of ours; those that are expected to fail have to."""
    kept, left = [], []
    for item in items:
        values = getattr(item, "callspec", None)
        kind = next(filter(None, map(_ours, values.params.values())), None) if values is not None else None
        (left if kind is None else kept).append(item)
        if kind is None:
            continue
        names, reason = EXPECTED.get(item.originalname, ((), ""))
        if kind.__name__ in names:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
    config.hook.pytest_deselected(items=left)
    items[:] = kept
