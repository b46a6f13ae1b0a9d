"""Data preprocessors that run ``batch_augments`` as they are meant to run, before normalisation too."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from torch import nn

from cutmix_dense.extras import require
from cutmix_dense.mmengine.scope import MODELS

_MADE_FROM = {
    "MixingDetDataPreprocessor": ("mmdet.models", "DetDataPreprocessor"),
    "MixingSegDataPreProcessor": ("mmseg.models", "SegDataPreProcessor"),
}
"""The classes that this module makes, by the name in pickles: where the framework's own one lives."""


def __getattr__(name: str) -> Any:
    if name not in _MADE_FROM:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home, original = _MADE_FROM[name]
    return _mixing(getattr(import_module(home), original))


@MODELS.register_module()
def DetDataPreprocessor(
    *args: Any, augments_before_normalize: Sequence[dict] | None = (), **settings: Any
) -> nn.Module:
    """MMDetection's ``DetDataPreprocessor``, which can also mix before it normalises.

    Args:
        args: mmdet's.
        augments_before_normalize: batch augments for the images as they were loaded, one byte per value: mixing moves
            a quarter of the bytes. They come as a list, not yet padded, colours not yet converted. None turns them off.
        settings: mmdet's, ``batch_augments`` for the normalised batch among them.

    In a config it goes into the model, where the base has its own: ``model = dict(data_preprocessor=dict(type=
    "cutmix_dense.DetDataPreprocessor", ...))``. What isn't named stays the base's.

    Raises:
        ImportError: no mmdet.
        TypeError: augments that aren't a list of configs.

    Example:
        >>> import mmdet.models
        >>> import torch
        >>> from cutmix_dense.mmengine import MODELS
        >>> cutmix = {"type": "cutmix_dense.CutMix", "p": 1.0, "region": {"type": "AreaBox", "area": (0.2, 0.4)}}
        >>> made = MODELS.build({"type": "cutmix_dense.DetDataPreprocessor", "augments_before_normalize": [cutmix]})
        >>> images = [torch.full((3, 40, 60), value, dtype=torch.uint8) for value in (0, 255)]
        >>> mixed = made({"inputs": images, "data_samples": None}, training=True)["inputs"]
        >>> [image.unique().tolist() for image in mixed]
        [[0.0, 255.0], [0.0, 255.0]]
    """
    require("mmdet", "mmdet")
    from mmdet.models import DetDataPreprocessor as Original

    _listed("batch_augments", settings.get("batch_augments"))
    return _mixing(Original)(augments_before_normalize, *args, **settings)


@MODELS.register_module()
def SegDataPreProcessor(
    *args: Any,
    augments_before_normalize: Sequence[dict] | None = (),
    batch_augments: Sequence[dict] | None = None,
    **settings: Any,
) -> nn.Module:
    """MMSegmentation's ``SegDataPreProcessor``, whose ``batch_augments`` work, and which can mix before it normalises.

    Args:
        args: mmseg's.
        augments_before_normalize: see ``DetDataPreprocessor``.
        batch_augments: for the normalised, padded batch; mmseg 1.2 keeps the dicts and calls the list of them.
        settings: mmseg's.

    Raises:
        ImportError: no mmseg.
        TypeError: augments that aren't a list of configs.

    Example:
        >>> import mmseg.models
        >>> import torch
        >>> from mmengine.structures import PixelData
        >>> from mmseg.structures import SegDataSample
        >>> from cutmix_dense.mmengine import MODELS
        >>> cutmix = {"type": "cutmix_dense.CutMix", "p": 1.0, "region": {"type": "AreaBox", "area": (0.2, 0.4)}}
        >>> settings = {"size": (40, 60), "batch_augments": [cutmix]}
        >>> made = MODELS.build({"type": "cutmix_dense.SegDataPreProcessor", **settings})
        >>> images = [torch.full((3, 40, 60), value, dtype=torch.uint8) for value in (0, 255)]
        >>> samples = [SegDataSample(metainfo={"img_shape": (40, 60)}) for _ in images]
        >>> for sample, image in zip(samples, images):
        ...     sample.gt_sem_seg = PixelData(data=image[:1] // 255)
        >>> made = made({"inputs": images, "data_samples": samples}, training=True)
        >>> [sample.gt_sem_seg.data.unique().tolist() for sample in made["data_samples"]]
        [[0, 1], [0, 1]]
    """
    require("mmseg", "mmseg", distribution="mmsegmentation")
    from mmseg.models import SegDataPreProcessor as Original

    made = _mixing(Original)(augments_before_normalize, *args, **settings)
    if own := _listed("batch_augments", batch_augments):
        made.batch_augments = _Chain(own)
    return made


def _listed(name: str, augments: Any) -> Sequence[Mapping[str, Any]]:
    """The configs of augments; None is none of them."""
    if augments is None:
        return ()
    if not isinstance(augments, (list, tuple)) or not all(isinstance(each, Mapping) for each in augments):
        raise TypeError(
            f"{name} must be a list of configs, or None for no augments, got {augments!r}: write "
            f"{name}=[dict(type='cutmix_dense.CutMix')]"
        )
    return augments


class _Chain(nn.ModuleList):
    """Batch augments, one after the other."""

    def __init__(self, augments: Sequence[Mapping[str, Any]]) -> None:
        super().__init__(MODELS.build(augment) for augment in augments)

    def forward(self, inputs: Any, data_samples: Any) -> tuple[Any, Any]:
        for augment in self:
            inputs, data_samples = augment(inputs, data_samples)
        return inputs, data_samples


@functools.cache
def _mixing(original: type[nn.Module]) -> type[Any]:
    """A framework's preprocessor with batch augments in front of its own work."""

    class Mixing(original):  # type: ignore[misc, valid-type]
        def __init__(self, augments: Sequence[dict] | None, *args: Any, **settings: Any) -> None:
            super().__init__(*args, **settings)
            self.augments_before_normalize = _Chain(_listed("augments_before_normalize", augments))

        def forward(self, data: Any, training: bool = False) -> Any:
            if training and len(self.augments_before_normalize):
                data = self.cast_data(data)
                inputs, samples = self.augments_before_normalize(data["inputs"], data.get("data_samples"))
                data = {**data, "inputs": inputs, "data_samples": samples}
            return super().forward(data, training)

    Mixing.__name__ = original.__name__
    Mixing.__qualname__ = f"Mixing{original.__name__}"  # by which pickles find it: see __getattr__
    return Mixing
