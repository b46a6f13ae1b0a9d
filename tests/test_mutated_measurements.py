"""Every measurement of what shows of an instance, in Python and in C, with one line changed: a test must fail."""

from __future__ import annotations

import ctypes
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from functional.test_panoptic import Rule
from mutated import Mutation, changed, must_be_found, run

from cutmix_dense import native
from cutmix_dense.kernels import native_instances as instances
from cutmix_dense.native import build


def seen_by(place: str, line: str, wrong: str, test: str, **arguments: Any) -> Mutation:
    """A mutation of what works without the compiled library."""
    return Mutation(place, line, wrong, test, arguments, library=False)


BY_HAND = "functional.test_instances:TestBoxes.test_a_covered_side_shrinks_the_box"
CELLS = "functional.test_boxes:test_cells_of_a_rectangle_say_what_its_pixels_say"
NO_MASK = "functional.test_has_mask:TestRowsWithoutAMask"
MASKS = "functional.test_masks"

MEASUREMENTS: dict[str, Mutation] = {
    "boxes, cells": seen_by("seen:_seen_by_cells", "(area * shown)", "(area * touched)", BY_HAND),
    "boxes, cells, box": seen_by(
        "seen:_seen_by_cells", "torch.where(shows, high,", "torch.where(meets, high,", BY_HAND
    ),
    "boxes, sums": Mutation(
        "seen:_seen_by_sums",
        "count < pixels,",
        "count < 0,",
        "functional.test_boxes:test_the_library_tells_of_free_forms_what_sums_tell",
        {"ndim": 2, "soft": False},
    ),
    "boxes, parts of pixels": seen_by(
        "seen:_interpolated",
        "(point[axis] - node if end else 1 - (point[axis] - node))",
        "(1.0 if end else 0.0)",
        CELLS,
        ndim=2,
    ),
    "boxes, mapped": seen_by(
        "boxes:_visible", "scale * inner + shift", "inner + shift", f"{NO_MASK}.test_scaled_layers"
    ),
    "boxes, canvas alone": Mutation(
        "seen:seen_whole",
        "(high - low).prod",
        "(high - low + 1).prod",
        "functional.test_boxes:test_the_library_tells_of_grids_what_the_reference_tells",
        {"ndim": 2, "covered": False},
    ),
    "masks, windows in numpy": seen_by(
        "masks:_mix_on_host",
        "np.count_nonzero(values)",
        "values.size",
        "functional.test_instances:TestMasks.test_the_mask_is_cut_and_gives_the_box",
    ),
    "masks, whole stacks": Mutation(
        "masks:_mix_on_device",
        "== layer",
        "!= layer",
        f"{MASKS}:test_masks_of_any_dtype",
        {"dtype": torch.bfloat16},
    ),
    "masks, rows of the library": Mutation(
        "mask_windows:cut_windows",
        "start += count",
        "start += 0",
        f"{MASKS}:test_masks_of_any_dtype",
        {"dtype": torch.int16},
    ),
    "boxes of masks": Mutation(
        "masks:boxes_of_masks",
        "reversed(range(1, masks.ndim))",
        "range(1, masks.ndim)",
        f"{MASKS}:test_windows_round_masks",
        {"shape": (5, 13, 70)},
    ),
    "boxes of masks, stacks": Mutation(
        "masks:boxes_of_masks",
        "position + 1",
        "position",
        f"{MASKS}:test_masks_of_any_dtype",
        {"dtype": torch.bfloat16},
    ),
    "masks alone": Mutation(
        "measuring:_Work.combined",
        "(visible == whole) & (visible > 0)",
        "(visible > 0)",
        "functional.test_instances:TestMasks.test_the_mask_is_cut_and_gives_the_box",
    ),
    "rotated boxes": Mutation(
        "rotated:visible_rotated",
        "weights=areas",
        "weights=total[which]",
        "functional.test_rotated:TestByHand.test_the_refit_may_turn",
    ),
    "rotated boxes, free forms": Mutation(
        "rotated:_owned_rectangles",
        "stop + left",
        "stop",
        "functional.test_rotated:TestFreeForm.test_boxes_alone_are_refused_or_estimated",
    ),
    "rotated boxes, masks": Mutation(
        "rotated:_outline",
        "(lines, lines + 1)",
        "(lines, lines)",
        f"{NO_MASK}.test_rotated_boxes",
        {"rotated": "refit"},
    ),
    "area of polygons": Mutation(
        "polygons:clipped_areas",
        "beyond * height +",
        "",
        "functional.test_polygons:TestAreas.test_by_hand",
        {"corners": [[10, 5], [15, 10], [10, 15], [5, 10]], "low": (0, 0), "high": (30, 8), "area": 9},
    ),
    "points of polygons": Mutation(
        "polygons:clipped_points",
        "- 1 / GRID",
        "+ 1 / GRID",
        "functional.test_polygons:TestPoints.test_an_edge_through_a_corner",
    ),
    "smallest rectangles": Mutation(
        "polygons:smallest_rectangles",
        "quarters % 2 == 0",
        "quarters % 2 == 1",
        "functional.test_polygons:TestSmallest.test_a_rectangle_comes_back_with_its_own_first_corner",
    ),
    "segments": Mutation(
        "segment_pool:_measured",
        "position + 1",
        "position",
        "functional.test_panoptic:test_stuff_merges_things_stay_apart_and_crowds_too",
    ),
    "segments, whole": Mutation(
        "segment_pool:SegmentPool._whole",
        "if not plan.unscaled:",
        "if False:",
        "functional.test_panoptic:test_any_plan",
        {"seed": 3, "kind": "scale", "depth": 3, "pool": 2, "rule": Rule(0.1, 1.0, "ignore")},
    ),
    "things": Mutation(
        "segment_pool:SegmentPool.thing_pixels",
        "* np.array(things, dtype=bool)",
        "",
        "functional.test_panoptic:test_labels_count_by_things",
    ),
    "objects": Mutation(
        "instances:object_pixels",
        "plan.layers + entries.layer,",
        "plan.layers,",
        f"{NO_MASK}.test_visible_pixels_of_objects",
    ),
    "keypoints": Mutation(
        "keypoints:mix_keypoints",
        "untouched[:, None] & (shows | ~on_canvas)",
        "untouched[:, None] & shows",
        "functional.test_instances:TestFields.test_keypoints_of_an_unmixed_image_stay_bit_by_bit",
    ),
    "shares of labels": Mutation(
        "labels:mix_labels",
        "counts / counts.sum",
        "counts / counts.amax",
        "functional.test_labels:test_integers_become_probabilities_by_share",
    ),
    "slots": Mutation(
        "padded:mixed_padded",
        'if key == "area" else None',
        "if False else None",
        "functional.test_padded:test_areas_of_whole_numbers_are_rounded_as_in_a_list",
    ),
    "visibility of before": Mutation(
        "verdict:judge",
        "visibility * before",
        "visibility",
        "functional.test_verdict:test_an_incoming_visibility_is_multiplied",
        {"library": False},
    ),
}

