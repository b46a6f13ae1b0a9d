"""Folders of pictures beside folders of masks, as nearly every tool for semantic segmentation writes and reads them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

import numpy as np

from cutmix_dense.data.colors import Color
from cutmix_dense.data.errors import DatasetError
from cutmix_dense.data.map_forms import CAMVID_FRAME, find_form, find_tables
from cutmix_dense.data.maps import size_in_common
from cutmix_dense.data.pictures import PictureInfo
from cutmix_dense.data.readers.base import DenseDataset, needed_folder
from cutmix_dense.data.readers.mask_folders import (
    ALL,
    Pair,
    Place,
    find_lists,
    find_places,
    folder_inside,
    listed_pairs,
    pair_up,
)
from cutmix_dense.data.writers.image_masks import ImageMasksWriter


class ImageMasksDataset(DenseDataset):
    """Pictures, and for each a mask of the same name that says the class of every pixel.

    The target has `image_id`, the picture's path without its ending, and `semantic` (H, W) uint8, 255 = no class.
    What the values of masks mean is found out once for all splits, by a look at up to 256 masks:

    - ids, grey or palette, 8 or 16 bits, or grey stored as colours of equal bands; 255 means no class;
    - 0 and 255 and nothing else: background and foreground; and so are pictures of 1 bit;
    - colours, if a table says which colour is which class.

    A value that means nothing raises SampleError; it never becomes another class. Pictures without a mask and masks
    without a picture are left out and counted in `notes`. Pictures and masks are turned by their own EXIF orientation;
    where a mask has the size of the picture as it is stored, the picture stays so. A picture that is turned beside a
    mask without an orientation is noted if their sizes don't tell.

    Args:
        root: the dataset folder. Splits are sub-folders of the folders of images and masks (`images/train` beside
            `masks/train`), folders that hold both (`train/images` beside `train/masks`), pairs of folders (`train`
            beside `trainannot`), or lists (`splits/train.txt`).
        split: the name of such a sub-folder, folder or list; "all" where there is none of them.
        images: image folder, if it has another name.
        annotations: folder of the masks, if it has another name.
        classes: names by id; default: `classes.txt` and its like, or a table of colours.
        colors: (r, g, b) by id, in place of a table.
        binary: True: 0 and 255 are background and foreground, and masks that are stored with loss (JPEG) are read, 128
            and more as foreground; False: they are ids; default: found out.
        ignore: a value or several that mean no class, for ids besides 255; for colours ids of the table.
        common: `pixels` and `details`; see `DenseDataset`.

    Raises:
        DatasetError: no such split, no pair of names that match, or maps of colours without a table.
        SampleError: on access, a picture or a mask that can't be read, or a value that means nothing.
    """

    layout = "image_masks"
    title = "images and masks"
    options: ClassVar = {
        "images": "image folder, if it has another name than images, img_dir …",
        "annotations": "folder of the masks, if it has another name than masks, ann_dir …",
        "classes": "names of the classes by id",
        "colors": "(r, g, b) of the classes by id, where masks are in colour and no table lies beside them",
        "binary": "whether 0 and 255 are background and foreground (default: detected)",
        "ignore": "ids that mean no class",
    }
    writer = ImageMasksWriter
    general = True

    def __init__(
        self,
        root: str | Path,
        split: str = ALL,
        *,
        images: str | Path | None = None,
        annotations: str | Path | None = None,
        classes: Sequence[str] | str | None = None,
        colors: Sequence[Color | str] | str | None = None,
        binary: bool | str | None = None,
        ignore: int | str | Sequence[int | str] | None = None,
        **common: Any,
    ) -> None:
        super().__init__(root, split, **common)
        every, lists = self._places(images, annotations)
        places = every.get(split) or (every.get(ALL) if split in lists else None)
        if places is None:
            names = ", ".join(_names(every, lists)) or "none"
            raise DatasetError(f"{self.root}: no split {split!r} of images beside masks (splits found: {names})")
        self._pairs: list[Pair] = []
        for place in places:
            self._take(place)
        if split in lists and split not in every:
            self._pairs, absent = listed_pairs(lists[split], self._pairs)
            if not self._pairs:
                raise DatasetError(
                    f"{lists[split]}: names no picture with a mask, the first is {(absent or [''])[0]!r}"
                )
            if absent:
                told = f"{len(absent)} names have no picture with a mask; they are left out, the first is {absent[0]!r}"
                self.note(lists[split], told)
        first = places[0]
        folders = [self.root, first.images.parent, first.masks.parent, first.masks]
        if first.images.parent.name.lower() in ("images", "image", "img_dir", "img"):
            folders.insert(1, first.images.parent.parent)
        self.form = find_form(
            self._all_maps(every, split),
            find_tables(folders, first.masks),
            classes=[name.strip() for name in classes.split(",")] if isinstance(classes, str) else classes,
            colors=_colors(colors),
            binary=_flag(binary),
            ignore=_numbers(ignore),
            camvid=first.masks.name.lower().endswith("annot")
            and all(CAMVID_FRAME.match(PurePosixPath(pair.name).name) for pair in self._pairs),
        )
        if self.form.doubt:
            self.note(first.masks, self.form.doubt)
        self.classes = self.form.classes
        self.has_semantic, self.has_instances = True, False
        stems = [PurePosixPath(pair.name).with_suffix("").as_posix() for pair in self._pairs]
        often = Counter(stems)
        self._ids = [pair.name if often[stem] > 1 else stem for pair, stem in zip(self._pairs, stems, strict=True)]

    @classmethod
    def find_splits(cls, root: Path) -> list[str]:
        """The names of the splits, "all" where masks lie beside pictures and nothing splits them."""
        every = find_places(root)
        return _names(every, find_lists(root) if ALL in every else {})

    def __len__(self) -> int:
        return len(self._pairs)

    def image_path(self, index: int) -> Path:
        """The image file of sample `index`."""
        return self._pairs[index].image

    def mask_path(self, index: int) -> Path:
        """The mask's file of sample `index`."""
        return self._pairs[index].mask

    def picture(self, index: int) -> PictureInfo:
        """The picture's name, sub-folders included."""
        return PictureInfo(self._pairs[index].name)

    def _load(self, index: int) -> tuple[np.ndarray, dict[str, Any]]:
        pair = self._pairs[index]
        size, doubt = size_in_common(pair.mask, pair.image)
        if doubt is not None:
            self.note(pair.image, doubt)
        semantic = self.form.read(pair.mask, size)
        image = self.read_image(pair.image, size, "its map")
        return image, {"image_id": self._ids[index], "semantic": semantic}

    def _places(
        self, images: str | Path | None, annotations: str | Path | None
    ) -> tuple[dict[str, list[Place]], dict[str, Path]]:
        """The places of each split, and the lists of names where only they tell splits apart."""
        if images is None and annotations is None:
            every = find_places(self.root)
            lists = find_lists(self.root) if ALL in every else {}
            if ALL in every and self.split not in (*every, *lists):  # of any name, as a copy's may be
                inner = [folder_inside(folder, self.split) for folder in every[ALL][0][:2]]
                if inner[0] is not None and inner[1] is not None:
                    return {self.split: [Place(inner[0], inner[1])]}, {}
            return every, lists
        pictures = needed_folder(self.root if images is None else Path(images), "image")
        masks = needed_folder(self.root if annotations is None else Path(annotations), "mask")
        if images is None:
            found = find_places(self.root).get(self.split) or find_places(self.root).get(ALL)
            pictures = found[0].images if found else pictures
        if annotations is None:
            found = find_places(self.root).get(self.split) or find_places(self.root).get(ALL)
            masks = found[0].masks if found else masks
        place = Place(folder_inside(pictures, self.split) or pictures, folder_inside(masks, self.split) or masks)
        return {self.split: [place]}, {}

    def _take(self, place: Place) -> None:
        """Add the pairs of a place, and note what has no partner."""
        pairs, images, masks = pair_up(place)
        self._pairs += pairs
        for left, folder, what, other in (
            (images, place.images, "pictures", "mask"),
            (masks, place.masks, "masks", "picture"),
        ):
            if left:
                first = left[0].relative_to(folder).as_posix()
                self.note(folder, f"{len(left)} {what} have no {other}; they are left out, the first is {first}")
        if place.others:
            listed = ", ".join(str(path) for path in place.others)
            self.note(place.masks, f"is taken for the masks; annotations= takes others: {listed}")

    def _all_maps(self, every: dict[str, list[Place]], split: str) -> list[tuple[Path, Path]]:
        """The masks of all splits, which are read alike, and their pictures."""
        maps = [(pair.mask, pair.image) for pair in self._pairs]
        for name in sorted(every):
            for place in every[name] if name != split else []:
                try:
                    maps += [(pair.mask, pair.image) for pair in pair_up(place)[0]]
                except DatasetError:  # said by whoever opens that split
                    continue
        return sorted(set(maps))


