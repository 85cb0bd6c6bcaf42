"""A module of the host, put together attribute by attribute."""

from __future__ import annotations

from types import ModuleType


class HostModule(ModuleType):
    """A module that any attribute may be set on, which a type checker does not allow of `ModuleType`."""

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
