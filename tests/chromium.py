"""Headless Chromium for the browser tests, and waiting for what a page does.

It needs Debian's packages chromium and chromium-driver and the Python package selenium. Where one is missing, tests are
skipped with the reason; FACERESTORE_BROWSER=required makes that a failure. CHROMIUM and CHROMEDRIVER name the programs.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import pytest

T = TypeVar("T")

_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


def until(condition: Callable[[], T], what: str, seconds: float = 60.0) -> T:
    """Wait until `condition` gives something true, and return it. AssertionError after so many seconds."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"waited {seconds:.0f} s for {what}"
        time.sleep(0.1)


class Elements:
    """What is on the page that a driver shows. `patience`: how many seconds an element is waited for."""

    patience = 60.0

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def js(self, code: str, *arguments: Any) -> Any:
        return self.driver.execute_script(code, *arguments)

    def all(self, rule: str) -> list[Any]:
        return self.driver.find_elements("css selector", rule)

    def one(self, rule: str) -> Any:
        return until(lambda: self.all(rule), rule, self.patience)[0]

    def in_view(self, rule: str) -> Any:
        """The element, scrolled to."""
        element = self.one(rule)
        self.js("arguments[0].scrollIntoView({block: 'center'})", element)
        return element


def open_chromium(profile: Path, *flags: str) -> Any:
    """A selenium driver, which logs the page's console; its `quit` ends the browser. profile: an empty folder."""
    try:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service
    except ImportError:
        _missing("selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = _program("CHROMIUM", "chromium")
    for flag in (*_FLAGS, *flags, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=Service(_program("CHROMEDRIVER", "chromedriver")))


def _program(variable: str, name: str) -> str:
    return os.environ.get(variable) or shutil.which(name) or _missing(name)


def _missing(what: str) -> NoReturn:
    if os.environ.get("FACERESTORE_BROWSER") == "required":
        pytest.fail(f"{what} is missing, and FACERESTORE_BROWSER is required")
    pytest.skip(f"{what} is missing: apt-get install chromium chromium-driver; pip install selenium")
