"""Mix detection targets by a plan: boxes, masks, keypoints and every field that follows an instance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torchvision import tv_tensors

from cutmix_dense.functional.boxes import VisibleBoxes, from_xyxy, to_xyxy, visible_boxes
from cutmix_dense.functional.fields import IGNORED, FieldTable, read_fields
from cutmix_dense.functional.filtering import Facts, FilterRule, OnFiltered, Reason, check_on_filtered, rule_of
from cutmix_dense.functional.keypoints import mix_keypoints, swap_pairs
from cutmix_dense.functional.masks import MixedMasks, boxes_of_masks, mix_masks
from cutmix_dense.functional.report import OUTCOMES, MixReport
from cutmix_dense.functional.semantic import SoftSemantic, mix_maps
from cutmix_dense.functional.wrapping import rewrap
from cutmix_dense.plan import MixPlan

__all__ = ["Boxes", "BoxesFrom", "mix_instances", "object_pixels"]

Target = dict[str, Any]
Boxes = Literal["exact", "estimate"]
"""Whether boxes without masks may be guessed under a free-form mask."""

BoxesFrom = Literal["auto", "box", "mask"]
"""What a changed instance's box encloses: its visible mask where it has one (auto), its visible box, or its mask."""

_KEPT, _SHRUNK, _DROPPED, _IGNORED = range(len(OUTCOMES))


