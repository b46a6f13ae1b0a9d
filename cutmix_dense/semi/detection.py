"""One semi-supervised step of a detector: the teacher's boxes on whole images, the student's losses on mixed ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from cutmix_dense.functional.fields import IGNORED, STATED
from cutmix_dense.randomness import call_generator
from cutmix_dense.semi.pseudo_boxes import pseudo_boxes
from cutmix_dense.transforms import MixTransform
from cutmix_dense.transforms.chain import refuse_affine, refuse_chain

Images = Tensor | list[Tensor]
"""A batch (B, C, H, W), or a list of (C, Hi, Wi)."""

Student = Callable[[list[Tensor], list[dict[str, Any]]], Mapping[str, Tensor]]
"""From images and targets to losses by name: a torchvision detector in training mode, or any function like it."""

Teacher = Callable[[list[Tensor]], Sequence[Mapping[str, Tensor]]]
"""From images to detections: a torchvision detector in evaluation mode, a ``MeanTeacher`` of one."""


class DetectionView(NamedTuple):
    """A batch that the student learns from.

    Attributes:
        images: the mixed images.
        targets: the pseudo-labels that were mixed with them.
        weight: what its losses are multiplied by.
    """

    images: Images
    targets: list[dict[str, Any]]
    weight: float = 1.0


@runtime_checkable
class MakesViews(Protocol):
    """An object that makes several mixed batches from one, such as ``MixPL``."""

    def views(
        self, images: Images, targets: list[dict[str, Any]], *, generator: torch.Generator | None = None
    ) -> list[DetectionView]:
        """The batches that the student learns from."""
        ...


class MixedDetection(NamedTuple):
    """The result of ``mixed_detection``.

    Attributes:
        loss: the sum of the losses, to be weighed and added to the supervised loss.
        losses: the student's losses by name, weighed; summed over the views.
        logs: scalars without gradients: ``pseudo``, the number of the teacher's boxes per image that count, and
            ``boxes``, the number per image that the student sees.
        views: the mixed batches.
    """

    loss: Tensor
    losses: dict[str, Tensor]
    logs: dict[str, Tensor]
    views: list[DetectionView]


def mixed_detection(
    student: Student,
    teacher: Teacher,
    images: Images,
    mix: MixTransform | MakesViews | None,
    *,
    strong: Images | None = None,
    partners: Images | None = None,
    partner_targets: Sequence[Mapping[str, Any]] | None = None,
    threshold: float | Sequence[float] | Tensor = 0.7,
    ignore_above: float | None = None,
    background: int | None = 0,
    weigh: bool = False,
    loss_weights: Mapping[str, float] | None = None,
    generator: torch.Generator | None = None,
) -> MixedDetection:
    """The losses of a student on mixed unlabelled images, from the boxes that a teacher finds in the unmixed ones.

    One plan mixes images and pseudo-labels: a pasted region brings the boxes that show in it, with their scores, and
    covers those below, as for annotations. If a whole view has no box, its losses count 0, as in MMDetection, and have
    no gradient, even if they are nan; an image without boxes in a view with some counts as background.

    Args:
        student: called with a list of images and one target per image, as torchvision's detectors in training mode.
            Targets carry ``scores`` and ``visibility``, and as asked for ``weight`` and ``ignored``: what reads them
            decides how they count.
        teacher: called with a list of unmixed images, without gradients; a ``MeanTeacher``, whose mode is evaluation.
        images: unlabelled images, weakly augmented.
        mix: any method, such as ``Mosaic()``, ``MixUp(lam=0.5, p=1.0)``, ``CutMix()``, ``Cutout()``, or a ``RandomMix``
            or ``Chain`` of them; with a ``SampleBank`` as pairing, images of earlier steps come with the pseudo-labels
            that they had then. ``MixPL()`` makes two batches. None: no mixing.
        strong: the same images at the same pixels, changed in colour only, for the student; default ``images``.
        partners: labelled images to mix with, in order; needs ``partner_targets``, and a ``mix`` that is no ``Chain``.
        partner_targets: their annotations: ``boxes``, ``labels`` and what else the pseudo-labels have, such as
            ``masks``. Their scores, and weights if asked for, are 1 unless given. ``iscrowd``, ``visibility``,
            ``has_mask`` and ``ignored`` go along, since they say how a box counts (pseudo-labels get 0 and 1); only a
            student that reads them (``losses.weigh_losses``) leaves out crowds. Other keys are left out.
        threshold: see ``pseudo_boxes``.
        ignore_above: see ``pseudo_boxes``.
        background: see ``pseudo_boxes``; 0 for torchvision's detectors.
        weigh: see ``pseudo_boxes``.
        loss_weights: what single losses are multiplied by, default 1; 0 leaves one out. Unbiased Teacher
            leaves out those of box regression: ``{"loss_box_reg": 0.0, "loss_rpn_box_reg": 0.0}``.
        generator: a CPU generator that makes the mix repeatable.

    Raises:
        TypeError: the student returns no losses by name, the teacher no detections, or ``mix`` is of another kind.
        ValueError: numbers of images don't fit each other, annotations of partners lack what the pseudo-labels have, a
            name of ``loss_weights`` isn't a loss, or a ``Chain`` with partners.

    Source: Liu et al., Unbiased Teacher (2021), ``ubteacher/engine/trainer.py``, lines 516 to 583; MMDetection,
    ``semi_base.py``; Chen et al., MixPL (2023).

    Example:
        >>> import cutmix_dense as cd
        >>> found = {"boxes": torch.tensor([[4.0, 4, 20, 16]]), "labels": torch.ones(1), "scores": torch.ones(1)}
        >>> student = lambda images, targets: {"loss": sum(image.mean() for image in images)}
        >>> mix = cd.Mosaic(grid=(1, 2), jitter=0.0, scale=(1.0, 1.0))  # right half of one, left half of another
        >>> step = mixed_detection(student, lambda images: [found] * len(images), torch.rand(2, 3, 32, 48), mix)
        >>> step.views[0].targets[0]["boxes"].tolist(), float(step.logs["pseudo"])
        ([[28.0, 4.0, 44.0, 16.0]], 1.0)
    """
    if mix is not None and not isinstance(mix, (MixTransform, MakesViews)):
        raise TypeError(f"mix must be a mixing transform, make views, or be None, got {type(mix).__name__}")
    with torch.no_grad():
        found = teacher(list(images))
    if isinstance(found, (Mapping, Tensor)) or len(found) != len(images):
        raise TypeError(f"teacher must give one dict of detections per image, got {type(found).__name__}")
    options: Any = {"threshold": threshold, "ignore_above": ignore_above, "background": background, "weigh": weigh}
    targets = pseudo_boxes(found, **options)
    pseudo = sum(len(target["boxes"]) for target in targets) / len(images)
    shown = _with_strong(images, strong)
    given = (partners, partner_targets)
    if (partners is None) != (partner_targets is None):
        raise ValueError(f"partners and partner_targets must come together, got {[each is not None for each in given]}")
    outputs = None
    if partners is not None and partner_targets is not None:
        if len(partners) != len(partner_targets):
            raise ValueError(f"partner_targets must be one per partner ({len(partners)}), got {len(partner_targets)}")
        outputs = len(images)
        targets = _with_partners(targets, partner_targets)
        shown = _joined(shown, partners)
    views = _views(mix, shown, targets, outputs, call_generator(generator))
    losses: dict[str, Tensor] = {}
    for view in views:
        made = student(list(view.images), view.targets)
        if not isinstance(made, Mapping):
            raise TypeError(f"student must give losses by name, got {type(made).__name__}: is it in training mode?")
        unknown = sorted(set(loss_weights or ()) - set(made))
        if unknown:
            raise ValueError(f"loss_weights must name losses of the student, {sorted(made)}, got {unknown}")
        some = any(len(target["boxes"]) for target in view.targets)
        for name, loss in made.items():
            factor = view.weight * (loss_weights or {}).get(name, 1.0) * some
            weighed = loss * factor if factor else _Nothing.apply(torch.as_tensor(loss))
            losses[name] = losses[name] + weighed if name in losses else weighed
    seen = [len(target["boxes"]) for view in views for target in view.targets]
    numbers = {"pseudo": pseudo, "boxes": sum(seen) / len(seen)}
    scalar: Any = {"dtype": torch.float32, "device": images[0].device}
    logs = {name: torch.tensor(number, **scalar) for name, number in numbers.items()}
    return MixedDetection(sum(losses.values(), torch.zeros((), **scalar)), losses, logs, views)


class _Nothing(torch.autograd.Function):
    """0 for a loss that doesn't count, even if it is nan; with a graph, on which no gradient flows back."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor) -> Tensor:
        """Zeros of the loss's shape."""
        return torch.zeros_like(loss)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> None:
        """No gradient: zeros times what is infinite behind a nan would be nan again."""
        return


