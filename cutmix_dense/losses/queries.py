"""Hungarian matching of queries and instances, by what instances weigh."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from cutmix_dense.extras import require

Pairs = Sequence[tuple[Int[Tensor, " m"], Int[Tensor, " m"]]]
"""Per image, queries and the instances they are matched to, as the matchers of the DETR family return them."""


def weighted_matching_cost(cost: Float[Tensor, "... q n"], weights: Float[Tensor, "... n"]) -> Float[Tensor, "... q n"]:
    """The cost of matching, each instance's column multiplied by its weight.

    A matcher that minimises it minimises the weighted loss: of two instances that want the same query, the one of more
    weight gets it. Weights that are all alike change nothing. One line in a matcher of DETR, RT-DETR, D-FINE or DEIM,
    before ``linear_sum_assignment``.

    Args:
        cost: of every query (Q) for every instance (N).
        weights: of the instances, above 0; those of weight 0 are better left to ``match_queries``.

    Raises:
        ValueError: there isn't one weight for every column.

    Example:
        >>> cost = torch.tensor([[0.0, 0.1], [1.0, 2.0]])  # both instances want the first query
        >>> weighted_matching_cost(cost, torch.tensor([1.0, 0.5])).tolist()
        [[0.0, 0.05000000074505806], [1.0, 1.0]]
    """
    if cost.ndim < 2 or weights.shape != (*cost.shape[:-2], cost.shape[-1]):
        raise ValueError(
            f"weights must hold one number for each column of cost {tuple(cost.shape)}, got {tuple(weights.shape)}"
        )
    return cost * weights[..., None, :].to(cost)


@torch.no_grad()
def match_queries(
    cost: Float[Tensor, "q n"], weights: Float[Tensor, " n"], region_cost: Float[Tensor, "q n"] | None = None
) -> tuple[Int[Tensor, " m"], Int[Tensor, " m"]]:
    """The queries and instances that belong together, on the host: by weight, and instances of weight 0 last.

    Those of weight 0 get queries that no other instance got. Their pairs weigh 0, so that such a query is neither
    punished for finding an object nor taught anything.

    Args:
        cost: of every query for every instance; what isn't finite is taken for the largest.
        weights: of the instances, at least 0.
        region_cost: the cost for instances of weight 0, if it is another, such as that of the boxes alone.

    Returns:
        Query and instance of every pair, min(Q, N) of them, sorted by queries.

    Raises:
        ImportError: scipy isn't installed.

    Example:
        >>> cost = torch.tensor([[0.0, 0.1], [1.0, 2.0], [3.0, 0.2]])
        >>> queries, instances = match_queries(cost, torch.tensor([1.0, 0.5]))
        >>> queries.tolist(), instances.tolist()
        ([0, 2], [0, 1])
    """
    assign = require("scipy.optimize", "train").linear_sum_assignment
    most = torch.finfo(torch.float32).max
    cost, region_cost = (
        torch.nan_to_num(one.detach().float(), nan=most, posinf=most, neginf=most).double().cpu()
        for one in (cost, cost if region_cost is None else region_cost)
    )
    weights = weights.detach().double().cpu()
    found, others = torch.where(weights > 0)[0], torch.where(weights <= 0)[0]
    queries, columns = map(torch.as_tensor, assign(weighted_matching_cost(cost[:, found], weights[found]).numpy()))
    instances = found[columns]
    if len(others):
        free = torch.ones(len(cost), dtype=torch.bool)
        free[queries] = False
        rest = torch.where(free)[0]
        rows, columns = map(torch.as_tensor, assign(region_cost[rest][:, others].numpy()))
        queries, instances = torch.cat([queries, rest[rows]]), torch.cat([instances, others[columns]])
    order = queries.argsort()
    return queries[order], instances[order]


def pair_weights(pairs: Pairs, weights: Sequence[Float[Tensor, " n"]]) -> Float[Tensor, " m"]:
    """The weight of every matched pair of a batch, image after image.

    For the box terms of a criterion of your own: ``(l1 * pair_weights(indices, weights)[:, None]).sum() / num_boxes``.

    Example:
        >>> pairs = [(torch.tensor([2, 5]), torch.tensor([1, 0]))]
        >>> pair_weights(pairs, [torch.tensor([1.0, 0.5])]).tolist()
        [0.5, 1.0]
    """
    return torch.cat([weight[instances.to(weight.device)] for (_, instances), weight in zip(pairs, weights)])


def query_weights(pairs: Pairs, weights: Sequence[Float[Tensor, " n"]], queries: int) -> Float[Tensor, "b q"]:
    """The weight of every query: its instance's, 1 for those without an instance.

    For the class terms of a criterion of your own.

    Example:
        >>> pairs = [(torch.tensor([2, 0]), torch.tensor([1, 0]))]
        >>> query_weights(pairs, [torch.tensor([0.0, 0.5])], 4).tolist()
        [[0.0, 1.0, 0.5, 1.0]]
    """
    result = torch.ones((len(pairs), queries), dtype=weights[0].dtype, device=weights[0].device)
    for row, (own, instances), weight in zip(result, pairs, weights):
        row[own.to(row.device)] = weight[instances.to(weight.device)]
    return result
