"""Values of ``--cfg-options``: what is typed is what the config gets, blanks included."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from cutmix_dense.cli.config_options import merge_options, read_value, typed_options
from cutmix_dense.cli.errors import UserError

PAGE = Path(__file__).parents[2] / "docs" / "training.md"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("/data/my set", "/data/my set"),
        ("/data/Tom's set", "/data/Tom's set"),
        ("(old) set", "(old) set"),
        ("/data/a(b", "/data/a(b"),
        ("a=b=c", "a=b=c"),
        ("", ""),
        ("'1,2'", "1,2"),
        ('"None"', "None"),
        ("'it's'", "it's"),
        (r"'C:\Users'", r"C:\Users"),
        (r"'C:\temp\new'", r"C:\temp\new"),
        (r"'it\'s, so'", "it's, so"),
        ("['traffic sign','car']", ["traffic sign", "car"]),
        ("[traffic sign, car]", ["traffic sign", "car"]),
        ("traffic sign, it's", ["traffic sign", "it's"]),
        ("['a, b', (1, [2])]", ["a, b", (1, [2])]),
        ("dict(type='CutMix', p=0.5)", {"type": "CutMix", "p": 0.5}),
        (
            "dict(type=CutMix, region=dict(area=(0.1, .4)), x=[])",
            {"type": "CutMix", "region": {"area": (0.1, 0.4)}, "x": []},
        ),
        ("dict(url=a=b, text='x,y)')", {"url": "a=b", "text": "x,y)"}),
        ("{type: CutMix, 'a: b': None, 3: [{}]}", {"type": "CutMix", "a: b": None, 3: [{}]}),
        ("[dict(type='A'), dict()]", [{"type": "A"}, {}]),
    ],
)
def test_values_are_read(text, value):
    read = read_value(text)
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[1,2", "brackets must close each other, got '[1,2'; quotes round"),
        ("1,(2", "brackets must close"),
        ("[(1])", "brackets must close"),
        ("dict(type='A'", "brackets must close"),
        ("dict(CutMix)", r"must be dict\(name=value\), got 'CutMix' in it"),
        ("dict(**a=1)", r"must be dict\(name=value\), got '\*\*a=1'"),
        ("{a, b}", "must be {name: value}, got 'a' in it"),
        ("{[1]: 2}", "must be {name: value}"),
        ("dict(a=1, a=2)", "each name once, got 'a' twice"),
    ],
)
def test_what_makes_no_sense_is_refused(text, told):
    with pytest.raises(ValueError, match=told.replace("[1,2'", r"\[1,2'")):
        read_value(text)
    with pytest.raises(UserError, match="--cfg-options model.x: "):
        typed_options([f"model.x={text}"])


@pytest.mark.parametrize(
    "text",
    [
        "1",
        "-2",
        "1e-3",
        "inf",
        "1_0",
        "true",
        "False",
        "None",
        "none",
        "a",
        "1,2,3",
        "1,",
        ",",
        "[]",
        "()",
        "(1)",
        "[(1,2),[a,b],c]",
        "a,,b",
        "x=y",
    ],
)
def test_what_mmengine_reads_is_read_alike(text):
    action = pytest.importorskip("mmengine.config").DictAction
    assert repr(read_value(text)) == repr(action._parse_iterable(text))


def test_words_without_a_key_or_a_sign_are_refused():
    for words in (["a=/data/my", "set"], ["=1"]):
        with pytest.raises(UserError, match="must be KEY=VALUE, got .*; a value with blanks needs quotes"):
            typed_options(words)
    assert typed_options(["a=1", " a =b c"]) == {"a": "b c"}


def test_dicts_change_keys_or_take_the_place_of_what_is_none():
    config_class = pytest.importorskip("mmengine.config").Config
    config = config_class({"model": {"mix": None, "net": {"type": "A", "w": 1}, "steps": [{"p": None}, 2]}})
    typed = ["model.mix=dict(type=B)", "model.net={w: 2}", "model.new=dict(a=dict(b=1))", "model.steps.0.p=dict(q=2)"]
    merge_options(config, typed_options(typed))
    assert config.model.to_dict() == {
        "mix": {"type": "B"},
        "net": {"type": "A", "w": 2},
        "steps": [{"p": {"q": 2}}, 2],
        "new": {"a": {"b": 1}},
    }
    merge_options(config, typed_options(["model.net=dict(_delete_=True, type=C)"]))
    assert config.model.net == {"type": "C"}
    none = config_class({"model": {"mix": None}})
    with pytest.raises(UserError, match=r'where model.mix is None: write "model.mix=dict\(p=…\)"'):
        merge_options(none, typed_options(["model.mix.p=0.5"]))
    with pytest.raises(UserError, match="--cfg-options model.steps.7.p doesn't fit the config"):
        merge_options(config, {"model.steps.7.p": 1})


def test_the_line_for_tensorboard_works(tmp_path):
    """As docs/training.md has it, in a shell."""
    pytest.importorskip("mmengine")
    from mmengine.visualization import Visualizer

    from cutmix_dense.cli.train import parser, read_config

    (line,) = re.findall(r"`(--cfg-options \"visualizer[^`]*)`", PAGE.read_text())
    config = tmp_path / "config.py"
    config.write_text('visualizer = dict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")])\n')
    cfg = read_config(parser().parse_args([str(config), "--work-dir", str(tmp_path), *shlex.split(line)]))
    assert cfg.visualizer.vis_backends == [{"type": "TensorboardVisBackend"}]
    made = Visualizer(name=tmp_path.name, vis_backends=cfg.visualizer.vis_backends, save_dir=str(tmp_path))
    assert [type(backend).__name__ for backend in made._vis_backends.values()] == ["TensorboardVisBackend"]
