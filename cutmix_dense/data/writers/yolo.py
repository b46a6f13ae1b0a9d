"""YOLO: a text file per image, images and labels in folders of the split, and data.yaml with names and splits."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool

from cutmix_dense.data.details import STATED
from cutmix_dense.data.errors import DatasetError
from cutmix_dense.data.extras import opencv
from cutmix_dense.data.files import write_atomic
from cutmix_dense.data.masks import decode_segmentation
from cutmix_dense.data.writers.base import REDRAWN, Sample, Writer
from cutmix_dense.data.writers.edges import box_in_picture, is_in_picture, rotated_in_picture

if TYPE_CHECKING:
    from cutmix_dense.data.readers.base import DenseDataset

_ORDER = ("train", "val", "valid", "test")
_USUAL = re.compile(r"(train|val)(?:20\d\d)?|valid(?:ation)?")
_NOT_SHOWN = "boxes without area in the picture, left out"
_AT_ZERO = "keypoints beyond the edge or not labelled (written at 0 0, which Ultralytics takes for labelled)"
"""Of two columns. Ultralytics takes negative shares for unlabelled, but 8.3.150 leaves out a picture that has one."""

_NEAR = 200
"""With more parts and holes than this, the nearest one isn't looked for."""


class YoloWriter(Writer):
    """Writes a YOLO split: `images/<split>/`, `labels/<split>/`, and `data.yaml` that all splits of the root share.

    A line is a box; a polygon where samples have masks; corners where boxes are rotated; a box and its keypoints where
    there are keypoints, whose masks are then lost. One polygon holds an instance: several parts, and holes, are joined
    to it by lines of no width, there and back, from which pycocotools draws exactly the mask. Shares have as many
    decimals as give the edges back within a millionth of a pixel. An instance that a mix left as it was, of a set that
    was YOLO, keeps the numbers of its line word for word. An image without instances has an empty file.

    Ultralytics leaves out a picture, with all its objects, for one line that goes beyond its edges. So boxes are
    clipped to the picture, and those without area in it are left out. Rotated boxes that go further than Ultralytics
    takes become the smallest ones round what shows of them. Keypoints beyond the edge become unlabelled. Each is
    counted in what is lost. Without flags (`kpt_shape` [n, 2]) nothing says so: they, and all that are not labelled or
    were covered by a mix, are written at 0 0. Our reader takes that for unlabelled, Ultralytics for a labelled corner
    of the picture; they are counted.

    Crowds are left out, as YOLO has no word for them and a loss would take them for objects; they are counted in what
    is lost, and so are `difficult`, semantic maps, details and whatever is said of pictures. Polygons of another layout
    are drawn anew along the pixels of their masks, and counted. An instance without a mask beside others with one is
    written as its box, which our reader takes and trainers may refuse; it is counted, too.

    `data.yaml` states the task, which tells polygons of four corners from rotated boxes. It has no `path`: Ultralytics
    counts a relative one from the working folder or its own folder of datasets, and all else from the file's. It calls
    splits "train" and "val", which Ultralytics needs both, where they are `train2017` or `valid`.

    Args:
        root: the folder of the dataset.
        classes: names by label; a "background" in place 0 has no id, and the others count from 0.
        split: name of the split.
        quality: JPEG quality.
        task: "detect", "segment", "pose" or "obb"; default: by what each sample has.
        points: kpt_shape, (points, 2 or 3), which all samples must have; default: as the samples, with flags.
        flip_pairs: (left, right) keypoints, written as flip_idx; None writes none.
        by_split: whether the folders are `<split>/images` and `<split>/labels`, as Roboflow and RF-DETR have it.

    Raises:
        DatasetError: the root's `data.yaml` is of another task, other classes or other keypoints.
    """

    layout = "yolo"
    formats = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")

    def __init__(
        self,
        root: str | Path,
        *,
        classes: Sequence[str],
        split: str = "train",
        quality: int = 95,
        task: str | None = None,
        points: tuple[int, int] | None = None,
        flip_pairs: Sequence[tuple[int, int]] | None = None,
        by_split: bool = False,
    ) -> None:
        super().__init__(root, classes=classes, split=split, quality=quality)
        if task not in (None, "detect", "segment", "pose", "obb"):
            raise ValueError(f"task must be detect, segment, pose or obb, got {task!r}")
        self.task, self.points, self.flip_pairs = task, points, flip_pairs
        self._first = int(self.classes[:1] == ("background",))
        self.names = self.classes[self._first :]
        self._redraws = False
        self._images = f"{split}/images" if by_split else f"images/{split}"
        self._shared(task, points)

    @classmethod
    def like(cls, dataset: DenseDataset, root: str | Path, split: str, quality: int = 95) -> YoloWriter:
        """The writer of a copy of a dataset: of YOLO with its task, keypoints and arrangement of folders."""
        cls.instances_of(dataset)
        cls.check_names(dataset.classes[int(dataset.classes[:1] == ("background",)) :])
        task = getattr(dataset, "task", None)
        own = dataset.layout == cls.layout
        writer = cls(
            root,
            classes=dataset.classes,
            split=split,
            quality=quality,
            task=task if own else None,
            points=getattr(dataset, "kpt_shape", None) if own and task == "pose" else None,
            flip_pairs=dataset.flip_pairs,
            by_split=own and bool(getattr(dataset, "by_split", False)),
        )
        writer._redraws = cls.redraws(dataset)
        return writer

    @property
    def listed_as(self) -> str:
        """What `data.yaml` calls the split: its usual name, or its own if it, or another split, has that already."""
        name, stated = self.name_of(self.split), self._shared()
        free = name not in stated and self.split not in stated
        return name if free or stated.get(name) == self._images else self.split

    @classmethod
    def name_of(cls, split: str) -> str:
        """What `data.yaml` usually calls it: "train" or "val" where it bears a year, "val" where it is "valid"."""
        usual = _USUAL.fullmatch(split)
        return split if usual is None else usual[1] or "val"

    def absent(self) -> list[str]:
        """Those of "train" and "val" that `data.yaml` doesn't name: Ultralytics takes no file without them."""
        stated = self._shared()
        return [name for name in ("train", "val") if name not in stated]

    def _encode(self, key: str, sample: Sample) -> tuple[dict[str, bytes], Any]:
        if sample.labels.size and sample.labels.min() < self._first:
            raise ValueError("label 0 is the background, which YOLO has no id for")
        task = self.task or _task_of(sample)
        if task == "obb" and sample.corners is None and len(sample.boxes):
            raise ValueError("task 'obb' needs rotated boxes")
        points = self._shape(sample) if task == "pose" else None
        lines = []
        for i in range(len(sample.boxes)):
            if sample.iscrowd[i]:
                sample.lost["crowds, left out"] += 1
                continue
            words = self._stated(sample, i) or self._words(sample, i, task, points)
            if words is None:
                sample.lost[_NOT_SHOWN] += 1
                continue
            lines.append(" ".join([str(int(sample.labels[i]) - self._first), *words]) + "\n")
        if sample.semantic is not None:
            sample.lost["semantic map"] += 1
        sample.lost["difficult"] += int(sample.difficult.sum())
        if task != "segment" and sample.masks is not None:
            sample.lost["masks"] += int(sample.has_mask.sum())
        if task != "pose" and sample.keypoints is not None:
            sample.lost["keypoints"] += int((sample.keypoints[..., 2] > 0).any(axis=1).sum())
        self.count_picture_details(sample)
        name, content = self.picture_file(self._images, key, sample)
        return {_label_file(name): "".join(lines).encode(), name: content}, {"task": task, "points": points}

    def _stated(self, sample: Sample, i: int) -> list[str] | None:
        """The words of an untouched instance's line; also counts what else is said of it and has no place."""
        details = dict(sample.details[i])
        stated = details.pop(STATED, None) or {}
        # shares of a picture of another size would be false
        words = stated.get("line") if list(stated.get("size", ())) == list(sample.size) else None
        for name in details:
            if not ((name == "score" and words) or (name == "difficult" and sample.difficult[i])):
                sample.lost[name] += 1
        return None if words is None else [str(word) for word in words]

    def _words(self, sample: Sample, i: int, task: str, points: tuple[int, int] | None) -> list[str] | None:
        """The numbers of an instance's line; None where nothing of its box lies in the picture."""
        if task == "segment" and sample.masks is not None and sample.has_mask[i] and sample.masks[i].any():
            sample.lost[REDRAWN] += self._redraws
            polygon = one_polygon(sample.masks[i])
            if not _draws(polygon, sample.masks[i]):
                sample.lost["masks that a polygon doesn't hold exactly"] += 1
            return _shares(polygon, sample.size)
        if task == "obb" and sample.corners is not None:
            corners, refitted = rotated_in_picture(sample.corners[i], sample.size)
            sample.lost["rotated boxes beyond the edge (the smallest round what the picture shows)"] += refitted
            return None if corners is None else _shares(corners.tolist(), sample.size)
        box, clipped = box_in_picture(sample.boxes[i], sample.size)
        if box is None:
            return None
        sample.lost["boxes beyond the edge (clipped to the picture)"] += clipped
        if task == "segment":
            sample.lost[
                "masks (none stated, or empty: written as boxes, which trainers may refuse beside polygons)"
            ] += 1
        x1, y1, x2, y2 = box.tolist()
        words = _shares([(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1], sample.size)
        if points is not None and sample.keypoints is not None:
            for x, y, flag in sample.keypoints[i].tolist():
                outside = not is_in_picture(x, y, sample.size)
                if points[1] == 3:
                    sample.lost["keypoints beyond the edge (written as not labelled)"] += outside and flag > 0
                    words += [*_shares([0, 0] if outside else [x, y], sample.size), str(0 if outside else int(flag))]
                else:
                    absent = outside or flag == 0
                    sample.lost[_AT_ZERO] += absent
                    sample.lost["flags of hidden keypoints"] += not absent and flag == 1
                    words += _shares([0, 0] if absent else [x, y], sample.size)
        return words

    def _shape(self, sample: Sample) -> tuple[int, int]:
        """kpt_shape; ValueError for a sample that doesn't fit it."""
        count = 0 if sample.keypoints is None else sample.keypoints.shape[1]
        shape = self.points or (count, 3)
        if shape[0] != count:
            raise ValueError(f"keypoints must be {shape[0]} per instance, got {count}")
        return shape

    def _write_lists(self, keys: list[str], samples: list[Any]) -> None:
        shapes = {tuple(sample["points"]) for sample in samples if sample["points"]}
        shapes |= {self.points} if self.points else set()
        if len(shapes) > 1:
            raise ValueError(f"samples have different numbers of keypoints: {sorted(shapes)}")
        tasks = {str(sample["task"]) for sample in samples} | ({self.task} if self.task else set())
        if len(tasks) > 1:
            raise ValueError(f"samples are for different tasks: {sorted(tasks)}")
        shape, task = next(iter(shapes), None), next(iter(tasks), None)
        splits = {**self._shared(task, shape), self.listed_as: self._images}
        lines = [f"{name}: {_quoted(splits[name])}" for name in sorted(splits, key=_place)]
        lines += [f"task: {task}"] if task else []
        if shape is not None:
            lines.append(f"kpt_shape: [{shape[0]}, {shape[1]}]")
            if self.flip_pairs is not None:
                swap = {**dict(self.flip_pairs), **{right: left for left, right in self.flip_pairs}}
                lines.append(f"flip_idx: {[swap.get(number, number) for number in range(shape[0])]}")
        lines += [f"nc: {len(self.names)}", "names:"]
        lines += [f"  {number}: {_quoted(name)}" for number, name in enumerate(self.names)]
        write_atomic(self.root / "data.yaml", ("\n".join(lines) + "\n").encode(errors="backslashreplace"))

    def _shared(self, task: str | None = None, shape: tuple[int, ...] | None = None) -> dict[str, str]:
        """The splits that `data.yaml` names already; DatasetError where it is of another task, classes or keypoints."""
        path = self.root / "data.yaml"
        if not path.is_file():
            return {}
        from cutmix_dense.data.readers.yolo_files import parsed_yaml  # which nothing here needs for a first split

        said = parsed_yaml(path)
        names = said.get("names") if isinstance(said, Mapping) else None
        if not isinstance(names, Mapping) or list(names.values()) != list(self.names):
            raise DatasetError(f"{path}: names other classes than those of the split {self.split!r}")
        stated = said.get("kpt_shape")
        if shape is not None and stated and stated != [str(number) for number in shape]:
            raise DatasetError(f"{path}: has kpt_shape {stated}, the split {self.split!r} has {list(shape)}")
        if task is not None and said.get("task", task) != task:
            raise DatasetError(f"{path}: is for task {said['task']!r}, the split {self.split!r} for {task!r}")
        own = ("names", "nc", "task", "kpt_shape", "flip_idx")
        return {str(key): str(value) for key, value in said.items() if key not in own}


def _task_of(sample: Sample) -> str:
    if sample.corners is not None:
        return "obb"
    if sample.keypoints is not None and sample.keypoints.shape[1]:
        return "pose"
    return "segment" if sample.masks is not None else "detect"


def _place(split: str) -> tuple[int, str]:
    return (_ORDER.index(split) if split in _ORDER else len(_ORDER), split)


def _quoted(text: str) -> str:
    """A word of YAML, in quotes where it could be read as something else."""
    plain = text.replace("_", "").replace("/", "").replace("-", "")
    safe = plain.isascii() and plain.isalnum() and text[0].isalpha()
    if safe and text.lower() not in _WORDS:
        return text
    quoted = json.dumps(text, ensure_ascii=False)  # whose own escapes are YAML's, too
    return "".join(each if each.isprintable() else f"\\U{ord(each):08x}" for each in quoted)


_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})


