"""The page to play with: what can be set, which pictures it takes, and what it shows of them."""

from __future__ import annotations

import base64
import io
import json
import re
import shlex
import shutil
import socket
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import cutmix_dense as cd
from cutmix_dense.build import from_config, known_parts, known_transforms
from cutmix_dense.cli.common import open_from
from cutmix_dense.cli.errors import UserError
from cutmix_dense.cli.exploring import sources
from cutmix_dense.cli.exploring.drawing import LAYERS, look
from cutmix_dense.cli.exploring.parameters import COMMON, LEFT_OUT, combine, common_of, config_of, methods, own_of
from cutmix_dense.cli.specs import _arguments, build_transform, family
from cutmix_dense.data import DatasetError, SampleError
from cutmix_dense.data.readers import LAYOUTS
from cutmix_dense.regions import RegionSampler

SAMPLERS = sorted(name for name, kind in known_parts().items() if issubclass(kind, RegionSampler))


def test_every_method_but_the_one_that_chooses():
    assert set(methods()) == set(known_transforms()) - {"RandomMix"}
    assert methods()[0] == "CutMix"


@pytest.mark.parametrize("name", [*methods(), *SAMPLERS])
def test_every_argument_has_a_control_or_a_reason(name):
    kind = {**known_transforms(), **known_parts()}[name]
    own = [parameter.name for parameter in own_of(name)]
    common = [parameter.name for parameter in common_of(name)] if name in methods() else []
    assert len({*own, *common}) == len(own) + len(common)
    assert {*own, *common}.isdisjoint(LEFT_OUT)
    assert {*own, *common} == set(_arguments(kind)) - set(LEFT_OUT)
    for parameter in own_of(name):
        assert parameter.help, f"{name}: nobody says what {parameter.name} is"


def test_no_reason_without_its_argument():
    assert set(LEFT_OUT) <= {name for kind in known_transforms().values() for name in _arguments(kind)}


def shown_first(parameter):
    """What the controls of an argument hold before anybody touches them."""
    raw = list(parameter.start) if parameter.kind == "pair" else [parameter.start]
    if parameter.kind == "part":
        raw = ["none" if parameter.default is None else type(parameter.default).__name__]
    if parameter.kind == "words":
        raw = ["" if parameter.default is None else parameter.default]
    return [parameter.default is not None, *raw] if parameter.optional and parameter.kind in ("number", "pair") else raw


@pytest.mark.parametrize("name", methods())
def test_an_untouched_page_has_the_defaults_and_mixes_every_sample(name):
    settings = {
        name: {each.name: combine(each, shown_first(each)) for each in own_of(name)},
        COMMON: {each.name: combine(each, shown_first(each)) for each in common_of(name)},
    }
    for sampler in SAMPLERS:
        settings[f"{name}.region.{sampler}"] = {e.name: combine(e, shown_first(e)) for e in own_of(sampler)}
    config = config_of(name, settings)
    assert repr(from_config(config)) == repr(build_transform([name]))
    assert set(config) <= {"type", "p"}


@pytest.mark.parametrize("name", [*methods(), *SAMPLERS])
def test_both_ends_of_every_slider_are_allowed(name):
    for parameter in (*own_of(name), *(common_of(name) if name in methods() else ())):
        if parameter.kind in ("number", "pair"):
            for value in parameter.range[:2]:
                raw = [value, value] if parameter.kind == "pair" else [value]
                setting = combine(parameter, [True, *raw] if parameter.optional else raw)
                if name == "Mosaic" and parameter.name == "grid" and value == 1:
                    continue  # one side may be 1, not both
                made = from_config({"type": name, parameter.name: setting})
                there = getattr(made, parameter.name)
                assert there == (setting if isinstance(there, type(setting)) else (setting, setting))


