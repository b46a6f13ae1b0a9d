"""Mix what a call holds with its partners: the core decides, this only carries arrays to it and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cutmix_dense.albumentations.samples import Layout, Sample, label_column
from cutmix_dense.functional import mix_pixels
from cutmix_dense.functional.keypoints import mix_points, mix_poses
from cutmix_dense.plan import MixPlan
from cutmix_dense.transforms import CarveMix, ClassMix, CopyPaste, MixTransform, MixUp
from cutmix_dense.transforms.fit import PartnerFit
from cutmix_dense.transforms.single import mix_single

__all__ = ["Fills", "mix"]

_MEASURED = ("area", "iscrowd", "visibility", "weight")
"""Label fields of boxes that the core knows by name: it reads and rewrites their numbers."""


@dataclass(frozen=True)
class Fills:
    """What pixels of maps become that nobody owns.

    Attributes:
        mask: what the user said, one number or one per channel; None: nothing.
        ignore_stated: for every member of the method, whether its ``ignore_index`` is what the user said.
    """

    mask: float | Sequence[float] | None
    ignore_stated: Sequence[bool]

    def of_classes(self, key: str, maps: Sequence[Tensor], plan: MixPlan, member: MixTransform, index: int) -> int:
        """The id for class maps: ``mask``, or else ``ignore_index``, unless it may be a class.

        Args:
            key: of the maps, for errors.
            maps: of the image and its partners.
            plan: who owns each pixel.
            member: the method that mixes.
            index: its place among the members.

        Raises:
            ValueError: a fill that isn't one id of the maps' dtype; no fill stated, and ``ignore_index`` occurs in the
                maps or doesn't fit them; only where some pixel needs it.
        """
        remedy = "say what pixels without owner become: fill_mask=0 (or another id), or ignore_index= an id"
        dtype = maps[0].dtype
        low, high = (0, 1) if dtype == torch.bool else (torch.iinfo(dtype).min, torch.iinfo(dtype).max)
        if self.mask is not None:
            fill = np.asarray(self.mask).ravel()
            if len(fill) != 1 or fill[0] != int(fill[0]) or not low <= fill[0] <= high:
                raise ValueError(f"fill_mask must be one id within {low} … {high} for {key!r}, got {self.mask!r}")
            return int(fill[0])
        fill_id = member.ignore_index
        if not plan.has_fill():
            return fill_id
        if not low <= fill_id <= high:
            raise ValueError(f"ignore_index {fill_id} doesn't fit {key!r} of {dtype}: {remedy} within {low} … {high}")
        if not self.ignore_stated[index] and any(bool((one == fill_id).any()) for one in maps):
            raise ValueError(
                f"{key!r} holds the id {fill_id}, which may be a class, and ignore_index is {fill_id} unless stated: "
                f"{remedy} (ignore_index={fill_id} if that is what {fill_id} means)"
            )
        return fill_id


def mix(
    method: MixTransform,
    layout: Layout,
    base: Sample,
    partners: Sequence[Sample],
    seed: int,
    fills: Fills,
    partner_fit: PartnerFit,
) -> dict[str, Any]:
    """The mixed arrays of every key of the layout.

    Args:
        method: how the plan is drawn.
        layout: what the keys are.
        base: the call's own sample.
        partners: the others, in order.
        seed: of the generator that draws the plan, and of nothing else.
        fills: values of pixels that nobody owns, in maps.
        partner_fit: how partners of another size are mixed.

    Raises:
        ValueError, TypeError: as the core, or a key that this method can't mix, named.
    """
    pool = [base, *partners]
    soft = any(isinstance(member, MixUp) for member in method.members)
    for key, array in layout.arrays.items():
        if soft and not layout.is_picture(key) and not np.issubdtype(array.dtype, np.floating):
            raise ValueError(
                f"{key!r} holds {array.dtype} ids, which a blend would falsify (ids don't average): MixUp "
                "takes maps of floating point, probabilities or one-hot"
            )
    for member in method.members:
        name = type(member).__name__
        if isinstance(member, CopyPaste) and "bboxes" not in layout.kinds:
            raise ValueError(f"{name} pastes the partners' instances: 'bboxes' must be given, at least an empty list")
        if isinstance(member, (CarveMix, ClassMix)) and not layout.is_class_map("mask"):
            raise ValueError(f"{name} looks at classes: 'mask' must be given, whole numbers of shape (H, W)")
    targets = _targets(layout, pool, method)
    images = [_first(sample.pixels[layout.first]) for sample in pool]
    generator = torch.Generator("cpu").manual_seed(seed)
    made = mix_single(method, images, targets, generator, report=False, partner_fit=partner_fit)
    plan, member = made.plan, made.transform
    found = made.targets[0] if made.targets else {}

    result: dict[str, Any] = {}
    for key in layout.arrays:
        tensors = [sample.pixels[key] for sample in pool]
        if key == layout.first and tensors[0].ndim == 3:
            mixed = made.image
        elif layout.is_picture(key):
            (mixed,) = member.mix_images(tensors, plan)
        elif layout.is_class_map(key):
            index = next(index for index, one in enumerate(method.members) if one is member)
            fill = fills.of_classes(key, tensors, plan, member, index)
            if key == "mask" and fill == member.ignore_index:
                mixed = found["semantic"].to(tensors[0].dtype)
            else:
                mixed = _mix_classes(tensors, plan, fill)
        else:
            fill_value = 0.0 if fills.mask is None else fills.mask
            (mixed,) = mix_pixels(tensors, plan, fill=fill_value, interpolation="nearest")
        result[key] = layout.given_like(key, mixed)
    if "bboxes" in layout.kinds:
        result.update(_instances(layout, pool, found, plan, member))
    if "keypoints" in layout.kinds:
        result["keypoints"] = _keypoints(layout, pool, plan)
    return result


def _first(pictures: Tensor) -> Tensor:
    """The picture (C, H, W), of several the first."""
    return pictures.flatten(0, -4)[0] if pictures.ndim > 3 else pictures


def _mix_classes(maps: list[Tensor], plan: MixPlan, fill: int) -> Tensor:
    """Maps of ids, (…, H, W), mixed; bools as the bytes that they are."""
    dtype = maps[0].dtype
    if dtype == torch.bool:
        maps = [one.view(torch.uint8) for one in maps]
    (mixed,) = mix_pixels(maps, plan, fill=fill if plan.has_fill() else None, interpolation="nearest")
    return mixed.view(dtype)


def _targets(layout: Layout, pool: Sequence[Sample], method: MixTransform) -> list[dict[str, Tensor]] | None:
    """The pool's boxes, masks and class maps as the core takes them; labels stay here and follow by ``origin``."""
    targets: list[dict[str, Tensor]] = [{} for _ in pool]
    if layout.is_class_map("mask"):
        for sample, target in zip(pool, targets):
            target["semantic"] = _with_room(sample.pixels["mask"], [member.ignore_index for member in method.members])
    if "bboxes" in layout.kinds:
        _check_masks(pool)
        fields = _measured(layout)
        objects = any(len(sample.rows) for sample in pool)
        for sample, target in zip(pool, targets):
            target["boxes"] = torch.from_numpy(sample.pixel_boxes)
            if sample.masks is not None:
                target["masks"] = sample.masks
            elif not objects:  # without any box no mask is lacking
                target["masks"] = torch.zeros((0, *sample.size), dtype=torch.uint8, device="cpu")
            for field in fields:
                column = label_column(layout, "bboxes", field, sample.rows)
                values = sample.rows[:, column] if column is not None else np.zeros(0)
                target[field] = torch.from_numpy(values.astype(np.float64))
    return targets if targets[0] else None