def _views(
    mix: MixTransform | MakesViews | None,
    images: Images,
    targets: list[dict[str, Any]],
    outputs: int | None,
    generator: torch.Generator,
) -> list[DetectionView]:
    """The batches that the student sees."""
    if mix is None:
        count = len(images) if outputs is None else outputs
        return [DetectionView(images[:count], targets[:count])]
    if not isinstance(mix, MixTransform):
        if outputs is not None:
            raise ValueError(f"partners can't be used with {type(mix).__name__}, which has its own")
        return mix.views(images, targets, generator=generator)
    if outputs is not None:
        refuse_chain(mix, "partners")
        refuse_affine(mix, "partners")
    mixed, mixed_targets = mix(images, targets, outputs=outputs, generator=generator)
    return [DetectionView(mixed, mixed_targets)]


def _with_strong(images: Images, strong: Images | None) -> Images:
    """The images that the student sees."""
    if strong is None:
        return images
    ours, theirs = ([tuple(image.shape) for image in each] for each in (images, strong))
    if ours != theirs:
        raise ValueError(f"strong must have the images' shapes {ours}, got {theirs}")
    return strong


def _joined(images: Images, partners: Images) -> Images:
    """Images and their partners as one pool: a tensor if all are of one size."""
    pool = [*images, *partners]
    return torch.stack(pool) if len({image.shape for image in pool}) == 1 else pool


