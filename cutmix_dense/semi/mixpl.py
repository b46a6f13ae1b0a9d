"""MixPL: pseudo-labelled images, erased in patches, blended with earlier ones, and four of these as a mosaic."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from cutmix_dense.plan import MixPlan
from cutmix_dense.randomness import call_generator
from cutmix_dense.regions import MultiBox, RegionSampler, uniform
from cutmix_dense.semi.detection import DetectionView, Images
from cutmix_dense.transforms import Cutout, MixUp, Mosaic, SampleBank
from cutmix_dense.warned import warn_caller

_TILES = 4
"""Images of a mosaic."""


class MixPL:
    """MixPL's two batches of pseudo-labelled images: pseudo-MixUp and pseudo-Mosaic with a cache of earlier images.

    The latest images are stored unmixed, with their pseudo-labels. In every call patches of all images are erased,
    and boxes of which too much is erased are dropped. Once the cache is full, the batch is blended half and half with
    images of the cache, mirrored, and four further ones become a mosaic of whole images round its centre.

    Differences to the authors' code: an erased box shrinks to its visible part; patches that overlap count once;
    mosaics and blends of one call share the erased patches of an image; blended images lie at the same corner, not at
    a drawn place, and are not resized to each other.

    Args:
        cache: number of images that are kept, >= 4; 8 in all their configs.
        mosaic_weight: of the mosaic's losses.
        tile: (least, most) (height, width) of each tile of the mosaic, pixels; the most itself is never drawn. Equal:
            always that.
        region: sampler of the erased patches.
        min_visibility: least part of a box that isn't erased.
        lam: weight of the batch's own images in the blend; the boxes of both stay.
        max_bytes: what the images of the cache and their pseudo-labels may take, masks with them; the oldest go first.
            A cache that can't be full mixes nothing, and warns once. None: as much as ``cache`` images need, such as
            107 MB per image of 800 × 1336 pixels with 100 masks.
        rules: as for every transform, such as ``flip_pairs``, which keypoints need.

    Raises:
        ValueError: an argument is out of range.

    Source: Chen et al., Mixed Pseudo Labels (2023), ``projects/MixPL/mixpl/mixpl.py``, and
    ``mixpl_faster-rcnn_r50-caffe_fpn_180k_coco-s1-p10.py``, lines 39 to 47.

    Example:
        >>> mixpl = MixPL(cache=4, tile=((32, 48), (32, 48)))
        >>> targets = [{"boxes": torch.tensor([[4.0, 4, 20, 16]]), "labels": torch.tensor([1])}] * 4
        >>> [len(mixpl.views(torch.rand(4, 3, 32, 48), targets)) for _ in range(2)]  # empty, then full
        [1, 2]
        >>> [tuple(view.images.shape) for view in mixpl.views(torch.rand(4, 3, 32, 48), targets)]
        [(4, 3, 32, 48), (1, 3, 64, 96)]
    """

    def __init__(
        self,
        *,
        cache: int = 8,
        mosaic_weight: float = 0.5,
        tile: tuple[tuple[int, int], tuple[int, int]] = ((400, 400), (800, 800)),
        region: RegionSampler | None = None,
        min_visibility: float = 0.3,
        lam: float = 0.5,
        max_bytes: int | None = None,
        **rules: Any,
    ) -> None:
        if cache < _TILES:
            raise ValueError(f"cache must be at least {_TILES}, the images of a mosaic, got {cache!r}")
        if mosaic_weight < 0:
            raise ValueError(f"mosaic_weight must be at least 0, got {mosaic_weight!r}")
        low, high = tile
        if len(low) != 2 or len(high) != 2 or min(low) < 1 or any(a > b for a, b in zip(low, high)):
            raise ValueError(f"tile must be two (height, width), least and most, got {tile!r}")
        region = MultiBox.mixpl() if region is None else region
        self.erase = Cutout(region=region, p=1.0, **{**rules, "min_visibility": min_visibility})
        self.mixup = MixUp(lam=lam, p=1.0, **rules)
        self.bank = SampleBank(sys.maxsize if max_bytes is None else max_bytes, cache)
        self._warned = False
        self.mosaic_weight = mosaic_weight
        self.tile = ((int(low[0]), int(low[1])), (int(high[0]), int(high[1])))
        self._rules = rules

    def close(self, closed: bool = True, *, by_schedule: bool = False) -> None:
        """Stop mixing, or start again: while it is closed, a call gives the batch as it is, and the cache goes on.

        Arguments as for ``MixTransform.close``.
        """
        self.erase.close(closed, by_schedule=by_schedule)

    def views(
        self, images: Images, targets: list[dict[str, Any]], *, generator: torch.Generator | None = None
    ) -> list[DetectionView]:
        """The batches of this call; the images are kept for the next ones.

        Args:
            images: of any sizes, as a tensor or a list.
            targets: their pseudo-labels.
            generator: a CPU generator that makes the call repeatable.

        Returns:
            The erased batch while the cache isn't full; then the blended batch, and the mosaic (1, C, 2h, 2w). While it
            is closed, the batch itself.
        """
        generator = call_generator(generator)
        count, cache = len(images), self.bank.max_samples
        both = self.bank.join(images, targets)
        if isinstance(images, Tensor) and both.images.shape[1:] != images.shape[1:]:  # larger images are in the cache
            both = self.bank.join([*images], targets)
        draws = uniform(1, 2, generator)[0]
        order = count + torch.randperm(cache, generator=generator, device="cpu")
        pool, pseudo = self._erased(both.images, both.targets, both.sizes, count, generator)
        full = len(pool) - count == cache and not self.erase.closed
        views = [DetectionView(_together(pool[:count], images), pseudo[:count])]
        if full:
            stored = [int(index) for index in order]
            mates = [stored[index % cache] for index in range(count)]
            tiles = [stored[(count + index) % cache] for index in range(_TILES)]
            everybody = _rows(pool, [*range(count), *mates])
            blend = [*pseudo[:count], *(pseudo[index] for index in mates)]
            blended, labels = self.mixup(everybody, blend, outputs=count, generator=generator)
            views = [DetectionView(_together(blended, images), labels)]
            four = [pool[index] for index in tiles], [pseudo[index] for index in tiles]
            mosaic, theirs = self._mosaic(draws)(*four, outputs=1, generator=generator)
            views.append(DetectionView(torch.stack(mosaic), theirs, self.mosaic_weight))
        self._keep(images, targets)
        return views

    def state_dict(self) -> dict[str, Any]:
        """The cache, for checkpoints."""
        return self.bank.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore ``state_dict``."""
        self.bank.load_state_dict(state)

    def _keep(self, images: Images, targets: list[dict[str, Any]]) -> None:
        """Store the batch; warn once if the bytes don't suffice for as many images as the cache should have."""
        cache, before = self.bank.max_samples, len(self.bank)
        self.bank.push(images, targets)
        fit = len(self.bank)
        if fit < min(cache, before + len(images)) and not self._warned:
            self._warned = True
            enough = f" to {-(-self.bank.nbytes // fit) * cache} or more" if fit else ""
            fewer = f", or lower cache to {fit}" if fit >= _TILES else ""
            warn_caller(
                f"MixPL(cache={cache}, max_bytes={self.bank.max_bytes}): the bytes hold {fit} of the {cache} images, "
                f"and only a full cache is blended and makes mosaics. Raise max_bytes{enough}{fewer}, or leave "
                "max_bytes out for as much as the images need"
            )

    def _erased(
        self, images: Images, targets: Any, sizes: Any, count: int, generator: torch.Generator
    ) -> tuple[Images, list[dict[str, Any]]]:
        """All images without their patches; those behind the first ``count`` are mirrored."""
        plan = self.erase.make_plan(images, targets, sizes=sizes, generator=generator)
        erased: tuple[Images, list[dict[str, Any]]] = self.erase.apply_plan(
            _mirrored(plan, count), images, targets, sizes=sizes
        )
        return erased

    def _mosaic(self, draws: Tensor) -> Mosaic:
        """Four whole images round the centre, each fitted into a tile of drawn size."""
        low, high = self.tile
        height, width = (a + int(draw * (b - a)) for a, b, draw in zip(low, high, draws.tolist()))
        common: Any = {"jitter": 0.0, "scale": (0.5, 0.5), "p": 1.0, "fill": self.erase.fill}
        return Mosaic(size=(2 * height, 2 * width), **common, **self._rules)


def _mirrored(plan: MixPlan, first: int) -> MixPlan:
    """The plan with the outputs from ``first`` on mirrored from left to right."""
    scale, shift = plan.scale.clone(), plan.shift.clone()
    scale[first:, :, -1] = -1
    shift[first:, :, -1] = plan.canvas[first:, -1:].to(shift.dtype)
    return replace(plan, scale=scale, shift=shift, unscaled=None)


def _together(mixed: Images, images: Images) -> Images:
    """Mixed images as one tensor where the batch was one."""
    return torch.stack(list(mixed)) if isinstance(images, Tensor) and not isinstance(mixed, Tensor) else mixed


def _rows(images: Images, index: list[int]) -> Images:
    return images[index] if isinstance(images, Tensor) else [images[one] for one in index]
