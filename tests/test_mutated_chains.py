"""Every setting of Chain, Affine and RandomMix, and what checkpoints hold of a bank, changed: a test must fail."""

from __future__ import annotations

import pytest
from mutated import Mutation, must_be_found

AFFINE = "transforms.test_affine"
CHAIN = "transforms.test_chain"
WINDOWS = "transforms.test_windows"
DRAWS = f"{AFFINE}:test_draws_are_those_that_are_said"
PIXELS = f"{AFFINE}:test_every_pixel_comes_from_where_the_map_says"
DRAWN = "transforms.affine:Affine.draw_plan"
ALL = f"{CHAIN}:test_windows_and_closing_reach_all"
SOME = f"{WINDOWS}:test_some_batches_stay_unmixed"

OPTIONS: dict[str, Mutation] = {
    "Affine, degrees": Mutation(DRAWN, "swing[:, 1] * self.degrees", "draws[:, 1] * self.degrees", DRAWS),
    "Affine, translate": Mutation(DRAWN, "swing[:, 3:5] * self.translate", "draws[:, 3:5] * self.translate", DRAWS),
    "Affine, whole pixels": Mutation(DRAWN, "np.rint(", "np.array(", DRAWS),
    "Affine, scale": Mutation(DRAWN, "(self.scale[1] - self.scale[0])", "self.scale[1]", DRAWS),
    "Affine, shear": Mutation(DRAWN, "swing[:, 5:7]", "swing[:, [5, 5]]", DRAWS),
    "Affine, p": Mutation(
        DRAWN,
        "self._chance(pool, np.arange(count))",
        "1.0",
        f"{AFFINE}:test_samples_that_are_not_moved_stay_bit_for_bit",
    ),
    "Affine, size": Mutation(
        DRAWN, "[self.size] * count", "[self.size[::-1]] * count", PIXELS, {"size": (36, 44), "anchor": "center"}
    ),
    "Affine, size of what isn't moved": Mutation(
        "affine:AffinePlan._fit",
        "np.minimum((self.canvas / self.sizes).min(axis=1), 1.0)",
        "(self.canvas / self.sizes).min(axis=1)",
        f"{AFFINE}:test_larger_images_that_are_not_moved_are_fitted_into_the_size",
    ),
    "Affine, anchor": Mutation(
        "affine:AffinePlan.settings",
        'if self.anchor == "corner":',
        "if False:",
        PIXELS,
        {"size": (36, 44), "anchor": "corner"},
    ),
    "Affine, of": Mutation(
        "transforms.chain:Chain.mix_batch",
        'or member.of == "all"',
        "",
        f"{CHAIN}:test_an_affine_map_moves_only_what_was_mixed_before_it",
    ),
    "Affine, what was mixed": Mutation(
        "transforms.chain:Chain.mix_batch",
        "plan.within(mixed)",
        "plan",
        f"{CHAIN}:test_an_affine_map_moves_only_what_was_mixed_before_it",
    ),
    "Affine, fill": Mutation(
        "transforms.affine:Affine.mix_images",
        "if self.fill is None else self.fill",
        "",
        f"{AFFINE}:test_a_picture_of_the_fill_stays_that",
    ),
    "Affine, fill at borders": Mutation(
        "affine:move_pixels",
        "moved + filled if blends else moved",
        "moved",
        f"{AFFINE}:test_a_picture_of_the_fill_stays_that",
    ),
    "Affine, interpolation": Mutation(
        "transforms.affine:Affine.mix_images",
        'self.interpolation or "bilinear"',
        '"bilinear"',
        PIXELS,
        {"size": None, "anchor": "center"},
    ),
    "Affine, ignore_index": Mutation(
        "transforms.affine:Affine._moved",
        "plan, index, self.ignore_index, name",
        "plan, index, 0, name",
        f"{AFFINE}:test_a_map_keeps_its_ids_and_its_pixels",
    ),
    "Affine, min_visibility": Mutation(
        "affine:AffinePlan.crops",
        "-np.array(offset)",
        "np.array(offset)",
        f"{AFFINE}:test_boxes_without_masks_are_the_upright_ones_round_the_moved",
    ),
    "Affine, area": Mutation(
        "affine:move_rows",
        "float(plan.scale[index])",
        "1.0",
        f"{AFFINE}:test_boxes_without_masks_are_the_upright_ones_round_the_moved",
    ),
    "Affine, on_filtered": Mutation(
        "affine:move_rows",
        "move_rows(value, plan, index, rules, name)",
        "value",
        f"{AFFINE}:test_ignored_instances_and_their_rules",
    ),
    "Affine, sizes": Mutation(
        "transforms.affine:Affine.mix_images",
        "[..., :height, :width]",
        "",
        f"{AFFINE}:test_a_padded_batch_is_moved_within_its_valid_areas",
    ),
    "Affine, frames of clips": Mutation(
        "transforms.affine:Affine._moved",
        "zip(*value)",
        "zip(*value[::-1])",
        f"{AFFINE}:test_every_frame_of_a_clip_follows_its_map",
        {"batch": True},
    ),
    "Affine, pixels of clips": Mutation(
        "transforms.affine:Affine.mix_images",
        "for frame in frames",
        "for frame in frames[:1].expand_as(frames)",
        f"{AFFINE}:test_every_frame_of_a_clip_follows_its_map",
        {"batch": True},
    ),
    "Affine, padded boxes": Mutation(
        "transforms.affine:Affine._moved_slots",
        "if plan.moved[index] else row",
        "if index else row",
        f"{AFFINE}:test_padded_boxes_keep_their_slots_and_lie_round_their_pixels",
    ),
    "Chain, origin": Mutation(
        "transforms.chain:Chain.mix_batch",
        'targets = renamed(targets, BEFORE, "origin") if number',
        "targets = targets if number",
        f"{CHAIN}:test_weights_and_visibility_of_all_mixes_are_multiplied",
    ),
    "Chain, cut-outs": Mutation(
        "transforms.chain:Chain.mix_batch",
        "told_apart(targets, member, count)",
        "targets",
        f"{CHAIN}:test_cut_outs_have_no_origin_wherever_their_bank_stands",
        {"named": False, "wrap": lambda mix: mix},
    ),
    "Chain, sizes": Mutation(
        "transforms.chain:Chain.mix_batch",
        "sizes = valid_sizes(images, plan)",
        "sizes = None",
        f"{CHAIN}:test_padded_batches_stay_within_their_valid_areas",
    ),
    "Chain, out": Mutation(
        "transforms.chain:Chain.mix_batch",
        "out if number == len(self.stages) - 1 else None",
        "None",
        f"{CHAIN}:test_every_form_of_a_batch_comes_back",
    ),
    "Chain, set_progress": Mutation("transforms.chain:Chain.set_progress", "stage.set_progress(step)", "pass", ALL),
    "Chain, close": Mutation(
        "transforms.chain:Chain.close", "stage.close(closed, by_schedule=by_schedule)", "pass", ALL
    ),
    "Chain, unmixed": Mutation(
        "transforms.chain:Chain.unmixed",
        "stage.unmixed() for stage",
        "stage for stage",
        f"{CHAIN}:test_one_of_several_chains_within_a_window",
    ),
    "Chain, size": Mutation(
        "transforms.chain:Chain.size", "reversed(self.stages)", "self.stages", f"{CHAIN}:test_what_it_says_of_all"
    ),
    "Chain, partners": Mutation("transforms.chain:Chain.partners", "max(", "min(", f"{CHAIN}:test_what_it_says_of_all"),
    "Chain, close_last": Mutation(
        "transforms.chain:Chain.close_last", "min(", "max(", f"{CHAIN}:test_what_it_says_of_all"
    ),
    "Chain, scheduled": Mutation(
        "transforms.chain:Chain.scheduled", "any(", "all(", f"{CHAIN}:test_what_it_says_of_all"
    ),
    "CopyPaste, masks of layers of volumes": Mutation(
        "transforms.placing:_painted",
        "centre - shift[output, slot + 1, axis]",
        "centre",
        "transforms.test_placing:test_in_volumes_every_voxel_proves_where_it_is_from",
        {"name": "random"},
    ),
    "CopyPaste, overlap in volumes": Mutation(
        "transforms.placing:Placing._first_that_fits",
        "np.append(share[fits[0]], 0.0)",
        "np.append(hidden, 0.0)",
        "transforms.test_placing:test_in_volumes_no_box_is_hidden_more_than_allowed",
        {"overlap": 0.3},
    ),
    "InstanceBank, fingerprint": Mutation(
        "transforms.instance_bank:InstanceBank._take",
        'self._fingerprint = ""',
        "pass",
        "transforms.test_instance_bank:test_a_bank_that_grows_is_another_one",
    ),
    "InstanceBank, boxes in the batch's format": Mutation(
        "transforms.cutout_sheets:fitted",
        "from_xyxy(made, like)",
        "made",
        "transforms.test_instance_bank:test_boxes_of_cut_outs_have_the_format_of_the_batch",
        {"form": "CXCYWH", "own": [35.0, 35, 10, 10]},
    ),
    "CopyPaste, the bank of a checkpoint": Mutation(
        "transforms.copypaste:CopyPaste.set_extra_state",
        "was is not None and was != own",
        "False",
        "transforms.test_instance_bank:test_a_bank_that_grows_is_another_one",
    ),
    "RandomMix, weights": Mutation("transforms.randommix:RandomMix._open", "[weight * within", "[1.0 * within", SOME),
    "RandomMix, idle": Mutation(
        "transforms.randommix:RandomMix.choose", ", *([self.idle] if self.idle else [])", "", SOME
    ),
    "RandomMix, idle batches": Mutation(
        "transforms.randommix:RandomMix.choose", "member.unmixed() if idle else member", "member", SOME
    ),
    "RandomMix, no open window": Mutation(
        "transforms.randommix:RandomMix.choose",
        "none or index == len(self.weights)",
        "index == len(self.weights)",
        f"{WINDOWS}:test_transforms_are_drawn_in_their_windows",
    ),
    "RandomMix, close_last": Mutation(
        "transforms.randommix:RandomMix._reach",
        "step >= self.total - self.close_last",
        "step > self.total - self.close_last",
        f"{WINDOWS}:test_transforms_are_drawn_in_their_windows",
    ),
    "RandomMix, one within another": Mutation(
        "transforms.randommix:RandomMix.set_progress",
        "stage.set_progress(step)",
        "pass",
        f"{WINDOWS}:test_one_within_another",
    ),
    "RandomMix, the step in checkpoints": Mutation(
        "transforms.randommix:RandomMix.set_extra_state",
        'self._reach(state["step"])',
        "pass",
        f"{WINDOWS}:test_the_step_survives_copies_and_checkpoints",
    ),
    "RandomMix, weights of instances": Mutation(
        "transforms.randommix:RandomMix.__init__",
        "isinstance(member, MixUp) or member.instance_weights",
        "member.instance_weights",
        "transforms.test_randommix:test_instances_carry_weight_whatever_is_drawn",
    ),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_changed_line_is_found(name: str, monkeypatch: pytest.MonkeyPatch):
    must_be_found(OPTIONS[name], monkeypatch)
