"""The workloads: what is mixed, by whom, and beside which floor."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
import torch

import cutmix_dense as cd
from tools.benchmarking import peers
from tools.benchmarking.machine import last_level_cache
from tools.benchmarking.plain import plain_contenders
from tools.benchmarking.samples import Batch, make_batches, make_samples, nbytes
from tools.benchmarking.timing import Contender, Timing, interleave, threads
from tools.common import family

__all__ = [
    "FLOOR",
    "JOBS",
    "Result",
    "Settings",
    "batch_contenders",
    "boxes_contenders",
    "padded_targets",
    "run_jobs",
]

FLOOR = "floor: copy_ of the images"
MASK_FLOOR = "copy_ of the images and clone of the masks"


@dataclass
class Settings:
    """How a run is done.

    Attributes:
        repeats: rounds of every job.
        size: side of the images.
        batches: batch sizes.
        objects: boxes per image.
        device: where batches lie.
        threads: of the batch jobs; per-sample jobs have one.
        seed: of data and order.
        budget: seconds after which a slow contender leaves a job.
        quick: one dtype, small rings.
    """

    repeats: int = 60
    size: int = 640
    batches: tuple[int, ...] = (16, 64)
    objects: int = 20
    device: str = "cpu"
    threads: int = 2
    seed: int = 0
    budget: float = 20.0
    quick: bool = False

    @property
    def dtypes(self) -> tuple[torch.dtype, ...]:
        """uint8, and on CUDA fp16 too."""
        on_cuda = torch.device(self.device).type == "cuda"
        return (torch.uint8, torch.float16) if on_cuda else (torch.uint8,)

    def ring(self, one: int) -> int:
        """Inputs that together have at least 8 times the last-level cache, given the bytes of one."""
        device = self.device if torch.device(self.device).type == "cuda" else "cpu"
        return 3 if self.quick else max(3, -(-8 * last_level_cache(device) // one))


@dataclass
class Result:
    """One job's rows.

    Attributes:
        job: its name on the command line.
        title: what was mixed.
        rows: what each contender took.
        floor: name of the row that others are divided by, "" for none.
        notes: what a reader has to know.
    """

    job: str
    title: str
    rows: list[Timing] = field(default_factory=list)
    floor: str = FLOOR
    notes: list[str] = field(default_factory=list)

    def row(self, name: str) -> Timing | None:
        """The row of that name if it was timed."""
        return next((row for row in self.rows if row.name == name and row.seconds), None)

    def ratio(self, row: Timing) -> float:
        """Median over the floor's; NaN without."""
        floor = self.row(self.floor)
        return row.median / floor.median if floor and row.seconds else float("nan")


Progress = Callable[[str, int, int], None]


def run_jobs(names: Sequence[str], settings: Settings, on_progress: Progress | None = None) -> Iterator[Result]:
    """Do the jobs, one result each as it is there."""
    torch.manual_seed(settings.seed)
    np.random.seed(settings.seed)  # noqa: NPY002  peers draw from it
    random.seed(settings.seed)
    peers.quiet()
    for name in names:
        yield from JOBS[name](name, settings, on_progress)


def _timed(
    result: Result,
    contenders: Sequence[Contender],
    ring: int,
    settings: Settings,
    on_progress: Progress | None,
    count: int,
    device: str = "cpu",
) -> Result:
    def on_round(done: int) -> None:
        if on_progress:
            on_progress(result.title, done, settings.repeats)

    if on_progress:
        on_progress(result.title, 0, settings.repeats)
    with threads(count):
        result.rows = interleave(
            contenders,
            ring,
            repeats=settings.repeats,
            device=device,
            budget=settings.budget,
            seed=settings.seed,
            on_round=on_round,
        )
    return result


# ------------------------------------------------------------------------------------------------------------- batches


def padded_targets(batch: Batch) -> Any:
    """Boxes and labels as one padded (B, N, …) tensor each: a dict instead of a list of dicts."""
    return {"boxes": batch.boxes, "labels": batch.labels}


def _ours(
    name: str, mix: Any, batches: Sequence[Batch], targets: Any = None, how: str = "out", does: str = ""
) -> Contender:
    """A contender of ours: ``how`` is "out", "inplace" or "new"."""

    def make() -> Callable[[int], Any]:
        buffer = torch.empty_like(batches[0].images) if how == "out" else None

        def call(index: int) -> Any:
            batch = batches[index]
            given = () if targets is None else (targets(batch),)
            return mix(batch.images, *given, out=buffer, inplace=how == "inplace")

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


