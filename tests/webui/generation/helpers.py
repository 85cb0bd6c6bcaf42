"""What the tests of the Script share: its arguments, its start, and what a generation gave."""

from __future__ import annotations

from typing import Any

import numpy as np
import PIL.Image
import pytest

from ..double import Host
from ..helpers import OPTIONS

KINDS = ["a1111", "forge", "sdnext"]
every_kind = pytest.mark.parametrize("host", KINDS, indirect=True)
TITLE = "Face Restore"


def args(**values: Any) -> dict[str, list[Any]]:
    return {TITLE: [OPTIONS | values]}


def start(host: Host) -> Any:
    """The host with the Script, loaded as the WebUI loads it; tabs are built when they are used."""
    host.start_for_jobs()
    return host


def arrays(done: Any) -> list[np.ndarray]:
    return [np.asarray(image) for image in done.images[done.index_of_first_image :]]


def keys(text: str) -> dict[str, str]:
    from modules.infotext_utils import parse_generation_parameters

    return {k: v for k, v in parse_generation_parameters(text).items() if k.startswith("Face rest")}


def equal(first: Any, second: Any) -> bool:
    return bool(np.array_equal(np.asarray(first), np.asarray(second)))


def mask_of(box: tuple[int, int, int, int], size: tuple[int, int] = (192, 128)) -> PIL.Image.Image:
    mask = PIL.Image.new("L", size)
    mask.paste(255, box)
    return mask
