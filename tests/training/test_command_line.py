"""What the commands train and evaluate refuse, and what they leave behind."""

from __future__ import annotations

import itertools
import zipfile
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from cutmix_dense.cli import evaluate, train
from cutmix_dense.cli.errors import UserError
from cutmix_dense.training import TrainingError
from cutmix_dense.training.names import check_name
from cutmix_dense.training.started import work_with


def refused(main, words, capsys):
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in words])
    assert left.value.code == 2
    return capsys.readouterr().err


def test_mistakes_are_told_in_a_line(tiny, tmp_path, capsys):
    work = ["--work-dir", tmp_path]
    assert "no such config" in refused(train.main, [tmp_path / "none.py", *work], capsys)
    assert "no such checkpoint" in refused(evaluate.main, [tiny, tmp_path / "none.pth", *work], capsys)
    one = ["--cfg-options", "default_hooks.checkpoint.max_keep_ckpts=1"]
    assert "at least 2, got 1" in refused(train.main, [tiny, *work, *one], capsys)
    assert "base_batch_size" in refused(train.main, [tiny, *work, "--auto-scale-lr"], capsys)


@pytest.mark.parametrize(
    ("option", "meant"),
    [
        ("train_cgf.max_epochs=7", "train_cfg"),
        ("modle.data_preprocessor.mix=None", "model"),
        ("lod_from=a", "load_from"),
    ],
)
def test_an_option_that_nothing_reads_is_refused(tiny, tmp_path, capsys, option, meant):
    key = option.partition("=")[0]
    for main, words in ((train.main, [tiny]), (evaluate.main, [tiny, tiny])):
        told = refused(main, [*words, "--work-dir", tmp_path, "--cfg-options", option], capsys)
        assert f"--cfg-options {key}: " in told
        assert f"did you mean {meant!r}?" in told


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_amp_without_a_gpu_is_refused(tiny, tmp_path, capsys):
    words = [tiny, "--work-dir", tmp_path]
    assert "--amp needs a CUDA device" in refused(train.main, [*words, "--amp"], capsys)
    for given in ("AmpOptimWrapper", "mmengine.AmpOptimWrapper"):
        typed = ["--cfg-options", f"optim_wrapper.type={given}", "optim_wrapper.dtype=bfloat16"]
        told = refused(train.main, [*words, *typed], capsys)
        assert "error: optim_wrapper.type=AmpOptimWrapper needs a CUDA device" in told
        assert told.count("\n") == 1


@pytest.mark.parametrize("task", ["detection", "classification"])
def test_the_other_small_configs_train_and_evaluate(task, demo, runs, tmp_path):
    name, options = {
        "detection": (
            "detection/fcos-small_bccd_cutmix.py",
            [
                *(f"{part}_dataloader.dataset.root={demo / 'voc'}" for part in ("train", "val", "test")),
                "model.num_classes=8",
                "model.data_preprocessor.size=(48,64)",
            ],
        ),
        "classification": (
            "classification/resnet18_cifar10_autoaugment.py",
            [
                *(f"{part}_dataloader.dataset.root={tmp_path}" for part in ("train", "val", "test")),
                *(f"{part}_dataloader.dataset.stand_in_size=32" for part in ("train", "val", "test")),
                *(f"{part}_dataloader.num_workers=0" for part in ("train", "val", "test")),
                *(f"{part}_dataloader.persistent_workers=False" for part in ("train", "val", "test")),
                "train_dataloader.batch_size=16",
            ],
        ),
    }[task]
    if task == "detection":
        from cutmix_dense.data import open_dataset

        options[3] = f"model.num_classes={len(open_dataset(demo / 'voc', 'voc', 'train').classes)}"
    config = Path(__file__).parents[2] / "configs" / name
    runs.finish("train", config, "--work-dir", tmp_path / "run", "--cfg-options", *options, "train_cfg.max_epochs=1")
    scores = runs.metrics(tmp_path / "run")["1"]
    assert {"detection": "voc/AP50", "classification": "classification/top1"}[task] in scores
    assert all(value is None or 0 <= value <= 100 for value in scores.values())


