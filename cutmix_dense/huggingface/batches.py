"""Batches as the image processors of transformers write them: what they are, and how each is mixed."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence, Set
from typing import Any, Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from cutmix_dense.functional import mix_pixels
from cutmix_dense.functional.fields import IGNORED
from cutmix_dense.normalized import plain_boxes, refuse_integers, refuse_pixels, size_like
from cutmix_dense.randomness import call_generator
from cutmix_dense.transforms import MixTransform, MixUp, SampleBank
from cutmix_dense.transforms.chain import refuse_affine, refuse_chain
from cutmix_dense.warned import reworded

Stuff = Sequence[int] | Literal["all"]
"""Class ids of stuff, of which an image has one segment each."""

_IMAGES, _VALID, _LABELS = "pixel_values", "pixel_mask", "labels"
_MASKS, _CLASSES = "mask_labels", "class_labels"

_NO_CLASS, _LARGEST_CLASS = torch.iinfo(torch.int32).min, torch.iinfo(torch.int32).max
"""Id of pixels without a class in maps of class ids, the same in all batches, and the largest id of a class."""


def mix_batch(
    batch: Mapping[str, Any],
    mix: MixTransform,
    *,
    stuff: Stuff = (),
    soft_labels: bool = False,
    keep_keys: Sequence[str] = (),
    generator: torch.Generator | None = None,
) -> Any:
    """A batch for a model of transformers, mixed: a copy of the same class with the same keys.

    ==================  ===============================================================================================
    task                what the batch holds beside ``pixel_values`` (B, C, H, W)
    ==================  ===============================================================================================
    detection           ``labels``: a dict per image with ``class_labels``, ``boxes`` and what the processor adds
    universal           ``mask_labels``: (N, H, W) of 0 and 1 per image; ``class_labels``: (N,) per image
    semantic maps       ``labels``: (B, H, W) integers; the mix's ``ignore_index`` (255) is carried as data
    depth               ``labels``: (B, H, W) floating point; read nearest, never averaged; 0 where nothing is known
    classification      ``labels``: (B,) class ids, for the mix's ``num_classes``, or (B, K); comes back as (B, K)
    video               as classification, of clips (B, T, C, H, W), for a mix of ``layout="BTCHW"``
    ==================  ===============================================================================================

    ``pixel_mask`` (B, H, W), where there is one, says which part of each padded image is picture. Regions lie in it and
    it stays the base's, as ``image_id``, ``size`` and ``orig_size`` do. The dicts of detection get ``visibility`` and
    ``origin``; see ``functional.mix_instances``.

    Methods that blend pixels (``MixUp``, ``CopyPaste(blend=…)``) are for detection, whose dicts get a ``weight``, for
    classification and images alone.

    Boxes are cxcywh, normalized. Processors that pad count in shares of the padded frame, and write its ``size``; where
    images were padded later, ``size`` is each image's own and so is the share. Where the mix has a ``box_format`` or
    ``normalized`` of its own, that counts.

    Args:
        batch: a ``BatchFeature``, a dict or another mapping.
        mix: the transform; a ``Chain`` for semantic maps, classification and images alone.
        stuff: for universal segmentation, the classes with one segment per image. Their visible parts in both images
            become one mask, and small ones aren't dropped. ``"all"`` for semantic segmentation.
            The masks of an image must be disjoint then.
        soft_labels: that the loss takes probabilities (B, K): ``soft_cross_entropy`` does, the models' own doesn't.
        keep_keys: further keys that hold tensors, or lists of rows of numbers, and stay the base image's; others are
            refused.
        generator: on the CPU, makes the mix repeatable; see ``MixTransform``.

    Raises:
        TypeError: something else than a mapping of tensors; class ids that aren't integers.
        ValueError: what can't be mixed, by its name.

    Examples:
        >>> import torch
        >>> import cutmix_dense as cd
        >>> from cutmix_dense.huggingface import mix_batch
        >>> batch = {"pixel_values": torch.rand(2, 3, 32, 48), "labels": torch.randint(0, 4, (2, 32, 48))}
        >>> mix_batch(batch, cd.CutMix(p=1.0))["labels"].shape
        torch.Size([2, 32, 48])
    """
    check_options(mix, stuff, keep_keys)
    if not isinstance(batch, Mapping):
        raise TypeError(f"batch must be a dict or a BatchFeature, got {type(batch).__name__}")
    images = batch.get(_IMAGES)
    if not (isinstance(images, Tensor) or (isinstance(images, (list, tuple)) and all(map(_is_tensor, images)))):
        got = type(images).__name__ if _IMAGES in batch else f"only {sorted(map(str, batch))}"
        raise TypeError(f"the batch must hold tensors in {_IMAGES!r} (return_tensors='pt'), got {got}")
    task = _task_of(batch)
    _check_layout(images, task, mix)
    _refuse_others(batch, task, {*keep_keys})
    if stuff and task != "universal":
        raise ValueError(f"stuff is for universal segmentation, {_MASKS!r} and {_CLASSES!r}; the batch is of {task}")
    blending = [
        member for member in mix.members if isinstance(member, MixUp) or getattr(member, "blend", "hard") != "hard"
    ]
    if blending and task in ("semantic maps", "universal", "depth"):
        name = type(blending[0]).__name__
        raise ValueError(
            f"{name} blends pixels, and batches of {task} have no place for the weights: use another method"
            f"{'' if name == 'MixUp' else ', or blend=' + repr('hard')}"
        )
    if task in ("detection", "universal", "depth"):
        refuse_chain(mix, f"batches of {task}")
    if task == "depth" or (stuff and stuff != "all"):
        refuse_affine(mix, "maps of depth" if task == "depth" else "masks of things beside stuff")
    sizes = _valid_sizes(batch, images)
    generator = call_generator(generator)
    member = mix.choose(generator)
    call = _Call(member, images, sizes, generator)
    if task == "detection":
        changed = _mix_detection(batch[_LABELS], call)
    elif task == "universal":
        changed = _mix_universal(batch[_MASKS], batch[_CLASSES], call, stuff)
    elif task == "depth":
        changed = _mix_depth(batch[_LABELS], call)
    elif task == "images alone":
        changed = {_IMAGES: member(images, sizes=call.sizes, generator=generator)}
    else:
        if task == "classification":
            _check_classes(batch[_LABELS], mix, soft_labels)
        changed = dict(zip((_IMAGES, _LABELS), call(batch[_LABELS])))
    if _VALID in batch and call.resized is not None:
        changed[_VALID] = batch[_VALID].new_ones((len(images), *call.resized))
    mixed: Any = copy.copy(batch)
    mixed.update(changed)
    return mixed


def check_options(mix: Any, stuff: Any, keep_keys: Any) -> None:
    """Raise TypeError or ValueError for options that are wrong with any batch."""
    if not isinstance(mix, MixTransform):
        raise TypeError(f"mix must be a mixing transform, got {type(mix).__name__}")
    if isinstance(stuff, str) and stuff != "all":
        raise ValueError(f"stuff must be class ids or 'all', got {stuff!r}")
    if not isinstance(stuff, (Sequence, Set)):
        raise TypeError(f"stuff must be a list of class ids or 'all', got {stuff!r}")
    if isinstance(keep_keys, str):
        raise TypeError(f"keep_keys must be a sequence of keys, got {keep_keys!r}")
    if mix.layout not in ("BCHW", "BTCHW"):
        raise ValueError(f"mix must be of layout 'BCHW' (images) or 'BTCHW' (clips), got {mix.layout!r}")


class _Call:
    """A call of the transform that is drawn for a batch, on this batch's images."""

    def __init__(self, member: MixTransform, images: Any, sizes: Tensor | None, generator: torch.Generator) -> None:
        self.member = member
        self.images = images
        self.sizes = sizes
        self.generator = generator

    @property
    def frame(self) -> tuple[int, int]:
        """Height and width of the batch."""
        return int(self.images.shape[-2]), int(self.images.shape[-1])

    @property
    def resized(self) -> tuple[int, int] | None:
        """The size of all outputs if the method sets one (``Mosaic(size=…)``)."""
        return getattr(self.member, "size", None)

    def __call__(self, targets: Any) -> tuple[Any, Any]:
        """Mixed images and targets."""
        images, mixed = self.member(self.images, targets, sizes=self.sizes, generator=self.generator)
        return images, mixed


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Tensor)


