"""Two processes under torchrun on the CPU: each draws its own plans, and they train one model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import torch

import cutmix_dense as cd
from cutmix_dense.randomness import generator_from

ROOT = Path(__file__).resolve().parents[2]

RECORDER = """
import json
from pathlib import Path

from mmengine.hooks import Hook

from cutmix_dense.mmengine.scope import HOOKS


@HOOKS.register_module()
class RecordHook(Hook):
    def __init__(self):
        self.seen = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        preprocessor = runner.model.module.data_preprocessor
        ids = [target["image_id"] for target in data_batch["targets"]]
        self.seen.append({"seed": preprocessor.last_seed, "ids": ids})

    def after_train(self, runner):
        weight = float(sum(p.double().abs().sum() for p in runner.model.parameters()))
        path = Path(runner.work_dir, f"rank{runner.rank}.json")
        path.write_text(json.dumps({"seen": self.seen, "weight": weight}))
"""


def test_two_ranks_draw_different_plans_and_train_one_model(tiny, runs, tmp_path):
    (tmp_path / "recorder.py").write_text(RECORDER)
    config = tmp_path / "two.py"
    config.write_text(
        f"""
_base_ = [{str(tiny)!r}]
custom_imports = dict(imports=["cutmix_dense.training", "cutmix_dense.evaluation", "recorder"])
custom_hooks = [
    dict(type="cutmix_dense.SeedHook"),
    dict(type="SyncBuffersHook"),
    dict(type="cutmix_dense.MetricsFileHook"),
    dict(type="cutmix_dense.RecordHook"),
]
train_dataloader = dict(batch_size=2)
train_cfg = dict(max_epochs=2, val_interval=2)
env_cfg = dict(dist_cfg=dict(backend="gloo"))
"""
    )
    words = ["--nproc-per-node", "2", "--master-port", "0", "--rdzv-backend", "c10d", "--rdzv-endpoint", "localhost:0"]
    training = [ROOT / "tools" / "train.py", config, "--work-dir", tmp_path / "run", "--launcher", "pytorch"]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", *words, *map(str, training)],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-4000:]

    ranks = [json.loads((tmp_path / "run" / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert ranks[0]["weight"] == ranks[1]["weight"]
    images = torch.zeros(2, 3, 24, 32, dtype=torch.uint8)
    mix = cd.CutMix(p=1.0)
    assert len(ranks[0]["seen"]) == len(ranks[1]["seen"]) == 6
    for ours, theirs in zip(ranks[0]["seen"], ranks[1]["seen"]):
        assert not set(ours["ids"]) & set(theirs["ids"])
        plans = [mix.make_plan(images, generator=generator_from(rank["seed"])) for rank in (ours, theirs)]
        assert any(not torch.equal(a, b) for a, b in zip(plans[0].edges, plans[1].edges))
    for epoch in range(2):
        seen = [name for rank in ranks for batch in rank["seen"][3 * epoch : 3 * epoch + 3] for name in batch["ids"]]
        assert len(seen) == len(set(seen)) == 12

    checkpoint = tmp_path / "run" / "epoch_2.pth"
    out = tmp_path / "scores.json"
    runs.finish("evaluate", tiny, checkpoint, "--work-dir", tmp_path / "one", "--out", out)
    scores = runs.metrics(tmp_path / "run")["2"]
    assert json.loads(out.read_text()) == scores  # two ranks measure what one does
