"""MMDetection's semi-supervised detectors with a mix between the teacher's boxes and the student's losses."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from cutmix_dense.extras import require
from cutmix_dense.mmengine.batch import BatchMix
from cutmix_dense.mmengine.closing import Closable
from cutmix_dense.mmengine.scope import MODELS
from cutmix_dense.transforms import MixTransform


def __getattr__(name: str) -> Any:
    if name != "MixingSemiBaseDetector":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _mixing()


@MODELS.register_module()
def SemiMixDetector(*args: Any, mix: Mapping[str, Any], **settings: Any) -> nn.Module:
    """MMDetection's ``SemiBaseDetector`` whose student learns from mixed images.

    The teacher's boxes are projected into the student's view, those above ``cls_pseudo_thr`` are mixed with the images
    by one plan, and the losses are those of ``SemiBaseDetector``. In a config, ``model = dict(type=
    "cutmix_dense.SemiMixDetector", mix=dict(type="cutmix_dense.CutMix", p=0.5), …)`` with
    ``custom_imports = dict(imports=["cutmix_dense.mmengine", "cutmix_dense.mmengine.semi_detector"])``.

    Args:
        args: mmdet's.
        mix: a method for a batch, as in ``batch_augments``; windows of a recipe need ``MixScheduleHook``.
        settings: mmdet's: ``detector``, ``semi_train_cfg``, ``semi_test_cfg``, ``data_preprocessor``.

    ``SoftTeacher`` isn't served: its student's box losses compare features with the unmixed image's.

    Raises:
        ImportError: no mmdet.
        TypeError: ``mix`` isn't the config of a method.
    """
    require("mmdet", "mmdet")
    if not isinstance(mix, Mapping) or "type" not in mix:
        raise TypeError(f"mix must be the config of a method, a dict with a type, got {mix!r}")
    built = MODELS.build(dict(mix))
    if not isinstance(built, BatchMix):
        raise TypeError(f"mix must be a method of this package, such as dict(type='cutmix_dense.CutMix'), got {mix!r}")
    return _mixing()(built, *args, **settings)


@functools.cache
def _mixing() -> type[nn.Module]:
    """A subclass of mmdet's class, which isn't imported before it is needed."""
    from mmdet.models import SemiBaseDetector
    from mmdet.models.utils import filter_gt_instances

    class Mixing(SemiBaseDetector, Closable):
        def __init__(self, mix: BatchMix, *args: Any, **settings: Any) -> None:
            super().__init__(*args, **settings)
            self._mix = (mix,)  # no submodule: checkpoints are the detector's alone

        @property
        def batch_mix(self) -> BatchMix:
            """The method as it mixes data samples."""
            return self._mix[0]

        @property
        def mix(self) -> MixTransform:
            """The method of the core, which ``CloseMixHook`` closes and ``MixScheduleHook`` tells the step."""
            return self.batch_mix.mix

        def loss_by_pseudo_instances(
            self, batch_inputs: Tensor, batch_data_samples: Any, batch_info: dict[str, Any] | None = None
        ) -> dict[str, Any]:
            """The losses on the mixed batch."""
            samples = filter_gt_instances(batch_data_samples, score_thr=self.semi_train_cfg.cls_pseudo_thr)
            for sample in samples:
                sample.pop("homography_matrix", None)  # the boxes are projected already
            inputs, samples = self.batch_mix(batch_inputs, samples)
            losses: dict[str, Any] = super().loss_by_pseudo_instances(inputs, samples, batch_info)
            return losses

    Mixing.__name__ = "SemiMixDetector"
    Mixing.__qualname__ = "MixingSemiBaseDetector"  # by which pickles find it: see __getattr__
    return Mixing
