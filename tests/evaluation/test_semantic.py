"""Mean IoU from one confusion matrix, against plain loops over classes."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch
from evaluation.scenes import evaluate

from cutmix_dense.evaluation import IoUMetric

CLASSES = ("road", "tree", "sky", "cat", "dog")


def sample(image_id, prediction, target):
    return {
        "image_id": image_id,
        "prediction": {"semantic": torch.as_tensor(prediction)},
        "target": {"semantic": torch.as_tensor(target)},
    }


def random_samples(seed, ignore_index=255):
    """Maps of different sizes; images differ much in which class is easy, "cat" is only predicted, "dog" never."""
    rng = np.random.default_rng(seed)
    samples = []
    for number in range(6):
        size = (int(rng.integers(10, 30)), int(rng.integers(10, 30)))
        target = rng.choice(3, size, p=rng.dirichlet([1, 1, 1]))
        prediction = np.where(rng.random(size) < rng.random(), target, rng.integers(0, 4, size))
        target[rng.random(size) < 0.2] = ignore_index
        samples.append(sample(number, prediction.astype(np.int64), target.astype(np.uint8)))
    return samples


def reference(samples, ignore_index=255):
    """All pixels in two long lines, one class after the other."""
    prediction = np.concatenate([entry["prediction"]["semantic"].numpy().ravel() for entry in samples])
    target = np.concatenate([entry["target"]["semantic"].numpy().ravel() for entry in samples])
    prediction, target = prediction[target != ignore_index], target[target != ignore_index]
    iou, accuracy = [], []
    for label in range(len(CLASSES)):
        both, either = (
            ((prediction == label) & (target == label)).sum(),
            ((prediction == label) | (target == label)).sum(),
        )
        iou.append(100 * both / either if either else math.nan)
        accuracy.append(100 * both / (target == label).sum() if (target == label).any() else math.nan)
    scores = {f"semantic/IoU/{name}": value for name, value in zip(CLASSES, iou)}
    means = {"mIoU": np.nanmean(iou), "mAcc": np.nanmean(accuracy), "aAcc": 100 * (prediction == target).mean()}
    return scores | {f"semantic/{name}": value for name, value in means.items()}


@pytest.mark.parametrize("ignore_index", [255, 200])
def test_it_is_the_plain_count_over_the_dataset(ignore_index):
    samples = random_samples(0, ignore_index)
    scores = evaluate(IoUMetric(ignore_index), samples, CLASSES)
    expected = reference(samples, ignore_index)
    assert scores == pytest.approx(expected, abs=1e-9, nan_ok=True)
    # a class that is only predicted counts as wrong, one that occurs nowhere leaves the mean
    assert scores["semantic/IoU/cat"] == 0
    assert math.isnan(scores["semantic/IoU/dog"])
    assert scores["semantic/mIoU"] == pytest.approx(np.mean([scores[f"semantic/IoU/{name}"] for name in CLASSES[:4]]))
    # and it isn't the mean over images
    each = [evaluate(IoUMetric(ignore_index), [entry], CLASSES)["semantic/mIoU"] for entry in samples]
    assert abs(np.mean(each) - scores["semantic/mIoU"]) > 1


def test_what_is_predicted_on_ignored_pixels_does_not_matter():
    target = np.array([[0, 1, 255, 255]])
    one, other = (
        evaluate(IoUMetric(), [sample(0, np.array([prediction]), target)], CLASSES)
        for prediction in ([0, 1, 0, 1], [0, 1, 4, 4])
    )
    assert one == pytest.approx(other, nan_ok=True)
    assert one["semantic/mIoU"] == one["semantic/aAcc"] == 100


def test_a_map_of_ignored_pixels_only_says_nothing():
    blank = np.full((3, 4), 255, dtype=np.uint8)
    scores = evaluate(IoUMetric(per_class=False), [sample(0, np.zeros((3, 4), dtype=np.uint8), blank)], CLASSES)
    assert all(math.isnan(value) for value in scores.values())
    assert list(scores) == ["semantic/mIoU", "semantic/mAcc", "semantic/aAcc"]


def test_little_is_kept_of_an_image():
    metric = IoUMetric()
    metric.dataset_meta = {"classes": tuple(f"class {i}" for i in range(150))}
    metric.process(None, [sample(0, np.zeros((1000, 1000), dtype=np.uint8), np.ones((1000, 1000), dtype=np.uint8))])
    assert len(pickle.dumps(metric.results)) < 1000


@pytest.mark.parametrize(
    ("prediction", "target", "message"),
    [
        (
            np.zeros((3, 4), int),
            np.zeros((4, 3), int),
            r"prediction\['semantic'\] of image 8 must be of shape \(4, 3\)",
        ),
        (np.zeros((1, 3, 4), int), np.zeros((3, 4), int), r"shape \(3, 4\), got \(1, 3, 4\)"),
        (np.zeros((3, 4)), np.zeros((3, 4), int), r"prediction\['semantic'\] of image 8 must be integers, got float64"),
        (np.full((3, 4), 5), np.zeros((3, 4), int), r"prediction\['semantic'\] .* class ids in 0..4, got \[5\]"),
        (np.full((3, 4), 255), np.full((3, 4), 255), r"prediction\['semantic'\] .* class ids in 0..4, got \[255\]"),
        (np.full((3, 4), -1), np.zeros((3, 4), int), r"prediction\['semantic'\] .* class ids in 0..4, got \[-1\]"),
        (np.zeros((3, 4), int), np.full((3, 4), 9), r"target\['semantic'\] .* class ids in 0..4 or 255, got \[9\]"),
    ],
)
def test_maps_that_do_not_fit_are_named(prediction, target, message):
    with pytest.raises(ValueError, match=message):
        evaluate(IoUMetric(), [sample(8, prediction, target)], CLASSES)
