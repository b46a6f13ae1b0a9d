"""Draw the demo set: the same scenes in COCO, VOC and Cityscapes layout; clips, volumes and aerial scenes if asked for.

python datasets/make_demo.py datasets/demo
python datasets/make_demo.py datasets/demo --kinds clips volumes aerial
"""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from cutmix_dense.data.demo import KINDS, make_demo_set


def main() -> None:
    """Read the command line and draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path, help="folder to write to: root/coco, root/voc, root/cityscapes …")
    parser.add_argument(
        "--kinds",
        nargs="+",
        choices=("images", *KINDS),
        default=["images"],
        help="images in three layouts; clips (YouTube-VIS); volumes (Medical Segmentation Decathlon); aerial scenes "
        "with rotated boxes (DOTA) (default: images)",
    )
    parser.add_argument("--images", type=int, default=240, help="scenes in the split train (default: %(default)s)")
    parser.add_argument("--val", type=int, default=60, help="scenes in the split val (default: %(default)s)")
    parser.add_argument("--height", type=int, default=240, help="pixels (default: %(default)s)")
    parser.add_argument("--width", type=int, default=320, help="pixels (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="draws everything (default: %(default)s)")
    parser.add_argument("--overwrite", action="store_true", help="replace a demo set of other parameters")
    args = parser.parse_args()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns) as bar:
        task = bar.add_task("drawing", total=None)
        make_demo_set(
            args.root,
            images=args.images,
            val=args.val,
            size=(args.height, args.width),
            seed=args.seed,
            kinds=list(dict.fromkeys(args.kinds)),
            overwrite=args.overwrite,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if "images" in args.kinds:
        print(f"{args.root}: {args.images} + {args.val} scenes in coco/, voc/ and cityscapes/")
    for name, kind in KINDS.items():
        if name in args.kinds:
            print(f"{args.root / kind.layout}: {kind.train} + {kind.val} {name}")


if __name__ == "__main__":
    main()
