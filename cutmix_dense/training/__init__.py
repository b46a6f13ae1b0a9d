"""Training detectors, segmenters and classifiers with mixing, on MMEngine's Runner.

``custom_imports = dict(imports=["cutmix_dense.training", "cutmix_dense.evaluation"])`` registers, under the scope
``cutmix_dense``:

- in DATASETS, ``DenseTrainingDataset``, ``ClassificationDataset`` and ``PictureDataset``;
- in DATA_SAMPLERS, ``EpochSampler``, and in FUNCTIONS, ``collate``;
- in MODELS, ``MixPreprocessor``, ``Detector``, ``Segmenter``, ``Classifier``;
- in HOOKS, ``SeedHook``, ``MetricsFileHook``, ``ValidateOnResumeHook``, ``CheckClassesHook``.
"""

from __future__ import annotations

from cutmix_dense.extras import require

require("mmengine", "train")

from cutmix_dense.mmengine.checkpoints import allow_checkpoints  # noqa: E402
from cutmix_dense.mmengine.unused import check_runners  # noqa: E402
from cutmix_dense.training.checkpoints import (  # noqa: E402
    MetricsFileHook,
    ValidateOnResumeHook,
    newest_checkpoint,
)
from cutmix_dense.training.classifier import Classifier  # noqa: E402
from cutmix_dense.training.data import (  # noqa: E402
    ClassificationDataset,
    DenseTrainingDataset,
    TrainingDataset,
    collate,
)
from cutmix_dense.training.detector import Detector  # noqa: E402
from cutmix_dense.training.errors import TrainingError  # noqa: E402
from cutmix_dense.training.pictures import PictureDataset  # noqa: E402
from cutmix_dense.training.preprocessor import MixPreprocessor  # noqa: E402
from cutmix_dense.training.same_classes import CheckClassesHook  # noqa: E402
from cutmix_dense.training.seeding import EpochSampler, SeedHook, random_state  # noqa: E402
from cutmix_dense.training.segmenter import Segmenter  # noqa: E402

__all__ = [
    "CheckClassesHook",
    "ClassificationDataset",
    "Classifier",
    "DenseTrainingDataset",
    "Detector",
    "EpochSampler",
    "MetricsFileHook",
    "MixPreprocessor",
    "PictureDataset",
    "SeedHook",
    "Segmenter",
    "TrainingDataset",
    "TrainingError",
    "ValidateOnResumeHook",
    "allow_checkpoints",
    "collate",
    "newest_checkpoint",
    "random_state",
]

check_runners(CheckClassesHook)
