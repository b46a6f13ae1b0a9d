"""Writers of the three layouts over one base that stages samples and lists them last."""

from cutmix_dense.data.writers.base import Writer
from cutmix_dense.data.writers.cityscapes import CityscapesWriter
from cutmix_dense.data.writers.coco import CocoWriter
from cutmix_dense.data.writers.voc import VocWriter

__all__ = ["CityscapesWriter", "CocoWriter", "VocWriter", "Writer"]
