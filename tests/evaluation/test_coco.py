"""COCO's average precision: both libraries, the official files, and cases counted by hand."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import math

import numpy as np
import pytest
import torch
from evaluation.scenes import CLASSES, evaluate, found, noisy, objects, random_samples, rectangles, sample
from pycocotools import mask as mask_utils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from cutmix_dense.data import open_dataset
from cutmix_dense.evaluation import CocoMetric

BOTH = ("bbox", "segm")
STATS = ("AP", "AP50", "AP75", "AP_s", "AP_m", "AP_l")
faster = pytest.mark.skipif(
    importlib.util.find_spec("faster_coco_eval") is None, reason="faster-coco-eval is not installed"
)
backends = pytest.mark.parametrize("backend", ["pycocotools", pytest.param("faster_coco_eval", marks=faster)])


def real_samples(dataset, seed=0, every=1):
    rng = np.random.default_rng(seed)
    targets = [dataset[i][1] for i in range(0, len(dataset), every)]
    return [sample(target["image_id"], noisy(rng, target, len(dataset.classes)), target) for target in targets]


def official(path, samples, dataset, kind):
    """COCOeval over the annotation file itself and a list of results."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(path))
        results = []
        for entry in samples:
            prediction = entry["prediction"]
            for i, (x1, y1, x2, y2) in enumerate(prediction["boxes"].double().tolist()):
                result = {
                    "image_id": entry["image_id"],
                    "category_id": dataset.category_ids[int(prediction["labels"][i])],
                    "score": float(prediction["scores"][i]),
                }
                if kind == "bbox":
                    result["bbox"] = [x1, y1, x2 - x1, y2 - y1]
                else:
                    result["segmentation"] = mask_utils.encode(np.asfortranarray(prediction["masks"][i].byte().numpy()))
                results.append(result)
        evaluation = COCOeval(truth, truth.loadRes(results), kind)
        evaluation.params.imgIds = sorted(entry["image_id"] for entry in samples)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


@backends
@pytest.mark.parametrize(
    ("name", "split", "file", "every"),
    [("coco_by33", "train2017", "instances_train2017.json", 1), ("facade", "gval", "instances_gval.json", 8)],
)
def test_the_numbers_are_those_of_the_official_files(real, name, split, file, every, backend):
    root = real(name)
    dataset = open_dataset(root, "coco", split=split)
    samples = real_samples(dataset, every=every)
    scores = evaluate(CocoMetric(BOTH, backend), samples, dataset.classes)
    for kind in BOTH:
        evaluation = official(root / "annotations" / file, samples, dataset, kind)
        assert 20 < scores[f"coco/{kind}_AP"] < 95
        for stat, value in zip(STATS, evaluation.stats):
            assert scores[f"coco/{kind}_{stat}"] == pytest.approx(100 * value, abs=1e-9), (kind, stat)
        for index, label in enumerate(range(1, len(dataset.classes))):
            known = evaluation.eval["precision"][:, :, index, 0, 2]
            known = known[known > -1]
            value = scores[f"coco/{kind}_AP/{dataset.classes[label]}"]
            assert value == pytest.approx(100 * known.mean(), abs=1e-9) if known.size else math.isnan(value)


@faster
def test_both_libraries_give_the_same():
    samples = random_samples(40)
    one, other = (evaluate(CocoMetric(BOTH, backend), samples) for backend in ("pycocotools", "faster_coco_eval"))
    assert set(one) == {f"coco/{kind}_{name}" for kind in BOTH for name in (*STATS, *(f"AP/{c}" for c in CLASSES[1:]))}
    assert one == pytest.approx(other, abs=1e-9)
    assert all(5 < value < 95 for value in one.values())


@faster
def test_auto_takes_the_faster_one():
    assert CocoMetric().backend == "faster_coco_eval"


def test_auto_does_without_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "faster_coco_eval", None)
    assert CocoMetric().backend == "pycocotools"
    with pytest.raises(ImportError, match=r'faster-coco-eval is needed .*"cutmix_dense\[faster-coco\]"'):
        CocoMetric(backend="faster_coco_eval")


@backends
def test_it_is_quiet(capfd, backend):
    evaluate(CocoMetric(BOTH, backend, per_class=False), random_samples(3))
    assert capfd.readouterr() == ("", "")


