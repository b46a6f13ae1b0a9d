"""The metric in memory gives what the official script gives for the same maps, written as PNG files."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from evaluation.scenes import evaluate
from PIL import Image

from cutmix_dense.data import open_dataset
from cutmix_dense.data.class_tables import TRAIN_CLASSES, train_id_to_id

pytest.importorskip("cityscapesscripts", reason="needs cityscapesscripts (the extra cityscapes)")

from cityscapesscripts.evaluation import evalPixelLevelSemanticLabeling as script

from cutmix_dense.evaluation import CityscapesMetric, cityscapes

SIZE = (60, 90)


@pytest.fixture(scope="module")
def dataset_root(tmp_path_factory):
    """Five frames with every label id but "train" (31): blocks, instances, groups, classes not evaluated."""
    root, rng = tmp_path_factory.mktemp("cityscapes"), np.random.default_rng(0)
    for number in range(5):
        labels = np.kron(rng.choice(np.delete(np.arange(34), 31), (6, 9)), np.ones((10, 10), dtype=int))
        instances = labels.copy()
        for identity in (24, 25, 26, 27, 29, 33):
            for index in range(3):
                y, x = rng.integers(0, 45), rng.integers(0, 70)
                labels[y : y + 12, x : x + 20] = identity
                instances[y : y + 12, x : x + 20] = 1000 * identity + index
        for folder, kind, content, depth in (
            ("leftImg8bit", "leftImg8bit", np.zeros((*SIZE, 3)), np.uint8),
            ("gtFine", "gtFine_labelIds", labels, np.uint8),
            ("gtFine", "gtFine_instanceIds", instances, np.uint16),
        ):
            path = root / folder / "val" / "ulm" / f"ulm_000000_{number:06}_{kind}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(content.astype(depth)).save(path)
    return root


def predicted(samples, folder, to_label_ids):
    """Right at about two pixels of three; the maps go into the samples and, as label ids, into PNG files."""
    rng, paths = np.random.default_rng(1), []
    for entry in samples:
        target = entry["target"]["semantic"].numpy()
        last = 19 if to_label_ids else 34
        guess = np.kron(rng.integers(0, last, (12, 18)), np.ones((5, 5), dtype=int))
        prediction = np.where((target < last) & (rng.random(SIZE) < 0.6), target, guess)
        if to_label_ids:
            prediction[:3] = 255  # no class at all
        entry["prediction"] = {"semantic": torch.from_numpy(prediction)}
        paths.append(str(folder / f"{entry['image_id']}.png"))
        ids = train_id_to_id()[prediction] if to_label_ids else prediction
        Image.fromarray(ids.astype(np.uint8)).save(paths[-1])
    return paths


def read(root, label_ids):
    dataset = open_dataset(root, "cityscapes", "val", label_ids=label_ids)
    targets = [dataset[i][1] for i in range(len(dataset))]
    return dataset, [{"image_id": target["image_id"], "target": target} for target in targets]


@pytest.fixture
def run_script(monkeypatch):
    """The script over files, without prints and without a JSON file."""
    monkeypatch.setattr(np, "in1d", np.isin, raising=False)  # which newer NumPys no longer have
    args = script.CArgs()
    args.__dict__.update(vars(script.args), quiet=True, JSONOutput=False, evalInstLevelScore=True)
    return lambda predictions, targets: script.evaluateImgLists(predictions, targets, args)


KINDS = {
    "IoU_class": ("classScores", "averageScoreClasses"),
    "IoU_category": ("categoryScores", "averageScoreCategories"),
    "iIoU_class": ("classInstScores", "averageScoreInstClasses"),
    "iIoU_category": ("categoryInstScores", "averageScoreInstCategories"),
}


@pytest.mark.parametrize("label_ids", ["train", "raw"])
def test_it_gives_what_the_script_gives(dataset_root, tmp_path, run_script, label_ids):
    dataset, samples = read(dataset_root, label_ids)
    predictions = predicted(samples, tmp_path, label_ids == "train")
    folder = dataset_root / "gtFine" / "val" / "ulm"
    expected = run_script(predictions, [str(folder / f"{entry['image_id']}_gtFine_labelIds.png") for entry in samples])
    scores = evaluate(CityscapesMetric(), samples, dataset.classes)
    checked = {}
    for kind, (each, mean) in KINDS.items():
        assert 1 < scores[f"cityscapes/{kind}"] < 99
        checked[f"cityscapes/{kind}"] = 100 * expected[mean]
        for name, value in expected[each].items():
            key = f"cityscapes/{kind}/{name}"
            if key in scores:
                checked[key] = 100 * value
            else:
                assert math.isnan(value)
    assert scores == pytest.approx(checked, abs=1e-9, nan_ok=True)
    given = [sum(key.startswith(f"cityscapes/{kind}/") for key in scores) for kind in KINDS]
    assert given == [19, 7, 8, 2]
    assert math.isnan(scores["cityscapes/IoU_class/train"]) == (label_ids == "raw" and not predicts(samples, 31))


def predicts(samples, label):
    return any((entry["prediction"]["semantic"] == label).any() for entry in samples)


def test_without_instances_the_weighted_scores_are_left_out_and_the_log_says_so(dataset_root, tmp_path, monkeypatch):
    dataset, samples = read(dataset_root, "train")
    predicted(samples, tmp_path, True)
    whole = evaluate(CityscapesMetric(per_class=False), samples, dataset.classes)
    del samples[1]["target"]["masks"]
    said = []
    monkeypatch.setattr(cityscapes, "print_log", lambda message, **_: said.append(message))
    scores = evaluate(CityscapesMetric(per_class=False), samples, dataset.classes)
    assert scores == {key: whole[key] for key in ("cityscapes/IoU_class", "cityscapes/IoU_category")}
    assert said == ["Cityscapes: no iIoU, 1 of 5 images come without instances"]


def test_what_does_not_fit_is_named(dataset_root, tmp_path):
    _, samples = read(dataset_root, "train")
    predicted(samples, tmp_path, True)
    with pytest.raises(ValueError, match=r"needs the 19 classes of the training or all 34"):
        evaluate(CityscapesMetric(), samples, TRAIN_CLASSES[:5])
    samples[0]["prediction"]["semantic"][0, 0] = 19
    with pytest.raises(ValueError, match=r"prediction\['semantic'\] of .* class ids in 0..18 or 255, got \[19\]"):
        evaluate(CityscapesMetric(), samples, TRAIN_CLASSES)
    samples[1]["target"]["labels"][-1] = 0  # the first ones are groups
    with pytest.raises(ValueError, match=r"target\['labels'\] of image 'ulm_000000_000001': .*'road' has no instances"):
        evaluate(CityscapesMetric(), samples[1:], TRAIN_CLASSES)
