"""Configs of pure Python: the classes that the page names mix, and other spellings say which ones to name."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("mmdet", reason="needs MMDetection (see README: tests of the frameworks)")

import mmdet.models
from mmdet.registry import MODELS, TRANSFORMS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData
from snippets import ROOT, blocks, run

import cutmix_dense as cd
import cutmix_dense.mmengine

PAGE = ROOT / "docs" / "stacks" / "mmengine.md"
NUMBER, BLOCK = next((n, block) for n, block in enumerate(blocks(PAGE, "python")) if "type=sample.CutMix" in block)
H, W = 40, 60


def samples():
    made = []
    for number in range(2):
        one = DetDataSample(metainfo={"img_shape": (H, W)})
        one.gt_instances = InstanceData(bboxes=torch.tensor([[5.0, 5, 30, 30]]), labels=torch.tensor([number]))
        made.append(one)
    return made


def mixed_by(step, preprocessor):
    """Whether some of ten samples, and of ten batches, show two images."""
    mix = TRANSFORMS.build(step)
    images = [mix({"img": np.full((H, W, 3), number, np.uint8)})["img"] for number in range(20)]
    assert any(len(np.unique(image)) == 2 for image in images)
    made = MODELS.build(preprocessor)
    flat = [torch.full((3, H, W), value, dtype=torch.uint8) for value in (0, 200)]
    outs = [made({"inputs": list(flat), "data_samples": samples()}, training=True) for _ in range(10)]
    assert any(len(image.unique()) == 2 for out in outs for image in out["inputs"])


def test_the_classes_of_the_page_mix(tmp_path):
    """As lines of Python, as a config, and as one that was dumped."""
    names = {}
    run(BLOCK, PAGE, NUMBER, names)
    mixed_by(names["step"], names["preprocessor"])
    path = tmp_path / "written.py"
    path.write_text(BLOCK)
    for _ in range(2):
        config = Config.fromfile(path)
        mixed_by(config.step, config.preprocessor)
        hook = cd.mmengine.HOOKS.build(config.default_hooks.close_mix)
        assert hook.num_last_epochs == 2
        path = tmp_path / "dumped.py"
        config.dump(path)


def test_other_spellings_say_which_class_to_name(tmp_path):
    with pytest.raises(ImportError, match=r"two classes CutMix: .*mmengine\.sample for a pipeline.*mmengine\.batch"):
        from cutmix_dense.mmengine import CutMix  # noqa: F401
    assert not hasattr(cutmix_dense.mmengine, "Cutmix")
    path = tmp_path / "written.py"
    path.write_text("from cutmix_dense.mmengine import Mosaic\nstep = dict(type=Mosaic)\n")
    with pytest.raises(ImportError, match=r"two classes Mosaic: .*mmengine\.sample"):
        TRANSFORMS.build(Config.fromfile(path, lazy_import=True).step)
    for setting in ({"max_cached_images": 20}, {"random_pop": False}):
        with pytest.raises(TypeError, match=r"CutMix has no setting .*import the class from cutmix_dense\.mmengine\.s"):
            TRANSFORMS.build({"type": cd.CutMix, **setting})
    array = np.zeros((H, W, 3), np.uint8)
    for given in ({"img": array}, array):
        with pytest.raises(TypeError, match=r"images must be a tensor .*see cutmix_dense\.mmengine\.sample"):
            TRANSFORMS.build({"type": cd.CutMix})(given)
    preprocessor = {"type": mmdet.models.DetDataPreprocessor, "batch_augments": [{"type": cd.CutMix, "p": 1.0}]}
    data = {"inputs": [torch.zeros(3, H, W)] * 2, "data_samples": samples()}
    with pytest.raises(TypeError, match=r"\['DetDataSample'\]: .*see cutmix_dense\.mmengine\.batch"):
        MODELS.build(preprocessor)(data, training=True)
