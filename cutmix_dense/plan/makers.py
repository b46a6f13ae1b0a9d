"""Makers of plans: from rectangles, a grid of cells, a map of owners, or weights."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cutmix_dense.arrays.compiling import is_compiling
from cutmix_dense.arrays.host import looked_up, sent
from cutmix_dense.plan.checks import is_unscaled
from cutmix_dense.plan.fields import PlanFields, facts_of
from cutmix_dense.plan.moving import outline_of, to_device
from cutmix_dense.plan.ownership import has_fill
from cutmix_dense.plan.rectangles import cover, paint

Plan = TypeVar("Plan", bound="PlanMakers")


class PlanMakers(PlanFields):
    """The makers of ``MixPlan``."""

    @classmethod
    def from_rectangles(
        cls: type[Plan],
        source: Int[Tensor, "b s"],
        rectangles: Int[Tensor, "b p ends"],
        sizes: Int[Tensor, "pool d"],
        *,
        mode: Literal["union", "xor"] = "union",
        layer: Int[Tensor, "b p"] | None = None,
        **placed: Any,
    ) -> Plan:
        """Make a plan that shows the base (layer 0) outside of whole-pixel rectangles and other layers inside.

        The canvas is the base's valid size. Rectangles of an absent layer show nothing.

        Args:
            source: pool index per layer, -1 for none; the base must be present. ``source`` and ``sizes`` may lie on the
                host; the plan lies on the device of ``rectangles``.
            rectangles: lows then highs in array order, half-open; clipped to the canvas. Empty ones show nothing.
            sizes: valid size of every pool image, pixels.
            mode: ``"union"``: a pixel shows the layer of the last rectangle that covers it. ``"xor"``: a pixel shows
                the layer if an odd number of rectangles covers it.
            layer: the layer that each rectangle shows, default 1; -1 for fill. ``"xor"`` needs one layer per output.
            placed: ``frame``, ``carry``, ``opacity``, ``scale``, ``shift``, ``check`` as in ``from_grid``, and
                ``frames`` as in ``MixPlan``. Only what is placed is checked by default.

        Raises:
            ValueError: the mode is unknown, ``"xor"`` gets several layers, or ``MixPlan`` refuses a field.

        Example:
            >>> import torch
            >>> from cutmix_dense import MixPlan
            >>> box, sizes = torch.tensor([[[1, 2, 3, 6]]]), torch.tensor([[4, 6], [4, 6]])
            >>> MixPlan.from_rectangles(torch.tensor([[0, 1]]), box, sizes).owned_pixels().tolist()
            [[16.0, 8.0]]
        """
        if mode not in ("union", "xor"):
            raise ValueError(f"mode must be 'union' or 'xor', got {mode!r}")
        for name, given in (("source", source), ("rectangles", rectangles), ("sizes", sizes)):
            if not isinstance(given, Tensor):
                raise TypeError(f"{name} must be a tensor, got {type(given).__name__}")
        batch, patches, ndim = source.shape[0], rectangles.shape[1], sizes.shape[1]
        if rectangles.shape != (batch, patches, 2 * ndim):
            raise ValueError(f"rectangles must have shape ({batch}, P, {2 * ndim}), got {tuple(rectangles.shape)}")
        for name, value in (("source", source), ("rectangles", rectangles), ("sizes", sizes), ("layer", layer)):
            if value is not None and (value.dtype.is_floating_point or value.dtype == torch.bool):
                raise ValueError(f"{name} must be whole numbers, got {value.dtype}")
        if layer is not None and tuple(layer.shape) != (batch, patches):
            raise ValueError(f"layer must have shape ({batch}, {patches}), got {tuple(layer.shape)}")
        frame = placed.get("frame")
        if frame is not None and len(frame) != ndim:
            raise ValueError(f"frame must hold one size per axis: {ndim}, got {frame!r}")
        if rectangles.is_cpu:
            arrays = (source.numpy(), rectangles.numpy(), sizes.numpy(), None if layer is None else layer.numpy())
            grid = paint(*arrays, mode)
            if frame is not None and np.logical_or.reduce(grid.canvas.numpy() > frame, axis=None):
                raise ValueError(f"frame must hold every canvas, got {frame!r} for {grid.canvas.tolist()}")
        else:
            grid = cover(source, rectangles, sizes, layer, mode)
        in_place = layer is None and {"scale", "shift"}.isdisjoint(placed)
        # the grid needs no check; what is placed does
        placed = {"check": not {"scale", "shift", "carry", "frames", "opacity"}.isdisjoint(placed), **placed}
        plan = cls._placed(source, *grid, **placed)
        if in_place and not rectangles.is_cpu and sizes.is_cpu and source.is_cpu and not is_compiling():
            covers = (grid.reach >= grid.canvas[:, None]).all(dim=2) | (source < 0)
            if bool(covers.all()):  # as far as the host knows; else the device would be asked
                has_fill.put(plan, False)
        return plan

    @classmethod
    def from_grid(
        cls: type[Plan],
        source: Int[Tensor, "b s"],
        edges: tuple[Int[Tensor, "b _edges"], ...],
        owner: Int[Tensor, "b *g"],
        sizes: Int[Tensor, "pool d"],
        *,
        frame: tuple[int, ...] | None = None,
        carry: Bool[Tensor, "b s n"] | None = None,
        weight: Float[Tensor, "b s"] | None = None,
        opacity: Float[Tensor, "b s"] | None = None,
        scale: Float[Tensor, "b s d"] | None = None,
        shift: Float[Tensor, "b s d"] | None = None,
        canvas: Int[Tensor, "b d"] | None = None,
        free_form: bool = False,
        check: bool = True,
    ) -> Plan:
        """Make a plan from a grid; layers show their whole images, by default at their own place on the base's canvas.

        Args:
            source: pool index per layer, -1 for none.
            edges: as in ``MixPlan``.
            owner: as in ``MixPlan``; a cell of an absent layer shows the base.
            sizes: valid size of every pool image, pixels.
            frame: size of a padded output, default the largest canvas.
            carry: as in ``MixPlan``.
            weight: as in ``MixPlan``.
            opacity: as in ``MixPlan``.
            scale: as in ``MixPlan``, default 1.
            shift: as in ``MixPlan``, default 0.
            canvas: size of each output, default the base's.
            free_form: as in ``MixPlan``.
            check: as in ``MixPlan``.

        Example:
            >>> import torch
            >>> from cutmix_dense import MixPlan
            >>> edges = torch.tensor([[0, 4]]), torch.tensor([[0, 2, 6]])  # one row of cells, two columns
            >>> source, owner, sizes = torch.tensor([[0, 1]]), torch.tensor([[[0, 1]]]), torch.tensor([[4, 6], [4, 6]])
            >>> MixPlan.from_grid(source, edges, owner, sizes).owned_pixels().tolist()
            [[8.0, 16.0]]
        """
        reach = sizes[source.clamp(min=0)]
        canvas = reach[:, 0] if canvas is None else canvas
        owner = _without_absent(source, owner)
        placed: Any = {"frame": frame, "carry": carry, "scale": scale, "shift": shift}
        placed |= {"weight": weight, "opacity": opacity}
        return cls._placed(source, edges, owner, reach, canvas, free_form=free_form, check=check, **placed)

    @classmethod
    def _placed(
        cls: type[Plan],
        source: Int[Tensor, "b s"],
        edges: tuple[Int[Tensor, "b _edges"], ...],
        owner: Int[Tensor, "b *g"],
        reach: Int[Tensor, "b s d"],
        canvas: Int[Tensor, "b d"],
        *,
        frame: tuple[int, ...] | None = None,
        scale: Float[Tensor, "b s d"] | None = None,
        shift: Float[Tensor, "b s d"] | None = None,
        check: bool = True,
        **fields: Any,
    ) -> Plan:
        """Make a plan on the device of ``owner`` from a grid and sizes that fit each other.

        Fields given on the host are sent to that device, and cached as facts.
        """
        (batch, layers), ndim, device = source.shape, canvas.shape[1], source.device
        if frame is None:
            frame = tuple(map(int, canvas.amax(dim=0).tolist())) if batch else (1,) * ndim
        size, unscaled = (batch, layers, ndim), scale is None and shift is None
        if device.type != "cpu" or is_compiling():
            extent = torch.cat([torch.zeros_like(reach, dtype=torch.int64), reach], dim=2)
            shift = torch.zeros(size, dtype=torch.float32, device=device) if shift is None else shift
            scale = torch.ones(size, dtype=torch.float32, device=device) if scale is None else scale
        else:  # numpy is cheaper for a few numbers
            bounds, zeros = np.zeros((batch, layers, 2 * ndim), dtype=np.int64), np.zeros(size, dtype=np.float32)
            bounds[..., ndim:] = reach.numpy()
            extent = torch.from_numpy(bounds)
            shift = torch.from_numpy(zeros) if shift is None else shift
            scale = torch.from_numpy(zeros + 1) if scale is None else scale
        outline: Any = None  # the same plan on the host, whose facts are known there
        if device.type == "cpu" and owner.device != device:
            scale, shift, canvas = (field.to("cpu") for field in (scale, shift, canvas))
            unscaled = unscaled or is_unscaled(torch, source, scale, shift)
            small: dict[str, Any] = {
                "source": source,
                "scale": scale,
                "shift": shift,
                "extent": extent,
                "canvas": canvas,
            }
            small |= {name: field.cpu() for name, field in fields.items() if isinstance(field, Tensor)}
            small = {name: field.detach().clone() for name, field in small.items()}  # theirs may be written to
            ends = tuple(torch.stack([torch.zeros_like(end), end], dim=1) for end in canvas.T)
            nobody = torch.full((batch, *(1,) * ndim), -1, dtype=torch.int8)
            outline = cls(edges=ends, owner=nobody, frame=frame, unscaled=unscaled, check=False, **small)
            there = to_device(outline, owner.device)  # in one copy
            fields |= {name: getattr(there, name) for name in small if name in fields}
            source, scale, shift, extent, canvas = there.small
            edges = tuple(sent(edge, owner.device) for edge in edges)
        narrow = torch.int8 if layers <= 127 else torch.int16
        plan = cls(
            source=source,
            scale=scale,
            shift=shift,
            extent=extent,
            canvas=canvas,
            edges=edges,
            owner=owner if owner.dtype == narrow else owner.to(narrow),
            frame=frame,
            unscaled=unscaled if unscaled or outline is not None else None,
            check=check,
            **fields,
        )
        if outline is not None:
            facts_of.put(plan, outline.facts)
            outline_of.put(plan, outline)
        return plan

    @classmethod
    def from_map(
        cls: type[Plan],
        source: Int[Tensor, "b s"],
        owner: Int[Tensor, "b *frame"],
        sizes: Int[Tensor, "pool d"],
        **placed: Any,
    ) -> Plan:
        """Make a free-form plan: one cell per pixel.

        Args:
            source: pool index per layer, -1 for none. All but ``owner`` may lie on the host; the plan lies on the
                device of ``owner``.
            owner: the layer of each pixel; ignored beyond an output's canvas.
            sizes: valid size of every pool image, pixels.
            placed: ``carry``, ``opacity``, ``scale``, ``shift``, ``canvas``, ``check`` as in ``from_grid``.

        Example:
            >>> import torch
            >>> from cutmix_dense import MixPlan
            >>> owner, sizes = torch.tensor([[[0, 1, 1], [0, 0, 1]]]), torch.tensor([[2, 3], [2, 3]])
            >>> MixPlan.from_map(torch.tensor([[0, 1]]), owner, sizes).owned_pixels().tolist()
            [[3.0, 3.0]]
        """
        frame = tuple(owner.shape[1:])
        canvas = placed.get("canvas")
        canvas = sent(sizes[source[:, 0]] if canvas is None else canvas, owner.device)
        ends = canvas.T[..., None]
        edges = tuple(torch.arange(n + 1, device=owner.device).minimum(end) for n, end in zip(frame, ends))
        return cls.from_grid(source, edges, owner, sizes, frame=frame, free_form=True, **placed)

    @classmethod
    def blend(
        cls: type[Plan],
        source: Int[Tensor, "b s"],
        weight: Float[Tensor, "b s"],
        sizes: Int[Tensor, "pool d"],
        *,
        frame: tuple[int, ...] | None = None,
        check: bool = True,
    ) -> Plan:
        """Make a soft plan: layers share the pixels that they have in common, by weight; the canvas is the base's.

        Args:
            source: pool index per layer, -1 for none.
            weight: weight of each layer, >= 0; absent layers count as 0.
            sizes: valid size of every pool image, pixels.
            frame: size of a padded output, default the largest canvas.
            check: as in ``MixPlan``.

        Example:
            >>> import torch
            >>> from cutmix_dense import MixPlan
            >>> sizes = torch.tensor([[4, 6], [4, 6]])
            >>> MixPlan.blend(torch.tensor([[0, 1]]), torch.tensor([[0.75, 0.25]]), sizes).share().tolist()
            [[0.75, 0.25]]
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
        light = torch.where(weight >= 0, weight.clamp(min=1e-12), weight)  # a layer alone shows whole, however light
        weight = torch.where(source >= 0, light, 0)
        return cls.from_grid(source, edges, owner, sizes, frame=frame, weight=weight, check=check)