def _task_of(batch: Mapping[str, Any]) -> str:
    """What the batch is for.

    Raises:
        ValueError, TypeError: it can't be told, or has no mixed form.
    """
    if _MASKS in batch or _CLASSES in batch:
        for key in (_MASKS, _CLASSES):
            if not isinstance(batch.get(key), (list, tuple, Tensor)):
                raise ValueError(
                    f"{_MASKS!r} and {_CLASSES!r} belong together, one entry per image; {key!r} is missing"
                )
        return "universal"
    labels = batch.get(_LABELS)
    if labels is None:
        return "images alone"
    if isinstance(labels, (list, tuple, Tensor)) and (not isinstance(labels, Tensor) or labels.ndim):
        count = len(batch[_IMAGES])
        if len(labels) != count:
            raise ValueError(f"{_LABELS!r} must have one entry per image ({count}), got {len(labels)}")
    if isinstance(labels, (list, tuple)):
        if all(isinstance(label, Mapping) for label in labels):
            return "detection"
        if all(_is_tensor(label) and label.ndim == 2 for label in labels):
            return "depth" if labels[0].is_floating_point() else "semantic maps"
    elif isinstance(labels, Tensor):
        if labels.ndim == 3:
            return "depth" if labels.is_floating_point() else "semantic maps"
        if (labels.ndim == 1 and not labels.is_floating_point()) or labels.ndim == 2:
            return "classification"
    got = f"shape {tuple(labels.shape)}, {labels.dtype}" if isinstance(labels, Tensor) else type(labels).__name__
    raise ValueError(
        f"{_LABELS!r} must be a dict per image (detection), (B, H, W) (maps of class ids, or of depth in floating "
        f"point), (B,) class ids or (B, K), got {got}"
    )


