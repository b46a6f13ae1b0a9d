"""A uniform batch mixed by one Triton kernel: every output pixel is read once and written once.

One program mixes one tile of one output. It finds the layer of each of its pixels in the ownership grid and then goes
through the layers that own some: a tile that one unscaled layer owns whole (nearly all, under a rectangular plan) is
a plain wide copy, the others go pixel by pixel under a mask, and the pixels that nobody owns are filled. Each pixel is
written by exactly one of these, so nothing is added up and pixels can be moved as raw integers of their width.
"""

from __future__ import annotations

import torch
import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]
from torch import Tensor

from cutmix_dense.arrays.compiling import is_compiling
from cutmix_dense.kernels.device import current
from cutmix_dense.kernels.layers import empty_batch
from cutmix_dense.kernels.resample import Interpolation
from cutmix_dense.kernels.triton_plan import cells_of, position_of, reach_of, source_pixels
from cutmix_dense.plan import MixPlan

_TILE_WIDTH = 128
_TILE_BYTES = 2048
"""Per program and channel: 128 threads that move 16 bytes each."""

_RAW = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_SCHEMA = (
    "(Tensor(a!) out, Tensor pool, Tensor source, Tensor scale, Tensor shift, Tensor extent, Tensor canvas, "
    "Tensor row_edges, Tensor column_edges, Tensor owner, Tensor? fill, int filtered, bool free_form, "
    "bool only_moved, bool from_scratch) -> ()"
)
_FILTERS: dict[Interpolation, int] = {"nearest": 0, "bilinear": 1, "antialias": 2}

NEAREST = tl.constexpr(0)
ANTIALIAS = tl.constexpr(2)


def mix_fused(
    pool: Tensor,
    plan: MixPlan,
    fill: Tensor | None,
    interpolation: Interpolation,
    *,
    out: Tensor | None = None,
    inplace: bool = False,
) -> Tensor:
    """The mixed outputs (B, …, *frame) of a pool (P, …, *size): one launch, and nothing that waits for the device.

    Nearest sampling is that of ``mix_gather`` bit for bit; filtered pixels agree with ``resample`` up to the rounding
    of float32 sums. In place only the pixels that move are touched (two launches, by way of a scratch batch).

    Args:
        pool: images or maps of one size; channels first or last, any strides.
        plan: one that ``suits_fused``, on the pool's device.
        fill: value of pixels without owner, broadcastable against (…, *frame) with one value per channel; None: zero.
        interpolation: how scaled layers are read.
        out: written to and returned, if given; shares no memory with ``pool``.
        inplace: write into ``pool``; the plan is unscaled and has one output of the same size per image.
    """
    if inplace:
        scratch = torch.empty_like(pool)
        _launch(scratch, pool, plan, fill, "nearest", only_moved=True)
        _launch(pool, scratch, plan, fill, "nearest", only_moved=True, from_scratch=True)
        return pool
    if out is None:
        out = empty_batch(pool, plan)
    _launch(out, pool, plan, fill, interpolation)
    return out


def _launch(
    out: Tensor,
    pool: Tensor,
    plan: MixPlan,
    fill: Tensor | None,
    interpolation: Interpolation,
    *,
    only_moved: bool = False,
    from_scratch: bool = False,
) -> None:
    """Mix ``pool`` into ``out`` by the kernel itself, or while compiling by the operator that stands for it."""
    filtered = _FILTERS["nearest" if plan.unscaled else interpolation]
    if not filtered:
        raw = _RAW[pool.element_size()]
        out, pool, fill = out.view(raw), pool.view(raw), None if fill is None else fill.view(raw)
    free_form = plan.free_form and tuple(plan.owner.shape[1:]) == tuple(plan.frame)
    (_operator if is_compiling() else _mix_into)(
        _planes(out),
        _planes(pool),
        plan.source,
        plan.scale,
        plan.shift,
        plan.extent,
        plan.canvas,
        plan.edges[0],
        plan.edges[1],
        plan.owner,
        None if fill is None else fill.flatten(),
        filtered,
        free_form,
        only_moved,
        from_scratch,
    )


def _planes(batch: Tensor) -> Tensor:
    """(B, …, H, W) as a view (B, planes, H, W)."""
    if batch.ndim == 3:
        return batch.unsqueeze(1)
    return batch if batch.ndim == 4 else batch.flatten(1, -3)  # a view: ``suits_fused`` saw to it


