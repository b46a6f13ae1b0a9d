"""Mixing for MMEngine, MMDetection and MMSegmentation, by config alone.

``custom_imports = dict(imports=["cutmix_dense.mmengine"])`` registers, under the scope ``cutmix_dense``:

- in TRANSFORMS, every method by its name, for one sample and its ``mix_results`` (or a cache of recent samples);
- in MODELS, every method by its name, for a batch on its device (``batch_augments``), and the two preprocessors that
  run them: ``DetDataPreprocessor`` and ``SegDataPreProcessor``;
- in HOOKS, ``CloseMixHook``, which ends mixing for the last epochs or iterations.
"""

from __future__ import annotations

from cutmix_dense.extras import require

require("mmengine", "mmengine")

from cutmix_dense.mmengine.batch import BatchMix  # noqa: E402
from cutmix_dense.mmengine.hook import CloseMixHook  # noqa: E402
from cutmix_dense.mmengine.preprocessors import DetDataPreprocessor, SegDataPreProcessor  # noqa: E402
from cutmix_dense.mmengine.sample import SampleMix  # noqa: E402
from cutmix_dense.mmengine.scope import HOOKS, MODELS, TRANSFORMS  # noqa: E402

__all__ = [
    "HOOKS",
    "MODELS",
    "TRANSFORMS",
    "BatchMix",
    "CloseMixHook",
    "DetDataPreprocessor",
    "SampleMix",
    "SegDataPreProcessor",
]
