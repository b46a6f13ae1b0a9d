"""MixPlan: the plan of a batch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from cutmix_dense.arrays.compiling import is_compiling
from cutmix_dense.plan import geometry, ownership
from cutmix_dense.plan.checks import check_shapes, check_values, is_unscaled
from cutmix_dense.plan.inverse import inverted
from cutmix_dense.plan.makers import PlanMakers
from cutmix_dense.plan.moving import to_device
from cutmix_dense.plan.strided import strided


@dataclass(frozen=True, eq=False, repr=False)
class MixPlan(PlanMakers):
    """Plan of B mixed outputs, each a stack of up to S layers placed on a canvas and cut by an ownership grid.

    A pixel belongs to layer ``s`` where ``owner == s`` **and** its pre-image lies in ``extent[s]``; else it is fill.
    Pixel centres are half-integers: pixel ``j`` of an axis lies in an extent mapped to ``[lo, hi)`` iff
    ``ceil(lo - 0.5) <= j < ceil(hi - 0.5)``, and its source pixel is ``floor((j + 0.5 - shift) / scale)``.

    Args:
        source: index of each layer's image in the pool; -1 where the layer is absent. Layer 0 is the base.
        scale: map from the source's pixels to the canvas, ``canvas = scale * source + shift``; negative for a flip.
        shift: see ``scale``; pixels.
        extent: valid part of the source in whole pixels, lows then highs, half-open.
        canvas: valid size of each output, pixels.
        edges: for each axis, the whole-pixel edges of the grid's cells: from 0 to the canvas, never decreasing.
        owner: the layer that shows in each cell, -1 for fill.
        frame: size of an output in a padded tensor; at least every canvas.
        carry: which of the source's instances come along, default all; those beyond its length do.
        weight: for a soft plan (MixUp), the weight of each layer, >= 0. All layers then share the pixels of their
            extents in proportion, ``owner`` is 0 everywhere, and cells don't straddle the border of an extent.
        opacity: of each layer in a hard plan, in (0, 1], default 1; 1 for the base. A pixel that belongs to a
            translucent layer ``s`` (below 1) shows ``opacity · layer s + (1 - opacity) · base``; the base covers such a
            canvas, and the layer's cells lie within its extent. Translucent layers hide nothing of the base's
            instances, which keep a ``weight`` of 1, and their own have their opacity as ``weight``. ``share`` counts by
            opacity. What can't blend (maps of ids, panoptic maps) shows the layer where its opacity is at least 0.5,
            else the base.
        free_form: whether the grid has one cell per pixel (``from_map``), so that a box alone doesn't say how much of
            its object shows.
        frames: number of frames of each clip if they are planned one by one: output ``b · frames + t`` is frame t of
            clip b, and ``source`` counts the pool's frames alike. Else 1, even if all frames of a clip share an output.
        unscaled: whether every present layer has scale 1 and a whole-pixel shift; computed if None.
        check: whether to check the fields. Makers whose fields are right by construction skip it: it takes longer than
            making the plan.

    Raises:
        TypeError: a field isn't a tensor.
        ValueError: a field has the wrong shape or, for plans on the CPU, a value out of range; the message names it.

    Example:
        >>> import torch
        >>> from cutmix_dense import MixPlan
        >>> box, sizes = torch.tensor([[[0, 0, 2, 6]]]), torch.tensor([[4, 6], [4, 6]])
        >>> MixPlan.from_rectangles(torch.tensor([[0, 1]]), box, sizes).share()  # the partner's upper half
        tensor([[0.5000, 0.5000]], dtype=torch.float64)
    """

    def __post_init__(self, check: bool) -> None:
        if check:
            check_shapes(self)
            if self.source.device.type == "cpu":
                check_values(self)
        if self.unscaled is None:
            here = self.source.is_cpu and not is_compiling()
            fields: Any = (self.source, self.scale, self.shift)
            fields = [*map(Tensor.numpy, map(Tensor.detach, fields))] if here else fields
            object.__setattr__(self, "unscaled", is_unscaled(np if here else torch, *fields))

    def validate(self) -> None:
        """Check every value. Plans made on the CPU are checked already; on a device this costs a transfer.

        Raises:
            ValueError: a value is out of range; the message names the field and the first such output.
        """
        check_values(self.to("cpu"))

    # ------------------------------------------------------------- who owns what

    def pixel_ranges(self) -> tuple[Int[Tensor, "b s d"], Int[Tensor, "b s d"]]:
        """First pixel and one past the last pixel of the canvas whose pre-image lies in each layer's extent."""
        return geometry.pixel_ranges(self)

    def source_pixels(self, axis: int) -> Int[Tensor, "b s length"]:
        """Each layer's source pixel for every frame pixel along ``axis``, clamped into the layer's extent."""
        return geometry.source_pixels(self, axis)

    def owned_pixels(self) -> Float[Tensor, "b s"]:
        """Number of canvas pixels that belong to each layer; fractional only for weights and opacities."""
        return ownership.owned_pixels(self)

    def share(self) -> Float[Tensor, "b s"]:
        """Exact share of the canvas that each layer owns, in [0, 1]; the rest is fill.

        With ``frames``, there is one row per clip, over the pixels of all its frames.
        """
        owned, whole = self.owned_pixels(), self.canvas.prod(dim=1, keepdim=True)
        if self.frames > 1:
            owned, whole = (pixels.unflatten(0, (-1, self.frames)).sum(dim=1) for pixels in (owned, whole))
        return owned / whole

    def has_fill(self) -> bool:
        """Whether some canvas pixel belongs to no layer; cached. Plans made on a device need a transfer."""
        return ownership.has_fill(self)

    def owner_map(self) -> Int[Tensor, "b *frame"]:
        """The layer of every frame pixel; -1 for fill and beyond the canvas. For soft plans, 0 within the base."""
        return ownership.owner_map(self)

    def pixel_weights(self) -> Float[Tensor, "b s *frame"]:
        """Weight of each layer at every frame pixel; they sum to 1, or to 0 for fill and beyond the canvas."""
        return ownership.shared_weights(self).contiguous()

    # ------------------------------------------------------------ plans made from this one

    def to(self, device: torch.device | str) -> MixPlan:
        """The plan on ``device``; the plan itself if it is there already."""
        if self.source.device == device:
            return self
        device = torch.device(device)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
        return to_device(self, device)

    def inverse(self) -> MixPlan:
        """The plan that brings every mixed pixel back to the image it came from.

        It exists if the outputs show each pixel of the pool exactly once, unscaled: exchanges (``pairing="swap"``) and
        moved tiles. Apply it to anything computed per pixel on the mixed images, such as a model's predictions.

        Returns:
            A free-form plan with one output per image of the pool.

        Raises:
            ValueError: the plan is soft, scales a layer, leaves fill, or loses or repeats a pixel; the message says
                which.

        Example:
            >>> import torch
            >>> import cutmix_dense as cd
            >>> images = torch.rand(2, 3, 8, 12)
            >>> mix = cd.CutMix(p=1.0, pairing="swap")
            >>> plan = mix.make_plan(images)
            >>> mixed, _ = mix.apply_plan(plan, images)
            >>> torch.equal(cd.functional.mix_pixels(mixed, plan.inverse()), images)
            True
        """
        return inverted(self)

    def at_stride(self, stride: int) -> MixPlan:
        """The plan for feature maps of that stride: a feature moves as the stride × stride pixels below it do.

        ``plan.at_stride(s).inverse()`` unmixes the features of mixed images, as MUM does. Sizes that aren't a multiple
        of the stride are rounded up, as padded convolutions round them.

        Args:
            stride: pixels per feature, >= 1.

        Raises:
            ValueError: an edge within the canvas or a shift isn't a multiple of the stride, or the plan scales a layer
                or is free-form.

        Source: MUM (Kim et al., 2022), ``mum/modeling/meta_arch/rcnn.py``, lines 54 to 81.

        Example:
            >>> import torch
            >>> from cutmix_dense import MixPlan
            >>> box, sizes = torch.tensor([[[0, 4, 8, 8]]]), torch.tensor([[8, 12], [8, 12]])
            >>> plan = MixPlan.from_rectangles(torch.tensor([[0, 1]]), box, sizes)
            >>> plan.at_stride(4).owner_map().tolist()
            [[[0, 1, 0], [0, 1, 0]]]
        """
        return strided(self, stride)

    def of_frames(self, count: int) -> MixPlan:
        """The plan of single frames: output ``b · count + t`` shows frame ``t`` of the sources of clip b.

        All frames of a clip share its output, unless they are planned one by one (``frames``).

        Args:
            count: number of frames of every clip, in the pool and in the outputs; >= 1.

        Raises:
            ValueError: the count is below 1, or differs from ``frames``.
        """
        if count < 1:
            raise ValueError(f"count must be at least 1, got {count}")
        if self.frames > 1:
            if count != self.frames:
                raise ValueError(f"count must be the plan's number of frames, {self.frames}, got {count}")
            return replace(self, check=False, frames=1)
        if count == 1:
            return self
        fields = self.each(lambda tensor: tensor.repeat_interleave(count, dim=0))
        return replace(self, check=False, **{**fields, "source": self.frame_sources(self.source, count)})

    @staticmethod
    def frame_sources(source: Int[Tensor, "b s"], count: int) -> Int[Tensor, "rows s"]:
        """Sources of clips as sources of frames: row ``b · count + t`` names frame t of every clip of row b.

        Args:
            source: the clip of each layer; -1 for none stays -1.
            count: number of frames of each clip.
        """
        frame = torch.arange(count, device=source.device).repeat(len(source))[:, None]
        source = source.repeat_interleave(count, dim=0)
        return torch.where(source < 0, source, source * count + frame)

    def per_clip(self, values: Tensor) -> Tensor:
        """Rows of outputs as rows of clips: (B · frames, S) to (B, frames · S); unchanged without ``frames``."""
        return values if self.frames == 1 else values.unflatten(0, (-1, self.frames)).flatten(1, 2)

    @property
    def bases(self) -> Int[Tensor, " b"]:
        """Pool index of every output's base: an image, or a clip."""
        return self.source[:: self.frames, 0] // self.frames

    def section(self, axis: int, pixel: int) -> MixPlan:
        """The 2D plan of one slice of volumes, at ``pixel`` along ``axis``.

        Layer ``s`` then shows the slice ``source_pixels(axis)[:, s, pixel]`` of its source.

        Args:
            axis: the axis to remove, in array order.
            pixel: position along it, within the frame; outputs whose canvas ends before it are all fill.

        Raises:
            ValueError: the plan has two axes, or no such axis or pixel.
        """
        if self.ndim != 3 or not 0 <= axis < self.ndim:
            raise ValueError(f"axis must be one of three axes, got {axis} for a plan of {self.ndim}")
        if not 0 <= pixel < self.frame[axis]:
            raise ValueError(f"pixel must be in [0, {self.frame[axis]}), got {pixel}")
        outputs = torch.arange(len(self), device=self.device)
        at = torch.full((len(self), 1), pixel, dtype=torch.int64, device=self.device)
        cell = ownership.cell_at(at, self.edges[axis])[:, 0]
        low, high = self.pixel_ranges()
        there = (low[..., axis] <= pixel) & (pixel < high[..., axis]) & (at < self.canvas[:, axis, None])
        owner = self.owner.movedim(1 + axis, 1)[outputs, cell]
        shows = there.gather(1, owner.clamp(min=0).long().flatten(1)).view_as(owner)
        left = [other for other in range(self.ndim) if other != axis]
        return replace(
            self,
            check=False,
            source=torch.where(there, self.source, -1),
            scale=self.scale[..., left],
            shift=self.shift[..., left],
            extent=self.extent[..., [*left, *(self.ndim + other for other in left)]],
            canvas=self.canvas[:, left],
            edges=tuple(self.edges[other] for other in left),
            owner=owner if self.weight is not None else torch.where(shows & (owner >= 0), owner, -1),
            frame=tuple(self.frame[other] for other in left),
            unscaled=None,
        )