def batch_contenders(job: str, batches: Sequence[Batch], with_peers: bool = True) -> list[Contender]:
    """The rows of a batch job: the floor first, then ours, then the peers."""
    cut, swap = cd.CutMix(p=1.0), cd.CutMix(p=1.0, pairing="swap")
    mosaic = cd.Mosaic()
    rows = [_copy(batches), _clone(batches)]

    def ragged(batch: Batch) -> Any:
        return batch.targets

    def both(batch: Batch) -> Any:
        return {"instances": batch.targets, "semantic": batch.semantic}

    if job == "images":
        rows += [
            _ours("CutMix, out=", cut, batches),
            _ours("CutMix, in place (swap)", swap, batches, how="inplace"),
            _ours("CutMix, fresh memory", cut, batches, how="new"),
            _ours("Mosaic, out=", mosaic, batches),
            _ours("MixUp, out=", cd.MixUp(), batches),
        ]
    elif job == "boxes":
        rows += [
            _ours("CutMix + padded boxes, out=", cut, batches, padded_targets),
            _ours("CutMix + ragged boxes, out=", cut, batches, ragged),
            _ours("CutMix + padded boxes, in place (swap)", swap, batches, padded_targets, "inplace"),
            _ours("CutMix + ragged boxes, in place (swap)", swap, batches, ragged, "inplace"),
            _ours("Mosaic + ragged boxes, out=", mosaic, batches, ragged),
        ]
    elif job == "semantic":
        rows += [
            _ours("CutMix + map, out=", cut, batches, lambda b: b.semantic, does="map into fresh memory"),
            _ours("CutMix + map, in place (swap)", swap, batches, lambda b: b.semantic, "inplace"),
            _ours("CutMix + map + ragged boxes, out=", cut, batches, both, does="map into fresh memory"),
            _ours("CutMix + map + ragged boxes, in place (swap)", swap, batches, both, "inplace"),
        ]
    elif job == "family":
        rows += [_ours(f"{name}, out=", mix, batches, both) for name, mix in every_method().items()]
    else:
        paste = cd.CopyPaste(p=1.0)
        rows += [
            _mask_floor(batches),
            _ours("CutMix + masks, out=", cut, batches, ragged),
            _ours("CutMix + masks, in place (swap)", swap, batches, ragged, "inplace", "masks into fresh memory"),
            _ours("CopyPaste + masks, out=", paste, batches, ragged),
        ]
    return rows + ([*plain_contenders(job, batches), *peers.batch_peers(job, batches)] if with_peers else [])


def every_method() -> dict[str, cd.MixTransform]:
    """Each method as it comes, but for every image; of CarveMix one class of the map is the lesion."""
    own: dict[str, dict[str, Any]] = {"CarveMix": {"classes": [1]}}
    return {name: type(mix)(p=1.0, boxes="estimate", **own.get(name, {})) for name, mix in family().items()}


_TITLES = {
    "images": "images",
    "boxes": "images + {n} boxes",
    "semantic": "images + map",
    "family": "every method, images + map + {n} boxes",
    "masks": "images + {n} masks",
}


def _batch_job(name: str, settings: Settings, on_progress: Progress | None) -> Iterator[Result]:
    for dtype in settings.dtypes:
        for batch in settings.batches:
            image = batch * 3 * settings.size**2 * torch.empty((), dtype=dtype).element_size()
            one = image + (batch * settings.objects * settings.size**2 if name == "masks" else 0)
            batches = make_batches(
                settings.ring(one),
                batch,
                settings.size,
                settings.objects,
                masks=name == "masks",
                dtype=dtype,
                device=settings.device,
                seed=settings.seed,
            )
            what = _TITLES[name].format(n=settings.objects)
            title = f"{what}, B={batch}, {settings.size}×{settings.size} {str(dtype)[6:]}"
            result = Result(name, title)
            ring = len(batches) * nbytes(batches[0], name == "masks") / 2**20
            result.notes.append(f"ring: {len(batches)} batches, {ring:.0f} MiB; {settings.threads} threads")
            if torch.float16 not in settings.dtypes:
                result.notes.append("fp16: not run, it is a job for CUDA devices")
            contenders = batch_contenders(name, batches)
            yield _timed(result, contenders, len(batches), settings, on_progress, settings.threads, settings.device)


def boxes_contenders(count: int, objects: int, size: int, device: str = "cpu", seed: int = 0) -> list[Contender]:
    """The box part alone, given a plan, over a ring of 3: each image brings its own boxes and its partner's."""
    batches = make_batches(3, count, 64, objects, device=device, seed=seed)
    for batch in batches:  # boxes of large images; their pixels aren't needed
        for target in batch.targets:
            target["boxes"] *= size / 64
    canvas = torch.empty(1, dtype=torch.uint8).expand(count, 3, size, size)
    contenders = []
    for patches, region in ((1, None), (5, cd.regions.MultiBox(cd.regions.AreaBox((0.02, 0.1)), 5))):
        mix = cd.CutMix(p=1.0, region=region)
        plans = [mix.make_plan(canvas, generator=torch.Generator().manual_seed(seed + n)) for n in range(3)]

        def make(plans: Sequence[cd.MixPlan] = plans) -> Callable[[int], Any]:
            return lambda index: cd.functional.mix_instances(batches[index].targets, plans[index])

        contenders.append(
            Contender(f"ours, {patches} patch{'es' if patches > 1 else ''}", make, "ragged, given a plan")
        )
    return contenders


def _boxes_only(name: str, settings: Settings, on_progress: Progress | None) -> Iterator[Result]:
    count, objects = (8, 4) if settings.quick else (64, 40)
    result = Result(name, f"boxes alone, {count} images × ({objects} + {objects})", floor="")
    contenders = boxes_contenders(count, objects, settings.size, settings.device, settings.seed)
    yield _timed(result, contenders, 3, settings, on_progress, settings.threads, settings.device)


