"""CopyPaste: instances of the partner on top of the image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cutmix_dense.arrays.blocks import block_of
from cutmix_dense.arrays.broadcast import along
from cutmix_dense.arrays.host import HOST, fetched, sent, tensor_of
from cutmix_dense.checks import finite, interval
from cutmix_dense.functional import mix_semantic
from cutmix_dense.functional.fields import STATED, count_instances
from cutmix_dense.functional.masks import mark_masks
from cutmix_dense.functional.segments import segments_as_instances
from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.geometry import ranges_of
from cutmix_dense.regions import uniform
from cutmix_dense.transforms.base import MixTransform
from cutmix_dense.transforms.layout import Layout
from cutmix_dense.transforms.pool import Pool, detection_targets

__all__ = ["CopyPaste"]


class CopyPaste(MixTransform):
    """Paste instances of the partner by their masks, or by their boxes if they have none (see ``has_mask``).

    A partner that is scaled or has another size is placed at random: within the image if it fits, else so that it
    covers the image. Base instances shrink where they are covered, and are filtered. Instances that aren't pasted don't
    come along, though their pixels may show on a pasted one. With panoptic maps alone, things are pasted. If only some
    instances have masks, a base instance without one that is partly covered needs ``boxes="estimate"``.

    Args:
        instances: how many: ``"random"`` (at least one), ``"all"``, a number, or a fraction in (0, 1), rounded up.
        crowd: whether to paste instances with ``iscrowd``.
        scale: the partner is scaled by a factor ~ U(low, high).
        flip: probability that the partner is mirrored left to right; keypoints then need ``flip_pairs``.
        feather: softness of the pasted edges in the image, sigma in pixels.
        blend: how much of what is pasted shows over the base: ``"hard"`` (all), a number in (0, 1], or a range that an
            opacity is drawn from per sample. Below 1 nothing of the base is hidden, so its instances stay as they are;
            pasted ones come whole with their opacity as ``weight``, the base's with 1. Maps of ids show what is pasted
            where the opacity is at least 0.5. DEIM's CopyBlend: boxes at about 0.5.
        p: probability that an image is mixed, per sample.
        common: arguments of ``MixTransform``.

    Raises:
        ValueError: an argument is out of range, or targets lack instances.

    Source: Ghiasi et al., Simple Copy-Paste (2021), which jitters both images by 0.1–2.0 beforehand.

    Example:
        >>> import torch
        >>> import cutmix_dense as cd
        >>> boxes = torch.tensor([[[1.0, 1.0, 5.0, 4.0]], [[6.0, 2.0, 9.0, 7.0]]])
        >>> targets = [{"boxes": box, "labels": torch.tensor([1])} for box in boxes]
        >>> _, mixed = cd.CopyPaste(instances="all", p=1.0)(torch.rand(2, 3, 8, 12), targets)
        >>> mixed[0]["boxes"].tolist()  # its own, and its partner's
        [[1.0, 1.0, 5.0, 4.0], [6.0, 2.0, 9.0, 7.0]]
    """

    layouts: ClassVar[tuple[Layout, ...]] = ("BCHW", "BCDHW")

    def __init__(
        self,
        *,
        instances: Literal["random", "all"] | int | float = "random",
        crowd: bool = False,
        scale: tuple[float, float] = (1.0, 1.0),
        flip: float = 0.0,
        feather: float = 0.0,
        blend: Literal["hard"] | float | tuple[float, float] = "hard",
        p: float = 0.5,
        **common: Any,
    ) -> None:
        super().__init__(p=p, **common)
        is_share = isinstance(instances, float) and 0 < instances < 1
        is_count = isinstance(instances, int) and not isinstance(instances, bool) and instances >= 1
        if not (instances in ("random", "all") or is_share or is_count):
            raise ValueError(f"instances must be 'random', 'all', a count or a fraction in (0, 1), got {instances!r}")
        if not 0 <= flip <= 1:
            raise ValueError(f"flip must lie in [0, 1], got {flip!r}")
        if not (finite(feather) and feather >= 0):
            raise ValueError(f"feather must be at least 0 pixels, got {feather!r}")
        self.instances = instances
        self.crowd = crowd
        self.scale = interval(scale, "scale")
        self.flip = float(flip)
        self.feather = float(feather)
        self.blend = _opacities(blend)
        self.instance_weights |= self.blend != "hard"  # which RandomMix then asks of its other members, too

    @classmethod
    def torchvision(cls, **common: Any) -> CopyPaste:
        """Filter as torchvision's reference ``SimpleCopyPaste``: keep whatever shows more than one line of pixels.

        Only the filter is torchvision's; ``instances`` still says what is pasted.
        """
        return cls(**{"rule": "torchvision", "p": 1.0, "crowd": True, **common})

    @classmethod
    def mmdet(cls, **common: Any) -> CopyPaste:
        """Filter as MMDetection's ``CopyPaste``.

        Base instances stay if their box moved by at most 10 pixels or more than 300 pixels of their mask show. Only the
        filter is MMDetection's; ``instances`` still says what is pasted.
        """
        return cls(**{"rule": "mmdet_copy_paste", "p": 1.0, "crowd": True, **common})

    def draw_plan(self, pool: Pool, generator: torch.Generator) -> MixPlan:
        """Draw the instances to paste, and the place of their image."""
        targets = detection_targets(pool.targets)
        if targets is None:
            raise ValueError("targets must be detection targets to paste instances from, got none")
        targets = [segments_as_instances(target) for target in targets]
        if self.flip > 0 and self.flip_pairs is None and any(target.get("keypoints") is not None for target in targets):
            raise ValueError("flip_pairs must be given for keypoints when flip is above 0, got None (may be empty)")
        source, leader = self.draw_pairs(pool, generator)
        counts = [count_instances(target, "targets") for target in targets]
        _check_rows(targets, counts)
        fixed = 3 + pool.ndim + (self.blend != "hard")
        draws = uniform(pool.outputs, fixed + max(counts), generator)[leader]
        partner = source[:, 1].clamp(min=0)
        may = _may_be_pasted(targets, counts, self.crowd)[partner.numpy()]
        pasted = self._chosen(draws[:, 0], draws[:, fixed:], may)
        carry = torch.stack([torch.ones_like(pasted), pasted], dim=1)
        scale, shift = self._placed(draws.numpy(), pool, source)
        chosen = pasted & (source[:, 1:] >= 0)
        unmoved = bool(((scale == 1) & (shift == 0)).all())  # every partner keeps its place
        placed: Any = {"carry": carry, **({"check": False} if unmoved else {"scale": scale, "shift": shift})}
        if self.blend != "hard":
            low, high = self.blend
            opacity = low + draws[:, fixed - 1 : fixed] * (high - low)
            placed["opacity"] = torch.cat([torch.ones_like(opacity), opacity], dim=1).float()
        if [1 for target in targets if target.get("masks") is not None]:
            boxed = chosen & _unstated(targets, chosen.shape[1])[partner]
            owner = _by_masks(chosen & ~boxed, targets, pool, source)
            owner = owner if unmoved else _moved(owner, pool, source, scale, shift)
            if boxed.any():
                _paint(owner, _rectangles(boxed, pool, source, scale, shift), boxed)
            return MixPlan.from_map(source, owner, pool.sizes, **placed)
        rectangles = _rectangles(chosen, pool, source, scale, shift)
        return MixPlan.from_rectangles(source, rectangles, pool.sizes, frame=pool.frame, **placed)

    def _chosen(
        self, number: Float[Tensor, " b"], scores: Float[Tensor, "b n"], may: Bool[np.ndarray, "b n"]
    ) -> Bool[Tensor, "b n"]:
        """Choose the instances to paste of those that may be, from a draw for their number and a score for each."""
        count = np.add.reduce(may, axis=1, dtype=np.int64)
        if self.instances == "all":
            wanted = count
        elif self.instances == "random":
            wanted = 1 + (number.numpy() * count).astype(np.int64)
        elif isinstance(self.instances, float):
            wanted = np.ceil(count.astype(np.float32) * np.float32(self.instances))
        else:
            wanted = np.full_like(count, int(self.instances))
        rank = np.where(may, scores.numpy(), np.inf).argsort(axis=1).argsort(axis=1)
        return torch.from_numpy(may & (rank < wanted[:, None]))

    def _placed(
        self, draws: Float[np.ndarray, "b k"], pool: Pool, source: Int[Tensor, "b 2"]
    ) -> tuple[Float[Tensor, "b 2 d"], Float[Tensor, "b 2 d"]]:
        """Scale and shift of both layers."""
        sizes = pool.sizes.numpy()[np.maximum(source.numpy(), 0)].astype(np.float64)
        factor = self.scale[0] + draws[:, 1:2] * (self.scale[1] - self.scale[0])
        mirrored = draws[:, 2] < self.flip
        low = (draws[:, 3 : 3 + pool.ndim] * (sizes[:, 0] - factor * sizes[:, 1])).round()
        shift = np.zeros(sizes.shape)
        scale = shift + 1
        scale[:, 1], shift[:, 1] = factor, low
        shift[:, 1, -1] += np.where(mirrored, factor[:, 0] * sizes[:, 1, -1], 0.0)
        scale[:, 1, -1] *= np.where(mirrored, -1.0, 1.0)
        return torch.from_numpy(scale.astype(np.float32)), torch.from_numpy(shift.astype(np.float32))


def _opacities(blend: Any) -> Literal["hard"] | tuple[float, float]:
    """A ``blend`` as "hard" or a range.

    Raises:
        ValueError: it is neither, nor a number in (0, 1].
    """
    if blend == "hard":
        return "hard"
    single = isinstance(blend, (int, float)) and not isinstance(blend, bool)
    if (single and not 0 < blend <= 1) or isinstance(blend, (str, bool)):
        raise ValueError(f"blend must be 'hard', an opacity in (0, 1] or a range (low, high) of them, got {blend!r}")
    return interval((blend, blend) if single else blend, "blend", 1)


def _check_rows(targets: Sequence[Mapping[str, Any]], counts: Sequence[int]) -> None:
    """Raise TypeError or ValueError unless every key that pasting needs has one row per instance."""
    for index, (target, count) in enumerate(zip(targets, counts)):
        if count and target.get("boxes") is None and target.get("masks") is None:
            raise ValueError(f"targets[{index}] has {count} instances but neither 'boxes' nor 'masks'")
        for key in ("boxes", "masks", STATED, "iscrowd"):
            value = target.get(key)
            if value is None:
                continue
            if not isinstance(value, Tensor):
                raise TypeError(f"targets[{index}][{key!r}] must be a tensor, got {type(value).__name__}")
            if value.numel() and (not value.ndim or value.shape[0] != count):
                got = tuple(value.shape)
                raise ValueError(f"targets[{index}][{key!r}] must have one row per instance ({count}), got {got}")


def _may_be_pasted(targets: Sequence[Mapping[str, Any]], counts: Sequence[int], crowd: bool) -> Bool[np.ndarray, "b n"]:
    """Which instances of each image may be pasted: no stuff, and no crowds unless allowed."""
    may = np.arange(max(counts)) < np.array(counts)[:, None]
    columns: dict[int, Tensor] = {}
    for index, target in enumerate(targets):
        if "iscrowd" in target and target["iscrowd"] is not None and counts[index] and not crowd:
            columns[index] = target["iscrowd"] == 0
        if "isthing" in target and target["isthing"] is not None:
            things = tensor_of(target["isthing"]).bool()
            columns[index] = sent(columns[index], things.device) & things if index in columns else things
    device = next((column.device for column in columns.values() if column.device.type != "cpu"), HOST)
    for index, fits in zip(columns, fetched([sent(column, device) for column in columns.values()])):
        may[index, : counts[index]] = fits.numpy()
    return may


def _unstated(targets: Sequence[Mapping[str, Any]], most: int) -> Bool[Tensor, "b n"]:
    """Which instances of each image have no mask, by ``has_mask``; on the host."""
    unstated = torch.zeros((len(targets), most), dtype=torch.bool, device=HOST)
    given = [(index, target[STATED]) for index, target in enumerate(targets) if target.get(STATED) is not None]
    given = [(index, stated) for index, stated in given if len(stated)]
    for (index, _), stated in zip(given, fetched([stated for _, stated in given])):
        unstated[index, : len(stated)] = (stated == 0).reshape(len(stated), -1).any(dim=1)
    return unstated


def _rectangles(
    chosen: Bool[Tensor, "b n"],
    pool: Pool,
    source: Int[Tensor, "b 2"],
    scale: Float[Tensor, "b 2 d"],
    shift: Float[Tensor, "b 2 d"],
) -> Int[Tensor, "b n ends"]:
    """Canvas pixels that the boxes of pasted instances meet, on the boxes' device; empty for other instances."""
    objects, images = pool.objects(), source.numpy()
    at, ndim = objects.boxes.device, pool.ndim
    partner = sent(torch.from_numpy(np.maximum(images[:, 1], 0)), at)
    boxes, present = objects.boxes.index_select(0, partner), objects.present.index_select(0, partner)
    sizes = pool.sizes.numpy()[np.maximum(images, 0)]
    extent = np.concatenate([np.zeros_like(sizes), sizes], axis=2)
    factor, offset = scale[:, 1:], shift[:, 1:]
    absent = (images[:, 1:] < 0)[..., None]
    ranges = ranges_of(np, factor.numpy(), offset.numpy(), extent[:, 1:], sizes[:, :1], absent)
    least, most = sent(ranges[0], at), sent(ranges[1], at)  # a box may extend beyond its image
    factor, offset = sent(factor, at), sent(offset, at)
    ends = (boxes[..., :ndim] * factor + offset, boxes[..., ndim:] * factor + offset)
    low = torch.maximum(torch.minimum(*ends).floor().long(), least)
    high = torch.minimum(torch.maximum(*ends).ceil().long(), most)
    return torch.cat([low, torch.maximum(low, high)], dim=2) * (sent(chosen, at) & present)[..., None]


