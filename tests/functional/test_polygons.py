"""Areas of polygons within rectangles, and smallest rectangles round points: by hand, by properties, against OpenCV."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cutmix_dense.functional.polygons import clipped_areas, clipped_points, signed_areas, smallest_rectangles


def rectangle(cx, cy, width, height, degrees):
    """Corners of a rotated rectangle in torchvision's order, from the definition of the angle."""
    angle = np.deg2rad(degrees)
    u, v = np.array([np.cos(angle), -np.sin(angle)]), np.array([np.sin(angle), np.cos(angle)])
    return np.array(
        [[cx, cy] + sx * u * width / 2 + sy * v * height / 2 for sx, sy in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    )


def clipped(corners, low, high):
    return clipped_areas(np.array([corners], float), np.array([low], float), np.array([high], float))[0]


DIAMOND = [[10, 5], [15, 10], [10, 15], [5, 10]]
DART = [[0, 0], [8, 4], [0, 8], [4, 4]]  # not convex


class TestAreas:
    @pytest.mark.parametrize(
        ("corners", "low", "high", "area"),
        [
            (DIAMOND, (0, 0), (30, 20), 50),
            (DIAMOND[::-1], (0, 0), (30, 20), 50),
            (DIAMOND, (0, 0), (10, 20), 25),
            (DIAMOND, (0, 0), (10, 10), 12.5),
            (DIAMOND, (0, 0), (8, 20), 9),
            (DIAMOND, (9, 9), (11, 11), 4),
            (DIAMOND, (0, 0), (7, 7), 0),  # in the bounds, not in the diamond
            (DIAMOND, (0, 0), (7.5, 7.5), 0),  # touches one side at a point
            (DIAMOND, (20, 0), (30, 20), 0),
            (DIAMOND, (12, 12), (11, 11), 0),  # no rectangle
            (DART, (0, 0), (8, 8), 16),
            (DART, (0, 0), (4, 8), 8),
            (DART, (0, 3), (3, 5), 0),
            ([[2, 3], [9, 3], [9, 8], [2, 8]], (4, 1), (20, 5.5), 12.5),
        ],
    )
    def test_by_hand(self, corners, low, high, area):
        assert clipped(corners, low, high) == area

    @settings(deadline=None, max_examples=200)
    @given(
        st.tuples(
            *(st.floats(-20, 40) for _ in range(2)), *(st.floats(0.1, 40) for _ in range(2)), st.floats(-400, 400)
        ),
        st.lists(st.integers(-30, 60), max_size=4),
        st.lists(st.integers(-30, 60), max_size=4),
    )
    def test_cells_of_a_grid_add_up(self, box, columns, rows):
        corners = rectangle(*box)
        xs, ys = ([-100, *sorted(set(edges)), 100] for edges in (columns, rows))
        cells = [((a, c), (b, d)) for a, b in itertools.pairwise(xs) for c, d in itertools.pairwise(ys)]
        low, high = (np.array(ends, float) for ends in zip(*cells))
        areas = clipped_areas(np.broadcast_to(corners, (len(cells), 4, 2)), low, high)
        assert (areas >= 0).all()
        assert areas.sum() == pytest.approx(box[2] * box[3], rel=1e-12)
        assert abs(signed_areas(corners[None])[0]) == pytest.approx(box[2] * box[3], rel=1e-12)

    def test_far_from_the_origin(self):
        corners = rectangle(0, 0, 3, 2, 30)
        near = clipped(corners, (-1, -1), (1, 1))
        assert clipped(corners + 2.0**20, (2.0**20 - 1,) * 2, (2.0**20 + 1,) * 2) == pytest.approx(near, rel=1e-9)


class TestPoints:
    @settings(deadline=None, max_examples=200)
    @given(
        st.tuples(*(st.floats(0, 20) for _ in range(2)), *(st.floats(0.5, 30) for _ in range(2)), st.floats(-180, 180)),
        st.tuples(*(st.integers(-5, 20) for _ in range(2)), *(st.integers(1, 20) for _ in range(2))),
    )
    def test_their_hull_has_the_clipped_area(self, box, window):
        cv2 = pytest.importorskip("cv2")
        corners, low = rectangle(*box), np.array(window[:2], float)
        high = low + window[2:]
        points, which = clipped_points(corners[None], low[None], high[None])
        assert (which == 0).all()
        assert ((points >= low) & (points <= high)).all()
        area = clipped(corners, low, high)
        hull = cv2.contourArea(cv2.convexHull((points - low).astype(np.float32))) if len(points) > 2 else 0
        assert hull == pytest.approx(area, abs=1e-3)

    def test_an_edge_through_a_corner(self):
        points, _ = clipped_points(np.array([DIAMOND], float), np.array([[0, 7.5]]), np.array([[7.5, 20.0]]))
        assert {(5.0, 10.0), (7.5, 7.5), (7.5, 12.5)} <= set(map(tuple, points.tolist()))


class TestSmallest:
    def one(self, points, near):
        points = np.array(points, float)
        return smallest_rectangles(points, np.zeros(len(points), dtype=int), np.array([near], float))[0]

    def test_a_rectangle_comes_back_with_its_own_first_corner(self):
        for box in [(10, 8, 6, 3, 25), (10, 8, 3, 6, 25), (10, 8, 6, 3, 115), (10, 8, 6, 3, -155), (5, 5, 4, 4, 0)]:
            corners = rectangle(*box)
            for order in (corners, corners[[2, 0, 3, 1]]):
                np.testing.assert_allclose(self.one(order, corners), corners, atol=1e-6)
            mirrored = corners[[1, 0, 3, 2]]
            np.testing.assert_allclose(self.one(corners, mirrored), mirrored, atol=1e-6)

    def test_by_hand(self):
        # a square of side 5, and a point in it
        square = [[0, 0], [4, 3], [1, 7], [-3, 4]]
        np.testing.assert_allclose(self.one([*square, [1, 3]], square), square, atol=1e-6)
        # a triangle on its long side
        found = self.one([[0, 4], [10, 4], [5, 2]], rectangle(0, 0, 1, 1, 3))
        np.testing.assert_allclose(found, [[0, 2], [10, 2], [10, 4], [0, 4]], atol=1e-6)

    def test_groups_without_a_hull_are_nan(self):
        near = np.zeros((4, 4, 2)) + rectangle(0, 0, 2, 1, 0)
        points = np.array([[0, 0], [1, 1], [2, 2], [0, 0], [2, 0], [2, 1], [0, 1], [5, 5]], float)
        found = smallest_rectangles(points, np.array([1, 1, 1, 2, 2, 2, 2, 3]), near)
        assert np.isnan(found[[0, 1, 3]]).all()
        np.testing.assert_allclose(found[2], [[0, 0], [2, 0], [2, 1], [0, 1]], atol=1e-6)

    def test_against_opencv(self):
        cv2 = pytest.importorskip("cv2")
        rng = np.random.default_rng(3)
        sizes = rng.integers(3, 40, 300)
        group = np.arange(300).repeat(sizes)
        points = rng.normal(size=(len(group), 2)) * rng.uniform(1, 20, (300, 2))[group]
        points[::5] = points[::5].round()
        near = np.stack([rectangle(0, 0, 2, 1, r) for r in rng.uniform(-180, 180, 300)])
        found = smallest_rectangles(points, group, near)
        for index in range(300):
            own = points[group == index]
            (_, sides, _) = cv2.minAreaRect(own.astype(np.float32))
            u, v = found[index, 1] - found[index, 0], found[index, 3] - found[index, 0]
            assert abs(u[0] * v[1] - u[1] * v[0]) == pytest.approx(sides[0] * sides[1], rel=1e-4)
            for side in (u, v):
                share = (own - found[index, 0]) @ side / (side @ side)
                assert share.min() == pytest.approx(0, abs=1e-6)
                assert share.max() == pytest.approx(1, abs=1e-6)
            first = near[index, 1] - near[index, 0]
            assert u @ first >= np.hypot(*u) * np.hypot(*first) * (np.sqrt(0.5) - 1e-9)
