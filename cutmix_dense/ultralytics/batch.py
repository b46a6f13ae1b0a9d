"""Mix the batch of an Ultralytics trainer: images, and all in the dict that belongs to their pixels or objects."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from cutmix_dense.functional import mix_pixels
from cutmix_dense.functional.fields import SEMANTIC_KEYS
from cutmix_dense.plan import MixPlan
from cutmix_dense.randomness import call_generator
from cutmix_dense.transforms import MixTransform, MixUp, SampleBank
from cutmix_dense.transforms.chain import refuse_affine, refuse_chain
from cutmix_dense.ultralytics.masks import ReducedMasks
from cutmix_dense.ultralytics.rows import KeptRows, Rows
from cutmix_dense.warned import warn_caller

_STAYS = frozenset({"im_file", "mask_file", "mode", "ori_shape", "ratio_pad", "rect_shape", "resized_shape"})
"""Keys of the image, which stay the base's."""

_OF_TEXTS = frozenset({"texts", "txt_feats", "visuals"})
"""Keys of models with open vocabularies, where a class is the number of one of its image's own texts."""

_ROWS = frozenset({"batch_idx", "bboxes", "cls", "keypoints"})
"""Keys with a row per instance."""


def mix_batch(
    batch: Mapping[str, Any],
    mix: MixTransform,
    generator: torch.Generator | None = None,
    *,
    overlap_mask: bool = True,
) -> dict[str, Any]:
    """The batch with its images mixed, and boxes, masks, keypoints and maps by the same plan.

    Call it in a trainer's ``preprocess_batch``, or in a loop of your own. The form of the batch stays what it is:
    classes of images become probabilities, all else keeps its dtype, and rows are ordered by ``batch_idx``. What a mix
    leaves alone comes back bit by bit.

    Args:
        batch: what Ultralytics' datasets collate: ``img`` (B, 3, H, W), bytes or 0 … 1, and any of

            - ``bboxes`` (n, 4) centre and size in shares of the image, or (n, 5) with an angle in radians, with ``cls``
              (n, 1) and ``batch_idx`` (n,);
            - ``masks`` at 1/4 (or another whole fraction) of the size, and ``sem_masks``, their classes;
            - ``keypoints`` (n, K, 3) in shares of the image; hidden ones become (0, 0, 0). Of (n, K, 2) (0, 0);
            - ``semantic_mask`` (B, H, W), class ids with 255 for "ignore", and other maps of ``mix.semantic_keys``;
            - ``depth`` (B, 1, H, W), 0 where nothing is known: nearest pixels, values unchanged;
            - ``cls`` (B,) without ``bboxes``: classes of images, for which ``mix`` needs ``num_classes``; the trainer's
              plots take ids, so give its ``plot_training_samples`` the ``argmax(1)``;
            - ``mix.instance_keys``, rows that follow their instance, and ``mix.image_keys``, which stay the base's, as
              files and shapes do.
        mix: the method, no ``Chain``; an ``Affine`` only without masks, depth and rotated boxes. Its ``box_format`` and
            ``normalized`` aren't read: the batch's are known.
        generator: a CPU generator that makes the call repeatable; see ``MixTransform``.
        overlap_mask: whether ``masks`` are one index map (h, w) per image, as Ultralytics makes them by default, or
            one mask per row: the trainer's ``args.overlap_mask``.

    A pixel of ``masks`` takes what the image shows at its centre. Visibility and boxes are judged at full size, each
    mask within its box. A row whose mask has no pixel is judged by its box; a free-form mask cuts it as
    ``boxes="estimate"`` does. Index maps are numbered anew, the smaller instance on top where MixUp lays two over each
    other, and grow to int32 where a byte doesn't hold the number. The batch has no place for MixUp's instance weights.

    Warns:
        MixWarning: a batch of one image, for a method that needs partners.

    Raises:
        TypeError: ``mix`` isn't a mixing transform, ``batch`` no dict with images; boxes, masks or keypoints that
            aren't tensors, or are integers where shares are meant.
        ValueError: an unknown key, a shape that doesn't fit, a setting that the batch has no place for, maps or depth
            under a soft plan; each named.

    Example:
        >>> import torch
        >>> import cutmix_dense as cd
        >>> boxes = torch.tensor([[0.2, 0.5, 0.2, 0.5], [0.8, 0.5, 0.2, 0.5]])
        >>> owners = torch.tensor([0.0, 1.0])
        >>> batch = {"img": torch.rand(2, 3, 64, 96), "bboxes": boxes, "cls": torch.zeros(2, 1), "batch_idx": owners}
        >>> mix_batch(batch, cd.MixUp(p=1.0))["batch_idx"]
        tensor([0., 0., 1., 1.])
    """
    member, generator = _chosen(mix, generator)
    whole, batch = batch, _stated(batch)
    maps = SEMANTIC_KEYS.union(member.semantic_keys)
    known = _ROWS | _STAYS | maps | {"img", "masks", "sem_masks", "depth", *member.image_keys, *member.instance_keys}
    _refuse_unknown(batch, known, member.instance_keys)
    images = batch["img"]
    if len(images) == 1 and member.p > 0 and member.partners and not member.closed and not member._warned:
        member._warned.set(True)  # here, as that a bank helps isn't true
        warn_caller("a batch of one image has no partner and stays as it is: use larger batches")
    rows = Rows.of(batch, member.instance_keys) if "bboxes" in batch else None
    if {"masks", "depth"} & set(batch) or (rows is not None and rows.rotated):
        refuse_affine(mix, "'masks', 'depth' and rotated boxes of Ultralytics")
    targets: dict[str, Any] = {key: value for key, value in batch.items() if key in maps}
    if rows is None and "cls" in batch:
        targets["labels"] = batch["cls"]
    masks = None
    if rows is not None:
        targets["instances"] = rows.targets()
        masks = _masks(batch, rows, overlap_mask)
    if masks is not None and rows is not None:
        _give_masks(targets["instances"], masks, rows)
        if not bool(masks.stated.all()):
            member.boxes = "estimate"
    if any(isinstance(each, MixUp) for each in mix.members):  # whichever of several is drawn
        _refuse_blended([key for key in (*maps, "depth") if key in batch])
    plan = member.make_plan(images, targets or None, generator=generator)
    images, mixed_targets, *reports = member.apply_plan(plan, images, targets or None, return_report=rows is not None)
    targets = mixed_targets or {}

    frame = (int(images.shape[-2]), int(images.shape[-1]))
    mixed = {**whole, "img": images, **{key: value for key, value in targets.items() if key in maps}}
    if "labels" in targets:
        mixed["cls"] = targets["labels"]
    if rows is not None:
        kept = KeptRows.of(reports[0], rows.counts, len(images))
        mixed |= rows.mixed(targets["instances"], kept, frame)
        if masks is not None:
            mixed["masks"], semantic = masks.mixed(plan, kept)
            if semantic is not None:
                mixed["sem_masks"] = semantic
    if "depth" in batch:
        mixed["depth"] = _mixed_depth(batch["depth"], batch["img"], plan)
    if "resized_shape" in batch and frame != tuple(batch["img"].shape[-2:]):
        mixed["resized_shape"] = type(batch["resized_shape"])([frame] * len(images))
    return mixed


