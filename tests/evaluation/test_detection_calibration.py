"""D-ECE and LaECE counted by hand; assignment against pycocotools, the D-ECE against netcal where it is installed."""

from __future__ import annotations

import contextlib
import io
import math

import numpy as np
import pytest
import torch
from evaluation.scenes import CLASSES, evaluate, found, objects, random_samples, sample
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cutmix_dense.evaluation import DetectionCalibration

BOX, OTHER, FAR = [0, 0, 10, 10], [20, 0, 30, 10], [50, 50, 60, 60]
HALF = [0, 0, 10, 6]  # IoU 0.6 with BOX
DECE, LAECE = "calibration/D-ECE", "calibration/LaECE"


def one(prediction, target, **settings):
    return evaluate(DetectionCalibration(**settings), [sample("a", prediction, target)])


def test_both_errors_counted_by_hand():
    # scores 0.95 (IoU 0.6, true), 0.93 (false), 0.55 (IoU 1, true): precision 1/2 about 0.94, 1 at 0.55
    prediction = found([HALF, FAR, OTHER], [1, 1, 1], [0.95, 0.93, 0.55])
    scores = one(prediction, objects([BOX, OTHER], [1, 1]))
    assert scores[DECE] == pytest.approx(100 * (2 / 3 * (0.94 - 0.5) + 1 / 3 * (1 - 0.55)), abs=1e-4)
    # LaECE's 25 bins: 0.95 lies in 0.92 … 0.96 with 0.93; precision × mean IoU is 1/2 · 0.6, and 1 · 1
    assert scores[LAECE] == pytest.approx(100 * (2 / 3 * (0.94 - 0.3) + 1 / 3 * (1 - 0.55)), abs=1e-4)
    assert scores[f"{LAECE}/ant"] == scores[LAECE]
    assert math.isnan(scores[f"{LAECE}/bee"])


def test_the_thresholds_of_overlap_differ():
    low = [0, 0, 10, 3]  # IoU 0.3: false to the D-ECE, true to the LaECE
    scores = one(found([low], [1], [0.8]), objects([BOX], [1]))
    assert scores[DECE] == pytest.approx(80, abs=1e-4)
    assert scores[LAECE] == pytest.approx(100 * (0.8 - 0.3), abs=1e-4)
    scores = one(found([low], [1], [0.8]), objects([BOX], [1]), dece_iou=0.3, laece_iou=0.5)
    assert scores[DECE] == pytest.approx(20, abs=1e-4)
    assert scores[LAECE] == pytest.approx(80, abs=1e-4)


def test_one_is_in_the_last_bin_and_borders_in_the_upper_one():
    boxes = [BOX, OTHER]
    scores = one(found(boxes, [1, 1], [1.0, 0.95]), objects([BOX], [1]))  # one bin: precision 1/2, mean score 0.975
    assert scores[DECE] == pytest.approx(47.5, abs=1e-4)
    scores = one(found(boxes, [1, 1], [0.5, 0.4375]), objects([BOX], [1]), dece_bins=2)  # two bins
    assert scores[DECE] == pytest.approx(100 * (0.5 + 0.4375) / 2, abs=1e-4)


def test_the_d_ece_pools_classes_and_the_laece_is_their_mean():
    # class 1: three detections, each true with IoU 1 at 0.9; class 2: one, false at 0.7
    boxes = [BOX, OTHER, FAR]
    prediction = found([*boxes, [70, 0, 80, 10]], [1, 1, 1, 2], [0.9, 0.9, 0.9, 0.7])
    scores = one(prediction, objects([*boxes, BOX], [1, 1, 1, 2]))
    assert scores[DECE] == pytest.approx((3 * 10 + 70) / 4, abs=1e-4)
    assert scores[LAECE] == pytest.approx((10 + 70) / 2, abs=1e-4)
    # without an object of class 2 its detections are false to the D-ECE, and the class has no LaECE
    scores = one(prediction, objects(boxes, [1, 1, 1]))
    assert scores[DECE] == pytest.approx((3 * 10 + 70) / 4, abs=1e-4)
    assert scores[LAECE] == pytest.approx(10, abs=1e-4)


def test_detections_below_the_score_are_not_looked_at():
    prediction = found([BOX, FAR, FAR], [1, 1, 1], [0.9, 0.3, 0.29])
    target = objects([BOX], [1])
    assert one(prediction, target)[DECE] == pytest.approx((10 + 30) / 2, abs=1e-4)
    assert one(prediction, target, min_score=0.0)[DECE] == pytest.approx((10 + 30 + 29) / 3, abs=1e-4)
    none = one(prediction, target, min_score=0.95)
    assert math.isnan(none[DECE])
    assert math.isnan(none[LAECE])


