"""What CopyPaste draws: instances that stay together as one layer, or each as a layer of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cutmix_dense.arrays.host import HOST
from cutmix_dense.plan import MixPlan
from cutmix_dense.regions import uniform
from cutmix_dense.transforms.bank import SampleBank
from cutmix_dense.transforms.drawing import DrawsPartners
from cutmix_dense.transforms.instance_bank import InstanceBank
from cutmix_dense.transforms.paste_number import Number, most_of, wanted_of
from cutmix_dense.transforms.paste_weights import balanced, looked_up_weights, size_bounds
from cutmix_dense.transforms.pasted import by_masks, moved, paint, rectangles_of, unstated
from cutmix_dense.transforms.placing import Chosen, Place, Placing, layered_plan, paste_order
from cutmix_dense.transforms.pool import Pool

SOURCES = ("partner", "self", "batch")

Source = Literal["partner", "self", "batch"] | InstanceBank
"""Whose instances are pasted."""


class DrawsPasted(DrawsPartners):
    """Base of ``CopyPaste``, which documents the settings: draws plans from checked targets."""

    instances: Number
    source: Source
    place: Place
    overlap: float
    context: tuple[float, float]
    weights: dict[int, float] | str | None
    size_weights: dict[str | float, float] | None
    scale: tuple[float, float]
    flip: float
    blend: Literal["hard"] | tuple[float, float]

    def draw_together(
        self, pool: Pool, targets: Sequence[Mapping[str, Any]], may: Bool[np.ndarray, "p n"], generator: torch.Generator
    ) -> MixPlan:
        """Draw instances of the partner that stay where they are among each other: one layer."""
        source, leader = self.draw_pairs(pool, generator)
        fixed, most = 3 + pool.ndim + (self.blend != "hard"), may.shape[1]
        draws = uniform(pool.outputs, fixed + most, generator)[leader]
        partner = source[:, 1].clamp(min=0)
        weights = self._weights(targets, pool, partner.numpy()[:, None].repeat(most, axis=1), np.arange(most))
        some = may[partner.numpy()]
        order, count = self._ordered(draws[:, 0], draws[:, fixed:], some, weights)
        pasted = torch.from_numpy(some & (order.argsort(axis=1) < count[:, None]))
        carry = torch.stack([torch.ones_like(pasted), pasted], dim=1)
        scale, shift = self._placed(draws.numpy(), pool, source)
        chosen = pasted & (source[:, 1:] >= 0)
        unmoved = bool(((scale == 1) & (shift == 0)).all())  # every partner keeps its place
        placed: Any = {"carry": carry, **({"check": False} if unmoved else {"scale": scale, "shift": shift})}
        if self.blend != "hard":
            opacity = self._opacity(draws[:, fixed - 1 : fixed])
            placed["opacity"] = torch.cat([torch.ones_like(opacity), opacity], dim=1)
        if [1 for target in targets if target.get("masks") is not None]:
            boxed = chosen & unstated(targets, most)[partner]
            owner = by_masks(chosen & ~boxed, targets, pool, source)
            owner = owner if unmoved else moved(owner, pool, source, scale, shift)
            if boxed.any():
                paint(owner, rectangles_of(boxed, pool, source, scale, shift), boxed)
            return MixPlan.from_map(source, owner, pool.sizes, **placed)
        rectangles = rectangles_of(chosen, pool, source, scale, shift, fetch=True)
        return MixPlan.from_rectangles(source, rectangles, pool.sizes, frame=pool.frame, **placed)

    def draw_layers(
        self, pool: Pool, targets: Sequence[Mapping[str, Any]], may: Bool[np.ndarray, "p n"], generator: torch.Generator
    ) -> MixPlan:
        """Draw instances that are layers of their own."""
        if not may.shape[1]:  # no image has an instance: a place that none takes
            may = np.zeros((len(may), 1), dtype=bool)
        outputs, (images, most) = pool.outputs, may.shape
        own = leader = np.arange(outputs)
        if self.source == "partner":
            pairs, leader = (column.numpy() for column in self.draw_pairs(pool, generator))
            mixed, image = pairs[:, 1] >= 0, np.maximum(pairs[:, 1], 0)[:, None].repeat(most, axis=1)
        else:
            mixed, image = self.draw_mixed(pool, generator), own[:, None].repeat(most, axis=1)
        row = np.broadcast_to(np.arange(most), image.shape)
        everyone = self.source not in ("partner", "self")
        if isinstance(self.source, InstanceBank) and not pool.cut_outs:
            raise ValueError(
                "source must be a name here: a bank's instances join the batches of a transform's own call"
            )
        if everyone:
            image, row = (np.broadcast_to(side.reshape(-1), (outputs, images * most)) for side in np.indices(may.shape))
        some = may[image, row] & mixed[:, None]
        if everyone:
            some &= (image >= outputs) if images > outputs or pool.cut_outs else (image != own[:, None])
        slots = min(most_of(self.instances, image.shape[1]), image.shape[1])
        placing = Placing(self.place, self.overlap, self.scale, self.flip, self.context)
        draws = uniform(outputs, 1 + slots + image.shape[1], generator)[torch.from_numpy(leader)]
        each, cells = placing.draws(outputs, slots, pool.ndim, generator)
        weights = self._weights(targets, pool, image, row)
        order, count = self._ordered(draws[:, 0], draws[:, 1 + slots :], some, weights)
        image, row = (np.take_along_axis(column, order[:, :slots], axis=1) for column in (image, row))
        chosen = Chosen(image, row, np.arange(slots) < count[:, None])
        opacity = None if self.blend == "hard" else self._opacity(draws[:, 1 : 1 + slots])
        return layered_plan(placing, (each[leader], cells[leader]), chosen, pool, targets, opacity)

    @property
    def banked(self) -> bool:
        """Whether instances, or partners, come from a bank."""
        return isinstance(self.source, InstanceBank) or isinstance(self.pairing, SampleBank)

    def joined(self, own: Pool, sizes: Any, generator: torch.Generator) -> tuple[Pool, Pool]:
        """The batch with cut-outs of the bank, by weight: one for each that may be pasted."""
        bank = self.source
        if not isinstance(bank, InstanceBank):
            return super().joined(own, sizes, generator)
        named = own.targets if isinstance(own.targets, Mapping) else None
        if named is not None and len(named) != 1:
            raise ValueError(f"targets must hold instances alone for a bank of cut-outs, got {sorted(named)}")
        targets = own.targets if named is None else next(iter(named.values()))
        both = bank.join(own.images, targets, sizes, self.picked(len(own), generator))
        found = [rows if named is None else {next(iter(named)): rows} for rows in (both.targets, both.maskless)]
        pool = Pool.of(both.images, found[0], both.sizes, len(own), own.layout)
        pool = replace(pool, box_form=own.box_form, cut_outs=True, shrunk=both.shrunk)
        return pool, replace(pool, targets=found[1])

    def picked(self, outputs: int, generator: torch.Generator) -> Int[np.ndarray, " n"]:
        """Cut-outs of the bank for so many outputs, by weight: one for each that may be pasted."""
        bank = self.source
        assert isinstance(bank, InstanceBank)
        if not len(bank):
            raise ValueError("source must hold at least one cut-out, got an empty InstanceBank")
        weights = None
        bounds = size_bounds(self.size_weights)
        if self.weights is not None or bounds is not None:
            targets = bank.targets()
            boxes = torch.stack([target["boxes"] for target in targets]).to(HOST, torch.float64).numpy()
            given, classes = looked_up_weights(targets, boxes, 1, self.weights, bounds)
            if self.weights == "balanced":
                given = balanced(classes.T, np.ones_like(classes.T, dtype=bool), given.T).T
            weights = given[:, 0]
        return bank.picked(outputs * most_of(self.instances, 1), weights, generator)

    def _weights(
        self,
        targets: Sequence[Mapping[str, Any]],
        pool: Pool,
        image: Int[np.ndarray, "b m"],
        row: Int[np.ndarray, "..."],
    ) -> tuple[Float[np.ndarray, "b m"], Int[np.ndarray, "b m"]] | None:
        """Weight and class of each candidate; None where all are equal."""
        bounds = size_bounds(self.size_weights)
        if (self.weights is None and bounds is None) or pool.cut_outs:  # those of a bank were drawn by weight
            return None
        boxes = None if bounds is None else pool.objects(fetch=True).boxes.double().numpy()
        weights, classes = looked_up_weights(targets, boxes, int(row.max(initial=0)) + 1, self.weights, bounds)
        return weights[image, row], classes[image, row]

    def _ordered(
        self,
        number: Float[Tensor, " b"],
        scores: Float[Tensor, "b m"],
        some: Bool[np.ndarray, "b m"],
        weights: tuple[Float[np.ndarray, "b m"], Int[np.ndarray, "b m"]] | None,
    ) -> tuple[Int[np.ndarray, "b m"], Int[np.ndarray, " b"]]:
        """Candidates in the order in which they are drawn, and how many are, from a draw for their number."""
        given = None
        if weights is not None:
            given, classes = weights
            some &= given > 0
            given = balanced(classes, some, given) if self.weights == "balanced" else given
        count = np.add.reduce(some, axis=1, dtype=np.int64)
        wanted = np.minimum(wanted_of(self.instances, number.numpy(), count), count)
        return paste_order(scores.numpy(), some, given), wanted

    def _opacity(self, draws: Float[Tensor, "b k"]) -> Float[Tensor, "b k"]:
        """Opacities in the range of ``blend``."""
        assert self.blend != "hard"
        low, high = self.blend
        return (low + draws * (high - low)).float()

    def _placed(
        self, draws: Float[np.ndarray, "b k"], pool: Pool, source: Int[Tensor, "b 2"]
    ) -> tuple[Float[Tensor, "b 2 d"], Float[Tensor, "b 2 d"]]:
        """Scale and shift of both layers."""
        sizes = pool.sizes.numpy()[np.maximum(source.numpy(), 0)].astype(np.float64)
        factor = self.scale[0] + draws[:, 1:2] * (self.scale[1] - self.scale[0])
        mirrored = draws[:, 2] < self.flip
        low = (draws[:, 3 : 3 + pool.ndim] * (sizes[:, 0] - factor * sizes[:, 1])).round()
        shift = np.zeros(sizes.shape)
        scale = shift + 1
        scale[:, 1], shift[:, 1] = factor, low
        shift[:, 1, -1] += np.where(mirrored, factor[:, 0] * sizes[:, 1, -1], 0.0)
        scale[:, 1, -1] *= np.where(mirrored, -1.0, 1.0)
        return torch.from_numpy(scale.astype(np.float32)), torch.from_numpy(shift.astype(np.float32))
