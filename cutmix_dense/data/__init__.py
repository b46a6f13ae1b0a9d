"""Datasets on disk: readers over torchvision's classes, writers of the same layouts, and the demo set.

`cutmix_dense.data.writers` and `cutmix_dense.data.demo` are imported by name; pycocotools and OpenCV (the extra
`data`) are imported only by what needs them.
"""

from cutmix_dense.data.errors import DatasetError, SampleError
from cutmix_dense.data.readers import DenseDataset, find_layouts, list_splits, open_dataset

__all__ = ["DatasetError", "DenseDataset", "SampleError", "find_layouts", "list_splits", "open_dataset"]
