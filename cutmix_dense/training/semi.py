"""Semi-supervised segmentation under MMEngine: pairs of samples, a student with its mean teacher, and the hook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel, is_model_wrapper
from torch import Tensor
from torch.utils.data import Dataset

from cutmix_dense.build import from_config
from cutmix_dense.mmengine.scope import DATASETS, HOOKS, MODELS
from cutmix_dense.randomness import generator_from, rank_seed
from cutmix_dense.semi import Consistency, MeanTeacher, mixed_consistency
from cutmix_dense.training.data import FUNCTIONS, collate
from cutmix_dense.training.held_mix import HoldsMix
from cutmix_dense.training.preprocessor import MixPreprocessor
from cutmix_dense.training.segmenter import Segmenter, scores_of

__all__ = ["MeanTeacherHook", "SemiDataset", "SemiPreprocessor", "SemiSegmenter", "collate_semi"]

Evaluated = Literal["teacher", "student"]


@DATASETS.register_module()
class SemiDataset(Dataset[dict[str, Any]]):
    """Each labelled sample together with unlabelled images, chosen by (seed, epoch, index).

    A sample is the labelled one's, with ``"unlabelled"``: a list of images. It has the length of the labelled set and
    gives its samples unchanged: a supervised training on the labelled set alone, of the same seed, sees the same
    labelled batches. All unlabelled images come equally often: they are dealt from one permutation after the other.

    Args:
        labelled: a dataset or its config, e.g. ``dict(type="cutmix_dense.DenseTrainingDataset", fraction=0.125, ...)``.
        unlabelled: likewise; its targets are left out. Default: what the fraction (limit, subset) of ``labelled``'s
            config left over, ``complement=True``.
        count: unlabelled images per sample: 2 for an image and its partner; 0 gives the labelled samples alone.

    Raises:
        ValueError: a negative count; no unlabelled set beside a labelled one that isn't given as a config.
    """

    def __init__(self, labelled: Any, unlabelled: Any = None, count: int = 2) -> None:
        if count < 0:
            raise ValueError(f"count must be at least 0, got {count!r}")
        if unlabelled is None and count > 0:
            if not isinstance(labelled, Mapping):
                raise ValueError("unlabelled must be given, where labelled is a dataset and not its config")
            unlabelled = {**labelled, "complement": not labelled.get("complement", False)}
        self.labelled, self.unlabelled = (
            DATASETS.build(dict(each)) if isinstance(each, Mapping) else each for each in (labelled, unlabelled)
        )
        self.metainfo = self.labelled.metainfo
        self.count = count
        self.seed = 0

    def set_seed(self, seed: int) -> None:
        """Seed the choice, and the random steps of both datasets."""
        self.seed = seed
        for dataset in (self.labelled, self.unlabelled):
            if dataset is not None:
                dataset.set_seed(seed)

    def __len__(self) -> int:
        return len(self.labelled)

    def __getitem__(self, key: int | tuple[int, int]) -> dict[str, Any]:
        epoch, index = key if isinstance(key, tuple) else (0, key)
        first = (epoch * len(self) + index) * self.count
        images = [self._unlabelled(number) for number in range(first, first + self.count)]
        return {**self.labelled[(epoch, index)], "unlabelled": images}

    def _unlabelled(self, number: int) -> Tensor:
        """The image that is dealt as that number of the whole training."""
        deal, place = divmod(number, len(self.unlabelled))
        order = torch.randperm(len(self.unlabelled), generator=generator_from("unlabelled", self.seed, deal))
        return self.unlabelled[(deal, int(order[place]))]["image"]


@FUNCTIONS.register_module()
def collate_semi(samples: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """As ``collate``, with ``"unlabelled"``: the first image of every sample, then the second (its partner), …."""
    columns = zip(*(sample["unlabelled"] for sample in samples))
    return {**collate(samples), "unlabelled": [image for column in columns for image in column]}


@MODELS.register_module()
class SemiPreprocessor(MixPreprocessor):
    """``MixPreprocessor`` for labelled images; unlabelled ones are moved, resized and normalised, never mixed here.

    Args:
        options: see ``MixPreprocessor``; ``mix`` is for the labelled images alone.

    Raises:
        ValueError: unlabelled images of several sizes: set ``size``, or crop them in the dataset.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """As the base's, with ``"unlabelled"`` (N, 3, H, W) if the batch has any."""
        batch = super().forward({key: data[key] for key in ("images", "targets")}, training)
        if training and data.get("unlabelled"):
            alone = {"images": data["unlabelled"], "targets": [{} for _ in data["unlabelled"]]}
            batch["unlabelled"] = super().forward(alone, False)["images"]
            if not isinstance(batch["unlabelled"], Tensor):
                sizes = sorted({tuple(image.shape[-2:]) for image in batch["unlabelled"]})
                raise ValueError(f"unlabelled images must be of one size, got {sizes}: set size= or crop them")
        return batch


