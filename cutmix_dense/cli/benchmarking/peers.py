"""One adapter per peer: each gives contenders over the same batches or samples, and imports its package only then.

Ultralytics is under the AGPL: it is called here, in the benchmark, and nowhere else.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import torch

from cutmix_dense.cli.benchmarking.samples import Batch
from cutmix_dense.cli.benchmarking.timing import Contender

Call = Callable[[Any], Any]


def quiet() -> None:
    """Keep peers from asking the network for updates and from warning at every call."""
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
    os.environ.setdefault("YOLO_OFFLINE", "1")
    os.environ.setdefault("YOLO_VERBOSE", "False")
    warnings.filterwarnings("ignore")


def partners(index: int, count: int, ring: int) -> list[int]:
    """The images behind one in the ring."""
    return [(index + step + 1) % ring for step in range(count)]


# ------------------------------------------------------------------------------------------------------------- batches


def batch_peers(job: str, batches: Sequence[Batch]) -> list[Contender]:
    """Peers that mix a batch, for one of the jobs: images, boxes, semantic or masks."""
    return [Contender(name, make(batches), does) for name, does, make in _BATCH.get(job, ())]


def _torchvision(name: str) -> Callable[[Sequence[Batch]], Callable[[], Call]]:
    def of(batches: Sequence[Batch]) -> Callable[[], Call]:
        def make() -> Call:
            peer = getattr(import_module("torchvision.transforms.v2"), name)(num_classes=19)
            if name == "MixUp" and not batches[0].images.is_floating_point():
                floats = _floats(batches)
                return lambda index: peer(floats[index], batches[index].classes)
            return lambda index: peer(batches[index].images, batches[index].classes)

        return make

    return of


def _kornia_cutmix(batches: Sequence[Batch]) -> Callable[[], Call]:
    def make() -> Call:
        kornia, floats = import_module("kornia.augmentation"), _floats(batches)
        peer = kornia.RandomCutMixV2(data_keys=["input", "class"], p=1.0, use_correct_lambda=True)
        return lambda index: peer(floats[index], batches[index].classes)

    return make


def _kornia_mosaic(boxes: bool) -> Callable[[Sequence[Batch]], Callable[[], Call]]:
    def of(batches: Sequence[Batch]) -> Callable[[], Call]:
        def make() -> Call:
            kornia, floats = import_module("kornia.augmentation"), _floats(batches)
            size = tuple(batches[0].images.shape[-2:])
            keys = ["input", "bbox_xyxy"] if boxes else ["input"]
            peer = kornia.RandomMosaic(output_size=size, p=1.0, data_keys=keys)
            if boxes:
                return lambda index: peer(floats[index], batches[index].boxes)
            return lambda index: peer(floats[index])

        return make

    return of


def _kornia_transplantation(batches: Sequence[Batch]) -> Callable[[], Call]:
    def make() -> Call:
        kornia, floats = import_module("kornia.augmentation"), _floats(batches)
        maps = [batch.semantic.long() for batch in batches]
        peer = kornia.RandomTransplantation(p=1.0)
        return lambda index: peer(floats[index], maps[index])

    return make


def _monai(maps: bool) -> Callable[[Sequence[Batch]], Callable[[], Call]]:
    def of(batches: Sequence[Batch]) -> Callable[[], Call]:
        def make() -> Call:
            peer = import_module("monai.transforms").CutMix(batch_size=len(batches[0].images), alpha=1.0)
            if maps:
                return lambda index: peer(batches[index].images, batches[index].semantic[:, None])
            return lambda index: peer(batches[index].images)

        return make

    return of


def _floats(batches: Sequence[Batch]) -> list[torch.Tensor]:
    return [batch.floats for batch in batches]


_FLOAT = "fp32 (4× the bytes)"
_BATCH: dict[str, tuple[tuple[str, str, Callable[[Sequence[Batch]], Callable[[], Call]]], ...]] = {
    "images": (
        ("torchvision v2.CutMix", "class labels; one box for the batch", _torchvision("CutMix")),
        ("torchvision v2.MixUp", f"class labels; {_FLOAT} where images are uint8", _torchvision("MixUp")),
        ("kornia RandomCutMixV2", f"class labels; {_FLOAT}", _kornia_cutmix),
        ("kornia RandomMosaic", f"no boxes here; {_FLOAT}", _kornia_mosaic(False)),
        ("MONAI CutMix", "one box for the batch, clipped at one side only", _monai(False)),
    ),
    "boxes": (("kornia RandomMosaic", f"mosaic; boxes clipped, not filtered; {_FLOAT}", _kornia_mosaic(True)),),
    "semantic": (
        ("MONAI CutMix", "one box for the batch; maps as (B, 1, H, W)", _monai(True)),
        ("kornia RandomTransplantation", f"one class pasted; {_FLOAT}, int64 maps", _kornia_transplantation),
    ),
    "masks": (),
}


# ------------------------------------------------------------------------------------------------------ Albumentations


def albumentations_pipeline(albumentations: Any, transform: Any) -> Any:
    """One transform in a ``Compose`` that reads and writes boxes and their labels."""
    boxes = albumentations.BboxParams(format="pascal_voc", label_fields=["labels"])
    return albumentations.Compose([transform], bbox_params=boxes)


def albumentations_mosaic(albumentations: Any, size: tuple[int, int]) -> Any:
    """Its Mosaic of 2 × 2 whole pictures onto a canvas of their size."""
    return albumentations.Mosaic(grid_yx=(2, 2), target_size=size, cell_shape=size, p=1.0)


def albumentations_samples(samples: Sequence[dict[str, Any]]) -> list[Contender]:
    """A pipeline that changes nothing, and its Mosaic: image, boxes and class map."""
    given = [albumentations_sample(sample) for sample in samples]

    def empty() -> Call:
        albumentations = import_module("albumentations")
        compose = albumentations_pipeline(albumentations, albumentations.NoOp(p=1.0))
        return lambda index: compose(**given[index])

    def mosaic() -> Call:
        albumentations = import_module("albumentations")
        size = samples[0]["image"].shape[:2]
        compose = albumentations_pipeline(albumentations, albumentations_mosaic(albumentations, size))

        def call(index: int) -> Any:
            return compose(**given[index], mosaic_metadata=[given[i] for i in partners(index, 3, len(given))])

        return call

    return [
        Contender("empty A.Compose", empty, "NoOp: reads and writes boxes only"),
        Contender("albumentations Mosaic", mosaic, "boxes clipped, not made tight"),
    ]


def albumentations_sample(sample: dict[str, Any]) -> dict[str, Any]:
    """A sample under Albumentations' names."""
    given = {"image": sample["image"], "mask": sample["semantic"]}
    given |= {"bboxes": sample["boxes"], "labels": sample["labels"]}
    return given


