"""Contact sheets of every layout."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from PIL import Image
from torchvision import tv_tensors

import cutmix_dense as cd
from cutmix_dense.build import known_transforms
from cutmix_dense.cli import browse
from cutmix_dense.cli.specs import build_transform, family
from cutmix_dense.data.demo import make_demo_set
from cutmix_dense.data.mixed_sample import mix_sample, open_complete
from cutmix_dense.visualization.family import family_rows
from cutmix_dense.warned import MixWarning, warn_caller


@pytest.mark.parametrize("layout", ["coco", "voc", "cityscapes"])
def test_sheets_of_the_demo_set(demo, tmp_path, layout):
    arguments = [str(demo / layout), "--split", "val", "--count", "3", "--per-sheet", "2", "--width", "240"]
    assert browse.main([*arguments, "--out", str(tmp_path), "--transform", "CutMix", "region=AreaBox.french()"]) == 0
    sheets = sorted(tmp_path.glob("*.png"))
    assert len(sheets) == 2
    with Image.open(sheets[0]) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape[1] > 3 * 200
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 1000  # pictures, not an empty page


METHODS = [*sorted(set(known_transforms()) - {"RandomMix"}), "RandomMix(transforms=[CutMix(p=1), MixUp(p=1)])"]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_can_be_looked_at(demo, tmp_path, name):
    arguments = [str(demo / "voc"), "--index", "0", "5", "--width", "160", "--out", str(tmp_path)]
    assert browse.main([*arguments, "--transform", name]) == 0


@pytest.mark.parametrize(("layout", "missing"), [("coco", 2), ("cityscapes", 0)])
def test_the_family_on_the_same_two_pictures(demo, tmp_path, layout, missing, capsys):
    arguments = [str(demo / layout), "--index", "1", "--width", "120", "--out", str(tmp_path)]
    assert browse.main([*arguments, "--family"]) == 0
    (sheet,) = tmp_path.glob("*-family-00001.png")
    dataset = open_complete(demo / layout, layout, "train")
    found = family_rows(dataset, 1, family(), across=1, cell=(90, 120))
    assert len(found.rows) + missing == 2 + len(known_transforms()) - 1
    assert all(row[0].picture is not None for row in found.rows)
    assert len(found.left_out) == missing  # two need a map
    captions = [drawing.caption for drawing in (found.rows[0][0], found.rows[1][0])]
    assert [caption.partition(": ")[0] for caption in captions] == ["base", "partner"]
    assert all(caption.endswith(", as CutMix cuts it") for caption in captions)
    told = capsys.readouterr().out
    assert told.count("\n") == 1
    remark = "left out: CarveMix, ClassMix (ClassMix, CarveMix and other masks made of classes need a semantic map of"
    assert (f"{remark} every image)" in told) == (missing == 2)
    assert sheet.stat().st_size > 10_000


class Loud(cd.CutMix):
    """A CutMix that warns in every call."""

    def draw_plan(self, *args, **options):
        warn_caller("heard")
        return super().draw_plan(*args, **options)


def test_methods_that_the_family_leaves_out_do_not_warn(tmp_path, capsys):
    """The remark says why they are; what others warn of is told."""
    rng = np.random.default_rng(0)
    for folder, shape in (("images", (60, 80, 3)), ("masks", (60, 80))):
        (tmp_path / folder).mkdir()
        for number in range(3):
            Image.fromarray(rng.integers(0, 4, shape, dtype=np.uint8)).save(tmp_path / folder / f"{number}.png")
    arguments = [str(tmp_path), "--index", "1", "--width", "120", "--out", str(tmp_path / "out"), "--family"]
    assert browse.main(arguments) == 0
    told = capsys.readouterr()
    assert "left out: CopyPaste (has nothing to mix here)" in told.out
    assert told.err == ""
    dataset = open_complete(tmp_path, "image_masks")
    with pytest.warns(MixWarning) as heard:
        found = family_rows(dataset, 1, {"one": Loud(p=1.0), "two": Loud(p=1.0), "none": cd.CopyPaste(p=1.0)})
    assert set(found.left_out) == {"none"}
    assert {str(each.message) for each in heard} == {"heard"}


def test_carvemix_of_the_family_carves_one_class_out_of_a_map_that_is_full_of_classes(demo):
    """Else it would show the partner unchanged; a map of objects on a background is carved as it is."""
    transforms = {"CarveMix": build_transform(["CarveMix"])}
    full = open_complete(demo / "cityscapes", "cityscapes", "train")
    found = family_rows(full, 1, transforms)
    name, _, caption = found.rows[0][-1].caption.partition("\n")
    (chosen,) = (int(each) for each in re.findall(r"CarveMix\(classes=\[(\d+)\]\)", name))
    assert 1 < chosen < 255
    assert 0 < int(re.findall(r"(\d+)% replaced", caption)[0]) < 60
    assert transforms["CarveMix"].classes is None
    sparse = open_complete(demo / "voc", "voc", "train")
    assert family_rows(sparse, 1, transforms).rows[0][-1].caption.startswith("CarveMix\n")


def test_the_legend_of_a_family_has_what_is_drawn(demo):
    """The VOC set's legend lists instances, not the ignored borders of its maps."""
    found = family_rows(open_complete(demo / "voc", "voc", "train"), 1, family())
    assert found.targets
    assert all("semantic" not in target and "labels" in target for target in found.targets)


