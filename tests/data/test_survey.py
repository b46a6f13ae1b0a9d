"""Folders that no reader knows: what is told of them, for each kind of files, and in how many calls."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from cutmix_dense.cli.benchmarking.calls import count_calls
from cutmix_dense.data import DatasetError, open_dataset
from cutmix_dense.data.survey import advice

from .conftest import save_image

KITTI = "{} 0.00 0 -1.57 614.2 181.8 727.3 284.8 1.57 1.73 4.15 1.00 1.75 13.22 1.62"
CVAT = '<?xml version="1.0"?>\n<annotations><version>1.1</version>{}</annotations>'
VIA = {"a.jpg12": {"filename": "a.jpg", "regions": [{"shape_attributes": {"name": "rect", "x": 1}}]}}
VOTT = {"assets": {"k": {"asset": {"name": "a.jpg"}, "regions": [{"boundingBox": {"left": 1}, "tags": ["cat"]}]}}}
DATUMARO = {"items": [{"id": "a", "annotations": [{"id": 0, "type": "bbox"}]}], "categories": {"label": {}}}
STUDIO = [{"id": 1, "annotations": [{"result": [{"from_name": "label", "type": "rectanglelabels"}]}]}]
OBJECTS = "<objects><object><points><point>0,0</point></points></object></objects>"
BY_HAND = "no converter that we tried reads them right; write a COCO JSON"


def told(root: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        open_dataset(root)
    return str(caught.value)


def put(root: Path, name: str, content: object) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        (
            "annotations.xml",
            CVAT.format('<image id="0" name="a.jpg"><box label="x"/></image>'),
            'annotations.xml looks like CVAT\'s XML: pip install "datumaro[cli]" in an environment of its own, then '
            "`datum convert -if cvat -i {root} -f coco_instances -o {root}_coco -- --save-media`",
        ),
        (
            "v.xml",
            CVAT.format('<track id="0"><box/></track>'),
            "v.xml looks like CVAT's XML of a video: export as COCO",
        ),
        (
            "x/y/a.xml",
            "<annotation><object><polygon><pt><x>1</x></pt></polygon></object></annotation>",
            "import it into CVAT",
        ),
        ("a.xml", f"<annotation>{OBJECTS}</annotation>", "oriented boxes (FAIR1M): write DOTA's text files"),
        (
            "via.json",
            VIA,
            "via.json looks like VIA's (VGG) JSON: pip install panlabel in an environment of its own, then `panlabel "
            "convert --from via --to coco -i {root}/via.json -o {root}/via_coco.json --allow-lossy` for rectangles",
        ),
        ("via.csv", "filename,file_size,region_shape_attributes,x\n", "`panlabel convert --from via-csv --to coco"),
        ("export.json", VOTT, "`datum convert -if vott_json -i {root} -f"),
        ("export.csv", '"image","xmin","ymin","xmax","ymax","label"\n', "`datum convert -if vott_csv -i {root} -f"),
        (
            "a.json",
            [{"image": "a.jpg", "annotations": [{"coordinates": {"x": 1}}]}],
            "`panlabel convert --from create-ml",
        ),
        ("ann/a.jpg.json", {"objects": [{"classTitle": "cat"}]}, "export as COCO, YOLO or Pascal VOC from Supervisely"),
        ("project.json", STUDIO, "export as COCO or YOLO from Label Studio"),
        ("export.ndjson", {"data_row": {"id": "x"}}, f"Labelbox' export: {BY_HAND}"),
        ("annotations/train.json", DATUMARO, "`datum convert -if datumaro -i {root} -f"),
        (
            "annotations/b.csv",
            "ImageID,Source,LabelName,Confidence,XMin\n",
            "`datum convert -if open_images -i {root} -f",
        ),
        ("boxes.csv", "filename,width,height,class,xmin,ymin,xmax,ymax\n", f"a table of boxes: {BY_HAND}"),
        ("seq/gt/gt.txt", "1,-1,0,4,4,8,1,3,1.0\n", "`datum convert -if mot_seq -i {root}/seq -f"),
        ("list.txt", "0--Parade/a.jpg\n1\n1 2 2 2 0 0\n", f"WIDER FACE's list: {BY_HAND}"),
        ("txt/a.txt", "1 1 9 1 9 5 1 5 plane 0\n", "or name both: --layout dota --annotations txt --images pictures"),
        ("gt/a.txt", "0 0.5 0.5 0.25 0.25\n", "YOLO's text files: they are read with pictures in images/"),
        (
            "gt/a.txt",
            "0 50 50 30.5 30\n",
            "YOLO's text files in pixels: YOLO's coordinates are shares of the image's width and height, so divide",
        ),
        (
            "annotation_train.odgt",
            '{"ID": "273271,c9", "gtboxes": [{"tag": "person", "fbox": [1, 1, 9, 9], "extra": {"occ": 1}}]}\n',
            "CrowdHuman's JSON lines: write a COCO JSON (images, annotations with bbox [x, y, width, height], "
            "categories): fbox as bbox, and iscrowd 1 where the tag is mask or extra says ignore 1; then name it",
        ),
        ("metadata.jsonl", {"file_name": "a.jpg", "text": "a cat"}, 'rows of detection have "objects"'),
        ("a.parquet", "PAR1", "give the split to HuggingFaceDataset"),
        ("a.tfrecord", "", f"TFRecords: {BY_HAND}"),
        ("digit.mat", "", "MATLAB's files"),
        ("a.npz", "", "save them as pictures"),
        ("scan.nii.gz", "", "NIfTI volumes: a dataset.json"),
        ("set.zip", "", "an archive: unpack it first"),
        ("set.tar.gz", "", "an archive: unpack it first"),
    ],
)
def test_kinds(tmp_path, name, content, expected):
    root = tmp_path / "set"
    save_image(root / "pictures" / "a.jpg")
    put(root, name, content)
    text = told(root)
    assert text.startswith(f"{root}: none of the known layouts (datasets/README.md shows them); found ")
    assert expected.format(root=root) in text
    assert text.count("looks like") == 1


def test_kitti_names_classes_and_folders(tmp_path):
    root = tmp_path / "my set"
    save_image(root / "training" / "image_2" / "a.png")
    put(root, "training/label_2/a.txt", "\n".join(KITTI.format(name) for name in ("Van", "Person sitting", "Van")))
    assert (
        "`labelformat convert --task object-detection --input-format kitti --input-folder "
        f"'{root}/training/label_2' --category-names 'Person sitting,Van' --images-rel-path ../image_2 "
        f"--output-format coco --output-file '{root}/annotations.json'`"
    ) in told(root)
    assert "--annotations annotations.json --images training/image_2" in told(root)


CLIPS = {
    "videos": [{"id": 1, "width": 60, "height": 40, "length": 1, "file_names": ["v\u00fc 1/0.jpg"]}],
    "categories": [{"id": 1, "name": "cat"}],
    "annotations": [{"id": 1, "video_id": 1, "category_id": 1, "segmentations": [None], "bboxes": [[1, 1, 9, 9]]}],
}


@pytest.mark.parametrize("folder", ["train", ".", "frames/JPEGImages", "deep/down"])
def test_videos_name_flags_that_read_them(tmp_path, folder):
    put(tmp_path, "annotations_train.json", CLIPS)
    put(tmp_path, "annotations_test.json", {**CLIPS, "annotations": None})  # as OVIS has it; no reader takes it
    save_image(tmp_path / folder / "v\u00fc 1" / "0.jpg")
    found = re.search(
        r"annotations_train\.json looks like YouTube-VIS's JSON .*?: it is read with (.*)", told(tmp_path)
    )
    assert found is not None
    words = shlex.split(found[1])
    given = dict(zip(words[::2], words[1::2], strict=True))
    dataset = open_dataset(
        tmp_path,
        given.pop("--layout"),
        annotations=tmp_path / given.pop("--annotations"),
        images=tmp_path / given.pop("--images"),
    )
    assert len(dataset[0][1][0]["boxes"]) == 1
    assert not given


def test_videos_whose_frames_lie_elsewhere(tmp_path):
    put(tmp_path, "annotations_train.json", CLIPS)
    assert told(tmp_path).endswith("--images FOLDER, FOLDER being the one that holds v\u00fc 1/0.jpg")


def test_lists_of_coco_name_the_flags(tmp_path):
    save_image(tmp_path / "deep" / "data" / "a.jpg")
    put(tmp_path, "deep/tables/inner/labels.json", {"images": [], "annotations": [], "categories": []})
    text = told(tmp_path)
    assert "deep/tables/inner/labels.json has images/annotations/categories: --annotations deep/tables/inner/" in text
    assert text.endswith("labels.json --images deep/data")


def test_flags_are_quoted_for_a_shell(tmp_path):
    save_image(tmp_path / "deep" / "my pictures" / "a.jpg")
    put(tmp_path, "deep/x/y/my ann.JSON", {"images": [], "annotations": [], "categories": []})
    flags = told(tmp_path).partition("categories: ")[2]
    assert shlex.split(flags) == ["--annotations", "deep/x/y/my ann.JSON", "--images", "deep/my pictures"]
    (tmp_path / "outer" / "in ner").mkdir(parents=True)
    save_image(tmp_path / "outer" / "in ner" / "train" / "a.jpg")
    put(
        tmp_path / "outer" / "in ner" / "train",
        "_annotations.coco.json",
        {"images": [], "annotations": [], "categories": []},
    )
    assert f"name one, as '{tmp_path}/outer/in ner' (coco)" in told(tmp_path / "outer")


def test_a_broken_json_is_named(tmp_path):
    """Cut off, small and large, so that its lists are there and it can't be read."""
    save_image(tmp_path / "a" / "b" / "c" / "d" / "1.jpg")
    whole = json.dumps({"images": [], "annotations": [{"id": i} for i in range(3)], "categories": []})
    put(tmp_path, "a/b/c/d/labels.json", whole[: whole.index("categories") - 3])
    text = told(tmp_path)
    assert "a/b/c/d/labels.json is no readable JSON: Expecting ',' delimiter" in text
    assert "--annotations" not in text
    assert "nothing says" not in text
    large = json.dumps({"images": [], "annotations": [{"id": i, "text": "x" * 50} for i in range(30000)]})
    put(tmp_path, "a/b/c/d/labels.json", large[:-200])
    assert "a/b/c/d/labels.json is no readable JSON: it is cut off" in told(tmp_path)
    put(tmp_path, "a/b/c/d/labels.json", large)
    assert "a/b/c/d/labels.json has images/annotations: --annotations a/b/c/d/labels.json --images a/b/c/d" in told(
        tmp_path
    )
    put(tmp_path, "a/b/c/d/labels.json", "")
    assert "a/b/c/d/labels.json is no readable JSON: it is empty" in told(tmp_path)


