"""How often each instance is pasted: weights by its class and by its size."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cutmix_dense.arrays.host import HOST
from cutmix_dense.checks import finite, listed, whole

SIZES = {"small": 0.0, "medium": 32.0, "large": 96.0}
"""COCO's sizes, by the side of a square of the same area from which they begin, pixels."""

CLASS_RULES = ("balanced", "inverse", "repeat_factor")


def class_weights(
    rule: str, frequencies: Mapping[int, float] | Sequence[float], threshold: float = 0.001
) -> dict[int, float]:
    """Weight of each class for ``CopyPaste(weights=…)`` by how often the class occurs in a data set.

    Args:
        rule: ``"inverse"``: 1 / f; ``"repeat_factor"``: max(1, √(threshold / f)).
        frequencies: share f of the images that hold each class, in (0, 1]; by class id, or one per class. A class
            that is never seen (0) gets no weight.
        threshold: see ``rule``.

    Raises:
        ValueError: an unknown rule, or a share outside of [0, 1].

    Source: Gupta, Dollár, Girshick, LVIS (2019), 3.4, for the repeat factor.

    Example:
        >>> class_weights("inverse", {1: 0.5, 2: 0.125})
        {1: 2.0, 2: 8.0}
        >>> class_weights("repeat_factor", [0.04, 0.0004], threshold=0.01)
        {0: 1.0, 1: 5.0}
    """
    if rule not in CLASS_RULES[1:]:
        raise ValueError(f"rule must be one of {CLASS_RULES[1:]}, got {rule!r}")
    pairs = frequencies.items() if isinstance(frequencies, Mapping) else enumerate(frequencies)
    found: dict[int, float] = {}
    for name, share in pairs:
        if not (finite(share) and 0 <= share <= 1):
            raise ValueError(f"frequencies must be shares of images in [0, 1], got {share!r} for class {name}")
        if share:
            found[int(name)] = 1 / share if rule == "inverse" else max(1.0, math.sqrt(threshold / share))
    return found


def weight_table(weights: Any) -> dict[int, float] | str | None:
    """``CopyPaste.weights`` as a dict by class, ``"balanced"`` or None.

    Raises:
        ValueError: another name, or a weight that isn't a finite number of at least 0.
    """
    if weights is None or (isinstance(weights, str) and weights == "balanced"):
        return None if weights is None else "balanced"
    if isinstance(weights, str):
        raise ValueError(
            f"weights must be None, 'balanced', or a weight of each class, got {weights!r}"
            + (": give cutmix_dense.class_weights(rule, frequencies)" if weights in CLASS_RULES else "")
        )
    values = weights.tolist() if isinstance(weights, Tensor) else weights
    what = "None, 'balanced', or a weight of each class"
    pairs = values.items() if isinstance(values, Mapping) else enumerate(listed(values, "weights", what))
    try:
        named = {int(name) if isinstance(name, str) else name: weight for name, weight in pairs}
        table = {whole(name, "weights", least=None): weight for name, weight in named.items()}
    except ValueError:
        raise ValueError(f"weights must map class ids, which are whole numbers, to weights, got {weights!r}") from None
    if not table or not all(finite(weight) and weight >= 0 for weight in table.values()):
        raise ValueError(f"weights must be finite numbers of at least 0, one per class, got {weights!r}")
    return {name: float(weight) for name, weight in table.items()}


def size_bounds(weights: Mapping[Any, float] | None) -> list[tuple[float, float]] | None:
    """``CopyPaste.size_weights`` as pairs (side from which on, weight) in order.

    A name of ``SIZES`` means that size alone: sizes that aren't named weigh 1.

    Raises:
        ValueError: a size that is neither a number nor a name of ``SIZES``, both kinds together, or a weight below 0.

    Example:
        >>> size_bounds({"small": 2.0})
        [(0.0, 2.0), (32.0, 1.0), (96.0, 1.0)]
    """
    if weights is None:
        return None
    if not isinstance(weights, Mapping) or not weights:
        raise ValueError(f"size_weights must map sizes to weights, got {weights!r}")
    bounds = []
    for size, weight in weights.items():
        side = SIZES.get(size) if isinstance(size, str) else size
        if side is None or not (finite(side) and side >= 0 and finite(weight) and weight >= 0):
            raise ValueError(
                f"size_weights must map {tuple(SIZES)} or sides in pixels to weights of at least 0, got {size!r}: "
                f"{weight!r}"
            )
        bounds.append((float(side), float(weight)))
    named = [isinstance(size, str) for size in weights]
    if any(named):
        if not all(named):
            raise ValueError(f"size_weights must map names of sizes or sides in pixels, not both, got {weights!r}")
        bounds = [(side, float(weights.get(size, 1.0))) for size, side in SIZES.items()]
    return sorted(bounds)


def looked_up_weights(
    targets: Sequence[Mapping[str, Any]],
    boxes: Float[np.ndarray, "p _n ends"] | None,
    most: int,
    table: dict[int, float] | str | None,
    bounds: list[tuple[float, float]] | None,
) -> tuple[Float[np.ndarray, "p n"], Int[np.ndarray, "p n"]]:
    """Weight of each instance by the tables, and its class; classes that no table names weigh 1.

    Args:
        targets: of each image.
        boxes: of each instance, padded; needed for ``bounds``.
        most: N.
        table: of ``weight_table``.
        bounds: of ``size_bounds``; below the first bound the weight is 1.

    Raises:
        ValueError: targets without labels where classes are weighed.
    """
    classes = np.full((len(targets), most), -1, dtype=np.int64)
    weights = np.ones((len(targets), most))
    if table is not None:
        for index, target in enumerate(targets):
            labels = target.get("labels", target.get("class_labels"))
            if labels is None and target.get("boxes") is not None and len(target["boxes"]):
                raise ValueError(f"targets[{index}] must have 'labels' where weights are by class, got none")
            if labels is not None:
                if labels.ndim != 1:
                    raise ValueError(
                        f"targets[{index}]['labels'] must be one class per instance (N,) where weights are by class, "
                        f"got shape {tuple(labels.shape)}"
                    )
                classes[index, : len(labels)] = labels.to(HOST).numpy()
    if isinstance(table, dict):
        for name, weight in table.items():
            weights[classes == name] = weight
    if bounds is not None:
        assert boxes is not None
        half = boxes.shape[2] // 2
        side = np.maximum(boxes[..., half:] - boxes[..., :half], 0).prod(axis=2) ** (1 / half)
        sized = np.ones_like(side)
        for start, weight in bounds:
            sized[side >= start] = weight
        weights[:, : side.shape[1]] *= sized
    return weights, classes


def balanced(
    classes: Int[np.ndarray, "b m"], may: Bool[np.ndarray, "b m"], weights: Float[np.ndarray, "b m"]
) -> Float[np.ndarray, "b m"]:
    """Weights that make each class of the candidates of an output equally likely to be the first one drawn.

    Example:
        >>> classes = np.array([[1, 1, 2]])
        >>> balanced(classes, np.ones((1, 3), dtype=bool), np.ones((1, 3))).tolist()
        [[0.5, 0.5, 1.0]]
    """
    found = np.zeros(weights.shape)
    for output, (names, some, given) in enumerate(zip(classes, may, weights)):
        for name in np.unique(names[some]):
            those = some & (names == name)
            total = given[those].sum()
            found[output, those] = given[those] / total if total else 0
    return found
