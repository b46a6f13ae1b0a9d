"""MixPlan: who owns each output pixel, and where it comes from.

A plan is data. It is drawn once (pairing and samplers), applied as often as wanted (``cutmix_dense.functional``) and
holds nothing random. Every per-axis quantity is in **array order**: (y, x) for images and clips, (z, y, x) for volumes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import InitVar, dataclass, fields, replace
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cutmix_dense.broadcast import along, everywhere
from cutmix_dense.compiling import is_compiling
from cutmix_dense.host import Column, as_tensor, looked_up, sent
from cutmix_dense.plan_checks import check_shapes, check_values, is_unscaled
from cutmix_dense.rectangles import Grid, cover, paint

__all__ = ["MixPlan", "PlanFacts"]


Found = TypeVar("Found")


class PlanFacts(NamedTuple):
    """The small fields of a plan as arrays; see ``MixPlan``."""

    source: Int[np.ndarray, "b s"]
    scale: Float[np.ndarray, "b s d"]
    shift: Float[np.ndarray, "b s d"]
    extent: Int[np.ndarray, "b s 2*d"]
    canvas: Int[np.ndarray, "b d"]


@dataclass(frozen=True, eq=False)
class MixPlan:
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
        edges: per axis, the whole-pixel edges of the grid's cells: from 0 to the canvas, never decreasing.
        owner: the layer that shows in each cell, -1 for fill.
        frame: size of an output in a padded tensor; holds every canvas.
        carry: which of the source's instances come along (default all); an instance beyond its length is carried.
        weight: for a soft plan (MixUp), how much each layer counts, >= 0. All layers then share the pixels of their
            extents in proportion, ``owner`` is 0 everywhere, and the cells don't straddle the border of an extent.
        free_form: the grid has one cell per pixel (``from_map``): what shows of an object can't be told from its box.
        frames: of clips whose frames are planned one by one, how many each has: output ``b · frames + t`` is frame t of
            clip b, and ``source`` counts the frames of the pool's clips in the same way. 1 otherwise, also where all
            frames of a clip share its output.
        unscaled: whether every present layer has scale 1 and a whole-pixel shift; found out when None.
        check: whether the fields are looked at; only for makers that can't get them wrong, since it takes longer than
            the making.

    Raises:
        TypeError: a field that is no tensor.
        ValueError: a field of the wrong shape, or (for plans on the CPU) a value out of range, named.
    """

    source: Int[Tensor, "b s"]
    scale: Float[Tensor, "b s d"]
    shift: Float[Tensor, "b s d"]
    extent: Int[Tensor, "b s 2*d"]
    canvas: Int[Tensor, "b d"]
    edges: tuple[Int[Tensor, "b g+1"], ...]
    owner: Int[Tensor, "b *g"]
    frame: tuple[int, ...]
    carry: Bool[Tensor, "b s n"] | None = None
    weight: Float[Tensor, "b s"] | None = None
    free_form: bool = False
    frames: int = 1
    unscaled: bool | None = None
    check: InitVar[bool] = True

    def __post_init__(self, check: bool) -> None:
        if check:
            check_shapes(self)
            if self.source.device.type == "cpu":
                check_values(self)
        if self.unscaled is None:
            here = self.device.type == "cpu" and not is_compiling()
            fields = self.facts[:3] if here else (self.source, self.scale, self.shift)
            object.__setattr__(self, "unscaled", is_unscaled(np if here else torch, *fields))

    # ------------------------------------------------------------------ facts

    def __len__(self) -> int:
        """Number of outputs."""
        return self.source.shape[0]

    def __repr__(self) -> str:
        grid = "×".join(str(n) for n in self.owner.shape[1:])
        frame = "×".join(str(n) for n in self.frame)
        clips = f", frames={self.frames}" if self.frames > 1 else ""
        facts = f"outputs={len(self)}, layers={self.layers}, grid={grid}, frame={frame}{clips}"
        return f"MixPlan({facts}, device={self.device})"

    @property
    def layers(self) -> int:
        """Number of layers S."""
        return self.source.shape[1]

    @property
    def ndim(self) -> int:
        """Number of spatial axes D."""
        return self.canvas.shape[1]

    @property
    def device(self) -> torch.device:
        """Where the plan lies."""
        return self.source.device

    def to(self, device: torch.device | str, non_blocking: bool = False) -> MixPlan:
        """The same plan on ``device``; itself if it is there already."""
        device = torch.device(device)
        if device == self.device:
            return self

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=non_blocking)

        moved = replace(self, check=False, **self._each(move))
        self.tell(moved)
        return moved

    def of_frames(self, count: int) -> MixPlan:
        """The plan of single frames: output ``b · count + t`` shows the frames ``t`` of the sources of clip b.

        All frames of a clip get its output, unless they are planned one by one (``frames``).

        Args:
            count: frames of each clip, of the pool's and of the outputs alike; >= 1.

        Raises:
            ValueError: a count below 1, or another one than that of a plan of ``frames``.
        """
        if count < 1:
            raise ValueError(f"count must be at least 1, got {count}")
        if self.frames > 1:
            if count != self.frames:
                raise ValueError(f"count must be the plan's number of frames, {self.frames}, got {count}")
            return replace(self, check=False, frames=1)
        if count == 1:
            return self
        fields = self._each(lambda tensor: tensor.repeat_interleave(count, dim=0))
        return replace(self, check=False, **{**fields, "source": self.frame_sources(self.source, count)})

    @staticmethod
    def frame_sources(source: Int[Tensor, "b s"], count: int) -> Int[Tensor, "b*count s"]:
        """Layers of clips as layers of their frames: row ``b · count + t`` names frame t of every clip of row b.

        Args:
            source: the clip of each layer, -1 for none, which stays.
            count: frames of each clip.
        """
        frame = torch.arange(count, device=source.device).repeat(len(source))[:, None]
        source = source.repeat_interleave(count, dim=0)
        return torch.where(source < 0, source, source * count + frame)

    def per_clip(self, values: Tensor) -> Tensor:
        """Per clip what every output has a row of: (B, frames · S) of (B · frames, S); as it is without ``frames``."""
        return values if self.frames == 1 else values.unflatten(0, (-1, self.frames)).flatten(1, 2)

    @property
    def bases(self) -> Int[Tensor, " b"]:
        """Pool index of every output's base: an image, or the clip whose frames it is made of."""
        return self.source[:: self.frames, 0] // self.frames

    def section(self, axis: int, pixel: int) -> MixPlan:
        """The plan of one slice of volumes: what they show where ``axis`` has ``pixel``, along the axes that are left.

        Layer ``s`` then shows the slice ``source_pixels(axis)[:, s, pixel]`` of its source.

        Args:
            axis: the axis that goes, in array order.
            pixel: the place along it, within the frame; outputs whose canvas ends before it are all fill.

        Raises:
            ValueError: a plan of two axes; an axis or a pixel that it hasn't.
        """
        if self.ndim != 3 or not 0 <= axis < self.ndim:
            raise ValueError(f"axis must be one of three axes, got {axis} for a plan of {self.ndim}")
        if not 0 <= pixel < self.frame[axis]:
            raise ValueError(f"pixel must be in [0, {self.frame[axis]}), got {pixel}")
        outputs = torch.arange(len(self), device=self.device)
        at = torch.full((len(self), 1), pixel, dtype=torch.int64, device=self.device)
        cell = self._cells_of(at, self.edges[axis])[:, 0]
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

    def _each(self, change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
        """All fields that hold tensors, with each of them changed."""
        fields: dict[str, Any] = {}
        for name in ("source", "scale", "shift", "extent", "canvas", "owner", "carry", "weight"):
            value = getattr(self, name)
            fields[name] = None if value is None else change(value)
        return {**fields, "edges": tuple(map(change, self.edges))}

    @property
    def facts(self) -> PlanFacts:
        """The small fields in numpy: on the host of the same memory, of a plan on a device by one transfer."""
        return self.kept("facts", self._viewed_facts if self.device.type == "cpu" else self._fetched_facts)

    def _small_fields(self) -> tuple[Tensor, ...]:
        return self.source, self.scale, self.shift, self.extent, self.canvas

    def _viewed_facts(self) -> PlanFacts:
        return PlanFacts(*(field.detach().numpy() for field in self._small_fields()))

    def _fetched_facts(self) -> PlanFacts:
        fields = self._small_fields()
        exact = torch.float32 if self.device.type == "mps" else torch.float64
        joined = torch.cat([field.detach().flatten().to(exact) for field in fields]).to("cpu").numpy()
        ends = np.cumsum([field.numel() for field in fields])[:-1]
        source, scale, shift, extent, canvas = (
            part.reshape(field.shape) for part, field in zip(np.split(joined, ends), fields)
        )
        return PlanFacts(
            source.astype(np.int64),
            scale.astype(np.float32),
            shift.astype(np.float32),
            extent.astype(np.int64),
            canvas.astype(np.int64),
        )

    def kept(self, name: str, find: Callable[[], Found]) -> Found:
        """What ``find`` gives: kept with the plan under a name, until one of its tensors is written to.

        Writes through numpy aren't noticed. Plans made of this one don't have it, nor does a pickled one.
        """
        if is_compiling():
            return find()
        held = self.__dict__.get("_kept", {}).get(name)
        if held is not None and held[0] == self._stamp():
            return held[1]
        value = find()
        self.keep({name: value})
        return value

    def keep(self, found: Mapping[str, Any]) -> None:
        """Keep what is known already, by name, so that ``kept`` needn't find it; what is known at once, in one call."""
        if is_compiling():
            return
        stamp, kept = self._stamp(), self.__dict__.setdefault("_kept", {})
        if stamp is not None or self.device.type != "cpu":  # on the host finding it again costs little
            kept.update({name: (stamp, value) for name, value in found.items()})

    def _stamp(self) -> tuple[int, ...] | None:
        """How often each tensor was written to; None of inference mode's, which don't know."""
        tensors = self.__dict__.get("_written")
        if tensors is None:
            given = (*self._small_fields(), self.owner, *self.edges, self.carry, self.weight)
            tensors = self.__dict__["_written"] = [tensor for tensor in given if tensor is not None]
        try:
            return tuple([tensor._version for tensor in tensors])
        except RuntimeError:
            return None

    def tell(self, other: MixPlan) -> None:
        """Hand what the host knows of this plan on to one of the same numbers elsewhere, which needn't ask then."""
        if is_compiling():
            return
        stamp, kept = self._stamp(), self.__dict__.get("_kept", {})
        known = {name: kept[name][1] for name in ("fills", "facts") if name in kept and kept[name][0] == stamp}
        if self.device.type == "cpu":  # whose memory may be written to
            known["facts"] = PlanFacts(*(field.copy() for field in self.facts))
        if other.device.type == "cpu":  # which has its own
            known.pop("facts", None)
        other.keep(known)

    def __getstate__(self) -> dict[str, Any]:
        """The fields, without what can be found again."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    # -------------------------------------------------------------- ownership

    def pixel_ranges(self) -> tuple[Int[Tensor, "b s d"], Int[Tensor, "b s d"]]:
        """First pixel and one past the last pixel of the canvas whose pre-image lies in each layer's extent."""
        return self.kept("ranges", self._pixel_ranges)

    def _pixel_ranges(self) -> tuple[Int[Tensor, "b s d"], Int[Tensor, "b s d"]]:
        fields = (self.scale, self.shift, self.extent, self.canvas[:, None], (self.source < 0)[..., None])
        if self.device.type != "cpu" or is_compiling():
            return _ranges(torch, *fields)
        source, scale, shift, extent, canvas = self.facts
        if self.unscaled:  # whole pixels
            offset = shift.astype(np.int64)
            low = np.minimum(np.maximum(extent[..., : self.ndim] + offset, 0), canvas[:, None])
            high = np.minimum(np.maximum(extent[..., self.ndim :] + offset, 0), canvas[:, None])
            absent = source < 0
            if absent.any():
                high[absent] = low[absent]
        else:
            low, high = _ranges(np, scale, shift, extent, canvas[:, None], (source < 0)[..., None])
        return torch.from_numpy(low), torch.from_numpy(high)

    def placement(
        self, output: Int[Column, " n"], layer: Int[Column, " n"], dtype: torch.dtype
    ) -> Float[Column, "6 d n"]:
        """Scale, shift, low and high end of the extent, and first and last bound of ``pixel_ranges`` of some layers.

        Args:
            output: the output of each, an array (host) or a tensor.
            layer: its layer.
            dtype: of the result, which is of the same kind; of arrays float64.
        """
        slot = output * self.layers + layer
        if isinstance(slot, np.ndarray):
            ranges, (_, scale, shift, extent, _), ndim = self.pixel_ranges(), self.facts, self.ndim
            parts = (scale, shift, extent[..., :ndim], extent[..., ndim:], *(bound.numpy() for bound in ranges))
            columns = np.empty((6, ndim, len(self), self.layers))
            for column, part in zip(columns, parts):
                column[...] = part.transpose(2, 0, 1)
            return columns.reshape(6, ndim, -1).take(slot, axis=2)
        table = torch.cat([self.scale, self.shift, self.extent, *self.pixel_ranges()], dim=2).to(dtype)
        return table.flatten(0, 1).T.index_select(1, slot).unflatten(0, (6, self.ndim))

    @property
    def most_cells(self) -> int:
        """Cells of a grid that has on every axis as many as the axis with most of them."""
        return max(self.owner.shape[1:]) ** self.ndim

    def cells_of(
        self, output: Int[Column, " n"], layer: Int[Column, " n"], dtype: torch.dtype
    ) -> tuple[Bool[Column, "*g n"], Float[Column, "d g+1 n"]]:
        """In which cells some layers show, and the edges of the cells; where an axis has fewer, empty ones follow.

        Args:
            output: the output of each, an array (host) or a tensor.
            layer: its layer.
            dtype: of the edges; of arrays float64.
        """
        grid, most = self.owner.shape[1:], max(self.owner.shape[1:])
        if isinstance(output, np.ndarray):
            owner, edges = self.owner.numpy(), [edge.numpy() for edge in self.edges]
            if min(grid) < most:
                owner = np.pad(owner, [(0, 0), *((0, most - cells) for cells in grid)])
                edges = [np.pad(edge, ((0, 0), (0, most + 1 - edge.shape[1])), "edge") for edge in edges]
            table = np.array([edge.T for edge in edges], dtype=np.float64)
            if self.weight is None:
                cells = owner.reshape(len(owner), -1).T
                shows = np.take(cells, output, axis=1) == layer.astype(owner.dtype)
            else:
                shows = (self.weight.detach().numpy()[output, layer] > 0)[None].repeat(most**self.ndim, axis=0)
            return shows.reshape(*(most,) * self.ndim, -1), np.take(table, output, axis=2)
        shows = self.shows(output, layer)
        stacked = [edge.T for edge in self.edges]
        if min(grid) < most:
            behind = [amount for cells in reversed(grid) for amount in (0, most - cells)]
            shows = torch.nn.functional.pad(shows, (0, 0, *behind))
            stacked = [torch.cat([edge, edge[-1:].expand(most + 1 - len(edge), -1)]) for edge in stacked]
        return shows, torch.stack(stacked).to(dtype)[:, :, output]

    def carries(
        self, output: Int[Tensor, " n"], layer: Int[Tensor, " n"], position: Int[Tensor, " n"]
    ) -> Bool[Tensor, " n"]:
        """Whether instances, by their position in their image, come along with their layer."""
        if self.carry is None or not self.carry.shape[2]:
            return torch.ones_like(position, dtype=torch.bool)
        most = self.carry.shape[2]
        return self.carry[output, layer, position.clamp(max=most - 1)] | (position >= most)

    def source_pixels(self, axis: int) -> Int[Tensor, "b s length"]:
        """Source pixel of every frame pixel along ``axis``, per layer; clamped into the layer's extent."""
        centre = torch.arange(self.frame[axis], dtype=torch.float32, device=self.device) + 0.5
        position = (centre - self.shift[..., axis, None]) / self.scale[..., axis, None]
        low = self.extent[..., axis, None]
        high = self.extent[..., self.ndim + axis, None] - 1
        return torch.maximum(torch.minimum(position.floor().long(), high), low).clamp(min=0)

    def copies(self, output: int, layer: int, axis: int) -> Int[np.ndarray, " length"]:
        """How many pixels of a canvas without end show each source pixel of a layer's extent along ``axis``."""
        _, scales, shifts, extents, _ = self.facts
        scale, shift = scales[output, layer, axis], shifts[output, layer, axis]
        low, high = extents[output, layer, axis], extents[output, layer, self.ndim + axis]
        ends = np.array([low, high], dtype=scale.dtype) * scale + shift
        pixel = np.arange(int(np.ceil(ends.min() - np.float32(0.5))), int(np.ceil(ends.max() - np.float32(0.5))))
        index = np.floor((pixel.astype(scale.dtype) + np.float32(0.5) - shift) / scale).astype(np.int64)
        return np.bincount(np.maximum(np.minimum(index, high - 1), low) - low, minlength=int(high - low))

    def cell_lengths(self, low: Tensor, high: Tensor, index: Tensor, axis: int) -> Tensor:
        """Overlap, in pixels, of intervals with the columns (rows, …) of the grid.

        Args:
            low: (n,) starts of the intervals on the canvas, pixels.
            high: (n,) ends.
            index: (n,) the output that each interval lies in.
            axis: the axis, in array order.

        Returns:
            (n, G) lengths, 0 where there is no overlap, in the intervals' dtype.
        """
        edges = self.edges[axis][index]
        return (torch.minimum(high[:, None], edges[:, 1:]) - torch.maximum(low[:, None], edges[:, :-1])).clamp(min=0)

    def _layer_cells(self, layer: int) -> Float[Tensor, "b *g"]:
        """Pixels of every cell that lie in the extent of one layer, owner or not."""
        low, high = self.pixel_ranges()
        outputs = torch.arange(len(self), device=self.device)
        area = torch.ones((len(self),) + (1,) * self.ndim, dtype=torch.float64, device=self.device)
        for axis in range(self.ndim):
            length = self.cell_lengths(low[:, layer, axis], high[:, layer, axis], outputs, axis)
            area = area * along(length, axis, self.ndim)
        return area

    def owned_pixels(self) -> Float[Tensor, "b s"]:
        """Number of canvas pixels that belong to each layer: whole numbers, but for shared pixels of soft plans."""
        if self.weight is None:
            owned = [
                (self._layer_cells(layer) * (self.owner == layer)).flatten(1).sum(1) for layer in range(self.layers)
            ]
            return torch.stack(owned, dim=1)
        cells = torch.stack([self._layer_cells(layer) for layer in range(self.layers)], dim=1)
        weight = everywhere(self.weight.double(), self.ndim) * (cells > 0)
        return (cells * weight / weight.sum(dim=1, keepdim=True).clamp(min=1e-300)).flatten(2).sum(2)

    def share(self) -> Float[Tensor, "b s"]:
        """Exact share of the canvas that each layer owns, in [0, 1]; what is missing to 1 is fill.

        With ``frames`` one row per clip: the share of the pixels of all its frames.
        """
        owned, whole = self.owned_pixels(), self.canvas.prod(dim=1, keepdim=True)
        if self.frames > 1:
            owned, whole = (pixels.unflatten(0, (-1, self.frames)).sum(dim=1) for pixels in (owned, whole))
        return owned / whole

    def shows(self, output: Int[Tensor, " n"], layer: Int[Tensor, " n"]) -> Bool[Tensor, "*g n"]:
        """In which cells a layer shows, as far as its extent reaches: those it owns; all for one with weight."""
        if self.weight is None:
            return self.owner.movedim(0, -1)[..., output] == layer
        return (self.weight[output, layer] > 0).expand(*self.owner.shape[1:], -1)

    def keeps_padding(self, size: Sequence[int]) -> Bool[Tensor, " b"]:
        """Of a padded pool of images of ``size``, which outputs keep their base's padding: those of the base's size."""
        here = self.device.type == "cpu" and not is_compiling()
        fields: Any = self.facts if here else self._small_fields()
        source, _, _, extent, canvas = fields
        if tuple(size) != tuple(self.frame):
            return as_tensor(source[:, 0] < -1)  # none
        return as_tensor((source[:, 0] >= 0) & (canvas == extent[:, 0, self.ndim :]).all(1))

    def has_fill(self) -> bool:
        """Whether some canvas pixel belongs to no layer; found once, with a transfer for plans made on a device."""
        return self.kept("fills", self._has_fill)

    def _has_fill(self) -> bool:
        owned = self.owned_pixels().sum(dim=1)
        return bool((owned.round() < self.canvas.prod(dim=1)).any())

    def owner_map(self) -> Int[Tensor, "b *frame"]:
        """The layer of every pixel of the frame; -1 for fill and beyond the canvas. Soft plans: the base's pixels."""
        if self.device.type == "cpu" and not is_compiling():
            return torch.from_numpy(self._painted_owner())
        outputs = everywhere(torch.arange(len(self), device=self.device), self.ndim)
        cells, pixels = [], []
        for axis in range(self.ndim):
            pixel = torch.arange(self.frame[axis], device=self.device).expand(len(self), -1)
            cells.append(along(self._cells_of(pixel, self.edges[axis]), axis, self.ndim))
            pixels.append(along(pixel, axis, self.ndim))
        at = (outputs, *cells)
        owner = self.owner[at].long()
        layer = owner.clamp(min=0)
        valid = owner >= 0
        for axis, inside in enumerate(self._inside()):
            valid = valid & inside[outputs, layer, pixels[axis]]
        return torch.where(valid, owner, -1).to(self.owner.dtype)

    def _painted_owner(self) -> Int[np.ndarray, "b *frame"]:
        """The same on the host: cells as blocks of pixels, cleared where a layer doesn't reach."""
        cells, edges = self.owner.numpy(), [edge.numpy() for edge in self.edges]
        owner = np.full((len(self), *self.frame), -1, dtype=cells.dtype)
        low, high = (bound.tolist() for bound in self.pixel_ranges())
        for output, canvas in enumerate(self.canvas.tolist()):
            inner = tuple(slice(0, n) for n in canvas)
            pixels = cells[output]
            if self.free_form:
                pixels = pixels[inner]
            else:
                for axis in reversed(range(self.ndim)):
                    pixels = pixels.repeat(np.diff(edges[axis][output]), axis=axis)
            owner[output][inner] = pixels
            pixels = owner[output]
            for layer, image in enumerate(self.source[output].tolist()):
                reach = tuple(slice(a, b) for a, b in zip(low[output][layer], high[output][layer]))
                if image >= 0 and reach != inner:
                    lost = pixels == layer
                    lost[reach] = False
                    pixels[lost] = -1
        return owner

    def pixel_weights(self) -> Float[Tensor, "b s *frame"]:
        """How much of every pixel of the frame is each layer's; their sum is 1, or 0 for fill and beyond the canvas."""
        return self.weights_to_read().contiguous()

    def weights_to_read(self) -> Float[Tensor, "b s *frame"]:
        """``pixel_weights``; where all pixels of each output have the same shares these lie in memory but once."""
        if self.weight is None:
            layers = everywhere(torch.arange(self.layers, device=self.device), self.ndim)
            return (self.owner_map()[:, None] == layers).float()
        weight = everywhere(self.weight.float(), self.ndim)
        if self.device.type == "cpu" and not is_compiling() and self.covers_frame():
            weight = torch.where(everywhere(self.source < 0, self.ndim), 0, weight)
        else:
            for axis, inside in enumerate(self._inside()):
                weight = weight * along(inside, axis, self.ndim)
        weight = weight / weight.sum(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
        return weight.expand(-1, -1, *self.frame)

    def covers_frame(self) -> bool:
        """Whether each layer that is present reaches all of the frame; of a plan on a device this is waited for."""
        low, high = self.pixel_ranges()
        covers = ((low == 0) & (high == torch.tensor(self.frame, device=self.device))).all(dim=2)
        return bool((covers | (self.source < 0)).all())

    def _inside(self) -> list[Bool[Tensor, "b s length"]]:
        """Per axis, which pixels of the frame lie in each layer's extent."""
        low, high = self.pixel_ranges()
        pixels = [torch.arange(size, device=self.device) for size in self.frame]
        return [(pixel >= low[..., axis, None]) & (pixel < high[..., axis, None]) for axis, pixel in enumerate(pixels)]

    def shows_at(
        self, points: Float[Tensor, "n d"], output: Int[Tensor, " n"], layer: Int[Tensor, " n"]
    ) -> Bool[Tensor, " n"]:
        """Whether a layer shows at the pixel that holds each point (canvas coordinates, array order).

        Args:
            points: continuous coordinates in pixels.
            output: the output that each point lies in.
            layer: the layer that it is part of.
        """
        pixel = points.floor()
        within = ((pixel >= 0) & (pixel < self.canvas[output])).all(dim=1)
        pixel = torch.where(within[:, None], pixel, 0).long()
        low, high = self.pixel_ranges()
        inside = ((pixel >= low[output, layer]) & (pixel < high[output, layer])).all(dim=1)
        if self.weight is not None:
            return within & inside & (self.weight[output, layer] > 0)
        cells = [self._cells_of(pixel[:, axis, None], self.edges[axis][output])[:, 0] for axis in range(self.ndim)]
        at = (output, *cells)
        return within & inside & (self.owner[at] == layer)

    @staticmethod
    def _cells_of(pixels: Int[Tensor, "m n"], edges: Int[Tensor, "m g+1"]) -> Int[Tensor, "m n"]:
        """Cell that holds each pixel; the last one beyond the canvas, where every range ends anyway."""
        cell = torch.searchsorted(edges[:, 1:].contiguous(), pixels.contiguous(), right=True)
        return cell.clamp(max=edges.shape[1] - 2)

    def validate(self) -> None:
        """Check every value; called for plans made on the CPU, elsewhere it costs a transfer.

        Raises:
            ValueError: the field, the first output where it is wrong, and what is allowed.
        """
        check_values(self)

    # ----------------------------------------------------------------- makers

    @classmethod
    def from_rectangles(
        cls,
        source: Int[Tensor, "b s"],
        rectangles: Int[Tensor, "b p 2*d"],
        sizes: Int[Tensor, "pool d"],
        *,
        mode: Literal["union", "xor"] = "union",
        layer: Int[Tensor, "b p"] | None = None,
        **placed: Any,
    ) -> MixPlan:
        """Plan that shows the base (layer 0) outside of whole-pixel rectangles and other layers inside.

        The canvas is the base's valid size. Outputs whose layer is absent keep what lies below it.

        Args:
            source: pool index per layer, -1 for none; the base must be present. It and ``sizes`` may lie on the host
                where ``rectangles``, and the plan with them, lie on a device.
            rectangles: lows then highs in array order, half-open; clipped to the canvas, empty ones show nothing.
            sizes: valid size of every pool image, pixels.
            mode: ``"union"``: a pixel shows the layer of the last rectangle that covers it. ``"xor"``: it shows the
                layer where an odd number of rectangles covers it.
            layer: the layer that each rectangle shows, default 1; ``"xor"`` needs one layer per output.
            placed: ``frame``, ``carry``, ``scale``, ``shift`` as in ``from_grid``, and ``frames`` as in the class.

        Raises:
            ValueError: an unknown mode, layers that ``"xor"`` can't tell apart, or a field that the class refuses.
        """
        if mode not in ("union", "xor"):
            raise ValueError(f"mode must be 'union' or 'xor', got {mode!r}")
        batch, patches, ndim = source.shape[0], rectangles.shape[1], sizes.shape[1]
        if rectangles.shape != (batch, patches, 2 * ndim):
            raise ValueError(f"rectangles must have shape ({batch}, P, {2 * ndim}), got {tuple(rectangles.shape)}")
        for name, value in {"source": source, "rectangles": rectangles, "sizes": sizes, "layer": layer}.items():
            if value is not None and (value.is_floating_point() or value.dtype == torch.bool):
                raise ValueError(f"{name} must be whole numbers, got {value.dtype}")
        if layer is not None and tuple(layer.shape) != (batch, patches):
            raise ValueError(f"layer must have shape ({batch}, {patches}), got {tuple(layer.shape)}")
        if placed.get("frame") is not None and len(placed["frame"]) != ndim:
            raise ValueError(f"frame must hold one size per axis: {ndim}, got {placed['frame']!r}")
        if rectangles.device.type != "cpu":
            return cls._of_grid(source, cover(source, rectangles, sizes, layer, mode), **placed)
        arrays = (source.numpy(), rectangles.numpy(), sizes.numpy(), None if layer is None else layer.numpy())
        grid = paint(*arrays, mode)
        if placed.get("frame") is not None and (grid.canvas > placed["frame"]).any():
            raise ValueError(f"frame must hold every canvas, got {placed['frame']!r} for {grid.canvas.tolist()}")
        return cls._of_grid(source, grid, **placed)

    @classmethod
    def _of_grid(cls, source: Int[Tensor, "b s"], grid: Grid, **placed: Any) -> MixPlan:
        """Plan from a grid that is right; what else is given may not be."""
        edges = tuple(map(as_tensor, grid.edges))
        check = (
            any(placed.get(name) is not None for name in ("scale", "shift", "carry")) or placed.get("frames", 1) != 1
        )
        fields = map(as_tensor, (grid.owner, grid.reach, grid.canvas))
        plan = cls._placed(source, edges, *fields, check=check, **placed)
        if isinstance(grid.reach, np.ndarray) and placed.get("scale") is placed.get("shift") is None:
            high = np.minimum(grid.reach, grid.canvas[:, None]).astype(np.int64)  # known already, from arrays
            absent = source.numpy() < 0
            if absent.any():
                high[absent] = 0
            ranges = torch.from_numpy(np.zeros(high.shape, dtype=np.int64)), torch.from_numpy(high)
            plan.keep({"facts": plan._viewed_facts(), "ranges": ranges})
        return plan

    @classmethod
    def from_grid(
        cls,
        source: Int[Tensor, "b s"],
        edges: tuple[Int[Tensor, "b g+1"], ...],
        owner: Int[Tensor, "b *g"],
        sizes: Int[Tensor, "pool d"],
        *,
        frame: tuple[int, ...] | None = None,
        carry: Bool[Tensor, "b s n"] | None = None,
        weight: Float[Tensor, "b s"] | None = None,
        scale: Float[Tensor, "b s d"] | None = None,
        shift: Float[Tensor, "b s d"] | None = None,
        canvas: Int[Tensor, "b d"] | None = None,
        free_form: bool = False,
        check: bool = True,
    ) -> MixPlan:
        """Plan from a grid; layers show their whole images, by default at their own place on the base's canvas.

        Args:
            source: pool index per layer, -1 for none.
            edges: see the class.
            owner: see the class; a cell of an absent layer shows the base.
            sizes: valid size of every pool image, pixels.
            frame: size of a padded output, default the largest canvas.
            carry: see the class.
            weight: see the class.
            scale: see the class, default 1.
            shift: see the class, default 0.
            canvas: size of each output, default the base's.
            free_form: see the class.
            check: see the class.
        """
        reach = sizes[source.clamp(min=0)]
        canvas = reach[:, 0] if canvas is None else canvas
        owner = _without_absent(source, owner)
        placed: Any = {"frame": frame, "carry": carry, "weight": weight, "scale": scale, "shift": shift}
        return cls._placed(source, edges, owner, reach, canvas, free_form=free_form, check=check, **placed)

    @classmethod
    def _placed(
        cls,
        source: Int[Tensor, "b s"],
        edges: tuple[Int[Tensor, "b g+1"], ...],
        owner: Int[Tensor, "b *g"],
        reach: Int[Tensor, "b s d"],
        canvas: Int[Tensor, "b d"],
        *,
        frame: tuple[int, ...] | None = None,
        scale: Float[Tensor, "b s d"] | None = None,
        shift: Float[Tensor, "b s d"] | None = None,
        check: bool = True,
        **fields: Any,
    ) -> MixPlan:
        """Plan of layers that show their images whole, from grid and sizes that fit each other.

        It lies where ``owner`` does. What is given on the host of a plan on a device is sent there, and known here.
        """
        batch, layers = source.shape
        ndim = canvas.shape[1]
        device = source.device
        if frame is None:
            frame = tuple(int(n) for n in canvas.amax(dim=0).tolist()) if batch else (1,) * ndim
        unscaled = scale is None and shift is None
        xp = torch if device.type != "cpu" or is_compiling() else np  # which costs less on a few numbers
        where = {"device": device} if xp is torch else {}
        extent = xp.zeros((batch, layers, 2 * ndim), dtype=xp.int64, **where)
        extent[..., ndim:] = reach if xp is torch else reach.numpy()
        size = (batch, layers, ndim)
        scale = as_tensor(xp.ones(size, dtype=xp.float32, **where)) if scale is None else scale
        shift = as_tensor(xp.zeros(size, dtype=xp.float32, **where)) if shift is None else shift
        extents = as_tensor(extent)
        facts: PlanFacts | None = None
        if owner.device != device and device.type == "cpu":
            scale, shift, canvas = (field.to("cpu") for field in (scale, shift, canvas))
            given = (source, scale, shift, extents, canvas)
            facts = PlanFacts(*(field.detach().numpy().copy() for field in given))
            unscaled = unscaled or is_unscaled(torch, source, scale, shift)
            source, scale, shift, extents, canvas = (
                sent(field, owner.device) for field in (source, scale, shift, extents, canvas)
            )
            edges = tuple(sent(edge, owner.device) for edge in edges)
            fields = {k: sent(v, owner.device) if isinstance(v, Tensor) else v for k, v in fields.items()}
        narrow = torch.int8 if layers <= 127 else torch.int16
        plan = cls(
            source=source,
            scale=scale,
            shift=shift,
            extent=extents,
            canvas=canvas,
            edges=edges,
            owner=owner if owner.dtype == narrow else owner.to(narrow),
            frame=frame,
            unscaled=unscaled if unscaled or facts is not None else None,
            check=check,
            **fields,
        )
        if facts is not None:
            plan.keep({"facts": facts})
        return plan

    @classmethod
    def from_map(
        cls,
        source: Int[Tensor, "b s"],
        owner: Int[Tensor, "b *frame"],
        sizes: Int[Tensor, "pool d"],
        **placed: Any,
    ) -> MixPlan:
        """Plan from a free-form mask: one cell per pixel.

        Args:
            source: pool index per layer, -1 for none. It, ``sizes`` and what is placed may lie on the host where
                ``owner``, and the plan with it, lies on a device.
            owner: the layer of each pixel; what lies beyond an output's canvas is not looked at.
            sizes: valid size of every pool image, pixels.
            placed: ``carry``, ``scale``, ``shift``, ``canvas``, ``check`` as in ``from_grid``.
        """
        frame = tuple(owner.shape[1:])
        canvas = placed.get("canvas")
        canvas = sent(sizes[source[:, 0]] if canvas is None else canvas, owner.device)
        edges = tuple(
            torch.minimum(torch.arange(size + 1, device=owner.device)[None], canvas[:, axis, None])
            for axis, size in enumerate(frame)
        )
        return cls.from_grid(source, edges, owner, sizes, frame=frame, free_form=True, **placed)

    @classmethod
    def blend(
        cls,
        source: Int[Tensor, "b s"],
        weight: Float[Tensor, "b s"],
        sizes: Int[Tensor, "pool d"],
        *,
        frame: tuple[int, ...] | None = None,
    ) -> MixPlan:
        """Soft plan: the layers share the pixels that they have in common, by weight; the canvas is the base's.

        Args:
            source: pool index per layer, -1 for none.
            weight: how much each layer counts, >= 0; absent layers count nothing.
            sizes: valid size of every pool image, pixels.
            frame: size of a padded output, default the largest canvas.
        """
        canvas = sizes[source[:, 0]]
        reach = torch.minimum(sizes[source.clamp(min=0)], canvas[:, None])
        edges = tuple(
            torch.cat([torch.zeros_like(canvas[:, :1]), reach[..., axis]], dim=1).sort(dim=1).values
            for axis in range(sizes.shape[1])
        )
        owner = torch.zeros(
            (len(source), *(edge.shape[1] - 1 for edge in edges)), dtype=torch.long, device=source.device
        )
        weight = torch.where(source >= 0, weight.clamp(min=1e-12), 0)  # alone, even the lightest layer shows whole
        return cls.from_grid(source, edges, owner, sizes, frame=frame, weight=weight)


def _without_absent(source: Int[Tensor, "b s"], owner: Int[Tensor, "b *g"]) -> Int[Tensor, "b *g"]:
    """The base where the layer of a cell is absent; ``source`` may lie on the host of a device's ``owner``."""
    if source.device.type != "cpu":
        return _where_present(source >= 0, owner)
    absent = source.numpy() < 0
    some = np.flatnonzero(absent.any(axis=1)).tolist()
    if not some:
        return owner
    if owner.device.type != "cpu":
        return _where_present(sent(~absent, owner.device), owner)
    cells = owner.numpy()
    some = [output for output in some if cells[output].any()]  # where nothing but the base shows all is well
    if not some:
        return owner
    layers = np.where(absent[some], 0, np.arange(absent.shape[1]))
    table = np.concatenate([layers, np.full((len(some), 1), -1)], axis=1).astype(cells.dtype)  # fill is the last one
    changed = cells.copy()
    changed[some] = looked_up(table, cells[some])
    return torch.from_numpy(changed)


def _where_present(present: Bool[Tensor, "b s"], owner: Int[Tensor, "b *g"]) -> Int[Tensor, "b *g"]:
    shows = torch.gather(present, 1, owner.clamp(min=0).flatten(1).long()).reshape(owner.shape)
    return torch.where(shows | (owner < 0), owner, 0)


def _ranges(xp: Any, scale: Any, shift: Any, extent: Any, canvas: Any, absent: Any) -> tuple[Any, Any]:
    """The bounds of ``MixPlan.pixel_ranges``, in tensors or (``xp`` is numpy) in arrays."""
    ndim = scale.shape[2]
    if xp is np:  # which would go on in double precision
        extent, canvas = extent.astype(scale.dtype), canvas.astype(scale.dtype)
    a, b = scale * extent[..., :ndim] + shift, scale * extent[..., ndim:] + shift
    limits = canvas if xp is np else canvas.to(a.dtype)
    low = xp.clip(xp.ceil(xp.minimum(a, b) - 0.5), 0 * limits, limits)
    high = xp.clip(xp.ceil(xp.maximum(a, b) - 0.5), low, limits)
    high = xp.where(absent, low, high)
    return (low.astype(np.int64), high.astype(np.int64)) if xp is np else (low.long(), high.long())
