"""The README's table of what mixing transforms take, asked of the libraries that are installed.

A cell is "✓" (every transform, or all that the kind makes sense for), the names of the transforms that take it, or "–".
What no test here can ask (AlbumentationsX is never installed) names the file that was read: docs/coming_from.md.
"""

from __future__ import annotations

import inspect
from importlib.metadata import metadata

import pytest
import torch
from snippets import ROOT
from torchvision import tv_tensors
from torchvision.transforms import v2

import cutmix_dense as cd

KINDS = ("boxes", "masks", "maps", "keypoints")


def table() -> dict[str, dict[str, str]]:
    """The README's cells by library and column."""
    lines = (ROOT / "README.md").read_text().partition("## Compared with other libraries")[2].splitlines()
    rows = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    head = rows[0][1:]
    table = rows[2 : 2 + next(number for number, row in enumerate(rows[2:]) if len(row) != len(rows[0]))]
    return {row[0]: dict(zip(head, row[1:])) for row in table}


TABLE = table()


def row_of(library: str) -> dict[str, str]:
    (row,) = [cells for name, cells in TABLE.items() if name.startswith(library)]
    return row


def licence_of(distribution: str) -> str:
    told = metadata(distribution)
    return " ".join(
        filter(None, [told.get("License-Expression"), told.get("License"), *told.get_all("Classifier", [])])
    )


def test_every_library_of_the_table_is_told_about():
    assert len(TABLE) == 7
    text = (ROOT / "docs" / "coming_from.md").read_text().partition("## Where the table comes from")[2]
    for name in TABLE:
        library, _, version = name.partition(" ")
        assert library == "cutmix_dense" or library in text, name
        assert version in ("", "v2") or version in text, name


def test_ours_takes_everything_in_one_batch():
    row = row_of("cutmix_dense")
    assert set(row.values()) == {"✓", "MIT"}
    images = torch.arange(2 * 3 * 20 * 30).reshape(2, 3, 20, 30).float()
    masks = torch.zeros(1, 20, 30, dtype=torch.bool)
    masks[:, 2:18, 3:27] = True
    points = torch.tensor([[[5.0, 5.0, 2.0], [25.0, 15.0, 2.0]]])
    target = {
        "boxes": torch.tensor([[3.0, 2, 27, 18]]),
        "labels": torch.tensor([1]),
        "masks": masks,
        "keypoints": points,
    }
    targets = [{**target, "semantic": (image[0] % 7).long()} for image in images]
    half = cd.MixPlan.from_rectangles(
        torch.tensor([[0, 1], [1, 0]]), torch.tensor([[[0, 0, 20, 15]]] * 2), torch.tensor([[20, 30]] * 2)
    )
    mixed, after = cd.CutMix(p=1.0).apply_plan(half, images, targets)
    for number, one in enumerate(after):
        assert torch.equal(one["semantic"], (mixed[number, 0] % 7).long())
        assert torch.equal(one["masks"].any(0), masks[0])
        assert one["boxes"].tolist() == [[15, 2, 27, 18], [3, 2, 15, 18]]
        assert (one["keypoints"][:, :, 2] > 0).tolist() == [[False, True], [True, False]]


@pytest.mark.parametrize("peer", [v2.CutMix, v2.MixUp])
@pytest.mark.parametrize("kind", KINDS)
def test_torchvision_takes_labels_alone(peer, kind):
    assert row_of("torchvision")[kind] == "–"
    points = getattr(tv_tensors, "KeyPoints", None)
    if kind == "keypoints" and points is None:
        pytest.skip("this torchvision has no keypoints")
    value = {
        "boxes": lambda: tv_tensors.BoundingBoxes([[2.0, 3, 20, 10]], format="XYXY", canvas_size=(20, 30)),
        "masks": lambda: tv_tensors.Mask(torch.ones(1, 20, 30, dtype=torch.bool)),
        "maps": lambda: tv_tensors.Mask(torch.zeros(2, 20, 30, dtype=torch.long)),
        "keypoints": lambda: points(torch.tensor([[2.0, 3.0]]), canvas_size=(20, 30)),
    }[kind]()
    sample = {"image": torch.rand(2, 3, 20, 30), "labels": torch.tensor([0, 1])}
    peer(num_classes=2)(sample)
    with pytest.raises(ValueError, match="does not support"):
        peer(num_classes=2)({**sample, "more": value})


def test_albumentations_has_one():
    albumentations = pytest.importorskip("albumentations")
    names = [
        name for name in dir(albumentations) if name.endswith(("Mix", "MixUp", "Mosaic", "CopyPaste", "CopyAndPaste"))
    ]
    assert names == ["Mosaic"]
    taken = {target.value for target in albumentations.Mosaic._targets}
    row = row_of("Albumentations 2.0")
    for kind, word in zip(KINDS, ("BBoxes", "Masks", "Mask", "Keypoints")):
        assert row[kind] == ("Mosaic" if word in taken else "–")
    assert row["licence"] in licence_of("albumentations")


def test_kornias_own_methods():
    kornia = pytest.importorskip("kornia.augmentation")
    from kornia.augmentation._2d.mix.base import MixAugmentationBaseV2

    row = row_of("kornia")
    for kind, word in zip(KINDS, ("boxes", "mask", "mask", "keypoint")):
        method = f"apply_transform_{word}"
        base = getattr(MixAugmentationBaseV2, method)
        found = [
            name
            for name in ("RandomCutMixV2", "RandomMixUpV2", "RandomMosaic")
            if getattr(getattr(kornia, name), method) is not base
        ]
        assert row[kind] == (", ".join(name.removeprefix("Random") for name in found) or "–")


def test_ultralytics_acts_on_instances_and_maps():
    augment = pytest.importorskip("ultralytics.data.augment")
    row = row_of("Ultralytics")
    for name in ("Mosaic", "MixUp", "CutMix"):
        own = vars(getattr(augment, name))
        assert "apply_instances" in own
        assert "apply_semantic" in own
    assert all(row[kind] == "✓" for kind in KINDS)
    assert row["licence"].partition("-only")[0] in licence_of("ultralytics")


def test_mmdet_carries_masks_in_one():
    transforms = pytest.importorskip("mmdet.datasets.transforms.transforms")
    row, names = row_of("mmdet"), ("Mosaic", "MixUp", "CopyPaste")
    source = {name: inspect.getsource(getattr(transforms, name)) for name in names}
    assert all("gt_bboxes" in text for text in source.values())
    assert row["boxes"] == "✓"
    assert row["masks"] == ", ".join(name for name in names if "gt_masks" in source[name])
    assert not any("gt_seg_map" in text or "gt_keypoints" in text for text in source.values())
    assert row["maps"] == row["keypoints"] == "–"
