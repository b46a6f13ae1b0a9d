"""Transforms that hold others and mix nothing themselves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torchvision.transforms import v2

from cutmix_dense.transforms.base import MixTransform
from cutmix_dense.transforms.pool import Images, Pool
from cutmix_dense.transforms.without_panoptic import refuse_panoptic


class SeveralMixes(MixTransform):
    """Base of the transforms that hold others and have no settings of their own.

    Args:
        transforms: mixing transforms that read a batch alike.

    Raises:
        TypeError: a transform doesn't mix.
        ValueError: they differ in how they read a batch.
    """

    def __init__(self, transforms: Sequence[MixTransform]) -> None:
        v2.Transform.__init__(self)
        _check_transforms(transforms)
        self.transforms = torch.nn.ModuleList(transforms)
        self.layout = self.members[0].layout
        self.labels_getter = self.members[0].labels_getter

    @property
    def stages(self) -> list[MixTransform]:
        """The transforms, in their order."""
        return [cast("MixTransform", transform) for transform in self.transforms]

    @property
    def members(self) -> list[MixTransform]:
        """All transforms, those of nested ones included."""
        return [member for stage in self.stages for member in stage.members]

    @property
    def partners(self) -> int:
        """Largest number of other images that one of the transforms mixes an image with."""
        return max(stage.partners for stage in self.stages)

    def pool_of(self, images: Images, targets: Any = None, sizes: Any = None, outputs: int | None = None) -> Pool:
        """Check the images and targets of a call, as the first transform reads them."""
        refuse_panoptic(self, targets)
        return self.members[0].pool_of(images, targets, sizes, outputs)


def _check_transforms(transforms: Any) -> None:
    """Raise TypeError unless these are mixing transforms, at least one; ValueError if they read a batch differently."""
    several = isinstance(transforms, (Sequence, torch.nn.ModuleList)) and len(transforms) > 0
    if not several or not all(isinstance(transform, MixTransform) for transform in transforms):
        raise TypeError(f"transforms must be a list of mixing transforms, at least one, got {transforms!r}")
    members = [member for transform in transforms for member in transform.members]
    for name in ("layout", "box_format", "normalized", "labels_getter"):
        found = list(dict.fromkeys(getattr(member, name) for member in members))
        if len(found) > 1:
            raise ValueError(f"transforms must be of one {name}, got {found}: give the same to all")
