"""The mixing schedules of published detectors: chains of transforms with their authors' values and windows.

Every recipe is a ``Chain``: call it as any mix, and tell it which epoch begins by ``set_progress(epoch)``. Lightning's
callback, ``detr.MixCollate`` and MMEngine's ``MixScheduleHook`` do that. Photometric changes, crops, flips and
the choice of input sizes are no mixing, and aren't part of a recipe.

``common`` of every recipe are arguments of ``MixTransform`` for all its transforms, but for ``p``, which recipes set. A
``SampleBank`` as ``pairing`` is that of the Mosaic; transforms behind it get banks of their own with its bounds.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from cutmix_dense.checks import share, whole
from cutmix_dense.setting_names import name_hint
from cutmix_dense.transforms import Affine, Chain, CopyPaste, MixTransform, MixUp, Mosaic, RandomMix, SampleBank

Size = Literal["n", "s", "m", "l", "x"]
"""Size of a model."""

Figures = TypeVar("Figures")


def dense_o2o(
    epochs: int = 58,
    *,
    start: int = 4,
    flat: int | None = None,
    no_aug: int | None = None,
    mosaic: float = 0.5,
    mixup: float = 0.5,
    copyblend: float = 0.5,
    **common: Any,
) -> Chain:
    """Dense O2O of DEIM, DEIMv2 and RT-DETRv4: more objects per image, so that one-to-one matching has more to match.

    ============================  ====================  =============================================================
    part                          epochs                what
    ============================  ====================  =============================================================
    Mosaic, then an affine map    ``[start, flat)``     half of the samples: four whole images at half size on a fixed
                                                        2 × 2, then ±10°, ±10% of the side, scale 0.5 to 1.5
    MixUp                         ``[start, flat)``     half of the batches: with the image before, weight 0.45 to 0.55
    CopyBlend                     ``[start, epochs -    half of the other batches: three objects of the batch, cut 10%
                                  no_aug)``             to 25% wider than their boxes, at random places, blended at 0.45
                                                        to 0.55; objects below 100 square pixels aren't taken
    ============================  ====================  =============================================================

    Deviations: the images of a mosaic come from the batch, not from a cache of 50, which
    ``pairing=cd.SampleBank(max_samples=50)`` is; each is centred on the mosaic's point, not on the corner of its cell,
    which differs for images that aren't square; CopyBlend draws its opacity per object, takes objects of other images
    only, and cuts objects that have masks by these.

    Args:
        epochs: length of the training.
        start: first epoch with mixing.
        flat: first epoch without Mosaic and MixUp; default ``start + (epochs - no_aug) // 2``, as DEIM's configs have.
        no_aug: number of last epochs without any; default 8, from 100 epochs on 12, as in DEIMv2's configs, but at most
            a seventh of a shorter training.
        mosaic: share of the samples that become mosaics.
        mixup: share of the batches that are blended.
        copyblend: share of the other batches with CopyBlend; 0 for DEIM and RT-DETRv4, which have none.
        common: arguments of all transforms, such as ``box_format``, ``min_visibility`` and ``pairing``.

    Raises:
        TypeError: ``common`` holds what the recipe sets, or what not all transforms have.
        ValueError: an argument is out of range.

    Source: Intellindust-AI-Lab/DEIMv2 (0fff8d4), ``configs/base/deimv2.yml`` lines 82–124,
    ``engine/data/transforms/mosaic.py`` 90–168 and ``engine/data/dataloader.py`` 153–327; ShihuaHuang95/DEIM (a9aa4ad),
    ``configs/base/deim.yml`` 6–25; RT-DETRs/RT-DETRv4 (df44122), ``configs/base/rtv4.yml`` 6–25.

    Example:
        >>> import torch
        >>> import cutmix_dense as cd
        >>> targets = [{"boxes": torch.tensor([[4.0, 4, 20, 16]]), "labels": torch.tensor([1])}] * 4
        >>> mix = cd.recipes.dense_o2o(epochs=58)
        >>> mix.set_progress(10)
        >>> images, targets = mix(torch.rand(4, 3, 32, 48), targets)
    """
    for name, value in (("epochs", epochs), ("start", start), ("flat", flat), ("no_aug", no_aug)):
        if value is not None or name in ("epochs", "start"):
            whole(value, name, None)
    _check(dense_o2o, common)
    no_aug = min(12 if epochs >= 100 else 8, epochs // 7) if no_aug is None else no_aug
    flat = min(start + (epochs - no_aug) // 2, epochs - no_aug) if flat is None else flat
    if not 0 <= start <= flat <= epochs - no_aug:
        raise ValueError(
            f"0 <= start <= flat <= epochs - no_aug must hold, got start={start}, flat={flat}, epochs={epochs} and "
            f"no_aug={no_aug}"
        )
    return _dense((start, flat), (start, epochs - no_aug), mosaic, mixup, copyblend, common)


def lightly(
    epochs: int | None = None,
    *,
    window: tuple[int, int] | None = None,
    copyblend_window: tuple[int, int] | None = None,
    model: Literal["ltdetr", "ltdetrv2"] = "ltdetr",
    **common: Any,
) -> Chain:
    """LightlyTrain's mixing for its LTDETR detectors: the parts of ``dense_o2o``, in windows of its own.

    Mosaic (±10°, ±10% of the side, scale 0.5 to 1.5), MixUp and CopyBlend (three objects) each with probability 0.5, or
    Mosaic and MixUp with 0.75 for the sizes s to x of LTDETRv2. CopyBlend is for batches without MixUp. Its windows
    are ``"auto"`` by default: all begin with epoch 4, Mosaic and MixUp end ``epochs // 2`` later, CopyBlend ends a
    sixth of the training, at most 12 epochs, before its end. Up to 12 epochs all begin after a third. Deviations: those
    of ``dense_o2o``.

    Args:
        epochs: length of the training, for these windows.
        window: (start, stop) of Mosaic and MixUp, in what ``set_progress`` counts, such as steps; needed without
            ``epochs``.
        copyblend_window: (start, stop) of CopyBlend, alike.
        model: which defaults.
        common: arguments of all transforms.

    Raises:
        TypeError: ``common`` holds what the recipe sets, or what not all transforms have.
        ValueError: an argument is out of range, or a window is missing.

    Source: lightly-ai/lightly-train (8f5a75c), in ``src/lightly_train``: ``_task_models/ltdetr_object_detection/
    transforms.py`` lines 148–194 and 403–412, ``_task_models/object_detection_components/ltdetr_schedule.py`` 14–110,
    ``_transforms/ltdetr_transforms/object_detection.py`` 319–332; read for what it does, since it is under the AGPL.

    Example:
        >>> import torch
        >>> import cutmix_dense as cd
        >>> mix = cd.recipes.lightly(window=(0, 45_000), copyblend_window=(0, 80_000))
        >>> targets = [{"boxes": torch.tensor([[4.0, 4, 20, 16]]), "labels": torch.tensor([1])}] * 4
        >>> for step in range(8):
        ...     images, mixed = mix(torch.rand(4, 3, 32, 48), targets)
    """
    _check(lightly, common)
    shares = {"ltdetr": 0.5, "ltdetrv2": 0.75}
    both = _of_model(shares, model)
    if epochs is not None:
        epochs = whole(epochs, "epochs")
        start, stop = 4 if epochs > 12 else epochs // 3, epochs - min(12, round(epochs / 6))
        window = (start, min(start + epochs // 2, stop)) if window is None else window
        copyblend_window = (start, stop) if copyblend_window is None else copyblend_window
    if window is None or copyblend_window is None:
        raise ValueError(
            f"window and copyblend_window must be given where epochs isn't, got {window} and {copyblend_window}"
        )
    return _dense(window, copyblend_window, both, both, 0.5, common)


def yolox(
    epochs: int = 300,
    *,
    size: tuple[int, int] = (640, 640),
    no_aug: int = 15,
    model: Literal["nano", "tiny", "s"] = "s",
    **common: Any,
) -> Chain:
    """YOLOX: a mosaic on a canvas of twice the size, an affine map into ``size``, MixUp with equal weights.

    =========  ======================  ======================  ======================================
    model      Mosaic                  scale of the map        MixUp
    =========  ======================  ======================  ======================================
    s to x     every image             0.1 to 2                every mosaic, both images at 0.5
    tiny       every image             0.5 to 1.5              none
    nano       half of the images      0.5 to 1.5              none
    =========  ======================  ======================  ======================================

    All in epochs ``[0, epochs - no_aug)``. The map turns by ±10°, shears by ±2° and shifts by ±10% of the side, round
    the corner of the canvas. Deviations: MixUp's partner is another sample of the batch, a mosaic too; YOLOX scales a
    plain image by 0.5 to 1.5 and mirrors it. Only boxes that show at least ``min_visibility`` stay, where YOLOX cuts
    and keeps all: ``min_visibility=0`` does as well.

    Args:
        epochs: length of the training.
        size: (height, width) of the outputs, pixels.
        no_aug: number of last epochs without mixing.
        model: which figures.
        common: arguments of all transforms.

    Raises:
        TypeError: ``common`` holds what the recipe sets, or what not all transforms have.
        ValueError: an argument is out of range.

    Source: Megvii-BaseDetection/YOLOX (6ddff48), ``yolox/exp/yolox_base.py`` lines 51–82,
    ``yolox/data/datasets/mosaicdetection.py`` 80–146, ``yolox/data/data_augment.py`` 46–79,
    ``exps/default/yolox_tiny.py`` 16–20 and ``yolox_nano.py`` 19–22.

    Example:
        >>> import torch
        >>> import cutmix_dense as cd
        >>> cd.recipes.yolox(size=(64, 64))(torch.rand(4, 3, 48, 60)).shape
        torch.Size([4, 3, 64, 64])
    """
    figures = {"nano": (0.5, (0.5, 1.5), False), "tiny": (1.0, (0.5, 1.5), False), "s": (1.0, (0.1, 2.0), True)}
    mosaic, scale, blends = _of_model(figures, model)
    _check(yolox, common)
    window, pairings = _until(epochs, no_aug, "no_aug"), _pairings(common)
    moved = Affine(degrees=10, translate=0.1, shear=2, scale=scale, size=size, anchor="corner", **common)
    stages = [_windowed(_yolo_mosaic(size, mosaic, {**common, **next(pairings)}), window), moved]
    if blends:
        stages.append(_windowed(MixUp(lam=0.5, p=1.0, **common, **next(pairings)), window))
    return Chain(stages)


@dataclass(frozen=True)
class _Yolo26:
    """Figures of one size of YOLO26."""

    epochs: int
    mosaic: float
    mixup: float
    copy_paste: float
    scale: float
    translate: float
    degrees: float = 0.0
    shear: float = 0.0


_YOLO26 = {
    "n": _Yolo26(245, 0.909, 0.012, 0.075, 0.562, 0.071, 1.11, 1.46),
    "s": _Yolo26(70, 0.992, 0.05, 0.404, 0.9, 0.275),
    "m": _Yolo26(80, 0.992, 0.427, 0.304, 0.95, 0.275),
    "l": _Yolo26(60, 0.992, 0.427, 0.404, 0.95, 0.275),
    "x": _Yolo26(40, 0.992, 0.427, 0.404, 0.95, 0.275),
}


def yolo26(
    epochs: int | None = None,
    model: Size = "n",
    *,
    size: tuple[int, int] = (640, 640),
    close: int = 10,
    few_images: bool = False,
    masks: bool = False,
    **common: Any,
) -> Chain:
    """YOLO26's training on COCO: Mosaic, Copy-Paste where there are masks, an affine map of every image, MixUp.

    =====  ======  ======  =====  ==========  =====  =========  =======  =====
    model  epochs  mosaic  mixup  copy_paste  scale  translate  degrees  shear
    =====  ======  ======  =====  ==========  =====  =========  =======  =====
    n      245     0.909   0.012  0.075       0.562  0.071      1.11     1.46
    s      70      0.992   0.05   0.404       0.9    0.275      0        0
    m      80      0.992   0.427  0.304       0.95   0.275      0        0
    l      60      0.992   0.427  0.404       0.95   0.275      0        0
    x      40      0.992   0.427  0.404       0.95   0.275      0        0
    =====  ======  ======  =====  ==========  =====  =========  =======  =====

    ``scale`` is the strength: factors are 1 ± scale. Mixing is closed for the last ``close`` epochs; the affine map
    isn't. With fewer than 1,000 images (``few_images``) the authors advise mosaic 0.5, no MixUp and no Copy-Paste.
    Copy-Paste puts mirrored copies of an image's own objects where they hide at most 30% of another one, and MixUp's
    weight is of Beta(32, 32), as there. Deviations: ``copy_paste`` is the share of the samples, where Ultralytics takes
    that share of each sample's objects, those that hide least first; places are random, not those in the mirrored
    image; degrees and shear below 0.01 are 0.

    Args:
        epochs: length of the training; default the authors', by size of the model.
        model: size of the model.
        size: (height, width) of the outputs, pixels.
        close: number of last epochs without mixing.
        few_images: whether there are fewer than 1,000 images.
        masks: whether targets hold masks; without, Ultralytics' Copy-Paste does nothing, and there is none here.
        common: arguments of all transforms.

    Raises:
        TypeError: ``common`` holds what the recipe sets, or what not all transforms have.
        ValueError: an argument is out of range.

    Source: Ultralytics' documentation, ``docs/en/guides/yolo26-training-recipe.md`` (06ebee1), sections "Optimizer and
    Learning Rate" (epochs), "Augmentation Pipeline" and "When to Adjust YOLO26 Hyperparameters"; ultralytics 8.4.190,
    ``data/augment.py`` lines 520 (centre of a mosaic), 831 (Beta), 2019–2022 (Copy-Paste) and 2872–2884 (order), read
    for what it does, since it is under the AGPL.

    Example:
        >>> import torch
        >>> import cutmix_dense as cd
        >>> cd.recipes.yolo26(100, "m", size=(64, 64))(torch.rand(8, 3, 48, 60)).shape
        torch.Size([8, 3, 64, 64])
    """
    _check(yolo26, common)
    own, pairings = _of_model(_YOLO26, model), _pairings(common)
    window = _until(own.epochs if epochs is None else epochs, close, "close")
    mosaic, mixup, paste = (0.5, 0.0, 0.0) if few_images else (own.mosaic, own.mixup, own.copy_paste)
    stages: list[Any] = [_windowed(_yolo_mosaic(size, mosaic, {**common, **next(pairings)}), window)]
    if masks and paste:
        own_objects: Any = {"source": "self", "place": "random", "flip": 1.0, "overlap": 0.3}
        stages.append(_windowed(CopyPaste(p=paste, **own_objects, **common), window))
    scale = (1 - own.scale, 1 + own.scale)
    turn: Any = {"degrees": own.degrees, "shear": own.shear, "translate": own.translate, "scale": scale}
    stages.append(Affine(**turn, size=size, of="all", **common))
    if mixup:
        stages.append(_windowed(MixUp(alpha=32.0, p=mixup, **common, **next(pairings)), window))
    return Chain(stages)


def _dense(
    window: tuple[int, int],
    copyblend_window: tuple[int, int],
    mosaic: float,
    mixup: float,
    copyblend: float,
    common: dict[str, Any],
) -> Chain:
    """Mosaic and its affine map, then MixUp or CopyBlend or neither."""
    for name, value in (("mosaic", mosaic), ("mixup", mixup), ("copyblend", copyblend)):
        share(value, name)
    pairings, common = _pairings(common), {"fill": 0, **common}
    first: Any = {"pairing": "shuffle", **next(pairings)}
    mosaics = Mosaic(grid=(2, 2), jitter=0, scale=(0.5, 0.5), p=mosaic, **common, **first)
    moved = Affine(degrees=10, translate=0.1, scale=(0.5, 1.5), **common)
    stages: list[Any] = [_windowed(mosaics, window), moved]
    blends: list[Any] = []
    common |= next(pairings)  # one bank for both, of which a batch meets one
    shares, windows = [], []
    if mixup:
        blends.append(MixUp(weight=(0.45, 0.55), same_weight=True, p=1.0, **common))
        shares.append(mixup)
        windows.append(window)
    if copyblend:
        boxes: Any = {"source": "batch", "instances": 3, "place": "random", "context": (0.1, 0.25)}
        large: Any = {0: 0, 10: 1}  # 100 square pixels or more
        blends.append(CopyPaste(**boxes, size_weights=large, blend=(0.45, 0.55), p=1.0, **common))
        shares.append((1 - mixup) * copyblend)
        windows.append(copyblend_window)
    if sum(shares):
        stages.append(RandomMix(blends, weights=shares, windows=windows, idle=1 - sum(shares)))
    return Chain(stages)


def _yolo_mosaic(size: tuple[int, int], p: float, common: dict[str, Any]) -> Mosaic:
    """Four images as large as the output on a canvas of twice its sides, round a centre in its middle half."""
    return Mosaic(size=size, expand=2, scale=(0.5, 0.5), jitter=0.5, p=p, **common)


def _check(recipe: Callable[..., Chain], common: Mapping[str, Any]) -> None:
    """Raise TypeError for arguments that aren't for all transforms of a recipe."""
    shared = inspect.signature(MixTransform).parameters.keys() - {"p"}
    for name in common.keys() - shared:
        if any(name in inspect.signature(part).parameters for part in (Mosaic, Affine, MixUp, CopyPaste)):
            raise TypeError(
                f"{recipe.__name__} sets {name!r} itself where a transform has it, got {common[name]!r}: change it in "
                "the transform, one of mix.members, or give transforms of your own to a Chain"
            )
        known = [*inspect.signature(recipe).parameters.keys() - {"common"}, *shared]
        raise TypeError(f"{recipe.__name__} has no setting {name!r}: {name_hint(name, sorted(known))}")


