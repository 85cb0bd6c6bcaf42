"""The WebUI's page in headless Chromium, used as a user does: A1111 (gradio 3.41) and Forge (gradio 4.40)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from .. import chromium

T = TypeVar("T")
PATIENCE = float(os.environ.get("WEBUI_PATIENCE", "120"))  # seconds
FLAGS = ("--no-proxy-server", "--window-size=1500,1300")


def until(condition: Callable[[], T], what: str) -> T:
    """Wait as long as a WebUI may take (WEBUI_PATIENCE) until `condition` gives something true, and return it."""
    return chromium.until(condition, what, PATIENCE)


class Page(chromium.Elements):
    """The page, just loaded."""

    patience = PATIENCE

    def __init__(self, driver: Any, url: str, shots: Path | None = None) -> None:
        super().__init__(driver)
        self.shots = shots
        driver.get_log("browser")
        driver.get(url)
        until(lambda: self.all("#txt2img_prompt textarea"), "the page")
        until(lambda: self.all("#facerestore_txt2img_detect"), "our scripts")
        time.sleep(1)  # the page's own scripts go on for a moment

    def shown(self, rule: str) -> bool:
        return any(element.is_displayed() for element in self.all(rule))

    def click(self, rule: str) -> None:
        self.js("arguments[0].click()", self.in_view(rule))

    def tab(self, name: str) -> None:
        """Open one of the tabs at the top."""
        found = self.js(
            "const tab = [...document.querySelectorAll('#tabs > .tab-nav button, #tabs > * [role=tab]')]"
            ".find((one) => one.textContent.trim().toLowerCase() === arguments[0].toLowerCase());"
            " if (tab) tab.click(); return Boolean(tab)", name
        )  # fmt: skip
        assert found, f"there is no tab {name}"
        time.sleep(0.5)

    def open(self, elem_id: str) -> None:
        """Open an accordion."""
        label = self.one(f"#{elem_id} .label-wrap")
        if "open" not in (label.get_attribute("class") or "").split():
            self.js("arguments[0].click()", label)
        time.sleep(0.5)

    def open_panel(self, tab: str) -> None:
        """Wait for the panel before / after, and unfold it."""
        rule = f"#facerestore_{tab}_compare"
        until(lambda: self.shown(rule), "the panel before / after")
        self.js("arguments[0].open = true", self.one(rule))

    def switch(self, elem_id: str, on: bool) -> None:
        """Switch an accordion of the WebUI's own kind on or off, whether it is open or not."""
        box = f"#{elem_id}-visible-checkbox, #{elem_id}-checkbox input"
        if bool(self.one(box).get_property("checked")) != on:
            self.click(box)
        until(lambda: bool(self.one(f"#{elem_id}-checkbox input").get_property("checked")) == on, f"{elem_id}'s switch")

    def field(self, elem_id: str) -> Any:
        """The field of a component: what is typed into, or its number."""
        return self.one(f"#{elem_id} textarea, #{elem_id} input[type=number], #{elem_id} input:not([type=file])")

    def value(self, elem_id: str) -> str:
        return str(self.field(elem_id).get_property("value"))

    def checked(self, elem_id: str) -> bool:
        return bool(self.one(f"#{elem_id} input[type=checkbox]").get_property("checked"))

    def write(self, elem_id: str, text: str) -> None:
        """Write into a text or number box, as typing does."""
        self.js(
            "arguments[0].focus(); arguments[0].value = arguments[1];"
            "for (const name of ['input', 'change', 'blur'])"
            " arguments[0].dispatchEvent(new Event(name, {bubbles: true}))", self.field(elem_id), text,
        )  # fmt: skip
        time.sleep(0.3)

    def upload(self, rule: str, *files: Path) -> None:
        self.one(f"{rule} input[type=file]").send_keys("\n".join(str(file) for file in files))
        loaded = "return [...document.querySelectorAll(arguments[0] + ' img')].some((image) => image.naturalWidth > 0)"
        if len(files) == 1:
            until(lambda: self.js(loaded, rule), "the upload")
        else:
            # While it says "Uploading…" the list is there, but its entries have no address yet.
            links = f"{rule} .file-preview a[href*='file=']"
            until(lambda: len(self.all(links)) >= len(files), "the uploads")
        time.sleep(0.5)

    def pictures(self, tab: str) -> list[str]:
        """The addresses of the pictures in a tab's gallery, each once; live previews are not among them."""
        code = (
            "return [...document.querySelectorAll(arguments[0])]"
            ".filter((image) => !image.closest('.livePreview')).map((image) => image.src)"
        )
        sources = self.js(code, f"#{tab}_gallery img")
        return list(dict.fromkeys(source for source in sources if source and "livepreview" not in source))

    def generate(self, tab: str) -> str:
        """Press Generate, wait for the pictures, and return what is written under them."""
        before = self.pictures(tab)
        self.click(f"#{tab}_generate")
        until(lambda: (found := self.pictures(tab)) and found != before, f"a picture in {tab}")
        time.sleep(1.5)
        return str(self.one(f"#html_info_{tab}, #html_info_x_{tab}").text)

    def shot(self, name: str) -> None:
        """Keep a screenshot of the whole page, where a folder for it is named."""
        if self.shots is not None:
            height = self.js("return Math.max(document.documentElement.scrollHeight, 1300)")
            self.driver.set_window_size(1500, min(height + 150, 4000))
            time.sleep(0.5)
            self.driver.save_screenshot(str(self.shots / f"{name}.png"))
            self.driver.set_window_size(1500, 1300)
