"""A setting of ours that nothing uses stops a training at its start, in stock configs of the frameworks."""

from __future__ import annotations

import pytest

pytest.importorskip("mmdet", reason="needs MMDetection (see README: tests of the frameworks)")
pytest.importorskip("mmseg", reason="needs MMSegmentation (see README: tests of the frameworks)")

from drawn import draw_cityscapes, draw_coco, runner_of
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from snippets import ROOT

from cutmix_dense.mmengine.sample import CutMix
from cutmix_dense.mmengine.unused import CheckMixHook, _unbuilt, check_runners, find_unused

RETINANET = "mmdet::retinanet/retinanet_r18_fpn_1x_coco.py"
YOLOX = "mmdet::yolox/yolox_tiny_8xb8-300e_coco.py"
SOFT_TEACHER = "mmdet::soft_teacher/soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco.py"
FCN = "mmseg::fcn/fcn_r18-d8_4xb2-80k_cityscapes-512x1024.py"
SEGFORMER_B0 = "mmseg::segformer/segformer_mit-b0_8xb1-160k_cityscapes-1024x1024.py"

IMPORT = 'custom_imports = dict(imports=["cutmix_dense.mmengine"], allow_failed_imports=False)\n'
DET = 'dict(type="cutmix_dense.DetDataPreprocessor", augments_before_normalize=[dict(type="cutmix_dense.CutMix")])'
SEG = 'dict(type="cutmix_dense.SegDataPreProcessor", batch_augments=[dict(type="cutmix_dense.CutMix")])'
MIX = 'dict(type="cutmix_dense.CutMix", p=0.5, max_cached_images=20)'
PIPELINE = f"""train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    {MIX},
    dict(type="PackDetInputs"),
]
"""
USED = "train_dataloader = dict(dataset=dict(pipeline=train_pipeline))\n"
CLOSE = 'default_hooks = dict(close_mix=dict(type="cutmix_dense.CloseMixHook", num_last_epochs=1))\n'


def written(base, *lines):
    return Config.fromstring(f'_base_ = "{base}"\n{IMPORT}{"".join(lines)}', file_format=".py")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """The drawn data of a base, made once."""
    made = {}

    def of(base):
        draw = draw_coco if base.startswith("mmdet") else draw_cityscapes
        if draw not in made:
            made[draw] = draw(tmp_path_factory.mktemp("drawn") / "data")
        return made[draw]

    return of


@pytest.fixture(autouse=True)
def scope():
    yield
    init_default_scope("mmengine")


class Started(Exception):
    """The checks at the start are over."""


@pytest.fixture
def start(data, tmp_path, monkeypatch):
    """Start a training by the framework's Runner; weights aren't initialised, nothing is trained."""

    def stop(runner):
        raise Started

    monkeypatch.setattr(Runner, "_init_model_weights", stop)

    def begin(base, *lines, **settings):
        runner = runner_of(written(base, *lines), data(base), tmp_path, **settings)
        runner.train()

    return begin


# what is refused, and what must be in the message


@pytest.mark.parametrize("close", ["", CLOSE], ids=["alone", "with_hook"])
@pytest.mark.parametrize("base", [RETINANET, YOLOX])
def test_a_top_level_preprocessor_of_a_detector(base, close, start):
    with pytest.raises(
        ValueError, match=r"data_preprocessor, cutmix_dense\.DetDataPreprocessor: .*only for a model"
    ) as error:
        start(base, f"data_preprocessor = {DET}\n", close, batch_size=2)
    assert "model = dict(data_preprocessor=dict(type=" in str(error.value)
    assert "DetDataPreprocessor" in str(error.value)


@pytest.mark.parametrize("base", [FCN, SEGFORMER_B0])
def test_a_top_level_preprocessor_of_a_segmenter(base, start):
    """MMSegmentation's own configs have that variable."""
    with pytest.raises(ValueError, match=r"data_preprocessor, cutmix_dense\.SegDataPreProcessor: .*only for a model"):
        start(base, f"data_preprocessor = {SEG}\n", batch_size=2)
    augments = '[dict(type="cutmix_dense.CutMix")]'
    with pytest.raises(ValueError, match=r"data_preprocessor\.augments_before_normalize\[0\], cutmix_dense\.CutMix"):
        start(base, f"data_preprocessor = dict(augments_before_normalize={augments})\n", batch_size=2)


