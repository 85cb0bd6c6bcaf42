"""What the command line sets for its whole process is put back after each test."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _process_put_back(process_put_back: None) -> None:
    pass
