"""Networks are tested on whole batches; on a CPU they are otherwise given a face or a few at a time.

With FACERESTORE_LONG_TESTS=1 they are run on batches of 3 at their full size too, and face by face, which takes minutes
and several GB; without it on one face at full size (GPEN 2048 not at all), and their narrow likenesses on batches.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest
import torch

from lib_facerestore.networks import cpu_batches

LONG = os.environ.get("FACERESTORE_LONG_TESTS", "") not in ("", "0")
_run_on_cpu = cpu_batches.run_on_cpu


def _whole(network: cpu_batches.Restore, faces: torch.Tensor, most: int, bytes_a_pixel: int) -> torch.Tensor:
    with torch.inference_mode():
        return network(faces).float()


@contextlib.contextmanager
def face_by_face() -> Iterator[None]:
    """Inside, a CPU is given what users' CPUs are given: of networks of 512 px and more, a face at a time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu_batches, "run_on_cpu", _run_on_cpu)
        yield


@pytest.fixture(scope="package", autouse=True)
def whole_batches() -> Iterator[None]:
    """The networks are given the batch in one go."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu_batches, "run_on_cpu", _whole)
        yield
