"""What XMP says of the rest of the file is true in the file that is written, and goes where it would be false."""

from __future__ import annotations

import dataclasses
import io
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from lib_facerestore.images.exif_check import is_whole
from lib_facerestore.images.files import from_array, from_bytes, left_out, read_picture, replace_pixels, to_bytes
from lib_facerestore.images.jpeg_parts import read_parts, scan_jpeg
from lib_facerestore.images.metadata import upright
from lib_facerestore.images.other_parts import parts_of_gif
from lib_facerestore.images.photoshop import without_thumbnails
from lib_facerestore.images.xmp_claims import true_xmp
from lib_facerestore.images.xmp_edit import edited
from lib_facerestore.images.xmp_regions import turned_regions

from .blocks import (
    CAMERA,
    HDR,
    JPEG_BLOCKS,
    LIST,
    SECOND,
    VIDEO,
    index,
    jpeg,
    packet,
    segment,
    ultra_hdr,
    xmp_segment,
)
from .samples import SRGB, exif_bytes, touched


def written(data: bytes, target: str = ".jpg") -> bytes:
    return to_bytes(touched(from_bytes(data)), target)


def number(data: bytes, name: bytes) -> int:
    found = re.findall(name + rb'="(\d+)"', data)
    assert len(found) == 1
    return int(found[0])


def test_the_video_of_a_motion_photo_is_where_the_xmp_says() -> None:
    for kind, name in (("micro video", b"MicroVideoOffset"), ("motion photo", b"Item:Length")):
        after = written(JPEG_BLOCKS[kind].data)
        # The length of the first picture, which is another one now, is no longer told.
        assert after[-number(after, name) :] == VIDEO
        assert b'GCamera:MotionPhoto="1"' in after
        assert Image.open(io.BytesIO(after)).size == (32, 24)
        assert written(after).endswith(VIDEO), "also when it is read and written again"


def test_a_motion_photo_whose_video_another_program_dropped_claims_none() -> None:
    video = JPEG_BLOCKS["micro video"].data
    picture = from_bytes(video[: -len(VIDEO)])
    assert not picture.losses and not left_out(picture, "a.png"), "nothing is lost"
    assert b"MicroVideo" not in to_bytes(touched(picture), ".jpg")


def test_a_video_goes_on_without_the_gain_map_before_it() -> None:
    after = written(ultra_hdr(video=True))
    parts = read_parts(after)
    assert parts.trailer == VIDEO and parts.xmp is not None
    assert re.findall(rb'Item:Semantic="(\w+)"', parts.xmp) == [b"Primary", b"MotionPhoto"]
    assert number(after, b"Item:Length") == len(VIDEO), "of the video only"
    plain = written(ultra_hdr(video=False))
    assert b"Directory" not in plain and b"the source" in plain and plain.endswith(b"\xff\xd9")


def test_pictures_after_the_first_are_counted_with_and_without_a_gain_map() -> None:
    three = ultra_hdr(video=False) + b"\0" * 9 + SECOND + SECOND
    assert from_bytes(three, "a").losses == (
        "a: its HDR gain map, which fits the old pixels only, is left out",
        "a: only the first of its 3 pictures is kept",
    )
    assert written(three).endswith(b"\xff\xd9")
    cut = from_bytes(ultra_hdr(video=False)[:-9])
    assert "gain map" in cut.losses[0] and not cut.trailer


ELEMENTS = (
    "<GCamera:MotionPhoto>1</GCamera:MotionPhoto><GCamera:MicroVideoOffset>9</GCamera:MicroVideoOffset>"
    "<GCamera:Other>stays</GCamera:Other>"
)


@pytest.mark.parametrize(
    ("attributes", "inner"),
    [
        (f'{CAMERA} GCamera:MotionPhoto="1" GCamera:Other="stays"', ""),
        (CAMERA, ELEMENTS),
        (CAMERA.replace("GCamera", "C"), ELEMENTS.replace("GCamera", "C")),
        (f'{HDR} {CAMERA} GCamera:Other="stays"', ""),
        (HDR.replace("hdrgm", "h") + " other='stays'", ""),
        (HDR.replace('hdrgm:Version="1.0"', "other='stays'"), "<hdrgm:Version>1.0</hdrgm:Version>"),
        ("xmlns:t='http://ns.adobe.com/xap/1.0/' other='stays'", "<t:Thumbnails><t:image>old</t:image></t:Thumbnails>"),
        ("xmlns:p='http://purl.org/dc/terms/' other='stays'", "<p:provenance>self#jumbf=c2pa</p:provenance>"),
    ],
)
def test_a_false_claim_goes_however_it_is_written(attributes: str, inner: str) -> None:
    picture = dataclasses.replace(from_array(np.zeros((4, 4, 3), np.uint8)), xmp=packet(attributes, inner))
    for format_name in ("JPEG", "PNG", "WEBP", "TIFF"):
        xmp = true_xmp(picture, format_name)
        assert xmp is not None and not re.search(rb"Motion|Micro|Version|gain-map|Thumb|old|jumbf", xmp)
        assert b"stays" in xmp and b"the source" in xmp and xmp.startswith(b'<?xpacket begin="\xef\xbb\xbf"')


