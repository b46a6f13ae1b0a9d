"""The instances of a batch: one row each, in units of the image's size, as the core takes them and back."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torchvision import tv_tensors

from cutmix_dense.arrays.dtypes import exact_dtype
from cutmix_dense.functional import MixReport
from cutmix_dense.functional.report import Outcome
from cutmix_dense.transforms.box_format import BoxForm

_NAMES = {"bboxes": "boxes", "cls": "labels", "keypoints": "keypoints"}
"""What the core calls the columns of a batch."""

_ANGLED = 5
"""Columns of rotated boxes: centre, size, angle."""

_LARGEST_SHARE = 2.0
"""No coordinate of a box in shares is nearly as large; one of pixels nearly always is."""

_LEAST_ANGLE = -math.pi / 4
"""Angles of changed rotated boxes lie within half a turn from here, as Ultralytics' own do."""


@dataclass(frozen=True)
class KeptRows:
    """The rows of a mixed batch, output by output, base first; all on the host.

    Attributes:
        output: the output that each row belongs to.
        layer: its layer there.
        source: the image of the batch that it came from.
        instance: its place among that image's rows.
        row: its place among all rows of the batch, ordered by image.
        counts: rows of each output.
    """

    output: Int[Tensor, " k"]
    layer: Int[Tensor, " k"]
    source: Int[Tensor, " k"]
    instance: Int[Tensor, " k"]
    row: Int[Tensor, " k"]
    counts: list[int]

    @classmethod
    def of(cls, report: MixReport, counts_before: Sequence[int], outputs: int) -> KeptRows:
        """Those that a report says were kept, whole or in part."""
        kept = report.outcome < int(Outcome.DROPPED)
        output, layer, source, instance = (
            column[kept] for column in (report.output, report.layer, report.source, report.instance)
        )
        before = torch.tensor(counts_before, dtype=torch.long, device="cpu")
        row = (before.cumsum(0) - before)[source] + instance
        return cls(output, layer, source, instance, row, torch.bincount(output, minlength=outputs).tolist())


