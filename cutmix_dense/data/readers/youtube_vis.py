"""YouTube-VIS: clips whose instances keep their track ids, with a mask and a box per frame."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from cutmix_dense.data.details import STATED
from cutmix_dense.data.errors import DatasetError, SampleError, blaming
from cutmix_dense.data.masks import (
    boxes_from_masks,
    check_room,
    check_segmentation,
    decode_segmentation,
    odd_parts,
    stated_segmentation,
)
from cutmix_dense.data.pictures import PictureInfo
from cutmix_dense.data.readers.base import DenseDataset, finite, inside_folder, instance_target, needed_folder
from cutmix_dense.data.readers.box_formats import StatedBox, check_sides_and_corners
from cutmix_dense.data.readers.coco_files import (
    categories_of,
    header_of,
    read_coco_json,
    stated_size,
    whole_number,
)
from cutmix_dense.data.writers.youtube_vis import YouTubeVisWriter

if TYPE_CHECKING:
    from cutmix_dense.transforms.layout import Layout

_OF_VIDEO = frozenset({"id", "file_names", "width", "height", "length"})
_OF_TRACK = frozenset(
    {"id", "video_id", "category_id", "iscrowd", "segmentations", "bboxes", "areas", "width", "height", "length"}
)

_NO_BOX: tuple[Any, ...] = (None, [], [0, 0, 0, 0])


class YouTubeVisDataset(DenseDataset):
    """Clips of a fixed number of frames from a folder with YouTube-VIS's layout.

    A sample is a `tv_tensors.Video` (T, 3, H, W) uint8 and a list of T targets, one per frame, as the transforms take
    them with ``layout="BTCHW"``. Each has `image_id` (the video's), `boxes` (the file's, else tight round the masks),
    `labels`, `iscrowd`, `area`, and `track_id` (N,) int64, the annotation's id, which is the same in every frame;
    `masks` if any track of the file has one, and `has_mask` if some has a box without one. An instance is in the frames
    in which the file gives it a mask or a box. `classes[0]` is "background"; `category_ids[label]` is the file's id.

    A track, or a frame of one, that makes no sense is left out and noted, unless nothing else of its clip is left; a
    mask that makes none beside a box costs itself alone. A track with neither mask nor box in any frame is noted where
    all frames are read. Ids of tracks that are texts count as the integers they mean,
    else they are numbered.

    Args:
        root: the dataset folder.
        split: "train", "valid" …
        frames: T, at even distances in the whole video; a shorter one shows some twice. None: all frames, as many as
            each video has. `mix_dataset` and `browse` read them all, and a partner gets as many as its base has, at
            even distances; in a batch clips must have one length.
        images: folder of the videos' folders, if it is not `<split>/JPEGImages`.
        annotations: JSON file, if it is not `<split>/instances.json` or `<split>.json`.
        common: `pixels` and `details`; see `DenseDataset`.

    Raises:
        ValueError: `frames` below 1.
        DatasetError: no annotation file or image folder, a JSON of another kind, or boxes that are corners.
        SampleError: on access, a frame that cannot be read or an annotation that makes no sense.
    """

    layout = "youtube_vis"
    title = "YouTube-VIS"
    options: ClassVar = {
        "images": "folder of the videos' folders, if it is not <split>/JPEGImages",
        "annotations": "JSON file, if it is not <split>/instances.json or <split>.json",
        "frames": "number of evenly spaced frames per clip (default: 8; all for mixed copies and sheets)",
    }
    writer = YouTubeVisWriter
    mix_layout: Layout = "BTCHW"

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        *,
        frames: int | None = 8,
        images: str | Path | None = None,
        annotations: str | Path | None = None,
        **common: Any,
    ) -> None:
        if frames is not None and frames < 1:
            raise ValueError(f"frames must be at least 1, got {frames}")
        super().__init__(root, split, **common)
        self.frames = frames
        self.annotations = Path(annotations) if annotations is not None else _annotations_of(self.root, split)
        self._images = Path(images) if images is not None else self.root / split / "JPEGImages"
        needed_folder(self._images, "image")
        told: list[str] = []
        more = {"annotations": ("id", "category_id")}
        content = read_coco_json(self.annotations, "video instances", more, items="videos", told=told)
        if content["annotations"] and not any(_per_frame(each) for each in content["annotations"]):
            raise DatasetError(f"{self.annotations}: not YouTube-VIS, no annotation has segmentations or bboxes")
        told += _number_tracks(content["annotations"])
        for i, video in enumerate(content["videos"]):
            names = video["file_names"]
            if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
                raise DatasetError(f"{self.annotations}: videos[{i}]['file_names'] must list one frame or more")
        self._videos: list[dict[str, Any]] = sorted(content["videos"], key=lambda video: video["id"])
        self._tracks: dict[int | str, list[dict[str, Any]]] = {video["id"]: [] for video in self._videos}
        for annotation in content["annotations"]:
            self._tracks.get(annotation["video_id"], []).append(annotation)
        categories = categories_of(content, told)
        self.classes = ("background", *(str(category["name"]) for category in categories))
        self.categories: tuple[dict[str, Any], ...] = ({}, *categories)
        self.header = header_of(content, told, "videos")
        self.notes.update({(str(self.annotations), reason): 1 for reason in told})
        self.category_ids: tuple[int, ...] = (-1, *(category["id"] for category in categories))
        self._labels = {category: label for label, category in enumerate(self.category_ids) if label}
        sizes = {video["id"]: _size_or_none(video, self.annotations) for video in self._videos}
        check_sides_and_corners(_sized(content["annotations"], sizes), self.annotations)
        kinds = [kind for each in content["annotations"] for kind in _kinds(each, sizes.get(each["video_id"]))]
        self._some_without = False in kinds
        self.has_masks = True in kinds or not self._some_without

    @classmethod
    def find_splits(cls, root: Path) -> list[str]:
        """The names of the splits under `root` that have annotations and frames."""
        folders = [path.parent for path in root.glob("*/JPEGImages") if path.is_dir()]
        return sorted(path.name for path in folders if any(file.is_file() for file in _places(root, path.name)))

    @classmethod
    def whole(cls, root: Path, split: str) -> dict[str, Any]:
        """All frames."""
        return {"frames": None}

    def __len__(self) -> int:
        return len(self._videos)

    def image_path(self, index: int) -> Path:
        """The folder of sample `index`'s first frame."""
        return self._frame_path(index, 0).parent

    def picture(self, index: int) -> PictureInfo:
        """Name of the first frame, sub-folders included; names of all that are read, and what the file says more."""
        video = self._videos[index]
        details = {key: value for key, value in video.items() if key not in _OF_VIDEO}
        names = [video["file_names"][frame] for frame in self._chosen(index)]
        return PictureInfo(names[0].replace("\\", "/"), {**details, "file_names": names})

    def _chosen(self, index: int) -> list[int]:
        """Which frames of a video are read."""
        length = len(self._videos[index]["file_names"])
        return even_frames(length, length if self.frames is None else self.frames)

    def _frame_path(self, index: int, frame: int) -> Path:
        return inside_folder(self._images, self._videos[index]["file_names"][frame], self.annotations)

    def _load(self, index: int) -> tuple[np.ndarray, list[dict[str, Any]]]:
        video = self._videos[index]
        chosen = self._chosen(index)
        count = len(chosen)
        pictures: list[np.ndarray] = []
        targets = []
        tracks, wrong = self._readable(video)
        told: set[int] = set()
        for frame in chosen:
            path = self._frame_path(index, frame)
            picture = self.read_image(path)
            if pictures and picture.shape != pictures[0].shape:
                sizes = " and ".join(f"{each.shape[-1]}×{each.shape[-2]}" for each in (pictures[0], picture))
                raise SampleError(path, f"the frames of a video must have one size, these are {sizes}")
            size = (picture.shape[-2], picture.shape[-1])
            with blaming(path):
                check_room("channels and masks", (3 + len(self._tracks[video["id"]])) * count, size)
            pictures.append(picture)
            rows: list[_Row] = []
            for number, annotation in enumerate(tracks):
                name = f"annotation {annotation['id']} of {path.parent.name}, frame {frame}"
                try:
                    row = self._row(annotation, frame, size)
                except (ValueError, TypeError, OverflowError) as error:
                    wrong.append(f"{name} is left out: {error}")
                    told.add(number)
                    continue
                if row is not None:
                    rows.append(row)
                    wrong += [f"{name}: {reason}" for reason in row.odd]
                    told.add(number)
            targets.append(rows)
        if wrong and not any(targets):
            raise SampleError(self._frame_path(index, chosen[0]), f"{wrong[0]} (in {self.annotations})")
        if len(set(chosen)) == len(video["file_names"]):
            wrong += [
                f"annotation {annotation['id']} of video {video['id']} is left out: no frame has a mask or a box of it"
                for number, annotation in enumerate(tracks)
                if number not in told
            ]
        for reason in wrong:
            self.note(self.annotations, reason)
        some_without = self._some_without or (
            self.has_masks and any(row.mask is None for rows in targets for row in rows)
        )
        return np.stack(pictures), [self._target(video["id"], size, rows, some_without) for rows in targets]

    def _readable(self, video: dict[str, Any]) -> tuple[list[dict[str, Any]], list[str]]:
        """The tracks of a video that can be read, and what is wrong with the others."""
        tracks, wrong = [], []
        for annotation in self._tracks[video["id"]]:
            name, reason = f"annotation {annotation['id']} of video {video['id']}", ""
            if annotation["category_id"] not in self._labels:
                reason = f"category_id {annotation['category_id']} is not among the categories"
            fitting = _per_frame(annotation)
            for key in fitting:
                if len(annotation[key]) != len(video["file_names"]):
                    length = f"{key} must have an entry for each of {len(video['file_names'])} frames"
                    reason, annotation = reason or length, {k: v for k, v in annotation.items() if k != key}
            if _per_frame(annotation) and annotation["category_id"] in self._labels:
                wrong += [f"{name}: its {reason}"] if reason else []
                tracks.append(annotation)
            else:
                wrong.append(f"{name} is left out: {reason or 'has neither segmentations nor bboxes'}")
        return tracks, wrong

    def _row(self, annotation: dict[str, Any], frame: int, size: tuple[int, int]) -> _Row | None:
        """A track in a frame, None where it isn't there; ValueError where nothing of it makes sense."""
        odd: list[str] = []
        unread: set[str] = set()
        mask, bbox, crowd = None, None, 0
        try:
            stated = stated_segmentation(_entry(annotation, "segmentations", frame))
            mask = None if stated is None else decode_segmentation(stated, size)
        except (ValueError, TypeError, OverflowError) as error:
            odd.append(f"its segmentation is left out: {error}")
            unread.add("segmentation")
        if odd_parts(_entry(annotation, "segmentations", frame)):
            odd.append("parts of its segmentation that hold half a point are left out")
        try:
            bbox = _box(_entry(annotation, "bboxes", frame))
        except (ValueError, TypeError, OverflowError) as error:
            odd.append(f"its bbox is left out: {error}")
            unread.add("bbox")
        if mask is not None and not mask.any():
            if bbox is not None:
                odd.append("its mask has no pixel")
            mask = None
        if mask is None and bbox is None:
            if odd:
                raise ValueError("; ".join(odd))
            return None
        try:
            given = annotation.get("iscrowd") or 0
            crowd = 0 if given != given else int(np.int64(int(given)))
        except (ValueError, TypeError, OverflowError) as error:
            odd.append(f"its iscrowd is taken for 0: {error}")
        box = bbox if mask is None or bbox is not None else boxes_from_masks(mask[None])[0].tolist()
        label = self._labels[annotation["category_id"]]
        details = _details(annotation, frame, unread) if self.details else {}
        return _Row(annotation["id"], label, crowd, mask, box, details, odd)

    def _target(self, video: Any, size: tuple[int, int], rows: list[_Row], some_without: bool) -> dict[str, Any]:
        target = instance_target(
            video,
            size,
            np.array([row.box for row in rows], dtype=np.float64).reshape(-1, 4),
            np.array([row.label for row in rows], dtype=np.int64),
            iscrowd=np.array([row.crowd for row in rows], dtype=np.int64),
            masks=[row.mask for row in rows] if self.has_masks else None,
            has_mask=np.array([row.mask is not None for row in rows], dtype=bool)
            if self.has_masks and some_without
            else None,
            details=[row.details for row in rows] if self.details else None,
        )
        target["track_id"] = np.array([row.track for row in rows], dtype=np.int64)
        return target


