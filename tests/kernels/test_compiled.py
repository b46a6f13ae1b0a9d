"""The kernels compile for a GPU, which needs none: what the compiler makes of them, not what they compute."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("triton", minversion="3.3")
backends = pytest.importorskip("triton.backends.compiler")

from triton import compile as compile_kernel  # noqa: E402
from triton import language as tl  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402

from cutmix_dense.kernels.triton_masks import _cut_kernel  # noqa: E402
from cutmix_dense.kernels.triton_mix import _mix_kernel  # noqa: E402

PLAN = {
    "source": "*i64",
    "scale": "*fp32",
    "shift": "*fp32",
    "extent": "*i64",
    "canvas": "*i64",
    "row_edges": "*i64",
    "column_edges": "*i64",
    "owner": "*i8",
}
MIX = {
    "FREE_FORM": False,
    "HAS_FILL": True,
    "ONLY_MOVED": False,
    "FROM_SCRATCH": False,
    "TILE_WIDTH": 128,
    "EXACT": tl.float32,
}
SIZES = ("height", "width", "image", "plane", "row", "stride")  # multiples of 16, as those of 640 × 640 are


def assembly(kernel, pointers, constants):
    """PTX for a Hopper GPU."""
    names = kernel.arg_names
    signature, attributes = {}, {}
    for index, name in enumerate(names):
        signature[name] = "constexpr" if name in constants else pointers.get(name, "i32")
        if name not in constants and (name in pointers or name.endswith(SIZES)):
            attributes[(index,)] = [["tt.divisibility", 16]]
    values = {(names.index(name),): value for name, value in constants.items()}
    source = ASTSource(fn=kernel, signature=signature, constexprs=values, attrs=attributes)
    target = backends.GPUTarget("cuda", 90, 32)
    return compile_kernel(source, target=target, options={"enable_fp_fusion": False}).asm["ptx"]


@pytest.mark.parametrize("filtered", [0, 2])
@pytest.mark.parametrize(
    ("dtype", "layout"),
    [
        ("u8", {"PACKED": 1, "TILE_HEIGHT": 16, "pool_pixel": 1, "out_pixel": 1}),
        ("u8", {"PACKED": 3, "TILE_HEIGHT": 16, "pool_plane": 1, "out_plane": 1, "planes": 1}),
        ("fp16", {"PACKED": 1, "TILE_HEIGHT": 8, "pool_pixel": 1, "out_pixel": 1}),
        ("fp32", {"PACKED": 1, "TILE_HEIGHT": 4, "pool_pixel": 1, "out_pixel": 1}),
    ],
    ids=["bytes", "bytes, channels last", "half", "float"],
)
def test_whole_tiles_are_copied_16_bytes_at_a_time(dtype, layout, filtered):
    pointers = {"out": f"*{dtype}", "pool": f"*{dtype}", "fill": f"*{dtype}", **PLAN}
    code = assembly(_mix_kernel, pointers, {**MIX, **layout, "FILTER": filtered})
    assert re.search(r"ld\.global\.v4\.b32", code)
    assert re.search(r"st\.global\.v4\.b32", code)
    assert not re.search(r"fma\.rn\.f(32|64)", code), "a fused multiply-add rounds otherwise than torch"


@pytest.mark.parametrize("soft", [False, True])
def test_masks_are_read_and_written_wide(soft):
    pointers = dict.fromkeys(("row", "output", "layer"), "*i64") | PLAN
    pointers |= {"cut": "*u8", "masks": "*u8", "facts": "*i32", "weight": "*fp32"}
    constants = {"FREE_FORM": False, "SOFT": soft, "TILE_HEIGHT": 8, "TILE_WIDTH": 128, "mask_pixel": 1}
    code = assembly(_cut_kernel, pointers, constants)
    assert re.search(r"ld\.global\.v2\.b32", code)
    assert re.search(r"st\.global\.v2\.b32", code)
