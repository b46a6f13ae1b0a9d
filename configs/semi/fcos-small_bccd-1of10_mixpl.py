# Chen et al. (2023): erased, blended with earlier images, and four of these as a mosaic.
_base_ = "_bccd-1of10.py"

model = dict(mix=dict(type="MixPL", tile=((60, 80), (120, 160))))
