"""Maps whose colours are the classes, and the tables that say which colour means which."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int16, Int32, UInt8
from PIL import Image

from cutmix_dense.data.errors import DatasetError, SampleError
from cutmix_dense.data.files import read_lines
from cutmix_dense.data.maps import check_lossless, check_sides, map_as_shown
from cutmix_dense.data.pictures import opened

Color = tuple[int, int, int]
"""Red, green, blue in 0 … 255."""

ColorTable = list[tuple[str, Color]]
"""Names and colours of classes, in the order of a file."""


def read_labelmap(path: Path) -> ColorTable:
    """Names and colours of CVAT's `labelmap.txt`: `name:r,g,b:parts:actions` a line, `#` before a comment.

    Raises:
        DatasetError: a line of another form, a number beyond 0 … 255, no class at all, or one colour for two classes.
    """
    table: ColorTable = []
    for number, text in enumerate(read_lines(path), 1):
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        name, _, rest = text.partition(":")
        found = re.fullmatch(r"\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*", rest.partition(":")[0])
        if not name.strip() or found is None:
            raise DatasetError(f"{path}: line {number} must be name:r,g,b:parts:actions, got {text.strip()!r}")
        table.append((name.strip(), _color(found.groups(), f"{path}: line {number}")))
    return _checked(table, path)


def read_color_table(path: Path) -> ColorTable:
    """Names and colours of a table of any known form, told by its name.

    - `labelmap*.txt`: CVAT's, see `read_labelmap`.
    - `*.csv`: a header that names `name` (or `class`, `label`) and `r`, `g`, `b` (or `red` …), as CamVid's
      `class_dict.csv`.
    - `*.json`: Mapillary's `config.json`, whose `labels` have `color` and `readable` or `name`; Datumaro's
      `dataset_meta.json`; MMSegmentation's `classes` beside `palette`.
    - other `*.txt`: `r g b name` or `name r g b` a line, as CamVid's `label_colors.txt`.

    Raises:
        DatasetError: no readable table of this form, or one colour for two classes.
    """
    if path.suffix.lower() == ".csv":
        return _checked(_of_csv(path), path)
    if path.suffix.lower() == ".json":
        return _checked(_of_json(path), path)
    if path.name.lower().startswith("labelmap"):
        return read_labelmap(path)
    table: ColorTable = []
    for number, text in enumerate(read_lines(path), 1):
        words = re.split(r"[\s,;]+", text.strip())
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        if len(words) >= 4 and all(map(str.isdecimal, words[:3])):
            parts, name = words[:3], " ".join(words[3:])
        elif len(words) >= 4 and all(map(str.isdecimal, words[-3:])):
            parts, name = words[-3:], " ".join(words[:-3])
        else:
            raise DatasetError(f"{path}: line {number} must be r g b name, got {text.strip()!r}")
        table.append((name, _color(parts, f"{path}: line {number}")))
    return _checked(table, path)


def read_color_classes(
    path: Path, size: tuple[int, int] | None, colors: Sequence[Color] | Mapping[Color, int]
) -> UInt8[np.ndarray, "h w"]:
    """The (H, W) map of ids in a picture whose colours mean classes, turned by an EXIF orientation of its own.

    Args:
        path: an RGB, palette or grey picture without loss; an alpha band must be 255 everywhere.
        size: the (H, W) that the map must have; None: any.
        colors: the colours of the ids 0, 1, …; or the id, in 0 … 255, of each colour.

    Raises:
        SampleError: not there, broken, of another size, or with a colour that isn't listed; it is named with a place.
    """
    with opened(path) as image:
        check_sides(image, size, path)
        return color_ids(map_as_shown(image, _rgb(image, path), size, path), colors, path)


def color_ids(
    picture: UInt8[np.ndarray, "h w 3"], colors: Sequence[Color] | Mapping[Color, int], path: Path
) -> UInt8[np.ndarray, "h w"]:
    """The ids that colours mean; SampleError that blames ``path`` for a colour that isn't listed."""
    listed = colors.items() if isinstance(colors, Mapping) else ((color, number) for number, color in enumerate(colors))
    pairs = tuple(listed)
    ids = _table(pairs)[_pack(picture)]
    absent = ids < 0
    if absent.any():
        row, column = (int(where[0]) for where in np.nonzero(absent))
        color = ", ".join(map(str, picture[row, column].tolist()))
        raise SampleError(
            path,
            f"the colour ({color}) at row {row}, column {column} isn't among the {len(pairs)} of the table "
            f"({int(absent.sum())} pixels of the map have a colour that isn't)",
        )
    return ids.astype(np.uint8)


