"""Evaluate one model, plain, occluded and shifted: the process that a study starts after each training.

    python -m cutmix_dense.study.measure CONFIG SETTINGS OUT [--trained DIR]

All conditions go through the config's own validation loop and metrics, one after the other in one process. Without a
training's folder the model is measured as it was initialised.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from cutmix_dense.data.files import dump_json, write_atomic
from cutmix_dense.study.occlusion import Occlusion
from cutmix_dense.study.pictures import PREDICTIONS, plain_tensors
from cutmix_dense.study.shifts import Shift
from cutmix_dense.training import allow_checkpoints
from cutmix_dense.training.checkpoints import finite, newest_checkpoint

_PACKAGES = ("cutmix_dense", "torch", "torchvision", "mmengine", "numpy", "pycocotools", "torchmetrics")


class ConditionHook(Hook):
    """Occludes or shifts every validation batch before the model sees it; the targets in the batch follow.

    Attributes:
        condition: what to do, None for nothing.
    """

    priority = "LOWEST"
    condition: Occlusion | Shift | None = None

    def before_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Replace images and targets in the batch."""
        if self.condition is not None:
            images, targets = self.condition(list(data_batch["images"]), data_batch["targets"])
            data_batch.update(images=images, targets=targets)


class KeepHook(Hook):
    """Keeps some validation images with targets and predictions, evenly spaced over the set.

    Args:
        count: how many.
    """

    def __init__(self, count: int) -> None:
        self.kept: list[dict[str, Any]] = []
        self.on = True
        self._count = count
        self._seen = 0
        self._wanted: set[int] = set()

    def before_val_epoch(self, runner: Runner) -> None:
        """Choose the images."""
        size = len(runner.val_loop.dataloader.dataset)
        self._wanted = {(2 * i + 1) * size // (2 * self._count) for i in range(self._count)}

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Keep the chosen of this batch."""
        for image, output in zip(data_batch["images"], outputs or ()):
            if self.on and self._seen in self._wanted:
                sample = {"image": image, "target": output["target"], "prediction": output["prediction"]}
                self.kept.append(plain_tensors(sample))
            self._seen += 1


def measure(config: Any, settings: dict[str, Any], folder: Path, trained: Path | None = None) -> dict[str, Any]:
    """Evaluate a checkpoint on the validation set of its config.

    Args:
        config: training config (``mmengine.Config``).
        settings: ``occlusions`` (list of ``Occlusion``'s arguments), ``pictures`` (how many to keep), and, if there
            are any, ``shifts`` (list of ``Shift``'s arguments).
        folder: takes the logs, and ``predictions.pt`` where pictures are wanted.
        trained: work folder of a finished training; None for the model as it is initialised under the config's seed.

    Returns:
        ``metrics``, ``occlusion`` and ``shifts`` (one dict per condition each), ``classes``, ``versions``.

    Raises:
        FileNotFoundError: the last checkpoint isn't there.
    """
    checkpoint = None if trained is None else _last_checkpoint(config, trained)
    config = Config(config.to_dict())
    config.update(work_dir=str(folder / "measuring"), load_from=checkpoint, resume=False, launcher="none")
    config.visualizer = {"type": "Visualizer", "vis_backends": []}  # a study reports by itself
    runner = Runner.from_cfg(config)
    changer, keeper = ConditionHook(), KeepHook(settings["pictures"])
    runner.register_hook(changer, "LOWEST")
    if settings["pictures"]:
        runner.register_hook(keeper, "LOWEST")
    metrics = _plain(runner.val())
    keeper.on = False

    def under(condition: Occlusion | Shift) -> dict[str, float | None]:
        changer.condition = condition
        # the loop itself: runner.val() would start EMA models anew
        return _plain(runner.val_loop.run())

    occlusions = [Occlusion(**given) for given in settings["occlusions"]]
    occluded = [{"kind": each.kind, "share": each.share, "metrics": under(each)} for each in occlusions]
    shifts = [Shift(**given) for given in settings.get("shifts", ())]
    shifted = [{"kind": each.kind, "strength": each.strength, "metrics": under(each)} for each in shifts]
    classes = list((getattr(runner.val_loop.dataloader.dataset, "metainfo", None) or {}).get("classes", ()))
    if keeper.kept:
        temporary = folder / f".{PREDICTIONS}.tmp"
        torch.save({"classes": classes, "samples": keeper.kept}, temporary)
        temporary.replace(folder / PREDICTIONS)
    record = {"metrics": metrics, "occlusion": occluded, "shifts": shifted}
    return {**record, "classes": classes, "versions": _versions()}


def _last_checkpoint(config: Any, trained: Path) -> str:
    """The checkpoint of the training's last step, never an earlier one."""
    allow_checkpoints()
    last = config.train_cfg.get("max_iters") or config.train_cfg.get("max_epochs")
    found = newest_checkpoint(trained)
    if found is None or int(Path(found).stem.rpartition("_")[2]) != last:
        name = "none" if found is None else Path(found).name
        raise FileNotFoundError(f"{trained} must hold the checkpoint of step {last}, the newest is {name}")
    return found


def _plain(metrics: dict[str, Any]) -> dict[str, float | None]:
    """Numbers as JSON has them; None for what isn't defined (a class that isn't there)."""
    numbers = {n: v for n, v in metrics.items() if isinstance(v, (int, float)) or getattr(v, "ndim", 1) == 0}
    return finite(numbers)


def _versions() -> dict[str, str]:
    """Versions of what results depend on, and a hash of this package's sources; nothing that names a machine."""
    found = {"python": platform.python_version(), "sources": _sources()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name).partition("+")[0]
        except metadata.PackageNotFoundError:
            if name == "cutmix_dense":
                import cutmix_dense

                found[name] = cutmix_dense.__version__
    return found


def _sources() -> str:
    """Eight digits that differ where the code of this package does."""
    folder = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:8]


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser("measure", description=__doc__)
    parser.add_argument("config", type=Path, help="training config")
    parser.add_argument("settings", type=Path, help="JSON: occlusions and number of pictures")
    parser.add_argument("out", type=Path, help="JSON file to write")
    parser.add_argument("--trained", type=Path, metavar="DIR", help="work folder (default: the model before training)")
    arguments = parser.parse_args(argv)
    config = Config.fromfile(str(arguments.config))
    settings = json.loads(arguments.settings.read_text(encoding="utf-8"))
    found = measure(config, settings, arguments.out.parent, arguments.trained)
    write_atomic(arguments.out, dump_json(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
