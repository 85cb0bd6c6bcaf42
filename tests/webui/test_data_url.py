"""Base64 text and data URLs, as a page and programs send them."""

from __future__ import annotations

import base64

import pytest

from lib_facerestore.errors import InputError
from lib_facerestore.webui import data_url

DATA = bytes(range(251, 256)) * 5 + b"\x00"
PLAIN = base64.b64encode(DATA).decode()


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        f"  {PLAIN[:10]}\r\n{PLAIN[10:]}\n",
        base64.urlsafe_b64encode(DATA).decode(),
        f"data:image/png;base64,{PLAIN}",
        f"\n DATA:image/svg+xml;charset=utf-8;BASE64,{PLAIN}",
        f"data:;base64,{PLAIN}",
        f"{PLAIN[:8]} {PLAIN[8:16]} {PLAIN[16:24]} {PLAIN[24:32]} {PLAIN[32:]}",
    ],
)
def test_every_usual_form_is_decoded(text: str) -> None:
    assert data_url.decode(text, "image") == DATA


@pytest.mark.parametrize("count", [1, 2, 4, 7])
@pytest.mark.parametrize("head", ["", "data:image/svg xml;base64,"])
def test_a_plus_that_a_form_made_a_blank_is_a_plus_again(count: int, head: str) -> None:
    data = b"\x00\x10\x83" * 3 + b"\xfb\xef\xbe" * count + b"\xff\xd9\xfb"
    text = base64.b64encode(data).decode()
    assert text.count("+") >= count
    assert data_url.decode(head + text.replace("+", " "), "image") == data
    assert data_url.decode(head + text.replace("+", " ") + "\r\n", "image") == data


@pytest.mark.parametrize("text", ["%%%", "abc", f"data:image/png,{PLAIN}", f"data:image/png;base64,{PLAIN}=a", "ä" * 4])
def test_other_text_is_named(text: str) -> None:
    with pytest.raises(InputError, match=r"^images\.3: is not valid base64 \(.*\); send a picture file's bytes"):
        data_url.decode(text, "images.3")


def test_the_media_type_is_that_of_the_head() -> None:
    assert data_url.media_type("data:Image/PNG;base64,AAAA") == "image/png"
    assert data_url.media_type("data:image/svg xml;base64,AAAA") == "image/svg+xml"
    assert data_url.media_type("data:image/png,AAAA") == data_url.media_type(PLAIN) == data_url.media_type("") == ""


def test_what_is_encoded_is_decoded() -> None:
    assert data_url.encode(DATA) == PLAIN
    text = data_url.encode(DATA, "image/jpeg")
    assert data_url.media_type(text) == "image/jpeg" and data_url.decode(text, "image") == DATA
