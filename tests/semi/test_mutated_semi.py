"""Every rule of semi-supervised steps, with one line changed: a test must fail."""

from __future__ import annotations

import pytest
from mutated import Mutation, must_be_found

import cutmix_dense as cd
from cutmix_dense.regions import AreaBox

CUTMIX = cd.CutMix(p=1.0, region=AreaBox(area=(0.2, 0.5)))
FOLLOW = "semi.test_detection:test_the_teachers_boxes_follow_their_pixels"
TILES = "semi.test_tiles:test_every_pixel_stays_at_its_place_and_within_its_group"
CLASSES = "semi.test_detection:test_thresholds_of_classes_and_ignored_boxes"
BLEND = "semi.test_mixpl:test_the_blend_shows_an_earlier_image_mirrored"
TILED = "semi.test_mixpl:test_the_mosaic_shows_four_whole_images_of_the_cache"
PLANS = "test_plan:test_features_move_as_the_pixels_below_them"
RATES = "transforms.test_cutmix:test_probabilities_for_each_image_are_followed"

STEPS: dict[str, Mutation] = {
    "threshold is exceeded": Mutation(
        "semi.pseudo_boxes:pseudo_boxes", "scores > _limits_of", "scores >= _limits_of", CLASSES
    ),
    "threshold of its class": Mutation(
        "semi.pseudo_boxes:_limits_of", "limits.to(labels.device)[labels]", "limits.min()", CLASSES
    ),
    "ignored boxes": Mutation("semi.pseudo_boxes:pseudo_boxes", "wide & ~sure &", "wide & sure &", CLASSES),
    "no side": Mutation("semi.pseudo_boxes:pseudo_boxes", "> min_side", "> -1", CLASSES),
    "background": Mutation("semi.pseudo_boxes:pseudo_boxes", "wide &= labels != background", "pass", CLASSES),
    "targets are mixed with the images": Mutation(
        "semi.detection:_views",
        "return [DetectionView(mixed, mixed_targets)]",
        "return [DetectionView(mixed, targets)]",
        FOLLOW,
        {"mix": CUTMIX, "form": "tensor", "seed": 0},
    ),
    "the teacher sees weak images": Mutation(
        "semi.detection:_with_strong",
        "return strong",
        "return images",
        "semi.test_detection:test_strong_views_are_for_the_student_alone",
    ),
    "weight of a view": Mutation(
        "semi.detection:mixed_detection",
        "view.weight * ",
        "",
        "semi.test_detection:test_losses_are_weighed_and_summed",
    ),
    "no boxes, no loss": Mutation(
        "semi.detection:mixed_detection",
        'some = any(len(target["boxes"]) for target in view.targets)',
        "some = True",
        "semi.test_detection:test_views_without_boxes_count_nothing",
    ),
    "the cache keeps whole images": Mutation(
        "semi.mixpl:MixPL.views",
        "self._keep(images, targets)",
        "self._keep(pool[:count], pseudo[:count])",
        "semi.test_mixpl:test_the_cache_keeps_whole_images",
    ),
    "mirrored": Mutation("semi.mixpl:_mirrored", "scale[first:, :, -1] = -1", "pass", BLEND),
    "mirrored within": Mutation("semi.mixpl:_mirrored", "plan.canvas[first:, -1:]", "plan.canvas[first:, :1]", BLEND),
    "blend and mosaic differ": Mutation("semi.mixpl:MixPL.views", "(count + index) % cache", "index % cache", TILED),
    "whole images in the mosaic": Mutation("semi.mixpl:MixPL._mosaic", "(0.5, 0.5)", "(1.0, 1.0)", TILED),
    "tiles within the group": Mutation(
        "semi.tiles:TileSwap.draw_plan",
        "draws[member >= count] = 2.0",
        "pass",
        TILES,
        {"count": 7, "tiles": 4, "multiple": 1},
    ),
    "layers of the group": Mutation(
        "semi.tiles:TileSwap.draw_plan", "shown + (shown < at)", "shown", TILES, {"count": 8, "tiles": 4, "multiple": 1}
    ),
    "multiples": Mutation(
        "semi.tiles:TileSwap._edges",
        "cuts.round().long() * unit",
        "(cuts * unit).round().long()",
        TILES,
        {"count": 8, "tiles": 4, "multiple": 8},
    ),
    "at_stride, rounded up": Mutation(
        "plan.strided:strided",
        "frame=tuple((length + stride - 1) // stride",
        "frame=tuple(length // stride",
        PLANS,
        {"stride": 4, "size": (16, 22)},
    ),
    "at_stride, shifts": Mutation(
        "plan.strided:strided", "(shift // stride)", "(shift // 1)", "test_plan:test_features_of_shifted_tiles"
    ),
    "p of each image": Mutation("transforms.drawing:DrawsPartners._chance", "pool.p[leader]", "pool.p.mean()", RATES),
    "p of a pair": Mutation(
        "transforms.drawing:DrawsPartners._draw_mates",
        "self.draw_mixed(pool, generator)[leader]",
        "self.draw_mixed(pool, generator)",
        "transforms.test_cutmix:test_pairs_that_exchange_are_mixed_together",
    ),
    "views have plans of their own": Mutation(
        "semi.views:mixed_views",
        "mixed_pool(method, view,",
        "mixed_pool(method, strong[0],",
        "semi.test_views:test_the_loss_is_that_of_the_authors",
        {"threshold": 0.0},
    ),
    "mean of the views": Mutation(
        "semi.views:mixed_views",
        "[view.loss for view in views]).mean()",
        "[view.loss for view in views]).sum()",
        "semi.test_views:test_the_loss_is_that_of_the_authors",
        {"threshold": 0.0},
    ),
    "complementary": Mutation(
        "semi.views:complementary_dropout",
        "torch.cat([first, 2 - first])",
        "torch.cat([first, first])",
        "semi.test_views:test_what_one_view_drops_the_other_keeps",
        {"shape": (8, 64, 3, 4), "dim": 1, "kept": 0.5},
    ),
    "unsure images get labelled pixels": Mutation(
        "semi.adaptive:adaptive_consistency",
        "p=1 - sure",
        "p=sure",
        "semi.test_adaptive:test_unsure_images_get_labelled_pixels",
    ),
    "what was injected is pasted": Mutation(
        "semi.adaptive:adaptive_consistency",
        "both = joined(pseudo, _rows(injected.pseudo, order))",
        "both = joined(pseudo, _rows(pseudo, order))",
        "semi.test_adaptive:test_two_mixes_as_augseg_does_them",
        {"seed": 0},
    ),
    "entropy": Mutation(
        "semi.adaptive:certainty",
        "(1 - entropy).clamp(0, 1) * pseudo.confidence",
        "(1 - entropy).clamp(0, 1)",
        "semi.test_adaptive:test_certainty_is_augsegs_confidence",
    ),
    "agreement both ways": Mutation(
        "semi.adaptive:agreement",
        "(columns, ours)",
        "(rows, ours)",
        "semi.test_adaptive:test_agreement_is_imas_hardness",
        {"background": 0},
    ),
    "number of boxes": Mutation(
        "regions.several:MultiBox._counted",
        "high - low + 1",
        "high - low",
        "test_samplers:test_multi_box_of_a_drawn_number",
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_changed_line_is_found(name: str, monkeypatch: pytest.MonkeyPatch):
    must_be_found(STEPS[name], monkeypatch)
