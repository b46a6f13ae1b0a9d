# French et al. (2020): one box of half the image's area, pasted from a second unlabelled image.
_base_ = "_camvid-1of8.py"

model = dict(mix=dict(type="CutMix", p=1.0, region=dict(type="AreaBox.french")))