def test_the_same_seed_gives_the_same_sheet(demo, tmp_path, hashes):
    for folder, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        out = str(tmp_path / folder)
        browse.main([str(demo / "coco"), "--index", "0", "3", "--seed", seed, "--out", out, "--width", "160"])
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")
    assert hashes(tmp_path / "a") != hashes(tmp_path / "c")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{demo}/nowhere"], "no such folder"),
        (["{demo}/coco", "--split", "tset"], "train, val"),
        (["{demo}/coco", "--transform", "CutMicks"], "CutMix"),
        (["{demo}/coco", "--index", "99"], "0 to 9"),
        (["{demo}"], "none of the known layouts"),
    ],
)
def test_mistakes_end_with_one_line(demo, tmp_path, words, message, capsys):
    with pytest.raises(SystemExit) as end:
        browse.main([*(word.format(demo=demo) for word in words), "--out", str(tmp_path)])
    assert end.value.code == 2
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert message in told
    assert told.count("\n") == 1


def test_it_goes_on_until_enough_samples_can_be_read(tmp_path, capsys):
    """3 of 200 pictures are there: the two that are asked for are found, what was passed over is one line."""
    (tmp_path / "set" / "train").mkdir(parents=True)
    for number in (20, 90, 150):
        Image.new("RGB", (30, 20), (number, 0, 0)).save(tmp_path / "set" / "train" / f"{number}.png")
    table = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 30, "height": 20} for i in range(200)],
        "annotations": [],
        "categories": [{"id": 1, "name": "a"}],
    }
    (tmp_path / "set" / "annotations").mkdir()
    (tmp_path / "set" / "annotations" / "instances_train.json").write_text(json.dumps(table))
    words = [str(tmp_path / "set"), "--out", str(tmp_path / "out"), "--count", "2", "--width", "120"]
    assert browse.main(words) == 0
    told = capsys.readouterr()
    assert "2 samples" in told.out
    elsewhere = "if the pictures lie elsewhere, name their folder with --images"
    assert re.fullmatch(rf"browse: skipped \d+ files: file not found; {elsewhere}; first: \S+\.png\n", told.err)
    for path in (tmp_path / "set" / "train").iterdir():
        path.unlink()
    with pytest.raises(SystemExit) as end:
        browse.main(words)
    assert end.value.code == 2
    assert "none of the 200 samples that were tried can be read" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        browse.main([*words, "--family"])
    assert "none of the 200 samples that were tried can be read" in capsys.readouterr().err


