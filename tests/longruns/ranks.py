"""``python ranks.py RANK FILE`` joins a group of two over FILE, seeded like its neighbour, and prints what it mixes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch import distributed
from torch.utils.data import DataLoader, Dataset

import cutmix_dense as cd

sys.path.insert(0, str(Path(__file__).resolve().parent))

from batches import METHODS, batch, digest


class Same(Dataset):
    """The same four images again and again, so that only plans differ."""

    def __len__(self) -> int:
        return 16

    def __getitem__(self, index: int):
        images, targets = batch(index % 4, boxes=10, count=1)
        return images[0], targets[0]


def main(rank: int, file: str) -> None:
    """Print the digests of every method's batches as JSON, and those of loaders whose workers mix."""
    distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
    torch.manual_seed(3)  # as torch and MMEngine do, the same everywhere
    seen = {name: [digest(mix(*batch(0, boxes=10))) for _ in range(2)] for name, mix in METHODS.items()}
    for start in ("fork", "spawn"):
        mix = cd.RandomMix([cd.CutMix(p=1.0), cd.ResizeMix(p=1.0)])
        loader = DataLoader(Same(), 4, collate_fn=mix, num_workers=1, multiprocessing_context=start)
        seen[f"workers by {start}"] = [digest(parts) for parts in loader]
    print(json.dumps(seen))
    distributed.destroy_process_group()


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(int(sys.argv[1]), sys.argv[2])
