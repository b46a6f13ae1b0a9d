"""Small pictures, maps and tables of classes, as files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (6, 9)
RED, GREEN = (224, 64, 64), (0, 128, 0)
TABLES = {
    "labelmap.txt": (
        "\ufeff# label:color_rgb:parts:actions\nnone:0,0,0::\nred thing:224,64,64:leg,arm:run\n\ngreen:0, 128, 0::\n"
    ),
    "class_dict.csv": "name,r,g,b\r\nnone,0,0,0\r\nred thing,224,64,64\r\ngreen,0,128,0\r\n",
    "label_colors.txt": "0 0 0\t\tnone\n224 64 64\tred thing\n0 128 0 green\n",
    "dataset_meta.json": json.dumps(
        {
            "label_map": {"0": "none", "1": "red thing", "2": "green"},
            "segmentation_colors": [[0, 0, 0], list(RED), list(GREEN)],
        }
    ),
    "config.json": json.dumps(
        {
            "labels": [
                {"name": "x--none", "readable": "none", "color": [0, 0, 0]},
                {"name": "x--red", "readable": "red thing", "color": list(RED)},
                {"name": "green", "color": list(GREEN)},
            ]
        }
    ),
}


def put(path: Path, array: np.ndarray, mode: str | None = None, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def picture(path: Path, size: tuple[int, int] = SIZE, **options) -> Path:
    return put(path, np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8), **options)


def ids(*values: int, dtype=np.uint8) -> np.ndarray:
    """A map of `SIZE` whose first columns hold the given ids, 0 elsewhere."""
    array = np.zeros(SIZE, dtype=dtype)
    array[:, : len(values)] = values
    return array


def colored(*colors: tuple[int, int, int]) -> np.ndarray:
    """A map of `SIZE`, a column of each colour, black elsewhere."""
    array = np.zeros((*SIZE, 3), dtype=np.uint8)
    for column, color in enumerate(colors):
        array[:, column] = color
    return array
