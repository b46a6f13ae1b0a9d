"""mix_instances: the rules of visibility, tight boxes, filtering, fields and forms, one by one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torchvision import tv_tensors

from cutmix_dense import FilterRule, MixPlan, native
from cutmix_dense.functional import mask_windows, mix_instances

SIZE = (20, 30)


def plan_of(*rectangles, sizes=(SIZE, SIZE), source=((0, 1),), **kwargs):
    return MixPlan.from_rectangles(
        torch.tensor(source), torch.tensor([list(rectangles)]).reshape(1, -1, 4).long(), torch.tensor(sizes), **kwargs
    )


def target_of(*boxes, **fields):
    return {"boxes": torch.tensor(boxes).reshape(-1, 4).float(), "labels": torch.arange(1, len(boxes) + 1), **fields}


EMPTY: dict = {}


def mask_of(*blocks):
    mask = torch.zeros(SIZE, dtype=torch.uint8)
    for y0, x0, y1, x1 in blocks:
        mask[y0:y1, x0:x1] = 1
    return mask


class TestBoxes:
    def test_a_covered_side_shrinks_the_box(self):
        (mixed,) = mix_instances([target_of([5, 5, 15, 15]), EMPTY], plan_of([0, 10, 20, 30]))
        assert mixed["boxes"].tolist() == [[5, 5, 10, 15]]
        assert mixed["visibility"].tolist() == [0.5]

    def test_a_covered_corner_leaves_the_box(self):
        (mixed,) = mix_instances([target_of([5, 5, 15, 15]), EMPTY], plan_of([0, 10, 10, 30]))
        assert mixed["boxes"].tolist() == [[5, 5, 15, 15]]
        assert mixed["visibility"].tolist() == [0.75]

    def test_a_hole_leaves_the_box(self):
        (mixed,) = mix_instances([target_of([5, 5, 15, 15]), EMPTY], plan_of([7, 7, 12, 12]))
        assert mixed["boxes"].tolist() == [[5, 5, 15, 15]]
        assert mixed["visibility"].tolist() == [0.75]

    def test_pasted_boxes_are_clipped_to_the_region(self):
        (mixed,) = mix_instances([EMPTY, target_of([5, 5, 15, 15])], plan_of([0, 10, 8, 30]))
        assert mixed["boxes"].tolist() == [[10, 5, 15, 8]]
        assert mixed["origin"].tolist() == [[1, 0]]
        assert mixed["visibility"].tolist() == pytest.approx([0.15])

    def test_overlapping_patches_count_once(self):
        plan = plan_of([0, 5, 20, 11], [0, 9, 20, 14])
        (mixed,) = mix_instances([target_of([5, 5, 15, 15]), EMPTY], plan)
        assert mixed["boxes"].tolist() == [[14, 5, 15, 15]]
        assert mixed["visibility"].tolist() == pytest.approx([0.1])

    def test_fractional_boxes_are_measured_exactly(self):
        (mixed,) = mix_instances([target_of([5.25, 5.5, 15.25, 15.5]), EMPTY], plan_of([0, 10, 20, 30]))
        assert mixed["boxes"].tolist() == [[5.25, 5.5, 10, 15.5]]
        assert mixed["visibility"].tolist() == pytest.approx([0.475])

    def test_untouched_is_bit_identical_and_unfiltered(self):
        boxes = torch.tensor([[1.1, 1.3, 1.4, 1.6], [-0.3, 2.2, 5.7, 20.4]])
        (mixed,) = mix_instances(
            [{"boxes": boxes, "labels": torch.tensor([1, 2])}, EMPTY], plan_of([0, 20, 20, 30]), min_size=5.0
        )
        assert torch.equal(mixed["boxes"], boxes)
        assert mixed["visibility"].tolist() == [1, 1]

    def test_whole_is_what_lies_in_the_image(self):
        (mixed,) = mix_instances([target_of([-10, 0, 10, 10]), EMPTY], plan_of([0, 5, 20, 30]))
        assert mixed["boxes"].tolist() == [[0, 0, 5, 10]]
        assert mixed["visibility"].tolist() == [0.5]

    @pytest.mark.parametrize("form", ["XYXY", "XYWH", "CXCYWH"])
    def test_every_axis_aligned_format_comes_back_as_itself(self, form):
        from torchvision.transforms.v2.functional import convert_bounding_box_format as convert

        xyxy = tv_tensors.BoundingBoxes([[5.0, 5, 15, 15], [0.1, 0.7, 3.3, 4.9]], format="XYXY", canvas_size=SIZE)
        boxes = convert(xyxy, new_format=tv_tensors.BoundingBoxFormat[form])
        (mixed,) = mix_instances([{"boxes": boxes, "labels": torch.tensor([1, 2])}, EMPTY], plan_of([0, 10, 20, 30]))
        assert mixed["boxes"].format == tv_tensors.BoundingBoxFormat[form]
        assert mixed["boxes"].canvas_size == SIZE
        assert torch.equal(mixed["boxes"][1], boxes[1])
        back = convert(mixed["boxes"], new_format=tv_tensors.BoundingBoxFormat.XYXY)
        assert back[0].tolist() == [5, 5, 10, 15]

    def test_integer_boxes_stay_integers(self):
        boxes = tv_tensors.BoundingBoxes([[5, 5, 15, 15]], format="XYXY", canvas_size=SIZE)
        (mixed,) = mix_instances([{"boxes": boxes, "labels": torch.tensor([1])}, EMPTY], plan_of([0, 10, 20, 30]))
        assert mixed["boxes"].dtype == boxes.dtype
        assert mixed["boxes"].tolist() == [[5, 5, 10, 15]]

    @pytest.mark.parametrize(
        ("box", "reason"),
        [
            ([5, 5, 5, 15], "broken box"),
            ([15, 5, 5, 15], "broken box"),
            ([40, 5, 50, 15], "outside"),
            ([-9, -9, -1, -1], "outside"),
        ],
    )
    def test_broken_boxes_are_dropped_and_reported(self, box, reason):
        for rectangles in ([], [[0, 10, 20, 30]]):
            (mixed,), report = mix_instances(
                [target_of(box, [1, 1, 4, 4]), EMPTY], plan_of(*rectangles), return_report=True
            )
            assert mixed["labels"].tolist() == [2]
            assert [row["reason"] for row in report.rows()] == [reason, ""]

    @pytest.mark.parametrize("bad", [torch.nan, torch.inf])
    def test_nan_raises(self, bad):
        with pytest.raises(ValueError, match=r"targets\[1\]\['boxes'\]\[0\] must be finite"):
            mix_instances([target_of([1, 1, 4, 4]), target_of([1, bad, 4, 4])], plan_of([0, 10, 20, 30]))


class TestFiltering:
    def test_thresholds_are_reached_not_exceeded(self):
        targets = [target_of([0, 0, 10, 10]), EMPTY]
        (mixed,) = mix_instances(targets, plan_of([1, 0, 20, 30]))
        assert mixed["visibility"].tolist() == pytest.approx([0.1])
        (mixed,) = mix_instances(targets, plan_of([1, 0, 20, 30]), rule=FilterRule(0.1, strict=True))
        assert len(mixed["boxes"]) == 0

    def test_base_and_pasted_have_their_own_thresholds(self):
        targets = [target_of([5, 0, 15, 10]), target_of([5, 0, 15, 10])]
        plan = plan_of([0, 10, 20, 30])
        assert mix_instances(targets, plan, min_visibility=(0.6, 0.4))[0]["origin"].tolist() == [[1, 0]]
        assert mix_instances(targets, plan, min_visibility=(0.4, 0.6))[0]["origin"].tolist() == [[0, 0]]
        assert mix_instances(targets, plan, min_size=(6, 1))[0]["origin"].tolist() == [[1, 0]]

    def test_ignored_instances_keep_what_shows(self):
        (mixed,), report = mix_instances(
            [target_of([0, 0, 10, 10], [20, 0, 30, 10], [0, 12, 9, 19]), EMPTY],
            plan_of([0, 5, 20, 30]),
            min_visibility=0.9,
            on_filtered="ignore",
            return_report=True,
        )
        assert len(mixed["boxes"]) == 0
        assert mixed["ignored"]["boxes"].tolist() == [[0, 0, 5, 10], [0, 12, 5, 19]]
        assert mixed["ignored"]["labels"].tolist() == [1, 3]
        assert [row["outcome"] for row in report.rows()] == ["ignored", "dropped", "ignored"]
        assert report.counts() == {("ignored", "low visibility"): 2, ("dropped", "covered"): 1}

    def test_ignored_instances_are_mixed_again(self):
        ignored = {"boxes": torch.tensor([[0.0, 0, 10, 10]]), "labels": torch.tensor([9])}
        first = target_of([20, 0, 30, 10], ignored=ignored)
        (mixed,) = mix_instances([first, EMPTY], plan_of([0, 5, 20, 8]))
        assert mixed["labels"].tolist() == [1]
        assert mixed["ignored"]["labels"].tolist() == [9]
        assert mixed["ignored"]["visibility"].tolist() == pytest.approx([0.7])
        (mixed,) = mix_instances([first, EMPTY], plan_of([0, 0, 20, 30]))
        assert len(mixed["ignored"]["labels"]) == 0

    def test_crowd_only_on_request(self):
        targets = [target_of([0, 0, 10, 10], [20, 0, 30, 10]), EMPTY]
        (mixed,) = mix_instances(targets, plan_of([0, 5, 20, 15]), min_visibility=0.9, on_filtered="crowd")
        assert mixed["iscrowd"].tolist() == [1, 0]
        (mixed,) = mix_instances(targets, plan_of([0, 5, 20, 15]), min_visibility=0.9)
        assert "iscrowd" not in mixed

    def test_peers_rules(self):
        targets = [target_of([0, 0, 10, 10], [3, 10, 13, 20]), EMPTY]
        plan = plan_of([0, 2, 20, 5])  # 80% of the first are left on two sides of a gap; 80% of the other
        assert len(mix_instances(targets, plan, rule="ultralytics")[0]["boxes"]) == 2
        sliver = plan_of([0, 0, 20, 9])  # one column of the first is left
        assert mix_instances(targets, sliver, rule="ultralytics")[0]["labels"].tolist() == [2]
        assert mix_instances(targets, sliver, rule="mmdet")[0]["labels"].tolist() == [1, 2]
        assert mix_instances(targets, sliver, rule="torchvision")[0]["labels"].tolist() == [2]

    def test_carry_decides_who_comes_along(self):
        carry = torch.tensor([[[True, True], [False, True]]])
        plan = plan_of([0, 0, 20, 30], carry=carry)
        (mixed,), report = mix_instances([EMPTY, target_of([0, 0, 10, 10], [20, 0, 30, 10])], plan, return_report=True)
        assert mixed["labels"].tolist() == [2]
        assert [row["reason"] for row in report.rows()] == ["not carried", ""]
        assert report.visibility.tolist() == [0.0, 1.0]

    def test_masks_that_one_output_carries_and_another_does_not(self, monkeypatch):
        """Masks that stay behind aren't looked at and count as not visible; ignored ones come along."""
        wanted = []
        right = mask_windows.Stacks
        monkeypatch.setattr(
            mask_windows, "Stacks", lambda stacks, rows: wanted.append(rows.tolist()) or right(stacks, rows)
        )
        carry = torch.tensor(
            [[[True, True], [True, True]], [[True, True], [False, True]], [[False, True], [True, True]]]
        )
        rectangles = torch.tensor([[[0, 0, 20, 15]], [[0, 0, 20, 15]], [[0, 0, 0, 0]]])
        source = torch.tensor([[0, 1], [1, 2], [2, 1]])
        plan = MixPlan.from_rectangles(source, rectangles, torch.tensor([SIZE] * 3), carry=carry)
        blocks = [[(1, 1, 5, 5), (10, 20, 14, 28)], [(2, 2, 6, 6), (0, 10, 10, 20)], [(3, 3, 7, 7), (4, 18, 9, 24)]]
        pool = [
            {"masks": torch.stack([mask_of(block) for block in each]), "labels": torch.tensor([1, 2]) + 10 * image}
            for image, each in enumerate(blocks)
        ]
        pool[2]["ignored"] = {"masks": mask_of((8, 8, 12, 12))[None], "labels": torch.tensor([29])}
        mixed, report = mix_instances(pool, plan, return_report=True)
        assert [target["labels"].tolist() for target in mixed] == [[2, 11, 12], [12], [22]]
        assert [target["ignored"]["labels"].tolist() for target in mixed] == [[], [29], [29]]
        left = [row["instance"] for row in report.rows() if row["reason"] == "not carried"]
        assert left == [0, 0]
        assert [row["visibility"] for row in report.rows() if row["reason"] == "not carried"] == [0.0, 0.0]
        assert torch.equal(mixed[0]["masks"][2], mask_of((0, 10, 10, 15)))
        if native.library is not None:  # image 2 is base and partner, without its first
            assert wanted == [[True, True, True, True, False, True, True]]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"min_visibility": 1.5}, "min_visibility must lie in"),
            ({"min_size": -1}, "min_size must be at least 0"),
            ({"min_size": (1, 2, 3)}, "min_size must be a number or"),
            ({"on_filtered": "keep"}, "on_filtered must be one of"),
            ({"boxes_from": "polygon"}, "boxes_from must be one of"),
            ({"boxes_from": "mask"}, "needs targets with 'masks'"),
            ({"rule": "yolo"}, "rule must be a FilterRule or one of"),
        ],
    )
    def test_what_is_refused(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            mix_instances([target_of([0, 0, 10, 10]), EMPTY], plan_of([0, 5, 20, 15]), **arguments)


class TestMasks:
    def test_the_mask_is_cut_and_gives_the_box(self):
        mask = mask_of((2, 2, 6, 20), (6, 2, 12, 6))  # an L
        (mixed,) = mix_instances(
            [target_of([2, 2, 20, 12], masks=mask[None]), EMPTY], plan_of([0, 6, 4, 30], [4, 10, 20, 30])
        )
        expected = mask.clone()
        expected[0:4, 6:] = 0
        expected[4:, 10:] = 0
        assert torch.equal(mixed["masks"][0], expected)
        assert mixed["boxes"].tolist() == [[2, 2, 10, 12]]
        assert mixed["visibility"].tolist() == pytest.approx([float(expected.sum() / mask.sum())])

    def test_a_covered_hole_of_the_box_touches_nothing(self):
        mask = mask_of((2, 2, 6, 20), (6, 2, 12, 6))
        boxes = torch.tensor([[1.5, 1.75, 20.25, 12.5]])
        target = {"boxes": boxes, "labels": torch.tensor([1]), "masks": mask[None]}
        (mixed,) = mix_instances([target, EMPTY], plan_of([6, 6, 12, 20]))
        assert torch.equal(mixed["boxes"], boxes)
        assert mixed["visibility"].tolist() == [1]
        (mixed,) = mix_instances([target, EMPTY], plan_of([6, 6, 20, 30]), boxes_from="box")
        assert mixed["boxes"].tolist() == [[1.5, 1.75, 20.25, 12.5]]  # a corner is covered: it stays

    def test_boxes_from_box_shrinks_by_the_region_alone(self):
        mask = mask_of((2, 2, 6, 6))
        target = target_of([2, 2, 20, 12], masks=mask[None])
        plan = plan_of([0, 4, 20, 30])
        assert mix_instances([target, EMPTY], plan, boxes_from="box")[0]["boxes"].tolist() == [[2, 2, 4, 12]]
        assert mix_instances([target, EMPTY], plan)[0]["boxes"].tolist() == [[2, 2, 4, 6]]

    def test_masks_without_boxes(self):
        target = {"masks": mask_of((2, 2, 6, 20))[None].bool(), "labels": torch.tensor([1])}
        (mixed,) = mix_instances([target, EMPTY], plan_of([0, 10, 20, 30]))
        assert "boxes" not in mixed
        assert mixed["masks"].dtype == torch.bool
        assert mixed["masks"].sum() == 32

    def test_an_empty_mask_is_dropped_and_reported(self):
        target = target_of([2, 2, 6, 6], masks=mask_of()[None])
        (mixed,), report = mix_instances([target, EMPTY], plan_of([0, 5, 20, 30]), return_report=True)
        assert mixed["masks"].shape == (0, *SIZE)
        assert [row["reason"] for row in report.rows()] == ["empty mask"]

    def test_mask_tv_tensors_and_canvas(self):
        targets = [
            target_of([2, 2, 6, 6], masks=tv_tensors.Mask(mask_of((2, 2, 6, 6))[None])),
            target_of([1, 1, 5, 5], masks=tv_tensors.Mask(torch.ones(1, 16, 40, dtype=torch.uint8))),
        ]
        plan = MixPlan.from_rectangles(
            torch.tensor([[0, 1], [1, 0]]),
            torch.tensor([[[0, 4, 9, 30]], [[0, 4, 9, 30]]]),
            torch.tensor([[20, 30], [16, 40]]),
        )
        first, second = mix_instances(targets, plan)
        assert isinstance(first["masks"], tv_tensors.Mask)
        assert first["masks"].shape == (2, 20, 30)
        assert second["masks"].shape[1:] == (16, 40)

    @pytest.mark.parametrize(
        ("masks", "message"),
        [
            (torch.ones(1, 10, 30), "must cover the image's"),
            (torch.ones(1, 30), "must have 3 dimensions"),
            (torch.ones(2, 20, 30), "one row per instance"),
        ],
    )
    def test_stacks_that_do_not_fit(self, masks, message):
        with pytest.raises(ValueError, match=message):
            mix_instances([target_of([2, 2, 6, 6], masks=masks), EMPTY], plan_of([0, 4, 9, 30]))


class TestFields:
    def test_every_field_follows_its_instance(self):
        def target(offset):
            return {
                "boxes": torch.tensor([[0.0, 0, 10, 10], [16, 0, 26, 10]]),
                "labels": torch.tensor([1, 2]) + offset,
                "iscrowd": torch.tensor([0, 1]),
                "track_id": torch.tensor([7, 8]) + offset,
                "embedding": torch.arange(6).reshape(2, 3) + offset,
                "names": [f"a{offset}", f"b{offset}"],
                "area": torch.tensor([60.0, 50.0]),
                "image_id": offset,
                "size": torch.tensor(SIZE),
                "weather": torch.tensor([1, 2, 3]),
                "note": "as it is",
            }

        targets = [target(0), target(100)]
        (mixed,) = mix_instances(
            targets, plan_of([0, 13, 20, 30]), instance_keys=("embedding", "names"), image_keys=("weather",)
        )
        assert mixed["labels"].tolist() == [1, 102]
        assert mixed["track_id"].tolist() == [7, 108]
        assert mixed["embedding"].tolist() == [[0, 1, 2], [103, 104, 105]]
        assert mixed["names"] == ["a0", "b100"]
        assert mixed["iscrowd"].tolist() == [0, 1]
        assert mixed["area"].tolist() == [60, 50]
        assert mixed["image_id"] == 0
        assert mixed["size"].tolist() == list(SIZE)
        assert mixed["weather"].tolist() == [1, 2, 3]
        assert mixed["note"] == "as it is"
        assert mixed["origin"].tolist() == [[0, 0], [1, 1]]

    def test_a_single_number_for_all_instances_is_refused(self):
        targets = [target_of([0, 0, 10, 10], labels=torch.tensor(1))] * 2
        with pytest.raises(ValueError, match="'labels'. must have one row per instance, got a single number"):
            mix_instances(targets, plan_of([0, 5, 20, 30]))

    def test_area_shrinks_with_what_shows(self):
        (mixed,) = mix_instances([target_of([0, 0, 10, 10], area=torch.tensor([40.0])), EMPTY], plan_of([0, 5, 20, 30]))
        assert mixed["area"].tolist() == [20]

    def test_visibility_is_multiplied(self):
        target = target_of([0, 0, 10, 10], [20, 0, 30, 10], visibility=torch.tensor([0.5, 0.3]))
        (mixed,) = mix_instances([target, EMPTY], plan_of([0, 4, 20, 15]))
        assert mixed["visibility"].tolist() == pytest.approx([0.2, 0.3])
        (mixed,) = mix_instances([target, EMPTY], plan_of([0, 1, 20, 15]))  # 0.5 · 0.1 is too little
        assert mixed["labels"].tolist() == [2]

    def test_keypoints_with_flags(self):
        keypoints = torch.tensor([[[3.0, 3, 2], [8, 3, 2], [3, 8, 0]]])
        target = target_of([0, 0, 10, 10], keypoints=keypoints)
        (mixed,) = mix_instances([target, EMPTY], plan_of([0, 5, 20, 30]))
        assert mixed["keypoints"].tolist() == [[[3, 3, 2], [0, 0, 0], [0, 0, 0]]]

    def test_keypoints_without_flags_get_some(self):
        target = target_of([0, 0, 10, 10], keypoints=torch.tensor([[[3.0, 3], [8, 3]]]))
        for rectangles, shows in (([[0, 5, 20, 30]], [[True, False]]), ([], [[True, True]])):
            (mixed,) = mix_instances([target, EMPTY], plan_of(*rectangles))
            assert mixed["keypoints"].tolist() == [[[3, 3], [8, 3]]]
            assert mixed["keypoints_visible"].tolist() == shows

    @pytest.mark.parametrize("masked", [False, True])
    def test_keypoints_off_an_untouched_object_are_hidden_below_another_image(self, masked):
        points = torch.tensor(
            [[2.5, 3.25, 2], [24, 8, 1], [24, 8, 0], [19.75, 8, 2], [41, 8, 2], [-3, 40, 2], [20, 5, 2]]
        )
        stays = [True, False, False, True, True, True, False]  # off the canvas nobody owns the pixel
        more = {"masks": torch.zeros(1, *SIZE, dtype=torch.bool)} if masked else {}
        for mask in more.values():
            mask[:, 1:9, 1:9] = True
        target = target_of([1, 1, 9, 9], keypoints=points[None], **more)
        pairs = [(0, 1)]  # nothing is mirrored
        (mixed,) = mix_instances([target, EMPTY], plan_of([5, 20, 15, 30]), flip_pairs=pairs)
        assert mixed["boxes"].tolist() == [[1, 1, 9, 9]]
        expected = [point if kept else [0, 0, 0] for point, kept in zip(points.tolist(), stays)]
        assert mixed["keypoints"][0].tolist() == expected
        (mixed,) = mix_instances([{**target, "keypoints": points[None, :, :2]}, EMPTY], plan_of([5, 20, 15, 30]))
        assert torch.equal(mixed["keypoints"], points[None, :, :2])
        assert mixed["keypoints_visible"].tolist() == [stays]
        both = {"keypoints": points[None, :, :2], "keypoints_visible": torch.tensor([[2, 2, 1, 2, 1, 2, 2]])}
        (mixed,) = mix_instances([{**target, **both}, EMPTY], plan_of([5, 20, 15, 30]))
        assert mixed["keypoints_visible"].tolist() == [[2, 0, 0, 2, 1, 2, 0]]

    def test_keypoints_of_an_unmixed_image_stay_bit_by_bit(self):
        points = torch.tensor([[[0.1, 3.3, 2], [99, 99, 0], [-5, 2, 1], [float("nan"), 1, 2]]])
        (mixed,) = mix_instances([target_of([1, 1, 9, 9], keypoints=points), EMPTY], plan_of())
        assert torch.equal(mixed["keypoints"].view(torch.int32), points.view(torch.int32))

    def test_keypoints_of_a_mirrored_layer_change_names_and_hide_below_another(self):
        """An image mirrored onto itself: nothing is untouched then, and the first rule counts."""
        points = torch.tensor([[[2.0, 3, 2], [20, 8, 1]]])
        plan = plan_of([5, 5, 15, 12])
        plan = replace(
            plan, scale=plan.scale * torch.tensor([1.0, -1]), shift=torch.tensor([[[0.0, SIZE[1]]] * 2]), unscaled=None
        )
        (mixed,) = mix_instances([target_of([1, 1, 29, 19], keypoints=points), EMPTY], plan, flip_pairs=[(0, 1)])
        # (20, 8) goes to (10, 8), which the other image shows, (2, 3) to (28, 3)
        assert mixed["keypoints"].tolist() == [[[0, 0, 0], [28, 3, 2]]]

    def test_images_without_objects_count_as_having_every_key(self):
        plan = MixPlan.from_rectangles(
            torch.tensor([[0, 1], [1, 0]]), torch.tensor([[[0, 5, 20, 15]]] * 2), torch.tensor([SIZE] * 2)
        )
        empty, full = mix_instances([{"image_id": 1}, target_of([0, 0, 4, 4])], plan)
        assert set(empty) == {"image_id", "boxes", "labels", "visibility", "origin"}
        assert empty["boxes"].shape == (0, 4)
        assert empty["labels"].dtype == torch.int64
        assert len(full["boxes"]) == 1
        for blank in (torch.zeros(0), torch.zeros(0, 4)):
            empty, _ = mix_instances([{"boxes": blank, "labels": torch.zeros(0)}, target_of([0, 0, 4, 4])], plan)
            assert empty["boxes"].shape == (0, 4)
            assert empty["labels"].dtype == torch.int64
        both = mix_instances([EMPTY, EMPTY], plan)
        assert both == [{}, {}]
        none = {"boxes": torch.zeros(0), "labels": torch.zeros(0, dtype=torch.long)}
        for mixed in mix_instances([none, none], plan):
            assert mixed["boxes"].shape == (0, 4)

    def test_semantic_maps_of_a_target_are_mixed(self):
        maps = [torch.full(SIZE, value, dtype=torch.uint8) for value in (1, 2)]
        for key, wrap in (("semantic", lambda m: m), ("whatever", tv_tensors.Mask)):
            (mixed,) = mix_instances([{key: wrap(m)} for m in maps], plan_of([0, 5, 20, 15]))
            assert mixed[key][0].tolist() == [1] * 5 + [2] * 10 + [1] * 15

    def test_inputs_are_not_changed(self):
        targets = [target_of([0, 0, 10, 10], masks=mask_of((0, 0, 10, 10))[None]) for _ in range(2)]
        before = [{key: value.clone() for key, value in target.items()} for target in targets]
        mix_instances(targets, plan_of([0, 5, 20, 15]))
        for target, copy in zip(targets, before):
            assert target.keys() == copy.keys()
            assert all(torch.equal(target[key], copy[key]) for key in copy)

    @pytest.mark.parametrize(
        ("fields", "error", "message"),
        [
            ({"mystery": torch.zeros(20, 30)}, ValueError, "unknown key 'mystery'.*semantic_keys"),
            ({"mystery": torch.zeros(1)}, ValueError, "unknown key 'mystery'.*instance_keys"),
            ({"segmentation": [[[0, 0, 1, 1]]]}, ValueError, "unknown key 'segmentation'"),
            ({"mystery": {"a": 1}}, ValueError, "unknown key 'mystery'"),
            ({"labels": torch.tensor([1, 2])}, ValueError, r"\['labels'\] must have one row per instance \(1\)"),
            ({"labels": torch.tensor(1)}, ValueError, r"\['labels'\] must have one row per instance"),
            ({"labels": 3}, TypeError, r"\['labels'\] must be a tensor or a list"),
            ({"boxes": [[0, 0, 1, 1]]}, TypeError, r"\['boxes'\] must be a tensor"),
            ({"boxes": torch.zeros(1, 5)}, ValueError, r"\['boxes'\] must have shape \(N, 4\)"),
            ({"keypoints": torch.zeros(1, 3)}, ValueError, "keypoints must have shape"),
            ({"label": 3}, ValueError, "a label of the whole image"),
            ({"ignored": 3}, TypeError, "must be a dict of instance keys"),
            (
                {"ignored": {"boxes": torch.zeros(0, 4), "mystery": torch.zeros(0)}},
                ValueError,
                r"targets\[0\]\['ignored'\] holds the unknown key 'mystery'.*instance_keys",
            ),
            ({"scores": torch.zeros(1, device="meta")}, ValueError, "must lie on one device"),
        ],
    )
    def test_what_is_refused(self, fields, error, message):
        target = {**target_of([0, 0, 10, 10]), **fields}
        with pytest.raises(error, match=message):
            mix_instances([target, EMPTY], plan_of([0, 5, 20, 15]))

    def test_a_key_that_others_lack(self):
        targets = [target_of([0, 0, 10, 10]), target_of([0, 0, 10, 10], iscrowd=torch.tensor([0]))]
        with pytest.raises(ValueError, match=r"targets\[0\] has 1 instances but no 'iscrowd'"):
            mix_instances(targets, plan_of([0, 5, 20, 15]))

    def test_two_devices(self):
        targets = [target_of([0, 0, 10, 10]), {"boxes": torch.zeros(1, 4, device="meta"), "labels": torch.ones(1)}]
        with pytest.raises(ValueError, match=r"targets\[1\]\['boxes'\] lies on meta"):
            mix_instances(targets, plan_of([0, 5, 20, 15]))

    def test_a_short_pool(self):
        with pytest.raises(ValueError, match="targets must hold 2 images"):
            mix_instances([EMPTY], plan_of([0, 5, 20, 15]))
        with pytest.raises(TypeError, match="targets must be a list of dicts"):
            mix_instances(torch.zeros(2), plan_of([0, 5, 20, 15]))


def test_boxes_of_bools_are_refused_beside_others():
    targets = [{"boxes": torch.tensor([[1.0, 1, 5, 5]])}, {"boxes": torch.ones(1, 4, dtype=torch.bool)}]
    plan = MixPlan.from_rectangles(torch.tensor([[0, 1]]), torch.tensor([[[0, 0, 4, 4]]]), torch.tensor([[9, 9]] * 2))
    with pytest.raises(TypeError, match=r"targets\[1\]\['boxes'\] must be a tensor of numbers, got torch.bool"):
        mix_instances(targets, plan)
