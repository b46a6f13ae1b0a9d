"""No mask stated is not an empty mask: such rows are judged by their box; what is untouched is kept in any case."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision import tv_tensors
from torchvision.transforms.v2.functional import convert_bounding_box_format

import cutmix_dense as cd
from cutmix_dense import MixPlan
from cutmix_dense.functional import mix_instances, mix_padded, object_pixels

SIZE = (20, 30)
EMPTY: dict = {}
BOXES = ([2, 2, 12, 12], [2, 4, 22, 14])
RIGHT = [0, 12, 20, 30]  # covers columns 12 to 30: half of the second box, nothing of the first
WHOLE = [0, 0, 20, 30]


def plan_of(*rectangles, source=((0, 1),), **kwargs):
    return MixPlan.from_rectangles(
        torch.tensor(source), torch.tensor([list(rectangles)]).reshape(1, -1, 4), torch.tensor([SIZE, SIZE]), **kwargs
    )


def target_of(*boxes, **fields):
    return {"boxes": torch.tensor(boxes).reshape(-1, 4).float(), "labels": torch.arange(1, len(boxes) + 1), **fields}


def mask_of(*blocks):
    mask = torch.zeros(SIZE, dtype=torch.uint8)
    for y0, x0, y1, x1 in blocks:
        mask[y0:y1, x0:x1] = 1
    return mask


def stack(*, junk: bool = False) -> torch.Tensor:
    """The first row's mask, and a second row that is no mask, with or without something in it."""
    return torch.stack([mask_of((2, 2, 12, 12)), mask_of((0, 0, 20, 3)) if junk else mask_of()])


def mixed_target(*, junk: bool = False, **fields):
    return target_of(*BOXES, masks=stack(junk=junk), has_mask=torch.tensor([True, False]), **fields)


def map_plan(shown: torch.Tensor, source=((0, 1),)) -> MixPlan:
    return MixPlan.from_map(torch.tensor(source), shown[None].long(), torch.tensor([SIZE, SIZE]))