def _with_room(ids: Tensor, more: Sequence[int]) -> Tensor:
    """A class map in a dtype that holds further ids, too."""
    bounds = None if ids.dtype == torch.bool else torch.iinfo(ids.dtype)
    return ids if bounds is not None and bounds.min <= min(more) and max(more) <= bounds.max else ids.long()


def _measured(layout: Layout) -> list[str]:
    fields = [field for field in _MEASURED if field in layout.fields("bboxes") and layout.numeric("bboxes", field)]
    for field in {"visibility", "weight"}.intersection(fields):
        dtype = layout.processors["bboxes"].label_manager.metadata["bboxes"][field].dtype
        if dtype is not None and not np.issubdtype(dtype, np.floating):
            raise ValueError(f"the label field {field!r} must be floating point, it becomes a share; got {dtype}")
    return fields


def _check_masks(pool: Sequence[Sample]) -> None:
    filled = [(sample.where, sample.masks.dtype) for sample in pool if sample.masks is not None and len(sample.masks)]
    for where, dtype in filled[1:]:
        if dtype != filled[0][1]:
            raise ValueError(f"{where}['masks'] must be {filled[0][1]} like those of {filled[0][0]}, got {dtype}")


def _instances(
    layout: Layout, pool: Sequence[Sample], found: dict[str, Any], plan: MixPlan, member: MixTransform
) -> dict[str, Any]:
    """Rows of the boxes that are left, and their masks; a row whose box stayed the same is that very row."""
    canvas = plan.canvas.numpy()[0]
    rows, first = _joined([sample.rows for sample in pool], "bboxes")
    origin = found["origin"].numpy()
    chosen = first[origin[:, 0]] + origin[:, 1]
    mixed, before = found["boxes"].numpy(), np.concatenate([sample.pixel_boxes for sample in pool])
    rows = rows[chosen]
    same_size = (np.array([sample.size for sample in pool]) == canvas).all(axis=1)
    same = same_size[origin[:, 0]] & (mixed == before[chosen]).all(axis=1)
    rows[~same, :4] = mixed[~same] / canvas[[1, 0, 1, 0]]
    fields = _measured(layout)
    for field in fields:
        column = label_column(layout, "bboxes", field, rows)
        if column is not None and field in found:
            rows[:, column] = found[field].numpy()
    if member.on_filtered == "crowd" and "iscrowd" not in fields and len(rows):
        raise ValueError("on_filtered 'crowd' needs 'iscrowd' among the label fields of bbox_params, to say which are")
    if "masks" not in layout.kinds:
        return {"bboxes": rows}
    column = label_column(layout, "bboxes", layout.mask_index_field, rows)
    if column is not None:
        rows[:, column] = np.arange(len(rows))
    masks = found["masks"].numpy()
    given = layout.data["masks"]
    if isinstance(given, np.ndarray) and given.ndim == 4:
        masks = masks[..., None]
    return {"bboxes": rows, "masks": masks if len(masks) else []}  # Albumentations can't flip an empty array


