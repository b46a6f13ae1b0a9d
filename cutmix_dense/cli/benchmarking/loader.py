"""Pictures per second out of a DataLoader that decodes JPEG files, and how much of that time a mix takes."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

import cutmix_dense as cd
from cutmix_dense.cli.benchmarking import peers
from cutmix_dense.cli.benchmarking.results import Progress, Result, Settings, timed
from cutmix_dense.cli.benchmarking.samples import draw_boxes
from cutmix_dense.cli.benchmarking.timing import Contender

Sample = dict[str, Any]
_PLAIN, _EMPTY = "without a mix", "empty A.Compose per sample"
_WORKERS = (0, 1)


class Pictures(Dataset):
    """JPEG files with boxes, each decoded anew; what was read last goes along with the next as its partners."""

    def __init__(self, files: Sequence[Path], boxes: np.ndarray, through: Any = None, partners: str = "") -> None:
        self.files, self.boxes, self.through, self.partners = files, boxes, through, partners
        self.cv2: Any = import_module("cv2")
        self.last: deque[Sample] = deque(maxlen=3)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        image = self.cv2.cvtColor(self.cv2.imread(str(self.files[index])), self.cv2.COLOR_BGR2RGB)
        sample = {"image": image, "bboxes": self.boxes[index], "labels": np.zeros(len(self.boxes[index]), np.int64)}
        if self.through is not None:
            given = {**sample, self.partners: [*self.last]} if self.partners else sample
            self.last.append(sample)
            sample = self.through(**given)
        boxes = torch.as_tensor(np.asarray(sample["bboxes"], np.float32).reshape(-1, 4))
        target = {"boxes": boxes, "labels": torch.as_tensor(np.asarray(sample["labels"], np.int64))}
        return torch.from_numpy(np.ascontiguousarray(sample["image"])).permute(2, 0, 1), target


class Collate:
    """Stacks the images of a batch, and mixes it if it has a transform."""

    def __init__(self, mix: Any = None) -> None:
        self.mix = mix

    def __call__(self, samples: list[tuple[torch.Tensor, dict[str, torch.Tensor]]]) -> Any:
        """A batch of images, and the list of its targets."""
        images, targets = torch.stack([image for image, _ in samples]), [target for _, target in samples]
        return images, targets if self.mix is None else self.mix(images, targets)


def share_of_loading(result: Result, name: str) -> float:
    """The part of a row's time that a load without its mix doesn't take; NaN if either wasn't timed."""
    way, workers = name.rsplit(", ", 1)
    row = result.row(name)
    base = result.row(f"{_EMPTY if 'per sample' in way else _PLAIN}, {workers}")
    return max(0.0, 1 - base.median / row.median) if row and base else float("nan")


def loader_job(name: str, settings: Settings, on_progress: Progress | None) -> Iterator[Result]:
    """Epochs over 256 pictures in a temporary folder; a row's time is that of one picture, on one thread."""
    count, height, width = (8, 48, 64) if settings.quick else (256, 480, 640)
    batch = min(settings.batch, count)
    title = f"loader: {count} JPEGs of {width}×{height}, {settings.objects} boxes, batches of {batch}"
    floor = f"{_PLAIN}, {_WORKERS[-1]} worker"
    result = Result(name, title, floor=floor, notes=["partners of a sample are the pictures read before it"])
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        generator = torch.Generator().manual_seed(settings.seed)
        boxes = draw_boxes(count * settings.objects, min(height, width), generator).reshape(count, -1, 4).numpy()
        files: list[Path] = []

        def loading(through: Callable[[Any], tuple[Any, str]] | None, mix: Any, workers: int) -> Contender:
            def make() -> Callable[[int], Any]:
                if not files:
                    files.extend(write_pictures(Path(folder), count, (height, width), settings.seed))
                way = through(import_module("albumentations")) if through else ()
                data, collate = Pictures(files, boxes, *way), Collate(mix)
                loader = DataLoader(
                    data, batch, num_workers=workers, collate_fn=collate, persistent_workers=workers > 0
                )
                return lambda index: sum(len(images) for images, _ in loader)

            return Contender("", make, warmup=1)

        rows = []
        for workers in _WORKERS:
            for way, (through, mix) in _ways((height, width)).items():
                row = loading(through, mix, workers)
                row.name = f"{way}, {workers} worker{'s' * (workers != 1)}"
                rows.append(row)
        epochs = Settings(**{**settings.__dict__, "repeats": max(2, settings.repeats // 12), "budget": 60.0})
        timed(result, rows, [], 1, epochs, on_progress, counted=False)
    for timing in result.rows:
        timing.seconds = [seconds / count for seconds in timing.seconds]
    for timing in result.rows:
        if timing.seconds:
            timing.does = f"{1 / timing.median:.0f} images/s"
            if "CutMix" in timing.name or "Mosaic" in timing.name:
                timing.does += f"; the mix takes {share_of_loading(result, timing.name):.0%} of loading"
    yield result


def _ways(size: tuple[int, int]) -> dict[str, tuple[Any, Any]]:
    """Per way of mixing what samples go through, with the argument that takes their partners; and what batches do."""

    def ours(method: str) -> Any:
        def through(albumentations: Any) -> Any:
            mix = getattr(import_module("cutmix_dense.albumentations"), method)(p=1.0, metadata_key="mix_metadata")
            return peers.albumentations_pipeline(albumentations, mix), "mix_metadata"

        return through

    def empty(albumentations: Any) -> Any:
        return peers.albumentations_pipeline(albumentations, albumentations.NoOp(p=1.0)), ""

    def theirs(albumentations: Any) -> Any:
        mosaic = peers.albumentations_mosaic(albumentations, size)
        return peers.albumentations_pipeline(albumentations, mosaic), "mosaic_metadata"

    return {
        _PLAIN: (None, None),
        "ours CutMix as collate_fn": (None, cd.CutMix(p=1.0)),
        "ours Mosaic as collate_fn": (None, cd.Mosaic(p=1.0)),
        _EMPTY: (empty, None),
        "ours albumentations.CutMix per sample": (ours("CutMix"), None),
        "ours albumentations.Mosaic per sample": (ours("Mosaic"), None),
        "albumentations Mosaic per sample": (theirs, None),
    }


def write_pictures(folder: Path, count: int, size: tuple[int, int], seed: int) -> list[Path]:
    """JPEG files of smooth colours with a little grain, which compress and decode about as photographs do."""
    cv2: Any = import_module("cv2")
    rng = np.random.default_rng(seed)
    files = [folder / f"{index}.jpg" for index in range(count)]
    for file in files:
        rough = rng.integers(0, 256, (size[0] // 16, size[1] // 16, 3), dtype=np.uint8)
        picture = cv2.resize(rough, size[::-1], interpolation=cv2.INTER_CUBIC).astype(np.int16)
        picture += rng.integers(-12, 13, picture.shape, dtype=np.int16)
        cv2.imwrite(str(file), picture.clip(0, 255).astype(np.uint8))
    return files
