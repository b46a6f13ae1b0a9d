"""Mix what a call holds with its partners: the core decides, this only carries arrays to it and back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from cutmix_dense.albumentations.rows import Rows, pixel_boxes
from cutmix_dense.albumentations.samples import Layout, Samples
from cutmix_dense.functional import mix_pixels
from cutmix_dense.functional.instances import mixed_instances
from cutmix_dense.functional.keypoints import mix_points, mix_poses
from cutmix_dense.plan import MixPlan
from cutmix_dense.transforms import CarveMix, ClassMix, CopyPaste, MixTransform, MixUp
from cutmix_dense.transforms.fit import PartnerFit, draw_fitted

_MEASURED = ("area", "iscrowd", "visibility", "weight")
"""Label fields of boxes that the core knows by name: it reads and rewrites their numbers."""


@dataclass(frozen=True)
class Demands:
    """What a method asks of every call.

    Attributes:
        blends: whether a member blends, so that maps must hold numbers that average.
        pastes: name of a member that pastes instances; "" if there is none.
        looks: name of a member that looks at classes; "" if there is none.
        ignore_stated: for every member, whether its ``ignore_index`` is what the user said.
    """

    blends: bool
    pastes: str
    looks: str
    ignore_stated: Sequence[bool]

    @classmethod
    def of(cls, method: MixTransform, ignore_stated: Sequence[bool]) -> Demands:
        """The demands of a method."""
        names: dict[Any, str] = {MixUp: "", CopyPaste: "", (CarveMix, ClassMix): ""}
        for kind in names:
            names[kind] = next((type(member).__name__ for member in method.members if isinstance(member, kind)), "")
        blends, pastes, looks = names.values()
        return cls(bool(blends), pastes, looks, ignore_stated)

    def check(self, layout: Layout) -> None:
        """Raise ValueError for a call that the method can't mix."""
        if self.blends:
            for key, plane in layout.planes.items():
                if not plane.picture and plane.array.dtype.kind != "f":
                    raise ValueError(
                        f"{key!r} holds {plane.array.dtype} ids, which a blend would falsify (ids don't average): "
                        "MixUp takes maps of floating point, probabilities or one-hot"
                    )
        if self.pastes and "bboxes" not in layout.kinds:
            raise ValueError(
                f"{self.pastes} pastes the partners' instances: 'bboxes' must be given, at least an empty list"
            )
        if self.looks and not ("mask" in layout.planes and layout.planes["mask"].ids):
            raise ValueError(f"{self.looks} looks at classes: 'mask' must be given, whole numbers of shape (H, W)")


def mix(
    method: MixTransform,
    demands: Demands,
    layout: Layout,
    samples: Samples,
    seed: int,
    fill_mask: float | Sequence[float] | None,
    partner_fit: PartnerFit,
    see: Callable[[Samples, Any], Any],
) -> dict[str, Any]:
    """The mixed arrays of every key of the layout.

    Args:
        method: how the plan is drawn.
        demands: of the method.
        layout: what the keys are.
        samples: the call's own and its partners.
        seed: of the generator that draws the plan, and of nothing else.
        fill_mask: what pixels of maps become that nobody owns, one number or one per channel; None: not stated.
        partner_fit: how partners of another size are mixed.
        see: what the plan is drawn from, given the boxes and masks of all samples.

    Raises:
        ValueError, TypeError: as the core, or a key that this method can't mix, named.
    """
    demands.check(layout)
    boxes = samples.boxes
    targets: list[dict[str, Tensor]] = []
    if boxes is not None:
        pixels = pixel_boxes(boxes.values, samples.sizes, boxes.counts)
        targets = _targets(samples, boxes, pixels)
    seen: Any = see(samples, targets) or None
    if seen is not None and boxes is not None and samples.masks is None and not boxes.counts[0]:
        targets = seen  # with the masks of cut-outs, since the image has no object that lacks one
    if demands.looks:
        stays = [member.ignore_index for member in method.members]
        maps = [{"semantic": _with_room(ids, stays)} for ids in samples.pixels["mask"]]
        seen = [{**target, **ids} for target, ids in zip(targets, maps)] if targets else maps
    images = samples.pixels[layout.first]
    if images[0].ndim > 3:
        images = [pictures.flatten(0, -4)[0] for pictures in images]
    generator = torch.Generator("cpu").manual_seed(seed)
    member = method.choose(generator)
    pool = member.pool_of(images, seen, outputs=1)
    if member.banked:  # what stands behind the image are cut-outs, at their own scale
        plan = member.draw_plan(replace(pool, cut_outs=True), generator)
    else:
        plan = draw_fitted(member, pool, partner_fit, generator)

    result: dict[str, Any] = {}
    if boxes is not None:
        result = _instances(layout, samples, boxes, pixels, targets, plan, member)
    for key, plane in layout.planes.items():
        tensors = samples.pixels[key]
        if plane.picture:
            (mixed,) = member.mix_images(tensors, plan)
        elif plane.ids:
            mixed = _mix_classes(tensors, plan, _fill_id(key, tensors, plan, method, member, demands, fill_mask))
        else:
            fill = 0.0 if fill_mask is None else fill_mask
            (mixed,) = mix_pixels(tensors, plan, fill=fill, interpolation="nearest")
        result[key] = layout.given_like(key, mixed)
    if samples.points is not None:
        result["keypoints"] = _keypoints(layout, samples.points, plan)
    return result


