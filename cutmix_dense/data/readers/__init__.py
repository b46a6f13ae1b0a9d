"""Readers of the layouts that data sets come in, with whole targets for every sample."""

from cutmix_dense.data.readers.base import DenseDataset
from cutmix_dense.data.readers.cityscapes import CityscapesDataset
from cutmix_dense.data.readers.coco import CocoDataset
from cutmix_dense.data.readers.coco_panoptic import CocoPanopticDataset
from cutmix_dense.data.readers.decathlon import DecathlonDataset
from cutmix_dense.data.readers.dota import DotaDataset
from cutmix_dense.data.readers.hf_dataset import HuggingFaceDataset
from cutmix_dense.data.readers.hf_imagefolder import HuggingFaceFolder
from cutmix_dense.data.readers.image_masks import ImageMasksDataset
from cutmix_dense.data.readers.labelme import LabelMeDataset
from cutmix_dense.data.readers.layouts import LAYOUTS, READERS, find_layouts, list_splits, open_dataset
from cutmix_dense.data.readers.voc import VocDataset
from cutmix_dense.data.readers.yolo import YoloDataset
from cutmix_dense.data.readers.youtube_vis import YouTubeVisDataset

__all__ = [
    "LAYOUTS",
    "READERS",
    "CityscapesDataset",
    "CocoDataset",
    "CocoPanopticDataset",
    "DecathlonDataset",
    "DenseDataset",
    "DotaDataset",
    "HuggingFaceDataset",
    "HuggingFaceFolder",
    "ImageMasksDataset",
    "LabelMeDataset",
    "VocDataset",
    "YoloDataset",
    "YouTubeVisDataset",
    "find_layouts",
    "list_splits",
    "open_dataset",
]
