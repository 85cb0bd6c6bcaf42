"""The host double (see `double`), the service with a small network, and downloads that a test steps through.

Kinds of host: `@pytest.mark.parametrize("host", ["forge"], indirect=True)`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib_facerestore.catalogue import download as downloading
from lib_facerestore.catalogue.download import OFFLINE
from lib_facerestore.webui.downloads import DownloadManager

from .double import Host
from .double.uiconfig import unserved_blocks
from .download_script import Script
from .helpers import Known


@pytest.fixture(scope="module")
def unserved() -> Iterator[None]:
    """No page of the module is served."""
    with unserved_blocks():
        yield


@pytest.fixture
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Host]:
    """An installed host ("a1111" unless parametrised). Errors that the test does not take make it fail."""
    made = Host(tmp_path / "webui", getattr(request, "param", "a1111"))
    made.install()
    try:
        yield made
    finally:
        made.remove()
        service = sys.modules.get("lib_facerestore.webui.service")
        if service is not None and hasattr(service, "reset"):
            service.reset()
    assert not made.errors, f"the host caught: {made.errors}"


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Known:
    """The service restores with a small random network, and faces are where `helpers` says."""
    folder = tmp_path / "facerestore_models"
    folder.mkdir()
    return Known(folder, monkeypatch)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    """Every download goes as the test says."""
    monkeypatch.delenv(OFFLINE, raising=False)
    made = Script()
    monkeypatch.setattr(downloading, "download", made)
    return made


@pytest.fixture
def manager(script: Script, tmp_path: Path) -> DownloadManager:
    """Its downloads are those of `script`, into tmp_path/models."""
    return DownloadManager(lambda: tmp_path / "models", mirror=lambda: "https://mirror.example")