def test_a_pipeline_that_no_dataloader_has(start):
    with pytest.raises(
        ValueError, match=r"train_pipeline\[2\], cutmix_dense\.CutMix: 'train_pipeline' is a variable"
    ) as error:
        start(RETINANET, PIPELINE)
    assert "train_dataloader = dict(dataset=dict(pipeline=train_pipeline))" in str(error.value)


def test_a_pipeline_beside_a_preprocessor_that_is_used(start):
    """The same method in both: the preprocessor's doesn't excuse the pipeline's."""
    with pytest.raises(ValueError, match=r"train_pipeline\[2\]") as error:
        start(RETINANET, PIPELINE, f"model = dict(data_preprocessor={DET})\n")
    assert str(error.value).count("\n- ") == 1


@pytest.mark.parametrize(
    ("hook", "name"),
    [('CloseMixHook", num_last_epochs=1', "close_mix"), ('WeighLossesHook"', "weigh_losses")],
    ids=["close", "weigh"],
)
def test_a_hook_under_another_name(hook, name, start):
    kind = hook.partition('"')[0]
    with pytest.raises(ValueError, match=rf"hooks\[0\], cutmix_dense\.{kind}: .*default_hooks = dict\({name}="):
        start(RETINANET, PIPELINE, USED, f'hooks = [dict(type="cutmix_dense.{hook})]\n')


def test_a_hook_where_nothing_mixes(data, tmp_path):
    runner = runner_of(written(RETINANET, CLOSE), data(RETINANET), tmp_path)
    runner.train_loop  # noqa: B018 – built by asking for it
    with pytest.raises(ValueError, match="nothing of cutmix_dense that mixes"):
        runner.call_hook("before_train")


def test_epochs_in_a_loop_of_iterations(data, tmp_path):
    config = written(FCN, CLOSE, f"model = dict(data_preprocessor={SEG})\n")
    runner = runner_of(config, data(FCN), tmp_path)
    runner.train_loop  # noqa: B018
    with pytest.raises(ValueError, match=r"num_last_epochs=1 has no meaning here: .*80000 iterations.*num_last_iters"):
        runner.call_hook("before_train")


BRANCHES = """train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    {before}
    dict(
        type="MultiBranch",
        branch_field=["unsup_teacher", "unsup_student"],
        unsup_teacher=[dict(type="PackDetInputs")],
        unsup_student=[{student} dict(type="PackDetInputs")],
    ),
]
"""


def test_a_mix_that_one_branch_has_to_itself(start):
    """The teacher would label a sample that its student doesn't see."""
    with pytest.raises(
        ValueError, match=r"'unsup_student' of MultiBranch holds cutmix_dense\.CutMix, but 'unsup_teacher' .* before"
    ):
        start(RETINANET, BRANCHES.format(before="", student=f"{MIX},"), USED)
    with pytest.raises(Started):
        start(RETINANET, BRANCHES.format(before=f"{MIX},", student=""), USED)


def test_augments_that_mmseg_never_builds(start):
    augments = 'model = dict(data_preprocessor=dict(batch_augments=[dict(type="cutmix_dense.CutMix")]))\n'
    with pytest.raises(
        ValueError, match=r"batch_augments\[0\], cutmix_dense\.CutMix: the model didn't build it"
    ) as error:
        start(FCN, augments)
    assert "cutmix_dense.SegDataPreProcessor" in str(error.value)


def test_our_argument_in_their_preprocessor_is_refused_by_them(start):
    augments = 'dict(augments_before_normalize=[dict(type="cutmix_dense.CutMix")])'
    for base in (RETINANET, FCN):
        with pytest.raises(TypeError, match="augments_before_normalize"):
            start(base, f"model = dict(data_preprocessor={augments})\n")


SEMI = """custom_imports = dict(imports=["cutmix_dense.mmengine", "cutmix_dense.mmengine.semi_detector"])
model = dict(
    _delete_=True,
    type="cutmix_dense.SemiMixDetector",
    mix=dict(type="cutmix_dense.RandomMix", transforms=[dict(type="cutmix_dense.CutMix")]{windows}),
    detector={{{{_base_.model}}}},
    semi_train_cfg=dict(cls_pseudo_thr=0.7, min_pseudo_bbox_wh=(1e-2, 1e-2)),
    semi_test_cfg=dict(predict_on="teacher"),
)
"""


