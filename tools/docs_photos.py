"""What the documentation's pictures of photos show: four of COCO 2017, mixed by every method.

The photos are from COCO's training set, under the licence CC BY 2.0; README and docs/methods.md give credit.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL.Image import Image
from torch import Tensor

from cutmix_dense.cli.specs import build_transform
from cutmix_dense.data.mixed_sample import open_complete
from cutmix_dense.visualization import Drawing, contact_sheet, draw_sample, to_pil

PHOTOS = {471: "bus", 599: "cat", 629: "red motorcycle", 73: "old motorcycle"}
"""COCO's numbers of the base, its partner, and the two further pictures that a mosaic takes; what they are called."""

FRONT: dict[str, tuple[int, tuple[str, ...]]] = {
    "CutMix": (4, ("region=AreaBox(area=(0.3, 0.4))",)),
    "ResizeMix": (4, ("scope=0.5,0.7",)),
    "Mosaic": (4, ()),
    "CopyPaste": (4, ()),
    "CowMix": (0, ()),
    "GridMix": (2, ()),
}
"""What the first picture shows beside base and partner: the seed and the settings of each method."""

GALLERY: dict[str, tuple[int, tuple[str, ...]]] = FRONT | {
    "Cutout": (2, ("region=AreaBox(area=(0.1, 0.2))",)),
    "RICAP": (1, ()),
    "StripeMix": (2, ()),
    "CarveMix": (1, ()),
    "ClassMix": (1, ()),
    "FMix": (4, ()),
    "SaliencyMix": (1, ()),
    "MixUp": (1, ()),
}
"""The same for every picture of the gallery."""

LOOK: dict[str, Any] = {"fit": (322, 480), "alpha": 0.25, "font_size": 18}


def load_photos(root: Path) -> tuple[list[Tensor], list[dict[str, Any]], tuple[str, ...]]:
    """Images, targets and class names of PHOTOS, from a folder of COCO 2017 (`annotations`, `train2017`).

    Each target has a semantic map besides, made of its instances; the smaller ones lie in front.
    """
    dataset = open_complete(root, "coco")
    place = {int(dataset.image_path(index).stem): index for index in range(len(dataset))}
    images, targets = zip(*(dataset[place[number]] for number in PHOTOS))
    for target in targets:
        target["semantic"] = torch.zeros(target["masks"].shape[1:], dtype=torch.uint8)
        for row in target["area"].argsort(descending=True):
            target["semantic"][target["masks"][row].bool()] = int(target["labels"][row])
    return list(images), list(targets), dataset.classes


def mixed_photo(method: str, root: Path, seed: int, words: tuple[str, ...]) -> Tensor:
    """What a method makes of the first photo, with the boxes, masks and visible shares of what is left; (3, H, W)."""
    images, targets, classes = load_photos(root)
    pool = 4 if method in ("Mosaic", "RICAP") else 2
    generator = torch.Generator().manual_seed(seed)
    mixed, after = build_transform([method, *words])(images[:pool], targets[:pool], generator=generator)
    return draw_sample(mixed[0], after[0], classes, **LOOK)


def draw_gallery(method: str, root: Path) -> Image:
    """The picture of a method in the gallery."""
    return to_pil(mixed_photo(method, root, *GALLERY[method]))


def draw_front(_: str, root: Path) -> Image:
    """Base, partner and six methods with boxes, masks and names; the picture that README and start page begin with."""
    images, targets, classes = load_photos(root)
    cells = [
        Drawing(draw_sample(images[side], targets[side], classes, **LOOK), title)
        for side, title in enumerate(("base", "partner"))
    ]
    cells += [Drawing(mixed_photo(method, root, *FRONT[method]), method) for method in FRONT]
    return contact_sheet([cells[:4], cells[4:]], headers=(), caption_size=22)


PICTURES: dict[str, tuple[Callable[[str, Path], Image], str]] = {
    "front": (draw_front, "front"),
    **{f"gallery-{method.lower()}": (draw_gallery, method) for method in GALLERY},
}
"""What draws each file from the folder of COCO, and of what."""
