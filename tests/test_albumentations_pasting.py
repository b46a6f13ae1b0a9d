"""CopyPaste's placing, blending and choice within Albumentations, by what shows on a black picture."""

from __future__ import annotations

import numpy as np
import pytest

import cutmix_dense as cd

A = pytest.importorskip("albumentations")
mixes = pytest.importorskip("cutmix_dense.albumentations")

BASE = [[4.0, 6.0, 20.0, 24.0]]
OBJECTS = [[30.0, 20.0, 54.0, 44.0], [60.0, 10.0, 72.0, 30.0]]


def pasted(**settings):
    """The mixed picture, and the boxes that came along: of white objects on grey, onto black."""
    partner = np.full((60, 80, 3), 50, dtype=np.uint8)
    for x1, y1, x2, y2 in np.array(OBJECTS, dtype=int):
        partner[y1:y2, x1:x2] = 255
    donor = {"image": partner, "bboxes": np.array(OBJECTS), "labels": [1, 2]}
    params = A.BboxParams("pascal_voc", label_fields=["labels"])
    pipeline = A.Compose([mixes.CopyPaste(p=1.0, min_visibility=0, **settings)], bbox_params=params, seed=3)
    black = np.zeros((60, 80, 3), dtype=np.uint8)
    out = pipeline(image=black, bboxes=np.array(BASE), labels=[7], mix_metadata=[donor])
    boxes = [box for box, label in zip(out["bboxes"], out["labels"]) if label != 7]
    return out["image"], np.array(boxes).round().astype(int)


@pytest.mark.parametrize(
    ("settings", "shade"),
    [
        ({"instances": "all"}, 255),
        ({"instances": "all", "place": "random"}, 255),
        ({"instances": "all", "place": "grid", "overlap": 0.2}, 255),
        ({"instances": (1, 2), "place": "random", "scale": (0.5, 0.5), "interpolation": "nearest"}, 255),
        ({"instances": "all", "blend": 0.5}, 128),
        ({"instances": 1, "place": "random", "blend": (0.2, 0.2)}, 51),
        ({"instances": 1, "size_weights": {"small": 1.0, "medium": 0.0, "large": 0.0}, "place": "random"}, 255),
    ],
)
def test_boxes_lie_on_what_was_pasted(settings, shade):
    image, boxes = pasted(**settings)
    assert len(boxes) >= 1
    shown = np.zeros(image.shape[:2], dtype=bool)
    for x1, y1, x2, y2 in boxes:
        assert image[y1:y2, x1:x2].max() == pytest.approx(shade, abs=1)
        shown[y1:y2, x1:x2] = True
    assert not image[~shown].any()


def test_context_comes_along_round_the_box():
    image, boxes = pasted(instances=1, context=0.25, place="same")
    ((x1, y1, x2, y2),) = boxes
    around = image[..., 0] == 50
    assert around.any()
    assert (image[y1:y2, x1:x2] == 255).all()
    assert not around[y1:y2, x1:x2].any()


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"source": "self"}, TypeError, "source must be a dataset or a callable here, got 'self'"),
        (
            {"source": cd.InstanceBank(2**20)},
            TypeError,
            "source must be a dataset or a callable here, got InstanceBank",
        ),
        ({"weights": "balanced"}, ValueError, "weights must be None here, got 'balanced'"),
    ],
)
def test_what_needs_a_batch_or_classes_is_refused(settings, error, words):
    with pytest.raises(error, match=words):
        mixes.CopyPaste(**settings)
