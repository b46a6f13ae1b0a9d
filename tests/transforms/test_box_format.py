"""Declared formats of plain boxes: what comes in is what goes out, and pixels in between."""

from __future__ import annotations

import pytest
import torch
from torchvision import tv_tensors
from torchvision.ops import box_convert

import cutmix_dense as cd
from cutmix_dense.regions import AreaBox, ObjectBox

SIZES = torch.tensor([[20, 30], [18, 26], [12, 30]])
FRAME = (20, 30)
CORNERS = [
    torch.tensor([[2.0, 3, 12, 13], [20, 5, 29, 19]]),
    torch.tensor([[1.0, 1, 9, 11], [12.5, 2.25, 25, 17]]),
    torch.tensor([[5.0, 0, 25, 12]]),
]


def units(normalized, size):
    height, width = FRAME if normalized == "frame" else size
    return torch.tensor([width, height, width, height] if normalized else [1.0] * 4)


def given(corners, box_format, normalized, size):
    return box_convert(corners, "xyxy", box_format) / units(normalized, size)


def taken(boxes, box_format, normalized, size):
    return box_convert(boxes * units(normalized, size), box_format, "xyxy")


def images():
    return torch.stack([torch.full((3, *FRAME), float(i)) for i in range(3)])


def targets_in(box_format, normalized):
    return [
        {
            "boxes": given(corners, box_format, normalized, size),
            "labels": torch.arange(len(corners)),
            "ignored": {"boxes": given(corners[:1] / 2, box_format, normalized, size)},
        }
        for corners, size in zip(CORNERS, SIZES.tolist())
    ]


FORMATS = pytest.mark.parametrize("box_format", ["xyxy", "xywh", "cxcywh"])
NORMALIZED = pytest.mark.parametrize("normalized", [False, True, "frame"])


@FORMATS
@NORMALIZED
@pytest.mark.parametrize(
    "make",
    [
        lambda **s: cd.CutMix(p=1.0, region=AreaBox((0.3, 0.6)), **s),
        lambda **s: cd.CutMix(p=1.0, region=ObjectBox(), **s),
        lambda **s: cd.ResizeMix(p=1.0, **s),
        lambda **s: cd.Mosaic(**s),
        lambda **s: cd.CopyPaste(p=1.0, **s),
        lambda **s: cd.MixUp(p=1.0, **s),
    ],
)
def test_the_same_as_corners_in_pixels(make, box_format, normalized):
    mix = make(box_format=box_format, normalized=normalized)
    plan = mix.make_plan(images(), targets_in(box_format, normalized), sizes=SIZES, generator=seeded())
    mixed, out = mix(images(), targets_in(box_format, normalized), sizes=SIZES, generator=seeded())
    plain, expected = make()(images(), targets_in("xyxy", False), sizes=SIZES, generator=seeded())
    assert torch.equal(mixed, plain)
    assert (mixed != images()).any()
    assert any((target["origin"][:, 0] != index).any() for index, target in enumerate(out))
    for target, other, size in zip(out, expected, plan.canvas.tolist()):
        for ours, theirs in ((target, other), (target["ignored"], other["ignored"])):
            assert ours["boxes"].dtype == torch.float32
            assert torch.allclose(taken(ours["boxes"], box_format, normalized, size), theirs["boxes"], atol=1e-4)
            assert torch.equal(ours["origin"], theirs["origin"])


def seeded(seed=3):
    return torch.Generator().manual_seed(seed)


@FORMATS
@NORMALIZED
def test_untouched_boxes_come_back_bit_by_bit(box_format, normalized):
    random = seeded()
    boxes = torch.rand(500, 2, generator=random) * torch.tensor([20.0, 12.0])
    corners = torch.cat([boxes, boxes + 0.5 + 5 * torch.rand(500, 2, generator=random)], dim=1)
    targets = [{"boxes": given(corners, box_format, normalized, (19, 27)), "labels": torch.arange(500)}] * 2
    mix = cd.CutMix(p=0.0, box_format=box_format, normalized=normalized)
    _, out = mix(torch.rand(2, 3, *FRAME), targets, sizes=[[19, 27], [19, 27]])
    assert torch.equal(out[0]["boxes"], targets[0]["boxes"])


@NORMALIZED
def test_images_of_a_list_have_their_own_unit(normalized):
    pictures = [torch.full((3, *size), float(i)) for i, size in enumerate(SIZES.tolist())]
    unit = bool(normalized)
    targets = [
        {"boxes": given(c, "cxcywh", unit, s), "labels": torch.arange(len(c))} for c, s in zip(CORNERS, SIZES.tolist())
    ]
    mix = cd.CutMix(p=1.0, region=AreaBox((1, 1), (1, 1)), box_format="cxcywh", normalized=normalized)
    mixed, out = mix(pictures, targets)
    plain = [{"boxes": c, "labels": torch.arange(len(c))} for c in CORNERS]
    same, expected = cd.CutMix(p=1.0, region=AreaBox((1, 1), (1, 1)))(pictures, plain)
    for a, b, image, other in zip(out, expected, mixed, same):
        assert torch.equal(image, other)
        assert torch.allclose(taken(a["boxes"], "cxcywh", unit, image.shape[1:]), b["boxes"], atol=1e-4)


