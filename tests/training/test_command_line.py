"""What the commands train and evaluate refuse, and what they leave behind."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cutmix_dense.cli import evaluate, train


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
    assert "--amp needs a CUDA device" in refused(train.main, [tiny, "--work-dir", tmp_path, "--amp"], capsys)


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


def test_fewer_classes_than_the_data_has_are_refused_in_a_line(tiny, tmp_path, capsys):
    few = ["--work-dir", tmp_path, "--cfg-options", "model.num_classes=18", "log_level=ERROR"]
    for main, words, part in ((train.main, [tiny], "train"), (evaluate.main, [tiny, tiny], "test")):
        told = refused(main, [*words, *few, f"experiment_name=few_{part}"], capsys)
        assert "error: model.num_classes must be at least 19, got 18" in told
        assert f"the dataset of {part}_dataloader has 19 classes (road, sidewalk, building, wall, fence, …)" in told
        assert "set model.num_classes=19" in told


def test_a_checkpoint_of_another_model_is_not_evaluated(tiny, tmp_path, capsys):
    """A semi-supervised model's and one with other classes are refused; statistics may be missing."""
    from mmengine.config import Config
    from mmengine.registry import MODELS

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


def test_a_used_folder_is_not_trained_over(tiny, tmp_path, capsys):
    (tmp_path / "epoch_3.pth").write_bytes(b"")
    assert "--resume" in refused(train.main, [tiny, "--work-dir", tmp_path], capsys)