# --------------------------------------------------------------------------------------------------------------- mmdet


def mmdet_results(samples: Sequence[dict[str, Any]], semantic: bool = True) -> list[dict[str, Any]]:
    """Samples as mmdet's pipelines hold them; masks as ``BitmapMasks``."""
    boxes, masks = import_module("mmdet.structures.bbox"), import_module("mmdet.structures.mask")
    results = []
    for sample in samples:
        height, width = sample["image"].shape[:2]
        made = {
            "img": sample["image"],
            "img_shape": (height, width),
            "gt_bboxes": boxes.HorizontalBoxes(torch.from_numpy(sample["boxes"])),
            "gt_bboxes_labels": sample["labels"],
            "gt_ignore_flags": np.zeros(len(sample["labels"]), dtype=bool),
        }
        if semantic:
            made["gt_seg_map"] = sample["semantic"]
        if "masks" in sample:
            made["gt_masks"] = masks.BitmapMasks(sample["masks"], height, width)
        results.append(made)
    return results


def mmdet_samples(samples: Sequence[dict[str, Any]], masks: bool = False) -> list[Contender]:
    """The Mosaic and CachedMosaic of mmdet; with masks its CopyPaste."""

    def built(name: str, mixed: int, **settings: Any) -> Callable[[], Call]:
        def make() -> Call:
            peer = getattr(import_module("mmdet.datasets.transforms"), name)(**settings)
            results = mmdet_results(samples, semantic=False)

            def call(index: int) -> Any:
                more = {"mix_results": [dict(results[i]) for i in partners(index, mixed, len(results))]}
                return peer({**results[index], **(more if mixed else {})})

            return call

        return make

    if masks:
        return [Contender("mmdet CopyPaste", built("CopyPaste", 1), "no class map")]
    half = tuple(side // 2 for side in samples[0]["image"].shape[1::-1])
    full = tuple(samples[0]["image"].shape[1::-1])
    cached = {"max_cached_images": 8, "pad_val": 114.0}
    return [
        Contender("mmdet Mosaic", built("Mosaic", 3, img_scale=half, prob=1.0), "no class map"),
        Contender("mmdet Mosaic, usual 2×2 canvas", built("Mosaic", 3, img_scale=full, prob=1.0), "no class map"),
        Contender(
            "mmdet CachedMosaic",
            built("CachedMosaic", 0, img_scale=half, prob=1.0, **cached),
            "no class map; deep-copies into its cache, as it does in use",
            warmup=12,
        ),
    ]


# --------------------------------------------------------------------------------------------------------- Ultralytics


class _UltralyticsData:
    """What its transforms ask of a dataset: a count, and labels of one image; partners are the next in the ring."""

    cache = "ram"
    buffer: Sequence[int]

    def __init__(self, samples: Sequence[dict[str, Any]], masks: bool) -> None:
        self.instances = import_module("ultralytics.utils.instance").Instances
        self.samples = samples
        self.segments = [outlines(sample["boxes"]) if masks else None for sample in samples]
        self.buffer = list(range(len(samples)))

    def __len__(self) -> int:
        return len(self.samples)

    def get_image_and_label(self, index: int) -> dict[str, Any]:
        """An image, which is not copied, with fresh labels."""
        sample, segments = self.samples[index], self.segments[index]
        height, width = sample["image"].shape[:2]
        empty = np.zeros((len(sample["boxes"]), 0, 2), dtype=np.float32)
        return {
            "img": sample["image"],
            "cls": sample["labels"][:, None].astype(np.float32),
            "instances": self.instances(
                sample["boxes"].copy(), empty if segments is None else segments.copy(), None, "xyxy", False
            ),
            "im_file": str(index),
            "ori_shape": (height, width),
            "resized_shape": (height, width),
            "ratio_pad": (1.0, 1.0),
        }


def outlines(boxes: np.ndarray, points: int = 100) -> np.ndarray:
    """Ellipses (N, points, 2) in boxes."""
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)[None]
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    x, y = centre[:, :1] + half[:, :1] * np.cos(angle), centre[:, 1:] + half[:, 1:] * np.sin(angle)
    return np.stack([x, y], axis=2).astype(np.float32)


