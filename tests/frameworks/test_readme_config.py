"""The README's lines of config mean in the real frameworks what the README says."""

from __future__ import annotations

import pytest

pytest.importorskip("mmdet", reason="needs MMDetection (see README: tests of the frameworks)")
pytest.importorskip("mmseg", reason="needs MMSegmentation (see README: tests of the frameworks)")

import mmdet.models
import mmdet.registry
import torch
from coded import coded_samples
from mmengine.config import Config
from mmengine.registry import init_default_scope
from snippets import ROOT, blocks
from test_batch import packed

from cutmix_dense.mmengine import CloseMixHook


def test_the_lines_are_all_it_takes(tmp_path):
    (snippet,) = [block for block in blocks(ROOT / "README.md", "python") if "custom_imports" in block]
    (tmp_path / "config.py").write_text(snippet)
    config = Config.fromfile(tmp_path / "config.py")
    init_default_scope("mmdet")
    (mix,) = [mmdet.registry.TRANSFORMS.build(entry) for entry in config.train_pipeline]
    mixed = 0
    for turn in range(12):
        results = mix(coded_samples(3)[turn % 3])
        mixed += bool((results["img"][..., 0] != results["img"][0, 0, 0]).any())
    assert mixed > 0
    preprocessor = mmdet.registry.MODELS.build(config.data_preprocessor)
    torch.manual_seed(0)
    pasted = 0
    for _ in range(8):
        data = preprocessor(packed(coded_samples(4)), training=True)
        assert {len(sample.mix_seeds) for sample in data["data_samples"]} == {1}
        pasted += sum((s.gt_instances.origin[:, 0] != i).sum().item() for i, s in enumerate(data["data_samples"]))
    assert pasted > 0
    (hook,) = [mmdet.registry.HOOKS.build(entry) for entry in config.custom_hooks]
    assert isinstance(hook, CloseMixHook)
