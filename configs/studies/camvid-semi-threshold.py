# A controlled experiment on `camvid-semi`: is it the threshold of confidence that keeps unlabelled frames from helping?
_base_ = "camvid-semi.py"

title = "Semi-supervised segmentation on CamVid: the threshold of confidence"
baseline = "supervised_cutmix_ema"
seeds = tuple(range(6))
plan = dict(
    written="2026-12-01",
    smallest=4.0,
    compare=("cutmix", "cutmix_07"),
    note="The literature's gains are about four points. In `camvid-semi`, three seeds of CutMix on unlabelled frames "
    "lay 0.4 points below CutMix on the labelled frames alone.",
)
_arm = "../semi/unet-small_camvid-1of8_{}.py".format
variants = dict(
    _delete_=True,
    supervised_cutmix_ema=dict(
        config=_arm("supervised_cutmix_ema"),
        note="CutMix on the labelled frames and averaged weights, no unlabelled frame",
    ),
    cutmix=dict(config=_arm("cutmix"), note="mean teacher, CutMix of unlabelled frames, threshold 0.9"),
    cutmix_07=dict(
        config=_arm("cutmix"), note="the same with the threshold 0.7", options={"model.consistency.threshold": 0.7}
    ),
)
