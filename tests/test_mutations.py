"""The oracle bites: errors that real libraries have made, each put into ours, each found by the suite.

The errors are patched into the library's own functions while a small slice of the oracle's cases runs. The same slice
passes without them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from oracle import run_chunk
from torch import Tensor

from cutmix_dense import functional, pairing, regions
from cutmix_dense.functional import assembly, keypoints, measuring, pixels
from cutmix_dense.functional.masks import MixedMasks
from cutmix_dense.functional.measured import Measured
from cutmix_dense.plan import MixPlan
from cutmix_dense.transforms import targets as transform_targets

ALL = ("BetaBox", "AreaBox", "MultiBox.union", "MultiBox.xor", "ObjectBox")
PAIRS = 120


def run_slice(only: tuple[str, ...] = ALL) -> None:
    """A fixed slice of the oracle's cases: draw, mix, judge."""
    run_chunk(2026, PAIRS, regions=only)


Array = np.ndarray
Patch = Callable[[pytest.MonkeyPatch], None]


# ---------------------------------------------------------------------------------------------------------------------
# the errors


def height_and_width_swapped_in_boxes(patch: pytest.MonkeyPatch) -> None:
    right = measuring.visible_boxes

    def wrong(boxes: Array, plan: MixPlan, output: Array, layer: Array, **how: Any) -> Measured:
        seen = right(boxes[:, [1, 0, 3, 2]], plan, output, layer)
        return seen._replace(boxes=seen.boxes[:, [1, 0, 3, 2]])

    patch.setattr(measuring, "visible_boxes", wrong)


def height_and_width_swapped_in_keypoints(patch: pytest.MonkeyPatch) -> None:
    right = keypoints.shows_at
    patch.setattr(keypoints, "shows_at", lambda plan, points, *index: right(plan, points.flip(1), *index))


def shifted(plan: MixPlan, by: int) -> MixPlan:
    """The plan with every inner edge of the grid moved by a pixel."""
    edges = []
    for axis, edge in enumerate(plan.edges):
        limit = plan.canvas[:, axis, None]
        moved = torch.minimum((edge + by).clamp(min=0), limit)
        outer = (edge == 0) | (edge == limit)
        edges.append(torch.where(outer, edge, moved))
    return replace(plan, edges=tuple(edges))


def edge_off_by_one_in_boxes(by: int) -> Patch:
    def mutate(patch: pytest.MonkeyPatch) -> None:
        right = measuring.visible_boxes
        patch.setattr(
            measuring, "visible_boxes", lambda boxes, plan, *at, **how: right(boxes, shifted(plan, by), *at, **how)
        )

    return mutate


def edge_off_by_one_in_images(by: int) -> Patch:
    def mutate(patch: pytest.MonkeyPatch) -> None:
        for name in ("mix_batch", "mix_list"):
            right = getattr(pixels, name)
            patch.setattr(pixels, name, lambda pool, plan, r=right, **k: r(pool, shifted(plan, by), **k))

    return mutate


def last_pixel_forgotten_in_boxes_of_masks(patch: pytest.MonkeyPatch) -> None:
    right = measuring.mix_masks

    def wrong(masks: Any, plan: MixPlan, *rest: Any) -> Any:
        cut = right(masks, plan, *rest)
        less = torch.tensor([0.0, 0.0, 1.0, 1.0])
        return {
            key: MixedMasks(stack.masks, stack.visible, stack.whole, stack.boxes - less) for key, stack in cut.items()
        }

    patch.setattr(measuring, "mix_masks", wrong)


def inverse_roll(patch: pytest.MonkeyPatch) -> None:
    def wrong(batch: int, generator: torch.Generator | None = None) -> Tensor:
        return pairing.roll(batch, generator) if batch < 2 else torch.arange(batch).roll(-1, 0)

    patch.setitem(pairing.PAIRINGS, "roll", wrong)


