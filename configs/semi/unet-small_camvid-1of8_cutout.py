# CutMix's regions, erased and not pasted; the loss leaves them out.
_base_ = "_camvid-1of8.py"

model = dict(mix=dict(type="Cutout", p=1.0, region=dict(type="AreaBox.french")))