def mix_instances(
    targets: Sequence[Mapping[str, Any]],
    plan: MixPlan,
    *,
    min_visibility: float | tuple[float, float] = 0.1,
    min_size: float | tuple[float, float] = 1.0,
    on_filtered: OnFiltered = "drop",
    boxes_from: BoxesFrom = "auto",
    rule: FilterRule | str | None = None,
    instance_keys: Sequence[str] = (),
    image_keys: Sequence[str] = (),
    semantic_keys: Sequence[str] = (),
    ignore_index: int = 255,
    boxes: Boxes = "exact",
    flip_pairs: Sequence[tuple[int, int]] | None = None,
    instance_weights: bool = False,
    soft_semantic: SoftSemantic = "pair",
    num_classes: int | None = None,
    return_report: bool = False,
) -> Any:
    """Targets of the mixed images: what is visible of every instance, and all that belongs to it.

    The visibility of an instance is its visible area over its whole area within its source image (pixels of its mask
    where it has one, else the area of its box), whatever took the rest: the source's border, the canvas, another layer.
    An instance that kept all of it under the identity map comes back bit-identical and unfiltered. The box of any other
    is made tight round what is visible, and it is kept if it reaches the thresholds.

    Args:
        targets: one dict per pool image, as torchvision's detectors take them: ``boxes`` (N, 4) xyxy in pixels, or a
            tv_tensor of any format but rotated ones; ``labels`` (N,); optionally ``masks`` (N, H, W), ``keypoints``
            (N, K, 2 | 3), ``iscrowd``, ``area``, ``ignored`` (a nested dict of instances) … An image without
            instances may lack any of them.
        plan: who owns each output pixel.
        min_visibility: least visibility, in [0, 1]; for all, or (base, pasted). The product with an incoming
            ``visibility`` counts.
        min_size: least length of a box's sides, pixels; for all, or (base, pasted).
        on_filtered: ``"drop"`` what fails; ``"ignore"``: move what still shows to ``target["ignored"]``; ``"crowd"``:
            keep it with ``iscrowd`` = 1.
        boxes_from: what a changed instance's box encloses; see ``BoxesFrom``.
        rule: a ``FilterRule`` or the name of a peer's (``filtering.RULES``) in place of the two thresholds.
        instance_keys: further keys with one row (tensor) or item (list) per instance, which follow it unchanged.
        image_keys: further keys that stay the base image's.
        semantic_keys: further keys that hold a map of class ids, mixed by ``mix_semantic``.
        ignore_index: id of a semantic map's pixels that nobody owns.
        boxes: ``"exact"``: boxes without masks under a free-form mask are refused, since the pixels owned inside a box
            include background; ``"estimate"``: take those pixels as the object's.
        flip_pairs: (left, right) keypoints that change names where their image is mirrored; needed there.
        instance_weights: whether instances carry ``weight`` (N,), their layer's share; as under a soft plan always.
        soft_semantic: form of semantic maps under a soft plan; see ``mix_maps``.
        num_classes: number of semantic classes, for ``soft_semantic="probabilities"``.
        return_report: also return what happened to each input instance.

    Returns:
        A list with one new dict per output; with ``return_report`` (list, ``MixReport``). Instances stand layer by
        layer, the base's first, and carry ``visibility`` (N,) and ``origin`` (N, 2): pool image and index there.
        Keypoints of (x, y) rows get ``keypoints_visible`` (N, K).

    Raises:
        ValueError: an unknown key of tensor shape, rows or masks that don't match, NaN or infinite boxes, rotated
            boxes, an argument out of range; each named.
        TypeError: targets that aren't dicts, a value of a kind that its key can't have.
    """
    filter_rule = rule_of(rule, min_visibility, min_size)
    check_on_filtered(on_filtered)
    if boxes_from not in get_args(BoxesFrom):
        raise ValueError(f"boxes_from must be one of {get_args(BoxesFrom)}, got {boxes_from!r}")
    table = read_fields(targets, instance_keys, image_keys, semantic_keys)
    source = plan.source.to("cpu")
    if source.numel() and int(source.max()) >= len(targets):
        raise ValueError(f"targets must hold {int(source.max()) + 1} images for this plan, got {len(targets)}")

    base = source[:, 0].tolist()
    mixed: list[Target] = [dict(table.image[index]) for index in base]
    for key, maps in table.semantic.items():
        mixed_maps = mix_maps(maps, plan, ignore_index=ignore_index, soft=soft_semantic, num_classes=num_classes)
        for target, value in zip(mixed, mixed_maps):
            target[key] = value
    if "keypoints" in table.instances and flip_pairs is None and bool((plan.scale[..., -1] < 0).any()):
        raise ValueError("flip_pairs must be given for keypoints under a plan that mirrors, got None (may be empty)")
    entries = _Entries.of(table, source)
    if not table.instances:
        report = _report(entries, torch.zeros(0), torch.zeros(0), torch.zeros(0))
        return (mixed, report) if return_report else mixed

    if boxes not in get_args(Boxes):
        raise ValueError(f"boxes must be one of {get_args(Boxes)}, got {boxes!r}")
    guess = plan.free_form and "boxes" in table.instances and ("masks" not in table.instances or boxes_from == "box")
    if guess and boxes == "exact":
        raise ValueError(
            "boxes without masks can't be told exactly under a free-form mask: give 'masks', or accept boxes='estimate'"
        )
    fate = _judge(table, plan, entries, filter_rule, boxes_from)
    form = _Form(flip_pairs or (), instance_weights or plan.weight is not None)
    outcome = _outcomes(fate, entries, on_filtered)
    report = _report(entries, fate.on_host[:, 2], outcome, fate.on_host[:, 0])
    showing = (outcome != _DROPPED) & ((outcome != _IGNORED) | ((on_filtered == "crowd") & ~entries.ignored))
    for target, rows in zip(mixed, _assemble(table, plan, entries, fate, showing.nonzero()[:, 0], form)):
        target.update(rows)
    if on_filtered == "crowd":
        _mark_crowds(mixed, entries, outcome == _IGNORED, showing)
    if table.has_ignored or on_filtered == "ignore":
        aside = ((outcome == _IGNORED) & ~showing).nonzero()[:, 0]
        for target, rows in zip(mixed, _assemble(table, plan, entries, fate, aside, form)):
            target[IGNORED] = rows
    return (mixed, report) if return_report else mixed


