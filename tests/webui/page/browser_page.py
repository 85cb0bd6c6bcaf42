"""One tab of the page of the browser tests; only this file knows where its elements are."""

from __future__ import annotations

import functools
from typing import Any

from ...chromium import Elements, until


class Page(Elements):
    """One tab of the page, used as a user does."""

    def __init__(self, driver: Any, url: str, tab: str = "txt2img") -> None:
        super().__init__(driver)
        self.tab = tab
        driver.get_log("browser")
        driver.get(url)
        until(lambda: self.all("#txt2img_generate"), "the page")
        if tab != "txt2img":
            self.js("[...document.querySelectorAll('[role=tab], .tab-nav button')]"
                    ".find((b) => b.textContent.trim() === arguments[0]).click()", tab)  # fmt: skip
        for part in ("", "_more"):  # gradio 6 makes what is in an accordion when it is first opened
            label = until(functools.partial(self.all, f"#facerestore_{tab}{part} .label-wrap"), "the accordion")[0]
            if "open" not in label.get_attribute("class").split():
                self.js("arguments[0].click()", label)
        until(lambda: self.all(f"#facerestore_{tab}_faces textarea, #facerestore_{tab}_faces input"), "the Faces box")
        until(lambda: self.all(f"#facerestore_{tab}_detect"), "the face strip")

    def click(self, rule: str) -> None:
        """Click, again while the page still moves something else under the pointer."""
        until(lambda: self._clicked(rule), f"a click on {rule}")

    def _clicked(self, rule: str) -> bool:
        from selenium.common.exceptions import ElementClickInterceptedException

        try:
            self.in_view(rule).click()
        except ElementClickInterceptedException:
            return False
        return True

    @property
    def box(self) -> Any:
        return self.one(f"#facerestore_{self.tab}_faces textarea, #facerestore_{self.tab}_faces input")

    @property
    def faces(self) -> str:
        return self.box.get_property("value")

    def pressed(self) -> dict[str, str]:
        """The faces of the strip: number → aria-pressed."""
        rule = f"#facerestore_{self.tab}_picker .facerestore-face"
        return self.js(
            "return Object.fromEntries([...document.querySelectorAll(arguments[0])].map((b) =>"
            " [b.querySelector('.facerestore-number').textContent, b.getAttribute('aria-pressed')]))", rule
        )  # fmt: skip

    def chosen(self) -> str:
        return "".join(number for number, on in self.pressed().items() if on == "true")

    def shows(self, chosen: str) -> bool:
        """Whether these faces are chosen now."""
        return self.chosen() == chosen

    def status(self) -> str:
        return self.one(f"#facerestore_{self.tab}_picker .facerestore-status").text

    def face(self, number: int) -> str:
        return f"#facerestore_{self.tab}_picker .facerestore-face[data-number='{number}']"

    def panel_shown(self) -> bool:
        return any(element.is_displayed() for element in self.all(f"#facerestore_{self.tab}_compare"))

    def generate(self) -> None:
        self.click(f"#{self.tab}_generate")
        until(self.panel_shown, "the panel")
        until(lambda: len(self.pressed()) == 3, "the strip's faces")
        self.js("document.querySelector(arguments[0]).open = true", f"#facerestore_{self.tab}_compare")

    def detect(self) -> None:
        row = self.one(f"#facerestore_{self.tab}_picker .facerestore-row")
        self.js("arguments[0].replaceChildren()", row)
        self.click(f"#facerestore_{self.tab}_detect")
        until(lambda: len(self.pressed()) == 3, "the strip's faces")

    def answers(self) -> int:
        """How many answers of the server the scripts have read since the page was opened; see `count_answers`."""
        return int(self.js("return window.answersRead"))

    def settle(self) -> None:
        """Wait until the scripts have looked at the page: they do a quarter of a second after a change."""
        self.driver.execute_async_script("setTimeout(arguments[0], 300)")

    def at(self) -> float:
        """Where the slider is, in percent."""
        text = self.js(
            "return document.querySelector(arguments[0]).style.getPropertyValue('--facerestore-at')",
            f"#facerestore_{self.tab}_compare .facerestore-stage",
        )
        return float(text.rstrip("%"))


def count_answers(driver: Any) -> None:
    """Have every page that is opened from now on count the answers that the scripts read, and then remove."""
    source = (
        "window.answersRead = 0; new MutationObserver((changes) => {"
        " for (const change of changes) if (!change.target.hasAttribute('data-facerestore')) window.answersRead += 1;"
        "}).observe(document, {subtree: true, attributes: true, attributeFilter: ['data-facerestore']})"
    )
    driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": source})


def keys(page: Page, rule: str, *pressed: str) -> None:
    element = page.one(rule)
    page.js("arguments[0].focus()", element)
    for key in pressed:
        page.driver.switch_to.active_element.send_keys(key)