def test_values_as_the_library_takes_them():
    by_name = {each.name: each for name in (*methods(), *SAMPLERS) for each in (*own_of(name), *common_of("CutMix"))}
    assert combine(by_name["alpha"], [0.30000000000000004]) == 0.3
    assert combine(by_name["min_visibility"], [0.2, 0.2]) == 0.2
    assert combine(by_name["min_visibility"], [0.2, 0.3]) == (0.2, 0.3)
    assert combine(by_name["n_holes"], [2.0, 5.0]) == (2, 5)
    assert combine(by_name["lam"], [False, 0.5]) is None
    assert combine(by_name["aspect"], [True, 0.3, 3.3333]) == (0.3, 1 / 0.3)  # a slider's rounding is no change
    assert combine(by_name["instances"], ["3"]) == 3
    assert combine(by_name["instances"], ["all"]) == "all"
    assert combine(by_name["instances"], ["0.5"]) == 0.5
    assert combine(by_name["classes"], ["7"]) == (7,)
    assert combine(by_name["classes"], ["1, 2"]) == (1, 2)
    assert combine(by_name["classes"], [" "]) is None
    assert combine(by_name["rule"], ["none"]) is None
    with pytest.raises(ValueError, match="alpha must be a number"):
        combine(by_name["alpha"], [None])


def test_what_the_library_refuses_is_said_in_its_own_words():
    settings = {"CutMix": {"region": "AreaBox"}, "CutMix.region.AreaBox": {"area": (0.6, 0.4)}}
    with pytest.raises(ValueError, match=r"AreaBox: area must be \(low, high\).*got \(0.6, 0.4\)"):
        from_config(config_of("CutMix", settings))


def pictures_of(html: str) -> list[np.ndarray]:
    found = re.findall(r"data:image/jpeg;base64,([^']+)'", html)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data in found]


@pytest.mark.parametrize("name", methods())
def test_every_method_is_shown_with_its_sources_and_its_table(demo, name):
    dataset = sources.open_folder(str(demo / "voc"))
    seen = look(dataset, family()[name], 1, 2)
    (mixed,) = pictures_of(seen.mixed)
    assert mixed.shape == (480, 640, 3)
    assert len(pictures_of(seen.sources)) >= 2
    tags = re.findall(r">([a-z]\d+)</span>", seen.table)
    assert len(tags) >= len(dataset[1][1]["labels"])
    assert {"a0", "a1"} <= set(tags)


PASTED = {
    "self": {"source": "self", "place": "random", "instances": 2},
    "batch": {"source": "batch", "place": "grid", "instances": 3, "overlap": 0.5},
    "context": {"context": 0.2, "place": "random", "instances": (1, 2), "blend": 0.5, "size_weights": {"large": 2.0}},
}


@pytest.mark.parametrize("name", PASTED)
def test_what_is_pasted_by_instance_is_shown(demo, name):
    dataset = sources.open_folder(str(demo / "voc"))
    seen = look(dataset, cd.CopyPaste(**PASTED[name], p=1.0, boxes="estimate"), 1, 2)
    plain = look(dataset, cd.CopyPaste(p=0.0), 1, 2)
    (mixed,), (unmixed,) = pictures_of(seen.mixed), pictures_of(plain.mixed)
    assert mixed.shape == unmixed.shape
    assert (np.abs(mixed.astype(int) - unmixed).max(axis=2) > 40).mean() > 0.002
    assert len(pictures_of(seen.sources)) == (1 if name == "self" else 2)  # what comes from the base is drawn once
    layers = re.findall(r">([a-z])\d+</span>", seen.table)
    assert {"a"} <= set(layers)
    assert len(layers) > len(dataset[1][1]["labels"])


def test_seed_sample_and_layers_change_the_picture_and_nothing_else_does(demo):
    dataset = sources.open_folder(str(demo / "voc"))
    mix = cd.CutMix(p=1.0)
    first = look(dataset, mix, 2, 1)
    assert look(dataset, mix, 2, 1) == first
    assert look(dataset, mix, 2, 2).mixed != first.mixed
    assert look(dataset, mix, 3, 1).mixed != first.mixed
    bare, maps = look(dataset, mix, 2, 1, ()), look(dataset, mix, 2, 1, LAYERS)
    assert bare.mixed != first.mixed
    assert maps.mixed != first.mixed
    assert "legend" in maps.sources
    assert "legend" not in first.sources
    assert bare.table == first.table


