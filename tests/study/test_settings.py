"""A study's config is read as it says, and what doesn't fit is named."""

from __future__ import annotations

import pytest

from cutmix_dense.study.settings import StudyError, config_hash, load_study


def test_options_come_in_order(make_study):
    study = load_study(make_study())
    config = study.compose("cutmix", 2, {"fake.hold": 7})
    assert config.randomness.seed == 2
    assert (config.fake.base, config.fake.steps, config.fake.hold) == (30.0, 3, 7)
    assert config.fake.gain == [5.0, 5.1, 4.9, 0]
    assert "gain" not in study.compose("baseline", 0).fake
    assert [(o.kind, o.share) for o in study.measuring.occlusions] == [
        ("centre", 0.1),
        ("centre", 0.5),
        ("boundary", 0.3),
    ]


def test_the_hash_knows_everything_but_where_the_data_lies(make_study):
    study = load_study(make_study())
    first = config_hash(study.compose("cutmix", 0))
    assert first == config_hash(study.compose("cutmix", 0, study.data_options("/elsewhere/set")))
    others = [study.compose("cutmix", 1), study.compose("same", 0), study.compose("cutmix", 0, {"fake.base": 31.0})]
    others += [
        study.compose("cutmix", 0, study.data_options("/elsewhere/other")),
        study.compose("cutmix", 0, {"fake.x": 1}),
    ]
    assert len({first, *map(config_hash, others)}) == 6


def test_a_typed_dict_takes_the_place_of_another_and_others_are_merged(make_study):
    mixes = {"mix": {"type": "Mosaic", "grid": 2}, "list": [{"type": "A", "x": 1}], "plain": {"x": 1}}
    more = "options = {'fake.list.0': dict(type='B', y=2), 'fake.plain': dict(y=2)}\n"
    more += "variants = dict(baseline={}, cutmix=dict(options={'fake.mix': dict(type='CutMix', p=0.5)}))"
    path = make_study(more=more)
    training = path.with_name("training.py")
    training.write_text(training.read_text() + f"fake.update({mixes!r})\nempty = dict(mix=None)\n")
    config = load_study(path).compose("cutmix", 0, {"empty.mix": {"type": "C"}})
    assert config.fake.mix == {"type": "CutMix", "p": 0.5}
    assert config.fake.list == [{"type": "B", "y": 2}]
    assert config.fake.plain == {"x": 1, "y": 2}
    assert config["empty"]["mix"].type == "C"


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("baseline = 'plain'", "baseline must be one of baseline, cutmix"),
        ("metrics = 'x'", "unknown key 'metrics'; did you mean 'metric'"),
        ("seeds = (0, 0)", "seeds must be different"),
        ("seeds = ()", "seeds must be given"),
        ("title = 3", "title must be a str"),
        ("robustness = dict(center=(0.1,))", "robustness knows centre"),
        ("robustness = dict(centre=(1.5,))", "share must lie between 0 and 1"),
        ("shifts = dict(rain=(0.1,))", "stand_ins.py: shifts knows fog, noise, blur"),
        ("shifts = dict(fog=(0.9,))", "strength of fog must be above 0 and below 0.667"),
        ("shifts = dict(fog=0.3)", "shifts: fog must be a list of strengths"),
        ("reliability = {'a/ECE': 'less'}", "reliability: a/ECE must be one of .'lower', 'higher'., got 'less'"),
        ("pictures = dict(many=3)", "pictures knows count"),
        ("variants = {'a/b': dict()}\nbaseline = 'a/b'", "can't be the name of a folder"),
        ("variants = dict(baseline=dict(option={}))", "dict of config, options and note"),
    ],
)
def test_mistakes_are_named(make_study, more, told):
    with pytest.raises(StudyError, match=told):
        load_study(make_study(more=more))


