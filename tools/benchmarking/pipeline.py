"""The whole way from files to the device, in images per second, with and without mixing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

import cutmix_dense as cd
from tools.benchmarking.jobs import Progress, Result, Settings
from tools.benchmarking.timing import Timing, threads

__all__ = ["pipeline"]


class Pictures(Dataset):
    """JPEG files of the demo set with boxes, each of them several times over."""

    def __init__(self, root: Path, times: int) -> None:
        from cutmix_dense.data import open_dataset

        self.data = open_dataset(root, "coco", "train")
        self.times = times

    def __len__(self) -> int:
        return len(self.data) * self.times

    def __getitem__(self, index: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        image, target = self.data[index % len(self.data)]
        return image, {key: target[key] for key in ("boxes", "labels")}


def together(samples: list[tuple[torch.Tensor, dict[str, torch.Tensor]]]) -> tuple[torch.Tensor, list[Any]]:
    """A batch without a mix."""
    return torch.stack([image for image, _ in samples]), [target for _, target in samples]


class MixedTogether:
    """A batch that is mixed in the worker."""

    def __init__(self) -> None:
        self.mix = cd.CutMix(p=1.0)

    def __call__(self, samples: list[tuple[torch.Tensor, dict[str, torch.Tensor]]]) -> Any:
        """Stack, then mix."""
        images, targets = together(samples)
        return self.mix(images, targets)


def pipeline(name: str, settings: Settings, folder: Path, on_progress: Progress | None = None) -> Iterator[Result]:
    """Images per second; the time of a row is that of one image.

    Args:
        name: the job's.
        settings: of the run.
        folder: where the demo set is drawn, once.
        on_progress: as for the other jobs.
    """
    workers = 1 if settings.quick else settings.threads
    batch = min(16, *settings.batches)
    title = f"loader to device: JPEG, decode, batches of {batch}, {workers} workers"
    result = Result(name, title, floor="without a mix")
    try:
        from cutmix_dense.data.demo import make_demo_set

        count, size = (8, (96, 128)) if settings.quick else (64, (480, 640))
        root = folder / f"demo-{count}-{size[0]}x{size[1]}"
        if not (root / "coco").is_dir():
            make_demo_set(root, images=count, val=1, size=size, seed=settings.seed)
        data = Pictures(root / "coco", times=2 if settings.quick else 5)
    except ImportError as error:
        result.rows = [Timing("loader", problem=f"not installed: {error}")]
        yield result
        return
    mix = cd.CutMix(p=1.0)
    ways: dict[str, tuple[Callable[..., Any], Any]] = {
        "without a mix": (together, None),
        "ours CutMix after collate, on the device": (together, mix),
        "ours CutMix as collate_fn, in the workers": (MixedTogether(), None),
    }
    rows = {name: Timing(name) for name in ways}
    rounds = max(1, settings.repeats // 20)
    with threads(settings.threads):
        for done in range(rounds):
            for way, (collate, after) in ways.items():
                if on_progress:
                    on_progress(title, done, rounds)
                seconds = _epoch(data, batch, workers, collate, after, settings.device)
                rows[way].seconds += seconds
                rows[way].calls += len(seconds)
    for row in rows.values():
        row.does = f"{1 / row.median:.0f} images/s"
    result.rows = list(rows.values())
    result.notes.append("one epoch per row and round, the start of the workers left out; a row's time is one image's")
    yield result


def _epoch(data: Dataset, batch: int, workers: int, collate: Callable[..., Any], mix: Any, device: str) -> list[float]:
    """Seconds per image of an epoch, from the first batch on."""
    on_cuda = torch.device(device).type == "cuda"
    loader = DataLoader(data, batch, num_workers=workers, collate_fn=collate, drop_last=True, pin_memory=on_cuda)
    count, began = 0, 0.0
    for images, targets in loader:
        images = images.to(device, non_blocking=True)
        if mix is not None:
            mix(images, [{key: value.to(device) for key, value in target.items()} for target in targets])
        if began:
            count += len(images)
        else:
            began = time.perf_counter()
    if on_cuda:
        torch.cuda.synchronize()
    return [(time.perf_counter() - began) / max(count, 1)]
