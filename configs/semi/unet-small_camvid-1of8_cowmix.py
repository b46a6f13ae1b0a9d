# French et al. (2020): patches of blurred noise; sigma is ClassMix's 8 - 32 for images of 512 pixels, scaled to ours.
_base_ = "_camvid-1of8.py"

model = dict(mix=dict(type="CowMix", p=1.0, proportion=0.5, sigma=(3.0, 10.0)))
