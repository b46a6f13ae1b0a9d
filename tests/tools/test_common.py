"""Naming transforms on a command line, and errors that help."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import cutmix_dense as cd
from cutmix_dense.build import known_parts, known_transforms
from cutmix_dense.cli.common import SpecError, as_typed, build_transform, grouped, method_names, parse_transform
from cutmix_dense.data.errors import kind_of

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("CutMix", cd.CutMix()),
        (["CutMix", "alpha=2", "p=0.25"], cd.CutMix(alpha=2, p=0.25)),
        (["CutMix(alpha=2.0, p=.25)"], cd.CutMix(alpha=2.0, p=0.25)),
        (["CutMix(p=0.25,", "pairing='swap')"], cd.CutMix(p=0.25, pairing="swap")),
        (["CutMix", "pairing=swap", "same_region=true"], cd.CutMix(pairing="swap", same_region=True)),
        (["CutMix", "region=AreaBox"], cd.CutMix(region=cd.regions.AreaBox())),
        (
            ["CutMix", "region=AreaBox", "region.area=0.2,0.5", "region.aspect=None"],
            cd.CutMix(region=cd.regions.AreaBox(area=(0.2, 0.5), aspect=None)),
        ),
        (["CutMix", "region=AreaBox.french()"], cd.CutMix(region=cd.regions.AreaBox.french())),
        (["CutMix", "region=AreaBox.french(0.3)"], cd.CutMix(region=cd.regions.AreaBox.french(0.3))),
        (
            ["CutMix", "region=MultiBox", "region.box=AreaBox", "region.box.area=.1,.2", "region.mode=xor"],
            cd.CutMix(region=cd.regions.MultiBox(cd.regions.AreaBox(area=(0.1, 0.2)), mode="xor")),
        ),
        (["CutMix(region=AreaBox(aspect=(1/3, 3)))"], cd.CutMix(region=cd.regions.AreaBox(aspect=(1 / 3, 3)))),
        (["CutMix", "fill=114,114,114", "min_visibility=0.2"], cd.CutMix(fill=(114, 114, 114), min_visibility=0.2)),
        (["CutMix", "rule=ultralytics"], cd.CutMix(rule="ultralytics")),
        (["CutMix", "rule=FilterRule(0.3)"], cd.CutMix(rule=cd.FilterRule(0.3))),
        (["CutMix", "instance_keys=a,b"], cd.CutMix(instance_keys=("a", "b"))),
    ],
)
def test_both_spellings(words, expected):
    assert repr(parse_transform(words)) == repr(expected)


def test_every_sample_is_mixed_unless_p_is_given():
    assert build_transform(["CutMix"]).p == 1.0
    assert build_transform(["CutMix", "p=0.5"]).p == 0.5
    assert build_transform(["CutMix(alpha=1.0, p=0.5)"]).p == 0.5
    assert parse_transform(["CutMix"]).p == cd.CutMix().p


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "needs a name"),
        (["CutMx"], "did you mean 'CutMix'"),
        (["cutmix"], "did you mean CutMix"),
        (["CutMix", "alpah=1"], "did you mean 'alpha'"),
        (["CutMix(0.5)"], "CutMix: takes its settings by name, got 0.5 without one: alpha=0.5 or p=0.5"),
        (["CutMix", "alpha=-1"], "alpha must be above 0"),
        (["CutMix", "p=2"], "p must lie in"),
        (["CutMix", "p"], "key=value"),
        (["CutMix", "p=1", "p=0"], "twice"),
        (["CutMix", "region=AreaBx"], "did you mean 'AreaBox'"),
        (["CutMix", "region=AreaBox", "area=0.2,0.5"], r"did you mean region\.area="),
        (["CutMix", "region.area=0.2,0.5"], "needs region=<name>"),
        (["CutMix", "region=AreaBox.frensh()"], "did you mean 'french'"),
        (["CutMix", "region=AreaBox.__init__()"], "no preset"),
        (["CutMix", "pairing=tango"], "roll"),
        (["CutMix", "alpha=__import__('os').getpid()"], "no known name|unknown name"),
        (["CutMix", "alpha=[x for x in y]"], "no number, word"),
        (["CutMix(*[1])"], "not understood"),
        (["CutMix(p=1"], "cannot read"),
        (["CutMix(p=1) + 1"], "one transform"),
        (["AreaBox"], "unknown name 'AreaBox'"),
    ],
)
def test_mistakes_are_named(words, message):
    with pytest.raises(SpecError, match=message):
        parse_transform(words)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (
            "annotation 100 of a.png is left out: bbox must be [x, y, width, height], got [1, 2, 3]",
            "annotation x7 of red car 2.JPG is left out: bbox must be [x, y, width, height], got None",
            False,  # an id that is a word stays one
        ),
        (
            "annotation 100 of a.png is left out: bbox must be [x, y, width, height], got [1, 2, 3]",
            "annotation 7 of deep/red car 2.JPG is left out: bbox must be [x, y, width, height], got 'a b'",
            True,
        ),
        (
            "annotation 100 of a.png is left out: bbox must be [x, y, width, height], got [1, 2, 3]",
            "annotation 100 of a.png is left out: category_id must be a number, got [1, 2, 3]",
            False,
        ),
        (
            "object 3: <xmin> must be a number, got 'x'; it is left out",
            "object 12: <xmin> must be a number, got ''; it is left out",
            True,
        ),
        (
            "object 3: <xmin> must be a number; it is left out",
            "object 3: <ymin> must be a number; it is left out",
            False,
        ),
        (
            "line 5: class 7, but there are 3 classes; it is left out",
            "line 61: class 12, but there are 3 classes; it is left out",
            True,
        ),
        ("line 5: x must be in 0..1, got 1.25e-3", "line 6: x must be in 0..1, got -2", True),
        (
            "cannot be mixed with a.png, b.png: 3 boxes are broken",
            "cannot be mixed with train/c d/e.png: 12 boxes are broken",
            True,
        ),
        ("cannot be mixed with a.png, b.png: broken", "cannot be mixed with a.png, b.png: empty", False),
        ("cannot be mixed with a.png, b.png: broken", "cannot be mixed with c.png, e.jpg, f.jpg: broken", True),
        ("holds 3, 4, 5, but there are 2 classes", "holds 3, 4, but there are 2 classes", True),
        ("class 'cat' isn't named", "class \"dog's\" isn't named", True),
        ("has 3 bands of uint8", "has 3 bands of uint16", False),
    ],
)
def test_what_is_one_kind_of_problem(one, other, same):
    assert (kind_of(one) == kind_of(other)) is same


def test_problems_are_grouped():
    told = grouped(
        ("t.json", f"annotation {i} of {i % 3}.png is left out: bbox must be …, got [{i}]") for i in range(200)
    )
    assert list(told.values()) == [
        "t.json: annotation 0 of 0.png is left out: bbox must be …, got [0] (and 199 more like it)"
    ]
    told = grouped([("a.xml", "object 1: no <name>"), ("b.xml", "object 3: no <name>"), ("c.xml", "broken")])
    assert list(told.values()) == ["a.xml: object 1: no <name> (and 1 more like it, in 2 files)", "c.xml: broken"]
    assert list(grouped((f"{i}.png", "file not found") for i in range(2000)).values()) == [
        "2,000 files: file not found; first: 0.png"
    ]
    told = grouped(("a", f"{'abcdefghij'[i]} is missing") for i in range(10))
    assert list(told.values())[5:] == ["and 5 other reasons"]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            "a.png: holds 7; name all of them with classes= or in a classes.txt",
            "a.png: holds 7; name all of them with --classes or in a classes.txt",
        ),
        ("polygons are left out; task='instances' reads them", "polygons are left out; --task instances reads them"),
        ("label_ids= is for the cityscapes layout", "--label-ids is for the cityscapes layout"),
        ('label_ids must be "train" or "raw", got \'x\'', '--label-ids must be "train" or "raw", got \'x\''),
        ("to must be one of ('coco',), got 'x'", "--to must be one of ('coco',), got 'x'"),
        ("ray: no cluster at 'auto'", "--ray: no cluster at 'auto'"),
        ("what has to must stay", "what has to must stay"),
        ("name the folder with --images=x", "name the folder with --images=x"),
        ("the images must be alike", "the images must be alike"),
    ],
)
def test_arguments_are_shown_as_they_are_typed(said, shown):
    assert as_typed(said) == shown


def test_names_are_known_without_torch():
    assert method_names() == sorted({*known_transforms(), "Cutout"})


def test_abstract_classes_are_not_offered():
    transforms, parts = known_transforms(), known_parts()
    assert "CutMix" in transforms
    assert "MixTransform" not in transforms
    assert {"AreaBox", "BetaBox", "MultiBox", "ObjectBox"} <= set(parts)
    assert "RegionSampler" not in parts


def test_tools_run_as_scripts(tmp_path):
    """From any folder, each as if it were the first: one process, because importing torch takes seconds."""
    code = """
import runpy, sys
path = list(sys.path)
for tool in sys.argv[1:]:
    sys.path[:] = path
    for name in [name for name in sys.modules if name.split(".")[0] == "tools"]:
        del sys.modules[name]
    sys.argv = [tool, "--help"]
    try:
        runpy.run_path(tool, run_name="__main__")
    except SystemExit as end:
        assert end.code == 0, tool
"""
    scripts = [str(ROOT / "tools" / f"{tool}.py") for tool in ("browse", "mix_dataset", "demo")]
    done = subprocess.run([sys.executable, "-c", code, *scripts], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("--seed SEED") >= 3
