"""Images as small ones in grey: by the compiled library's filter on the host, else by torch's."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32, Shaped
from torch import Tensor

from cutmix_dense import native
from cutmix_dense.arrays.host import Column, as_column, in_numpy
from cutmix_dense.native.threads import split

_resample = native.declare("cutmix_dense_resample", "p", "q")

_FLOAT32, _ANTIALIAS = native.ELEMENTS.index("float32"), native.INTERPOLATIONS["antialias"]
"""``element`` and ``interpolation`` of ``Window`` in ``native.h``."""


def shrunk_grey(images: Sequence[Shaped[Tensor, "*_c _h _w"]], side: int) -> Column:
    """The mean of all channels and frames of each image, filtered to (b, side, side) as an antialiased resize.

    Args:
        images: any dtype and sizes; on the host they are shared among threads.
        side: of the small images, pixels.

    Raises:
        MemoryError: there is none for the filter.
    """
    if native.library is None or not in_numpy(*images):
        alike = len({(image.shape, image.dtype) for image in images}) == 1
        if alike and not images[0].is_cpu:  # a few launches for all
            return _by_torch(torch.stack([*images]), side)
        return as_column(torch.cat([_by_torch(image[None], side) for image in images]), images[0].device)
    small = np.empty((len(images), side, side), dtype=np.float32)

    def shrink(first: int, last: int) -> None:
        for image, into in zip(images[first:last], small[first:last]):
            _shrink(_grey(image), into)

    split(shrink, len(images), sum([4 * image.nbytes for image in images]))
    return small


def _by_torch(images: Shaped[Tensor, "b *c h w"], side: int) -> Float32[Tensor, "b side side"]:
    grey = images.flatten(1, -3).mean(dim=1, keepdim=True, dtype=torch.float32)
    return torch.nn.functional.interpolate(grey, (side, side), mode="bilinear", antialias=True)[:, 0]


def _grey(image: Shaped[Tensor, "*c h w"]) -> Float32[np.ndarray, "h w"]:
    channels = (image.float() if image.dtype == torch.bfloat16 else image).flatten(0, -3).numpy()
    grey: np.ndarray = np.zeros(channels.shape[1:], dtype=np.float32)
    for channel in channels:
        np.add(grey, channel, out=grey, casting="unsafe", dtype=np.float32)
    grey /= np.float32(len(channels))
    return grey


def _shrink(grey: Float32[np.ndarray, "h w"], into: Float32[np.ndarray, "side side"]) -> None:
    (height, width), side = grey.shape, len(into)
    whole = ((array.ctypes.data, 0, 0, *array.strides, 1, *array.shape) for array in (grey, into))
    valid = (0, 0, 0, 1, height, width, 0, 0, 0, 1, side, side)
    numbers = [number for image in whole for number in image] + [4, 1, _FLOAT32, _ANTIALIAS, *valid]
    if not _resample(struct.pack("32q6f", *numbers, 1, side / height, side / width, 0, 0, 0)):
        raise MemoryError("no memory to shrink an image")
