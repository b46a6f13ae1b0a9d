"""Naming transforms on a command line, and errors that help."""

from __future__ import annotations

import inspect
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import cutmix_dense as cd
from cutmix_dense.build import known_parts, known_transforms
from cutmix_dense.cli import browse, study
from cutmix_dense.cli import main as program
from cutmix_dense.cli.common import counted, grouped
from cutmix_dense.cli.errors import as_typed, reporting_errors
from cutmix_dense.cli.sketches import sketches_of_parts, sketches_of_transforms
from cutmix_dense.cli.specs import SpecError, build_transform, check_words, method_names, parse_transform
from cutmix_dense.data.errors import DataWarning, kind_of

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
        (["CutMix", "instance_keys={radius: length}"], cd.CutMix(instance_keys={"radius": "length"})),
        (["CopyPaste", "size_weights={'small': 2}"], cd.CopyPaste(size_weights={"small": 2})),
        (["CopyPaste(size_weights={20: 2, 40: 1/2})"], cd.CopyPaste(size_weights={20: 2, 40: 0.5})),
        (["CopyPaste(size_weights={small: 2})"], cd.CopyPaste(size_weights={"small": 2})),
        (["CopyPaste", "size_weights=dict(small=2)"], cd.CopyPaste(size_weights={"small": 2})),
        (["CopyPaste", "weights={1: 3.0}"], cd.CopyPaste(weights={1: 3.0})),
    ],
)
def test_both_spellings(words, expected):
    check_words([words] if isinstance(words, str) else words)
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
        (["Mosaic", "img_scale=640,640"], r"no argument 'img_scale'; did you mean size=\(height, width\)"),
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
        (["CutMix", "alpha=abc"], "CutMix: alpha must be a number, got abc"),
        (["CutMix", "alpha=1,2"], "CutMix: alpha must be a number, got 1,2"),
        (["CutMix", "alpha=None"], "CutMix: alpha must be a number, got None"),
        (["CutMix", "p=AreaBox()"], "CutMix: p must be a number, got AreaBox"),
        (["CutMix", "min_size=small"], "CutMix: min_size must be a number or numbers with commas between them, got sm"),
        (["CutMix", "same_region=maybe"], "same_region must be true or false, got maybe"),
        (["CutMix", "num_classes=many"], "num_classes must be a whole number or none, got many"),
        (
            ["CutMix(region=AreaBox(area=(0.1, x)))"],
            "area must be numbers with commas between them, got 0.1,x",
        ),
        (["RandomMix"], r'RandomMix needs the argument transforms, as in "RandomMix\(transforms=\[CutMix\(\), MixUp'),
        (["CopyPaste", "source=none.pt"], "source: there is no file none.pt; cutmix-dense bank makes one"),
        (["CopyPaste", "size_weights={(1, 2): 3}"], r"a key must be a word or a number, got '\(1, 2\)'"),
        (["CopyPaste", "size_weights={**x}"], "is no number, word, tuple, dict or known object"),
        (
            ["CopyPaste", "crowd=true", "weights={a: 1}"],
            r"CopyPaste: weights must map class ids, which are whole numbers, to weights, got \{'a': 1\}",
        ),
        (["CarveMix", "classes=3", "p=1"], "CarveMix: classes must be a sequence of class ids or None, got 3"),
        (["Affine"], "Affine can't be named here: it maps pictures and mixes nothing; known: CarveMix"),
        (["RandomMix(transforms=[Chain()])"], "Chain can't be named here: it applies several"),
        (["dense_o2o(epochs=5)"], "dense_o2o can't be named here: it is a recipe"),
    ],
)
def test_mistakes_are_named(words, message):
    with pytest.raises(SpecError, match=message):
        parse_transform(words)
    in_values = ("by name", "above 0", "lie in", "roll", "class ids", "a sequence")  # which only the transform knows
    if not any(part in message for part in in_values):
        with pytest.raises(SpecError, match=message):
            check_words(words)


def test_what_is_read_from_the_source_are_the_signatures():
    """What is checked before torch is loaded is what the classes take."""
    names = method_names()
    sketches = {**sketches_of_transforms(names), **sketches_of_parts()}
    kinds = {**{name: getattr(cd, name) for name in names}, **known_parts()}
    assert sketches.keys() == kinds.keys()
    for name, kind in kinds.items():
        presets = {n: made for n, made in inspect.getmembers(kind, inspect.ismethod) if n in sketches[name].presets}
        assert presets.keys() == sketches[name].presets.keys()
        assert hasattr(kind, "french") == ("french" in presets)
        for sketch, made in [(sketches[name], kind), *((sketches[name].presets[n], presets[n]) for n in presets)]:
            expected = [
                (each.name, each.kind, each.default is each.empty, str(each.annotation).replace('"', "'"))
                for each in inspect.signature(made).parameters.values()
                if each.kind is not each.VAR_KEYWORD
            ]
            found = [
                (each.name, each.kind, each.default is each.empty, str(each.annotation).replace('"', "'"))
                for each in inspect.signature(sketch).parameters.values()
            ]
            assert found == expected, name


