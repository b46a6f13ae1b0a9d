"""Map CamVid, as SegNet ships it, onto the Cityscapes layout.

    python datasets/prepare_camvid.py path/to/camvid datasets/camvid_cityscapes

Reads `{train,val,test}/*` with `{train,val,test}annot/*.png` (11 classes, 11 = unlabelled) and writes
`leftImg8bit/{train,val,test}` and `gtFine/{train,val,test}` with labelIds; the city of a frame is its video sequence.
CamVid has no instances, so no instanceIds are written.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from rich.progress import track

from cutmix_dense.data.class_tables import RAW_CLASSES
from cutmix_dense.data.errors import DatasetError, SampleError
from cutmix_dense.data.maps import read_indices
from cutmix_dense.data.pictures import read_picture
from cutmix_dense.data.writers import CityscapesWriter

# CamVid's 11 classes, 0–10, and 11 = unlabelled, in Cityscapes' names. Two are wider than their new names: CamVid's
# pole counts column poles too, and its bicyclist is rider and bicycle in one.
NAMES: tuple[tuple[str, str], ...] = (
    ("sky", "sky"),
    ("building", "building"),
    ("pole", "pole"),
    ("road", "road"),
    ("pavement", "sidewalk"),
    ("tree", "vegetation"),
    ("sign symbol", "traffic sign"),
    ("fence", "fence"),
    ("car", "car"),
    ("pedestrian", "person"),
    ("bicyclist", "rider"),
    ("unlabelled", "unlabeled"),
)
IDS = np.array([RAW_CLASSES.index(name) for _, name in NAMES], dtype=np.uint8)


def prepare(source: Path, root: Path, split: str) -> tuple[int, list[SampleError]]:
    """Map one split; returns how many frames were written and what could not be read."""
    images = sorted(path for path in (source / split).iterdir() if path.suffix.lower() in (".jpg", ".png"))
    writer = CityscapesWriter(root, split=split, label_ids="raw")
    keys, skipped = [], []
    for path in track(images, description=split):
        try:
            image = read_picture(path, "rgb")
            labels = source / f"{split}annot" / f"{path.stem}.png"
            ids = read_indices(labels, (image.shape[0], image.shape[1]))
            if ids.max() >= len(IDS):
                raise SampleError(labels, f"holds the value {ids.max()}, CamVid's go up to {len(IDS) - 1}")
        except SampleError as error:
            skipped.append(error)
            continue
        writer.add(path.stem, image, {"semantic": IDS[ids]})
        keys.append(path.stem)
    writer.finish(keys)
    return len(keys), skipped


def main() -> None:
    """Read the command line and map all splits that are there."""
    parser = argparse.ArgumentParser(description="Map CamVid (SegNet's folders) onto the Cityscapes layout.")
    parser.add_argument("source", type=Path, help="folder with train/, trainannot/, val/ …")
    parser.add_argument("root", type=Path, help="folder to write to")
    args = parser.parse_args()
    splits = [split for split in ("train", "val", "test") if (args.source / f"{split}annot").is_dir()]
    if not splits:
        raise DatasetError(f"{args.source}: no trainannot/, valannot/ or testannot/ in it")
    for split in splits:
        count, skipped = prepare(args.source, args.root, split)
        print(f"{split}: {count} frames" + (f", {len(skipped)} skipped" if skipped else ""))
        for error in skipped:
            print(f"  {error}")


if __name__ == "__main__":
    main()