@pytest.mark.parametrize(("mark", "encoding"), [("", "utf-8"), ("\ufeff", "utf-16-be")])
def test_entities_are_not_expanded(mark: str, encoding: str) -> None:
    xmp = (mark + '<!DOCTYPE a [<!ENTITY b "text">]><a>&b;</a>').encode(encoding)
    assert edited(xmp, lambda element, spaces: True) == xmp
    assert edited((mark + "<a></a>").encode(encoding), lambda element, spaces: True) == b"<a/>"


@pytest.mark.parametrize(
    "xmp",
    [
        b"no XML, but MotionPhoto",
        b'<!DOCTYPE a [<!ENTITY b "MotionPhoto">]><a GCamera:MotionPhoto="1">&b;</a>',
        b"<MotionPhoto>" * 5000 + b"</MotionPhoto>" * 5000,
        packet("", "a directory of Containers"),
        b"",
    ],
)
def test_what_no_reader_reads_or_nothing_claims_is_not_touched(xmp: bytes) -> None:
    picture = dataclasses.replace(from_array(np.zeros((4, 4, 3), np.uint8)), xmp=xmp)
    after = true_xmp(picture, "PNG")
    assert after == xmp or b"MotionPhoto" not in (after or b"")


def test_a_directory_of_pictures_without_a_reader_is_dropped_with_them() -> None:
    assert b"Directory" in LIST
    data = jpeg(segment(0xFFE1, b"http://ns.adobe.com/xap/1.0/\0" + LIST), index(b"", SECOND))
    picture = from_bytes(data + SECOND)
    assert "only the first of its 2 pictures" in picture.losses[0] and b"Directory" not in (picture.xmp or b"")


def test_the_end_of_a_jpeg_is_found() -> None:
    thumbnail = jpeg(segment(0xFFE1, b"Exif\0\0" + SECOND), segment(0xFFE5, b"\xff\xd9"))
    assert scan_jpeg(thumbnail + b"tail")[1] == len(thumbnail), "an EOI inside a segment is none"
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(
        stream, "JPEG", progressive=True, quality=95
    )
    data = stream.getvalue()
    second_scan = data.index(b"\xff\xda", data.index(b"\xff\xda") + 2)
    late = data[:second_scan] + b"\xff" + segment(0xFFE7, b"between scans") + data[second_scan:]
    assert scan_jpeg(late + b"tail") == ([*scan_jpeg(data)[0], (0xFFE7, b"between scans")], len(late))
    assert scan_jpeg(data[:-2])[1] == len(data) - 2, "without an end, all of it is the picture"
    assert not read_parts(data + bytes(99)).trailer, "zeros only fill up"
    for cut in range(2, len(thumbnail), 7):
        assert scan_jpeg(thumbnail[:cut])[1] == cut


def webp(*chunks: tuple[bytes, bytes]) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (9, 99, 9)).save(stream, "WEBP", lossless=True, xmp=b"<x/>")
    body = stream.getvalue()[8:] + b"".join(name + struct.pack("<L", len(value)) + value for name, value in chunks)
    return b"RIFF" + struct.pack("<L", len(body)) + body


def test_what_a_webp_loses_is_named() -> None:
    assert not from_bytes(webp()).losses and not from_bytes(webp() + bytes(3)).losses
    assert from_bytes(webp((b"C2PA", b"sign"), (b"abcd", b"more")) + b"end", "a").losses == (
        "a: its content credentials (C2PA), which sign the old pixels, are left out",
        "a: the WebP chunks abcd are left out",
        "a: the 3 bytes after its end are left out",
    )


