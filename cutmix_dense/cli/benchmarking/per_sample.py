"""One sample at a time, as numpy arrays: our adapters beside the pipelines that they stand in."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from cutmix_dense.cli.benchmarking import peers
from cutmix_dense.cli.benchmarking.results import FLOOR, Progress, Result, Settings, timed
from cutmix_dense.cli.benchmarking.samples import make_samples
from cutmix_dense.cli.benchmarking.timing import Contender


def _ours_albumentations(name: str, samples: Sequence[dict[str, Any]]) -> Contender:
    def make() -> Callable[[int], Any]:
        adapter, albumentations = import_module("cutmix_dense.albumentations"), import_module("albumentations")
        mix = getattr(adapter, name)(p=1.0, metadata_key="mix_metadata")
        compose = peers.albumentations_pipeline(albumentations, mix)
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


def sample_job(name: str, settings: Settings, on_progress: Progress | None) -> Iterator[Result]:
    """One sample at a time through the adapters and through peers, on one thread."""
    masks = name == "sample-masks"
    pixels = settings.size**2
    ring = max(6, settings.ring(pixels * (4 + settings.objects * masks)))
    samples = make_samples(ring, settings.size, settings.objects, masks=masks, seed=settings.seed)
    with_masks = f", {settings.objects} masks" if masks else ""
    title = f"one sample, {settings.size}×{settings.size}×3 uint8, {settings.objects} boxes, a class map{with_masks}"
    result = Result(name, title, notes=[f"ring: {ring} samples; 1 thread; floor: the image alone"])
    rows, others = [_sample_floor(samples)], peers.mmdet_samples(samples, masks)
    if masks:
        rows += [_ours_mmengine("CopyPaste", samples), _ours_mmengine("CutMix", samples)]
    else:
        rows += [_ours_albumentations(method, samples) for method in ("CutMix", "Mosaic", "CopyPaste")]
        rows += [_ours_mmengine("CutMix", samples), _ours_mmengine("Mosaic", samples)]
        rows += [_ours_mmengine("Mosaic", samples, cached=8)]
        others = peers.albumentations_samples(samples) + others
    others += peers.ultralytics_samples(samples, masks)
    yield timed(result, rows, others, ring, settings, on_progress)