def _without_absent(source: Int[Tensor, "b s"], owner: Int[Tensor, "b *g"]) -> Int[Tensor, "b *g"]:
    """Owners with absent layers replaced by the base; ``source`` may lie on the host."""
    if source.device.type != "cpu":
        return _where_present(source >= 0, owner)
    absent = source.numpy() < 0
    some = absent.any(axis=1).nonzero()[0].tolist()
    if not some:
        return owner
    if owner.device.type != "cpu":
        return _where_present(sent(~absent, owner.device), owner)
    cells = owner.numpy()
    some = [output for output in some if cells[output].any()]  # outputs that show only the base need no change
    if not some:
        return owner
    layers = np.where(absent[some], 0, np.arange(absent.shape[1]))
    table = np.concatenate([layers, np.full((len(some), 1), -1)], axis=1).astype(
        cells.dtype
    )  # -1, fill, is the last column
    changed = cells.copy()
    changed[some] = looked_up(table, cells[some])
    return torch.from_numpy(changed)


def _where_present(present: Bool[Tensor, "b s"], owner: Int[Tensor, "b *g"]) -> Int[Tensor, "b *g"]:
    """Owners with absent layers replaced by the base."""
    shows = torch.gather(present, 1, owner.clamp(min=0).flatten(1).long()).reshape(owner.shape)
    return torch.where(shows | (owner < 0), owner, 0)
