# CIFAR-10 from data/cifar10 (download=True fetches it); drawn shapes where it isn't there, with a warning.
_dataset = dict(type="cutmix_dense.ClassificationDataset", root="data/cifar10", stand_in=True)
_flip_and_shift = [
    dict(type="RandomCrop", size=32, padding=4),
    dict(type="RandomHorizontalFlip", p=0.5),
]
train_dataloader = dict(
    batch_size=128,
    num_workers=2,
    persistent_workers=True,
    dataset=dict(**_dataset, split="train", transforms=_flip_and_shift),
    sampler=dict(type="cutmix_dense.EpochSampler", shuffle=True),
    collate_fn=dict(type="cutmix_dense.collate"),
)
val_dataloader = dict(
    batch_size=256,
    num_workers=2,
    persistent_workers=True,
    dataset=dict(**_dataset, split="val", stand_in_size=500),
    sampler=dict(type="cutmix_dense.EpochSampler", shuffle=False),
    collate_fn=dict(type="cutmix_dense.collate"),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="cutmix_dense.Accuracy")
test_evaluator = val_evaluator