# ----------------------------------------------------------------------------------------------------------- per sample


def _ours_albumentations(name: str, samples: Sequence[dict[str, Any]], **settings: Any) -> Contender:
    def make() -> Callable[[int], Any]:
        adapter, albumentations = import_module("cutmix_dense.albumentations"), import_module("albumentations")
        mix = getattr(adapter, name)(p=1.0, metadata_key="mix_metadata", **settings)
        box = albumentations.BboxParams(format="pascal_voc", label_fields=["labels"])
        compose = albumentations.Compose([mix], bbox_params=box)
        given = [peers.albumentations_sample(sample) for sample in samples]
        donors = 3 if name == "Mosaic" else 1

        def call(index: int) -> Any:
            more = [given[other] for other in peers.partners(index, donors, len(given))]
            return compose(**given[index], mix_metadata=more)

        return call

    return Contender(f"ours albumentations.{name}", make)


def _ours_mmengine(name: str, samples: Sequence[dict[str, Any]], cached: int = 0) -> Contender:
    def make() -> Callable[[int], Any]:
        registry = import_module("cutmix_dense.mmengine").TRANSFORMS
        mix = registry.build({"type": f"cutmix_dense.{name}", "p": 1.0, "max_cached_images": cached})
        results = peers.mmdet_results(samples)
        donors = 0 if cached else 3 if name == "Mosaic" else 1

        def call(index: int) -> Any:
            more = {"mix_results": [results[i] for i in peers.partners(index, donors, len(results))]}
            return mix({**results[index], **(more if donors else {})})

        return call

    return Contender(f"ours mmengine.{name}{', cached' if cached else ''}", make, warmup=max(2, cached + 4))


def _sample_floor(samples: Sequence[dict[str, Any]]) -> Contender:
    def make() -> Callable[[int], Any]:
        buffer = np.empty_like(samples[0]["image"])
        return lambda index: np.copyto(buffer, samples[index]["image"])

    return Contender(FLOOR, make)


def _sample_job(name: str, settings: Settings, on_progress: Progress | None) -> Iterator[Result]:
    masks = name == "sample-masks"
    pixels = settings.size**2
    ring = max(6, settings.ring(pixels * (4 + settings.objects * masks)))
    samples = make_samples(ring, settings.size, settings.objects, masks=masks, seed=settings.seed)
    with_masks = f", {settings.objects} masks" if masks else ""
    title = f"one sample, {settings.size}×{settings.size}×3 uint8, {settings.objects} boxes, a class map{with_masks}"
    result = Result(name, title, notes=[f"ring: {ring} samples; 1 thread; floor: the image alone"])
    rows = [_sample_floor(samples)]
    if masks:
        rows += [_ours_mmengine("CopyPaste", samples), _ours_mmengine("CutMix", samples)]
    else:
        rows += [_ours_albumentations("CutMix", samples), _ours_albumentations("Mosaic", samples)]
        rows += peers.albumentations_samples(samples)
        rows += [_ours_mmengine("CutMix", samples), _ours_mmengine("CutMix", samples, cached=8)]
        rows += [_ours_mmengine("Mosaic", samples), _ours_mmengine("Mosaic", samples, cached=8)]
    rows += peers.mmdet_samples(samples, masks) + peers.ultralytics_samples(samples, masks)
    yield _timed(result, rows, ring, settings, on_progress, 1)


def _sync_job(name: str, settings: Settings, on_progress: Progress | None) -> Iterator[Result]:
    """Given a plan, does anything wait for the device? Asked of torch, which then raises; on CUDA only."""
    result = Result(name, "host syncs, given a plan", floor="", notes=["a row with an error has a sync"])
    if torch.device(settings.device).type != "cuda":
        result.notes = ["not run: a job for CUDA devices"]
        yield result
        return
    batch = make_batches(1, settings.batches[0], settings.size, settings.objects, device=settings.device)[0]
    mix, out = cd.CutMix(p=1.0), torch.empty_like(batch.images)
    plan = mix.make_plan(batch.images)
    calls: dict[str, Callable[[], Any]] = {
        "images": lambda: cd.functional.mix_pixels(batch.images, plan, out=out),
        "semantic": lambda: cd.functional.mix_semantic(batch.semantic, plan),
        "padded boxes": lambda: mix.apply_plan(plan, batch.images, padded_targets(batch), out=out),
    }
    for what, call in calls.items():
        row = Timing(what, "set_sync_debug_mode('error')", calls=1)
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


JOBS: dict[str, Callable[[str, Settings, Progress | None], Iterator[Result]]] = {
    "images": _batch_job,
    "boxes": _batch_job,
    "boxes-only": _boxes_only,
    "semantic": _batch_job,
    "family": _batch_job,
    "masks": _batch_job,
    "sample": _sample_job,
    "sample-masks": _sample_job,
    "syncs": _sync_job,
}
"""Jobs by name, in the order they are done; ``tools/benchmark.py`` adds the pipeline and the growth of the cost."""
