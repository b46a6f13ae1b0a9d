"""Turn, scale, shear and shift images with their targets: torchvision moves them, the plan's rules judge the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tvf

from cutmix_dense.arrays.dtypes import exact_dtype, full_precision
from cutmix_dense.arrays.host import sent
from cutmix_dense.functional.boxes import from_xyxy, to_xyxy
from cutmix_dense.functional.fields import IGNORED, SEMANTIC_KEYS, are_dicts, is_map
from cutmix_dense.functional.rules import TargetRules
from cutmix_dense.functional.scaling import scaled_numbers
from cutmix_dense.functional.segments import PANOPTIC_KEYS
from cutmix_dense.functional.semantic import holds, no_ignored
from cutmix_dense.functional.wrapping import as_plain, rewrap
from cutmix_dense.plan import MixPlan

Anchor = Literal["center", "corner"]
"""Which point of an image the map turns and scales round; it lies on the same point of the canvas before the shift."""

_FAR = float(2**20)
"""torchvision cuts boxes at its canvas; so far from the border, none is cut."""

_MASK_BYTES = 2**26
"""Masks are moved in floating point, so many bytes at a time."""


class _NotAMixPlan(TypeError, AttributeError):
    """Only a ``MixPlan`` has the attribute that was asked for; ``hasattr`` says False."""


@dataclass(frozen=True, eq=False)
class AffinePlan:
    """One affine map per image, on the host; images, masks, maps, boxes and keypoints follow it.

    A point p of an image goes to ``anchor of the canvas + shift + turn(scale · shear(p - anchor of the image))``.

    Attributes:
        moved: which images are moved; the others stay as they are, or are scaled down to fit into the canvas.
        angle: degrees, clockwise.
        scale: of both axes, > 0.
        shift: pixels, array order (y, x).
        shear: degrees along x and y.
        sizes, canvas: valid size of every image and of every output, pixels; ``frame``: of a padded output.
        anchor: the fixed point; see ``Anchor``.
    """

    moved: Bool[np.ndarray, " b"]
    angle: Float[np.ndarray, " b"]
    scale: Float[np.ndarray, " b"]
    shift: Float[np.ndarray, "b 2"]
    shear: Float[np.ndarray, "b 2"]
    sizes: Int[np.ndarray, "b 2"]
    canvas: Int[np.ndarray, "b 2"]
    frame: tuple[int, ...]
    anchor: Anchor = "center"

    if not TYPE_CHECKING:  # which says so itself

        def __getattr__(self, name: str) -> Any:
            """Raise TypeError for what only a ``MixPlan`` has, as where a function for one got this."""
            error = _NotAMixPlan if not name.startswith("_") and name in dir(MixPlan) else AttributeError
            raise error(
                f"plan must be a MixPlan, got an AffinePlan without {name!r}: apply it by the transform that made it"
            )

    def within(self, chosen: Bool[Tensor, " b"]) -> AffinePlan:
        """This plan for some of the images: the others aren't moved."""
        return replace(self, moved=self.moved & chosen.numpy())

    def settings(self, index: int, offset: float | tuple[int, int] = 0.0) -> dict[str, Any]:
        """Arguments of torchvision's ``affine`` for an image, its result ``offset`` (y, x) further from the origin."""
        centre, target = self.sizes[index] / 2, self.canvas[index] / 2
        if self.anchor == "corner":
            centre, target = 0 * centre, 0 * target
        shift = target - centre + self.shift[index] + np.asarray(offset)
        return {
            "angle": float(self.angle[index]),
            "translate": shift[::-1].tolist(),
            "scale": float(self.scale[index]),
            "shear": self.shear[index].tolist(),
            "center": centre[::-1].tolist(),
        }

    def boxes(self, index: int, boxes: Float[Tensor, "n 4"], offset: tuple[int, int] = (0, 0)) -> Float[Tensor, "n 4"]:
        """Upright boxes (xyxy) round the moved ones, as torchvision makes them; none is cut."""
        exact = boxes.to(exact_dtype(boxes.device))
        form = tv_tensors.BoundingBoxFormat.XYXY
        size = (int(2 * _FAR), int(2 * _FAR))
        far = tvf.affine_bounding_boxes(exact, format=form, canvas_size=size, **self.settings(index, _FAR))
        back = torch.tensor([*offset[::-1], *offset[::-1]], dtype=exact.dtype, device=exact.device) - _FAR
        return far + back if len(boxes) else exact

    def room(self, index: int) -> tuple[tuple[int, int], tuple[int, int]]:
        """Offset of the canvas in an area that also holds all of the moved image, and the size of that area, (y, x)."""
        height, width = self.sizes[index].tolist()
        whole = torch.tensor([[0.0, 0.0, width, height]], dtype=torch.float64, device="cpu")
        x0, y0, x1, y1 = self.boxes(index, whole)[0].tolist()
        # at least 1: nothing moved counts as untouched
        offset = max(1, int(np.ceil(-y0))), max(1, int(np.ceil(-x0)))
        ends = np.maximum(np.ceil([y1, x1]), self.canvas[index]).astype(int) + offset
        return offset, (int(ends[0]), int(ends[1]))

    def crops(self) -> tuple[MixPlan, Int[np.ndarray, "b 2"]]:
        """The plan that cuts the canvases out of what holds all of the moved images, and the sizes of that.

        Moved targets are judged by it: what lies outside of the canvas is cut, as by any other plan.
        """
        sizes, shift = self.sizes.copy(), np.zeros((len(self.moved), 1, 2))
        for index in self.moved.nonzero()[0].tolist():
            offset, sizes[index] = self.room(index)
            shift[index, 0] = -np.array(offset)
        return self._alone(sizes, shift, np.where(self.moved, 1.0, self._fit())), sizes

    def fitted(self) -> MixPlan:
        """The plan for the images that aren't moved: scaled down where they are larger than their canvas."""
        return self._alone(self.sizes, np.zeros((len(self.moved), 1, 2)), self._fit())

    def _fit(self) -> Float[np.ndarray, " b"]:
        fit: np.ndarray = np.minimum((self.canvas / self.sizes).min(axis=1), 1.0)
        return fit

    def _alone(
        self, sizes: Int[np.ndarray, "b 2"], shift: Float[np.ndarray, "b 1 2"], scale: Float[np.ndarray, " b"]
    ) -> MixPlan:
        """A plan in which every image has its canvas for itself."""
        canvas, own = torch.from_numpy(self.canvas), np.arange(len(self.moved))[:, None]
        edges = tuple(torch.stack([0 * canvas[:, axis], canvas[:, axis]], dim=1) for axis in (0, 1))
        return MixPlan.from_grid(
            torch.from_numpy(own),
            edges,
            torch.zeros((len(own), 1, 1), dtype=torch.long, device="cpu"),
            torch.from_numpy(sizes),
            frame=self.frame,
            scale=torch.from_numpy(scale.astype(np.float32))[:, None, None].expand(-1, 1, 2),
            shift=torch.from_numpy(shift.astype(np.float32)),
            canvas=canvas,
        )