def _label_file(image: str) -> str:
    """Where a trainer looks for the label file: the last folder called `images` becomes `labels`."""
    path = PurePosixPath(image)
    folders = list(path.parts[:-1])
    at = len(folders) - 1 - folders[::-1].index("images")
    return str(PurePosixPath(*folders[:at], "labels", *folders[at + 1 :], f"{path.stem}.txt"))


def _shares(values: Sequence[float], size: tuple[int, int]) -> list[str]:
    """x, y, x, y … in pixels as shares of width and height, with the decimals that give them back."""
    words = []
    for i, value in enumerate(values):
        side = size[1 - i % 2]
        decimals = max(6, math.ceil(math.log10(side / 4e-7)))
        word = f"{value / side:.{decimals}f}".rstrip("0").rstrip(".")
        words.append("0" if word in ("-0", "") else word)
    return words


def _draws(polygon: list[float], mask: np.ndarray) -> bool:
    """Whether pycocotools draws the mask from the polygon."""
    try:
        return np.array_equal(decode_segmentation([polygon], (mask.shape[0], mask.shape[1])), mask)
    except ValueError:  # its outline is absurdly long
        return False


def one_polygon(mask: Bool[np.ndarray, "h w"]) -> list[float]:
    """The outline of a mask along its pixels' edges as one polygon: x, y, x, y and so on.

    Parts and holes follow one another, each joined by a line there and back to the nearest corner of those before it,
    so that what an even-odd rule fills is the mask.

    Args:
        mask: with at least one pixel.
    """
    ys, xs = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    part = mask[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1]
    loops = _loops(part)
    if len(loops) > _NEAR:  # one after the other, and back along the corners where they begin
        begins = np.stack([loop[0] for loop in loops])
        closed = [line for loop in loops for line in (loop, loop[:1])]
        joined = np.concatenate([*closed, begins[-2::-1]])
        loops = []
    else:
        joined = loops[0]
    for loop in loops[1:]:
        distances = np.abs(joined[:, None] - loop[None]).sum(axis=2)
        here, there = np.unravel_index(int(distances.argmin()), distances.shape)
        turned = np.roll(loop, -int(there), axis=0)
        joined = np.concatenate([joined[: here + 1], turned, turned[:1], joined[here:]])
    return [float(value) for value in (joined + np.array([xs[0], ys[0]])).ravel()]


def _loops(mask: np.ndarray) -> list[np.ndarray]:
    """The closed lines round the parts and holes of a mask, (N, 2) corners of pixels each."""
    cv2 = opencv()
    # Each pixel becomes 2×2, so that even and odd contour points tell the left from the right edge of a pixel.
    doubled = np.repeat(np.repeat(mask.astype(np.uint8), 2, axis=0), 2, axis=1)
    contours, _ = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    loops = []
    for contour in contours:
        corners = (contour[:, 0, :].astype(np.int64) + 1) // 2
        corners = corners[(corners != np.roll(corners, 1, axis=0)).any(axis=1)]
        before, after = corners - np.roll(corners, 1, axis=0), np.roll(corners, -1, axis=0) - corners
        loops.append(corners[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]])  # the turns only
    return sorted(loops, key=lambda loop: tuple(loop[0]))
