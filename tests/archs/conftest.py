"""Networks are tested on whole batches; on a CPU they are otherwise given a face at a time.

With FACERESTORE_LONG_TESTS=1 the largest ones are run on batches of 3 at their full size too, and more of them face by
face, which takes minutes and several GB; without it they are run on one face, and their narrow likenesses on batches.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest

from lib_facerestore import checkpoints

LONG = os.environ.get("FACERESTORE_LONG_TESTS", "") not in ("", "0")


USUAL_PIXELS = checkpoints.CPU_PIXELS


@contextlib.contextmanager
def face_by_face() -> Iterator[None]:
    """Inside, a CPU is given what users' CPUs are given: of networks of 512 px and more, a face at a time."""
    whole = checkpoints.CPU_PIXELS
    checkpoints.CPU_PIXELS = USUAL_PIXELS
    try:
        yield
    finally:
        checkpoints.CPU_PIXELS = whole


@pytest.fixture(scope="package", autouse=True)
def whole_batches() -> Iterator[None]:
    checkpoints.CPU_PIXELS = 2**40
    yield
    checkpoints.CPU_PIXELS = USUAL_PIXELS
