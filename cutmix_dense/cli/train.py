"""Train the model of an MMEngine config, as ``tools/train.py`` of MMDetection and MMSegmentation does.

cutmix-dense train configs/segmentation/unet-small_camvid_cutmix.py --work-dir runs/cutmix
cutmix-dense train CONFIG --cfg-options randomness.seed=1 train_dataloader.dataset.root=/data/camvid
cutmix-dense train CONFIG --resume
torchrun --nproc-per-node 2 -m cutmix_dense.cli.train CONFIG --launcher pytorch
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cutmix_dense.cli.config_options import merge_options, typed_options
from cutmix_dense.cli.errors import UserError, add_verbosity, parser_of, reporting_errors
from cutmix_dense.extras import require

if TYPE_CHECKING:  # it loads torch, which --help and a config that isn't there don't need
    from mmengine.config import Config

_LOOPS = {
    "train": ("train_dataloader", "train_cfg", "optim_wrapper"),
    "test": ("test_dataloader", "test_cfg", "test_evaluator"),
}
"""What a config must have for a loop."""
_AMP = "AmpOptimWrapper"
LAUNCHERS = ("none", "pytorch", "slurm", "mpi")


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    result = parser_of("train", __doc__)
    add_config_arguments(result)
    result.add_argument("--amp", action="store_true", help="automatic mixed precision; needs a GPU")
    result.add_argument("--auto-scale-lr", action="store_true", help="scale the learning rate to the batch size")
    result.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="continue from CHECKPOINT, or from the newest complete one in the work dir if there is one",
    )
    return result


def main(arguments: list[str] | None = None) -> int:
    """Read the command line and train; returns the exit code."""
    args = parser().parse_args(arguments)
    with reporting_errors("train", args.traceback, has_options=False):
        cfg = read_config(args)
        check_loop(cfg, "train", args.config)
        from cutmix_dense.training.checkpoints import checkpoints_in, newest_checkpoint
        from cutmix_dense.training.started import work_with

        if args.amp:
            _use_amp(cfg)
        _check_amp(cfg, "--amp" if args.amp else "optim_wrapper.type=AmpOptimWrapper")
        if args.auto_scale_lr:
            if "base_batch_size" not in cfg.get("auto_scale_lr", {}):
                raise UserError("--auto-scale-lr needs auto_scale_lr = dict(base_batch_size=...) in the config")
            cfg.auto_scale_lr.enable = True
        if not args.resume and (old := checkpoints_in(cfg.work_dir)):
            raise UserError(
                f"{cfg.work_dir} holds {old[0].name} of an earlier training, which a later --resume would mistake for "
                "this one's: give --resume to go on with it, or another --work-dir"
            )
        with telling_mistakes():
            if args.resume:
                newest = newest_checkpoint(cfg.work_dir) if args.resume == "auto" else args.resume
                cfg.resume = newest is not None
                cfg.load_from = newest or cfg.get("load_from")  # a first start keeps the config's weights
            work_with(cfg, lambda runner: runner.train())
        leave_group()
    return 0


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that training and evaluation share, the config first."""
    parser.add_argument("config", metavar="CONFIG", help="a config file, see configs/README.md")
    parser.add_argument("--work-dir", help="where checkpoints and logs go (default: work_dirs/<name of the config>)")
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="change settings of the config: train_cfg.max_epochs=2 \"model.weighing=dict(by='visibility')\"",
    )
    parser.add_argument("--launcher", choices=LAUNCHERS, default="none", help="launcher that started the processes")
    # torch.distributed.launch passes it, torchrun sets the variable
    parser.add_argument("--local_rank", "--local-rank", type=int, default=0, help=argparse.SUPPRESS)
    add_verbosity(parser)