@dataclass(frozen=True)
class Rows:
    """The rows of a batch, ordered by image.

    Attributes:
        columns: each key's rows, as they came.
        pixels: boxes (upright ones as corners, rotated ones as torchvision has them) and keypoints in pixels, by key.
        counts: rows of each image.
        image: the image of each row.
        place: its place among that image's rows.
        batch_idx: the batch's ``batch_idx`` as it came, of which dtype and device are kept.
        frame: height and width of the images.
        form: what takes upright boxes back; None of rotated ones.
    """

    columns: dict[str, Any]
    pixels: dict[str, Tensor]
    counts: list[int]
    image: Int[Tensor, " n"]
    place: Int[Tensor, " n"]
    batch_idx: Shaped[Tensor, " n"]
    frame: tuple[int, int]
    form: BoxForm | None

    @classmethod
    def of(cls, batch: Mapping[str, Any], instance_keys: Sequence[str] = ()) -> Rows:
        """Check and order the rows of a batch.

        Args:
            batch: with ``img``, ``bboxes``, ``cls`` and ``batch_idx``.
            instance_keys: further keys with a row per instance.

        Raises:
            TypeError: boxes, keypoints or ``batch_idx`` that are no tensor; boxes or keypoints of integers.
            ValueError: a key that is missing, or whose rows don't match; an image that isn't there; boxes in pixels.
        """
        images, boxes = batch["img"], batch["bboxes"]
        for key in ("cls", "batch_idx"):
            if key not in batch:
                raise ValueError(f"batch must have {key!r} beside 'bboxes', got {sorted(batch)}")
        for key in ("bboxes", "batch_idx", "keypoints"):
            if key in batch and not isinstance(batch[key], Tensor):
                raise TypeError(
                    f"batch[{key!r}] must be a tensor, got {type(batch[key]).__name__}: convert it by torch.as_tensor"
                )
            if key in batch and key != "batch_idx" and not batch[key].is_floating_point():
                raise TypeError(
                    f"batch[{key!r}] must hold shares of the image in floating point, got {batch[key].dtype}: divide "
                    "by width and height"
                )
        columns = {key: batch[key] for key in (*_NAMES, *instance_keys) if key in batch}
        for key, value in {**columns, "batch_idx": batch["batch_idx"]}.items():
            rows = (
                len(value) if isinstance(value, (list, tuple)) or (isinstance(value, Tensor) and value.ndim) else None
            )
            if rows != len(boxes):
                got = tuple(value.shape) if isinstance(value, Tensor) else f"{type(value).__name__} of length {rows}"
                raise ValueError(f"batch[{key!r}] must have one row per box ({len(boxes)}), got {got}")
        if boxes.ndim != 2 or boxes.shape[1] not in (4, _ANGLED):
            raise ValueError(f"batch['bboxes'] must be (n, 4) xywh or (n, 5) xywhr, got {tuple(boxes.shape)}")
        far = (boxes[:, :4].abs() > _LARGEST_SHARE).any(dim=1)
        if 2 * int(far.sum()) > len(boxes):
            raise ValueError(
                "batch['bboxes'] must be centre and size in shares of the image, got values up to "
                f"{float(boxes[:, :4].abs().max()):g}, which look like pixels: divide by width and height"
            )
        points = columns.get("keypoints")
        if points is not None and (points.ndim != 3 or points.shape[2] not in (2, 3)):
            raise ValueError(f"batch['keypoints'] must be (n, K, 2) or (n, K, 3), got {tuple(points.shape)}")
        given = batch["batch_idx"].reshape(len(boxes))
        image = given.long()
        places = image.tolist()
        if places and (
            not 0 <= min(places) <= max(places) < len(images) or not torch.equal(image.to(given.dtype), given)
        ):
            raise ValueError(
                f"batch['batch_idx'] must hold the numbers of images, 0 … {len(images) - 1}, got {given.tolist()}"
            )
        if places != sorted(places):
            order = image.argsort(stable=True)
            image = image[order]
            columns = {key: _taken(value, order) for key, value in columns.items()}
        counts = [places.count(number) for number in range(len(images))]
        starts = image.new_tensor([sum(counts[:number]) for number in range(len(images))])
        place = torch.arange(len(places), device=image.device) - starts[image]
        frame = (int(images.shape[-2]), int(images.shape[-1]))
        pixels = {}
        form = None
        if boxes.shape[1] == _ANGLED:
            pixels["bboxes"] = _angled_in(columns["bboxes"], frame)
        else:  # as those of one image, since all images have one size
            given = [{"boxes": columns["bboxes"]}]
            corners, form = BoxForm("cxcywh", True).to_pixels(given, torch.tensor([frame], device="cpu"))
            pixels["bboxes"] = corners[0]["boxes"]
        if points is not None:
            pixels["keypoints"] = _points_in(columns["keypoints"], frame)
        return cls(columns, pixels, counts, image, place, batch["batch_idx"], frame, form)

    @property
    def rotated(self) -> bool:
        """Whether the boxes have an angle."""
        return self.form is None

    def targets(self) -> list[dict[str, Any]]:
        """One dict per image, as the core takes them."""
        found: list[dict[str, Any]] = [{} for _ in self.counts]
        for key, value in self.columns.items():
            rows = self.pixels.get(key, value)
            for target, part in zip(found, _split(rows, self.counts)):
                if key == "bboxes" and self.rotated:
                    part = tv_tensors.BoundingBoxes(part, format=_angled_format(), canvas_size=self.frame)
                target[_NAMES.get(key, key)] = part
        return found

    def mixed(self, targets: Sequence[Mapping[str, Any]], kept: KeptRows, frame: tuple[int, int]) -> dict[str, Any]:
        """The columns and ``batch_idx`` of a mixed batch.

        Args:
            targets: the outputs' dicts.
            kept: what rows they hold.
            frame: height and width of the mixed images.
        """
        found: dict[str, Any] = {}
        for key, given in self.columns.items():
            name = _NAMES.get(key, key)
            if not isinstance(given, Tensor):
                found[key] = [item for target in targets for item in target.get(name, ())]
                continue
            parts = [target[name].as_subclass(Tensor) for target in targets if len(target.get(name, ()))]
            rows = torch.cat(parts) if parts else given[:0]
            if key == "keypoints" and parts and given.shape[2] == 2:
                seen = torch.cat([target["keypoints_visible"] for target in targets if len(target.get(name, ()))])
                rows = torch.where(seen.bool()[..., None], rows, 0)
            if key in self.pixels and parts:
                rows = self._out(key, rows, kept.row.to(rows.device), frame)
            found[key] = rows
        numbers = torch.arange(len(kept.counts), device="cpu").repeat_interleave(
            torch.tensor(kept.counts, device="cpu")
        )
        found["batch_idx"] = numbers.to(self.batch_idx.device, self.batch_idx.dtype).reshape(
            -1, *self.batch_idx.shape[1:]
        )
        return found

    def _out(self, key: str, rows: Tensor, row: Int[Tensor, " k"], frame: tuple[int, int]) -> Tensor:
        """Mixed rows in the units and the dtype that they came in; numbers that didn't change bit by bit."""
        if key == "bboxes" and self.form is not None:
            origin = torch.stack([torch.zeros_like(row), row], dim=1)
            size = torch.tensor([frame], device="cpu")
            boxes: Tensor = self.form.from_pixels([{"boxes": rows, "origin": origin}], size)[0]["boxes"]
            return boxes
        given, before = self.columns[key], self.pixels[key]
        unit = _unit(rows, frame)
        same: Bool[Tensor, "..."] = rows == before[row]
        if key == "keypoints":
            mixed = torch.cat([rows[..., :2] / unit, rows[..., 2:]], dim=2)
        else:
            angle = (-torch.deg2rad(rows[:, 4:]) - _LEAST_ANGLE).remainder(math.pi) + _LEAST_ANGLE
            mixed = torch.cat([rows[:, :4] / unit.repeat(2), angle], dim=1)
            same[:, 4] = same.all(dim=1)  # of a box that changed it is given in the usual half turn
        if frame != self.frame:  # the same pixels are other shares of it
            same = torch.zeros_like(same)
        return torch.where(same, given[row], mixed.to(given.dtype))


