"""torchvision's box and mask utilities beside what our plans do to boxes and masks."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import interpolate
from torchvision import ops, tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as tvf

import cutmix_dense as cd
from cutmix_dense.functional.masks import boxes_of_masks
from cutmix_dense.plan import MixPlan

HEIGHT, WIDTH = 26, 40
LAST = torch.tensor([0, 0, 1, 1])  # from torchvision's last pixel within to our first one beyond


def blobs(count, random, height=HEIGHT, width=WIDTH):
    """Random masks of every size, single pixels among them, none empty."""
    masks = torch.zeros((count, height, width), dtype=torch.bool)
    for mask in masks:
        y, x = (int(torch.randint(0, size, (1,), generator=random)) for size in (height, width))
        h, w = (int(torch.randint(1, size + 1, (1,), generator=random)) for size in (height, width))
        part = mask[y : y + h, x : x + w]
        part[:] = torch.rand(part.shape, generator=random) < 0.4
        mask[y, x] = True
    return masks


def boxes_within(count, random, height=HEIGHT, width=WIDTH):
    """Boxes of quarter pixels within the image, so that every sum is exact."""
    corners = torch.rand((count, 2, 2), generator=random) * torch.tensor([width, height])
    corners = (corners * 4).round() / 4
    low, high = corners.amin(dim=1), corners.amax(dim=1)
    high = torch.minimum(torch.maximum(high, low + 0.25), torch.tensor([float(width), float(height)]))
    return torch.cat([torch.minimum(low, high - 0.25), high], dim=1)


def placed(size, canvas, scale=(1.0, 1.0), shift=(0.0, 0.0)):
    """Plan of one image that shows on a canvas, scaled and moved; both in array order."""
    return MixPlan.from_grid(
        torch.tensor([[0]]),
        tuple(torch.tensor([[0, length]]) for length in canvas),
        torch.zeros((1, 1, 1), dtype=torch.long),
        torch.tensor([size]),
        frame=tuple(canvas),
        scale=torch.tensor([[scale]]),
        shift=torch.tensor([[shift]]),
        canvas=torch.tensor([canvas]),
    )


def test_boxes_of_masks_end_one_pixel_later():
    """masks_to_boxes gives the last pixel within; ours is its outer edge, so that a pixel has an area."""
    random = torch.Generator().manual_seed(0)
    masks = blobs(200, random)
    ours, theirs = boxes_of_masks(masks), ops.masks_to_boxes(masks)
    assert torch.equal(ours, (theirs + LAST).double())
    assert (ops.box_area(ours) >= masks.sum(dim=(1, 2))).all()
    assert (ops.box_area(theirs) < masks.sum(dim=(1, 2))).any()
    assert boxes_of_masks(torch.zeros(0, HEIGHT, WIDTH, dtype=torch.bool)).shape == (0, 4)


def test_mixed_boxes_are_those_of_the_mixed_masks():
    random = torch.Generator().manual_seed(1)
    images = torch.zeros(4, 3, HEIGHT, WIDTH)
    targets = [{"masks": masks, "boxes": boxes_of_masks(masks).float()} for masks in (blobs(8, random) for _ in "1234")]
    shrunk = 0
    for _ in range(25):
        _, mixed = cd.CutMix(p=1.0, min_visibility=0.0)(images, targets, generator=random)
        for target in mixed:
            assert torch.equal(target["boxes"], ops.masks_to_boxes(target["masks"]) + LAST)
            shrunk += int((target["visibility"] < 1).sum())
    assert shrunk > 100


@pytest.mark.parametrize(
    ("top", "left", "height", "width"), [(5, 9, 12, 20), (0, 0, 26, 40), (-3, -5, 20, 30), (10, 20, 30, 40)]
)
def test_a_crop_clips_and_sanitizes_as_torchvision_does(top, left, height, width):
    """A window on one image (beyond it there is fill): crop, clamp to the image's own border, sanitize."""
    random = torch.Generator().manual_seed(2)
    boxes = boxes_within(150, random)
    wrapped = tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(HEIGHT, WIDTH))
    cropped = tvf.clamp_bounding_boxes(tvf.crop(wrapped, top, left, height, width))
    sample = {"boxes": cropped, "labels": torch.arange(150)}
    theirs = v2.SanitizeBoundingBoxes(min_size=1.0, labels_getter=lambda sample: sample["labels"])(sample)

    plan = placed((HEIGHT, WIDTH), (height, width), shift=(float(-top), float(-left)))
    (ours,) = cd.functional.mix_instances(
        [{"boxes": wrapped, "labels": torch.arange(150)}], plan, min_visibility=0.0, min_size=1.0
    )
    untouched = ours["visibility"] == 1
    identity = top == left == 0
    slim = ((wrapped[:, 2:] - wrapped[:, :2]).as_subclass(torch.Tensor) < 1).any(dim=1)
    expected = set(theirs["labels"].tolist()) | (set(slim.nonzero()[:, 0].tolist()) if identity else set())
    assert set(ours["labels"].tolist()) == expected  # what keeps every pixel in its place is never filtered
    assert ours["boxes"].canvas_size == (height, width)
    assert torch.equal(ours["boxes"].as_subclass(torch.Tensor), cropped[ours["labels"]].as_subclass(torch.Tensor))
    share = ops.box_area(cropped.as_subclass(torch.Tensor)) / ops.box_area(boxes)
    torch.testing.assert_close(ours["visibility"], share[ours["labels"]])
    assert untouched.any()


