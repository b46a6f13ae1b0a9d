"""Fit partners of another size to the base: their scale, and the part that is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cutmix_dense.arrays.host import HOST
from cutmix_dense.functional.pixels import mix_images
from cutmix_dense.functional.rotated import bounds_of
from cutmix_dense.plan import MixPlan
from cutmix_dense.transforms.base import MixTransform
from cutmix_dense.transforms.mosaic import Mosaic
from cutmix_dense.transforms.pool import Pool
from cutmix_dense.transforms.resizemix import ResizeMix

PartnerFit = Literal["resize", "crop", "random_crop"]
"""How a partner of another size is fitted to the base.

``"resize"``: scaled, keeping its aspect, to the largest size that fits the base, as in the MixUp of YOLOX and
MMDetection, so that all of it can show. ``"crop"``: at its own scale, from its top left corner. ``"random_crop"``: at
its own scale, a random window of at most the base's size.
"""

_FITS = get_args(PartnerFit)

_SCALES_ITSELF = (Mosaic, ResizeMix)
"""Methods that scale whole images themselves, whatever their size."""


def check_partner_fit(fit: str) -> None:
    """Raise ValueError unless ``fit`` is one of ``PartnerFit``."""
    if fit not in _FITS:
        raise ValueError(f"partner_fit must be one of {_FITS}, got {fit!r}")


def draw_fitted(member: MixTransform, pool: Pool, fit: PartnerFit, generator: torch.Generator) -> MixPlan:
    """Draw the plan of a method that sees fitted partners, as a plan of the original images.

    The fit becomes part of the layers' scale and shift, so every pixel and target is mapped once.

    Args:
        member: the method.
        pool: images (C, H, W); the first is mixed with the others.
        fit: see ``PartnerFit``. ``Mosaic`` and ``ResizeMix`` scale images themselves, whatever ``"resize"`` would do.
        generator: source of all draws; ``"random_crop"`` draws windows first, if any is needed.

    Raises:
        ValueError: ``fit`` is unknown, or clips or volumes would have to be fitted.
    """
    check_partner_fit(fit)
    if fit != "crop" and pool.layout != "BCHW":
        raise ValueError(f"partner_fit must be 'crop' for layout {pool.layout!r}, got {fit!r}")
    sizes = pool.sizes.numpy()
    alike = fit == "crop" or np.logical_and.reduce(sizes == sizes[:1], axis=None)
    if alike or (fit == "resize" and isinstance(member, _SCALES_ITSELF)):
        return member.draw_plan(pool, generator)
    windows = _windows(sizes, fit, generator)
    return windows.unfitted(member.draw_plan(_FittedPool(pool, windows), generator))


@dataclass(frozen=True)
class _Windows:
    """The window of each image that is used, and its fitted size; rows of (y, x).

    Attributes:
        whole: size of the image.
        low: first pixel of the window.
        size: size of the fitted window, whole pixels.
        scale: from pixels of the image to fitted ones; since sizes are whole, the axes may differ slightly.
    """

    whole: Int[np.ndarray, "pool 2"]
    low: Int[np.ndarray, "pool 2"]
    size: Int[np.ndarray, "pool 2"]
    scale: Float[np.ndarray, "pool 2"]

    def unfitted(self, plan: MixPlan) -> MixPlan:
        """A plan of fitted images as a plan of the original ones.

        Windows cut at the canvas, not at the source, so visibility counts what they cut off.
        """
        source = plan.source.numpy().clip(min=0)
        scale, low = self.scale[source], self.low[source].astype(np.float64)
        theirs = plan.scale.numpy().astype(np.float64)
        whole = self.whole[source]
        return replace(
            plan,
            check=False,
            scale=torch.from_numpy((theirs * scale).astype(np.float32)),
            shift=torch.from_numpy((plan.shift.numpy() - theirs * scale * low).astype(np.float32)),
            extent=torch.from_numpy(np.concatenate([np.zeros_like(whole), whole], axis=2)),
            unscaled=None,
        )

    def alone(self) -> MixPlan:
        """The plan whose outputs are the fitted images."""
        source = torch.arange(len(self.size), device=HOST)[:, None]
        nothing = torch.zeros((len(source), 0, 4), dtype=torch.long, device=HOST)
        return self.unfitted(MixPlan.from_rectangles(source, nothing, torch.from_numpy(self.size)))


def _windows(sizes: Int[np.ndarray, "pool 2"], fit: PartnerFit, generator: torch.Generator) -> _Windows:
    """The window of every image, drawn for ``"random_crop"``."""
    base, none = sizes[:1], np.zeros_like(sizes)
    if fit == "resize":
        factor = (base / sizes).min(axis=1, keepdims=True)
        fitted = np.minimum(np.maximum(np.rint(factor * sizes), 1).astype(np.int64), base)
        return _Windows(sizes, none, fitted, fitted / sizes)
    size = np.minimum(sizes, base)
    draws = torch.rand(sizes.shape, generator=generator, dtype=torch.float64, device=HOST).numpy()
    low = np.floor(draws * (sizes - size + 1)).astype(np.int64)
    return _Windows(sizes, low, size, np.ones(sizes.shape))


class _FittedPool(Pool):
    """A pool of fitted images; pixels and targets are made only for samplers that look at them."""

    _pool: Pool
    _windows: _Windows

    def __init__(self, pool: Pool, windows: _Windows) -> None:
        sizes = torch.from_numpy(windows.size)
        facts = {"sizes": sizes, "frame": tuple(windows.size.max(axis=0).tolist())}
        shared = {name: getattr(pool, name) for name in ("outputs", "layout", "frames", "box_form", "host_rows")}
        self.__dict__.update(facts | shared | {"_pool": pool, "_windows": windows})

    @cached_property
    def _alone(self) -> MixPlan:
        """The plan whose outputs are the fitted images."""
        return self._windows.alone()

    @cached_property
    def images(self) -> Any:
        """The fitted images."""
        return mix_images(list(self._pool.images), self._alone)

    @cached_property
    def targets(self) -> Any:
        """Targets with boxes, masks and maps in the fitted images; other entries unchanged."""
        return self._fitted(self._pool.targets)

    def _fitted(self, targets: Any) -> Any:
        if isinstance(targets, Mapping):
            return {key: self._fitted(value) for key, value in targets.items()}
        if not isinstance(targets, (list, tuple)):
            return targets
        return [
            {key: self._entry(index, key, value) for key, value in target.items()}
            if isinstance(target, Mapping)
            else self._entry(index, "", target)
            for index, target in enumerate(targets)
        ]

    def _entry(self, index: int, key: str, value: Any) -> Any:
        """One entry of a fitted image: boxes are mapped, per-pixel tensors are read nearest."""
        if not isinstance(value, Tensor):
            return value
        windows = self._windows
        if key == "boxes":
            bounds = bounds_of(value).double()
            scale = bounds.new_tensor(windows.scale[index])
            low = bounds.new_tensor(windows.low[index])
            moved = (bounds.unflatten(1, (2, 2)) - low.flip(0)) * scale.flip(0)
            limit = bounds.new_tensor(windows.size[index]).flip(0)
            return torch.minimum(moved.clamp(min=0), limit).flatten(1)
        if tuple(value.shape[-2:]) != tuple(self._pool.sizes[index].tolist()):
            return value
        rows, columns = (self._alone.source_pixels(axis)[index, 0, : windows.size[index, axis]] for axis in range(2))
        return value.as_subclass(Tensor)[..., rows[:, None], columns]
