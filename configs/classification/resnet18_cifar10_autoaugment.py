# torchvision's own AutoAugment (Cubuk 2019), per sample, and CutMix per batch behind it. Not run at full length yet.
_base_ = "resnet18_cifar10_cutmix.py"

train_dataloader = dict(
    dataset=dict(
        transforms=[
            dict(type="RandomCrop", size=32, padding=4),
            dict(type="RandomHorizontalFlip", p=0.5),
            dict(type="AutoAugment", policy="cifar10"),
        ]
    )
)
