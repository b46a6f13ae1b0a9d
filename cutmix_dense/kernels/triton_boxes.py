"""Padded boxes under a plan, in one launch: what of each shows, whether it stays, and its row of the result.

A thread measures one box in one layer of one output, cell by cell of the grid, in double precision and in the order of
``instances.c``: results are those of the host, bit for bit. It is launched with ``enable_fp_fusion=False``.
"""

import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]

from cutmix_dense.kernels.table import EXTENT, FIRST_LAYER, LAYER, LOW, SCALE

_FIRST, _LAYER, _LOW = tl.constexpr(FIRST_LAYER), tl.constexpr(LAYER), tl.constexpr(LOW)
_SCALE, _EXTENT = tl.constexpr(SCALE), tl.constexpr(EXTENT)


@triton.jit
def boxes_kernel(
    boxes_out,
    beside_out,
    valid_out,
    visibility_out,
    origin_out,
    boxes,
    beside,
    valid,
    table,
    length,
    layers,
    grid_height,
    grid_width,
    slots,
    count,
    BESIDE: tl.constexpr,
    HAS_VALID: tl.constexpr,
    LEAST_SHARE: tl.constexpr,
    LEAST_SHARE_PASTED: tl.constexpr,
    LEAST_SIDE: tl.constexpr,
    LEAST_SIDE_PASTED: tl.constexpr,
    MOST_ASPECT: tl.constexpr,
    STRICT: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One thread per slot of the result, ``count`` in all: output, then layer, then slot of the image.

    ``beside`` is a further tensor of the rows, as ``BESIDE`` 32-bit words each. The thresholds are those of
    ``FilterRule``, for base and pasted boxes; ``MOST_ASPECT`` is 0 for none.
    """
    entry = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    here = entry < count
    slot, place = entry % slots, entry // slots
    layer, output = place % layers, place // layers
    plan = table + output * length
    record = plan + _FIRST + layer * _LAYER
    image = tl.load(record, here, other=-1)
    row = tl.maximum(image, 0).to(tl.int64) * slots + slot
    left, top = tl.load(boxes + row * 4, here, other=0), tl.load(boxes + row * 4 + 1, here, other=0)
    right, bottom = tl.load(boxes + row * 4 + 2, here, other=0), tl.load(boxes + row * 4 + 3, here, other=0)
    finite = _finite(left) & _finite(top) & _finite(right) & _finite(bottom)

    map_y, low_y, high_y, cut_y0, cut_y1, broken_y = _mapped(record, 0, top, bottom, finite, here)
    map_x, low_x, high_x, cut_x0, cut_x1, broken_x = _mapped(record, 1, left, right, finite, here)
    broken = broken_y | broken_x
    whole = (high_y - low_y) * (high_x - low_x)

    far = tl.full((), 1.0e300, tl.float64)
    area = tl.zeros_like(whole)
    hidden = (layer < 0) & here  # nothing is, yet
    seen_y0, seen_y1, seen_x0, seen_x1 = area + far, area - far, area + far, area - far
    rows = plan + _FIRST + layers * _LAYER
    columns = rows + grid_height + 1
    owners = columns + grid_width + 1
    for cell_y in range(grid_height):
        start_y = tl.load(rows + cell_y, here, other=0).to(tl.float64)
        stop_y = tl.load(rows + cell_y + 1, here, other=0).to(tl.float64)
        length_y = tl.minimum(cut_y1, stop_y) - tl.maximum(cut_y0, start_y)
        for cell_x in range(grid_width):
            start_x = tl.load(columns + cell_x, here, other=0).to(tl.float64)
            stop_x = tl.load(columns + cell_x + 1, here, other=0).to(tl.float64)
            length_x = tl.minimum(cut_x1, stop_x) - tl.maximum(cut_x0, start_x)
            touched = (length_y > 0) & (length_x > 0)
            owned = tl.load(owners + cell_y * grid_width + cell_x, here, other=-1) == layer
            hidden = hidden | (touched & (owned == 0))
            owned = owned & touched
            area += tl.where(owned, length_y * length_x, 0.0)
            seen_y0, seen_y1 = (
                tl.where(owned, tl.minimum(seen_y0, start_y), seen_y0),
                tl.where(owned, tl.maximum(seen_y1, stop_y), seen_y1),
            )
            seen_x0, seen_x1 = (
                tl.where(owned, tl.minimum(seen_x0, start_x), seen_x0),
                tl.where(owned, tl.maximum(seen_x1, stop_x), seen_x1),
            )

    shows = area > 0
    tight_y0, tight_y1 = (
        tl.where(shows, tl.maximum(seen_y0, cut_y0), 0.0),
        tl.where(shows, tl.minimum(seen_y1, cut_y1), 0.0),
    )
    tight_x0, tight_x1 = (
        tl.where(shows, tl.maximum(seen_x0, cut_x0), 0.0),
        tl.where(shows, tl.minimum(seen_x1, cut_x1), 0.0),
    )
    untouched = map_y & map_x & (hidden == 0) & shows & finite & (broken == 0)
    share = area / (whole + (whole <= 0).to(tl.float64))
    share = tl.where(untouched | (share > 1), 1.0, share)
    visibility = share.to(tl.float32)

    pasted = layer > 0
    side_y, side_x = tight_y1 - tight_y0, tight_x1 - tight_x0
    shortest = tl.minimum(side_y, side_x)
    least = tl.where(pasted, tl.full((), LEAST_SHARE_PASTED, tl.float32), tl.full((), LEAST_SHARE, tl.float32))
    least_side = tl.where(pasted, tl.full((), LEAST_SIDE_PASTED, tl.float64), tl.full((), LEAST_SIDE, tl.float64))
    if STRICT:
        stays = (visibility > least) & (shortest > least_side)
    else:
        stays = (visibility >= least) & (shortest >= least_side)
    if MOST_ASPECT > 0:
        stays = stays & (tl.maximum(side_y, side_x) < tl.full((), MOST_ASPECT, tl.float64) * shortest)
    stays = ((stays & shows) | untouched) & (whole != 0) & (broken == 0) & finite & (image >= 0)
    if HAS_VALID:
        stays = stays & (tl.load(valid + row, here, other=0) != 0)

    tl.store(boxes_out + entry * 4, _kept(stays, untouched, left, tight_x0), here)
    tl.store(boxes_out + entry * 4 + 1, _kept(stays, untouched, top, tight_y0), here)
    tl.store(boxes_out + entry * 4 + 2, _kept(stays, untouched, right, tight_x1), here)
    tl.store(boxes_out + entry * 4 + 3, _kept(stays, untouched, bottom, tight_y1), here)
    for word in tl.static_range(BESIDE):
        value = tl.load(beside + row * BESIDE + word, here & stays, other=0)
        tl.store(beside_out + entry * BESIDE + word, value, here)
    tl.store(valid_out + entry, stays.to(tl.uint8), here)
    tl.store(visibility_out + entry, tl.where(stays, visibility, 0.0), here)
    tl.store(origin_out + entry * 2, tl.where(stays, image, -1).to(tl.int64), here)
    tl.store(origin_out + entry * 2 + 1, tl.where(stays, slot, -1).to(tl.int64), here)


@triton.jit
def _finite(number):
    return (number - number) == 0


@triton.jit
def _mapped(record, axis, low, high, finite, here):
    """One axis: whether the box is unmoved and uncut, its ends on the canvas, those cut, whether it has no length."""
    scale = tl.load(record + _SCALE + axis, here, other=0).to(tl.float32, bitcast=True).to(tl.float64)
    shift = tl.load(record + _SCALE + 2 + axis, here, other=0).to(tl.float32, bitcast=True).to(tl.float64)
    first = tl.load(record + _EXTENT + axis, here, other=0).to(tl.float64)
    last = tl.load(record + _EXTENT + 2 + axis, here, other=0).to(tl.float64)
    reach_low = tl.load(record + _LOW + axis, here, other=0).to(tl.float64)
    reach_high = tl.load(record + _LOW + 2 + axis, here, other=0).to(tl.float64)
    low, high = tl.where(finite, low, 0.0).to(tl.float64), tl.where(finite, high, 0.0).to(tl.float64)
    broken = high <= low
    high = tl.maximum(low, high)
    a = scale * tl.minimum(tl.maximum(low, first), last) + shift
    b = scale * tl.minimum(tl.maximum(high, first), last) + shift
    start, stop = tl.minimum(a, b), tl.maximum(a, b)
    cut_start = tl.minimum(tl.maximum(start, reach_low), reach_high)
    cut_stop = tl.minimum(tl.maximum(stop, reach_low), reach_high)
    unmoved = (scale == 1) & (shift == 0) & (cut_start == start) & (cut_stop == stop)
    return unmoved, start, stop, cut_start, cut_stop, broken


@triton.jit
def _kept(stays, untouched, given, measured):
    """A coordinate of the result: as it was given where nothing touched the box."""
    return tl.where(stays, tl.where(untouched, given, measured.to(tl.float32)), 0.0)
