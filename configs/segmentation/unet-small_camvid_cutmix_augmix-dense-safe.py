# AugMix (Hendrycks 2020) blends chains of steps, some of them geometric, and torchvision's refuses masks. What remains
# for dense targets: a chain of one to three photometric steps per sample, in the loader, and then the mix per batch.
_base_ = "unet-small_camvid_cutmix.py"

_step = dict(
    type="RandomChoice",
    transforms=[
        dict(type="Identity"),
        dict(type="RandomPhotometricDistort", p=1.0),
        dict(type="RandomAutocontrast", p=1.0),
        dict(type="RandomEqualize", p=1.0),
        dict(type="RandomPosterize", bits=4, p=1.0),
        dict(type="RandomSolarize", threshold=192, p=1.0),
        dict(type="RandomAdjustSharpness", sharpness_factor=2.0, p=1.0),
    ],
)
train_dataloader = dict(
    dataset=dict(
        transforms=[
            dict(type="RandomHorizontalFlip", p=0.5),
            _step,
            dict(type="RandomApply", transforms=[_step], p=0.5),
            dict(type="RandomApply", transforms=[_step], p=0.5),
        ]
    )
)
