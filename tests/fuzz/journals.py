"""What an interrupted `mix_dataset` left behind: its stamp, records and staged samples, replaced by the input."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from cutmix_dense import CutMix
from cutmix_dense.data import open_dataset
from cutmix_dense.data.mixed_copy import mix_dataset

from .mutators import behind_a_byte, edit_json
from .readers import COCO, picture, png, put
from .target import READING, Target


class Interrupted(Exception):
    """Stops a copy in the middle."""


def stop_after(count: int) -> Callable[..., None]:
    """A callback of `mix_dataset` that stops it after so many samples."""

    def stop(done: int, total: int, record: object) -> None:
        if done >= count:
            raise Interrupted

    return stop


def listing(folder: Path) -> dict[str, bytes]:
    """Every file below a folder with its content."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def journals(folder: Path) -> Target:
    """A copy goes on and lists whole samples, or says what is wrong; nothing is written outside of its folder."""
    for name in ("a", "b"):
        put(folder / "data" / "train" / f"{name}.jpg", png(picture(), "JPEG"))
    put(folder / "data" / "annotations" / "instances_train.json", json.dumps(COCO).encode())
    dataset = open_dataset(folder / "data", "coco", "train")
    output = folder / "out"
    with contextlib.suppress(Interrupted):
        mix_dataset(dataset, output, CutMix(), on_progress=stop_after(1))
    begun = listing(output)
    written = sorted(name for name in begun if name.endswith(".json"))
    elsewhere = listing(folder / "data")

    def run(data: bytes) -> None:
        shutil.rmtree(output, ignore_errors=True)
        chosen = written[data[0] % len(written)] if data else written[0]
        for name, content in begun.items():
            put(output / name, data[1:] if name == chosen else content)
        with contextlib.suppress(*READING):
            mix_dataset(dataset, output, CutMix())
            copy = open_dataset(output, "coco", "train")
            for index in range(len(copy)):
                copy[index]
        assert listing(folder / "data") == elsewhere, "the data set was changed"
        assert sorted(os.listdir(folder)) == ["data", "out"], os.listdir(folder)

    seeds = [bytes([number]) + begun[name] for number, name in enumerate(written)]
    return Target(run, seeds, behind_a_byte(edit_json))
