"""Evaluate a checkpoint with its config, as ``tools/test.py`` of MMDetection and MMSegmentation does.

cutmix-dense evaluate configs/segmentation/unet-small_camvid_cutmix.py runs/cutmix/epoch_20.pth --out scores.json
cutmix-dense evaluate CONFIG CHECKPOINT --cfg-options test_dataloader.dataset.split=test
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from cutmix_dense.cli.errors import UserError, parser_of, reporting_errors
from cutmix_dense.cli.train import add_config_arguments, leave_group, read_config
from cutmix_dense.data.files import dump_json, write_atomic


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
    with reporting_errors("evaluate", args.traceback):
        if not Path(args.checkpoint).is_file():
            raise UserError(f"{args.checkpoint}: no such checkpoint")
        cfg = read_config(args)
        from mmengine.dist import is_main_process
        from mmengine.runner import Runner

        from cutmix_dense.training.checkpoints import WholeCheckpointHook, finite
        from cutmix_dense.training.errors import TrainingError

        cfg.load_from, cfg.resume = args.checkpoint, False
        runner = Runner.from_cfg(cfg)
        runner.register_hook(WholeCheckpointHook())
        try:
            metrics = runner.test()
        except TrainingError as error:
            raise UserError(str(error)) from error
        if args.out is not None and is_main_process():
            write_atomic(args.out, dump_json(finite(metrics)))
        leave_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
