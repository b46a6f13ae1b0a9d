"""The metrics that a study names are compared with those that were measured."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from cutmix_dense.study.folders import UNTRAINED
from cutmix_dense.study.measured_names import check_names
from cutmix_dense.study.published import RUNS, read_published
from cutmix_dense.study.settings import StudyError, load_study

ROOT = Path(__file__).resolve().parents[2]
MEASURED = {
    "metrics": {
        "semantic/mIoU": 4.0,
        "semantic/IoU/sky": None,
        "semantic/IoU/traffic sign": 3.0,
        "calibration/ECE": math.nan,
        "calibration/LaECE/sky": None,
    },
    "classes": ["sky", "traffic sign"],
}


@pytest.mark.parametrize(
    "more",
    [
        "",
        "per_class = ''",
        "per_class = 'calibration/LaECE/'",
        "reliability = {'calibration/ECE': 'lower', 'calibration/LaECE/sky': 'lower'}",
    ],
)
def test_names_that_are_measured_pass_whatever_their_values(make_study, more):
    study = load_study(make_study(more=more))
    check_names(study, MEASURED)
    check_names(study, {**MEASURED, "classes": []})


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (
            "metric = 'semantic/mIou'",
            "stand_ins.py: metric: 'semantic/mIou' isn't measured, did you mean 'semantic/mIoU'",
        ),
        ("metric = 'voc/AP50'", "metric: 'voc/AP50' isn't measured, these are: semantic/mIoU, semantic/IoU/sky, "),
        (
            "per_class = 'semantic/Iou/'",
            "no metric is named 'semantic/Iou/' and a class, did you mean 'semantic/IoU/'?",
        ),
        ("per_class = 'semantic/IoU'", "no metric is named 'semantic/IoU' and a class, did you mean 'semantic/IoU/'?"),
        ("per_class = 'semantic/'", "no metric is named 'semantic/' and a class"),
        (
            "reliability = {'calibration/ece': 'lower'}",
            "reliability: 'calibration/ece' isn't .* mean 'calibration/ECE'",
        ),
        (
            "metric = 'a'\nreliability = {'b': 'lower'}",
            "metric: 'a' isn't .*; reliability: 'b' isn't .* to val_evaluator",
        ),
    ],
)
def test_others_are_told_with_the_nearest(make_study, more, told):
    with pytest.raises(StudyError, match=told):
        check_names(load_study(make_study(more=more)), MEASURED)


def test_without_names_of_classes_any_last_word_is_one(make_study):
    measured = {**MEASURED, "classes": []}
    check_names(load_study(make_study(more="per_class = 'semantic/'")), measured)
    with pytest.raises(StudyError, match=r"'semantic/IoU50/' and a class, did you mean 'semantic/IoU/'"):
        check_names(load_study(make_study(more="per_class = 'semantic/IoU50/'")), measured)


def test_the_studies_of_the_project_name_what_they_measured():
    published = sorted((ROOT / "docs" / "studies").glob(f"*/{RUNS}"))
    assert len(published) >= 5
    for runs in published:
        study = load_study(ROOT / "configs" / "studies" / f"{runs.parent.name}.py")
        check_names(study, read_published(runs.parent).results[UNTRAINED, 0])