@pytest.mark.parametrize(("folders", "each"), [(1, 50_000), (500, 20)])
def test_a_look_at_large_folders_costs_few_calls(tmp_path, folders, each):
    """Some fifty to sixty a file with Python 3.11, of which other versions make some more or fewer."""
    for folder in range(folders):
        place = tmp_path / f"d{folder}"
        place.mkdir()
        for i in range(each):
            os.close(os.open(f"{place}/image_{i:06d}.jpg", os.O_CREAT))
    text = ""

    def look():
        nonlocal text
        text = told(tmp_path)

    assert count_calls(look, warmup=0) < 80 * folders * each
    assert f"{min(folders * each, 20_000)} .jpg; pictures are in d0/" in text


def test_pictures_alone(tmp_path):
    assert "it holds no files" in told(tmp_path)
    save_image(tmp_path / "a" / "1.jpg")
    save_image(tmp_path / "a" / "2.JPG")
    assert told(tmp_path).endswith(
        "pictures are in a/ (2), and nothing says what is on them: put the annotations beside them, or name them with "
        "--layout LAYOUT --annotations PATH"
    )
    put(tmp_path, "notes.odd", "1 2 3")
    assert (
        "pictures are in a/ (2), and no other file is of a known kind: write the annotations as a COCO JSON "
        "(images, annotations with bbox [x, y, width, height], categories), or name them with --layout LAYOUT"
    ) in told(tmp_path)
    save_image(tmp_path / "b" / "x.png")
    assert "pictures are in a/ (2), b/ (1); if one of these holds maps" in told(tmp_path)