def test_an_unmixed_sample_says_so(demo):
    seen = look(sources.open_folder(str(demo / "coco")), cd.CutMix(p=0.0), 0, 0)
    assert "No partner is visible" in seen.sources
    assert len(pictures_of(seen.sources)) == 1


def test_a_method_that_needs_maps_says_so(demo):
    with pytest.raises(SampleError, match="semantic map"):
        look(sources.open_folder(str(demo / "coco")), cd.ClassMix(p=1.0), 0, 0)


@pytest.mark.parametrize(
    ("name", "layout", "split"),
    [("bccd", None, None), ("facade", "coco", "gval"), ("facade", "voc", "gval"), ("animals_oi", None, "valid")],
)
def test_real_sets_are_shown(real, name, layout, split):
    dataset = sources.open_folder(str(real(name)), layout, split)
    seen = look(dataset, cd.CutMix(p=1.0), 1, 0)
    assert pictures_of(seen.mixed)[0].shape[0] <= 480


@pytest.mark.parametrize(
    ("folder", "layout", "split", "message"),
    [
        ("", None, None, "type the folder"),
        ("{demo}/nowhere", None, None, "no such folder"),
        ("{demo}/voc", "coco", None, "COCO"),
        ("{demo}/voc", None, "tset", "train"),
        ("{demo}", None, None, "none of the known layouts"),
        ("--help", None, None, "no such folder"),
        ("~no-such-user", None, None, "~no-such-user: no such folder"),
        ("{demo}/voc", None, "--help", "--split --help: .* has train, val"),
        ("{demo}/voc", None, "--", "--split --: .* has train, val"),
        ("{demo}/voc", None, "-h --split train", "has train, val"),
    ],
)
def test_a_folder_that_cannot_be_opened(demo, folder, layout, split, message):
    with pytest.raises((UserError, DatasetError), match=message):
        sources.open_folder(folder.format(demo=demo), layout, split)


def test_own_pictures_without_annotations(demo, tmp_path):
    files = sorted((demo / "coco").rglob("*.jpg"))[:3]
    dataset = sources.open_chosen(files, tmp_path)
    assert len(dataset) == 3
    seen = look(dataset, cd.CutMix(p=1.0), 0, 0)
    assert "No objects are annotated" in seen.table
    assert len(pictures_of(seen.sources)) == 2


def test_own_pictures_are_turned_as_their_camera_says(tmp_path):
    tilted = Image.new("RGB", (60, 40), "red")
    exif = tilted.getexif()
    exif[0x0112] = 6  # a quarter turn clockwise
    tilted.save(tmp_path / "a.jpg", exif=exif)
    Image.new("RGB", (40, 60), "blue").save(tmp_path / "b.png")
    dataset = sources.open_chosen([tmp_path / "a.jpg", tmp_path / "b.png"], tmp_path)
    assert [tuple(dataset[index][0].shape) for index in range(2)] == [(3, 60, 40)] * 2


