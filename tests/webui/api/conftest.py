"""A client of the routes, and the service and downloads behind it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lib_facerestore.pipeline import FaceRestorer
from lib_facerestore.webui.downloads import DownloadManager

if TYPE_CHECKING:  # `helpers` skips every file of tests that imports it where FastAPI is missing
    from fastapi.testclient import TestClient

    from .helpers import Service


@pytest.fixture
def service(restorer: FaceRestorer) -> Service:
    from .helpers import Service

    return Service(restorer)


@pytest.fixture
def downloads(tmp_path: Path) -> DownloadManager:
    return DownloadManager(lambda: tmp_path / "got", offline=lambda: True)


@pytest.fixture
def client(service: Service, downloads: DownloadManager) -> Iterator[TestClient]:
    from .helpers import make

    with make(service, downloads) as client:
        yield client
