# CamVid with an eighth of its labels: 46 of the 367 frames of "train", the others without labels.
# What all arms share: labelled batches, iterations, network, optimizer, and for those that use unlabelled images these
# too. An arm says what the student sees of them, and who is evaluated.
_base_ = ["../_base_/runtime.py", "../_base_/schedule.py", "../_base_/camvid.py"]

train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        _delete_=True,
        type="cutmix_dense.SemiDataset",
        labelled=dict(
            type="cutmix_dense.DenseTrainingDataset",
            root="data/camvid_cityscapes",
            split="train",
            layout="cityscapes",
            task="segmentation",
            keep_classes={{_base_._classes}},
            transforms=[dict(type="RandomHorizontalFlip", p=0.5)],
            fraction=0.125,
            subset_seed=0,
            cache=True,
        ),
        count=2,  # per labelled image: one for the student, and its partner
    ),
    collate_fn=dict(type="cutmix_dense.collate_semi"),
)
model = dict(
    type="cutmix_dense.SemiSegmenter",
    student=dict(num_classes=11, network=dict(type="SmallUNet", widths=(16, 32, 64, 96), stride=2)),
    consistency=dict(type="unimatch", threshold=0.9),
    weight=1.0,
    teacher=dict(decay=0.99),
    evaluated="teacher",
    data_preprocessor=dict(type="cutmix_dense.SemiPreprocessor", size=(120, 160)),
)
custom_hooks = [
    dict(type="cutmix_dense.SeedHook"),
    dict(type="SyncBuffersHook"),
    dict(type="cutmix_dense.MeanTeacherHook"),
    dict(type="cutmix_dense.MetricsFileHook"),
    dict(type="cutmix_dense.ValidateOnResumeHook"),
]
custom_imports = dict(
    imports=["cutmix_dense.training", "cutmix_dense.training.semi", "cutmix_dense.evaluation"],
    allow_failed_imports=False,
)
optim_wrapper = dict(optimizer=dict(lr=5e-3))
train_cfg = dict(max_epochs=100, val_interval=25)  # 1200 iterations
