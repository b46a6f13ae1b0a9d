"""Images whose layers share all pixels by weight, in one launch.

Products are rounded before they are added (``enable_fp_fusion=False``), layer after layer: of bytes the result is the
host's, bit for bit.
"""

import triton  # type: ignore[import-untyped]
import triton.language as tl  # type: ignore[import-untyped]

from cutmix_dense.kernels.table import FIRST_LAYER, LAYER, SHARE

_FIRST, _LAYER, _SHARE = tl.constexpr(FIRST_LAYER), tl.constexpr(LAYER), tl.constexpr(SHARE)


@triton.jit
def blend_kernel(out, pool, table, length, size, LAYERS: tl.constexpr, BLOCK: tl.constexpr):
    """One block of the ``size`` numbers of an image, in the order of memory; ``table`` holds ``PlanTable.rows``."""
    output = tl.program_id(1)
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    here = place < size
    total = tl.zeros((BLOCK,), dtype=tl.float32)
    shown = 0
    for layer in tl.static_range(LAYERS):
        record = table + output * length + _FIRST + layer * _LAYER
        share = tl.load(record + _SHARE).to(tl.float32, bitcast=True)
        if share > 0:
            image = pool + tl.load(record).to(tl.int64) * size
            part = tl.load(image + place, here, other=0).to(tl.float32) * share
            if out.dtype.element_ty == tl.uint8:
                total += part
            else:  # nothing is added to the first, not even to a zero with its sign
                total = tl.where(shown > 0, total + part, part)
                shown += 1
    if out.dtype.element_ty == tl.uint8:
        # adding 1.5 · 2²³ leaves no bits behind the point: halves to even, and the last byte is the sum's
        total = (total + 12582912.0).to(tl.int32, bitcast=True)
    tl.store(out + output.to(tl.int64) * size + place, total.to(out.dtype.element_ty), here)
