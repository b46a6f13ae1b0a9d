"""Shifted copies of validation images: fog, noise or blur of a fixed strength, the same pixels in every run.

Annotations stay as they are: what is in the picture is there still, only harder to see.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn import functional as F
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as tvf

from cutmix_dense.randomness import generator_from

ShiftKind = Literal["fog", "noise", "blur"]
"""``"fog"``: white, in clouds; ``"noise"``: Gaussian, of every pixel and channel; ``"blur"``: Gaussian."""

_CLOUDS = (4, 5)
"""Rows and columns of the grid of densities that a picture's fog runs through."""


@dataclass(frozen=True)
class Shift:
    """One change of the pictures, seeded by the image's id.

    Args:
        kind: what is done.
        strength: of fog the mean share of white, which runs from a half to one and a half times that over a picture,
            so below 2/3; of noise its standard deviation as a share of the range of values, below 1; of blur its
            standard deviation in pixels of the stored picture. All above 0.

    Raises:
        ValueError: an argument out of range, named.

    Source: the kinds are among the common corruptions of Hendrycks and Dietterich 2019. Fog is Koschmieder's law,
        image × t + white × (1 - t), as in Foggy Cityscapes (Sakaridis et al. 2018), without their depth: nothing else
        changes, while Albumentations' ``RandomFog`` also blurs, which at low strengths is most of what it does.

    Example:
        >>> image = torch.full((3, 24, 32), 100, dtype=torch.uint8)
        >>> (once,), _ = Shift("noise", 0.1)([image], [{"image_id": 4}])
        >>> (again,), _ = Shift("noise", 0.1)([image], [{"image_id": 4}])
        >>> torch.equal(once, again), torch.equal(once, image)
        (True, False)
    """

    kind: ShiftKind
    strength: float

    def __post_init__(self) -> None:
        if self.kind not in get_args(ShiftKind):
            raise ValueError(f"kind must be one of {get_args(ShiftKind)}, got {self.kind!r}")
        below = {"fog": 2 / 3, "noise": 1.0, "blur": math.inf}[self.kind]
        if not 0 < self.strength < below:
            allowed = "above 0, in pixels" if self.kind == "blur" else f"above 0 and below {below:.3g}"
            raise ValueError(f"strength of {self.kind} must be {allowed}, got {self.strength!r}")

    def __call__(
        self, images: Sequence[UInt8[Tensor, "3 _ _"]], targets: Sequence[Mapping[str, Any]]
    ) -> tuple[list[Tensor], list[dict[str, Any]]]:
        """Shifted images and the same targets; the input is left as it was.

        Args:
            images: uint8 of any sizes.
            targets: one dict per image with an ``image_id``, which seeds what is drawn.

        Raises:
            ValueError: an image that isn't uint8 (C, H, W) or too small for the blur; no ``image_id``.
        """
        shifted = [self._one(image, target) for image, target in zip(images, targets)]
        return shifted, [dict(target) for target in targets]

    def _one(self, image: Tensor, target: Mapping[str, Any]) -> Tensor:
        if image.dtype is not torch.uint8 or image.ndim != 3:
            raise ValueError(f"images must be uint8 of shape (C, H, W), got {image.dtype} {tuple(image.shape)}")
        if target.get("image_id") is None:
            raise ValueError(f"targets must have an image_id, which seeds the shift, got {sorted(target)}")
        pixels = image.as_subclass(Tensor)
        if self.kind == "blur":
            result = self._blurred(pixels)
        else:
            # every strength draws alike, so that strengths differ by nothing else
            generator = generator_from("shift", self.kind, str(target["image_id"]))
            values = pixels.float()
            if self.kind == "noise":
                values = values + 255 * self.strength * torch.randn(image.shape, generator=generator).to(image.device)
            else:
                share = self.strength * self._clouds(image.shape[-2:], generator).to(image.device)
                values = values + (255 - values) * share
            result = values.round().clamp(0, 255).to(torch.uint8)
        return tv_tensors.wrap(result, like=image)

    def _blurred(self, pixels: Tensor) -> Tensor:
        reach = math.ceil(3 * self.strength)
        if min(pixels.shape[-2:]) <= reach:
            raise ValueError(
                f"images must be larger than {reach} pixels for a blur of strength {self.strength:g}, "
                f"got {tuple(pixels.shape[-2:])}"
            )
        return tvf.gaussian_blur(pixels, [2 * reach + 1] * 2, [float(self.strength)] * 2)

    @staticmethod
    def _clouds(size: Sequence[int], generator: torch.Generator) -> Tensor:
        """Smooth densities from 0.5 to 1.5, (H, W)."""
        grid = torch.rand(1, 1, *_CLOUDS, generator=generator)
        return 0.5 + F.interpolate(grid, size=tuple(size), mode="bicubic", align_corners=True)[0, 0].clamp(0, 1)


def shifts_from(given: Mapping[str, Sequence[float]]) -> tuple[Shift, ...]:
    """The shifts that a study's ``shifts`` names: kinds in a fixed order, each by rising strength.

    Args:
        given: strengths by kind.

    Raises:
        ValueError: a kind that isn't known, or a strength out of range.

    Example:
        >>> [(shift.kind, shift.strength) for shift in shifts_from({"blur": (2, 1), "fog": (0.3,)})]
        [('fog', 0.3), ('blur', 1), ('blur', 2)]
    """
    kinds = get_args(ShiftKind)
    if set(given) - set(kinds):
        raise ValueError(f"shifts knows {', '.join(kinds)}, got {sorted(set(given) - set(kinds))}")
    for kind, strengths in given.items():
        if isinstance(strengths, str) or not isinstance(strengths, Sequence):
            raise ValueError(f"shifts: {kind} must be a list of strengths, got {strengths!r}")
    return tuple(Shift(kind, strength) for kind in kinds for strength in sorted(given.get(kind, ())))
