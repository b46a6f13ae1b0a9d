"""MMDetection's losses, weighted by instances: what each position of a head learns, with and without weights."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip("mmdet", reason="needs MMDetection (see README: tests of the frameworks)")
pytest.importorskip("mmcv")

from mmdet import models
from mmdet.models.task_modules.samplers import ScoreHLRSampler
from mmdet.structures.mask import PolygonMasks
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from small_detectors import ALL, DENSE, LEFT, QUERIES, WIDTH, data_samples, pictures, small_detector

from cutmix_dense.losses.swapped import stock_class
from cutmix_dense.mmengine import HOOKS, MODELS, weigh_detector

ONES = [[1.0, 1.0], [1.0]]
HALF = [[0.5, 1.0], [1.0]]
NOTHING = [[0.0, 1.0], [1.0]]


def losses_of(model, samples):
    torch.manual_seed(3)
    losses = model.loss(pictures(), samples)
    return {name: sum(value) if isinstance(value, list) else value for name, value in losses.items()}


def learned(model, head, samples):
    """Losses, and the gradient of every output of a head."""
    outputs = []

    def keep(_, __, output):
        for part in output:
            outputs.extend(part if isinstance(part, (list, tuple)) else [part])

    handle = head.register_forward_hook(keep)
    losses = losses_of(model, samples)
    handle.remove()
    total = sum(value for name, value in losses.items() if "loss" in name)
    return losses, torch.autograd.grad(total, outputs)


def rows_of(name, weights=None, **more):
    return data_samples(weights, masks=name in ("mask", "cascade"), **more)


@pytest.mark.parametrize("name", ALL)
def test_weights_of_one_change_no_bit(name):
    model = small_detector(name)
    stock = losses_of(model, rows_of(name))
    keys = list(model.state_dict())
    assert weigh_detector(model, "visibility") is model
    found = losses_of(model, rows_of(name, ONES))
    assert list(found) == list(stock)
    for key, value in stock.items():
        assert torch.equal(found[key], value), key
    assert list(model.state_dict()) == keys


@pytest.mark.parametrize("name", ALL)
def test_losses_are_lines_in_the_weight_of_an_object(name):
    """Divisors and matches don't depend on weights above 0: half a weight is half of the object's part."""
    model = weigh_detector(small_detector(name), "visibility")
    whole, half, quarter = (losses_of(model, rows_of(name, [[w, 1.0], [1.0]])) for w in (1.0, 0.5, 0.25))
    none = losses_of(model, rows_of(name, [[0.0, 0.0], [0.0]]))
    changed = 0
    for key in whole:
        if "loss" not in key:
            continue
        torch.testing.assert_close(whole[key] - half[key], 2 * (half[key] - quarter[key]), rtol=1e-3, atol=1e-3)
        changed += bool(abs(whole[key] - half[key]) > 1e-6)
        if not any(word in key for word in ("cls", "obj")) or (name, key) == ("yolox", "loss_cls"):
            assert float(none[key].detach()) == 0, "no instance, no term of its own"
        else:
            assert float(none[key].detach()) > 0, "background counts"
    assert changed >= 0.6 * sum("loss" in key for key in whole)


@pytest.mark.parametrize("weight", [0.0, 0.5])
@pytest.mark.parametrize("name", [*DENSE, "faster"])
def test_positions_of_an_object_learn_by_its_weight_and_others_as_before(name, weight):
    model = small_detector(name)
    head = model.rpn_head if name == "faster" else model.bbox_head
    _, stock = learned(model, head, rows_of(name))
    weigh_detector(model, "visibility")
    _, found = learned(model, head, rows_of(name, [[weight, 1.0], [1.0]]))
    touched = 0
    for before, after in zip(stock, found, strict=True):
        assert torch.equal(before[1:], after[1:]), "other images"
        changed = before[0] != after[0]
        torch.testing.assert_close(after[0][changed], weight * before[0][changed], rtol=1e-5, atol=1e-12)
        stride = WIDTH / before.shape[-1]
        centres = (changed.any(0).any(0).nonzero() + 0.5) * stride
        assert ((centres > LEFT[0] - 3 * stride) & (centres < LEFT[2] + 3 * stride)).all(), "where the object is"
        touched += bool(changed.any())
    assert touched >= 2, "class and box terms"


@pytest.mark.parametrize("weight", [0.0, 0.5])
@pytest.mark.parametrize("name", QUERIES)
def test_queries_of_an_object_learn_by_its_weight(name, weight):
    model = small_detector(name)
    _, stock = learned(model, model.bbox_head, rows_of(name))
    weigh_detector(model, "visibility")
    _, found = learned(model, model.bbox_head, rows_of(name, [[weight, 1.0], [1.0]]))
    for before, after in zip(stock, found, strict=True):  # (layers, images, queries, numbers)
        assert torch.equal(before[:, 1:], after[:, 1:]), "other images"
        changed = before[:, 0] != after[:, 0]
        torch.testing.assert_close(after[:, 0][changed], weight * before[:, 0][changed], rtol=1e-5, atol=1e-12)
        per_layer = changed.any(2).sum(1)
        if name == "dino":  # and one denoising query of every group
            assert (per_layer > 1).all()
            assert len(per_layer.unique()) == 1
        else:
            assert (per_layer == 1).all()


@pytest.mark.parametrize("weight", [0.0, 0.5])
@pytest.mark.parametrize("name", ["faster", "mask"])
def test_proposals_of_an_object_learn_by_its_weight(name, weight):
    model = small_detector(name)
    _, (stock_cls, stock_box) = learned(model, model.roi_head.bbox_head, rows_of(name))
    weigh_detector(model, "visibility")
    _, (cls, box) = learned(model, model.roi_head.bbox_head, rows_of(name, [[weight, 1.0], [1.0]]))
    own = (stock_box != box).any(1)
    assert 0 < int(own.sum()) < len(own)
    torch.testing.assert_close(box[own], weight * stock_box[own], rtol=1e-5, atol=1e-12)
    counted = len(own) - (int(own.sum()) if weight == 0 else 0)  # those of weight 0 aren't in this one divisor
    torch.testing.assert_close(cls[own], weight * stock_cls[own], rtol=1e-5, atol=1e-12)
    torch.testing.assert_close(cls[~own] * counted, stock_cls[~own] * len(own), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", ["retinanet", "fcos", "rtmdet", "mask", "dino"])
def test_what_is_ignored_counts_as_an_object_of_no_weight(name):
    model = weigh_detector(small_detector(name), "visibility")
    expected = losses_of(model, rows_of(name, [[1.0, 0.0], [1.0]]))  # the last row, so that the order is the same
    found = losses_of(model, rows_of(name, ONES, ignored=[1]))
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    weigh_detector(model, "visibility", ignored="assigner")
    theirs = losses_of(model, rows_of(name, ONES, ignored=[1]))
    stock = losses_of(small_detector(name), rows_of(name, ignored=[1]))
    assert all(torch.equal(theirs[key], stock[key]) for key in stock)
    assert any(not torch.equal(theirs[key], found[key]) for key in stock)


@pytest.mark.parametrize("name", ["retinanet", "mask", "cascade"])
@pytest.mark.parametrize("polygons", [False, True])
def test_ignored_masks_that_mmdet_did_not_pad_are_padded(name, polygons):
    expected, found = (data_samples(ONES, ignored=[1], masks=True) for _ in range(2))
    for samples in (expected, found):
        for sample in samples if polygons else ():
            sample.gt_instances.masks, sample.ignored_instances.masks = (
                polygons_of(rows.bboxes) for rows in (sample.gt_instances, sample.ignored_instances)
            )
    for sample in found:
        masks = sample.ignored_instances.masks
        size = (masks.height - 24, masks.width - 8)
        sample.ignored_instances.masks = (
            masks.crop(np.array([0, 0, size[1], size[0]])) if not polygons else (PolygonMasks(masks.masks, *size))
        )
    model = weigh_detector(small_detector(name), "visibility")
    wanted = losses_of(model, expected)
    got = losses_of(model, found)
    assert all(torch.equal(got[key], wanted[key]) for key in wanted)


def polygons_of(boxes):
    corners = [[np.array([x0, y0, x1, y0, x1, y1, x0, y1])] for x0, y0, x1, y1 in boxes.tolist()]
    return PolygonMasks(corners, *pictures().shape[-2:])


@pytest.mark.parametrize("name", ["atss", "fcos", "yolox", "faster", "dino"])
def test_copies_weigh_and_predictions_stay(name):
    model = small_detector(name)
    model.eval()
    stock = model.predict(pictures(), rows_of(name))
    weigh_detector(model, "visibility")
    found = model.predict(pictures(), rows_of(name))
    assert all(
        torch.equal(one.pred_instances.scores, other.pred_instances.scores)
        for one, other in zip(stock, found, strict=True)
    )
    model.train()
    twin = copy.deepcopy(model)
    samples = rows_of(name, HALF)
    expected, got = losses_of(model, samples), losses_of(twin, rows_of(name, HALF))
    assert all(torch.equal(expected[key], got[key]) for key in expected)
    assert "loss_weights" not in samples[0].gt_instances, "the samples stay as they are"
    assert stock_class(twin) is stock_class(model) is type(small_detector(name))


@pytest.mark.parametrize("name", ["retinanet", "atss", "fcos", "rtmdet", "yolox", "faster", "dino"])
def test_mixed_batches_train(name):
    model = small_detector(name)
    mix = {"type": "cutmix_dense.CutMix", "p": 1.0, "alpha": 4.0, "on_filtered": "ignore", "min_visibility": 0.5}
    settings = {"type": "cutmix_dense.DetDataPreprocessor", "pad_mask": True}
    with DefaultScope.overwrite_default_scope("mmdet"):
        model.data_preprocessor = MODELS.build({**settings, "augments_before_normalize": [mix]})
    HOOKS.build({"type": "cutmix_dense.WeighLossesHook", "by": "visibility"}).before_train(SimpleNamespace(model=model))
    optimizer = torch.optim.SGD(model.parameters(), 1e-4)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    seen, aside = [], 0
    for step in range(2):
        torch.manual_seed(step)
        data = {"inputs": [(image * 40 + 100).byte() for image in pictures()], "data_samples": data_samples()}
        data = model.data_preprocessor(data, training=True)
        seen += [sample.gt_instances.visibility for sample in data["data_samples"]]
        aside += sum(len(sample.ignored_instances) for sample in data["data_samples"])
        losses, _ = model.parse_losses(model(**data, mode="loss"))
        optimizer.zero_grad()
        losses.backward()
        optimizer.step()
        assert bool(losses.isfinite())
    assert (torch.cat(seen) < 1).any()
    assert aside
    assert any(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_masks_of_a_padded_batch_train(p):
    """Images of several sizes, crowds among their objects, and instances that the mix sets aside."""
    model = small_detector("mask")
    mix = {"type": "cutmix_dense.CutMix", "p": p, "alpha": 4.0, "on_filtered": "ignore", "min_visibility": 0.5}
    settings = {"type": "cutmix_dense.DetDataPreprocessor", "pad_mask": True, "pad_size_divisor": 32}
    with DefaultScope.overwrite_default_scope("mmdet"):
        model.data_preprocessor = MODELS.build({**settings, "augments_before_normalize": [mix]})
    weigh_detector(model, "visibility")
    torch.manual_seed(0)
    data = {"inputs": [(image * 40 + 100).byte() for image in pictures()], "data_samples": data_samples(masks=True)}
    for index, sample in enumerate(data["data_samples"]):
        height, width = pictures().shape[-2] - 8 * index, pictures().shape[-1] - 16
        data["inputs"][index] = data["inputs"][index][:, :height, :width]
        sample.set_metainfo({"img_shape": (height, width)})
        sample.gt_instances.masks = sample.gt_instances.masks.crop(np.array([0, 0, width, height]))
        sample.ignored_instances = copy.deepcopy(sample.gt_instances[:1])
    data = model.data_preprocessor(data, training=True)
    sizes = {sample.ignored_instances.masks.masks.shape[1:] for sample in data["data_samples"]}
    assert len(sizes) == 3
    assert all(size != tuple(data["inputs"].shape[-2:]) for size in sizes), "mmdet didn't pad them"
    assert any(len(sample.ignored_instances) for sample in data["data_samples"])
    losses = model(**data, mode="loss")
    assert float(losses["loss_mask"].detach()) > 0


def test_several_fields_and_functions_are_read():
    model = weigh_detector(small_detector("retinanet"), ("visibility", "share"))
    samples = data_samples([[0.5, 1.0], [1.0]])
    for sample in samples:
        sample.gt_instances.share = torch.full((len(sample.gt_instances),), 0.5)
    found = losses_of(model, samples)
    weigh_detector(model, lambda rows: 0.5 * rows["visibility"])
    assert torch.equal(losses_of(model, data_samples([[0.5, 1.0], [1.0]]))["loss_bbox"], found["loss_bbox"])


def test_what_cannot_be_weighed_is_named_and_nothing_is_changed():
    def refused(change, words, error=TypeError, name="atss"):
        model = small_detector(name)
        change(model)
        with pytest.raises(error, match=words):
            weigh_detector(model, "visibility")
        assert type(model) is stock_class(model), "nothing is swapped"

    refused(lambda model: setattr(model.bbox_head, "__class__", models.VFNetHead), "VFNetHead.*isn't that of ATSSHead")
    refused(lambda model: setattr(model.bbox_head, "__class__", models.TOODHead), "TOODHead")
    refused(lambda model: setattr(model.bbox_head, "__class__", models.CenterNetHead), "CenterNetHead can't be weighed")
    refused(lambda model: setattr(model, "mask_head", copy.deepcopy(model.bbox_head)), "ATSS.mask_head has losses")
    refused(lambda model: model.bbox_head.train_cfg.update(pos_weight=2.0), "pos_weight must be -1", ValueError)
    refused(lambda model: delattr(model, "bbox_head"), "no head")

    def sampled_by_loss(model):
        model.roi_head.bbox_sampler.__class__ = ScoreHLRSampler

    refused(sampled_by_loss, "got ScoreHLRSampler", name="faster")
    refused(lambda model: setattr(model.roi_head.mask_head.loss_mask, "use_mask", False), "use_mask", name="mask")
    refused(lambda model: setattr(model.roi_head, "__class__", models.PISARoIHead), "PISARoIHead", name="faster")
    with pytest.raises(TypeError, match="detector of MMDetection, got Linear"):
        weigh_detector(torch.nn.Linear(2, 2), "visibility")
    with pytest.raises(ValueError, match="ignored must be one of"):
        weigh_detector(small_detector("atss"), "visibility", ignored="drop")
    with pytest.raises(TypeError, match="by must be a key"):
        HOOKS.build({"type": "cutmix_dense.WeighLossesHook", "by": 0.5})
    with pytest.raises(ValueError, match="ignored must be one of"):
        HOOKS.build({"type": "cutmix_dense.WeighLossesHook", "ignored": "drop"})


def test_missing_fields_are_named():
    model = weigh_detector(small_detector("retinanet"), "visibility")
    with pytest.raises(KeyError, match=r"data_samples\[0\].gt_instances has no 'visibility'.*model.data_preprocessor"):
        losses_of(model, data_samples())
    samples = data_samples(ONES, masks=True)
    samples[0].ignored_instances = InstanceData(bboxes=torch.tensor([LEFT]), labels=torch.tensor([1]))
    with pytest.raises(ValueError, match=r"ignored_instances lack \['masks'\]"):
        losses_of(model, samples)


def test_weights_of_mixup_reach_the_losses():
    """Two blended pictures: both images' objects count by their shares."""
    mix = MODELS.build({"type": "cutmix_dense.MixUp", "p": 1.0, "lam": 0.75, "pairing": "roll"})
    _, mixed = mix(pictures(2), data_samples()[:2])
    assert sorted({round(value, 2) for sample in mixed for value in sample.gt_instances.weight.tolist()}) == [
        0.25,
        0.75,
    ]
    model = small_detector("fcos")
    stock = losses_of(model, [*copy.deepcopy(mixed), data_samples()[2]])
    found = losses_of(weigh_detector(model, "weight"), [*mixed, data_samples()[2]])
    assert 0.2 * stock["loss_bbox"] < found["loss_bbox"] < 0.8 * stock["loss_bbox"]