def object_pixels(
    targets: Sequence[Mapping[str, Any]],
    plan: MixPlan,
    *,
    instance_keys: Sequence[str] = (),
    image_keys: Sequence[str] = (),
) -> Float[Tensor, "b s"]:
    """Visible pixels of objects per layer: what a layer shows of its instances (masks where there are, else boxes).

    As weights of ``mix_labels`` they make a patch without an object give no label (cf. OA-CutMix). Overlapping
    instances count each for itself.

    Args:
        targets: as for ``mix_instances``.
        plan: who owns each output pixel.
        instance_keys: as for ``mix_instances``.
        image_keys: as for ``mix_instances``.
    """
    table = read_fields(targets, instance_keys, image_keys)
    total = torch.zeros(len(plan) * plan.layers, dtype=torch.float64)
    if table.instances:
        entries = _Entries.of(table, plan.source.to("cpu"))
        fate = _judge(table, plan, entries, FilterRule(0.0, 0.0), "auto")
        total.index_add_(0, entries.output * plan.layers + entries.layer, fate.visible.double().to("cpu"))
    return total.reshape(len(plan), plan.layers)


@dataclass(frozen=True)
class _Entries:
    """One row per (output, layer, instance of that layer's image), on the host, in that order."""

    output: Int[Tensor, " e"]
    layer: Int[Tensor, " e"]
    image: Int[Tensor, " e"]
    position: Int[Tensor, " e"]  # within the image; its ignored instances follow the others
    flat: Int[Tensor, " e"]  # within all instances of the pool
    ignored: Bool[Tensor, " e"]
    outputs: int

    @classmethod
    def of(cls, table: FieldTable, source: Int[Tensor, "b s"]) -> _Entries:
        own = torch.tensor(table.counts, dtype=torch.long)
        counts = own + torch.tensor(table.ignored_counts, dtype=torch.long)
        start = counts.cumsum(0) - counts
        image = source.flatten().clamp(min=0)
        per_layer = counts[image] * (source.flatten() >= 0) if len(counts) else torch.zeros_like(image)
        slot = torch.arange(source.numel()).repeat_interleave(per_layer)
        position = torch.arange(len(slot)) - (per_layer.cumsum(0) - per_layer)[slot]
        return cls(
            output=slot // max(source.shape[1], 1),
            layer=slot % max(source.shape[1], 1),
            image=image[slot],
            position=position,
            flat=start[image[slot]] + position,
            ignored=position >= own[image[slot]],
            outputs=len(source),
        )


@dataclass(frozen=True)
class _Fate:
    """What the plan does to every entry, on the targets' device (``on_host``: the one transfer there is)."""

    boxes: Float[Tensor, "e 4"] | None
    same_box: Bool[Tensor, " e"]
    untouched: Bool[Tensor, " e"]
    share: Float[Tensor, " e"]
    visibility: Float[Tensor, " e"]
    visible: Float[Tensor, " e"]
    masks: dict[tuple[int, int], MixedMasks] | None
    on_host: Float[Tensor, "e 3"]  # reason, complete, visibility