def test_recipes_and_what_is_no_method_are_refused_by_name():
    kinds = {name: getattr(cd, name) for name in cd.__all__ if inspect.isclass(getattr(cd, name))}
    others = {name for name, kind in kinds.items() if issubclass(kind, cd.MixTransform)}
    for name in {*cd.recipes.RECIPES, *others} - {*method_names(), "MixTransform"}:
        with pytest.raises(SpecError, match=f"{name} can't be named here"):
            check_words([name])


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
        ("JPEG; binary=True reads one of black and white", "JPEG; --binary True reads one of black and white"),
        ("give 'masks', or accept boxes='estimate'", "give 'masks', or accept --transform … boxes=estimate"),
    ],
)
def test_arguments_are_shown_as_they_are_typed(said, shown):
    assert as_typed(said) == shown


@pytest.mark.parametrize(
    ("main", "words", "told"),
    [
        (
            browse.main,
            ["set", "--layot", "coco"],
            "browse: error: unknown arguments --layot coco; did you mean --layout? (cutmix-dense browse --help shows",
        ),
        (browse.main, ["set", "--per-sheet", "0"], "browse: error: --per-sheet: must be at least 1, got 0 (cutmix-d"),
        (browse.main, [], "browse: error: the following arguments are required: ROOT (cutmix-dense browse --help"),
        (study.main, ["run", "a.py", "--jbos", "2"], "study: error: unknown arguments --jbos 2; did you mean --jobs?"),
        (
            study.main,
            ["run", "a.py", "--jobs", "0"],
            "study: error: --jobs: must be at least 1, got 0 (cutmix-d",
        ),
    ],
)
def test_a_misspelt_argument_is_told_in_one_line(main, words, told, capsys):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith(told)
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (FileNotFoundError(2, "No such file or directory", "a.pt"), 2, "mix: error: a.pt: no such file or directory\n"),
        (NotADirectoryError(20, "Not a directory", "a/b"), 2, "mix: error: a/b: not a directory\n"),
        (OSError(28, "No space left on device"), 1, "mix: error: [Errno 28] No space left on device\n"),
        (OSError("cannot open resource"), 1, "mix: error: cannot open resource\n"),
    ],
)
def test_what_the_system_refuses_is_told_in_one_line(error, code, told, capsys):
    with pytest.raises(SystemExit) as end, reporting_errors("mix"):
        raise error
    assert end.value.code == code
    assert capsys.readouterr().err == told


def test_warnings_for_the_user_are_lines(capsys):
    ours = str(Path(cd.__file__).with_name("a.py"))
    with reporting_errors("mix"):
        warnings.warn_explicit("pastes nothing", UserWarning, ours, 1)
        warnings.warn_explicit("a.png: odd (further ones are counted in `notes`)", DataWarning, ours, 2)
    assert capsys.readouterr().err == "mix: warning: pastes nothing\nmix: warning: a.png: odd\n"
    with reporting_errors("mix", lists_notes=True):
        warnings.warn_explicit("a.png: odd (further ones are counted in `notes`)", DataWarning, ours, 3)
        warnings.warn_explicit("b.png: more", DataWarning, ours, 4)
    assert capsys.readouterr().err == "mix: warning: b.png: more\n"


def test_numbers_and_what_they_count():
    assert [counted(number, "sample") for number in (0, 1, 2000)] == ["0 samples", "1 sample", "2,000 samples"]


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


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("train --resume det.py", "CONFIG; --resume took det.py: put CONFIG before it ("),
        ("train --cfg-options a.b=1 det.py --amp", "CONFIG; --cfg-options took a.b=1 det.py: put CONFIG before it ("),
        (
            "train --resume --cfg-options a.b=1 det.py",
            "CONFIG; --cfg-options took a.b=1 det.py: put CONFIG before it (",
        ),
        (
            "evaluate --cfg-options a.b=1 det.py w.pth",
            "CONFIG, CHECKPOINT; --cfg-options took a.b=1 det.py w.pth: put CONFIG, CHECKPOINT before it (",
        ),
        ("study run --only a b study.py", "STUDY; --only took a b study.py: put STUDY before it ("),
        ("train", "CONFIG ("),
        ("train --resume --amp", "CONFIG ("),
        ("train --cfg-options a.b=1", "CONFIG ("),
    ],
)
def test_an_option_that_took_what_is_missing_is_named(words, told, capsys):
    with pytest.raises(SystemExit) as end:
        program.main(words.split())
    assert end.value.code == 2
    assert f"error: the following arguments are required: {told}" in capsys.readouterr().err
