"""Semi-supervised segmentation under MMEngine: pairs of samples, a student with its mean teacher, and the hook."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from cutmix_dense.build import from_config
from cutmix_dense.data import DatasetError
from cutmix_dense.mmengine.scope import DATASETS, MODELS
from cutmix_dense.randomness import generator_from, rank_seed
from cutmix_dense.semi import Consistency, mixed_consistency, mixed_views
from cutmix_dense.training.data import FUNCTIONS, collate
from cutmix_dense.training.errors import EmptySubsetError
from cutmix_dense.training.preprocessor import MixPreprocessor
from cutmix_dense.training.sample_transforms import build_transforms
from cutmix_dense.training.seeding import random_state
from cutmix_dense.training.segmenter import Segmenter, scores_of
from cutmix_dense.training.taught import Evaluated, TaughtModel


@DATASETS.register_module()
class SemiDataset(Dataset[dict[str, Any]]):
    """Each labelled sample together with unlabelled images, chosen by (seed, epoch, index).

    A sample is the labelled one's, with ``"unlabelled"``: a list of images. It has the length of the labelled set and
    gives its samples unchanged: a supervised training on the labelled set alone, of the same seed, sees the same
    labelled batches. All unlabelled images come equally often: they are dealt from one permutation after the other.

    Args:
        labelled: a dataset or its config, e.g. ``dict(type="cutmix_dense.DenseTrainingDataset", fraction=0.125, ...)``.
        unlabelled: likewise; its targets are left out. ``dict(type="cutmix_dense.PictureDataset", root=...)`` reads a
            folder of pictures without annotations. Default: what the fraction (limit, subset) of ``labelled``'s config
            left over, ``complement=True``.
        count: unlabelled images per sample: 2 for an image and its partner; 0 gives the labelled samples alone.

    Raises:
        DatasetError: what a dataset says; for an unlabelled one with the name of the dataset of pictures.
        ValueError: a negative count; no unlabelled set beside a labelled one that isn't given as a config, or that
            takes every sample.

    Example:
        >>> labelled = dict(type="cutmix_dense.DenseTrainingDataset", root="data/bccd", fraction=0.1)
        >>> unlabelled = dict(type="cutmix_dense.PictureDataset", root="data/cells")
        >>> train_dataset = dict(type="cutmix_dense.SemiDataset", labelled=labelled, unlabelled=unlabelled)
    """

    def __init__(self, labelled: Any, unlabelled: Any = None, count: int = 2) -> None:
        if count < 0:
            raise ValueError(f"count must be at least 0, got {count!r}")
        if unlabelled is None and count > 0 and not isinstance(labelled, Mapping):
            raise ValueError("unlabelled must be given, where labelled is a dataset and not its config")
        self.labelled = DATASETS.build(dict(labelled)) if isinstance(labelled, Mapping) else labelled
        self.unlabelled = _remainder(labelled) if unlabelled is None and count > 0 else _build_unlabelled(unlabelled)
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


_PICTURES = 'dict(type="cutmix_dense.PictureDataset", root=...)'


def _remainder(labelled: Mapping[str, Any]) -> Any:
    """The dataset of the samples that a labelled one's config leaves over."""
    try:
        return DATASETS.build({**labelled, "complement": not labelled.get("complement", False)})
    except EmptySubsetError as error:
        raise ValueError(
            "unlabelled must be given where labelled takes every sample, got none: with fraction, limit or subset in "
            "labelled's config the samples that it leaves are used without their labels; "
            f"unlabelled={_PICTURES} reads a folder of pictures; count=0 trains on the labelled samples alone"
        ) from error


def _build_unlabelled(unlabelled: Any) -> Any:
    """The dataset that was given, or that its config describes."""
    if not isinstance(unlabelled, Mapping):
        return unlabelled
    try:
        return DATASETS.build(dict(unlabelled))
    except DatasetError as error:
        reads_pictures = str(unlabelled.get("type", "")).rpartition(".")[2] == "PictureDataset"
        hint = "" if reads_pictures else f"; pictures without annotations are read by unlabelled={_PICTURES}"
        raise DatasetError(f"unlabelled: {error}{hint}") from error


