"""The server's side of the face strip and the slider: pure Python, no gradio, no networks."""

from __future__ import annotations

import base64
import html.parser
import io
import json
from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np
import PIL.Image
import PIL.ImageFile
import pytest

from lib_facerestore.errors import InputError, ModelFileError
from lib_facerestore.faces.face import Face, FaceReport
from lib_facerestore.options.table import Options
from lib_facerestore.results import Found
from lib_facerestore.stages import loaded_models
from lib_facerestore.webui import service
from lib_facerestore.webui.page import face_strip

from ...stages.detection.test_reach import Reducing
from ..double import Host

Asked: TypeAlias = list[tuple[PIL.Image.Image, Options]]
POINTS = np.array([[3, 4], [7, 4], [5, 6], [4, 8], [6, 8]], np.float32)


def face(number: int, x: float, y: float, side: float) -> Face:
    points = np.asarray(POINTS * side / 10 + [x, y], np.float32)
    return Face(number, (x, y, x + side, y + side), points, 0.9)


def picture(width: int = 200, height: int = 100, mode: str = "RGB") -> PIL.Image.Image:
    rng = np.random.default_rng(1)
    image = PIL.Image.fromarray(rng.integers(0, 255, (height, width, 3), np.uint8))
    return image.convert(mode)


def url(image: PIL.Image.Image, kind: str = "PNG") -> str:
    file = io.BytesIO()
    image.save(file, kind)
    return f"data:image/{kind.lower()};base64," + base64.b64encode(file.getvalue()).decode()


def opened(text: str) -> PIL.Image.Image:
    return PIL.Image.open(io.BytesIO(base64.b64decode(text.partition(",")[2])))


