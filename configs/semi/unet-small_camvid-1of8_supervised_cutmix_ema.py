# What CutMix and averaged weights do without any unlabelled image: half of the labelled images are mixed.
_base_ = "_camvid-1of8.py"

train_dataloader = dict(dataset=dict(count=0))
model = dict(data_preprocessor=dict(mix=dict(type="CutMix", p=0.5, region=dict(type="AreaBox.french"))))