@pytest.mark.parametrize("count", [18, 20])
def test_another_number_of_classes_than_the_data_has_is_refused_in_a_line(tiny, tmp_path, capsys, count):
    wrong = ["--work-dir", tmp_path, "--cfg-options", f"model.num_classes={count}", "log_level=ERROR"]
    for main, words, part in ((train.main, [tiny], "train"), (evaluate.main, [tiny, tiny], "test")):
        told = refused(main, [*words, *wrong, f"experiment_name=count_{count}_{part}"], capsys)
        assert f"error: model.num_classes must be 19, got {count}" in told
        assert f"the dataset of {part}_dataloader has 19 classes (road, sidewalk, building, wall, fence, …)" in told
        assert "set model.num_classes=19" in told


def test_other_classes_in_another_loop_are_refused_in_a_line(tiny, tmp_path, capsys):
    """The same number, in another order: every score would be that of another class."""
    words = [tiny, "--work-dir", tmp_path, "--cfg-options", "model.num_classes=2", "log_level=ERROR"]
    words += ["experiment_name=other", "train_dataloader.dataset.keep_classes=[sky,road]"]
    told = refused(train.main, [*words, "val_dataloader.dataset.keep_classes=[road, sky]"], capsys)
    assert "error: val_dataloader must have the classes of train_dataloader, in their order: it has 2 (" in told
    assert "(road, sky), and train_dataloader has 2 (sky, road); class 0 is 'road' in the first and 'sky' in" in told
    assert "keep_classes of segmentation" in told


def test_a_checkpoint_of_other_classes_is_not_evaluated_or_resumed(tiny, tmp_path, capsys):
    """Its weights may begin a training; and one that doesn't say its classes is evaluated."""
    from mmengine.config import Config
    from mmengine.registry import MODELS

    kept = [f"{part}_dataloader.dataset.keep_classes=[sky, road]" for part in ("train", "val", "test")]
    options = ["--work-dir", tmp_path / "run", "--cfg-options", *kept, "model.num_classes=2", "log_level=ERROR"]
    config = Config.fromfile(tiny).model
    config.num_classes = 2
    state = {"state_dict": MODELS.build(config).state_dict(), "message_hub": {}}

    def save(name, *classes):
        meta = {"dataset_meta": {"classes": classes}, "epoch": 1, "iter": 3} if classes else {}
        torch.save({**state, "meta": meta}, tmp_path / name)
        return tmp_path / name

    other = save("other.pth", "road", "sky")
    told = refused(evaluate.main, [tiny, other, *options, "experiment_name=other_test"], capsys)
    assert f"test_dataloader must have the classes of the checkpoint {other}, in their order: it has 2 (" in told
    told = refused(train.main, [tiny, *options, "experiment_name=other_resumed", "--resume", other], capsys)
    assert f"train_dataloader must have the classes of the checkpoint {other}" in told
    for name, classes in (("same.pth", ("sky", "road")), ("silent.pth", ())):
        words = [tiny, save(name, *classes), *options, f"experiment_name={name}"]
        assert evaluate.main([str(word) for word in words]) == 0
    words = [tiny, *options, "experiment_name=begun", f"load_from={other}", "train_cfg.max_epochs=1"]
    assert train.main([str(word) for word in words]) == 0


def test_splits_of_coco_with_other_categories_need_stated_classes(demo, tmp_path, capsys):
    """A val file that lists only what occurs in it; with ``classes`` both number alike, and so may a larger model."""
    import json
    import shutil

    root = shutil.copytree(demo / "coco", tmp_path / "coco")
    (file,) = root.rglob("*val*.json")
    content = json.loads(file.read_text())
    dropped = content["categories"].pop(0)
    content["annotations"] = [each for each in content["annotations"] if each["category_id"] != dropped["id"]]
    file.write_text(json.dumps(content))
    config = tmp_path / "boxes.py"
    base = Path(__file__).parents[2] / "configs" / "detection" / "fcos-small_coco_baseline.py"
    config.write_text(
        f"_base_ = [{str(base)!r}]\n"
        "model = dict(network=dict(widths=(8, 8), levels=1), data_preprocessor=dict(size=(24, 32)))\n"
        f"_common = dict(root={str(root)!r}, layout='coco')\n"
        "train_dataloader = dict(batch_size=4, dataset=dict(**_common, split='train', limit=4), num_workers=0, "
        "persistent_workers=False)\n"
        "val_dataloader = dict(dataset=dict(**_common, split='val'), num_workers=0, persistent_workers=False)\n"
        "test_dataloader = val_dataloader\ntrain_cfg = dict(max_epochs=1, val_interval=1)\n"
    )
    words = [config, "--work-dir", tmp_path / "run", "--cfg-options", "log_level=ERROR"]
    told = refused(train.main, [*words, "experiment_name=unstated"], capsys)
    assert "val_dataloader must have the classes of train_dataloader" in told
    assert "in the second; state the same names" in told
    alone = [
        "train_dataloader.dataset.split=val",
        "experiment_name=fewer",
        f"model.num_classes={len(content['categories']) + 2}",
    ]
    told = refused(train.main, [*words, *alone], capsys)
    assert told.rstrip().endswith("or state the names of all that the model knows as classes of the dataset")
    names = [category["name"] for category in (*content["categories"], dropped)] + ["cow"]
    stated = [f"{part}_dataloader.dataset.classes={names}" for part in ("train", "val")]
    options = ["experiment_name=stated", f"model.num_classes={len(names) + 1}", *stated]
    assert train.main([str(word) for word in (*words, *options)]) == 0


