"""Whether a model can tell as many classes as its datasets have, said before anything is trained or evaluated."""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from cutmix_dense.mmengine.scope import HOOKS
from cutmix_dense.training.classifier import Classifier
from cutmix_dense.training.detector import Detector
from cutmix_dense.training.errors import TrainingError
from cutmix_dense.training.segmenter import Segmenter

__all__ = ["CheckClassesHook"]


@HOOKS.register_module()
class CheckClassesHook(Hook):
    """Refuses a model with fewer classes than a dataset that it is trained or evaluated on.

    Importing ``cutmix_dense.training`` gives it to every ``Runner``; a config needn't name it. It looks at
    ``Detector``, ``Segmenter``, ``Classifier`` and the students of the semi-supervised ones, and at datasets whose
    ``metainfo`` has ``"classes"``. More classes than the dataset has are allowed.

    Raises:
        TrainingError: (at the start of a training or an evaluation) ``num_classes`` is too small.

    Example:
        >>> CheckClassesHook().priority
        'VERY_HIGH'
    """

    priority = "VERY_HIGH"

    def before_run(self, runner: Any) -> None:
        """Compare the model with the datasets of the loops that were built."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        path, part = ("model.student", model.student) if hasattr(model, "student") else ("model", model)
        if not isinstance(part, (Detector, Segmenter, Classifier)):
            return
        count = part.num_classes
        loops = {"train": runner._train_loop, "val": runner._val_loop, "test": runner._test_loop}
        for name, loop in loops.items():
            dataset = getattr(getattr(loop, "dataloader", None), "dataset", None)  # a dict is a loop that isn't run
            classes = (getattr(dataset, "metainfo", None) or {}).get("classes") or ()
            if len(classes) > count:
                background = ", the background with them" if isinstance(part, Detector) else ""
                shown = ", ".join(map(str, classes[:5])) + (", …" if len(classes) > 5 else "")
                raise TrainingError(
                    f"{path}.num_classes must be at least {len(classes)}, got {count}: the dataset of "
                    f"{name}_dataloader has {len(classes)} classes ({shown}){background}; "
                    f"set {path}.num_classes={len(classes)}"
                )
