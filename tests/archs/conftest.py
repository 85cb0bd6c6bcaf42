"""Networks are tested on whole batches; on a CPU they are otherwise given a face at a time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lib_facerestore import checkpoints


@pytest.fixture(scope="package", autouse=True)
def whole_batches() -> Iterator[None]:
    usual = checkpoints.CPU_PIXELS
    checkpoints.CPU_PIXELS = 2**40
    yield
    checkpoints.CPU_PIXELS = usual