def test_a_checkpoint_of_another_model_is_not_evaluated(tiny, tmp_path, capsys):
    """A semi-supervised model's and one with other classes are refused; statistics may be missing."""
    model = MODELS.build(Config.fromfile(tiny).model)
    state, count = model.state_dict(), len(list(model.parameters()))
    assert count > 4

    def words(name, content):
        torch.save({"state_dict": content, "meta": {}}, tmp_path / name)
        options = ["--cfg-options", "log_level=ERROR", f"experiment_name={name}"]
        return [tiny, tmp_path / name, "--work-dir", tmp_path, *options]

    told = refused(evaluate.main, words("semi.pth", {f"student.{n}": v for n, v in state.items()}), capsys)
    assert f"semi.pth fits 0 of the {count} parameters of the config's model, a Segmenter: it has no network." in told
    assert f"and {count - 3} more are missing; student.network." in told
    assert "give the config that it was trained with" in told
    other = {name: value[:5] if name == "network.head.weight" else value for name, value in state.items()}
    told = refused(evaluate.main, words("other.pth", other), capsys)
    assert f"fits {count - 1} of the {count}" in told
    assert "it has network.head.weight of shape (5, 4, 1, 1), not (19, 4, 1, 1); give" in told
    weights = {name: value for name, value in state.items() if name in dict(model.named_parameters())}
    assert len(weights) < len(state)
    assert evaluate.main([str(word) for word in words("weights.pth", weights)]) == 0


@pytest.fixture(scope="module")
def state(tiny):
    """The weights of a tiny model."""
    return MODELS.build(Config.fromfile(tiny).model).state_dict()


NAMES = itertools.count()
CLOSE = "default_hooks.close"


def refused_start(main, words, work_dir, capsys):
    """What is told of a checkpoint, in a line behind what MMEngine prints."""
    settings = ["--cfg-options", "log_level=ERROR", f"experiment_name=start_{next(NAMES)}"]
    told = refused(main, [*words, *settings, "--work-dir", work_dir], capsys).strip().splitlines()
    assert [line for line in told if ": error: " in line] == told[-1:]
    return told[-1]


def starts(tiny, file):
    """Every way to name a checkpoint."""
    return [
        (evaluate.main, [tiny, file]),
        (train.main, [tiny, "--resume", file]),
        (train.main, [tiny, "--cfg-options", f"load_from={file}"]),
        (train.main, [tiny, "--resume", "--cfg-options", f"load_from={file}"]),
    ]


