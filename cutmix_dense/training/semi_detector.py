"""Semi-supervised detection under MMEngine: a student that learns from its mean teacher's boxes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

import cutmix_dense.training.semi  # noqa: F401 - registers the default data_preprocessor
from cutmix_dense.build import from_config
from cutmix_dense.mmengine.scope import MODELS
from cutmix_dense.randomness import generator_from, rank_seed
from cutmix_dense.semi import MixPL, mixed_detection
from cutmix_dense.training.detector import Detector
from cutmix_dense.training.taught import Evaluated, TaughtModel


@MODELS.register_module()
class SemiDetector(TaughtModel):
    """A ``Detector`` that learns from labelled images, and from its mean teacher's boxes on unlabelled ones.

    The losses are the student's supervised ones, and the same as ``loss_unlabelled_…`` on the mixed unlabelled images,
    as ``semi.mixed_detection`` makes them. Needs ``MeanTeacherHook``, ``SemiDataset`` and ``collate_semi``.

    Args:
        student: arguments of ``Detector``.
        mix: how unlabelled images are mixed: any method, such as ``dict(type="CutMix", p=1.0)``, ``dict(type="Cutout",
            region=dict(type="MultiBox.mixpl"), min_visibility=0.3)``, or ``dict(type="MixPL", tile=…)``, whose cache a
            resumed training fills anew. None: not at all.
        threshold: score of the teacher's boxes that count; one, or one per class, the background first.
        ignore_above: see ``semi.pseudo_boxes``; needs a student with ``weighing``, which leaves ignored boxes out.
        weigh: see ``semi.pseudo_boxes``; needs a student with ``weighing=dict(by="weight")``, which reads it.
            Annotations weigh 1.
        weight: of the losses on unlabelled images: 2 in MixPL, 4 in Unbiased Teacher.
        loss_weights: of single losses of the student on unlabelled images, by torchvision's names with ``loss_`` in
            front.
        burn_in: number of optimizer steps before unlabelled images count.
        teacher: arguments of ``semi.MeanTeacher``.
        evaluated: who predicts: ``"teacher"`` or ``"student"``.
        data_preprocessor: see ``SemiPreprocessor``.

    Raises:
        TypeError: ``mix`` isn't a mixing transform.
        ValueError: an argument out of its range, named; ``weigh`` or ``ignore_above`` for a student that reads neither.
    """

    def __init__(
        self,
        student: Mapping[str, Any],
        mix: Any = None,
        threshold: Any = 0.7,
        ignore_above: float | None = None,
        weigh: bool = False,
        weight: float = 2.0,
        loss_weights: Mapping[str, float] | None = None,
        burn_in: int = 0,
        teacher: Mapping[str, Any] | None = None,
        evaluated: Evaluated = "teacher",
        data_preprocessor: Any = None,
    ) -> None:
        super().__init__(Detector(**student), weight, teacher, evaluated, data_preprocessor)
        if burn_in < 0:
            raise ValueError(f"burn_in must be at least 0, got {burn_in!r}")
        self._check_weighing(weigh, ignore_above)
        settings = dict(mix) if isinstance(mix, Mapping) else {}
        if settings.get("type") == "MixPL":
            self.hold(None)
            self.mixpl: MixPL | None = MixPL(**{name: from_config(v) for name, v in settings.items() if name != "type"})
        else:
            self.hold(from_config(mix))
            self.mixpl = None
        self.boxes: dict[str, Any] = {"threshold": threshold, "ignore_above": ignore_above, "weigh": weigh}
        self.loss_weights = loss_weights
        self.burn_in = burn_in

    def _check_weighing(self, weigh: bool, ignore_above: float | None) -> None:
        """ValueError for settings that act through the student's weighing, where it has none that reads them."""
        weighing = getattr(self.student.network, "weighing", None)
        by = None if weighing is None else weighing.by
        if weigh and not (callable(by) or "weight" in (by or ())):
            raise ValueError(
                "weigh=True needs a student that reads the key 'weight', got one "
                f"{'without weighing' if weighing is None else f'that weighs by {by!r}'}: "
                "write student=dict(weighing=dict(by='weight'), …), or leave weigh out"
            )
        if ignore_above is not None and weighing is None:
            raise ValueError(
                f"ignore_above={ignore_above!r} needs a student that leaves ignored boxes out, got one without "
                "weighing: write student=dict(weighing=dict(by='weight'), …) with weigh=True, or by='visibility' where "
                "labelled images are mixed; or leave ignore_above out"
            )

    @property
    def mixes(self) -> bool:
        """Whether there is a mix."""
        return self.mix is not None or self.mixpl is not None

    def close(self, closed: bool = True, *, by_schedule: bool = False) -> None:
        """Stop mixing (or start again); see ``MixTransform.close``."""
        super().close(closed, by_schedule=by_schedule)
        if self.mixpl is not None:
            self.mixpl.close(closed, by_schedule=by_schedule)

    def forward(
        self,
        images: Any,
        targets: list[dict[str, Any]] | None = None,
        unlabelled: Tensor | None = None,
        strong: list[Tensor] | None = None,
        mode: str = "tensor",
        **others: Any,
    ) -> Any:
        """As ``Detector``; ``unlabelled`` (N, 3, H, W) and its first strong view count in the mode "loss" alone."""
        if mode != "loss":
            if self.evaluated == "student":
                return self.student(images, targets, mode=mode)
            found = self.teacher([image.as_subclass(Tensor) for image in images])
            if mode == "tensor":
                return found
            return [self.student.sample(*each) for each in zip(images, found, targets or [{} for _ in images])]
        if self.boxes["weigh"]:  # annotations are as sure as can be
            targets = [{"weight": torch.ones_like(target["boxes"][:, 0]), **target} for target in targets or []]
        losses = self.student(images, targets, mode="loss")
        if unlabelled is not None and self.weight > 0 and self.teacher.step >= self.burn_in:
            losses.update(self._unlabelled_losses(unlabelled, strong[0] if strong else None))
        self.notice_loss()
        return losses

    def _unlabelled_losses(self, unlabelled: Tensor, strong: Tensor | None) -> dict[str, Tensor]:
        with self.mixing(len(unlabelled)):
            step = mixed_detection(
                lambda images, targets: self.student(images, targets, mode="loss"),
                self.teacher,
                unlabelled,
                self.mix if self.mixpl is None else self.mixpl,
                strong=strong,
                loss_weights=self.loss_weights,
                generator=generator_from(rank_seed()),
                **self.boxes,
            )
        named = {f"loss_unlabelled_{name.removeprefix('loss_')}": loss for name, loss in step.losses.items()}
        return {**{name: self.weight * loss for name, loss in named.items()}, **step.logs}