def boxes_alone(root):
    """A COCO set of four pictures with a box each."""
    (root / "train").mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", (30, 20), (60 * number, 0, 0)).save(root / "train" / f"{number}.png")
    table = {
        "images": [{"id": i, "file_name": f"{i}.png", "width": 30, "height": 20} for i in range(4)],
        "annotations": [{"id": i, "image_id": i, "category_id": 1, "bbox": [3, 2, 24, 16]} for i in range(4)],
        "categories": [{"id": 1, "name": "a"}],
    }
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_train.json").write_text(json.dumps(table))
    return [str(root), "--out", str(root / "out"), "--width", "120"]


def test_samples_that_can_be_read_and_not_mixed(tmp_path, capsys):
    words = boxes_alone(tmp_path)
    with pytest.raises(SystemExit) as end:
        browse.main([*words, "--transform", "CowMix", "p=1"])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert "or accept --transform … boxes=estimate" in error
    assert "none of the 4 samples that were tried can be mixed\n" in error
    (tmp_path / "train" / "2.png").unlink()
    with pytest.raises(SystemExit):
        browse.main([*words, "--transform", "CowMix", "p=1"])
    assert "none of the 4 samples that were tried can be read and mixed\n" in capsys.readouterr().err
    assert browse.main([*words, "--transform", "CowMix", "boxes=estimate"]) == 0


def test_what_is_not_mixed_is_said(demo, tmp_path, capsys):
    words = [str(demo / "coco"), "--out", str(tmp_path), "--count", "2", "--width", "160"]
    assert browse.main([*words, "--pool", "1"]) == 0
    assert capsys.readouterr().err == "browse: nothing is mixed in 2 samples, since --pool 1 leaves no partner\n"
    assert browse.main([*words, "--transform", "CutMix", "p=0"]) == 0
    assert capsys.readouterr().err == "browse: nothing is mixed in 2 samples\n"
    assert browse.main(words) == 0
    assert capsys.readouterr().err == ""


def test_a_method_that_warns_does_so_in_a_line(tmp_path, capsys):
    for folder in ("images", "masks"):
        (tmp_path / "set" / folder).mkdir(parents=True)
        for number in range(3):
            picture = Image.new("RGB" if folder == "images" else "L", (30, 20), number)
            picture.save(tmp_path / "set" / folder / f"{number}.png")
    words = [str(tmp_path / "set"), "--out", str(tmp_path / "out"), "--count", "1", "--width", "160"]
    assert browse.main([*words, "--transform", "CopyPaste"]) == 0
    error = capsys.readouterr().err
    assert error.startswith("browse: warning: CopyPaste got targets without 'boxes' or 'masks', so it pastes nothing")
    assert "UserWarning" not in error


def test_what_is_left_out_is_told_once(tmp_path, capsys):
    for folder in ("images", "labels"):
        (tmp_path / "set" / folder / "train").mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (30, 20), (60 * number, 0, 0)).save(tmp_path / "set" / "images" / "train" / f"{number}.png")
        (tmp_path / "set" / "labels" / "train" / f"{number}.txt").write_text("0 0.5 0.5 0.6 0.6\n")
    assert browse.main([str(tmp_path / "set"), "--out", str(tmp_path), "--count", "1", "--width", "160"]) == 0
    error = capsys.readouterr().err
    named = "nothing names the classes, their ids stand for them; name them with --classes"
    assert error == f"browse: {tmp_path / 'set'}: {named}\n"


def test_a_sample_that_is_never_mixed_is_drawn_alone(demo, tmp_path, capsys):
    words = [
        str(demo / "coco"),
        "--out",
        str(tmp_path),
        "--count",
        "1",
        "--width",
        "200",
        "--transform",
        "CutMix",
        "p=0",
    ]
    assert browse.main(words) == 0
    assert "1 sample," in capsys.readouterr().out