class TestRowsWithoutAMask:
    @pytest.mark.parametrize("junk", [False, True])
    @pytest.mark.parametrize("boxes_from", ["auto", "box", "mask"])
    def test_they_are_judged_and_boxed_by_their_box(self, boxes_from, junk):
        targets = [mixed_target(junk=junk), EMPTY]
        (mixed,), report = mix_instances(targets, plan_of(RIGHT), boxes_from=boxes_from, return_report=True)
        assert mixed["boxes"].tolist() == [[2, 2, 12, 12], [2, 4, 12, 14]]
        assert mixed["visibility"].tolist() == [1, 0.5]
        assert mixed["has_mask"].tolist() == [True, False]
        assert torch.equal(mixed["masks"], stack())
        assert [row["outcome"] for row in report.rows()] == ["kept", "shrunk"]

    def test_what_becomes_of_them_is_what_becomes_of_boxes_without_masks(self):
        fields = {"area": torch.tensor([100.0, 180.0]), "visibility": torch.tensor([1.0, 0.5])}
        (mixed,) = mix_instances([mixed_target(junk=True, **fields), EMPTY], plan_of(RIGHT))
        (alone,) = mix_instances([target_of(*BOXES, **fields), EMPTY], plan_of(RIGHT))
        for key in ("boxes", "area", "visibility", "labels", "origin"):
            assert torch.equal(mixed[key][1], alone[key][1]), key
        assert mixed["visibility"][1] == 0.25
        assert mixed["area"][1] == 90

    def test_thresholds_count_their_box(self):
        for threshold, left in ((0.5, [1, 2]), (0.51, [1])):
            (mixed,) = mix_instances([mixed_target(), EMPTY], plan_of(RIGHT), min_visibility=threshold)
            assert mixed["labels"].tolist() == left
        (mixed,) = mix_instances([mixed_target(), EMPTY], plan_of(RIGHT), min_size=10.5)
        assert mixed["labels"].tolist() == [1]

    @pytest.mark.parametrize("on_filtered", ["ignore", "crowd"])
    def test_what_fails_but_shows_is_kept_aside(self, on_filtered):
        target = mixed_target(junk=True, iscrowd=torch.zeros(2, dtype=torch.long))
        (mixed,) = mix_instances([target, EMPTY], plan_of(RIGHT), min_visibility=0.6, on_filtered=on_filtered)
        aside = mixed["ignored"] if on_filtered == "ignore" else {key: value[1:] for key, value in mixed.items()}
        assert aside["boxes"].tolist() == [[2, 4, 12, 14]]
        assert aside["has_mask"].tolist() == [False]
        assert not aside["masks"].any()
        assert mixed["iscrowd"].tolist() == ([0] if on_filtered == "ignore" else [0, 1])

    def test_ignored_instances_have_the_key_too(self):
        aside = {"boxes": torch.tensor([[4.0, 0, 24, 10]]), "labels": torch.tensor([9]), "masks": mask_of()[None]}
        target = {**mixed_target(), "ignored": {**aside, "has_mask": torch.tensor([False])}}
        (mixed,) = mix_instances([target, EMPTY], plan_of(RIGHT))
        assert mixed["ignored"]["boxes"].tolist() == [[4, 0, 12, 10]]
        assert mixed["ignored"]["has_mask"].tolist() == [False]
        (mixed,) = mix_instances([{**mixed_target(), "ignored": aside}, EMPTY], plan_of(RIGHT))
        assert len(mixed["ignored"]["boxes"]) == 0  # it states its mask: an empty one, whose box was touched

    @pytest.mark.parametrize("form", ["XYWH", "CXCYWH"])
    def test_boxes_of_other_formats(self, form):
        xyxy = tv_tensors.BoundingBoxes(torch.tensor(BOXES).float(), format="XYXY", canvas_size=SIZE)
        boxes = convert_bounding_box_format(xyxy, new_format=tv_tensors.BoundingBoxFormat[form])
        (mixed,) = mix_instances([{**mixed_target(), "boxes": boxes}, EMPTY], plan_of(RIGHT))
        assert torch.equal(mixed["boxes"][0], boxes[0])
        back = convert_bounding_box_format(mixed["boxes"], new_format=tv_tensors.BoundingBoxFormat.XYXY)
        assert back[1].tolist() == [2, 4, 12, 14]

    def test_scaled_layers(self):
        """A partner at half its size: its box is mapped with it and covers what it covered."""
        plan = plan_of(
            [0, 0, 10, 8], scale=torch.tensor([[[1.0, 1], [0.5, 0.5]]]), shift=torch.zeros(1, 2, 2)
        )  # what lies right of column 8 of the canvas is the base's
        (mixed,) = mix_instances([EMPTY, mixed_target()], plan)
        assert mixed["boxes"].tolist() == [[1, 1, 6, 6], [1, 2, 8, 7]]
        assert mixed["visibility"].tolist() == pytest.approx([1, 0.7])
        assert mixed["masks"].flatten(1).sum(dim=1).tolist() == [25, 0]

    def test_volumes(self):
        boxes = torch.tensor([[1.0, 1, 1, 5, 5, 5], [0, 0, 0, 10, 4, 4]])
        masks = torch.zeros(2, 6, 8, 12, dtype=torch.bool)
        masks[0, 1:5, 1:5, 1:5] = True
        target = {"boxes": boxes, "masks": masks, "has_mask": torch.tensor([True, False])}
        sizes = torch.tensor([[6, 8, 12]] * 2)
        plan = MixPlan.from_rectangles(torch.tensor([[0, 1]]), torch.tensor([[[0, 0, 6, 6, 8, 12]]]), sizes)
        (mixed,) = mix_instances([target, EMPTY], plan)
        assert mixed["boxes"].tolist() == [[1, 1, 1, 5, 5, 5], [0, 0, 0, 6, 4, 4]]
        assert mixed["visibility"].tolist() == pytest.approx([1, 0.6])

    @pytest.mark.parametrize("rotated", ["keep", "refit"])
    def test_rotated_boxes(self, rotated):
        form = tv_tensors.BoundingBoxFormat
        if not hasattr(form, "CXCYWHR"):
            pytest.skip("torchvision before 0.23 has no rotated boxes")
        given = torch.tensor([[7.0, 7, 10, 10, 0], [12, 9, 20, 10, 0]])  # upright, so that plain numbers say what shows
        boxes = tv_tensors.BoundingBoxes(given, format=form.CXCYWHR, canvas_size=SIZE)
        target = {**mixed_target(junk=True), "boxes": boxes}
        (mixed,) = mix_instances([target, EMPTY], plan_of([0, 11, 20, 30]), rotated=rotated)
        assert mixed["visibility"].tolist() == pytest.approx([0.9, 0.45])
        plain = mixed["boxes"].as_subclass(torch.Tensor)
        if rotated == "keep":
            assert torch.equal(plain, given)
        else:
            corners = convert_bounding_box_format(plain, old_format=form.CXCYWHR, new_format=form.XYXYXYXY)
            ends = [[*row.reshape(4, 2).amin(0).tolist(), *row.reshape(4, 2).amax(0).tolist()] for row in corners]
            assert ends[0] == pytest.approx([2, 2, 11, 12], abs=1e-4)
            assert ends[1] == pytest.approx([2, 4, 11, 14], abs=1e-4)

    def test_targets_without_the_key_state_every_mask(self):
        other = target_of([15, 2, 25, 12], masks=mask_of((2, 15, 12, 25))[None])
        (mixed,) = mix_instances([mixed_target(), other], plan_of(RIGHT))
        assert mixed["has_mask"].tolist() == [True, False, True]
        assert mixed["boxes"].tolist() == [[2, 2, 12, 12], [2, 4, 12, 14], [15, 2, 25, 12]]
        without = mix_instances([target_of(*BOXES, masks=stack()), other], plan_of(RIGHT))[0]
        assert without["labels"].tolist() == [1, 1]
        assert "has_mask" not in without

    def test_an_image_without_objects_counts_as_having_the_key(self):
        none = {"boxes": torch.zeros(0, 4), "masks": torch.zeros(0, *SIZE, dtype=torch.uint8)}
        first, second = mix_instances([mixed_target(), none], unmixed(2))
        assert first["has_mask"].tolist() == [True, False]
        assert second["has_mask"].shape == (0,)
        assert second["has_mask"].dtype == torch.bool

    def test_visible_pixels_of_objects(self):
        weights = object_pixels([mixed_target(junk=True), mixed_target(junk=True)], plan_of([0, 12, 20, 30]))
        assert weights.tolist() == [[100 + 100, 0 + 100]]

    def test_inputs_are_not_changed(self):
        target = mixed_target(junk=True)
        before = {key: value.clone() for key, value in target.items()}
        mix_instances([target, EMPTY], plan_of(RIGHT))
        assert all(torch.equal(target[key], value) for key, value in before.items())


