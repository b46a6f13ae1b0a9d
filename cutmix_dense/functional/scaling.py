"""Scale numbers of instances with their image: lengths, areas, distances."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor


def scaled_numbers(
    rows: Shaped[Tensor, "n ..."],
    scaling: str,
    scale: Float[Tensor, "n d"],
    untouched: Bool[Tensor, " n"],
    share: Float[Tensor, " n"] | None = None,
) -> Shaped[Tensor, "n ..."]:
    """Scale numbers of instances as ``fields.Scaling`` says; integers are rounded, untouched rows stay unchanged.

    Args:
        rows: one or more numbers per instance.
        scaling: ``"length"``, ``"area"`` or ``"inverse"``.
        scale: scale of each instance's layer, per axis.
        untouched: whether each row stays.
        share: visible share of each, for areas that shrink with it.

    Example:
        >>> one = torch.tensor([10.0])
        >>> scaled_numbers(one, "length", torch.tensor([[0.5, 0.5]]), torch.tensor([False]))
        tensor([5.])
    """
    axes = scale.shape[1]
    factor = scale.abs().prod(dim=1)
    if scaling != "area":
        factor = factor ** ((1 if scaling == "length" else -1) / axes)
    if share is not None:
        factor = factor * share
    shape = (-1, *(1,) * (rows.ndim - 1))
    scaled = rows * factor.reshape(shape)
    scaled = scaled if rows.is_floating_point() else scaled.round()
    return torch.where(untouched.reshape(shape), rows, scaled.to(rows.dtype))
