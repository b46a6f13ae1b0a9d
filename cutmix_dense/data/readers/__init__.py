"""Readers over torchvision's own dataset classes, with whole targets for every sample."""

from cutmix_dense.data.readers.base import DenseDataset
from cutmix_dense.data.readers.cityscapes import CityscapesDataset
from cutmix_dense.data.readers.coco import CocoDataset
from cutmix_dense.data.readers.coco_panoptic import CocoPanopticDataset
from cutmix_dense.data.readers.decathlon import DecathlonDataset
from cutmix_dense.data.readers.dota import DotaDataset
from cutmix_dense.data.readers.layouts import LAYOUTS, find_layouts, list_splits, open_dataset
from cutmix_dense.data.readers.voc import VocDataset
from cutmix_dense.data.readers.youtube_vis import YouTubeVisDataset

__all__ = [
    "LAYOUTS",
    "CityscapesDataset",
    "CocoDataset",
    "CocoPanopticDataset",
    "DecathlonDataset",
    "DenseDataset",
    "DotaDataset",
    "VocDataset",
    "YouTubeVisDataset",
    "find_layouts",
    "list_splits",
    "open_dataset",
]
