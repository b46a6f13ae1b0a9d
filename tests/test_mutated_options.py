"""Every option of how targets are judged and returned and how methods draw, with one line changed: a test must fail."""

from __future__ import annotations

import pytest
import torch
from mutated import Mutation, must_be_found

import cutmix_dense as cd

NO_MASK = "functional.test_has_mask:TestRowsWithoutAMask"
WINDOWS = "transforms.test_windows:test_transforms_are_drawn_in_their_windows"
PLACING = "transforms.test_placing"
FORMAT = "transforms.test_box_format:test_padded_boxes"

OPTIONS: dict[str, Mutation] = {
    "split, masks": Mutation(
        "parts:_found",
        "part &= values != 0",
        "pass",
        "functional.test_parts:test_parts_are_those_that_the_pixels_show",
        {"name": "GridMix", "dtype": torch.bool},
    ),
    "split, boxes": Mutation(
        "parts:_found",
        "np.maximum(begin, low), np.minimum(end, high)",
        "begin, end",
        "functional.test_parts:test_boxes_that_end_within_pixels",
    ),
    "split": Mutation(
        "measuring:judge_instances",
        'if rules.split == "parts":',
        "if False:",
        "functional.test_parts:test_each_part_is_judged_by_itself",
    ),
    "instance_keys, length": Mutation(
        "scaling:scaled_numbers",
        'if scaling != "area":',
        "if False:",
        "functional.test_scaling:test_rows_of_several_numbers_and_untouched_ones",
    ),
    "instance_keys, area": Mutation(
        "scaling:scaled_numbers",
        "scale.abs()",
        "scale",
        "functional.test_scaling:test_numbers_change_as_stated",
        {"dtype": torch.float32, "radius": 8 / 8**0.5, "surface": 1.0, "depth": 8 * 8**0.5},
    ),
    "instance_keys, inverse": Mutation(
        "scaling:scaled_numbers",
        "else -1",
        "else 1",
        "functional.test_scaling:test_numbers_change_as_stated",
        {"dtype": torch.float32, "radius": 8 / 8**0.5, "surface": 1.0, "depth": 8 * 8**0.5},
    ),
    "on_filtered, ignore": Mutation(
        "instances:mixed_instances",
        "& ~showing",
        "& showing",
        "functional.test_instances:TestFiltering.test_ignored_instances_keep_what_shows",
    ),
    "on_filtered, crowd": Mutation(
        "verdict:outcomes_of",
        "outcome[fails] = ASIDE",
        "pass",
        "functional.test_instances:TestFiltering.test_crowd_only_on_request",
    ),
    "on_filtered, crowd of segments": Mutation(
        "segment_pool:_Chosen.rows_of",
        "iscrowd=1 if self.crowded[first] else",
        "iscrowd=",
        "functional.test_panoptic:test_stuff_merges_things_stay_apart_and_crowds_too",
    ),
    "boxes_from": Mutation(
        "measuring:_Work.__init__",
        'and rules.boxes_from != "box"',
        "",
        "functional.test_instances:TestMasks.test_boxes_from_box_shrinks_by_the_region_alone",
    ),
    "instance_weights": Mutation(
        "assembly:assemble",
        "rules.instance_weights or ",
        "",
        "transforms.test_randommix:test_instances_carry_weight_whatever_is_drawn",
    ),
    "flip_pairs": Mutation(
        "keypoints:swap_pairs",
        "= right, left",
        "= left, right",
        "functional.test_instances:TestFields.test_keypoints_of_a_mirrored_layer_change_names_and_hide_below_another",
    ),
    "rotated": Mutation(
        "measuring:_Work.by_box",
        "wanted & (refit | ~_on_host(self.stated))",
        "wanted & refit",
        f"{NO_MASK}.test_rotated_boxes",
        {"rotated": "refit"},
    ),
    "has_mask": Mutation(
        "measuring:_Work.combined",
        "xp.where(stated[:, None], boxes, by_box.boxes)",
        "boxes",
        f"{NO_MASK}.test_scaled_layers",
    ),
    "min_visibility of base and pasted": Mutation(
        "rules:FilterRule.reasons",
        "layer > 0, xp.full_like(value, pasted), xp.full_like(value, base)",
        "layer > 0, xp.full_like(value, base), xp.full_like(value, pasted)",
        "functional.test_instances:TestFiltering.test_base_and_pasted_have_their_own_thresholds",
        library=False,
    ),
    "rule": Mutation(
        "rules:FilterRule.reasons",
        "value > limit if self.strict else value >= limit",
        "value >= limit",
        "functional.test_instances:TestFiltering.test_thresholds_are_reached_not_exceeded",
        library=False,
    ),
    "soft_semantic": Mutation(
        "semantic:_as_pair",
        "masked_fill(a == ignore_index",
        "masked_fill(b == ignore_index",
        "transforms.test_mixup:test_the_pair_serves_a_loss",
    ),
    "box_format": Mutation(
        "transforms.box_format:BoxForm._corners",
        "first - second / 2, first + second / 2",
        "first, first + second",
        FORMAT,
        {"box_format": "cxcywh", "normalized": False},
    ),
    "normalized": Mutation(
        "transforms.box_format:_unit",
        "size.flip(-1)",
        "size",
        FORMAT,
        {"box_format": "xyxy", "normalized": True},
    ),
    "partner_fit, resize": Mutation(
        "transforms.fit:_windows",
        "(base / sizes).min",
        "(base / sizes).max",
        "transforms.test_fit:test_resize_keeps_the_aspect_and_all_of_the_partner",
    ),
    "partner_fit, random_crop": Mutation(
        "transforms.fit:_Windows.unfitted",
        "plan.shift.numpy() - theirs * scale * low",
        "plan.shift.numpy()",
        "transforms.test_fit:test_random_crops_reach_every_corner",
    ),
    "MaskMix": Mutation(
        "transforms.maskmix:MaskTransform.draw_plan",
        "source[mixed, 1].tolist()",
        "source[mixed, 0].tolist()",
        "transforms.test_classmix:test_dacs_pastes_source_classes_on_targets",
    ),
    "MaskMix, noise": Mutation(
        "transforms.maskmix:MaskTransform.draw_plan",
        "shared[chosen]",
        "shared[chosen] // 2",
        "transforms.test_maskmix:test_the_share_is_of_the_area_in_common",
        {"mix": cd.FMix(p=1.0, alpha=100.0)},
    ),
    "Cutout": Mutation(
        "transforms.cutout:Cutout.draw_plan",
        "self._chance(pool, own.numpy())",
        "1.0",
        "semi.test_pseudo_labels:test_cutout_erases_what_cutmix_would_paste",
        {"probability": 0.6},
    ),
    "RandomMix, start": Mutation("transforms.randommix:RandomMix._open", "a <= step", "a < step", WINDOWS),
    "RandomMix, stop": Mutation("transforms.randommix:RandomMix._open", "step < b", "step <= b", WINDOWS),
    "MixPlan.inverse": Mutation(
        "plan.inverse:inverted",
        "= -plan.shift",
        "= plan.shift",
        "test_plan:test_the_way_back_of_tiles_that_were_moved",
    ),
    "opacity, what is below": Mutation(
        "kernels.translucent:_weighed",
        "base.to(real) * (1 - opacity)",
        "base.to(real) * opacity",
        "test_translucent:test_gradients_flow_by_opacity",
    ),
    "opacity, boxes": Mutation(
        "plan.ownership:_without_lighter",
        "plan.opacity < least",
        "plan.opacity > least",
        "test_translucent:test_slots_weigh_as_lists_do",
    ),
    "opacity, masks": Mutation(
        "functional.masks:_mix_base_apart",
        "(beneath(plan), True)",
        "(opaque(plan), True)",
        "test_translucent:test_layers_of_any_opacity",
        {"shape": "list", "masks": True, "free_form": False},
    ),
    "opacity, maps": Mutation(
        "functional.semantic:mix_semantic",
        "plan = of_ids(plan)",
        "plan = replace(plan, opacity=None)",
        "test_translucent:test_layers_of_any_opacity",
        {"shape": "list", "masks": False, "free_form": False},
    ),
    "opacity, shares": Mutation(
        "plan.ownership:owned_pixels",
        "shows = pixels * plan.opacity",
        "shows = pixels",
        "test_translucent:test_layers_of_any_opacity",
        {"shape": "list", "masks": False, "free_form": False},
    ),
    "CopyPaste, blend": Mutation(
        "transforms.paste_draws:DrawsPasted._opacity",
        "low + draws * (high - low)",
        "low + draws * high",
        "test_translucent:test_copy_paste_draws_an_opacity_per_sample",
        {"blend": (0.4, 0.6), "masks": True},
    ),
    "CopyPaste, instances": Mutation(
        "transforms.paste_number:wanted_of",
        "(high - low + 1)",
        "(high - low)",
        f"{PLACING}:test_ranges_of_numbers_are_uniform",
        {"settings": {"place": "random"}},
    ),
    "CopyPaste, source": Mutation(
        "transforms.paste_draws:DrawsPasted.draw_layers",
        "(image >= outputs) if images > outputs or pool.cut_outs else",
        "",
        f"{PLACING}:test_sources",
    ),
    "CopyPaste, random places": Mutation(
        "transforms.placing:Placing._lows",
        "np.maximum(canvas - side, 0)",
        "canvas",
        f"{PLACING}:test_random_places_are_uniform_and_independent",
    ),
    "CopyPaste, places of a grid": Mutation(
        "transforms.placing:Placing._lows",
        "np.arange(slots)[:, None] + ",
        "",
        f"{PLACING}:test_cells_of_a_grid_are_each_used_once",
    ),
    "CopyPaste, overlap": Mutation(
        "transforms.placing:Placing._first_that_fits",
        "np.append(share[fits[0]], 0.0)",
        "np.append(hidden, 0.0)",
        f"{PLACING}:test_no_box_is_hidden_more_than_allowed",
        {"place": "random", "overlap": 0.3},
    ),
    "CopyPaste, context": Mutation(
        "transforms.placing:Placing.placed",
        "factor * wider * (high - low)",
        "factor * (1 + wider) * (high - low)",
        f"{PLACING}:test_context_is_cut_but_no_part_of_the_box",
    ),
    "CopyPaste, weights": Mutation(
        "transforms.placing:paste_order",
        "-np.log1p(-scores) / np.maximum(weights, 1e-300)",
        "scores / np.maximum(weights, 1e-300)",
        f"{PLACING}:test_classes_are_drawn_by_weight",
        {"settings": {}},
    ),
    "CopyPaste, balanced": Mutation(
        "transforms.paste_weights:balanced",
        "given[those] / total if total else 0",
        "given[those]",
        f"{PLACING}:test_classes_are_drawn_by_weight",
        {"settings": {"place": "random"}},
    ),
    "CopyPaste, size_weights": Mutation(
        "transforms.paste_weights:looked_up_weights",
        "** (1 / half)",
        "",
        f"{PLACING}:test_sizes_are_drawn_by_weight",
        {"settings": {}},
    ),
    "CopyPaste, named sizes": Mutation(
        "transforms.paste_weights:size_bounds",
        "weights.get(size, 1.0)",
        "next(iter(weights.values()))",
        f"{PLACING}:test_sizes_are_drawn_by_weight",
        {"settings": {}},
    ),
    "InstanceBank, large cut-outs": Mutation(
        "transforms.placing:Placing.placed",
        " / shrunk[..., None]",
        "",
        "transforms.test_instance_bank:test_large_cut_outs_fit_a_tensor_as_they_fit_a_list",
        {"masks": False},
    ),
    "InstanceBank, weights": Mutation(
        "transforms.instance_bank:InstanceBank.picked",
        "if weights is None else weights",
        "",
        "transforms.test_instance_bank:test_cut_outs_are_drawn_by_weight",
        {"weights": "balanced", "shares": (0.5, 0.5)},
    ),
    "InstanceBank, sheets": Mutation(
        "transforms.cutout_sheets:_sheet",
        "torch.tensor([left, top, left, top]",
        "torch.tensor([top, left, top, left]",
        "transforms.test_instance_bank:test_what_is_pasted_is_what_was_cut",
        {"batched": True, "masks": False, "own_masks": False},
    ),
    "InstanceBank, cuts": Mutation(
        "transforms.cut_instances:Cutter.cut",
        "torch.tensor([left, top, left, top]",
        "torch.tensor([top, left, top, left]",
        "transforms.test_instance_bank:test_what_is_pasted_is_what_was_cut",
        {"batched": False, "masks": False, "own_masks": False},
    ),
    "CopyPaste, masks of layers": Mutation(
        "transforms.placing:_painted",
        "centre - shift[output, slot + 1, axis]",
        "centre",
        "test_family_oracle:test_what_the_pixels_prove",
        {"name": "CopyPastePlaced", "shape": "list"},
    ),
    "rectangles of fill": Mutation(
        "plan.rectangles:paint",
        "layer[present].tolist()",
        "np.maximum(layer[present], 0).tolist()",
        "semi.test_pseudo_labels:test_cutout_erases_what_cutmix_would_paste",
        {"probability": 1.0},
    ),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_changed_line_is_found(name: str, monkeypatch: pytest.MonkeyPatch):
    must_be_found(OPTIONS[name], monkeypatch)