@pytest.mark.parametrize("content", ["part", "half", "empty", "text", "archive", "list"])
def test_what_is_no_whole_checkpoint_is_told_with_its_name(tiny, state, tmp_path, capsys, content):
    file = tmp_path / "given.pth"
    torch.save([1, 2] if content == "list" else {"state_dict": state, "meta": {}}, file)
    whole = file.read_bytes()
    if content == "archive":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("notes.txt", "nothing of torch")
    elif content != "list":
        parts = {"part": whole[:3000], "half": whole[: len(whole) // 2], "empty": b"", "text": b"hello\n"}
        file.write_bytes(parts[content])
    for main, words in starts(tiny, file):
        told = refused_start(main, words, tmp_path / "run", capsys)
        assert f"error: {file} can't be read as a checkpoint (" in told


@pytest.mark.parametrize(("counts", "told"), [(2, True), (3, False), (1, False)])
def test_an_epoch_that_ends_between_two_steps_is_told(tiny, tmp_path, counts, told):
    """The epochs of the tiny config have three iterations."""
    own = f"experiment_name=counts{counts}"  # MMEngine's loggers are found again by name and second
    options = ["train_cfg.max_epochs=1", f"optim_wrapper.accumulative_counts={counts}", own]
    assert train.main([str(tiny), "--work-dir", str(tmp_path), "--cfg-options", *options]) == 0
    (log,) = tmp_path.rglob("2*.log")
    assert ("3 iterations, which accumulative_counts=2 doesn't divide" in log.read_text()) == told


def test_a_checkpoint_that_isnt_there_is_told(tiny, tmp_path, capsys):
    for main, words in starts(tiny, tmp_path / "none.pth"):
        told = refused_start(main, words, tmp_path / "run", capsys)
        assert told.endswith(f"error: {tmp_path / 'none.pth'}: no such checkpoint")
    unknown = refused(train.main, [tiny, "--work-dir", tmp_path / "run", "--resume", "~no-such-user/a.pth"], capsys)
    assert "error: ~no-such-user/a.pth: no such checkpoint" in unknown


@pytest.mark.skipif(
    tuple(map(int, torch.__version__.split(".")[:2])) < (2, 6), reason="torch loads safely by default from 2.6 on"
)
def test_a_checkpoint_that_isnt_safe_to_load_is_told(tiny, state, tmp_path, capsys):
    torch.save({"state_dict": state, "meta": {"root": Path("data")}}, tmp_path / "epoch_1.pth")
    for main, given in starts(tiny, tmp_path / "epoch_1.pth"):
        told = refused_start(main, given, tmp_path / "run", capsys)
        assert f"error: {tmp_path / 'epoch_1.pth'} holds what torch's safe loader refuses (" in told
    assert "epoch_1.pth holds" in refused_start(train.main, [tiny, "--resume"], tmp_path, capsys)


def test_weights_alone_cant_be_gone_on_with(tiny, state, tmp_path, capsys):
    file = tmp_path / "weights.pth"
    lacking = {"no state_dict, meta, message_hub": state, "no message_hub, meta.epoch, meta.iter": None}
    for told, content in lacking.items():
        torch.save(content or {"state_dict": state, "meta": {}}, file)
        error = refused_start(train.main, [tiny, "--resume", file], tmp_path, capsys)
        assert f"{file} has {told}, so no training can go on from it" in error
        assert f"set load_from={file}" in error


def test_a_file_in_the_old_format_of_torch_is_evaluated(tiny, state, tmp_path):
    file = tmp_path / "old.pth"
    torch.save({"state_dict": state}, file, _use_new_zipfile_serialization=False)
    options = ["--work-dir", str(tmp_path), "--cfg-options", "log_level=ERROR", "experiment_name=old"]
    assert evaluate.main([str(tiny), str(file), *options]) == 0


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("model.data_preprocessor.mix.p=1.5", "CutMix: p must lie in [0, 1], got 1.5"),
        ("model.data_preprocessor.mix.q=1", "CutMix has no setting 'q': known are alpha, p,"),
        ("model.network.type=SmallUNett", "did you mean"),
        ("train_dataloader.dataset.layout=cityscape", "error: layout must be one of ('coco',"),
        (
            "val_evaluator.type=cutmix_dense.CocoMetric val_evaluator.iou_types=x",
            "iou_types must be among ('bbox', 'segm')",
        ),
        (
            f"{CLOSE}.type=cutmix_dense.CloseMixHook",
            "exactly one of num_last_epochs and num_last_iters must be above 0",
        ),
        (
            f"model.data_preprocessor.mix=None {CLOSE}.type=cutmix_dense.CloseMixHook {CLOSE}.num_last_epochs=1",
            "CloseMixHook found nothing of cutmix_dense that mixes",
        ),
    ],
)
def test_settings_that_are_refused_are_told_in_a_line(tiny, tmp_path, capsys, option, told):
    name = f"refused_{next(NAMES)}"
    options = ["--cfg-options", *option.split(), "log_level=ERROR"]
    words = [tiny, "--work-dir", tmp_path, *options]
    error = refused(train.main, [*words, f"experiment_name={name}"], capsys)
    assert error.count("\ntrain: error: ") + error.startswith("train: error: ") == 1
    assert told in error
    assert "Traceback" not in error
    words += [f"experiment_name={name}_again", "--traceback"]
    with pytest.raises(UserError) as raised:
        train.main([str(word) for word in words])
    assert raised.value.__cause__ is not None