def _judge(table: FieldTable, plan: MixPlan, entries: _Entries, rule: FilterRule, boxes_from: BoxesFrom) -> _Fate:
    device = _device(table)
    plan = plan.to(device)
    output, layer, flat = entries.output.to(device), entries.layer.to(device), entries.flat.to(device)
    by_box: VisibleBoxes | None = None
    masks: dict[tuple[int, int], MixedMasks] | None = None
    if "boxes" in table.instances:
        by_box = visible_boxes(_flat_boxes(table)[flat], plan, output, layer)
    if "masks" in table.instances:
        stacks = [None if value is None else value.as_subclass(Tensor) for value in table.instances["masks"]]
        masks = mix_masks(stacks, plan, mask_sizes(stacks, plan))
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
            boxes = torch.cat([boxes_of_masks(cut.masks) for cut in masks.values()]).to(exact)
    share = torch.where(untouched, 1.0, (visible / whole.clamp(min=torch.finfo(exact).tiny)).clamp(0, 1))
    visibility = share.float()
    if "visibility" in table.instances:
        visibility = visibility * _flat(table, "visibility").float()[flat]

    reason = rule.reasons(Facts(visibility, visible, boxes, None if by_box is None else by_box.mapped, layer))
    reason[untouched] = Reason.KEPT
    if masks is not None:
        reason[whole == 0] = Reason.EMPTY_MASK
    if by_box is not None:
        reason[(by_box.whole == 0) & ~by_box.broken] = Reason.OUTSIDE
        reason[by_box.broken] = Reason.BROKEN_BOX
        reason[~by_box.finite] = Reason.NOT_FINITE
    if plan.carry is not None and plan.carry.shape[2]:
        position = entries.position.to(device)
        carried = plan.carry[output, layer, position.clamp(max=plan.carry.shape[2] - 1)]
        carried = carried | (position >= plan.carry.shape[2]) | entries.ignored.to(device)
        reason[~carried & (reason != Reason.NOT_FINITE)] = Reason.NOT_CARRIED
    complete = untouched | (visible >= whole * (1 - 1e-9))
    on_host = torch.stack([reason.to(exact), complete.to(exact), visibility.to(exact)], dim=1).to("cpu")
    broken = (on_host[:, 0] == Reason.NOT_FINITE).nonzero()[:, 0]
    if len(broken):
        image, position_ = int(entries.image[broken[0]]), int(entries.position[broken[0]])
        raise ValueError(f"targets[{image}]['boxes'][{position_}] must be finite, got a NaN or infinite coordinate")
    return _Fate(boxes, same_box, untouched, share, visibility, visible, masks, on_host)


def _outcomes(fate: _Fate, entries: _Entries, on_filtered: OnFiltered) -> Int[Tensor, " e"]:
    reason, complete = fate.on_host[:, 0].long(), fate.on_host[:, 1] > 0
    outcome = torch.where(complete, _KEPT, _SHRUNK)
    failed_but_shows = reason >= Reason.LOW_VISIBILITY
    outcome[reason != Reason.KEPT] = _DROPPED
    if on_filtered != "drop":
        outcome[failed_but_shows] = _IGNORED
    shows = (reason == Reason.KEPT) | failed_but_shows
    outcome[entries.ignored & shows] = _IGNORED
    return outcome


@dataclass(frozen=True)
class _Form:
    """How rows are to be handed out."""

    flip_pairs: Sequence[tuple[int, int]]
    weights: bool