@pytest.mark.parametrize("key", ["difficult", "iscrowd"])
def test_difficult_objects_and_crowds_count_neither_way(key):
    target = objects([BOX, OTHER], [1, 1], **{key: [False, True]})
    alone = one(found([BOX], [1], [0.75]), target)
    assert alone[DECE] == pytest.approx(25, abs=1e-4)
    # found once or twice, nothing changes; in a class of its own or elsewhere it is false
    assert one(found([BOX, OTHER, OTHER], [1, 1, 1], [0.75, 0.85, 0.65]), target) == pytest.approx(alone, nan_ok=True)
    assert one(found([BOX, OTHER], [1, 2], [0.75, 0.85]), target)[DECE] == pytest.approx((25 + 85) / 2, abs=1e-4)
    assert one(found([BOX, FAR], [1, 1], [0.75, 0.85]), target)[DECE] == pytest.approx((25 + 85) / 2, abs=1e-4)
    # an object to be found comes first, even where a spared one is overlapped more
    near = objects([BOX, HALF], [1, 1], **{key: [False, True]})
    assert one(found([HALF], [1], [0.75]), near)[DECE] == pytest.approx(25, abs=1e-4)
    only = objects([OTHER], [1], **{key: [True]})
    assert all(math.isnan(value) for value in one(found([OTHER], [1], [0.85]), only).values())


def test_a_small_box_inside_a_crowd_is_spared_and_inside_a_difficult_object_it_is_false():
    inside = found([[22, 2, 25, 5]], [1], [0.9])  # IoU 0.09, but it lies in the other whole
    assert math.isnan(one(inside, objects([OTHER], [1], iscrowd=[1]))[DECE])
    assert one(inside, objects([OTHER], [1], difficult=[True]))[DECE] == pytest.approx(90, abs=1e-4)


def test_ignored_regions_count_neither_way_whatever_the_class():
    target = objects([BOX], [1]) | {"ignored": objects([[15, 0, 40, 20]], [3])}
    scores = one(found([BOX, OTHER, [22, 2, 25, 5], FAR], [1, 1, 2, 1], [0.8, 0.9, 0.9, 0.6]), target)
    assert scores[DECE] == pytest.approx((20 + 60) / 2, abs=1e-4)


def test_a_duplicate_is_false_and_a_second_object_is_taken():
    # both overlap BOX most; the second one is still true of the object beside it, which VOC's rule denies
    beside = [0, 4, 10, 14]
    prediction = found([BOX, [0, 1, 10, 11]], [1, 1], [0.85, 0.75])
    assert one(prediction, objects([BOX, beside], [1, 1]), dece_iou=0.3)[DECE] == pytest.approx((15 + 25) / 2, abs=1e-4)
    assert one(prediction, objects([BOX], [1]), dece_iou=0.3)[DECE] == pytest.approx((15 + 75) / 2, abs=1e-4)