def unmixed(count: int) -> MixPlan:
    return MixPlan.from_rectangles(
        torch.tensor([[image, -1] for image in range(count)]),
        torch.tensor([[[0, 0, 9, 9]]] * count),
        torch.tensor([SIZE] * count),
    )


class TestRefused:
    @pytest.mark.parametrize(
        ("fields", "error", "message"),
        [
            (
                {"has_mask": torch.tensor([1, 0])},
                TypeError,
                r"targets\[0\]\['has_mask'\] must hold bools, got torch.int64",
            ),
            ({"has_mask": torch.tensor([True])}, ValueError, r"\['has_mask'\] must have one row per instance \(2\)"),
            ({"has_mask": torch.tensor([[True], [False]])}, ValueError, r"\['has_mask'\] must have 1 dimensions"),
            ({"has_mask": [True, False]}, TypeError, r"\['has_mask'\] must be a tensor, got list"),
        ],
    )
    def test_other_forms(self, fields, error, message):
        with pytest.raises(error, match=message):
            mix_instances([{**mixed_target(), **fields}, EMPTY], plan_of(RIGHT))

    @pytest.mark.parametrize("missing", ["boxes", "masks"])
    def test_a_row_needs_a_mask_or_a_box(self, missing):
        target = {key: value for key, value in mixed_target().items() if key != missing}
        with pytest.raises(ValueError, match=rf"targets\[0\]\['has_mask'\]\[1\] is False.* got no '{missing}'"):
            mix_instances([target, EMPTY], unmixed(2))
        target["has_mask"] = torch.tensor([True, True])
        (mixed,) = mix_instances([target, EMPTY], plan_of(RIGHT))
        assert mixed["has_mask"].all()

    def test_padded_boxes_have_no_masks(self):
        targets = {"boxes": torch.rand(2, 3, 4), "has_mask": torch.ones(2, 3, dtype=torch.bool)}
        with pytest.raises(ValueError, match="'has_mask' beside padded boxes"):
            mix_padded(targets, plan_of(RIGHT))


