"""What a copy says of its pictures: no field leads to another picture, and LVIS' fields hold for all that shows."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image

import cutmix_dense as cd
from cutmix_dense.data import open_dataset
from cutmix_dense.data.addresses import name_in, renamed, without_addresses
from cutmix_dense.data.demo import make_demo_set
from cutmix_dense.data.mixed_copy import mix_dataset
from cutmix_dense.data.mixed_sample import mix_sample, open_complete
from cutmix_dense.data.readers.lvis import looked_for

from .conftest import save_image
from .test_readers_coco_panoptic import make_panoptic  # noqa: F401

NAMES = ("train2017/1.png", "val2017/2.png", "train2017/3.png", "train2017/4.png")
HOST = "http://images.cocodataset.org/"
FLICKR = "http://farm.static.flickr.com/x"


@pytest.fixture
def lvis(tmp_path):
    """Four pictures that their addresses alone name; in the k-th shows class k alone, and further ones are absent."""
    content = {
        "images": [],
        "annotations": [],
        "categories": [{"id": number, "name": f"c{number}"} for number in (1, 2, 3, 4, 10, 11, 12)],
    }
    for number, name in enumerate(NAMES, 1):
        save_image(tmp_path / "set" / name, seed=number)
        image = {"id": number, "width": 60, "height": 40, "coco_url": HOST + name, "flickr_url": FLICKR, "license": 1}
        absent = [10, 11, 12 if number % 2 else 1, *((1, 2, 3, 4) if number == 4 else ())]
        image |= {"neg_category_ids": [each for each in dict.fromkeys(absent) if each != number]}
        content["images"].append(image | {"not_exhaustive_category_ids": [3] if number == 3 else []})
        for x in range(0, 60, 12):
            box = {"bbox": [x, 4, 10, 30], "area": 300, "segmentation": [[x, 4, x + 10, 4, x + 10, 34, x, 34]]}
            own = {"id": len(content["annotations"]) + 1, "image_id": number, "category_id": number}
            content["annotations"].append(own | box)
    (tmp_path / "set" / "annotations").mkdir()
    (tmp_path / "set" / "annotations" / "lvis_v1_train.json").write_text(json.dumps(content))
    return tmp_path / "set"


def read(copy):
    (path,) = (copy / "annotations").glob("*.json")
    return json.loads(path.read_text())


def opened_by_lvis(copy, image):
    """The picture as readers of LVIS open it, by the last two parts of the address."""
    return np.asarray(Image.open(copy / "lvis_v1_train" / "/".join(image["coco_url"].split("/")[-2:])))


@pytest.mark.parametrize("p", [0.0, 1.0])
@pytest.mark.parametrize("again", [False, True])
def test_readers_of_lvis_open_the_picture_of_the_copy(lvis, tmp_path, p, again):
    if again:
        mix_dataset(open_complete(lvis), tmp_path / "first", cd.CutMix(p=0.0))
        lvis = tmp_path / "first"
    report = mix_dataset(open_complete(lvis), tmp_path / "copy", cd.CutMix(p=p), with_originals=True)
    images = read(tmp_path / "copy")["images"]
    dataset = open_dataset(tmp_path / "copy")
    assert len(images) == 8
    for index, image in enumerate(images):
        assert image["coco_url"] == f"{HOST}{image['file_name']}"
        assert np.array_equal(opened_by_lvis(tmp_path / "copy", image), dataset[index][0].permute(1, 2, 0).numpy())
        assert image.get("flickr_url") == (None if p and index >= 4 else FLICKR)
        assert image["license"] == 1
    assert report.not_kept.get("flickr_url of mixed pictures", 0) == 4 * p
    assert "coco_url of mixed pictures" not in report.not_kept


def test_an_address_beside_a_file_name_stays_with_its_own_picture_alone(lvis, tmp_path):
    path = lvis / "annotations" / "lvis_v1_train.json"
    content = json.loads(path.read_text())
    for image in content["images"]:
        image |= {"file_name": name_in(image["coco_url"]), "coco_url": f"{HOST}all/{image['id']}.png"}
        image |= {"extra": {"name": "IMG_1.JPG", "camera": "x"}}
    path.write_text(json.dumps(content))
    report = mix_dataset(open_complete(lvis), tmp_path / "copy", cd.CutMix(p=1.0), with_originals=True)
    images = read(tmp_path / "copy")["images"]
    assert [image.get("coco_url") for image in images] == [f"{HOST}all/{n}.png" for n in (1, 2, 3, 4)] + [None] * 4
    assert [len(image["extra"]) for image in images] == [2] * 4 + [1] * 4
    lost = {"coco_url": 4, "extra.name": 4, "flickr_url": 4}
    assert {k: v for k, v in report.not_kept.items() if "mixed" in k} == {
        f"{name} of mixed pictures": count for name, count in lost.items()
    }


def test_other_layouts_have_no_address_of_a_mixed_picture(lvis, tmp_path):
    report = mix_dataset(open_complete(lvis), tmp_path / "copy", cd.CutMix(p=1.0), to="labelme")
    tables = list((tmp_path / "copy" / "lvis_v1_train").glob("*/*.json"))
    assert len(tables) == 4
    assert not any("coco_url" in path.read_text() for path in tables)
    assert report.not_kept["coco_url of mixed pictures"] == 4


def test_clips_lose_addresses_and_keep_the_names_of_their_frames(tmp_path):
    root = make_demo_set(tmp_path / "demo", kinds=("clips",)) / "youtube_vis"
    path = root / "train" / "instances.json"
    content = json.loads(path.read_text())
    for video in content["videos"]:
        video |= {"coco_url": f"{HOST}{video['id']}.jpg", "flickr_url": ""}
    path.write_text(json.dumps(content))
    names = content["videos"][0]["file_names"]
    for p in (0.0, 1.0):
        mix_dataset(open_complete(root), tmp_path / f"copy{p}", cd.CutMix(p=p, layout="BTCHW"), limit=2)
        video = json.loads((tmp_path / f"copy{p}" / "train" / "instances.json").read_text())["videos"][0]
        assert video.get("coco_url") == (None if p else f"{HOST}1.jpg")
        assert video["flickr_url"] == ""
        assert [name.split("/")[-1] for name in video["file_names"]] == [name.split("/")[-1] for name in names]


def test_panoptic_pictures(make_panoptic, tmp_path_factory):  # noqa: F811
    root, copies = make_panoptic(), tmp_path_factory.mktemp("copies")
    path = root / "annotations" / "panoptic_train.json"
    content = json.loads(path.read_text())
    for image in content["images"]:
        image["coco_url"] = f"{HOST}train/{image['file_name']}"
    path.write_text(json.dumps(content))
    for p in (0.0, 1.0):
        mix_dataset(open_complete(root), copies / f"copy{p}", cd.CutMix(p=p))
        table = json.loads((copies / f"copy{p}" / "annotations" / "panoptic_train.json").read_text())
        stated = [] if p else [image["coco_url"] for image in content["images"]]
        assert sorted(image["coco_url"] for image in table["images"] if "coco_url" in image) == stated


@pytest.mark.parametrize("transform", [cd.CutMix(p=1.0), cd.Mosaic(p=1.0), cd.MixUp(p=1.0), cd.CopyPaste(p=1.0)])
def test_absent_classes_are_absent_from_all_that_shows(lvis, tmp_path, transform):
    source = json.loads((lvis / "annotations" / "lvis_v1_train.json").read_text())
    stated = {image["id"]: image for image in source["images"]}
    dataset = open_complete(lvis)
    report = mix_dataset(dataset, tmp_path / "copy", transform, copies=4, seed=2)
    content = read(tmp_path / "copy")
    went = 0
    for number, image in enumerate(content["images"]):
        copy, index = divmod(number, 4)
        made = mix_sample(dataset, transform, index, copy=copy, seed=2)
        seen = made.plan.source[made.plan.owned_pixels() > 0].tolist()
        entries = [stated[made.indices[place] + 1] for place in sorted({0, *seen})]
        shown = {each["category_id"] for each in content["annotations"] if each["image_id"] == image["id"]}
        absent = set.intersection(*(set(entry["neg_category_ids"]) for entry in entries)) - shown
        assert set(image["neg_category_ids"]) == absent
        partial = set(image["not_exhaustive_category_ids"])
        assert partial.isdisjoint(absent)
        assert partial >= {3} & {entry["id"] for entry in entries}
        for label in shown:  # class k is looked for in picture k, and where it is absent
            known = all(label == entry["id"] != 3 or label in entry["neg_category_ids"] for entry in entries)
            assert (label in partial) != known
        went += len(set(entries[0]["neg_category_ids"]) - absent)
    assert went > 0
    assert report.not_kept["neg_category_ids that a mix may show"] == went


def test_looked_for():
    lost = Counter()
    base, other = {"neg_category_ids": [7, 8, 9], "not_exhaustive_category_ids": [1]}, {"neg_category_ids": [9, 8, 2]}
    fields = looked_for([base, other], [[1, 2], [7]], [1, 2, 9], lost)
    assert fields == {"neg_category_ids": [8], "not_exhaustive_category_ids": [1]}
    assert lost == {"neg_category_ids that a mix may show": 2}
    assert looked_for([{}, {}], [[1], [2]], [1], lost) == {}
    assert looked_for([{}, other], [[1], [2]], [1, 2], lost) == {"not_exhaustive_category_ids": [1, 2]}
    cut_outs = {}  # of pictures that nobody knows
    fields = looked_for([base, cut_outs], [[1, 2], []], [2], Counter())
    assert fields == {"neg_category_ids": [], "not_exhaustive_category_ids": [1, 2]}
    odd = {"neg_category_ids": None, "not_exhaustive_category_ids": [[1], 5]}
    assert looked_for([odd], [[1]], [1], lost) == {"neg_category_ids": [], "not_exhaustive_category_ids": [5]}


def test_addresses():
    assert renamed(f"{HOST}train2017/1.jpg?size=1/2", "train/val2017/1-mix0.jpg") == f"{HOST}val2017/1-mix0.jpg"
    assert renamed(f"{HOST}train/1.jpg?size=1/2", "train/1.jpg") == f"{HOST}train/1.jpg?size=1/2"
    lost = Counter()
    details = {
        "coco_url": "a",
        "url": "",
        "flickr_url": None,
        "path": "/x/1.TIFF#here",
        "license": "https://creativecommons.org/licenses/by/4.0/",
        "size": 3,
        "inner": {"photo": "a.png?key=1", "text": "png", "url": "https://creativecommons.org/licenses/by/4.0/"},
        "more": [{"url": "http://x/1.jpg"}, "b.jpg", "words", 5],
        "file_names": ["1.jpg"],
    }
    kept = {key: details[key] for key in ("url", "flickr_url", "license", "size", "file_names")}
    kept |= {"inner": {"text": "png", "url": details["license"]}, "more": [{}, "words", 5]}
    assert without_addresses(details, "", lost) == kept
    assert lost == {f"{key} of mixed pictures": 1 for key in ("coco_url", "path", "inner.photo", "more.url", "more")}
    assert without_addresses(details, "coco_url", lost) == {"coco_url": "a", **kept}
