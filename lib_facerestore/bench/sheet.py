"""A contact sheet: for each case, the same part of several pictures side by side, with titles."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from ..errors import InputError
from ..faces import alignment
from ..faces.face import Face
from ..images.atomic_write import write_atomically
from .metrics import Pixels

TILE = 256
"""Side of a picture on the sheet in pixels."""
_TITLE = 18


class Sheet:
    """Collects rows of pictures. Without a path it does nothing.

    Args:
        path: the PNG or JPEG file to write, or None.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._rows: list[tuple[str, list[tuple[str, Pixels]]]] = []

    def add(self, case: str, face: Face, pictures: Mapping[str, Pixels]) -> None:
        """Add a row.

        Args:
            case: its title.
            face: the part that is shown is the square around this face.
            pictures: H×W×3 uint8 RGB of one size, by title.
        """
        if self.path is not None:
            self._rows.append((case, [(title, _part(pixels, face)) for title, pixels in pictures.items()]))

    def write(self) -> None:
        """Write the file; an existing one is replaced.

        Raises:
            InputError: it cannot be written, or has the name of another type.
        """
        if self.path is None:
            return
        if not self._rows:
            raise InputError(f"{self.path}: there is no picture for the sheet.")
        columns = max(len(tiles) for _, tiles in self._rows)
        sheet = PIL.Image.new("RGB", (columns * (TILE + 4), len(self._rows) * (TILE + 2 * _TITLE)), "white")
        draw, font = PIL.ImageDraw.Draw(sheet), PIL.ImageFont.load_default(size=13)
        for row, (case, tiles) in enumerate(self._rows):
            top = row * (TILE + 2 * _TITLE)
            draw.text((3, top + 2), case, "black", font)
            for column, (title, pixels) in enumerate(tiles):
                draw.text((column * (TILE + 4) + 3, top + _TITLE), title, "black", font)
                sheet.paste(PIL.Image.fromarray(pixels), (column * (TILE + 4), top + 2 * _TITLE - 1))
        data = io.BytesIO()
        kinds = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
        kind = kinds.get(self.path.suffix.lower())
        if kind is None:
            raise InputError(f"{self.path}: the sheet is a PNG or JPEG file; name one that ends so.")
        sheet.save(data, kind)
        write_atomically(self.path, data.getvalue(), overwrite=True)


def _part(pixels: Pixels, face: Face) -> Pixels:
    """The square around a face, `TILE` pixels a side."""
    matrix = alignment.invert_affine(alignment.face_transform(face, 1, alignment.ffhq_template(1)))
    middle = alignment.apply_affine(matrix, [(0.0, 0.0)])[0]
    reach = 0.55 / alignment.scale_of(alignment.face_transform(face, 1))
    x, y, side = round(middle[0] - reach), round(middle[1] - reach), max(round(2 * reach), 1)
    x0, y0, x1, y1 = alignment.clip_box((x, y, x + side, y + side), *pixels.shape[:2])
    square = np.full((side, side, 3), 255, np.uint8)
    square[y0 - y : y1 - y, x0 - x : x1 - x] = pixels[y0:y1, x0:x1]
    method = cv2.INTER_AREA if side > TILE else cv2.INTER_NEAREST if side < TILE / 2 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(square, (TILE, TILE), interpolation=method), np.uint8)