class TestFreeForms:
    CUT = torch.zeros(SIZE, dtype=torch.bool)
    CUT[:, 12:] = True

    def test_a_box_that_a_free_form_cuts_is_a_guess(self):
        targets = [mixed_target(), EMPTY]
        with pytest.raises(ValueError, match=r"targets\[0\]\['has_mask'\]\[1\] is False.*boxes='estimate'"):
            mix_instances(targets, map_plan(self.CUT))
        (mixed,) = mix_instances(targets, map_plan(self.CUT), boxes="estimate")
        assert mixed["boxes"].tolist() == [[2, 2, 12, 12], [2, 4, 12, 14]]
        assert mixed["visibility"].tolist() == [1, 0.5]

    def test_one_of_which_all_or_nothing_shows_is_none(self):
        beside = torch.zeros(SIZE, dtype=torch.bool)
        beside[15:] = True
        (mixed,) = mix_instances([mixed_target(), EMPTY], map_plan(beside))
        assert mixed["visibility"].tolist() == [1, 1]
        (mixed,) = mix_instances([mixed_target(), EMPTY], map_plan(torch.ones(SIZE, dtype=torch.bool)))
        assert len(mixed["boxes"]) == 0

    @pytest.mark.parametrize("method", [cd.CowMix, cd.FMix, cd.CopyPaste])
    def test_unmixed_samples_pass(self, method):
        images, targets = torch.rand(2, 3, *SIZE), [mixed_target(), mixed_target()]
        _, mixed = method(p=0.0)(images, targets)
        for target in mixed:
            assert torch.equal(target["boxes"], targets[0]["boxes"])
            assert target["visibility"].tolist() == [1, 1]

    def test_by_objects_there_is_nothing_to_refuse(self):
        assert object_pixels([mixed_target(), EMPTY], map_plan(self.CUT)).tolist() == [[200, 0]]