def test_the_mix_of_a_semi_supervised_detector(start):
    schedule = 'default_hooks = dict(mix_schedule=dict(type="cutmix_dense.MixScheduleHook"))\n'
    windowed = SEMI.format(windows=", windows=[(4, 8)]")
    with pytest.raises(ValueError, match=r"SemiMixDetector has windows.*MixScheduleHook") as error:
        start(RETINANET, windowed, batch_size=2)
    assert str(error.value).count("\n- ") == 1
    for lines in ([windowed, schedule], [SEMI.format(windows="")]):
        with pytest.raises(Started):
            start(RETINANET, *lines, batch_size=2)
    with pytest.raises(ValueError, match=r"batch_size=1.*cutmix_dense\.RandomMix never mixes"):
        start(RETINANET, SEMI.format(windows=""), batch_size=1)


SEMI_BATCHES = """custom_imports = dict(imports=["cutmix_dense.mmengine", "cutmix_dense.mmengine.semi_detector"])
model = dict(
    type="cutmix_dense.SemiMixDetector", mix=dict(type="cutmix_dense.{mix}"),
    detector=dict(backbone=dict(depth=18, base_channels=8), neck=dict(in_channels=[8, 16, 32, 64])),
)
train_dataloader = dict(
    batch_size={count}, num_workers=0, persistent_workers=False,
    sampler=dict(type="{sampler}", batch_size={count}, source_ratio={ratio}),
)
"""


@pytest.mark.parametrize(
    ("sampler", "ratio", "mix", "refused"),
    [
        ("GroupMultiSourceSampler", [1, 1], "CutMix", True),
        ("MultiSourceSampler", [1, 1], "Mosaic", True),
        ("MultiSourceSampler", [3, 1], "CutMix", True),
        ("MultiSourceSampler", [1, 2], "CutMix", False),
        ("MultiSourceSampler", [1, 1], 'CopyPaste", source="self", place="random', False),
    ],
)
def test_one_unlabelled_image_in_a_batch(sampler, ratio, mix, refused, start, data):
    annotations = data(SOFT_TEACHER) / "annotations" / "instances_train2017.json"
    for part in ("", "-unlabeled"):
        copied = data(SOFT_TEACHER) / "semi_anns" / f"instances_train2017.1@10{part}.json"
        copied.parent.mkdir(exist_ok=True)
        copied.write_text(annotations.read_text())
    lines = SEMI_BATCHES.format(sampler=sampler, ratio=ratio, count=sum(ratio), mix=mix)
    if not refused:
        with pytest.raises(Started):
            start(SOFT_TEACHER, lines)
        return
    given = rf"batch_size={sum(ratio)}, source_ratio=\[{ratio[0]}, 1\]"
    with pytest.raises(ValueError, match=rf"{given}.* cutmix_dense\.{mix} never mixes.*source_ratio=\[1, 2\]") as error:
        start(SOFT_TEACHER, lines)
    assert str(error.value).count("\n- ") == 1


def test_a_pipeline_that_is_switched_later(start, data, tmp_path):
    """Its windows need the hook, and its mix is one that can be closed."""
    window = 'dict(type="cutmix_dense.RandomMix", transforms=[dict(type="CutMix")], windows=[(1, 2)])'
    switch = 'dict(type="PipelineSwitchHook", switch_epoch=1, switch_pipeline=[{}, dict(type="PackDetInputs")])'
    lines = f"custom_hooks = [{switch.format(window)}]\n"
    schedule = 'default_hooks = dict(mix_schedule=dict(type="cutmix_dense.MixScheduleHook"))\n'
    with pytest.raises(ValueError, match=r"cutmix_dense\.RandomMix has windows.*MixScheduleHook"):
        start(RETINANET, lines)
    with pytest.raises(Started):
        start(RETINANET, lines, schedule)
    for each in (lines + schedule, f"custom_hooks = [{switch.format(MIX)}]\n{CLOSE}"):
        runner = runner_of(written(RETINANET, each), data(RETINANET), tmp_path)
        runner.train_loop  # noqa: B018 – built by asking for it
        runner.call_hook("before_train")
        ours, theirs = (
            next(index for index, hook in enumerate(runner.hooks) if type(hook).__name__.startswith(names))
            for names in (("Close", "MixSch"), "PipelineSwitch")
        )
        assert ours > theirs