class _Row(NamedTuple):
    """A track as it is in a frame."""

    track: int
    label: int
    crowd: int
    mask: np.ndarray | None
    box: Any
    details: dict[str, Any]
    odd: list[str]


def _per_frame(annotation: Mapping[str, Any]) -> list[str]:
    """Which of a track's lists place it in frames."""
    return [key for key in ("segmentations", "bboxes") if isinstance(annotation.get(key), list) and annotation[key]]


def _entry(annotation: Mapping[str, Any], key: str, frame: int) -> Any:
    values = annotation.get(key)
    return values[frame] if isinstance(values, list) and frame < len(values) else None


def _box(bbox: Any) -> list[float] | None:
    """x0, y0, x1, y1; None where none is stated, also as four zeros."""
    if bbox in _NO_BOX:
        return None
    if not isinstance(bbox, (list, tuple)) or len(bbox) != 4:
        raise ValueError(f"bbox must be [x, y, width, height], got {bbox!r}")
    x, y, width, height = (finite(value) for value in bbox)
    return [x, y, x + width, y + height]


def _kinds(annotation: Mapping[str, Any], size: tuple[int, int] | None) -> set[bool]:
    """Whether a track has a mask (True), and a box without one (False), in any frame."""
    masks, boxes = (annotation[key] if key in _per_frame(annotation) else [] for key in ("segmentations", "bboxes"))
    found = [check_segmentation(mask, size) for mask in masks]
    found += [False] * (len(boxes) - len(found))
    without = any(not there and bbox not in _NO_BOX for there, bbox in zip(found, boxes))
    return ({True} if any(found) else set()) | ({False} if without else set())