def _mix_into(
    out: Tensor,
    pool: Tensor,
    source: Tensor,
    scale: Tensor,
    shift: Tensor,
    extent: Tensor,
    canvas: Tensor,
    row_edges: Tensor,
    column_edges: Tensor,
    owner: Tensor,
    fill: Tensor | None,
    filtered: int,
    free_form: bool,
    only_moved: bool,
    from_scratch: bool,
) -> None:
    """Launch the kernel over all tiles of all outputs; tensors and numbers only, so that it can be an operator."""
    outputs, planes, height, width = out.shape
    # Channels last: the pixels of a row and their channels are one run of memory, walked as one long row.
    packed = planes if planes > 1 and all(t.stride(1) == 1 and t.stride(3) == planes for t in (out, pool)) else 1
    tile_height = max(1, _TILE_BYTES // (_TILE_WIDTH * out.element_size()))
    across = triton.cdiv(width * packed, _TILE_WIDTH)
    tiles = across * triton.cdiv(height, tile_height)
    with current(out.device):
        _mix_kernel[(outputs * tiles,)](
            out,
            pool,
            *(tensor.contiguous() for tensor in (source, scale, shift, extent, canvas, row_edges, column_edges, owner)),
            fill if fill is not None else out,  # not read without HAS_FILL
            fill.numel() if fill is not None else 1,
            source.shape[1],
            owner.shape[1],
            owner.shape[2],
            pool.shape[2],
            pool.shape[3],
            height,
            width,
            planes // packed,
            across,
            tiles,
            *pool.stride(),
            *out.stride(),
            PACKED=packed,
            FILTER=filtered,
            EXACT=tl.float64 if pool.dtype == torch.float64 else tl.float32,
            FREE_FORM=free_form,
            HAS_FILL=fill is not None,
            ONLY_MOVED=only_moved,
            FROM_SCRATCH=from_scratch,
            TILE_HEIGHT=tile_height,
            TILE_WIDTH=_TILE_WIDTH,
            enable_fp_fusion=False,
        )


# The launch as one opaque operator, so that ``torch.compile`` takes it without a graph break. Opaque rather than a
# ``triton_op``: the very same launch then runs compiled, eager and interpreted. Eager calls go round the operator: its
# dispatch would cost more than the launch.
_operator = torch.library.custom_op("cutmix_dense::mix_into", _mix_into, mutates_args=("out",), schema=_SCHEMA)
_operator.register_fake(lambda *_: None)


# ---------------------------------------------------------------------------------------------------------- the kernel


@triton.jit
def _mix_kernel(
    out,
    pool,
    source,
    scale,
    shift,
    extent,
    canvas,
    row_edges,
    column_edges,
    owner,
    fill,
    fills,
    layers,
    grid_height,
    grid_width,
    pool_height,
    pool_width,
    height,
    width,
    planes,
    across,
    tiles,
    pool_image,
    pool_plane,
    pool_row,
    pool_pixel,
    out_image,
    out_plane,
    out_row,
    out_pixel,
    PACKED: tl.constexpr,
    FILTER: tl.constexpr,
    EXACT: tl.constexpr,
    FREE_FORM: tl.constexpr,
    HAS_FILL: tl.constexpr,
    ONLY_MOVED: tl.constexpr,
    FROM_SCRATCH: tl.constexpr,
    TILE_HEIGHT: tl.constexpr,
    TILE_WIDTH: tl.constexpr,
):
    # A column is a pixel, or with PACKED one of its channels.
    output = tl.program_id(0) // tiles
    tile = tl.program_id(0) % tiles
    y = (tile // across) * TILE_HEIGHT + tl.arange(0, TILE_HEIGHT)
    column = (tile % across) * TILE_WIDTH + tl.arange(0, TILE_WIDTH)
    x, channel = column // PACKED, column % PACKED
    out += output.to(tl.int64) * out_image
    if PACKED > 1:
        pool_column, out_column = pool_plane, out_plane
    else:
        pool_column, out_column = pool_pixel, out_pixel
    to = y[:, None] * out_row + column[None, :] * out_column
    back = y[:, None] * pool_row + column[None, :] * pool_column  # the same place in the pool

    canvas_height, canvas_width = (
        tl.load(canvas + output * 2).to(tl.int32),
        tl.load(canvas + output * 2 + 1).to(tl.int32),
    )
    in_frame = (y < height)[:, None] & (x < width)[None, :]
    in_canvas = in_frame & (y < canvas_height)[:, None] & (x < canvas_width)[None, :]
    cell_y = cells_of(y, row_edges + output * (grid_height + 1), grid_height, FREE_FORM)
    cell_x = cells_of(x, column_edges + output * (grid_width + 1), grid_width, FREE_FORM)
    cell = (output * grid_height + cell_y[:, None]) * grid_width + cell_x[None, :]
    own = tl.load(owner + cell, mask=in_canvas, other=-1).to(tl.int32)

    blank = in_frame
    base = tl.load(source + output * layers).to(tl.int32)
    if _keeps_padding(base, canvas_height, canvas_width, extent + output * layers * 4) & (
        (pool_height == height) & (pool_width == width)
    ):
        blank = in_canvas
        padding = in_frame & (in_canvas == 0)
        moves = tl.max(padding.to(tl.int32)) > 0
        if ONLY_MOVED:
            moves = moves & (base != output)
        if moves:
            image = base
            if FROM_SCRATCH:
                image = output
            _copy_some(out + to, pool + image.to(tl.int64) * pool_image + back, padding, planes, out_plane, pool_plane)

    for layer in range(tl.min(tl.where(own < 0, layers, own)), tl.max(own) + 1):
        mine = own == layer
        if tl.max(mine.to(tl.int32)) > 0:
            at = output * layers + layer
            image = tl.load(source + at).to(tl.int32)
            scale_y, scale_x = tl.load(scale + at * 2), tl.load(scale + at * 2 + 1)
            shift_y, shift_x = tl.load(shift + at * 2), tl.load(shift + at * 2 + 1)
            low_y, low_x = tl.load(extent + at * 4).to(tl.int32), tl.load(extent + at * 4 + 1).to(tl.int32)
            high_y, high_x = tl.load(extent + at * 4 + 2).to(tl.int32), tl.load(extent + at * 4 + 3).to(tl.int32)
            first_y, last_y = reach_of(scale_y, shift_y, low_y, high_y)
            first_x, last_x = reach_of(scale_x, shift_x, low_x, high_x)
            mine = mine & ((y >= first_y) & (y < last_y))[:, None] & ((x >= first_x) & (x < last_x))[None, :]
            blank = blank & (mine == 0)
            whole = (scale_y == 1) & (scale_x == 1) & (shift_y == tl.floor(shift_y)) & (shift_x == tl.floor(shift_x))
            if ONLY_MOVED:
                stays = whole & (image == output) & (shift_y == 0) & (shift_x == 0)
                mine = mine & (own == tl.where(stays, -1, layer))
            if FROM_SCRATCH:  # what moved lies in the scratch batch where it goes
                image, shift_y, shift_x = output, shift_y * 0, shift_x * 0
            here = pool + image.to(tl.int64) * pool_image
            move = shift_x.to(tl.int32) * pool_pixel
            # Where the copy is of whole tiles, aligned, the compiler may take 16 bytes at a time. It believes in the
            # alignment of a multiple of 16 when it sees one made.
            if whole & (move % 16 == 0) & (tl.min(mine.to(tl.int32)) > 0):
                moved = (y - shift_y.to(tl.int32))[:, None] * pool_row + column[None, :] * pool_column
                _copy_all(out + to, here - (move // 16) * 16 + moved, planes, out_plane, pool_plane)
            else:
                at_y, at_x = position_of(y, scale_y, shift_y), position_of(x, scale_x, shift_x)
                nearest = True if FILTER == NEAREST else whole
                if nearest:
                    from_y = source_pixels(at_y, low_y, high_y, pool_height)
                    from_x = source_pixels(at_x, low_x, high_x, pool_width)
                    taken = from_y[:, None] * pool_row + (from_x * pool_pixel + channel * pool_plane)[None, :]
                    _copy_some(out + to, here + taken, mine, planes, out_plane, pool_plane)
                else:
                    reach_y, reach_x = tl.zeros_like(scale_y) + 1.0, tl.zeros_like(scale_x) + 1.0
                    if FILTER == ANTIALIAS:
                        reach_y = tl.maximum(reach_y, tl.div_rn(reach_y, tl.abs(scale_y)))
                        reach_x = tl.maximum(reach_x, tl.div_rn(reach_x, tl.abs(scale_x)))
                    _filter_some(
                        out + to,
                        here + (channel * pool_plane)[None, :],
                        mine,
                        planes,
                        out_plane,
                        pool_plane,
                        pool_row,
                        pool_pixel,
                        at_y,
                        at_x,
                        reach_y,
                        reach_x,
                        low_y,
                        low_x,
                        tl.minimum(high_y, pool_height),
                        tl.minimum(high_x, pool_width),
                        EXACT,
                    )

    if tl.max(blank.to(tl.int32)) > 0:
        for plane in range(planes):
            value = tl.zeros_like(channel).to(out.dtype.element_ty)
            if HAS_FILL:
                value = tl.load(fill + (channel + plane) % fills)
            tl.store(out + to + plane * out_plane, tl.broadcast_to(value[None, :], to.shape), mask=blank)


@triton.jit
def _keeps_padding(base, canvas_height, canvas_width, extent):
    """Whether what lies beyond a canvas stays the base's (of the base's own size); see ``MixPlan.keeps_padding``."""
    return (base >= 0) & (canvas_height == tl.load(extent + 2)) & (canvas_width == tl.load(extent + 3))


@triton.jit
def _copy_all(to, start, planes, to_plane, from_plane):
    """Copy a tile, plane by plane."""
    for plane in range(planes):
        tl.store(to + plane * to_plane, tl.load(start + plane * from_plane))


@triton.jit
def _copy_some(to, start, mask, planes, to_plane, from_plane):
    """Copy the pixels of a tile that a mask names, plane by plane."""
    for plane in range(planes):
        tl.store(to + plane * to_plane, tl.load(start + plane * from_plane, mask=mask), mask=mask)


@triton.jit
def _filter_some(
    to,
    start,
    mask,
    planes,
    to_plane,
    from_plane,
    row,
    pixel,
    at_y,
    at_x,
    reach_y,
    reach_x,
    low_y,
    low_x,
    high_y,
    high_x,
    EXACT: tl.constexpr,
):
    """Pixels under a triangle filter, the taps and the order of sums those of ``resample``: y first, then x."""
    first_y, first_x = tl.ceil(at_y - reach_y - 0.5).to(tl.int32), tl.ceil(at_x - reach_x - 0.5).to(tl.int32)
    taps_y, taps_x = tl.ceil(2 * reach_y).to(tl.int32) + 1, tl.ceil(2 * reach_x).to(tl.int32) + 1
    sum_y = _sum_of_weights(first_y, taps_y, at_y, reach_y, low_y, high_y)
    sum_x = _sum_of_weights(first_x, taps_x, at_x, reach_x, low_x, high_x)
    for plane in range(planes):
        total = tl.zeros(mask.shape, dtype=EXACT)
        for tap_x in range(taps_x):
            weight_x = tl.div_rn(_weight(first_x + tap_x, at_x, reach_x, low_x, high_x), sum_x)
            from_x = tl.minimum(tl.maximum(first_x + tap_x, low_x), high_x - 1)
            line = tl.zeros(mask.shape, dtype=EXACT)
            for tap_y in range(taps_y):
                weight_y = tl.div_rn(_weight(first_y + tap_y, at_y, reach_y, low_y, high_y), sum_y)
                from_y = tl.minimum(tl.maximum(first_y + tap_y, low_y), high_y - 1)
                taken = start + plane * from_plane + from_y[:, None] * row + from_x[None, :] * pixel
                line += tl.load(taken, mask=mask, other=0).to(EXACT) * weight_y.to(EXACT)[:, None]
            total += line * weight_x.to(EXACT)[None, :]
        if to.dtype.element_ty == tl.uint8:
            # Adding 1.5 · 2²³ leaves no bits behind the point: the sum is rounded, halves to even, as torch.round does.
            total = tl.minimum(tl.maximum((total + 12582912.0) - 12582912.0, 0.0), 255.0)
        tl.store(to + plane * to_plane, total.to(to.dtype.element_ty), mask=mask)


@triton.jit
def _weight(tap, at, reach, low, high):
    """Weight of a source pixel for each position: a triangle round it, nothing outside of the extent."""
    distance = tl.abs(tap.to(tl.float32) + 0.5 - at)
    weight = tl.maximum(1.0 - tl.div_rn(distance, tl.zeros_like(distance) + reach), 0.0)
    return tl.where((tap >= low) & (tap < high), weight, 0.0)


@triton.jit
def _sum_of_weights(first, taps, at, reach, low, high):
    """What the weights of all taps add up to; 1 for positions that are out of reach, which nobody reads."""
    total = tl.zeros_like(at)
    for tap in range(taps):
        total += _weight(first + tap, at, reach, low, high)
    return tl.where(total > 0, total, 1.0)
