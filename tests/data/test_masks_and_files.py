"""The shared helpers: masks as boxes and segmentations, atomic files, optional packages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cutmix_dense.data.errors import DatasetError
from cutmix_dense.data.files import dump_json, inside, read_lines, walked, write_atomic
from cutmix_dense.data.masks import boxes_from_masks, decode_segmentation, encode_segmentation


def blobs(seed, height, width):
    """Rectangles laid over each other: corners, holes, several parts, touching corners."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((height, width), dtype=bool)
    for value in rng.integers(0, 2, rng.integers(1, 7)):
        y, x = np.sort(rng.integers(0, height + 1, 2)), np.sort(rng.integers(0, width + 1, 2))
        mask[y[0] : y[1], x[0] : x[1]] = not value or not mask.any()
    return mask


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 41), st.booleans())
def test_segmentations_decode_to_the_very_mask(seed, height, width, crowd):
    mask = blobs(seed, height, width)
    code = encode_segmentation(mask, crowd=crowd)
    assert np.array_equal(decode_segmentation(code, (height, width)), mask)
    if crowd or not mask.any():
        assert isinstance(code, dict)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 20), st.integers(1, 30), st.integers(0, 4))
def test_boxes_from_masks_against_a_plain_loop(seed, height, width, count):
    masks = np.array([blobs(seed + i, height, width) for i in range(count)]).reshape(count, height, width)
    boxes = boxes_from_masks(masks)
    assert boxes.shape == (count, 4)
    for box, mask in zip(boxes, masks, strict=True):
        ys, xs = np.nonzero(mask)
        assert box.tolist() == ([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1] if len(xs) else [0, 0, 0, 0])


def test_polygons_where_they_fit_and_run_lengths_elsewhere():
    whole = np.zeros((20, 30), dtype=bool)
    whole[3:10, 4:9] = True
    assert encode_segmentation(whole) == [[4, 3, 4, 10, 9, 10, 9, 3]]
    hole, parts = whole.copy(), whole.copy()
    hole[5, 6] = False
    parts[15, 20] = True
    disc = np.hypot(*np.mgrid[-10:10, -15:15]) < 8.3
    assert isinstance(encode_segmentation(hole), dict)
    assert isinstance(encode_segmentation(parts), dict)
    assert isinstance(encode_segmentation(disc), list)


def test_paths_stay_inside():
    assert inside(Path("a"), "b/../c.jpg") == Path("a/c.jpg")
    for name in ("", "..", "../x", "/x", "b/../../x", "..\\x", "."):
        with pytest.raises(ValueError, match="leads out"):
            inside(Path("a"), name)


def test_links_to_folders_are_followed_once(tmp_path):
    """Those that lead in a circle, too; one real folder is read under its own name."""
    root, other = tmp_path / "root", tmp_path / "other"
    for folder in (root / "b", root / ".hidden", other / "deep", other / ".git"):
        folder.mkdir(parents=True)
        (folder / "2").write_text("")
        (folder / "1").write_text("")
    for link, target in ((root / "a", root / "b"), (root / "c", other), (other / "up", root), (root / "d", other)):
        link.symlink_to(target)
    found = [(Path(place).relative_to(root).as_posix(), names) for place, _, names in walked(root)]
    assert found == [(".", []), ("b", ["1", "2"]), ("c", []), ("c/deep", ["1", "2"])]
    top = []
    for place, folders, _ in walked(root):
        top.append(Path(place))
        folders.clear()
    assert top == [root]


def test_atomic_files_leave_nothing_behind(tmp_path):
    write_atomic(tmp_path / "deep" / "file", b"one")
    write_atomic(tmp_path / "deep" / "file", b"two")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["file"]
    assert (tmp_path / "deep" / "file").read_bytes() == b"two"
    with pytest.raises(ValueError):
        dump_json({"a": float("nan")})


def test_optional_packages_are_imported_late_and_named_when_missing():
    code = """
import sys
sys.modules.update(dict.fromkeys(["pycocotools", "cv2", "rich"]))  # None makes an import fail
import cutmix_dense.data, cutmix_dense.data.writers, cutmix_dense.data.demo
from cutmix_dense.data.extras import coco_masks, opencv
for function in (coco_masks, opencv):
    try:
        function()
    except ImportError as error:
        print(error)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == [
        'pycocotools is needed for this: pip install "cutmix_dense[data]"',
        'opencv-python-headless is needed for this: pip install "cutmix_dense[data]"',
    ]


def test_lines_of_lists_from_any_editor(tmp_path):
    (tmp_path / "a.txt").write_bytes("\ufeffüb er\r\n\r\nx ".encode())
    assert read_lines(tmp_path / "a.txt") == ["üb er", "", "x "]
    (tmp_path / "a.txt").write_bytes(b"\xff\xfea")
    with pytest.raises(DatasetError, match=r"a\.txt: not a readable text file"):
        read_lines(tmp_path / "a.txt")
