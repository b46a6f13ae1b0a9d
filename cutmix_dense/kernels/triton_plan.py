"""What a plan says of a pixel, in Triton: its cell, whether a layer reaches it, and which source pixel shows there.

The same arithmetic, rounding for rounding, as ``MixPlan.pixel_ranges`` and ``MixPlan.source_pixels``: kernels that call
these are launched with ``enable_fp_fusion=False``, since a fused multiply-add rounds once where torch rounds twice, and
may put a border one pixel off.
"""

import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]


@triton.jit
def cells_of(pixels, edges, cells, FREE_FORM: tl.constexpr):
    """Cell of the grid that holds each pixel along one axis: as many as inner edges lie at or before it.

    Args:
        pixels: int32, within the canvas.
        edges: pointer to one output's edges.
        cells: how many cells there are.
        FREE_FORM: one cell per pixel, so there is nothing to search for.
    """
    if FREE_FORM:
        cell = tl.minimum(pixels, cells - 1)
    else:
        cell = tl.zeros_like(pixels)
        for edge in range(1, cells):
            cell += (pixels >= tl.load(edges + edge)).to(tl.int32)
    return cell


@triton.jit
def reach_of(scale, shift, low, high):
    """First canvas pixel, and one past the last, whose pre-image lies in [low, high) along one axis; unclipped."""
    start, stop = scale * low + shift, scale * high + shift
    first = tl.ceil(tl.minimum(start, stop) - 0.5)
    last = tl.ceil(tl.maximum(start, stop) - 0.5)
    far = 1.0e9  # beyond any canvas, and still an int32
    return (
        tl.minimum(tl.maximum(first, -far), far).to(tl.int32),
        tl.minimum(tl.maximum(last, -far), far).to(tl.int32),
    )


@triton.jit
def position_of(pixels, scale, shift):
    """Where the centres of canvas pixels lie in the source, along one axis; the division is IEEE's, as on the host."""
    return tl.div_rn(pixels.to(tl.float32) + 0.5 - shift, tl.zeros_like(pixels).to(tl.float32) + scale)


@triton.jit
def source_pixels(position, low, high, size):
    """Source pixel at each position, clamped into the extent [low, high) and, for safety, into the image."""
    inner = tl.minimum(tl.maximum(position, -1.0e9), 1.0e9)
    pixel = tl.minimum(tl.floor(inner).to(tl.int32), high - 1)
    return tl.minimum(tl.maximum(pixel, tl.maximum(low, 0)), size - 1)