def inverse_roll_of_targets_only(patch: pytest.MonkeyPatch) -> None:
    def wrongly(right: Callable[..., Any]) -> Callable[..., Any]:
        def wrong(targets: Any, plan: MixPlan, *rest: Any, **rules: Any) -> Any:
            source = plan.source.clone()
            paired = source[:, 1] >= 0
            source[paired, 1] = (source[paired, 0] + (source[paired, 0] - source[paired, 1])) % len(targets)
            return right(targets, replace(plan, source=source), *rest, **rules)

        return wrong

    patch.setattr(functional, "mix_instances", wrongly(functional.mix_instances))
    patch.setattr(transform_targets, "mixed_instances", wrongly(transform_targets.mixed_instances))


def partner_box_unclipped(patch: pytest.MonkeyPatch) -> None:
    right = measuring.visible_boxes

    def wrong(boxes: Array, plan: MixPlan, output: Array, layer: Array, **how: Any) -> Measured:
        seen = right(boxes, plan, output, layer, **how)
        whole = (layer > 0) & (seen.visible > 0)
        return seen._replace(boxes=np.where(whole[:, None], boxes, seen.boxes))

    patch.setattr(measuring, "visible_boxes", wrong)


def overlap_counted_twice(patch: pytest.MonkeyPatch) -> None:
    """Visible area as the sum over patches, as if they never overlapped one another."""
    drawn: dict[int, Tensor] = {}
    kept: list[MixPlan] = []  # keeps the ids unique
    make, right = MixPlan.from_rectangles.__func__, measuring.visible_boxes  # type: ignore[attr-defined]

    def remember(cls: type[MixPlan], source: Tensor, rectangles: Tensor, *args: Any, **kwargs: Any) -> MixPlan:
        plan = make(cls, source, rectangles, *args, **kwargs)
        drawn[id(plan)] = rectangles
        kept.append(plan)
        return plan

    def wrong(boxes: Array, plan: MixPlan, output: Array, layer: Array, **how: Any) -> Measured:
        seen = right(boxes, plan, output, layer, **how)
        patches = drawn[id(plan)].numpy()[output]
        box = boxes[:, None, [1, 0, 3, 2]]
        low = np.maximum(box[..., :2], patches[..., :2])
        high = np.minimum(box[..., 2:], patches[..., 2:])
        covered = (high - low).clip(min=0).prod(axis=2).sum(axis=1)
        mixed = (plan.source[:, 1] >= 0).numpy()[output]
        base = np.where(mixed, (seen.whole - covered).clip(min=0), seen.visible)
        visible = np.where(layer == 0, base, np.where(mixed, covered, seen.visible))
        return seen._replace(visible=np.where(seen.untouched, seen.visible, visible))

    patch.setattr(MixPlan, "from_rectangles", classmethod(remember))
    patch.setattr(measuring, "visible_boxes", wrong)


