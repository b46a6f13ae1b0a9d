"""The datasets: keys by task, subsets, transforms by name, the stand-in for CIFAR-10."""

from __future__ import annotations

import pytest
import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from cutmix_dense.cli.main import main
from cutmix_dense.data import DatasetError, open_dataset
from cutmix_dense.data.demo import make_demo_set
from cutmix_dense.training import ClassificationDataset, DenseTrainingDataset, PictureDataset, collate
from cutmix_dense.training.sample_transforms import build_transforms
from cutmix_dense.training.standin import CLASSES


@pytest.mark.parametrize(
    ("layout", "task", "keys"),
    [
        ("coco", "detection", {"boxes", "labels", "iscrowd", "area"}),
        ("coco", "instances", {"boxes", "labels", "iscrowd", "area", "masks"}),
        ("voc", "detection", {"boxes", "labels", "iscrowd", "area", "difficult"}),
        ("voc", "segmentation", {"semantic"}),
        ("cityscapes", "segmentation", {"semantic"}),
        ("cityscapes", "instances", {"boxes", "labels", "iscrowd", "area", "masks"}),
    ],
)
def test_targets_hold_what_the_task_needs(demo, layout, task, keys):
    dataset = DenseTrainingDataset(str(demo / layout), "train", task=task)
    sample = dataset[0]
    assert set(sample["target"]) == keys | {"image_id"}
    reader = open_dataset(demo / layout, layout, "train", **({"task": task} if layout == "voc" else {}))
    assert dataset.metainfo["classes"] == tuple(reader.classes)
    assert torch.equal(sample["image"], reader[0][0])
    batch = collate([dataset[0], dataset[1]])
    assert [target["image_id"] for target in batch["targets"]] == [reader[i][1]["image_id"] for i in range(2)]


def test_a_task_without_its_annotations_is_refused(demo):
    with pytest.raises(DatasetError, match="no semantic maps"):
        DenseTrainingDataset(str(demo / "coco"), "train", task="segmentation")
    with pytest.raises(ValueError, match="task must be one of"):
        DenseTrainingDataset(str(demo / "coco"), "train", task="panoptic")


@pytest.mark.parametrize("layout_given", [True, False])
@pytest.mark.parametrize(
    ("kind", "layout", "tasks", "words"),
    [
        ("clips", "youtube_vis", ("detection", "instances"), "are clips, .* mixes them with layout='BTCHW'"),
        ("volumes", "decathlon", ("detection", "segmentation"), "are volumes, .* mixes them with layout='BCDHW'"),
        ("aerial", "dota", ("detection",), r"boxes of the split 'train' are rotated \(8 numbers each\).* --to coco "),
    ],
)
def test_what_no_model_here_learns_is_refused_before_the_training(
    tmp_path_factory, kind, layout, tasks, words, layout_given
):
    if kind == "volumes":
        pytest.importorskip("nibabel")
        pytest.importorskip("scipy")
    root = make_demo_set(tmp_path_factory.getbasetemp() / f"demo-{kind}", kinds=(kind,), seed=4) / layout
    for task in tasks:
        with pytest.raises(DatasetError, match=words):
            DenseTrainingDataset(str(root), layout=layout if layout_given else None, task=task)


def test_the_copy_that_is_advised_for_rotated_boxes_is_read(tmp_path_factory, tmp_path):
    root = make_demo_set(tmp_path_factory.getbasetemp() / "demo-aerial", kinds=("aerial",), seed=4) / "dota"
    with pytest.raises(DatasetError) as told:
        DenseTrainingDataset(str(root))
    words = str(told.value).partition("cutmix-dense ")[2].partition(" makes a copy")[0]
    assert main([str(tmp_path / "copy") if word == "COPY" else word for word in words.split()]) == 0
    upright = DenseTrainingDataset(str(tmp_path / "copy"))[0]["target"]["boxes"]
    corners = open_dataset(root)[0][1]["boxes"].as_subclass(torch.Tensor).reshape(-1, 4, 2)
    limits = torch.tensor(upright.canvas_size[::-1])
    whole = ((corners >= 0) & (corners <= limits)).flatten(1).all(dim=1)  # others are cut off at the border
    assert whole.sum() > 3
    around = torch.cat([corners.amin(dim=1), corners.amax(dim=1)], dim=1)
    torch.testing.assert_close(upright.as_subclass(torch.Tensor)[whole], around[whole])


def test_subsets_are_nested_seeded_and_have_complements(demo):
    def chosen(**options):
        return DenseTrainingDataset(str(demo / "coco"), "train", **options).indices

    assert len(chosen()) == 12
    assert set(chosen(limit=3)) < set(chosen(limit=6)) < set(chosen(fraction=0.75))
    assert chosen(limit=6) == chosen(fraction=0.5)
    assert chosen(limit=6) != chosen(limit=6, subset_seed=1)
    assert sorted(chosen(limit=5) + chosen(limit=5, complement=True)) == list(range(12))
    assert chosen(subset=[7, 2]) == [7, 2]
    for wrong in ({"limit": 0}, {"fraction": 1.5}, {"limit": 2, "fraction": 0.5}, {"subset": [12]}, {"subset": []}):
        with pytest.raises(ValueError):
            chosen(**wrong)


