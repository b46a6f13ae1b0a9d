# Blood cells with a tenth of their labels: 20 of the 205 images of "train", the others without labels.
# What all arms share: labelled batches, iterations, network, optimizer, and the unlabelled images. An arm says what the
# student sees of them, and who is evaluated.
_base_ = ["../_base_/runtime.py", "../_base_/schedule.py", "../_base_/bccd.py"]

train_dataloader = dict(
    batch_size=4,
    dataset=dict(
        _delete_=True,
        type="cutmix_dense.SemiDataset",
        labelled=dict(
            type="cutmix_dense.DenseTrainingDataset",
            root="data/bccd",
            split="train",
            layout="voc",
            task="detection",
            transforms=[dict(type="RandomHorizontalFlip", p=0.5), dict(type="RandomVerticalFlip", p=0.5)],
            fraction=0.1,
            subset_seed=0,
            cache=True,
        ),
        count=1,  # an unlabelled image per labelled one
    ),
    collate_fn=dict(type="cutmix_dense.collate_semi"),
)
model = dict(
    type="cutmix_dense.SemiDetector",
    student=dict(
        num_classes=4,
        network=dict(type="small_fcos", widths=(16, 32, 48, 64), levels=2, channels=32, convs=2, anchor=4.0),
    ),
    threshold=0.5,  # torchvision's FCOS scores are roots of products, few are near 1
    weight=1.0,
    burn_in=150,  # until then the teacher knows next to nothing
    teacher=dict(decay=0.99),
    evaluated="teacher",
    data_preprocessor=dict(
        type="cutmix_dense.SemiPreprocessor",
        size=(120, 160),
        strong=[dict(type="ColorJitter", brightness=0.4, contrast=0.4, saturation=0.4)],
    ),
)
custom_hooks = [
    dict(type="cutmix_dense.SeedHook"),
    dict(type="SyncBuffersHook"),
    dict(type="cutmix_dense.MeanTeacherHook"),
    dict(type="cutmix_dense.MetricsFileHook"),
    dict(type="cutmix_dense.ValidateOnResumeHook"),
]
custom_imports = dict(
    imports=[
        "cutmix_dense.training",
        "cutmix_dense.training.semi",
        "cutmix_dense.training.semi_detector",
        "cutmix_dense.evaluation",
    ],
    allow_failed_imports=False,
)
train_cfg = dict(max_epochs=80, val_interval=20)  # 400 iterations
