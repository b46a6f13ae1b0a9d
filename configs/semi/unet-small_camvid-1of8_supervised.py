# The baseline: the labelled images alone; the student is evaluated.
_base_ = "_camvid-1of8.py"

train_dataloader = dict(dataset=dict(count=0))
model = dict(evaluated="student")