def test_a_known_folder_below(tmp_path):
    save_image(tmp_path / "inner" / "train" / "a.jpg")
    put(tmp_path, "inner/train/_annotations.coco.json", {"images": [], "annotations": [], "categories": []})
    assert f"below it there are inner/ (coco): name one, as {tmp_path / 'inner'} (coco)" in told(tmp_path)


def test_files_that_can_not_be_read_are_passed_over(tmp_path):
    (tmp_path / "a.json").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "link.xml").symlink_to(tmp_path / "nowhere")
    assert "found " in told(tmp_path)


def test_many_files_cost_few_calls(tmp_path):
    for folder in range(5):
        (tmp_path / f"part{folder}").mkdir()
        for i in range(600):
            (tmp_path / f"part{folder}" / f"{i}.txt").write_text("1 2 3\n")
            (tmp_path / f"part{folder}" / f"{i}.json").write_text('{"a": 1}')
    assert count_calls(lambda: advice(tmp_path, {}), warmup=1) < 60 * 6000
    text = advice(tmp_path, {})
    assert text.endswith("found 3000 .json, 3000 .txt")


def test_a_look_round_loads_no_torch(tmp_path):
    put(tmp_path, "via.json", VIA)
    code = (
        "import sys; from cutmix_dense.data.survey import advice; from pathlib import Path; "
        f"print(advice(Path({str(tmp_path)!r}), {{}})[-10:]); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
