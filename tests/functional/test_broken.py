"""Broken boxes: a few are dropped and warned of once, boxes of another format than stated are refused by name."""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import torch
from stand_in import StandIn, send
from torchvision import tv_tensors
from versions import needs_stand_in

import cutmix_dense as cd
from cutmix_dense.functional import broken

HEIGHT, WIDTH = 100, 160
IMAGES = torch.zeros(3, 1, HEIGHT, WIDTH)
SIZES = torch.tensor([[HEIGHT, WIDTH]] * 3)
CORNERS = [  # whole, in all parts of the image
    [[100.0, 60, 130, 90], [4, 50, 52, 70], [90, 20, 150, 44]],
    [[70, 70, 82, 95], [120, 10, 150, 18], [60, 55, 100, 85]],
    [[3, 2, 40, 30], [80, 40, 110, 52], [130, 66, 159, 98]],
]
XYXY = [torch.tensor(rows) for rows in CORNERS]
UNIT = torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT])


@pytest.fixture(autouse=True)
def _not_told(monkeypatch):
    monkeypatch.setattr(broken, "_warned", False)


def xywh(boxes):
    return torch.stack([boxes[:, 0], boxes[:, 1], boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]], dim=1)


def cxcywh(boxes):
    x0, y0, x1, y1 = boxes.T
    return torch.stack([(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0], dim=1)


def listed(boxes):
    return [{"boxes": rows, "labels": torch.ones(len(rows), dtype=torch.long)} for rows in boxes]


def padded(boxes):
    most = max(map(len, boxes))
    slots = torch.stack([torch.cat([rows, torch.zeros(most - len(rows), 4)]) for rows in boxes])
    valid = torch.arange(most) < torch.tensor([len(rows) for rows in boxes])[:, None]
    return {"boxes": slots, "labels": torch.ones(slots.shape[:2], dtype=torch.long), "valid": valid}


def mixed(targets, p=0.0, **settings):
    """The mix, and what it warned of."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        _, out = cd.CutMix(p=p, **settings)(IMAGES, targets, generator=torch.Generator().manual_seed(1))
    return out, [str(one.message) for one in told]


FORMATS = {
    "xywh": (xywh, "look like xywh;"),
    "cxcywh": (cxcywh, "look like cxcywh;"),
    "normalised xyxy": (lambda boxes: boxes / UNIT, "look like normalised xyxy;"),
    "normalised xywh": (lambda boxes: xywh(boxes) / UNIT, "look like normalised xywh;"),
    "normalised cxcywh": (lambda boxes: cxcywh(boxes) / UNIT, "look like normalised cxcywh;"),
    "inverted": (lambda boxes: boxes[:, [2, 3, 0, 1]], "look like corners in the other order;"),
    "outside": (lambda boxes: boxes + 200, "look like pixels of an image of another size;"),
}


class TestRefused:
    @pytest.mark.parametrize("p", [0.0, 1.0])
    @pytest.mark.parametrize("form", [listed, padded])
    @pytest.mark.parametrize("name", FORMATS)
    def test_another_format_says_what_it_looks_like(self, name, form, p):
        change, looks = FORMATS[name]
        with pytest.raises(ValueError, match="boxes must be xyxy in pixels") as error:
            mixed(form([change(boxes) for boxes in XYXY]), p)
        assert looks in str(error.value)
        assert f"in an image of {HEIGHT} × {WIDTH} pixels" in str(error.value)
        assert "torchvision.ops.box_convert" in str(error.value)

    def test_the_first_broken_box_is_named_and_each_counts_once(self):
        """At p=1 each image is in two outputs."""
        with pytest.raises(ValueError, match=r"\b8 of 9 have no area") as error:
            mixed(listed([xywh(boxes) for boxes in XYXY]), 1.0)
        assert "targets[0]['boxes'][0] is [100.0, 60.0, 30.0, 30.0]" in str(error.value)

    @needs_stand_in
    def test_a_device_says_the_same_by_the_transfer_that_it_makes_anyway(self):
        targets = listed([cxcywh(boxes) / UNIT for boxes in XYXY])
        with StandIn() as device, pytest.raises(ValueError, match="look like normalised cxcywh;"):
            mixed(send(targets))
        assert len(device.waits) == 1

    def test_formats_that_are_declared_are_taken(self):
        for change, form in ((xywh, "XYWH"), (cxcywh, "CXCYWH")):
            rows = [tv_tensors.BoundingBoxes(change(b), format=form, canvas_size=(HEIGHT, WIDTH)) for b in XYXY]
            out, told = mixed(listed(rows))
            assert [target["boxes"].shape[0] for target in out] == [3, 3, 3]
            assert told == []

    def test_ignore_regions_are_no_evidence(self):
        targets = listed(XYXY)
        for target in targets:
            target["ignored"] = {"boxes": torch.full((9, 4), 7.0), "labels": torch.ones(9, dtype=torch.long)}
        out, told = mixed(targets)
        assert [len(target["boxes"]) for target in out] == [3, 3, 3]
        assert len(told) == 1


class TestWarned:
    BAD = torch.tensor([[5.0, 5, 5, 9]])

    @pytest.mark.parametrize("form", [listed, padded])
    def test_once_of_the_first_which_is_named(self, form):
        rows = [XYXY[0], torch.cat([XYXY[1], self.BAD, self.BAD.flip(1)]), torch.cat([XYXY[2], self.BAD + 300])]
        out, told = mixed(form(rows))
        name = "targets[1]['boxes'][3]" if form is listed else "targets['boxes'][1, 3]"
        assert len(told) == 1
        assert f"a box has no area or is inverted and is dropped: {name} is [5.0, 5.0, 5.0, 9.0] in an image" in told[0]
        kept = [t["boxes"] for t in out] if form is listed else [b[v] for b, v in zip(out["boxes"], out["valid"])]
        assert all(torch.equal(one, other) for one, other in zip(kept, XYXY, strict=True))
        assert mixed(form(rows))[1] == []  # told already

    def test_one_outside(self):
        _, told = mixed(listed([XYXY[0], XYXY[1], torch.cat([XYXY[2], torch.tensor([[170.0, 5, 190, 9]])])]))
        assert "a box lies outside of its image and is dropped: targets[2]['boxes'][3] is [170.0" in told[0]

    @pytest.mark.parametrize(
        "rows",
        [
            [BAD, BAD, BAD],  # of a few in all
            [BAD, XYXY[1][:0], XYXY[2][:0]],
            [XYXY[0][:1], BAD.repeat(20, 1) + torch.arange(20)[:, None] * 3, XYXY[2][:1]],  # one bad image
            [torch.cat([XYXY[0], BAD, BAD, BAD]), torch.cat([XYXY[1], BAD, BAD, BAD]), XYXY[2]],  # half
            [BAD.repeat(2, 1), BAD, XYXY[2][:1]],  # most of four
        ],
    )
    def test_honest_data_goes_on(self, rows):
        out, told = mixed(listed(rows))
        wanted = [int((boxes[:, 2:] > boxes[:, :2]).all(dim=1).sum()) for boxes in rows]
        assert [len(target["boxes"]) for target in out] == wanted
        assert len(told) == 1

    def test_of_a_few_boxes_in_another_format_the_warning_says_so(self):
        _, told = mixed(listed([xywh(boxes[:1]) for boxes in XYXY]))
        assert "the boxes look like xywh." in told[0]

    @needs_stand_in
    def test_on_a_device(self):
        targets = listed([XYXY[0], XYXY[1], torch.cat([XYXY[2], self.BAD])])
        with StandIn() as device:
            _, told = mixed(send(targets))
        assert "targets[2]['boxes'][3] is [5.0, 5.0, 5.0, 9.0] in an image of 100 × 160 pixels" in told[0]
        assert len(device.waits) == 1

    @pytest.mark.skipif(not hasattr(tv_tensors.BoundingBoxFormat, "CXCYWHR"), reason="torchvision has no rotated boxes")
    def test_rotated_ones_that_all_lie_outside(self):
        """Their format is declared: nothing says that it is another."""
        rows = [[[500.0 + 9 * i, 500, 20, 10, 30] for i in range(4)]] * 3
        boxes = [
            tv_tensors.BoundingBoxes(r, format="CXCYWHR", canvas_size=(HEIGHT, WIDTH), dtype=torch.float) for r in rows
        ]
        out, told = mixed(listed(boxes))
        assert [len(target["boxes"]) for target in out] == [0, 0, 0]
        assert "lies outside of its image" in told[0]

    @pytest.mark.skipif(not hasattr(tv_tensors.BoundingBoxFormat, "CXCYWHR"), reason="torchvision has no rotated boxes")
    def test_rotated_ones(self):
        rows = [[[50.0, 50, 20, 10, 30]], [[60, 40, 0, 10, 30], [60, 40, 9, 9, 0]], [[60, 40, 9, 9, 0]]]
        boxes = [
            tv_tensors.BoundingBoxes(r, format="CXCYWHR", canvas_size=(HEIGHT, WIDTH), dtype=torch.float) for r in rows
        ]
        out, told = mixed(listed(boxes))
        assert [len(target["boxes"]) for target in out] == [1, 1, 1]
        assert "targets[1]['boxes'][0] is [60.0, 40.0, 0.0, 10.0, 30.0]" in told[0]


class TestFine:
    def test_crops_of_an_image_leave_boxes_outside(self):
        """A plan made by hand may show parts of its sources only."""
        plan = cd.MixPlan.from_rectangles(torch.tensor([[0, 1], [1, 0]]), torch.zeros(2, 0, 4).long(), SIZES)
        extent = plan.extent.clone()
        extent[:, :, 2:] = torch.tensor([[[100, 160], [20, 20]], [[100, 160], [20, 20]]])
        plan = replace(plan, extent=extent)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            out, report = cd.functional.mix_instances(listed(XYXY[:2]), plan, return_report=True)
        assert [len(target["boxes"]) for target in out] == [3, 3]
        assert report.counts()["dropped", "outside"] == 6

    def test_slots_that_arent_valid_dont_count(self):
        targets = padded(XYXY)
        targets["boxes"] = torch.cat([targets["boxes"], torch.tensor([9.0, 9, 1, 1]).expand(3, 30, 4)], dim=1)
        targets["labels"] = torch.ones(3, 33, dtype=torch.long)
        targets["valid"] = torch.cat([targets["valid"], torch.zeros(3, 30, dtype=torch.bool)], dim=1)
        out, told = mixed(targets)
        assert out["valid"].sum() == 9
        assert told == []

    @pytest.mark.parametrize("value", [0.0, -1.0])
    def test_slots_of_equal_numbers_are_empty(self, value):
        boxes = torch.cat([torch.stack(XYXY), torch.full((3, 30, 4), value)], dim=1)
        out, told = mixed({"boxes": boxes, "labels": torch.ones(3, 33, dtype=torch.long)})
        assert out["valid"].sum() == 9
        assert told == []

    def test_whole_pixels_in_the_corner_and_small_images_are_no_shares(self):
        corner = torch.tensor([[0.0, 0, 1, 1]])
        out, told = mixed(listed([corner, corner, corner]))
        assert [target["boxes"].tolist() for target in out] == [corner.tolist()] * 3
        inner = torch.tensor([[0.1, 0.2, 0.9, 0.7]])
        _, out = cd.CutMix(p=0.0)(torch.zeros(3, 1, 5, 8), listed([inner] * 3))
        assert [target["boxes"].tolist() for target in out] == [inner.tolist()] * 3
        assert told == []


@pytest.mark.parametrize("form", [{"box_format": "cxcywh", "normalized": True}, {}], ids=["shares", "pixels"])
def test_normalised_keypoints_are_refused(form):
    boxes = torch.tensor([[0.5, 0.5, 0.9, 0.9]]) * (1 if form else torch.tensor([160, 100, 160, 100]))
    points = torch.tensor([[[0.2, 0.5, 2], [0.8, 0.5, 1], [0, 0, 0]]])
    targets = [{"boxes": boxes, "labels": torch.ones(1), "keypoints": points}] * 3
    with pytest.raises(
        ValueError, match=r"keypoints must be \(x, y\) in pixels .* first one at \[0.2, 0.5\]; multiply"
    ):
        cd.CutMix(p=0.0, **form)(IMAGES, targets)


@pytest.mark.parametrize(
    "points",
    [
        [[[0.2, 0.5, 2], [8.8, 0.5, 2]]],  # one of them lies elsewhere
        [[[1.0, 1.0, 2], [1.0, 0.0, 2]]],  # of whole numbers
        [[[0.2, 0.5, 2], [0.8, 0.5, 0]]],  # one alone is labelled
    ],
)
def test_keypoints_that_may_be_pixels_are_taken(points):
    boxes = torch.tensor([[0.0, 0, 90, 90]])
    targets = [{"boxes": boxes, "labels": torch.ones(1), "keypoints": torch.tensor(points)[:, :2]}, {}, {}]
    _, mixed = cd.CutMix(p=0.0)(IMAGES, targets)
    assert mixed[0]["keypoints"].equal(targets[0]["keypoints"])


def test_flags_of_another_number_of_keypoints_are_named():
    row = {"boxes": torch.tensor([[2.0, 3, 20, 20]]), "labels": torch.ones(1), "keypoints": 30 * torch.rand(1, 4, 2)}
    targets = [{**row, "keypoints_visible": torch.ones(1, 3)}] * 3
    with pytest.raises(ValueError, match=r"keypoints_visible must have shape \(N, 4\).*got rows of shape \(3,\)"):
        cd.CutMix(p=1.0)(IMAGES, targets)