def move_pixels(
    image: Shaped[Tensor, "c h w"],
    plan: AffinePlan,
    index: int,
    fill: float | Sequence[float],
    *,
    interpolation: Literal["bilinear", "nearest"] = "nearest",
    area: tuple[tuple[int, int], tuple[int, int]] | None = None,
) -> Shaped[Tensor, "c y x"]:
    """Move the pixels of one image, a stack of masks or a map of ids.

    Args:
        image: the valid part of an image; integers come back rounded.
        plan: the maps.
        index: which of them.
        fill: value of pixels that the moved image doesn't reach, one number or one per channel.
        interpolation: how it is read.
        area: offset and size of the result; default the canvas.

    Example:
        >>> one, no = np.array([True]), np.zeros((1, 2))
        >>> size = np.array([[2, 3]])
        >>> plan = AffinePlan(one, np.zeros(1), np.ones(1), np.array([[0.0, 1.0]]), no, size, size, frame=(2, 3))
        >>> move_pixels(torch.arange(6).reshape(1, 2, 3), plan, 0, fill=9)[0].tolist()
        [[9, 0, 1], [9, 3, 4]]
    """
    offset, size = ((0, 0), tuple(plan.canvas[index].tolist())) if area is None else area
    height, width = image.shape[-2:]
    plain = as_plain(image)
    narrow = plain.dtype in (torch.bool, torch.uint8, torch.int8, torch.float16, torch.bfloat16, torch.float32)
    exact = torch.float32 if narrow else exact_dtype(plain.device)
    numbers = [float(fill)] if isinstance(fill, (int, float)) else [float(number) for number in fill]
    filled = sent(torch.tensor(numbers, dtype=exact, device="cpu"), plain.device)[:, None, None]
    work = filled.expand(len(plain), max(size[0], height), max(size[1], width)).clone()
    work[:, :height, :width] = plain
    # between image and fill torchvision blends the fill twice, a dark line: so that it blends with 0
    blends = interpolation == "bilinear" and any(numbers)
    work = work - filled if blends else work
    with full_precision(plain.device):
        moved: Tensor = tvf.affine(
            work,
            interpolation=InterpolationMode(interpolation),
            fill=numbers if any(numbers) and not blends else None,
            **plan.settings(index, offset),
        )[:, : size[0], : size[1]]
    moved = moved + filled if blends else moved
    if plain.dtype.is_floating_point:
        return moved.to(plain.dtype)
    return (moved.round() if plain.dtype != torch.bool else moved).to(plain.dtype)