def _fill_id(
    key: str,
    maps: Sequence[Tensor],
    plan: MixPlan,
    method: MixTransform,
    member: MixTransform,
    demands: Demands,
    fill_mask: float | Sequence[float] | None,
) -> int | None:
    """The id of pixels of class maps that nobody owns: ``fill_mask``, or else ``ignore_index``.

    Args:
        key: of the maps, for errors.
        maps: of the image and its partners.
        plan: who owns each pixel.
        method: of the transform.
        member: the one that mixes.
        demands: of the method.
        fill_mask: as the user stated it.

    Returns:
        An id that fits the maps; None if no pixel needs one.

    Raises:
        ValueError: a fill that isn't one id of the maps' dtype; no fill stated, and ``ignore_index`` may be a class,
            since it occurs in the maps, or doesn't fit them; only where some pixel needs it.
    """
    remedy = "say what pixels without owner become: fill_mask=0 (or another id), or ignore_index= an id"
    dtype = maps[0].dtype
    bounds = None if dtype == torch.bool else torch.iinfo(dtype)
    low, high = (0, 1) if bounds is None else (bounds.min, bounds.max)
    if fill_mask is not None:
        fill = np.asarray(fill_mask).ravel()
        if len(fill) != 1 or fill[0] != int(fill[0]) or not low <= fill[0] <= high:
            raise ValueError(f"fill_mask must be one id within {low} … {high} for {key!r}, got {fill_mask!r}")
        return int(fill[0])
    fill_id = member.ignore_index
    fits = low <= fill_id <= high
    stated = [said for one, said in zip(method.members, demands.ignore_stated) if one is member] == [True]
    # whether maps hold it costs less to see than whether the plan has fill
    if fits and (stated or not [one for one in maps if fill_id in one.numpy()]):
        return fill_id
    if not plan.has_fill():
        return None
    if not fits:
        raise ValueError(f"ignore_index {fill_id} doesn't fit {key!r} of {dtype}: {remedy} within {low} … {high}")
    raise ValueError(
        f"{key!r} holds the id {fill_id}, which may be a class, and ignore_index is {fill_id} unless stated: "
        f"{remedy} (ignore_index={fill_id} if that is what {fill_id} means)"
    )


def _mix_classes(maps: list[Tensor], plan: MixPlan, fill: int | None) -> Tensor:
    """Maps of ids, (…, H, W), mixed; bools as the bytes that they are."""
    dtype = maps[0].dtype
    if dtype != torch.bool:
        return mix_pixels(maps, plan, fill=fill, interpolation="nearest")[0]
    return mix_pixels([one.view(torch.uint8) for one in maps], plan, fill=fill, interpolation="nearest")[0].view(dtype)


def _with_room(ids: Tensor, more: Sequence[int]) -> Tensor:
    """A class map in a dtype that holds further ids, too."""
    bounds = None if ids.dtype == torch.bool else torch.iinfo(ids.dtype)
    return ids if bounds is not None and bounds.min <= min(more) and max(more) <= bounds.max else ids.long()


