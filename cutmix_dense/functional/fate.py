"""What becomes of every instance under a plan: what shows of it, whether it is kept, and why not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from cutmix_dense.functional.boxes import VisibleBoxes, visible_boxes
from cutmix_dense.functional.fields import FieldTable
from cutmix_dense.functional.filtering import Facts, FilterRule, OnFiltered, Reason
from cutmix_dense.functional.masks import LayerMasks, mask_sizes, mix_masks
from cutmix_dense.functional.report import Outcome
from cutmix_dense.plan import MixPlan

__all__ = ["BoxesFrom", "Entries", "Fate", "areas_of", "judge", "outcomes_of", "reasons_of", "shares_of"]

BoxesFrom = Literal["auto", "box", "mask"]
"""What a changed instance's box encloses: its visible mask where it has one (auto), its visible box, or its mask."""


@dataclass(frozen=True)
class Entries:
    """One row per (output, layer, instance of that layer's image), on the host, in that order."""

    output: Int[Tensor, " e"]
    layer: Int[Tensor, " e"]
    image: Int[Tensor, " e"]
    position: Int[Tensor, " e"]  # within the image; its ignored instances follow the others
    flat: Int[Tensor, " e"]  # within all instances of the pool
    ignored: Bool[Tensor, " e"]
    outputs: int

    @classmethod
    def of(cls, table: FieldTable, source: Int[Tensor, "b s"]) -> Entries:
        """All entries of a plan's ``source``."""
        own = np.array(table.counts, dtype=np.int64)
        counts = own + np.array(table.ignored_counts, dtype=np.int64)
        start = counts.cumsum() - counts
        images = source.flatten().numpy()
        layers = max(source.shape[1], 1)
        per_layer = counts[images] * (images >= 0) if len(counts) else np.zeros_like(images)
        slot = np.arange(len(images)).repeat(per_layer)
        position = np.arange(len(slot)) - (per_layer.cumsum() - per_layer)[slot]
        image = images[slot]
        return cls(
            output=torch.from_numpy(slot // layers),
            layer=torch.from_numpy(slot % layers),
            image=torch.from_numpy(image),
            position=torch.from_numpy(position),
            flat=torch.from_numpy(start[image] + position),
            ignored=torch.from_numpy(position >= own[image]),
            outputs=len(source),
        )


@dataclass(frozen=True)
class Fate:
    """What the plan does to every entry, on the targets' device (``on_host``: what its verdict needs on the host)."""

    boxes: Float[Tensor, "e 4"] | None
    same_box: Bool[Tensor, " e"]
    untouched: Bool[Tensor, " e"]
    share: Float[Tensor, " e"]
    visibility: Float[Tensor, " e"]
    visible: Float[Tensor, " e"]
    masks: dict[tuple[int, int], LayerMasks] | None
    mask_sizes: list[tuple[int, ...]]
    on_host: Float[Tensor, "e 3"]  # reason, complete, visibility


def judge(
    table: FieldTable,
    plan: MixPlan,
    entries: Entries,
    rule: FilterRule,
    boxes_from: BoxesFrom,
    padded: bool | None = None,
) -> Fate:
    """Measure every entry and find the first reason that speaks against it.

    Raises:
        ValueError: coordinates that aren't finite; masks that don't fit; instances with neither boxes nor masks.
    """
    device = table.device
    plan = plan.to(device)
    output, layer, flat = entries.output.to(device), entries.layer.to(device), entries.flat.to(device)
    by_box: VisibleBoxes | None = None
    masks: dict[tuple[int, int], LayerMasks] | None = None
    sizes: list[tuple[int, ...]] = []
    if "boxes" in table.instances:
        by_mask = "masks" in table.instances and boxes_from != "box"
        by_box = visible_boxes(table.flat_boxes()[flat], plan, output, layer, covered=not by_mask)
    if "masks" in table.instances:
        stacks = [None if value is None else value.as_subclass(Tensor) for value in table.instances["masks"]]
        sizes = mask_sizes(stacks, plan, padded)
        masks = mix_masks(stacks, plan, sizes)
    elif boxes_from == "mask":
        raise ValueError("boxes_from 'mask' needs targets with 'masks', got none")
    if by_box is None and masks is None and len(entries.output):
        raise ValueError(f"targets with instances need 'boxes' or 'masks', got only {sorted(table.instances)}")

    count = len(output)
    exact = torch.float64 if by_box is None else by_box.visible.dtype
    if masks is None:
        visible = by_box.visible if by_box is not None else torch.zeros(count, dtype=exact, device=device)
        whole = by_box.whole if by_box is not None else visible
        untouched = by_box.untouched if by_box is not None else torch.zeros(count, dtype=torch.bool, device=device)
        boxes, same_box = (by_box.boxes if by_box is not None else None), untouched
    else:
        none = torch.zeros(0, device=device)
        visible = torch.cat([none, *(cut.visible for cut in masks.values())]).to(exact)
        whole = torch.cat([none, *(cut.whole for cut in masks.values())]).to(exact)
        identity = ((plan.scale == 1) & (plan.shift == 0)).all(dim=2)[output, layer]
        untouched = identity & (visible == whole) & (visible > 0)
        boxes, same_box = torch.zeros((0, 4), dtype=exact, device=device), untouched
        if boxes_from == "box" and by_box is not None:
            boxes, same_box = by_box.boxes, by_box.untouched
        elif masks:
            boxes = torch.cat([cut.boxes for cut in masks.values()]).to(exact)
    share, visibility = shares_of(visible, whole, untouched)
    if "visibility" in table.instances:
        visibility = visibility * table.flat("visibility").float()[flat]

    facts = Facts(visibility, visible, boxes, None if by_box is None else by_box.mapped, layer)
    reason = reasons_of(rule, facts, untouched, by_box, None if masks is None else whole == 0)
    if plan.carry is not None:
        carried = plan.carries(output, layer, entries.position.to(device)) | entries.ignored.to(device)
        reason[~carried & (reason != Reason.NOT_FINITE)] = Reason.NOT_CARRIED
    complete = untouched | (visible >= whole * (1 - 1e-9))
    on_host = torch.stack([reason.to(exact), complete.to(exact), visibility.to(exact)], dim=1).to("cpu")
    broken = (on_host[:, 0] == Reason.NOT_FINITE).nonzero()[:, 0]
    if len(broken):
        image, position_ = int(entries.image[broken[0]]), int(entries.position[broken[0]])
        raise ValueError(f"targets[{image}]['boxes'][{position_}] must be finite, got a NaN or infinite coordinate")
    return Fate(boxes, same_box, untouched, share, visibility, visible, masks, sizes, on_host)


def shares_of(
    visible: Float[Tensor, " e"], whole: Float[Tensor, " e"], untouched: Bool[Tensor, " e"]
) -> tuple[Float[Tensor, " e"], Float[Tensor, " e"]]:
    """Visible share of the whole, exact and in single precision; 1 for what is untouched."""
    share = (visible / whole.clamp(min=torch.finfo(whole.dtype).tiny)).clamp(0, 1).masked_fill(untouched, 1.0)
    return share, share.float()


def areas_of(
    areas: Shaped[Tensor, " e"],
    plan: MixPlan,
    output: Int[Tensor, " e"],
    layer: Int[Tensor, " e"],
    share: Float[Tensor, " e"],
    untouched: Bool[Tensor, " e"],
) -> Shaped[Tensor, " e"]:
    """Areas after the mix: scaled with their layer, times what stayed visible; whole numbers are rounded."""
    scaled = areas * (plan.scale.abs().prod(dim=2)[output, layer] * share)
    scaled = scaled if areas.is_floating_point() else scaled.round()
    return torch.where(untouched, areas, scaled.to(areas.dtype))


def reasons_of(
    rule: FilterRule,
    facts: Facts,
    untouched: Bool[Tensor, " e"],
    by_box: VisibleBoxes | None,
    empty_mask: Bool[Tensor, " e"] | None = None,
) -> Int[Tensor, " e"]:
    """The ``Reason`` of every entry: the rule's, unless it is untouched or wasn't an object in the first place."""
    reason = rule.reasons(facts).masked_fill(untouched, Reason.KEPT)
    if empty_mask is not None:
        reason.masked_fill_(empty_mask, Reason.EMPTY_MASK)
    if by_box is not None:
        reason.masked_fill_((by_box.whole == 0) & ~by_box.broken, Reason.OUTSIDE)
        reason.masked_fill_(by_box.broken, Reason.BROKEN_BOX).masked_fill_(~by_box.finite, Reason.NOT_FINITE)
    return reason


def outcomes_of(fate: Fate, entries: Entries, on_filtered: OnFiltered) -> Int[Tensor, " e"]:
    """The ``Outcome`` of every entry, on the host."""
    reason, complete = fate.on_host[:, 0].long(), fate.on_host[:, 1] > 0
    outcome = torch.where(complete, int(Outcome.KEPT), int(Outcome.SHRUNK))
    failed_but_shows = reason >= Reason.LOW_VISIBILITY
    outcome[reason != Reason.KEPT] = Outcome.DROPPED
    if on_filtered != "drop":
        outcome[failed_but_shows] = Outcome.IGNORED
    shows = (reason == Reason.KEPT) | failed_but_shows
    outcome[entries.ignored & shows] = Outcome.IGNORED
    return outcome
