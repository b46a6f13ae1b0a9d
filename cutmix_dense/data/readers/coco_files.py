"""Files of COCO's layouts: where a split's annotations and images lie, and JSON that is checked before it is used."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from cutmix_dense.data.errors import DatasetError, SampleError, blaming
from cutmix_dense.data.files import inside

__all__ = ["find_annotations", "find_images", "read_coco_json", "splits_of"]

_ALIASES = {"val": ("valid", "validation"), "valid": ("val",), "validation": ("val", "valid")}


def read_coco_json(
    path: Path,
    kind: str = "instances",
    more: Mapping[str, Sequence[str]] | None = None,
    *,
    items: Literal["images", "videos"] = "images",
) -> dict[str, Any]:
    """The parsed file; DatasetError says what keeps it from being COCO.

    Args:
        path: the JSON file.
        kind: what its annotations are: "instances", "panoptic" …
        more: per list, fields that its entries must have besides those that every such file has.
        items: what is annotated: images, or YouTube-VIS's videos.
    """
    try:
        with blaming(path), open(path, encoding="utf-8") as stream:
            content = json.load(stream)
    except (SampleError, RecursionError) as error:
        reason = error.reason if isinstance(error, SampleError) else "nested too deeply"
        raise DatasetError(f"{path}: not a readable JSON file ({reason})") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: not COCO, the top level is a {type(content).__name__} and not an object")
    owner = f"{items.removesuffix('s')}_id"
    needed: dict[str, Sequence[str]] = {
        items: ("id", "file_name" if items == "images" else "file_names"),
        "annotations": (owner,),
        "categories": ("id", "name"),
    }
    needed = {key: (*fields, *(more or {}).get(key, ())) for key, fields in needed.items()}
    missing = [key for key in needed if not isinstance(content.get(key), list)]
    if missing:
        raise DatasetError(f"{path}: not COCO {kind}, no list named {', '.join(map(repr, missing))}")
    for key, fields in needed.items():
        for i, entry in enumerate(content[key]):
            lacking = [field for field in fields if not isinstance(entry, dict) or field not in entry]
            if lacking:
                raise DatasetError(f"{path}: not COCO, {key}[{i}] has no {', '.join(map(repr, lacking))}")
    for key in (items, "categories"):
        ids = [entry["id"] for entry in content[key]]
        if any(not isinstance(value, (int, str)) for value in ids) or len({type(value) for value in ids}) > 1:
            raise DatasetError(f"{path}: the ids of {key!r} must all be integers (or all strings)")
        if len(set(ids)) < len(ids):
            twice = next(value for value in ids if ids.count(value) > 1)
            raise DatasetError(f"{path}: two of the {key!r} have the id {twice!r}")
    for i, annotation in enumerate(content["annotations"]):
        for key in (owner, "id", "category_id"):
            if isinstance(annotation.get(key), (list, dict)):
                raise DatasetError(f"{path}: annotations[{i}][{key!r}] must be an integer or a string")
    known = {item["id"] for item in content[items]}
    stray = sum(annotation[owner] not in known for annotation in content["annotations"])
    if stray:
        warnings.warn(f"{path}: {stray} annotations belong to {items} that the file does not list", stacklevel=2)
    return content


def _names_of(split: str) -> tuple[str, ...]:
    return (split, *_ALIASES.get(split, ()))


def find_annotations(root: Path, split: str, kind: str = "instances") -> Path:
    """The JSON file of a split; DatasetError names those that were tried, and the splits that are there."""
    tried: list[Path] = []
    for name in _names_of(split):
        tried.append(root / "annotations" / f"{kind}_{name}.json")
        if kind == "instances":
            tried += [root / "annotations" / f"{name}.json", root / name / "_annotations.coco.json"]
    for path in tried:
        if path.is_file():
            return path
    dated = sorted((root / "annotations").glob(f"{kind}_{split}20[0-9][0-9].json"))
    if len(dated) == 1:
        return dated[0]
    if dated:
        names = ", ".join(path.stem.removeprefix(f"{kind}_") for path in dated)
        raise DatasetError(f"{root}: split {split!r} could be any of {names}; name one of them")
    names = ", ".join(str(path.relative_to(root)) for path in tried)
    annotations = "annotations" if kind == "instances" else f"{kind} annotations"
    raise DatasetError(
        f"{root}: no COCO {annotations} of split {split!r}; tried {names}"
        f" (splits found: {', '.join(splits_of(root, kind)) or 'none'})"
    )


def find_images(root: Path, split: str, annotations: Path, first: list[str], kind: str = "instances") -> Path:
    """The image folder of a split: the first known place that holds the images named ``first``, else that exists."""
    stem = annotations.stem.removeprefix(f"{kind}_")
    names = [annotations.parent.name] if annotations.name == "_annotations.coco.json" else [stem, *_names_of(split)]
    folders = [root / name for name in names] + [root / "images" / name for name in names]
    there = [folder for folder in [*folders, root / "JPEGImages", root / "images"] if folder.is_dir()]
    for folder in there:
        with contextlib.suppress(ValueError, OSError):  # out of the folder, or too long for a name
            if all(inside(folder, name).is_file() for name in first):
                return folder
    if not there:
        raise DatasetError(f"{root}: no image folder; tried {names[0]}/, images/{names[0]}/, JPEGImages/, images/")
    return there[0]


def splits_of(root: Path, kind: str = "instances") -> list[str]:
    """The names of the splits whose annotations are found under `root`."""
    official = [path.stem.removeprefix(f"{kind}_") for path in (root / "annotations").glob(f"{kind}_*.json")]
    exported = root.glob("*/_annotations.coco.json") if kind == "instances" else ()
    return sorted({*official, *(path.parent.name for path in exported)})
