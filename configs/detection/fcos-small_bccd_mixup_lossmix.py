# LossMix (Vu et al. 2024): the losses of both images' labels are interpolated, instead of the labels.
_base_ = "fcos-small_bccd_baseline.py"

model = dict(
    weighing=dict(by="weight", mixed="interpolated"),
    data_preprocessor=dict(mix=dict(type="MixUp", alpha=1.0, p=0.5)),
)
