"""Pictures that are stored turned, with the EXIF orientation that turns them back."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

_BACK = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""What makes the stored picture of the one that a viewer shows, by EXIF's definition of the orientation."""


def oriented(shown: Image.Image, orientation: int, path: Path, tag: int | None = None) -> Path:
    """Store a picture so that `orientation` turns it into the one shown; the file says `tag`, by default the same."""
    stored = shown if _BACK[orientation] is None else shown.transpose(_BACK[orientation])
    exif = Image.Exif()
    exif[274] = orientation if tag is None else tag
    stored.save(path, exif=exif, quality=98, subsampling=0)
    return path
