"""Geometry of polygons: exact areas within rectangles, and smallest rotated rectangles round points."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

Array = np.ndarray

GRID = 2.0**24
"""Points closer than 1/GRID pixels are one: a corner computed in two ways differs in its last digits."""

EVEN = 1e-5
"""Relative difference up to which areas of rectangles count as equal, so that no box turns for rounding errors."""


def signed_areas(corners: Float[Array, "n k 2"]) -> Float[Array, " n"]:
    """Area of polygons, square pixels; positive if the corners run clockwise on the screen (y points down)."""
    x, y = np.moveaxis(corners - corners[:, :1], 2, 0)  # moved to the origin, where no digits are lost
    areas: Array = 0.5 * (x * np.roll(y, -1, axis=1) - np.roll(x, -1, axis=1) * y).sum(axis=1)
    return areas


def clipped_areas(
    corners: Float[Array, "n k 2"], low: Float[Array, "n 2"], high: Float[Array, "n 2"]
) -> Float[Array, " n"]:
    """Exact area of each polygon within its rectangle, by Green's theorem, edge by edge.

    At every x, the heights of the polygon's edges, clipped to the rectangle's y range, add up with their signs to the
    length inside. The clipped height of an edge is piecewise linear, so its integral is exact.

    Args:
        corners: (x, y) in pixels, in either direction; edges may not cross.
        low: (x, y) of the rectangle's lower ends.
        high: (x, y) of its upper ends; the area is 0 where they aren't above ``low``.
    """
    size = np.maximum(high - low, 0)
    x, y = np.moveaxis(corners - low[:, None], 2, 0)
    x_next, y_next = np.roll(x, -1, axis=1), np.roll(y, -1, axis=1)
    width, height = size[:, 0, None], size[:, 1, None]
    start, end = np.clip(x, 0, width), np.clip(x_next, 0, width)
    run, rise = x_next - x, y_next - y
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        y_start = y + rise * np.where(run != 0, np.clip((start - x) / run, 0, 1), 0)
        y_end = y_next - rise * np.where(run != 0, np.clip((x_next - end) / run, 0, 1), 0)
    lower, upper = np.minimum(y_start, y_end), np.maximum(y_start, y_end)
    first, last = np.clip(lower, 0, height), np.clip(upper, 0, height)
    beyond = np.maximum(upper - np.maximum(lower, height), 0)
    span = upper - lower
    inside = beyond * height + (last - first) * (first + last) / 2
    mean = np.where(span > 0, inside / np.where(span > 0, span, 1), first)
    areas: Array = np.abs((mean * (end - start)).sum(axis=1))
    return areas


def clipped_points(
    corners: Float[Array, "n k 2"], low: Float[Array, "n 2"], high: Float[Array, "n 2"]
) -> tuple[Float[Array, "m 2"], Int[Array, " m"]]:
    """Points that span the part of each polygon within its rectangle: all its corners, perhaps others inside.

    Args:
        corners: (x, y) in pixels; edges may not cross.
        low: (x, y) of the rectangle's lower ends.
        high: (x, y) of its upper ends.

    Returns:
        The points, and the index of each point's polygon.
    """
    following = np.roll(corners, -1, axis=1)
    sides = np.stack([low, high], axis=1)  # (n, 2, 2): ends × axes
    found = [corners]
    for axis in range(2):
        run = (following - corners)[:, :, None, axis]
        with np.errstate(divide="ignore", invalid="ignore"):
            at = (sides[:, None, :, axis] - corners[:, :, None, axis]) / run  # (n, k, ends)
        at = np.where((run != 0) & (at >= 0) & (at <= 1), at, np.nan)[..., None]
        crossing = corners[:, :, None] + at * (following - corners)[:, :, None]
        found.append(crossing.reshape(len(corners), 2 * corners.shape[1], 2))
    box = np.stack([sides[:, [0, 1, 1, 0], 0], sides[:, [0, 0, 1, 1], 1]], axis=2)
    found.append(np.where(_holds(corners, box)[..., None], box, np.nan))
    points = np.concatenate(found, axis=1)
    # an edge through a corner of the rectangle may miss it by a rounding error
    within = ((points >= low[:, None] - 1 / GRID) & (points <= high[:, None] + 1 / GRID)).all(axis=2)
    which, slot = np.nonzero(within)
    return np.clip(points[which, slot], low[which], high[which]), which


def _holds(corners: Float[Array, "n k 2"], points: Float[Array, "n m 2"]) -> np.ndarray:
    """(n, m), whether points lie inside polygons; undefined for points on an edge."""
    x, y = np.moveaxis(corners[:, None], 3, 0)
    x_next, y_next = np.roll(x, -1, axis=2), np.roll(y, -1, axis=2)
    px, py = points[..., 0, None], points[..., 1, None]
    level = (y > py) != (y_next > py)
    with np.errstate(divide="ignore", invalid="ignore"):
        crossed = px < x + (py - y) / (y_next - y) * (x_next - x)
    holds: Array = (level & crossed).sum(axis=2) % 2 == 1
    return holds


def smallest_rectangles(
    points: Float[Array, "m 2"], group: Int[Array, " m"], near: Float[Array, "n 4 2"]
) -> Float[Array, "n 4 2"]:
    """The rotated rectangle of least area round the points of each group; sides are exact to 1e-7 pixels.

    One side lies on the convex hull (Freeman and Shapira 1975), so every side of the hull is tried. Of the four
    possible first corners, the one whose first side turns least from that of ``near`` is taken, so that width and
    height keep their meaning; among equal rectangles, the one turned least.

    Args:
        points: (x, y) in pixels.
        group: group of each point.
        near: corners of a polygon per group; the result has its direction and orientation.

    Returns:
        The corners; NaN for a group whose points lie on one line.
    """
    result = np.full(near.shape, np.nan)
    points, group, sides, owner = _hulls(points, group)
    if not len(sides):
        return result
    direction = sides / np.hypot(*sides.T)[:, None]
    counts = np.bincount(group, minlength=len(near))
    repeats = counts[owner]
    offset = repeats.cumsum() - repeats
    each = np.arange(len(owner)).repeat(repeats)  # pairs every side of a hull with every point of it
    point = points[(counts.cumsum() - counts)[owner][each] + np.arange(len(each)) - offset[each]]
    along = (point * direction[each]).sum(axis=1)
    across = point[:, 1] * direction[each, 0] - point[:, 0] * direction[each, 1]
    ends = np.stack([(np.minimum.reduceat(p, offset), np.maximum.reduceat(p, offset)) for p in (along, across)])
    length = ends[:, 1] - ends[:, 0]

    first = near[:, 1] - near[:, 0]
    wanted = np.arctan2(first[:, 1], first[:, 0])[owner]
    turn = (wanted - np.arctan2(direction[:, 1], direction[:, 0])) / (np.pi / 2)
    quarters = np.round(turn)
    rank = length.prod(axis=0) * (1 + EVEN * np.abs(turn - quarters))
    order = np.lexsort((rank, owner))
    which, place = np.unique(owner[order], return_index=True)
    best = order[place]

    direction, quarters = direction[best], quarters[best].astype(np.int64) % 4
    centre = ends[:, :, best].mean(axis=1)
    middle = centre[0, :, None] * direction + centre[1, :, None] * _turned(direction)
    half = np.where(quarters % 2 == 0, length[:, best], length[::-1, best]).T / 2
    for quarter in (1, 2, 3):
        direction = np.where((quarters >= quarter)[:, None], _turned(direction), direction)
    sense = np.where(signed_areas(near)[which] < 0, -1, 1)[:, None]
    u = direction * half[:, :1]
    v = sense * _turned(direction) * half[:, 1:]
    result[which] = np.stack([middle - u - v, middle + u - v, middle + u + v, middle - u + v], axis=1)
    return result


def _turned(vectors: Float[Array, "n 2"]) -> Float[Array, "n 2"]:
    """Vectors turned by a quarter, from x to y."""
    return np.stack([-vectors[:, 1], vectors[:, 0]], axis=1)


def _hulls(
    points: Float[Array, "m 2"], group: Int[Array, " m"]
) -> tuple[Float[Array, "k 2"], Int[Array, " k"], Float[Array, "e 2"], Int[Array, " e"]]:
    """Corners and sides (as vectors) of the convex hulls, each with its group, in order of groups.

    Andrew's monotone chains (1979) for all groups at once: a point on the wrong side of the line between its neighbours
    is on no chain, whatever happens to the neighbours, so all such points are removed together.
    """
    points = np.round(points * GRID) / GRID
    order = np.lexsort((points[:, 1], points[:, 0], group))
    points, group = points[order], group[order]
    if len(points):
        new = np.concatenate([[True], (points[1:] != points[:-1]).any(axis=1) | (group[1:] != group[:-1])])
        points, group = points[new], group[new]
    on_hull = np.zeros(len(points), dtype=bool)
    sides, owner = [], []
    for sense in (1, -1):
        chain = np.arange(len(points))
        while len(chain) > 2:
            before, here, after = chain[:-2], chain[1:-1], chain[2:]
            one, two = points[here] - points[before], points[after] - points[here]
            outside = sense * (one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]) > 0
            keep = outside | (group[before] != group[here]) | (group[here] != group[after])
            if keep.all():
                break
            chain = chain[np.concatenate([[True], keep, [True]])]
        on_hull[chain] = True
        same = group[chain[1:]] == group[chain[:-1]]
        sides.append((points[chain[1:]] - points[chain[:-1]])[same])
        owner.append(group[chain[1:]][same])
    side, owners = np.concatenate(sides), np.concatenate(owner)
    flat = np.bincount(group[on_hull], minlength=int(group.max(initial=-1)) + 1) < 3
    proper = ~flat[owners]
    side, owners = side[proper], owners[proper]
    order = np.argsort(owners, kind="stable")
    return points[on_hull], group[on_hull], side[order], owners[order]
