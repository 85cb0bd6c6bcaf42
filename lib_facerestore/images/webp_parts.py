"""What a WebP file holds and a Picture does not: unknown chunks, and bytes after its end."""

from __future__ import annotations

import struct

from .metadata import CREDENTIALS_LOST

_KNOWN = (b"VP8X", b"VP8 ", b"VP8L", b"ALPH", b"ANIM", b"ANMF", b"ICCP", b"EXIF", b"XMP ")


def losses_of_webp(data: bytes) -> tuple[str, ...]:
    """What is lost of a WebP file (its content) beside further frames."""
    end = 8 + struct.unpack_from("<L", data, 4)[0]
    losses, names, offset = [], [], 12
    while offset + 8 <= min(end, len(data)):
        name, length = struct.unpack_from("<4sL", data, offset)
        if name == b"C2PA":
            losses.append(CREDENTIALS_LOST)
        elif name not in _KNOWN:
            names.append(name.decode("latin-1").strip())
        offset += 8 + length + length % 2
    if names:
        losses.append(f"the WebP chunks {', '.join(dict.fromkeys(names))} are left out")
    trailer = data[end:]
    if trailer.strip(b"\0"):
        losses.append(f"the {len(trailer)} bytes after its end are left out")
    return tuple(dict.fromkeys(losses))
