"""Instance masks cut by one Triton kernel, which counts and bounds in the same pass what it leaves of each.

Every program walks its share of the rows of one mask, over the canvas and over what the plan moved beyond it, so that
each source pixel is read once: for the cut mask, for the visible area, for the area before the cut and for the box.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]
from jaxtyping import Bool, Int, Shaped
from torch import Tensor

from cutmix_dense.arrays.compiling import is_compiling
from cutmix_dense.kernels.device import current
from cutmix_dense.kernels.triton_plan import cells_of, position_of, reach_of, source_pixels
from cutmix_dense.plan import MixPlan

_TILE_HEIGHT, _TILE_WIDTH = 8, 128
_UNITED = 1024
"""Pixels of a program that joins masks."""

_SHARES = 16
"""Into how many programs the rows of one mask are dealt: enough to fill a GPU from a few hundred masks."""

_SCHEMA = (
    "(Tensor(a!) cut, Tensor(b!) facts, Tensor masks, Tensor row, Tensor output, Tensor layer, Tensor source, "
    "Tensor scale, Tensor shift, Tensor extent, Tensor canvas, Tensor row_edges, Tensor column_edges, Tensor owner, "
    "Tensor? weight, bool free_form) -> ()"
)


class CutMasks(NamedTuple):
    """Masks after a plan, and what was measured while they were cut.

    Attributes:
        masks: what of each mask is visible on the frame.
        visible: pixels of each that are visible.
        whole: pixels of each within its source's extent as mapped onto a canvas without end, before anything was cut.
        boxes: tight box of what is visible, xyxy; zeros where nothing is.
    """

    masks: Shaped[Tensor, "e *frame"]
    visible: Int[Tensor, " e"]
    whole: Int[Tensor, " e"]
    boxes: Int[Tensor, "e 4"]


def cut_masks(
    masks: Shaped[Tensor, "m h w"],
    plan: MixPlan,
    row: Int[Tensor, " e"],
    output: Int[Tensor, " e"],
    layer: Int[Tensor, " e"],
) -> CutMasks:
    """Cut masks by a plan: one launch, and nothing that waits for the device.

    Args:
        masks: the pool's masks of one size, one after the other; bool or integer, not 0 is inside. (P, N, H, W) of a
            padded batch is ``masks.flatten(0, 1)``.
        plan: of two axes, on the masks' device.
        row: which mask each entry cuts; a mask may serve several entries.
        output: the output that the entry is part of.
        layer: the layer of that output that the mask's image is.
    """
    cut, facts = cut_rows(masks, plan, row, output, layer)
    height, width = plan.frame
    visible, whole, from_right, from_bottom, right, bottom = facts.unbind(dim=1)
    boxes = torch.stack([width - from_right, height - from_bottom, right, bottom], dim=1)
    return CutMasks(cut, visible, whole, torch.where(visible[:, None] > 0, boxes, 0))


def cut_rows(
    masks: Shaped[Tensor, "m h w"],
    plan: MixPlan,
    row: Int[Tensor, " e"],
    output: Int[Tensor, " e"],
    layer: Int[Tensor, " e"],
) -> tuple[Shaped[Tensor, "e *frame"], Int[Tensor, "e 6"]]:
    """``cut_masks`` with the facts of each as the kernel counts them.

    They are pixels that are visible, pixels of the whole, and the box of what is visible, all 0 for nothing: distances
    of its left and upper end from the right and the lower end of the frame, then its right and its lower end.
    """
    count = len(row)
    cut = masks.new_empty((count, *plan.frame))
    facts = torch.zeros((count, 6), dtype=torch.int32, device=masks.device)
    if count:
        (_operator if is_compiling() else _cut_into)(
            cut.view(torch.uint8) if cut.dtype == torch.bool else cut,
            facts,
            masks.view(torch.uint8) if masks.dtype == torch.bool else masks,
            row,
            output,
            layer,
            plan.source,
            plan.scale,
            plan.shift,
            plan.extent,
            plan.canvas,
            plan.edges[0],
            plan.edges[1],
            plan.owner,
            plan.weight,
            plan.free_form and tuple(plan.owner.shape[1:]) == tuple(plan.frame),
        )
    return cut, facts


def _cut_into(
    cut: Tensor,
    facts: Tensor,
    masks: Tensor,
    row: Tensor,
    output: Tensor,
    layer: Tensor,
    source: Tensor,
    scale: Tensor,
    shift: Tensor,
    extent: Tensor,
    canvas: Tensor,
    row_edges: Tensor,
    column_edges: Tensor,
    owner: Tensor,
    weight: Tensor | None,
    free_form: bool,
) -> None:
    """Launch the kernel over all entries; tensors and numbers only, so that it can be an operator."""
    entries, height, width = cut.shape
    shares = min(_SHARES, triton.cdiv(height, _TILE_HEIGHT))
    plan = (source, scale, shift, extent, canvas, row_edges, column_edges, owner)
    with current(cut.device):
        _cut_kernel[(entries * shares,)](
            cut,
            facts,
            masks,
            *(tensor.contiguous() for tensor in (row, output, layer, *plan)),
            weight.contiguous() if weight is not None else scale,  # not read without SOFT
            source.shape[1],
            owner.shape[1],
            owner.shape[2],
            masks.shape[1],
            masks.shape[2],
            height,
            width,
            *masks.stride(),
            shares,
            FREE_FORM=free_form,
            SOFT=weight is not None,
            TILE_HEIGHT=_TILE_HEIGHT,
            TILE_WIDTH=_TILE_WIDTH,
            enable_fp_fusion=False,
        )


# For ``torch.compile``; see ``triton_mix``.
_operator = torch.library.custom_op("cutmix_dense::cut_into", _cut_into, mutates_args=("cut", "facts"), schema=_SCHEMA)
_operator.register_fake(lambda *_: None)


def unite_rows(masks: Shaped[Tensor, "m h w"], table: Int[Tensor, " n"], outputs: int) -> Bool[Tensor, "b h w"]:
    """Where any mask of each output isn't 0, in one launch.

    Args:
        masks: masks without gaps between pixels and rows, one after the other.
        table: for each output the first and one past the last of its masks, then height and width of what counts of
            them; behind all, which masks those are.
        outputs: B.
    """
    height, width = masks.shape[1:]
    union = torch.empty((outputs, height, width), dtype=torch.bool, device=masks.device)
    with current(masks.device):
        _unite_kernel[(outputs, triton.cdiv(height * width, _UNITED))](
            union.view(torch.uint8),
            masks.view(torch.uint8) if masks.dtype == torch.bool else masks,
            table,
            outputs,
            masks.stride(0),
            height * width,
            width,
            BLOCK=_UNITED,
        )
    return union


# --------------------------------------------------------------------------------------------------------- the kernels


@triton.jit
def _unite_kernel(union, masks, table, outputs, mask_stride, pixels, width, BLOCK: tl.constexpr):
    output = tl.program_id(0)
    place = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    record, rows = table + output * 4, table + outputs * 4
    high_y, high_x = tl.load(record + 2).to(tl.int32), tl.load(record + 3).to(tl.int32)
    covered = tl.zeros((BLOCK,), dtype=tl.int32)
    for row in range(tl.load(record).to(tl.int32), tl.load(record + 1).to(tl.int32)):
        # read whole, so that several bytes are read at once; what doesn't count is taken off below
        value = tl.load(masks + tl.load(rows + row) * mask_stride + place, place < pixels, other=0)
        covered = covered | (value != 0).to(tl.int32)
    y = place // width
    covered = covered & ((y < high_y) & (place - y * width < high_x)).to(tl.int32)
    tl.store(union + output.to(tl.int64) * pixels + place, covered.to(tl.uint8), place < pixels)


@triton.jit
def _cut_kernel(
    cut,
    facts,
    masks,
    row,
    output,
    layer,
    source,
    scale,
    shift,
    extent,
    canvas,
    row_edges,
    column_edges,
    owner,
    weight,
    layers,
    grid_height,
    grid_width,
    mask_height,
    mask_width,
    height,
    width,
    mask_stride,
    mask_row,
    mask_pixel,
    shares,
    FREE_FORM: tl.constexpr,
    SOFT: tl.constexpr,
    TILE_HEIGHT: tl.constexpr,
    TILE_WIDTH: tl.constexpr,
):
    entry = tl.program_id(0) // shares
    share = tl.program_id(0) % shares
    b, s = tl.load(output + entry).to(tl.int32), tl.load(layer + entry).to(tl.int32)
    at = b * layers + s
    masks += tl.load(row + entry).to(tl.int64) * mask_stride
    cut += entry.to(tl.int64) * height * width

    scale_y, scale_x = tl.load(scale + at * 2), tl.load(scale + at * 2 + 1)
    shift_y, shift_x = tl.load(shift + at * 2), tl.load(shift + at * 2 + 1)
    low_y, low_x = tl.load(extent + at * 4).to(tl.int32), tl.load(extent + at * 4 + 1).to(tl.int32)
    high_y, high_x = tl.load(extent + at * 4 + 2).to(tl.int32), tl.load(extent + at * 4 + 3).to(tl.int32)
    canvas_height, canvas_width = tl.load(canvas + b * 2).to(tl.int32), tl.load(canvas + b * 2 + 1).to(tl.int32)
    first_y, last_y = reach_of(scale_y, shift_y, low_y, high_y)
    first_x, last_x = reach_of(scale_x, shift_x, low_x, high_x)
    if tl.load(source + at) < 0:  # an absent layer shows nothing
        last_y = first_y
    if SOFT:  # a layer of no weight has no canvas to show on
        canvas_height = tl.where(tl.load(weight + at) > 0, canvas_height, 0)
    whole_pixels = (scale_y == 1) & (scale_x == 1) & (shift_y == tl.floor(shift_y)) & (shift_x == tl.floor(shift_x))
    move = shift_x.to(tl.int32) * mask_pixel

    # One number per thread and pixel of a tile, added up only at the end.
    nothing = tl.zeros((TILE_HEIGHT, TILE_WIDTH), dtype=tl.int32)
    visible, whole, from_right, from_bottom, right, bottom = nothing, nothing, nothing, nothing, nothing, nothing
    # Tiles are those of the frame, and as many more around it as the layer reaches.
    start_y = _tiles_before(first_y, TILE_HEIGHT) + share * TILE_HEIGHT
    start_x = _tiles_before(first_x, TILE_WIDTH)
    for top in range(start_y, tl.maximum(last_y, height), shares * TILE_HEIGHT):
        y = top + tl.arange(0, TILE_HEIGHT)
        from_y = source_pixels(position_of(y, scale_y, shift_y), low_y, high_y, mask_height)
        in_reach_y, in_frame_y = (y >= first_y) & (y < last_y), (y >= 0) & (y < height)
        cell_y = cells_of(y, row_edges + b * (grid_height + 1), grid_height, FREE_FORM)
        for left in range(start_x, tl.maximum(last_x, width), TILE_WIDTH):
            x = left + tl.arange(0, TILE_WIDTH)
            in_reach = in_reach_y[:, None] & ((x >= first_x) & (x < last_x))[None, :]
            in_frame = in_frame_y[:, None] & ((x >= 0) & (x < width))[None, :]
            in_canvas = in_frame & (y < canvas_height)[:, None] & (x < canvas_width)[None, :]
            plain = whole_pixels & (move % 16 == 0) & (tl.min((in_reach & in_frame).to(tl.int32)) > 0)
            if plain:  # read and written 16 bytes at a time, see ``triton_mix``
                value = tl.load(
                    masks
                    - (move // 16) * 16
                    + ((y - shift_y.to(tl.int32))[:, None] * mask_row + x[None, :] * mask_pixel)
                )
            else:
                from_x = source_pixels(position_of(x, scale_x, shift_x), low_x, high_x, mask_width)
                value = tl.load(masks + (from_y[:, None] * mask_row + from_x[None, :] * mask_pixel), in_reach, other=0)
            inside = (value != 0) & in_reach
            whole += inside.to(tl.int32)
            if SOFT:
                shown = in_canvas & in_reach
            else:
                cell_x = cells_of(x, column_edges + b * (grid_width + 1), grid_width, FREE_FORM)
                cell = (b * grid_height + cell_y[:, None]) * grid_width + cell_x[None, :]
                shown = (tl.load(owner + cell, in_canvas, other=-1).to(tl.int32) == s) & in_reach
            left_over = tl.where(shown, value, tl.zeros_like(value))
            place = cut + (y[:, None] * width + x[None, :])
            if plain:
                tl.store(place, left_over)
            else:
                tl.store(place, left_over, in_frame)
            remains = (shown & inside).to(tl.int32)
            visible += remains
            from_right = tl.maximum(from_right, remains * (width - x)[None, :])
            from_bottom = tl.maximum(from_bottom, remains * (height - y)[:, None])
            right = tl.maximum(right, remains * (x + 1)[None, :])
            bottom = tl.maximum(bottom, remains * (y + 1)[:, None])

    # Lows are kept as distances from the far side, so that all four are maxima that begin at 0.
    facts += entry * 6
    tl.atomic_add(facts, tl.sum(visible))
    tl.atomic_add(facts + 1, tl.sum(whole))
    tl.atomic_max(facts + 2, tl.max(from_right))
    tl.atomic_max(facts + 3, tl.max(from_bottom))
    tl.atomic_max(facts + 4, tl.max(right))
    tl.atomic_max(facts + 5, tl.max(bottom))


@triton.jit
def _tiles_before(first, TILE: tl.constexpr):
    """Where the tiles begin along an axis, in whole tiles before 0 if the layer reaches out there."""
    return -((tl.maximum(-first, 0) + TILE - 1) // TILE) * TILE