def _paint(owner: Int[Tensor, "b *frame"], rectangles: Int[Tensor, "b n ends"], boxed: Bool[Tensor, "b n"]) -> None:
    """Write 1 into the rectangles of the instances in ``boxed``, without waiting for a device."""
    ndim = owner.ndim - 1
    for output, row in boxed.nonzero().tolist():
        ends = rectangles[output, row]
        inside: Any = True
        for axis, length in enumerate(owner.shape[1:]):
            pixel = torch.arange(length, device=owner.device)
            inside = inside & along((pixel >= ends[axis]) & (pixel < ends[ndim + axis]), axis, ndim)
        owner[output].masked_fill_(inside, 1)


def _by_masks(
    chosen: Bool[Tensor, "b n"], targets: Sequence[Mapping[str, Any]], pool: Pool, source: Int[Tensor, "b 2"]
) -> Int[Tensor, "b *frame"]:
    """Owners before the partner is moved: 1 inside pasted masks, else 0."""
    device = next(target["masks"].device for target in targets if target.get("masks") is not None)
    union = torch.zeros((len(source), *pool.frame), dtype=torch.bool, device=device)
    partner, sizes = source[:, 1].clamp(min=0), pool.sizes.tolist()
    for output, image in enumerate(partner.tolist()):
        masks = targets[image].get("masks")
        rows = chosen[output].nonzero()[:, 0].tolist()
        if masks is None or not rows:
            continue
        stack = masks.as_subclass(Tensor)
        block = block_of(map(min, stack.shape[1:], sizes[image]))
        mark_masks(union[output][block], [stack[row][block] for row in rows])
    return union.view(torch.int8)


def _moved(
    owner: Int[Tensor, "b *frame"],
    pool: Pool,
    source: Int[Tensor, "b 2"],
    scale: Float[Tensor, "b 2 d"],
    shift: Float[Tensor, "b 2 d"],
) -> Int[Tensor, "b *frame"]:
    """Owners on the canvas: 1 inside pasted masks, mapped exactly as the masks themselves will be."""
    canvas = pool.sizes[source[:, 0]]
    alone = MixPlan.from_grid(
        torch.arange(len(source), device=HOST)[:, None],
        tuple(torch.stack([torch.zeros_like(size), size], dim=1) for size in canvas.T),
        torch.zeros((len(source), *(1,) * pool.ndim), dtype=torch.long, device=HOST),
        pool.sizes[source[:, 1].clamp(min=0)],
        frame=pool.frame,
        scale=scale[:, 1:],
        shift=shift[:, 1:],
        canvas=canvas,
    )
    return mix_semantic(owner, alone, ignore_index=0)