def read_config(args: argparse.Namespace) -> Config:
    """The config with what was typed; everything in it that a safe loader needs is allowed.

    Raises:
        UserError: no such file, an option that nothing reads.
    """
    if args.launcher != "none":  # it would tell what is run in this process later that it is one of several
        os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    if not Path(args.config).is_file():
        raise UserError(f"{args.config}: no such config")
    options = typed_options(args.cfg_options)
    require("mmengine", "train")
    import torch
    from mmengine.config import Config

    from cutmix_dense.training import allow_checkpoints
    from cutmix_dense.training.config_keys import check_key

    cfg = Config.fromfile(args.config)
    for key in options:
        try:
            check_key(cfg, key)
        except ValueError as error:
            raise UserError(f"--cfg-options {key}: {error}") from error
    cfg.launcher = args.launcher
    merge_options(cfg, options)
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get("work_dir") is None:
        cfg.work_dir = str(Path("work_dirs", Path(args.config).stem))
    allow_checkpoints()
    if args.launcher == "pytorch" and not torch.cuda.is_available():
        _distribute_on_cpu(cfg)
    keep = cfg.get("default_hooks", {}).get("checkpoint", {}).get("max_keep_ckpts", -1)
    if keep == 1:
        raise UserError(
            "default_hooks.checkpoint.max_keep_ckpts must be -1 or at least 2, got 1: MMEngine removes the old "
            "checkpoint before it writes the new one, and a kill between the two would leave none"
        )
    return cfg


def check_loop(cfg: Config, loop: Literal["train", "test"], path: str) -> None:
    """Refuse a config without what a loop runs on.

    Args:
        cfg: the config.
        loop: "train", or "test", which an evaluation runs.
        path: of the config, for the message.

    Raises:
        UserError: keys are missing or None.
    """
    missing = [key for key in _LOOPS[loop] if cfg.get(key) is None]
    if missing:
        what = "trained" if loop == "train" else "evaluated"
        remedy = "" if loop == "train" else ", for example test_dataloader = val_dataloader for the validation set"
        raise UserError(f"{path} has no {' and no '.join(missing)}: nothing can be {what}; add what is missing{remedy}")


@contextmanager
def telling_mistakes() -> Iterator[None]:
    """Tell what the training package finds wrong as mistakes of the user.

    Raises:
        UserError: for a ``TrainingError``.
    """
    from cutmix_dense.training.errors import TrainingError

    try:
        yield
    except TrainingError as error:
        raise UserError(str(error)) from error


def _distribute_on_cpu(cfg: Config) -> None:
    """Start the processes' group and say how the model is wrapped: MMEngine's own ways ask for a GPU."""
    import torch

    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("gloo")
    unused = cfg.get("find_unused_parameters", False)
    wrapper = {"type": "MMDistributedDataParallel", "device_ids": None, "broadcast_buffers": False}
    cfg.setdefault("model_wrapper_cfg", {**wrapper, "find_unused_parameters": unused})


def leave_group() -> None:
    """End what several processes share: gloo's threads abort a process that exits while they still run."""
    import torch

    if torch.distributed.is_initialized():
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()


def _use_amp(cfg: Config) -> None:
    wrapper = cfg.optim_wrapper.get("type", "OptimWrapper")
    if _name(wrapper) not in ("OptimWrapper", _AMP):
        raise UserError(f"--amp can't be used with the optimizer wrapper {wrapper}")
    cfg.optim_wrapper.type = _AMP
    cfg.optim_wrapper.setdefault("loss_scale", "dynamic")


def _check_amp(cfg: Config, setting: str) -> None:
    """Refuse mixed precision where MMEngine has none.

    Args:
        cfg: the config.
        setting: what asked for it, for the message.

    Raises:
        UserError: there is no device for it.
    """
    if _name(cfg.optim_wrapper.get("type")) != _AMP:
        return
    from mmengine.device import is_cuda_available, is_mlu_available, is_musa_available, is_npu_available

    if not (is_cuda_available() or is_npu_available() or is_mlu_available() or is_musa_available()):
        raise UserError(
            f"{setting} needs a CUDA device, which MMEngine's AmpOptimWrapper asks for; there is none: leave it out to "
            "train in full precision"
        )


def _name(kind: Any) -> str:
    """The name of a type in a config: text with or without a scope, or the class itself."""
    return (kind if isinstance(kind, str) else getattr(kind, "__name__", "")).rpartition(".")[2]


if __name__ == "__main__":
    sys.exit(main())
