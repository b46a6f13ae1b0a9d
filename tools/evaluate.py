"""Evaluate a checkpoint by its config, as MMDetection's and MMSegmentation's ``tools/test.py`` do.

python tools/evaluate.py configs/segmentation/unet-small_camvid_cutmix.py runs/cutmix/epoch_20.pth --out scores.json
python tools/evaluate.py CONFIG CHECKPOINT --cfg-options test_dataloader.dataset.split=test
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from cutmix_dense.extras import require
from tools.common import UserError, reporting_errors

require("mmengine", "train")

from mmengine.dist import is_main_process  # noqa: E402
from mmengine.runner import Runner  # noqa: E402

from cutmix_dense.data.files import dump_json, write_atomic  # noqa: E402
from cutmix_dense.training.checkpoints import finite  # noqa: E402
from tools.train import add_config_arguments, leave_group, read_config  # noqa: E402


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    result = argparse.ArgumentParser("evaluate", description="Evaluate a checkpoint on the config's test split.")
    add_config_arguments(result)
    result.add_argument("checkpoint", metavar="CHECKPOINT", help="a .pth file")
    result.add_argument("--out", type=Path, help="write the metrics to this JSON file; a NaN is null")
    return result


def main(arguments: list[str] | None = None) -> None:
    """Read the command line and evaluate."""
    args = parser().parse_args(arguments)
    with reporting_errors("evaluate", args.traceback):
        cfg = read_config(args)
        if not Path(args.checkpoint).is_file():
            raise UserError(f"{args.checkpoint}: no such checkpoint")
        cfg.load_from, cfg.resume = args.checkpoint, False
        metrics = Runner.from_cfg(cfg).test()
        if args.out is not None and is_main_process():
            write_atomic(args.out, dump_json(finite(metrics)))
        leave_group()


if __name__ == "__main__":
    main()