@pytest.mark.parametrize("orientation", [None, 0, 1])
def test_own_pictures_that_stand_upright_are_copied_as_they_are(demo, tmp_path, orientation):
    files = [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    for path, source in zip(files, sorted((demo / "coco").rglob("*.jpg"))):
        with Image.open(source) as image:
            exif = image.getexif()
            if orientation is not None:
                exif[0x0112] = orientation
            image.save(path, exif=exif, quality=98)
    dataset = sources.open_chosen(files, tmp_path)
    assert [dataset.image_path(index).read_bytes() for index in range(2)] == [path.read_bytes() for path in files]


def test_own_pictures_with_a_coco_file(demo, tmp_path):
    table = next((demo / "coco").rglob("*train*.json"))
    files = sorted(path for path in (demo / "coco").rglob("*.jpg") if "train" in str(path))[:3]
    dataset = sources.open_chosen([*files, table], tmp_path)
    whole = sources.open_folder(str(demo / "coco"), None, "train")
    assert dataset.classes == whole.classes
    for index in range(3):
        assert torch.equal(dataset[index][1]["boxes"], whole[index][1]["boxes"])
        assert torch.equal(dataset[index][1]["masks"], whole[index][1]["masks"])


def test_own_pictures_that_cannot_be_mixed(demo, tmp_path):
    files = sorted((demo / "coco").rglob("*.jpg"))[:2]
    table = tmp_path / "other.json"
    table.write_text(json.dumps({"images": [], "annotations": [], "categories": []}))
    again = tmp_path / "again" / files[0].name
    again.parent.mkdir()
    shutil.copyfile(files[0], again)
    (tmp_path / "text.jpg").write_text("no picture")
    for chosen, message in (
        ([files[0]], "at least two pictures"),
        ([*files, table, table], "one COCO JSON"),
        ([files[0], again], "rename one"),
        ([*files, table], "names no picture"),
        ([*files, tmp_path / "text.jpg"], "text.jpg"),
    ):
        with pytest.raises((UserError, DatasetError, SampleError), match=message):
            sources.open_chosen(chosen, tmp_path)


def test_a_shelf_closes_what_nobody_looks_at(demo):
    dataset = sources.open_folder(str(demo / "coco"))
    shelf = sources.Shelf()
    for number in range(16):
        shelf.put(str(number), dataset)
    shelf.get("0")
    shelf.put("one more", dataset)
    assert shelf.get("0") is dataset
    with pytest.raises(UserError, match="choose them again"):
        shelf.get("1")


def test_a_shelf_keeps_what_it_must_and_a_folder_takes_one_place(demo):
    dataset = sources.open_folder(str(demo / "coco"))
    shelf = sources.Shelf()
    shelf.put("kept", dataset, keep=True)
    for number in range(16):
        shelf.put(str(number), dataset)
    others = [sources.open_folder(str(demo / "coco" / ".." / "coco"), layout, "train") for layout in (None, "coco")]
    assert len({shelf.put(sources.key_of(other), other) for other in (dataset, *others)}) == 1
    assert shelf.get(sources.key_of(dataset)) is others[1]
    assert shelf.get("1") is shelf.get("kept") is dataset
    assert sources.key_of(sources.open_folder(str(demo / "coco"), None, "val")) != sources.key_of(dataset)
    again = sources.open_folder(str(demo / "coco"))
    shelf.put("kept", again)
    assert shelf.get("kept") is again
    for number in range(16):
        shelf.put(f"new {number}", dataset)
    assert shelf.get("kept") is again


def test_what_is_ready_stays_open_however_many_others_are_opened(demo, tmp_path):
    pytest.importorskip("gradio", reason="the page needs gradio: extra explore")
    from cutmix_dense.cli.exploring.page import Explorer

    shelf = sources.Shelf()
    ready = {"Kept": shelf.put("kept", sources.open_folder(str(demo / "voc")), keep=True)}
    ready["Lost"] = shelf.put("lost", sources.open_folder(str(demo / "voc")))
    page = Explorer(shelf, ready, tmp_path)
    first, second = (page._open_folder(str(demo / "coco"), "detected", "") for _ in range(2))
    assert first[0] == second[0]
    assert first[1] != second[1]  # so that it is drawn anew
    for number in range(16):
        shelf.put(str(number), shelf.get("kept"))
    assert page._chosen("Kept")[2] == "kept"
    assert page._chosen("Kept")[-1] == ""
    assert "no longer open" in page._chosen("Lost")[-1]


@pytest.mark.parametrize("on_filtered", ["ignore", "crowd"])
def test_what_fails_but_shows_is_told_as_the_setting_says(demo, on_filtered):
    dataset = sources.open_folder(str(demo / "voc"))
    strict = cd.CutMix(p=1.0, min_visibility=1.0, on_filtered=on_filtered)
    tables = [look(dataset, strict, index, 0).table for index in range(4)]
    assert any("badge ignored" in table for table in tables)
    assert not any("badge shrunk" in table for table in tables)


# -------------------------------------------------------------------------------------------------------- command line


@pytest.fixture
def explore(monkeypatch):
    """The command line's module; what it sets in the environment is taken back."""
    from cutmix_dense.cli import explore

    monkeypatch.setenv("GRADIO_TEMP_DIR", "")
    return explore


def test_a_folder_on_the_command_line_comes_first(explore, demo, tmp_path, monkeypatch):
    pytest.importorskip("gradio", reason="the page needs gradio: extra explore")
    from cutmix_dense.cli.exploring.page import Explorer

    served = []
    monkeypatch.setattr(Explorer, "launch", lambda self, *where, **how: served.append((self, where)))
    words = [str(demo / "voc"), "--split", "val", "--cache", str(tmp_path)]
    assert explore.main(words) == 0
    ((explorer, (host, port)),) = served
    assert next(iter(explorer.ready)) == "voc (val)"
    assert (explorer.start, host, port) == (0, "127.0.0.1", None)
    first = next(iter(explorer.ready.values()))
    assert len(explorer.shelf.get(first)) == 4


def test_the_command_of_a_folder_opened_with_options_opens_the_same(explore, demo, tmp_path, monkeypatch):
    pytest.importorskip("gradio", reason="the page needs gradio: extra explore")
    from cutmix_dense.cli import browse
    from cutmix_dense.cli.exploring.page import Explorer

    pages = []
    monkeypatch.setattr(Explorer, "launch", lambda self, *where, **how: pages.append(self))
    table = tmp_path / "my tables" / "some.json"
    table.parent.mkdir()
    shutil.copyfile(next((demo / "coco").rglob("*val*.json")), table)
    for words in (
        [str(demo / "coco"), "--annotations", str(table), "--images", str(demo / "coco" / "val")],
        [str(demo / "cityscapes"), "--split", "val", "--label-ids", "raw"],
        [str(demo / "voc"), "--split", "val", "--task", "detection"],
    ):
        assert explore.main([*words, "--cache", str(tmp_path)]) == 0
        page = pages.pop()
        text = page._snippets({"type": "CutMix"}, "root", 0, 0)[-1].text
        arguments = browse.parser().parse_args(shlex.split(text.replace("\\\n", " "))[2:])
        again, there = open_from(arguments), page.shelf.get("root")
        assert (again.layout, again.classes, again.has_masks) == (there.layout, there.classes, there.has_masks)
        assert [again.image_path(i) for i in range(len(again))] == [there.image_path(i) for i in range(len(there))]
        plain = page._snippets({"type": "CutMix"}, "voc", 0, 0)[-1].text
        assert re.findall(r" --[a-z-]+", plain) == [" --layout", " --split", " --transform", " --index", " --seed"]


def test_only_layouts_that_can_be_shown_are_offered():
    assert set(LAYOUTS) - set(sources.SHOWN_LAYOUTS) == {"youtube_vis", "decathlon"}


def test_a_port_that_is_taken(explore, tmp_path, capsys):
    pytest.importorskip("gradio", reason="the page needs gradio: extra explore")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(SystemExit) as end:
            explore.main(["--cache", str(tmp_path), "--port", str(taken.getsockname()[1])])
    assert end.value.code == 2
    assert "in use, give another one" in capsys.readouterr().err


def test_without_gradio_it_says_what_to_install(explore, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    pieces = tuple(f"cutmix_dense.cli.exploring.{piece}" for piece in ("page", "controls"))
    for name in [name for name in sys.modules if name.startswith(pieces)]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(SystemExit) as end:
        explore.main([])
    assert end.value.code == 2
    assert 'pip install "cutmix_dense[explore]"' in capsys.readouterr().err
