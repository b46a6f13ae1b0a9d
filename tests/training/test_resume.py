"""A training that is killed and resumed ends as one that never stopped, bit for bit on a CPU."""

from __future__ import annotations

import json
import random
import shutil
import time
from pathlib import Path
from pickle import UnpicklingError

import numpy as np
import pytest
import torch

from cutmix_dense.training import TrainingError, newest_checkpoint

SAFE_BY_DEFAULT = (2, 6)
TORCH = tuple(int(part) for part in torch.__version__.split(".")[:2])


@pytest.fixture(scope="module")
def whole(tiny, runs, tmp_path_factory):
    """The folder of a training that was let alone, and the seconds it took."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    begin = time.monotonic()
    runs.finish("train", tiny, "--work-dir", folder)
    return folder, time.monotonic() - begin


def assert_same_end(runs, run, whole):
    assert runs.metrics(run) == runs.metrics(whole)
    ours, theirs = (runs.state(folder / "epoch_4.pth") for folder in (run, whole))
    for part in ("state_dict", "optimizer", "param_schedulers"):
        assert_equal(ours[part], theirs[part], part)


def assert_equal(ours, theirs, where):
    if isinstance(theirs, torch.Tensor):
        assert torch.equal(ours, theirs), where
    elif isinstance(theirs, dict):
        assert ours.keys() == theirs.keys(), where
        for key in theirs:
            assert_equal(ours[key], theirs[key], f"{where}.{key}")
    elif isinstance(theirs, (list, tuple)):
        assert len(ours) == len(theirs), where
        for i, pair in enumerate(zip(ours, theirs)):
            assert_equal(*pair, f"{where}[{i}]")
    else:
        assert ours == theirs, where


def later_than(at):
    return lambda seconds: seconds > at


def kill_and_resume(runs, tiny, folder, whole, moments):
    """Kill a training once per moment (whether to kill now, given the seconds so far), then let it end."""
    alive = 0
    for moment in moments:
        process = runs.start("train", tiny, "--work-dir", folder, "--resume")
        begin = time.monotonic()
        while process.is_alive() and not moment(time.monotonic() - begin):
            time.sleep(0.002)
        alive += process.is_alive()
        process.kill()
        process.join()
    runs.finish("train", tiny, "--work-dir", folder, "--resume")
    assert_same_end(runs, folder, whole)
    return alive


def test_training_is_the_same_twice_and_learns_with_a_mix(runs, tiny, whole, tmp_path):
    runs.finish("train", tiny, "--work-dir", tmp_path / "run")
    assert_same_end(runs, tmp_path / "run", whole[0])
    runs.finish("train", tiny, "--work-dir", tmp_path / "other", "--cfg-options", "randomness.seed=1")
    assert runs.metrics(tmp_path / "other") != runs.metrics(whole[0])


def test_a_killed_training_ends_as_if_it_had_not_been(runs, tiny, whole, tmp_path):
    folder = tmp_path / "run"
    moments = [
        lambda seconds: (folder / "epoch_1.pth").exists(),  # while it is being written, or a little later
        lambda seconds: (folder / "epoch_2.pth").exists() and (folder / "metrics.json").stat().st_size > 5,
        later_than(random.uniform(0, whole[1])),
    ]
    assert kill_and_resume(runs, tiny, folder, whole[0], moments) >= 2


@pytest.mark.slow
def test_killed_at_many_moments(runs, tiny, whole, tmp_path):
    for trial in range(12):
        choice = random.Random(trial)
        moments = [later_than(choice.uniform(0, whole[1])) for _ in range(3)]
        kill_and_resume(runs, tiny, tmp_path / str(trial), whole[0], moments)


def test_workers_change_nothing_of_a_training(runs, tiny, whole, tmp_path):
    options = ["train_dataloader.num_workers=2", "val_dataloader.num_workers=1"]
    runs.finish("train", tiny, "--work-dir", tmp_path / "run", "--cfg-options", *options)
    assert_same_end(runs, tmp_path / "run", whole[0])


def test_what_a_kill_leaves_behind(runs, tiny, whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole[0], folder)
    last = folder / "epoch_4.pth"
    content = last.read_bytes()
    last.write_bytes(content[: len(content) // 2])
    assert newest_checkpoint(folder) == str(folder / "epoch_3.pth")
    (folder / "last_checkpoint").write_text("")
    runs.finish("train", tiny, "--work-dir", folder, "--resume")
    assert_same_end(runs, folder, whole[0])
    assert newest_checkpoint(folder) == str(last)

    scores = runs.metrics(folder)
    (folder / "metrics.json").write_text(json.dumps({"2": scores["2"]}))  # killed between checkpoint and validation
    runs.finish("train", tiny, "--work-dir", folder, "--resume")
    assert runs.metrics(folder) == scores

    for path in folder.glob("*.pth"):
        path.write_bytes(b"")
    assert newest_checkpoint(folder) is None
    runs.finish("train", tiny, "--work-dir", folder, "--resume")
    assert_same_end(runs, folder, whole[0])


def test_a_checkpoint_evaluates_to_the_metric_of_its_training(runs, tiny, whole, tmp_path):
    out = tmp_path / "scores.json"
    runs.finish("evaluate", tiny, whole[0] / "epoch_4.pth", "--work-dir", tmp_path / "run", "--out", out)
    assert json.loads(out.read_text()) == runs.metrics(whole[0])["4"]


def test_loading_checkpoints_allows_no_more_than_it_needs(tmp_path, runs):
    import pickle

    from mmengine.logging import HistoryBuffer

    from cutmix_dense.training import allow_checkpoints

    class Reaches:
        def __reduce__(self):
            return getattr, (HistoryBuffer, "register_statistics")

    path = tmp_path / "bad.pth"
    torch.save({"state_dict": Reaches()}, path)
    allow_checkpoints()
    with pytest.raises(pickle.UnpicklingError, match="methods of HistoryBuffer"):
        torch.load(path, weights_only=True)


def test_arrays_of_numbers_and_text_are_safe_to_load(tmp_path):
    """A dataset's ``metainfo`` is part of a checkpoint; MMPose's has colours as bytes."""
    from cutmix_dense.training import allow_checkpoints

    allow_checkpoints()
    kinds = ["?", "u1", "i1", "u2", "i2", "f2", "u4", "i4", "f4", "u8", "i8", "f8", "q", "Q", "c8", "c16", "U3", "S3"]
    arrays = [np.ones((2, 3), dtype=kind) for kind in kinds]
    torch.save({"dataset_meta": [*arrays, *(array[0, 0] for array in arrays)]}, tmp_path / "epoch_1.pth")
    loaded = torch.load(tmp_path / "epoch_1.pth")["dataset_meta"]
    for array, again in zip(arrays, loaded[: len(arrays)], strict=True):
        assert again.dtype == array.dtype
        assert (again == array).all()
    assert loaded[len(arrays) :] == [array[0, 0] for array in arrays]


@pytest.mark.skipif(SAFE_BY_DEFAULT > TORCH, reason="torch loads safely by default from 2.6 on")
def test_arrays_of_objects_are_not_safe_to_load(tmp_path):
    from cutmix_dense.training import allow_checkpoints

    allow_checkpoints()
    for kind in ("O", [("field", "O")]):
        torch.save(np.zeros(2, dtype=kind), tmp_path / "epoch_1.pth")
        with pytest.raises(UnpicklingError):
            torch.load(tmp_path / "epoch_1.pth")


def test_what_is_not_safe_to_load_is_not_passed_over(whole, tmp_path):
    content = torch.load(whole[0] / "epoch_4.pth", weights_only=False)
    torch.save({**content, "message_hub": Path("somewhere")}, tmp_path / "epoch_5.pth")
    with pytest.raises(TrainingError, match=r"epoch_5\.pth holds what .* refuses \(.*Posix.*\).*add_safe_globals"):
        newest_checkpoint(tmp_path)