def _check_layout(images: Any, task: str, mix: MixTransform) -> None:
    """Raise ValueError for clips whose mix isn't of them, or whose labels are more than classes."""
    shape = tuple(images[0].shape) if len(images) else ()
    clips = mix.layout == "BTCHW"
    if shape and len(shape) != (4 if clips else 3):
        kind, layout = ("clips (B, T, C, H, W)", "BCHW") if clips else ("images (B, C, H, W)", "BTCHW")
        raise ValueError(
            f"{_IMAGES!r} must be {kind} for a mix of layout {mix.layout!r}, got {len(images)} of {shape}: give the "
            f"mix layout={layout!r}"
        )
    if clips and task not in ("classification", "images alone"):
        raise ValueError(
            f"clips are mixed here with class labels or alone, got labels of {task}: call {type(mix).__name__} itself "
            "on images and targets"
        )


def _refuse_others(batch: Mapping[str, Any], task: str, keep: set[str]) -> None:
    """Raise ValueError for keys whose tensors would stay unmixed."""
    if "text_inputs" in batch and "text_inputs" not in keep:
        raise ValueError(
            "'text_inputs' lists the objects of each image before the mix, and OneFormer's contrastive loss would "
            "compare with it: train with config.is_training=False and without them"
        )
    if len(batch.get("patch_offsets", ())):
        raise ValueError("'patch_offsets' says that images were split: set do_split_image=False, and mix whole images")
    known = {_IMAGES, _VALID, "patch_offsets", *((_MASKS, _CLASSES) if task == "universal" else (_LABELS,))}
    if "task_inputs" in batch and task == "universal":
        tasks = batch["task_inputs"]
        rows = tasks.tolist() if isinstance(tasks, Tensor) else list(tasks)
        if any(row != rows[0] for row in rows):
            raise ValueError(
                "'task_inputs' must be the same for all images of a batch, whose labels are mixed with each other"
            )
        known.add("task_inputs")
    for key in batch:
        if key not in known and key not in keep and _holds_tensors(batch[key]):
            raise ValueError(
                f"the batch holds rows of numbers or tensors in {key!r} that would stay unmixed ({task}): leave them "
                "out in the collator, or name the key in keep_keys if they stay the base image's"
            )


def _holds_tensors(value: Any, lists: int = 0) -> bool:
    """Whether there are tensors in it, or lists of rows of numbers per image, as boxes are in plain Python."""
    if isinstance(value, Mapping):
        return any(_holds_tensors(entry, lists) for entry in value.values())
    if isinstance(value, (list, tuple)):
        return any(_holds_tensors(entry, lists + 1) for entry in value)
    return isinstance(value, Tensor) or hasattr(value, "__array__") or (lists > 2 and isinstance(value, (int, float)))