@FORMATS
@NORMALIZED
def test_padded_boxes(box_format, normalized):
    boxes = torch.zeros(3, 2, 4)
    valid = torch.zeros(3, 2, dtype=torch.bool)
    for index, (corners, size) in enumerate(zip(CORNERS, SIZES.tolist())):
        boxes[index, : len(corners)] = given(corners, box_format, normalized, size)
        valid[index, : len(corners)] = True
    settings = {"p": 1.0, "region": AreaBox((0.3, 0.6))}
    _, out = cd.CutMix(**settings, box_format=box_format, normalized=normalized)(
        images(), {"boxes": boxes, "valid": valid}, sizes=SIZES, generator=seeded()
    )
    _, rows = cd.CutMix(**settings)(images(), targets_in("xyxy", False), sizes=SIZES, generator=seeded())
    for index, (row, size) in enumerate(zip(rows, SIZES.tolist())):
        kept = out["boxes"][index][out["valid"][index]]
        assert torch.allclose(taken(kept, box_format, normalized, size), row["boxes"], atol=1e-4)


def test_whole_numbers_and_other_precisions_are_kept():
    whole = [{"boxes": torch.tensor([[3, 4, 10, 8]]), "labels": torch.tensor([i])} for i in range(2)]
    mix = cd.CutMix(p=1.0, region=AreaBox((1, 1), (1, 1)), box_format="xywh")
    _, out = mix(images()[:2], whole)
    assert out[0]["boxes"].dtype == torch.long
    assert [target["boxes"].tolist() for target in out] == [[[3, 4, 10, 8]]] * 2
    assert [target["labels"].tolist() for target in out] == [[1], [0]]
    half = [{"boxes": torch.tensor([[0.5, 0.5, 0.25, 0.25]], dtype=torch.float16)}] * 2
    _, out = cd.CutMix(p=1.0, box_format="cxcywh", normalized=True)(images()[:2], half)
    assert out[0]["boxes"].dtype == torch.float16


def test_tv_tensors_say_it_themselves():
    boxes = tv_tensors.BoundingBoxes([[2.0, 3, 10, 10]], format="XYWH", canvas_size=FRAME)
    targets = [{"boxes": boxes, "labels": torch.tensor([i])} for i in range(2)]
    mix = cd.CutMix(p=1.0, region=AreaBox((1, 1), (1, 1)), box_format="cxcywh", normalized=True)
    mixed, out = mix(images()[:2], targets)
    assert mixed[:, 0, 0, 0].tolist() == [1, 0]
    assert all(torch.equal(target["boxes"], boxes) for target in out)


def test_a_bank_keeps_pixels():
    mix = cd.CutMix(p=1.0, region=AreaBox((1, 1), (1, 1)), pairing="bank", box_format="cxcywh", normalized=True)

    def batch(index, size):
        corners = torch.tensor([[2.0, 3, 12, 13]])
        target = {"boxes": given(corners, "cxcywh", True, size), "labels": torch.tensor([index])}
        return torch.full((1, 3, *size), float(index)), [target]

    mix(*batch(0, (20, 30)))
    mixed, out = mix(*batch(1, (40, 50)))  # the stored image is smaller, its box lies where it lay
    assert mixed.unique().tolist() == [0, 1]
    pasted = out[0]["labels"] == 0
    assert taken(out[0]["boxes"][pasted], "cxcywh", True, (40, 50)).tolist() == [
        pytest.approx([2, 3, 12, 13], abs=1e-3)
    ]


def test_clips_and_volumes():
    clip = torch.stack([torch.full((2, 3, *FRAME), float(i)) for i in range(2)])
    boxes = given(CORNERS[0][:1], "cxcywh", True, FRAME)
    frames = [[{"boxes": boxes, "labels": torch.tensor([i])} for _ in range(2)] for i in range(2)]
    whole = AreaBox((1, 1), (1, 1))
    mix = cd.CutMix(p=1.0, region=whole, layout="BTCHW", box_format="cxcywh", normalized=True)
    mixed, out = mix(clip, frames)
    assert mixed[:, 0, 0, 0, 0].tolist() == [1, 0]
    assert all(torch.allclose(frame["boxes"], boxes) for clip in out for frame in clip)
    volume = torch.stack([torch.full((1, 10, *FRAME), float(i)) for i in range(2)])
    box = torch.tensor([[0.5, 0.5, 0.5, 0.2, 0.4, 0.6]])
    targets = [{"boxes": box, "labels": torch.tensor([i])} for i in range(2)]
    mix = cd.CutMix(p=1.0, layout="BCDHW", box_format="cxcywh", normalized=True, min_visibility=0)
    mixed, out = mix(volume, targets, generator=seeded())
    same, plain = cd.CutMix(p=1.0, layout="BCDHW", min_visibility=0)(
        volume,
        [{"boxes": torch.tensor([[12.0, 6, 2, 18, 14, 8]]), "labels": torch.tensor([i])} for i in range(2)],
        generator=seeded(),
    )
    assert torch.equal(mixed, same)
    unit = torch.tensor([30.0, 20, 10])
    for a, b in zip(out, plain):
        centre, side = (a["boxes"] * unit.repeat(2)).chunk(2, dim=1)
        assert torch.allclose(torch.cat([centre - side / 2, centre + side / 2], dim=1), b["boxes"], atol=1e-4)


def test_given_boxes_are_not_changed():
    targets = targets_in("cxcywh", True)
    before = [target["boxes"].clone() for target in targets]
    cd.CutMix(p=1.0, box_format="cxcywh", normalized=True)(images(), targets, sizes=SIZES)
    assert all(torch.equal(target["boxes"], boxes) for target, boxes in zip(targets, before))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"box_format": "yolo"}, "box_format must be one of"),
        ({"normalized": "width"}, "normalized must be True, False"),
    ],
)
def test_unknown_formats_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        cd.CutMix(**settings)
