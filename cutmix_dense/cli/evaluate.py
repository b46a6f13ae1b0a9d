"""Evaluate a checkpoint with its config, as ``tools/test.py`` of MMDetection and MMSegmentation does.

cutmix-dense evaluate configs/segmentation/unet-small_camvid_cutmix.py runs/cutmix/epoch_20.pth --out scores.json
cutmix-dense evaluate CONFIG CHECKPOINT --cfg-options test_dataloader.dataset.split=test
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cutmix_dense.cli.errors import UserError, parser_of, reporting_errors
from cutmix_dense.cli.train import add_config_arguments, check_loop, leave_group, read_config, telling_mistakes
from cutmix_dense.data.files import dump_json, write_atomic

if TYPE_CHECKING:  # it loads torch, which --help doesn't need
    from mmengine.runner import Runner


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    result = parser_of("evaluate", __doc__)
    add_config_arguments(result)
    result.add_argument("checkpoint", metavar="CHECKPOINT", help="a .pth file")
    result.add_argument("--out", type=Path, help="write the metrics to this JSON file (NaN becomes null)")
    return result


def main(arguments: list[str] | None = None) -> int:
    """Read the command line and evaluate; returns the exit code."""
    args = parser().parse_args(arguments)
    with reporting_errors("evaluate", args.traceback, has_options=False):
        if not Path(args.checkpoint).is_file():
            raise UserError(f"{args.checkpoint}: no such checkpoint")
        cfg = read_config(args)
        check_loop(cfg, "test", args.config)
        from mmengine.dist import is_main_process

        from cutmix_dense.training.checkpoints import WholeCheckpointHook, finite
        from cutmix_dense.training.started import work_with

        cfg.load_from, cfg.resume = args.checkpoint, False

        def test(runner: Runner) -> dict[str, float]:
            runner.register_hook(WholeCheckpointHook())
            return runner.test()

        with telling_mistakes():
            metrics = work_with(cfg, test)
        if args.out is not None and is_main_process():
            write_atomic(args.out, dump_json(finite(metrics)))
        leave_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