def _valid_sizes(batch: Mapping[str, Any], images: Any) -> Int[Tensor, "b 2"] | None:
    """Height and width of the picture in every padded image; None without a mask that says so.

    Raises:
        ValueError: a mask of another form than pictures in the upper left corner.
    """
    valid = batch.get(_VALID)
    if valid is None:
        return None
    if (
        not isinstance(images, Tensor)
        or not isinstance(valid, Tensor)
        or valid.shape != (len(images), *images.shape[-2:])
    ):
        got = tuple(valid.shape) if isinstance(valid, Tensor) else type(valid).__name__
        raise ValueError(f"{_VALID!r} must be (B, H, W) beside a tensor of images, got {got}")
    rows, columns = valid.sum(dim=2), valid.sum(dim=1)  # all that a rectangle in the corner has to be known by
    height, width = columns[:, :1], rows[:, :1]
    full_rows = width * (torch.arange(rows.shape[1], device=valid.device) < height)
    full_columns = height * (torch.arange(columns.shape[1], device=valid.device) < width)
    if not (torch.equal(rows, full_rows.to(rows.dtype)) and torch.equal(columns, full_columns.to(columns.dtype))):
        raise ValueError(f"{_VALID!r} must be 1 in a rectangle from the upper left corner and 0 elsewhere")
    return torch.cat([height, width], dim=1).long().cpu()


def _mix_detection(labels: Sequence[Mapping[str, Any]], call: _Call) -> dict[str, Any]:
    for index, label in enumerate(labels):
        if "boxes" not in label or "class_labels" not in label:
            raise ValueError(f"labels[{index}] must hold 'boxes' and 'class_labels', got {sorted(map(str, label))}")
        if "keypoints" in label:
            raise ValueError(
                f"labels[{index}]['keypoints'] can't be mixed: the processors leave them in pixels of the original "
                "image, without saying whose they are; leave them out of the annotations"
            )
    member = call.member
    if member.box_format == "xyxy" and not member.normalized:  # as a transform has it that wasn't told anything
        refuse_integers(labels, _LABELS, ["boxes"])
        refuse_pixels(
            [label["boxes"] for label in labels if plain_boxes(label["boxes"])],
            "boxes of the labels must be cxcywh in shares of the image, as image processors write them",
            "divide them by its width and height, or wrap them in tv_tensors.BoundingBoxes, which say that they are",
        )
        call.member = member = copy.copy(member)
        member.box_format, member.normalized = "cxcywh", _share(labels, call)
    name = _CLASSES if any("labels" in label for label in labels) else "labels"  # as banks of cut-outs know them
    with reworded(lambda message: message.replace(f"{name!r}", f"{_CLASSES!r}")):
        images, rows = call([_renamed(label, _CLASSES, name) for label in labels])
    mixed = []
    for label, row in zip(labels, rows):
        if call.resized is not None and "size" in row:
            row = {**row, "size": size_like(row["size"], call.resized)}
        new: Any = copy.copy(label)
        new.clear()
        new.update(_renamed(row, name, _CLASSES))
        mixed.append(new)
    return {_IMAGES: images, _LABELS: mixed}


def _renamed(row: Mapping[str, Any], old: str, new: str) -> dict[str, Any]:
    """A target with another name for one of its keys, among what is ignored too."""
    inner = {IGNORED: _renamed(row[IGNORED], old, new)} if isinstance(row.get(IGNORED), Mapping) else {}
    return {new if key == old else key: value for key, value in {**row, **inner}.items()}


def _share(labels: Sequence[Mapping[str, Any]], call: _Call) -> Literal[True, "frame"]:
    """What a box's 1 stands for, the padded frame or the image itself (True): by ``size``, as processors leave it."""
    if not isinstance(call.images, Tensor):
        return True
    frame = torch.tensor(call.frame, device="cpu")
    given = [label.get("size") for label in labels]
    whole = [True] * len(labels) if call.sizes is None else (call.sizes == frame).all(dim=1).tolist()
    # one that isn't padded counts in both; the processors leave its size out where they don't resize
    stated = [frame if size is None and full else size for size, full in zip(given, whole)]
    if all(size is not None for size in stated):
        own = torch.stack([torch.as_tensor(size, device="cpu") for size in stated])
        if bool((own == frame).all()):
            return "frame"
        if call.sizes is None and bool((own <= frame).all()):  # padded, and the mask left out
            call.sizes = own
        if call.sizes is not None and torch.equal(own, call.sizes):
            return True
    got = [None if size is None else torch.as_tensor(size, device="cpu").tolist() for size in given]
    raise ValueError(
        f"'size' of the labels must be the padded frame {call.frame} or each image's own size, got {got}: set "
        "box_format='cxcywh' and normalized='frame' or True in the mix, which says what boxes count in"
    )


