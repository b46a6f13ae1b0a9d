"""What a mixed copy is made from, and whether a folder has the copy of just that.

The stamp is the file that later becomes the report: ``mixed_copy.<split>.json``, at first with the parameters alone.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from cutmix_dense.data.copy_work import indented_json
from cutmix_dense.data.cut_outs import banks_of
from cutmix_dense.data.errors import DatasetError, SampleError
from cutmix_dense.data.files import write_atomic
from cutmix_dense.data.mixed_sample import name_of
from cutmix_dense.data.readers import DenseDataset

_OF_OTHERS = frozenset({"dataset", "layout", "split", "images"})
"""Parameters whose change means that other files are copied, whether any has changed or not."""


def copy_parameters(
    dataset: DenseDataset,
    length: int,
    transform: Any,
    copies: int,
    seed: int,
    pool: int,
    with_originals: bool,
    quality: int,
    layout: str,
) -> dict[str, Any]:
    """All that the bytes of the copy depend on."""
    listing = hashlib.sha256()
    for index in range(length):
        listing.update(f"{name_of(dataset, index)} {_bytes_of(dataset, index)}\n".encode())
    annotations = getattr(dataset, "annotations", None)
    if isinstance(annotations, Path) and annotations.is_file():
        listing.update(annotations.read_bytes())
    return {
        "dataset": Path(os.path.abspath(dataset.root)).name,
        "layout": dataset.layout,
        "split": dataset.split,
        "task": getattr(dataset, "task", None),
        "label_ids": getattr(dataset, "label_ids", None),
        "images": length,
        "content": listing.hexdigest(),
        "classes": list(dataset.classes),
        "transform": " ".join(repr(transform).split()),
        "pool": pool,
        "copies": copies,
        "with_originals": with_originals,
        "seed": seed,
        "quality": quality,
        "pixels": getattr(dataset, "pixels", None),
        "to": layout,
        **({"cut_outs": [bank.fingerprint for bank in banks]} if (banks := banks_of(transform)) else {}),
    }


def _bytes_of(dataset: DenseDataset, index: int) -> int:
    """Size of the image file, or of a clip's frames, which tells most changes at little cost; -1 if it is not there."""
    try:
        path = dataset.image_path(index)
        return sum(each.stat().st_size for each in path.iterdir()) if path.is_dir() else path.stat().st_size
    except (OSError, SampleError):
        return -1


def begin(root: Path, stamp: Path, parameters: dict[str, Any]) -> bool:
    """Stamp a new copy, or compare with the stamp of the one that was begun. True if that one is finished."""
    if not stamp.is_file():
        root.mkdir(parents=True, exist_ok=True)
        write_atomic(stamp, indented_json({"parameters": parameters, "finished": False}))
        return False
    try:
        begun = json.loads(stamp.read_text(encoding="utf-8"))
        before = begun["parameters"]
        keys = dict.fromkeys([*before, *parameters])
        changed = [key for key in keys if before.get(key) != parameters.get(key)]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DatasetError(f"{stamp}: is not the stamp of a mixed copy ({error})") from error
    if _OF_OTHERS.intersection(changed):
        changed = [key for key in changed if key != "content"]  # of other files, of course
    if changed == ["content"]:
        raise DatasetError(
            f"{root}: was begun when the pictures or annotations of {parameters['dataset']!r} were others: they have "
            "changed since. Name a new folder, or restore the files"
        )
    if changed:
        told = "; ".join(
            "pictures or annotations of the data set have changed since"
            if key == "content"
            else f"{key}: {_short(before.get(key))} there, {_short(parameters.get(key))} now"
            for key in changed
        )
        raise DatasetError(f"{root}: was begun with other parameters ({told}). Use the same ones, or a new folder")
    return bool(begun.get("finished"))


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:197]}..."
