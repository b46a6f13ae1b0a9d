"""Whether a model, its datasets and its checkpoint have the same classes, said before a training or an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from cutmix_dense.mmengine.scope import HOOKS
from cutmix_dense.training.classifier import Classifier
from cutmix_dense.training.detector import Detector
from cutmix_dense.training.errors import TrainingError
from cutmix_dense.training.segmenter import Segmenter

_REMEDY = "state the same names in the same order, as classes of datasets of boxes or keep_classes of segmentation"


@HOOKS.register_module()
class CheckClassesHook(Hook):
    """Refuses datasets and checkpoints whose classes aren't the same, and a model with another number of classes.

    Importing ``cutmix_dense.training`` gives it to every ``Runner``; a config needn't name it. It looks at
    ``Detector``, ``Segmenter``, ``Classifier`` and the students of the semi-supervised ones, and at datasets whose
    ``metainfo`` has ``"classes"``. The datasets of all loops that are run must have the same names in the same order,
    and ``num_classes`` must be their number. So a label means the same class everywhere, and no prediction is of a
    class without a name. To keep the head of a checkpoint on data with fewer classes, state all its names as
    ``classes`` of ``DenseTrainingDataset``; those without an object get no score.

    The classes that a checkpoint was trained on are compared where it is evaluated, or where a training is resumed. A
    training that only starts from its weights may have others.

    Raises:
        TrainingError: at the start of a training or an evaluation: the two lists differ, or ``num_classes`` does.

    Example:
        >>> CheckClassesHook().priority
        'VERY_HIGH'
    """

    priority = "VERY_HIGH"

    def before_run(self, runner: Any) -> None:
        """Compare the datasets of the loops that were built with each other and with the model."""
        found = _path_and_model(runner)
        tables = _classes_of_loops(runner)
        if found is None or not tables:
            return
        (first, classes), *others = tables.items()
        for name, further in others:
            _compare(f"{name}_dataloader", further, f"{first}_dataloader", classes)
        path, part = found
        if len(classes) != part.num_classes:
            background = ", the background with them" if isinstance(part, Detector) else ""
            fewer = len(classes) < part.num_classes and not isinstance(part, Segmenter)
            other = ", or state the names of all that the model knows as classes of the dataset" if fewer else ""
            raise TrainingError(
                f"{path}.num_classes must be {len(classes)}, got {part.num_classes}: the dataset of "
                f"{first}_dataloader has {len(classes)} classes ({_shown(classes)}){background}; "
                f"set {path}.num_classes={len(classes)}{other}"
            )

    def after_load_checkpoint(self, runner: Any, checkpoint: dict[str, Any]) -> None:
        """Compare the classes that a checkpoint was trained on, if it says them, with those of the data."""
        starts = not isinstance(runner._train_loop, (dict, type(None))) and not runner._resume
        meta = (checkpoint.get("meta") or {}).get("dataset_meta") or {}
        trained = tuple(map(str, meta.get("classes") or ()))
        if starts or not trained or _path_and_model(runner) is None:
            return
        for name, classes in _classes_of_loops(runner).items():
            _compare(f"{name}_dataloader", classes, f"the checkpoint {runner._load_from}", trained)


def _path_and_model(runner: Any) -> tuple[str, Any] | None:
    """The model whose classes are counted, and its place in the config; None for a model of others."""
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    path, part = ("model.student", model.student) if hasattr(model, "student") else ("model", model)
    return (path, part) if isinstance(part, (Detector, Segmenter, Classifier)) else None


def _classes_of_loops(runner: Any) -> dict[str, tuple[str, ...]]:
    """The classes of the dataset of each loop that is run, where it names them."""
    loops = {"train": runner._train_loop, "val": runner._val_loop, "test": runner._test_loop}
    found = {}
    for name, loop in loops.items():
        dataset = getattr(getattr(loop, "dataloader", None), "dataset", None)  # a dict is a loop that isn't run
        classes = (getattr(dataset, "metainfo", None) or {}).get("classes")
        if classes:
            found[name] = tuple(map(str, classes))
    return found


def _compare(name: str, classes: Sequence[str], other: str, wanted: Sequence[str]) -> None:
    """Raise TrainingError if two lists of classes differ."""
    if classes != wanted:
        count = min(len(classes), len(wanted))
        place = next((i for i in range(count) if classes[i] != wanted[i]), count)
        raise TrainingError(
            f"{name} must have the classes of {other}, in their order: it has {len(classes)} ({_shown(classes)}), and "
            f"{other} has {len(wanted)} ({_shown(wanted)}); class {place} is {_at(classes, place)} in the first and "
            f"{_at(wanted, place)} in the second; {_REMEDY}"
        )


def _at(classes: Sequence[str], place: int) -> str:
    return repr(classes[place]) if place < len(classes) else "none"


def _shown(classes: Sequence[str]) -> str:
    return ", ".join(classes[:5]) + (", …" if len(classes) > 5 else "")