def _pairings(common: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Take ``pairing`` out of ``common``: the argument, where it is given, for one stage after the other.

    A bank is the first stage's; those behind it have their own, since a bank of two would hold mixes of itself.
    """

    def stages(pairing: Any) -> Iterator[dict[str, Any]]:
        while True:
            yield {} if pairing is None else {"pairing": pairing}
            if isinstance(pairing, SampleBank):
                pairing = SampleBank(pairing.max_bytes, pairing.max_samples)

    return stages(common.pop("pairing", None))


def _windowed(transform: Any, window: tuple[int, int]) -> RandomMix:
    return RandomMix([transform], windows=[window])


def _of_model(figures: Mapping[str, Figures], model: str) -> Figures:
    """The figures of a model; ValueError for a model that has none."""
    if not isinstance(model, str) or model not in figures:
        raise ValueError(f"model must be one of {tuple(figures)}, got {model!r}")
    return figures[model]


def _until(epochs: int, last: int, name: str) -> tuple[int, int]:
    """The window of all epochs but the last ones."""
    epochs, last = whole(epochs, "epochs", None), whole(last, name, None)
    if not 0 <= last <= epochs:
        raise ValueError(f"{name} must lie in [0, epochs = {epochs}], got {last!r}")
    return 0, epochs - last


RECIPES: dict[str, Callable[..., Chain]] = {
    "dense_o2o": dense_o2o,
    "lightly": lightly,
    "yolo26": yolo26,
    "yolox": yolox,
}
"""The recipes by name."""