def _mix_universal(masks: Sequence[Tensor], classes: Sequence[Tensor], call: _Call, stuff: Stuff) -> dict[str, Any]:
    if len(masks) != len(call.images) or len(classes) != len(call.images):
        raise ValueError(
            f"{_MASKS!r} and {_CLASSES!r} must have one entry per image ({len(call.images)}), got {len(masks)} and "
            f"{len(classes)}"
        )
    if call.member.on_filtered != "drop":
        raise ValueError(
            f"on_filtered of {type(call.member).__name__} must be 'drop' for {_MASKS!r}, got "
            f"{call.member.on_filtered!r}: masks and classes alone can't say which are to be ignored"
        )
    for index, (mask, labels) in enumerate(zip(masks, classes)):
        for key, value in ((_MASKS, mask), (_CLASSES, labels)):
            if not isinstance(value, Tensor):
                raise TypeError(f"{key}[{index}] must be a tensor, got {type(value).__name__}: set return_tensors='pt'")
        if len(labels) and (labels.is_floating_point() or labels.is_complex()):
            raise TypeError(f"{_CLASSES}[{index}] must hold class ids, integers, got {labels.dtype}: use labels.long()")
        if labels.shape != mask.shape[:1]:
            raise ValueError(
                f"{_CLASSES}[{index}] must have one class per mask ({len(mask)}), got {tuple(labels.shape)}"
            )
    mix = _mix_classes if stuff == "all" else _mix_segments if stuff else _mix_masks
    images, found, labels = mix(masks, classes, call, stuff)
    return {_IMAGES: images, _MASKS: found, _CLASSES: labels}


def _mix_masks(masks: Sequence[Tensor], classes: Sequence[Tensor], call: _Call, stuff: Stuff) -> tuple[Any, Any, Any]:
    """Instances: every mask is judged by itself."""
    binary = [_binary(mask, index, call) for index, mask in enumerate(masks)]
    images, rows = call([{"masks": mask, "labels": labels} for mask, labels in zip(binary, classes)])
    return images, [row["masks"].to(mask.dtype) for row, mask in zip(rows, masks)], [row["labels"] for row in rows]


def _mix_segments(
    masks: Sequence[Tensor], classes: Sequence[Tensor], call: _Call, stuff: Stuff
) -> tuple[Any, Any, Any]:
    """Things beside stuff, as panoptic maps."""
    targets = []
    for index, (mask, labels) in enumerate(zip(masks, classes)):
        infos = [
            {"id": number, "category_id": label, "isthing": int(label not in stuff)}
            for number, label in enumerate(labels.tolist(), start=1)
        ]
        targets.append({"panoptic": _numbers(mask, index, call), "segments_info": infos})
    images, rows = call(targets)
    found, kinds = [], []
    for row, mask, labels in zip(rows, masks, classes):
        found.append(_masks_of(row["panoptic"], [info["id"] for info in row["segments_info"]], mask))
        kinds.append(_like(labels, [info["category_id"] for info in row["segments_info"]]))
    return images, found, kinds


def _mix_classes(masks: Sequence[Tensor], classes: Sequence[Tensor], call: _Call, stuff: Stuff) -> tuple[Any, Any, Any]:
    """Stuff alone: maps of class ids, in which nothing has to be measured. A bank keeps them for later batches."""
    call.member = copy.copy(call.member)
    call.member.ignore_index = _NO_CLASS
    maps = []
    for index, (mask, labels) in enumerate(zip(masks, classes)):
        ids = labels.tolist()
        if any(not _NO_CLASS < label <= _LARGEST_CLASS for label in ids):
            raise ValueError(f"{_CLASSES}[{index}] must hold ids of 32 bits, above {_NO_CLASS}, got {ids}")
        own = torch.tensor([_NO_CLASS, *ids], dtype=torch.int32, device=mask.device)
        maps.append(own.take(_numbers(mask, index, call).long()))
    images, mixed = call(torch.stack(maps) if isinstance(call.images, Tensor) else maps)
    found, kinds = [], []
    for ids, mask, labels in zip(mixed, masks, classes):
        runs = torch.unique_consecutive(ids.flatten())  # few, and much faster to sort than all pixels
        shown = [label for label in runs.unique().tolist() if label != _NO_CLASS]
        found.append(_masks_of(ids, shown, mask))
        kinds.append(_like(labels, shown))
    return images, found, kinds


