"""What is drawn lies where the annotations say, can be read, and stays in the picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision import tv_tensors

from cutmix_dense import visualization as vis
from cutmix_dense.plan import MixPlan
from cutmix_dense.visualization import colors, pictures, samples, text

GREY = 90
CLASSES = ["background", "disc", "star", "ring"]


def grey(height=100, width=160):
    return torch.full((3, height, width), GREY, dtype=torch.uint8)


def changed(drawing):
    return (drawing != GREY).any(dim=0)


def rectangle_plan(rectangles, sizes=((100, 160), (100, 160)), source=((0, 1),)):
    return MixPlan.from_rectangles(torch.tensor(source), torch.tensor([rectangles]), torch.tensor(sizes))


# ------------------------------------------------------------------------------------------------------------- samples


def test_box_lies_on_the_right_pixels():
    target = {"boxes": torch.tensor([[20.0, 30.0, 60.0, 80.0]]), "labels": torch.tensor([1])}
    drawing = vis.draw_sample(grey(), target, CLASSES, names=False)
    assert drawing.shape == (3, 300, 480)
    assert drawing.dtype == torch.uint8
    color = torch.tensor(vis.class_colors(CLASSES)[1], dtype=torch.uint8)[:, None]
    left, top, right, bottom = 60, 90, 180, 240  # three times the box, half-open
    for line in (
        drawing[:, top:bottom, left],
        drawing[:, top:bottom, right - 1],
        drawing[:, top, left:right],
        drawing[:, bottom - 1, left:right],
    ):
        assert (line == color).all()
    touched = changed(drawing)
    touched[top - 1 : bottom + 1, left - 1 : right + 1] = False  # a dark pixel round the coloured line
    assert not touched.any()
    assert (drawing[:, top + 3 : bottom - 3, left + 3 : right - 3] == GREY).all()


@pytest.mark.parametrize("form", ["XYWH", "CXCYWH"])
def test_box_formats(form):
    boxes = {"XYWH": [20.0, 30.0, 40.0, 50.0], "CXCYWH": [40.0, 55.0, 40.0, 50.0]}[form]
    wrapped = tv_tensors.BoundingBoxes([boxes], format=form, canvas_size=(100, 160))
    plain = {"boxes": torch.tensor([[20.0, 30.0, 60.0, 80.0]]), "labels": torch.tensor([1])}
    expected = vis.draw_sample(grey(), plain, CLASSES)
    assert torch.equal(vis.draw_sample(grey(), {"boxes": wrapped, "labels": torch.tensor([1])}, CLASSES), expected)


@pytest.mark.skipif(
    not hasattr(tv_tensors.BoundingBoxFormat, "XYXYXYXY"), reason="this torchvision has no rotated boxes"
)
@pytest.mark.parametrize("form", ["XYXYXYXY", "CXCYWHR"])
def test_rotated_boxes_are_drawn_as_polygons(form):
    diamond = (
        [[80.0, 20.0, 120.0, 50.0, 80.0, 80.0, 40.0, 50.0]] if form == "XYXYXYXY" else [[80.0, 50.0, 50.0, 50.0, 45.0]]
    )
    wrapped = tv_tensors.BoundingBoxes(diamond, format=form, canvas_size=(100, 160))
    drawing = vis.draw_sample(grey(), {"boxes": wrapped, "labels": torch.tensor([1])}, CLASSES, names=False)
    reach = (40.0, 30.0) if form == "XYXYXYXY" else (50 / 2**0.5, 50 / 2**0.5)
    y, x = torch.meshgrid(torch.arange(300) + 0.5, torch.arange(480) + 0.5, indexing="ij")  # of the enlarged drawing
    level = (x / 3 - 80).abs() / reach[0] + (y / 3 - 50).abs() / reach[1] - 1
    outside = level * 3 / (reach[0] ** -2 + reach[1] ** -2) ** 0.5  # the distance from the sides, pixels of the drawing
    color = torch.tensor(vis.class_colors(CLASSES)[1], dtype=torch.uint8)[:, None]
    assert (drawing[:, (outside + 1).abs() < 0.25] == color).all()  # the line runs just inside of the four sides
    assert not changed(drawing)[(outside < -3) | (outside > 1.5)].any()


@pytest.mark.skipif(
    not hasattr(tv_tensors.BoundingBoxFormat, "XYXYXYXY"), reason="this torchvision has no rotated boxes"
)
def test_rotated_boxes_that_lie_outside_or_are_not_finite_are_not_drawn():
    rows = [[-50.0, -50.0, -20.0, -50.0, -20.0, -20.0, -50.0, -20.0], [float("nan")] * 8]
    wrapped = tv_tensors.BoundingBoxes(rows, format="XYXYXYXY", canvas_size=(100, 160))
    drawing = vis.draw_sample(grey(), {"boxes": wrapped, "labels": torch.tensor([1, 2])}, CLASSES)
    assert not changed(drawing).any()


def test_name_stands_at_its_box_and_can_be_read():
    target = {"boxes": torch.tensor([[50.0, 40.0, 90.0, 80.0]]), "labels": torch.tensor([2])}
    bare = vis.draw_sample(grey(), target, CLASSES, names=False)
    named = vis.draw_sample(grey(), target, CLASSES)
    rows, columns = torch.nonzero((bare != named).any(dim=0), as_tuple=True)
    assert rows.min() >= 100
    assert rows.max() < 121
    assert columns.min() == 150
    patch = named[:, rows.min() : rows.max() + 1, 150 : columns.max() + 1].float().mean(dim=0)
    assert patch.max() - patch.min() > 100  # dark letters on a light ground


def test_visibility_is_written_where_something_is_hidden():
    target = {"boxes": torch.tensor([[50.0, 40.0, 90.0, 80.0]]), "labels": torch.tensor([2])}

    def drawn(share):
        return vis.draw_sample(grey(), {**target, "visibility": torch.tensor([share])}, CLASSES)

    plain = vis.draw_sample(grey(), target, CLASSES)
    assert torch.equal(drawn(1.0), plain)
    assert not torch.equal(drawn(0.63), plain)
    assert not torch.equal(drawn(0.63), drawn(0.36))


@pytest.mark.parametrize(("share", "text"), [(0.63, "63%"), (0.001, "1%"), (0.998, "99%"), (1.0, "100%"), (0.0, "0%")])
def test_percentages_do_not_round_to_all_or_nothing(share, text):
    assert samples._percent(share) == text


boxes_and_labels = st.lists(
    st.tuples(st.integers(0, 470), st.integers(0, 290), st.integers(1, 300), st.integers(1, 200), st.integers(10, 200)),
    min_size=1,
    max_size=30,
)


@given(boxes_and_labels)
def test_labels_stay_inside_and_off_each_other(entries):
    canvas = (300, 480)
    boxes = [(x, y, min(x + w, 480), min(y + h, 300)) for x, y, w, h, _ in entries]
    sizes = [(length, 16) for *_, length in entries]
    places = text.place_labels(boxes, sizes, canvas)
    shown = [place for place in places if place is not None]
    assert shown  # the first always finds room
    for place, (width, height) in zip(places, sizes, strict=True):
        if place is not None:
            assert place[0] >= 0
            assert place[1] >= 0
            assert place[2] <= 480
            assert place[3] <= 300
            assert (place[2] - place[0], place[3] - place[1]) == (width, height)
    for number, place in enumerate(shown):
        for other in shown[:number]:
            assert text._overlap(place, other) == 0  # else letters of the one that is drawn first are hidden


def test_every_label_of_a_roomy_picture_is_written():
    boxes = [(x, y, x + 60, y + 50) for y in (20, 120, 220) for x in (5, 120, 240, 400)]
    assert all(text.place_labels(boxes, [(50, 16)] * 12, (300, 480)))


def test_in_a_crowd_no_letter_of_a_label_is_hidden():
    """Every label that is written in a crowd has the pixels that it has where nothing else is named."""
    image = torch.full((3, 150, 200), 128, dtype=torch.uint8)
    corner = torch.randint(0, 120, (24, 2), generator=torch.Generator().manual_seed(0))
    boxes = torch.cat([corner, corner + 25], dim=1).float()
    tags = [f"{'ab'[number % 2]}{number}" for number in range(24)]
    target = {"boxes": boxes, "labels": torch.arange(24) % 4}
    crowd = vis.draw_sample(image, target, CLASSES, tags=tags, boxes=False)
    written = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samples, "place_labels", lambda *args: written.append(text.place_labels(*args)) or written[0])
        vis.draw_sample(image, target, CLASSES, tags=tags, boxes=False)
        places = written[0]
        assert 8 < sum(place is not None for place in places) < 24
        for index, place in enumerate(places):
            if place is None:
                continue
            alone = [place if number == index else None for number in range(24)]
            patch.setattr(samples, "place_labels", lambda *_, alone=alone: alone)
            x0, y0, x1, y1 = place
            single = vis.draw_sample(image, target, CLASSES, tags=tags, boxes=False)
            assert torch.equal(single[:, y0:y1, x0:x1], crowd[:, y0:y1, x0:x1]), tags[index]


def test_mask_lies_on_its_pixels():
    mask = torch.zeros(1, 100, 160, dtype=torch.bool)
    mask[0, 20:60, 30:90] = True
    mask[0, 30:40, 50:60] = False  # a hole
    target = {"masks": mask, "labels": torch.tensor([3])}
    drawing = vis.draw_sample(grey(), target, CLASSES, boxes=False, names=False)
    large = mask[0].repeat_interleave(3, dim=0).repeat_interleave(3, dim=1)
    assert torch.equal(changed(drawing), large)
    color = torch.tensor(vis.class_colors(CLASSES)[3]).float()
    inner = drawing[:, 3 * 45, 3 * 70].float()
    assert torch.allclose(inner, GREY + 0.42 * (color - GREY), atol=1.5)
    contour = drawing[:, 60, 3 * 70].float()  # its first row
    assert torch.allclose(contour, inner + 0.9 * (color - inner), atol=2)


def test_the_smaller_of_two_masks_lies_on_top():
    masks = torch.zeros(2, 100, 160, dtype=torch.bool)
    masks[0, 10:90, 10:150] = True
    masks[1, 40:60, 60:90] = True
    drawing = vis.draw_sample(
        grey(), {"masks": masks, "labels": torch.tensor([1, 2])}, CLASSES, boxes=False, names=False
    )
    color = torch.tensor(vis.class_colors(CLASSES)[2]).float()
    assert torch.allclose(drawing[:, 150, 225].float(), GREY + 0.42 * (color - GREY), atol=1.5)


def test_semantic_map_in_its_colours():
    labels = torch.zeros(100, 160, dtype=torch.uint8)
    labels[:, 40:80] = 2
    labels[:, 80:120] = 255
    drawing = vis.draw_sample(grey(), labels, CLASSES)
    color = torch.tensor(vis.class_colors(CLASSES)[2]).float()
    assert torch.allclose(drawing[:, 150, 180].float(), GREY + 0.5 * (color - GREY), atol=1.5)
    assert (drawing[:, :, :118] == GREY).all()  # background stays clear
    hatched = drawing[:, 3:-3, 250:350].float().mean(dim=0)
    assert hatched.max() - hatched.min() > 60  # stripes over what nobody labelled
    assert (drawing[:, :, 365:] == GREY).all()


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.uint8, torch.int32]
)
@pytest.mark.parametrize("channels", [(), (1,)])
def test_a_map_of_any_dtype_is_one_of_class_ids(dtype, channels):
    image = torch.full((3, 60, 80), 128, dtype=torch.uint8)
    semantic = torch.zeros(60, 80, dtype=torch.long)
    semantic[10:, 20:] = 2
    semantic[:, 60:] = 255
    expected = vis.draw_sample(image, semantic, CLASSES)
    assert torch.equal(vis.draw_sample(image, semantic.to(dtype).reshape(*channels, 60, 80), CLASSES), expected)


def test_of_several_channels_the_largest_is_drawn_and_one_of_fractions_is_refused():
    image = torch.full((3, 60, 80), 128, dtype=torch.uint8)
    semantic = torch.randint(0, 4, (60, 80), generator=torch.Generator().manual_seed(0))
    scores = torch.nn.functional.one_hot(semantic, 4).permute(2, 0, 1) * 0.7
    assert torch.equal(vis.draw_sample(image, scores, CLASSES), vis.draw_sample(image, semantic, CLASSES))
    mixed = (semantic.float(), semantic.float(), torch.tensor(0.5))
    whole = (semantic, semantic, torch.tensor(0.5))
    drawn = [vis.draw_sample(image, {"semantic": maps}, CLASSES, semantic=True) for maps in (mixed, whole)]
    assert torch.equal(*drawn)
    for odd in (0.5, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"semantic of shape .* must hold class ids, got values such as {odd}"):
            vis.draw_sample(image, torch.full((1, 60, 80), odd), CLASSES)


def test_floats_that_are_no_shares_of_white_are_refused():
    image = torch.rand(3, 30, 40, generator=torch.Generator().manual_seed(0))
    normalised = (image - 0.45) / 0.225
    assert vis.to_pil(image.double() * 1.05).size == (40, 30)  # as bicubic resizing leaves it
    for draw in (vis.to_pil, lambda image: vis.draw_sample(image, None)):
        for odd in (normalised, image * 255, (image * 255).half()):
            with pytest.raises(ValueError, match=r"must be in \[0, 1\], got .*: undo Normalize, or divide by 255"):
                draw(odd)
        with pytest.raises(ValueError, match="it isn't finite"):
            draw(image.where(image > 0.1, float("nan")))


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_what_is_not_finite_is_left_out(odd):
    image = torch.full((3, 60, 80), 128, dtype=torch.uint8)
    boxes, points = torch.tensor([[10.0, 10, 40, 30]]), torch.tensor([[[20.0, 20, 2], [30, 40, 2]]])
    found = {"boxes": boxes, "labels": torch.tensor([1]), "keypoints": points}
    more = {
        "boxes": torch.cat([boxes, torch.tensor([[5.0, 5, odd, odd if odd < 1e9 else float("nan")]])]),
        "labels": torch.tensor([1, 2]),
        "keypoints": torch.cat([points, torch.tensor([[[odd, 5, 2], [7, odd, 2]]])]),
    }
    expected = vis.draw_sample(image, found, CLASSES)
    assert torch.equal(vis.draw_sample(image, more, CLASSES), expected)
    far = vis.draw_sample(image, {"boxes": torch.tensor([[5.0, 5, 1e30, 1e30]]), "labels": torch.tensor([1])}, CLASSES)
    near = vis.draw_sample(image, {"boxes": torch.tensor([[5.0, 5, 80, 60]]), "labels": torch.tensor([1])}, CLASSES)
    assert torch.equal(far, near)


def test_ignored_instances_are_grey():
    box = torch.tensor([[20.0, 30.0, 60.0, 80.0]])
    target = {
        "boxes": torch.zeros(0, 4),
        "labels": torch.zeros(0, dtype=torch.long),
        "ignored": {"boxes": box, "labels": torch.tensor([1]), "visibility": torch.tensor([0.05])},
    }
    drawing = vis.draw_sample(grey(), target, CLASSES)
    assert tuple(drawing[:, 150, 60].tolist()) == colors.IGNORED


def test_hidden_keypoints_are_not_drawn():
    points = torch.tensor([[[40.0, 50.0, 2.0], [120.0, 50.0, 0.0]]])
    drawing = vis.draw_sample(grey(), {"keypoints": points, "labels": torch.tensor([1])}, CLASSES)
    touched = changed(drawing)
    assert touched[150, 120]
    assert not touched[:, 240:].any()
    two = {
        "keypoints": points[..., :2],
        "keypoints_visible": torch.tensor([[True, False]]),
        "labels": torch.tensor([1]),
    }
    assert torch.equal(vis.draw_sample(grey(), two, CLASSES), drawing)


def test_inputs_stay_as_they_are_and_kinds_agree():
    image = torch.randint(0, 256, (3, 40, 60), dtype=torch.uint8)
    kept = image.clone()
    target = {"boxes": torch.tensor([[5.0, 5.0, 30.0, 20.0]]), "labels": torch.tensor([1])}
    first = vis.draw_sample(tv_tensors.Image(image), target, CLASSES, min_size=1)
    assert torch.equal(image, kept)
    assert first.shape == image.shape
    assert torch.equal(vis.draw_sample(image.float() / 255, target, CLASSES, min_size=1), first)
    single = vis.draw_sample(image[:1], None, CLASSES, min_size=1)
    assert torch.equal(single, image[:1].expand(3, -1, -1))


@pytest.mark.parametrize(("height", "width"), [(7, 5), (60, 40), (333, 500), (1200, 900), (1, 1)])
def test_drawings_fill_the_cell(height, width):
    drawing = vis.draw_sample(torch.zeros(3, height, width), None, fit=(200, 300))
    assert drawing.shape[1] <= 200
    assert drawing.shape[2] <= 300
    assert drawing.shape[1] == 200 or drawing.shape[2] == 300


def test_wrong_inputs_are_named():
    with pytest.raises(TypeError, match="image"):
        vis.draw_sample(np.zeros((4, 4, 3)), None)
    with pytest.raises(ValueError, match=r"\(5, 4, 4\)"):
        vis.draw_sample(torch.zeros(5, 4, 4), None)
    with pytest.raises(ValueError, match="masks"):
        vis.draw_sample(grey(), {"masks": torch.ones(1, 9, 9), "labels": torch.tensor([1])})
    with pytest.raises(ValueError, match="same length"):
        vis.draw_sample(grey(), {"boxes": torch.rand(2, 4), "labels": torch.tensor([1])})
    with pytest.raises(TypeError, match="target"):
        vis.draw_sample(grey(), [1, 2])


def test_nothing_to_draw_raises_no_warning(recwarn):
    target = {
        "boxes": torch.zeros(0, 4),
        "labels": torch.zeros(0, dtype=torch.long),
        "masks": torch.zeros(0, 100, 160, dtype=torch.bool),
    }
    assert (vis.draw_sample(grey(), target, CLASSES) == GREY).all()
    assert not recwarn.list


def test_colours_are_stable_and_differ():
    colors = vis.class_colors(80)
    assert colors == vis.class_colors([str(number) for number in range(80)])
    assert colors[:5] == vis.class_colors(5)
    assert len(set(colors)) == 80


def test_letters_that_a_font_lacks_do_not_stop_it():
    target = {"boxes": torch.tensor([[20.0, 30.0, 60.0, 80.0]]), "labels": torch.tensor([0])}
    vis.draw_sample(grey(), target, ["Bär – 自行车 \n"])


# -------------------------------------------------------------------------------------------------------------- region


def test_region_outline_follows_the_rectangle():
    plan = rectangle_plan([[20, 40, 70, 120]])
    drawing = vis.draw_region(grey(300, 480), plan, 0, width=2)
    touched = changed(drawing)
    expected = torch.zeros(300, 480, dtype=torch.bool)
    expected[59:211, 119:361] = True  # one pixel on either side of the border at three times the size
    expected[61:209, 121:359] = False
    corners = torch.zeros(300, 480, dtype=torch.bool)
    for y in (59, 60, 61, 208, 209, 210):
        corners[y, [119, 120, 121, 358, 359, 360]] = True
    assert torch.equal(touched & ~corners, expected & ~corners)


def test_region_outline_of_any_shape():
    owner = torch.zeros(1, 10, 16, dtype=torch.int8)
    owner[0, 3:6, 4:9] = 1
    owner[0, 5:8, 7:12] = 1
    plan = MixPlan(
        source=torch.tensor([[0, 1]]),
        scale=torch.ones(1, 2, 2),
        shift=torch.zeros(1, 2, 2),
        extent=torch.tensor([[[0, 0, 10, 16], [0, 0, 10, 16]]]),
        canvas=torch.tensor([[10, 16]]),
        edges=(torch.arange(11)[None], torch.arange(17)[None]),
        owner=owner,
        frame=(10, 16),
    )
    touched = changed(vis.draw_region(grey(10, 16), plan, 0, width=2))
    inside = owner[0] == 1
    far = ~pictures.grow_mask(inside, 1) | ~pictures.grow_mask(~inside, 1)
    assert not touched[far].any()
    assert touched.any()


def test_shown_pixels_against_a_plain_loop():
    generator = torch.Generator().manual_seed(5)
    owner = torch.randint(-1, 2, (1, 12, 14), generator=generator).to(torch.int8)
    plan = MixPlan(
        source=torch.tensor([[0, 1]]),
        scale=torch.tensor([[[1.0, 1.0], [0.5, -1.5]]]),
        shift=torch.tensor([[[0.0, 0.0], [2.0, 13.0]]]),
        extent=torch.tensor([[[0, 0, 12, 14], [1, 0, 20, 8]]]),
        canvas=torch.tensor([[12, 14]]),
        edges=(torch.arange(13)[None], torch.arange(15)[None]),
        owner=owner,
        frame=(12, 14),
    )
    size = (20, 9)
    seen = vis.shown_pixels(plan, 0, 1, size)
    shown = plan.owner_map()[0]
    for row in range(size[0]):
        for column in range(size[1]):
            y = int(np.floor(0.5 * (row + 0.5) + 2.0))
            x = int(np.floor(-1.5 * (column + 0.5) + 13.0))
            inside = 0 <= y < 12 and 0 <= x < 14 and int(shown[y, x]) == 1
            assert bool(seen[row, column]) == inside, (row, column)


# -------------------------------------------------------------------------------------------------------------- sheets


def test_larger_captions_take_more_room_and_leave_the_pictures_as_they_are():
    cells = [[vis.Drawing(torch.zeros(3, 60, 200, dtype=torch.uint8), "a caption")]]
    usual, larger = (np.asarray(vis.contact_sheet(cells, headers=(), caption_size=size)) for size in (13, 26))
    assert larger.shape[0] > usual.shape[0]
    assert larger.shape[1] == usual.shape[1]
    assert [int((sheet == 0).all(-1).sum()) for sheet in (usual, larger)] == [12000, 12000]


def test_contact_sheet_holds_its_pictures():
    first, second = grey(60, 80), torch.full((3, 90, 50), 200, dtype=torch.uint8)
    rows = [[vis.Drawing(first, "one"), vis.Drawing(None, "nothing"), vis.Drawing(second, "long " * 40)]]
    legend = [("disc", (255, 0, 0)), ("star", (0, 255, 0))]
    sheet = vis.contact_sheet(rows, title="A very long title " * 10, subtitle="words " * 90, legend=legend)
    pixels = np.asarray(sheet)
    assert (pixels == GREY).all(axis=2).sum() >= 60 * 80
    assert (pixels == 200).all(axis=2).sum() >= 90 * 50
    for color in ((255, 0, 0), (0, 255, 0)):
        assert (pixels == color).all(axis=2).sum() > 80
    edges = np.concatenate([pixels[:, :8].reshape(-1, 3), pixels[:, -8:].reshape(-1, 3), pixels[-8:].reshape(-1, 3)])
    assert (edges == colors.PAPER).all()  # no text runs out of the sheet


def test_row_of_a_cut_mix():
    images = [grey(), torch.full((3, 80, 200), 160, dtype=torch.uint8)]
    target = {"boxes": torch.tensor([[20.0, 30.0, 60.0, 80.0]]), "labels": torch.tensor([1])}
    plan = rectangle_plan([[20, 40, 70, 120]], sizes=((100, 160), (80, 200)))
    mixed = {**target, "origin": torch.tensor([[1, 0]])}
    row = vis.mix_row(images, [target, target], grey(), mixed, plan, 0, CLASSES, titles=["x", "y"], tagged=True)
    assert [cell.caption for cell in row] == ["x", "y", ""]
    base, partner, _ = (cell.picture for cell in row)
    assert base is not None
    assert partner is not None
    assert int(base[0, 5, 5]) == GREY
    assert int(base[0, 180, 300]) < GREY
    assert int(partner[0, 5, 5]) < 160
    assert int(partner[0, 100, 150]) == 160


def test_row_of_a_mosaic_shows_every_partner():
    size = (64, 64)
    plan = MixPlan(
        source=torch.tensor([[0, 1, 2, 3]]),
        scale=torch.full((1, 4, 2), 0.5),
        shift=torch.tensor([[[0.0, 0.0], [0.0, 32.0], [32.0, 0.0], [32.0, 32.0]]]),
        extent=torch.tensor([[[0, 0, 64, 64]] * 4]),
        canvas=torch.tensor([[64, 64]]),
        edges=(torch.tensor([[0, 32, 64]]), torch.tensor([[0, 32, 64]])),
        owner=torch.tensor([[[0, 1], [2, 3]]], dtype=torch.int8),
        frame=size,
    )
    images = [torch.full((3, *size), 40 * (number + 1), dtype=torch.uint8) for number in range(4)]
    assert vis.partner_sources(plan, 0) == [1, 2, 3]
    row = vis.mix_row(images, [{}] * 4, images[0], {}, plan, 0, titles=list("abcd"))
    assert row[1].caption == "b, c, d"
    picture = row[1].picture
    assert picture is not None
    assert {80, 120, 160} <= set(picture.unique().tolist())
    assert vis.shown_pixels(plan, 0, 2, size).all()


def test_soft_mix_shows_both_everywhere():
    plan = MixPlan.blend(torch.tensor([[0, 1]]), torch.tensor([[0.3, 0.7]]), torch.tensor([[100, 160], [80, 160]]))
    assert vis.partner_sources(plan, 0) == [1]
    assert vis.shown_pixels(plan, 0, 0, (100, 160)).all()
    labels = torch.zeros(100, 160, dtype=torch.uint8)
    target = {"semantic": (labels + 1, labels + 2, torch.full((100, 160), 0.3))}
    plain = [{"semantic": labels}, {"semantic": labels[:80]}]
    row = vis.mix_row([grey(), grey(80)], plain, grey(), target, plan, 0, CLASSES, semantic=True)
    mixed, (first, second) = row[2].picture, (torch.tensor(color).float() for color in vis.class_colors(CLASSES)[1:3])
    expected = GREY + 0.15 * (first - GREY)
    expected = expected + 0.35 * (second - expected)
    assert mixed is not None
    assert torch.allclose(mixed[:, 150, 200].float(), expected, atol=2)
    assert [name for name, _ in vis.present_classes([target], CLASSES)] == ["disc", "star"]


def test_pixels_without_a_class_are_hatched_in_the_legend_too():
    labels = torch.ones(20, 30, dtype=torch.uint8)
    assert [name for name, _ in vis.present_classes([{"semantic": labels}], CLASSES)] == ["disc"]
    labels[:5] = 255
    entries = vis.present_classes([{"semantic": labels}], CLASSES)
    assert [name for name, _ in entries] == ["disc", "ignored (255)"]
    assert vis.present_classes([{"semantic": labels}], CLASSES, semantic=False) == []
    legend = np.asarray(vis.draw_legend(entries, 400)).astype(int)
    shades = {tuple(pixel) for pixel in legend[3:15, 1:13].reshape(-1, 3).tolist()}
    assert shades == {entries[0][1]}  # one colour inside of a class's chip
    ys, xs = (legend == (235, 238, 245)).all(axis=2).nonzero()
    assert len(ys) > 20
    assert max(np.ptp(ys), np.ptp(xs)) <= 12


def test_unmixed_row_has_no_partner():
    plan = rectangle_plan([[0, 0, 0, 0]])
    row = vis.mix_row([grey(), grey()], [{}, {}], grey(), {}, plan, 0)
    assert row[1].picture is None


def test_caption_tells_dropped_from_left_out():
    rows = [
        {"layer": 0, "source": 0, "instance": 0, "outcome": "kept", "reason": ""},
        {"layer": 0, "source": 0, "instance": 1, "outcome": "dropped", "reason": "covered"},
        {"layer": 1, "source": 1, "instance": 2, "outcome": "dropped", "reason": "covered"},
        {"layer": 1, "source": 1, "instance": 3, "outcome": "shrunk", "reason": ""},
        {"layer": 1, "source": 1, "instance": 4, "outcome": "dropped", "reason": "low visibility"},
    ]
    assert vis.caption_of(rows) == (
        "base: 1 kept, 1 dropped (covered) · partner: 1 shrunk, 1 left out, 1 dropped (low visibility)"
    )


def test_caption_counts_what_is_left_out_once():
    """A layer for each pasted instance: each of them names all others of its image as not carried."""
    pasted = ((1, 0), (2, 3))  # layer, instance
    rows = [
        {"layer": layer, "source": 1, "instance": instance, "outcome": "kept", "reason": ""}
        if (layer, instance) in pasted
        else {"layer": layer, "source": 1, "instance": instance, "outcome": "dropped", "reason": "not carried"}
        for layer in (1, 2)
        for instance in range(5)
    ]
    assert vis.caption_of(rows) == "partner: 2 kept, 3 left out"


def test_panoptic_segments_are_drawn_like_instances():
    """Things with box and mask, stuff with its mask alone, what was set aside in grey; void stays as it is."""
    ids = torch.zeros(40, 60, dtype=torch.int32)
    ids[:, :20], ids[10:30, 30:50] = 5, 9
    infos = [
        {"id": 5, "category_id": 1, "isthing": 0},
        {"id": 9, "category_id": 2, "isthing": 1, "visibility": 0.5},
    ]
    target = {"panoptic": ids, "segments_info": infos}
    image = torch.full((3, 40, 60), 128, dtype=torch.uint8)
    classes = ("", "sky", "cat")
    drawn = vis.draw_sample(image, target, classes, min_size=1, names=False)
    same = (drawn == 128).all(dim=0)
    assert same[ids == 0].float().mean() > 0.9  # but for the box's dark line
    assert not same[5:35, 5:15].any()
    assert not same[12:28, 32:48].any()
    alone = vis.draw_sample(image, target, classes, min_size=1, names=False, masks=False)
    lines = (alone != 128).any(dim=0)
    assert lines[10:30, 30:50].any()
    assert not lines[:, :25].any()
    assert not torch.equal(drawn, vis.draw_sample(image, target, classes, min_size=1))
    aside = {"panoptic": 0 * ids, "segments_info": [], "ignored": target}
    grey = vis.draw_sample(image, aside, classes, min_size=1, names=False)
    assert not torch.equal(grey, drawn)
    assert [name for name, _ in vis.present_classes([target], classes)] == ["sky", "cat"]


# ----------------------------------------------------------------------------------------------------------- in a crowd


def test_masks_are_painted_as_a_plain_loop_paints_them():
    """Pixel by pixel: the smallest mask that covers it, more opaque within a pixel of that mask's inner edge."""
    from cutmix_dense.visualization.masks import draw_masks

    generator = torch.Generator().manual_seed(3)
    pixels = torch.randint(0, 256, (3, 14, 18), generator=generator, dtype=torch.uint8)
    corners = ((0, 0, 9, 12), (4, 5, 14, 18), (6, 6, 8, 9), (13, 0, 14, 3))
    masks = [torch.zeros(14, 18, dtype=torch.bool) for _ in corners]
    for mask, (top, left, bottom, right) in zip(masks, corners):
        mask[top:bottom, left:right] = torch.rand(bottom - top, right - left, generator=generator) < 0.9
    shades = [(250, 10, 10), (10, 250, 10), (10, 10, 250), (200, 200, 0)]
    drawn = draw_masks(pixels, list(zip(masks, shades)), 0.4)
    for y in range(14):
        for x in range(18):
            over = [number for number, mask in enumerate(masks) if mask[y, x]]
            expected = pixels[:, y, x].double()
            if over:
                top = min(over, key=lambda number: int(masks[number].sum()))
                around = masks[top][max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
                opacity = 0.4 if around.all() else 0.94
                expected += opacity * (torch.tensor(shades[top]) - expected)
            assert (drawn[:, y, x].double() - expected).abs().max() <= 0.51, (y, x)
    assert torch.equal(draw_masks(pixels, [], 0.4), pixels)


def test_a_crowd_gets_few_names_and_each_class_some():
    from cutmix_dense.visualization.samples import MOST_NAMES, _few, _Instance

    def instance(number):
        area = (0, 0, 10 + number, 10)
        return _Instance((number % 3, 0, 0), str(number), vis.boxes.Outline(area, None), None, None)

    crowd = [instance(number) for number in range(90)]
    named = _few(crowd)
    assert len(named) == MOST_NAMES
    assert {item.text for item in named} == {str(number) for number in range(90 - MOST_NAMES, 90)}  # the largest
    one = [instance(number) for number in range(0, 90, 3)]
    assert sum(item.color == (1, 0, 0) for item in _few([*one, instance(1)])) == 1  # the only one of its class
    assert _few(crowd[:MOST_NAMES]) == crowd[:MOST_NAMES]


def test_colours_are_as_far_apart_as_eyes_can_tell():
    places = colors.lab(np.array(vis.class_colors(80), dtype=float))
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1) + 1e3 * np.eye(80)
    assert apart[:20, :20].min() > 25  # 2.3 is a difference that is just noticed
    assert apart.min() > 12
    white, red = colors.lab(np.array([[255.0, 255, 255], [255, 0, 0]]))
    np.testing.assert_allclose(white, [100, 0, 0], atol=0.1)
    np.testing.assert_allclose(red, [53.2, 80.1, 67.2], atol=0.2)
