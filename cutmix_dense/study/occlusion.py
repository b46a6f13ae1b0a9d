"""Occluded copies of validation images, as in CutMix's robustness figure, with annotations that follow.

An occlusion is a mix without a partner: a plan of one layer whose occluded cells belong to nobody. So images, maps,
boxes and masks are cut by the machinery that mixes them, and what can't be seen is neither asked for nor punished.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from cutmix_dense import functional
from cutmix_dense.functional.fields import IMAGE_KEYS
from cutmix_dense.plan import MixPlan

OcclusionKind = Literal["centre", "boundary"]
"""``"centre"``: a centred box is filled; ``"boundary"``: everything but a centred box is."""


@dataclass(frozen=True)
class Occlusion:
    """Centre or boundary occlusion of an image (Yun et al. 2019, robustness to occlusion).

    Args:
        kind: which part of the image is filled; the box has the image's shape.
        share: how much of the image's area is filled, in (0, 1); box sides are rounded to whole pixels.
        fill: value of the filled pixels, 0–255.
        min_visibility: least visible share of an instance that stays a target, in [0, 1]. What shows less of itself
            becomes a crowd, which metrics count neither way: where an object's end has to be guessed, a model that
            guesses it is no worse than one that boxes what shows.

    Raises:
        ValueError: an argument out of range, named.
    """

    kind: OcclusionKind
    share: float
    fill: int = 114
    min_visibility: float = 0.5

    def __post_init__(self) -> None:
        if self.kind not in get_args(OcclusionKind):
            raise ValueError(f"kind must be one of {get_args(OcclusionKind)}, got {self.kind!r}")
        if not 0 < self.share < 1:
            raise ValueError(f"share must lie between 0 and 1, both excluded, got {self.share!r}")
        if not 0 <= self.fill <= 255:
            raise ValueError(f"fill must lie in 0 … 255, got {self.fill!r}")

    def plan(self, sizes: Int[Tensor, "b 2"]) -> MixPlan:
        """The plan for images of ``sizes`` (height, width), pixels; the filled cells have the owner -1."""
        batch = len(sizes)
        side = math.sqrt(self.share if self.kind == "centre" else 1 - self.share)
        length = (sizes * side).round().long()
        low = (sizes - length) // 2
        zero = torch.zeros_like(low)
        edges = torch.stack([zero, low, low + length, sizes], dim=-1)
        owner = torch.full((batch, 3, 3), 0 if self.kind == "centre" else -1)
        owner[:, 1, 1] = -1 if self.kind == "centre" else 0
        return MixPlan.from_grid(torch.arange(batch)[:, None], (edges[:, 0], edges[:, 1]), owner, sizes)

    def __call__(
        self, images: Sequence[UInt8[Tensor, "c h w"]], targets: Sequence[Mapping[str, Any]]
    ) -> tuple[list[Tensor], list[dict[str, Any]]]:
        """Occluded images and what of their targets shows; the input is left as it was.

        Args:
            images: of any sizes.
            targets: one dict per image, of the images' sizes, as ``mix_instances`` takes them. Occluded pixels of a
                semantic map become 255, instances that show nothing leave, boxes of the others become tight, and
                those below ``min_visibility`` get ``iscrowd`` = 1.
        """
        sizes = torch.tensor([image.shape[-2:] for image in images], dtype=torch.long).reshape(-1, 2)
        plan = self.plan(sizes)
        keys = IMAGE_KEYS | {"label"}
        occluded = functional.mix_pixels(list(images), plan, fill=self.fill)
        shown = functional.mix_instances(
            targets,
            plan,
            min_visibility=self.min_visibility,
            on_filtered="crowd",
            image_keys=sorted(keys),
            boxes_from="auto",
        )
        # what a mix notes about an instance isn't part of a dataset's target
        return occluded, [{k: v for k, v in target.items() if k not in ("visibility", "origin")} for target in shown]