def _assemble(
    table: FieldTable, plan: MixPlan, entries: _Entries, fate: _Fate, chosen: Int[Tensor, " k"], form: _Form
) -> list[Target]:
    """The rows of the chosen entries, one dict per output, in the order of the keys that came in."""
    device = _device(table)
    here = chosen.to(device)
    flat = entries.flat[chosen].to(device)
    counts = torch.bincount(entries.output[chosen], minlength=entries.outputs).tolist()
    canvas = [cast("tuple[int, int]", tuple(size)) for size in plan.canvas.tolist()]
    columns: dict[str, list[Any]] = {}
    for key in table.instances:
        example = table.example(key)
        if example is None:
            items = [item for value in table.instances[key] if value is not None for item in value]
            picked = [items[index] for index in entries.flat[chosen].tolist()]
            columns[key] = [[picked.pop(0) for _ in range(count)] for count in counts]
            continue
        if key == "masks":
            assert fate.masks is not None
            columns[key] = _masks_of(example, fate.masks, entries, chosen, mask_sizes(table.instances[key], plan))
            continue
        rows = _flat(table, key)[flat]
        if key == "boxes":
            assert fate.boxes is not None
            parts = zip(rows.split(counts), fate.boxes[here].split(counts), fate.same_box[here].split(counts), canvas)
            columns[key] = [_boxes_of(*part, like=example) for part in parts]
            continue
        if key == "area":
            factor = plan.to(device).scale.abs().prod(dim=2)[entries.output[chosen], entries.layer[chosen]]
            scaled = rows * (factor * fate.share[here])
            scaled = scaled if rows.is_floating_point() else scaled.round()
            rows = torch.where(fate.untouched[here], rows, scaled.to(rows.dtype))
        elif key in ("visibility", "weight"):
            continue
        elif key in ("keypoints", "keypoints_visible") and "keypoints" in table.instances:
            points, shows = mix_keypoints(
                _flat(table, "keypoints")[flat],
                plan.to(device),
                entries.output[chosen].to(device),
                entries.layer[chosen].to(device),
                form.flip_pairs,
            )
            if key == "keypoints":
                if points.shape[2] == 2 and "keypoints_visible" not in table.instances:
                    columns["keypoints_visible"] = list(shows.split(counts))
                rows = torch.where(fate.untouched[here][:, None, None], rows, points)
            else:
                if form.flip_pairs:
                    mirrored = plan.to(device).scale[entries.output[chosen], entries.layer[chosen], -1] < 0
                    rows = torch.where(mirrored[:, None], swap_pairs(rows, form.flip_pairs), rows)
                rows = torch.where(shows, rows, torch.zeros((), dtype=rows.dtype, device=device))
        columns[key] = [_wrapped(part, example, size) for part, size in zip(rows.split(counts), canvas)]
    columns["visibility"] = list(fate.visibility[here].split(counts))
    if form.weights or "weight" in table.instances:
        columns["weight"] = list(_weights(table, plan, entries, chosen, flat).split(counts))
    origin = torch.stack([entries.image[chosen], _index_in_own_list(table, entries, chosen)], dim=1).to(device)
    columns["origin"] = list(origin.split(counts))
    return [{key: column[output] for key, column in columns.items()} for output in range(entries.outputs)]


def _weights(
    table: FieldTable, plan: MixPlan, entries: _Entries, chosen: Int[Tensor, " k"], flat: Int[Tensor, " k"]
) -> Float[Tensor, " k"]:
    """Weight of each instance's layer in [0, 1], multiplied with an incoming one; 1 under a hard plan."""
    if plan.weight is None:
        weight = torch.ones(len(chosen), device=flat.device)
    else:
        layers = plan.weight / plan.weight.sum(dim=1, keepdim=True)
        weight = layers[entries.output[chosen], entries.layer[chosen]].float().to(flat.device)
    return weight * _flat(table, "weight").float()[flat] if "weight" in table.instances else weight


def _boxes_of(original: Tensor, mixed: Tensor, same: Tensor, canvas: tuple[int, int], *, like: Tensor) -> Tensor:
    """Boxes in the form they came in; those that stayed the same bit by bit."""
    boxes = from_xyxy(mixed, like, canvas)
    return rewrap(torch.where(same[:, None], original, boxes.as_subclass(Tensor)), boxes)


def _masks_of(
    example: Tensor,
    masks: dict[tuple[int, int], MixedMasks],
    entries: _Entries,
    chosen: Int[Tensor, " k"],
    sizes: Sequence[Sequence[int]],
) -> list[Tensor]:
    parts: list[list[Tensor]] = [[] for _ in range(entries.outputs)]
    positions: dict[tuple[int, int], list[int]] = {}
    for output, layer, position in zip(
        *(c[chosen].tolist() for c in (entries.output, entries.layer, entries.position))
    ):
        positions.setdefault((output, layer), []).append(position)
    for (output, layer), wanted in positions.items():
        cut = masks[output, layer].masks
        parts[output].append(cut if len(wanted) == len(cut) else cut[torch.tensor(wanted, device=cut.device)])
    stacked = [
        part[0] if len(part) == 1 else torch.cat(part) if part else example.as_subclass(Tensor).new_zeros((0, *size))
        for part, size in zip(parts, sizes)
    ]
    return [rewrap(stack, example) for stack in stacked]


