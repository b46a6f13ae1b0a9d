# torchvision's DeepLabV3 R50 with its auxiliary head, for 4 GPUs. Not run.
_base_ = "lraspp-mobile_cityscapes_cutmix.py"

model = dict(network=dict(type="deeplabv3_resnet50", aux_loss=True, weights_backbone="DEFAULT"))
train_dataloader = dict(batch_size=4)
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="SGD", lr=0.01, momentum=0.9, weight_decay=5e-4), clip_grad=None
)
