"""Top-k accuracy, against sorting by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from evaluation.scenes import evaluate

from cutmix_dense.evaluation import Accuracy

CLASSES = tuple("abcdefg")


def sample(image_id, scores, label):
    return {
        "image_id": image_id,
        "prediction": {"scores": torch.as_tensor(scores)},
        "target": {"label": torch.tensor(label)},
    }


def test_it_is_the_share_of_images_with_the_label_among_the_first():
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(50, 7)), rng.integers(0, 7, 50)
    scores[np.arange(50), labels] += 1
    samples = [sample(i, scores[i], int(labels[i])) for i in range(50)]
    found = evaluate(Accuracy((1, 3)), samples, CLASSES)
    order = np.argsort(-scores, axis=1)
    expected = {f"classification/top{k}": 100 * (order[:, :k] == labels[:, None]).any(axis=1).mean() for k in (1, 3)}
    assert found == pytest.approx(expected, abs=1e-4)
    assert 20 < found["classification/top1"] < found["classification/top3"] < 95


def test_half_precision_scores_are_read():
    scores = torch.tensor([0.0, 1.0], dtype=torch.bfloat16)
    assert evaluate(Accuracy(), [sample("x", scores, 1)], ("a", "b")) == {"classification/top1": 100}


@pytest.mark.parametrize(
    ("scores", "label", "message"),
    [
        ([0.1, 0.2], 0, r"prediction\['scores'\] of image 3 must be of shape \(7\), got \(2,\)"),
        ([float("nan")] * 7, 0, r"prediction\['scores'\] of image 3 must be finite"),
        ([0.0] * 7, 7, r"target\['label'\] of image 3 must be class ids in 0..6, got \[7\]"),
        ([0.0] * 7, 1.0, r"target\['label'\] of image 3 must be integers, got float32"),
        ([0.0] * 7, [1], r"target\['label'\] of image 3 must be of shape \(\), got \(1,\)"),
    ],
)
def test_what_does_not_fit_is_named(scores, label, message):
    with pytest.raises(ValueError, match=message):
        evaluate(Accuracy(), [sample(3, scores, label)], CLASSES)


def test_settings_out_of_range_are_named():
    with pytest.raises(ValueError, match=r"topk must be one k or several, all at least 1, got \(1, 0\)"):
        Accuracy((1, 0))
    with pytest.raises(ValueError, match=r"topk must be at most the number of classes, 7, got \(8,\)"):
        evaluate(Accuracy(8), [sample(3, [0.0] * 7, 1)], CLASSES)
