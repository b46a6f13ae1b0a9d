# A controlled experiment on `camvid-semi`: do unlabelled frames help where labels are fewer still?
_base_ = "camvid-semi.py"

title = "Semi-supervised segmentation on CamVid with 1/16 of the labels"
baseline = "supervised_cutmix_ema"
seeds = tuple(range(6))
plan = dict(
    written="2026-12-01",
    smallest=4.0,
    compare=("cutmix",),
    note="The literature's gains are about four points, and larger with fewer labels. With 1/8, three seeds of CutMix "
    "on unlabelled frames lay 0.4 points below CutMix on the labelled frames alone.",
)
_arm = "../semi/unet-small_camvid-1of8_{}.py".format
_sixteenth = {
    "train_dataloader.dataset.labelled.fraction": 0.0625,
    "train_cfg.max_epochs": 200,  # as many iterations as with 1/8
    "train_cfg.val_interval": 50,
}
variants = dict(
    _delete_=True,
    supervised_cutmix_ema=dict(
        config=_arm("supervised_cutmix_ema"),
        note="CutMix on the labelled frames and averaged weights, no unlabelled frame",
        options=_sixteenth,
    ),
    cutmix=dict(config=_arm("cutmix"), note="mean teacher, CutMix of unlabelled frames", options=_sixteenth),
)
budget = "200 epochs of 23 labelled frames (1,200 × 4, beside 8 unlabelled) at 160 × 120, a small U-Net"
notes = (
    "23 of 367 training frames keep their labels, the same in every run; the others are used without.",
    "All runs leave out the same labels: intervals hold for this choice of frames. The arm with unlabelled frames sees "
    "8 of them an iteration (4 and their partners).",
    "Learning ends at rate 0, where student and averaged teacher are the same.",
)