@backends
def test_a_crowd_absorbs_any_number_and_need_not_be_found(backend):
    target = objects([[0, 0, 100, 50], [110, 60, 150, 100]], [1, 1], iscrowd=[1, 0])
    boxes = [[0, 0, 30, 30], [40, 0, 70, 30], [110, 60, 150, 100]]
    prediction = found(boxes, [1, 1, 1], [0.9, 0.8, 0.1])
    metric = CocoMetric(backend=backend)
    assert evaluate(metric, [sample(1, prediction, target)])["coco/bbox_AP"] == pytest.approx(100)
    target["iscrowd"][:] = 0
    # two wrong before the one right, which is one of two: precision 1/3 up to recall 1/2
    expected = 100 * (1 / 3) * 51 / 101
    assert evaluate(metric, [sample(1, prediction, target)])["coco/bbox_AP"] == pytest.approx(expected)


@backends
def test_the_area_is_the_target_s(backend):
    target = objects([[0, 0, 40, 40]], [1], area=[500.0])
    scores = evaluate(CocoMetric(backend=backend), [sample(1, found([[0, 0, 40, 40]], [1], [0.5]), target)])
    assert scores["coco/bbox_AP_s"] == pytest.approx(100)
    assert math.isnan(scores["coco/bbox_AP_m"])
    assert math.isnan(scores["coco/bbox_AP_l"])


@backends
def test_what_has_no_ground_truth_is_nan_and_what_was_not_found_is_zero(backend):
    none = found([], [], [], masks=torch.zeros((0, 20, 30), dtype=torch.bool))
    there = objects([[0, 0, 10, 10], [0, 0, 10, 10]], [1, 2])
    there["masks"] = rectangles(there["boxes"], (20, 30))
    right = found(there["boxes"][:1], [1], [0.5], masks=there["masks"][:1])
    nothing = objects([], [], masks=torch.zeros((0, 20, 30), dtype=torch.bool))
    scores = evaluate(CocoMetric(BOTH, backend), [sample("a", right, there), sample("b", none, nothing)])
    for kind in BOTH:
        assert scores[f"coco/{kind}_AP/ant"] == pytest.approx(100)
        assert scores[f"coco/{kind}_AP/bee"] == 0
        assert math.isnan(scores[f"coco/{kind}_AP/cow"])
        assert scores[f"coco/{kind}_AP"] == pytest.approx(50)
    scores = evaluate(CocoMetric(BOTH, backend), [sample("a", none, there)])
    assert scores["coco/segm_AP"] == scores["coco/bbox_AP"] == 0
    scores = evaluate(CocoMetric(BOTH, backend), [sample("a", none, nothing)])
    assert all(math.isnan(value) for value in scores.values())
    # a detection where nothing is: still nothing to be found
    scores = evaluate(CocoMetric(BOTH, backend), [sample("a", right, nothing)])
    assert all(math.isnan(value) for value in scores.values())


def test_classes_without_a_background_all_count():
    target = objects([[0, 0, 9, 9]], [0])
    scores = evaluate(CocoMetric(), [sample(1, found([[0, 0, 9, 9]], [0], [0.5]), target)], ("road", "car"))
    assert scores["coco/bbox_AP/road"] == pytest.approx(100)


def test_little_is_kept_of_an_image():
    metric = CocoMetric(BOTH)
    metric.dataset_meta = {"classes": CLASSES}
    target = objects([[0, 0, 500, 500]], [1])
    target["masks"] = rectangles(target["boxes"], (1000, 1000))
    metric.process(None, [sample(1, found(target["boxes"], [1], [0.5], masks=target["masks"]), target)])
    assert len(__import__("pickle").dumps(metric.results)) < 5000


def test_masks_of_another_size_are_refused():
    target = objects([[0, 0, 10, 10]], [1])
    target["masks"] = rectangles(target["boxes"], (20, 30))
    prediction = found([[0, 0, 10, 10]], [1], [0.5], masks=rectangles(target["boxes"], (30, 20)))
    with pytest.raises(ValueError, match=r"prediction\['masks'\] of image 5 must be of .*\(20, 30\), got \(30, 20\)"):
        evaluate(CocoMetric("segm"), [sample(5, prediction, target)])
    prediction["masks"] = target["masks"].float()
    with pytest.raises(ValueError, match=r"prediction\['masks'\] of image 5 must be integers, got float32"):
        evaluate(CocoMetric("segm"), [sample(5, prediction, target)])
    del prediction["masks"]
    with pytest.raises(ValueError, match=r"prediction\['masks'\] of image 5 is missing"):
        evaluate(CocoMetric("segm"), [sample(5, prediction, target)])


def test_settings_out_of_range_are_named():
    with pytest.raises(ValueError, match=r"iou_types must be among \('bbox', 'segm'\), got \('box',\)"):
        CocoMetric(("box",))
    with pytest.raises(ValueError, match="backend must be one of .* got 'cuda'"):
        CocoMetric(backend="cuda")