def move_map(value: Shaped[Tensor, "*c h w"], plan: AffinePlan, index: int, ignore_index: int, where: str) -> Tensor:
    """Move a map of class ids within what holds all of it; what it doesn't reach is ignored.

    Raises:
        TypeError: a map of floating point, which has no value for what it doesn't reach.
        ValueError: ``ignore_index`` doesn't fit the map's dtype.
    """
    if value.is_floating_point() or value.dtype == torch.bool:
        raise TypeError(
            f"{where} must hold class ids to be moved, with ignore_index for what isn't reached; got {value.dtype}"
        )
    if not holds(value.dtype, ignore_index):
        raise no_ignored(value.dtype, ignore_index)
    height, width = plan.sizes[index].tolist()
    flat = as_plain(value)[..., :height, :width].reshape(-1, height, width)
    moved = move_pixels(flat, plan, index, ignore_index, area=plan.room(index))
    return rewrap(moved.reshape(*value.shape[:-2], *moved.shape[-2:]), value)


def move_rows(
    target: Mapping[str, Any], plan: AffinePlan, index: int, rules: TargetRules, where: str
) -> dict[str, Any]:
    """Move what a target of one image holds, within what holds all of it: nothing is cut yet.

    Args:
        target: as for ``mix_instances``, with boxes in pixels.
        plan: the maps.
        index: which of them.
        rules: which further keys there are.
        where: how errors name the target.

    Raises:
        TypeError: masks that aren't a tensor.
        ValueError: rotated boxes, or a panoptic map.
    """
    offset, size = plan.room(index)
    maps = SEMANTIC_KEYS.union(rules.semantic_keys)
    moved = dict(target)
    for key, value in target.items():
        if key in rules.image_keys:
            continue
        name = f"{where}[{key!r}]"
        if key in PANOPTIC_KEYS:
            raise ValueError(f"{name} is of a panoptic map, which can't be moved: give 'masks' and 'boxes' instead")
        if key == IGNORED and isinstance(value, Mapping):
            moved[key] = move_rows(value, plan, index, rules, name)
        elif isinstance(value, Tensor) and (key in maps or is_map(value)):
            moved[key] = move_map(value, plan, index, rules.ignore_index, name)
        elif key == "masks":
            if not isinstance(value, Tensor):
                raise TypeError(f"{name} must be a tensor to be moved, got {type(value).__name__}")
            moved[key] = _masks(value, plan, index)
        elif key == "boxes" and isinstance(value, Tensor) and value.ndim == 2:
            moved[key] = _boxes(value, plan, index, offset, size, name)
        elif key == "keypoints" and isinstance(value, Tensor) and value.ndim == 3:
            moved[key] = _points(value, plan, index, offset)
        elif isinstance(value, Tensor) and rules.changes.get(key) in ("length", "area", "inverse"):
            scale = torch.full((len(value), 2), float(plan.scale[index]), dtype=torch.float32, device=value.device)
            no = torch.zeros(len(value), dtype=torch.bool, device=value.device)
            moved[key] = scaled_numbers(value, rules.changes[key], scale, no)
    return moved


