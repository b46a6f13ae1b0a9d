"""How the cost grows with the batch, the objects, the canvas and the patch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

import cutmix_dense as cd
from tools.benchmarking.jobs import Progress, Settings
from tools.benchmarking.samples import Batch, make_batches
from tools.benchmarking.timing import Contender, interleave, threads

__all__ = ["FIXED_PATCH", "Curve", "grow"]


@dataclass
class Curve:
    """One line of the plot.

    Attributes:
        panel: the plot it belongs to.
        label: of the panel's axis of sizes.
        name: what was timed.
        sizes: what grew.
        seconds: medians.
    """

    panel: str
    label: str
    name: str
    sizes: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def grow(settings: Settings, on_progress: Progress | None = None) -> Iterator[list[Curve]]:
    """The curves of one panel after the other."""
    size = settings.size
    small = settings.quick
    counts = [2, 4] if small else [2, 4, 8, 16, 32, 64]
    yield _panel("batch", "images in the batch", counts, settings, on_progress, lambda n: _images(n, size))
    objects = [2, 8] if small else [1, 5, 10, 20, 50, 100]
    batch = 2 if small else 16
    yield _panel("boxes", "boxes per image", objects, settings, on_progress, lambda n: _boxes(batch, size, n))
    sides = [size // 2, size] if small else [160, 320, 480, 640, 960, 1280]
    squares = [side * side / 1e6 for side in sides]
    side_of = dict(zip(squares, sides))
    yield _panel("canvas", "million pixels", squares, settings, on_progress, lambda n: _images(batch, side_of[n]))
    shares = [0.05, 0.5] if small else [0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.95]
    yield _panel(
        "patch", "share of the canvas that is pasted", shares, settings, on_progress, lambda n: _patch(batch, size, n)
    )
    few = 2 if small else 4
    patch = size // 5
    yield _panel(
        f"{FIXED_PATCH} {patch}×{patch}: beyond the copy of the masks",
        "million pixels of the canvas",
        squares,
        settings,
        on_progress,
        lambda n: _masks(few, side_of[n], (patch / side_of[n]) ** 2),
        less="floor",
    )
    yield _panel(
        f"20 masks, canvas {size}×{size}: beyond the copy of the masks",
        "share of the canvas that is pasted",
        shares,
        settings,
        on_progress,
        lambda n: _masks(few, size, n),
        less="floor",
    )


FIXED_PATCH = "20 masks, patch"
"""How the panel begins whose canvas grows under the same patch."""
Rows = dict[str, Callable[[int], Any]]
_RING = 3


def _panel(
    panel: str,
    label: str,
    sizes: Sequence[float],
    settings: Settings,
    on_progress: Progress | None,
    rows_of: Callable[[Any], Rows],
    less: str = "",
) -> list[Curve]:
    """Time each size; ``less`` names the row that is taken off the others."""
    curves: dict[str, Curve] = {}
    for number, size in enumerate(sizes):
        if on_progress:
            on_progress(f"growth: {panel}", number, len(sizes))
        with threads(settings.threads):
            rows = [_contender(name, call) for name, call in rows_of(size).items()]
            timings = interleave(rows, _RING, repeats=max(3, settings.repeats // 3), seed=settings.seed, budget=5)
        off = next((row.median for row in timings if row.name == less), 0.0)
        for row in timings:
            if row.seconds and row.name != less:
                curve = curves.setdefault(row.name, Curve(panel, label, row.name))
                curve.sizes.append(float(size))
                curve.seconds.append(max(row.median - off, 0.0))
    return list(curves.values())


def _contender(name: str, call: Callable[[int], Any]) -> Contender:
    return Contender(name, lambda: call)


def _images(batch: int, size: int) -> Rows:
    batches, out = make_batches(_RING, batch, size, 0), torch.empty(batch, 3, size, size, dtype=torch.uint8)
    return {**_both(batches, cd.regions.BetaBox(1.0), out), "copy_": lambda index: out.copy_(batches[index].images)}


def _boxes(batch: int, size: int, objects: int) -> Rows:
    batches = make_batches(_RING, batch, size, objects)
    mix = cd.CutMix(p=1.0)
    plans = [mix.make_plan(b.images) for b in batches]
    out = torch.empty_like(batches[0].images)
    return {
        "images + boxes, out=": lambda index: mix(batches[index].images, batches[index].targets, out=out),
        "boxes alone": lambda index: cd.functional.mix_instances(batches[index].targets, plans[index]),
    }


def _patch(batch: int, size: int, share: float) -> Rows:
    batches = make_batches(_RING, batch, size, 0)
    out = torch.empty_like(batches[0].images)
    return {**_both(batches, _box(share), out), "copy_": lambda index: out.copy_(batches[index].images)}


def _both(batches: Sequence[Batch], region: Any, out: torch.Tensor) -> Rows:
    cut, swap = cd.CutMix(p=1.0, region=region), cd.CutMix(p=1.0, region=region, pairing="swap")
    return {
        "out=": lambda index: cut(batches[index].images, out=out),
        "in place": lambda index: swap(batches[index].images, inplace=True),
    }


def _masks(batch: int, size: int, share: float) -> Rows:
    """What a patch costs with 20 masks; the floor is a copy of the image and of the masks that come back."""
    batches = make_batches(_RING, batch, size, 20, masks=True)
    cut = cd.CutMix(p=1.0, region=_box(share))
    plans = [cut.make_plan(b.images) for b in batches]
    kept = [cd.functional.mix_instances(b.targets, plan) for b, plan in zip(batches, plans)]
    out = torch.empty_like(batches[0].images)

    def floor(index: int) -> Any:
        out.copy_(batches[index].images)
        return [target["masks"].clone() for target in kept[index]]

    def mixed(index: int) -> Any:
        cd.functional.mix_pixels(batches[index].images, plans[index], out=out)
        return cd.functional.mix_instances(batches[index].targets, plans[index])

    return {"floor": floor, "CutMix": mixed}


def _box(share: float) -> Any:
    return cd.regions.AreaBox(area=(share, share), aspect=(1.0, 1.0))