def _unit(like: Tensor, frame: tuple[int, int]) -> Float[Tensor, " 2"]:
    """Width and height."""
    return torch.tensor([frame[1], frame[0]], device=like.device, dtype=exact_dtype(like.device))


def _points_in(points: Shaped[Tensor, "n k c"], frame: tuple[int, int]) -> Float[Tensor, "n k c"]:
    unit = _unit(points, frame)
    exact = points.to(unit.dtype)
    return torch.cat([exact[..., :2] * unit, exact[..., 2:]], dim=2)


def _angled_in(boxes: Shaped[Tensor, "n 5"], frame: tuple[int, int]) -> Float[Tensor, "n 5"]:
    """Pixels and torchvision's angle: degrees, counter-clockwise on the screen."""
    unit = _unit(boxes, frame)
    exact = boxes.to(unit.dtype)
    return torch.cat([exact[:, :4] * unit.repeat(2), -torch.rad2deg(exact[:, 4:])], dim=1)


def _taken(value: Any, order: Int[Tensor, " n"]) -> Any:
    return value[order] if isinstance(value, Tensor) else [value[index] for index in order.tolist()]


def _split(value: Any, counts: Sequence[int]) -> list[Any]:
    """The rows of every image."""
    if isinstance(value, Tensor):
        return list(value.split(list(counts)))
    ends = [sum(counts[: number + 1]) for number in range(len(counts))]
    return [list(value[end - count : end]) for end, count in zip(ends, counts)]


def _angled_format() -> Any:
    form = getattr(tv_tensors.BoundingBoxFormat, "CXCYWHR", None)
    if form is None:
        raise ValueError("batch['bboxes'] of five columns are rotated boxes, which need torchvision 0.23 or newer")
    return form
