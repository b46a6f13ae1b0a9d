"""Draw the pictures of the documentation: every method, every rule of what is kept, every kind of data.

    python tools/docs_pictures.py
    python tools/docs_pictures.py --only CutMix boxes
    python tools/docs_pictures.py --photos coco    # the first picture and the gallery as well; a folder of COCO 2017

All of them are real calls, on the demo set or on photos, the same for the same versions; they go to docs/pictures.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from PIL.Image import Image

import cutmix_dense as cd
from cutmix_dense.cli.specs import build_transform, family
from cutmix_dense.data import DenseDataset, open_dataset
from cutmix_dense.data.demo import make_demo_set
from cutmix_dense.data.mixed_sample import mix_sample, open_complete
from cutmix_dense.visualization import Drawing, caption_of, contact_sheet, draw_sample, sample_rows
from tools import docs_photos

ROOT = Path(__file__).resolve().parents[1]
QUALITY = 82  # of the WebP files

# the scene and the seed that show best what a method does, and its settings where the defaults show less
METHODS: dict[str, tuple[int, int, tuple[str, ...]]] = dict.fromkeys(family(), (9, 0, ()))
METHODS |= {
    "CarveMix": (9, 3, ()),
    "ClassMix": (9, 1, ()),
    "Cutout": (9, 0, ()),
}

PASTES: dict[str, tuple[int, int, tuple[str, ...]]] = {
    "placed": (9, 1, ("source=batch", "instances=3", "place=random", "overlap=0.2")),
    "blended": (9, 1, ("source=batch", "instances=3", "place=random", "blend=0.5")),
}
"""Settings of CopyPaste that are shown besides."""

Setting = tuple[str, tuple[str, ...]]

# title of each picture of a rule: what is set; all show the same plan
RULES: dict[str, tuple[int, int, tuple[Setting, ...]]] = {
    "visibility": (
        9,
        0,
        (
            ("min_visibility=0", ("min_visibility=0",)),
            ("min_visibility=0.1 (the default)", ()),
            ("min_visibility=0.65", ("min_visibility=0.65",)),
        ),
    ),
    "boxes": (
        11,
        1,
        (
            ('boxes_from="auto" (the default): around the mask', ()),
            ('boxes_from="box": what shows of the box', ("boxes_from=box",)),
        ),
    ),
    "size": (
        9,
        0,
        (
            ("min_size=1 (the default)", ("min_visibility=0",)),
            ("min_size=24", ("min_visibility=0", "min_size=24")),
        ),
    ),
    "filtered": (
        9,
        0,
        (
            ('on_filtered="drop" (the default)', ("min_visibility=0.65",)),
            ('on_filtered="ignore"', ("min_visibility=0.65", "on_filtered=ignore")),
            ('on_filtered="crowd"', ("min_visibility=0.65", "on_filtered=crowd")),
        ),
    ),
    "peers": (
        8,
        7,
        (
            ("ours", ()),
            ('rule="ultralytics"', ("rule=ultralytics",)),
            ('rule="mmdet"', ("rule=mmdet",)),
            ('rule="torchvision"', ("rule=torchvision",)),
        ),
    ),
}

# of each recipe: the epoch, the seed, and the settings
RECIPES: dict[str, tuple[int, int, dict[str, Any]]] = {
    "dense_o2o": (10, 1, {}),
    "yolox": (10, 0, {"size": (240, 320)}),
    "yolo26": (10, 0, {"model": "m", "size": (240, 320)}),
}

KINDS: dict[str, tuple[str, int, int, tuple[str, ...]]] = {
    "clips": ("youtube_vis", 0, 3, ("CutMix",)),
    "paths": ("youtube_vis", 3, 5, ("CutMix(region=PathBox(AreaBox(area=(0.12, 0.3))))",)),
    "volumes": ("decathlon", 4, 3, ("CutMix",)),
    "rotated": ("dota", 0, 3, ("CutMix",)),
}


@cache
def scenes(folder: Path) -> Path:
    """The demo set that the pictures show."""
    return make_demo_set(folder, images=32, val=0, kinds=("images", "clips", "volumes", "aerial"))


def draw_method(name: str, folder: Path) -> Image:
    """Base, partner and what a method makes of them."""
    index, seed, words = PASTES[name] if name in PASTES else METHODS[name]
    name = "CopyPaste" if name in PASTES else name
    dataset = open_complete(scenes(folder) / "voc", "voc")
    made = mix_sample(dataset, build_transform([name, *words]), index, seed=seed)
    cells = sample_rows(made, [""] * len(made.images), dataset.classes, cell=(240, 320))[0]
    partners = ("partner" if len(made.plan.source[0].unique()) < 4 else "partners",) if len(cells) == 3 else ()
    titles = ("base", *partners, "mixed")
    shown = zip(cells, titles, strict=True)
    return contact_sheet([[Drawing(cell.picture, title) for cell, title in shown]], headers=())


def draw_rule(name: str, folder: Path) -> Image:
    """The same mix under several settings of a rule."""
    index, seed, settings = RULES[name]
    dataset = open_complete(scenes(folder) / "voc", "voc")
    cells: list[Drawing] = []
    for title, words in settings:
        made = mix_sample(dataset, build_transform(["CutMix", *words]), index, seed=seed)
        row = sample_rows(made, [""] * len(made.images), dataset.classes, cell=(320, 420))[0]
        if not cells:
            cells += [Drawing(row[0].picture, "base"), Drawing(row[1].picture, "partner")]
        cells.append(Drawing(row[2].picture, f"{title}\n{caption_of(made.rows)}"))
    return contact_sheet([cells[:2], *(cells[start : start + 2] for start in range(2, len(cells), 2))], headers=())


def draw_kind(name: str, folder: Path) -> Image:
    """A mix of another kind of data."""
    layout, index, seed, words = KINDS[name]
    dataset: DenseDataset = open_dataset(scenes(folder) / layout)
    made = mix_sample(dataset, build_transform(words, dataset.mix_layout), index, seed=seed)
    hide = ("names",) if name == "rotated" else ()
    rows = sample_rows(made, [""] * len(made.images), dataset.classes, cell=(320, 400), hide=hide)
    shown = [[Drawing(cell.picture, cell.caption if len(rows) > 1 else "") for cell in row] for row in rows]
    return contact_sheet(shown, headers=("base", "partner", "mixed") if len(rows) == 1 else ())


def draw_recipe(name: str, folder: Path) -> Image:
    """A batch of four, mixed by a recipe; objects by their boxes."""
    epoch, seed, settings = RECIPES[name]
    dataset = open_complete(scenes(folder) / "voc", "voc")
    items = [dataset[index] for index in (11, 14, 13, 7)]
    mix = cd.recipes.RECIPES[name](**settings)
    mix.set_progress(epoch)
    targets = [{key: target[key] for key in ("boxes", "labels")} for _, target in items]
    mixed, after = mix([image for image, _ in items], targets, generator=torch.Generator().manual_seed(seed))
    drawings = [
        Drawing(draw_sample(image, target, dataset.classes, fit=(240, 320)), f"{len(target['boxes'])} objects")
        for image, target in zip(mixed, after)
    ]
    return contact_sheet([drawings[:2], drawings[2:]], headers=())


PICTURES: dict[str, tuple[Callable[[str, Path], Image], str]] = {
    **{f"method-{name.lower()}": (draw_method, name) for name in METHODS},
    **{f"paste-{name}": (draw_method, name) for name in PASTES},
    **{f"rule-{name}": (draw_rule, name) for name in RULES},
    **{f"kind-{name}": (draw_kind, name) for name in KINDS},
    **{f"recipe-{name}": (draw_recipe, name) for name in RECIPES},
}
"""What draws each file, and of what."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        "docs_pictures", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names: list[Any] = sorted({name for _, name in (PICTURES | docs_photos.PICTURES).values()})
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="these only", metavar="NAME")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures", help="folder (default: docs/pictures)")
    parser.add_argument("--photos", type=Path, help="a folder of COCO 2017 (annotations, train2017), for photos too")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        files = [(path, Path(folder), *what) for path, what in PICTURES.items()]
        if arguments.photos is None:
            print("not drawn: the first picture and the gallery, which need --photos, a folder of COCO 2017")
        else:
            files += [(path, arguments.photos, *what) for path, what in docs_photos.PICTURES.items()]
        for file, source, draw, name in files:
            if name in arguments.only:
                path = arguments.out / f"{file}.webp"
                draw(name, source).save(path, quality=QUALITY, method=6)
                print(f"{os.path.relpath(path)}: {path.stat().st_size // 1024} KiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