def _targets(samples: Samples, boxes: Rows, pixels: Float[np.ndarray, "n 4"]) -> list[dict[str, Tensor]]:
    """The boxes and masks of all samples as the core takes them; labels stay here and follow by ``origin``."""
    columns: dict[str, Sequence[Tensor]] = {"boxes": torch.from_numpy(pixels).split_with_sizes(boxes.counts)}
    if samples.masks is not None:
        _check_masks(samples.where, samples.masks)
        columns["masks"] = samples.masks
    elif not len(pixels):  # without any box no mask is lacking
        columns["masks"] = [torch.zeros((0, *size), dtype=torch.uint8, device="cpu") for size in samples.sizes]
    for field in _measured(boxes):
        column = boxes.column(field)
        values = boxes.values[:, column] if column is not None else np.zeros(0)
        columns[field] = torch.from_numpy(values.astype(np.float64)).split_with_sizes(boxes.counts)
    return [dict(zip(columns, row)) for row in zip(*columns.values())]


def _measured(boxes: Rows) -> list[str]:
    fields = [field for field in boxes.fields if field in _MEASURED and boxes.numeric(field)]
    for field in fields:
        dtype = boxes.known[field].dtype
        if field in ("visibility", "weight") and dtype is not None and not np.issubdtype(dtype, np.floating):
            raise ValueError(f"the label field {field!r} must be floating point, it becomes a share; got {dtype}")
    return fields


def _check_masks(where: Sequence[str], masks: Sequence[Tensor]) -> None:
    filled = [(name, stack.dtype) for name, stack in zip(where, masks) if len(stack)]
    for name, dtype in filled[1:]:
        if dtype != filled[0][1]:
            raise ValueError(f"{name}['masks'] must be {filled[0][1]} like those of {filled[0][0]}, got {dtype}")


def _instances(
    layout: Layout,
    samples: Samples,
    boxes: Rows,
    pixels: Float[np.ndarray, "n 4"],
    targets: Sequence[dict[str, Tensor]],
    plan: MixPlan,
    member: MixTransform,
) -> dict[str, Any]:
    """Rows of the boxes that are left, and their masks; a row whose box stayed the same is that very row."""
    (found,) = mixed_instances(targets, plan, member.rules, False)
    canvas = height, width = tuple(plan.canvas[0].tolist())
    image, index = found["origin"].numpy().T
    chosen, mixed = np.array(boxes.first)[image] + index, found["boxes"].numpy()
    rows = boxes.values[chosen]
    fits = np.array([size == canvas for size in samples.sizes])
    same = fits[image] & np.logical_and.reduce(mixed == pixels[chosen], axis=1)
    rows[~same, :4] = mixed[~same] / (width, height, width, height)
    for field in _MEASURED:
        if field in targets[0] and field in found and len(rows):
            rows[:, boxes.column(field)] = found[field].numpy()
    if member.on_filtered == "crowd" and "iscrowd" not in targets[0] and len(rows):
        raise ValueError("on_filtered 'crowd' needs 'iscrowd' among the label fields of bbox_params, to say which are")
    if samples.masks is None:
        return {"bboxes": rows}
    column = boxes.column(layout.mask_index_field)
    if column is not None:
        rows[:, column] = np.arange(len(rows))
    masks = found["masks"].numpy()
    given = layout.data["masks"]
    if isinstance(given, np.ndarray) and given.ndim == 4:
        masks = masks[..., None]
    return {"bboxes": rows, "masks": masks if len(masks) else []}  # Albumentations can't flip an empty array


def _keypoints(layout: Layout, points: Rows, plan: MixPlan) -> np.ndarray:
    """Keypoints whose pixel their layer owns, layer by layer; all of them where Compose keeps invisible ones."""
    layers = [(layer, image) for layer, image in enumerate(plan.source[0].tolist()) if image >= 0]
    first, counts = points.first, [points.counts[image] for _, image in layers]
    rows = points.values[np.concatenate([np.arange(n) + first[image] for (_, image), n in zip(layers, counts)])]
    if not len(rows):
        return rows
    layer = torch.from_numpy(np.repeat([layer for layer, _ in layers], counts))
    output = torch.zeros_like(layer)
    values = torch.from_numpy(rows[:, :5].astype(np.float64))
    moved, shows = mix_points(values[:, :2], plan, output, layer)
    angles, sizes = mix_poses(values[:, 3], values[:, 4], plan, output, layer)
    rows[:, :2], rows[:, 3], rows[:, 4] = moved.numpy(), angles.numpy(), sizes.numpy()
    rows[rows[:, 3] >= 2 * np.pi, 3] = 0  # what single precision rounded up
    if layout.processors["keypoints"].params.remove_invisible:
        return rows[shows.numpy()]
    column = points.column("keypoints_visible")
    if column is not None and points.numeric("keypoints_visible"):
        rows[~shows.numpy(), column] = 0
    return rows
