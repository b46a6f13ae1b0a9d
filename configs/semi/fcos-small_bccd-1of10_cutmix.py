# The teacher's boxes follow the regions that CutMix pastes.
_base_ = "_bccd-1of10.py"

model = dict(mix=dict(type="CutMix", p=0.5))
