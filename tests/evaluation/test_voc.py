"""VOC's mean average precision against the development kit's algorithm, and cases counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from evaluation import devkit
from evaluation.scenes import CLASSES, evaluate, found, noisy, objects, random_samples, sample

from cutmix_dense.data import open_dataset
from cutmix_dense.evaluation import VocMetric

modes = pytest.mark.parametrize("mode", ["area", "11points"])
BOX, OTHER, FAR = [0, 0, 10, 10], [20, 0, 30, 10], [50, 50, 60, 60]


def same_as_the_kit(samples, classes, mode, iou=0.5):
    scores = evaluate(VocMetric(iou, mode), samples, classes)
    expected = [100 * devkit.of_class(samples, label, mode, iou) for label in range(1, len(classes))]
    for label, value in enumerate(expected, 1):
        assert scores[f"voc/AP{round(100 * iou)}/{classes[label]}"] == pytest.approx(value, abs=1e-9, nan_ok=True)
    assert scores[f"voc/AP{round(100 * iou)}"] == pytest.approx(np.nanmean(expected), abs=1e-9)
    return expected


@modes
@pytest.mark.parametrize(("seed", "iou"), [(0, 0.5), (1, 0.5), (2, 0.7)])
def test_random_scenes_are_counted_as_the_kit_counts(mode, seed, iou):
    samples = random_samples(40, seed)
    for entry in samples:
        del entry["target"]["iscrowd"]
    expected = same_as_the_kit(samples, CLASSES, mode, iou)
    assert all(10 < value < 95 for value in expected)


@modes
def test_real_scenes_are_counted_as_the_kit_counts(real, mode):
    dataset = open_dataset(real("bccd"), split="val")
    rng = np.random.default_rng(0)
    targets = [dataset[i][1] for i in range(0, len(dataset), 4)]
    samples = [sample(target["image_id"], noisy(rng, target), target) for target in targets]
    same_as_the_kit(samples, dataset.classes, mode)


def test_the_kit_s_inclusive_boxes_are_our_half_open_ones():
    # from the kit's (1, 1, 10, 10), 10 pixels wide, and (1, 1, 10, 5): IoU 50 / 100, just enough
    scores = evaluate(VocMetric(), [sample("a", found([[0, 0, 10, 5]], [1], [0.5]), objects([BOX], [1]))])
    assert scores["voc/AP50"] == 100
    scores = evaluate(VocMetric(), [sample("a", found([[0, 0, 10, 4.99]], [1], [0.5]), objects([BOX], [1]))])
    assert scores["voc/AP50"] == 0


@pytest.mark.parametrize("key", ["difficult", "iscrowd"])
def test_a_difficult_object_counts_neither_way(key):
    metric = VocMetric()
    boxes, labels, scores = [OTHER, OTHER, BOX], [1, 1, 1], [0.9, 0.8, 0.7]
    target = objects([BOX, OTHER], [1, 1], **{key: [False, True]})
    # found, twice, or missed: nothing changes
    assert evaluate(metric, [sample("a", found(boxes, labels, scores), target)])["voc/AP50"] == 100
    assert evaluate(metric, [sample("a", found([BOX], [1], [0.7]), target)])["voc/AP50"] == 100
    target = objects([BOX, OTHER], [1, 1], **{key: [True, True]})
    assert math.isnan(evaluate(metric, [sample("a", found(boxes, labels, scores), target)])["voc/AP50"])


@modes
def test_a_duplicate_is_false(mode):
    # true, false, true: precision 1, 1/2, 2/3 at recall 1/2, 1/2, 1
    prediction = found([BOX, BOX, OTHER], [1, 1, 1], [0.9, 0.8, 0.7])
    scores = evaluate(VocMetric(mode=mode), [sample("a", prediction, objects([BOX, OTHER], [1, 1]))])
    expected = {"area": 1 / 2 + 1 / 2 * 2 / 3, "11points": (6 + 5 * 2 / 3) / 11}[mode]
    assert scores["voc/AP50"] == pytest.approx(100 * expected)


def test_a_recall_of_three_tenths_is_reached_exactly():
    boxes = [[20 * i, 0, 20 * i + 10, 10] for i in range(10)]
    prediction = found(boxes[:3], [1, 1, 1], [0.9, 0.8, 0.7])
    scores = evaluate(VocMetric(mode="11points"), [sample("a", prediction, objects(boxes, [1] * 10))])
    assert scores["voc/AP50"] == pytest.approx(100 * 4 / 11)


@modes
def test_images_and_classes_with_nothing(mode):
    metric = VocMetric(mode=mode)
    one = sample("a", found([BOX], [1], [0.9]), objects([BOX, OTHER], [1, 2]))
    # a false alarm in an image without objects, ahead of the hit
    two = sample("b", found([FAR], [1], [0.95]), objects([], []))
    scores = evaluate(metric, [one, two])
    assert scores["voc/AP50/ant"] == pytest.approx(50)
    assert scores["voc/AP50/bee"] == 0
    assert math.isnan(scores["voc/AP50/cow"])
    assert scores["voc/AP50"] == pytest.approx(25)
    scores = evaluate(metric, [sample("a", found([], [], []), objects([BOX], [1]))])
    assert scores["voc/AP50"] == 0
    scores = evaluate(metric, [sample("a", found([], [], []), objects([], []))])
    assert math.isnan(scores["voc/AP50"])


def test_boxes_without_area_are_false_and_no_trouble():
    prediction = found([[5, 5, 5, 5], BOX], [1, 1], [0.9, 0.8])
    scores = evaluate(VocMetric(), [sample("a", prediction, objects([BOX, [5, 5, 5, 5]], [1, 1]))])
    assert scores["voc/AP50"] == pytest.approx(25)


def test_only_the_mean_if_asked():
    scores = evaluate(VocMetric(0.75, per_class=False), [sample("a", found([BOX], [1], [0.9]), objects([BOX], [1]))])
    assert scores == {"voc/AP75": 100}


def test_settings_out_of_range_are_named():
    with pytest.raises(ValueError, match="iou must be above 0 and at most 1, got 0"):
        VocMetric(0)
    with pytest.raises(ValueError, match=r"mode must be one of \('area', '11points'\), got '07'"):
        VocMetric(mode="07")