def test_what_a_tiff_says_of_its_old_pixels_is_named(tmp_path: Path) -> None:
    info = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in ((37724, b"layers"), (52545, b"signature"), (33723, b"\x1c\x02\x50\0\x03Ann")):
        info.tagtype[tag] = 7
        info[tag] = value
    Image.new("RGB", (8, 8)).save(tmp_path / "a.tif", tiffinfo=info)
    picture = read_picture(tmp_path / "a.tif")
    said = " ".join(picture.losses)
    assert "Photoshop layers" in said and "content credentials (C2PA)" in said
    changed = dataclasses.replace(picture, encoded=None)
    for target in (".tif", ".png", ".jpg"):
        after = to_bytes(changed, target)
        assert b"layers" not in after and b"signature" not in after and b"\x03Ann" in after


def test_only_the_last_of_two_packets_is_kept() -> None:
    twice = jpeg(xmp_segment("a='1'"), xmp_segment("a='2'"))
    assert from_bytes(twice, "a").losses == ("a: an XMP packet before its last one is left out",)
    assert b"a='2'" in written(twice)


def resource(number: int, content: bytes, name: bytes = b"") -> bytes:
    named = bytes([len(name)]) + name
    named += b"\0" * (len(named) % 2)
    return (
        struct.pack(">4sH", b"8BIM", number)
        + named
        + struct.pack(">L", len(content))
        + content
        + b"\0" * (len(content) % 2)
    )


def test_photoshops_thumbnail_of_the_old_pixels_goes_and_iptc_stays() -> None:
    iptc, thumbnail = resource(0x0404, b"\x1c\x02\x50\0\x03Ann", b"a name"), resource(0x040C, b"old pixels")
    block = b"Photoshop 3.0\0" + iptc + thumbnail + resource(0x0425, b"x" * 16)
    after = written(jpeg(segment(0xFFED, block)))
    assert iptc + resource(0x0425, b"x" * 16) in after and b"old pixels" not in after
    same = dataclasses.replace(from_bytes(jpeg(segment(0xFFED, block))), dpi=(300.0, 300.0))
    assert b"old pixels" in to_bytes(same, ".jpg"), "the pixels are not others"
    assert without_thumbnails(iptc + thumbnail) == iptc
    for cut in range(15, len(block)):
        assert b"Ann" in without_thumbnails(block[:cut]) or b"Ann" not in block[:cut]
    for odd in (b"", b"Photoshop 3.0\0", b"other", block[:-9]):
        assert without_thumbnails(odd) == odd


def test_exif_that_a_tiff_can_only_take_in_part_is_named() -> None:
    whole = exif_bytes()
    for cut in (len(whole), len(whole) - 3, 150, 90, 60):
        picture = from_bytes(jpeg(segment(0xFFE1, whole[:cut])))
        assert bool(left_out(picture, "a.tif")) is (cut < len(whole))
        assert not left_out(picture, "a.png")
    assert left_out(picture, "a.tif") == (
        "a.tif: TIFF has no place for the damaged part of EXIF: left out; write .png to keep it",
    )
    assert not is_whole(b"") and not is_whole(b"II*\0\xff\xff\xff\xff") and not is_whole(b"no EXIF stream")


def test_a_tiff_with_damaged_tags_says_so() -> None:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "TIFF", description="words of a description", software="program")
    data = stream.getvalue()
    assert not from_bytes(data).losses
    at = next(at for at in range(8, len(data)) if data[at : at + 4] == struct.pack("<HH", 0x010E, 2))
    damaged = data[: at + 2] + b"\x63" + data[at + 3 :]  # of a type that there is not
    assert from_bytes(damaged, "a").losses == ("a: damaged tags are left out",)


AREA = 'xmlns:stArea="http://ns.adobe.com/xmp/sType/Area#" xmlns:mwg-rs="http://www.metadataworkinggroup.com/schemas/regions/"'
REGIONS = (
    '<mwg-rs:AppliedToDimensions stDim:w="32" stDim:h="24" stDim:unit="pixel"/>'
    '<mwg-rs:Area stArea:x="{x}" stArea:y="{y}" stArea:w="0.25" stArea:h="0.5" stArea:unit="normalized"/>'
    "<mwg-rs:Area><stArea:x>0.5</stArea:x><stArea:y>{y}</stArea:y></mwg-rs:Area>"
)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_regions_of_faces_turn_with_the_picture(orientation: int) -> None:
    pixels = np.zeros((24, 32, 3), np.uint8)
    pixels[6, 4] = 255  # the middle of this pixel is the middle of the region
    xmp = xmp_segment(AREA, REGIONS.format(x=4.5 / 32, y=6.5 / 24))
    picture = from_bytes(jpeg(segment(0xFFE1, exif_bytes(orientation)), xmp, pixels=pixels))
    after = to_bytes(touched(picture), ".png")
    y, x = np.unravel_index(int(upright(pixels, orientation)[:, :, 0].argmax()), (picture.height, picture.width))
    place = [float(number) for number in re.findall(rb'stArea:[xy]="([0-9.]+)"', after)]
    assert place == pytest.approx([(x + 0.5) / picture.width, (y + 0.5) / picture.height], abs=1e-5)
    sides = (b'w="0.5" stArea:h="0.25"', b'w="24" stDim:h="32"')
    assert all((side in after) is (orientation > 4) for side in sides)
    assert len(re.findall(rb"<stArea:[xy]>[0-9.]+</stArea:[xy]>", after)) == 2