class Reader(html.parser.HTMLParser):
    """Reads an answer as a browser does: exactly one element, whose attribute is JSON."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def read(answer: str) -> dict[str, Any]:
    reader = Reader()
    reader.feed(answer)
    assert [tag for tag, _ in reader.found] == ["div"] and list(reader.found[0][1]) == ["data-facerestore"]
    said: dict[str, Any] = json.loads(reader.found[0][1]["data-facerestore"] or "")
    return said


@pytest.fixture(autouse=True)
def _no_runs() -> Iterator[None]:
    yield
    for tab in ("txt2img", "img2img"):
        service.remember(tab, [])


@pytest.fixture
def found(monkeypatch: pytest.MonkeyPatch) -> Asked:
    """What the detector was asked; it finds a face of 40 px and one of 10 px, the second partly outside."""
    asked: Asked = []

    def detect(image: PIL.Image.Image, options: Options, reduced: float) -> Found:
        asked.append((image, options))
        return Found([face(1, 20, 30, 40), face(2, 195, 5, 10)], "small ones" if reduced > 1 else "")

    monkeypatch.setattr(service, "detect", detect)
    return asked


class TestDetect:
    def test_faces_come_with_thumbnails(self, found: Asked) -> None:
        answer = read(face_strip.detect_answer(url(picture()), {}))
        assert answer["kind"] == "detect" and not answer["message"]
        assert [(row["number"], row["side"], row["reason"]) for row in answer["faces"]] == [(1, 40, ""), (2, 10, "")]
        assert answer["faces"][0]["box"] == [0.1, 0.3, 0.3, 0.7]
        assert answer["faces"][1]["box"][2] == 1.0  # cut at the picture's edge
        for row in answer["faces"]:
            assert max(opened(row["before"]).size) <= face_strip.THUMBNAIL
        assert opened(answer["faces"][0]["before"]).size == (52, 52)

    def test_controls_decide(self, found: Asked) -> None:
        values = {"detector": "lite", "confidence": 0.7, "order": "large-small", "min_face": 16.0, "max_face": None}
        answer = read(face_strip.detect_answer(url(picture()), values))
        asked = found[0][1]
        assert (asked.detector, asked.confidence, asked.order, asked.faces) == ("lite", 0.7, "large-small", "all")
        assert [row["reason"] for row in answer["faces"]] == ["", "10 px is below Smallest face 16"]

    def test_sizes_are_those_of_the_full_picture(self, found: Asked) -> None:
        message = json.dumps({"image": url(picture(), "JPEG"), "width": 800, "height": 400})
        answer = read(face_strip.detect_answer(message, {"max_face": 100}))
        assert [row["side"] for row in answer["faces"]] == [160, 40]
        assert answer["faces"][0]["reason"] == "160 px is above Largest face 100"
        assert answer["faces"][0]["box"] == [0.1, 0.3, 0.3, 0.7]
        assert answer["message"] == "Small ones."

    def test_faces_that_may_have_been_missed_are_told_of_the_full_picture(
        self, host: Host, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(loaded_models, "create_detector", lambda *_: Reducing())
        message = json.dumps({"image": url(picture(), "JPEG"), "width": 800, "height": 400})
        said = "No face was found. A lower Confidence may find more. The picture is so large that it was searched at "
        answer = read(face_strip.detect_answer(message, {"detector": "lite"}))
        assert answer["message"].startswith(said + "1/24 of its size: faces smaller than about 240 pixels")

    def test_no_face(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(service, "detect", lambda *_: Found([]))
        answer = read(face_strip.detect_answer(url(picture()), {}))
        assert answer["faces"] == [] and answer["message"].startswith("No face was found.")

    def test_many_faces_are_cut_off_and_counted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(service, "detect", lambda *_: Found([face(n, n, 9, 8) for n in range(1, 100)]))
        answer = read(face_strip.detect_answer(url(picture()), {}))
        assert len(answer["faces"]) == face_strip.MOST_FACES and answer["message"].startswith("99 faces")

    @pytest.mark.parametrize(
        ("error", "message"),
        [
            (ModelFileError('detector: "><script>alert(1)</script> is missing'), "<script>"),
            (RuntimeError("out of memory"), "Finding the faces failed: out of memory"),
        ],
    )
    def test_errors_become_messages(self, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str) -> None:
        def detect(*_: object) -> Found:
            raise error

        monkeypatch.setattr(service, "detect", detect)
        answer = read(face_strip.detect_answer(url(picture()), {}))
        assert message in answer["message"] and answer["faces"] == []

    def test_a_value_that_is_not_allowed_is_shown(self, found: Asked) -> None:
        assert "Confidence: 7" in read(face_strip.detect_answer(url(picture()), {"confidence": 7}))["message"]
        assert not found


class TestMessages:
    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
    @pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
    def test_every_kind_of_picture(self, kind: str, mode: str) -> None:
        image = picture(30, 20, "RGB" if kind == "JPEG" and mode in ("RGBA", "P") else mode)
        decoded = face_strip.decode_picture(url(image, kind))
        assert decoded.mode == "RGB" and decoded.size == (30, 20)

    @pytest.mark.parametrize(
        "message",
        [
            None, 3, "", "  ", "hello", "file:///etc/passwd", "{", "[]", "{}", "null", "{" * 5000,
            "data:image/png;base64,", "data:image/png;base64,%%%", "data:image/png;base64,QUJD",
            "data:image/svg+xml;base64,PHN2Zy8+", "data:text/html;base64,QUJD",
            '{"image": 3}', '{"image": null}', '{"image": "x", "width": "wide"}',
            '{"image": "data:image/png;base64,", "width": 1e999}',
            url(picture())[:-400], url(picture(), "GIF"), url(picture(), "BMP").replace("bmp", "png"),
        ],
    )  # fmt: skip
    def test_nonsense_is_shown_and_never_raises(self, message: object, found: Asked) -> None:
        with pytest.raises(InputError, match="picture: "):
            face_strip.read_message(message)
        assert read(face_strip.detect_answer(message, {}))["message"].startswith("picture: ")  # type: ignore[arg-type]
        assert not found

    def test_half_a_picture_is_refused_whatever_another_extension_has_set(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(PIL.ImageFile, "LOAD_TRUNCATED_IMAGES", True)
        head, _, body = url(picture(), "JPEG").partition(",")
        with pytest.raises(InputError, match="cut off"):
            face_strip.decode_picture(head + "," + body[: len(body) * 3 // 5 // 4 * 4])

    def test_size_is_limited(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(face_strip, "MOST_PIXELS", 199 * 100)
        with pytest.raises(InputError, match="200×100"):
            face_strip.read_message(url(picture()))
        monkeypatch.setattr(face_strip, "LONGEST_TEXT", 100)
        with pytest.raises(InputError, match="at most 100"):
            face_strip.read_message(url(picture()))

    @pytest.mark.parametrize(("width", "factor"), [(0, 1), (100, 1), (400, 2), (-5, 1), (10**9, 1), (None, 1)])
    def test_width_is_believed_only_where_it_can_be_true(self, width: object, factor: float) -> None:
        image, shown = face_strip.read_message(json.dumps({"image": url(picture()), "width": width}))
        assert image.width == 200 and shown == factor


class TestLastRun:
    def run(self, **changes: object) -> service.RunPicture:
        after, before = picture(300, 200), picture(300, 200, str(changes.pop("mode", "RGB")))
        faces = (
            FaceReport.of(face(1, 20, 30, 100), "lite", True),
            FaceReport.of(face(2, 500, 300, 40), "lite", False, "face 2: skipped, only face 1 was asked for"),
            FaceReport.of(face(3, 300, 300, 40), "lite", False, "face 3: left alone, none of its pixels are in it"),
        )
        return service.RunPicture(before, after, faces, **{"scale": 0.5, **changes})  # type: ignore[arg-type]

    def test_pictures_and_faces(self) -> None:
        service.remember("txt2img", [self.run(notes=("there is no face 9",), mode="RGBA")])
        answer = read(face_strip.last_answer("txt2img"))
        (shown,) = answer["pictures"]
        assert (shown["width"], shown["height"], shown["message"]) == (600, 400, "there is no face 9")
        assert opened(shown["before"]).size == opened(shown["after"]).size == (300, 200)
        first, second, third = shown["faces"]
        assert first["applied"] and first["side"] == 100 and opened(first["after"]).size == (66, 64)
        assert first["box"] == [0.0333, 0.075, 0.2, 0.325]
        assert second["reason"] == "only face 1 was asked for" and "after" not in second
        assert third["reason"] == "left alone, none of its pixels are in it"
        assert read(face_strip.last_answer("img2img"))["pictures"] == []

    def test_pictures_are_limited(self) -> None:
        large = picture(1400, 500)
        service.remember("txt2img", [service.RunPicture(large, large, ())] * 6)
        answer = read(face_strip.last_answer("txt2img"))
        assert {opened(shown["after"]).size for shown in answer["pictures"]} == {(768, 274)}
        service.remember("txt2img", [service.RunPicture(large, large, ())])
        assert opened(read(face_strip.last_answer("txt2img"))["pictures"][0]["after"]).width == face_strip.SHOWN_SIDE

    def test_a_run_that_is_known_is_not_sent_again(self) -> None:
        service.remember("txt2img", [self.run()])
        first = read(face_strip.last_answer("txt2img", ""))
        again = read(face_strip.last_answer("txt2img", json.dumps({"known": first["run"]})))
        assert again["same"] and again["run"] == first["run"] and "pictures" not in again
        assert again["stamp"] != first["stamp"]
        service.remember("txt2img", [self.run()])
        other = read(face_strip.last_answer("txt2img", json.dumps({"known": first["run"]})))
        assert other["run"] != first["run"] and len(other["pictures"]) == 1

    def test_the_name_of_a_run_alone(self) -> None:
        assert read(face_strip.last_answer("txt2img", '{"peek": true}'))["run"] == ""
        service.remember("txt2img", [self.run()])
        peeked = read(face_strip.last_answer("txt2img", '{"peek": true}'))
        assert peeked["run"] and peeked["peek"] and "pictures" not in peeked
        assert read(face_strip.last_answer("txt2img", json.dumps({"known": peeked["run"]})))["same"]

    def test_more_pictures_give_a_run_another_name_and_none_takes_it(self) -> None:
        service.remember("txt2img", [self.run()])
        first = service.last_run_name("txt2img")
        service.remember("txt2img", [self.run()], add=True)
        assert first and service.last_run_name("txt2img") not in ("", first)
        assert service.last_run_name("img2img") == ""
        service.remember("txt2img", [])
        assert service.last_run_name("txt2img") == ""

    @pytest.mark.parametrize("message", ["", "{", "[]", "null", '{"known": 3}', "x" * 2000, None])
    def test_nonsense_is_passed_over(self, message: str) -> None:
        service.remember("txt2img", [self.run()])
        assert len(read(face_strip.last_answer("txt2img", message))["pictures"]) == 1

    def test_never_raises(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def last_run(tab: str) -> list[service.RunPicture]:
            raise RuntimeError("gone")

        monkeypatch.setattr(service, "last_run", last_run)
        assert read(face_strip.last_answer("txt2img"))["pictures"] == []