@lru_cache(maxsize=2)
def _table(pairs: tuple[tuple[Color, int], ...]) -> Int16[np.ndarray, " n"]:
    """The id of each of 2²⁴ colours, -1 for those that aren't listed."""
    if not pairs or not all(0 <= number <= 255 for _, number in pairs):
        raise ValueError(f"colours must mean ids in 0 … 255, got {[number for _, number in pairs]}")
    table = np.full(1 << 24, -1, dtype=np.int16)
    for (red, green, blue), number in pairs:
        table[red << 16 | green << 8 | blue] = number
    return table


def colors_in(path: Path, most: int = 8) -> list[Color]:
    """Up to ``most`` colours of a map, the commonest first; SampleError if it can't be read."""
    with opened(path) as image:
        found: Any = image.convert("RGB").getcolors(1 << 16) or []  # none of a photograph
    return [tuple(color) for _, color in sorted(found, key=lambda each: (-each[0], each[1]))[:most]]


def _rgb(image: Image.Image, path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """The colours of a map; its alpha band may only say that all of it is there."""
    check_lossless(image, path)
    if image.mode not in ("1", "L", "P", "RGB", "RGBA", "LA"):
        raise SampleError(path, f"a map of colours must be RGB of 8 bits, this one is {image.mode}")
    if image.mode in ("RGBA", "LA"):
        bands = np.asarray(image)
        if int(bands[..., -1].min()) < 255:
            raise SampleError(path, "the map is partly transparent, so its colours are ambiguous: write it as RGB")
    return np.asarray(image.convert("RGB"))


def _pack(picture: UInt8[np.ndarray, "h w 3"]) -> Int32[np.ndarray, "h w"]:
    packed = picture[..., 0].astype(np.int32)
    for band in (1, 2):
        packed = packed << 8 | picture[..., band]
    return packed


def _color(parts: Sequence[Any], where: str) -> Color:
    red, green, blue = (int(part) for part in parts)
    if not all(0 <= part <= 255 for part in (red, green, blue)):
        raise DatasetError(f"{where}: a colour's numbers must be in 0 … 255, got {red}, {green}, {blue}")
    return red, green, blue


def _checked(table: ColorTable, path: Path) -> ColorTable:
    if not table:
        raise DatasetError(f"{path}: lists no class")
    names: dict[Color, str] = {}
    for name, color in table:
        if names.setdefault(color, name) != name:
            raise DatasetError(f"{path}: {names[color]!r} and {name!r} have the same colour {color}")
    return table


def csv_rows(path: Path) -> list[list[str]]:
    """The cells of each line of a CSV file, with commas, semicolons or tabs between them; empty lines are left out."""
    lines = [line for line in read_lines(path) if line.strip()]
    try:
        dialect: Any = csv.Sniffer().sniff(lines[0], ",;\t") if lines else csv.excel
    except csv.Error:
        dialect = csv.excel
    return [[cell.strip() for cell in row] for row in csv.reader(io.StringIO("\n".join(lines)), dialect) if row]


def _of_csv(path: Path) -> ColorTable:
    rows = csv_rows(path)
    header = [cell.lower() for cell in rows[0]] if rows else []

    def column(*names: str) -> int:
        for name in names:
            if name in header:
                return header.index(name)
        raise DatasetError(f"{path}: the first line must name the columns name, r, g, b; got {', '.join(header)!r}")

    places = [column("r", "red"), column("g", "green"), column("b", "blue")]
    named = column("name", "class", "label", "class_name")
    table: ColorTable = []
    for number, row in enumerate(rows[1:], 2):
        try:
            table.append((row[named], _color([int(row[place]) for place in places], f"{path}: line {number}")))
        except (IndexError, ValueError) as error:
            raise (
                error if isinstance(error, DatasetError) else DatasetError(f"{path}: line {number}: {error}")
            ) from error
    return table


def _of_json(path: Path) -> ColorTable:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        if isinstance(content.get("labels"), list):
            pairs = [(label.get("readable") or label["name"], label["color"]) for label in content["labels"]]
        elif isinstance(content.get("label_map"), dict):
            pairs = list(zip(content["label_map"].values(), content["segmentation_colors"], strict=True))
        else:
            pairs = list(zip(content["classes"], content["palette"], strict=True))
        return [(str(name), _color(list(color)[:3], f"{path}: {name}")) for name, color in pairs]
    except DatasetError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DatasetError(f"{path}: not a table of labels with colours ({error!r})") from error
