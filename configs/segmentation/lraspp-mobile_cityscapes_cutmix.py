# Not run.
_base_ = "lraspp-mobile_cityscapes_baseline.py"

model = dict(data_preprocessor=dict(mix=dict(type="CutMix", p=0.5)))
