"""Where the library is there, no method asks torch to share little among its threads: each of them waits for a core.

torch shares what has 2¹⁵ numbers or more. What is worth it has a megabyte.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten
from versions import needs_dispatch

import cutmix_dense as cd
from cutmix_dense import native

pytestmark = [pytest.mark.skipif(native.library is None, reason="the library wasn't built"), needs_dispatch]

SIZE, LEAST, MOST = (160, 640), 2**15, 2**20

SHARED_SOONER, SOONER = {"aten.exp", "aten.log", "aten.erfinv", "aten.sin", "aten.cos", "aten.index"}, 2**11
"""Operations that MKL, or torch's index, shares of fewer numbers."""

HARMLESS = {"aten.empty_like", "aten.empty", "aten.new_empty", "aten.randn", "aten.rand"}
"""Memory alone, and random numbers, which torch draws one after the other."""

EXCEPTIONS = {("Mosaic", "geometry.py"), ("ResizeMix", "geometry.py")}
"""Source pixels of scaled masks: a number for each layer and row of the batch."""


class Noted(TorchDispatchMode):
    """Notes operations on so many numbers, and which file of the package asked for them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[tuple[str, str]] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_flatten((args, result))[0] if isinstance(leaf, torch.Tensor)]
        name = str(func).rsplit(".", 1)[0]
        least = SOONER if name in SHARED_SOONER else LEAST
        if least <= max(sizes, default=0) < MOST and not func.is_view and name not in HARMLESS:
            frames = [frame.filename for frame in inspect.stack(0) if "cutmix_dense/" in frame.filename]
            self.found.add((name, frames[0].rsplit("/", 1)[1] if frames else ""))
        return result


def maps() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randint(0, 6, (16, *(side // 32 for side in SIZE)), generator=generator)
    return coarse.repeat_interleave(32, dim=1).repeat_interleave(32, dim=2)


def objects() -> list[dict[str, torch.Tensor]]:
    masks = torch.zeros(3, *SIZE, dtype=torch.bool)
    masks[0, 20:90, 30:200] = masks[1, 60:130, 300:500] = masks[2, 10:50, 350:600] = True
    boxes = torch.tensor([[30.0, 20, 200, 90], [300, 60, 500, 130], [350, 10, 600, 50]])
    return [{"boxes": boxes.clone(), "masks": masks.clone(), "labels": torch.arange(3)} for _ in range(16)]


TARGETS: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "bytes": lambda: maps().byte(),
    "long": maps,
    "objects": objects,
}

METHODS = {
    **dict.fromkeys(("CutMix", "ResizeMix", "Mosaic", "RICAP", "GridMix", "StripeMix", "CowMix"), tuple(TARGETS)),
    **dict.fromkeys(("FMix", "SaliencyMix", "MixUp", "Cutout"), tuple(TARGETS)),
    **dict.fromkeys(("ClassMix", "CarveMix"), ("bytes", "long")),
    "CopyPaste": ("objects",),
}

SCALED = {"Mosaic", "ResizeMix"}


@pytest.mark.parametrize("way", ["fresh", "in place"])
@pytest.mark.parametrize(("method", "targets"), [(name, kind) for name, kinds in METHODS.items() for kind in kinds])
def test_nothing_small_is_shared_by_torch(method, targets, way):
    if method == "CarveMix":
        pytest.importorskip("scipy")
    images = torch.randint(0, 256, (16, 3, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    if way == "in place" and method in SCALED:
        pytest.skip("scaled layers aren't mixed in place")
    own = {"pairing": "swap"} if way == "in place" and method != "RICAP" else {}
    mix, given = getattr(cd, method)(p=0.8, **own), TARGETS[targets]()
    with Noted() as noted:
        mix(images, *([] if given is None else [given]), inplace=way == "in place")
    allowed = {file for name, file in EXCEPTIONS if name == method}
    assert {entry for entry in noted.found if entry[1] not in allowed} == set()


def test_what_is_small_would_be_noted():
    with Noted() as noted:
        torch.zeros(LEAST) + 1
        torch.zeros(LEAST - 1) + 1
        torch.empty(LEAST)
        torch.zeros(MOST).view(2, -1) + 1
        torch.zeros(SOONER).exp()
    assert {name for name, _ in noted.found} == {"aten.zeros", "aten.add", "aten.exp"}