def ultralytics_samples(samples: Sequence[dict[str, Any]], masks: bool = False) -> list[Contender]:
    """Its CutMix, on the calls where it fired, and Mosaic; with masks (as outlines) its CopyPaste."""
    place: list[_UltralyticsData] = []

    def of(name: str, **settings: Any) -> Callable[[], Call]:
        def make() -> Call:
            module = import_module("ultralytics.data.augment")
            place[:] = place or [_UltralyticsData(samples, masks)]
            return getattr(module, name)(place[0], **settings)

        return make

    def prepare(index: int) -> dict[str, Any]:
        labels = place[0].get_image_and_label(index)
        return {**labels, "img": labels["img"].copy()}

    def with_copy(index: int) -> tuple[dict[str, Any], np.ndarray]:
        labels = prepare(index)
        return labels, labels["img"].copy()

    def fired_call(make: Callable[[], Call]) -> Callable[[], Call]:
        def made() -> Call:
            peer = make()
            return lambda argument: peer(argument[0])

        return made

    def changed(argument: Any, result: Any) -> bool:
        return not np.array_equal(result["img"], argument[1])

    if masks:
        paste = of("CopyPaste", p=0.5, mode="mixup")
        does = "outlines, no masks; half of the objects, those that cover none of the base's"
        return [Contender("ultralytics CopyPaste", fired_call(paste), does, with_copy, changed)]
    full = samples[0]["image"].shape[0]
    does = "no class map; crops, doesn't resize"
    cut = fired_call(of("CutMix", p=1.0))
    return [
        Contender("ultralytics CutMix where it fired", cut, "no class map", with_copy, changed, per_round=40),
        Contender("ultralytics Mosaic", of("Mosaic", imgsz=full // 2, p=1.0, n=4), does, prepare),
        Contender("ultralytics Mosaic, usual 2×2 canvas", of("Mosaic", imgsz=full, p=1.0, n=4), does, prepare),
    ]
