"""Label files of the YOLO layout: which one belongs to an image, those that belong to none, their lines."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from cutmix_dense.data.errors import SampleError, blaming
from cutmix_dense.data.pictures import PICTURE_SUFFIXES
from cutmix_dense.data.readers.yolo_files import IMAGE_FOLDERS, LABEL_FOLDERS, NAME_LISTS, called, kind_of_text
from cutmix_dense.data.spelling import Names
from cutmix_dense.data.splits import folders_in

_LOOKS = 50
"""So many text files without a picture are looked into to tell whether they are label files."""


class LabelPaths:
    """The label file of each image: the last folder called `images` above it becomes `labels`, the ending `.txt`.

    Where no folder is called `images`, or no `labels` lies beside it, the file lies in `labels` beside or in the
    image's folder, or with the image.

    Args:
        root: the dataset folder.
        given: the label files that are known without looking, by image.
    """

    def __init__(self, root: Path, given: Mapping[str, Path]) -> None:
        self._root, self._given = root, dict(given)
        self._known: dict[str, Path] = {}

    def of(self, image: str) -> Path:
        """Path of the label file of an image under the root; it need not be there."""
        folder, name = self._place(image)
        return folder / name

    def match(self, images: Sequence[str], every: Callable[[], Iterable[str]]) -> Iterator[tuple[Path, str]]:
        """Find label files that are spelled another way than their images.

        Args:
            images: of the split.
            every: gives the images of all splits.

        Yields:
            A folder, and how many label files in it belong to no picture.
        """
        wanted: dict[Path, dict[str, list[str]]] = {}
        for image in images:
            folder, name = self._place(image)
            wanted.setdefault(folder, {}).setdefault(name, []).append(image)
        for folder, owners in wanted.items():
            present = {name for name in _files_in(folder) if name[-4:].lower() == ".txt"}
            strays = present - owners.keys()
            spelled = Names(frozenset(strays))
            for name in owners.keys() - present if strays else ():
                if found := spelled.find(name):
                    self._given.update(dict.fromkeys(owners[name], folder / found))
                    strays.discard(found)
            if strays:
                strays -= {f"{stem}.txt" for stem in self._stems_beside(folder, every())}
            left = sorted(name for name in strays if name.lower() not in NAME_LISTS)
            looked = [name for name in left[:_LOOKS] if kind_of_text(folder / name)]
            if looked:
                count = len(left) if len(left) > _LOOKS else len(looked)
                yield folder, f"{count} label files have no picture; they are left out, the first is {looked[0]}"

    def _stems_beside(self, folder: Path, images: Iterable[str]) -> Iterator[str]:
        """The names without ending of all pictures whose label files lie in a folder, in a split or not."""
        for home in {image.rpartition("/")[0] for image in images if self._place(image)[0] == folder}:
            for stem, suffix in map(os.path.splitext, _files_in(self._root / home)):
                if suffix.lower() in PICTURE_SUFFIXES:
                    yield stem

    def _place(self, image: str) -> tuple[Path, str]:
        """Folder and name of the label file of an image."""
        if image in self._given:
            return self._given[image].parent, self._given[image].name
        folder, _, name = image.rpartition("/")
        if folder not in self._known:
            self._known[folder] = self._beside(folder.split("/") if folder else [])
        return self._known[folder], f"{os.path.splitext(name)[0]}.txt"

    def _beside(self, parts: list[str]) -> Path:
        """Folder of the label files for the images of a folder."""
        folder = self._root.joinpath(*parts)
        for at in reversed(range(len(parts))):
            if parts[at].lower() in IMAGE_FOLDERS:
                above = self._root.joinpath(*parts[:at])
                if name := called(folders_in(above), LABEL_FOLDERS):
                    place = above / name
                    for part in parts[at + 1 :]:
                        place /= Names(folders_in(place)).find(part) or part
                    return place
                break
        for near in (folder, folder.parent) if parts else (folder,):
            if name := called(folders_in(near), ("labels",)):
                return near / name
        return folder


def _files_in(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def label_lines(path: Path) -> list[tuple[int, list[str]]]:
    """Number and words of each line that isn't empty; none where there is no file. SampleError if it can't be read."""
    try:
        with blaming(path):
            lines = path.read_bytes().decode("utf-8-sig").splitlines()
    except SampleError as error:
        if isinstance(error.__cause__, (FileNotFoundError, NotADirectoryError)):
            return []
        if isinstance(error.__cause__, UnicodeDecodeError):
            raise SampleError(path, "is no text in UTF-8; save it as UTF-8") from error
        raise
    return [(number, words) for number, line in enumerate(lines, 1) if (words := line.split())]
