# Not run.
_base_ = "fcos-small_coco_baseline.py"

model = dict(data_preprocessor=dict(mix=dict(type="CutMix", p=0.5)))
