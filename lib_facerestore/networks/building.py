"""`building`: the context in which networks are made, the same in every host."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def building() -> Iterator[None]:
    """Context in which parameters are made on the CPU and can be moved later, whatever the host has set.

    A WebUI may call this inside inference mode; parameters that are created there could not be moved. Another host may
    have set a default device. (Its default dtype is one for all threads and is not changed here: whoever makes a
    network converts it to float32 before filling it.)
    """
    with torch.inference_mode(False), torch.no_grad(), torch.device("cpu"):
        yield
