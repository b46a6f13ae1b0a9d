"""Batches that are mixed: by ours, by peers, beside a plain copy; and whether a mix waits for the device."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

import cutmix_dense as cd
from cutmix_dense.cli.benchmarking import peers
from cutmix_dense.cli.benchmarking.results import FLOOR, Progress, Result, Settings, timed
from cutmix_dense.cli.benchmarking.samples import Batch, make_batches, nbytes
from cutmix_dense.cli.benchmarking.timing import Contender, Timing
from cutmix_dense.cli.specs import family

MASK_FLOOR = "copy_ of the images and clone of the masks"
BATCH_JOBS = {
    "images": "images",
    "boxes": "images + {n} boxes",
    "semantic": "images + map",
    "family": "every method, images + map + {n} boxes",
    "masks": "images + {n} masks",
}
"""Title of each job by its name on the command line."""


def padded_targets(batch: Batch) -> Any:
    """Boxes and labels as one padded (B, N, …) tensor each: a dict instead of a list of dicts."""
    return {"boxes": batch.boxes, "labels": batch.labels}


def _ours(
    name: str, mix: Any, batches: Sequence[Batch], targets: Any = None, how: str = "out", does: str = ""
) -> Contender:
    """A contender of ours: ``how`` is "out", "inplace" or "new"."""

    def make() -> Callable[[int], Any]:
        buffer = torch.empty_like(batches[0].images) if how == "out" else None
        generator = torch.Generator().manual_seed(0)

        def call(index: int) -> Any:
            batch = batches[index]
            given = () if targets is None else (targets(batch),)
            return mix(batch.images, *given, out=buffer, inplace=how == "inplace", generator=generator)

        return call

    return Contender(f"ours {name}", make, does)


def _copy(batches: Sequence[Batch]) -> Contender:
    def make() -> Callable[[int], Any]:
        buffer = torch.empty_like(batches[0].images)
        return lambda index: buffer.copy_(batches[index].images)

    return Contender(FLOOR, make)


def _clone(batches: Sequence[Batch]) -> Contender:
    return Contender("clone of the images", lambda: lambda index: batches[index].images.clone(), "fresh memory")


def _mask_floor(batches: Sequence[Batch]) -> Contender:
    def make() -> Callable[[int], Any]:
        buffer = torch.empty_like(batches[0].images)

        def call(index: int) -> Any:
            buffer.copy_(batches[index].images)
            return [target["masks"].clone() for target in batches[index].targets]

        return call

    return Contender(MASK_FLOOR, make)


def batch_contenders(job: str, batches: Sequence[Batch]) -> list[Contender]:
    """The rows of a batch job without peers: the floor first, then ours."""
    cut, swap = cd.CutMix(p=1.0), cd.CutMix(p=1.0, pairing="swap")
    mosaic = cd.Mosaic(p=1.0)
    rows = [_copy(batches), _clone(batches)]

    def ragged(batch: Batch) -> Any:
        return batch.targets

    def semantic(batch: Batch) -> Any:
        return batch.semantic

    def both(batch: Batch) -> Any:
        return {"instances": batch.targets, "semantic": batch.semantic}

    def padded_and_map(batch: Batch) -> Any:
        return {**padded_targets(batch), "semantic": batch.semantic}

    if job == "images":
        methods = (cd.MixUp, cd.GridMix, cd.RICAP, cd.StripeMix, cd.CowMix, cd.FMix, cd.ResizeMix, cd.SaliencyMix)
        rows += [
            _ours("CutMix, out=", cut, batches),
            _ours("CutMix, in place (swap)", swap, batches, how="inplace"),
            _ours("CutMix, fresh memory", cut, batches, how="new"),
            _ours("Mosaic, out=", mosaic, batches),
            *(_ours(f"{method.__name__}, out=", method(p=1.0), batches) for method in methods),
        ]
    elif job == "boxes":
        rows += [
            _ours("CutMix + padded boxes, out=", cut, batches, padded_targets),
            _ours("CutMix + ragged boxes, out=", cut, batches, ragged),
            _ours("CutMix + padded boxes, in place (swap)", swap, batches, padded_targets, "inplace"),
            _ours("CutMix + ragged boxes, in place (swap)", swap, batches, ragged, "inplace"),
            _ours("CopyPaste + ragged boxes, out=", cd.CopyPaste(p=1.0), batches, ragged),
            _ours("Mosaic + ragged boxes, out=", mosaic, batches, ragged),
        ]
    elif job == "semantic":
        rows += [
            _ours("CutMix + map, out=", cut, batches, semantic, does="map into fresh memory"),
            _ours("CutMix + map, in place (swap)", swap, batches, semantic, "inplace"),
            _ours("ClassMix + map, out=", cd.ClassMix(p=1.0), batches, semantic, does="map into fresh memory"),
            _ours("CutMix + map + ragged boxes, out=", cut, batches, both, does="map into fresh memory"),
            _ours("CutMix + map + padded boxes, out=", cut, batches, padded_and_map, does="map into fresh memory"),
        ]
    elif job == "family":
        rows += [_ours(f"{name}, out=", mix, batches, both) for name, mix in every_method().items()]
    else:
        rows += [
            _mask_floor(batches),
            _ours("CutMix + masks, out=", cut, batches, ragged),
            _ours("CutMix + masks, in place (swap)", swap, batches, ragged, "inplace", "masks into fresh memory"),
            _ours("CopyPaste + masks, out=", cd.CopyPaste(p=1.0), batches, ragged),
        ]
    return rows


def every_method() -> dict[str, cd.MixTransform]:
    """Each method as it comes, but for every image; of CarveMix one class of the map is the lesion."""
    own: dict[str, dict[str, Any]] = {"CarveMix": {"classes": [1]}}
    return {name: type(mix)(p=1.0, boxes="estimate", **own.get(name, {})) for name, mix in family().items()}


def batch_job(name: str, settings: Settings, on_progress: Progress | None) -> Iterator[Result]:
    """Every row on each number of threads; on the host ours also beside a busy loop."""
    masks = name == "masks"
    for dtype in (torch.uint8, torch.float16) if settings.on_cuda and not settings.short else (torch.uint8,):
        image = settings.batch * 3 * settings.size**2 * dtype.itemsize
        ring = settings.ring(image + (settings.batch * settings.objects * settings.size**2 if masks else 0))
        batches = make_batches(
            ring,
            settings.batch,
            settings.size,
            settings.objects,
            masks=masks,
            dtype=dtype,
            device=settings.device,
            seed=settings.seed,
        )
        what = BATCH_JOBS[name].format(n=settings.objects)
        result = Result(name, f"{what}, B={settings.batch}, {settings.size}×{settings.size} {str(dtype)[6:]}")
        result.notes.append(f"ring: {ring} batches, {ring * nbytes(batches[0], masks) / 2**20:.0f} MiB")
        yield timed(
            result,
            batch_contenders(name, batches),
            peers.batch_peers(name, batches),
            ring,
            settings,
            on_progress,
            counts=settings.threads,
            device=settings.device,
            beside_busy=not settings.on_cuda,
        )


def sync_job(name: str, settings: Settings, on_progress: Progress | None) -> Iterator[Result]:
    """Given a plan, does anything wait for the device? Asked of torch, which then raises; for CUDA devices only."""
    result = Result(name, "host syncs, given a plan", floor="", notes=["a row with an error has a sync"])
    batch = make_batches(1, settings.batch, settings.size, settings.objects, device=settings.device)[0]
    mix, out = cd.CutMix(p=1.0), torch.empty_like(batch.images)
    plan = mix.make_plan(batch.images)
    calls: dict[str, Callable[[], Any]] = {
        "images": lambda: cd.functional.mix_pixels(batch.images, plan, out=out),
        "semantic": lambda: cd.functional.mix_semantic(batch.semantic, plan),
        "padded boxes": lambda: mix.apply_plan(plan, batch.images, padded_targets(batch), out=out),
    }
    for what, call in calls.items():
        row = Timing(what, "set_sync_debug_mode('error')", runs=1)
        try:
            call()  # compiles its kernels
            torch.cuda.synchronize()
            torch.cuda.set_sync_debug_mode("error")
            began = time.perf_counter()
            call()
            row.seconds.append(time.perf_counter() - began)
        except Exception as error:
            row.problem = f"{type(error).__name__}: {str(error)[:160]}"
        finally:
            torch.cuda.set_sync_debug_mode("default")
        result.rows.append(row)
    yield result
