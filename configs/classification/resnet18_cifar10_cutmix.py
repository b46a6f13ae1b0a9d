# Not run at full length yet.
_base_ = "resnet18_cifar10_baseline.py"

model = dict(data_preprocessor=dict(mix=dict(type="CutMix", alpha=1.0, p=0.5, num_classes=10)))