@MODELS.register_module()
class SemiSegmenter(BaseModel, HoldsMix):
    """A ``Segmenter`` that learns from labelled images, and from its mean teacher on unlabelled ones.

    The loss is the student's supervised one, and ``loss_consistency`` where the batch has unlabelled images: their
    first half mixed with the second, as ``semi.mixed_consistency`` does. Needs ``MeanTeacherHook``.

    Args:
        student: arguments of ``Segmenter``.
        mix: how unlabelled images are mixed: ``dict(type="CutMix", p=1.0, region=dict(type="AreaBox.french"))``, any
            other hard method, ``dict(type="Cutout", ...)``; None: not at all.
        consistency: ``dict(type="french")``, ``"classmix"`` or ``"unimatch"`` with their threshold; without a type the
            arguments of ``semi.Consistency``.
        weight: of the consistency loss.
        teacher: arguments of ``semi.MeanTeacher`` (``decay``, ``warmup``, ``buffers``).
        evaluated: who predicts: ``"teacher"`` or ``"student"``.
        paired: whether a batch's second half of unlabelled images are the partners of the first (not looked at where
            nothing is pasted). If False they are images like the others, and the transform pairs them.
        data_preprocessor: see ``SemiPreprocessor``.

    Raises:
        TypeError: ``mix`` isn't a mixing transform.
        ValueError: an argument out of its range, named.
    """

    _PATIENCE = 50

    def __init__(
        self,
        student: Mapping[str, Any],
        mix: Any = None,
        consistency: Mapping[str, Any] | None = None,
        weight: float = 1.0,
        teacher: Mapping[str, Any] | None = None,
        evaluated: Evaluated = "teacher",
        paired: bool = True,
        data_preprocessor: Any = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor or {"type": "cutmix_dense.SemiPreprocessor"})
        if evaluated not in get_args(Evaluated):
            raise ValueError(f"evaluated must be one of {get_args(Evaluated)}, got {evaluated!r}")
        if weight < 0:
            raise ValueError(f"weight must be at least 0, got {weight!r}")
        self.student = Segmenter(**student)
        self.teacher = MeanTeacher(self.student.network, **(teacher or {}))
        self.hold(from_config(mix))
        self.consistency = _build_consistency(consistency)
        self.weight = weight
        self.evaluated = evaluated
        self.paired = paired
        self._since_update = 0

    def init_weights(self) -> None:
        """The student's; the teacher starts from them."""
        self.student.init_weights()
        self.teacher.module.load_state_dict(self.student.network.state_dict())

    def forward(
        self,
        images: Any,
        targets: list[dict[str, Any]] | None = None,
        unlabelled: Tensor | None = None,
        mode: str = "tensor",
    ) -> Any:
        """As ``Segmenter``; ``unlabelled`` (N, 3, H, W) counts in the mode "loss" alone."""
        if mode != "loss":
            logits = self.logits(images)
            return self.student.predict(logits, targets or []) if mode == "predict" else logits
        losses = self.student(images, targets, mode="loss")
        if unlabelled is not None and self.weight > 0:
            losses.update(self._consistency_loss(unlabelled))
        self._since_update += 1
        if self.training and self._since_update > self._PATIENCE:
            raise RuntimeError("the teacher is never updated: custom_hooks must have cutmix_dense.MeanTeacherHook")
        return losses

    def logits(self, images: Tensor) -> Tensor:
        """Class scores of the one that is evaluated."""
        if self.evaluated == "student":
            return self.student.logits(images)
        return scores_of(self.teacher(images))

    def update_teacher(self) -> None:
        """Move the teacher towards the student; once after every step of the optimizer."""
        self.teacher.update(self.student.network)
        self._since_update = 0

    def _consistency_loss(self, unlabelled: Tensor) -> dict[str, Tensor]:
        partners = None
        if self.paired:
            if len(unlabelled) % 2:
                raise ValueError(f"unlabelled must hold an image and its partner each, got {len(unlabelled)} images")
            unlabelled, partners = unlabelled.chunk(2)
            if self.mix is None or not self.mix.partners:
                partners = None  # arms without a paste see the same images
        result = mixed_consistency(
            self.student.logits,
            self.teacher,
            unlabelled,
            self.mix,
            partners=partners,
            consistency=self.consistency,
            ignore_index=self.student.ignore_index,
            generator=generator_from(rank_seed()),
        )
        return {"loss_consistency": self.weight * result.loss, **result.logs}


@HOOKS.register_module()
class MeanTeacherHook(Hook):
    """Moves the teacher of a ``SemiSegmenter`` after every training iteration, before a checkpoint is written."""

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Update the teacher."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model.update_teacher()


def _build_consistency(config: Mapping[str, Any] | None) -> Consistency:
    presets = {"french": Consistency.french, "classmix": Consistency.classmix, "unimatch": Consistency.unimatch}
    settings = dict(config or {"type": "unimatch"})
    name = settings.pop("type", None)
    if name is not None and name not in presets:
        raise ValueError(f"consistency's type must be one of {sorted(presets)}, got {name!r}")
    return Consistency(**settings) if name is None else presets[name](**settings)
