# Consistency with the teacher on unlabelled images as they are: no mixing.
_base_ = "_camvid-1of8.py"