def _names(every: dict[str, list[Place]], lists: dict[str, Path]) -> list[str]:
    return sorted(lists) if ALL in every and lists else sorted(every)


def _flag(value: bool | str | None) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    if str(value).lower() not in ("true", "false", "1", "0", "yes", "no"):
        raise ValueError(f"binary must be True or False, got {value!r}")
    return str(value).lower() in ("true", "1", "yes")


def _colors(value: Sequence[Color | str] | str | None) -> list[Color] | None:
    """Colours as numbers; a command line gives words such as 224,64,64."""
    if value is None:
        return None
    found: list[Color] = []
    for color in value.split() if isinstance(value, str) else value:
        try:
            red, green, blue = (int(part) for part in (color.split(",") if isinstance(color, str) else color))
        except (ValueError, TypeError) as error:
            raise ValueError(f"colors must be r,g,b in 0 … 255, got {color!r}") from error
        found.append((red, green, blue))
    return found


def _numbers(value: int | str | Sequence[int | str] | None) -> tuple[int, ...]:
    given = [] if value is None else value.split(",") if isinstance(value, str) else value
    numbers = tuple(int(number) for number in given) if not isinstance(given, int) else (given,)
    if not all(0 <= number < 2**16 for number in numbers):
        raise ValueError(f"ignore must hold values in 0 … 65535, got {value!r}")
    return numbers
