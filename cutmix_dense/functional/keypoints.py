"""Keypoints under a plan: mapped with their layer, hidden where another one shows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cutmix_dense.arrays.host import sent
from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.ownership import shows_at

__all__ = ["mix_keypoints", "mix_points", "mix_poses", "swap_pairs"]


def mix_keypoints(
    keypoints: Float[Tensor, "n k c"],
    plan: MixPlan,
    output: Int[Tensor, " n"],
    layer: Int[Tensor, " n"],
    flip_pairs: Sequence[tuple[int, int]] | None = None,
    untouched: Bool[Tensor, " n"] | None = None,
) -> tuple[Float[Tensor, "n k c"], Bool[Tensor, "n k"]]:
    """Keypoints on the canvas, and which of them show.

    A keypoint shows when its layer owns the pixel that holds it. Of (x, y, v) rows, as COCO and torchvision have them,
    a hidden one becomes (0, 0, 0), "not labelled"; one with v = 0 stays so. Of (x, y) rows the coordinates are mapped
    wherever they fall, and visibility is told apart.

    Keypoints of an untouched instance stay bit by bit, also beyond the canvas. One that lies off the box or mask of its
    instance, where a pixel of another layer or of nobody shows, is hidden all the same.

    Args:
        keypoints: (N, K, 2) or (N, K, 3), x and y in pixels of their source images.
        plan: on the keypoints' device.
        output: the output that each instance is considered in.
        layer: its layer there.
        flip_pairs: keypoints that change names where their layer is mirrored left to right, as (left, right) indices.

        untouched: instances that kept all of their box or mask under the identity map; default none.

    Raises:
        ValueError: rows that are neither.
    """
    if plan.ndim != 2:
        raise ValueError(f"keypoints are mixed under plans of two axes only, got one of {plan.ndim}")
    if keypoints.ndim != 3 or keypoints.shape[2] not in (2, 3):
        raise ValueError(f"keypoints must have shape (N, K, 2) or (N, K, 3), got {tuple(keypoints.shape)}")
    if flip_pairs:
        mirrored = plan.scale[output, layer, -1] < 0
        keypoints = torch.where(mirrored[:, None, None], swap_pairs(keypoints, flip_pairs), keypoints)
    count = keypoints.shape[1]
    scale = plan.scale[output, layer].flip(1)[:, None].to(torch.float64)
    shift = plan.shift[output, layer].flip(1)[:, None].to(torch.float64)
    points = keypoints[..., :2].to(torch.float64) * scale + shift
    flat = points.reshape(-1, 2).flip(1)
    finite = flat.isfinite().all(dim=1)
    each = [index.repeat_interleave(count) for index in (output, layer)]
    shows = (shows_at(plan, torch.where(finite[:, None], flat, -1), *each) & finite).reshape(len(keypoints), count)
    stays = torch.zeros_like(shows)
    if untouched is not None:
        on_canvas = (finite[:, None] & (flat >= 0) & (flat < plan.canvas[each[0]])).all(dim=1).reshape(shows.shape)
        stays = untouched[:, None] & (shows | ~on_canvas)
    mixed = points.to(keypoints.dtype)
    if keypoints.shape[2] == 3:
        flags = keypoints[..., 2:]
        shows = shows & (flags[..., 0] > 0)
        mixed = torch.where(shows[..., None], torch.cat([mixed, flags], dim=2), 0).to(keypoints.dtype)
    return torch.where(stays[..., None], keypoints, mixed), shows | stays


def mix_points(
    points: Float[Tensor, "n 2"], plan: MixPlan, output: Int[Tensor, " n"], layer: Int[Tensor, " n"]
) -> tuple[Float[Tensor, "n 2"], Bool[Tensor, " n"]]:
    """Points that stand for themselves, not for an instance, on the canvas, and which of them show.

    A point names the pixel that holds it, as pixel indices do: where its layer is mirrored, pixel ``j`` of ``n`` goes
    to ``n - 1 - j``.

    Args:
        points: x and y in pixels of their source images.
        plan: on the points' device.
        output: the output that each point is considered in.
        layer: its layer there.
    """
    mapped, _ = mix_keypoints(points[:, None].to(torch.float64), plan, output, layer)
    moved = mapped[:, 0] - (plan.scale[output, layer].flip(1) < 0).to(torch.float64)
    finite = moved.isfinite().all(dim=1)
    shows = shows_at(plan, torch.where(finite[:, None], moved.flip(1), -1), output, layer) & finite
    return moved.to(points.dtype), shows


def mix_poses(
    angles: Float[Tensor, " n"],
    sizes: Float[Tensor, " n"],
    plan: MixPlan,
    output: Int[Tensor, " n"],
    layer: Int[Tensor, " n"],
) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Direction and size of oriented points on the canvas; under the identity map they stay bit by bit.

    Args:
        angles: radians from the x axis.
        sizes: they grow by the larger of the two scales of their layer.
        plan: on the points' device.
        output: the output that each point is considered in.
        layer: its layer there.
    """
    scale = plan.scale[output, layer].to(torch.float64)
    mirrored = scale < 0
    turned = torch.where(mirrored[:, 1], torch.pi - angles, angles)
    turned = torch.where(mirrored[:, 0], -turned, turned)
    return torch.where(mirrored.any(dim=1), turned.remainder(2 * torch.pi), angles), sizes * scale.abs().amax(dim=1)


def swap_pairs(rows: Tensor, flip_pairs: Sequence[tuple[int, int]]) -> Tensor:
    """(N, K, …) with the keypoints of each pair exchanged.

    Raises:
        ValueError: an index that isn't there.
    """
    order = list(range(rows.shape[1]))
    for left, right in flip_pairs:
        if not (0 <= left < len(order) and 0 <= right < len(order)):
            raise ValueError(f"flip_pairs must name keypoints in 0 … {len(order) - 1}, got {(left, right)}")
        order[left], order[right] = right, left
    return rows.index_select(1, sent(np.array(order, dtype=np.int64), rows.device))
