"""SampleBank where images of a batch are one tensor, and batches differ in size: partners are cut by the mix alone."""

from __future__ import annotations

import pytest
import torch
from torchvision import tv_tensors

import cutmix_dense as cd

SIZES = ((24, 36), (20, 28), (30, 22))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(k: int, wrapped: bool = False) -> tuple[torch.Tensor, list[dict], torch.Tensor]:
    """Two images with one object each, painted with its own number in image, mask and map."""
    height, width = SIZES[k % 3]
    images, maps = torch.zeros(2, 3, height, width), torch.zeros(2, height, width, dtype=torch.uint8)
    rows = []
    for index in range(2):
        number, x, y = 1 + 2 * k + index, slice(2 + index, width - 5 + index), slice(3, height - 4)
        images[index, :, y, x] = number
        maps[index, y, x] = number
        mask = (maps[index] > 0)[None]
        box = torch.tensor([[x.start, y.start, x.stop, y.stop]]).float()
        row = {"boxes": box, "labels": torch.tensor([number]), "masks": mask, "semantic": maps[index]}
        row["area"] = mask.sum(dim=(1, 2)).float()
        rows.append({k: tv_tensors.Mask(v) if wrapped and k in ("masks", "semantic") else v for k, v in row.items()})
    return images, rows, maps


METHODS = {
    "CutMix": {},
    "CopyPaste": {},
    "FMix": {},
    "GridMix": {},
    "RICAP": {},
    "StripeMix": {},
    "ClassMix": {},
    "Mosaic": {"interpolation": "nearest"},
    "ResizeMix": {"interpolation": "nearest"},
}


@pytest.mark.parametrize("form", ["rows", "wrapped", "named"])
@pytest.mark.parametrize("method", METHODS)
def test_pixels_boxes_masks_and_maps_agree(method, form):
    mix = getattr(cd, method)(p=1.0, pairing="bank", min_visibility=0.0, **METHODS[method])
    partners = 0
    for k in range(24):
        images, rows, maps = batch(k, form == "wrapped")
        mixed, targets = mix(images, {"a": rows, "semantic": maps} if form == "named" else rows, generator=seeded(k))
        assert mixed.shape == images.shape
        assert mixed.is_contiguous()
        found = targets["a"] if form == "named" else targets
        shown = targets["semantic"] if form == "named" else [row["semantic"] for row in targets]
        for image, row, classes, own in zip(mixed[:, 0], found, shown, rows):
            assert torch.equal(classes[classes != 255].float(), image[classes != 255])
            for box, label, mask in zip(row["boxes"], row["labels"], row["masks"]):
                assert mask.shape == image.shape
                assert (image[mask.bool()] == label).all()
                y, x = mask.nonzero(as_tuple=True)
                assert box.tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
                partners += int(label != own["labels"])
            assert row["area"].tolist() == [mask.sum() for mask in row["masks"]] or method in ("Mosaic", "ResizeMix")
    assert partners > 10


def test_visibility_counts_what_a_smaller_batch_does_not_show():
    mix = cd.MixUp(p=1.0, pairing="bank")
    whole = {"boxes": torch.tensor([[19.0, 13, 35, 23]]), "labels": torch.tensor([7]), "area": torch.tensor([160.0])}
    mix(torch.rand(1, 3, 24, 36), [whole])
    base = {"boxes": torch.tensor([[2.0, 2, 12, 12]]), "labels": torch.tensor([9]), "area": torch.tensor([100.0])}
    _, (row,) = mix(torch.rand(1, 3, 20, 28), [base], generator=seeded(0))
    pasted = row["labels"].tolist().index(7)
    assert row["boxes"][pasted].tolist() == [19, 13, 28, 20]
    assert row["visibility"][pasted] == pytest.approx(63 / 160)
    assert row["area"][pasted] == 63


def test_boxes_in_shares_of_the_frame_are_shares_of_the_batch_s_own():
    mix = cd.MixUp(p=1.0, pairing="bank", box_format="cxcywh", normalized="frame")
    mix(torch.rand(1, 3, 40, 80), [{"boxes": torch.tensor([[0.25, 0.25, 0.25, 0.25]]), "labels": torch.tensor([7])}])
    base = {"boxes": torch.tensor([[0.5, 0.5, 0.5, 0.5]]), "labels": torch.tensor([9])}
    _, (row,) = mix(torch.rand(1, 3, 20, 40), [base], generator=seeded(0))
    boxes = dict(zip(row["labels"].tolist(), row["boxes"].tolist()))
    assert boxes[9] == [0.5, 0.5, 0.5, 0.5]
    assert boxes[7] == [0.5, 0.5, 0.5, 0.5]  # 20 × 10 pixels round (20, 10)


