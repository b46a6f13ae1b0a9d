"""Batch mixes of data samples whose tensors lie on a device: the results, and how often the host waits."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("mmdet", reason="needs MMDetection (see README: tests of the frameworks)")

from mmdet.structures import DetDataSample
from mmdet.structures.mask import BitmapMasks
from mmengine.structures import BaseDataElement, InstanceData, PixelData
from stand_in import StandIn, fetch, send
from test_device_path import SIZE, batch

from cutmix_dense.mmengine import MODELS


def data_samples(masks, place):
    _, kinds = batch()
    made = []
    for target, semantic in zip(kinds["instances"], kinds["semantic"]):
        sample = DetDataSample(metainfo={"img_shape": SIZE, "pad_shape": SIZE, "batch_input_shape": SIZE})
        count = len(target["labels"])
        rows = {key: target[key] for key in ("labels", "area")} | {"bboxes": target["boxes"]}
        own, ignored = (
            {key: place(value[part].clone()) for key, value in rows.items()}
            for part in (slice(min(count, 1), None), slice(0, min(count, 1)))
        )
        if masks:
            stack = target["masks"].numpy().astype(np.uint8)
            own["masks"], ignored["masks"] = (
                BitmapMasks(part, *SIZE) for part in (stack[min(count, 1) :], stack[: min(count, 1)])
            )
        sample.gt_instances, sample.ignored_instances = InstanceData(**own), InstanceData(**ignored)
        sample.gt_sem_seg = PixelData(sem_seg=place(semantic[None].clone()))
        made.append(sample)
    return made


@pytest.mark.parametrize(("masks", "waits"), [(False, 1), (True, 3)])
def test_data_samples_on_a_device(masks, waits):
    images = batch()[0].float()
    mix = MODELS.build({"type": "cutmix_dense.CutMix", "p": 1.0})
    torch.manual_seed(3)
    expected, there = mix(images.clone(), data_samples(masks, lambda tensor: tensor))
    torch.manual_seed(3)
    with StandIn() as device:
        mixed, found = mix(send(images.clone()), data_samples(masks, send))
    assert torch.equal(fetch(mixed), expected)
    for one, other in zip(found, there, strict=True):
        assert torch.equal(fetch(one.gt_sem_seg.sem_seg), other.gt_sem_seg.sem_seg)
        for ours, theirs in ((one.gt_instances, other.gt_instances), (one.ignored_instances, other.ignored_instances)):
            assert set(ours.keys()) == set(theirs.keys())
            for key, value in theirs.items():
                if key == "masks":
                    assert np.array_equal(ours.masks.masks, value.masks)
                else:
                    assert torch.equal(fetch(ours[key]), value), key
                    assert ours[key].device != value.device
    assert len(device.waits) == waits, "the verdict; with masks, which lie on the host, one for each kind of row"


def test_fields_that_are_arrays_come_along():
    images = batch()[0].float()
    samples = data_samples(False, lambda tensor: tensor)
    for sample in samples:
        for rows in (sample.gt_instances, sample.ignored_instances):
            rows.area = rows.area.numpy()
    mix = MODELS.build({"type": "cutmix_dense.CutMix", "p": 1.0})
    _, mixed = mix(images, samples)
    assert all(len(sample.gt_instances.area) == len(sample.gt_instances.labels) for sample in mixed)


def test_rows_of_the_host_beside_rows_of_a_device():
    """As MMPose has them: arrays in ``gt_instances``, tensors of the same instances in ``gt_instance_labels``."""

    def posed(place):
        made = []
        for sample in data_samples(False, lambda tensor: tensor):
            rows = sample.gt_instances
            points = torch.cat([rows.bboxes[:, :2], rows.bboxes.reshape(-1, 2, 2).mean(dim=1)], dim=1).reshape(-1, 2, 2)
            fields = {"bboxes": rows.bboxes, "keypoints": points, "keypoints_visible": torch.ones(len(points), 2)}
            one = BaseDataElement(metainfo={"img_shape": SIZE})
            one.gt_instances = InstanceData(**{key: value.numpy().copy() for key, value in fields.items()})
            placed = {key: place(value.clone()) for key, value in {**fields, "labels": rows.labels}.items()}
            one.gt_instance_labels = InstanceData(**placed)
            made.append(one)
        return made

    images = batch()[0].float()
    mix = MODELS.build({"type": "cutmix_dense.CutMix", "p": 1.0})
    torch.manual_seed(3)
    expected, there = mix(images.clone(), posed(lambda tensor: tensor))
    torch.manual_seed(3)
    with StandIn():
        mixed, found = mix(send(images.clone()), posed(send))
    assert torch.equal(fetch(mixed), expected)
    hidden = 0
    for one, other in zip(found, there, strict=True):
        for key, value in other.gt_instances.items():
            assert np.array_equal(one.gt_instances[key], value), key
        for key, value in other.gt_instance_labels.items():
            assert torch.equal(fetch(one.gt_instance_labels[key]), value), key
            assert one.gt_instance_labels[key].device != value.device, key
        hidden += int((other.gt_instance_labels.keypoints_visible == 0).sum())
    assert hidden > 0


def test_samples_of_another_number_are_refused():
    mix = MODELS.build({"type": "cutmix_dense.CutMix", "p": 1.0})
    images = [torch.zeros(3, *SIZE)] * 2
    with pytest.raises(ValueError, match=r"data_samples must be one per image \(2\), got 1"):
        mix(images, [BaseDataElement(metainfo={"img_shape": SIZE})])