def test_only_what_this_package_says_before_the_first_batch_is_a_mistake(tiny, tmp_path):
    """Errors of others, and of a training that runs, keep their traceback."""

    def config(name):
        cfg = Config.fromfile(tiny)
        cfg.merge_from_dict({"work_dir": str(tmp_path), "experiment_name": name, "log_level": "ERROR"})
        return cfg

    def others(runner):
        raise ValueError("of others")

    def running(runner):
        runner.call_hook("before_train")
        check_name("a", ["b"])

    with pytest.raises(TrainingError, match="network must name one of b, got 'a'"):
        work_with(config("said"), lambda runner: check_name("a", ["b"]))
    for work in (others, running):
        with pytest.raises(ValueError, match="of others|network must name") as raised:
            work_with(config(work.__name__), work)
        assert raised.type is ValueError


@pytest.mark.parametrize(
    ("main", "keys", "told"),
    [
        (train.main, ("train_dataloader", "train_cfg", "optim_wrapper"), "nothing can be trained"),
        (evaluate.main, ("test_dataloader", "test_cfg", "test_evaluator"), "test_dataloader = val_dataloader"),
    ],
)
def test_a_config_without_the_loop_is_told_what_it_lacks(tiny, tmp_path, capsys, main, keys, told):
    more = [tiny] if main is evaluate.main else []
    for lacking in (keys, keys[:1], keys[2:]):
        config = tmp_path / "lacking.py"
        config.write_text(f"_base_ = [{str(tiny)!r}]\n" + "".join(f"{key} = None\n" for key in lacking))
        error = refused(main, [config, *more, "--work-dir", tmp_path / "run"], capsys)
        assert f"error: {config} has no {' and no '.join(lacking)}: " in error
        assert told in error
    assert not (tmp_path / "run").exists()


def test_a_used_folder_is_not_trained_over(tiny, tmp_path, capsys):
    (tmp_path / "epoch_3.pth").write_bytes(b"")
    assert "--resume" in refused(train.main, [tiny, "--work-dir", tmp_path], capsys)


def test_batches_of_one_image_are_refused_where_they_would_be_mixed(tiny, tmp_path, capsys):
    words = ["--cfg-options", "log_level=ERROR", "train_dataloader.batch_size=1"]
    told = refused(train.main, [tiny, "--work-dir", tmp_path / "one", *words, "experiment_name=one"], capsys)
    assert "train_dataloader.batch_size=1: a batch of one image has no partner on its device, so" in told
    assert told.rstrip().endswith(
        "cutmix_dense.CutMix never mixes. Write train_dataloader = dict(batch_size=2) or more"
    )
    alone = ["train_cfg.max_epochs=1", "train_dataloader.dataset.limit=2", "val_evaluator=None", "val_cfg=None"]
    alone += ["val_dataloader=None"]
    some = "dict(_delete_=True, type=RandomMix, transforms=[dict(type=Cutout, p=1), dict(type=CutMix, p=1)])"
    for number, mix in enumerate(("None", "dict(type=Cutout)", "dict(type=CutMix, p=0)", some)):
        options = [f"experiment_name=alone_{number}", f"model.data_preprocessor.mix={mix}", *alone]
        given = (tiny, "--work-dir", tmp_path / str(number), *words, *options)
        assert train.main([str(word) for word in given]) == 0


def test_a_last_batch_of_one_image_is_no_cause_to_warn(tiny, tmp_path, capsys):
    """Eleven images in batches of five: each epoch ends with one image."""
    words = [tiny, "--work-dir", tmp_path, "--cfg-options", "log_level=ERROR", "experiment_name=last"]
    words += ["train_dataloader.batch_size=5", "train_dataloader.dataset.limit=11", "train_cfg.max_epochs=2"]
    assert train.main([str(word) for word in [*words, "model.data_preprocessor.mix.p=1.0"]]) == 0
    assert "batch of one" not in capsys.readouterr().err