def test_methods_within_a_method(start):
    inner = 'dict(type="cutmix_dense.RandomMix", transforms=[dict(type="cutmix_dense.RICAP")])'
    mixing = DET.replace('dict(type="cutmix_dense.CutMix")', inner)
    assert "RICAP" in mixing
    with pytest.raises(Started):
        start(RETINANET, f"model = dict(data_preprocessor={mixing})\n", batch_size=2)


def test_batches_of_one_image(start):
    """SegFormer's own configs have them."""
    with pytest.raises(ValueError, match=r"batch_size=1.*cutmix_dense\.CutMix.*batch_size=2"):
        start(SEGFORMER_B0, f"model = dict(data_preprocessor={SEG})\n")
    with pytest.raises(ValueError, match=r"batch_size=1"):  # whose size is a batch sampler's
        start(RETINANET, f"model = dict(data_preprocessor={DET})\n", "train_dataloader = dict(batch_size=1)\n")


# what isn't


@pytest.mark.parametrize(
    ("base", "lines"),
    [
        (RETINANET, [PIPELINE, USED]),
        (RETINANET, [PIPELINE, USED, f"model = dict(data_preprocessor={DET})\n"]),
        (RETINANET, [f"mine = {DET}\n", "model = dict(data_preprocessor=mine)\n"]),
        (SEGFORMER_B0, [f"data_preprocessor = {SEG}\nmodel = dict(data_preprocessor=data_preprocessor)\n"]),
        (RETINANET, [f"mix = {MIX}\n", PIPELINE.replace(MIX, "mix"), USED]),
        (RETINANET, [PIPELINE, USED, "spare_pipeline = None\n"]),
        (RETINANET, []),
        (SEGFORMER_B0, ["train_dataloader = dict(batch_size=1)\n"]),
    ],
    ids=["pipeline", "both", "variable", "mmseg_variable", "one_of_a_type", "none", "nothing", "nothing_of_one"],
)
def test_what_is_used_starts(base, lines, start):
    with pytest.raises(Started):
        start(base, *lines, batch_size=2 if lines else None)


def test_numbers_from_the_command_line(data, tmp_path):
    """``--cfg-options`` changes what is read, not the variable."""
    config = written(RETINANET, PIPELINE, USED)
    config.merge_from_dict({"train_dataloader.dataset.pipeline.2.p": 0.25})
    assert find_unused(config) == []
    config.merge_from_dict({"train_dataloader.dataset.pipeline.2.type": "cutmix_dense.RICAP"})
    assert len(find_unused(config)) == 1


@pytest.mark.parametrize(
    ("variable", "used", "option"),
    [
        (
            "mix = dict(type='cutmix_dense.CutMix')",
            "model = dict(data_preprocessor=dict(type='cutmix_dense.DetDataPreprocessor', batch_augments=[mix]))",
            "model.data_preprocessor.batch_augments.0.p",
        ),
        (
            f"mix = {MIX}",
            "train_dataloader = dict(dataset=dict(pipeline=[dict(type='LoadImageFromFile'), mix]))",
            "train_dataloader.dataset.pipeline.1.p",
        ),
        (
            f"mixes = [dict(type='LoadAnnotations'), {MIX}]",
            "train_dataloader = dict(dataset=dict(pipeline=[dict(type='LoadImageFromFile'), *mixes]))",
            "train_dataloader.dataset.pipeline.2.p",
        ),
        (
            "mixes = [dict(type='cutmix_dense.CutMix')]",
            "model = dict(type='cutmix_dense.SemiMixDetector', batch_mix=mixes[0])",
            "model.batch_mix.p",
        ),
    ],
)
def test_numbers_of_a_mix_in_a_variable_of_its_own(variable, used, option):
    config = Config.fromstring(f"{variable}\n{used}\n", file_format=".py")
    assert find_unused(config) == []
    config.merge_from_dict({option: 0.25})
    assert find_unused(config) == []
    place = option.rpartition(".")[0]
    config.merge_from_dict({f"{place}.type": "cutmix_dense.RICAP"})
    assert len(find_unused(config)) == 1


