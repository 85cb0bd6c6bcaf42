"""An attribute of somebody else's module, replaced for a while: the reference packages fetch files when they start, and
call compiled code that may be missing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def replaced(owner: object, name: str, value: object) -> Iterator[None]:
    """Inside, the attribute `name` of `owner` is `value`; afterwards it is what it was, whatever happens.

    Raises:
        AttributeError: there is no such attribute.
    """
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
