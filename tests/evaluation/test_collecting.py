"""Each image counts once, whoever evaluated it and in whatever order."""

from __future__ import annotations

import importlib
import json
import multiprocessing
import sys

import pytest
import torch
from evaluation import ranks
from evaluation.scenes import CLASSES, evaluate, found, objects, random_samples, sample
from mmengine.evaluator import Evaluator
from mmengine.registry import METRICS as ROOT

import cutmix_dense.evaluation
from cutmix_dense.evaluation import Accuracy, CocoMetric, IoUMetric, SemanticCalibration, VocMetric

ANT = objects([[0, 0, 10, 10]], [1])
SEEN = found([[0, 0, 10, 10]], [1], [0.5])


def test_two_ranks_give_what_one_gives(tmp_path):
    # forked: they needn't import everything anew
    processes = [
        multiprocessing.get_context("fork").Process(target=ranks.work, args=(i, str(tmp_path))) for i in (0, 1)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
        process.kill()
    assert [process.exitcode for process in processes] == [0, 0]
    results = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    # the sampler gave image 0 to both, so that both have three
    assert [share for share, _ in results] == [[0, 2, 4], [1, 3, 0]]
    samples = ranks.samples()
    alone: dict[str, float] = {}
    for metric in ranks.metrics():
        alone |= evaluate(metric, samples)
    for _, scores in results:
        assert scores == pytest.approx(alone, abs=1e-12, nan_ok=True)
    # counting it twice would show
    twice = [*samples, samples[0] | {"image_id": 999}]
    assert evaluate(VocMetric(), twice)["voc/AP50"] != pytest.approx(alone["voc/AP50"], abs=0.01)


def test_what_a_sampler_repeats_at_the_end_is_cut_off():
    samples = random_samples(5)
    metric = VocMetric()
    metric.dataset_meta = {"classes": CLASSES}
    metric.process(None, [*samples, samples[0]])
    assert metric.evaluate(5) == evaluate(VocMetric(), samples)


def test_an_image_that_stands_in_the_place_of_another_raises():
    with pytest.raises(ValueError, match="VocMetric: image_id 7 came twice"):
        evaluate(VocMetric(), [sample(7, SEEN, ANT), sample(8, SEEN, ANT), sample(7, SEEN, ANT)])
    with pytest.raises(ValueError, match="CocoMetric: image_id 'a' came twice"):
        evaluate(CocoMetric(), [sample("a", SEEN, ANT), sample("a", SEEN, ANT)])
    # an int and a str are two images
    assert evaluate(VocMetric(), [sample("7", SEEN, ANT), sample(7, SEEN, ANT)])["voc/AP50"] == 100


def test_the_order_of_the_images_changes_nothing():
    samples = random_samples(12)
    for entry in samples:
        entry["prediction"]["scores"] = (entry["prediction"]["scores"] * 4).round() / 4  # many are equal
    for metric in (VocMetric(), CocoMetric(("bbox", "segm"))):
        assert evaluate(metric, samples) == pytest.approx(evaluate(metric, samples[::-1]), abs=0, nan_ok=True)


def test_configs_name_them_with_their_scope():
    evaluator = Evaluator(
        [
            {"type": "cutmix_dense.CocoMetric", "iou_types": ["bbox", "segm"], "backend": "pycocotools"},
            {"type": "cutmix_dense.VocMetric", "mode": "11points", "per_class": False},
            {"type": "cutmix_dense.VocMetric", "prefix": "strict", "iou": 0.75, "per_class": False},
        ]
    )
    evaluator.dataset_meta = {"classes": CLASSES}
    evaluator.process(random_samples(4))
    scores = evaluator.evaluate(4)
    assert {"coco/bbox_AP", "coco/segm_AP50", "coco/bbox_AP/ant", "voc/AP50", "strict/AP75"} <= set(scores)
    assert all(type(value) is float for value in scores.values())
    for name in ("IoUMetric", "CityscapesMetric", "Accuracy", "SemanticCalibration", "DetectionCalibration"):
        assert ROOT.get(f"cutmix_dense.{name}").__module__.startswith("cutmix_dense.evaluation.")


@pytest.mark.parametrize("metric", [CocoMetric(), VocMetric(), IoUMetric(), Accuracy(), SemanticCalibration()])
def test_nothing_to_evaluate_raises(metric):
    metric.dataset_meta = {"classes": CLASSES}
    with pytest.raises(ValueError, match="has nothing to evaluate: no image was processed"):
        metric.evaluate(0)


@pytest.mark.parametrize("meta", [None, {}, {"classes": ()}])
def test_a_dataset_without_class_names_is_named(meta):
    metric = VocMetric()
    if meta is not None:
        metric.dataset_meta = meta
    with pytest.raises(ValueError, match=r"VocMetric needs the dataset's metainfo\['classes'\]"):
        metric.process(None, [sample(1, SEEN, ANT)])


@pytest.mark.parametrize(
    ("part", "changes", "message"),
    [
        ("prediction", {"scores": None}, r"prediction\['scores'\] of image 4 is missing, there are only \['boxes', 'l"),
        ("target", {"iscrowd": None}, r"target\['iscrowd'\] of image 4 is missing"),
        ("target", {"area": torch.ones(2)}, r"target\['area'\] of image 4 must be of shape \(1\), got \(2,\)"),
        ("prediction", {"boxes": torch.ones(4)}, r"prediction\['boxes'\] of image 4 must be of shape \(any, 4\), got"),
        ("prediction", {"labels": torch.tensor([0])}, r"prediction\['labels'\] of image 4 .* in 1..3, got \[0\]"),
        ("prediction", {"labels": torch.tensor([4])}, r"prediction\['labels'\] of image 4 .* in 1..3, got \[4\]"),
        ("prediction", {"labels": torch.ones(1)}, r"prediction\['labels'\] of image 4 must be integers, got float32"),
        ("target", {"labels": torch.tensor([9])}, r"target\['labels'\] of image 4 .* in 1..3, got \[9\]"),
        ("prediction", {"boxes": torch.full((1, 4), torch.nan)}, r"prediction\['boxes'\] of image 4 must be finite"),
    ],
)
def test_fields_that_do_not_fit_are_named(part, changes, message):
    entry = sample(4, dict(SEEN), dict(ANT))
    entry[part] = {key: value for key, value in (entry[part] | changes).items() if value is not None}
    with pytest.raises(ValueError, match=message):
        evaluate(CocoMetric(), [entry])


def test_samples_of_another_form_are_named():
    with pytest.raises(ValueError, match="a data sample needs an image_id, an int or str, got None"):
        evaluate(VocMetric(), [{"prediction": SEEN, "target": ANT}])
    with pytest.raises(ValueError, match=r"data sample of image 1 has no dict 'target', only \['image_id', 'predict"):
        evaluate(VocMetric(), [{"image_id": 1, "prediction": SEEN}])


@pytest.mark.parametrize("package", ["mmengine", "torchmetrics", "pycocotools"])
def test_without_a_package_the_extra_is_named(monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf'^{package} is needed for this: pip install "cutmix_dense\[evaluation\]"$'):
        importlib.reload(cutmix_dense.evaluation)
