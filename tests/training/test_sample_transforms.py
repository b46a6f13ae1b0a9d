"""Transforms of a training sample: instances stay whole, and areas follow what moves them."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from cutmix_dense.training import DenseTrainingDataset
from cutmix_dense.training.sample_transforms import build_transforms, check_rows

SIZE = (40, 60)


def sample_of(*boxes, masks=False, share=0.5):
    """Boxes whose objects fill a share of them; masks have the upper part of the box."""
    corners = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    sides = corners[:, 2:] - corners[:, :2]
    target = {
        "image_id": 3,
        "boxes": tv_tensors.BoundingBoxes(corners, format="XYXY", canvas_size=SIZE),
        "labels": torch.arange(1, len(boxes) + 1),
        "iscrowd": torch.zeros(len(boxes), dtype=torch.int64),
        "area": sides.prod(dim=1) * share,
        "difficult": torch.arange(len(boxes)) % 2,
    }
    if masks:
        maps = torch.zeros(len(boxes), *SIZE, dtype=torch.bool)
        for i, (x0, y0, x1, y1) in enumerate(boxes):
            maps[i, y0 : y0 + round((y1 - y0) * share), x0:x1] = True
        target["masks"] = tv_tensors.Mask(maps)
    return {"image": tv_tensors.Image(torch.zeros(3, *SIZE, dtype=torch.uint8)), "target": target}


def area_after(config, *boxes, **more):
    given = sample_of(*boxes, **more)
    before = copy.deepcopy(given["target"])
    made = build_transforms([config])(given)["target"]
    assert torch.equal(given["target"]["area"], before["area"])
    return made["area"], before["area"], made


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize(
    "config",
    [
        {"type": "Resize", "size": (20, 30)},
        {"type": "Resize", "size": (80, 30)},
        {"type": "ScaleJitter", "target_size": (80, 90), "scale_range": (0.5, 1.5)},
        {"type": "RandomShortestSize", "min_size": [10, 30]},
        {"type": "RandomResize", "min_size": 10, "max_size": 30},
        {"type": "RandomApply", "transforms": [{"type": "Resize", "size": (20, 30)}], "p": 1.0},
    ],
)
def test_areas_follow_a_resize(config, masks):
    area, before, made = area_after(config, (8, 8, 28, 28), (0, 0, 60, 40), masks=masks)
    height, width = made["boxes"].canvas_size
    assert (height, width) != SIZE
    torch.testing.assert_close(area, before * height * width / (40 * 60))


def test_areas_follow_a_crop_by_what_is_left():
    config = {"type": "CenterCrop", "size": (20, 30)}  # rows 10 … 30, columns 15 … 45
    boxes = [(15, 10, 25, 20), (5, 10, 25, 30), (20, 0, 30, 20), (0, 0, 15, 10)]
    area, before, _ = area_after(config, *boxes)
    torch.testing.assert_close(area, before * torch.tensor([1, 0.5, 0.5, 0]))
    area, before, made = area_after(config, *boxes, masks=True)
    torch.testing.assert_close(area, before * torch.tensor([1, 0.5, 0, 0]))
    torch.testing.assert_close(area, made["masks"].as_subclass(torch.Tensor).flatten(1).sum(1).float())
    torch.manual_seed(0)
    config = {"type": "RandomResizedCrop", "size": (80, 90), "scale": (0.2, 0.5)}
    area, before, made = area_after(config, (0, 0, 60, 40))
    torch.testing.assert_close(area, torch.tensor([80 * 90 * 0.5]))  # the whole canvas, half of it the object


@pytest.mark.parametrize("form", ["CXCYWH", "XYWH"])
def test_areas_follow_a_crop_in_every_box_format(form):
    given = sample_of((5, 10, 25, 30))
    corners = given["target"]["boxes"]
    given["target"]["boxes"] = v2.functional.convert_bounding_box_format(corners, new_format=form)
    made = build_transforms([{"type": "CenterCrop", "size": (20, 30)}])(given)["target"]
    torch.testing.assert_close(made["area"], given["target"]["area"] * 0.5)


def test_areas_of_turned_objects_follow_their_masks_alone():
    turn = {"type": "RandomRotation", "degrees": (45, 45)}
    area, before, _ = area_after(turn, (20, 10, 40, 30))
    assert torch.equal(area, before)
    area, before, _ = area_after(turn, (20, 10, 40, 30), masks=True)
    torch.testing.assert_close(area, before, rtol=0.05, atol=0)
    half = {"type": "RandomAffine", "degrees": 0, "scale": (0.5, 0.5)}
    for masks in (False, True):
        area, before, _ = area_after(half, (20, 10, 40, 30), masks=masks)
        torch.testing.assert_close(area, before / 4, rtol=0.1, atol=0)


def test_flips_colours_and_padding_leave_areas_alone():
    for config in (
        {"type": "RandomHorizontalFlip", "p": 1.0},
        {"type": "ColorJitter", "hue": 0.2},
        {"type": "Pad", "padding": 3},
    ):
        area, before, _ = area_after(config, (20, 10, 40, 30))
        assert torch.equal(area, before)


def test_built_transforms_can_be_copied_and_sent_to_workers():
    built = build_transforms([{"type": "Resize", "size": (20, 30)}, {"type": "SanitizeBoundingBoxes"}])
    for other in (copy.deepcopy(built), pickle.loads(pickle.dumps(built))):
        assert other(sample_of((8, 8, 28, 28)))["target"]["area"].tolist() == [50.0]


@pytest.mark.parametrize("masks", [False, True])
def test_what_is_cropped_away_is_sanitized_whole(masks):
    chain = [{"type": "CenterCrop", "size": (20, 30)}, {"type": "SanitizeBoundingBoxes"}]
    given = sample_of((0, 0, 10, 8), (20, 12, 30, 22), (50, 30, 58, 38), (10, 10, 30, 20), masks=masks)
    target = build_transforms(chain)(given)["target"]
    assert target["labels"].tolist() == [2, 4]
    assert target["difficult"].tolist() == [1, 1]
    assert target["boxes"].tolist() == [[5, 2, 15, 12], [0, 0, 15, 10]]
    assert {len(target[key]) for key in ("iscrowd", "area", *(["masks"] if masks else []))} == {2}
    if masks:
        assert torch.equal(target["masks"].as_subclass(torch.Tensor).flatten(1).any(1), torch.tensor([True, True]))
        torch.testing.assert_close(target["area"], target["masks"].as_subclass(torch.Tensor).flatten(1).sum(1).float())
    empty = build_transforms(chain)(sample_of(masks=masks))["target"]
    assert {len(value) for key, value in empty.items() if key != "image_id"} == {0}


def test_the_recipe_of_detection_keeps_instances_together(demo):
    chain = [{"type": "RandomIoUCrop"}, {"type": "SanitizeBoundingBoxes"}, {"type": "RandomHorizontalFlip"}]
    for task in ("detection", "instances"):
        dataset = DenseTrainingDataset(str(demo / "coco"), "train", layout="coco", task=task, transforms=chain)
        plain = DenseTrainingDataset(str(demo / "coco"), "train", layout="coco", task=task)
        fewer = 0
        for index in range(len(dataset)):
            target, before = dataset[index]["target"], plain[index]["target"]
            check_rows(target)
            assert (target["boxes"][:, 2:] > target["boxes"][:, :2]).all()
            fewer += len(before["labels"]) - len(target["labels"])
        assert fewer > 0


def test_keys_of_instances_that_no_longer_fit_are_refused(demo):
    chain = [{"type": "CenterCrop", "size": (10, 10)}, {"type": "SanitizeBoundingBoxes", "labels_getter": None}]
    dataset = DenseTrainingDataset(str(demo / "coco"), "train", layout="coco", transforms=chain)
    told = r"must keep the instances of a target together, got boxes of \d+ and labels of \d+ .*SanitizeBoundingBoxes"
    with pytest.raises(ValueError, match=told):
        [dataset[index] for index in range(len(dataset))]
