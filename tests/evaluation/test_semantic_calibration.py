"""Calibration error and uncertainty AUROC of class maps, against torchmetrics over all pixels in one long line."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest
import torch
from evaluation.scenes import evaluate
from torchmetrics.functional.classification import binary_auroc, multiclass_calibration_error

from cutmix_dense.evaluation import SemanticCalibration
from cutmix_dense.evaluation.reliability import SURE_BINS, uncertainty_bin

CLASSES = ("road", "tree", "sky", "cat")


def sample(image_id, prediction, confidence, target):
    return {
        "image_id": image_id,
        "prediction": {"semantic": torch.as_tensor(prediction), "confidence": torch.as_tensor(confidence)},
        "target": {"semantic": torch.as_tensor(target)},
    }


def network_maps(seed, sharpness, ignore_index=255, images=5):
    """Softmax maps that are right more often where they are sure, and the samples made of them."""
    generator = torch.Generator().manual_seed(seed)
    probabilities, targets, samples = [], [], []
    for number in range(images):
        height, width = torch.randint(20, 40, (2,), generator=generator).tolist()
        target = torch.randint(0, 4, (height, width), generator=generator)
        logits = torch.randn(4, height, width, generator=generator)
        sure = torch.rand(height, width, generator=generator) * 2 * number / images
        logits = (logits + sure * torch.nn.functional.one_hot(target, 4).permute(2, 0, 1)) * sharpness
        soft = logits.softmax(0)
        target[torch.rand(height, width, generator=generator) < 0.2] = ignore_index
        probabilities.append(soft.flatten(1).T)
        targets.append(target.flatten())
        samples.append(sample(number * 3 % images, soft.argmax(0).byte(), soft.amax(0), target.to(torch.uint8)))
    return torch.cat(probabilities), torch.cat(targets), samples


@pytest.mark.parametrize("ignore_index", [255, 200])
@pytest.mark.parametrize("bins", [15, 7])
@pytest.mark.parametrize("sharpness", [0.3, 1.0, 6.0, 40.0])
def test_both_scores_are_those_of_torchmetrics(sharpness, bins, ignore_index):
    probabilities, target, samples = network_maps(3, sharpness, ignore_index)
    scores = evaluate(SemanticCalibration(bins, ignore_index), samples, CLASSES)
    expected = multiclass_calibration_error(probabilities, target, 4, bins, "l1", ignore_index=ignore_index)
    assert scores["calibration/ECE"] == pytest.approx(100 * expected.item(), abs=2e-4)
    counted = target != ignore_index
    confidence, predicted = probabilities[counted].max(dim=1)
    wrong = predicted != target[counted]
    exact = binary_auroc(1 - confidence, wrong.int()).item()
    assert scores["calibration/AUROC"] == pytest.approx(100 * exact, abs=0.05)
    # the maps are neither perfect nor useless, and differ
    assert 0.5 < scores["calibration/ECE"] < 65
    assert 52 < scores["calibration/AUROC"] < 90
    if sharpness == 40.0:  # a network that is this sure is so exactly, of many pixels
        assert (confidence == 1).float().mean() > 0.3


def test_the_auroc_is_off_by_at_most_half_the_pairs_in_one_bin():
    probabilities, target, samples = network_maps(7, 6.0)
    counted = target != 255
    confidence, predicted = probabilities[counted].max(dim=1)
    wrong = (predicted != target[counted]).numpy()
    places = uncertainty_bin(confidence.numpy())
    tallies = [np.bincount(places[part], minlength=SURE_BINS) for part in (wrong, ~wrong)]
    bound = 50 * float((tallies[0] * tallies[1]).sum()) / (wrong.sum() * (~wrong).sum())
    exact = 100 * binary_auroc(1 - confidence, torch.from_numpy(wrong).int()).item()
    found = evaluate(SemanticCalibration(), samples, CLASSES)["calibration/AUROC"]
    assert abs(found - exact) <= bound + 1e-3
    assert bound < 1


def test_bins_of_uncertainty_are_ordered_and_fine_in_proportion():
    doubt = np.float32(2.0) ** -np.arange(0, 25, 0.01, dtype=np.float32)
    confidence = np.float32(1) - doubt
    places = uncertainty_bin(confidence)
    assert (np.diff(places) <= 0).all()
    assert uncertainty_bin(np.array([1.0, 0.0], dtype=np.float32)).tolist() == [0, SURE_BINS - 1]
    real = np.float32(1) - confidence  # as float32 holds it
    for place in np.unique(places[real > 0]):
        members = real[places == place]
        assert members.max() <= members.min() * (1 + 1 / 128)


def test_scores_counted_by_hand():
    # confidence 0.95 of three pixels of which two are right, 0.55 of one that is wrong; the sure one at 1 is right
    prediction, target = np.array([[0, 0, 0, 1, 2]]), np.array([[0, 0, 1, 2, 2]])
    confidence = np.array([[0.95, 0.95, 0.95, 0.55, 1.0]], dtype=np.float32)
    scores = evaluate(SemanticCalibration(10), [sample(0, prediction, confidence, target)], CLASSES)
    ece = 3 / 5 * abs(0.95 - 2 / 3) + 1 / 5 * 0.55 + 1 / 5 * 0
    # wrong pixels: 0.95 and 0.55; right: 0.95, 0.95, 1. Pairs: 0.55 is doubted more than all three, 0.95 ties twice
    assert scores["calibration/ECE"] == pytest.approx(100 * ece, abs=1e-5)
    assert scores["calibration/AUROC"] == pytest.approx(100 * (3 + 2 * 0.5 + 1) / 6)


def test_order_and_split_over_batches_change_no_bit():
    _, _, samples = network_maps(11, 6.0, images=7)
    assert evaluate(SemanticCalibration(), samples, CLASSES) == evaluate(SemanticCalibration(), samples[::-1], CLASSES)


def test_what_is_ignored_does_not_matter_and_nothing_is_not_zero():
    blank = np.full((3, 4), 255, dtype=np.uint8)
    sure = np.full((3, 4), 0.9, dtype=np.float32)
    scores = evaluate(SemanticCalibration(), [sample(0, np.zeros((3, 4), int), sure, blank)], CLASSES)
    assert all(math.isnan(value) for value in scores.values())
    right = evaluate(SemanticCalibration(), [sample(0, np.zeros((3, 4), int), sure, np.zeros((3, 4), int))], CLASSES)
    assert right["calibration/ECE"] == pytest.approx(10, abs=1e-5)
    assert math.isnan(right["calibration/AUROC"])  # no mistake to find


def test_little_is_kept_of_an_image():
    metric = SemanticCalibration()
    metric.dataset_meta = {"classes": CLASSES}
    generator = torch.Generator().manual_seed(0)
    confidence = torch.randn(4, 500, 800, generator=generator).mul(4).softmax(0).amax(0)
    maps = torch.zeros(500, 800, dtype=torch.uint8)
    metric.process(None, [sample(0, maps, confidence, maps)])
    assert len(pickle.dumps(metric.results)) < confidence.numpy().nbytes / 60


@pytest.mark.parametrize(
    ("confidence", "message"),
    [
        (None, r"prediction\['confidence'\] of image 8 is missing.*confidence=True in the Segmenter"),
        (np.full((3, 4), 1.5), r"prediction\['confidence'\] of image 8 must be probabilities in 0..1, got values from"),
        (np.full((3, 4), -0.5), r"values from -0.5 to -0.5: logits need a softmax"),
        (np.full((3, 4), np.nan), r"prediction\['confidence'\] of image 8 must be finite"),
        (np.full((4, 3), 0.5), r"prediction\['confidence'\] of image 8 must be of shape \(3, 4\), got \(4, 3\)"),
    ],
)
def test_confidences_that_do_not_fit_are_named(confidence, message):
    maps = np.zeros((3, 4), int)
    entry = sample(8, maps, np.zeros((3, 4)) if confidence is None else confidence, maps)
    if confidence is None:
        del entry["prediction"]["confidence"]
    with pytest.raises(ValueError, match=message):
        evaluate(SemanticCalibration(), [entry], CLASSES)


def test_rounding_above_one_is_one():
    maps = np.zeros((3, 4), int)
    scores = evaluate(SemanticCalibration(), [sample(8, maps, np.full((3, 4), 1 + 1e-7), maps)], CLASSES)
    assert scores["calibration/ECE"] == 0


def test_no_bin_is_refused():
    with pytest.raises(ValueError, match="bins must be at least 1, got 0"):
        SemanticCalibration(0)
