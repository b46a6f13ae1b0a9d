"""YOLO: a text file per image with boxes, polygons, oriented boxes or keypoints, as shares of the image's sides."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from cutmix_dense.data.details import STATED
from cutmix_dense.data.errors import DatasetError, SampleError, blaming
from cutmix_dense.data.extras import opencv
from cutmix_dense.data.masks import check_room, decode_segmentation
from cutmix_dense.data.pictures import PictureInfo
from cutmix_dense.data.readers.base import DenseDataset, finite, inside_folder, instance_target, needed_folder
from cutmix_dense.data.readers.yolo_files import (
    Description,
    class_names,
    describe,
    first_foreign,
    images_of,
    short_names,
    split_words,
)
from cutmix_dense.data.readers.yolo_labels import LabelPaths, label_lines
from cutmix_dense.data.splits import names_of_split
from cutmix_dense.data.writers.yolo import YoloWriter

_TASKS = ("detect", "segment", "pose", "obb")
_SAMPLED = 500
"""So many label files, evenly spread over the split, say which task a set is for."""

_DECIMALS = 6
"""Edges are rounded to so many decimals of a pixel: made of centre and sides, they come out a little off."""

_FARTHEST = 2.0
"""A larger coordinate is no share of a side."""

_MOST_IDS, _KEYPOINTS = 9_999, 10_000


class YoloDataset(DenseDataset):
    """YOLO as Ultralytics, RF-DETR, CVAT, Roboflow, Label Studio, LabelImg and darknet have it.

    Every target has `image_id` (the image's path under its folder without its ending), `boxes`, `labels` (the file's id
    + 1; `classes[0]` is "background"), `iscrowd` (zeros), `area`; for "segment" `masks` and `has_mask`, for "pose"
    `keypoints`. An image without a label file, or with an empty one, is a background. The split comes from `data.yaml`
    or another YAML file with `names`, from darknet's `obj.data`, or from folders: `images/<split>` beside
    `labels/<split>`, `<split>/images` beside `<split>/labels`, `images` beside `labels` (split "all"), or images and
    text files in one folder with a list of names (split "all").

    A line is a class and, as shares of the image's width and height,

    - ``cx cy w h``: a box. In a "segment" set its row states no mask; in an "obb" set it is a box that isn't turned.
    - ``x1 y1 x2 y2 x3 y3 …``: a polygon; mask and box are drawn from it. In a "detect" set it gives its box, in an
      "obb" set, of other than four corners, the smallest rotated box round it; either is noted.
    - ``x1 y1 … x4 y4`` in an "obb" set: the corners of a rotated box.
    - ``cx cy w h`` and the keypoints, x, y and COCO's flag or x, y alone, in a "pose" set. Of those without a flag one
      at (0, 0) or with a negative coordinate is not labelled.

    A box, rotated box or pose may be followed by a confidence, `details["score"]`. A line that makes no sense is left
    out and noted by its number, unless no other is left. Coordinates a little outside are kept.

    Args:
        root: the dataset folder.
        split: "train", "val" (which also finds "valid"), "test"; "all" where there are no splits.
        images: image folder, where it is another than is said.
        annotations: the YAML or `.data` file, where it is not the only one in the folder, or the folder of label files.
        task: "detect", "segment", "pose" or "obb". Default: the YAML file's `task`; "pose" where it states `kpt_shape`;
            else by the lines of up to 500 label files: "segment" if any is a polygon, but "obb" if every line is of
            four corners, as rotated boxes are (`task="segment"` reads polygons); "detect" if all are boxes.
        classes: names by id, where no file states them or others are wanted. Without any, the names are the ids.
        common: `pixels` and `details`; see `DenseDataset`.

    Raises:
        DatasetError: no such split, no image, names that no one can tell apart.
        SampleError: on access, an image or a label file that cannot be read.
        ImportError: a YAML file without PyYAML; on access, rotated boxes without torchvision 0.23.
    """

    layout = "yolo"
    title = "YOLO"
    options: ClassVar = {
        "images": "image folder, if it is not the one that data.yaml names",
        "annotations": "YAML or .data file, or folder of the label files, if they lie elsewhere",
        "task": "detect, segment, pose or obb (default: by data.yaml and the label files)",
        "classes": "names of the classes by id, from 0 on",
    }
    writer = YoloWriter

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        *,
        images: str | Path | None = None,
        annotations: str | Path | None = None,
        task: str | None = None,
        classes: Sequence[str] | None = None,
        **common: Any,
    ) -> None:
        if task is not None and task not in _TASKS:
            raise ValueError(f"task must be one of {_TASKS}, got {task!r}")
        super().__init__(root, split, **common)
        given = Path(annotations) if annotations is not None else None
        labels = given if given is not None and given.is_dir() else None
        if given is not None and labels is None and not given.is_file():
            raise DatasetError(f"{given}: no such file or folder")
        found = describe(needed_folder(self.root, "dataset"), given if labels is None else None)
        described = self._described(found, split, images)
        name = described.name_of(split)
        if name is None:
            raise DatasetError(
                f"{described.file or self.root}: has no split {split!r} (splits found: {', '.join(described.splits)})"
            )
        values = described.splits[name]
        folder = described.place(values[0]) if len(values) == 1 else None
        inner = folder.relative_to(self.root).as_posix() if folder is not None and folder.is_dir() else "."
        self._images = images_of(described, name)
        self._names = short_names(self._images, "" if inner == "." else f"{inner}/", name)
        stems = [os.path.splitext(each)[0] for each in self._names]
        often = Counter(stems)
        self._ids = [stem if often[stem] == 1 else name for stem, name in zip(stems, self._names)]
        known = {} if labels is None else {image: labels / f"{stem}.txt" for image, stem in zip(self._images, stems)}
        self._labels = LabelPaths(self.root, known)
        self.kpt_shape = _keypoint_shape(described)
        self.flip_pairs = self._flips(described)
        self.classes = ("background", *self._classes(described, classes))
        self.task = task or self._stated_task(described) or self._task_of_lines(described)
        for place, told in self._labels.match(self._images, lambda: self._all_images(described)):
            self.note(place, told)
        step = max(1, len(self._images) // _SAMPLED)
        if not any(os.path.isfile(self._labels.of(path)) for path in self._images[::step]):
            place = self._labels.of(self._images[0])
            self.note(place.parent, f"no label files, so images count as backgrounds (looked for {place.name})")
        if self.task == "pose" and self.kpt_shape is None:
            raise DatasetError(f"{described.file or self.root}: task 'pose' needs kpt_shape: [points, 2 or 3]")
        self.has_masks = self.task == "segment"
        self.by_split = _is_by_split(self._images[0], name)

    @classmethod
    def find_splits(cls, root: Path) -> list[str]:
        """The names of the splits that a YAML file, `obj.data` or the folders name, and that are there."""
        try:
            described = describe(root)
        except (DatasetError, ImportError):  # said where the set is opened
            return split_words(root)
        if described is None:
            return []
        there = [name for name in described.splits if described.is_there(name)]
        places = (described.place(value) for name in there for value in described.splits[name])
        if all(_is_dota(path) for path in places if path is not None):
            return []
        return there

    @classmethod
    def stated_splits(cls, root: Path) -> list[str]:
        """The names of the splits that a YAML file or `obj.data` names."""
        with suppress(DatasetError, ImportError):  # said where the set is opened
            described = describe(root)
            return [] if described is None else list(described.splits)
        return []

    def _described(self, found: Description | None, split: str, images: str | Path | None) -> Description:
        """What describes the set, with the image folder that is given as the split's."""
        if images is None:
            if found is None:
                raise DatasetError(f"{self.root}: not YOLO, {_why_not(self.root)}")
            return found
        folder = needed_folder(Path(images), "image").absolute()
        found = found or Description(self.root, None, {}, (self.root,))
        found = found._replace(splits={**found.splits, split: [str(folder)]})
        if found.place(str(folder)) is None:
            raise DatasetError(f"{folder}: lies outside of {self.root}; give a folder above both as root")
        return found

    def _classes(self, described: Description, given: Sequence[str] | None) -> list[str]:
        if given is not None:
            if len(set(given)) < len(given):
                raise DatasetError(f"classes: names must differ, got {list(given)}")
            return list(given)
        first = self._images[0]
        found = class_names(described, [self._labels.of(first).parent, (self.root / first).parent])
        if found is not None:
            names, where = found
            stated = str(described.said.get("nc", described.said.get("classes", len(names))))
            if stated.isdecimal() and int(stated[:9]) != len(names):
                self.note(where, f"names {len(names)} classes, and says that there are {stated}")
            if where == described.file and not described.said.get("names"):
                self.note(
                    where, "counts the classes (nc) and names none, their ids stand for them; classes= names them"
                )
            return names
        largest = self._largest_id(described)
        self.note(self.root, "nothing names the classes, their ids stand for them; name them with classes=")
        return [str(number) for number in range(largest + 1)]

    def _all_images(self, described: Description) -> list[str]:
        """Those of all splits, which have classes and task in common."""
        images = list(self._images)
        for split in described.splits:
            if split not in names_of_split(self.split):
                with suppress(DatasetError):  # said where that split is opened
                    images += images_of(described, split)
        return list(dict.fromkeys(images))

    def _largest_id(self, described: Description) -> int:
        largest = 0
        for path in map(self._labels.of, self._all_images(described)):
            with suppress(SampleError):  # said where that sample is read
                for _, words in label_lines(path):
                    with suppress(ValueError):
                        largest = max(largest, min(_class_id(words[0]), _MOST_IDS))
        return largest

    def _stated_task(self, described: Description) -> str | None:
        stated = described.said.get("task")
        if stated in _TASKS:
            return str(stated)
        return "pose" if self.kpt_shape is not None else None

    def _task_of_lines(self, described: Description) -> str:
        """The task that the lines of some label files, of all splits, are for."""
        images = self._all_images(described)
        kinds: Counter[str] = Counter()
        for path in map(self._labels.of, images[:: max(1, len(images) // _SAMPLED)]):
            with suppress(SampleError):  # said where that sample is read
                kinds.update(_kind(len(words) - 1) for _, words in label_lines(path))
        if kinds["polygon"] or (kinds["corners"] and kinds["box"]):
            return "segment"
        if kinds["corners"]:
            self.note(self.root, "every line has four corners, read as rotated boxes; task='segment' reads polygons")
            return "obb"
        return "detect"

    def _flips(self, described: Description) -> tuple[tuple[int, int], ...] | None:
        """Pairs of keypoints that `flip_idx` exchanges."""
        stated = described.said.get("flip_idx")
        if self.kpt_shape is None or not isinstance(stated, list):
            return None
        order = [int(each) if isinstance(each, str) and each.isdecimal() else -1 for each in stated]
        if sorted(order) != list(range(self.kpt_shape[0])) or any(order[j] != i for i, j in enumerate(order)):
            self.note(
                described.file or self.root, f"flip_idx must exchange pairs of 0..{self.kpt_shape[0] - 1}: not used"
            )
            return None
        return tuple((i, j) for i, j in enumerate(order) if i < j)

    def __len__(self) -> int:
        return len(self._images)

    def image_path(self, index: int) -> Path:
        """The image file of sample `index`."""
        return inside_folder(self.root, self._images[index], self.root)

    def picture(self, index: int) -> PictureInfo:
        """Name, sub-folders under the split's image folder included."""
        return PictureInfo(self._names[index])

    def _load(self, index: int) -> tuple[np.ndarray, dict[str, Any]]:
        path = self.image_path(index)
        image = self.read_image(path)
        size = (image.shape[1], image.shape[2])
        text = self._labels.of(self._images[index])
        lines = label_lines(text)
        with blaming(text):
            check_room("masks", len(lines) * self.has_masks, size)
        rows: list[_Row] = []
        reasons: list[str] = []
        for number, words in lines:
            try:
                rows.append(self._row(words, size))
            except (ValueError, OverflowError) as error:
                reasons.append(f"line {number}: {error}")
                continue
            if rows[-1].remark:
                self.note(text, f"line {number}: {rows[-1].remark}")
        if reasons and not rows:
            raise SampleError(text, reasons[0])
        for reason in reasons:
            self.note(text, f"{reason}; it is left out")
        width = 8 if self.task == "obb" else 4
        pose = self.task == "pose" and self.kpt_shape is not None
        target = instance_target(
            self._ids[index],
            size,
            np.array([row.box for row in rows], dtype=np.float64).reshape(-1, width),
            np.array([row.label for row in rows], dtype=np.int64),
            masks=[row.mask for row in rows] if self.has_masks else None,
            has_mask=np.array([row.mask is not None for row in rows], dtype=bool) if self.has_masks else None,
            keypoints=np.array([row.points for row in rows]).reshape(len(rows), -1, 3)
            if pose and rows
            else np.zeros((0, self.kpt_shape[0], 3))
            if pose and self.kpt_shape
            else None,
            details=[_details(row, size) for row in rows] if self.details else None,
        )
        return image, target

    def _row(self, words: list[str], size: tuple[int, int]) -> _Row:
        """One line, checked; ValueError or OverflowError for what makes no sense."""
        label = _class_id(words[0]) + 1
        if label >= len(self.classes):
            raise ValueError(
                f"class {words[0]} has no name, ids are 0..{len(self.classes) - 2}; classes= can name more"
            )
        values = [finite(word) for word in words[1:]]
        count, dims = self.kpt_shape or (0, 0)
        pose = 4 + count * dims  # with keypoints, which other tasks leave out
        usual = {"pose": pose, "obb": 8}.get(self.task, 4)
        score = None
        if len(values) in (5, usual + 1, pose + 1):
            score = values.pop()
            if not 0 <= score <= 1:
                raise ValueError(
                    f"the last of {len(words)} numbers would be a confidence, which is in 0..1, got {score:g}"
                )
        if count and len(values) == pose:
            points = _keypoints(values[4:], dims, size)
            if self.task == "pose":
                return _Row(words[1:], label, _box(values[:4], size), score=score, points=points)
            values = values[:4]
        if len(values) == 4:
            box, points = _box(values, size), np.zeros((count, 3))
            if self.task == "obb":
                box = [box[0], box[1], box[2], box[1], box[2], box[3], box[0], box[3]]
            return _Row(words[1:], label, box, score=score, points=points)
        if self.task == "pose":
            raise ValueError(
                f"must have 4 or {usual} numbers after the class (kpt_shape [{count}, {dims}]), has {len(values)}"
            )
        if len(values) < 6 or len(values) % 2:
            raise ValueError(f"must have a box's 4 numbers after the class, or a polygon's pairs, has {len(values)}")
        corners = _pixels(values, size)
        x, y = corners[:, 0], corners[:, 1]
        upright = [float(x.min()), float(y.min()), float(x.max()), float(y.max())]
        if self.task == "segment":
            mask = decode_segmentation([corners.ravel().tolist()], size)
            remark = "" if mask.any() else "its polygon has no pixel"
            return _Row(words[1:], label, upright, mask=mask, remark=remark)
        if self.task == "detect":
            return _Row(words[1:], label, upright, remark="a polygon, read as its box; task='segment' reads masks")
        if len(values) == 8:
            return _Row(words[1:], label, corners.ravel().tolist(), score=score)
        cv2 = opencv()
        turned = cv2.boxPoints(cv2.minAreaRect(corners.astype(np.float32)))
        remark = "a polygon, read as the smallest rotated box round it; task='segment' reads masks"
        return _Row(words[1:], label, turned.ravel().tolist(), remark=remark)


class _Row(NamedTuple):
    """A line as the parts of a target."""

    words: list[str]
    label: int
    box: Sequence[float]
    mask: np.ndarray | None = None
    points: np.ndarray | None = None
    score: float | None = None
    remark: str = ""


def _details(row: _Row, size: tuple[int, int]) -> dict[str, Any]:
    """The confidence, and the line as it is written; shares of the size of this image."""
    score = {} if row.score is None else {"score": row.score}
    return {**score, STATED: {"line": row.words, "size": list(size)}}


def _why_not(root: Path) -> str:
    """Why a folder that no file describes isn't a YOLO set."""
    found = first_foreign(root)
    if found is None:
        return "no YAML file with names and train, no obj.data, no images/ beside labels/"
    images, labels, text = found
    if text is None:
        return f"{images}/ lies beside {labels}/, which holds no text files: each image needs one of its name"
    place = text.relative_to(root).as_posix()
    try:
        number, words = next(iter(label_lines(text)), (1, []))
        reason = f"line {number}: {_fault(words)}"
    except SampleError as error:
        reason = error.reason
    return f"{images}/ lies beside {labels}/, but {place} isn't YOLO's: {reason}"


def _fault(words: list[str]) -> str:
    """Why the words of a line are none of YOLO's."""
    plain = f"must be the id of a class and at least 4 numbers, got {' '.join(words)[:80]!r}"
    try:
        values = [finite(word) for word in words]
    except (ValueError, OverflowError):
        return plain
    if len(values) < 5:
        return plain
    try:
        _class_id(words[0])
        _pixels(values[1:5], (1, 1))
    except ValueError as error:
        return str(error)
    return plain


def _class_id(word: str) -> int:
    number = finite(word)
    if not 0 <= number < 1e9 or number != int(number):
        raise ValueError(f"a line begins with the id of a class, got {word!r}")
    return int(number)


def _kind(count: int) -> str:
    """What so many numbers are."""
    if count in (4, 5):
        return "box"
    if count == 8:
        return "corners"
    return "polygon" if count >= 6 and count % 2 == 0 else "other"


def _pixels(values: Sequence[float], size: tuple[int, int]) -> np.ndarray:
    """(N, 2) x, y in pixels of shares of the sides; ValueError where they are no shares."""
    farthest = max(values, key=abs)
    if abs(farthest) > _FARTHEST:
        raise ValueError(
            f"coordinates are shares of the image's width and height, got {farthest:g}: divide pixels by them first"
        )
    return np.round(np.asarray(values, dtype=np.float64).reshape(-1, 2) * size[::-1], _DECIMALS)


def _box(values: Sequence[float], size: tuple[int, int]) -> list[float]:
    """(x1, y1, x2, y2) in pixels of centre and sides."""
    _pixels(values, size)
    x, y, w, h = values
    edges = np.array([x - w / 2, y - h / 2, x + w / 2, y + h / 2]) * [*size[::-1], *size[::-1]]
    return [float(edge) for edge in np.round(edges, _DECIMALS)]


def _keypoints(values: Sequence[float], dims: int, size: tuple[int, int]) -> np.ndarray:
    """(K, 3) x, y in pixels and COCO's flag."""
    given = np.asarray(values, dtype=np.float64).reshape(-1, dims)
    points = np.zeros((len(given), 3))
    points[:, :2] = _pixels(given[:, :2].ravel().tolist(), size)
    if dims == 3:
        odd = [flag for flag in given[:, 2].tolist() if flag not in (0, 1, 2)]
        if odd:
            raise ValueError(f"the flag of a keypoint is 0, 1 or 2, got {odd[0]:g}")
        points[:, 2] = given[:, 2]
    else:
        points[:, 2] = 2 * ((given >= 0).all(axis=1) & (given != 0).any(axis=1))
    return points


def _keypoint_shape(described: Description) -> tuple[int, int] | None:
    stated = described.said.get("kpt_shape")
    if stated in (None, "", "null"):
        return None
    numbers = [int(each) for each in stated if isinstance(each, str) and each.isdecimal() and len(each) < 9]
    if not isinstance(stated, list) or len(numbers) != len(stated) or len(numbers) != 2:
        raise DatasetError(f"{described.file}: kpt_shape must be [points, 2 or 3], got {stated!r:.100}")
    count, dims = numbers
    if not 1 <= count <= _KEYPOINTS or dims not in (2, 3):
        raise DatasetError(f"{described.file}: kpt_shape must be [points, 2 or 3], got {stated!r:.100}")
    return count, dims


def _is_by_split(image: str, split: str) -> bool:
    """Whether the images lie in `<split>/images` rather than in `images/<split>`."""
    folders = [part.lower() for part in image.split("/")[:-1]]
    return "images" in folders[1:] and folders[folders.index("images") - 1] in names_of_split(split)


def _is_dota(images: Path) -> bool:
    """Whether the text files of an image folder are DOTA's, which a YAML file doesn't make YOLO's."""
    above = images.parent
    return (above / "labelTxt").is_dir() and not (above / "labels").is_dir()
