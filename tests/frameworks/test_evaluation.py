"""The metrics give what MMDetection's and MMSegmentation's own give for the same predictions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("mmdet", reason="needs MMDetection (see README: tests of the frameworks)")
pytest.importorskip("mmseg", reason="needs MMSegmentation (see README: tests of the frameworks)")

from evaluation.scenes import CLASSES, evaluate, random_samples
from mmdet.evaluation.functional import eval_map
from mmdet.evaluation.metrics import CocoMetric as TheirCocoMetric
from mmseg.evaluation import IoUMetric as TheirIoUMetric

from cutmix_dense.evaluation import CocoMetric, IoUMetric, VocMetric

LABELS = range(1, len(CLASSES))


def theirs(samples, inclusive):
    """Samples as eval_map takes them: difficult objects are `bboxes_ignore`; boxes half-open or inclusive."""
    shift = np.array([0, 0, 1, 1]) if inclusive else np.zeros(4)
    detections, annotations = [], []
    for entry in samples:
        target = {key: entry["target"][key].numpy() for key in ("boxes", "labels", "difficult")}
        prediction = {key: value.numpy().astype(np.float64) for key, value in entry["prediction"].items()}
        rows = np.concatenate([prediction["boxes"] - shift, prediction["scores"][:, None]], axis=1)
        detections.append([rows[prediction["labels"] == label] for label in LABELS])
        hard = target["difficult"]
        annotations.append(
            {
                "bboxes": (target["boxes"] - shift)[~hard],
                "labels": target["labels"][~hard] - 1,
                "bboxes_ignore": (target["boxes"] - shift)[hard],
                "labels_ignore": target["labels"][hard] - 1,
            }
        )
    return detections, annotations


@pytest.mark.parametrize("mode", ["area", "11points"])
@pytest.mark.parametrize("inclusive", [False, True])
def test_voc_is_eval_map(mode, inclusive):
    samples = random_samples(43, seed=7)
    for entry in samples:
        del entry["target"]["iscrowd"]
    detections, annotations = theirs(samples, inclusive)
    # their coordinates from version 1 add a pixel to inclusive boxes, as VOC's kit does
    mean, each = eval_map(
        detections, annotations, eval_mode=mode, nproc=1, logger="silent", use_legacy_coordinate=inclusive
    )
    # 3 of 5 are a recall of 0.6, which their 0.1 + 0.1 … steps over: no such counts here
    assert all(result["num_gts"] % 5 for result in each)
    scores = evaluate(VocMetric(mode=mode), samples)
    assert 20 < scores["voc/AP50"] < 95
    assert scores["voc/AP50"] == pytest.approx(100 * mean, abs=1e-3)
    for name, result in zip(CLASSES[1:], each):
        assert scores[f"voc/AP50/{name}"] == pytest.approx(100 * result["ap"], abs=1e-3)


def test_coco_is_mmdets(tmp_path):
    samples = random_samples(20, seed=5)
    metric = TheirCocoMetric(metric=["bbox"], classwise=True, format_only=False)
    metric.dataset_meta = {"classes": CLASSES[1:]}
    for entry in samples:
        target, prediction = entry["target"], entry["prediction"]
        metric.process(
            None,
            [
                {
                    "img_id": entry["image_id"],
                    "ori_shape": (200, 260),
                    "pred_instances": prediction | {"bboxes": prediction["boxes"], "labels": prediction["labels"] - 1},
                    "instances": [
                        {"bbox": box, "bbox_label": label - 1, "ignore_flag": crowd, "mask": []}
                        for box, label, crowd in zip(
                            target["boxes"].tolist(), target["labels"].tolist(), target["iscrowd"].tolist()
                        )
                    ],
                }
            ],
        )
    expected = metric.evaluate(len(samples))
    scores = evaluate(CocoMetric(("bbox",)), samples)
    names = {stat: f"bbox_m{stat}" for stat in ("AP", "AP_s", "AP_m", "AP_l")}
    names |= {"AP50": "bbox_mAP_50", "AP75": "bbox_mAP_75"}
    names |= {f"AP/{name}": f"{name}_precision" for name in CLASSES[1:]}
    for ours, their in names.items():
        assert scores[f"coco/bbox_{ours}"] == pytest.approx(100 * expected[f"coco/{their}"], abs=0.051), ours


def test_mean_iou_is_mmsegs():
    classes, rng = ("road", "tree", "sky", "cat", "dog"), np.random.default_rng(0)
    samples = []
    for number in range(5):
        target = rng.integers(0, 3, (20, 30))  # "cat" is only predicted, "dog" never
        prediction = np.where(rng.random((20, 30)) < 0.5, target, rng.integers(0, 4, (20, 30)))
        target[rng.random((20, 30)) < 0.2] = 255
        maps = [{"semantic": torch.from_numpy(ids)} for ids in (prediction, target)]
        samples.append({"image_id": number, "prediction": maps[0], "target": maps[1]})
    parts = [
        TheirIoUMetric.intersect_and_union(entry["prediction"]["semantic"], entry["target"]["semantic"], 5, 255)
        for entry in samples
    ]
    expected = TheirIoUMetric.total_area_to_metrics(*(sum(column) for column in zip(*parts)))
    scores = evaluate(IoUMetric(), samples, classes)
    for name, value in zip(classes, expected["IoU"]):
        assert scores[f"semantic/IoU/{name}"] == pytest.approx(100 * value, abs=1e-3, nan_ok=True)
    assert scores["semantic/mIoU"] == pytest.approx(100 * np.nanmean(expected["IoU"]), abs=1e-3)
    assert scores["semantic/mAcc"] == pytest.approx(100 * np.nanmean(expected["Acc"]), abs=1e-3)
    assert scores["semantic/aAcc"] == pytest.approx(100 * expected["aAcc"], abs=1e-3)
