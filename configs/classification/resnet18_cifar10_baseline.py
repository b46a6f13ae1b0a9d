# ResNet-18 as for CIFAR, 30 epochs. Not run at full length yet.
_base_ = ["../_base_/runtime.py", "../_base_/schedule.py", "../_base_/cifar10.py"]

model = dict(
    type="cutmix_dense.Classifier",
    num_classes=10,
    network=dict(type="resnet18"),
    small_images=True,
    data_preprocessor=dict(
        type="cutmix_dense.MixPreprocessor", mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.2435, 0.2616)
    ),
)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="SGD", lr=0.1, momentum=0.9, weight_decay=5e-4, nesterov=True), clip_grad=None
)
train_cfg = dict(max_epochs=30, val_interval=5)