def test_odd_regions_stay() -> None:
    for inner in (
        '<a:Area stArea:x="some" stArea:y="1"/>',
        '<a:Area stArea:x="3" stArea:y="4" stArea:unit="pixel"/>',
        "<a:Area/>",
    ):
        assert turned_regions(packet(AREA, inner), 6) == packet(AREA, inner)


def test_xmp_and_exif_tell_the_size_that_is_written() -> None:
    told = (
        'exif:PixelXDimension="32" exif:PixelYDimension="24" tiff:ImageWidth="32"',
        "<tiff:ImageLength>24</tiff:ImageLength>",
    )
    exif = Image.Exif()
    exif[0x0100], exif[0x0101], exif[0x0112] = 32, 24, 6
    picture = from_bytes(jpeg(segment(0xFFE1, exif.tobytes()), xmp_segment(*told)))
    larger = replace_pixels(picture, np.zeros((64, 48, 3), np.uint8))
    for target in (".jpg", ".png", ".webp"):
        after = to_bytes(larger, target)
        for one in (b'PixelXDimension="48"', b'PixelYDimension="64"', b'ImageWidth="48"', b"<tiff:ImageLength>64<"):
            assert one in after
        found = Image.open(io.BytesIO(after)).getexif()
        assert (found[0x0100], found[0x0101]) == (48, 64)


def gif(*extensions: bytes) -> bytes:
    stream = io.BytesIO()
    frame = Image.new("P", (8, 8), 1)
    frame.putpalette(bytes(range(12)))
    frame.save(stream, "GIF", save_all=True, append_images=[Image.new("L", (8, 8), 200)], loop=0)
    data = stream.getvalue()
    return data[:-1] + b"".join(extensions) + b";"


def application(name: bytes, *blocks: bytes) -> bytes:
    return b"\x21\xff\x0b" + name + b"".join(bytes([len(block)]) + block for block in blocks) + b"\0"


def test_the_profile_and_xmp_of_a_gif_go_along_and_other_extensions_are_named() -> None:
    end = b"\x01" + bytes(range(255, -1, -1))
    xmp = b"\x21\xff\x0bXMP DataXMP" + packet() + end + b"\0"
    profile = application(b"ICCRGBG1012", *(SRGB[at : at + 255] for at in range(0, len(SRGB), 255)))
    picture = from_bytes(gif(xmp, profile, application(b"ImageMagick", b"gamma"), b"\x21\xf9\x04\0\0\0\0\0"), "a")
    assert (picture.xmp, picture.icc_profile) == (packet(), SRGB)
    assert picture.losses[1:] == ("a: the GIF extensions ImageMagick are left out",)
    assert packet() in to_bytes(picture, ".png")
    assert len(from_bytes(gif()).losses) == 1, "of its two frames only"
    whole = gif(xmp, profile)
    for cut in range(13, len(whole), 5):
        parts_of_gif(whole[:cut])  # of a damaged file it reads what is there


def test_the_profile_of_a_bmp_is_read() -> None:
    pixels = bytes(8 * 8 * 3)
    header = struct.pack("<LllHHLLllLL", 124, 8, 8, 1, 24, 0, len(pixels), 0, 0, 0, 0) + bytes(16)
    for kind, content, profile in ((b"DEBM", SRGB, SRGB), (b"KNIL", b"c:\\a.icc\0", None), (b"BGRs", b"", None)):
        body = header + kind + bytes(52) + struct.pack("<LLL", 124 + len(pixels), len(content), 0)
        data = struct.pack("<2sLLL", b"BM", 138 + len(pixels) + len(content), 0, 138) + body + pixels + content
        picture = from_bytes(data, "a")
        assert picture.icc_profile == profile
        assert bool(picture.losses) is (kind == b"KNIL")
        assert bool(left_out(picture, "b.bmp")) is bool(profile)
        assert from_bytes(to_bytes(picture, ".png")).icc_profile == profile
