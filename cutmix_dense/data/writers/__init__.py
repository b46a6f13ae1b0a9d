"""Writers of layouts over one base that stages samples and lists them last."""

from cutmix_dense.data.writers.base import Writer
from cutmix_dense.data.writers.cityscapes import CityscapesWriter
from cutmix_dense.data.writers.coco import CocoWriter
from cutmix_dense.data.writers.coco_panoptic import CocoPanopticWriter
from cutmix_dense.data.writers.image_masks import ImageMasksWriter
from cutmix_dense.data.writers.labelme import LabelMeWriter
from cutmix_dense.data.writers.voc import VocWriter
from cutmix_dense.data.writers.yolo import YoloWriter

__all__ = [
    "CityscapesWriter",
    "CocoPanopticWriter",
    "CocoWriter",
    "ImageMasksWriter",
    "LabelMeWriter",
    "VocWriter",
    "Writer",
    "YoloWriter",
]
