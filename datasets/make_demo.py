"""Draw the demo set: the same scenes in COCO, VOC and Cityscapes layout.

python datasets/make_demo.py datasets/demo
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cutmix_dense.data.demo import make_demo_set


def main() -> None:
    """Read the command line and draw."""
    parser = argparse.ArgumentParser(description="Draw the demo set in COCO, VOC and Cityscapes layout.")
    parser.add_argument("root", type=Path, help="folder to write to: root/coco, root/voc, root/cityscapes")
    parser.add_argument("--images", type=int, default=240, help="scenes in the split train (default: %(default)s)")
    parser.add_argument("--val", type=int, default=60, help="scenes in the split val (default: %(default)s)")
    parser.add_argument("--height", type=int, default=240, help="pixels (default: %(default)s)")
    parser.add_argument("--width", type=int, default=320, help="pixels (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="draws everything (default: %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace a demo set of other parameters")
    args = parser.parse_args()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as bar:
        task = bar.add_task("drawing", total=args.images + args.val)
        make_demo_set(
            args.root,
            images=args.images,
            val=args.val,
            size=(args.height, args.width),
            seed=args.seed,
            overwrite=args.overwrite,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    print(f"{args.root}: {args.images} + {args.val} scenes in coco/, voc/ and cityscapes/")


if __name__ == "__main__":
    main()