def _keypoints(layout: Layout, pool: Sequence[Sample], plan: MixPlan) -> np.ndarray:
    """Keypoints whose pixel their layer owns, layer by layer; all of them where Compose keeps invisible ones."""
    rows, first = _joined([sample.points for sample in pool], "keypoints")
    layers = [(layer, image) for layer, image in enumerate(plan.source[0].tolist()) if image >= 0]
    counts = [len(pool[image].points) for _, image in layers]
    rows = rows[np.concatenate([np.arange(n) + first[image] for (_, image), n in zip(layers, counts)])]
    if not len(rows):
        return rows
    layer = torch.from_numpy(np.repeat([layer for layer, _ in layers], counts))
    output = torch.zeros_like(layer)
    values = torch.from_numpy(rows[:, :5].astype(np.float64))
    points, shows = mix_points(values[:, :2], plan, output, layer)
    angles, sizes = mix_poses(values[:, 3], values[:, 4], plan, output, layer)
    rows[:, :2], rows[:, 3], rows[:, 4] = points.numpy(), angles.numpy(), sizes.numpy()
    rows[rows[:, 3] >= 2 * np.pi, 3] = 0  # what single precision rounded up
    if layout.processors["keypoints"].params.remove_invisible:
        return rows[shows.numpy()]
    column = label_column(layout, "keypoints", "keypoints_visible", rows)
    if column is not None and layout.numeric("keypoints", "keypoints_visible"):
        rows[~shows.numpy(), column] = 0
    return rows


def _joined(parts: Sequence[np.ndarray], kind: str) -> tuple[np.ndarray, np.ndarray]:
    """All rows of the pool, and where each sample's begin."""
    filled = [part for part in parts if len(part)] or [parts[0]]
    widths = {part.shape[1] for part in filled}
    if len(widths) > 1:
        raise ValueError(f"{kind} of the image and its partners must have as many columns, got {sorted(widths)}")
    counts = np.array([len(part) for part in parts])
    return np.concatenate(filled), counts.cumsum() - counts
