"""Annotations that some images of a mix lack, or that have another scale: refused in the framework's own words."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("mmengine", reason="needs MMEngine")

from mmengine.structures import BaseDataElement, InstanceData, PixelData

from cutmix_dense.mmengine import MODELS, TRANSFORMS

H, W = 40, 60
CUT = {"type": "cutmix_dense.CutMix", "p": 1.0, "region": {"type": "AreaBox", "area": (0.3, 0.4)}}


def rows(number, count=2):
    boxes = np.array([[5, 5, 30, 30], [20, 8, 50, 36]], np.float32)[:count]
    masks = np.zeros((count, H, W), np.uint8)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes.astype(int)):
        mask[y0:y1, x0:x1] = 1
    return {
        "bboxes": boxes,
        "labels": np.full(count, number, np.int64),
        "masks": masks,
        "keypoints": np.full((count, 3, 3), 9, np.float32),
        "tracks": np.arange(count),
    }


RESULTS = {"bboxes": "gt_bboxes", "labels": "gt_bboxes_labels", "masks": "gt_masks", "keypoints": "gt_keypoints"}
SETTINGS = {"bboxes": "with_bbox", "labels": "with_label", "masks": "with_mask", "keypoints": "with_keypoints"}


def result(number, lacking=(), count=2, ignored=0):
    given = {RESULTS.get(key, key): value for key, value in rows(number, count).items() if key not in lacking}
    flags = np.arange(count) < ignored
    return {"img": np.full((H, W, 3), number, np.uint8), **given, "gt_ignore_flags": flags}


def sample(number, lacking=(), count=2):
    made = BaseDataElement(metainfo={"img_shape": (H, W)})
    fields = {key: torch.from_numpy(value) for key, value in rows(number, count).items() if key not in lacking}
    made.gt_instances = InstanceData(**fields)
    return made


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("key", ["bboxes", "labels", "masks", "keypoints", "tracks"])
def test_what_one_data_set_alone_has_is_named(key, first):
    if key in RESULTS:
        remedy = rf"give LoadAnnotations the same {SETTINGS[key]} in all data sets"
    else:
        remedy = "give it in all data sets"
    mix = TRANSFORMS.build({**CUT, "instance_keys": ["tracks"]})
    both = [result(1, [key]), result(2)]
    said = rf"the instances of 1 of 2 images lack '{RESULTS.get(key, key)}', which those of the others have: .*{remedy}"
    with pytest.raises(ValueError, match=said):
        mix({**both[first], "mix_results": [both[1 - first]]})
    mix = MODELS.build({**CUT, "instance_keys": ["tracks"]})
    batch = [sample(1, [key]), sample(2), sample(3)]
    said = rf"gt_instances of 1 of 3 images lack '{key}', which those of the others have: "
    with pytest.raises(ValueError, match=said + (remedy if key != "keypoints" else "give it in all data sets")):
        mix(torch.zeros(3, 3, H, W), batch if first else batch[::-1])


def test_images_without_objects_may_lack_masks():
    mix = TRANSFORMS.build({**CUT, "instance_keys": ["tracks"]})
    lacking = result(1, ["masks"], count=0)
    for base, partner in ((lacking, result(200)), (result(200), lacking)):
        mixed = mix({**base, "mix_results": [partner]})
        assert len(np.unique(mixed["img"])) == 2
        assert len(mixed["gt_masks"]) == len(mixed["gt_bboxes"])
        for mask, box in zip(mixed["gt_masks"], mixed["gt_bboxes"]):
            y, x = mask.nonzero()
            assert (mixed["img"][y, x] == 200).all()
            assert box.tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
    images = torch.stack([torch.full((3, H, W), value) for value in (1.0, 200.0)])
    _, after = MODELS.build({**CUT, "instance_keys": ["tracks"]})(images, [sample(1, ["masks"], count=0), sample(200)])
    assert all(len(each.gt_instances.masks) == len(each.gt_instances) for each in after)


def test_ignored_regions_without_masks_are_named_too():
    """They would come back with fewer masks than boxes."""
    mix = TRANSFORMS.build({**CUT, "instance_keys": ["tracks"]})
    with pytest.raises(ValueError, match="the instances of 1 of 2 images lack 'gt_masks'"):
        mix({**result(1, ["masks"], ignored=2), "mix_results": [result(2)]})


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize(("element", "names"), [("gt_sem_seg", "SegRescale"), ("gt_edge_map", "SegRescale")])
@pytest.mark.parametrize("shape", [(1, 5, 8), (1, H, 8), (1, W, H)])
def test_maps_of_another_scale_are_named(element, names, shape, padded):
    batch = [sample(1), sample(2)]
    for each in batch:
        setattr(each, element, PixelData(sem_seg=torch.zeros(shape, dtype=torch.long)))
    images = torch.zeros(2, 3, H + 8, W + 4) if padded else [torch.zeros(3, H, W) for _ in batch]
    mix = MODELS.build({**CUT, "instance_keys": ["tracks"]})
    said = rf"{element} must have the size of its image .*, got \({', '.join(map(str, shape))}\): leave {names} out, or"
    with pytest.raises(ValueError, match=said):
        mix(images, batch)


@pytest.mark.parametrize("padded", [False, True])
def test_maps_may_be_padded_as_the_images_are_or_not(padded):
    batch = [sample(1), sample(2)]
    size = (H + 8, W + 4) if padded else (H, W)
    images = torch.zeros(2, 3, H + 8, W + 4)
    for number, each in enumerate(batch):
        images[number] = number
        each.gt_sem_seg = PixelData(sem_seg=torch.full((1, *size), number))
    mixed, after = MODELS.build({**CUT, "instance_keys": ["tracks"]})(images, batch)
    assert len(mixed[0, 0, :H, :W].unique()) == 2
    for image, each in zip(mixed, after):
        assert torch.equal(each.gt_sem_seg.sem_seg[0, :H, :W], image[0, :H, :W].long())


@pytest.mark.parametrize("key", ["gt_seg_map", "gt_edge_map", "mine"])
def test_maps_of_another_scale_in_a_pipeline_are_named(key):
    mix = TRANSFORMS.build({**CUT, "semantic_keys": ["mine"]})
    both = [{"img": np.full((H, W, 3), number, np.uint8), key: np.zeros((H, W), np.uint8)} for number in (1, 2)]
    assert mix({**both[0], "mix_results": [both[1]]})[key].shape == (H, W)
    for wrong in (0, 1):
        given = [dict(each) for each in both]
        given[wrong][key] = np.zeros((5, 8), np.uint8)
        said = rf"{key} must have the size of its image \({H}, {W}\), got \(5, 8\): put the mix before SegRescale"
        with pytest.raises(ValueError, match=said):
            mix({**given[0], "mix_results": [given[1]]})