def lambda_drawn_not_measured(patch: pytest.MonkeyPatch) -> None:
    """Labels mixed by 1 − λ as drawn, before the box was clipped at the border."""
    drawn: list[Tensor] = []
    place, right = regions.BetaBox.place, functional.mix_labels

    def remember(self: Any, draws: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        drawn.append(1 - draws[:, 0])
        return place(self, draws, *args, **kwargs)

    def wrong(labels: Tensor, plan: MixPlan, num_classes: int | None = None, **weight: Any) -> Tensor:
        assert num_classes is not None
        one_hot = torch.nn.functional.one_hot(labels, num_classes).double()
        pasted = torch.where(plan.source[:, 1] >= 0, drawn[-1], 0.0)[:, None]
        mixed = (1 - pasted) * one_hot[plan.source[:, 0]] + pasted * one_hot[plan.source[:, 1].clamp(min=0)]
        return mixed.to(right(labels, plan, num_classes))

    patch.setattr(regions.BetaBox, "place", remember)
    patch.setattr(functional, "mix_labels", wrong)
    patch.setattr(transform_targets, "mix_labels", wrong)


def mask_cut_from_the_base(patch: pytest.MonkeyPatch) -> None:
    """Pasted masks keep what the base shows, not what their own image shows."""
    right = measuring.mix_masks

    def wrong(masks: Any, plan: MixPlan, *rest: Any) -> Any:
        exchanged = torch.where(plan.owner == 0, 1, torch.where(plan.owner == 1, 0, plan.owner)).to(plan.owner)
        present = (plan.source[:, 1] >= 0).reshape(-1, *(1,) * plan.ndim)
        other = replace(plan, owner=torch.where(present, exchanged, plan.owner))
        cut = right(masks, plan, *rest)
        return {key: value if key[1] == 0 else right(masks, other, *rest)[key] for key, value in cut.items()}

    patch.setattr(measuring, "mix_masks", wrong)


def masks_not_mixed(patch: pytest.MonkeyPatch) -> None:
    """The image is mixed, the base's masks stay as they were."""
    right = measuring.mix_masks

    def wrong(masks: Any, plan: MixPlan, *rest: Any) -> Any:
        uncut = replace(plan, owner=torch.zeros_like(plan.owner))
        cut = right(masks, plan, *rest)
        return {key: right(masks, uncut, *rest)[key] if key[1] == 0 else value for key, value in cut.items()}

    patch.setattr(measuring, "mix_masks", wrong)


def stale_area(patch: pytest.MonkeyPatch) -> None:
    """`area` stays what it was when the instance was whole."""
    right = assembly.scaled_numbers
    patch.setattr(assembly, "scaled_numbers", lambda *given: right(*given[:4]))


def rows_without_a_mask_taken_for_empty_masks(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(measuring._Work, "_stated", lambda work: None)


def empty_masks_always_dropped(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(measuring._Work, "spared", lambda work, verdict: None)


def masks_that_are_not_stated_looked_at(patch: pytest.MonkeyPatch) -> None:
    right = measuring.mix_masks
    patch.setattr(measuring, "mix_masks", lambda masks, plan, size, carried, stated: right(masks, plan, size, carried))


# name: the error, the regions of the slice, and what the oracle says about it
MUTATIONS: dict[str, tuple[Patch, tuple[str, ...], str]] = {
    "H and W swapped": (height_and_width_swapped_in_boxes, ALL, "instance"),
    "H and W swapped, keypoints": (height_and_width_swapped_in_keypoints, ALL, "keypoint"),
    "edge + 1, boxes": (edge_off_by_one_in_boxes(1), ALL, "instance"),
    "edge - 1, boxes": (edge_off_by_one_in_boxes(-1), ALL, "instance"),
    "edge + 1, images": (edge_off_by_one_in_images(1), ALL, "output|instance"),
    "edge - 1, images": (edge_off_by_one_in_images(-1), ALL, "output|instance"),
    "edge - 1, boxes of masks": (last_pixel_forgotten_in_boxes_of_masks, ALL, "box|instances"),
    "inverse roll": (inverse_roll, ALL, "roll pairs output"),
    "inverse roll, targets only": (inverse_roll_of_targets_only, ALL, "instances"),
    "partner box unclipped": (partner_box_unclipped, ALL, "box"),
    "overlap counted twice": (overlap_counted_twice, ("MultiBox.union",), "instance"),
    "lambda drawn, not measured": (lambda_drawn_not_measured, ("BetaBox",), "class labels"),
    "mask cut from the base": (mask_cut_from_the_base, ALL, "instance"),
    "masks not mixed": (masks_not_mixed, ALL, "instance"),
    "stale area": (stale_area, ALL, "area"),
    "no mask is an empty mask": (rows_without_a_mask_taken_for_empty_masks, ALL, "instances"),
    "untouched empty masks dropped": (empty_masks_always_dropped, ALL, "instances"),
    "masks shown that aren't stated": (masks_that_are_not_stated_looked_at, ALL, "mask"),
}


@pytest.mark.parametrize("only", sorted({only for _, only, _ in MUTATIONS.values()}))
def test_the_slice_passes_as_it_is(only: tuple[str, ...]):
    run_slice(only)


@pytest.mark.parametrize("name", MUTATIONS)
def test_the_oracle_finds(name: str, monkeypatch: pytest.MonkeyPatch):
    mutate, only, message = MUTATIONS[name]
    mutate(monkeypatch)
    with pytest.raises(AssertionError, match=message):
        run_slice(only)