def _picture(mask: Tensor, index: int, call: _Call) -> Tensor:
    """The part of an image's masks that isn't padding, where the processors write their ignore index."""
    if mask.ndim != 3 or (isinstance(call.images, Tensor) and tuple(mask.shape[1:]) != call.frame):
        raise ValueError(f"{_MASKS}[{index}] must be (N, H, W) of the images' size, got {tuple(mask.shape)}")
    if call.sizes is None:
        return mask
    height, width = call.sizes[index].tolist()
    return mask[:, :height, :width]


def _no_binary(inner: Tensor, index: int) -> ValueError:
    return ValueError(f"{_MASKS}[{index}] must hold 0 and 1, got {inner.unique().tolist()[:8]}")


def _binary(mask: Tensor, index: int, call: _Call) -> Bool[Tensor, "n h w"]:
    """The masks of an image as bools, nothing of them in the padding."""
    inner = _picture(mask, index, call)
    on = inner != 0
    if inner.numel() and inner.dtype != torch.bool:
        # between 0 and 1, and as much as there are pixels that aren't 0: faster than comparing each with both
        low, high = torch.aminmax(inner)
        if low < 0 or high > 1 or inner.sum(dim=(1, 2)).double().sum() != on.count_nonzero():
            raise _no_binary(inner, index)
    if inner.shape == mask.shape:
        return on
    whole = torch.zeros(mask.shape, dtype=torch.bool, device=mask.device)
    whole[:, : on.shape[1], : on.shape[2]] = on
    return whole


def _numbers(masks: Tensor, index: int, call: _Call) -> Int[Tensor, "h w"]:
    """Disjoint masks as a map of their numbers, from 1; 0 where there is none, as in the padding."""
    inner = _picture(masks, index, call)
    count, numbers, squares = torch.zeros((3, *inner.shape[1:]), dtype=torch.float32, device=masks.device)
    for number, mask in enumerate(inner, start=1):
        count += mask
        numbers.add_(mask, alpha=number)
        squares.add_(mask, alpha=number**2)
    # 0 or 1 in all, and the mean of the numbers' squares is the square of their mean: it is one mask's alone
    if not (torch.equal(count * count, count) and torch.equal(numbers * numbers, squares)):
        _binary(masks, index, call)
        raise ValueError(
            f"{_MASKS}[{index}] must be disjoint where stuff is named; leave stuff out for masks that overlap"
        )
    whole = torch.zeros(masks.shape[1:], dtype=torch.int32, device=masks.device)
    whole[: inner.shape[1], : inner.shape[2]] = numbers
    return whole


def _masks_of(ids: Int[Tensor, "h w"], numbers: Sequence[int], like: Tensor) -> Tensor:
    """A mask per number, of the dtype of others."""
    found = torch.empty((len(numbers), *ids.shape), dtype=like.dtype, device=ids.device)
    wanted = torch.tensor(numbers, dtype=ids.dtype, device=ids.device)
    return torch.eq(ids[None], wanted[:, None, None], out=found)


def _like(labels: Tensor, values: Sequence[int]) -> Tensor:
    return torch.tensor(values, dtype=labels.dtype, device=labels.device)


def _mix_depth(labels: Any, call: _Call) -> dict[str, Any]:
    if isinstance(call.member.pairing, SampleBank):
        raise ValueError("maps of depth can't be mixed with a bank: use pairing='roll'")
    for index, (depth, image) in enumerate(zip(labels, call.images)):
        if depth.shape[-2:] != image.shape[-2:]:
            raise ValueError(
                f"labels[{index}] must have its image's size {tuple(image.shape[-2:])}, got {tuple(depth.shape[-2:])}: "
                "resize maps of depth with the images"
            )
    plan = call.member.make_plan(call.images, sizes=call.sizes, generator=call.generator)
    images, _ = call.member.apply_plan(plan, call.images, sizes=call.sizes)
    return {_IMAGES: images, _LABELS: mix_pixels(labels, plan, interpolation="nearest", fill=0)}


def _check_classes(labels: Tensor, mix: MixTransform, soft_labels: bool) -> None:
    if not soft_labels:
        raise ValueError(
            "class labels become probabilities (B, K), and the models' own loss would take them for something else: "
            "give Trainer(compute_loss_func=cutmix_dense.huggingface.soft_cross_entropy), or such a loss, and set "
            "soft_labels=True"
        )
    if labels.ndim == 1 and any(member.num_classes is None for member in mix.members):
        raise ValueError("num_classes of the mix must be set for class ids (B,), as config.num_labels")