def test_shifts_are_measured_where_asked_for_and_older_results_stay_valid(make_study):
    assert load_study(make_study()).measuring.to_dict().keys() == {"occlusions", "pictures"}
    study = load_study(make_study(more="shifts = dict(blur=(2,), fog=(0.5, 0.2))\nreliability = {'c/ECE': 'lower'}"))
    shifts = [{"kind": "fog", "strength": 0.2}, {"kind": "fog", "strength": 0.5}, {"kind": "blur", "strength": 2}]
    assert study.measuring.to_dict()["shifts"] == shifts
    assert study.reliability == {"c/ECE": "lower"}


def test_an_option_that_nothing_reads_is_refused_with_the_near_match(make_study):
    more = "variants['typo'] = dict(options={'train_cgf.max_epochs': 7})"
    study = load_study(make_study(more=more))
    with pytest.raises(StudyError, match=r"variants\.typo: train_cgf\.max_epochs .*did you mean 'train_cfg'\?"):
        study.compose("typo", 0)
    with pytest.raises(StudyError, match=r"variants\.cutmix: x doesn't fit .*'x' is no key .*write it into the config"):
        study.compose("cutmix", 0, {"x": 1})
    known = {"fake.new.key": 1, "default_hooks.checkpoint.interval": 2, "compile": True}
    config = study.compose("cutmix", 0, known)  # new below a key, MMEngine's own
    assert (config.fake.new.key, config.default_hooks.checkpoint.interval) == (1, 2)


def test_files_that_are_missing(make_study, tmp_path):
    with pytest.raises(StudyError, match="there is no study"):
        load_study(tmp_path / "none.py")
    study = load_study(make_study(more="config = 'elsewhere.py'"))
    with pytest.raises(StudyError, match=r"variants\.cutmix\.config: there is no file"):
        study.compose("cutmix", 0)
    study = load_study(make_study(more="data_keys = ()"))
    with pytest.raises(StudyError, match="--data-root"):
        study.data_options("/data")


STOPPING = """
from mmengine.hooks import EarlyStoppingHook
from mmengine.registry import HOOKS
@HOOKS.register_module(force=True)
class Patience(EarlyStoppingHook):
    pass
"""


@pytest.mark.parametrize(
    ("hooks", "place"),
    [
        ("default_hooks = dict(stop=dict(type='EarlyStoppingHook', monitor='a'))", "default_hooks.stop"),
        ("custom_hooks = [dict(type='NoHook'), dict(type='mmengine.EarlyStoppingHook')]", "custom_hooks.1"),
        ("custom_hooks = [dict(type='mmengine.hooks.EarlyStoppingHook')]", "custom_hooks.0"),
        ("custom_hooks = [dict(type='Patience')]\ncustom_imports = dict(imports=['patience'])", "custom_hooks.0"),
        ("custom_hooks = [dict(type='patience_by_path.Patience')]", "custom_hooks.0"),
    ],
)
def test_a_hook_that_ends_trainings_early_is_refused(make_study, tmp_path, monkeypatch, hooks, place):
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("patience", "patience_by_path"):
        (tmp_path / f"{name}.py").write_text(STOPPING)
    study = load_study(make_study())
    training = tmp_path / "training.py"
    training.write_text(f"{training.read_text()}\n{hooks}\n")
    remedy = f"set {place}=None" if "default" in place else "remove it from custom_hooks"
    with pytest.raises(StudyError, match=rf"variants\.cutmix: {place} must not be an EarlyStoppingHook, .*; {remedy}"):
        study.compose("cutmix", 0)
    key, _, name = place.partition(".")
    config = study.compose("cutmix", 0, {f"{key}.{name}": None} if "default" in place else {key: []})
    assert not (config[key] and config[key][name])


def test_other_hooks_stay(make_study, tmp_path):
    study = load_study(make_study())
    training = tmp_path / "training.py"
    hooks = "default_hooks = dict(a=None, b=dict(type='CheckpointHook'))\ncustom_hooks = [dict(type='gone.Hook')]\n"
    training.write_text(f"{training.read_text()}\n{hooks}custom_imports = dict(imports='gone')\n")
    assert study.compose("cutmix", 0).default_hooks.b.type == "CheckpointHook"