def test_out_has_the_batch_s_size_and_is_checked_before_anything_is_written():
    mix = cd.CutMix(p=1.0, pairing="bank")
    mix(batch(0)[0])
    images = batch(1)[0]
    out = torch.zeros_like(images)
    assert mix(images, out=out, generator=seeded(1)) is out
    assert torch.equal(out, mix_again(images, seeded(1)))
    with pytest.raises(ValueError, match=r"out must be torch.float32 of shape \(2, 3, 20, 28\)"):
        mix(images, out=torch.zeros(2, 3, 24, 36))


def mix_again(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    mix = cd.CutMix(p=1.0, pairing="bank")
    mix(batch(0)[0])
    return mix(images, generator=generator)


def test_an_output_size_of_its_own_stays():
    mix = cd.Mosaic(p=1.0, pairing="bank", size=(24, 36))
    for k in range(4):
        assert mix(batch(k)[0]).shape == (2, 3, 24, 36)


@pytest.mark.parametrize("size", [0, 1, 2])
def test_channels_last_stays(size):
    mix = cd.CutMix(p=1.0, pairing="bank")
    mix(batch(size)[0])
    images = batch(1)[0].contiguous(memory_format=torch.channels_last)
    assert mix(images).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("valid", [True, False])
def test_padded_boxes_with_other_numbers_of_slots(valid):
    mix = cd.CutMix(p=1.0, pairing="bank", min_visibility=0.0)
    pasted = 0
    for k in range(12):
        images, rows, _ = batch(k)
        slots = 1 + k % 3
        boxes = torch.cat([row["boxes"] for row in rows])[:, None].repeat(1, slots, 1)
        labels = torch.cat([row["labels"] for row in rows])[:, None].repeat(1, slots)
        padded = {"boxes": boxes, "labels": labels}
        if valid:
            padded["valid"] = torch.arange(slots).expand(2, -1) == 0
            boxes[:, 1:] = 0
        mixed, targets = mix(images, padded, generator=seeded(k))
        assert mixed.shape == images.shape
        for image, place, label, filled in zip(mixed[:, 0], targets["boxes"], targets["labels"], targets["valid"]):
            for box, number in zip(place[filled].int().tolist(), label[filled]):
                y, x = (image == number).nonzero(as_tuple=True)
                assert box == [x.min(), y.min(), x.max() + 1, y.max() + 1]
                pasted += int(number <= 2 * k)
    assert pasted


def test_messages_name_samples_of_the_bank():
    mix = cd.CutMix(p=1.0, pairing="bank")
    target = {"boxes": torch.tensor([[2.0, 3, 20, 18]]), "labels": torch.tensor([1])}
    mix(torch.rand(1, 3, 24, 36), [target])
    masked = {**target, "masks": torch.ones(1, 24, 36, dtype=torch.bool)}
    with pytest.raises(ValueError, match=r"^sample 0 of the bank has 1 instances but no 'masks'.* False in 'has_mask'"):
        mix(torch.rand(1, 3, 24, 36), [masked])
    with pytest.raises(ValueError, match=r"^targets\[0\] has 1 instances but no 'labels'"):
        mix(torch.rand(1, 3, 24, 36), [{"boxes": target["boxes"]}])


def test_boxes_of_a_padded_batch_state_the_size_of_their_image(recwarn):
    mix = cd.CutMix(p=1.0, pairing="bank")
    for k, frame in enumerate([(24, 36), (30, 40), (20, 28)]):
        boxes = tv_tensors.BoundingBoxes([[2.0, 3, 12, 13]], format="XYXY", canvas_size=frame)
        sizes = torch.tensor([[18, 26]])
        mix(torch.rand(1, 3, *frame), [{"boxes": boxes, "labels": torch.tensor([1])}], sizes=sizes, generator=seeded(k))
    assert not [warning for warning in recwarn if "canvas" in str(warning.message)]


def test_boxes_of_a_batch_smaller_than_the_bank_s_images_warn_of_nothing(recwarn):
    mix = cd.CutMix(p=1.0, pairing="bank")
    for frame in ((30, 40), (20, 28)):
        boxes = tv_tensors.BoundingBoxes([[2.0, 3, 12, 13]], format="XYXY", canvas_size=frame)
        target = {"boxes": boxes, "labels": torch.tensor([1])}
        _, (mixed,) = mix(torch.rand(1, 3, *frame), [target], sizes=[[18, 24]], generator=seeded(0))
        assert tuple(mixed["boxes"].canvas_size) in ((18, 24), frame)
    assert not [warning for warning in recwarn if "canvas" in str(warning.message)]
