"""Keypoints under a plan: mapped with their layer, hidden where their layer doesn't show."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Integer
from torch import Tensor

from cutmix_dense.arrays.host import sent
from cutmix_dense.plan import MixPlan
from cutmix_dense.plan.ownership import shows_at

FlipPairs = Sequence[Sequence[int]] | Integer[np.ndarray, "_pairs 2"]
"""(left, right) indices of the keypoints that swap in a mirrored image, such as left and right elbow."""


def mix_keypoints(
    keypoints: Float[Tensor, "n k c"],
    plan: MixPlan,
    output: Int[Tensor, " n"],
    layer: Int[Tensor, " n"],
    flip_pairs: FlipPairs | None = None,
    untouched: Bool[Tensor, " n"] | None = None,
) -> tuple[Float[Tensor, "n k c"], Bool[Tensor, "n k"]]:
    """Map keypoints onto the canvas, and mark which of them are visible.

    A keypoint shows if its layer owns the pixel that holds it. Hidden (x, y, v) rows, the form of COCO and torchvision,
    become (0, 0, 0), "not labelled"; rows with v = 0 stay hidden. (x, y) rows are mapped wherever they fall.

    Keypoints of untouched instances stay bit-identical, even beyond the canvas, unless they lie on a pixel of another
    layer or of fill, off the box or mask of their instance: those are hidden.

    Args:
        keypoints: (N, K, 2) or (N, K, 3), x and y in pixels of their source images.
        plan: on the keypoints' device.
        output: output of each instance.
        layer: layer of each instance in that output.
        flip_pairs: (left, right) indices of keypoints that swap where their layer is mirrored left to right.
        untouched: instances that kept all of their box or mask under the identity map; default none.

    Returns:
        The mapped keypoints, and whether each shows.

    Raises:
        ValueError: the keypoints have another shape, or the plan three axes.

    Example:
        >>> box, sizes = torch.tensor([[[0, 0, 8, 6]]]), torch.tensor([[8, 12], [8, 12]])
        >>> plan = MixPlan.from_rectangles(torch.tensor([[0, 1]]), box, sizes)
        >>> base, points = torch.tensor([0]), torch.tensor([[[2.0, 3.0], [9.0, 3.0]]])
        >>> mix_keypoints(points, plan, output=base, layer=base)[1].tolist()  # the left half shows the partner
        [[False, True]]
    """
    if plan.ndim != 2:
        raise ValueError(f"keypoints are mixed under plans of two axes only, got one of {plan.ndim}")
    if keypoints.ndim != 3 or keypoints.shape[2] not in (2, 3):
        raise ValueError(f"keypoints must have shape (N, K, 2) or (N, K, 3), got {tuple(keypoints.shape)}")
    if flip_pairs is not None and len(flip_pairs):
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
    """Map points that belong to no instance onto the canvas, and mark which of them are visible.

    A point is the index of its pixel: where its layer is mirrored, pixel ``j`` of ``n`` goes to ``n - 1 - j``.

    Args:
        points: x and y in pixels of their source images.
        plan: on the points' device.
        output: output of each point.
        layer: layer of each point in that output.
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
    """Map direction and size of oriented points onto the canvas; unchanged under the identity map.

    Args:
        angles: radians from the x axis.
        sizes: scaled by the larger of the two scales of their layer.
        plan: on the points' device.
        output: output of each point.
        layer: layer of each point in that output.
    """
    scale = plan.scale[output, layer].to(torch.float64)
    mirrored = scale < 0
    turned = torch.where(mirrored[:, 1], torch.pi - angles, angles)
    turned = torch.where(mirrored[:, 0], -turned, turned)
    return torch.where(mirrored.any(dim=1), turned.remainder(2 * torch.pi), angles), sizes * scale.abs().amax(dim=1)


def swap_pairs(rows: Tensor, flip_pairs: FlipPairs) -> Tensor:
    """Swap the keypoints of each pair in (N, K, …).

    Raises:
        ValueError: an index is out of range.
    """
    order = list(range(rows.shape[1]))
    for left, right in flip_pairs:
        if not (0 <= left < len(order) and 0 <= right < len(order)):
            raise ValueError(f"flip_pairs must name keypoints in 0 … {len(order) - 1}, got {(left, right)}")
        order[left], order[right] = right, left
    return rows.index_select(1, sent(np.array(order, dtype=np.int64), rows.device))