def test_kept_classes_are_numbered_as_listed(demo):
    whole = DenseTrainingDataset(str(demo / "cityscapes"), "train", task="segmentation")
    names = whole.metainfo["classes"]
    kept = ["car", "sidewalk"]
    some = DenseTrainingDataset(str(demo / "cityscapes"), "train", task="segmentation", keep_classes=kept)
    assert some.metainfo["classes"] == ("car", "sidewalk")
    before, after = (torch.stack([data[i]["target"]["semantic"] for i in range(12)]) for data in (whole, some))
    assert set(after.unique().tolist()) == {0, 1, 255}
    for new, name in enumerate(kept):
        assert torch.equal(after == new, before == names.index(name))
    with pytest.raises(ValueError, match="keep_classes must be"):
        DenseTrainingDataset(str(demo / "cityscapes"), "train", task="segmentation", keep_classes=["cat"])


def test_a_cached_sample_is_not_changed_by_its_users(demo):
    dataset = DenseTrainingDataset(str(demo / "coco"), "train", cache=True)
    first = dataset[0]
    first["target"]["more"] = 1
    assert "more" not in dataset[0]["target"]
    assert dataset[0]["image"].data_ptr() == first["image"].data_ptr()


def test_transforms_are_built_by_name():
    built = build_transforms(
        [
            {"type": "RandomApply", "transforms": [{"type": "ColorJitter", "hue": 0.2}], "p": 0.3},
            {"type": "Resize", "size": (8, 9), "interpolation": "nearest"},
            {"type": "AutoAugment", "policy": "cifar10"},
        ]
    )
    assert isinstance(built.transforms[0].transforms[0], v2.ColorJitter)
    assert built.transforms[1].interpolation is v2.InterpolationMode.NEAREST
    assert build_transforms([]) is None
    with pytest.raises(ValueError, match="RandomFlop"):
        build_transforms([{"type": "RandomFlop"}])
    with pytest.raises((TypeError, ValueError), match="Resize: "):
        build_transforms([{"type": "Resize", "sice": 4}])


def test_maps_are_filled_with_ignore(demo):
    pad = [{"type": "RandomApply", "transforms": [{"type": "Pad", "padding": 5}], "p": 1.0}]
    target = DenseTrainingDataset(str(demo / "voc"), "train", task="segmentation", transforms=pad)[0]["target"]
    assert (target["semantic"][:5] == 255).all()
    masks = DenseTrainingDataset(str(demo / "coco"), "train", task="instances", transforms=pad)[0]["target"]["masks"]
    assert not masks[:, :5].any()


def test_the_stand_in_is_loud_seeded_and_has_all_classes(tmp_path):
    with pytest.raises(DatasetError, match="stand_in=True"):
        ClassificationDataset(str(tmp_path))
    with pytest.warns(UserWarning, match="60 DRAWN SHAPES"):
        dataset = ClassificationDataset(str(tmp_path), stand_in=True, stand_in_size=60)
    with pytest.warns(UserWarning, match="SHAPES"):
        val = ClassificationDataset(str(tmp_path), "val", stand_in=True, stand_in_size=60)
    assert dataset.metainfo["classes"] == CLASSES
    assert {int(dataset[i]["target"]["label"]) for i in range(60)} == set(range(10))
    assert torch.equal(dataset[5]["image"], dataset[5]["image"])
    assert not torch.equal(dataset[5]["image"], val[5]["image"])
    assert isinstance(dataset[0]["image"], tv_tensors.Image)
    assert dataset[0]["image"].shape == (3, 32, 32)


def test_a_folder_of_pictures_is_read_without_annotations(demo, tmp_path):
    whole = DenseTrainingDataset(str(demo / "coco"), "train", task="detection")
    (tmp_path / "deep" / ".hidden").mkdir(parents=True)
    for place, index in (("b.png", 1), ("deep/a.PNG", 2), ("deep/.hidden/c.png", 3), (".d.png", 4)):
        v2.functional.to_pil_image(whole[index]["image"]).save(tmp_path / place)
    v2.functional.to_pil_image(whole[0]["image"][:1]).save(tmp_path / "grey.png")
    (tmp_path / "notes.txt").write_text("no picture")
    pictures = PictureDataset(str(tmp_path), transforms=[{"type": "RandomHorizontalFlip", "p": 1.0}])
    assert [pictures[i]["target"] for i in range(len(pictures))] == [
        {"image_id": name} for name in ("b.png", "deep/a.PNG", "grey.png")
    ]
    assert torch.equal(pictures[1]["image"], whole[2]["image"].flip(2))
    assert torch.equal(pictures[2]["image"], whole[0]["image"][:1].flip(2).expand(3, -1, -1))
    assert isinstance(pictures[0]["image"], tv_tensors.Image)
    assert len(PictureDataset(str(tmp_path), limit=2)) == 2
    (tmp_path / "none").mkdir()
    for root, told in (("none", "no picture in it"), ("nowhere", "no such folder")):
        with pytest.raises(DatasetError, match=f"{root}: {told}"):
            PictureDataset(str(tmp_path / root))


def test_real_sets_are_read(real):
    cells = DenseTrainingDataset(str(real("bccd")), "train", layout="voc", task="detection")
    assert len(cells) == 205
    assert cells[0]["target"].keys() == {"image_id", "boxes", "labels", "iscrowd", "area", "difficult"}
    fronts = DenseTrainingDataset(str(real("facade")), "gval", layout="coco", task="instances", limit=2)
    assert len(fronts.metainfo["classes"]) == 11
    assert fronts[0]["target"]["masks"].shape[-2:] == (320, 320)
