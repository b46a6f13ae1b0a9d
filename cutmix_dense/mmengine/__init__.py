"""Mixing for MMEngine, MMDetection and MMSegmentation, by config alone.

``custom_imports = dict(imports=["cutmix_dense.mmengine"])`` registers, under the scope ``cutmix_dense``:

- in TRANSFORMS, every method by its name, for one sample and its ``mix_results`` (or a cache of recent samples);
- in MODELS, every method by its name, for a batch on its device (``batch_augments``), and the two preprocessors that
  run them: ``DetDataPreprocessor`` and ``SegDataPreProcessor``. They go into the model, where configs have their
  preprocessor: ``model = dict(data_preprocessor=dict(type="cutmix_dense.DetDataPreprocessor", ...))``. Settings of
  ``_base_`` (mean, std, padding) stay; no ``_delete_`` is needed;
- in HOOKS, ``CloseMixHook``, which ends mixing for the last epochs or iterations; ``MixScheduleHook``, which tells
  recipes and a ``RandomMix`` with windows which epoch or iteration begins; ``WeighLossesHook``, which makes
  MMDetection's losses count each instance by its ``visibility`` or ``weight``.

Configs of pure Python name the classes: ``from cutmix_dense.mmengine.sample import CutMix`` for a pipeline, and
``from cutmix_dense.mmengine.batch import CutMix`` for a batch. ``cutmix_dense.CutMix`` itself mixes tensors alone.

The import also does two things for every training of the process:

- every ``Runner`` checks its config before it trains (``CheckMixHook``): a setting of this package that nothing uses is
  an error with its reason. Not noticed are a pipeline of a dataset that no sampler draws from, a preprocessor that a
  model builds but never calls (that of a detector within a semi-supervised one), variables whose equals are in use, a
  ``Runner`` made before the import, one without a ``cfg``, and ``FlexibleRunner``;
- torch's safe loader may read the numbers that MMEngine keeps in checkpoints (``allow_checkpoints``), so that trainings
  resume on torch 2.6 and newer, as they did before.

Example:
    >>> import numpy as np
    >>> from cutmix_dense.mmengine import TRANSFORMS
    >>> mix = TRANSFORMS.build({"type": "cutmix_dense.CutMix", "p": 1.0, "max_cached_images": 4})
    >>> first, second = ({"img": np.full((40, 60, 3), value, np.uint8)} for value in (0, 255))
    >>> bool(mix(first)["img"].any()), sorted(set(mix(second)["img"].ravel().tolist()))
    (False, [0, 255])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cutmix_dense.extras import require

require("mmengine", "mmengine")

from cutmix_dense.mmengine.batch import BatchMix  # noqa: E402
from cutmix_dense.mmengine.checkpoints import allow_checkpoints  # noqa: E402
from cutmix_dense.mmengine.hook import CloseMixHook  # noqa: E402
from cutmix_dense.mmengine.preprocessors import DetDataPreprocessor, SegDataPreProcessor  # noqa: E402
from cutmix_dense.mmengine.sample import SampleMix  # noqa: E402
from cutmix_dense.mmengine.schedule import MixScheduleHook  # noqa: E402
from cutmix_dense.mmengine.scope import HOOKS, MODELS, TRANSFORMS  # noqa: E402
from cutmix_dense.mmengine.unused import CheckMixHook, check_runners  # noqa: E402
from cutmix_dense.mmengine.weighing import WeighLossesHook, weigh_detector  # noqa: E402

__all__ = [
    "HOOKS",
    "MODELS",
    "TRANSFORMS",
    "BatchMix",
    "CheckMixHook",
    "CloseMixHook",
    "DetDataPreprocessor",
    "MixScheduleHook",
    "SampleMix",
    "SegDataPreProcessor",
    "WeighLossesHook",
    "allow_checkpoints",
    "weigh_detector",
]

if not TYPE_CHECKING:  # which shall go on to know all names

    def __getattr__(name: str) -> Any:
        """Say where a method is, which has one class for samples and another one for batches."""
        if name in TRANSFORMS.module_dict and name in MODELS.module_dict:
            raise ImportError(
                f"cutmix_dense.mmengine has two classes {name}: import it from cutmix_dense.mmengine.sample for a "
                "pipeline, from cutmix_dense.mmengine.batch for batch_augments and augments_before_normalize"
            )
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


check_runners()
allow_checkpoints()
