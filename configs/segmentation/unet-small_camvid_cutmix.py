_base_ = "unet-small_camvid_baseline.py"

model = dict(data_preprocessor=dict(mix=dict(type="CutMix", p=0.5)))
