"""The host double as a fixture; see `double`. Kinds: `@pytest.mark.parametrize("host", ["forge"], indirect=True)`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .double import Host
from .helpers import Known


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
