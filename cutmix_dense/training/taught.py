"""What models with a mean teacher have in common, and the hook that moves the teacher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from mmengine.hooks import Hook
from mmengine.model import BaseModel, is_model_wrapper
from torch import Tensor, nn

from cutmix_dense.mmengine.scope import HOOKS
from cutmix_dense.semi import MeanTeacher
from cutmix_dense.training.held_mix import HoldsMix

Evaluated = Literal["teacher", "student"]
"""Who predicts."""


class TaughtModel(BaseModel, HoldsMix):
    """Base of models that learn from their mean teacher; a subclass sets ``student``, which has a ``network``.

    Args:
        student: the supervised model.
        weight: of the losses on unlabelled images.
        teacher: arguments of ``semi.MeanTeacher``.
        evaluated: who predicts.
        data_preprocessor: see ``SemiPreprocessor``.

    Raises:
        RuntimeError: (in training) nothing updates the teacher.
        ValueError: an argument out of its range, named.
    """

    _PATIENCE = 50

    def __init__(
        self,
        student: nn.Module,
        weight: float,
        teacher: Mapping[str, Any] | None,
        evaluated: Evaluated,
        data_preprocessor: Any,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor or {"type": "cutmix_dense.SemiPreprocessor"})
        if evaluated not in get_args(Evaluated):
            raise ValueError(f"evaluated must be one of {get_args(Evaluated)}, got {evaluated!r}")
        if weight < 0:
            raise ValueError(f"weight must be at least 0, got {weight!r}")
        self.student: Any = student
        network: Any = student.network
        self.teacher = MeanTeacher(network, **(teacher or {}))
        self.weight = weight
        self.evaluated = evaluated
        self._since_update = 0

    def init_weights(self) -> None:
        """The student's; the teacher starts from them."""
        self.student.init_weights()
        self.teacher.module.load_state_dict(self.student.network.state_dict())

    @property
    def idle(self) -> str:
        """The part that an evaluation doesn't read: ``"student"`` or ``"teacher"``, the one that isn't evaluated."""
        return "student" if self.evaluated == "teacher" else "teacher"

    def update_teacher(self) -> None:
        """Move the teacher towards the student; once after every step of the optimizer."""
        self.teacher.update(self.student.network)
        self._since_update = 0

    def keep_teacher(self) -> None:
        """Leave the teacher as it is; after an iteration that only added to the gradients."""
        self._since_update = 0

    def notice_loss(self) -> None:
        """Count a training loss, to notice a teacher that is never updated."""
        self._since_update += 1
        if self.training and self._since_update > self._PATIENCE:
            raise RuntimeError("the teacher is never updated: custom_hooks must have cutmix_dense.MeanTeacherHook")

    def halved(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Unlabelled images and their partners."""
        if len(images) % 2:
            raise ValueError(f"unlabelled must hold an image and its partner each, got {len(images)} images")
        first, second = images.chunk(2)
        return first, second


@HOOKS.register_module()
class MeanTeacherHook(Hook):
    """Moves the teacher of a ``TaughtModel`` after every step of the optimizer, before a checkpoint is written.

    With ``optim_wrapper=dict(accumulative_counts=4)`` that is every fourth iteration, and the last one.

    Example:
        >>> custom_hooks = [dict(type="cutmix_dense.SeedHook"), dict(type="cutmix_dense.MeanTeacherHook")]
    """

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Update the teacher, if the optimizer made a step."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        if runner.optim_wrapper.should_update():
            model.update_teacher()
        else:
            model.keep_teacher()
