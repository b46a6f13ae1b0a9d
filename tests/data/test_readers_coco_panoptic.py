"""COCO panoptic: ids of coloured pixels, segments that fit them, and files that are broken or hostile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import tv_tensors

import cutmix_dense as cd
from cutmix_dense import functional as F
from cutmix_dense.data import DatasetError, SampleError, find_layouts, list_splits, open_dataset
from cutmix_dense.data.mixed_copy import mix_dataset
from cutmix_dense.data.mixed_sample import open_complete
from cutmix_dense.data.readers import CocoPanopticDataset

SIZE = (40, 60)
LARGEST = 256**3 - 1


def scene() -> np.ndarray:
    """Ids of one, two and three bytes, and void."""
    ids = np.zeros(SIZE, dtype=np.int64)
    ids[:, :20], ids[5:15, 10:30], ids[20:, 40:], ids[0, 59] = 7, 300, 70_000, LARGEST
    return ids


def segments() -> list[dict[str, Any]]:
    return [
        {"id": 300, "category_id": 90, "iscrowd": 0, "area": 200, "bbox": [10, 5, 20, 10]},
        {"id": 7, "category_id": 4, "iscrowd": 0, "area": 700, "bbox": [0, 0, 20, 40]},
        {"id": 70_000, "category_id": 90, "iscrowd": 1, "area": 400, "bbox": [40, 20, 20, 20]},
        {"id": LARGEST, "category_id": 12, "iscrowd": 0, "area": 1, "bbox": [59, 0, 1, 1]},
    ]


def save_image(path: Path, size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), 90, dtype=np.uint8)).save(path)


def save_ids(path: Path, ids: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    colors = np.stack([ids % 256, ids // 256 % 256, ids // 256**2], axis=2).astype(np.uint8)
    Image.fromarray(colors).save(path)


@pytest.fixture
def make_panoptic(tmp_path):
    """Write a COCO panoptic dataset of two images; returns its root."""

    def make(**changes: Any) -> Path:
        for name in ("a", "b"):
            save_image(tmp_path / "train" / f"{name}.jpg", SIZE)
            save_ids(tmp_path / "annotations" / "panoptic_train" / f"{name}.png", scene())
        content: dict[str, Any] = {
            "images": [
                {"id": 7, "file_name": "a.jpg", "height": 40, "width": 60},
                {"id": 3, "file_name": "b.jpg", "height": 40, "width": 60},
            ],
            "annotations": [
                {"image_id": 7, "file_name": "a.png", "segments_info": segments()},
                {"image_id": 3, "file_name": "b.png", "segments_info": segments()},
            ],
            "categories": [
                {"id": 90, "name": "zebra", "isthing": 1},
                {"id": 4, "name": "sky", "isthing": 0},
                {"id": 12, "name": "ant", "isthing": 1},
            ],
        }
        content.update(changes)
        (tmp_path / "annotations" / "panoptic_train.json").write_text(json.dumps(content))
        return tmp_path

    return make


def test_ids_segments_and_classes(make_panoptic):
    root = make_panoptic()
    assert find_layouts(root) == ["coco_panoptic"]
    assert list_splits(root, "coco_panoptic") == ["train"]
    dataset = open_dataset(root)
    assert isinstance(dataset, CocoPanopticDataset)
    assert (dataset.layout, len(dataset), dataset.has_panoptic) == ("coco_panoptic", 2, True)
    assert dataset.classes == ("sky", "ant", "zebra")
    assert dataset.category_ids == (4, 12, 90)
    assert dataset.labels == {4: 0, 12: 1, 90: 2}
    assert (len(dataset.category_names), dataset.category_names[90], dataset.category_names[5]) == (91, "zebra", "")
    image, target = dataset[1]
    assert dataset.image_path(1).name == "a.jpg"
    assert (image.dtype, image.shape, target["image_id"]) == (torch.uint8, (3, 40, 60), 7)
    assert type(target["panoptic"]) is tv_tensors.Mask
    assert target["panoptic"].dtype == torch.int32
    assert np.array_equal(target["panoptic"].numpy(), scene())
    assert [info["isthing"] for info in target["segments_info"]] == [1, 0, 1, 1]
    assert [info["category_id"] for info in target["segments_info"]] == [90, 4, 90, 12]
    made = F.panoptic_targets(target["panoptic"], target["segments_info"], labels=dataset.labels)
    assert made["class_labels"].tolist() == [2, 0, 1]
    assert made["mask_labels"].sum((1, 2)).tolist() == [200, 700, 1]


@pytest.mark.parametrize("spelled", [str, float, "{:05d}".format], ids=["text", "float", "padded"])
@pytest.mark.parametrize("keys", [("id",), ("category_id",), ("id", "category_id", "iscrowd")], ids=str)
@pytest.mark.parametrize("categories", [False, True])
def test_ids_of_other_types_are_the_same_ids(make_panoptic, spelled, keys, categories):
    infos = [{**info, **{key: spelled(info[key]) for key in keys}} for info in segments()]
    changes: dict[str, Any] = {
        "annotations": [{"image_id": 7, "file_name": "a.png", "segments_info": infos}],
        "images": [{"id": 7, "file_name": "a.jpg", "height": 40, "width": 60}],
    }
    if categories:
        things = {90: ("zebra", "1"), 4: ("sky", "0"), 12: ("ant", "1")}
        changes["categories"] = [
            {"id": spelled(number), "name": name, "isthing": isthing} for number, (name, isthing) in things.items()
        ]
    dataset = open_dataset(make_panoptic(**changes))
    target = dataset[0][1]
    assert dataset.category_ids == (4, 12, 90)
    assert [info["id"] for info in target["segments_info"]] == [300, 7, 70_000, LARGEST]
    assert [info["category_id"] for info in target["segments_info"]] == [90, 4, 90, 12]
    assert [info["isthing"] for info in target["segments_info"]] == [1, 0, 1, 1]
    assert all(type(info[key]) is int for info in target["segments_info"] for key in ("id", "category_id", "iscrowd"))
    mixed = cd.CutMix(p=0.0)([dataset[0], dataset[0]])[1][0]
    assert [info["id"] for info in mixed["segments_info"]] == [300, 7, 70_000, LARGEST]


def rich(make_panoptic) -> tuple[Path, dict[str, Any]]:
    """A set that says more than it must, with a NaN here and there; its JSON."""
    nan = float("nan")
    infos = segments()
    for number, info in enumerate(infos):
        info |= {"attr": {"x": number, "nan": nan}, "score": 0.5, "extreme": [[1, 2], [3, 4]]}
    infos.append({"id": 9, "category_id": 4, "iscrowd": 0, "area": 0, "bbox": [0, 0, 0, 0]})  # no pixel has it
    changes = {
        "info": {"year": 2026},
        "split_of": "mine",
        "annotations": [
            {"image_id": image, "file_name": name, "segments_info": infos, "reviewed": True}
            for image, name in ((7, "a.png"), (3, "b.png"))
        ],
        "categories": [
            {"id": 90, "name": "zebra", "isthing": 1, "supercategory": "animal", "color": [1, 2, 3]},
            {"id": 4, "name": "sky", "isthing": 0, "supercategory": "above", "weight": nan},
            {"id": 12, "name": "ant", "isthing": 1},
        ],
    }
    root = make_panoptic(**changes)
    return root, json.loads((root / "annotations" / "panoptic_train.json").read_text())


def test_a_copy_says_of_segments_and_categories_what_the_file_says(make_panoptic, tmp_path_factory):
    root, source = rich(make_panoptic)
    output = tmp_path_factory.mktemp("out") / "copy"
    report = mix_dataset(open_complete(root), output, cd.CutMix(p=0.0))
    copy = json.loads((output / "annotations" / "panoptic_train.json").read_text())
    by_id = {each["id"]: each for each in copy["categories"]}
    assert by_id[90] == source["categories"][0]
    assert by_id[4] == {"id": 4, "name": "sky", "isthing": 0, "supercategory": "above"}
    assert by_id[12] == source["categories"][2]
    assert (copy["info"]["year"], copy["split_of"]) == (2026, "mine")
    for annotation in copy["annotations"]:
        assert annotation["reviewed"] is True
        expected = [
            {**info, "attr": {"x": info["attr"]["x"]}} for info in source["annotations"][0]["segments_info"][:4]
        ]
        pixels = {300: (200, [10, 5, 20, 10]), 7: (700, [0, 0, 20, 40]), 70_000: (400, [40, 20, 20, 20])}
        for info in expected:  # measured anew: one segment lies over another
            info["area"], info["bbox"] = pixels.get(info["id"], (1, [59, 0, 1, 1]))
        assert annotation["segments_info"] == expected
    assert report.not_kept == {"NaN in attr.nan": 8, "segments without a pixel": 2}
    assert report.made_anew == ["ids of images", "area and bbox of segments"]
    assert [note["reason"] for note in report.notes] == ["is left out of its copies: NaN in categories.weight"]


def test_a_mixed_copy_keeps_what_is_still_true_of_segments(make_panoptic, tmp_path_factory):
    root, _ = rich(make_panoptic)
    output = tmp_path_factory.mktemp("out") / "copy"
    report = mix_dataset(open_complete(root), output, cd.CutMix(p=1.0), copies=4)
    copy = json.loads((output / "annotations" / "panoptic_train.json").read_text())
    wanted = {300: 0, 7: 1, 70_000: 2, LARGEST: 3}
    kept = joined = 0
    for annotation in copy["annotations"]:
        for info in annotation["segments_info"]:
            assert not {"score", "extreme", "origin", "isthing"} & set(info)
            if "attr" in info:
                kept += 1
                assert info["id"] not in wanted or info["attr"] == {"x": wanted[info["id"]]}
            else:
                joined += 1
                assert info["category_id"] == 4 or info["iscrowd"]  # stuff and crowds of two images are one segment
    assert kept > 10
    assert report.not_kept["score of instances that were changed"] == kept
    assert report.not_kept["extreme of instances that were changed"] == kept
    assert report.not_kept.get("attr of segments that were joined", 0) == joined > 0


def test_what_a_folder_is_called_says_nothing_of_its_layout(make_panoptic, tmp_path):
    root = make_panoptic().rename(tmp_path.parent / f"{tmp_path.name} holds")
    assert find_layouts(root) == ["coco_panoptic"]


def test_what_is_read_can_be_mixed(make_panoptic):
    dataset = open_dataset(make_panoptic())
    _, targets = cd.CutMix(p=1.0, min_visibility=0)(
        [dataset[0], dataset[1]], generator=torch.Generator().manual_seed(1)
    )
    for target in targets:
        assert sum(info["area"] for info in target["segments_info"]) == int(target["panoptic"].bool().sum())
    unmixed = cd.CutMix(p=0.0)([dataset[0], dataset[1]])[1]
    for target in unmixed:
        for info, file in zip(target["segments_info"], segments()):
            assert (info["id"], info["area"], info["bbox"]) == (file["id"], file["area"], file["bbox"])


def test_a_folder_with_instances_too_is_coco(make_panoptic):
    root = make_panoptic()
    (root / "annotations" / "instances_train.json").write_text('{"images": [], "annotations": [], "categories": []}')
    assert find_layouts(root) == ["coco"]
    assert open_dataset(root).layout == "coco"
    assert open_dataset(root, "coco_panoptic").layout == "coco_panoptic"


def test_a_named_file_says_that_it_is_panoptic(make_panoptic):
    root = make_panoptic()
    table, images = root / "annotations" / "panoptic_train.json", root / "train"
    instances = table.with_name("instances_train.json")
    instances.write_text('{"images": [], "annotations": [], "categories": []}')
    assert open_dataset(root, annotations=table, images=images).layout == "coco_panoptic"
    assert open_dataset(root, annotations=str(instances), images=images).layout == "coco"


def test_places_of_files(make_panoptic):
    root = make_panoptic()
    annotations = (root / "annotations" / "panoptic_train.json").rename(
        root / "annotations" / "panoptic_train2017.json"
    )
    (root / "annotations" / "panoptic_train").rename(root / "panoptic_train2017")
    (root / "train").rename(root / "train2017")
    for split in ("train", "train2017"):
        assert open_dataset(root, split=split)[0][1]["panoptic"].shape == SIZE
    (root / "panoptic_train2017").rename(root / "elsewhere")
    with pytest.raises(DatasetError, match=r"annotations.panoptic_train2017: no such PNG folder"):
        open_dataset(root)
    found = CocoPanopticDataset(root, annotations=annotations, images=root / "train2017", maps=root / "elsewhere")
    assert found.map_path(0) == root / "elsewhere" / "b.png"
    with pytest.raises(DatasetError, match=r"no COCO panoptic annotations of split 'val'.*splits found: train2017"):
        open_dataset(root, "coco_panoptic", "val")


@pytest.mark.parametrize("name", ["../secret.png", "/etc/passwd", "..\\secret.png", "x/../../secret.png", "", 5])
def test_file_names_stay_in_their_folder(make_panoptic, name):
    save_ids(make_panoptic() / "annotations" / "secret.png", scene())
    annotations = [{"image_id": image, "file_name": name, "segments_info": segments()} for image in (7, 3)]
    dataset = open_dataset(make_panoptic(annotations=annotations))
    with pytest.raises(SampleError, match="leads out of the folder" if name != 5 else r"5: file not found"):
        dataset[1]
    dataset = open_dataset(make_panoptic(images=[{"id": 7, "file_name": "../train.jpg"}], annotations=annotations[:1]))
    with pytest.raises(SampleError, match="leads out of the folder"):
        dataset[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop(0), "holds ids that segments_info doesn't list: 300"),
        (lambda s: s[0].update(id=7), "lists the id 7 twice"),
        (lambda s: s[0].update(id=0), "must lie in 1 …"),
        (lambda s: s[0].update(id="x300"), "whole numbers"),
        (lambda s: s[0].update(id=300.5), "whole numbers"),
        (lambda s: s[0].update(id="7"), "lists the id 7 twice"),
        (lambda s: s[0].update(id=10**40), "must lie in 1 …"),
        (lambda s: s[0].pop("id"), "has no 'id'"),
        (lambda s: s[0].update(category_id=5), "category_id 5 is not among the categories"),
        (lambda s: s[0].update(category_id=[90]), "cannot be interpreted as an integer"),
        (lambda s: s[0].pop("category_id"), "cannot be interpreted as an integer"),
        (lambda s: s[0].update(iscrowd="no"), "whole numbers"),
        (lambda s: s.append("sky"), "a segment must be an object, got str"),
        (lambda s: {"id": 3}, "segments_info must be a list, got dict"),
    ],
)
def test_segments_that_make_no_sense_are_named(make_panoptic, change, message):
    infos = segments()
    given = change(infos)
    infos = given if isinstance(given, dict) and "area" not in given else infos
    entries = [
        {"image_id": 7, "file_name": "a.png", "segments_info": infos},
        {"image_id": 3, "file_name": "b.png", "segments_info": segments()},
    ]
    dataset = open_dataset(make_panoptic(annotations=entries))
    with pytest.raises(SampleError, match=rf"a\.png: with its segments in .*panoptic_train\.json: .*{message}"):
        dataset[1]
    dataset[0]


def test_maps_that_do_not_fit_are_named(make_panoptic):
    root = make_panoptic()
    dataset, path = open_dataset(root), root / "annotations" / "panoptic_train" / "a.png"
    save_ids(path, scene()[:, :50])
    with pytest.raises(SampleError, match=r"a\.png: the map is 50×40, its image is 60×40"):
        dataset[1]
    Image.fromarray(scene().astype(np.uint8)).save(path)
    with pytest.raises(SampleError, match=r"a\.png: a panoptic map must be an RGB PNG, this one is L"):
        dataset[1]
    save_ids(path, scene())
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(SampleError, match=r"a\.png"):
        dataset[1]
    path.unlink()
    with pytest.raises(SampleError, match=r"a\.png: file not found"):
        dataset[1]
    save_image(root / "train" / "b.jpg", (60, 40))
    with pytest.raises(SampleError, match=r"b\.jpg: is 40×60, but panoptic_train.json says 60×40"):
        dataset[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"categories": [{"id": 4, "name": "sky"}]}, r"categories\[0\] has no 'isthing'"),
        (
            {"categories": [{"id": "x4", "name": "sky", "isthing": 0}]},
            "ids of 'categories' must be integers in 0 … 65535",
        ),
        ({"annotations": [{"image_id": 7, "segments_info": []}]}, r"annotations\[0\] has no 'file_name'"),
        ({"annotations": [{"image_id": 7, "file_name": "a.png"}]}, r"annotations\[0\] has no 'segments_info'"),
        (
            {"annotations": [{"image_id": [7], "file_name": "a.png", "segments_info": []}]},
            r"annotations\[0\]\['image_id'\] must be",
        ),
        (
            {"annotations": [{"image_id": 7, "file_name": "a.png", "segments_info": []}] * 2},
            "two annotations of the image 7",
        ),
        ({"images": None}, "not COCO panoptic, no list named 'images'"),
    ],
)
def test_json_that_is_not_coco_panoptic(make_panoptic, changes, message):
    with pytest.raises(DatasetError, match=rf"panoptic_train\.json: .*{message}"):
        open_dataset(make_panoptic(**changes))


def test_an_image_without_annotation_is_named(make_panoptic):
    annotation = {"image_id": 3, "file_name": "b.png", "segments_info": segments()}
    dataset = open_dataset(make_panoptic(annotations=[annotation]))
    dataset[0]
    with pytest.raises(SampleError, match=r"panoptic_train\.json: has no annotation of the image 7"):
        dataset[1]
