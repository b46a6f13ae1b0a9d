_base_ = "fcos-small_bccd_baseline.py"

model = dict(data_preprocessor=dict(mix=dict(type="CutMix", p=0.5)))
