# Which settings of CutMix matter on blood cells? Its defaults are the baseline: 205 training images, boxes only.
title = "Settings of CutMix on BCCD (VOC layout)"
metric = "voc/AP50"
per_class = "voc/AP50/"
baseline = "defaults"
config = "../detection/fcos-small_bccd_baseline.py"
seeds = tuple(range(8))
plan = dict(
    written="2026-11-30",
    smallest=3.0,
    compare=("visible_half", "weighed", "small_regions", "whole_objects", "always", "closed"),
    note="Paired differences in `bccd-detection` had a deviation of about 2.5 points, so eight seeds can show "
    "an effect of three. The other arms are secondary: they say whether a setting has a trend.",
)
data_keys = ("train_dataloader.dataset.root", "val_dataloader.dataset.root", "test_dataloader.dataset.root")
_mix = "model.data_preprocessor.mix"
_hooks = "default_hooks.close_mix"
variants = dict(
    defaults=dict(note="`CutMix(p=0.5)`: `min_visibility=0.1`", options={_mix: dict(type="CutMix", p=0.5)}),
    flips=dict(note="flips only, no mix"),
    visible_third=dict(
        note="`min_visibility=0.3`: what shows less is dropped",
        options={_mix: dict(type="CutMix", p=0.5, min_visibility=0.3)},
    ),
    visible_half=dict(note="`min_visibility=0.5`", options={_mix: dict(type="CutMix", p=0.5, min_visibility=0.5)}),
    visible_most=dict(note="`min_visibility=0.7`", options={_mix: dict(type="CutMix", p=0.5, min_visibility=0.7)}),
    ignored=dict(
        note="`min_visibility=0.5, on_filtered='ignore'`: the loss leaves out what shows less than half",
        options={
            _mix: dict(type="CutMix", p=0.5, min_visibility=0.5, on_filtered="ignore", instance_weights=True),
            "model.weighing": dict(by="weight"),
        },
    ),
    weighed=dict(
        note="`on_filtered='ignore'`, and each instance counts in the loss by how much of it shows",
        options={_mix: dict(type="CutMix", p=0.5, on_filtered="ignore"), "model.weighing": dict(by="visibility")},
    ),
    small_regions=dict(
        note="`region=AreaBox(area=(0.02, 0.2))`, 11% of the image on average",
        options={_mix: dict(type="CutMix", p=0.5, region=dict(type="AreaBox", area=(0.02, 0.2)))},
    ),
    whole_objects=dict(
        note="`region=ObjectBox()`: a region that cuts few objects and carries whole ones",
        options={_mix: dict(type="CutMix", p=0.5, region=dict(type="ObjectBox"))},
    ),
    seldom=dict(note="`p=0.25`", options={_mix: dict(type="CutMix", p=0.25)}),
    always=dict(note="`p=1`", options={_mix: dict(type="CutMix", p=1.0)}),
    closed=dict(
        note="no mix in the last 10 of 40 epochs",
        options={
            _mix: dict(type="CutMix", p=0.5),
            _hooks: dict(type="cutmix_dense.CloseMixHook", num_last_epochs=10),
        },
    ),
)
_metrics = ("VocMetric", "CocoMetric", "DetectionCalibration")
options = {"val_evaluator": [dict(type=f"cutmix_dense.{name}") for name in _metrics]}
budget = "40 epochs of 205 images (26 batches of 8) at 160 × 120, a small FCOS from random weights"
robustness = dict(centre=(0.3,), boundary=(0.3,))
reliability = {"calibration/D-ECE": "lower", "calibration/LaECE": "lower"}
shifts = dict(noise=(0.1, 0.2))
publish_pixels = True  # the data's licence is MIT
