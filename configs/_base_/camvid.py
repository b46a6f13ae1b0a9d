# CamVid on the Cityscapes layout (datasets/prepare_camvid.py), 320 × 240: train 367, val 101, test 233 frames.
# Its 11 classes under Cityscapes' names; the other eight train ids don't occur.
_classes = [
    *("road", "sidewalk", "building", "fence", "pole", "traffic sign"),
    *("vegetation", "sky", "person", "rider", "car"),
]
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    dataset=dict(
        type="cutmix_dense.DenseTrainingDataset",
        root="data/camvid_cityscapes",
        split="train",
        layout="cityscapes",
        task="segmentation",
        keep_classes=_classes,
        transforms=[dict(type="RandomHorizontalFlip", p=0.5)],
        cache=True,
    ),
    sampler=dict(type="cutmix_dense.EpochSampler", shuffle=True),
    collate_fn=dict(type="cutmix_dense.collate"),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=0,
    dataset=dict(
        type="cutmix_dense.DenseTrainingDataset",
        root="data/camvid_cityscapes",
        split="val",
        layout="cityscapes",
        task="segmentation",
        keep_classes=_classes,
        cache=True,
    ),
    sampler=dict(type="cutmix_dense.EpochSampler", shuffle=False),
    collate_fn=dict(type="cutmix_dense.collate"),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="cutmix_dense.IoUMetric")
test_evaluator = val_evaluator
