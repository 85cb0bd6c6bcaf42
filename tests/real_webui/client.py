"""A small client of a running WebUI: its API, ours, and pictures in and out. Knows nothing of pytest."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import re
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import PIL.Image
from numpy.typing import NDArray

SCRIPT = "Face Restore"
Pixels = NDArray[np.uint8]
NO_REUSE = httpx.Limits(max_keepalive_connections=0)
"""Some hosts close a connection after an error without saying so, which the next request on it would meet."""


class FailedError(Exception):
    """The WebUI answered with a status that is not 2xx."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(f"{response.request.method} {response.request.url.path}: {response.status_code}")
        self.status = response.status_code
        self.text = response.text

    @property
    def detail(self) -> str:
        """The sentence of an answer like {"detail": …}."""
        try:
            return str(json.loads(self.text).get("detail", ""))
        except (ValueError, AttributeError):
            return self.text

    def __str__(self) -> str:
        return f"{super().__str__()}: {self.text[:500]}"


@dataclass(frozen=True)
class Made:
    """What one generation gave: pictures as PIL images, their files as base64, and the infotext of each."""

    pictures: list[PIL.Image.Image]
    files: list[str]
    infotexts: list[str]
    info: dict[str, Any]

    @property
    def picture(self) -> PIL.Image.Image:
        return self.pictures[0]

    @property
    def pixels(self) -> Pixels:
        """The first picture, H×W×3."""
        return to_pixels(self.pictures[0])

    @property
    def infotext(self) -> str:
        return self.infotexts[0] if self.infotexts else ""

    @property
    def comments(self) -> str:
        """What the WebUI shows under the pictures beside their infotext."""
        return str(self.info.get("comments", ""))


class WebUI:
    """A WebUI at `url`; `login` is "user:password" where it runs with --api-auth."""

    def __init__(self, url: str, login: str = "", timeout: float = 600.0) -> None:
        self.url = url.rstrip("/")
        self._login, self._timeout = login, timeout
        self.http = self.connect()
        self._axes: dict[str, list[str]] = {}

    def connect(self) -> httpx.Client:
        """A new connection."""
        user, _, password = self._login.partition(":")
        auth = (user, password) if self._login else None
        return httpx.Client(base_url=self.url, auth=auth, timeout=self._timeout, trust_env=False, limits=NO_REUSE)

    def get(self, path: str, **query: Any) -> Any:
        """JSON of a GET. Raises FailedError."""
        return self._json(self.http.get(path, params=query or None))

    def post(self, path: str, body: Any = None) -> Any:
        """JSON of a POST of JSON. Raises FailedError."""
        return self._json(self.http.post(path, json={} if body is None else body))

    @staticmethod
    def _json(response: httpx.Response) -> Any:
        if not response.is_success:
            raise FailedError(response)
        return response.json() if response.content else None

    def make(self, tab: str, **fields: Any) -> Made:
        """POST to txt2img or img2img. Nothing is saved on the WebUI's disk unless `save_images` says so."""
        answer = self.post(f"/sdapi/v1/{tab}", fields)
        info = json.loads(answer["info"])
        return Made([from_base64(one) for one in answer["images"]], answer["images"], info.get("infotexts") or [], info)

    def axis(self, tab: str, label: str) -> int:
        """The place of an axis in the X/Y/Z plot's own list. KeyError if it has none of that name."""
        if tab not in self._axes:
            wanted = tab == "img2img"
            for one in self.get("/sdapi/v1/script-info"):
                if str(one["name"]).lower() == "x/y/z plot" and bool(one["is_img2img"]) == wanted:
                    self._axes[tab] = list(one["args"][0]["choices"])
        try:
            return self._axes[tab].index(label)
        except ValueError:
            raise KeyError(label) from None

    def axes(self, tab: str) -> list[str]:
        """The labels of all axes."""
        with contextlib.suppress(KeyError):
            self.axis(tab, "")
        return self._axes.get(tab, [])

    def forget_axes(self) -> None:
        """Ask for the axes anew next time."""
        self._axes.clear()


def ours(*values: Any, **options: Any) -> dict[str, Any]:
    """`alwayson_scripts` for our Script: positional values as a list, or options as one dict."""
    args = list(values) if values else [options]
    return {SCRIPT: {"args": args}}


def to_base64(image: PIL.Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode("ascii")


def from_base64(text: str) -> PIL.Image.Image:
    image = PIL.Image.open(io.BytesIO(base64.b64decode(text.split(",", 1)[-1])))
    image.load()
    return image


def to_pixels(image: PIL.Image.Image) -> Pixels:
    """H×W×3; alpha is left out, as some hosts hide metadata in it."""
    return np.asarray(image.convert("RGB"))


def lines(infotext: str) -> dict[str, str]:
    """Our keys in an infotext, without "Face restore " in front."""
    found = re.findall(r'(?:^|, )Face restore ([a-z_ ]+): ("(?:\\.|[^"\\])*"|[^,\n]*)', infotext)
    return {key: json.loads(value) if value.startswith('"') else value for key, value in found}


def changed_outside(before: Pixels, after: Pixels, box: list[float], margin: float = 0.75) -> int:
    """How many pixels differ that are further from a face's box than `margin` times its longer side."""
    x0, y0, x1, y1 = box
    reach = margin * max(x1 - x0, y1 - y0)
    differs = (before != after).any(axis=2)
    top, left = max(0, int(y0 - reach)), max(0, int(x0 - reach))
    differs[top : int(y1 + reach) + 1, left : int(x1 + reach) + 1] = False
    return int(differs.sum())