def test_what_comes_out_is_sane():
    """SanitizeBoundingBoxes finds nothing to remove: no box without area, none outside."""
    random = torch.Generator().manual_seed(3)
    images = torch.zeros(4, 3, HEIGHT, WIDTH)
    targets = []
    for _ in range(4):
        # some reach beyond the image, as annotations do
        boxes = boxes_within(30, random) + torch.randint(-6, 7, (30, 1), generator=random)
        boxes = tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(HEIGHT, WIDTH))
        targets.append({"boxes": boxes, "labels": torch.arange(30)})
    sanitize = v2.SanitizeBoundingBoxes(min_size=1.0)
    for mix in (cd.CutMix(p=1.0), cd.Mosaic(), cd.ResizeMix(p=1.0), cd.RICAP(p=1.0), cd.GridMix(p=1.0)):
        for _ in range(5):
            _, mixed = mix(images, targets, generator=random)
            for target in mixed:
                touched = target["visibility"] < 1
                sample = {"boxes": target["boxes"][touched], "labels": target["labels"][touched]}
                sample["boxes"] = tv_tensors.wrap(sample["boxes"], like=target["boxes"])
                assert len(sanitize(sample)["labels"]) == int(touched.sum())


def test_visible_area_of_a_pasted_box_is_its_intersection_with_the_region():
    random = torch.Generator().manual_seed(4)
    boxes = boxes_within(100, random)
    region = torch.tensor([8.0, 5, 31, 19])
    plan = MixPlan.from_rectangles(
        torch.tensor([[0, 1]]), torch.tensor([[[5, 8, 19, 31]]]), torch.tensor([[HEIGHT, WIDTH]] * 2)
    )
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.long)}
    _, report = cd.functional.mix_instances(
        [empty, {"boxes": boxes, "labels": torch.arange(100)}], plan, min_visibility=0.0, return_report=True
    )
    iou = ops.box_iou(boxes.double(), region[None].double())[:, 0]
    total = ops.box_area(boxes.double()) + ops.box_area(region[None].double())
    torch.testing.assert_close(
        report.visibility.double(), iou / (1 + iou) * total / ops.box_area(boxes), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("form", ["XYWH", "CXCYWH"])
def test_boxes_of_another_format_are_the_converted_ones(form):
    random = torch.Generator().manual_seed(5)
    images = torch.zeros(3, 3, HEIGHT, WIDTH)
    corners = [
        tv_tensors.BoundingBoxes(boxes_within(12, random), format="XYXY", canvas_size=(HEIGHT, WIDTH)) for _ in "123"
    ]
    mix = cd.CutMix(p=1.0)
    plan = mix.make_plan(images, generator=random)
    results = {}
    for name in ("XYXY", form):
        wanted = tv_tensors.BoundingBoxFormat[name]
        targets = [
            {"boxes": tvf.convert_bounding_box_format(boxes, new_format=wanted), "labels": torch.arange(12)}
            for boxes in corners
        ]
        results[name] = mix.apply_plan(plan, images, targets)[1]
    for plain, other in zip(results["XYXY"], results[form]):
        assert other["boxes"].format == tv_tensors.BoundingBoxFormat[form]
        assert torch.equal(other["labels"], plain["labels"])
        back = tvf.convert_bounding_box_format(other["boxes"], new_format=tv_tensors.BoundingBoxFormat.XYXY)
        torch.testing.assert_close(back.as_subclass(torch.Tensor), plain["boxes"].as_subclass(torch.Tensor))


def test_a_mirrored_layer_is_torchvisions_flip():
    random = torch.Generator().manual_seed(6)
    image = torch.randint(0, 256, (1, 3, HEIGHT, WIDTH), generator=random, dtype=torch.uint8)
    masks = blobs(6, random)
    boxes = tv_tensors.BoundingBoxes(boxes_of_masks(masks).float(), format="XYXY", canvas_size=(HEIGHT, WIDTH))
    plan = placed((HEIGHT, WIDTH), (HEIGHT, WIDTH), scale=(1.0, -1.0), shift=(0.0, float(WIDTH)))
    (ours,) = cd.functional.mix_instances([{"boxes": boxes, "masks": masks}], plan)
    assert torch.equal(cd.functional.mix_pixels(image, plan), tvf.horizontal_flip(image))
    assert torch.equal(ours["masks"], tvf.horizontal_flip(masks))
    assert torch.equal(ours["boxes"], tvf.horizontal_flip(boxes))


@pytest.mark.parametrize(("height", "width"), [(52, 120), (13, 10), (39, 20), (20, 32)])
def test_a_scaled_layer_is_a_resize(height, width):
    """Boxes as ``resize`` maps them; masks as nearest-exact does (pixel centres), which ``NEAREST`` does not."""
    random = torch.Generator().manual_seed(7)
    masks = blobs(20, random)
    masks[0] = True
    boxes = tv_tensors.BoundingBoxes(boxes_within(20, random), format="XYXY", canvas_size=(HEIGHT, WIDTH))
    plan = placed((HEIGHT, WIDTH), (height, width), scale=(height / HEIGHT, width / WIDTH))
    (ours,) = cd.functional.mix_instances([{"masks": masks, "labels": torch.arange(20)}], plan, rule="mmdet")
    theirs = interpolate(masks[:, None].byte(), (height, width), mode="nearest-exact")[:, 0].bool()
    kept = theirs.flatten(1).any(dim=1)
    assert ours["labels"].tolist() == kept.nonzero()[:, 0].tolist()
    assert torch.equal(ours["masks"], theirs[kept])

    (ours,) = cd.functional.mix_instances([{"boxes": boxes, "labels": torch.arange(20)}], plan, rule="mmdet")
    resized = tvf.resize(boxes, [height, width])
    assert ours["labels"].tolist() == list(range(20))
    torch.testing.assert_close(ours["boxes"].as_subclass(torch.Tensor), resized.as_subclass(torch.Tensor))
