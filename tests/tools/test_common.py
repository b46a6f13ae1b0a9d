"""Naming transforms on a command line, and errors that help."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import cutmix_dense as cd
from cutmix_dense.build import known_parts, known_transforms
from tools.common import SpecError, build_transform, parse_transform

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