def test_configs_of_pure_python_name_classes():
    step = {"type": CutMix, "max_cached_images": 5}
    config = Config(
        {"model": {"type": "A"}, "train_pipeline": [step], "train_dataloader": {"dataset": {"pipeline": []}}}
    )
    (problem,) = find_unused(config)
    assert problem.startswith("train_pipeline[0], cutmix_dense.CutMix: ")
    config.train_dataloader.dataset.pipeline = [step]
    assert find_unused(config) == []


PURE = """from cutmix_dense.mmengine import CloseMixHook, DetDataPreprocessor
from cutmix_dense.mmengine import batch
from cutmix_dense.mmengine.sample import CutMix, RandomMix
train_pipeline = [dict(type=RandomMix, transforms=[dict(type="CutMix")], max_cached_images=5)]
test_pipeline = [dict(type=CutMix, max_cached_images=5)]
data_preprocessor = dict(type=DetDataPreprocessor, batch_augments=[dict(type=batch.RICAP)])
hooks = [dict(type=CloseMixHook, num_last_epochs=1)]
model = dict(type="A", data_preprocessor=dict(type="B", batch_augments=[dict(type=batch.CutMix)]))
train_dataloader = dict(dataset=dict(pipeline={pipeline}))
default_hooks = dict({hooks})
"""


@pytest.mark.parametrize("dumps", [0, 1, 2])
@pytest.mark.parametrize("used", [False, True])
def test_a_dumped_config_of_pure_python_is_checked_as_it_was(dumps, used, tmp_path):
    """MMEngine writes import paths for its classes."""
    path = tmp_path / "written.py"
    close = "close_mix=dict(type=CloseMixHook, num_last_epochs=2)"
    path.write_text(PURE.format(pipeline="train_pipeline" if used else "[]", hooks=close if used else ""))
    config = Config.fromfile(path, lazy_import=True)
    for number in range(dumps):
        config.dump(tmp_path / f"{number}.py")
        config = Config.fromfile(tmp_path / f"{number}.py")
    given = config.test_pipeline[0]["type"]
    assert given == "cutmix_dense.mmengine.sample.CutMix" if dumps else given is CutMix
    unused = {"test_pipeline[0], cutmix_dense.CutMix", "data_preprocessor, cutmix_dense.DetDataPreprocessor"}
    unused |= set() if used else {"train_pipeline[0], cutmix_dense.RandomMix", "hooks[0], cutmix_dense.CloseMixHook"}
    assert {problem.partition(": ")[0] for problem in find_unused(config)} == unused
    (unbuilt,) = _unbuilt(config, {"RICAP"})
    assert unbuilt.startswith("model.data_preprocessor.batch_augments[0], cutmix_dense.CutMix: ")
    assert _unbuilt(config, {"CutMix"}) == []


def test_a_model_without_one_takes_the_top_level_one():
    assert (
        find_unused(Config.fromstring(f'model = dict(type="A")\ndata_preprocessor = {DET}\n', file_format=".py")) == []
    )


TRAININGS = [
    path for path in sorted((ROOT / "configs").glob("*/*.py")) if path.parent.name not in ("_base_", "studies")
]


@pytest.mark.parametrize("path", TRAININGS, ids=lambda path: path.stem)
def test_no_shipped_config_has_any(path):
    assert find_unused(Config.fromfile(path)) == []


def test_a_semi_supervised_config_of_the_framework_has_none():
    config = get_config(SOFT_TEACHER)
    assert find_unused(config) == []
    config.detector.data_preprocessor = {"type": "cutmix_dense.DetDataPreprocessor"}
    assert len(find_unused(config)) == 1


def test_a_validation_alone_is_not_looked_at(data, tmp_path):
    config = written(RETINANET, PIPELINE)
    runner = runner_of(config, data(RETINANET), tmp_path)
    runner.call_hook("before_run")


def test_every_runner_checks_once(data, tmp_path):
    check_runners()
    lines = 'custom_hooks = [dict(type="cutmix_dense.CheckMixHook")]\n'
    runner = runner_of(written(RETINANET, lines), data(RETINANET), tmp_path)
    assert sum(isinstance(hook, CheckMixHook) for hook in runner.hooks) == 1
