"""What becomes of every instance under a plan: what shows of it, whether it is kept, and why not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from cutmix_dense.arrays.host import HOST, Column, as_column, as_tensor, module_of, sent
from cutmix_dense.functional.boxes import VisibleBoxes, exact_dtype, visible_boxes
from cutmix_dense.functional.broken import GivenBoxes, check_boxes, sizes_of
from cutmix_dense.functional.fields import STATED, FieldTable
from cutmix_dense.functional.filtering import Facts, FilterRule, OnFiltered, Reason
from cutmix_dense.functional.masks import LayerMasks, mask_sizes, mix_masks
from cutmix_dense.functional.report import Outcome
from cutmix_dense.functional.rotated import Rotated, refitted_to_masks, visible_rotated
from cutmix_dense.functional.wrapping import as_plain
from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.ownership import carried_by

__all__ = [
    "BoxesFrom",
    "Entries",
    "Fate",
    "Verdict",
    "areas_of",
    "identity_of",
    "judge",
    "outcomes_of",
    "reasons_of",
    "shares_of",
]

BoxesFrom = Literal["auto", "box", "mask"]
"""What a changed instance's box encloses: its visible mask where it has one (auto), its visible box, or its mask.

``mask`` needs targets with masks; a row that states none gives its visible box there, too.
"""


@dataclass(frozen=True)
class Entries:
    """One row per (output, layer, instance of that layer's image), on the host, in that order."""

    output: Int[np.ndarray, " e"]
    layer: Int[np.ndarray, " e"]
    image: Int[np.ndarray, " e"]
    position: Int[np.ndarray, " e"]  # within the image; its ignored instances follow the others
    flat: Int[np.ndarray, " e"]  # within all instances of the pool
    ignored: Bool[np.ndarray, " e"]
    outputs: int

    @classmethod
    def of(cls, table: FieldTable, source: Int[np.ndarray, "b s"]) -> Entries:
        """All entries of a plan's ``source``."""
        own = np.array(table.counts, dtype=np.int64)
        counts = own + np.array(table.ignored_counts, dtype=np.int64)
        start = counts.cumsum() - counts
        images = source.reshape(-1)
        layers = max(source.shape[1], 1)
        per_layer = counts[images] * (images >= 0) if len(counts) else np.zeros_like(images)
        slot = np.arange(len(images)).repeat(per_layer)
        position = np.arange(len(slot)) - (per_layer.cumsum() - per_layer)[slot]
        image = images[slot]
        return cls(
            output=slot // layers,
            layer=slot % layers,
            image=image,
            position=position,
            flat=start[image] + position,
            ignored=position >= own[image],
            outputs=len(source),
        )


class Verdict(NamedTuple):
    """Per entry, why it isn't kept, whether all of it shows, how much, and whether it states a mask (None: all do)."""

    reason: Int[np.ndarray, " e"]
    complete: Bool[np.ndarray, " e"]
    visibility: Float[np.ndarray, " e"]
    stated: Bool[np.ndarray, " e"] | None = None

    @property
    def guessed(self) -> Int[np.ndarray, " g"]:
        """Entries without a mask of which a part shows, which their box alone tells."""
        if self.stated is None:
            return np.zeros(0, dtype=np.int64)
        shows = (self.reason == Reason.KEPT.value) | np.isin(self.reason, _SHOWS)
        return np.flatnonzero(~self.stated & ~self.complete & shows)


_SHOWS = (Reason.LOW_VISIBILITY.value, Reason.TOO_SMALL.value, Reason.ELONGATED.value)
"""Reasons against an entry of which something shows."""


@dataclass(frozen=True)
class Fate:
    """What the plan does to every entry: columns on the targets' device; the verdict, which is on the host."""

    boxes: Float[Column, "e 2*d"] | None
    same_box: Bool[Column, " e"]
    untouched: Bool[Column, " e"]
    share: Float[Column, " e"]
    visibility: Float[Column, " e"]
    visible: Float[Column, " e"]
    masks: dict[tuple[int, int], LayerMasks] | None
    mask_sizes: list[tuple[int, ...]]
    verdict: Verdict
    rotated: Any = None  # format of the targets' boxes where they are rotated ones: then ``boxes`` are corners (e, 8)


def judge(
    table: FieldTable,
    plan: MixPlan,
    entries: Entries,
    rule: FilterRule,
    boxes_from: BoxesFrom,
    padded: bool | None = None,
    rotated: Rotated = "keep",
) -> Fate:
    """Measure every entry and find the first reason that speaks against it; arguments as of ``mix_instances``.

    Raises:
        ValueError: coordinates that aren't finite; masks that don't fit; instances with neither boxes nor masks, also
            single ones that state no mask.
    """
    device, form = table.device, table.rotated
    drawn, plan = plan, plan.to(device)
    output, layer, flat = (as_column(part, device) for part in (entries.output, entries.layer, entries.flat))
    xp = module_of(output)
    carried: Column | None = None
    if plan.carry is not None:
        at = (as_tensor(output), as_tensor(layer), as_tensor(as_column(entries.position, device)))
        carried = as_column(carried_by(plan, *at), device) | as_column(entries.ignored, device)
    by_box: VisibleBoxes | None = None
    given: Column | None = None
    masks: dict[tuple[int, int], LayerMasks] | None = None
    sizes: list[tuple[int, ...]] = []
    stated = _stated(table, entries, device)
    if "boxes" in table.instances:
        by_mask = "masks" in table.instances and boxes_from != "box"
        covered = not by_mask or stated is not None
        if form is None:
            given = as_column(table.flat_boxes(), device)[flat]
            by_box = visible_boxes(given, plan, output, layer, covered=covered)
        else:
            given, refit = table.flat_rotated().numpy()[entries.flat], rotated == "refit" and not by_mask
            boxed = refit if stated is None else (rotated == "refit") & (refit | ~_on_host(stated))
            seen = visible_rotated(given, form, drawn, entries.output, entries.layer, covered=covered, refit=boxed)
            by_box = VisibleBoxes(*(_moved(part, device) for part in seen))
    if "masks" in table.instances:
        stacks = [None if value is None else as_plain(value) for value in table.instances["masks"]]
        sizes = mask_sizes(stacks, drawn, padded)
        rows_stated = None if stated is None else table.instances[STATED]
        masks = mix_masks(stacks, drawn, sizes, carried if xp is np else None, rows_stated)
    elif boxes_from == "mask":
        raise ValueError("boxes_from 'mask' needs targets with 'masks', got none")
    if by_box is None and masks is None and len(entries.output):
        raise ValueError(f"targets with instances need 'boxes' or 'masks', got only {sorted(table.instances)}")

    boxes: Column | None
    if masks is not None:
        cuts = list(masks.values())
        visible, whole = (_joined([getattr(cut, name) for cut in cuts], device) for name in ("visible", "whole"))
        untouched = identity_of(plan, output, layer) & (visible == whole) & (visible > 0)
        if stated is not None and by_box is not None:  # rows without a mask: as if there were none at all
            visible, whole = xp.where(stated, visible, by_box.visible), xp.where(stated, whole, by_box.whole)
            untouched = xp.where(stated, untouched, by_box.untouched)
        if boxes_from == "box" and by_box is not None:
            boxes, same_box = by_box.boxes, by_box.untouched
        elif form is not None and by_box is not None:
            boxes, same_box = by_box.boxes, untouched
            if rotated == "refit":
                changed = _on_host((visible > 0) & (visible < whole) & (True if stated is None else stated))
                corners = as_tensor(boxes).to("cpu", torch.float64).numpy()
                where = {"output": entries.output, "layer": entries.layer, "position": entries.position}
                boxes = _moved(refitted_to_masks(corners, masks, changed, **where), device)
        else:
            boxes, same_box = _joined([cut.boxes for cut in cuts], device, 2 * plan.ndim), untouched
            if stated is not None and by_box is not None:
                boxes = xp.where(stated[:, None], boxes, by_box.boxes)
    elif by_box is not None:
        visible, whole, untouched, boxes, same_box = (
            by_box.visible,
            by_box.whole,
            by_box.untouched,
            by_box.boxes,
            by_box.untouched,
        )
    else:  # no instances
        visible = whole = _joined([], device)
        boxes, untouched = None, visible > 0
        same_box = untouched
    if form is not None and rotated == "keep":  # the whole object's box, wherever it is cut
        same_box = identity_of(plan, output, layer)
    share, visibility = shares_of(visible, whole, untouched)
    if "visibility" in table.instances:
        visibility = visibility * as_column(table.flat("visibility").float(), device)[flat]

    facts = Facts(visibility, visible, boxes, None if by_box is None else by_box.mapped, layer)
    empty = None if masks is None else (whole == 0) & (True if stated is None else stated)
    reason = reasons_of(rule, facts, untouched, by_box, empty)
    if carried is not None:
        visibility = xp.where(carried, visibility, xp.zeros_like(visibility))
        reason[~carried & (reason != Reason.NOT_FINITE.value)] = Reason.NOT_CARRIED.value
    complete = untouched | (visible >= whole * (1 - 1e-9))
    if xp is torch:  # the one transfer
        parts = [reason, complete, visibility, *([] if stated is None else [stated])]
        coordinates = [] if given is None or isinstance(given, np.ndarray) else list(given.to(visible.dtype).T)
        columns = torch.stack([column.to(visible.dtype) for column in (*parts, *coordinates)])
        reasons, completes, shares, *others = columns.to("cpu").numpy()
        if coordinates:
            given = np.stack(others[-len(coordinates) :], axis=1)
        states = None if stated is None else others[0] > 0
        verdict = Verdict(reasons.astype(np.int64), completes > 0, shares, states)
    else:
        verdict = Verdict(reason, complete, visibility, stated)
    broken = np.flatnonzero(verdict.reason == Reason.NOT_FINITE.value)
    if len(broken):
        image, position = int(entries.image[broken[0]]), int(entries.position[broken[0]])
        raise ValueError(f"targets[{image}]['boxes'][{position}] must be finite, got a NaN or infinite coordinate")
    if given is not None:
        _check_given(given, table, entries, drawn, verdict)
    _refuse_without_either(table, entries, verdict)
    fate = Fate(boxes, same_box, untouched, share, visibility, visible, masks, sizes, verdict, form)
    return _empties_spared(fate, table, drawn, entries)


def _check_given(
    given: Float[np.ndarray, "e c"], table: FieldTable, entries: Entries, plan: MixPlan, verdict: Verdict
) -> None:
    """Warn of broken boxes, and refuse what is broken as a whole; see ``check_boxes``."""
    reason = verdict.reason
    broken, outside = reason == Reason.BROKEN_BOX.value, reason == Reason.OUTSIDE.value
    if not (given.max(initial=0) < 2 or broken.any() or outside.any()):  # as nearly always
        return
    sizes, whole = sizes_of(plan)
    size, outside = sizes[entries.image], outside & whole[entries.image]
    counts = ~entries.ignored & (reason != Reason.NOT_CARRIED.value)
    form = getattr(table.example("boxes"), "format", None)
    plain = table.rotated is None and (form is None or form.name == "XYXY")
    check_boxes(GivenBoxes(given, entries.image, entries.position, size, broken, outside, counts, plain))


def _stated(table: FieldTable, entries: Entries, device: torch.device) -> Bool[Column, " e"] | None:
    """Whether each entry states its mask; None where all are known to."""
    if STATED not in table.instances:
        return None
    stated = table.flat(STATED)
    if device.type == "cpu" and bool(stated.all()):
        return None
    return as_column(stated, device)[as_column(entries.flat, device)]


def _refuse_without_either(table: FieldTable, entries: Entries, verdict: Verdict) -> None:
    """Raise ValueError for rows that state no mask where boxes, or masks at all, are missing."""
    missing = [key for key in ("boxes", "masks") if key not in table.instances]
    if not missing or verdict.stated is None or verdict.stated.all():
        return
    row = int(np.flatnonzero(~verdict.stated)[0])
    image, position = int(entries.image[row]), int(entries.position[row])
    need = "'boxes', by which such rows are judged" if "boxes" in missing else "'masks', whose rows it is about"
    raise ValueError(f"targets[{image}]['{STATED}'][{position}] is False, which needs {need}; got no '{missing[0]}'")


def _empties_spared(fate: Fate, table: FieldTable, plan: MixPlan, entries: Entries) -> Fate:
    """The same where instances whose mask holds no pixel, and that nothing touched, are kept as they came.

    What could touch them is told by their box, or without boxes by the valid part of their image. Rare, and thus looked
    at on the host once the verdict is there.
    """
    verdict = fate.verdict
    rows = np.flatnonzero(verdict.reason == Reason.EMPTY_MASK.value)
    if not len(rows):
        return fate
    _, scale, shift, extent, _ = plan.facts
    unmoved = ((scale == 1) & (shift == 0)).all(axis=2)
    rows = rows[unmoved[entries.output[rows], entries.layer[rows]]]
    if not len(rows):  # as where tiny masks were scaled
        return fate
    plan = plan.to(HOST)
    output, layer = entries.output[rows], entries.layer[rows]
    if fate.rotated is not None:
        given = table.flat_rotated().numpy()[entries.flat[rows]]
        kept = visible_rotated(given, fate.rotated, plan, output, layer).untouched
    else:
        if "boxes" in table.instances:
            given = table.flat_boxes().detach().to("cpu", torch.float64).numpy()[entries.flat[rows]]
        else:
            valid = extent[output, layer].reshape(len(rows), 2, plan.ndim)
            given = valid[..., ::-1].reshape(len(rows), -1).astype(np.float64)
        kept = visible_boxes(given, plan, output, layer).untouched
    if not kept.any():
        return fate
    spared = np.zeros(len(verdict.reason), dtype=bool)
    spared[rows[kept]] = True
    before = np.ones(len(spared), dtype=np.float32)
    if "visibility" in table.instances:
        before = _on_host(table.flat("visibility").float())[entries.flat]
    mark = as_column(spared, table.device)
    xp = module_of(mark)
    return replace(
        fate,
        same_box=fate.same_box | mark,
        untouched=fate.untouched | mark,
        share=xp.where(mark, xp.ones_like(fate.share), fate.share),
        visibility=xp.where(mark, as_column(before, table.device), fate.visibility),
        verdict=verdict._replace(
            reason=np.where(spared, Reason.KEPT.value, verdict.reason),
            complete=verdict.complete | spared,
            visibility=np.where(spared, before, verdict.visibility),
        ),
    )


def _on_host(column: Column) -> np.ndarray:
    """A column, or a tensor, as an array."""
    return as_tensor(column).to("cpu").numpy()


def identity_of(plan: MixPlan, output: Int[Column, " e"], layer: Int[Column, " e"]) -> Bool[Column, " e"]:
    """Whether each entry's layer lies on the canvas as in its source."""
    scale, shift = as_column(plan.scale, plan.device), as_column(plan.shift, plan.device)
    return ((scale == 1) & (shift == 0)).all(axis=2)[output, layer]


def _moved(values: Shaped[np.ndarray, "..."], device: torch.device) -> Column:
    """An array as a column of the device, floating point in its exact dtype."""
    if device.type == "cpu":
        return values
    return sent(values, device, exact_dtype(device) if values.dtype.kind == "f" else None)


def _joined(parts: Sequence[Tensor], device: torch.device, *row: int) -> Column:
    """The rows of all parts in one column, in the exact dtype of the device."""
    joined = torch.cat([part.to(exact_dtype(device)) for part in parts]) if parts else None
    return as_column(torch.zeros((0, *row), dtype=exact_dtype(device)) if joined is None else joined, device)


def shares_of(
    visible: Float[Column, " e"], whole: Float[Column, " e"], untouched: Bool[Column, " e"]
) -> tuple[Float[Column, " e"], Float[Column, " e"]]:
    """Visible share of the whole, exact and in single precision; 1 for what is untouched."""
    xp = module_of(visible)
    share = visible / (whole + (whole <= 0))  # of nothing, nothing shows
    share = xp.where(untouched | (share > 1), 1.0, share)
    return share, share.float() if isinstance(share, Tensor) else share.astype(np.float32)


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
    untouched: Bool[Column, " e"],
    by_box: VisibleBoxes | None,
    empty_mask: Bool[Column, " e"] | None = None,
) -> Int[Column, " e"]:
    """The ``Reason`` of every entry: the rule's, unless it is untouched or wasn't an object in the first place."""
    reason = rule.reasons(facts)
    reason[untouched] = Reason.KEPT.value
    if empty_mask is not None:
        reason[empty_mask] = Reason.EMPTY_MASK.value
    if by_box is not None:
        reason[(by_box.whole == 0) & ~by_box.broken] = Reason.OUTSIDE.value
        reason[by_box.broken] = Reason.BROKEN_BOX.value
        reason[~by_box.finite] = Reason.NOT_FINITE.value
    return reason


def outcomes_of(verdict: Verdict, entries: Entries, on_filtered: OnFiltered) -> Int[np.ndarray, " e"]:
    """The ``Outcome`` of every entry."""
    reason = verdict.reason
    outcome = np.where(verdict.complete, Outcome.KEPT.value, Outcome.SHRUNK.value)
    failed_but_shows = reason >= Reason.LOW_VISIBILITY.value
    outcome[reason != Reason.KEPT.value] = Outcome.DROPPED.value
    if on_filtered != "drop":
        outcome[failed_but_shows] = Outcome.IGNORED.value
    shows = (reason == Reason.KEPT.value) | failed_but_shows
    outcome[entries.ignored & shows] = Outcome.IGNORED.value
    return outcome
