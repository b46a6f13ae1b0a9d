"""MMDetection's losses, weighed by what every instance of a mixed batch says of itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from cutmix_dense.extras import require
from cutmix_dense.losses.instances import By, Weighing
from cutmix_dense.losses.swapped import Swapped, stock_class, swap
from cutmix_dense.mmengine.scope import HOOKS
from cutmix_dense.mmengine.weighing_heads import (
    BOX_TERMS,
    NotesAssignment,
    NotesSampling,
    WeighsAnchors,
    WeighsBoxHead,
    WeighsDetector,
    WeighsMaskHead,
    WeighsMaskTerm,
    WeighsPoints,
    WeighsPositives,
    WeighsPriors,
    WeighsQueries,
    WeighsTerm,
)

Ignored = Literal["left_out", "assigner"]
"""What becomes of ``ignored_instances``; see ``weigh_detector``."""

_HEADS: dict[str, type[Swapped]] = {
    "AnchorHead": WeighsAnchors,
    "RPNHead": WeighsAnchors,
    "RetinaHead": WeighsAnchors,
    "SSDHead": WeighsAnchors,
    "ATSSHead": WeighsPositives,
    "GFLHead": WeighsPositives,
    "RTMDetHead": WeighsPositives,
    "FCOSHead": WeighsPoints,
    "YOLOXHead": WeighsPriors,
    "DETRHead": WeighsQueries,
    "ConditionalDETRHead": WeighsQueries,
    "DABDETRHead": WeighsQueries,
    "DeformableDETRHead": WeighsQueries,
    "DINOHead": WeighsQueries,
}
"""The heads that are served, with all that only build other layers."""

_STEPS = (
    "loss",
    "loss_by_feat",
    "loss_by_feat_single",
    "loss_dn",
    "_loss_dn_single",
    "get_targets",
    "get_dn_targets",
    "_get_targets_single",
    "_get_dn_targets_single",
    "loss_and_target",
    "bbox_loss",
    "mask_loss",
)
"""The methods between instances and losses, which a served part has from its stock class."""

_PARTS = ("bbox_head", "rpn_head", "roi_head")
_TERMS: dict[type[Swapped], tuple[str, ...]] = {
    WeighsPositives: BOX_TERMS,
    WeighsPoints: ("loss_cls", *BOX_TERMS),
    WeighsPriors: ("loss_cls", "loss_bbox", "loss_obj", "loss_l1"),
}
"""The losses that are told the weights of their rows."""


@HOOKS.register_module()
class WeighLossesHook(Hook):
    """Makes a detector of MMDetection weigh its losses by the instances' ``visibility`` or ``weight``.

    ``default_hooks = dict(weigh_losses=dict(type="cutmix_dense.WeighLossesHook", by="visibility"))`` adds it to a
    config whose data preprocessor mixes (``cutmix_dense.DetDataPreprocessor``). See ``weigh_detector``.

    Args:
        by: a field of ``gt_instances``, or several whose product counts: ``"visibility"``, which every mix of batches
            writes; ``"weight"``, which ``MixUp`` writes and every mix with ``instance_weights=True``.
        ignored: see ``weigh_detector``.

    Raises:
        TypeError: ``by`` is no such thing; at the start of a training, a detector that can't be served.
        ValueError: ``ignored`` is unknown.

    Example:
        >>> from cutmix_dense.mmengine import HOOKS
        >>> HOOKS.build({"type": "cutmix_dense.WeighLossesHook", "by": "visibility"}).weighing.keys
        ('visibility',)
    """

    def __init__(self, by: By = "visibility", ignored: Ignored = "left_out") -> None:
        self.weighing = Weighing(by)
        self.ignored = _checked(ignored)

    def before_train(self, runner: Any) -> None:
        """Change the detector."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        weigh_detector(model, self.weighing.by, ignored=self.ignored)