_COUNTS = {"iscrowd": 0, "visibility": 1}
"""Keys that say how a box counts, and what they are where they aren't given."""


def _with_partners(targets: list[dict[str, Any]], partner_targets: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Pseudo-labels, and behind them annotations with the same keys; what says how a box counts is given to all."""
    parts = [part for target in partner_targets for part in (target, target.get(IGNORED) or {})]
    like = {"scores": targets[0]["scores"], "weight": targets[0]["scores"]}
    like |= {key: torch.as_tensor(part[key]) for part in parts for key in _COUNTS if key in part}
    keys = [*targets[0], *(key for key in _COUNTS if key in like)]

    def complete(target: Mapping[str, Any], where: str) -> dict[str, Any]:
        count = len(target["boxes"]) if "boxes" in target else 0
        absent = [key for key in keys if key not in target and key not in like and key != IGNORED]
        if "boxes" in absent or (absent and count):
            either = "" if absent[0] in ("boxes", "labels") else ", or leave it out of the teacher's detections"
            raise ValueError(
                f"{where} must have {absent[0]!r} as the teacher's pseudo-labels, got {sorted(target)}: add it{either}"
            )
        own = {key: target[key] for key in keys if key in target}
        for key in keys:
            if key in like and key not in own:
                one: Any = {"dtype": like[key].dtype, "device": target["boxes"].device}
                own[key] = torch.full((count,), _COUNTS.get(key, 1), **one)
        if "masks" in own and STATED in target:
            own[STATED] = target[STATED]
        if target.get(IGNORED) is not None:
            own[IGNORED] = {key: value for key, value in target[IGNORED].items() if key in (*keys, STATED)}
        return own

    completed = [complete(target, f"partner_targets[{index}]") for index, target in enumerate(partner_targets)]
    return [*(complete(target, "pseudo-labels") for target in targets), *completed]
