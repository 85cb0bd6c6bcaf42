"""Small files that hold one block of metadata each, made by hand."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, TiffImagePlugin

from lib_facerestore.images.metadata import png_chunk

from .samples import SRGB, exif_bytes

PIXELS = np.random.default_rng(5).integers(0, 256, (24, 32, 3), dtype=np.uint8)
VIDEO = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"moving " * 20
TAIL = b"bytes after the end"
GAIN_MAP_MARK = b"grey levels of a gain map"
CAMERA = 'xmlns:GCamera="http://ns.google.com/photos/1.0/camera/"'
CONTAINER = (
    'xmlns:Container="http://ns.google.com/photos/1.0/container/" '
    'xmlns:Item="http://ns.google.com/photos/1.0/container/item/"'
)
HDR = 'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" hdrgm:Version="1.0"'
NOTE = 'xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="0123456789ABCDEF0123456789ABCDEF"'


def segment(marker: int, payload: bytes) -> bytes:
    return struct.pack(">HH", marker, len(payload) + 2) + payload


def packet(attributes: str = "", inner: str = "") -> bytes:
    """An XMP packet with a creator and these properties."""
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        f'xmlns:dc="http://purl.org/dc/elements/1.1/" dc:source="the source" {attributes}>{inner}'
        '</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
    ).encode()


def items(*named: tuple[str, str, int]) -> str:
    """A directory (Container) of parts of a file: semantic, type, length."""
    rows = "".join(
        f'<rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="{semantic}" Item:Mime="{mime}" '
        f'Item:Length="{length}"/></rdf:li>'
        for semantic, mime, length in named
    )
    return f"<Container:Directory><rdf:Seq>{rows}</rdf:Seq></Container:Directory>"


def jpeg(*segments: bytes, tail: bytes = b"", pixels: np.ndarray = PIXELS) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=90)
    data = stream.getvalue()
    return data[:20] + b"".join(segments) + data[20:] + tail


def xmp_segment(attributes: str = "", inner: str = "") -> bytes:
    return segment(0xFFE1, b"http://ns.adobe.com/xap/1.0/\0" + packet(attributes, inner))


def png(*chunks: tuple[bytes, bytes], tail: bytes = b"", after: tuple[bytes, bytes] | None = None) -> bytes:
    """A PNG with chunks before its pixels, a chunk after them, and bytes after its end."""
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, "PNG")
    data = stream.getvalue()
    head, pixels, end = data[:33], data[33:-12], data[-12:]
    last = png_chunk(*after) if after else b""
    return head + b"".join(png_chunk(*chunk) for chunk in chunks) + pixels + last + end + tail


def index(*pictures: bytes) -> bytes:
    """An MPF index (CIPA DC-007) of so many pictures; nobody reads its sizes and offsets."""
    entries = b"".join(struct.pack("<LLLHH", 0, len(one), 0, 0, 0) for one in pictures)
    head = struct.pack("<2sHLH", b"II", 42, 8, 3) + struct.pack("<HHL4s", 0xB000, 7, 4, b"0100")
    head += struct.pack("<HHLL", 0xB001, 4, 1, len(pictures)) + struct.pack("<HHLLL", 0xB002, 7, len(entries), 50, 0)
    return segment(0xFFE2, b"MPF\0" + head + entries)


SECOND = jpeg(segment(0xFFFE, GAIN_MAP_MARK), pixels=PIXELS[::2, ::2])
LIST = packet(CONTAINER, items(("Primary", "image/jpeg", 0), ("GainMap", "image/jpeg", len(SECOND))))


def ultra_hdr(*, video: bool) -> bytes:
    """A JPEG with a gain map, and maybe a video after that."""
    parts = [("Primary", "image/jpeg", 9999), ("GainMap", "image/jpeg", len(SECOND))]
    parts += [("MotionPhoto", "video/mp4", len(VIDEO))] if video else []
    moving = f'{CAMERA} GCamera:MotionPhoto="1"' if video else ""
    xmp = xmp_segment(f"{HDR} {CONTAINER} {moving}", items(*parts))
    iso = segment(0xFFE2, b"urn:iso:std:iso:ts:21496:-1\0\0\0\0\0")
    return jpeg(xmp, iso, index(b"", SECOND), tail=SECOND + (VIDEO if video else b""))


def box(kind: bytes, content: bytes, part: int = 1) -> bytes:
    """A segment APP11 with (a part of) a box."""
    return segment(0xFFEB, b"JP" + struct.pack(">HLL", 7, part, 8 + len(content)) + kind + content)


CREDENTIALS = box(b"jumb", b"\0\0\0\x26jumdc2pa\0\x11\0\x10c2pa-signature")


class Block(NamedTuple):
    """A file with one block.

    Attributes:
        data: the content of the file.
        evidence: bytes that a file with the block holds, or a function of its content that tells.
        named: what the note of its loss says.
        claims: bytes that a file must not hold without the block.
    """

    data: bytes
    evidence: bytes | Callable[[bytes], bool]
    named: str
    claims: tuple[bytes, ...] = ()


def _reads(key: str, value: object) -> Callable[[bytes], bool]:
    """Whether Pillow reads this in a file."""

    def tells(data: bytes) -> bool:
        with Image.open(io.BytesIO(data)) as image:
            return bool(image.info.get(key) == value)

    return tells


def _maker(data: bytes) -> bool:
    with Image.open(io.BytesIO(data)) as image:
        return bool(image.getexif().get(0x010F) == "Maker of cameras")


def _resolution(data: bytes) -> bool:
    with Image.open(io.BytesIO(data)) as image:
        told = image.info["dpi"][0] if "dpi" in image.info else image.getexif().get(282, 0)
        return abs(float(told) - 300) < 0.5


_MOTION = b"MotionPhoto", b"MicroVideo", b"Directory"
_COMMENTS = segment(0xFFFE, b"the first comment"), segment(0xFFFE, b"the second comment")
_EXTENDED = segment(0xFFE1, b"http://ns.adobe.com/xmp/extension/\0" + b"0123456789ABCDEF" * 2 + bytes(8) + b"more")
_PHOTOSHOP = segment(0xFFED, b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0\0\0\0\x08\x1c\x02\x50\0\x03Ann")
_VIDEO_TO_COME = f'{CAMERA} GCamera:MicroVideo="1" GCamera:MicroVideoOffset="{len(VIDEO)}" GCamera:MotionPhoto="1"'
_LISTED = items(("Primary", "image/jpeg", 0), ("MotionPhoto", "video/mp4", len(VIDEO)))

JPEG_BLOCKS = {
    "EXIF": Block(jpeg(segment(0xFFE1, exif_bytes())), _maker, "EXIF"),
    "XMP": Block(jpeg(xmp_segment()), b"the source", "XMP"),
    "profile": Block(jpeg(segment(0xFFE2, b"ICC_PROFILE\0\1\1" + SRGB)), _reads("icc_profile", SRGB), "color profile"),
    "IPTC": Block(jpeg(_PHOTOSHOP), b"\x03Ann", "IPTC (APP13)"),
    "first comment": Block(jpeg(*_COMMENTS), b"the first comment", "the JPEG comments"),
    "second comment": Block(jpeg(*_COMMENTS), b"the second comment", "the JPEG comments"),
    "extended XMP": Block(jpeg(xmp_segment(NOTE), _EXTENDED), _EXTENDED, "extended XMP", (b"HasExtendedXMP",)),
    "APP1": Block(jpeg(segment(0xFFE1, b"FLIR\0heat")), b"FLIR\0heat", "the segments APP1"),
    "APP3": Block(jpeg(segment(0xFFE3, b"Meta\0\0three")), b"Meta\0\0three", "the segments APP3"),
    "APP12": Block(jpeg(segment(0xFFEC, b"Ducky\0twelve")), b"Ducky\0twelve", "the segments APP12"),
    "C2PA in parts": Block(
        jpeg(CREDENTIALS, box(b"jumb", b"second part", part=2)), b"second part", "content credentials (C2PA)"
    ),
    "other JUMBF": Block(jpeg(box(b"jumb", b"\0\0\0\x26jumdlink")), b"jumdlink", "the segments APP11"),
    "C2PA": Block(
        jpeg(
            xmp_segment('xmlns:dcterms="http://purl.org/dc/terms/" dcterms:provenance="self#jumbf=/c2pa/a"'),
            CREDENTIALS,
        ),
        CREDENTIALS,
        "content credentials (C2PA)",
        (b"c2pa",),
    ),
    "JPEG XT": Block(jpeg(box(b"RESI", b"residuals")), b"residuals", "HDR data (APP11)"),
    "second picture": Block(
        jpeg(index(b"", SECOND), tail=SECOND), GAIN_MAP_MARK, "first of its 2 pictures", (b"MPF\0",)
    ),
    "gain map": Block(
        ultra_hdr(video=False), GAIN_MAP_MARK, "HDR gain map", (b"hdrgm", b"GainMap", b"MPF\0", b"21496", b"Directory")
    ),
    "micro video": Block(
        jpeg(xmp_segment(_VIDEO_TO_COME), tail=VIDEO), VIDEO, "the video of the motion photo", _MOTION
    ),
    "motion photo": Block(
        jpeg(xmp_segment(f'{CONTAINER} {CAMERA} GCamera:MotionPhoto="1"', _LISTED), tail=VIDEO),
        VIDEO,
        "the video of the motion photo",
        _MOTION,
    ),
    "motion photo with a gain map": Block(
        ultra_hdr(video=True), VIDEO, "the video of the motion photo", (*_MOTION, b"GainMap", b"hdrgm", b"MPF\0")
    ),
    "bytes after the end": Block(jpeg(tail=TAIL), TAIL, f"the {len(TAIL)} bytes after its end"),
    "resolution": Block(jpeg().replace(b"\0\1\1\0\0\1\0\1", b"\0\1\1\1\1\x2c\1\x2c", 1), _resolution, "the resolution"),
}


def _chunk(name: bytes, payload: bytes, **more: bytes) -> Block:
    return Block(png((name, payload)), png_chunk(name, payload), f"the PNG chunks {name.decode()}")


PNG_BLOCKS = {
    "text": Block(png((b"tEXt", b"parameters\0Steps: 20")), b"Steps: 20", "the text parameters"),
    "EXIF": Block(png((b"eXIf", exif_bytes()[6:])), _maker, "EXIF"),
    "XMP": Block(
        png((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + packet(f"{NOTE} {HDR}"))),
        b"the source",
        "XMP",
        (b"hdrgm",),
    ),
    "C2PA": Block(png((b"caBX", b"signed")), b"signed", "content credentials (C2PA)"),
    "resolution": Block(png((b"pHYs", struct.pack(">LLB", 11811, 11811, 1))), _resolution, "the resolution"),
    "shape": _chunk(b"pHYs", struct.pack(">LLB", 2, 1, 0)),
    "gAMA": _chunk(b"gAMA", struct.pack(">L", 50000)),
    "cHRM": _chunk(b"cHRM", bytes(32)),
    "sRGB": _chunk(b"sRGB", b"\0"),
    "cICP": _chunk(b"cICP", b"\x09\x10\0\1"),
    "bKGD": _chunk(b"bKGD", struct.pack(">HHH", 1, 2, 3)),
    "oFFs": _chunk(b"oFFs", struct.pack(">llB", 1, 2, 0)),
    "may be copied": _chunk(b"abCd", b"unknown"),
    "may not be copied": _chunk(b"abCD", b"unknown"),
    "sBIT": _chunk(b"sBIT", b"\5\5\5"),
    "hIST": _chunk(b"hIST", bytes(8)),
    "sPLT": _chunk(b"sPLT", b"some\0\x08" + bytes(6)),
    "pCAL": _chunk(b"pCAL", b"m\0" + bytes(9) + b"\2m\x001\x002"),
    "sTER": _chunk(b"sTER", b"\1"),
    "after the pixels": Block(png(after=(b"abCd", b"late")), png_chunk(b"abCd", b"late"), "the PNG chunks abCd"),
    "bytes after the end": Block(png(tail=TAIL), TAIL, f"the {len(TAIL)} bytes after its end"),
}


def _tiff(*tags: tuple[int, int, bytes | str], **options: Any) -> bytes:
    """A TIFF with (tag, type, value)s."""
    info = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, kind, value in tags:
        info.tagtype[tag] = kind
        info[tag] = value
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, "TIFF", tiffinfo=info, **options)
    return stream.getvalue()


def _webp(*chunks: tuple[bytes, bytes], tail: bytes = b"", **options: Any) -> bytes:
    """A WebP with further chunks, and bytes after its end."""
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, "WEBP", lossless=True, **options)
    body = stream.getvalue()[8:] + b"".join(name + struct.pack("<L", len(value)) + value for name, value in chunks)
    return b"RIFF" + struct.pack("<L", len(body)) + body + tail


_CLAIMING = packet(f'{HDR} {CAMERA} GCamera:MotionPhoto="1" {NOTE}')
_FALSE = b"hdrgm", b"MotionPhoto", b"HasExtendedXMP"

TIFF_BLOCKS = {
    "description": Block(_tiff((270, 2, "words of a description")), b"words of a description", "EXIF"),
    "IPTC": Block(_tiff((33723, 7, b"\x1c\x02\x50\0\x03Ann!")), b"\x03Ann!", "EXIF"),
    "private tag": Block(_tiff((60001, 7, b"private data")), b"private data", "EXIF"),
    "XMP": Block(_tiff((700, 1, _CLAIMING)), b"the source", "XMP", _FALSE),
    "profile": Block(_tiff(icc_profile=SRGB), _reads("icc_profile", SRGB), "color profile"),
    "resolution": Block(_tiff(dpi=(300, 300)), _resolution, "the resolution"),
    "layers": Block(_tiff((37724, 7, b"old layers")), b"old layers", "Photoshop layers"),
    "C2PA": Block(_tiff((52545, 7, b"signature")), b"signature", "content credentials (C2PA)"),
}
WEBP_BLOCKS = {
    "EXIF": Block(_webp(exif=exif_bytes()), _maker, "EXIF"),
    "XMP": Block(_webp(xmp=_CLAIMING), b"the source", "XMP", _FALSE),
    "profile": Block(_webp(icc_profile=SRGB), _reads("icc_profile", SRGB), "color profile"),
    "C2PA": Block(_webp((b"C2PA", b"signature!")), b"signature!", "content credentials (C2PA)"),
    "unknown chunk": Block(_webp((b"abcd", b"unknown chunk ")), b"unknown chunk", "the WebP chunks abcd"),
    "bytes after the end": Block(_webp(tail=TAIL), TAIL, f"the {len(TAIL)} bytes after its end"),
}