def weigh_detector(model: Any, by: By, *, ignored: Ignored = "left_out") -> Any:
    """Make the losses of MMDetection's detector weigh each instance; changes it in place and returns it.

    Every term of an anchor, point, proposal, prior or query is multiplied by the weight of the instance that the
    detector's own assigner gave it: class, objectness, box, distribution, centredness and mask terms, in the region
    proposal network and in all stages of the heads. Background counts 1. Weights act in no assignment. With all
    weights 1 the losses are MMDetection's to the bit.

    Divisors stay MMDetection's: the number of matched or sampled positions, or the sum of their qualities, whatever
    they weigh. So an instance of weight 0.5 pulls half as hard. One of weight 0 keeps its positions, which count in no
    term but in the divisors; the class term of an R-CNN's box head alone divides by the proposals of weight above 0.

    Parameters, ``state_dict``, evaluation and predictions stay as they were. A second call changes ``by``.

    Args:
        model: a detector whose heads are ``RetinaHead`` and other plain ``AnchorHead``, ``SSDHead``, ``ATSSHead``,
            ``GFLHead``, ``RTMDetHead``, ``FCOSHead``, ``YOLOXHead``; ``RPNHead`` with ``StandardRoIHead`` or
            ``CascadeRoIHead`` of ``BBoxHead`` and ``FCNMaskHead``; ``DETRHead``, ``ConditionalDETRHead``,
            ``DABDETRHead``, ``DeformableDETRHead``, ``DINOHead``. Subclasses are served as far as they don't replace
            targets or losses.
        by: see ``WeighLossesHook``, or a function of the fields of ``gt_instances`` and their ``boxes``.
        ignored: ``"left_out"``: ``ignored_instances`` are looked for with weight 0, so that what would belong to them
            counts in no term, whatever the assigner; where they overlap other instances, they take positions from
            them as any instance does. ``"assigner"``: MMDetection's own rule, by assigners with ``ignore_iof_thr``
            above 0, which few configs have.

    Raises:
        ImportError: no mmdet.
        TypeError: another model, head, sampler or loss, named; nothing is changed then.
        ValueError: ``ignored`` is unknown; ``pos_weight`` above 0 with a head whose box terms it would reach.
    """
    ignored = _checked(ignored)
    require("mmdet", "mmdet")
    from mmdet.models import BaseDetector

    weighing = Weighing(by)
    kind = stock_class(model)
    if not issubclass(kind, BaseDetector):
        raise TypeError(f"model must be a detector of MMDetection, got {kind.__name__}")
    plan: list[tuple[Any, type[Swapped]]] = [(model, WeighsDetector)]
    for name, part in model.named_children():
        if not callable(getattr(part, "loss", None)):
            continue
        if name not in _PARTS:
            raise TypeError(f"{kind.__name__}.{name} has losses that can't be weighed; served are {', '.join(_PARTS)}")
        plan += _roi_parts(part) if name == "roi_head" else _dense_parts(part)
    if len(plan) == 1:
        raise TypeError(f"{kind.__name__} has no head whose losses can be weighed: {', '.join(_PARTS)}")
    for part, mixin in plan:
        swap(part, mixin, weighing)
        if mixin in (WeighsTerm, WeighsMaskTerm):
            part.rows = []
    model.ignored = ignored
    return model


def _checked(ignored: Ignored) -> Ignored:
    if ignored not in get_args(Ignored):
        raise ValueError(f"ignored must be one of {get_args(Ignored)}, got {ignored!r}")
    return ignored


def _dense_parts(head: Any) -> Iterator[tuple[Any, type[Swapped]]]:
    """What of a head without proposals is swapped, and for what."""
    from mmdet import models

    mixin = _mixin_of(head, {getattr(models, name): mixin for name, mixin in _HEADS.items() if hasattr(models, name)})
    yield head, mixin
    if mixin is WeighsQueries:
        yield head.assigner, NotesAssignment
        return
    if mixin is not WeighsPoints:
        yield _sampler(head.sampler), NotesSampling
    if mixin is WeighsPositives and head.train_cfg.get("pos_weight", -1) > 0:
        raise ValueError(
            f"train_cfg.pos_weight must be -1 for {stock_class(head).__name__}, whose losses are weighed by instances, "
            f"got {head.train_cfg['pos_weight']}"
        )
    for term in _TERMS.get(mixin, ()):
        if hasattr(head, term):
            yield getattr(head, term), WeighsTerm


def _roi_parts(roi: Any) -> Iterator[tuple[Any, type[Swapped]]]:
    """What of an R-CNN's heads is swapped, and for what."""
    from mmdet.models import BBoxHead, CascadeRoIHead, CrossEntropyLoss, FCNMaskHead, StandardRoIHead

    _mixin_of(roi, dict.fromkeys((StandardRoIHead, CascadeRoIHead), Swapped))
    samplers = roi.bbox_sampler
    for sampler in samplers if isinstance(samplers, list) else [samplers]:
        yield _sampler(sampler), NotesSampling
    for name, kind, mixin in (("bbox_head", BBoxHead, WeighsBoxHead), ("mask_head", FCNMaskHead, WeighsMaskHead)):
        heads = getattr(roi, name, None)
        for head in [] if heads is None else heads if hasattr(heads, "append") else [heads]:
            yield head, _mixin_of(head, {kind: mixin})
            if kind is FCNMaskHead:
                loss = head.loss_mask
                if stock_class(loss) is not CrossEntropyLoss or not loss.use_mask or loss.class_weight is not None:
                    raise TypeError(
                        f"{stock_class(head).__name__}.loss_mask must be a CrossEntropyLoss with use_mask=True and "
                        f"without class_weight to be weighed, got {stock_class(loss).__name__}"
                    )
                yield loss, WeighsMaskTerm


def _mixin_of(part: Any, served: dict[type, type[Swapped]]) -> type[Swapped]:
    """The class that weighs a part, by the nearest served one that it is."""
    kind = stock_class(part)
    own = next((one for one in kind.__mro__ if one in served), None)
    if own is None:
        raise TypeError(f"the losses of {kind.__name__} can't be weighed; served are {_names(served)}")
    for name in _STEPS:
        if getattr(kind, name, None) is not getattr(own, name, None):
            raise TypeError(
                f"the losses of {kind.__name__} can't be weighed: its {name} isn't that of {own.__name__}; served are "
                f"{_names(served)} with their own steps"
            )
    return served[own]


def _sampler(sampler: Any) -> Any:
    """A sampler whose results say the instance of every positive sample."""
    from mmdet.models.task_modules.samplers import BaseSampler, PseudoSampler

    kind = stock_class(sampler)
    if getattr(kind, "sample", None) not in (BaseSampler.sample, PseudoSampler.sample):
        raise TypeError(f"the sampler must sample as MMDetection's BaseSampler or PseudoSampler, got {kind.__name__}")
    return sampler


def _names(served: dict[type, type[Swapped]]) -> str:
    return ", ".join(one.__name__ for one in served)