@FUNCTIONS.register_module()
def collate_semi(samples: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """As ``collate``, with ``"unlabelled"``: the first image of every sample, then the second (its partner), …."""
    columns = zip(*(sample["unlabelled"] for sample in samples))
    return {**collate(samples), "unlabelled": [image for column in columns for image in column]}


@MODELS.register_module()
class SemiPreprocessor(MixPreprocessor):
    """``MixPreprocessor`` for labelled images; unlabelled ones are moved, resized and normalised, never mixed here.

    Args:
        strong: transforms of ``torchvision.transforms.v2`` that change colours and move nothing, by name, such as
            ``dict(type="ColorJitter", brightness=0.5)``: what the student sees of the unlabelled images. None or
            empty: what the teacher sees.
        views: number of strong views, each by draws of its own, >= 1: two in UniMatch V2.
        options: see ``MixPreprocessor``; ``mix`` is for the labelled images alone.

    Raises:
        ValueError: unlabelled images of several sizes: set ``size``, or crop them in the dataset; a strong transform
            that changes the size; fewer than one view.
    """

    def __init__(self, strong: Sequence[Any] | None = None, views: int = 1, **options: Any) -> None:
        super().__init__(**options)
        if views < 1:
            raise ValueError(f"views must be at least 1, got {views!r}")
        self.strong = build_transforms(strong or [])
        self.views = views

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """As the base's, with ``"unlabelled"`` (N, 3, H, W) if the batch has any, and ``"strong"``, a list of views."""
        batch = super().forward({key: value for key, value in data.items() if key != "unlabelled"}, training)
        if not training or not data.get("unlabelled"):
            return batch
        batch["unlabelled"] = self._alone(data["unlabelled"])
        if self.strong is not None:
            strong = self.strong
            with random_state("strong", rank_seed()):
                views = [[strong(image) for image in data["unlabelled"]] for _ in range(self.views)]
            batch["strong"] = [self._alone(view) for view in views]
            if any(view.shape != batch["unlabelled"].shape for view in batch["strong"]):
                raise ValueError("strong must hold transforms that change colours alone, got one that changes the size")
        return batch

    def _alone(self, images: list[Tensor]) -> Tensor:
        """Unlabelled images as models take them."""
        made = super().forward({"images": images, "targets": [{} for _ in images]}, False)["images"]
        if not isinstance(made, Tensor):
            sizes = sorted({tuple(image.shape[-2:]) for image in made})
            raise ValueError(f"unlabelled images must be of one size, got {sizes}: set size= or crop them")
        return made


@MODELS.register_module()
class SemiSegmenter(TaughtModel):
    """A ``Segmenter`` that learns from labelled images, and from its mean teacher on unlabelled ones.

    The loss is the student's supervised one, and ``loss_consistency`` where the batch has unlabelled images: their
    first half mixed with the second, as ``semi.mixed_consistency`` does. Needs ``MeanTeacherHook``.

    Args:
        student: arguments of ``Segmenter``.
        mix: how unlabelled images are mixed: ``dict(type="CutMix", p=1.0, region=dict(type="AreaBox.french"))``, any
            other hard method, ``dict(type="Cutout", ...)``; None: not at all.
        consistency: ``dict(type="french")``, ``"classmix"``, ``"unimatch"`` or ``"augseg"`` with their threshold;
            without a type the arguments of ``semi.Consistency``.
        weight: of the consistency loss.
        teacher: arguments of ``semi.MeanTeacher`` (``decay``, ``warmup``, ``buffers``).
        evaluated: who predicts: ``"teacher"`` or ``"student"``.
        paired: whether a batch's second half of unlabelled images are the partners of the first (not looked at where
            nothing is pasted). If False they are images like the others, and the transform pairs them.
        data_preprocessor: see ``SemiPreprocessor``; with two ``views``, ``paired=False`` and a mix that pairs by
            ``"flip"``, this is UniMatch V2 but for its dropout.

    Raises:
        TypeError: ``mix`` isn't a mixing transform.
        ValueError: an argument out of its range, named.
    """

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
        super().__init__(Segmenter(**student), weight, teacher, evaluated, data_preprocessor)
        self.hold(from_config(mix))
        self.consistency = _build_consistency(consistency)
        self.paired = paired

    def forward(
        self,
        images: Any,
        targets: list[dict[str, Any]] | None = None,
        unlabelled: Tensor | None = None,
        strong: list[Tensor] | None = None,
        mode: str = "tensor",
        **others: Any,
    ) -> Any:
        """As ``Segmenter``; ``unlabelled`` (N, 3, H, W) and its strong views count in the mode "loss" alone."""
        if mode != "loss":
            logits = self.logits(images)
            return self.student.predict(logits, targets or [{} for _ in images]) if mode == "predict" else logits
        losses = self.student(images, targets, mode="loss")
        if unlabelled is not None and self.weight > 0:
            losses.update(self._consistency_loss(unlabelled, strong))
        self.notice_loss()
        return losses

    def logits(self, images: Tensor) -> Tensor:
        """Class scores of the one that is evaluated."""
        if self.evaluated == "student":
            logits: Tensor = self.student.logits(images)
            return logits
        return scores_of(self.teacher(images))

    def _consistency_loss(self, unlabelled: Tensor, strong: list[Tensor] | None) -> dict[str, Tensor]:
        if strong is not None and len(strong) > 1:
            return self._losses_of_views(unlabelled, strong)
        partners = strong_partners = None
        view = strong[0] if strong else unlabelled
        if self.paired:
            (unlabelled, partners), (view, strong_partners) = self.halved(unlabelled), self.halved(view)
            if self.mix is None or not self.mix.partners:
                partners = strong_partners = None  # arms without a paste see the same images
        with self.mixing(len(unlabelled)):
            result = mixed_consistency(
                self.student.logits,
                self.teacher,
                unlabelled,
                self.mix,
                partners=partners,
                strong=view,
                strong_partners=strong_partners,
                consistency=self.consistency,
                ignore_index=self.student.ignore_index,
                generator=generator_from(rank_seed()),
            )
        return {"loss_consistency": self.weight * result.loss, **result.logs}

    def _losses_of_views(self, unlabelled: Tensor, strong: list[Tensor]) -> dict[str, Tensor]:
        if self.paired:
            raise ValueError("paired must be False with several strong views, which the transform pairs")
        with self.mixing(len(unlabelled)):
            result = mixed_views(
                self.student.logits,
                self.teacher,
                unlabelled,
                self.mix,
                strong,
                consistency=self.consistency,
                ignore_index=self.student.ignore_index,
                generator=generator_from(rank_seed()),
            )
        return {"loss_consistency": self.weight * result.loss, **result.logs}


def _build_consistency(config: Mapping[str, Any] | None) -> Consistency:
    presets = {name: getattr(Consistency, name) for name in ("french", "classmix", "unimatch", "augseg")}
    settings = dict(config or {"type": "unimatch"})
    name = settings.pop("type", None)
    if name is not None and name not in presets:
        raise ValueError(f"consistency's type must be one of {sorted(presets)}, got {name!r}")
    return Consistency(**settings) if name is None else presets[name](**settings)