def test_hiding_and_tags(demo, tmp_path, hashes):
    drawn = {}
    for name, extra in {"all": [], "bare": ["--hide", "boxes", "names", "masks"], "tags": ["--tags"]}.items():
        out = tmp_path / name
        browse.main([str(demo / "coco"), "--index", "1", "--out", str(out), "--width", "200", *extra])
        drawn[name] = next(iter(hashes(out).values()))
    assert len(set(drawn.values())) == 3


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("bccd", []),
        ("facade", ["--layout", "coco", "--split", "gval"]),
        ("facade", ["--layout", "voc", "--split", "gval"]),
        ("animals_oi", ["--split", "valid"]),
        ("coco_by33", []),
    ],
)
def test_real_sets(real, tmp_path, name, extra, capsys):
    arguments = [str(real(name)), *extra, "--count", "2", "--out", str(tmp_path), "--width", "320"]
    assert browse.main(arguments) == 0
    captured = capsys.readouterr()
    assert re.search(r"2 samples", captured.out)
    assert not captured.err


@pytest.fixture(scope="module")
def other_kinds(tmp_path_factory):
    pytest.importorskip("nibabel")
    return make_demo_set(tmp_path_factory.mktemp("kinds"), kinds=("clips", "volumes", "aerial"))


@pytest.mark.parametrize(
    ("layout", "columns"),
    [
        ("youtube_vis", 4),
        ("decathlon", 4),
        pytest.param(
            "dota",
            3,
            marks=pytest.mark.skipif(
                not hasattr(tv_tensors.BoundingBoxFormat, "XYXYXYXY"), reason="this torchvision has no rotated boxes"
            ),
        ),
    ],
)
def test_clips_volumes_and_rotated_boxes(other_kinds, tmp_path, capsys, layout, columns):
    words = [str(other_kinds / layout), "--out", str(tmp_path), "--count", "1", "--width", "240", "--seed", "2"]
    assert browse.main([*words, "--transform", "CutMix", "region=AreaBox", "region.area=0.4,0.5"]) == 0
    (path,) = tmp_path.glob("*.png")
    with Image.open(path) as sheet:
        wide = 240 if columns == 3 else 180
        assert sheet.width <= 36 + 12 * (columns - 1) + columns * wide
        assert sheet.width > 0.7 * columns * wide
    assert browse.main([*words, "--family", "--index", "0"]) == 0
    assert f"{path.name.removesuffix('-00.png')}-family-00000.png" in capsys.readouterr().out


def test_a_method_that_is_not_defined_for_the_samples_says_so(other_kinds, tmp_path, capsys):
    words = [str(other_kinds / "decathlon"), "--out", str(tmp_path), "--count", "1"]
    with pytest.raises(SystemExit) as stop:
        browse.main([*words, "--transform", "Mosaic"])
    assert stop.value.code == 2
    assert "layout of Mosaic must be one of ('BCHW', 'BTCHW'), got 'BCDHW'" in capsys.readouterr().err


def test_samples_in_which_something_happens_come_first(demo, tmp_path, monkeypatch):
    """A mix that changes next to nothing is drawn where no other is left, and when it is asked for."""
    shown = []
    monkeypatch.setattr(browse, "_eventful", lambda made: made.indices[0] % 2 == 1)
    monkeypatch.setattr(
        browse, "draw_sheet", lambda dataset, transform, batch, _: shown.extend(batch) or Image.new("RGB", (9, 9))
    )
    words = [str(demo / "coco"), "--out", str(tmp_path)]
    for extra, wanted in ((["--count", "4"], 4), (["--count", "8"], 5), (["--index", "2", "4"], 0)):
        shown.clear()
        assert browse.main([*words, *extra]) == 0
        odd = [made.indices[0] % 2 for made in shown]
        assert odd == [1] * wanted + [0] * (int(extra[-1]) - wanted if wanted else 2)


def test_what_counts_as_an_event(demo):
    dataset = open_complete(demo / "coco", "coco", "train")

    def made(words, index=1):
        return mix_sample(dataset, build_transform(words), index)

    assert browse._eventful(made(["CutMix", "region=AreaBox", "region.area=0.4,0.5"]))
    assert not browse._eventful(made(["CutMix", "p=0"]))