IN_C: dict[str, Mutation] = {
    "cells": Mutation(
        "cutmix_dense_measure_boxes",
        "lesser(high[a], (double)edge[1])",
        "(double)edge[1]",
        "functional.test_boxes:test_the_library_tells_of_grids_what_the_reference_tells",
        {"ndim": 2, "covered": True},
    ),
    "pixels": Mutation(
        "cutmix_dense_measure_boxes",
        "(double)some - line[0] * before",
        "(double)some - before",
        "functional.test_boxes:test_the_library_tells_of_free_forms_what_sums_tell",
        {"ndim": 2, "soft": False},
    ),
    "boxes without cover": Mutation(
        "cutmix_dense_measure_boxes",
        "seen.area *= high[a] - low[a],",
        "seen.area *= to[a] - from[a],",
        "functional.test_boxes:test_the_library_tells_of_grids_what_the_reference_tells",
        {"ndim": 2, "covered": False},
    ),
    "windows of masks": Mutation(
        "cutmix_dense_windows",
        "known->pixels += some;",
        "known->pixels += length;",
        f"{MASKS}:test_the_library_cuts_what_the_reference_cuts",
        {"ndim": 2},
    ),
    "masks that move": Mutation(
        "cutmix_dense_cut_masks",
        "cut->shown.low[a] += (int64_t)layer->shift[a],",
        "",
        f"{MASKS}:test_the_library_cuts_what_the_reference_cuts",
        {"ndim": 2},
    ),
}
"""The exported function, a line of ``instances.c``, and the test that compares the library with the reference."""


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_a_changed_line_is_found(name: str, monkeypatch: pytest.MonkeyPatch):
    must_be_found(MEASUREMENTS[name], monkeypatch)


@pytest.mark.skipif(native.library is None, reason="the compiled library isn't there")
@pytest.mark.parametrize("name", IN_C)
def test_a_changed_line_of_c_is_found(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    mutation = IN_C[name]
    for path in build.HERE.glob("*.[ch]"):
        shutil.copy(path, tmp_path)
    wrong = tmp_path / "instances.c"
    wrong.write_text(changed(wrong.read_text(), mutation.line, mutation.wrong))
    monkeypatch.setattr(build, "HERE", tmp_path)
    assert build.build("-O1", library=tmp_path / "wrong.so") == ""
    library = ctypes.CDLL(str(tmp_path / "wrong.so"))
    for caller, right in [
        (key, value) for key, value in vars(instances).items() if isinstance(value, ctypes._CFuncPtr)
    ]:
        function = getattr(library, right.__name__)
        function.argtypes, function.restype = right.argtypes, right.restype
        monkeypatch.setattr(instances, caller, function)
    with pytest.raises(AssertionError):
        run(mutation)
