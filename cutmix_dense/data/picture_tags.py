"""What a picture file says of its picture besides the pixels, and which files can say it."""

from __future__ import annotations

import struct
import zlib
from typing import Any, NamedTuple

GEO_TAGS = (33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113, 50844)
"""TIFF tags of places: scale, tie points, transformation, keys, GDAL's metadata and value of no data, RPC."""

_PROFILED = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".tif", ".tiff")
_IHDR_END = 33


class PictureTags(NamedTuple):
    """What a picture file says besides the pixels.

    Attributes:
        profile: the ICC profile; empty if there is none.
        place: tags of a GeoTIFF, as tifffile writes them.
        lost: what a copy doesn't keep, by name.
    """

    profile: bytes = b""
    place: tuple[tuple[int, int, int, Any, bool], ...] = ()
    lost: tuple[str, ...] = ()

    def of_mix(self) -> PictureTags:
        """What is left of it in a mix, which shows parts of several places."""
        gone = ("GeoTIFF tags of mixed pictures",) if self.place else ()
        return self._replace(place=(), lost=(*self.lost, *gone))

    def fitting(self, suffix: str, bands: int) -> PictureTags:
        """What of it a file of this ending can hold, for colours that the profile is made for."""
        kept, lost = self, list(self.lost)
        colours = b"GRAY" if bands <= 2 else b"RGB "
        if self.profile and (suffix.lower() not in _PROFILED or bands > 4 or self.profile[16:20] != colours):
            kept = kept._replace(profile=b"")
            lost.append("ICC profile of pictures")
        if self.place and suffix.lower() not in (".tif", ".tiff"):
            kept = kept._replace(place=())
            lost.append("GeoTIFF tags of pictures")
        return kept._replace(lost=tuple(lost))


def png_with_profile(content: bytes, profile: bytes) -> bytes:
    """The PNG with an ICC profile, which stands behind the header."""
    body = b"iCCPICC profile\0\0" + zlib.compress(profile)
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return content[:_IHDR_END] + chunk + content[_IHDR_END:]
