"""The models: losses for odd targets, predictions at the size of the targets."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from torchvision import tv_tensors

import cutmix_dense as cd
from cutmix_dense.functional.semantic import SemanticPair
from cutmix_dense.training import Classifier, Detector, Segmenter, TrainingError
from cutmix_dense.training.detector import training_targets
from cutmix_dense.training.segmenter import SmallUNet, semantic_loss

SMALL = {"type": "small_fcos", "widths": (8, 8, 8), "levels": 2, "channels": 32, "convs": 1}


def boxes_target(boxes, size=(48, 64), **more):
    boxes = torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    return {
        "image_id": "a",
        "boxes": tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=size),
        "labels": torch.ones(len(boxes), dtype=torch.int64),
        "iscrowd": torch.zeros(len(boxes), dtype=torch.int64),
        "orig_size": size,
        **more,
    }


def test_crowds_and_boxes_without_area_are_left_out():
    target = boxes_target([[0, 0, 9, 9], [5, 5, 5, 9], [1, 1, 8, 8], [9, 9, 3, 3]])
    target["iscrowd"][2] = 1
    target["ignored"] = {"boxes": torch.ones(3, 4)}
    target["masks"] = tv_tensors.Mask(torch.ones(4, 48, 64, dtype=torch.bool))
    (kept,) = training_targets([target])
    assert kept["boxes"].tolist() == [[0, 0, 9, 9]]
    assert len(kept["labels"]) == len(kept["masks"]) == 1
    assert kept.keys() == {"boxes", "labels", "masks"}


@pytest.mark.parametrize("network", [SMALL, {"type": "fasterrcnn_mobilenet_v3_large_320_fpn", "max_size": 64}])
def test_a_detector_trains_on_odd_targets(network):
    model = Detector(3, network)
    targets = [
        boxes_target([[0, 0, 20, 20], [5, 5, 5, 9]], ignored={"boxes": torch.ones(3, 4)}),
        boxes_target([]),
        boxes_target([[1, 1, 30, 40]], iscrowd=torch.tensor([1])),
    ]
    losses = model(torch.randn(3, 3, 48, 64), targets, mode="loss")
    assert all(name.startswith("loss") for name in losses)
    total = sum(losses.values())
    assert torch.isfinite(total)
    total.backward()


@pytest.mark.parametrize("seed", range(4))
def test_every_pixel_reaches_to_all_sides_before_training(seed):
    torch.manual_seed(seed)
    network = Detector(3, {**SMALL, "reach": 1.0}).network
    found = network.head(list(network.backbone(torch.rand(2, 3, 48, 64)).values()))["bbox_regression"]
    torch.testing.assert_close(found, torch.ones_like(found), rtol=0, atol=0.5)


def test_detections_come_back_at_the_size_of_the_file():
    model = Detector(3, {**SMALL, "score_thresh": 0.0, "topk_candidates": 20}).eval()
    images = torch.randn(1, 3, 24, 32)
    target = boxes_target([[0, 0, 200, 200]], size=(240, 640))
    (raw,) = model(images, mode="tensor")
    (sample,) = model(images, [target], mode="predict")
    known = raw["labels"] > 0  # torchvision's FCOS may name the background
    assert 0 < known.sum() < len(known)
    expected = raw["boxes"][known] * torch.tensor([20.0, 10.0, 20.0, 10.0])
    torch.testing.assert_close(sample["prediction"]["boxes"], expected)
    assert torch.equal(sample["prediction"]["labels"], raw["labels"][known])
    assert sample["target"]["boxes"].tolist() == [[0, 0, 200, 200]]
    assert sample["image_id"] == "a"


def check_it_learns_one_scene(model, size, squares, steps, rate, near):
    """Train a detector on two images with a square each, and find both."""
    images, targets = torch.zeros(2, 3, *size), []
    for i, (x, y, side) in enumerate(squares):
        images[i, i, y : y + side, x : x + side] = 3.0
        targets.append(boxes_target([[x, y, x + side, y + side]], size, labels=torch.tensor([i + 1])))
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    for _ in range(steps):
        loss = sum(model(images, targets, mode="loss").values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for sample, target in zip(model.eval()(images, targets, mode="predict"), targets):
        best = sample["prediction"]["scores"].argmax()
        assert sample["prediction"]["labels"][best] == target["labels"][0]
        assert (sample["prediction"]["boxes"][best] - target["boxes"][0]).abs().max() < near


def test_a_small_detector_learns_one_scene():
    torch.manual_seed(0)
    check_it_learns_one_scene(Detector(3, SMALL), (48, 64), [(6, 8, 16), (34, 20, 20)], steps=60, rate=1e-2, near=4)


@pytest.mark.parametrize("network", ["maskrcnn_mobile", "small_maskrcnn"])
def test_mask_rcnn_gives_losses_and_masks_at_the_size_of_the_file(network):
    settings = {"type": network, "box_score_thresh": 0.0, "box_detections_per_img": 5}
    model = Detector(3, settings, own_resize=False)
    masks = torch.zeros(1, 64, 64, dtype=torch.bool)
    masks[:, 4:40, 8:50] = True
    target = boxes_target([[8, 4, 50, 40]], size=(64, 64), masks=tv_tensors.Mask(masks))
    losses = model(torch.randn(2, 3, 64, 64), [target, boxes_target([], masks=masks[:0])], mode="loss")
    assert "loss_mask" in losses
    assert torch.isfinite(sum(losses.values()))
    (sample,) = model.eval()(torch.randn(1, 3, 64, 64), [{**target, "orig_size": (96, 128)}], mode="predict")
    found = sample["prediction"]["masks"]
    assert found.dtype == torch.bool
    assert found.shape == (len(sample["prediction"]["boxes"]), 96, 128)


def test_the_loss_of_hard_maps_is_the_cross_entropy_of_pixels_that_count():
    logits = torch.randn(2, 4, 5, 6)
    maps = torch.randint(0, 4, (2, 5, 6), dtype=torch.uint8)
    maps[0, :3] = 255
    expected = F.cross_entropy(logits, maps.long(), ignore_index=255)
    torch.testing.assert_close(semantic_loss(logits, list(maps)), expected)
    nothing = semantic_loss(logits.requires_grad_(), [torch.full((5, 6), 255)] * 2)
    assert nothing == 0
    nothing.backward()


@pytest.mark.parametrize("form", ["pair", "probabilities"])
def test_the_loss_of_a_blend_weighs_both_maps(form):
    images = torch.zeros(2, 3, 5, 6, dtype=torch.uint8)
    maps = torch.randint(0, 4, (2, 5, 6), dtype=torch.uint8)
    maps[1, 0] = 255
    maps[:, 1, 1] = 255
    mix = cd.MixUp(p=1.0, soft_semantic=form, num_classes=4, semantic_keys=("semantic",))
    targets = [{"image_id": i, "semantic": tv_tensors.Mask(item)} for i, item in enumerate(maps)]
    _, mixed = mix(images, targets, generator=torch.Generator().manual_seed(1))
    _, pairs = cd.MixUp(p=1.0)(images, targets, generator=torch.Generator().manual_seed(1))
    logits = torch.randn(2, 4, 5, 6)
    score = -logits.log_softmax(1)
    total, count = 0.0, 0
    for i, (a, b, weight) in enumerate(target["semantic"] for target in pairs):
        for y in range(5):
            for x in range(6):
                ids = [(int(a[y, x]), float(weight[y, x])), (int(b[y, x]), 1 - float(weight[y, x]))]
                count += any(label != 255 for label, _ in ids)
                total += sum(share * float(score[i, label, y, x]) for label, share in ids if label != 255)
    assert isinstance(mixed[0]["semantic"], SemanticPair if form == "pair" else torch.Tensor)
    loss = semantic_loss(logits, [target["semantic"] for target in mixed])
    torch.testing.assert_close(loss, torch.tensor(total / count), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_u_net_keeps_odd_sizes(stride):
    assert SmallUNet(5, (4, 8, 8), stride)(torch.randn(2, 3, 37, 51)).shape == (2, 5, 37, 51)


def test_maps_come_back_at_the_size_of_the_targets():
    model = Segmenter(5, {"type": "SmallUNet", "widths": (4, 8)}).eval()
    images = torch.randn(2, 3, 24, 32)
    targets = [{"image_id": 1, "semantic": torch.zeros(48, 50)}, {"image_id": 2, "orig_size": (12, 20)}]
    samples = model(images, targets, mode="predict")
    assert [tuple(sample["prediction"]["semantic"].shape) for sample in samples] == [(48, 50), (12, 20)]
    whole = model(images, [{"orig_size": (24, 32)}] * 2, mode="predict")[0]["prediction"]["semantic"]
    assert torch.equal(whole, model(images)[0].argmax(0).byte())


def test_a_confidence_is_the_softmax_of_the_predicted_class_at_the_size_of_the_target():
    settings = (5, {"type": "SmallUNet", "widths": (4, 8)})
    plain, sure = Segmenter(*settings).eval(), Segmenter(*settings, confidence=True).eval()
    sure.load_state_dict(plain.state_dict())
    images, targets = torch.randn(2, 3, 24, 32), [{"orig_size": (48, 50)}, {"orig_size": (24, 32)}]
    pairs = list(zip(plain(images, targets, mode="predict"), sure(images, targets, mode="predict")))
    for before, after in pairs:
        assert before["prediction"].keys() == {"semantic"}
        assert torch.equal(before["prediction"]["semantic"], after["prediction"]["semantic"])
    soft = sure(images)[1].softmax(0)
    torch.testing.assert_close(pairs[1][1]["prediction"]["confidence"], soft.amax(0))
    large = F.interpolate(sure(images)[:1], (48, 50), mode="bilinear", align_corners=False)[0].softmax(0)
    torch.testing.assert_close(pairs[0][1]["prediction"]["confidence"], large.amax(0))
    half = sure.predict(sure(images).bfloat16(), targets)[1]["prediction"]["confidence"]
    assert half.dtype is torch.float32
    assert (half <= 1).all()


def test_a_torchvision_segmenter_with_an_auxiliary_head():
    model = Segmenter(3, {"type": "fcn_resnet50", "aux_loss": True}, aux_weight=0.25)
    maps = [{"semantic": torch.randint(0, 3, (32, 32))} for _ in range(2)]
    torch.manual_seed(0)
    losses = model(torch.randn(2, 3, 32, 32), maps, mode="loss")
    assert losses.keys() == {"loss_semantic", "loss_aux"}
    assert losses["loss_aux"] < losses["loss_semantic"]


def test_segmenters_say_what_sizes_they_need():
    with pytest.raises(ValueError, match="one size"):
        Segmenter(3)([torch.zeros(3, 8, 8), torch.zeros(3, 8, 9)], [], mode="loss")
    with pytest.raises(ValueError, match=r"logits' size \(8, 8\)"):
        semantic_loss(torch.zeros(1, 3, 8, 8), [torch.zeros(4, 4)])


def test_a_classifier_takes_classes_and_probabilities():
    model = Classifier(4, {"type": "resnet18"}, small_images=True).eval()
    images = torch.randn(3, 3, 16, 16)
    hard = [{"image_id": i, "label": torch.tensor(i)} for i in range(3)]
    soft = [{"label": F.one_hot(torch.tensor(i), 4).float()} for i in range(3)]
    torch.testing.assert_close(model(images, hard, mode="loss"), model(images, soft, mode="loss"))
    scores = torch.stack([sample["prediction"]["scores"] for sample in model(images, hard, mode="predict")])
    torch.testing.assert_close(scores, model(images).softmax(1))
    with pytest.raises(ValueError, match="ResNets"):
        Classifier(4, {"type": "mobilenet_v3_small"}, small_images=True)


def test_a_detector_needs_no_settings():
    model = Detector(num_classes=3).eval()
    assert len(model([torch.rand(3, 64, 96)] * 2, mode="predict")) == 2


def test_predictions_need_no_targets():
    model = Detector(3, {**SMALL, "score_thresh": 0.0, "topk_candidates": 20}).eval()
    (alone,) = model(torch.rand(1, 3, 24, 32), mode="predict")
    (beside,) = model(torch.rand(1, 3, 24, 32), [boxes_target([], size=(24, 32))], mode="predict")
    assert alone["prediction"].keys() == beside["prediction"].keys()
    assert len(alone["prediction"]["boxes"])
    assert (alone["prediction"]["boxes"][:, 2::2] <= 32).all()


@pytest.mark.parametrize(
    ("network", "key", "remedy"),
    [
        ({"type": "small_maskrcnn"}, "masks", "task 'instances' of Dense"),
        ({"type": "keypointrcnn_resnet50_fpn", "min_size": 64, "max_size": 96}, "keypoints", "no task of Dense"),
    ],
)
def test_what_a_network_learns_from_must_be_there(network, key, remedy):
    model = Detector(2, network)
    told = rf"the targets of a (Mask|Keypoint)RCNN must have {key}, got \['image_id', 'boxes', .*: .*{remedy}"
    with pytest.raises(TrainingError, match=told):
        model(torch.rand(1, 3, 48, 64), [boxes_target([[4, 4, 40, 40]])], mode="loss")


@pytest.mark.parametrize("weighing", [None, {"by": "visibility"}])
def test_keypoints_reach_their_network(weighing):
    model = Detector(2, {"type": "keypointrcnn_resnet50_fpn", "min_size": 64, "max_size": 96}, weighing=weighing)
    target = boxes_target([[4, 4, 40, 40]], keypoints=torch.ones(1, 17, 3) * 20, visibility=torch.ones(1))
    assert "loss_keypoint" in model(torch.rand(1, 3, 48, 64), [target], mode="loss")
    (sample,) = model.eval()(torch.rand(1, 3, 48, 64), [target], mode="predict")
    assert sample["prediction"]["keypoints"].shape[1:] == (17, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Detector(3, {"type": "small_fcos", "channels": 48}), "channels must be a multiple of 32, .*, got 48"),
        (
            lambda: Detector(3, {"type": "small_fcos", "widths": (8, 8), "levels": 3}),
            "levels must be at most 2, .*, got 3",
        ),
        (lambda: Detector(3, {"type": "small_fcoss"}), "got 'small_fcoss': did you mean 'small_fcos'"),
        (lambda: Detector(1), "num_classes must be a whole number of at least 2, got 1"),
        (lambda: Segmenter(1), "num_classes must be at least 2, as the softmax of one class"),
        (lambda: Segmenter(300), r"ignore_index must be no class, so outside of 0 … 299, got 255"),
        (lambda: Segmenter(3, {"type": "fcn_resnet5"}), "got 'fcn_resnet5': did you mean 'fcn_resnet50'"),
    ],
)
def test_settings_of_models_that_cannot_be(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_more_than_256_classes_are_predicted():
    logits = torch.zeros(1, 300, 4, 4)
    logits[:, 290] = 9
    (sample,) = Segmenter(300, ignore_index=-1).predict(logits, [{}])
    assert sample["prediction"]["semantic"].unique().tolist() == [290]
