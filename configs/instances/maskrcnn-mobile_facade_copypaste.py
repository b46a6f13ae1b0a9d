# Not run.
_base_ = "maskrcnn-mobile_facade_baseline.py"

model = dict(data_preprocessor=dict(mix=dict(type="CopyPaste", p=0.5)))