def mask_sizes(masks: Sequence[Tensor | None], plan: MixPlan) -> list[tuple[int, ...]]:
    """Size of each output's masks: the frame if all masks came in it (a padded batch), else the canvas.

    Raises:
        ValueError: masks smaller than the part of their image that the plan shows, or of another number of axes.
    """
    source, extent, ndim = plan.source.to("cpu"), plan.extent.to("cpu"), plan.ndim
    found: set[tuple[int, ...]] = set()
    for index, stack in enumerate(masks):
        used = source == index
        if stack is None or stack.numel() == 0 or not bool(used.any()):
            continue
        if stack.ndim != ndim + 1:
            raise ValueError(f"targets[{index}]['masks'] must have {ndim + 1} dimensions, got {tuple(stack.shape)}")
        needed = tuple(extent[used][:, ndim:].amax(dim=0).tolist())
        if any(a < b for a, b in zip(stack.shape[1:], needed)):
            raise ValueError(
                f"targets[{index}]['masks'] must cover the image's {needed} pixels, got {tuple(stack.shape)}"
            )
        found.add(tuple(stack.shape[1:]))
    if found == {tuple(plan.frame)}:
        return [tuple(plan.frame)] * len(plan)
    return [tuple(size) for size in plan.canvas.tolist()]


def _mark_crowds(
    mixed: list[Target], entries: _Entries, crowd: Bool[Tensor, " e"], showing: Bool[Tensor, " e"]
) -> None:
    for output, target in enumerate(mixed):
        mark = crowd[showing & (entries.output == output)].to(target["visibility"].device)
        given = target.get("iscrowd")
        if given is None:
            target["iscrowd"] = mark.long()
        else:
            target["iscrowd"] = torch.where(mark, torch.ones((), dtype=given.dtype, device=given.device), given)


def _report(entries: _Entries, visibility: Tensor, outcome: Tensor, reason: Tensor) -> MixReport:
    return MixReport(
        output=entries.output,
        layer=entries.layer,
        source=entries.image,
        instance=entries.position,
        visibility=visibility.float(),
        outcome=outcome.long(),
        reason=reason.long(),
    )


def _index_in_own_list(table: FieldTable, entries: _Entries, chosen: Int[Tensor, " k"]) -> Int[Tensor, " k"]:
    own = torch.tensor(table.counts, dtype=torch.long)[entries.image[chosen]]
    return entries.position[chosen] - torch.where(entries.ignored[chosen], own, 0)


def _flat_boxes(table: FieldTable) -> Float[Tensor, "n 4"]:
    parts = []
    for index, value in enumerate(table.instances["boxes"]):
        if value is None:
            continue
        where = f"targets[{index}]['boxes']"
        if not isinstance(value, Tensor):
            raise TypeError(f"{where} must be a tensor, got {type(value).__name__}")
        parts.append(to_xyxy(value, where).to(torch.float64 if value.device.type != "mps" else torch.float32))
    return torch.cat(parts) if parts else torch.zeros((0, 4), dtype=torch.float64, device=_device(table))


def _flat(table: FieldTable, key: str) -> Tensor:
    """The rows of the whole pool as one plain tensor, in the form of the key's example."""
    example = table.example(key)
    assert example is not None
    parts = [value for value in table.instances[key] if value is not None and len(value)]
    if not parts:
        empty = example.as_subclass(Tensor)[:0]
        return empty.reshape(0, 4) if key == "boxes" else empty
    if isinstance(example, tv_tensors.BoundingBoxes) and any(part.format != example.format for part in parts):
        parts = [from_xyxy(to_xyxy(part), example, example.canvas_size) for part in parts]
    return torch.cat([part.as_subclass(Tensor) for part in parts])


def _device(table: FieldTable) -> torch.device:
    for key in ("boxes", "masks", *table.instances):
        example = table.example(key) if key in table.instances else None
        if example is not None:
            return example.device
    return torch.device("cpu")


def _wrapped(rows: Tensor, like: Tensor, canvas: tuple[int, int]) -> Tensor:
    return rewrap(rows, like, canvas_size=canvas) if hasattr(like, "canvas_size") else rewrap(rows, like)