def laid_out(given: Any, moved: Any, plan: AffinePlan, rules: TargetRules, padded: bool) -> Any:
    """Moved targets in the form in which they came: maps as one tensor, masks and maps in the frame of a padded batch.

    Args:
        given: the targets of a call.
        moved: the same, cut to the canvases.
        plan: the maps.
        rules: which keys hold maps.
        padded: whether the images are one tensor, so that what came in its frame stays so.
    """
    if isinstance(given, Mapping):
        return {key: laid_out(given.get(key), value, plan, rules, padded) for key, value in moved.items()}
    if isinstance(given, Tensor) and not isinstance(moved, Tensor):
        return rewrap(torch.stack([_framed(item, plan, base) for item, base in zip(moved, given)]), given)
    if not padded or not isinstance(moved, (list, tuple)) or not moved:
        return moved
    if are_dicts(moved):
        return _framed_rows(given, moved, plan, rules)
    if all(isinstance(clip, list) and are_dicts(clip) for clip in moved):
        return [_framed_rows(*clips, plan, rules) for clips in zip(given, moved)]
    if all(isinstance(value, Tensor) and tuple(value.shape[-2:]) == plan.frame for value in given):
        return [_framed(item, plan, base) for item, base in zip(moved, given)]
    return moved


def _framed_rows(given: Any, moved: Any, plan: AffinePlan, rules: TargetRules) -> list[dict[str, Any]]:
    """Targets of one image each with their masks and maps in the frame, where all of a key came in it."""
    rows, maps = [dict(row) for row in moved], SEMANTIC_KEYS.union(rules.semantic_keys)
    for key in set().union(*rows).difference(rules.image_keys):
        came = [row[key] for row in given if isinstance(row.get(key), Tensor) and row[key].numel()]
        if key == IGNORED:
            before, after = ([row.get(key) or {} for row in targets] for targets in (given, rows))
            for row, part in zip(rows, _framed_rows(before, after, plan, rules)):
                row |= {key: part} if key in row else {}
        elif (key in maps or key == "masks" or any(map(is_map, came))) and all(
            tuple(value.shape[-2:]) == plan.frame for value in came
        ):
            for row, base in zip(rows, given):
                row |= {key: _framed(row[key], plan, None if key == "masks" else base[key])} if key in row else {}
    return rows


def _framed(value: Tensor, plan: AffinePlan, base: Tensor | None) -> Tensor:
    """What is cut to a canvas in the frame, the padding of the base beyond it, or zeros."""
    if tuple(value.shape[-2:]) == plan.frame:
        return value
    plain = as_plain(value)
    whole = plain.new_zeros((*plain.shape[:-2], *plan.frame)) if base is None else as_plain(base).clone()
    whole[..., : plain.shape[-2], : plain.shape[-1]] = plain
    return rewrap(whole, value)


def _masks(masks: Tensor, plan: AffinePlan, index: int) -> Tensor:
    """A stack of masks, some after others."""
    height, width = plan.sizes[index].tolist()
    area = plan.room(index)
    some = max(1, _MASK_BYTES // (8 * area[1][0] * area[1][1]))
    parts = as_plain(masks)[:, :height, :width].split(some)
    moved = [move_pixels(part, plan, index, 0, area=area) for part in parts]
    return rewrap(torch.cat(moved), masks)


def _boxes(
    boxes: Tensor, plan: AffinePlan, index: int, offset: tuple[int, int], size: tuple[int, int], where: str
) -> Tensor:
    """Boxes, cut at the border of their image first; those without an area stay without."""
    given = to_xyxy(boxes, where)
    ends = sent(np.tile(plan.sizes[index][::-1].astype(np.float64), 2), boxes.device)
    exact = given.to(exact_dtype(boxes.device))
    inside = torch.minimum(exact.clamp(min=0), ends.to(exact.dtype))
    moved = plan.boxes(index, inside, offset)
    flat = (inside[:, 2:] <= inside[:, :2]).any(dim=1, keepdim=True)
    moved = torch.where(flat, torch.cat([moved[:, :2], moved[:, :2]], dim=1), moved)
    like = from_xyxy(moved, boxes)
    return rewrap(like, boxes, canvas_size=size) if isinstance(boxes, tv_tensors.BoundingBoxes) else like


def _points(points: Tensor, plan: AffinePlan, index: int, offset: tuple[int, int]) -> Tensor:
    """Keypoints, each as a box without sides."""
    flat = as_plain(points)[..., :2].reshape(-1, 2)
    moved = plan.boxes(index, torch.cat([flat, flat], dim=1), offset)[:, :2].reshape(*points.shape[:2], 2)
    joined = torch.cat([moved.to(points.dtype), as_plain(points)[..., 2:]], dim=2)
    metadata = {"canvas_size": plan.room(index)[1]} if hasattr(points, "canvas_size") else {}
    return rewrap(joined, points, **metadata)
