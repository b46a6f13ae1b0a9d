# Unbiased Teacher's idea: the teacher's boxes on weak views, the student sees strong ones, unmixed.
_base_ = "_bccd-1of10.py"
