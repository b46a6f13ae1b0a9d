"""Rotated boxes: by hand, against torchvision's own flips and resize, and against the coded image.

The mixed image of coded pixels proves which image owns each pixel. From that, two oracles. The raster: every pixel is
sampled K × K times, each sample is carried back into its source image and tested against the box there; a sample stands
for 1/K² pixels, so an area is wrong by at most the samples along the outline: half of the perimeter times K⁻¹ is
allowed, and K = 12. The clipper: Sutherland and Hodgman's, in plain loops, cuts the box to every owned pixel by itself.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from oracle import FILL, coded_pool, decode
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as tvf

import cutmix_dense as cd
from cutmix_dense import MixPlan
from cutmix_dense.functional import mix_instances, mix_padded, mix_pixels, object_pixels

if not hasattr(tv_tensors.BoundingBoxFormat, "CXCYWHR"):
    pytest.skip("this torchvision has no rotated boxes", allow_module_level=True)

Format = tv_tensors.BoundingBoxFormat
FORMATS = ("XYXYXYXY", "CXCYWHR", "XYWHR")
SIZE = (20, 30)
K = 12
EMPTY: dict = {}


def boxes_of(rows, form="CXCYWHR", size=SIZE, dtype=torch.float64):
    """Boxes given as centre, sides and angle, in a format."""
    plain = torch.tensor(rows, dtype=torch.float64).reshape(-1, 5)
    plain = tvf.convert_bounding_box_format(plain, old_format=Format.CXCYWHR, new_format=Format[form])
    return tv_tensors.BoundingBoxes(plain.to(dtype), format=form, canvas_size=size)


def target_of(*rows, form="CXCYWHR", size=SIZE, dtype=torch.float64, **fields):
    return {"boxes": boxes_of(rows, form, size, dtype), "labels": torch.arange(1, len(rows) + 1), **fields}


def corners_of(boxes):
    """(N, 4, 2) corners, from the definition of the formats."""
    rows = boxes.as_subclass(torch.Tensor).double()
    if boxes.format == Format.XYXYXYXY:
        return rows.reshape(-1, 4, 2).numpy()
    x, y, w, h, r = rows.T
    r = torch.deg2rad(r)
    u = torch.stack([r.cos(), -r.sin()], 1) * w[:, None]
    v = torch.stack([r.sin(), r.cos()], 1) * h[:, None]
    first = torch.stack([x, y], 1)
    first = first - (u + v) / 2 if boxes.format == Format.CXCYWHR else first
    return torch.stack([first, first + u, first + u + v, first + v], 1).numpy()


def plan_of(*rectangles, sizes=(SIZE, SIZE), source=((0, 1),), **kwargs):
    return MixPlan.from_rectangles(
        torch.tensor(source), torch.tensor([list(rectangles)]).reshape(1, -1, 4).long(), torch.tensor(sizes), **kwargs
    )


def placed(scale, shift, sizes=(SIZE, SIZE), rectangle=(0, 0, 20, 30)):
    """Plan of the second image, placed (y, x), over the whole of the first or a part of it."""
    scales, shifts = torch.ones(1, 2, 2), torch.zeros(1, 2, 2)
    scales[0, 1], shifts[0, 1] = torch.tensor(scale), torch.tensor(shift)
    return plan_of(rectangle, sizes=sizes, scale=scales, shift=shifts)


def turned(a, b):
    """Whether angles are equal but for whole turns."""
    return ((a - b + 180) % 360 - 180).abs().max().item() < 1e-4


DIAMOND = [10, 10, 50**0.5, 50**0.5, 45]  # corners (10, 5), (15, 10), (10, 15), (5, 10)
TILTED = [12, 10, 10, 5, math.degrees(math.atan2(3, 4))]  # sides along (4, -3) and (3, 4): corners at half pixels


class TestByHand:
    @pytest.mark.parametrize("form", FORMATS)
    @pytest.mark.parametrize(
        ("rectangle", "visibility"),
        [
            ((0, 10, 20, 30), 0.5),
            ((0, 10, 10, 30), 0.75),
            ((0, 8, 20, 30), 0.18),
            ((9, 9, 11, 11), 0.92),
            ((0, 0, 7, 7), 1),  # in its bounds, but beside it
            ((15, 0, 20, 30), 1),
        ],
    )
    def test_a_diamond(self, form, rectangle, visibility):
        target = target_of(DIAMOND, form=form)
        for rotated in ("keep", "refit"):
            (mixed,) = mix_instances([target, EMPTY], plan_of(rectangle), rotated=rotated)
            assert mixed["visibility"].tolist() == pytest.approx([visibility], abs=1e-7)
            assert mixed["boxes"].format == Format[form]
            assert mixed["boxes"].canvas_size == SIZE
            if rotated == "keep" or visibility == 1:
                assert torch.equal(mixed["boxes"], target["boxes"])
            elif visibility > 0.4:  # no smaller one encloses half of it
                np.testing.assert_allclose(corners_of(mixed["boxes"]), corners_of(target["boxes"]), atol=1e-6)

    @pytest.mark.parametrize("form", FORMATS)
    def test_a_tilted_box_is_refitted(self, form):
        # corners (6.5, 11), (14.5, 5), (17.5, 9), (9.5, 15); left of x = 9: (6.5, 11), (9, 9.125), (9, 43/3)
        target = target_of(TILTED, form=form)
        np.testing.assert_allclose(
            corners_of(target["boxes"])[0], [[6.5, 11], [14.5, 5], [17.5, 9], [9.5, 15]], atol=1e-12
        )
        base, height = 43 / 3 - 9.125, 2.5
        (mixed,) = mix_instances([target, EMPTY], plan_of((0, 9, 20, 30)), rotated="refit", min_visibility=0)
        assert mixed["visibility"].tolist() == pytest.approx([base * height / 2 / 50], abs=1e-7)
        corners = corners_of(mixed["boxes"])[0]
        sides = np.hypot(*(np.roll(corners, -1, axis=0) - corners).T)
        # a right angle at (6.5, 11): all rectangles with a side on the triangle are equal, so it keeps its direction
        np.testing.assert_allclose(sides, [3.125, 25 / 6] * 2, atol=1e-6)
        np.testing.assert_allclose(corners[0], [6.5, 11], atol=1e-6)
        if form != "XYXYXYXY":
            assert mixed["boxes"][0, 4].item() == pytest.approx(TILTED[4], abs=1e-5)

    def test_the_refit_may_turn(self):
        # a thin diagonal, of which a corner of the image is left: what shows is longest along the border
        (mixed,) = mix_instances(
            [target_of([15, 10, 30, 12, 45]), EMPTY], plan_of((0, 0, 16, 30)), rotated="refit", min_visibility=0
        )
        area = mixed["boxes"][0, 2:4].prod().item()
        assert area < mix_instances([target_of([15, 10, 30, 12, 45]), EMPTY], plan_of())[0]["boxes"][0, 2:4].prod()
        corners = corners_of(mixed["boxes"])[0]
        np.testing.assert_allclose(corners[:, 1].min(), 16, atol=1e-6)

    @pytest.mark.parametrize("quarters", range(-2, 3))
    def test_without_a_tilt_all_is_as_for_upright_boxes(self, quarters):
        rng = np.random.default_rng(quarters + 2)
        rows = np.concatenate([rng.uniform(0, 20, (20, 2)), rng.uniform(1, 15, (20, 2))], axis=1)
        degrees = np.full((20, 1), 90.0 * quarters)
        target = target_of(*np.concatenate([rows, degrees], axis=1).tolist(), dtype=torch.float64)
        half = rows[:, 2:] / 2 if quarters % 2 == 0 else rows[:, :1:-1] / 2
        upright = torch.from_numpy(np.concatenate([rows[:, :2] - half, rows[:, :2] + half], axis=1))
        for rectangle in ((0, 9, 20, 30), (7, 0, 20, 30), (0, 0, 20, 4), (3, 0, 20, 30)):
            plan = plan_of(rectangle)
            (mixed,) = mix_instances([target, EMPTY], plan, rotated="refit")
            (wanted,) = mix_instances([{"boxes": upright, "labels": target["labels"]}, EMPTY], plan)
            assert mixed["labels"].tolist() == wanted["labels"].tolist()
            np.testing.assert_allclose(mixed["visibility"], wanted["visibility"], atol=1e-6)
            corners = corners_of(mixed["boxes"])
            np.testing.assert_allclose(
                np.concatenate([corners.min(1), corners.max(1)], axis=1), wanted["boxes"], atol=1e-5
            )
            assert turned(mixed["boxes"][:, 4], torch.tensor(90.0 * quarters))


class TestMaps:
    @pytest.mark.parametrize("form", FORMATS)
    @pytest.mark.parametrize("flip", ["horizontal", "vertical", "both"])
    @pytest.mark.parametrize("rotated", ["keep", "refit"])
    def test_flips_are_torchvisions(self, form, flip, rotated):
        rows = [[12, 9, 8, 3, r] for r in (30, -30, 100, 179, 0, 90, -135)]
        target = target_of(*rows, form=form)
        wanted, scale, shift = target["boxes"], [1.0, 1.0], [0.0, 0.0]
        if flip != "vertical":
            wanted, scale[1], shift[1] = tvf.horizontal_flip(wanted), -1.0, 30.0
        if flip != "horizontal":
            wanted, scale[0], shift[0] = tvf.vertical_flip(wanted), -1.0, 20.0
        (mixed,) = mix_instances([EMPTY, target], placed(scale, shift), rotated=rotated)
        places = 8 if form == "XYXYXYXY" else 4
        np.testing.assert_allclose(mixed["boxes"][:, :places], wanted[:, :places], atol=1e-9)
        if form != "XYXYXYXY":
            assert turned(mixed["boxes"][:, 4], wanted[:, 4])
            if flip != "both":  # even the turn that it is given in
                np.testing.assert_allclose(mixed["boxes"][:, 4], wanted[:, 4], atol=1e-9)

    def test_an_angle_stays_in_its_turn(self):
        rows = [[12, 9, 8, 3, r] for r in (350.0, 200.0, -350.0, 720.0)]
        boxes = tv_tensors.BoundingBoxes(torch.tensor(rows), format="CXCYWHR", canvas_size=SIZE)
        (mixed,) = mix_instances([EMPTY, {"boxes": boxes}], placed([1.0, 1.0], [1.0, 2.0]))
        assert mixed["boxes"][:, 4].tolist() == [350, 200, -350, 720]
        assert mixed["boxes"][:, :4].tolist() == [[14, 10, 8, 3]] * 4

    @pytest.mark.parametrize("form", FORMATS)
    @pytest.mark.parametrize(("height", "width"), [(40, 60), (10, 45), (30, 15)])
    def test_scales_are_torchvisions_resize(self, form, height, width):
        # below -90 degrees torchvision 0.29 finds another box than for the same rectangle half a turn further
        rows = [[12, 9, 8, 3, r] for r in (30, -30, 100, 179, 0, 90, -75)]
        target = target_of(*rows, form=form)
        target["boxes"].clamping_mode = None
        plan = placed([height / 20, width / 30], [0.0, 0.0], ((height, width), SIZE), rectangle=(0, 0, height, width))
        for rotated in ("keep", "refit"):
            (mixed,) = mix_instances([EMPTY, target], plan, rotated=rotated)
            assert mixed["visibility"].tolist() == [1] * 7
            got = corners_of(mixed["boxes"])
            if form == "XYXYXYXY":  # holds the parallelogram
                np.testing.assert_allclose(got, corners_of(target["boxes"]) * [width / 30, height / 20], atol=1e-4)
                continue
            wanted = corners_of(tvf.resize(target["boxes"], [height, width]))
            for one, other in zip(got, wanted):  # theirs may begin at another corner
                gap = np.abs(one[:, None] - other[None]).max(axis=2)
                assert gap.min(axis=1).max() < 1e-3
                assert gap.min(axis=0).max() < 1e-3

    @pytest.mark.parametrize("form", FORMATS)
    def test_uniform_scales_keep_what_is_written(self, form):
        target = target_of([12, 9, 8, 3, 30], form=form)
        plan = placed([2.0, 2.0], [-3.0, 5.0], ((40, 70), SIZE), rectangle=(0, 0, 40, 70))
        (mixed,) = mix_instances([EMPTY, target], plan)
        np.testing.assert_allclose(corners_of(mixed["boxes"]), corners_of(target["boxes"]) * 2 + [5, -3], atol=1e-9)
        if form != "XYXYXYXY":
            np.testing.assert_allclose(mixed["boxes"][0, 2:], [16, 6, 30], atol=1e-9)


# ---------------------------------------------------------------------------------------------------------------------
# the raster


def samples(prov, number, layer, size):
    """Canvas points (m, 2) that image ``number`` of ``size`` owns, and where they lie in it."""
    rows, columns = np.nonzero(prov.source == number)
    inner = (np.arange(K) + 0.5) / K
    y = (rows[:, None, None] + inner[None, :, None] + 0 * inner).ravel()
    x = (columns[:, None, None] + 0 * inner[:, None] + inner).ravel()
    (sy, sx), (ty, tx) = layer
    points, at = np.stack([x, y], 1), np.stack([(x - tx) / sx, (y - ty) / sy], 1)
    within = ((at > 0) & (at < size[::-1])).all(axis=1)  # a scaled image may end within a pixel
    return points[within], at[within]


def inside(corners, points):
    """Whether points lie in a convex quadrilateral."""
    side = np.roll(corners, -1, axis=0) - corners
    turns = side[:, 0] * (points[:, None, 1] - corners[:, 1]) - side[:, 1] * (points[:, None, 0] - corners[:, 0])
    return (turns >= 0).all(axis=1) | (turns <= 0).all(axis=1)


def outside(corners, points):
    """How far the farthest of some points lies outside a rotated rectangle."""
    far = 0.0
    for axis in (corners[1] - corners[0], corners[3] - corners[0]):
        along = (points - corners[0]) @ axis / np.hypot(*axis)
        far = max(far, -along.min(), along.max() - np.hypot(*axis))
    return far


def least_area(points):
    """Area of the smallest rectangle at half degrees; an upper bound of the least."""
    angles = np.deg2rad(np.arange(0, 90, 0.5))
    along = points @ np.stack([np.cos(angles), np.sin(angles)])
    across = points @ np.stack([-np.sin(angles), np.cos(angles)])
    return (np.ptp(along, axis=0) * np.ptp(across, axis=0)).min()


def clip(polygon, x0, y0, x1, y1):
    """Corners of what of a convex polygon lies in a rectangle: one half plane after the other."""
    for axis, bound, sign in ((0, x0, 1), (0, x1, -1), (1, y0, 1), (1, y1, -1)):
        result = []
        for here, after in zip(polygon, polygon[1:] + polygon[:1]):
            a, b = sign * (here[axis] - bound), sign * (after[axis] - bound)
            if a >= 0:
                result.append(here)
            if (a < 0) != (b < 0):
                t = a / (a - b)
                result.append(tuple(p + t * (q - p) for p, q in zip(here, after)))
        polygon = result
    return polygon


def area_of(polygon):
    """Area by the shoelace formula."""
    return abs(sum(p[0] * q[1] - q[0] * p[1] for p, q in zip(polygon, polygon[1:] + polygon[:1]))) / 2


def owned_parts(prov, number, corners, layer, size):
    """What of a box on the canvas lies in each pixel that its image owns, slivers left out."""
    (sy, sx), (ty, tx) = layer
    xs, ys = sorted((tx, sx * size[1] + tx)), sorted((ty, sy * size[0] + ty))
    parts = []
    for row, column in zip(*(index.tolist() for index in np.nonzero(prov.source == number))):
        low, high = (max(column, xs[0]), max(row, ys[0])), (min(column + 1, xs[1]), min(row + 1, ys[1]))
        part = clip([tuple(corner) for corner in corners.tolist()], *low, *high)
        if len(part) > 2 and area_of(part) > 1e-6:
            parts.append(part)
    return parts


@st.composite
def mixes(draw):
    sizes = [(draw(st.integers(8, 26)), draw(st.integers(8, 30))) for _ in range(2)]
    number = st.integers(0, 26)
    rectangles = draw(st.lists(st.tuples(number, number, number, number), min_size=1, max_size=3))
    rectangles = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in rectangles]
    scale = draw(
        st.sampled_from([(1.0, 1.0), (-1.0, 1.0), (1.0, -1.0), (-1.0, -1.0), (2.0, 2.0), (0.5, 1.5), (-0.75, 1.0)])
    )
    shift = (
        float(draw(st.integers(-6, 6))) + (sizes[1][0] if scale[0] < 0 else 0),
        float(draw(st.integers(-6, 6))) + (sizes[1][1] if scale[1] < 0 else 0),
    )
    one = st.tuples(st.floats(-2, 30), st.floats(-2, 26), st.floats(1.5, 25), st.floats(1.5, 25), st.floats(-180, 180))
    rows = [draw(st.lists(one, max_size=4)) for _ in range(2)]
    mode = draw(st.sampled_from(["union", "xor"]))
    return sizes, rectangles, scale, shift, rows, mode


@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(mixes(), st.sampled_from(FORMATS))
def test_against_the_coded_image(mix, form):
    sizes, rectangles, scale, shift, rows, mode = mix
    scales, shifts = torch.ones(1, 2, 2), torch.zeros(1, 2, 2)
    scales[0, 1], shifts[0, 1] = torch.tensor(scale), torch.tensor(shift)
    plan = plan_of(*rectangles, sizes=sizes, scale=scales, shift=shifts, mode=mode)
    image = mix_pixels(coded_pool(sizes), plan, fill=FILL, interpolation="nearest")[0]
    prov = decode(image, sizes[0], sizes)
    targets = [target_of(*own, form=form, size=size) for own, size in zip(rows, sizes)]
    mixed = {
        rotated: mix_instances(
            targets, plan, min_visibility=0, min_size=0, rotated=rotated, on_filtered="ignore", return_report=True
        )
        for rotated in ("keep", "refit")
    }
    report = mixed["keep"][1]
    assert report.visibility.tolist() == mixed["refit"][1].visibility.tolist()
    layers = [((1.0, 1.0), (0.0, 0.0)), (scale, shift)]
    stretch = [1.0, abs(scale[0] * scale[1])]
    for row in report.rows():
        number = row["source"]
        layer, given = layers[number], corners_of(targets[number]["boxes"])[row["instance"]]
        points, at = samples(prov, number, layer, sizes[number])
        seen = points[inside(given, at)] if len(points) else points
        grid = np.stack(np.meshgrid(*((np.arange(n * K) + 0.5) / K for n in sizes[number][::-1])), -1).reshape(-1, 2)
        whole = inside(given, grid).sum() / K**2 * stretch[number]
        perimeter = np.hypot(*(np.roll(given, -1, axis=0) - given).T).sum() * max(map(abs, layer[0]))
        slack = 0.5 * perimeter / K
        if whole < 2 * slack:
            continue
        share = len(seen) / K**2 / whole
        assert row["visibility"] == pytest.approx(share, abs=2 * slack / whole)
        (sy, sx), (ty, tx) = layer
        moved = given * [sx, sy] + [tx, ty]
        parts = owned_parts(prov, number, moved, layer, sizes[number])
        full = clip([tuple(corner) for corner in given.tolist()], 0, 0, *sizes[number][::-1])
        exact = sum(map(area_of, parts)) / (area_of(full) * stretch[number])
        assert row["visibility"] == pytest.approx(exact, abs=2e-5)
        if row["outcome"] == "dropped":
            assert exact < 1e-5
            continue
        origin = [number, row["instance"]]
        kept, fitted = (
            corners_of(mixed[rotated][0][0]["boxes"])[mixed[rotated][0][0]["origin"].tolist().index(origin)]
            for rotated in ("keep", "refit")
        )
        if form == "XYXYXYXY" or abs(sx) == abs(sy):
            gap = np.abs(kept[:, None] - moved[None]).max(axis=2)
            assert gap.min(axis=1).max() < 1e-6
        assert inside(kept + 1e-9 * (kept - kept.mean(axis=0)), seen).all()
        if row["visibility"] == 1:
            continue
        points = np.array([point for part in parts for point in part])
        assert outside(fitted, points) < 1e-6, "the refitted box leaves out what is visible"
        u, v = fitted[1] - fitted[0], fitted[3] - fitted[0]
        assert abs(u @ v) < 1e-5 * (1 + np.hypot(*u) * np.hypot(*v))
        area = np.hypot(*u) * np.hypot(*v)
        assert area <= least_area(points) * (1 + 2e-5) + 1e-2, "a smaller box would do"


# ---------------------------------------------------------------------------------------------------------------------
# the rules


class TestRules:
    @pytest.mark.parametrize("form", FORMATS)
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
    def test_untouched_is_bit_identical_and_unfiltered(self, form, dtype):
        target = target_of([5.1, 6.7, 0.3, 0.2, 33], [2, 3, 8, 4, -271.3], [1, 1, 9, 5, 12], form=form, dtype=dtype)
        for rotated in ("keep", "refit"):
            (mixed,) = mix_instances([target, EMPTY], plan_of((0, 20, 20, 30)), min_size=6.0, rotated=rotated)
            assert mixed["boxes"].dtype == dtype
            assert torch.equal(mixed["boxes"], target["boxes"])
            assert mixed["visibility"].tolist() == [1, 1, 1]

    @pytest.mark.parametrize("form", FORMATS)
    def test_kept_is_bit_identical_wherever_it_is_cut(self, form):
        rng = np.random.default_rng(5)
        rows = np.concatenate(
            [rng.uniform(8, 18, (50, 2)), rng.uniform(6, 20, (50, 2)), rng.uniform(-400, 400, (50, 1))], 1
        )
        for dtype in (torch.float32, torch.float64):
            target = target_of(*rows.tolist(), form=form, dtype=dtype)
            (mixed,) = mix_instances([target, EMPTY], plan_of((0, 12, 20, 30)), min_visibility=0)
            assert len(mixed["boxes"]) > 30
            assert (mixed["visibility"] < 1).all()
            assert torch.equal(mixed["boxes"], target["boxes"][mixed["origin"][:, 1]])

    @pytest.mark.parametrize("form", FORMATS)
    def test_a_scaled_image_may_end_within_a_pixel(self, form):
        plan = placed([1.0, 0.75], [0.0, 0.2])  # 30 columns end at 22.7, and pixel 22 is owned
        (mixed,) = mix_instances([EMPTY, target_of([27, 10, 10, 6, 0], form=form)], plan, rotated="refit")
        assert mixed["visibility"].tolist() == [1]
        corners = corners_of(mixed["boxes"])[0]
        np.testing.assert_allclose([*corners.min(0), *corners.max(0)], [16.7, 7, 22.7, 13], atol=1e-6)

    def test_whole_is_what_lies_in_the_image(self):
        (mixed,) = mix_instances([target_of([0, 10, *DIAMOND[2:]]), EMPTY], plan_of((0, 3, 20, 30)))
        assert mixed["visibility"].tolist() == pytest.approx([1 - 4 / 25])

    def test_sides_are_the_boxs_own(self):
        target = target_of([10, 10, 12, 2, 45])  # its upright bounds are almost 10 wide and high
        for form in FORMATS:
            target["boxes"] = boxes_of([[10, 10, 12, 2, 45]], form)
            plan = plan_of((0, 11, 20, 30))
            assert len(mix_instances([target, EMPTY], plan, min_size=2.0 - 1e-9)[0]["boxes"]) == 1
            (mixed,), report = mix_instances([target, EMPTY], plan, min_size=2.1, return_report=True)
            assert len(mixed["boxes"]) == 0
            assert mixed["boxes"].shape == (0, 8 if form == "XYXYXYXY" else 5)
            assert report.counts() == {("dropped", "too small"): 1}
            for rotated, count in (("keep", 1), ("refit", 0)):  # 7 pixels of its length are left, or fewer
                (mixed,) = mix_instances([target, EMPTY], plan_of((0, 7, 20, 30)), min_visibility=0, rotated=rotated)
                assert len(mixed["boxes"]) == 1
                (mixed,) = mix_instances(
                    [target, EMPTY], plan_of((0, 6, 20, 30)), min_visibility=0, min_size=1.9, rotated=rotated
                )
                assert len(mixed["boxes"]) == count

    def test_area_visibility_and_ignored(self):
        target = target_of(
            DIAMOND, [25, 5, 4, 4, 10], area=torch.tensor([40.0, 12.0]), visibility=torch.tensor([0.5, 1.0])
        )
        (mixed,), report = mix_instances(
            [target, EMPTY], plan_of((0, 8, 20, 16)), min_visibility=0.2, on_filtered="ignore", return_report=True
        )
        assert mixed["labels"].tolist() == [2]
        assert mixed["ignored"]["labels"].tolist() == [1]
        assert mixed["ignored"]["area"].tolist() == pytest.approx([40 * 0.18])
        assert mixed["ignored"]["visibility"].tolist() == pytest.approx([0.09])
        assert mixed["ignored"]["boxes"].format == Format.CXCYWHR
        assert [row["reason"] for row in report.rows()] == ["low visibility", ""]
        (again,) = mix_instances([mixed, EMPTY], plan_of((0, 0, 20, 6)), rotated="refit")
        assert again["ignored"]["labels"].tolist() == [1]

    @pytest.mark.parametrize(
        ("row", "reason"),
        [
            ([10, 10, 0, 5, 20], "broken box"),
            ([10, 10, 5, -5, 20], "broken box"),
            ([50, 10, 9, 9, 45], "outside"),
            ([-5, 3, 3, 3, 45], "outside"),
            ([33, 23, 8, 2, 45], "outside"),  # past the corner, though its bounds reach in
        ],
    )
    def test_broken_boxes_are_dropped_and_reported(self, row, reason):
        for rectangles in ([], [(0, 15, 20, 30)]):
            (mixed,), report = mix_instances(
                [target_of(row, [4, 4, 3, 3, 5]), EMPTY], plan_of(*rectangles), return_report=True
            )
            assert mixed["labels"].tolist() == [2]
            assert [each["reason"] for each in report.rows()] == [reason, ""]

    @pytest.mark.parametrize(
        ("corners", "reason"),
        [
            ([2, 2, 9, 2, 9, 8, 2, 8], ""),
            ([2, 8, 9, 8, 9, 2, 2, 2], ""),  # the other way round
            ([2, 2, 9, 3, 7, 8, 3, 9], ""),  # any quadrilateral
            ([2, 2, 9, 2, 4, 4, 2, 9], ""),  # with a dent
            ([2, 2, 9, 8, 9, 2, 2, 8], "broken box"),  # edges cross
            ([2, 2, 9, 8, 9, 2, 2, 6], "broken box"),
            ([2, 2, 4, 4, 9, 9, 6, 6], "broken box"),  # a line
            ([3, 3, 3, 3, 3, 3, 3, 3], "broken box"),
        ],
    )
    def test_four_corners(self, corners, reason):
        boxes = tv_tensors.BoundingBoxes(torch.tensor([corners]).float(), format="XYXYXYXY", canvas_size=SIZE)
        for rotated in ("keep", "refit"):
            (mixed,), report = mix_instances(
                [{"boxes": boxes}, EMPTY], plan_of((0, 5, 20, 30)), rotated=rotated, return_report=True
            )
            assert [row["reason"] for row in report.rows()] == [reason]
            assert len(mixed["boxes"]) == (not reason)
            if not reason and rotated == "keep":
                assert torch.equal(mixed["boxes"], boxes)

    @pytest.mark.parametrize("bad", [torch.nan, torch.inf])
    def test_nan_raises(self, bad):
        with pytest.raises(ValueError, match=r"targets\[0\]\['boxes'\]\[1\] must be finite"):
            mix_instances([target_of(DIAMOND, [1, 1, bad, 2, 3]), EMPTY], plan_of((0, 5, 20, 30)))

    def test_images_without_objects(self):
        plan = MixPlan.from_rectangles(
            torch.tensor([[0, 1], [1, 0]]), torch.tensor([[[0, 5, 20, 15]]] * 2), torch.tensor([SIZE] * 2)
        )
        for form in FORMATS:
            columns = 8 if form == "XYXYXYXY" else 5
            none = tv_tensors.BoundingBoxes(torch.zeros(0, columns), format=form, canvas_size=SIZE)
            for blank in (EMPTY, {"boxes": none, "labels": torch.zeros(0).long()}, {"boxes": torch.zeros(0, 4)}):
                empty, full = mix_instances([blank, target_of([2, 2, 3, 3, 10], form=form)], plan)
                assert empty["boxes"].shape == (0, columns)
                assert len(full["boxes"]) == 1
            (first, _) = mix_instances([{"boxes": none}] * 2, plan)
            assert first["boxes"].shape == (0, columns)
            assert first["boxes"].format == Format[form]

    def test_formats_with_an_angle_may_be_mixed(self):
        targets = [target_of(DIAMOND, form="CXCYWHR"), target_of([5, 6, 4, 3, 20], form="XYWHR")]
        (mixed,) = mix_instances(targets, plan_of((0, 0, 20, 9)))
        assert mixed["boxes"].format == Format.CXCYWHR
        np.testing.assert_allclose(mixed["boxes"][1], [5, 6, 4, 3, 20], atol=1e-9)

    def test_what_is_refused(self):
        plan, target = plan_of((0, 5, 20, 30)), target_of(DIAMOND)
        corners = target_of(DIAMOND, form="XYXYXYXY")
        with pytest.raises(ValueError, match=r"targets\[1\]\['boxes'\] has rows of shape \(8,\)"):
            mix_instances([target, corners], plan)
        upright = tv_tensors.BoundingBoxes([[1.0, 2, 3, 4]], format="XYXY", canvas_size=SIZE)
        with pytest.raises(ValueError, match=r"targets\[1\]\['boxes'\] has rows of shape"):
            mix_instances([target, {"boxes": upright, "labels": torch.tensor([1])}], plan)
        with pytest.raises(ValueError, match=r"targets\[1\]\['boxes'\] must be of a rotated format .* a plain tensor"):
            mix_instances([target, {"boxes": torch.ones(1, 5).double(), "labels": torch.tensor([1])}], plan)
        with pytest.raises(ValueError, match=r"rotated must be one of \('keep', 'refit'\), got 'fit'"):
            mix_instances([target, EMPTY], plan, rotated="fit")
        with pytest.raises(ValueError, match="rotated must be one of"):
            cd.CutMix(rotated="fit")
        for columns in (5, 8):
            with pytest.raises(ValueError, match="rotated boxes need a list of dicts"):
                mix_padded({"boxes": torch.ones(2, 3, columns)}, plan)
        volume = MixPlan.from_rectangles(torch.tensor([[0, 0]]), torch.zeros(1, 1, 6).long(), torch.tensor([[4, 5, 6]]))
        with pytest.raises(ValueError, match="rotated boxes need images of 2 axes, got a plan of 3"):
            mix_instances([target], volume)

    def test_inputs_are_not_changed(self):
        targets = [target_of(DIAMOND, form=form) for form in ("CXCYWHR", "XYWHR")]
        before = [target["boxes"].clone() for target in targets]
        mix_instances(targets, plan_of((0, 5, 20, 30)), rotated="refit")
        assert all(torch.equal(target["boxes"], boxes) for target, boxes in zip(targets, before))

    def test_objects_weigh_labels(self):
        pixels = object_pixels([target_of(DIAMOND), target_of([20, 10, 6, 2, 30])], plan_of((0, 10, 20, 30)))
        assert pixels.tolist() == [pytest.approx([25, 12])]

    @pytest.mark.parametrize("rotated", ["keep", "refit"])
    def test_a_batch_is_its_images_one_by_one(self, rotated):
        images = torch.zeros(5, 3, *SIZE)
        rng = np.random.default_rng(0)
        targets = [
            target_of(*np.concatenate([rng.uniform(2, 25, (6, 2)), rng.uniform(2, 20, (6, 3))], 1).tolist())
            for _ in range(5)
        ]
        plan = cd.GridMix(p=1.0).make_plan(images, generator=torch.Generator().manual_seed(1))
        together = mix_instances(targets, plan, rotated=rotated)
        for index, mixed in enumerate(together):
            part = MixPlan(
                *(getattr(plan, name)[index : index + 1] for name in ("source", "scale", "shift", "extent", "canvas")),
                tuple(edge[index : index + 1] for edge in plan.edges),
                plan.owner[index : index + 1],
                plan.frame,
            )
            (alone,) = mix_instances(targets, part, rotated=rotated)
            assert torch.equal(alone["origin"], mixed["origin"])
            np.testing.assert_allclose(alone["boxes"], mixed["boxes"], atol=1e-9)
            assert torch.equal(alone["visibility"], mixed["visibility"])


class TestFreeForm:
    def free(self, plan):
        """The same ownership, one cell per pixel."""
        return MixPlan.from_map(plan.source, plan.owner_map(), torch.tensor([SIZE, SIZE]))

    def test_boxes_alone_are_refused_or_estimated(self):
        targets = [target_of(DIAMOND, TILTED, [25, 5, 3, 9, 80]), target_of([6, 12, 14, 5, -20])]
        for rectangles in ([(0, 9, 20, 30)], [(3, 2, 9, 12), (7, 7, 20, 11)]):
            plan = plan_of(*rectangles)
            free = self.free(plan)
            with pytest.raises(ValueError, match="cuts boxes without masks"):
                mix_instances(targets, free)
            for rotated in ("keep", "refit"):
                (got,) = mix_instances(targets, free, boxes="estimate", rotated=rotated, min_visibility=0)
                (wanted,) = mix_instances(targets, plan, rotated=rotated, min_visibility=0)
                assert got["origin"].tolist() == wanted["origin"].tolist()
                np.testing.assert_allclose(got["visibility"], wanted["visibility"], atol=1e-7)
                np.testing.assert_allclose(got["boxes"], wanted["boxes"], atol=1e-5)

    @pytest.mark.parametrize("free", [False, True])
    @pytest.mark.parametrize("form", FORMATS)
    def test_masks_tell(self, free, form):
        y, x = np.mgrid[0:20, 0:30] + 0.5
        given = corners_of(boxes_of([TILTED]))[0]
        mask = inside(given, np.stack([x, y], -1).reshape(-1, 2)).reshape(SIZE)
        target = target_of(TILTED, form=form, masks=torch.from_numpy(mask)[None])
        plan = plan_of((0, 12, 20, 30), (0, 0, 20, 2))
        plan = self.free(plan) if free else plan
        left = mask.copy()
        left[:, 12:] = False
        for rotated in ("keep", "refit"):
            (mixed,) = mix_instances([target, EMPTY], plan, rotated=rotated)
            assert mixed["visibility"].tolist() == pytest.approx([left.sum() / mask.sum()])
            assert np.array_equal(mixed["masks"][0].numpy(), left)
            if rotated == "keep":
                assert torch.equal(mixed["boxes"], target["boxes"])
                continue
            rows, columns = np.nonzero(left)
            points = np.concatenate([np.stack([columns + a, rows + b], 1) for a in (0, 1) for b in (0, 1)])
            fitted = corners_of(mixed["boxes"])[0]
            assert outside(fitted, points) < 1e-6
            area = np.hypot(*(fitted[1] - fitted[0])) * np.hypot(*(fitted[2] - fitted[1]))
            assert area <= least_area(points) + 1e-6
        (mixed,) = mix_instances([target, EMPTY], plan_of((0, 0, 6, 5)), rotated="refit")  # beside the mask
        assert torch.equal(mixed["boxes"], target["boxes"])
        if not free:
            (by_box,) = mix_instances([target, EMPTY], plan, rotated="refit", boxes_from="box")
            del target["masks"]
            (alone,) = mix_instances([target, EMPTY], plan, rotated="refit")
            np.testing.assert_allclose(by_box["boxes"], alone["boxes"])


METHODS = {
    "CutMix": {},
    "CutMix objects": {"region": cd.regions.ObjectBox()},
    "CutMix many": {"region": cd.regions.MultiBox()},
    "ResizeMix": {},
    "Mosaic": {},
    "RICAP": {},
    "GridMix": {},
    "StripeMix": {},
    "CopyPaste": {"flip": 0.5, "scale": (0.5, 1.5), "p": 1.0},
    "SaliencyMix": {},
    "MixUp": {},
    "FMix": {"boxes": "estimate"},
    "CowMix": {"boxes": "estimate"},
}


@pytest.mark.parametrize("rotated", ["keep", "refit"])
@pytest.mark.parametrize("method", METHODS)
def test_every_transform(method, rotated):
    rng = np.random.default_rng(7)
    images = torch.from_numpy(rng.random((4, 3, 36, 52))).float()
    targets = []
    for count in (3, 0, 5, 2):
        rows = np.concatenate([rng.uniform(5, 35, (count, 2)), rng.uniform(3, 20, (count, 2))], 1)
        rows = np.concatenate([rows, rng.uniform(-180, 180, (count, 1))], 1)
        targets.append(target_of(*rows.tolist(), size=(36, 52), dtype=torch.float32, form="CXCYWHR"))
    mix = getattr(cd, method.split()[0])(**{"rotated": rotated, **METHODS[method]})
    assert f"rotated={rotated!r}" in repr(mix) or rotated == "keep"
    plan = mix.make_plan(images, targets, generator=torch.Generator().manual_seed(2))
    _, mixed, report = mix.apply_plan(plan, images, targets, return_report=True)
    assert len(report) > 0
    for output, target in enumerate(mixed):
        assert target["boxes"].format == Format.CXCYWHR
        assert target["boxes"].shape == (len(target["visibility"]), 5)
        assert target["boxes"].canvas_size == tuple(plan.canvas[output].tolist())
        corners = corners_of(target["boxes"])
        if rotated == "refit":  # what is visible lies on the canvas, and so does the middle of a box round it
            cut = target["visibility"].numpy() < 1
            assert (corners[cut].mean(axis=1) > 0).all()
            assert (corners[cut].mean(axis=1) < plan.canvas[output].numpy()[::-1]).all()


def test_ignored_boxes_keep_their_place_in_another_format():
    size = (64, 64)
    boxes = tv_tensors.BoundingBoxes([[30.0, 30, 10, 4, 0]], format="CXCYWHR", canvas_size=size)
    aside = tv_tensors.BoundingBoxes([[20.0, 20, 10, 4, 0]], format="XYWHR", canvas_size=size)
    target = {"boxes": boxes, "labels": torch.tensor([1]), "ignored": {"boxes": aside, "labels": torch.tensor([2])}}
    plan = MixPlan.from_rectangles(
        torch.tensor([[0, -1]]), torch.zeros(1, 0, 4, dtype=torch.long), torch.tensor([size])
    )
    (mixed,) = mix_instances([target], plan)
    assert mixed["ignored"]["boxes"].as_subclass(torch.Tensor).tolist() == [[25, 22, 10, 4, 0]]


def test_a_box_that_is_kept_as_it_is_does_not_count_as_unmoved():
    size = torch.tensor([[64, 64]] * 2)
    box = tv_tensors.BoundingBoxes([[32.0, 32, 20, 10, 30]], format="CXCYWHR", canvas_size=(64, 64))
    targets = [{"boxes": box, "labels": torch.tensor([1])}, {}]
    plan = MixPlan.from_rectangles(torch.tensor([[0, 1]]), torch.tensor([[[0, 0, 64, 40]]]), size)
    for rotated in ("keep", "refit"):
        (mixed,) = mix_instances(targets, plan, rule="mmdet_copy_paste", rotated=rotated)
        assert len(mixed["boxes"]) == 0
