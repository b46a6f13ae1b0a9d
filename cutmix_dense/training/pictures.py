"""Pictures without annotations, for semi-supervised training."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torchvision import tv_tensors

from cutmix_dense.data import DatasetError
from cutmix_dense.data.pictures import PICTURE_SUFFIXES, read_picture
from cutmix_dense.mmengine.scope import DATASETS
from cutmix_dense.training.data import TrainingDataset


@DATASETS.register_module()
class PictureDataset(TrainingDataset):
    """The pictures of a folder and of the folders in it, without annotations; hidden ones are left out.

    Samples are ``{"image": uint8 RGB Image (3, H, W), "target": {"image_id": path within the folder}}``, sorted by
    path. ``metainfo["classes"]`` is empty.

    Args:
        root: the folder.
        options: see ``TrainingDataset``; ``transforms`` among them, which find no boxes here.

    Raises:
        DatasetError: there is no such folder, or no picture in it.
        ValueError: an argument out of its range.

    Example:
        >>> unlabelled = dict(type="cutmix_dense.PictureDataset", root="data/unlabelled", limit=1000)
    """

    def __init__(self, root: str, **options: Any) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise DatasetError(f"{root}: no such folder; root must be a folder of pictures")
        self.files = sorted(_pictures_below(self.root))
        if not self.files:
            raise DatasetError(
                f"{root}: no picture in it or below; root must hold some ({', '.join(PICTURE_SUFFIXES)})"
            )
        super().__init__(len(self.files), (), **options)

    def read(self, index: int) -> tuple[tv_tensors.Image, dict[str, Any]]:
        """Image ``index`` of the sorted files, and a target that has its ``image_id`` alone."""
        name = self.files[index]
        pixels = torch.from_numpy(read_picture(self.root / name, "rgb")).permute(2, 0, 1)
        return tv_tensors.Image(pixels.contiguous()), {"image_id": name}


def _pictures_below(root: Path) -> list[str]:
    """Paths of the pictures within a folder, with ``/``."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        here = Path(folder).relative_to(root)
        pictures = (n for n in names if os.path.splitext(n)[1].lower() in PICTURE_SUFFIXES and not n.startswith("."))
        found += [(here / name).as_posix() for name in pictures]
    return found
