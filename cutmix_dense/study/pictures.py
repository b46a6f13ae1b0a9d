"""The comparison picture: ground truth and every variant's prediction of the same validation images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tvf

from cutmix_dense.study.tables import Finished

PICTURE = "predictions.png"
PREDICTIONS = "predictions.pt"
"""File in a run's folder with the kept images, targets and predictions."""


def draw_pictures(finished: Finished, out: Path) -> bool:
    """Draw ``predictions.png`` from what the first seed's runs kept; False if they kept nothing.

    Args:
        finished: the runs.
        out: folder of the study.
    """
    seed = finished.study.seeds[0]
    kept: dict[str, dict[str, Any]] = {}
    for name in finished.compared:
        file = out / name / f"seed-{seed}" / PREDICTIONS
        if finished.study.measuring.pictures and seed in finished.results[name] and file.is_file():
            kept[name] = torch.load(file, weights_only=True)
    path = out / PICTURE
    if not kept:
        path.unlink(missing_ok=True)
        return False
    from cutmix_dense.visualization import contact_sheet, present_classes

    first = next(iter(kept.values()))
    rows = [_row(number, kept, finished.study.measuring.score) for number in range(len(first["samples"]))]
    shown = [s[side] for run in kept.values() for s in run["samples"] for side in ("target", "prediction")]
    score = finished.study.measuring.score
    boxes = any("boxes" in target for target in shown)
    contact_sheet(
        rows,
        headers=("ground truth", *kept),
        title=finished.study.title,
        subtitle=f"seed {seed}, last checkpoint" + (f", boxes of score {score:g} and above" if boxes else ""),
        legend=present_classes([_drawable(target, score) for target in shown], first["classes"]),
    ).save(path)
    return True


def _row(number: int, kept: Mapping[str, dict[str, Any]], score: float) -> list[Any]:
    from cutmix_dense.visualization import Drawing, draw_sample

    first = next(iter(kept.values()))
    sample = first["samples"][number]
    image, classes = sample["image"], first["classes"]
    cells = [(sample["target"], f"image {sample['target'].get('image_id', number)}")]
    for run in kept.values():
        prediction = _drawable(run["samples"][number]["prediction"], score)
        found = _counted(prediction["labels"]) if "labels" in prediction else _agreement(prediction, sample["target"])
        cells.append((prediction, found))
    drawings = []
    for target, caption in cells:
        maps = target.get("semantic") if "boxes" not in target else None
        if maps is not None and maps.shape[-2:] != image.shape[-2:]:
            image = tvf.resize(image, list(maps.shape[-2:]))
        picture = draw_sample(
            image, {"semantic": maps} if maps is not None else _instances(target), classes, fit=(240, 320),
            semantic=maps is not None, names=False,
        )  # fmt: skip
        drawings.append(Drawing(picture, caption))
    return drawings


def _instances(target: Mapping[str, Any]) -> dict[str, Any]:
    return {key: target[key] for key in ("boxes", "labels", "masks") if key in target}


def _drawable(target: Mapping[str, Any], score: float) -> dict[str, Any]:
    """A target as it is, of a prediction the boxes that reach the score."""
    if "boxes" not in target or "scores" not in target:
        return dict(target)
    sure = target["scores"] >= score
    return {key: value[sure] for key, value in target.items() if isinstance(value, Tensor)}


def _counted(labels: Tensor) -> str:
    return f"{len(labels)} {'box' if len(labels) == 1 else 'boxes'}"


def _agreement(prediction: Mapping[str, Any], target: Mapping[str, Any]) -> str:
    if "semantic" not in prediction or "semantic" not in target:
        return ""
    truth = target["semantic"].as_subclass(Tensor)
    labelled = truth != 255
    right = (prediction["semantic"] == truth)[labelled].float().mean() if bool(labelled.any()) else torch.tensor(0.0)
    return f"{float(right):.0%} of labelled pixels right"


def plain_tensors(value: Any) -> Any:
    """The same without tensor subclasses and arrays, so that it can be loaded without trust in the file.

    Args:
        value: a tensor, number, text, or a dict, list or tuple of those; other things become text.
    """
    if isinstance(value, Tensor):
        return value.detach().cpu().as_subclass(Tensor)
    if isinstance(value, Mapping):
        return {str(key): plain_tensors(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain_tensors(item) for item in value]
    return value if isinstance(value, (int, float, str, bool, type(None))) else str(value)