def _chosen(mix: MixTransform, generator: torch.Generator | None) -> tuple[MixTransform, torch.Generator]:
    """The transform that mixes this batch, as a copy that reads boxes as ours, and its generator.

    Raises:
        TypeError: something else than a mixing transform.
        ValueError: a setting whose result a batch can't hold.
    """
    if not isinstance(mix, MixTransform):
        raise TypeError(f"mix must be a mixing transform, got {type(mix).__name__}")
    refuse_chain(mix, "batches of Ultralytics")
    for each in mix.members:
        if each.on_filtered != "drop":
            raise ValueError(
                f"mix must have on_filtered='drop', got {each.on_filtered!r}: Ultralytics' losses know neither ignored "
                "objects nor crowds"
            )
        if isinstance(each.pairing, SampleBank):
            raise ValueError(
                "mix must pair the images of a batch, got a SampleBank: name another pairing, such as 'roll'"
            )
    generator = call_generator(generator)
    member = copy.copy(mix.choose(generator))
    member.box_format, member.normalized = "xyxy", False  # as Rows gives them
    return member, generator


def _stated(batch: Mapping[str, Any]) -> dict[str, Any]:
    """What a batch holds, without keys of None.

    Raises:
        TypeError: something else than a dict with images.
    """
    if not isinstance(batch, Mapping) or not isinstance(batch.get("img"), Tensor):
        got = f"the keys {sorted(map(str, batch))}" if isinstance(batch, Mapping) else type(batch).__name__
        got = f"{type(batch['img']).__name__} there" if isinstance(batch, Mapping) and "img" in batch else got
        raise TypeError(f"batch must be a dict with a tensor of images under 'img', got {got}")
    return {key: value for key, value in batch.items() if value is not None}


