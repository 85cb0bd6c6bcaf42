"""`replaced`: temporarily replaces an attribute of another package's module.

The reference packages download files when they start, and call compiled code that may be missing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def replaced(owner: object, name: str, value: object) -> Iterator[None]:
    """Context in which the attribute `name` of `owner` is `value`; afterwards it has its old value.

    Raises:
        AttributeError: there is no such attribute.
    """
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