class TestUntouched:
    """An instance that kept every pixel comes back as it came, whatever its mask holds."""

    @pytest.mark.parametrize("boxes_from", ["auto", "box", "mask"])
    def test_an_empty_mask_that_nothing_touched_is_kept(self, boxes_from):
        boxes = torch.tensor([[2.3, 2.1, 5.9, 6.7], [-3.5, 4.0, 6.25, 25.0]])  # one juts out of its image
        target = {"boxes": boxes, "masks": torch.stack([mask_of()] * 2), "visibility": torch.tensor([1.0, 0.25])}
        target["area"] = torch.tensor([7.5, 8.5])
        (mixed,), report = mix_instances(
            [target, EMPTY], plan_of([0, 10, 20, 30]), boxes_from=boxes_from, min_size=50.0, return_report=True
        )
        assert all(torch.equal(mixed[key], value) for key, value in target.items())
        assert [(row["outcome"], row["reason"], row["visibility"]) for row in report.rows()] == [
            ("kept", "", 1.0),
            ("kept", "", 0.25),
        ]

    @pytest.mark.parametrize("boxes_from", ["auto", "box", "mask"])
    def test_one_that_was_touched_is_dropped(self, boxes_from):
        target = target_of([2, 2, 12, 12], [2, 12, 10, 18], masks=torch.stack([mask_of()] * 2))
        (mixed,), report = mix_instances(
            [target, EMPTY], plan_of([0, 10, 11, 30]), boxes_from=boxes_from, return_report=True
        )
        assert mixed["labels"].tolist() == [2]
        assert [row["reason"] for row in report.rows()] == ["empty mask", ""]

    def test_a_layer_that_moved_is_touched(self):
        plan = plan_of(WHOLE, scale=torch.ones(1, 2, 2), shift=torch.tensor([[[0.0, 0], [0, 1]]]))
        target = target_of([2, 2, 12, 12], masks=mask_of()[None])
        _, report = mix_instances([EMPTY, target], plan, return_report=True)
        assert [row["reason"] for row in report.rows()] == ["empty mask"]

    def test_broken_boxes_are_dropped_all_the_same(self):
        target = target_of([5, 5, 5, 9], [40, 5, 50, 9], masks=torch.stack([mask_of()] * 2))
        for plan in (unmixed(1), plan_of(RIGHT)):
            _, report = mix_instances([target, EMPTY], plan, return_report=True)
            assert [row["reason"] for row in report.rows()] == ["broken box", "outside"]

    def test_masks_alone(self):
        """Without boxes an empty mask may be anywhere: untouched is one of an image of which all shows."""
        target = {"masks": torch.stack([mask_of((2, 2, 6, 6)), mask_of()]), "labels": torch.tensor([1, 2])}
        (mixed, _) = mix_instances([target, EMPTY], unmixed(2))
        assert torch.equal(mixed["masks"], target["masks"])
        assert mixed["visibility"].tolist() == [1, 1]
        (mixed,) = mix_instances([target, EMPTY], plan_of([18, 28, 20, 30]))
        assert mixed["labels"].tolist() == [1]
        (mixed,) = mix_instances([EMPTY, target], plan_of(WHOLE))
        assert mixed["labels"].tolist() == [1, 2]

    def test_those_that_are_not_carried_stay_away(self):
        plan = plan_of(RIGHT, carry=torch.tensor([[[True, False], [True, True]]]))
        target = target_of([2, 2, 8, 8], [2, 12, 8, 18], masks=torch.stack([mask_of()] * 2))
        (mixed,), report = mix_instances([target, EMPTY], plan, return_report=True)
        assert mixed["labels"].tolist() == [1]
        assert [row["reason"] for row in report.rows()] == ["", "not carried"]

    def test_rotated_boxes(self):
        form = tv_tensors.BoundingBoxFormat
        if not hasattr(form, "CXCYWHR"):
            pytest.skip("torchvision before 0.23 has no rotated boxes")
        rows = torch.tensor([[6.0, 7, 6, 4, 30], [20, 9, 10, 6, 10]])
        boxes = tv_tensors.BoundingBoxes(rows, format=form.CXCYWHR, canvas_size=SIZE)
        target = {"boxes": boxes, "masks": torch.stack([mask_of()] * 2), "labels": torch.tensor([1, 2])}
        (mixed,), report = mix_instances([target, EMPTY], plan_of([0, 20, 20, 30]), return_report=True)
        assert torch.equal(mixed["boxes"].as_subclass(torch.Tensor), rows[:1])
        assert [row["reason"] for row in report.rows()] == ["", "empty mask"]

    def test_ignored_ones(self):
        aside = target_of([2, 2, 8, 8], masks=mask_of()[None])
        target = {**target_of([3, 3, 9, 9], masks=mask_of()[None]), "ignored": aside}
        (mixed,) = mix_instances([target, EMPTY], plan_of(RIGHT))
        assert mixed["boxes"].tolist() == [[3, 3, 9, 9]]
        assert mixed["ignored"]["boxes"].tolist() == [[2, 2, 8, 8]]

    @settings(max_examples=60, deadline=None)
    @given(st.data())
    def test_a_batch_that_nothing_mixes_comes_back_as_it_came(self, data):
        rows = data.draw(st.integers(1, 5))
        bits = st.lists(st.booleans(), min_size=rows, max_size=rows)
        stated, filled = torch.tensor(data.draw(bits)), torch.tensor(data.draw(bits))
        low = torch.tensor(
            [[data.draw(st.floats(-3, 27, width=32)), data.draw(st.floats(-3, 17, width=32))] for _ in stated]
        )
        sides = torch.tensor([[data.draw(st.floats(4, 20, width=32)) for _ in range(2)] for _ in stated])
        masks = torch.zeros(rows, *SIZE, dtype=torch.bool)
        for row in range(rows):
            masks[row, 3 + row : 9, 4:12] = filled[row]
        target = {"boxes": torch.cat([low, low + sides], dim=1), "masks": masks & stated[:, None, None]}
        target |= {"has_mask": stated, "visibility": torch.rand(rows), "labels": torch.arange(rows)}
        boxes_from = data.draw(st.sampled_from(["auto", "box", "mask"]))
        plan = map_plan(torch.zeros(SIZE), ((0, -1),)) if data.draw(st.booleans()) else unmixed(1)
        if plan.free_form and boxes_from == "box":
            boxes_from = "auto"
        (mixed, *_) = mix_instances([target], plan, boxes_from=boxes_from, min_visibility=1.0, min_size=50.0)
        assert all(torch.equal(mixed[key], value) for key, value in target.items())


