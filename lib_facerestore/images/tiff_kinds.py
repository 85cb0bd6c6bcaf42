"""What a TIFF file holds, which of its kinds can be read and by what, and a name for each of the others."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from PIL.TiffImagePlugin import ImageFileDirectory_v2

Reader = Literal["Pillow", "OpenCV", "tifffile"]

_MARKS = {b"II*\0": "<", b"MM\0*": ">", b"II+\0": "<", b"MM\0+": ">"}
_COLOURS = {0: "white-is-zero grey", 1: "grey", 2: "RGB", 3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr", 8: "CIELab"}
_COLOURS |= {9: "ICCLab", 10: "ITULab", 32803: "camera raw", 32844: "LogL", 32845: "LogLuv", 34892: "linear raw"}
_CHANNELS = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3}  # of the colours that can be read
_FORMS = {2: "signed ", 3: "floating-point ", 4: "untyped ", 5: "complex ", 6: "complex "}
_OLD_JPEG, _JPEG = 6, 7


@dataclass(frozen=True)
class TiffKind:
    """The kind of the first picture of a TIFF file, in the words of TIFF 6.0.

    Attributes:
        photometric: PhotometricInterpretation; -1 if the file does not say it.
        bits: BitsPerSample of each sample.
        forms: SampleFormat of each sample: 1 unsigned, 2 signed, 3 floating-point.
        extra: ExtraSamples: 0 of no known meaning, 1 alpha that the colours are multiplied with, 2 plain alpha.
        planar: whether the samples are stored plane by plane.
        compression: Compression.
        cmyk: whether inks are those of CMYK (InkSet).
        reversed: whether the lowest bit of a byte comes first (FillOrder).
        subsampled: whether the chroma of YCbCr has fewer samples (YCbCrSubSampling).
        orientation: 1 to 8.
    """

    photometric: int
    bits: tuple[int, ...]
    forms: tuple[int, ...]
    extra: tuple[int, ...]
    planar: bool
    compression: int
    cmyk: bool
    reversed: bool
    subsampled: bool
    orientation: int

    def __str__(self) -> str:
        """As "planar 8-bit signed RGB"."""
        colour = _COLOURS.get(self.photometric, f"colour kind {self.photometric}")
        if self.photometric == -1:
            colour = "colours that the file does not name"
        elif self.photometric == 5 and not self.cmyk:
            colour = "inks other than CMYK"
        depths = sorted(set(self.bits))
        form = "variously coded " if len(set(self.forms)) > 1 else _FORMS.get(self.forms[0], "")
        further = len(self.bits) - _CHANNELS.get(self.photometric, len(self.bits))
        names = {1: "premultiplied alpha", 2: "alpha"}
        what = [names.get(one, "a further channel") for one in (*self.extra, *(0,) * further)[: max(further, 0)]]
        with_more = f" with {' and '.join(what)}" if what else ""
        packed = "compressed " if self.reversed and self.compression != 1 else ""  # what the readers lack then
        planes = ("bit-reversed " if self.reversed else "") + packed + ("planar " if self.planar else "")
        colour = f"subsampled {colour}" if self.subsampled else colour
        return f"{planes}{'- and '.join(map(str, depths))}-bit {form}{colour}{with_more}"

    @property
    def reader(self) -> Reader | None:
        """The package that reads this kind rightly; None if none does."""
        channels = _CHANNELS.get(self.photometric)
        if channels is None or len(set(self.bits)) != 1 or len(set(self.forms)) != 1 or len(self.bits) < channels:
            return None
        bits, further = self.bits[0], len(self.bits) - channels
        if self.photometric == 1 and (bits, further) == (32, 0) and self.forms[0] in (1, 2):
            return "Pillow"  # its mode I, for values that fit 16 bits
        # RGB of four samples without a word about the fourth is RGBA to every program.
        unnamed = self.photometric == 2 and further == 1 and not self.extra
        if self.forms[0] != 1 or not (further == len(self.extra) or unnamed):
            return None
        if self.photometric == 2:
            return self._reader_of_rgb(bits)
        if self.photometric == 5:
            fits = not any(self.extra) and not (self.planar and self.extra)
            return "Pillow" if self.cmyk and bits == 8 and fits else None
        if self.photometric == 6:
            if bits != 8 or further or (self.planar and self.subsampled):
                return None
            # Pillow reads them wrongly without compression.
            return "Pillow" if self.compression in (_OLD_JPEG, _JPEG) else "OpenCV"
        return "Pillow" if self._one_channel_fits(bits) else None

    def _reader_of_rgb(self, bits: int) -> Reader | None:
        if self.reversed and self.planar and self.compression == 1:  # Pillow takes the bits as they are then
            return None
        if bits == 8:
            return None if self.planar and self.extra not in ((), (2,)) else "Pillow"
        if bits != 16 or len(self.bits) > 4:
            return None
        return "tifffile" if self.planar else "OpenCV"

    def _one_channel_fits(self, bits: int) -> bool:
        if self.extra:
            known = ((2,),) if self.photometric == 1 else ((0,), (2,)) if self.photometric == 3 else ()
            return bits == 8 and not self.planar and self.extra in known
        return bits in ((1, 2, 4, 8) if self.photometric == 3 else (1, 2, 4, 8, 12, 16))


def is_tiff(data: bytes) -> bool:
    """Whether the content of a file is a TIFF or BigTIFF."""
    return data[:4] in _MARKS


def kind_of(data: bytes) -> TiffKind:
    """The kind of the first picture of a TIFF file. Raises many kinds of Exception if the directory is damaged."""
    directory = ImageFileDirectory_v2(data[: 16 if data[2] == 43 or data[3] == 43 else 8])
    stream = io.BytesIO(data)
    stream.seek(directory.next)
    directory.load(stream)
    compression = int(directory.get(259, 1))
    photometric = 6 if compression == _OLD_JPEG else int(directory.get(262, -1))
    if photometric == -1 and compression in (2, 3, 4):  # of faxes, which are always white-is-zero
        photometric = 0
    bits, forms, extra = (_numbers(directory.get(tag, default)) for tag, default in ((258, 1), (339, 1), (338, ())))
    samples = int(directory.get(277, 3 if compression == _OLD_JPEG else 1))
    if not 1 <= samples <= 64:
        raise ValueError(f"{samples} samples for each pixel")
    orientation = directory.get(274, 1)
    return TiffKind(
        photometric=photometric,
        bits=_for_each(bits, samples),
        forms=_for_each(forms, samples),
        extra=extra,
        planar=samples > 1 and directory.get(284, 1) == 2,
        compression=compression,
        cmyk=directory.get(332, 1) == 1,
        reversed=directory.get(266, 1) == 2,
        subsampled=photometric == 6 and tuple(directory.get(530, (2, 2))) != (1, 1),
        orientation=orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1,
    )


def _numbers(value: object) -> tuple[int, ...]:
    return tuple(int(one) for one in value) if isinstance(value, tuple) else (int(value),)  # type: ignore[call-overload]


def _for_each(values: tuple[int, ...], samples: int) -> tuple[int, ...]:
    """One value a sample; writers often give a single one for all."""
    if len(values) >= samples:
        return values[:samples]
    if len(values) == 1:
        return values * samples
    raise ValueError(f"{len(values)} descriptions of {samples} samples")


def with_values(data: bytes, changes: Mapping[int, int]) -> bytes:
    """A TIFF file with other values of some tags of its first directory; a tag that it does not have stays absent.

    Args:
        data: content of the file.
        changes: the new value of each tag, which holds one whole number.
    """
    changed = bytearray(data)
    for tag, offset, form, old in _slots(data):
        if changes.get(tag, old) != old:
            struct.pack_into(form, changed, offset, changes[tag])
    return bytes(changed)


def _slots(data: bytes) -> Iterator[tuple[int, int, str, int]]:
    """(tag, offset, struct format, value) of each entry with one whole number, in the first directory."""
    order = _MARKS[data[:4]]
    big = 43 in data[2:4]
    (start,) = struct.unpack_from(order + ("Q" if big else "L"), data, 8 if big else 4)
    head, entry = (order + "Q", order + "HHQ") if big else (order + "H", order + "HHL")
    size = struct.calcsize(entry) + (8 if big else 4)
    (count,) = struct.unpack_from(head, data, start)
    first = start + struct.calcsize(head)
    for offset in range(first, min(first + size * count, len(data) - size + 1), size):
        tag, form, number = struct.unpack_from(entry, data, offset)
        if number == 1 and form in (3, 4):
            place, letter = offset + struct.calcsize(entry), order + ("H" if form == 3 else "L")
            yield tag, place, letter, struct.unpack_from(letter, data, place)[0]
