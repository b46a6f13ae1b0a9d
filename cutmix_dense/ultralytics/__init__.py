"""Batches as Ultralytics' trainers hold them, mixed by any method: a function, and a callback that closes the mix.

Ultralytics itself is never imported: its batches are plain dicts, its trainers are read by their attributes.
"""

from __future__ import annotations

from cutmix_dense.ultralytics.batch import mix_batch
from cutmix_dense.ultralytics.closing import close_with_mosaic

__all__ = ["close_with_mosaic", "mix_batch"]