def _refuse_unknown(batch: Mapping[str, Any], known: frozenset[str], instance_keys: Sequence[str]) -> None:
    """Raise ValueError for a batch that holds what isn't known, or rows without boxes."""
    for key, value in batch.items():
        if key in _OF_TEXTS:
            raise ValueError(
                f"batch holds {key!r}: its classes count the texts of each image, so objects can't go to another one"
            )
        if key not in known:
            shape = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(
                f"batch holds the unknown key {key!r} ({shape}): name it in the mix's instance_keys (a row per "
                "object), image_keys (it stays the base image's) or semantic_keys (a map of class ids)"
            )
    lone = [key for key in ("batch_idx", "keypoints", "masks", "sem_masks", *instance_keys) if key in batch]
    if lone and "bboxes" not in batch:
        raise ValueError(f"batch holds {lone}, which belong to objects, but no 'bboxes'")


def _masks(batch: Mapping[str, Any], rows: Rows, overlap: bool) -> ReducedMasks | None:
    if "masks" not in batch:
        if "sem_masks" in batch:
            raise ValueError("batch holds 'sem_masks', the classes of 'masks', but no 'masks'")
        return None
    order = batch["batch_idx"].reshape(-1).argsort(stable=True)
    return ReducedMasks.of(batch["masks"], batch.get("sem_masks"), rows, order, overlap)


def _give_masks(targets: Sequence[dict[str, Any]], masks: ReducedMasks, rows: Rows) -> None:
    """Put the masks at full size into the targets, and which rows have one if some haven't; on the boxes' device."""
    device = rows.image.device
    stated = masks.stated.to(device)
    some_lack = not bool(stated.all())
    for target, full, own in zip(targets, masks.full_size(rows), stated.split(rows.counts)):
        target["masks"] = full.to(device)
        if some_lack:
            target["has_mask"] = own


def _refuse_blended(keys: Sequence[str]) -> None:
    if keys:
        raise ValueError(
            f"batch[{keys[0]!r}] can't be blended, and the losses take one value per pixel: mix otherwise than by MixUp"
        )


def _mixed_depth(depth: Tensor, images: Tensor, plan: MixPlan) -> Tensor:
    """Depth of the pixels that are shown; 0, which isn't judged, where nobody's are."""
    if not isinstance(depth, Tensor) or depth.ndim < 3 or len(depth) != len(images):
        raise ValueError(f"batch['depth'] must be (B, 1, H, W), got {getattr(depth, 'shape', type(depth).__name__)}")
    if depth.shape[-2:] != images.shape[-2:]:
        raise ValueError(
            f"batch['depth'] must have the images' size {tuple(images.shape[-2:])}, got {tuple(depth.shape[-2:])}"
        )
    return mix_pixels(depth, plan, fill=0, interpolation="nearest")
