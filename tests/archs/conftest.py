"""Networks are tested on whole batches; on a CPU they are otherwise given a face at a time.

With FACERESTORE_LONG_TESTS=1 the largest ones are run on batches of 3 at their full size too, which takes minutes and
several GB; without it they are run on one face, and their narrow likenesses on batches.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from lib_facerestore import checkpoints

LONG = os.environ.get("FACERESTORE_LONG_TESTS", "") not in ("", "0")


@pytest.fixture(scope="package", autouse=True)
def whole_batches() -> Iterator[None]:
    usual = checkpoints.CPU_PIXELS
    checkpoints.CPU_PIXELS = 2**40
    yield
    checkpoints.CPU_PIXELS = usual