def _sized(
    annotations: Iterable[Mapping[str, Any]], sizes: Mapping[Any, tuple[int, int] | None]
) -> Iterator[StatedBox]:
    """The boxes of all frames, of videos of known size."""
    for each in annotations:
        size = sizes.get(each["video_id"])
        boxes = each["bboxes"] if size is not None and "bboxes" in _per_frame(each) else []
        for frame, bbox in enumerate(boxes):
            if size is not None and bbox not in _NO_BOX:
                area, segmentation = (_entry(each, name, frame) for name in ("areas", "segmentations"))
                yield StatedBox(each["video_id"], bbox, size, area, segmentation)


def _size_or_none(video: Mapping[str, Any], path: Path) -> tuple[int, int] | None:
    try:
        return stated_size(video, path)
    except SampleError:  # of no use here
        return None


def _number_tracks(annotations: list[dict[str, Any]]) -> list[str]:
    """Make the ids of tracks integers; what has to be said of it."""
    for annotation in annotations:
        annotation["id"] = whole_number(annotation["id"])
    given = {annotation["id"] for annotation in annotations}
    usual = {number for number in given if type(number) is int and -(2**62) <= number < 2**62}
    others = dict.fromkeys(annotation["id"] for annotation in annotations if annotation["id"] not in usual)
    numbers = dict(zip(others, range(max(usual, default=0) + 1, max(usual, default=0) + 1 + len(others))))
    for annotation in annotations:
        annotation["id"] = numbers.get(annotation["id"], annotation["id"])
    first = next(iter(others), None)
    return (
        [f"{len(others)} ids of tracks are no integers and are numbered, {first!r} as {numbers[first]}"]
        if others
        else []
    )