class TestCopyPaste:
    def test_rows_without_a_mask_are_pasted_by_their_box(self):
        images = torch.stack([torch.full((3, *SIZE), value) for value in (0.0, 1.0)])
        paste = cd.CopyPaste(instances="all", p=1.0, min_visibility=0.0, boxes="estimate")
        targets = [target_of([25, 15, 29, 19], masks=mask_of((15, 25, 19, 29))[None]), mixed_target(junk=True)]
        plan = paste.make_plan(images, targets, generator=torch.Generator().manual_seed(0))
        pixels, mixed = paste.apply_plan(plan, images, targets)
        expected = torch.zeros(SIZE)
        expected[2:12, 2:12] = 1  # the mask of the first
        expected[4:14, 2:22] = 1  # the box of the second, and not what its row of the masks holds
        assert torch.equal(pixels[0, 0], expected)
        assert mixed[0]["boxes"].tolist() == [[25, 15, 29, 19], [2, 2, 12, 12], [2, 4, 22, 14]]
        assert mixed[0]["visibility"].tolist() == [1, 1, 1]
        assert mixed[0]["has_mask"].tolist() == [True, True, False]

    def test_what_is_pasted_whole_is_no_guess_at_any_scale(self):
        images = torch.rand(2, 3, *SIZE)
        target = target_of([3.3, 4.6, 11.2, 9.9], masks=mask_of()[None], has_mask=torch.tensor([False]))
        paste = cd.CopyPaste(instances="all", p=1.0, scale=(0.4, 0.9))
        far = target_of([25, 15, 29, 19], masks=mask_of((15, 25, 19, 29))[None])
        for seed in range(20):
            _, mixed = paste(images, [far, target], generator=torch.Generator().manual_seed(seed), outputs=1)
            pasted = mixed[0]["origin"][:, 0] == 1
            assert mixed[0]["visibility"][pasted].tolist() == [1]

    def test_of_a_base_that_is_cut_only_the_box_tells(self):
        images = torch.rand(2, 3, *SIZE)
        base = target_of([0, 0, 8, 8], masks=mask_of()[None], has_mask=torch.tensor([False]))
        with pytest.raises(ValueError, match=r"targets\[0\]\['has_mask'\]\[0\] is False"):
            cd.CopyPaste(instances="all", p=1.0)(images, [base, mixed_target()], outputs=1)

    @pytest.mark.parametrize(
        ("has_mask", "message"),
        [
            (torch.tensor([True]), r"one row per instance \(2\)"),
            (torch.tensor([[True], [False]]), "must have 1 dimensions"),
        ],
    )
    def test_the_key_needs_a_bool_per_instance(self, has_mask, message):
        wrong = {**mixed_target(), "has_mask": has_mask}
        with pytest.raises(ValueError, match=rf"\['has_mask'\].*{message}"):
            cd.CopyPaste(p=1.0)(torch.rand(2, 3, *SIZE), [wrong, wrong])


def test_a_bank_whose_samples_lack_the_key():
    mix = cd.CutMix(pairing="bank", p=1.0)
    images = torch.rand(2, 3, *SIZE)
    mix(images, [target_of([2, 2, 9, 9], masks=mask_of((2, 2, 9, 9))[None])] * 2)
    _, mixed = mix(images, [mixed_target(), mixed_target()])
    assert all(target["has_mask"].dtype == torch.bool for target in mixed)
