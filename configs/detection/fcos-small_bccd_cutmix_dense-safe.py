# torchvision's AutoAugment and AugMix refuse boxes. Their photometric steps move nothing, so they are safe for any
# dense target: one of them per sample, in the loader, and then the mix per batch.
_base_ = "fcos-small_bccd_cutmix.py"

train_dataloader = dict(
    dataset=dict(
        transforms=[
            dict(type="RandomHorizontalFlip", p=0.5),
            dict(type="RandomVerticalFlip", p=0.5),
            dict(
                type="RandomChoice",
                transforms=[
                    dict(type="Identity"),
                    dict(type="RandomPhotometricDistort", p=1.0),
                    dict(type="RandomAutocontrast", p=1.0),
                    dict(type="RandomEqualize", p=1.0),
                    dict(type="RandomPosterize", bits=4, p=1.0),
                    dict(type="RandomAdjustSharpness", sharpness_factor=2.0, p=1.0),
                    dict(type="GaussianBlur", kernel_size=5),
                ],
            ),
        ]
    )
)