def even_frames(length: int, count: int) -> list[int]:
    """`count` frames at even distances in `length`; some twice if there are fewer."""
    return [((2 * step + 1) * length) // (2 * count) for step in range(count)]


def _details(annotation: dict[str, Any], frame: int, unread: Collection[str]) -> dict[str, Any]:
    """What the file says of a track besides what the target holds, and what it measures in a frame, as it states it."""
    details = {key: value for key, value in annotation.items() if key not in _OF_TRACK}
    stated = {}
    for name, many in (("segmentation", "segmentations"), ("bbox", "bboxes"), ("area", "areas")):
        values = annotation.get(many)
        if isinstance(values, list) and frame < len(values) and name not in unread:
            stated[name] = values[frame]
    return {**details, STATED: stated}


def _places(root: Path, split: str) -> list[Path]:
    """Where the annotations of a split may lie."""
    return [root / split / "instances.json", root / f"{split}.json"]


def _annotations_of(root: Path, split: str) -> Path:
    tried = _places(root, split)
    for path in tried:
        if path.is_file():
            return path
    names = ", ".join(str(path.relative_to(root)) for path in tried)
    found = ", ".join(YouTubeVisDataset.find_splits(root)) or "none"
    raise DatasetError(f"{root}: no YouTube-VIS annotations of split {split!r}; tried {names} (splits found: {found})")