def coco_assigned(entry, label, iou):
    """Per detection of one class, by falling score: 1, 0, or nan where COCO ignores it."""
    target, prediction = entry["target"], entry["prediction"]
    truth, results = COCO(), COCO()
    sides = {}
    for part, fields in (("target", target), ("prediction", prediction)):
        xyxy = fields["boxes"].double().numpy()
        sides[part] = np.concatenate([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]], axis=1).tolist()
    base = {"images": [{"id": 1, "height": 200, "width": 260}], "categories": [{"id": label}]}
    truth.dataset = base | {
        "annotations": [
            {"id": i + 1, "image_id": 1, "category_id": int(name), "bbox": box, "area": 50.0, "iscrowd": int(crowd)}
            for i, (box, name, crowd) in enumerate(zip(sides["target"], target["labels"], target["iscrowd"]))
        ]
    }
    results.dataset = base | {
        "annotations": [
            {"id": i + 1, "image_id": 1, "category_id": int(name), "bbox": box, "area": 50.0, "score": float(score)}
            for i, (box, name, score) in enumerate(
                zip(sides["prediction"], prediction["labels"], prediction["scores"].double())
            )
        ]
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        results.createIndex()
        evaluation = COCOeval(truth, results, "bbox")
        evaluation.params.iouThrs = np.array([iou])
        evaluation.evaluate()
    found_there = evaluation.evalImgs[0]
    if found_there is None:
        return []
    return np.where(found_there["dtIgnore"][0], np.nan, found_there["dtMatches"][0] > 0).tolist()


@pytest.mark.parametrize("iou", [0.1, 0.5, 0.75])
def test_detections_are_assigned_as_coco_assigns_them(iou):
    metric = DetectionCalibration(min_score=0.0, dece_iou=iou, laece_iou=iou)
    metric.dataset_meta = {"classes": CLASSES}
    spared = seen = 0
    for entry in random_samples(60, seed=4):
        del entry["target"]["difficult"]
        measured = metric.measure(entry)
        for label in (1, 2, 3):
            mine = measured["labels"] == label
            order = np.argsort(-measured["scores"][mine], kind="stable")
            outcome = measured["dece"][mine][order]
            expected = coco_assigned(entry, label, iou)
            assert np.sign(outcome).tolist() == pytest.approx(expected, nan_ok=True)
            spared, seen = spared + np.isnan(outcome).sum(), seen + len(outcome)
    assert spared > 5
    assert seen > 200


@pytest.mark.parametrize("bins", [10, 20])
def test_the_d_ece_is_netcals(bins):
    metrics = pytest.importorskip("netcal.metrics", reason="netcal isn't installed: pip install netcal")
    samples = random_samples(80, seed=9)
    metric = DetectionCalibration(min_score=0.0, dece_bins=bins)
    score = evaluate(metric, samples)[DECE]
    measured = [metric.measure(entry) for entry in samples]
    scores, outcome = (np.concatenate([entry[key] for entry in measured]) for key in ("scores", "dece"))
    counted = ~np.isnan(outcome)
    expected = metrics.ECE(bins, detection=True).measure(scores[counted], (outcome[counted] > 0).astype(int))
    assert score == pytest.approx(100 * expected, abs=1e-9)
    assert counted.sum() > 300


def test_the_laece_is_its_formula_over_plain_loops():
    samples = random_samples(80, seed=12)
    metric = DetectionCalibration(min_score=0.2)
    scores = evaluate(metric, samples)
    measured = [metric.measure(entry) for entry in samples]
    labels, sure, worth = (np.concatenate([entry[key] for entry in measured]) for key in ("labels", "scores", "laece"))
    errors = []
    for label in (1, 2, 3):
        mine = (labels == label) & ~np.isnan(worth)
        error = 0.0
        for number in range(25):
            bin_ = mine & (sure >= number / 25) & (sure < (number + 1) / 25)
            if bin_.any():
                true = worth[bin_] > 0
                quality = true.mean() * worth[bin_][true].mean() if true.any() else 0.0
                error += bin_.sum() / mine.sum() * abs(sure[bin_].mean() - quality)
        assert scores[f"{LAECE}/{CLASSES[label]}"] == pytest.approx(100 * error, abs=1e-9)
        errors.append(100 * error)
    assert scores[LAECE] == pytest.approx(np.mean(errors), abs=1e-9)
    assert min(errors) > 3


def test_order_of_images_changes_no_bit():
    samples = random_samples(20, seed=1)
    forth, back = (evaluate(DetectionCalibration(), part) for part in (samples, samples[::-1]))
    assert forth == back


def test_only_the_means_if_asked_and_empty_images_are_no_trouble():
    empty = sample("b", found([], [], []), objects([], []))
    entries = [sample("a", found([BOX], [1], [0.75]), objects([BOX], [1])), empty]
    assert evaluate(DetectionCalibration(per_class=False), entries) == {DECE: 25, LAECE: 25}
    assert all(math.isnan(value) for value in evaluate(DetectionCalibration(), [empty]).values())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"min_score": 1.0}, "min_score must be at least 0 and below 1, got 1.0"),
        ({"dece_iou": 0}, "dece_iou must be above 0 and at most 1, got 0"),
        ({"laece_iou": 1.1}, "laece_iou must be above 0"),
        ({"dece_bins": 0}, "dece_bins must be at least 1"),
        ({"laece_bins": 0}, "laece_bins must be at least 1"),
    ],
)
def test_settings_out_of_range_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        DetectionCalibration(**settings)


def test_scores_that_are_no_probabilities_are_named():
    with pytest.raises(ValueError, match=r"prediction\['scores'\] of image 'a' must be probabilities in 0..1"):
        one(found([BOX], [1], [7.0]), objects([BOX], [1]))
    with pytest.raises(ValueError, match=r"ignored\['boxes'\] of image 'a' must be of shape \(any, 4\)"):
        one(found([BOX], [1], [0.7]), objects([BOX], [1]) | {"ignored": {"boxes": torch.ones(4)}})
