"""What a fuzz target is, and what counts as a finding."""

from __future__ import annotations

import hashlib
import importlib
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cutmix_dense.data import DatasetError
from cutmix_dense.data.errors import SampleError

READING = (DatasetError, SampleError)
"""What a reader may raise for a file."""
CALLING = (ValueError, TypeError)
"""What a call may raise for its arguments."""

MODULES = {
    "coco_json": "readers",
    "coco_panoptic": "readers",
    "voc_xml": "readers",
    "voc_lists": "readers",
    "voc_flat": "readers",
    "cityscapes_png": "readers",
    "yolo_text": "readers",
    "image_masks": "readers",
    "labelme_json": "json_files",
    "hf_metadata": "json_files",
    "unknown_files": "json_files",
    "dota_text": "clips_and_volumes",
    "youtube_vis_json": "clips_and_volumes",
    "decathlon": "clips_and_volumes",
    "image_files": "pictures",
    "segmentations": "pictures",
    "targets": "surface",
    "plans": "plans",
    "pipelines": "frameworks",
    "albumentations": "frameworks",
    "settings": "words",
    "journals": "journals",
}
"""The module of this package that makes each target."""


@dataclass(frozen=True)
class Target:
    """Something that takes bytes.

    Attributes:
        run: does it once; an exception that leaves it is a finding.
        seeds: valid inputs to start from.
        mutate: ``(bytes, most, seed) -> bytes``, edits that keep the form of an input; None edits bytes only.
    """

    run: Callable[[bytes], None]
    seeds: Sequence[bytes] = ()
    mutate: Callable[[bytes, int, int], bytes] | None = None


def load(name: str, folder: Path) -> Target:
    """Make the target, which may write into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    module = importlib.import_module(f".{MODULES[name]}", __package__)
    return getattr(module, name)(folder)


def fault_of(error: BaseException) -> str:
    """A name for a finding: the same fault has the same one, whatever the input."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "cutmix_dense" in frame.filename]
    last = frames[-1] if frames else traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(last.filename).stem}.{last.name}"
    code = hashlib.sha256(f"{type(error).__name__} {place} {last.line}".encode()).hexdigest()[:8]
    return f"{type(error).__name__}-{place}-{code}"
